//! HTTP/2: a connection is a carrier of streams, and each stream one request as HTTP/1.1 text (ADR 0018). Here that of clients; that of
//! servers is in `servers`.
//!
//! Owns telling the two versions apart on a connection in the clear, the settings that clients get, and who of the shard speaks
//! HTTP/2; leaves frames to the h2 library, fields to `tidegate-http2`, and requests to `http1`. Invariant: what a stream's
//! request means, where it goes and what is logged of it is decided where it is for HTTP/1.1.

mod carrier;
mod connection;
mod errors;
mod outgoing;
mod piece;
mod receiving;
mod resets;
pub(crate) mod servers;
mod shared;
mod stream;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

use tidegate_http1::Limits;
use tidegate_shard::TaskId;
use tidegate_tls::Protocol;

use crate::client::Client;
use crate::settings::{BindSettings, Snapshot};
use crate::worker::Worker;

pub(crate) use connection::serve;
pub(crate) use errors::ERROR_CODES;
pub(crate) use stream::Http2Stream;

pub(crate) use carrier::{Carrier, End};
pub(crate) use piece::Piece;

/// Streams of one connection at a time; what browsers and libraries take for the usual number. A further one is refused.
const STREAMS_MAX: u32 = 100;

/// Streams of one shard at a time, each a task of a few KiB; a further one is refused.
const SHARD_STREAMS_MAX: u32 = 65_536;

/// Streams that one connection carries before its client is told to make another one: far from the end of their numbers.
const STREAMS_TOTAL_MAX: u32 = 10_000_000;

/// Bytes of one request's body that may be under way or wait here: enough for 20 MiB/s at a round trip of 12 ms, little enough
/// for 100 slow servers.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The same over all streams of a connection: what a client can make a shard hold.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What the library is told that it may queue for one stream. The bound is elsewhere: it is asked for what it has queued before
/// more of a response is read.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Bytes of responses that wait for the client in all streams of a connection, of which each could have more alone: what a client
/// that opens streams and reads none of them can make a shard hold.
const CONNECTION_QUEUED_BYTES_MAX: usize = 1024 * 1024;

/// What a stream may have queued beyond that, so that one that is read goes on while others are not.
const STREAM_QUEUED_BYTES_LEAST: usize = 16 * 1024;

/// What a field costs in the size of a list of fields besides its bytes (RFC 9113 §6.5.2).
const FIELD_OVERHEAD_BYTES: usize = 32;

/// Versions of HTTP that a listener speaks in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Both: the first bytes decide.
    Both,
}

impl Protocols {
    /// What is spoken at an address of a frontend.
    pub(crate) fn at(snapshot: &Snapshot, frontend: usize, bind: usize) -> Protocols {
        let frontend = snapshot.frontends.get(frontend);
        let bind = frontend.and_then(|frontend| frontend.binds.get(bind));
        bind.map_or(Protocols::Http1, Protocols::in_the_clear)
    }

    /// What is spoken after a TLS handshake in which this was agreed on. Who names nothing gets HTTP/1.1, if that is spoken at all:
    /// whoever speaks HTTP/2 over TLS says so (RFC 9113 §3.2).
    pub(crate) fn chosen(self, agreed: Option<Protocol>) -> Protocols {
        match (agreed, self) {
            (Some(Protocol::Http2), _) | (None, Protocols::Http2) => Protocols::Http2,
            (Some(Protocol::Http1) | None, _) => Protocols::Http1,
        }
    }

    fn in_the_clear(bind: &BindSettings) -> Protocols {
        let has = |protocol| bind.protocols.contains(&protocol);
        match (has(Protocol::Http1), has(Protocol::Http2)) {
            (_, false) => Protocols::Http1,
            (false, true) => Protocols::Http2,
            (true, true) => Protocols::Both,
        }
    }
}

/// Who of a shard speaks HTTP/2.
#[derive(Default)]
pub(crate) struct Connections {
    /// The tasks of the connections.
    tasks: RefCell<HashSet<u32>>,
    /// Their streams.
    streams_open: Cell<u32>,
}

impl Connections {
    /// The tasks, to be woken when the shard begins to drain.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.tasks.borrow().iter().map(|id| TaskId(*id)).collect()
    }
}

impl Worker {
    /// A stream of a client's connection: its request is here.
    fn begin_stream(&self, client: Box<Client>) {
        self.clients_open.set(self.clients_open.get() + 1);
        self.dispatch(client);
    }
}

/// What clients are told, and what the library bounds.
fn settings(limits: &Limits) -> h2::server::Builder {
    let list = limits.head_bytes_max + FIELD_OVERHEAD_BYTES * limits.headers_count_max;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        // Resets are metered; these are the streams that the library remembers for late frames.
        .max_concurrent_reset_streams(STREAMS_MAX as usize)
        .max_pending_accept_reset_streams(STREAMS_MAX as usize)
        .max_local_error_reset_streams(Some(1024))
        .reset_stream_duration(Duration::from_secs(1))
        .enable_connect_protocol();
    builder
}

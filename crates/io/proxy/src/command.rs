//! What the control plane tells a shard, and what a shard tells back.
//!
//! Owns the two vocabularies. Invariant: messages own what they carry; nothing in them is shared and written.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tidegate_health::Standing;
use tidegate_ring::PeerAddress;

use crate::settings::Snapshot;
use crate::upstream::place::Spot;

/// A listening address of the process, the same over reloads as long as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// One listening address as a shard is to have it.
#[derive(Debug)]
pub struct ListenerSpec {
    /// Which one.
    pub id: ListenerId,
    /// Index of its frontend in the snapshot.
    pub frontend: usize,
    /// Its index in the frontend's binds.
    pub bind: usize,
    /// All shards accept from one queue (a Unix socket, an inherited one) instead of one each.
    pub shared: bool,
    /// Connections that the kernel may complete ahead of the shard; `None` when that is up to whom the socket is from.
    pub backlog: Option<u32>,
    /// The shard's own socket, when the shard does not have it yet.
    pub socket: Option<OwnedFd>,
}

/// Servers that are not what they were.
#[derive(Clone, Debug)]
pub struct ServerStates {
    /// The snapshot in which the indices count.
    pub generation: u64,
    /// The turn of the control executor in which the first of the changes was decided: from then on shards work by what is not so.
    pub decided: Instant,
    /// The newest standing of each of them.
    pub changes: Vec<ServerChange>,
}

/// A server that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerChange {
    /// Index of its backend in the snapshot.
    pub backend: usize,
    /// Its index in the backend.
    pub server: usize,
    /// What it is now.
    pub standing: Standing,
    /// Where its name is; none where it is nowhere, or has none.
    pub spot: Option<Spot>,
}

/// To a shard.
pub enum Command {
    /// Work from this snapshot and listen on exactly these addresses. Requests in flight finish on what they started with.
    Apply(Arc<Snapshot>, Vec<ListenerSpec>),
    /// Servers have gone up, down, or changed their weight.
    ServerStates(Arc<ServerStates>),
    /// Accept nothing more, close idle connections, end when the last request is answered.
    Drain,
    /// End now.
    Stop,
}

/// From a shard.
pub enum Report {
    /// The shard works from the snapshot with this generation.
    Applied(u64),
    /// A snapshot that is not used any more, to be freed where it was made.
    Retired(Arc<Snapshot>),
    /// Something for the log.
    Event(Event),
    /// The last connection is closed after [`Command::Drain`].
    Drained,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A request was refused because it is invalid or beyond a limit.
    RequestRejected,
    /// A request failed.
    RequestFailed,
    /// A connection cost more than it brought, and was ended.
    ConnectionFlooded,
    /// A client broke a rule of HTTP/2 that ends its connection.
    ConnectionMalformed,
    /// A client broke a rule of HTTP/2 that ends a stream, and no request was read from it.
    StreamMalformed,
    /// Accepting failed; it goes on after a pause.
    AcceptFailed,
    /// There is no TLS connection with a client.
    HandshakeFailed,
    /// A connection to a server that many requests share has ended by a fault.
    ServerConnectionEnded,
    /// A connection's task panicked; its connection is closed.
    Panicked,
}

/// Something an operator wants to read. Rare: allocating for it is fine.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// At which frontend.
    pub frontend: Option<Arc<str>>,
    /// For which backend.
    pub backend: Option<Arc<str>>,
    /// At which server.
    pub server: Option<Arc<str>>,
    /// To which client.
    pub peer: Option<PeerAddress>,
    /// The status answered, 0 for none.
    pub status: u16,
    /// The reason, the same word as in the metrics.
    pub reason: &'static str,
    /// More about it: the rule that was broken, an error's text.
    pub detail: String,
    /// HAProxy's two letters of who ended the request and when.
    pub flags: String,
    /// Attempts after the first.
    pub retries: u8,
}

impl Event {
    /// An event with nothing but its kind and reason.
    pub fn new(kind: EventKind, reason: &'static str) -> Event {
        Event {
            kind,
            frontend: None,
            backend: None,
            server: None,
            peer: None,
            status: 0,
            reason,
            detail: String::new(),
            flags: String::new(),
            retries: 0,
        }
    }
}

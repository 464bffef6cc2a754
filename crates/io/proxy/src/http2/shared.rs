//! What a connection and its streams share.
//!
//! Owns the count of streams, the meter of frames and the parser's room; leaves acting on them to `connection`. Invariant: a
//! stream is counted from its opening to its drop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tidegate_http1::ResponseHead;
use tidegate_http2::{Flood, Meter};
use tidegate_ring::PeerAddress;
use tidegate_shard::TaskId;

use super::piece::Queued;
use super::resets::Resets;
use super::{CONNECTION_QUEUED_BYTES_MAX, STREAM_QUEUED_BYTES_LEAST};
use crate::site::Entrance;
use crate::stream::Facts;
use crate::worker::Worker;

pub(crate) struct Shared {
    worker: Rc<Worker>,
    /// The connection's task.
    task: TaskId,
    pub(super) entrance: Rc<Entrance>,
    pub(super) peer: PeerAddress,
    pub(super) local: PeerAddress,
    /// What the TLS handshake has said, if there was one.
    pub(super) tls: Option<Arc<Facts>>,
    meter: RefCell<Meter>,
    flood: Cell<Option<Flood>>,
    pub(super) resets: Resets,
    /// Room for the heads of responses.
    pub(super) head: RefCell<ResponseHead>,
    streams_open: Cell<u32>,
    /// Bytes of responses that all streams have queued.
    queued: Rc<Cell<usize>>,
    /// When there was a stream or a byte of the client last.
    active_at: Cell<Instant>,
    /// The end has been sent.
    pub(super) is_finished: Cell<bool>,
}

impl Shared {
    pub(super) fn new(
        worker: &Rc<Worker>,
        task: TaskId,
        entrance: &Rc<Entrance>,
        (peer, local): (PeerAddress, PeerAddress),
        tls: Option<Arc<Facts>>,
    ) -> Rc<Shared> {
        let now = worker.shard.clock.now();
        Rc::new(Shared {
            worker: worker.clone(),
            task,
            entrance: entrance.clone(),
            peer,
            local,
            tls,
            meter: RefCell::new(Meter::new(now)),
            flood: Cell::new(None),
            resets: Resets::default(),
            head: RefCell::default(),
            streams_open: Cell::new(0),
            queued: Rc::default(),
            active_at: Cell::new(now),
            is_finished: Cell::new(false),
        })
    }

    pub(super) fn note_received(&self, now: Instant, bytes: &[u8]) {
        if let Err(flood) = self.meter.borrow_mut().receive(bytes, now) {
            self.flood.set(Some(flood));
        }
    }

    /// The library has found a flood.
    pub(super) fn note_flood(&self, flood: Flood) {
        self.flood.set(Some(flood));
    }

    pub(super) fn is_flooding(&self) -> bool {
        self.flood.get().is_some()
    }

    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood.get()
    }

    pub(super) fn streams_open(&self) -> u32 {
        self.streams_open.get()
    }

    /// What a new stream counts its queue in.
    pub(super) fn new_queue(&self) -> Rc<Queued> {
        Queued::of(&self.queued, &self.worker.shard.ring)
    }

    /// How much one stream may have queued that alone could have `queued_max`.
    pub(super) fn queue_share(&self, queued_max: usize) -> usize {
        if self.queued.get() > CONNECTION_QUEUED_BYTES_MAX {
            queued_max.min(STREAM_QUEUED_BYTES_LEAST)
        } else {
            queued_max
        }
    }

    pub(super) fn active_at(&self) -> Instant {
        self.active_at.get()
    }

    pub(super) fn open_stream(&self) {
        self.streams_open.set(self.streams_open.get() + 1);
        let streams = &self.worker.http2.streams_open;
        streams.set(streams.get() + 1);
        let stats = &self.entrance.frontend().stats;
        stats.http2_streams_total.increment();
        stats.http2_streams_open.increment();
    }

    /// `answered`: by a whole response.
    pub(super) fn close_stream(&self, answered: bool) {
        if answered {
            self.meter.borrow_mut().note_answered();
        }
        self.streams_open.set(self.streams_open.get() - 1);
        let streams = &self.worker.http2.streams_open;
        streams.set(streams.get() - 1);
        let stats = &self.entrance.frontend().stats;
        stats.http2_streams_open.decrement();
        if !answered {
            stats.http2_streams_reset.increment();
        }
        self.active_at.set(self.worker.shard.clock.now());
        if self.streams_open.get() == 0 {
            self.worker.shard.tasks.wake(self.task);
        }
    }
}

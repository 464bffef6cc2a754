//! The load generator: connections, requests and responses of one run on one thread. Owns the
//! event handling; when requests are due is the pacer's, what bytes mean the protocol's, what is
//! counted the recorder's.
//!
//! Invariant: per request one send and one receive, no allocation, and in a closed loop no reading
//! of the clock beyond one per batch, because the generator shares its core with the origin.

mod measure;
mod slot;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clock::{Clock, nanos};
use crate::harness::Harness;
use crate::pacer::{Load, Pacer};
use crate::poller::{Poller, Readiness};
use crate::protocol::http1::Persistence;
use crate::protocol::{Exchange, Protocol, Session};
use crate::recorder::{Failure, Recorder};

pub use measure::{Observer, Outcome, Window};
use slot::{Phase, Received, Slot};

/// Large enough to empty a full loopback socket in one call.
const RECEIVE_BYTES: usize = 256 << 10;
/// Handshakes under way at a time: below the smallest listen queue in use (128).
const OPENING_MAX: usize = 64;
/// Pause between two such batches: a handshake ends before the server accepts, so only time keeps
/// two thousand connections from overflowing a listen queue of 128 (16,000 a second at most).
const OPENING_PAUSE: Duration = Duration::from_millis(4);
/// Connecting may take this many request time-outs: a lost SYN is sent again after a second.
const CONNECT_TIMEOUTS: u32 = 4;
/// Time-outs and reconnections are looked at this often.
const SWEEP: Duration = Duration::from_millis(50);
/// A run with more errors than this is given up: it measures nothing.
const ERRORS_MAX: u64 = 20_000;

/// What to connect to and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server or proxy.
    pub target: SocketAddr,
    /// Concurrent connections (at least 1).
    pub connections: usize,
    /// Whether a connection carries one request or many.
    pub persistence: Persistence,
    /// A request without a complete response for this long has failed.
    pub timeout: Duration,
    /// Client addresses 127.0.0.1 … 127.0.0.`sources` used in turn; 1 leaves it to the kernel.
    pub sources: u8,
}

/// The connections of one run.
#[derive(Debug)]
pub struct Generator<P: Protocol> {
    protocol: P,
    settings: Settings,
    clock: Clock,
    load: Load,
    slots: Vec<Slot<P::Session>>,
    pacer: Pacer,
    recorder: Recorder,
    buffer: Vec<u8>,
    done: Vec<Exchange>,
    /// Slots to be opened (keep-alive) as soon as fewer than [`OPENING_MAX`] are connecting.
    unopened: Vec<usize>,
    /// Slots that failed; they rest until the next sweep so that a dead server is not hammered.
    resting: Vec<usize>,
    opening: usize,
    /// Requests of the measured window that are under way.
    in_window: u64,
}

impl<P: Protocol> Generator<P> {
    /// A generator with no connection open yet.
    pub fn new(protocol: P, settings: Settings, harness: &Harness) -> Self {
        let connections = settings.connections.max(1);
        Self {
            slots: (0..connections).map(|_| Slot::new(protocol.session())).collect(),
            pacer: Pacer::new(connections),
            recorder: Recorder::new(),
            buffer: vec![0; RECEIVE_BYTES],
            done: Vec::with_capacity(16),
            unopened: (0..connections).rev().collect(),
            resting: Vec::new(),
            opening: 0,
            in_window: 0,
            load: Load::Saturate,
            clock: harness.clock,
            protocol,
            settings,
        }
    }

    /// Opens all connections (keep-alive) or makes all places available (one request each).
    ///
    /// # Errors
    /// When not all are open in time.
    pub fn connect(&mut self, harness: &mut Harness) -> io::Result<()> {
        if self.settings.persistence == Persistence::Close {
            for index in std::mem::take(&mut self.unopened) {
                self.pacer.release(self.slots[index].token(index));
            }
            return Ok(());
        }
        let mut next_ns = self.clock.now_ns();
        let deadline = next_ns + nanos(self.settings.timeout * CONNECT_TIMEOUTS);
        loop {
            if self.clock.now_ns() >= next_ns {
                next_ns = self.clock.now_ns() + nanos(OPENING_PAUSE);
                self.sweep(self.clock.now_ns());
                self.open_more(&harness.poller);
            }
            if self.opening == 0 && self.unopened.is_empty() && self.resting.is_empty() {
                return Ok(());
            }
            if self.clock.now_ns() > deadline {
                let open = self.slots.iter().filter(|slot| slot.phase == Phase::Open).count();
                let wanted = self.slots.len();
                return Err(io::Error::other(format!("{open} of {wanted} connections opened")));
            }
            self.turn(harness, OPENING_PAUSE)?;
        }
    }

    /// Sends one request on each of the first `count` connections that has not had one, `batch_max`
    /// at a time, and leaves them open and silent.
    ///
    /// # Errors
    /// When a request fails or an answer is missing after the time-out.
    pub fn once_each(
        &mut self,
        harness: &mut Harness,
        indices: std::ops::Range<usize>,
        batch_max: usize,
    ) -> io::Result<()> {
        self.load = Load::OnceEach;
        let mut indices = indices.into_iter();
        loop {
            let batch = indices.by_ref().take(batch_max.clamp(1, OPENING_MAX)).collect::<Vec<_>>();
            if batch.is_empty() {
                return Ok(());
            }
            let answered = self.recorder.completed() + batch.len() as u64;
            self.pacer.offer(Load::OnceEach, 0);
            self.unopened.clone_from(&batch);
            self.open_more(&harness.poller);
            let deadline = self.clock.now_ns() + nanos(self.settings.timeout);
            while self.recorder.completed() < answered {
                self.turn(harness, SWEEP)?;
                let errors = self.recorder.errors();
                if errors.total() > 0 || self.clock.now_ns() > deadline {
                    return Err(io::Error::other(format!("a connection failed: {errors:?}")));
                }
            }
        }
    }

    /// One batch of events.
    fn turn(&mut self, harness: &mut Harness, timeout: Duration) -> io::Result<()> {
        harness.turn(Some(timeout), |poller, event, batch_ns| {
            self.on_event(poller, event, batch_ns);
        })
    }

    fn on_event(&mut self, poller: &Poller, event: Readiness, batch_ns: u64) {
        let index = Slot::<P::Session>::index_of(event.token);
        match self.slots.get(index) {
            Some(slot) if slot.token(index) == event.token => {}
            _ => return,
        }
        if self.slots[index].phase == Phase::Connecting && !self.connected(index, event, batch_ns) {
            return;
        }
        if event.writable && !self.slots[index].out.is_empty() {
            self.flush(index, batch_ns);
        }
        if event.closed && self.slots[index].phase == Phase::Finishing {
            // The response was complete; the end of the stream needs no receive to be seen.
            self.ended(index, batch_ns, poller);
        } else if event.readable {
            self.read(index, event, batch_ns, poller);
        }
        let now_ns = match self.load {
            Load::Rate(_) => self.clock.now_ns(),
            Load::Saturate | Load::OnceEach => batch_ns,
        };
        self.dispatch(poller, now_ns);
    }

    /// Moves a connecting slot on; false when nothing more is to be done with the event.
    fn connected(&mut self, index: usize, event: Readiness, now_ns: u64) -> bool {
        if event.closed && self.slots[index].has_error() {
            self.fail(index, Failure::Connect, now_ns);
            return false;
        }
        if !event.writable {
            return false;
        }
        let slot = &mut self.slots[index];
        slot.phase = Phase::Open;
        if self.settings.persistence == Persistence::KeepAlive {
            self.opening -= 1;
            self.pacer.release(slot.token(index));
        }
        true
    }

    fn read(&mut self, index: usize, event: Readiness, now_ns: u64, poller: &Poller) {
        loop {
            let slot = &mut self.slots[index];
            match slot.receive(&mut self.buffer) {
                Received::Bytes(count) => {
                    let bytes = &self.buffer[..count];
                    if slot.session.receive(bytes, &mut slot.out, &mut self.done).is_err() {
                        return self.fail(index, Failure::Malformed, now_ns);
                    }
                    // A full buffer may have left bytes behind; a short read may not.
                    if count == self.buffer.len() {
                        continue;
                    }
                    if event.closed {
                        return self.ended(index, now_ns, poller);
                    }
                }
                Received::Nothing => {}
                Received::End => return self.ended(index, now_ns, poller),
                Received::Broken => return self.fail(index, Failure::Reset, now_ns),
            }
            if !self.done.is_empty() {
                self.finished(index, now_ns, poller);
            } else if !self.slots[index].out.is_empty() {
                self.flush(index, now_ns);
            }
            return;
        }
    }

    /// Exchanges of a slot are complete and the connection is still open.
    #[inline]
    fn finished(&mut self, index: usize, now_ns: u64, poller: &Poller) {
        let reusable = self.done.iter().all(|exchange| exchange.reusable);
        self.record_done(now_ns);
        let slot = &mut self.slots[index];
        if self.settings.persistence == Persistence::Close {
            slot.phase = Phase::Finishing;
        } else if !reusable {
            self.reopen(index, poller);
        } else if self.load != Load::OnceEach {
            self.pacer.release(slot.token(index));
        }
    }

    /// The server closed: the end of a response, of an idle connection, or too early.
    fn ended(&mut self, index: usize, now_ns: u64, poller: &Poller) {
        self.slots[index].session.end_of_stream(&mut self.done);
        let failed = self.done.iter().any(|exchange| exchange.outcome.is_err());
        self.record_done(now_ns);
        if failed {
            self.slots[index].close();
            self.resting.push(index);
        } else if self.settings.persistence == Persistence::Close {
            self.slots[index].close();
            self.pacer.release(self.slots[index].token(index));
        } else {
            self.reopen(index, poller);
        }
    }

    /// Sends due requests on free connections.
    #[inline]
    fn dispatch(&mut self, poller: &Poller, now_ns: u64) {
        while let Some(token) = self.pacer.due_connection(now_ns) {
            let index = Slot::<P::Session>::index_of(token);
            // A connection that closed while it was free comes back by itself.
            if self.slots[index].token(index) != token {
                continue;
            }
            let intended_ns = self.pacer.take_request(now_ns);
            if self.recorder.in_window(intended_ns) {
                self.in_window += 1;
            }
            if self.settings.persistence == Persistence::Close && !self.open(index, poller) {
                self.done.push(Exchange {
                    intended_ns,
                    outcome: Err(Failure::Connect),
                    reusable: false,
                });
                self.record_done(now_ns);
                continue;
            }
            let slot = &mut self.slots[index];
            slot.since_ns = now_ns;
            slot.session.begin(intended_ns, &mut slot.out);
            self.flush(index, now_ns);
        }
    }

    fn flush(&mut self, index: usize, now_ns: u64) {
        if self.slots[index].flush().is_err() {
            self.fail(index, Failure::Reset, now_ns);
        }
    }

    fn open(&mut self, index: usize, poller: &Poller) -> bool {
        let session = self.protocol.session();
        let source = self.source(index);
        let slot = &mut self.slots[index];
        if slot.open(index, self.settings.target, source, session, poller).is_ok() {
            return true;
        }
        slot.close();
        self.resting.push(index);
        false
    }

    fn source(&self, index: usize) -> Option<Ipv4Addr> {
        let loopback = self.settings.target.is_ipv4() && self.settings.sources > 1;
        let last = u8::try_from(index % usize::from(self.settings.sources.max(1))).ok()?;
        loopback.then(|| Ipv4Addr::new(127, 0, 0, last.saturating_add(1)))
    }

    fn open_more(&mut self, poller: &Poller) {
        let now_ns = self.clock.now_ns();
        while self.opening < OPENING_MAX {
            let Some(index) = self.unopened.pop() else { return };
            self.slots[index].since_ns = now_ns;
            if self.open(index, poller) {
                self.opening += 1;
            } else {
                self.recorder.failure(Failure::Connect, u64::MAX, now_ns);
            }
        }
    }

    fn reopen(&mut self, index: usize, poller: &Poller) {
        self.slots[index].close();
        self.unopened.push(index);
        self.open_more(poller);
    }

    /// Counts what was in flight as failed and lets the slot rest.
    fn fail(&mut self, index: usize, failure: Failure, now_ns: u64) {
        let slot = &mut self.slots[index];
        if slot.phase == Phase::Connecting && self.settings.persistence == Persistence::KeepAlive {
            self.opening -= 1;
        }
        slot.session.abandon(failure, &mut self.done);
        slot.close();
        if self.done.is_empty() {
            self.recorder.failure(failure, u64::MAX, now_ns);
        }
        self.record_done(now_ns);
        self.resting.push(index);
    }

    #[inline]
    fn record_done(&mut self, now_ns: u64) {
        for exchange in self.done.drain(..) {
            if self.recorder.in_window(exchange.intended_ns) {
                self.in_window = self.in_window.saturating_sub(1);
            }
            match exchange.outcome {
                Ok(bytes) => self.recorder.success(exchange.intended_ns, now_ns, bytes),
                Err(failure) => self.recorder.failure(failure, exchange.intended_ns, now_ns),
            }
        }
    }

    /// Fails what is overdue and wakes what rested.
    fn sweep(&mut self, now_ns: u64) {
        let timeout_ns = nanos(self.settings.timeout);
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let busy = slot.phase == Phase::Connecting
                || slot.phase == Phase::Finishing
                || (slot.phase == Phase::Open && !slot.session.has_room());
            if busy && now_ns.saturating_sub(slot.since_ns) > timeout_ns {
                self.fail(index, Failure::Timeout, now_ns);
            }
        }
        for index in std::mem::take(&mut self.resting) {
            match self.settings.persistence {
                Persistence::KeepAlive => self.unopened.push(index),
                Persistence::Close => self.pacer.release(self.slots[index].token(index)),
            }
        }
    }
}

#[cfg(test)]
mod tests;

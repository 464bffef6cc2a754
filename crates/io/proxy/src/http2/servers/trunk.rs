//! One HTTP/2 connection to a server, as its requests see it.
//!
//! Owns its state, its places for streams and who waits for it; leaves bytes and time to `task`. Invariant: a place is taken from
//! opening a stream until its drop; a connection that is ending gives none.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use h2::client::SendRequest;
use tidegate_exchange::ConnectFailure;
use tidegate_http1::RequestHead;
use tidegate_http2::{Flood, Heard, Meter};
use tidegate_shard::TaskId;

use super::TrunkSettings;
use super::stream::TrunkStream;
use crate::http2::piece::Piece;
use crate::site::Server;
use crate::upstream::connect::DialError;
use crate::worker::Worker;

/// Blocks of fields that a response has: its head and its trailers.
const BLOCKS_PER_ANSWER: u32 = 2;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is being made.
    Dialing,
    /// Streams may be opened.
    Open,
    /// None is opened any more; those that are open go on.
    Leaving,
    /// It is over.
    Ended,
}

/// Why a connection was ended: counted by it, and told in the log where it is a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It had carried nothing for too long, or there were enough idle ones.
    Idle,
    /// It was as old, or had carried as much, as it may; the server goes down, moves or is removed.
    Left,
    /// The server sent GOAWAY and its last streams have ended.
    Goaway,
    /// The server closed it, in the middle or between requests.
    Closed,
    /// It broke.
    Broken,
    /// The server broke the protocol.
    Protocol,
    /// The server did not answer a PING.
    PingTimeout,
    /// The server's frames cost more than they bring.
    Flood,
    /// There was none: it could not be made.
    Dial,
}

impl Ended {
    pub(crate) const LABELS: [&'static str; 9] =
        ["idle", "left", "goaway", "closed", "broken", "protocol", "ping_timeout", "flood", "dial"];

    pub(crate) fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

/// A connection.
pub(crate) struct Trunk {
    pub(super) server: Rc<Server>,
    worker: Rc<Worker>,
    task: Cell<Option<TaskId>>,
    pub(super) opened: Instant,
    pub(super) settings: TrunkSettings,
    pub(super) epoch: u32,
    state: Cell<State>,
    pub(super) send: RefCell<Option<SendRequest<Piece>>>,
    streams: Cell<u32>,
    requests: Cell<u32>,
    /// Streams that the server allows at a time.
    pub(super) streams_max: Cell<u32>,
    /// Requests that wait until it is there.
    waiting: Cell<u32>,
    waiters: RefCell<Vec<TaskId>>,
    meter: RefCell<Meter>,
    pub(super) flood: Cell<Option<Flood>>,
    /// When something came last.
    pub(super) heard_at: Cell<Instant>,
    /// When it had a stream last.
    pub(super) active_at: Cell<Instant>,
    /// Room for the heads of requests.
    pub(super) head: Rc<RefCell<RequestHead>>,
    pub(super) failure: Cell<Option<ConnectFailure>>,
    /// The same with its cause, for whoever asks first.
    pub(super) error: RefCell<Option<DialError>>,
    pub(super) is_finished: Cell<bool>,
    is_aborted: Cell<bool>,
    /// What came first is an answer in HTTP/1.
    pub(super) is_http1: Cell<bool>,
    /// The scheme of what is asked for on it.
    pub(super) is_secure: bool,
}

impl Trunk {
    pub(super) fn new(worker: &Rc<Worker>, server: &Rc<Server>, epoch: u32) -> Rc<Trunk> {
        let now = worker.shard.clock.now();
        Rc::new(Trunk {
            server: server.clone(),
            worker: worker.clone(),
            task: Cell::new(None),
            opened: now,
            settings: server.trunks.settings().expect("a server has them from its making"),
            epoch,
            state: Cell::new(State::Dialing),
            send: RefCell::new(None),
            streams: Cell::new(0),
            requests: Cell::new(0),
            streams_max: Cell::new(0),
            waiting: Cell::new(0),
            waiters: RefCell::default(),
            meter: RefCell::new(Meter::of_server(now)),
            flood: Cell::new(None),
            heard_at: Cell::new(now),
            active_at: Cell::new(now),
            head: Rc::default(),
            failure: Cell::new(None),
            error: RefCell::new(None),
            is_finished: Cell::new(false),
            is_aborted: Cell::new(false),
            is_http1: Cell::new(false),
            is_secure: server.tls.is_some(),
        })
    }

    pub(super) fn set_task(&self, task: TaskId) {
        self.task.set(Some(task));
    }

    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    /// The next state; those who wait look again.
    pub(super) fn set_state(&self, state: State) {
        let was_idle = self.is_idle();
        self.state.set(state);
        self.note_idle(was_idle);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        waiters.into_iter().for_each(|task| self.worker.shard.tasks.wake(task));
    }

    /// Requests that it has carried.
    pub(super) fn requests(&self) -> u32 {
        self.requests.get()
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.get()
    }

    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.get()
    }

    /// Whether it is there and carries nothing.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state.get(), State::Open | State::Leaving) && self.streams.get() == 0
    }

    fn note_idle(&self, was: bool) {
        let idle = &self.server.stats.connections_idle;
        match (was, self.is_idle()) {
            (false, true) => idle.increment(),
            (true, false) => idle.decrement(),
            _ => {}
        }
    }

    /// Whether it goes to where the server is now.
    pub(super) fn is_current(&self) -> bool {
        self.server.place.is_at(self.epoch)
    }

    /// Takes note of how many streams the server allows. What another machine allowed that was there before says nothing.
    pub(super) fn note_allowed(&self, streams: u32) {
        if self.is_current() {
            self.server.trunks.note_allowed(streams);
        }
    }

    /// Takes note that the server has not chosen HTTP/2.
    pub(super) fn note_refused(&self) {
        if self.is_current() {
            self.server.trunks.note_spoken(false);
        }
    }

    /// Whether a stream can be opened on it.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.state.get() == State::Open
            && self.streams.get() < self.streams_max.get().min(self.settings.http2.streams_max)
            && self.is_current()
            && !self.heard().goaway
            && self.settings.pool.may_carry_more(self, now)
    }

    /// Whether it is being made and not waited for by as many requests as it may carry, of which the server will allow so many.
    pub(super) fn may_be_waited_for(&self, allowed: u32) -> bool {
        self.state.get() == State::Dialing
            && self.waiting.get() < self.settings.http2.streams_max.min(allowed)
            && self.is_current()
    }

    /// Takes a place.
    pub(super) fn open_stream(self: &Rc<Self>) -> Option<Rc<TrunkStream>> {
        let send = self.send.borrow().clone()?;
        let was_idle = self.is_idle();
        self.streams.set(self.streams.get() + 1);
        self.requests.set(self.requests.get().saturating_add(1));
        self.note_idle(was_idle);
        self.server.stats.http2_streams_open.increment();
        Some(TrunkStream::new(
            Some(self),
            &self.head,
            &self.worker.shard.ring,
            self.is_secure,
            send,
        ))
    }

    /// A stream has ended. `answered`: with a head, behind which there may have been trailers.
    pub(super) fn close_stream(&self, answered: bool) {
        let was_idle = self.is_idle();
        self.streams.set(self.streams.get() - 1);
        self.note_idle(was_idle);
        self.server.stats.http2_streams_open.decrement();
        self.active_at.set(self.worker.shard.clock.now());
        if answered {
            let mut meter = self.meter.borrow_mut();
            (0..BLOCKS_PER_ANSWER).for_each(|_| meter.note_answered());
        }
        if self.streams.get() == 0 {
            let is_one_too_many = self.server.trunks.idle() > self.settings.pool.idle_max;
            if is_one_too_many && self.state.get() == State::Open {
                self.set_state(State::Leaving);
            }
            self.wake();
        }
    }

    /// Gives no places any more.
    pub(super) fn leave(&self) {
        if self.state.get() == State::Open {
            self.set_state(State::Leaving);
        }
        self.wake();
    }

    /// Ends now, with whatever it carries.
    pub(super) fn abort(&self) {
        self.is_aborted.set(true);
        self.leave();
    }

    fn wake(&self) {
        if let Some(task) = self.task.get() {
            self.worker.shard.tasks.wake(task);
        }
    }

    pub(super) fn note_received(&self, now: Instant, bytes: &[u8]) {
        self.heard_at.set(now);
        if self.state.get() == State::Dialing && bytes.starts_with(b"HTTP/1.") {
            self.is_http1.set(true);
        }
        if let Err(flood) = self.meter.borrow_mut().receive(bytes, now) {
            self.flood.set(Some(flood));
        }
    }

    pub(super) fn heard(&self) -> Heard {
        self.meter.borrow().heard()
    }

    /// The current task waits until it is there.
    fn wait(&self) {
        if let Some(task) = self.worker.shard.tasks.current() {
            let mut waiters = self.waiters.borrow_mut();
            if !waiters.contains(&task) {
                waiters.push(task);
            }
        }
    }

    fn add_waiting(&self, by: i32) {
        self.waiting.set(self.waiting.get().saturating_add_signed(by));
    }

    /// What has become of it for one that waits.
    fn outcome(self: &Rc<Self>, now: Instant) -> Outcome {
        match self.state.get() {
            State::Dialing => Outcome::Pending,
            State::Open if self.has_room(now) => {
                self.open_stream().map_or(Outcome::Again, Outcome::Stream)
            }
            State::Open | State::Leaving => Outcome::Again,
            State::Ended => match (self.error.borrow_mut().take(), self.failure.get()) {
                (Some(error), _) => Outcome::Failed(error),
                (None, Some(failure)) => Outcome::Failed(DialError::Shared(failure)),
                (None, None) => Outcome::Again,
            },
        }
    }
}

/// What has become of a connection for one that waits for it.
pub(crate) enum Outcome {
    Pending,
    Stream(Rc<TrunkStream>),
    /// It is there, but not for this one.
    Again,
    Failed(DialError),
}

/// A request that waits for a connection, counted while it does.
pub(crate) struct Wait(Rc<Trunk>);

impl Wait {
    pub(crate) fn new(trunk: Rc<Trunk>) -> Wait {
        trunk.add_waiting(1);
        Wait(trunk)
    }

    /// What has become of it; if nothing has, the current task is woken when something does.
    pub(crate) fn outcome(&self, now: Instant) -> Outcome {
        let outcome = self.0.outcome(now);
        if matches!(outcome, Outcome::Pending) {
            self.0.wait();
        }
        outcome
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.add_waiting(-1);
    }
}

//! HTTP/2 to servers: connections of one shard to one server that carry many requests (ADR 0018).
//!
//! Owns which connection a request goes on and when another one is made; leaves one connection's life to `task`, its state to `trunk`
//! and one request to `stream`. Invariant: a connection is in its server's list from its beginning until its task ends, and never
//! carries more streams than the server or the configuration allows.

mod stream;
mod task;
mod trunk;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidegate_idle::Kept;

pub(crate) use stream::{Fault, Grpc, TrunkStream};
pub(crate) use trunk::{Ended, Outcome, Trunk, Wait};

use crate::settings::PoolSettings;
use crate::site::Server;
use crate::upstream::connect::Dialing;
use crate::worker::Worker;

/// Bytes of one response's body that may be under way or wait here: what a slow client can make a shard hold.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// The most bytes over all streams of a connection. Up to it there is room for the window of each, so that no slow client holds up
/// the others.
const CONNECTION_WINDOW_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Bytes of a response's fields as RFC 9113 §6.5.2 counts them: what `tidegate-http1` takes of a head, and 32 for each line.
const FIELDS_BYTES_MAX: u32 = 16 * 1024 + 32 * 100;

/// As for clients: the bound is elsewhere.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Between two PINGs that nothing but their answer came between. Servers of gRPC take more than two in five minutes for a flood.
const QUIET_PING_INTERVAL: Duration = Duration::from_secs(310);

/// How long a server may take for the last bytes of a connection that ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What connections with HTTP/2 to servers may carry, and how it is found out that they are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerHttp2Settings {
    /// Streams of one connection at a time, unless the server allows fewer.
    pub streams_max: u32,
    /// Silence of the server after which it is asked by a PING whether it is there.
    pub ping_after: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
}

/// What the connections of one server live by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrunkSettings {
    pub(crate) http2: ServerHttp2Settings,
    pub(crate) pool: PoolSettings,
    pub(crate) connect_timeout: Duration,
}

/// The connections to one server.
#[derive(Default)]
pub(crate) struct Trunks {
    list: RefCell<Vec<Rc<Trunk>>>,
    settings: Cell<Option<TrunkSettings>>,
    /// Whether the server was found to speak HTTP/2, where it may choose.
    is_spoken: Cell<bool>,
    /// Streams that the server last allowed on a connection.
    allowed: Cell<Option<u32>>,
}

impl Trunks {
    /// Takes what new connections live by, and those that there are from their next request on.
    pub(crate) fn follow(&self, settings: TrunkSettings) {
        self.settings.set(Some(settings));
    }

    fn settings(&self) -> Option<TrunkSettings> {
        self.settings.get()
    }

    /// A stream on a connection with room.
    pub(crate) fn open(&self, worker: &Worker) -> Option<Rc<TrunkStream>> {
        let list = self.list.borrow();
        let trunk = list.iter().find(|trunk| trunk.has_room(worker.shard.clock.now()))?;
        trunk.open_stream()
    }

    /// Whether one that is being made will have room for another request.
    fn dialing(&self) -> Option<Rc<Trunk>> {
        let list = self.list.borrow();
        let allowed = self.allowed.get().unwrap_or(u32::MAX);
        list.iter().find(|trunk| trunk.may_be_waited_for(allowed)).cloned()
    }

    /// Whether requests are to wait for a shared connection, where the server may choose what it speaks.
    pub(crate) fn is_spoken(&self) -> bool {
        self.is_spoken.get()
    }

    /// Takes note of what the server has chosen.
    pub(crate) fn note_spoken(&self, is: bool) {
        self.is_spoken.set(is);
    }

    /// Forgets what the server was found to speak and allow: another has taken its place.
    pub(crate) fn forget(&self) {
        self.is_spoken.set(false);
        self.allowed.set(None);
    }

    fn note_allowed(&self, streams: u32) {
        self.allowed.set(Some(streams));
    }

    /// No connection takes new streams any more, and each ends with its last one.
    pub(crate) fn leave(&self) {
        let list = self.list.borrow().clone();
        list.iter().for_each(|trunk| trunk.leave());
    }

    /// All end now, with whatever they carry.
    pub(crate) fn abort(&self) {
        let list = self.list.borrow().clone();
        list.iter().for_each(|trunk| trunk.abort());
    }

    /// Connections without streams.
    fn idle(&self) -> usize {
        self.list.borrow().iter().filter(|trunk| trunk.is_idle()).count()
    }

    fn add(&self, trunk: &Rc<Trunk>) {
        self.list.borrow_mut().push(trunk.clone());
    }

    fn remove(&self, trunk: &Trunk) {
        self.list.borrow_mut().retain(|known| !std::ptr::eq(&**known, trunk));
    }
}

impl Kept for Trunk {
    fn opened(&self) -> std::time::Instant {
        self.opened
    }

    fn requests(&self) -> u32 {
        self.requests()
    }
}

impl Worker {
    /// The connection to `server` that a request waits for: one that is being made, or a new one.
    ///
    /// # Errors
    /// None can be begun.
    pub(crate) fn trunk(self: &Rc<Self>, server: &Rc<Server>) -> io::Result<Rc<Trunk>> {
        if let Some(trunk) = server.trunks.dialing() {
            return Ok(trunk);
        }
        let socket = server.place.connect(&self.shard.ring)?;
        let epoch = server.place.epoch();
        Ok(self.begin_trunk(server, epoch, task::Start::Dial(Box::new(socket))))
    }

    /// Speaks HTTP/2 on a connection that has been made for one request. The server may have moved since that began.
    pub(crate) fn adopt_trunk(self: &Rc<Self>, server: &Rc<Server>, made: Dialing) -> Rc<Trunk> {
        let epoch = made.epoch();
        self.begin_trunk(server, epoch, task::Start::Speak(Box::new(made.into_stream())))
    }

    fn begin_trunk(
        self: &Rc<Self>,
        server: &Rc<Server>,
        epoch: u32,
        start: task::Start,
    ) -> Rc<Trunk> {
        let trunk = Trunk::new(self, server, epoch);
        server.trunks.add(&trunk);
        let task = task::run(self.clone(), trunk.clone(), start);
        trunk.set_task(self.shard.tasks.spawn(task));
        trunk
    }
}

#[cfg(test)]
mod tests;

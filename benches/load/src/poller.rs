//! Edge-triggered epoll with nanosecond time-outs. Owns the epoll descriptor and the event buffer;
//! what a token means belongs to the generator and the origin, which share one poller so that both
//! cost a single system call per batch.
//!
//! Invariant: a descriptor is registered once, for everything, and leaves by being closed.
//!
//! `rustix` is used directly because its wait takes a `Timespec` (`epoll_pwait2`): an open-loop
//! schedule of 60,000 requests a second needs waits far below the millisecond of `epoll_wait`.

use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

/// Events taken from the kernel per call. 512 keeps the reaction to a due request below about a
/// millisecond of batch work and makes the cost of the call itself negligible.
const EVENTS_MAX: usize = 512;

/// What the kernel reported about one descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Readiness {
    /// The token given at registration.
    pub token: u64,
    /// Bytes, a connection or an error can be read.
    pub readable: bool,
    /// The socket connected or has room again.
    pub writable: bool,
    /// The peer sent FIN or RST: nothing follows what is already in the socket.
    pub closed: bool,
}

/// The epoll instance of one thread.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// Creates an epoll instance and asks the kernel for exact timers on this thread, since the
    /// default slack of 50 µs would show up as latency.
    ///
    /// # Errors
    /// When the kernel refuses a descriptor.
    pub fn new() -> io::Result<Self> {
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Registers a descriptor for reading, writing and hang-up, edge-triggered.
    ///
    /// # Errors
    /// When the kernel refuses (watch limit, closed descriptor).
    pub fn add(&self, descriptor: impl AsFd, token: u64) -> io::Result<()> {
        let interest = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, descriptor, epoll::EventData::new_u64(token), interest)?)
    }

    /// Waits for events or until the time-out; the batch is handed out by value so that handlers
    /// may register descriptors, and comes back through [`Poller::recycle`].
    ///
    /// # Errors
    /// Whatever `epoll_pwait2` reports, except an interruption, which is an empty batch.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Batch> {
        let timeout = timeout.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Batch(events)),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the buffer of a handled batch back.
    pub fn recycle(&mut self, batch: Batch) {
        self.events = batch.0;
    }
}

/// The events of one wait.
pub struct Batch(Vec<epoll::Event>);

impl Batch {
    /// The events, in the kernel's order.
    pub fn iter(&self) -> impl Iterator<Item = Readiness> + '_ {
        self.0.iter().map(|event| {
            let data = event.data;
            let flags = event.flags;
            let gone = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
            Readiness {
                token: data.u64(),
                readable: flags.intersects(epoll::EventFlags::IN | gone),
                writable: flags.contains(epoll::EventFlags::OUT),
                closed: flags.intersects(gone),
            }
        })
    }
}

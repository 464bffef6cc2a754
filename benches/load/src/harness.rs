//! The event loop of the measuring core: one poller shared by the generator and, when it runs in
//! the same process, the origin. Owns turning the loop and nothing else.
//!
//! Invariant: the origin's events are served in the same batch as the generator's, in the
//! kernel's order, so neither starves the other.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Clock;
use crate::origin::{self, Origin};
use crate::poller::{Poller, Readiness};

/// Poller, clock and origin of this thread.
pub struct Harness {
    /// Where sockets are registered.
    pub poller: Poller,
    /// The time base of all measurements.
    pub clock: Clock,
    origin: Option<Origin>,
}

impl Harness {
    /// A loop for a generator whose origin runs elsewhere.
    ///
    /// # Errors
    /// When epoll is not available.
    pub fn new() -> io::Result<Self> {
        Ok(Self { poller: Poller::new()?, clock: Clock::start(), origin: None })
    }

    /// A loop that also serves an origin at `address`.
    ///
    /// # Errors
    /// When epoll is not available or the address cannot be bound.
    pub fn with_origin(address: SocketAddr) -> io::Result<Self> {
        let mut harness = Self::new()?;
        harness.origin = Some(Origin::listen(address, &harness.poller)?);
        Ok(harness)
    }

    /// Where the origin listens, if this loop has one.
    pub fn origin_address(&self) -> Option<SocketAddr> {
        self.origin.as_ref().map(Origin::address)
    }

    /// What the origin has seen, if this loop has one.
    pub fn origin_counts(&self) -> Option<origin::OriginCounts> {
        self.origin.as_ref().map(Origin::counts)
    }

    /// Has the origin count the most connections that are open at once, if this loop has one.
    pub fn watch_most(&mut self) {
        self.origin.iter_mut().for_each(Origin::watch_most);
    }

    /// Waits for one batch, serves the origin's part of it and hands the rest to `on_event`
    /// together with the time at which the batch arrived: whatever is ready in it came no later,
    /// so the harness's own work on earlier events is not mistaken for the proxy's latency.
    ///
    /// # Errors
    /// When waiting fails or the origin's listener does.
    pub fn turn(
        &mut self,
        timeout: Option<Duration>,
        mut on_event: impl FnMut(&Poller, Readiness, u64),
    ) -> io::Result<()> {
        let batch = self.poller.wait(timeout)?;
        let batch_ns = self.clock.now_ns();
        for event in batch.iter() {
            if event.token & origin::TOKEN_BIT == 0 {
                on_event(&self.poller, event, batch_ns);
            } else if let Some(origin) = &mut self.origin {
                origin.on_event(event, &self.poller)?;
            }
        }
        self.poller.recycle(batch);
        Ok(())
    }
}

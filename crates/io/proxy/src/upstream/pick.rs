//! Picking a server for a request.
//!
//! Owns what a pick is asked with: the loads as this shard sees them, and chance; and what the balancing learns when a
//! request ends. Leaves the choice to `tidegate-balance`. Invariant: every request that goes to a server was picked for it here.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tidegate_balance::{Ask, Loads, NoServer, ServerId};
use tidegate_exchange::NoServerCause;

use crate::site::{Backend, Server};

/// The servers of a backend with their load.
struct ServerLoads<'a> {
    backend: &'a Backend,
    now: Instant,
}

impl ServerLoads<'_> {
    fn server(&self, server: ServerId) -> Option<&Rc<Server>> {
        self.backend.servers.get(server.0 as usize)
    }
}

impl Loads for ServerLoads<'_> {
    #[inline]
    fn in_flight(&self, server: ServerId) -> u32 {
        self.server(server).map_or(0, |server| server.load(self.now))
    }

    #[inline]
    fn total(&self) -> u32 {
        self.backend.load(self.now).saturating_sub(1)
    }

    #[inline]
    fn is_full(&self, server: ServerId) -> bool {
        self.server(server).is_some_and(|server| server.is_full())
    }
}

impl Backend {
    /// Chooses a server for a request. `random` is drawn for this pick; `key` stands for the request where servers are
    /// chosen by a hash.
    #[inline]
    pub(crate) fn pick(
        &self,
        now: Instant,
        random: u64,
        key: Option<u64>,
        avoid: &[ServerId],
    ) -> Result<ServerId, NoServer> {
        let loads = ServerLoads { backend: self, now };
        self.balance.borrow_mut().pick(&Ask { now, random, key, avoid, loads: &loads })
    }

    /// Takes note of how long a server took.
    #[inline]
    pub(crate) fn observe(&self, server: ServerId, latency: Duration, now: Instant) {
        self.balance.borrow_mut().observe(server, latency, now);
    }

    /// A server is at another address: how long it took says nothing any more.
    pub(crate) fn forget(&self, index: usize) {
        if let Ok(index) = u32::try_from(index) {
            self.balance.borrow_mut().forget(ServerId(index));
        }
    }

    /// Takes note that a request at a server has ended and is not counted any more.
    #[inline]
    pub(crate) fn ended(&self, server: ServerId, now: Instant) {
        self.balance.borrow_mut().ended(server, &ServerLoads { backend: self, now });
    }
}

/// Why there is no server, in the words of the exchange.
pub(crate) const fn cause(none: NoServer) -> NoServerCause {
    match none {
        NoServer::Empty => NoServerCause::Empty,
        NoServer::AllDown => NoServerCause::AllDown,
        NoServer::AllFull => NoServerCause::PoolFull,
    }
}

//! Picking a server for a request.
//!
//! Owns what a pick is asked with: the loads as this shard sees them, and chance; leaves the choice to
//! `tidegate-balance`. Invariant: every request that goes to a server was picked for it here.

use std::rc::Rc;
use std::time::Instant;

use tidegate_balance::{Ask, Loads, NoServer, ServerId};
use tidegate_exchange::NoServerCause;

use crate::site::{Backend, Server};

/// The servers of a backend with their load.
struct ServerLoads<'a> {
    servers: &'a [Rc<Server>],
    now: Instant,
}

impl ServerLoads<'_> {
    fn server(&self, server: ServerId) -> Option<&Rc<Server>> {
        self.servers.get(server.0 as usize)
    }
}

impl Loads for ServerLoads<'_> {
    #[inline]
    fn in_flight(&self, server: ServerId) -> u32 {
        self.server(server).map_or(0, |server| server.in_flight(self.now))
    }

    /// No server has a limit of its own.
    #[inline]
    fn is_full(&self, _: ServerId) -> bool {
        false
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
        let loads = ServerLoads { servers: &self.servers, now };
        self.balance.borrow_mut().pick(&Ask { now, random, key, avoid, loads: &loads })
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

//! How a backend's servers are chosen, as the configuration says it.
//!
//! Owns the settings and the plan that is made of them once for all shards: tables that cost more than a
//! shard should spend. Invariant: a plan depends on the settings, the names of the servers and their weights
//! alone, so that it is the same after a restart and on another machine.

use std::sync::Arc;
use std::time::Duration;

use crate::hash::{Maglev, Ring};
use crate::pool::Pool;
use crate::server::ServerSettings;

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// In turns, as often as the weights say.
    #[default]
    RoundRobin,
    /// The one with the fewest requests for its weight; in turns among equals.
    LeastConn,
    /// The first that is not full, in the order of the configuration.
    First,
    /// The less loaded of some drawn at random.
    Random {
        /// How many are drawn, at least 1.
        draws: u8,
    },
    /// By the request's key; in turns for requests without one.
    Hash {
        /// How a key leads to a server.
        method: HashMethod,
        /// How far above the mean a server may be loaded before its keys go elsewhere; none: as far as
        /// they lead.
        balance_factor: Option<BalanceFactor>,
    },
    /// The better of two drawn at random: latency times requests in flight.
    PeakEwma,
    /// Of some that were looked at lately: the fastest that is not busy, or the least busy.
    Prequal,
}

/// How a key leads to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashMethod {
    /// By the place of the key's hash in the sum of all weights. Exact shares; most keys move when a server goes.
    Map,
    /// By a ring of points, many for each server. Nothing moves but what has to.
    Consistent,
    /// By the table of Maglev (Eisenbud et al., NSDI 2016). Nearly exact shares; little else moves.
    Maglev,
}

/// A limit in percent of the mean load, above 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceFactor(u16);

impl BalanceFactor {
    /// The least factor: with 100 there may be no room left.
    pub const MIN: u16 = 101;
    /// The greatest: beyond it nothing would be held back.
    pub const MAX: u16 = 10_000;

    /// The factor, or `None` outside of its range.
    #[must_use]
    pub const fn new(percent: u16) -> Option<Self> {
        if percent >= Self::MIN && percent <= Self::MAX { Some(Self(percent)) } else { None }
    }

    /// In percent.
    #[must_use]
    pub const fn percent(self) -> u16 {
        self.0
    }
}

/// Which backup servers take over when no other server is usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backups {
    /// The first usable one, in the order of the configuration.
    #[default]
    First,
    /// All usable ones.
    All,
}

/// All that the configuration says of a backend's balancing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How a server is chosen.
    pub policy: Policy,
    /// How long a server that came up takes to reach its weight; zero: it has it at once.
    pub slow_start: Duration,
    /// Which backups take over.
    pub backups: Backups,
}

impl From<Policy> for Settings {
    fn from(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }
}

/// What all shards choose by: made once, away from them, and cheap to clone.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) settings: Settings,
    pub(crate) servers: Arc<[ServerSettings]>,
    pub(crate) table: Table,
}

/// What hashes look keys up in.
#[derive(Clone, Debug)]
pub(crate) enum Table {
    /// Nothing beyond the weights.
    None,
    Ring(Arc<Ring>),
    Maglev(Arc<Maglev>),
}

impl Plan {
    /// A plan for these servers. With a hash it makes the table, which takes some milliseconds for 1,000 servers.
    ///
    /// # Panics
    /// With more than [`Pool::SERVERS_MAX`] servers.
    #[must_use]
    pub fn new(settings: Settings, servers: &[ServerSettings]) -> Self {
        assert!(servers.len() <= Pool::SERVERS_MAX, "the configuration holds SERVERS_MAX");
        let table = match settings.policy {
            Policy::Hash { method: HashMethod::Consistent, .. } => {
                Table::Ring(Arc::new(Ring::new(servers)))
            }
            Policy::Hash { method: HashMethod::Maglev, .. } => {
                Table::Maglev(Arc::new(Maglev::new(servers)))
            }
            _ => Table::None,
        };
        Self { settings, servers: servers.into(), table }
    }
}

//! The replica that one shard keeps of a backend's servers.
//!
//! Owns what is known of each server and which of them are usable; whose turn it is among those is
//! the balancing algorithm's. Invariant: the counts of usable servers agree with the servers, and the
//! algorithm's state agrees with both before each pick.

use std::time::{Duration, Instant};

use crate::ask::{Ask, NoServer};
use crate::round_robin::RoundRobin;
use crate::server::{Availability, ServerId, ServerSettings, ServerState, ShardId, Weight};

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// In turns, as often as the weights say.
    #[default]
    RoundRobin,
}

/// The servers of one backend as one shard sees them.
#[derive(Debug)]
pub struct Pool {
    servers: Vec<Server>,
    usable: Usable,
    algorithm: Algorithm,
    /// A server changed since the last pick. Many changes at once cost one rebuild.
    stale: bool,
}

/// The state of the policy in force.
#[derive(Debug)]
enum Algorithm {
    RoundRobin(RoundRobin),
}

#[derive(Debug)]
struct Server {
    backup: bool,
    state: ServerState,
}

/// How many servers are usable.
#[derive(Debug, Default)]
struct Usable {
    primaries: usize,
    backups: usize,
}

impl Pool {
    /// Most servers of one backend. With this many, each of the greatest weight, a period has 2^23
    /// turns, the most for which the round robin's 48-bit arithmetic gives every server exactly its
    /// share.
    pub const SERVERS_MAX: usize = 1 << 15;

    /// A pool of servers that are all up. Shards start at different servers, so that the process as a
    /// whole is even although no shard knows of the others.
    ///
    /// # Panics
    /// With more than [`Pool::SERVERS_MAX`] servers, or a shard that is not below `shards_count`.
    #[must_use]
    pub fn new(
        policy: &Policy,
        servers: &[ServerSettings],
        shard: ShardId,
        shards_count: u16,
    ) -> Self {
        assert!(servers.len() <= Self::SERVERS_MAX, "the configuration holds SERVERS_MAX");
        assert!(shard.0 < shards_count, "a shard's index is below the number of shards");
        let algorithm = match policy {
            Policy::RoundRobin => {
                Algorithm::RoundRobin(RoundRobin::new(servers.len(), shard, shards_count))
            }
        };
        let servers: Vec<Server> = servers
            .iter()
            .map(|settings| Server {
                backup: settings.backup,
                state: ServerState {
                    availability: Availability::Up,
                    weight: settings.weight,
                    since: None,
                },
            })
            .collect();
        let mut usable = Usable::default();
        for server in servers.iter().filter(|server| server.is_usable()) {
            *usable.count_mut(server.backup) += 1;
        }
        let mut pool = Self { servers, usable, algorithm, stale: true };
        pool.rebuild();
        pool
    }

    /// Chooses a server and takes its turn.
    ///
    /// # Errors
    /// If no server is usable, or all that are are full.
    #[inline]
    pub fn pick(&mut self, ask: &Ask<'_>) -> Result<ServerId, NoServer> {
        if self.stale {
            self.rebuild();
        }
        let is_full = |server| ask.loads.is_full(ServerId(server));
        let is_avoided = |server| ask.avoid.contains(&ServerId(server));
        let picked = match &mut self.algorithm {
            Algorithm::RoundRobin(turns) => turns
                .pick(|server| is_avoided(server) || is_full(server))
                .or_else(|| if ask.avoid.is_empty() { None } else { turns.pick(is_full) }),
        };
        picked.map(ServerId).ok_or_else(|| self.none())
    }

    /// Takes note of what is known of a server now. Unknown servers are ignored: the news may be older than
    /// the configuration.
    pub fn set_state(&mut self, server: ServerId, state: ServerState) {
        let Some(server) = usize::try_from(server.0).ok().and_then(|at| self.servers.get_mut(at))
        else {
            return;
        };
        let (usable_before, weight_before) = (server.is_usable(), server.state.weight);
        server.state = state;
        let usable_after = server.is_usable();
        let count = self.usable.count_mut(server.backup);
        *count = *count + usize::from(usable_after) - usize::from(usable_before);
        self.stale |=
            usable_before != usable_after || (usable_after && weight_before != state.weight);
    }

    /// Takes note of how long a server took for a request.
    pub fn observe(&mut self, server: ServerId, latency: Duration, now: Instant) {
        match &mut self.algorithm {
            Algorithm::RoundRobin(_) => {
                let _ = (server, latency, now);
            }
        }
    }

    /// Whether a request without ties may go to the server.
    #[must_use]
    pub fn takes_new(&self, server: ServerId) -> bool {
        self.server(server).is_some_and(Server::is_usable)
    }

    /// Whether a request that is bound to the server may go to it: also while it drains, and with weight zero.
    #[must_use]
    pub fn takes_pinned(&self, server: ServerId) -> bool {
        self.server(server).is_some_and(|server| server.state.availability != Availability::Down)
    }

    /// How many servers requests are spread over at present: the usable backups if nothing else is
    /// usable.
    #[must_use]
    pub const fn usable_count(&self) -> usize {
        if self.usable.primaries > 0 { self.usable.primaries } else { self.usable.backups }
    }

    /// How many servers the backend has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether the backend has no servers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The server's weight; none: there is no such server.
    #[must_use]
    pub fn weight(&self, server: ServerId) -> Option<Weight> {
        self.server(server).map(|server| server.state.weight)
    }

    fn server(&self, server: ServerId) -> Option<&Server> {
        self.servers.get(usize::try_from(server.0).ok()?)
    }

    #[cold]
    const fn none(&self) -> NoServer {
        if self.servers.is_empty() {
            NoServer::Empty
        } else if self.usable_count() == 0 {
            NoServer::AllDown
        } else {
            NoServer::AllFull
        }
    }

    #[cold]
    fn rebuild(&mut self) {
        let backup = self.usable.primaries == 0;
        let usable = (0..)
            .zip(&self.servers)
            .filter(|(_, server)| server.is_usable() && server.backup == backup)
            .map(|(index, server): (u32, _)| (server.state.weight, index));
        match &mut self.algorithm {
            Algorithm::RoundRobin(turns) => {
                turns.rebuild(backup, usable);
                debug_assert_eq!(turns.len(), self.usable_count(), "the counts are kept up");
            }
        }
        self.stale = false;
    }
}

impl Server {
    fn is_usable(&self) -> bool {
        self.state.availability == Availability::Up && self.state.weight > Weight::ZERO
    }
}

impl Usable {
    const fn count_mut(&mut self, backup: bool) -> &mut usize {
        if backup { &mut self.backups } else { &mut self.primaries }
    }
}

//! The replica that one shard keeps of a backend's servers.
//!
//! Owns what is known of each server and which of them are usable; whose turn it is among those is
//! the balancing algorithm's. Invariant: the counts of usable servers agree with the servers, and the
//! algorithm's state agrees with both before each pick.

use crate::round_robin::RoundRobin;
use crate::server::{Availability, ServerId, ServerSettings, ShardId, Weight};

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// In turns, as often as the weights say.
    #[default]
    RoundRobin,
}

/// Why no server can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoServer {
    /// The backend has no servers.
    Empty,
    /// All servers are down, draining or of weight zero.
    AllDown,
}

impl std::fmt::Display for NoServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "the backend has no servers",
            Self::AllDown => "no server of the backend takes requests",
        })
    }
}

impl std::error::Error for NoServer {}

/// The servers of one backend as one shard sees them.
#[derive(Debug)]
pub struct Pool {
    servers: Vec<Server>,
    usable: Usable,
    round_robin: RoundRobin,
    /// A server changed since the last pick. Many changes at once cost one rebuild.
    stale: bool,
}

#[derive(Debug)]
struct Server {
    settings: ServerSettings,
    availability: Availability,
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
        let round_robin = match policy {
            Policy::RoundRobin => RoundRobin::new(servers.len(), shard, shards_count),
        };
        let servers: Vec<Server> = servers
            .iter()
            .map(|&settings| Server { settings, availability: Availability::Up })
            .collect();
        let mut usable = Usable::default();
        for server in servers.iter().filter(|server| server.is_usable()) {
            *usable.count_mut(server.settings.backup) += 1;
        }
        let mut pool = Self { servers, usable, round_robin, stale: true };
        pool.rebuild();
        pool
    }

    /// Chooses a server and takes its turn. `avoid` is skipped if any other server is usable; it is not
    /// skipped in favour of a backup.
    ///
    /// # Errors
    /// If no server is usable.
    #[inline]
    pub fn pick(&mut self, avoid: Option<ServerId>) -> Result<ServerId, NoServer> {
        if self.stale {
            self.rebuild();
        }
        match self.round_robin.pick(avoid.map(|server| server.0)) {
            Some(server) => Ok(ServerId(server)),
            None if self.servers.is_empty() => Err(NoServer::Empty),
            None => Err(NoServer::AllDown),
        }
    }

    /// Takes note of a server that goes up, down or drains. Unknown servers are ignored: the news may
    /// be older than the configuration.
    pub fn set_availability(&mut self, server: ServerId, availability: Availability) {
        self.change(server, |server| server.availability = availability);
    }

    /// Changes a server's weight. Unknown servers are ignored: the news may be older than the
    /// configuration.
    pub fn set_weight(&mut self, server: ServerId, weight: Weight) {
        self.change(server, |server| server.settings.weight = weight);
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

    fn change(&mut self, id: ServerId, change: impl FnOnce(&mut Server)) {
        let Some(server) = usize::try_from(id.0).ok().and_then(|index| self.servers.get_mut(index))
        else {
            return;
        };
        let (usable_before, weight_before) = (server.is_usable(), server.settings.weight);
        change(server);
        let usable_after = server.is_usable();
        let count = self.usable.count_mut(server.settings.backup);
        *count = *count + usize::from(usable_after) - usize::from(usable_before);
        self.stale |= usable_before != usable_after
            || (usable_after && weight_before != server.settings.weight);
    }

    #[cold]
    fn rebuild(&mut self) {
        let backup = self.usable.primaries == 0;
        let usable = (0..)
            .zip(&self.servers)
            .filter(|(_, server)| server.is_usable() && server.settings.backup == backup)
            .map(|(index, server): (u32, _)| (server.settings.weight, index));
        self.round_robin.rebuild(backup, usable);
        self.stale = false;
        debug_assert_eq!(self.round_robin.len(), self.usable_count(), "the counts are kept up");
    }
}

impl Server {
    fn is_usable(&self) -> bool {
        self.availability == Availability::Up && self.settings.weight > Weight::ZERO
    }
}

impl Usable {
    const fn count_mut(&mut self, backup: bool) -> &mut usize {
        if backup { &mut self.backups } else { &mut self.primaries }
    }
}

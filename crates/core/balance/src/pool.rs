//! The replica that one shard keeps of a backend's servers.
//!
//! Owns what is known of each server and which of them requests are spread over; which of these is next is the
//! algorithm's. Invariant: the counts of usable servers agree with the servers, and the members and the algorithm's
//! state agree with both before each pick.

use std::time::{Duration, Instant};

use crate::ask::{Ask, Loads, NoServer};
use crate::first::First;
use crate::hash::Hash;
use crate::latency::Latencies;
use crate::least_conn::LeastConn;
use crate::prequal::Prequal;
use crate::random::Draws;
use crate::round_robin::RoundRobin;
use crate::server::{Availability, Member, ServerId, ServerState, ShardId, Weight};
use crate::settings::{Backups, Plan, Policy};
use crate::slow_start::SlowStart;

/// The servers of one backend as one shard sees them.
#[derive(Debug)]
pub struct Pool {
    servers: Vec<Server>,
    usable: Usable,
    backups: Backups,
    /// What requests are spread over, in the order of the configuration.
    members: Vec<Member>,
    algorithm: Algorithm,
    slow_start: SlowStart,
    /// A server changed since the last pick. Many changes at once cost one rebuild.
    stale: bool,
    /// It is stale, or a server is on its ramp: what a pick asks first.
    unsettled: bool,
}

/// The state of the policy in force. With a tag of its own: one hidden in a field takes three instructions more to read.
#[derive(Debug)]
#[repr(u8)]
enum Algorithm {
    RoundRobin(RoundRobin),
    LeastConn(LeastConn),
    First(First),
    Random(Draws, u8),
    Hash(Hash, RoundRobin),
    PeakEwma(Draws, Latencies),
    Prequal(Box<Prequal>),
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
    /// whole is even although no shard knows of the others' turns.
    ///
    /// # Panics
    /// With a shard that is not below `shards_count`.
    #[must_use]
    pub fn new(plan: &Plan, shard: ShardId, shards_count: u16) -> Self {
        assert!(shard.0 < shards_count, "a shard's index is below the number of shards");
        let state = |weight| ServerState { availability: Availability::Up, weight, since: None };
        let servers: Vec<Server> = plan
            .servers
            .iter()
            .map(|server| Server { backup: server.backup, state: state(server.weight) })
            .collect();
        let mut usable = Usable::default();
        for server in servers.iter().filter(|server| server.is_usable()) {
            *usable.count_mut(server.backup) += 1;
        }
        Self {
            usable,
            backups: plan.settings.backups,
            members: Vec::with_capacity(servers.len()),
            algorithm: Algorithm::new(plan, shard, shards_count),
            slow_start: SlowStart::new(plan.settings.slow_start),
            servers,
            stale: true,
            unsettled: true,
        }
    }

    /// Chooses a server and takes its turn.
    ///
    /// # Errors
    /// If no server is usable, or all that are are full.
    #[inline]
    pub fn pick<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Result<ServerId, NoServer> {
        if self.unsettled && (self.stale || self.slow_start.is_due(ask.now)) {
            self.rebuild(ask.now, ask.loads);
        }
        let picked = self.algorithm.pick(&self.members, ask);
        match picked {
            Some(server) => Ok(ServerId(server)),
            None => self.pick_avoided(ask),
        }
    }

    /// Takes note of what is known of a server now. Unknown servers are ignored: the news may be older than
    /// the configuration.
    pub fn set_state(&mut self, server: ServerId, state: ServerState) {
        let Some(server) = usize::try_from(server.0).ok().and_then(|at| self.servers.get_mut(at))
        else {
            return;
        };
        let (usable_before, before) = (server.is_usable(), server.state);
        server.state = state;
        let usable_after = server.is_usable();
        let count = self.usable.count_mut(server.backup);
        *count = *count + usize::from(usable_after) - usize::from(usable_before);
        let differs = before.weight != state.weight || before.since != state.since;
        self.stale |= usable_before != usable_after || (usable_after && differs);
        self.unsettled |= self.stale;
    }

    /// Takes note of how long a server took for a request, where latency matters.
    #[inline]
    pub fn observe(&mut self, server: ServerId, latency: Duration, now: Instant) {
        match &mut self.algorithm {
            Algorithm::PeakEwma(_, latencies) => {
                latencies.observe(server.0, latency, now);
            }
            Algorithm::Prequal(prequal) => prequal.observe(server.0, latency, now),
            _ => {}
        }
    }

    /// Forgets how long a server took: another machine has taken its place.
    pub fn forget(&mut self, server: ServerId) {
        match &mut self.algorithm {
            Algorithm::PeakEwma(_, latencies) => latencies.forget(server.0),
            Algorithm::Prequal(prequal) => prequal.forget(server.0),
            _ => {}
        }
    }

    /// Takes note that a server has one request less, where that is remembered. Whoever does not tell makes the
    /// pool notice later.
    #[inline]
    pub fn ended<L: Loads>(&mut self, server: ServerId, loads: &L) {
        match &mut self.algorithm {
            Algorithm::LeastConn(least) => least.refresh(server.0, loads),
            Algorithm::First(first) => first.refresh(server.0, &self.members),
            _ => {}
        }
    }

    /// Whether a request without ties may go to the server.
    #[must_use]
    pub fn takes_new(&self, server: ServerId) -> bool {
        self.server(server).is_some_and(Server::is_usable)
    }

    /// Whether requests are spread over the server at present: a backup takes none while another server is usable.
    #[must_use]
    pub fn spreads_over(&self, server: ServerId) -> bool {
        let Some(known) = self.server(server).filter(|server| server.is_usable()) else {
            return false;
        };
        let is_first = || {
            let before = self.servers.iter().take(server.0 as usize);
            self.backups == Backups::All || !before.into_iter().any(Server::is_usable)
        };
        if known.backup { self.usable.primaries == 0 && is_first() } else { true }
    }

    /// Whether a request that is bound to the server may go to it: also while it drains, and with weight zero.
    #[must_use]
    pub fn takes_pinned(&self, server: ServerId) -> bool {
        self.server(server).is_some_and(|server| server.state.availability != Availability::Down)
    }

    /// How many servers requests are spread over at present: usable backups if nothing else is usable.
    #[must_use]
    pub const fn usable_count(&self) -> usize {
        match (self.usable.primaries, self.backups) {
            (0, Backups::All) => self.usable.backups,
            (0, Backups::First) if self.usable.backups > 1 => 1,
            (0, Backups::First) => self.usable.backups,
            (primaries, _) => primaries,
        }
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

    /// Another server than the pick has found, if need be one that was to be avoided; otherwise why there is none.
    #[cold]
    fn pick_avoided<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Result<ServerId, NoServer> {
        let members = &self.members;
        if let Some(server) = self.algorithm.pick_other(members, ask) {
            return Ok(ServerId(server));
        }
        if !ask.avoid.is_empty() {
            let ask = &Ask { avoid: &[], ..*ask };
            let any = self.algorithm.pick(members, ask);
            if let Some(server) = any.or_else(|| self.algorithm.pick_other(members, ask)) {
                return Ok(ServerId(server));
            }
        }
        Err(match (self.servers.is_empty(), self.usable_count()) {
            (true, _) => NoServer::Empty,
            (false, 0) => NoServer::AllDown,
            (false, _) => NoServer::AllFull,
        })
    }

    /// Brings the members up to date.
    #[cold]
    fn rebuild<L: Loads>(&mut self, now: Instant, loads: &L) {
        let backup = self.usable.primaries == 0;
        let count = if backup { self.usable_count() } else { usize::MAX };
        self.slow_start.restart();
        self.members.clear();
        for (index, server) in (0..).zip(&self.servers) {
            if server.is_usable() && server.backup == backup && self.members.len() < count {
                let share = self.slow_start.share(&server.state, now);
                let reciprocal = u32::try_from(share.reciprocal()).unwrap_or(u32::MAX);
                self.members.push(Member { server: index, share, reciprocal });
            }
        }
        self.algorithm.rebuild(backup, &self.members, loads);
        self.stale = false;
        self.unsettled = self.slow_start.is_under_way();
        debug_assert_eq!(self.members.len(), self.usable_count(), "the counts are kept up");
    }
}

impl Algorithm {
    fn new(plan: &Plan, shard: ShardId, shards_count: u16) -> Self {
        let count = plan.servers.len();
        let turns = || RoundRobin::new(count, shard, shards_count);
        match plan.settings.policy {
            Policy::RoundRobin => Self::RoundRobin(turns()),
            Policy::LeastConn => Self::LeastConn(LeastConn::new(count, shard, shards_count)),
            Policy::First => Self::First(First::default()),
            Policy::Random { draws } => Self::Random(Draws::default(), draws.max(1)),
            Policy::Hash { balance_factor, .. } => {
                Self::Hash(Hash::new(plan, balance_factor), turns())
            }
            Policy::PeakEwma => Self::PeakEwma(Draws::default(), Latencies::new(count)),
            Policy::Prequal => Self::Prequal(Box::new(Prequal::new(count))),
        }
    }

    /// In line at the caller's: of a call, a third of what the shortest algorithms take would be its own.
    #[inline(always)]
    fn pick<L: Loads>(&mut self, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        match self {
            Self::RoundRobin(turns) => turns.pick(ask),
            Self::LeastConn(least) => least.pick(ask),
            Self::First(first) => first.pick(members, ask),
            Self::Random(drawn, draws) => {
                drawn.best(*draws, ask.random, members, ask, |member, in_flight| {
                    u64::from(in_flight) * u64::from(member.reciprocal)
                })
            }
            Self::Hash(hash, turns) => match ask.key {
                Some(key) => hash.pick(key, members, ask),
                None => turns.pick(ask),
            },
            Self::PeakEwma(drawn, latencies) => {
                let cost = |member: &Member, in_flight| {
                    peak_ewma_cost(latencies.fading(member.server, in_flight), member, in_flight)
                };
                drawn.best(2, ask.random, members, ask, cost)
            }
            Self::Prequal(prequal) => prequal.pick(ask),
        }
    }

    /// Where a pick finds none without having looked at all.
    fn pick_other<L: Loads>(&self, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        match self {
            Self::Prequal(prequal) => prequal.pick_other(members, ask),
            _ => None,
        }
    }

    fn rebuild<L: Loads>(&mut self, backup: bool, members: &[Member], loads: &L) {
        match self {
            Self::RoundRobin(turns) => turns.rebuild(backup, members),
            Self::LeastConn(least) => least.rebuild(members, loads),
            Self::First(first) => first.rebuild(members),
            Self::Random(drawn, _) | Self::PeakEwma(drawn, _) => drawn.rebuild(members),
            Self::Hash(hash, turns) => {
                hash.rebuild(members);
                turns.rebuild(backup, members);
            }
            Self::Prequal(prequal) => prequal.rebuild(members),
        }
    }
}

/// What a request more at this server costs, as in Finagle's `p2cPeakEwma`: its latency times the requests that it would
/// have, for its share. Of a server that was never heard of, one request is asked for first, and no more until it is
/// answered.
#[inline]
fn peak_ewma_cost(latency: f64, member: &Member, in_flight: u32) -> f64 {
    latency * ((i64::from(in_flight) + 1) * i64::from(member.reciprocal)) as f64
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

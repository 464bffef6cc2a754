//! Idle connections of several shards, against one pool that all would share.
//!
//! Owns arrivals, service and connections; leaves which connection is used, kept or offered to `tidegate-idle`. Invariant: the same
//! seed gives the same arrivals, whatever becomes of connections.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use tidegate_idle::{IdleList, Kept, Pace, PoolSettings, Shelf};
use tidegate_testkit::Rng;

use crate::chance::{Chance, Micros};

/// Who may use an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One pool for all shards, which no machine has: what the others are measured by.
    One,
    /// Each shard its own.
    None,
    /// Each shard its own, and a shelf for those that are used seldom.
    Shelf,
}

/// What comes.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Shards.
    pub shards: usize,
    /// Servers, each as likely as the others.
    pub servers: usize,
    /// Requests per second over all shards and servers, at random.
    pub rate: f64,
    /// Mean time of a request at a server, exponentially distributed above its half.
    pub service: Duration,
    /// How long an idle connection is kept; the servers keep theirs for a second longer.
    pub idle_timeout: Duration,
    /// How many requests.
    pub requests: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reuse {
    /// The share of requests that found a connection.
    pub reused: f64,
    /// The share of requests that found it on the shelf.
    pub handed_over: f64,
    /// Connections that were kept idle, on average over the requests.
    pub idle: f64,
}

#[derive(Debug)]
struct Connection {
    opened: Instant,
    requests: u32,
    /// When it became idle last.
    idle_since: Instant,
}

impl Kept for Connection {
    fn opened(&self) -> Instant {
        self.opened
    }

    fn requests(&self) -> u32 {
        self.requests
    }
}

#[derive(Default)]
struct Server {
    lists: Vec<(IdleList<Connection>, Pace)>,
    shelf: Shelf<Connection>,
}

impl Server {
    /// An idle connection that the server has not closed, and whether it was on the shelf.
    fn take(
        &self,
        at: usize,
        sharing: Sharing,
        now: Instant,
        pool: &PoolSettings,
    ) -> Option<(Connection, bool)> {
        let (list, pace) = &self.lists[at];
        pace.note_use(now, pool);
        let keep_alive = pool.idle_timeout + Duration::from_secs(1);
        let lives = |connection: &Connection| now - connection.idle_since < keep_alive;
        while let Some(connection) = list.pop() {
            if lives(&connection) && pool.may_carry_more(&connection, now) {
                return Some((connection, false));
            }
        }
        if sharing != Sharing::Shelf {
            return None;
        }
        let mut shelved = std::iter::from_fn(|| self.shelf.take());
        shelved.find(lives).map(|connection| (connection, true))
    }

    fn keep(&self, at: usize, sharing: Sharing, mut connection: Connection, now: Instant) {
        let (list, pace) = &self.lists[at];
        connection.idle_since = now;
        if sharing == Sharing::Shelf && pace.is_seldom() {
            if let Err(connection) = self.shelf.offer(connection, now) {
                list.push(connection, now);
            }
            return;
        }
        list.push(connection, now);
    }

    fn sweep(&self, now: Instant, pool: &PoolSettings) {
        for (list, _) in &self.lists {
            while list.pop_expired(now, pool).is_some() {}
        }
        self.shelf.sweep(now, pool, |_| true);
    }

    fn idle(&self) -> usize {
        self.lists.iter().map(|(list, _)| list.len()).sum::<usize>() + self.shelf.len()
    }
}

/// Runs the load. The first tenth of the requests finds no connections and is not counted.
#[must_use]
pub fn reuse(load: &Load, sharing: Sharing, seed: u64) -> Reuse {
    let (mut rng, start) = (Rng::new(seed), Instant::now());
    let pool = PoolSettings {
        idle_max: 2_048,
        idle_timeout: load.idle_timeout,
        max_lifetime: None,
        max_requests: None,
    };
    let lists = if sharing == Sharing::One { 1 } else { load.shards };
    let servers: Vec<Server> = (0..load.servers)
        .map(|_| Server {
            lists: (0..lists).map(|_| Default::default()).collect(),
            ..Server::default()
        })
        .collect();
    let nanos = |time: Duration| time.as_secs() * 1_000_000_000 + Micros::from(time.subsec_nanos());
    let (gap, service) = (nanos(Duration::from_secs_f64(1.0 / load.rate)), nanos(load.service));
    let instant = |nanos: Micros| start + Duration::from_nanos(nanos);
    let mut ends: BinaryHeap<Reverse<(Micros, usize)>> = BinaryHeap::new();
    let mut used: Vec<Option<(usize, usize, Connection)>> = Vec::new();
    let (mut now, mut swept, mut counted) = (0, 0, 0_usize);
    let (mut reused, mut handed_over, mut idle) = (0_usize, 0_usize, 0_usize);
    for request in 0..load.requests {
        now += rng.exponential(gap);
        while let Some(Reverse((end, index))) = ends.peek().copied()
            && end <= now
        {
            ends.pop();
            let (server, at, connection) = used[index].take().expect("in use until its end");
            servers[server].keep(at, sharing, connection, instant(end));
        }
        while swept + 1_000_000_000 <= now {
            swept += 1_000_000_000;
            servers.iter().for_each(|server| server.sweep(instant(swept), &pool));
        }
        let (server, shard) = (rng.below(load.servers), rng.below(load.shards));
        let end = now + service / 2 + rng.exponential(service / 2);
        let at = shard % lists;
        let taken = servers[server].take(at, sharing, instant(now), &pool);
        if request >= load.requests / 10 {
            counted += 1;
            reused += usize::from(taken.is_some());
            handed_over += usize::from(taken.as_ref().is_some_and(|(_, from_shelf)| *from_shelf));
            if counted.is_multiple_of(64) {
                idle += 64 * servers.iter().map(Server::idle).sum::<usize>();
            }
        }
        let mut connection = taken.map_or_else(
            || Connection { opened: instant(now), requests: 0, idle_since: instant(now) },
            |(connection, _)| connection,
        );
        connection.requests += 1;
        ends.push(Reverse((end, used.len())));
        used.push(Some((server, at, connection)));
    }
    let share = |count: usize| count as f64 / counted as f64;
    Reuse { reused: share(reused), handed_over: share(handed_over), idle: share(idle) }
}

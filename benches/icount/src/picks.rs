//! Picks by every algorithm among 10, 100 and 1,000 servers.
//!
//! Owns the loads that change underneath: requests that stay. What their ends cost is not in the counts. Invariant: a count
//! is of the pick alone. The same loop with everything but the pick (drawing the random number, laying the question out in
//! memory, counting the request) is counted, too, and taken off; what the pick asks of the loads stays in.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_balance::{
    Ask, Availability, Backups, BalanceFactor, HashMethod, Loads, Plan, Policy, Pool, ServerId,
    ServerSettings, ServerState, Settings, ShardId, Weight, identity,
};

use crate::cases::Case;

macro_rules! cases {
    ($($name:literal: $policy:expr, $shards:expr, $servers:expr;)*) => {
        /// Every algorithm at every size, and the loop around it.
        pub const CASES: &[(Case, &Case)] = &[$(
            case!(concat!("pick_of_10_", $name), 10, $policy, $shards, $servers),
            case!(concat!("pick_of_100_", $name), 100, $policy, $shards, $servers),
            case!(concat!("pick_of_1000_", $name), 1000, $policy, $shards, $servers),
        )*];
    };
}

macro_rules! case {
    ($name:expr, $count:literal, $policy:expr, $shards:literal, $servers:expr) => {
        (
            Case {
                name: $name,
                iterations: 20_000,
                run: |iterations| {
                    let backend = (($servers as fn(u16) -> Servers)($count), $policy);
                    run(iterations, backend, $shards, Pick::Server);
                },
            },
            &LOOPS[$shards - 1],
        )
    };
}

/// The loops around the picks, of one shard and of two.
pub const LOOPS: [Case; 2] = [
    Case {
        name: "pick_loop",
        iterations: 20_000,
        run: |iterations| run(iterations, (Servers::Up(10), Policy::RoundRobin), 1, Pick::Nothing),
    },
    Case {
        name: "pick_loop_of_2_shards",
        iterations: 20_000,
        run: |iterations| run(iterations, (Servers::Up(10), Policy::RoundRobin), 2, Pick::Nothing),
    },
];

/// What an iteration picks.
#[derive(Clone, Copy)]
enum Pick {
    Server,
    /// For what the loop itself costs.
    Nothing,
}

/// What the servers are, so many of them.
#[derive(Clone, Copy)]
enum Servers {
    Up(u16),
    /// One of ten has just come up and gets its share little by little.
    Rising(u16),
    /// Others, as many again, are down, and these are their backups.
    Backups(u16),
}

cases! {
    "least_conn": Policy::LeastConn, 1, Servers::Up;
    "least_conn_of_2_shards": Policy::LeastConn, 2, Servers::Up;
    "least_conn_rising": Policy::LeastConn, 1, Servers::Rising;
    "least_conn_of_backups": Policy::LeastConn, 1, Servers::Backups;
    "first": Policy::First, 1, Servers::Up;
    "first_of_2_shards": Policy::First, 2, Servers::Up;
    "random": RANDOM, 1, Servers::Up;
    "random_of_2_shards": RANDOM, 2, Servers::Up;
    "random_rising": RANDOM, 1, Servers::Rising;
    "peak_ewma": Policy::PeakEwma, 1, Servers::Up;
    "peak_ewma_of_2_shards": Policy::PeakEwma, 2, Servers::Up;
    "peak_ewma_rising": Policy::PeakEwma, 1, Servers::Rising;
    "prequal": Policy::Prequal, 1, Servers::Up;
    "prequal_of_2_shards": Policy::Prequal, 2, Servers::Up;
    "prequal_rising": Policy::Prequal, 1, Servers::Rising;
    "map": hash(HashMethod::Map), 1, Servers::Up;
    "consistent": hash(HashMethod::Consistent), 1, Servers::Up;
    "maglev": hash(HashMethod::Maglev), 1, Servers::Up;
    "maglev_bounded": bounded(HashMethod::Maglev), 1, Servers::Up;
    "round_robin": Policy::RoundRobin, 1, Servers::Up;
    "round_robin_of_2_shards": Policy::RoundRobin, 2, Servers::Up;
    "round_robin_rising": Policy::RoundRobin, 1, Servers::Rising;
    "round_robin_of_backups": Policy::RoundRobin, 1, Servers::Backups;
}

const RANDOM: Policy = Policy::Random { draws: 2 };

const fn bounded(method: HashMethod) -> Policy {
    Policy::Hash { method, balance_factor: BalanceFactor::new(150) }
}

const fn hash(method: HashMethod) -> Policy {
    Policy::Hash { method, balance_factor: None }
}

/// Requests in flight at each server.
struct Counts(Vec<Cell<u32>>);

impl Counts {
    fn of(&self, server: ServerId) -> &Cell<u32> {
        &self.0[server.0 as usize]
    }
}

type Question<'a> = Ask<'a, Counts>;

impl Loads for Counts {
    #[inline]
    fn in_flight(&self, server: ServerId) -> u32 {
        self.of(server).get()
    }

    fn total(&self) -> u32 {
        1 << 20
    }

    fn is_full(&self, server: ServerId) -> bool {
        self.of(server).get() == u32::MAX
    }
}

/// Servers of three weights, and shards that pick in turns; what one picks, the others see.
fn run(iterations: u64, (servers, policy): (Servers, Policy), shards_count: u16, pick: Pick) {
    let (Servers::Up(count) | Servers::Rising(count) | Servers::Backups(count)) = servers;
    let has_backups = matches!(servers, Servers::Backups(_));
    let servers_count = if has_backups { 2 * count } else { count };
    let server = |index: u16| ServerSettings {
        weight: Weight::new(index % 3 + 1).expect("a small weight is valid"),
        backup: index >= count,
        identity: identity(&format!("server{index}")),
    };
    let known: Vec<ServerSettings> = (0..servers_count).map(server).collect();
    let slow_start = Duration::from_secs(10);
    let settings = Settings { policy, slow_start, backups: Backups::All };
    let plan = Plan::new(settings, &known);
    let now = Instant::now();
    let mut pools: Vec<Pool> =
        (0..shards_count).map(|shard| Pool::new(&plan, ShardId(shard), shards_count)).collect();
    for (server, known) in (0..).zip(&known) {
        let latency = Duration::from_micros(10_000 + u64::from(server));
        let down = server < count && has_backups;
        let rises = server % 10 == 0 && matches!(servers, Servers::Rising(_));
        let state = ServerState {
            availability: if down { Availability::Down } else { Availability::Up },
            weight: known.weight,
            since: rises.then_some(now),
        };
        for pool in &mut pools {
            pool.observe(ServerId(server.into()), latency, now);
            pool.set_state(ServerId(server.into()), state);
        }
    }
    let loads = Counts((0..servers_count).map(|_| Cell::new(0)).collect());
    match pick {
        Pick::Server => repeat(iterations, &mut pools, now, &loads, |pool, ask| {
            pool.pick(ask).expect("no server is full")
        }),
        Pick::Nothing => repeat(iterations, &mut pools, now, &loads, |_, _| ServerId(0)),
    }
}

/// The loop. Monomorphic in what is picked, so that it is the same code around either.
#[inline]
fn repeat(
    iterations: u64,
    pools: &mut [Pool],
    mut now: Instant,
    loads: &Counts,
    pick: impl Fn(&mut Pool, &Question<'_>) -> ServerId,
) {
    let mut random = 1_u64;
    let rounds = iterations / pools.len() as u64;
    for _ in 0..rounds {
        for pool in &mut *pools {
            // As at 100,000 requests a second.
            now += Duration::from_micros(10);
            random = random.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (random >> 29);
            let ask = Ask { now, random, key: Some(random), avoid: &[], loads };
            // The question lies in memory whether or not a pick reads it.
            let server = black_box(pick(pool, black_box(&ask)));
            loads.of(server).set(loads.of(server).get() + 1);
        }
    }
}

//! Picks by every algorithm among 10, 100 and 1,000 servers.
//!
//! Owns the loads that change underneath: requests that stay. What their ends cost is not in the counts. Invariant: a count
//! is of the pick alone. The same loop with everything but the pick (drawing the random number, laying the question out in
//! memory, counting the request) is counted, too, and taken off; what the pick asks of the loads stays in.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_balance::{
    Ask, BalanceFactor, HashMethod, Loads, Plan, Policy, Pool, ServerId, ServerSettings, ShardId,
    Weight, identity,
};

use crate::cases::Case;

macro_rules! cases {
    ($($name:literal: $policy:expr, $shards:expr;)*) => {
        /// Every algorithm at every size, and the loop around it.
        pub const CASES: &[(Case, &Case)] = &[$(
            case!(concat!("pick_of_10_", $name), 10, $policy, $shards),
            case!(concat!("pick_of_100_", $name), 100, $policy, $shards),
            case!(concat!("pick_of_1000_", $name), 1000, $policy, $shards),
        )*];
    };
}

macro_rules! case {
    ($name:expr, $servers:literal, $policy:expr, $shards:literal) => {
        (
            Case {
                name: $name,
                iterations: 20_000,
                run: |iterations| run(iterations, $servers, $policy, $shards, Pick::Server),
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
        run: |iterations| run(iterations, 10, Policy::RoundRobin, 1, Pick::Nothing),
    },
    Case {
        name: "pick_loop_of_2_shards",
        iterations: 20_000,
        run: |iterations| run(iterations, 10, Policy::RoundRobin, 2, Pick::Nothing),
    },
];

/// What an iteration picks.
#[derive(Clone, Copy)]
enum Pick {
    Server,
    /// For what the loop itself costs.
    Nothing,
}

cases! {
    "least_conn": Policy::LeastConn, 1;
    "least_conn_of_2_shards": Policy::LeastConn, 2;
    "first": Policy::First, 1;
    "random": Policy::Random { draws: 2 }, 1;
    "peak_ewma": Policy::PeakEwma, 1;
    "prequal": Policy::Prequal, 1;
    "map": hash(HashMethod::Map), 1;
    "consistent": hash(HashMethod::Consistent), 1;
    "maglev": hash(HashMethod::Maglev), 1;
    "maglev_bounded": bounded(HashMethod::Maglev), 1;
    "round_robin": Policy::RoundRobin, 1;
}

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
fn run(iterations: u64, servers_count: u16, policy: Policy, shards_count: u16, pick: Pick) {
    let server = |index: u16| ServerSettings {
        weight: Weight::new(index % 3 + 1).expect("a small weight is valid"),
        backup: false,
        identity: identity(&format!("server{index}")),
    };
    let servers: Vec<ServerSettings> = (0..servers_count).map(server).collect();
    let plan = Plan::new(policy.into(), &servers);
    let now = Instant::now();
    let mut pools: Vec<Pool> =
        (0..shards_count).map(|shard| Pool::new(&plan, ShardId(shard), shards_count)).collect();
    for server in 0..u32::from(servers_count) {
        let latency = Duration::from_micros(10_000 + u64::from(server));
        pools.iter_mut().for_each(|pool| pool.observe(ServerId(server), latency, now));
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

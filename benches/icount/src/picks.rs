//! Picks by every algorithm among 10, 100 and 1,000 servers.
//!
//! Owns the loads that change underneath: for each request that is picked for, the oldest one ends, and nobody tells the
//! pool. Invariant: what an iteration does besides the pick is some ten instructions.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_balance::{
    Ask, BalanceFactor, HashMethod, Loads, Plan, Policy, Pool, ServerId, ServerSettings, ShardId,
    Weight, identity,
};

use crate::cases::Case;

macro_rules! cases {
    ($($name:literal: $policy:expr;)*) => {
        /// Every algorithm at every size.
        pub const CASES: &[Case] = &[$(
            Case {
                name: concat!("pick_of_10_", $name),
                iterations: 20_000,
                run: |iterations| pick(iterations, 10, $policy),
            },
            Case {
                name: concat!("pick_of_100_", $name),
                iterations: 20_000,
                run: |iterations| pick(iterations, 100, $policy),
            },
            Case {
                name: concat!("pick_of_1000_", $name),
                iterations: 20_000,
                run: |iterations| pick(iterations, 1000, $policy),
            },
        )*];
    };
}

cases! {
    "least_conn": Policy::LeastConn;
    "first": Policy::First;
    "random": Policy::Random { draws: 2 };
    "peak_ewma": Policy::PeakEwma;
    "prequal": Policy::Prequal;
    "map": hash(HashMethod::Map);
    "consistent": hash(HashMethod::Consistent);
    "maglev": hash(HashMethod::Maglev);
    "maglev_bounded": Policy::Hash {
        method: HashMethod::Maglev,
        balance_factor: BalanceFactor::new(150),
    };
}

const fn hash(method: HashMethod) -> Policy {
    Policy::Hash { method, balance_factor: None }
}

/// Requests in flight at each server.
struct Counts {
    servers: Vec<Cell<u32>>,
    total: u32,
}

impl Counts {
    fn of(&self, server: ServerId) -> &Cell<u32> {
        &self.servers[server.0 as usize]
    }
}

impl Loads for Counts {
    fn in_flight(&self, server: ServerId) -> u32 {
        self.of(server).get()
    }

    fn total(&self) -> u32 {
        self.total
    }

    fn is_full(&self, server: ServerId) -> bool {
        self.of(server).get() >= 8
    }
}

/// Two requests in flight for each server, in the mean; servers of three weights.
fn pick(iterations: u64, servers_count: u16, policy: Policy) {
    let server = |index: u16| ServerSettings {
        weight: Weight::new(index % 3 + 1).expect("a small weight is valid"),
        backup: false,
        identity: identity(&format!("server{index}")),
    };
    let servers: Vec<ServerSettings> = (0..servers_count).map(server).collect();
    let mut pool = Pool::new(&Plan::new(policy.into(), &servers), ShardId(0), 1);
    let (now, total) = (Instant::now(), 2 * u32::from(servers_count));
    let servers = (0..servers_count).map(|_| Cell::new(0)).collect();
    let loads = Counts { servers, total };
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random.rotate_left(32)
    };
    for server in 0..u32::from(servers_count) {
        pool.observe(ServerId(server), Duration::from_micros(10_000 + u64::from(server)), now);
    }
    let mut open = vec![None; total as usize];
    for place in (0..open.len()).cycle().take(usize::try_from(iterations).unwrap_or(0)) {
        let (random, key) = (next(), Some(next()));
        let ask = Ask { now, random, key, avoid: black_box(&[]), loads: &loads };
        let server = pool.pick(&ask).expect("no server has more than a few");
        loads.of(server).set(loads.of(server).get() + 1);
        if let Some(ended) = open[place].replace(server) {
            let count = loads.of(ended);
            count.set(count.get() - 1);
        }
    }
    black_box(&open);
}

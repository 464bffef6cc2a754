//! Pools, picks and loads in one line each, for the tests of this package.
//!
//! Owns the questions that most tests ask, and servers that count their requests.

#![allow(dead_code, reason = "each test uses a part")]

mod random;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use tidegate_balance::{
    Ask, Availability, Idle, Loads, NoServer, Plan, Policy, Pool, ServerId, ServerSettings,
    ServerState, Settings, ShardId, Weight, identity,
};

#[allow(unused_imports, reason = "each test uses a part")]
pub use random::Random;

/// Servers `s0`, `s1` and so on of these weights.
pub fn servers(weights: &[u16]) -> Vec<ServerSettings> {
    let server = |(index, weight): (usize, &u16)| ServerSettings {
        weight: Weight::new(*weight).expect("a valid weight"),
        backup: false,
        identity: identity(&format!("s{index}")),
    };
    weights.iter().enumerate().map(server).collect()
}

/// The only shard's pool of these servers.
pub fn pool(settings: impl Into<Settings>, servers: &[ServerSettings]) -> Pool {
    Pool::new(&Plan::new(settings.into(), servers), ShardId(0), 1)
}

/// The pools of several shards.
pub fn shards(policy: Policy, servers: &[ServerSettings], count: u16) -> Vec<Pool> {
    let plan = Plan::new(policy.into(), servers);
    (0..count).map(|shard| Pool::new(&plan, ShardId(shard), count)).collect()
}

/// A pick among idle servers.
pub fn pick(pool: &mut Pool) -> Result<ServerId, NoServer> {
    avoiding(pool, &[])
}

/// A pick among idle servers that avoids some.
pub fn avoiding(pool: &mut Pool, avoid: &[ServerId]) -> Result<ServerId, NoServer> {
    pool.pick(&Ask { now: Instant::now(), random: 0, key: None, avoid, loads: &Idle })
}

/// The server of a key among idle servers.
pub fn by_key(pool: &mut Pool, key: u64) -> ServerId {
    let ask = Ask { now: Instant::now(), random: 0, key: Some(key), avoid: &[], loads: &Idle };
    pool.pick(&ask).expect("a server is up")
}

/// A server goes up, down or drains, and keeps its weight.
pub fn set_availability(pool: &mut Pool, server: ServerId, availability: Availability) {
    let weight = pool.weight(server).unwrap_or_default();
    pool.set_state(server, ServerState { availability, weight, since: None });
}

/// A server that is up has another weight.
pub fn set_weight(pool: &mut Pool, server: ServerId, weight: Weight) {
    let state = ServerState { availability: Availability::Up, weight, since: None };
    pool.set_state(server, state);
}

/// Servers that count their requests, and may have a limit.
pub struct Counts {
    pub counts: RefCell<Vec<u32>>,
    pub limit: u32,
    /// Looks at one server's load.
    pub looks: Cell<u32>,
}

impl Counts {
    pub fn new(servers: usize) -> Self {
        Self { counts: RefCell::new(vec![0; servers]), limit: u32::MAX, looks: Cell::new(0) }
    }

    pub fn limited(servers: usize, limit: u32) -> Self {
        Self { limit, ..Self::new(servers) }
    }

    pub fn add(&self, server: ServerId) {
        self.counts.borrow_mut()[server.0 as usize] += 1;
    }

    pub fn remove(&self, server: ServerId) {
        self.counts.borrow_mut()[server.0 as usize] -= 1;
    }

    /// A request that stays: it is picked for and counted.
    pub fn send(
        &self,
        pool: &mut Pool,
        random: u64,
        key: Option<u64>,
    ) -> Result<ServerId, NoServer> {
        let ask = Ask { now: Instant::now(), random, key, avoid: &[], loads: self };
        let server = pool.pick(&ask)?;
        self.add(server);
        Ok(server)
    }

    /// Between the most and the least loaded server.
    pub fn spread(&self) -> u32 {
        let counts = self.counts.borrow();
        counts.iter().max().expect("a server") - counts.iter().min().expect("a server")
    }
}

impl Loads for Counts {
    fn in_flight(&self, server: ServerId) -> u32 {
        self.looks.set(self.looks.get() + 1);
        self.counts.borrow()[server.0 as usize]
    }

    fn total(&self) -> u32 {
        self.counts.borrow().iter().sum()
    }

    fn is_full(&self, server: ServerId) -> bool {
        self.counts.borrow()[server.0 as usize] >= self.limit
    }
}

//! Picks and news in one line each, for the tests of pools.
//!
//! Owns the questions that most tests ask; leaves loads to those who have any.

#![allow(dead_code, reason = "each test uses a part")]

use std::time::Instant;

use tidegate_balance::{Ask, Availability, Idle, NoServer, Pool, ServerId, ServerState, Weight};

/// A pick among idle servers.
pub fn pick(pool: &mut Pool) -> Result<ServerId, NoServer> {
    avoiding(pool, &[])
}

/// A pick among idle servers that avoids some.
pub fn avoiding(pool: &mut Pool, avoid: &[ServerId]) -> Result<ServerId, NoServer> {
    pool.pick(&Ask { now: Instant::now(), random: 0, key: None, avoid, loads: &Idle })
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

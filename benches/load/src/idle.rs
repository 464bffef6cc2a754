//! Memory of idle connections: opens many, sends one request on each, a few at a time so that
//! buffers are not all in use at once, and keeps them open and silent. Owns the procedure; reading
//! /proc is `procstat`'s.
//!
//! Invariant: the process measured is fresh and all its connections are open when it is measured.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::generator::{Generator, Settings};
use crate::harness::Harness;
use crate::procstat::{Group, Memory};
use crate::protocol::http1::{Http1, Persistence};

/// Requests under way at a time.
const BATCH_MAX: usize = 8;
/// Where the marginal cost begins: by then, first-use allocations have been made.
const WARM_CONNECTIONS: usize = 1_000;

/// What to open.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The proxy.
    pub target: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// What is asked for on each.
    pub path: String,
    /// The expected body, if it is to be checked.
    pub body_bytes: Option<u64>,
    /// Client addresses to use.
    pub sources: u8,
}

/// Memory before, between and after.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    /// Before the first connection.
    pub before: Memory,
    /// With the first connections open.
    pub warm: Memory,
    /// How many these were.
    pub warm_connections: usize,
    /// With all open.
    pub after: Memory,
    /// How many these were.
    pub connections: usize,
}

impl Growth {
    /// Bytes per connection over the whole growth.
    pub fn per_connection(&self) -> f64 {
        per(self.before, self.after, self.connections)
    }

    /// Bytes per connection after the first ones.
    pub fn marginal(&self) -> f64 {
        per(self.warm, self.after, self.connections - self.warm_connections)
    }
}

fn per(from: Memory, to: Memory, connections: usize) -> f64 {
    let growth = to.allocated_bytes() as f64 - from.allocated_bytes() as f64;
    growth / connections.max(1) as f64
}

/// Opens the connections and measures; they stay open until the returned generator is dropped.
///
/// # Errors
/// When a request fails or /proc cannot be read.
pub fn grow(
    harness: &mut Harness,
    plan: &Plan,
    group: &Group,
) -> io::Result<(Growth, Generator<Http1>)> {
    let protocol = Http1::get(&plan.path, "bench", Persistence::KeepAlive, plan.body_bytes);
    let settings = Settings {
        target: plan.target,
        connections: plan.connections,
        persistence: Persistence::KeepAlive,
        timeout: Duration::from_secs(10),
        sources: plan.sources,
    };
    let before = group.memory()?;
    let mut generator = Generator::new(protocol, settings, harness);
    let warm_connections = WARM_CONNECTIONS.min(plan.connections / 2);
    generator.once_each(harness, 0..warm_connections, BATCH_MAX)?;
    let warm = group.memory()?;
    generator.once_each(harness, warm_connections..plan.connections, BATCH_MAX)?;
    let after = group.memory()?;
    let connections = plan.connections;
    Ok((Growth { before, warm, warm_connections, after, connections }, generator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_divided_by_the_connections_that_caused_it() {
        let memory = |anonymous_bytes| Memory { anonymous_bytes, ..Memory::default() };
        let growth = Growth {
            before: memory(1_000_000),
            warm: memory(2_000_000),
            warm_connections: 1_000,
            after: memory(4_000_000),
            connections: 5_000,
        };
        assert!((growth.per_connection() - 600.0).abs() < 1e-9);
        assert!((growth.marginal() - 500.0).abs() < 1e-9);
    }

    #[test]
    fn connections_stay_open_and_each_has_asked_once() {
        let mut harness = Harness::with_origin(([127, 0, 0, 1], 0).into()).expect("loopback");
        let target = harness.origin_address().expect("it has an origin");
        let plan = Plan {
            target,
            connections: 40,
            path: "/100".into(),
            body_bytes: Some(100),
            sources: 3,
        };
        let own = Group::single(std::process::id());
        let (growth, generator) = grow(&mut harness, &plan, &own).expect("the origin answers");
        assert_eq!((growth.connections, growth.warm_connections), (40, 20));
        let counts = harness.origin_counts().expect("it has an origin");
        assert_eq!((counts.accepted, counts.open, counts.requests), (40, 40, 40));
        drop(generator);
    }
}

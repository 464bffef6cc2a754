//! What is kept and for how long: what the configuration fills.
//!
//! Owns the type and what follows for one connection; leaves defaults and ranges to the configuration. Invariant: any value is usable.

use std::time::{Duration, Instant};

/// Which connections are kept.
#[derive(Clone, Copy, Debug)]
pub struct PoolSettings {
    /// Idle connections kept per server and shard.
    pub idle_max: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// A connection that is older carries no further request; none: however old.
    pub max_lifetime: Option<Duration>,
    /// Requests that a connection carries; none: as many as there are.
    pub max_requests: Option<u32>,
}

/// What is known of a connection.
pub trait Kept {
    /// When it was made.
    fn opened(&self) -> Instant;

    /// Requests that it has carried.
    fn requests(&self) -> u32;
}

impl PoolSettings {
    /// Whether a connection may carry a further request.
    #[inline]
    #[must_use]
    pub fn may_carry_more(&self, connection: &impl Kept, now: Instant) -> bool {
        let age = |max: Duration| now.saturating_duration_since(connection.opened()) < max;
        self.max_requests.is_none_or(|max| connection.requests() < max)
            && self.max_lifetime.is_none_or(age)
    }
}

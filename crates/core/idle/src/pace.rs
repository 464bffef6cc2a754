//! How often one shard uses one server.
//!
//! Owns the judgement whether a connection that gets free here is likely to be wanted here before it is too old; leaves what follows
//! to the data plane. Invariant: it costs a comparison for each request.

use std::cell::Cell;
use std::time::Instant;

use crate::settings::PoolSettings;

/// A gap between two uses of this part of the idle timeout is a long one: with requests that come at random, and eight times as
/// often as that, one in 3,000 would find its connection gone.
const SELDOM_PART: u32 = 8;

/// The last use, and whether there had been a long gap before it.
#[derive(Debug, Default)]
pub struct Pace {
    last: Cell<Option<Instant>>,
    is_seldom: Cell<bool>,
}

impl Pace {
    /// Takes note of a request to the server.
    #[inline]
    pub fn note_use(&self, now: Instant, pool: &PoolSettings) {
        let last = self.last.replace(Some(now));
        let is_long = |last| now.saturating_duration_since(last) >= pool.idle_timeout / SELDOM_PART;
        self.is_seldom.set(last.is_none_or(is_long));
    }

    /// Whether the server is used here so seldom that its connections are better off where all shards find them.
    #[inline]
    #[must_use]
    pub fn is_seldom(&self) -> bool {
        self.is_seldom.get()
    }
}

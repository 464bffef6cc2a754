//! What rules can ask beyond the message: lists, maps, the state of servers, right credentials.
//!
//! Owns the answers from a frontend's tables and a shard's memory. Leaves limits on rates to those who count them.
//! Invariant: an index that the tables do not have finds nothing.

use std::cell::OnceCell;
use std::time::Duration;

use tidegate_passwords::VerifiedCache;
use tidegate_routing::World;
use tidegate_rules::{Key, LimitIndex, ListIndex, MapIndex};

use super::random;
use crate::settings::Tables;

/// Credentials that one shard remembers: 192 KiB. Clients beyond that pay for their password more often.
const VERIFIED_MAX: usize = 4096;

/// How long right credentials are remembered: a password that was taken away counts for as long after a reload that does
/// not change its hash, so it is short.
const VERIFIED_LIFETIME: Duration = Duration::from_secs(300);

/// The world of one shard, as one frontend's rules see it.
pub(crate) struct ShardWorld<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) servers_up: usize,
    pub(crate) verified: &'a OnceCell<VerifiedCache>,
    /// Since the shard's start.
    pub(crate) now: Duration,
}

/// An empty memory with a key of its own.
pub(crate) fn verified() -> VerifiedCache {
    let mut key = [0; 32];
    for (part, number) in key.chunks_mut(8).zip(random::seed()) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    VerifiedCache::new(key, VERIFIED_MAX, VERIFIED_LIFETIME)
}

impl World for ShardWorld<'_> {
    fn in_list(&self, list: ListIndex, key: Key<'_>) -> bool {
        self.tables.lists.get(list.index()).is_some_and(|list| list.contains(key))
    }

    /// No limit is counted yet, so the configuration has none to ask about.
    fn rate(&self, _limit: LimitIndex, _key: Key<'_>) -> f64 {
        0.0
    }

    fn lookup(&self, map: MapIndex, key: &[u8]) -> Option<&[u8]> {
        self.tables.maps.get(map.index())?.get(key)
    }

    fn servers_up(&self) -> i64 {
        i64::try_from(self.servers_up).unwrap_or(i64::MAX)
    }

    fn with_verified<T>(&self, ask: impl FnOnce(&VerifiedCache, Duration) -> T) -> T {
        ask(self.verified.get_or_init(verified), self.now)
    }
}

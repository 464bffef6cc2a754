//! Which groups of cells exist: one per name and shard, kept over reloads.
//!
//! Owned by the control executor, which hands the groups to the shards inside their configuration
//! and reads them for a scrape. Leaves to the caller which names the configuration holds.
//!
//! **Invariant:** a name keeps its groups, and so its counts, from the first time it is asked for
//! until it is removed; every name has exactly one group per shard, and no two names or shards
//! share one.

use crate::{BackendStats, FrontendStats, Reasons, ServerStats, ShardStats, Stats};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most shards: one per CPU, and Linux of today stops at 8,192 of them; beyond 1,024 the memory of
/// the counters would be the question to ask first.
pub const SHARDS_MAX: usize = 1_024;

/// The groups of one name, one for each shard, in the order of the shards.
#[derive(Debug)]
pub struct PerShard<T>(Arc<[Arc<T>]>);

impl<T> Clone for PerShard<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Stats> PerShard<T> {
    fn new(shards_count: usize, reasons: &Reasons) -> Self {
        Self((0..shards_count).map(|_| Arc::new(T::new(reasons))).collect())
    }

    /// The group that only this shard may write.
    ///
    /// # Panics
    ///
    /// When there is no such shard.
    #[must_use]
    pub fn shard(&self, index: usize) -> &Arc<T> {
        &self.0[index]
    }

    /// The groups of all shards, in order, to read single cells.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stats| &**stats)
    }

    /// The values of each shard, in order.
    pub fn snapshots(&self) -> impl Iterator<Item = T::Snapshot> {
        self.0.iter().map(|stats| stats.snapshot())
    }

    /// The values summed over the shards.
    #[must_use]
    pub fn total(&self) -> T::Snapshot {
        let sum = self.snapshots().reduce(|mut sum, shard| {
            sum += &shard;
            sum
        });
        sum.expect("a registry has at least one shard")
    }
}

/// The name of something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntityName<'a> {
    /// A frontend.
    Frontend(&'a str),
    /// A backend, with its servers.
    Backend(&'a str),
    /// A server of a backend; two backends may use the same name for different servers.
    Server {
        /// The backend it belongs to.
        backend: &'a str,
        /// Its name there.
        server: &'a str,
    },
}

#[derive(Clone, Debug)]
struct BackendEntry {
    stats: PerShard<BackendStats>,
    servers: BTreeMap<Arc<str>, PerShard<ServerStats>>,
}

/// Every group of cells of the process. A clone shares the groups: it is the cheap way to read them
/// elsewhere.
#[derive(Clone, Debug)]
pub struct Registry {
    reasons: Reasons,
    shards: PerShard<ShardStats>,
    frontends: BTreeMap<Arc<str>, PerShard<FrontendStats>>,
    backends: BTreeMap<Arc<str>, BackendEntry>,
}

impl Registry {
    /// A registry for this many shards, with no names yet.
    ///
    /// # Panics
    ///
    /// When `shards_count` is not in 1..=[`SHARDS_MAX`], or the reasons are not what
    /// [`crate::CounterSet::new`] takes.
    #[must_use]
    pub fn new(shards_count: usize, reasons: Reasons) -> Self {
        assert!(
            (1..=SHARDS_MAX).contains(&shards_count),
            "{shards_count} shards, not 1 to {SHARDS_MAX}"
        );
        Self {
            reasons,
            shards: PerShard::new(shards_count, &reasons),
            frontends: BTreeMap::new(),
            backends: BTreeMap::new(),
        }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards_count(&self) -> usize {
        self.shards.0.len()
    }

    /// What the shards count about themselves.
    #[must_use]
    pub fn shards(&self) -> &PerShard<ShardStats> {
        &self.shards
    }

    /// The groups of a frontend, made when the name is new.
    pub fn frontend(&mut self, name: &str) -> &PerShard<FrontendStats> {
        if !self.frontends.contains_key(name) {
            let stats = PerShard::new(self.shards_count(), &self.reasons);
            self.frontends.insert(name.into(), stats);
        }
        &self.frontends[name]
    }

    /// The groups of a backend, made when the name is new.
    pub fn backend(&mut self, name: &str) -> &PerShard<BackendStats> {
        &self.backend_entry(name).stats
    }

    /// The groups of a server, made, with its backend's, when the name is new.
    pub fn server(&mut self, backend: &str, server: &str) -> &PerShard<ServerStats> {
        let (shards_count, reasons) = (self.shards_count(), self.reasons);
        let servers = &mut self.backend_entry(backend).servers;
        if !servers.contains_key(server) {
            servers.insert(server.into(), PerShard::new(shards_count, &reasons));
        }
        &servers[server]
    }

    fn backend_entry(&mut self, name: &str) -> &mut BackendEntry {
        if !self.backends.contains_key(name) {
            let stats = PerShard::new(self.shards_count(), &self.reasons);
            self.backends.insert(name.into(), BackendEntry { stats, servers: BTreeMap::new() });
        }
        self.backends.get_mut(name).expect("it was there or has just been inserted")
    }

    /// Forgets a name, and says whether it was known. Shards that still hold its groups may go on
    /// writing to them; the counts are no longer read. The same name asked for again starts from
    /// zero.
    pub fn unregister(&mut self, name: EntityName<'_>) -> bool {
        match name {
            EntityName::Frontend(name) => self.frontends.remove(name).is_some(),
            EntityName::Backend(name) => self.backends.remove(name).is_some(),
            EntityName::Server { backend, server } => self
                .backends
                .get_mut(backend)
                .is_some_and(|entry| entry.servers.remove(server).is_some()),
        }
    }

    /// Forgets every name that `keep` refuses, after a reload: see [`Registry::unregister`]. The
    /// servers of a backend that goes are not asked about.
    pub fn retain(&mut self, keep: impl Fn(EntityName<'_>) -> bool) {
        self.frontends.retain(|name, _| keep(EntityName::Frontend(name)));
        self.backends.retain(|backend, entry| {
            if !keep(EntityName::Backend(backend)) {
                return false;
            }
            entry.servers.retain(|server, _| keep(EntityName::Server { backend, server }));
            true
        });
    }

    /// Every frontend, by name.
    pub fn frontends(&self) -> impl Iterator<Item = (&Arc<str>, &PerShard<FrontendStats>)> {
        self.frontends.iter()
    }

    /// Every backend, by name.
    pub fn backends(&self) -> impl Iterator<Item = (&Arc<str>, &PerShard<BackendStats>)> {
        self.backends.iter().map(|(name, entry)| (name, &entry.stats))
    }

    /// Every server, by the name of its backend and its own.
    pub fn servers(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, &PerShard<ServerStats>)> {
        self.backends.iter().flat_map(|(backend, entry)| {
            entry.servers.iter().map(move |(server, stats)| (backend, server, stats))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const REASONS: Reasons = Reasons {
        rejections: &["bad_request"],
        failures: &["timeout"],
        answers: &["deny"],
        rule_drops: &["edit"],
        codings: &["gzip"],
        handshakes: &["timeout"],
        floods: &["pings"],
        http2_errors: &["protocol_error"],
        http2_stream_errors: &["refused_stream"],
        server_endings: &["idle"],
        grpc: &["ok"],
    };

    fn server_names(registry: &Registry) -> Vec<String> {
        registry.servers().map(|(backend, server, _)| format!("{backend}/{server}")).collect()
    }

    #[test]
    fn sums_are_over_all_shards_and_each_shard_keeps_its_own() {
        let mut registry = Registry::new(3, REASONS);
        let web = registry.frontend("web").clone();
        for shard in 0..3 {
            web.shard(shard).bytes_in.add(10_u64.pow(u32::try_from(shard).expect("0, 1 or 2")));
        }
        assert_eq!(web.total().bytes_in, 111);
        assert_eq!(web.snapshots().map(|shard| shard.bytes_in).collect::<Vec<_>>(), [1, 10, 100]);
    }

    #[test]
    fn a_name_keeps_its_counts_over_a_reload_and_a_removed_one_is_gone() {
        let mut registry = Registry::new(2, REASONS);
        registry.frontend("web");
        registry.backend("old");
        registry.server("old", "a").shard(0).in_flight.increment();
        let kept = Arc::clone(registry.server("app", "a").shard(1));
        kept.connections_total.add(5);
        registry.server("app", "b");

        let configured = BTreeSet::from([
            EntityName::Frontend("web"),
            EntityName::Backend("app"),
            EntityName::Server { backend: "app", server: "a" },
        ]);
        registry.retain(|name| configured.contains(&name));

        assert_eq!(registry.frontends().count(), 1);
        assert_eq!(registry.backends().map(|(name, _)| &**name).collect::<Vec<_>>(), ["app"]);
        assert_eq!(server_names(&registry), ["app/a"]);
        assert!(Arc::ptr_eq(registry.server("app", "a").shard(1), &kept));
        assert_eq!(registry.server("app", "a").total().connections_total, 5);
    }

    #[test]
    fn a_name_that_comes_back_starts_from_zero() {
        let mut registry = Registry::new(1, REASONS);
        let before = registry.server("app", "a").clone();
        before.shard(0).connections_total.increment();
        assert!(registry.unregister(EntityName::Server { backend: "app", server: "a" }));
        assert!(!registry.unregister(EntityName::Server { backend: "app", server: "a" }));

        before.shard(0).connections_total.increment();
        assert_eq!(registry.server("app", "a").total().connections_total, 0);
        assert_eq!(
            before.total().connections_total,
            2,
            "a shard that still holds the old group may write to it"
        );
    }

    #[test]
    fn removing_a_backend_removes_its_servers_and_no_others() {
        let mut registry = Registry::new(1, REASONS);
        registry.server("app", "a");
        registry.server("api", "a");
        assert!(registry.unregister(EntityName::Backend("app")));
        assert_eq!(server_names(&registry), ["api/a"]);
        assert!(!registry.unregister(EntityName::Server { backend: "app", server: "a" }));
    }

    #[test]
    fn servers_with_one_name_in_two_backends_are_two_servers() {
        let mut registry = Registry::new(1, REASONS);
        registry.server("app", "a").shard(0).bytes_out.add(1);
        assert_eq!(registry.server("api", "a").total().bytes_out, 0);
    }

    #[test]
    fn no_two_shards_write_to_one_pair_of_cache_lines() {
        let mut registry = Registry::new(8, REASONS);
        let mut lines = BTreeSet::new();
        for name in ["a", "b"] {
            for shard in registry.server("app", name).0.iter() {
                let start = std::ptr::from_ref::<ServerStats>(shard).addr();
                for line in (start..start + size_of::<ServerStats>()).step_by(128) {
                    assert_eq!(line % 128, 0);
                    assert!(lines.insert(line), "two groups share the line at {line:x}");
                }
            }
        }
    }

    #[test]
    fn a_clone_reads_the_same_counts() {
        let mut registry = Registry::new(1, REASONS);
        registry.frontend("web");
        let clone = registry.clone();
        registry.frontend("web").shard(0).requests.record(200);
        let (_, web) = clone.frontends().next().expect("the frontend is in the clone");
        assert_eq!(web.total().requests.total(), 1);
    }

    #[test]
    #[should_panic(expected = "0 shards")]
    fn rejects_no_shards() {
        let _ = Registry::new(0, REASONS);
    }
}

//! Counters, gauges and histograms that one shard writes and the control core reads.
//!
//! Owns the cells ([`Counter`], [`Gauge`], [`StatusCounters`], [`CounterSet`], [`Histogram`]), the
//! groups of them that belong to a frontend, a backend, a server and a shard, and the [`Registry`]
//! that hands one group per shard to the data plane and keeps the counts of a name over a reload.
//! Leaves to others what is counted when (the data plane) and how it is shown (the control plane).
//! Reads no clock and does no I/O.
//!
//! **Invariant:** every cell has one writer. A write is a plain load and a plain store, never a
//! read-modify-write, and never allocates; what two shards write never shares a cache line. A
//! second writer would lose counts, so a group is handed to one shard and every other thread only
//! reads. A reader never sees a counter go back.

mod cell;
pub mod exposition;
mod histogram;
mod reasons;
mod registry;
mod stats;
mod status;

pub use cell::{Counter, Gauge};
pub use histogram::{BOUNDARIES_MICROS, Histogram, HistogramSnapshot, VALUE_MICROS_MAX};
pub use reasons::{CounterSet, REASONS_MAX, ReasonCounts};
pub use registry::{EntityName, PerShard, Registry, SHARDS_MAX};
pub use stats::{
    BackendSnapshot, BackendStats, FrontendSnapshot, FrontendStats, Reasons, ServerSnapshot,
    ServerStats, ShardSnapshot, ShardStats, Stats,
};
pub use status::{StatusClass, StatusCounters, StatusCounts};

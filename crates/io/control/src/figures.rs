//! What the control plane counts about itself, for `/metrics`.
//!
//! Owns the outcome of reloads; leaves the text to `admin::metrics`, and counting what the data plane does to the shards.
//! Invariant: a reload that was begun is counted once, when its outcome is known.

use std::sync::Arc;
use std::time::SystemTime;

use tidegate_log::Counts;

use crate::certificates::CertificateFigures;
use crate::discovery::figures::DiscoveryFigures;
use crate::health::figures::HealthFigures;
use crate::link::ShardLink;

/// How reloads went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reloads {
    /// Configurations that were taken.
    pub(crate) taken: u64,
    /// Configurations that changed nothing: wrong, or asking for what cannot be had.
    pub(crate) failed: u64,
    /// Whether the last one was taken; the configuration of the start was.
    pub(crate) last_taken: bool,
    /// When the last one was taken or failed.
    pub(crate) last_at: SystemTime,
}

impl Reloads {
    /// None since the start.
    pub(crate) fn none(started: SystemTime) -> Reloads {
        Reloads { taken: 0, failed: 0, last_taken: true, last_at: started }
    }

    /// With one more that was taken.
    pub(crate) fn and_taken(self, at: SystemTime) -> Reloads {
        Reloads { taken: self.taken + 1, last_taken: true, last_at: at, ..self }
    }

    /// With one more that failed.
    pub(crate) fn and_failed(self, at: SystemTime) -> Reloads {
        Reloads { failed: self.failed + 1, last_taken: false, last_at: at, ..self }
    }
}

/// The control plane as a scrape sees it.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// The newest configuration: 1 is that of the start.
    pub(crate) generation: u64,
    /// How reloads went.
    pub(crate) reloads: Reloads,
    /// Log lines that were left out in a flood, by the event they would have had.
    pub(crate) suppressed: Vec<(&'static str, u64)>,
    /// The shards, in their order.
    pub(crate) shards: Vec<ShardFigures>,
    /// How the servers are.
    pub(crate) health: HealthFigures,
    /// Certificates that are ordered.
    pub(crate) orders: tidegate_acme::Figures,
    /// The certificates.
    pub(crate) certificates: CertificateFigures,
    /// The tables of clients, of those backends that have one.
    pub(crate) sticks: Vec<StickFigures>,
    /// What is known of names.
    pub(crate) discovery: DiscoveryFigures,
    /// What became of the lines of access logs; absent at the end.
    pub(crate) access_log: Option<Counts>,
}

/// The table of one backend.
#[derive(Clone, Debug)]
pub(crate) struct StickFigures {
    pub(crate) backend: Arc<str>,
    pub(crate) entries: usize,
    pub(crate) entries_max: usize,
}

/// What the control plane knows of one shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardFigures {
    /// The configuration that it works from; 0 until it has said so.
    pub(crate) generation: u64,
    /// Commands that found its queue full.
    pub(crate) commands_held: u64,
}

impl ShardFigures {
    pub(crate) fn of(link: &ShardLink) -> ShardFigures {
        ShardFigures { generation: link.applied(), commands_held: link.held_total() }
    }
}

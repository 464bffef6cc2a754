//! What a pick is asked with.
//!
//! Owns the question and what it may look up; leaves the counts of requests to whoever keeps them. Invariant:
//! everything that a pick depends on besides the pool is in its question.

use std::time::Instant;

use crate::server::ServerId;

/// A question for a server.
pub struct Ask<'a, L: Loads> {
    /// The time.
    pub now: Instant,
    /// A number evenly spread over its range, drawn for this pick.
    pub random: u64,
    /// What stands for the request where servers are chosen by a hash; none: it has no such thing.
    pub key: Option<u64>,
    /// Skipped if any other server is usable; not skipped in favour of a backup.
    pub avoid: &'a [ServerId],
    /// The load of the servers.
    pub loads: &'a L,
}

/// The load of a backend's servers.
pub trait Loads {
    /// Requests at the server, from all shards.
    fn in_flight(&self, server: ServerId) -> u32;

    /// Requests at all servers of the backend, from all shards, without the one that is asked for. What waits
    /// for a server may be counted in.
    fn total(&self) -> u32;

    /// Whether it has as many requests as it may have. It is skipped, except by hashes: what is bound to a
    /// server waits for it.
    fn is_full(&self, server: ServerId) -> bool;
}

/// Servers that are all idle: for a choice that does not depend on load.
pub struct Idle;

impl Loads for Idle {
    fn in_flight(&self, _: ServerId) -> u32 {
        0
    }

    fn total(&self) -> u32 {
        0
    }

    fn is_full(&self, _: ServerId) -> bool {
        false
    }
}

impl<L: Loads> Ask<'_, L> {
    /// Whether the server is to be avoided.
    #[inline]
    pub(crate) fn avoids(&self, server: u32) -> bool {
        !self.avoid.is_empty() && is_among(self.avoid, server)
    }

    /// Whether the choice passes over the server.
    #[inline]
    pub(crate) fn skips(&self, server: u32) -> bool {
        self.loads.is_full(ServerId(server)) || self.avoids(server)
    }
}

/// Only requests that are tried again avoid any.
#[cold]
fn is_among(avoid: &[ServerId], server: u32) -> bool {
    avoid.contains(&ServerId(server))
}

/// Why no server can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoServer {
    /// The backend has no servers.
    Empty,
    /// All servers are down, draining or of weight zero.
    AllDown,
    /// Every usable server has as many requests as it may have.
    AllFull,
}

impl std::fmt::Display for NoServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "the backend has no servers",
            Self::AllDown => "no server of the backend takes requests",
            Self::AllFull => "every server of the backend is full",
        })
    }
}

impl std::error::Error for NoServer {}

//! The words of balancing: ids, weights, and what is known of a server.
//!
//! Owns the types and their ranges; what follows from them is the pool's. Invariant: a [`Weight`] lies
//! between 0 and [`Weight::MAX`].

use std::time::Instant;

/// A server, by its index in its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u32);

/// A shard, by its index in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A server's share of the requests, relative to the weights of the others. Zero takes it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// No requests.
    pub const ZERO: Self = Self(0);
    /// The greatest weight, the one HAProxy allows. It bounds the distinct weights of a backend, and
    /// with them the cost of a pick.
    pub const MAX: Self = Self(256);

    /// The weight, or `None` beyond [`Weight::MAX`].
    #[must_use]
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= Self::MAX.0 { Some(Self(weight)) } else { None }
    }

    /// The weight as a number.
    #[inline]
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    /// One: without any weights all servers are equal.
    fn default() -> Self {
        Self(1)
    }
}

/// What the configuration says of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// Its share of the requests.
    pub weight: Weight,
    /// It is used only while no server that is not a backup is usable.
    pub backup: bool,
}

/// Whether a server takes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Availability {
    /// It takes requests.
    #[default]
    Up,
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It takes nothing.
    Down,
}

/// What is known of a server at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Whether it takes requests.
    pub availability: Availability,
    /// Its share of the requests.
    pub weight: Weight,
    /// When it came up, which is where its slow start begins; none: it has been up all along.
    pub since: Option<Instant>,
}

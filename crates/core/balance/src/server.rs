//! The words of balancing: ids, weights, and what is known of a server.
//!
//! Owns the types and their ranges; what follows from them is the pool's. Invariant: a [`Weight`] lies
//! between 0 and [`Weight::MAX`].

use std::time::Instant;

use crate::hash::mix;

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
    /// What hashes know it by, the same on every shard and after a restart: [`identity`] of its name.
    pub identity: u64,
}

/// What stands for a server's name in hashes. It is the same on every machine and in every release.
#[must_use]
pub fn identity(name: &str) -> u64 {
    // FNV-1a, whose high bits are alike for names that differ at their end, and then mixed.
    mix(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
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

/// A weight in sixteenths, so that also a weight of one can rise in steps: 1 to 4,096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share(pub(crate) u16);

impl Share {
    /// Shares in a weight of one, and the steps of a slow start.
    pub(crate) const PER_WEIGHT: u16 = 16;

    /// What a load counts at this share: the load times this is comparable between servers. 16 to 65,536.
    #[inline]
    pub(crate) const fn reciprocal(self) -> u64 {
        65_536 / self.0 as u64
    }
}

/// A server that requests are spread over at present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) server: u32,
    pub(crate) share: Share,
    /// [`Share::reciprocal`]: a division for each pick less.
    pub(crate) reciprocal: u32,
}

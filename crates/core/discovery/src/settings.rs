//! How names are resolved.
//!
//! Owns the settings' types; leaves their defaults to the configuration. Invariant: `ttl_min` is at most `ttl_max`.

use std::time::Duration;

/// Which addresses of a host are asked for and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4, and IPv6 of hosts that have none.
    #[default]
    Ipv4First,
    /// IPv6, and IPv4 of hosts that have none.
    Ipv6First,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// All of both: a host with one of each counts twice.
    Both,
}

/// How the names of one set of resolvers are asked for, and how long answers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one resolver has for one answer.
    pub timeout: Duration,
    /// How often each resolver is asked before a question has failed.
    pub tries: u32,
    /// A name is asked for again no sooner than this, whatever its TTL.
    pub ttl_min: Duration,
    /// A name is asked for again no later than this.
    pub ttl_max: Duration,
    /// How long addresses stay beyond their TTL while no resolver answers.
    pub hold: Duration,
    /// How long they stay while the answer is that there are none.
    pub hold_absent: Duration,
    /// Which addresses of hosts.
    pub family: Family,
}

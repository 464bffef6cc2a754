//! The settings of an exchange: how often it tries again, where, and how long it waits.
//!
//! Owns the types, their defaults and their limits; filling them from a file is left to the
//! configuration. Invariant: any value of these types is usable, durations beyond
//! [`Policy::TIMEOUT_MAX`] are shortened to it.

use std::time::Duration;

/// How a request is driven towards the servers of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Connection attempts after the first one. At most `retries_max + 1` connections are attempted
    /// for one request, and each retry takes at most `queue_timeout`, one turn-around delay
    /// ([`Policy::RETRY_DELAY_MAX`]) and `connect_timeout`, which bounds the time to a failure.
    pub retries_max: u8,
    /// Which retries may go to another server.
    pub redispatch: Redispatch,
    /// Longest time for a connection to a server to be established.
    pub connect_timeout: Duration,
    /// Longest time without progress while something is owed by the server: accepting bytes of the
    /// request, the response's head, the next bytes of its body.
    pub server_timeout: Duration,
    /// Longest time a request may wait for a server to be picked.
    pub queue_timeout: Duration,
}

/// Which connection retries go to another server, if the backend has another one that is usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redispatch {
    /// None: every retry goes to the server picked first.
    Never,
    /// Only the last one.
    LastRetry,
    /// All of them.
    #[default]
    EveryRetry,
}

impl Policy {
    /// Longest timeout that is kept: a year. Beyond it a deadline has no use, and the bound keeps the
    /// addition to the clock from overflowing.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// Longest turn-around delay before the same server is tried again: a server that restarts is given
    /// time to do so rather than the whole budget of retries within a millisecond. The connect timeout
    /// is used when it is shorter, so that a retry never more than doubles the wait.
    pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
}

impl Default for Policy {
    /// Three retries, each on another server; 5 s to connect, which covers two lost SYNs (1 s and 3 s);
    /// 30 s for the server; 5 s in the queue, as the wait for a connection.
    fn default() -> Self {
        Self {
            retries_max: 3,
            redispatch: Redispatch::EveryRetry,
            connect_timeout: Duration::from_secs(5),
            server_timeout: Duration::from_secs(30),
            queue_timeout: Duration::from_secs(5),
        }
    }
}

/// What the exchange has to know about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method is idempotent (RFC 9110 §9.2.2) and the whole request is still at hand, because it
    /// has no body or the body is kept: it may be sent again although a server may have acted on it.
    pub repeatable: bool,
}

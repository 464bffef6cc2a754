//! The settings of an exchange: how often it tries again, where, and how long it waits.
//!
//! Owns the types, their defaults and their limits; filling them from a file is left to the
//! configuration. Invariant: any value of these types is usable, durations beyond
//! [`Policy::TIMEOUT_MAX`] are shortened to it.

use std::time::Duration;

use crate::retry_on::RetryOn;

/// How a request is driven towards the servers of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tries after the first one. At most `retries_max + 1` connections are attempted for one request, and
    /// one more where a reused connection was dead.
    pub retries_max: u8,
    /// Which retries may go to another server.
    pub redispatch: Redispatch,
    /// What is tried again.
    pub retry_on: RetryOn,
    /// Shortest delay before the same server is tried again; each further one is twice as long.
    pub delay_min: Duration,
    /// Longest delay before the same server is tried again.
    pub delay_max: Duration,
    /// Time for a response's head once the request was sent, after which another try is made. It ends no try that cannot be
    /// followed by another one.
    pub try_timeout: Option<Duration>,
    /// Time for the first byte of a response once the request was sent, after which a second try is made beside the first.
    pub hedge_after: Option<Duration>,
    /// Longest time for a connection to a server to be established.
    pub connect_timeout: Duration,
    /// Longest time without progress while something is owed by the server: accepting bytes of the
    /// request, the response's head, the next bytes of its body.
    pub server_timeout: Duration,
    /// Longest time a request may wait for a server to be picked.
    pub queue_timeout: Duration,
}

/// Which retries go to another server, if the backend has another one that is usable.
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

    /// Whether requests may be sent again of which a server has seen something.
    #[inline]
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.try_timeout.is_some() || self.hedge_after.is_some() || self.retry_on.repeats()
    }
}

impl Default for Policy {
    /// Three retries, each on another server, of what never reached one; delays from 100 ms to 1 s, so
    /// that a server that restarts is given time to do so; 5 s to connect, which covers two lost SYNs (1 s and 3 s);
    /// 30 s for the server; 5 s in the queue, as the wait for a connection.
    fn default() -> Self {
        Self {
            retries_max: 3,
            redispatch: Redispatch::EveryRetry,
            retry_on: RetryOn::default(),
            delay_min: Duration::from_millis(100),
            delay_max: Duration::from_secs(1),
            try_timeout: None,
            hedge_after: None,
            connect_timeout: Duration::from_secs(5),
            server_timeout: Duration::from_secs(30),
            queue_timeout: Duration::from_secs(5),
        }
    }
}

/// What the exchange has to know about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method is idempotent (RFC 9110 §9.2.2), or repeating it is wished for: it may be sent again although a server may
    /// have acted on it, as long as the whole of it is at hand.
    pub repeatable: bool,
    /// A random number, from which the delays are drawn.
    pub seed: u64,
}

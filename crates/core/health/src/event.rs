//! What an operator wants to read about the servers of a backend.
//!
//! Owns the vocabulary; leaves the words of the log to the control plane. Invariant: an event says what
//! changed, once.

use std::time::Duration;

use crate::agent::Duty;
use crate::outcome::Failure;
use crate::passive::Sign;

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The server, by its place in the backend; none: the backend as a whole.
    pub server: Option<usize>,
    /// What changed.
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Checks, or its own word, have brought the server down.
    Down(Failure),
    /// Checks, or its own word, have brought the server up.
    Up,
    /// The server says whether it is to be given requests.
    Duty(Duty),
    /// The server says how many connections it takes; 0: as many as come.
    Limit(u32),
    /// The server is ejected.
    Ejected {
        /// What gave it away.
        sign: Sign,
        /// For how long.
        time: Duration,
        /// Ejections in a row.
        times: u32,
    },
    /// The server's ejection is over.
    Returned,
    /// Too few servers are well: all are used.
    PanicBegan {
        /// That are well.
        healthy: usize,
        /// Of this many.
        of: usize,
    },
    /// Enough servers are well again.
    PanicEnded,
    /// No server is well.
    NoneUp,
    /// Some server is well again.
    SomeUp,
}

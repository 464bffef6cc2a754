//! What the control plane and the writing thread tell each other.
//!
//! Owns the words; leaves acting on them to `drain` and `logs`. Invariant: whoever asks is answered, or learns from the
//! closed channel that nobody will.

use crate::counters::Cause;
use crate::destination::Destination;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// Something about a log that an operator should know. Told on the writing thread, which must not be kept.
#[derive(Debug)]
pub enum Event<'a> {
    /// A target failed; lines wait, then are dropped, until it is back. Or a file could not be opened anew, and the
    /// old one is written on.
    Failed {
        /// The target.
        log: &'a str,
        /// Why, as the metrics count it.
        cause: Cause,
        /// What the system said.
        error: &'a std::io::Error,
    },
    /// A target that failed takes lines again.
    Restored {
        /// The target.
        log: &'a str,
    },
    /// Lines were lost; told once they stopped being, or once a second.
    Lost {
        /// The target.
        log: &'a str,
        /// How many since the last time.
        lines: u64,
        /// Why.
        cause: Cause,
    },
}

/// To the writing thread.
pub(crate) enum Message {
    /// Lines of this log come from now on; answered when they may.
    Open { log: usize, destination: Box<Destination>, done: SyncSender<()> },
    /// No more lines of this log come.
    Close { log: usize },
    /// Files are opened anew under their names.
    Reopen,
    /// Answered when everything pushed so far is written, or at the deadline: whether it is.
    Flush { deadline: Instant, done: SyncSender<bool> },
    /// As `Flush`, and then the thread ends.
    Stop { deadline: Instant, done: SyncSender<bool> },
}

//! What a check comes to.
//!
//! Owns the reasons and their labels; leaves what follows from them to `active` and `group`.
//! Invariant: every fault has one index and one label.

use std::fmt;

use crate::agent::AgentReport;

/// The end of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server is well.
    Passed,
    /// It is not.
    Failed(Failure),
    /// It has said itself how it is.
    Said(AgentReport),
    /// This machine lacks what a check takes (a descriptor, a port, memory): it says nothing of the server.
    Skipped,
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong.
    pub fault: Fault,
    /// More about it for the log; may be empty.
    pub detail: String,
}

impl Failure {
    /// With nothing more to say.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, detail: String::new() }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What was wrong in a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The connection was refused.
    Refused,
    /// There is no route to the server.
    Unreachable,
    /// The connection was reset.
    Reset,
    /// No verdict in time.
    TimedOut,
    /// The server closed before it had said enough.
    Closed,
    /// Its response is no valid HTTP.
    Malformed,
    /// Its response has another status than expected.
    Status,
    /// Its response's body is not what is expected.
    Body,
    /// It said something else than the exchange expects.
    Unexpected,
    /// It says of itself that it is down, or what the agent protocol does not know.
    Agent,
    /// The connection was there, and the TLS handshake failed.
    Tls,
    /// It says by the health service of gRPC that it does not serve, or answers with another gRPC status than OK.
    Grpc,
}

impl Fault {
    /// Every fault, in the order of [`Fault::index`].
    pub const ALL: [Self; 12] = [
        Self::Refused,
        Self::Unreachable,
        Self::Reset,
        Self::TimedOut,
        Self::Closed,
        Self::Malformed,
        Self::Status,
        Self::Body,
        Self::Unexpected,
        Self::Agent,
        Self::Tls,
        Self::Grpc,
    ];

    /// Its place in [`Fault::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its word in the log and in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::TimedOut => "timeout",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Status => "status",
            Self::Body => "body",
            Self::Unexpected => "unexpected",
            Self::Agent => "agent",
            Self::Tls => "tls",
            Self::Grpc => "grpc",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Bytes of an answer that the log shows.
const EXCERPT_BYTES_MAX: usize = 64;

/// The beginning of what a server said, for the log.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(EXCERPT_BYTES_MAX)];
    let mut text = shown.escape_ascii().to_string();
    if shown.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_place() {
        for (at, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault.index(), at);
        }
    }

    #[test]
    fn an_excerpt_is_printable_and_short() {
        assert_eq!(excerpt(b"-ERR\r\n\xff"), "-ERR\\r\\n\\xff");
        assert_eq!(excerpt(&[b'x'; 65]), "x".repeat(64) + "...");
    }
}

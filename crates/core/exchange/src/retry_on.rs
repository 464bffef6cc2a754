//! Which failures are made good by another try.
//!
//! Owns the set and the words for its parts; leaves to the machine whether a retry is possible at all: how often, and
//! whether the request can be repeated. Invariant: a set holds kinds and statuses, and each is asked about in constant time.

use crate::failure::{ConnectFailure, FailureKind};

/// What a try may have failed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryCause {
    /// No connection was established, for whatever reason, or the server did not take the request on the one there was.
    ConnectFailure,
    /// The server refused the connection, or the request before it did anything with it.
    Refused,
    /// The server closed the connection before it sent anything.
    EmptyResponse,
    /// What came is not a valid response's head, or ends within it.
    JunkResponse,
    /// The response's head did not come in time.
    ResponseTimeout,
    /// The connection was not established in time, or the response's head did not come in time.
    Timeout,
    /// The connection broke, while it was established or later.
    Reset,
    /// The response is nothing but this status of a gRPC call.
    Grpc(u8),
}

impl RetryCause {
    /// The word for each in the configuration.
    pub const WORDS: [(&'static str, Self); 12] = [
        ("connect_failure", Self::ConnectFailure),
        ("refused", Self::Refused),
        ("empty_response", Self::EmptyResponse),
        ("junk_response", Self::JunkResponse),
        ("response_timeout", Self::ResponseTimeout),
        ("timeout", Self::Timeout),
        ("reset", Self::Reset),
        // Those after which gRPC itself, and Envoy, may try again.
        ("grpc_cancelled", Self::Grpc(1)),
        ("grpc_deadline_exceeded", Self::Grpc(4)),
        ("grpc_resource_exhausted", Self::Grpc(8)),
        ("grpc_internal", Self::Grpc(13)),
        ("grpc_unavailable", Self::Grpc(14)),
    ];

    const fn kinds(self) -> &'static [FailureKind] {
        use ConnectFailure::{LocalResource, Protocol, Refused, Reset, TimedOut, Tls, Unreachable};
        use FailureKind::Connect;
        match self {
            Self::ConnectFailure => &[
                Connect(Refused),
                Connect(TimedOut),
                Connect(Unreachable),
                Connect(Reset),
                Connect(LocalResource),
                Connect(Tls),
                Connect(Protocol),
                FailureKind::StreamRefused,
            ],
            Self::Refused => &[Connect(Refused), FailureKind::StreamRefused],
            Self::EmptyResponse => &[FailureKind::EmptyResponse],
            Self::JunkResponse => {
                &[FailureKind::IncompleteHead, FailureKind::BadResponse { detail: "" }]
            }
            Self::ResponseTimeout => &[FailureKind::ServerTimeout],
            Self::Timeout => &[Connect(TimedOut), FailureKind::ServerTimeout],
            Self::Reset => &[Connect(Reset), FailureKind::ServerReset],
            Self::Grpc(_) => &[],
        }
    }
}

/// A set of causes and statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// A bit for each kind of failure, by its index.
    kinds: u32,
    /// A bit for each status from 400 on, and from 500 on.
    statuses: [u64; 2],
    /// A bit for each status of gRPC.
    grpc: u32,
}

impl RetryOn {
    /// Nothing is tried again.
    pub const NONE: Self = Self { kinds: 0, statuses: [0; 2], grpc: 0 };

    /// The set with this cause.
    #[must_use]
    pub const fn with(mut self, cause: RetryCause) -> Self {
        if let RetryCause::Grpc(status) = cause {
            self.grpc |= grpc_bit(status);
        }
        let kinds = cause.kinds();
        let mut at = 0;
        while at < kinds.len() {
            self.kinds |= 1 << kinds[at].index();
            at += 1;
        }
        self
    }

    /// The set with this status of a response: 400 to 463 or 500 to 563, which holds every one that is registered.
    ///
    /// # Errors
    /// `None` for any other status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Option<Self> {
        let (word, bit) = place(status)?;
        self.statuses[word] |= bit;
        Some(self)
    }

    /// Whether a response with this status is not passed on while another try is possible.
    #[inline]
    #[must_use]
    pub fn has_status(&self, status: u16) -> bool {
        status >= 400 && place(status).is_some_and(|(word, bit)| self.statuses[word] & bit != 0)
    }

    /// Whether a failure of this kind is made good while another try is possible.
    #[must_use]
    pub fn has(&self, kind: FailureKind) -> bool {
        match kind {
            FailureKind::Status(status) => self.has_status(status),
            FailureKind::GrpcStatus(status) => self.grpc & grpc_bit(status) != 0,
            _ => self.kinds & (1 << kind.index()) != 0,
        }
    }

    /// Whether it holds more than failures to connect, which leave no trace at a server.
    #[must_use]
    pub fn repeats(&self) -> bool {
        let connecting = Self::NONE.with(RetryCause::ConnectFailure).kinds;
        self.kinds & !connecting != 0 || self.statuses != [0; 2] || self.grpc != 0
    }
}

impl Default for RetryOn {
    /// As in HAProxy: what never left this machine is tried again.
    fn default() -> Self {
        Self::NONE.with(RetryCause::ConnectFailure)
    }
}

const fn grpc_bit(status: u8) -> u32 {
    if status < 32 { 1 << status } else { 0 }
}

fn place(status: u16) -> Option<(usize, u64)> {
    match status {
        400..=463 => Some((0, 1 << (status - 400))),
        500..=563 => Some((1, 1 << (status - 500))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_into_it() {
        let set = RetryOn::NONE.with(RetryCause::Timeout).with_status(503).expect("a status");
        let set = set.with_status(400).and_then(|set| set.with_status(463)).expect("statuses");
        for kind in FailureKind::ALL {
            let expected = matches!(
                kind,
                FailureKind::Connect(ConnectFailure::TimedOut)
                    | FailureKind::ServerTimeout
                    | FailureKind::Status(503)
            );
            assert_eq!(set.has(kind), expected, "{kind:?}");
        }
        let calls = RetryOn::NONE.with(RetryCause::Grpc(14)).with(RetryCause::Grpc(1));
        let held = (0..=u8::MAX).filter(|status| calls.has(FailureKind::GrpcStatus(*status)));
        assert_eq!(held.collect::<Vec<_>>(), [1, 14]);
        let held = (0..=999).filter(|status| set.has_status(*status)).collect::<Vec<_>>();
        assert_eq!(held, [400, 463, 503]);
        for status in [0, 200, 399, 464, 499, 564, 999, u16::MAX] {
            assert_eq!(set.with_status(status), None);
        }
    }

    #[test]
    fn only_what_reached_a_server_is_a_repeat() {
        for (word, cause) in RetryCause::WORDS {
            let connects = ["connect_failure", "refused"].contains(&word);
            assert_eq!(RetryOn::NONE.with(cause).repeats(), !connects, "{word}");
        }
        assert!(!RetryOn::default().repeats());
        assert!(RetryOn::NONE.with_status(500).is_some_and(|set| set.repeats()));
    }
}

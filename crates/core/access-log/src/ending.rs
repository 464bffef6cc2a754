//! How a request or a connection ended: HAProxy's termination state and the words for it.
//!
//! Owns the total function from an ending to its letters, its reason and its stage, with the meaning that HAProxy's
//! documentation gives the letters in section 8.5; failures bring theirs from `tidegate-exchange`. Leaves choosing the
//! ending to the data plane. Invariant: every ending has two letters and one reason.

use tidegate_exchange::{Failure, Stage};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Normally: everything was passed on. A tunnel that either side closed ended so too.
    Complete,
    /// It failed: a fault of the client, the server or a limit, or a timeout, at any stage.
    Failed(Failure),
    /// The client left while the last bytes were being sent, when the server had finished.
    ClientGoneAtEnd,
    /// No byte passed through a tunnel for too long.
    TunnelTimeout,
    /// A rule answered it.
    Responded,
    /// A rule redirected it.
    Redirected,
    /// A rule asked for a name and a password.
    Unauthorized,
    /// A rule or a limit refused it.
    Denied,
    /// A rule closed the connection without an answer.
    ClosedByRule,
    /// A rule held it back and then refused it.
    Tarpitted,
    /// The client left while a rule held it back.
    TarpitAbandoned,
    /// It was ended from outside while a rule held it back.
    TarpitKilled,
    /// A rule refused the server's response.
    ResponseDenied,
    /// It was ended from outside: by an operator, or because the process had to stop.
    Killed(Stage),
    /// Its server went down, and its connections with it.
    ServerDown(Stage),
    /// It was at a backup server when the others came back.
    BackupReplaced(Stage),
    /// A fault in this program, such as a panic.
    Internal(Stage),
}

impl Ending {
    /// The first two letters of the termination state; for TCP the whole of it.
    #[must_use]
    #[inline]
    pub fn letters(&self) -> [u8; 2] {
        match self {
            Self::Complete => *b"--",
            Self::Failed(failure) => failure.flags().letters(),
            Self::ClientGoneAtEnd => *b"CL",
            Self::TunnelTimeout => *b"cD",
            Self::Responded | Self::Redirected | Self::Unauthorized => *b"LR",
            Self::Denied | Self::ClosedByRule => *b"PR",
            Self::Tarpitted => *b"PT",
            Self::TarpitAbandoned => *b"CT",
            Self::TarpitKilled => *b"KT",
            Self::ResponseDenied => *b"PH",
            Self::Killed(stage) => [b'K', stage.letter()],
            Self::ServerDown(stage) => [b'D', stage.letter()],
            Self::BackupReplaced(stage) => [b'U', stage.letter()],
            Self::Internal(stage) => [b'I', stage.letter()],
        }
    }

    /// Why, in `snake_case`; for failures the metrics use the same word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed(failure) => failure.reason(),
            Self::ClientGoneAtEnd => "client_gone_at_end",
            Self::TunnelTimeout => "tunnel_timeout",
            Self::Responded => "responded",
            Self::Redirected => "redirected",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::ClosedByRule => "closed_by_rule",
            Self::Tarpitted => "tarpitted",
            Self::TarpitAbandoned => "tarpit_abandoned",
            Self::ResponseDenied => "response_denied",
            Self::Killed(_) | Self::TarpitKilled => "killed",
            Self::ServerDown(_) => "server_down",
            Self::BackupReplaced(_) => "backup_replaced",
            Self::Internal(_) => "internal_error",
        }
    }

    /// How far it had come: the second letter as a word.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        let [_, stage] = self.letters();
        match stage {
            b'R' => "request",
            b'Q' => "queue",
            b'C' => "connect",
            b'H' => "response_head",
            b'D' => "data",
            b'L' => "last_data",
            b'T' => "tarpit",
            _ => "end",
        }
    }

    /// The rule of the protocol that was broken, for reasons that stand for many.
    #[must_use]
    pub fn detail(&self) -> Option<&'static str> {
        match self {
            Self::Failed(failure) => failure.kind.detail().filter(|detail| !detail.is_empty()),
            _ => None,
        }
    }

    /// Whether a fault or a timeout forced it, rather than the parties or a rule.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Failed(_)
            | Self::ClientGoneAtEnd
            | Self::Killed(_)
            | Self::TarpitKilled
            | Self::ServerDown(_)
            | Self::BackupReplaced(_)
            | Self::Internal(_) => true,
            Self::Complete
            | Self::TunnelTimeout
            | Self::Responded
            | Self::Redirected
            | Self::Unauthorized
            | Self::Denied
            | Self::ClosedByRule
            | Self::Tarpitted
            | Self::TarpitAbandoned
            | Self::ResponseDenied => false,
        }
    }
}

/// What the client's persistence cookie said: the third letter of the termination state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestCookie {
    /// `-`: there is no persistence.
    #[default]
    NotUsed,
    /// `N`: it sent none.
    None,
    /// `I`: it names no server.
    Invalid,
    /// `D`: it names a server that is down.
    Down,
    /// `V`: it names the server that was taken.
    Valid,
    /// `E`: it has not been used for too long.
    Expired,
    /// `O`: it was made too long ago.
    Old,
    /// `U`: it was there, but something else chose the server.
    Unused,
}

impl RequestCookie {
    /// The letter.
    #[must_use]
    #[inline]
    pub const fn letter(self) -> u8 {
        match self {
            Self::NotUsed => b'-',
            Self::None => b'N',
            Self::Invalid => b'I',
            Self::Down => b'D',
            Self::Valid => b'V',
            Self::Expired => b'E',
            Self::Old => b'O',
            Self::Unused => b'U',
        }
    }
}

/// What was done to the persistence cookie in the response: the fourth letter of the termination state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseCookie {
    /// `-`: there is no persistence.
    #[default]
    NotUsed,
    /// `N`: the server sent none, and none was added.
    None,
    /// `I`: one was inserted.
    Inserted,
    /// `U`: the client's was renewed.
    Updated,
    /// `P`: the server's was passed on.
    Provided,
    /// `R`: the server's was rewritten.
    Rewritten,
    /// `D`: the server's was deleted.
    Deleted,
}

impl ResponseCookie {
    /// The letter.
    #[must_use]
    #[inline]
    pub const fn letter(self) -> u8 {
        match self {
            Self::NotUsed => b'-',
            Self::None => b'N',
            Self::Inserted => b'I',
            Self::Updated => b'U',
            Self::Provided => b'P',
            Self::Rewritten => b'R',
            Self::Deleted => b'D',
        }
    }
}

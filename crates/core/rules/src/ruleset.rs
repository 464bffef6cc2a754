//! Owns an ordered list of rules.

use crate::{Condition, Facts, Scratch, Uses};

/// Rules in order, each with a condition or none.
#[derive(Clone, Debug)]
pub struct RuleSet {}

/// How far the evaluation of a list has come; reused, so that it allocates once.
#[derive(Debug, Default)]
pub struct Cursor {
    /// Working memory, also for conditions and templates that the caller evaluates in between.
    pub scratch: Scratch,
}

/// What an edit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The method.
    Method,
    /// The host.
    Host,
    /// The path, and with it the URI.
    Path,
    /// The query, and with it the arguments and the URI.
    Query,
    /// A header field of the request, its name in lower case.
    RequestHeader(&'a [u8]),
    /// A header field of the response, its name in lower case.
    ResponseHeader(&'a [u8]),
    /// A variable.
    Variable(crate::VariableIndex),
}

impl RuleSet {
    /// Makes the list; a rule without a condition always matches.
    #[must_use]
    pub fn new(_conditions: Vec<Option<Condition>>) -> Self {
        unimplemented!()
    }
    /// Begins at the first rule.
    pub fn start<F: Facts>(&self, _facts: &F, _cursor: &mut Cursor) {
        unimplemented!()
    }
    /// The next rule that matches, by its place in the list; none at the end.
    pub fn next_match<F: Facts>(&self, _facts: &F, _cursor: &mut Cursor) -> Option<usize> {
        unimplemented!()
    }
    /// Tells that an edit changed what later rules may ask about.
    pub fn changed(&self, _change: Change<'_>, _cursor: &mut Cursor) {
        unimplemented!()
    }
    /// What the conditions ask about.
    #[must_use]
    pub fn uses(&self) -> Uses {
        unimplemented!()
    }
}

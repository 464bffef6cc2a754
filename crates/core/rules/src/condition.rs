//! Owns a compiled condition.

use crate::{Environment, Facts, Problem};

/// A compiled condition.
///
/// A shard works from a clone of its own: clones share the tables, but a regular expression keeps its
/// working memory, which only one thread reaches without contention.
#[derive(Clone, Debug)]
pub struct Condition {}

/// Working memory of evaluation, one for each thread, reused so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Scratch {}

/// What a compiled expression asks about, so that the data plane prepares no more than that.
#[derive(Clone, Debug, Default)]
pub struct Uses {}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn compile(_text: &str, _environment: &mut Environment<'_>) -> Result<Self, Vec<Problem>> {
        unimplemented!()
    }

    /// Whether the facts meet it.
    pub fn matches<F: Facts>(&self, _facts: &F, _scratch: &mut Scratch) -> bool {
        unimplemented!()
    }

    /// What it asks about.
    #[must_use]
    pub fn uses(&self) -> Uses {
        unimplemented!()
    }
}

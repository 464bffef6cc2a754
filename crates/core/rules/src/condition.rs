//! Owns a compiled condition and what it asks about.
//!
//! Leaves parsing to `syntax`, types to `check`, running to `program`. Invariant: the tree that rules
//! are indexed by and the program that runs are made from the same text.

use crate::attribute::{ATTRIBUTES, Attribute};
use crate::check::Checker;
use crate::environment::Environment;
use crate::facts::Facts;
use crate::logic::Logic;
use crate::problem::Problem;
use crate::program::Program;
use crate::value::Scratch;
use std::sync::Arc;

/// A compiled condition.
///
/// A shard works from a clone of its own: clones share the tables, but each has its own regular
/// expressions, whose working memory only one thread reaches without contention.
#[derive(Clone, Debug)]
pub struct Condition {
    pub(crate) logic: Arc<Logic>,
    program: Program,
    uses: Uses,
}

/// What compiled expressions ask about, so that the data plane prepares no more than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// A bit for each attribute, in the order of [`ATTRIBUTES`].
    attributes: u64,
}

impl Condition {
    /// Compiles a condition.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn compile(text: &str, environment: &mut Environment<'_>) -> Result<Self, Vec<Problem>> {
        let mut checker = Checker::new(environment);
        let logic = checker.condition(text);
        let (uses, logic) = (checker.uses(), checker.finish(logic)?);
        Ok(Self { program: Program::new(&logic), logic: Arc::new(logic), uses })
    }

    /// Whether the facts meet it.
    #[inline]
    pub fn matches<F: Facts>(&self, facts: &F, scratch: &mut Scratch) -> bool {
        self.program.run(facts, scratch)
    }

    /// What it asks about.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// Whether it always or never holds, whatever the facts.
    #[must_use]
    pub fn as_constant(&self) -> Option<bool> {
        match *self.logic {
            Logic::Const(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn into_program(self) -> Program {
        self.program
    }
}

impl Uses {
    /// Whether this attribute is asked about.
    #[must_use]
    pub fn asks(&self, attribute: Attribute) -> bool {
        self.attributes & bit(attribute) != 0
    }

    /// What either asks about.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { attributes: self.attributes | other.attributes }
    }

    pub(crate) fn add(&mut self, attribute: Attribute) {
        self.attributes |= bit(attribute);
    }
}

const _: () = assert!(ATTRIBUTES.len() <= 64);

fn bit(attribute: Attribute) -> u64 {
    let place = ATTRIBUTES.iter().position(|row| row.attribute == attribute);
    1 << place.expect("the table has every attribute")
}

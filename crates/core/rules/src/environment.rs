//! Owns the names that expressions may use beside the attributes.

use crate::{FieldIndex, LimitIndex, ListIndex, Phase, Problem, VariableIndex};

/// The names of one configuration: lists, limits, maps, variables, fields of the log.
#[derive(Clone, Debug, Default)]
pub struct Names {}

/// The type of a field of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    Text,
    /// A whole number.
    Number,
}

impl Names {
    /// A list that `inList` may name.
    pub fn declare_list(&mut self, _name: &str) -> ListIndex {
        unimplemented!()
    }
    /// A limit that `rate` may name.
    pub fn declare_limit(&mut self, _name: &str) -> LimitIndex {
        unimplemented!()
    }
    /// A variable that a rule sets; expressions call it `var.NAME`.
    pub fn declare_variable(&mut self, _name: &str) -> VariableIndex {
        unimplemented!()
    }
    /// A field that expressions of the log may name, dots included.
    pub fn declare_field(&mut self, _name: &str, _field: FieldType) -> FieldIndex {
        unimplemented!()
    }
    /// The maps that `lookup` named so far, in the order of their index; the caller loads them.
    #[must_use]
    pub fn maps(&self) -> &[String] {
        unimplemented!()
    }
}

/// The named conditions of a frontend.
#[derive(Clone, Debug, Default)]
pub struct Conditions {}

/// What is wrong with a named condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionProblem {
    /// The condition.
    pub name: String,
    /// What is wrong with its text.
    pub problem: Problem,
}

impl Conditions {
    /// Compiles named conditions, which may refer to each other in any order.
    pub fn compile<'a>(
        _names: &mut Names,
        _entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (Self, Vec<ConditionProblem>) {
        unimplemented!()
    }

    /// Those that no compiled rule came to use, in the order given.
    #[must_use]
    pub fn unused(&self) -> Vec<&str> {
        unimplemented!()
    }
}

/// What one expression is compiled against.
#[derive(Debug)]
pub struct Environment<'a> {
    /// Lists, limits, maps, variables.
    pub names: &'a mut Names,
    /// The frontend's conditions.
    pub conditions: &'a Conditions,
    /// When it is evaluated.
    pub phase: Phase,
}

//! Conditions, rules, templates, lists and maps, without I/O.
//!
//! This crate owns the language of `when`: CEL text is parsed, its types are checked, and it is lowered
//! to a matcher that runs without allocation; and it owns lists of rules, whose predicates are indexed
//! so that hundreds of rules cost little more than ten. It leaves to others: what a rule does (the
//! configuration and the data plane), where attributes come from (whoever implements [`Facts`]), and
//! reading files.
//!
//! Invariant: no text makes compiling panic or run long, and what compiled evaluates in bounded time,
//! without recursion over what the operator wrote, whatever bytes the facts hold.

mod attribute;
mod condition;
mod environment;
mod facts;
mod problem;
mod ruleset;
mod template;

pub use attribute::{
    ATTRIBUTES, Address, Attribute, AttributeRow, Flag, Keyed, Number, Phase, Text,
};
pub use condition::{Condition, Scratch, Uses};
pub use environment::{ConditionProblem, Conditions, Environment, FieldType, Names};
pub use facts::{Facts, FieldIndex, Key, LimitIndex, ListIndex, MapIndex, VariableIndex};
pub use problem::Problem;
pub use ruleset::{Change, Cursor, RuleSet};
pub use template::{ControlByte, Template};

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
//!
//! What the language has beside CEL's operators: [`ATTRIBUTES`], [`FUNCTIONS`], [`METHODS`], `exists`
//! and `all` over lists in brackets, the names of conditions, and `vars.NAME` for what rules set.
//! Where it differs from CEL: what is missing is the empty string; strings are bytes, so that `size`
//! counts bytes and patterns have ASCII classes; `request.host` and `connection.sni` are compared
//! without case; an address equals the string that names it.
//!
//! ```
//! use tidegate_rules::{Condition, Conditions, Environment, Names, Phase};
//!
//! let mut names = Names::default();
//! let entries = [("is_api", r#"request.path.startsWith("/api/")"#)];
//! let (conditions, problems) = Conditions::compile(&mut names, entries);
//! assert!(problems.is_empty());
//! let mut environment =
//!     Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
//! assert!(Condition::compile("is_api && !connection.tls", &mut environment).is_ok());
//!
//! let problems = Condition::compile("request.pth == \"/\"", &mut environment).unwrap_err();
//! assert_eq!(problems[0].span, 0..11);
//! assert_eq!(problems[0].message, "unknown attribute `request.pth`");
//! assert_eq!(problems[0].help.as_deref(), Some("did you mean `request.path`?"));
//! ```

mod attribute;
mod check;
mod condition;
mod environment;
mod facts;
mod list;
mod logic;
mod map;
mod problem;
mod program;
mod ruleset;
mod syntax;
mod tables;
mod template;
mod value;

pub use attribute::{
    ATTRIBUTES, Address, Attribute, AttributeRow, Flag, Keyed, Number, Phase, Text,
};
pub use check::{FUNCTIONS, METHODS};
pub use condition::{Condition, Uses};
pub use environment::{
    CONDITIONS_MAX, ConditionProblem, Conditions, Environment, FieldType, Names,
};
pub use facts::{Facts, FieldIndex, Key, LimitIndex, ListIndex, MapIndex, VariableIndex};
pub use list::{LIST_ENTRIES_MAX, LineError, ValueList};
pub use map::ValueMap;
pub use problem::Problem;
pub use ruleset::{Change, Cursor, RuleSet};
pub use syntax::{DEPTH_MAX, EXPRESSION_BYTES_MAX};
pub use tables::Network;
pub use template::{ControlByte, Template};
pub use value::Scratch;

//! Owns meaning: a parsed tree to typed values, or everything that is wrong with it.
//!
//! Names are in `names`, operators between values in `relations`, functions in `calls`. Leaves the
//! grammar to `syntax` and running to `program` and `value`. Invariant: it goes on behind a problem,
//! and what depends on something wrong is not complained about again.

mod calls;
mod names;
mod relations;

pub use calls::{FUNCTIONS, METHODS};
pub(crate) use names::Needs;

use crate::attribute::{Keyed, Phase};
use crate::condition::Uses;
use crate::environment::{Conditions, Environment, Names};
use crate::logic::Logic;
use crate::problem::Problem;
use crate::program::Program;
use crate::syntax::{self, Expr, Kind};
use crate::value::{AddressValue, FloatValue, IntValue, Shown, TextValue};
use std::ops::Range;

/// How much work one expression may ask for, in nodes: `exists` and `all` repeat what is in them for
/// each element, and references to conditions repeat these. It is far above what a text of
/// [`syntax::EXPRESSION_BYTES_MAX`] needs without nesting them.
const WORK_MAX: usize = 100_000;

/// How many nodes the compiling of one regular expression counts for.
const REGEX_WORK: usize = 500;

/// How deep conditions may nest through references, in levels: walks over them recurse.
const LOGIC_DEPTH_MAX: usize = 200;

/// A typed value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(TextValue),
    Int(IntValue),
    Float(FloatValue),
    Bool(Logic),
    Address(AddressValue),
    List(Vec<Value>),
    Keyed(Keyed),
    /// Something is wrong with it, which was told.
    Wrong,
}

impl Value {
    /// Its type, as messages call it.
    fn type_name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Int(_) => "an int",
            Self::Float(_) => "a double",
            Self::Bool(_) => "a bool",
            Self::Address(_) => "an address",
            Self::List(_) => "a list",
            Self::Keyed(_) => "a set of names",
            Self::Wrong => "wrong",
        }
    }

    fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }

    fn as_literal(&self) -> Option<&str> {
        match self {
            Self::Text(TextValue::Literal(bytes)) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// The state of checking one expression.
pub(crate) struct Checker<'a> {
    names: &'a mut Names,
    conditions: &'a Conditions,
    /// None for a named condition, whose phase is that of its use.
    phase: Option<Phase>,
    problems: Vec<Problem>,
    /// The variables of the macros around, with the element that they stand for.
    bound: Vec<(String, Value)>,
    work: usize,
    uses: Uses,
    needs: Option<Needs>,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(environment: &'a mut Environment<'_>) -> Self {
        let Environment { names, conditions, phase } = environment;
        Self::with_phase(names, conditions, Some(*phase))
    }

    pub(crate) fn of_condition(names: &'a mut Names, conditions: &'a Conditions) -> Self {
        Self::with_phase(names, conditions, None)
    }

    fn with_phase(names: &'a mut Names, conditions: &'a Conditions, phase: Option<Phase>) -> Self {
        Self {
            names,
            conditions,
            phase,
            problems: Vec::new(),
            bound: Vec::new(),
            work: 0,
            uses: Uses::default(),
            needs: None,
        }
    }

    pub(crate) fn uses(&self) -> Uses {
        self.uses
    }

    pub(crate) fn needs(&self) -> Option<Needs> {
        self.needs.clone()
    }

    /// The value, if nothing is wrong; otherwise everything that is, in the order of the text.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Err(self.problems)
    }

    /// Parses and checks a condition.
    pub(crate) fn condition(&mut self, text: &str) -> Logic {
        match syntax::parse(text) {
            Ok(tree) => self.tree_of_condition(&tree),
            Err(problem) => {
                self.report(problem);
                Logic::Const(false)
            }
        }
    }

    pub(crate) fn tree_of_condition(&mut self, tree: &Expr) -> Logic {
        let value = self.value(tree);
        let logic = match value {
            Value::Bool(logic) => logic,
            Value::Wrong => return Logic::Const(false),
            other => {
                let message = format!("a condition is a bool, this is {}", other.type_name());
                self.report(with_help(
                    Problem::new(tree.span.clone(), message),
                    hint_of_bool(&other),
                ));
                return Logic::Const(false);
            }
        };
        if logic.size() > WORK_MAX || logic.depth() > LOGIC_DEPTH_MAX {
            self.report(too_much(tree.span.clone()));
            return Logic::Const(false);
        }
        logic
    }

    /// Checks an expression whose value is written out.
    pub(crate) fn tree_of_text(&mut self, tree: &Expr) -> TextValue {
        let shown = |shown| TextValue::Shown(Box::new(shown));
        match self.value(tree) {
            Value::Text(text) => text,
            Value::Int(int) => shown(Shown::Int(int)),
            Value::Float(float) => shown(Shown::Float(float)),
            Value::Bool(logic) => shown(Shown::Bool(Program::new(&logic))),
            Value::Address(address) => shown(Shown::Address(address)),
            Value::Wrong => TextValue::Literal(Box::default()),
            other @ (Value::List(_) | Value::Keyed(_)) => {
                let message = format!("{} cannot be written as text", other.type_name());
                self.report(Problem::new(tree.span.clone(), message));
                TextValue::Literal(Box::default())
            }
        }
    }

    pub(crate) fn report(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn wrong(&mut self, problem: Problem) -> Value {
        self.report(problem);
        Value::Wrong
    }

    /// Counts work; false when there is too much of it, which is then told once.
    fn spend(&mut self, work: usize, span: &Range<usize>) -> bool {
        let before = self.work;
        self.work = self.work.saturating_add(work);
        if before <= WORK_MAX && self.work > WORK_MAX {
            self.report(too_much(span.clone()));
        }
        self.work <= WORK_MAX
    }

    fn value(&mut self, tree: &Expr) -> Value {
        if !self.spend(1, &tree.span) {
            return Value::Wrong;
        }
        match &tree.kind {
            Kind::Text(text) => Value::Text(TextValue::Literal(text.as_bytes().into())),
            Kind::Int(value) => Value::Int(IntValue::Literal(*value)),
            Kind::Float(value) => Value::Float(FloatValue::Literal(*value)),
            Kind::Bool(value) => Value::Bool(Logic::Const(*value)),
            Kind::Name(name) => self.name(name, &tree.span),
            Kind::Select { operand, field, field_span } => {
                self.select(operand, field, field_span, &tree.span)
            }
            Kind::Index { operand, key } => self.index(operand, key),
            Kind::Call { target, name, name_span, arguments } => {
                self.call(target.as_deref(), name, name_span, arguments, &tree.span)
            }
            Kind::List(elements) => self.list(elements),
            Kind::Not(operand) => match self.truth(operand, "!") {
                Some(logic) => Value::Bool(logic.negated()),
                None => Value::Wrong,
            },
            Kind::Relation { relation, left, right } => self.relation(*relation, left, right),
            Kind::All(operands) => self.truths(operands, "&&", Logic::all),
            Kind::Any(operands) => self.truths(operands, "||", Logic::any),
            Kind::Sum(operands) => self.sum(operands),
            Kind::If(parts) => self.choice(parts),
        }
    }

    /// A value that must be a truth.
    fn truth(&mut self, tree: &Expr, operator: &str) -> Option<Logic> {
        match self.value(tree) {
            Value::Bool(logic) => Some(logic),
            Value::Wrong => None,
            other => {
                let message = format!("`{operator}` takes bools, this is {}", other.type_name());
                self.report(with_help(
                    Problem::new(tree.span.clone(), message),
                    hint_of_bool(&other),
                ));
                None
            }
        }
    }

    fn truths(&mut self, operands: &[Expr], sign: &str, join: fn(Vec<Logic>) -> Logic) -> Value {
        let truths: Vec<Option<Logic>> =
            operands.iter().map(|operand| self.truth(operand, sign)).collect();
        truths
            .into_iter()
            .collect::<Option<Vec<Logic>>>()
            .map_or(Value::Wrong, |all| Value::Bool(join(all)))
    }

    fn list(&mut self, elements: &[Expr]) -> Value {
        let values: Vec<Value> = elements.iter().map(|element| self.value(element)).collect();
        if values.iter().any(Value::is_wrong) {
            return Value::Wrong;
        }
        for (value, tree) in values.iter().zip(elements) {
            if value.type_name() != values[0].type_name() {
                let message = format!(
                    "the elements of a list have one type: the first is {}, this is {}",
                    values[0].type_name(),
                    value.type_name()
                );
                return self.wrong(Problem::new(tree.span.clone(), message));
            }
        }
        Value::List(values)
    }

    fn sum(&mut self, operands: &[Expr]) -> Value {
        let mut parts: Vec<TextValue> = Vec::new();
        let mut is_right = true;
        for operand in operands {
            match self.value(operand) {
                Value::Text(TextValue::Literal(new)) => match parts.last_mut() {
                    Some(TextValue::Literal(last)) => *last = [&**last, &*new].concat().into(),
                    _ => parts.push(TextValue::Literal(new)),
                },
                Value::Text(text) => parts.push(text),
                Value::Wrong => is_right = false,
                other => {
                    let message = format!("`+` joins strings, this is {}", other.type_name());
                    self.report(Problem::new(operand.span.clone(), message));
                    is_right = false;
                }
            }
        }
        match parts.len() {
            _ if !is_right => Value::Wrong,
            1 => Value::Text(parts.remove(0)),
            _ => Value::Text(TextValue::Sum(parts)),
        }
    }

    fn choice(&mut self, parts: &[Expr; 3]) -> Value {
        let [condition, yes, no] = parts;
        let (condition, yes_value) = (self.truth(condition, "?"), self.value(yes));
        let no_value = self.value(no);
        let Some(condition) = condition else { return Value::Wrong };
        match (yes_value, no_value) {
            (Value::Wrong, _) | (_, Value::Wrong) => Value::Wrong,
            (Value::Bool(yes), Value::Bool(no)) => Value::Bool(Logic::choice(condition, yes, no)),
            (Value::Text(yes), Value::Text(no)) => {
                Value::Text(TextValue::If(Box::new((Program::new(&condition), yes, no))))
            }
            (Value::Int(yes), Value::Int(no)) => {
                Value::Int(IntValue::If(Box::new((Program::new(&condition), yes, no))))
            }
            (yes_value, no_value) => {
                let message = format!(
                    "both values of `?:` must be strings, ints or bools: these are {} and {}",
                    yes_value.type_name(),
                    no_value.type_name()
                );
                self.wrong(Problem::new(yes.span.start..no.span.end, message))
            }
        }
    }
}

fn hint_of_bool(value: &Value) -> Option<String> {
    match value {
        Value::Text(_) => Some("compare it: `… != \"\"` tells whether it is there".to_owned()),
        Value::Int(_) => Some("compare it: `… > 0`".to_owned()),
        Value::Keyed(_) => Some("write `\"name\" in …` or `…[\"name\"] == \"value\"`".to_owned()),
        _ => None,
    }
}

fn with_help(problem: Problem, help: Option<String>) -> Problem {
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn too_much(span: Range<usize>) -> Problem {
    Problem::new(
        span,
        format!("the expression comes to more than {WORK_MAX} steps or {LOGIC_DEPTH_MAX} levels"),
    )
    .help("put long lists of values in a list or a map")
}

//! Owns names: attributes, variables, conditions, and values under a name.
//!
//! Leaves functions to `calls`. Invariant: an attribute that the phase does not have is never asked.

use super::{Checker, Value};
use crate::attribute::{ATTRIBUTES, Attribute, AttributeRow, Keyed, Phase};
use crate::environment::FieldType;
use crate::facts::{FieldIndex, VariableIndex};
use crate::logic::{Logic, Test};
use crate::problem::{Problem, nearest};
use crate::syntax::{Expr, Kind};
use crate::value::{AddressValue, IntValue, TextValue};
use std::ops::Range;

/// The latest phase that something in an expression needs, and what that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) phase: Phase,
    pub(crate) name: String,
}

impl Checker<'_> {
    pub(super) fn name(&mut self, name: &str, span: &Range<usize>) -> Value {
        if let Some((_, value)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
            return value.clone();
        }
        if let Some(value) = self.attribute(name, span).or_else(|| self.field(name)) {
            return value;
        }
        if let Some(place) = self.conditions.named.iter().position(|named| named.name == name) {
            return self.condition_by_name(place, span);
        }
        let first = ATTRIBUTES.iter().find(|row| row.name.split('.').next() == Some(name));
        if let Some(row) = first {
            let message = format!("`{name}` is no value, it has attributes");
            return self.wrong(
                Problem::new(span.clone(), message).help(format!("such as `{}`", row.name)),
            );
        }
        let mut known: Vec<&str> = self.conditions.named.iter().map(|named| &*named.name).collect();
        known.extend(self.bound.iter().map(|(bound, _)| bound.as_str()));
        known.extend(ATTRIBUTES.iter().filter_map(|row| row.name.split('.').next()));
        let problem = Problem::new(span.clone(), format!("unknown name `{name}`"));
        let suffix = |row: &&AttributeRow| row.name.ends_with(&format!(".{name}"));
        let problem = match nearest(name, known) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => match ATTRIBUTES.iter().find(suffix) {
                Some(row) => problem.help(format!("did you mean `{}`?", row.name)),
                None => problem.help(format!("a string is written in quotes: \"{name}\"")),
            },
        };
        self.wrong(problem)
    }

    pub(super) fn select(
        &mut self,
        operand: &Expr,
        field: &str,
        field_span: &Range<usize>,
        span: &Range<usize>,
    ) -> Value {
        let Some(owner) = path(operand) else {
            let value = self.value(operand);
            return self.no_attribute(&value, field, field_span);
        };
        let root = owner.split('.').next().unwrap_or_default();
        if self.bound.iter().any(|(bound, _)| bound == root) {
            let value = self.value(operand);
            return self.no_attribute(&value, field, field_span);
        }
        if owner == "vars" {
            return self.variable(field, field_span);
        }
        let name = format!("{owner}.{field}");
        if let Some(value) = self.attribute(&name, span).or_else(|| self.field(&name)) {
            return value;
        }
        if let Some(row) = ATTRIBUTES.iter().find(|row| row.name == owner) {
            if let Attribute::Keyed(_) = row.attribute {
                return self.wrong(
                    Problem::new(span.clone(), format!("`{name}` is written with brackets"))
                        .help(format!("write `{owner}[\"{}\"]`", field.replace('_', "-"))),
                );
            }
            let value = self.value(operand);
            return self.no_attribute(&value, field, field_span);
        }
        let prefix = format!("{owner}.");
        let siblings = ATTRIBUTES.iter().filter_map(|row| row.name.strip_prefix(&prefix));
        let problem = Problem::new(span.clone(), format!("unknown attribute `{name}`"));
        let help = match nearest(field, siblings.clone()) {
            Some(near) => format!("did you mean `{owner}.{near}`?"),
            None if siblings.clone().next().is_some() => {
                format!("`{owner}` has {}", siblings.collect::<Vec<_>>().join(", "))
            }
            None => {
                let known = ATTRIBUTES.iter().map(|row| row.name);
                match nearest(&name, known.chain(self.field_names())) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        "attributes begin with request, response, source, destination, connection or backend"
                            .to_owned()
                    }
                }
            }
        };
        self.wrong(problem.help(help))
    }

    fn no_attribute(&mut self, value: &Value, field: &str, field_span: &Range<usize>) -> Value {
        if value.is_wrong() {
            return Value::Wrong;
        }
        let message = format!("{} has no attribute `{field}`", value.type_name());
        let problem = Problem::new(field_span.clone(), message);
        match nearest(field, super::calls::METHODS.iter().copied()) {
            Some(near) => self.wrong(problem.help(format!("a function is called: `.{near}(…)`"))),
            None => self.wrong(problem),
        }
    }

    fn attribute(&mut self, name: &str, span: &Range<usize>) -> Option<Value> {
        let row = ATTRIBUTES.iter().find(|row| row.name == name)?;
        if !self.need(row.phase, row.name) {
            let rules = self.phase.map_or("", Phase::rules);
            let problem = Problem::new(span.clone(), format!("`{name}` is not known in {rules}"));
            return Some(self.wrong(match row.phase {
                Phase::Response => problem.help("rules under `response_rules` know it"),
                _ => problem,
            }));
        }
        self.uses.add(row.attribute);
        Some(match row.attribute {
            Attribute::Text(text) => Value::Text(TextValue::Attribute(text)),
            Attribute::Number(number) => Value::Int(IntValue::Attribute(number)),
            Attribute::Flag(flag) => Value::Bool(Logic::Test(Test::Flag(flag))),
            Attribute::Address(address) => Value::Address(AddressValue::Attribute(address)),
            Attribute::Keyed(keyed) => Value::Keyed(keyed),
        })
    }

    /// Whether the phase has what begins with `phase`; a named condition notes it for later.
    fn need(&mut self, phase: Phase, name: &str) -> bool {
        if self.phase.is_some_and(|own| own < phase) {
            return false;
        }
        if self.needs.as_ref().is_none_or(|needs| needs.phase < phase) {
            self.needs = Some(Needs { phase, name: name.to_owned() });
        }
        true
    }

    fn field(&mut self, name: &str) -> Option<Value> {
        if self.phase != Some(Phase::Log) {
            return None;
        }
        let place = self.names.fields.iter().position(|(field, _)| field == name)?;
        let field = FieldIndex(u32::try_from(place).ok()?);
        Some(match self.names.fields[place].1 {
            FieldType::Text => Value::Text(TextValue::Field(field)),
            FieldType::Number => Value::Int(IntValue::Field(field)),
        })
    }

    fn field_names(&self) -> impl Iterator<Item = &str> {
        let fields = if self.phase == Some(Phase::Log) { &*self.names.fields } else { &[] };
        fields.iter().map(|(name, _)| name.as_str())
    }

    fn variable(&mut self, name: &str, span: &Range<usize>) -> Value {
        let variables = &self.names.variables;
        if let Some(place) = variables.iter().position(|known| known == name) {
            let index = u32::try_from(place).unwrap_or(u32::MAX);
            return Value::Text(TextValue::Variable(VariableIndex(index)));
        }
        let problem = Problem::new(span.clone(), format!("no rule sets the variable `{name}`"));
        let problem = match nearest(name, variables.iter().map(String::as_str)) {
            Some(near) => problem.help(format!("did you mean `vars.{near}`?")),
            None => problem.help("`set_variable` sets one"),
        };
        self.wrong(problem)
    }

    fn condition_by_name(&mut self, place: usize, span: &Range<usize>) -> Value {
        let conditions = self.conditions;
        let named = &conditions.named[place];
        // A condition's own reference is a use only if that condition is used.
        if self.phase.is_some() {
            conditions.mark_used(place);
        }
        let Some(logic) = &named.logic else { return Value::Wrong };
        if let Some(needs) = &named.needs
            && !self.need(needs.phase, &needs.name)
        {
            let rules = self.phase.map_or("", Phase::rules);
            let message = format!(
                "the condition `{}` asks for `{}`, which is not known in {rules}",
                named.name, needs.name
            );
            return self.wrong(Problem::new(span.clone(), message));
        }
        self.uses = self.uses.union(named.uses);
        if !self.spend(logic.size(), span) {
            return Value::Wrong;
        }
        Value::Bool(logic.clone())
    }

    pub(super) fn index(&mut self, operand: &Expr, key: &Expr) -> Value {
        let value = self.value(operand);
        let keyed = match value {
            Value::Keyed(keyed) => keyed,
            Value::Wrong => return Value::Wrong,
            other => {
                let message = format!("{} has no values under names", other.type_name());
                return self.wrong(Problem::new(operand.span.clone(), message));
            }
        };
        let key_value = self.value(key);
        match self.key(keyed, &key_value, &key.span) {
            Some(name) => Value::Text(TextValue::Keyed(keyed, name)),
            None => Value::Wrong,
        }
    }

    /// The name under which a value is asked for.
    pub(super) fn key(
        &mut self,
        keyed: Keyed,
        key: &Value,
        span: &Range<usize>,
    ) -> Option<Box<[u8]>> {
        let Some(name) = key.as_literal() else {
            if !key.is_wrong() {
                self.report(Problem::new(span.clone(), "the name must be a string in quotes"));
            }
            return None;
        };
        if !keyed.is_headers() {
            return Some(name.as_bytes().into());
        }
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            let message = format!("{name:?} cannot be the name of a header field");
            self.report(Problem::new(span.clone(), message));
            return None;
        }
        Some(name.to_ascii_lowercase().into_bytes().into())
    }
}

/// The names with dots that an expression is, if it is nothing else.
pub(super) fn path(tree: &Expr) -> Option<String> {
    match &tree.kind {
        Kind::Name(name) => Some(name.clone()),
        Kind::Select { operand, field, .. } => {
            let mut whole = path(operand)?;
            whole.push('.');
            whole.push_str(field);
            Some(whole)
        }
        _ => None,
    }
}

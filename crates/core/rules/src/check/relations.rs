//! Owns operators between two values: equality, order, membership.
//!
//! Leaves truths to `check`. Invariant: both sides have types for which the operator means something.

use super::{Checker, Value, with_help};
use crate::logic::{Compare, Logic, Place, Test, text_test};
use crate::problem::Problem;
use crate::syntax::{Expr, Relation};
use crate::value::{AddressValue, FloatValue, IntValue, TextValue};
use std::net::IpAddr;
use std::ops::Range;

impl Checker<'_> {
    pub(super) fn relation(&mut self, relation: Relation, left: &Expr, right: &Expr) -> Value {
        let (left_value, right_value) = (self.value(left), self.value(right));
        if left_value.is_wrong() || right_value.is_wrong() {
            return Value::Wrong;
        }
        let span = left.span.start..right.span.end;
        let logic = match relation {
            Relation::Equal => self.equal("==", left_value, right_value, &span),
            Relation::NotEqual => {
                self.equal("!=", left_value, right_value, &span).map(Logic::negated)
            }
            Relation::In => self.membership(&left_value, right_value, left, right),
            _ => self.order(relation, left_value, right_value, &span),
        };
        logic.map_or(Value::Wrong, Value::Bool)
    }

    fn equal(
        &mut self,
        sign: &str,
        left: Value,
        right: Value,
        span: &Range<usize>,
    ) -> Option<Logic> {
        Some(match (left, right) {
            (Value::Text(left), Value::Text(right)) => same_text(left, right),
            (Value::Int(IntValue::Literal(left)), Value::Int(IntValue::Literal(right))) => {
                Logic::Const(left == right)
            }
            (Value::Int(subject), Value::Int(IntValue::Literal(value)))
            | (Value::Int(IntValue::Literal(value)), Value::Int(subject)) => {
                Logic::Test(Test::IntIn { subject, values: vec![value] })
            }
            (Value::Int(left), Value::Int(right)) => {
                Logic::Test(Test::Int { left, compare: Compare::Equal, right })
            }
            (Value::Bool(left), Value::Bool(right)) => {
                let other = right.clone().negated();
                Logic::choice(left, right, other)
            }
            (Value::Address(left), Value::Address(right)) => {
                Logic::Test(Test::SameAddress { left, right })
            }
            (Value::Address(left), Value::Text(right))
            | (Value::Text(right), Value::Address(left)) => self.same_address(left, right, span)?,
            (left, right) => match (as_float(&left), as_float(&right)) {
                (Some(left), Some(right)) => compare_floats(left, Compare::Equal, right),
                _ => return self.mismatch(sign, &left, &right, span),
            },
        })
    }

    fn same_address(
        &mut self,
        address: AddressValue,
        text: TextValue,
        span: &Range<usize>,
    ) -> Option<Logic> {
        let TextValue::Literal(bytes) = &text else {
            let right = AddressValue::Parsed(text);
            return Some(Logic::Test(Test::SameAddress { left: address, right }));
        };
        let shown = String::from_utf8_lossy(bytes);
        if let Ok(literal) = shown.parse::<IpAddr>() {
            let network = literal.to_canonical().to_string().parse();
            let network = network.expect("an address is a network of one address");
            return Some(Logic::Test(Test::Range { subject: address, networks: vec![network] }));
        }
        let problem = Problem::new(span.clone(), format!("{shown:?} is not an address"));
        let is_block = shown.contains('/');
        let help = is_block.then(|| format!("write `inIpRange(…, {shown:?})`"));
        self.report(with_help(problem, help));
        None
    }

    fn order(
        &mut self,
        relation: Relation,
        left: Value,
        right: Value,
        span: &Range<usize>,
    ) -> Option<Logic> {
        let (compare, left, right) = match relation {
            Relation::Less => (Compare::Less, left, right),
            Relation::LessOrEqual => (Compare::LessOrEqual, left, right),
            Relation::Greater => (Compare::Less, right, left),
            _ => (Compare::LessOrEqual, right, left),
        };
        Some(match (left, right) {
            (Value::Text(left), Value::Text(right)) => {
                Logic::Test(Test::Order { left, compare, right })
            }
            (Value::Int(left), Value::Int(right)) => compare_ints(left, compare, right),
            (left, right) => match (as_float(&left), as_float(&right)) {
                (Some(left), Some(right)) => compare_floats(left, compare, right),
                _ => {
                    let is_swapped =
                        matches!(relation, Relation::Greater | Relation::GreaterOrEqual);
                    let (left, right) = if is_swapped { (right, left) } else { (left, right) };
                    return self.mismatch(relation.sign(), &left, &right, span);
                }
            },
        })
    }

    fn mismatch(
        &mut self,
        sign: &str,
        left: &Value,
        right: &Value,
        span: &Range<usize>,
    ) -> Option<Logic> {
        let (left_type, right_type) = (left.type_name(), right.type_name());
        let message = if left_type == right_type {
            format!("`{sign}` does not compare {left_type} with another")
        } else {
            format!("`{sign}` does not compare {left_type} with {right_type}")
        };
        let help = match (left, right) {
            (Value::Int(IntValue::Literal(value)), Value::Text(_))
            | (Value::Text(_), Value::Int(IntValue::Literal(value)))
                if matches!(sign, "==" | "!=" | "in") =>
            {
                Some(format!("a string is written in quotes: \"{value}\""))
            }
            (Value::Bool(_), text) | (text, Value::Bool(_))
                if matches!(text.as_literal(), Some("true" | "false")) =>
            {
                Some("`true` and `false` are written without quotes".to_owned())
            }
            (Value::Int(_) | Value::Float(_), text) | (text, Value::Int(_) | Value::Float(_)) => {
                let is_number = |text: &&str| text.parse::<f64>().is_ok();
                text.as_literal()
                    .filter(is_number)
                    .map(|text| format!("a number is written without quotes: {text}"))
            }
            (_, Value::List(_)) => Some("`in` looks in a list".to_owned()),
            (Value::Keyed(_), _) | (_, Value::Keyed(_)) => {
                Some("a value has a name: `…[\"name\"]`".to_owned())
            }
            (Value::Address(_), Value::Address(_)) => {
                Some("`inIpRange` tells whether an address is in a block".to_owned())
            }
            _ => None,
        };
        self.report(with_help(Problem::new(span.clone(), message), help));
        None
    }

    fn membership(
        &mut self,
        needle: &Value,
        container: Value,
        left: &Expr,
        right: &Expr,
    ) -> Option<Logic> {
        let span = left.span.start..right.span.end;
        match container {
            Value::Keyed(keyed) => {
                let name = self.key(keyed, needle, &left.span)?;
                Some(Logic::Test(Test::Present { keyed, name }))
            }
            Value::List(elements) => {
                let same: Vec<Option<Logic>> = elements
                    .into_iter()
                    .map(|element| self.equal("in", needle.clone(), element, &span))
                    .collect();
                Some(Logic::any(same.into_iter().collect::<Option<Vec<Logic>>>()?))
            }
            other => {
                let message = format!("`in` looks in a list, this is {}", other.type_name());
                let problem = Problem::new(right.span.clone(), message);
                let is_text = matches!(other, Value::Text(_));
                let help = is_text.then(|| "write `.contains(…)` to look in a string".to_owned());
                self.report(with_help(problem, help));
                None
            }
        }
    }
}

fn same_text(left: TextValue, right: TextValue) -> Logic {
    match (left, right) {
        (subject, TextValue::Literal(needle)) | (TextValue::Literal(needle), subject) => {
            text_test(subject, Place::Whole, &needle)
        }
        (subject, needle) => Logic::Test(Test::Pair { subject, place: Place::Whole, needle }),
    }
}

fn compare_ints(left: IntValue, compare: Compare, right: IntValue) -> Logic {
    match (&left, &right) {
        (IntValue::Literal(left), IntValue::Literal(right)) => {
            Logic::Const(if compare == Compare::Less { left < right } else { left <= right })
        }
        _ => Logic::Test(Test::Int { left, compare, right }),
    }
}

fn compare_floats(left: FloatValue, compare: Compare, right: FloatValue) -> Logic {
    Logic::Test(Test::Float { left, compare, right })
}

/// A number as one with a fraction.
fn as_float(value: &Value) -> Option<FloatValue> {
    match value {
        Value::Float(float) => Some(float.clone()),
        Value::Int(int) => Some(FloatValue::Int(int.clone())),
        _ => None,
    }
}

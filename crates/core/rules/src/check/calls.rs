//! Owns functions: their arguments and what they give.
//!
//! Leaves operators to `relations`. Invariant: [`FUNCTIONS`] and [`METHODS`] name everything that can be
//! called, so that documentation and suggestions can be made from them.

use super::{Checker, REGEX_WORK, Value, with_help};
use crate::facts::{LimitIndex, ListIndex};
use crate::logic::{Logic, Place, Test, text_test};
use crate::problem::{Problem, nearest};
use crate::program::compile_regex;
use crate::syntax::{Expr, Kind};
use crate::tables::{Network, NetworkError};
use crate::value::{AddressValue, Case, FloatValue, IntValue, KeyValue, Shown, TextValue};
use std::ops::Range;

/// What is called by its name, with its arguments.
pub const FUNCTIONS: &[&str] = &["inIpRange", "inList", "rate", "lookup", "size", "matches"];

/// What is called behind a value and a dot.
pub const METHODS: &[&str] = &[
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "size",
    "lowerAscii",
    "upperAscii",
    "exists",
    "all",
];

/// A call as it stands.
struct Call<'a> {
    name: &'a str,
    name_span: &'a Range<usize>,
    arguments: &'a [Expr],
}

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        target: Option<&Expr>,
        name: &str,
        name_span: &Range<usize>,
        arguments: &[Expr],
        span: &Range<usize>,
    ) -> Value {
        let call = Call { name, name_span, arguments };
        match target {
            None => self.function(&call, span),
            Some(target) if matches!(name, "exists" | "all") => self.repeat(target, &call),
            Some(target) => self.method(target, &call),
        }
    }

    fn function(&mut self, call: &Call<'_>, span: &Range<usize>) -> Value {
        let values = match call.name {
            "inIpRange" | "inList" | "rate" | "lookup" | "matches" => self.arguments(call, 2),
            "size" => self.arguments(call, 1),
            _ => return self.unknown_function(call),
        };
        let Some(values) = values else { return Value::Wrong };
        let [first, .., last] = call.arguments else {
            return match (&values[..], call.arguments) {
                ([value], [argument]) => self.size(value.clone(), &argument.span),
                _ => Value::Wrong,
            };
        };
        match call.name {
            "inIpRange" => self.in_ip_range(&values, &first.span, &last.span),
            "inList" => {
                let known = self.names.lists.clone();
                let index = self.declared(&values[1], &last.span, "list", &known);
                let key = self.key_value(&values[0], call.name, &first.span);
                match (index, key) {
                    (Some(index), Some(key)) => {
                        Value::Bool(Logic::Test(Test::InList { list: ListIndex(index), key }))
                    }
                    _ => Value::Wrong,
                }
            }
            "rate" => {
                let known = self.names.limits.clone();
                let index = self.declared(&values[1], &last.span, "limit", &known);
                let key = self.key_value(&values[0], call.name, &first.span);
                match (index, key) {
                    (Some(index), Some(key)) => {
                        Value::Float(FloatValue::Rate(LimitIndex(index), key))
                    }
                    _ => Value::Wrong,
                }
            }
            "lookup" => self.lookup(&values, &first.span, &last.span),
            _ => {
                let subject = self.text(&values[0], call.name, &first.span);
                match subject {
                    Some(subject) => self.regex(subject, &values[1], &last.span, span),
                    None => Value::Wrong,
                }
            }
        }
    }

    fn unknown_function(&mut self, call: &Call<'_>) -> Value {
        let problem =
            Problem::new(call.name_span.clone(), format!("unknown function `{}`", call.name));
        let help = match call.name {
            "has" => Some("write `\"name\" in request.headers`".to_owned()),
            name if METHODS.contains(&name) => {
                Some(format!("it is called behind a value: `value.{name}(…)`"))
            }
            name => nearest(name, FUNCTIONS.iter().copied())
                .map(|near| format!("did you mean `{near}`?")),
        };
        self.wrong(with_help(problem, help))
    }

    /// The values of the arguments, if there are as many as there should be and all are right.
    fn arguments(&mut self, call: &Call<'_>, count: usize) -> Option<Vec<Value>> {
        let values: Vec<Value> =
            call.arguments.iter().map(|argument| self.value(argument)).collect();
        if values.len() != count {
            let takes = match count {
                0 => "no argument".to_owned(),
                1 => "one argument".to_owned(),
                count => format!("{count} arguments"),
            };
            let message = format!("`{}` takes {takes}, not {}", call.name, values.len());
            let help = signature(call.name, count).map(str::to_owned);
            self.report(with_help(Problem::new(call.name_span.clone(), message), help));
            return None;
        }
        if values.iter().any(Value::is_wrong) { None } else { Some(values) }
    }

    fn text(&mut self, value: &Value, function: &str, span: &Range<usize>) -> Option<TextValue> {
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::Wrong => None,
            other => {
                let message = format!("`{function}` takes a string, this is {}", other.type_name());
                let is_address = matches!(other, Value::Address(_));
                let help = is_address
                    .then(|| "`inIpRange` tells whether an address is in a block".to_owned());
                self.report(with_help(Problem::new(span.clone(), message), help));
                None
            }
        }
    }

    fn key_value(
        &mut self,
        value: &Value,
        function: &str,
        span: &Range<usize>,
    ) -> Option<KeyValue> {
        match value {
            Value::Text(text) => Some(KeyValue::Text(text.clone())),
            Value::Address(address) => Some(KeyValue::Address(address.clone())),
            other => {
                let message = format!(
                    "`{function}` takes a string or an address, this is {}",
                    other.type_name()
                );
                self.report(Problem::new(span.clone(), message));
                None
            }
        }
    }

    /// The index of a list or a limit that was declared.
    fn declared(
        &mut self,
        name: &Value,
        span: &Range<usize>,
        what: &str,
        known: &[String],
    ) -> Option<u32> {
        let Some(name) = name.as_literal() else {
            let message = format!("the name of the {what} must be a string in quotes");
            self.report(Problem::new(span.clone(), message));
            return None;
        };
        let place = known.iter().position(|known| known == name);
        if place.is_none() {
            let problem = Problem::new(span.clone(), format!("there is no {what} {name:?}"));
            let near = nearest(name, known.iter().map(String::as_str));
            let help = near.map(|near| format!("did you mean {near:?}?"));
            self.report(with_help(problem, help));
        }
        place.and_then(|place| u32::try_from(place).ok())
    }

    fn in_ip_range(
        &mut self,
        values: &[Value],
        address_span: &Range<usize>,
        block_span: &Range<usize>,
    ) -> Value {
        let subject = match &values[0] {
            Value::Address(address) => Some(address.clone()),
            Value::Text(text) => Some(AddressValue::Parsed(text.clone())),
            other => {
                let message =
                    format!("`inIpRange` takes an address, this is {}", other.type_name());
                self.report(Problem::new(address_span.clone(), message));
                None
            }
        };
        let Some(block) = values[1].as_literal() else {
            return self.wrong(
                Problem::new(block_span.clone(), "the block must be a string in quotes")
                    .help("such as \"10.0.0.0/8\"; `inList` looks in a list"),
            );
        };
        match (Network::parse_strict(block), subject) {
            (Ok(network), Some(subject)) => {
                Value::Bool(Logic::Test(Test::Range { subject, networks: vec![network] }))
            }
            (Ok(_), None) => Value::Wrong,
            (Err(error), _) => {
                let problem = Problem::new(block_span.clone(), format!("{block:?}: {error}"));
                let help = match error {
                    NetworkError::HostBits(network) => Some(format!("write \"{network}\"")),
                    _ => None,
                };
                self.wrong(with_help(problem, help))
            }
        }
    }

    fn lookup(&mut self, values: &[Value], map: &Range<usize>, key: &Range<usize>) -> Value {
        let Some(name) = values[0].as_literal().map(str::to_owned) else {
            return self.wrong(
                Problem::new(map.clone(), "the map must be a string in quotes")
                    .help("`lookup(\"file\", key)`"),
            );
        };
        if name.is_empty() {
            return self.wrong(Problem::new(map.clone(), "the map has no name"));
        }
        let key = match &values[1] {
            Value::Address(address) => {
                Some(TextValue::Shown(Box::new(Shown::Address(address.clone()))))
            }
            value => self.text(value, "lookup", key),
        };
        match key {
            Some(text) => Value::Text(TextValue::Lookup(self.names.map(&name), Box::new(text))),
            None => Value::Wrong,
        }
    }

    fn method(&mut self, target: &Expr, call: &Call<'_>) -> Value {
        let subject = self.value(target);
        let count = match call.name {
            "startsWith" | "endsWith" | "contains" | "matches" => 1,
            "size" | "lowerAscii" | "upperAscii" => 0,
            _ => return self.unknown_method(&subject, call),
        };
        let Some(values) = self.arguments(call, count) else { return Value::Wrong };
        if call.name == "size" {
            return self.size(subject, &target.span);
        }
        let Some(subject) = self.text(&subject, call.name, &target.span) else {
            return Value::Wrong;
        };
        let (Some(value), Some(argument)) = (values.first(), call.arguments.first()) else {
            let case = if call.name == "lowerAscii" { Case::Lower } else { Case::Upper };
            return Value::Text(in_case(case, subject));
        };
        let place = match call.name {
            "startsWith" => Place::Front,
            "endsWith" => Place::Back,
            "contains" => Place::Anywhere,
            _ => {
                let span = target.span.start..argument.span.end;
                return self.regex(subject, value, &argument.span, &span);
            }
        };
        let Some(needle) = self.text(value, call.name, &argument.span) else { return Value::Wrong };
        Value::Bool(match needle {
            TextValue::Literal(needle) => text_test(subject, place, &needle),
            needle => Logic::Test(Test::Pair { subject, place, needle }),
        })
    }

    fn unknown_method(&mut self, subject: &Value, call: &Call<'_>) -> Value {
        let problem =
            Problem::new(call.name_span.clone(), format!("unknown function `.{}`", call.name));
        let help = match call.name {
            "exists_one" | "map" | "filter" => Some("`exists` and `all` are supported".to_owned()),
            "toLowerCase" | "lower" | "toLower" => Some("did you mean `.lowerAscii`?".to_owned()),
            "toUpperCase" | "upper" | "toUpper" => Some("did you mean `.upperAscii`?".to_owned()),
            "length" | "len" => Some("did you mean `.size`?".to_owned()),
            name => nearest(name, METHODS.iter().copied())
                .map(|near| format!("did you mean `.{near}`?")),
        };
        // A name that no value has is told even when the value itself is wrong: both are slips.
        let _ = subject;
        self.wrong(with_help(problem, help))
    }

    fn size(&mut self, value: Value, span: &Range<usize>) -> Value {
        match value {
            Value::Text(TextValue::Literal(bytes)) => literal_size(bytes.len()),
            Value::Text(text) => Value::Int(IntValue::Size(text)),
            Value::List(elements) => literal_size(elements.len()),
            Value::Wrong => Value::Wrong,
            other => {
                let message =
                    format!("`size` takes a string or a list, this is {}", other.type_name());
                self.wrong(Problem::new(span.clone(), message))
            }
        }
    }

    fn regex(
        &mut self,
        subject: TextValue,
        pattern: &Value,
        pattern_span: &Range<usize>,
        span: &Range<usize>,
    ) -> Value {
        let Some(pattern) = pattern.as_literal() else {
            let message =
                format!("the pattern must be a string in quotes, this is {}", pattern.type_name());
            return self.wrong(Problem::new(
                pattern_span.clone(),
                match pattern {
                    Value::Text(_) => "the pattern must be a string in quotes".to_owned(),
                    _ => message,
                },
            ));
        };
        if !self.spend(REGEX_WORK, span) {
            return Value::Wrong;
        }
        match compile_regex(pattern, subject.is_caseless()) {
            Ok(regex) => match &subject {
                TextValue::Literal(bytes) => Value::Bool(Logic::Const(regex.is_match(bytes))),
                _ => Value::Bool(Logic::Test(Test::Regex {
                    subject,
                    patterns: vec![pattern.to_owned()],
                })),
            },
            Err(error) => self.wrong(Problem::new(pattern_span.clone(), shortened(&error))),
        }
    }

    /// `exists` and `all`: what is said of the variable, for each element.
    fn repeat(&mut self, target: &Expr, call: &Call<'_>) -> Value {
        let elements = match self.value(target) {
            Value::List(elements) => elements,
            Value::Wrong => return Value::Wrong,
            other => {
                let message = format!(
                    "`{}` goes over a list in brackets, this is {}",
                    call.name,
                    other.type_name()
                );
                return self.wrong(Problem::new(target.span.clone(), message));
            }
        };
        let [variable, body] = call.arguments else {
            let message =
                format!("`{}` takes 2 arguments, not {}", call.name, call.arguments.len());
            return self.wrong(
                Problem::new(call.name_span.clone(), message)
                    .help(format!("`[…].{}(value, condition of value)`", call.name)),
            );
        };
        let Kind::Name(variable_name) = &variable.kind else {
            return self.wrong(Problem::new(variable.span.clone(), "the first argument is a name"));
        };
        if self.conditions.named.iter().any(|named| named.name == *variable_name) {
            let message = format!("`{variable_name}` is the name of a condition");
            return self.wrong(Problem::new(variable.span.clone(), message));
        }
        let mut truths = Vec::new();
        let mut is_wrong = false;
        for element in elements {
            self.bound.push((variable_name.clone(), element));
            match self.truth(body, call.name) {
                Some(logic) => truths.push(logic),
                None => is_wrong = true,
            }
            self.bound.pop();
        }
        match (is_wrong, call.name) {
            (true, _) => Value::Wrong,
            (false, "exists") => Value::Bool(Logic::any(truths)),
            (false, _) => Value::Bool(Logic::all(truths)),
        }
    }
}

fn signature(name: &str, count: usize) -> Option<&'static str> {
    match (name, count) {
        ("inIpRange", _) => Some("`inIpRange(source.ip, \"10.0.0.0/8\")`"),
        ("inList", _) => Some("`inList(value, \"list name\")`"),
        ("rate", _) => Some("`rate(source.ip, \"limit name\")`"),
        ("lookup", _) => Some("`lookup(\"file\", key)`"),
        ("matches", 2) => Some("`matches(value, \"pattern\")`"),
        _ => None,
    }
}

fn literal_size(size: usize) -> Value {
    Value::Int(IntValue::Literal(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn in_case(case: Case, subject: TextValue) -> TextValue {
    match (case, subject) {
        (Case::Lower, TextValue::Literal(bytes)) => {
            TextValue::Literal(bytes.to_ascii_lowercase().into())
        }
        (Case::Upper, TextValue::Literal(bytes)) => {
            TextValue::Literal(bytes.to_ascii_uppercase().into())
        }
        (Case::Lower, subject) if subject.is_caseless() => subject,
        (case, TextValue::Case(_, inner)) => TextValue::Case(case, inner),
        (case, subject) => TextValue::Case(case, Box::new(subject)),
    }
}

/// What the regex crate says, in one line.
fn shortened(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(bytes) => {
            format!("the pattern takes more than {bytes} bytes when compiled")
        }
        error => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            format!("not a regular expression: {}", last.strip_prefix("error: ").unwrap_or(last))
        }
    }
}

//! Readers of single values: the right type, the right range, or a problem that says what would be
//! right.
//!
//! Owns the sentences about types and ranges; leaves durations and sizes as text to `units`,
//! addresses to `address`.
//!
//! Invariant: a reader returns `None` only after it has reported why.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Problem, quoted};
use crate::text::Text;
use crate::walk::{Node, entries};
use crate::{defaults, suggest, units};

impl<'a> Node<'a> {
    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("true or false"),
        }
    }

    /// Text in quotes.
    pub fn string(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(value) => Some(value),
            _ => self.wrong_type("a string"),
        }
    }

    /// Text in quotes with its place.
    pub fn text(&self) -> Option<Text> {
        Some(Text { value: self.string()?.to_owned(), span: self.span, inside: None })
    }

    /// A table whose keys are names and whose values are texts.
    pub fn texts(&self) -> Vec<(Text, Text)> {
        let Some(table) = self.table() else { return Vec::new() };
        if self.too_many(table.len()) {
            return Vec::new();
        }
        let path = self.path();
        let entries = entries(&path, table, self.problems);
        let read = |entry: &Node<'_>| Some((entry.name_text(), entry.text()?));
        entries.iter().filter_map(read).collect()
    }

    /// The key with its place.
    pub fn name_text(&self) -> Text {
        Text { value: self.name.to_owned(), span: self.name_span, inside: None }
    }

    /// One of `words`.
    pub fn word<V: Copy>(&self, words: &[(&str, V)]) -> Option<V> {
        let written = self.string()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == written) {
            return Some(*value);
        }
        let message = format!("{} cannot be {}", quoted(&self.path()), quoted(written));
        let known = words.iter().map(|(word, _)| *word);
        let help = match suggest::nearest(written, known.clone()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write one of \"{}\"", known.collect::<Vec<_>>().join("\", \"")),
        };
        self.report(Problem::error(self.span, message).help(help));
        None
    }

    /// A whole number in `range`.
    pub fn integer<N>(&self, range: RangeInclusive<N>) -> Option<N>
    where
        N: Copy + Display + TryFrom<i128> + PartialOrd,
    {
        let DeValue::Integer(integer) = self.value else {
            return self.wrong_type("a whole number");
        };
        let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fitting =
            value.and_then(|value| N::try_from(value).ok()).filter(|value| range.contains(value));
        if fitting.is_none() {
            let message = format!("{} is {integer}, which is out of range", quoted(&self.path()));
            let help = format!("take a number from {} to {}", range.start(), range.end());
            self.report(Problem::error(self.span, message).help(help));
        }
        fitting
    }

    /// A span of time for which something is waited: text with a unit, from 1 ms to 30 days.
    pub fn timeout(&self) -> Option<Duration> {
        self.duration(
            defaults::TIMEOUT_MIN..=defaults::TIMEOUT_MAX,
            "; zero would fail everything at once, and there is no \"for ever\"",
        )
    }

    /// A span of time that passes before something is done: text with a unit, from 0 to 30 days.
    pub fn delay(&self) -> Option<Duration> {
        self.duration(Duration::ZERO..=defaults::TIMEOUT_MAX, "")
    }

    /// A span of time in a range of its own.
    pub fn time_in(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.duration(range, "")
    }

    /// A span of time in `range`; `why_not_zero` ends the advice where that is what was written.
    fn duration(&self, range: RangeInclusive<Duration>, why_not_zero: &str) -> Option<Duration> {
        let DeValue::String(text) = self.value else {
            return self.wrong_type("a string with a duration");
        };
        let duration = match units::duration(text) {
            Ok(duration) => duration,
            Err(advice) => {
                let message = format!("{} is not a duration", quoted(text));
                self.report(Problem::error(self.span, message).help(advice));
                return None;
            }
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        let message =
            format!("{} is {}, which is out of range", quoted(&self.path()), quoted(text));
        let mut help = format!(
            "take a time from {} to {}",
            units::duration_text(*range.start()),
            units::duration_text(*range.end())
        );
        if duration.is_zero() {
            help.push_str(why_not_zero);
        }
        self.report(Problem::error(self.span, message).help(help));
        None
    }

    /// A number of bytes in `range`: text with a unit.
    pub fn size(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let DeValue::String(text) = self.value else {
            return self.wrong_type("a string with a size");
        };
        let size = match units::size(text) {
            Ok(size) => size,
            Err(advice) => {
                let message = format!("{} is not a size", quoted(text));
                self.report(Problem::error(self.span, message).help(advice));
                return None;
            }
        };
        let fitting = usize::try_from(size).ok().filter(|size| range.contains(size));
        if fitting.is_some() {
            return fitting;
        }
        let message =
            format!("{} is {}, which is out of range", quoted(&self.path()), quoted(text));
        let help = format!(
            "take a size from {} to {}",
            units::size_text(*range.start() as u64),
            units::size_text(*range.end() as u64)
        );
        self.report(Problem::error(self.span, message).help(help));
        None
    }

    /// A table.
    pub fn table(&self) -> Option<&'a DeTable<'a>> {
        match self.value {
            DeValue::Table(table) => Some(table),
            _ => self.wrong_type("a table"),
        }
    }

    /// The elements of an array: at most [`defaults::ENTRIES_MAX`].
    pub fn elements(&self) -> Option<Vec<Node<'a>>> {
        let DeValue::Array(array) = self.value else {
            return self.wrong_type("an array");
        };
        if self.too_many(array.len()) {
            return None;
        }
        let element = |value: &'a toml::Spanned<DeValue<'a>>| Node {
            value: value.get_ref(),
            span: value.span().into(),
            ..*self
        };
        Some(array.iter().map(element).collect())
    }

    /// Reports more entries than are taken.
    pub fn too_many(&self, count: usize) -> bool {
        let max = defaults::ENTRIES_MAX;
        if count > max {
            let message =
                format!("{} has {count} entries; at most {max} are taken", quoted(&self.path()));
            self.report(Problem::error(self.name_span, message));
        }
        count > max
    }

    /// Reports that the value's type is not the one `wanted`.
    pub fn wrong_type<V>(&self, wanted: &str) -> Option<V> {
        let message =
            format!("{} must be {wanted}, not {}", quoted(&self.path()), described(self.value));
        let problem = Problem::error(self.span, message);
        self.report(match self.example {
            "" => problem,
            example => problem.help(format!("for example `{} = {example}`", self.name)),
        });
        None
    }
}

/// What a value is, with the value where it is short.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(&format!("\"{text}\""))),
        DeValue::Integer(integer) => format!("the integer {}", quoted(&integer.to_string())),
        DeValue::Float(float) => format!("the float {}", quoted(float.as_str())),
        DeValue::Boolean(boolean) => format!("the boolean `{boolean}`"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

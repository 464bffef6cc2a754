//! Owns compiled expressions that give a string, a number or an address, and their evaluation.
//!
//! Leaves truths to `program`. A string is handed out where it stands, in the facts or in the
//! expression; only what is made by evaluation (case, sums, numbers as text) is written to the
//! scratch buffer. Invariant: what an evaluation writes there stands behind what was there before.

use crate::attribute::{Address, Keyed, Number, Text};
use crate::facts::{Facts, FieldIndex, Key, LimitIndex, MapIndex, VariableIndex};
use crate::program::Program;
use crate::ruleset::Change;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// Working memory of evaluation, one for each thread, reused so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) bytes: Vec<u8>,
}

/// A change of case, of ASCII letters only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Case {
    Lower,
    Upper,
}

/// A string.
#[derive(Clone, Debug)]
pub(crate) enum TextValue {
    Literal(Box<[u8]>),
    Attribute(Text),
    Keyed(Keyed, Box<[u8]>),
    Variable(VariableIndex),
    Field(FieldIndex),
    Lookup(MapIndex, Box<TextValue>),
    Case(Case, Box<TextValue>),
    Sum(Vec<TextValue>),
    If(Box<(Program, TextValue, TextValue)>),
    Shown(Box<Shown>),
}

/// What is no string and is written as one.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    Int(IntValue),
    Float(FloatValue),
    Bool(Program),
    Address(AddressValue),
}

/// A whole number.
#[derive(Clone, Debug)]
pub(crate) enum IntValue {
    Literal(i64),
    Attribute(Number),
    Field(FieldIndex),
    Size(TextValue),
    If(Box<(Program, IntValue, IntValue)>),
}

/// A number with a fraction.
#[derive(Clone, Debug)]
pub(crate) enum FloatValue {
    Literal(f64),
    Rate(LimitIndex, KeyValue),
    Int(IntValue),
}

/// An address; a text that is none is in no network.
#[derive(Clone, Debug)]
pub(crate) enum AddressValue {
    Attribute(Address),
    Parsed(TextValue),
}

/// What is looked for in a list or counted by a limit.
#[derive(Clone, Debug)]
pub(crate) enum KeyValue {
    Text(TextValue),
    Address(AddressValue),
}

/// Where an evaluated string stands.
#[derive(Clone, Debug)]
pub(crate) enum Found<'a> {
    Direct(&'a [u8]),
    Scratch(Range<usize>),
}

impl Found<'_> {
    #[inline]
    pub(crate) fn bytes<'b>(&'b self, scratch: &'b Scratch) -> &'b [u8] {
        match self {
            Self::Direct(bytes) => bytes,
            Self::Scratch(range) => scratch.bytes.get(range.clone()).unwrap_or_default(),
        }
    }
}

impl TextValue {
    /// The string; what had to be made for it stays at the end of the scratch buffer.
    #[inline]
    pub(crate) fn find<'a, F: Facts>(&'a self, facts: &'a F, scratch: &mut Scratch) -> Found<'a> {
        match self {
            Self::Attribute(text) => Found::Direct(facts.text(*text)),
            Self::Keyed(keyed, name) => {
                Found::Direct(facts.keyed(*keyed, name).unwrap_or_default())
            }
            Self::Literal(bytes) => Found::Direct(bytes),
            Self::Variable(variable) => Found::Direct(facts.variable(*variable)),
            Self::Field(field) => Found::Direct(facts.field_text(*field)),
            Self::Lookup(map, key) => Found::Direct(look_up(*map, key, facts, scratch)),
            Self::If(parts) => {
                let (condition, yes, no) = &**parts;
                let chosen = if condition.run(facts, scratch) { yes } else { no };
                chosen.find(facts, scratch)
            }
            Self::Case(case, inner) => {
                let start = scratch.bytes.len();
                inner.append(facts, scratch);
                match case {
                    Case::Lower => scratch.bytes[start..].make_ascii_lowercase(),
                    Case::Upper => scratch.bytes[start..].make_ascii_uppercase(),
                }
                Found::Scratch(start..scratch.bytes.len())
            }
            Self::Sum(_) | Self::Shown(_) => {
                let start = scratch.bytes.len();
                self.append(facts, scratch);
                Found::Scratch(start..scratch.bytes.len())
            }
        }
    }

    /// Appends the string to the scratch buffer.
    pub(crate) fn append<F: Facts>(&self, facts: &F, scratch: &mut Scratch) {
        match self {
            Self::Sum(parts) => parts.iter().for_each(|part| part.append(facts, scratch)),
            Self::Shown(shown) => shown.append(facts, scratch),
            _ => {
                if let Found::Direct(bytes) = self.find(facts, scratch) {
                    scratch.bytes.extend_from_slice(bytes);
                }
            }
        }
    }

    /// Whether it can be the subject of an index: it stands in the facts as it is, or but for case.
    pub(crate) fn is_indexable(&self) -> bool {
        match self {
            Self::Attribute(_) | Self::Keyed(..) | Self::Variable(_) => true,
            Self::Lookup(_, inner) | Self::Case(_, inner) => inner.is_indexable(),
            _ => false,
        }
    }

    /// Whether both are certainly the same string; made ones are never said to be.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Attribute(a), Self::Attribute(b)) => a == b,
            (Self::Keyed(a, name_a), Self::Keyed(b, name_b)) => a == b && name_a == name_b,
            (Self::Variable(a), Self::Variable(b)) => a == b,
            (Self::Field(a), Self::Field(b)) => a == b,
            (Self::Lookup(a, key_a), Self::Lookup(b, key_b)) => a == b && key_a.is_same(key_b),
            (Self::Case(a, inner_a), Self::Case(b, inner_b)) => a == b && inner_a.is_same(inner_b),
            _ => false,
        }
    }

    /// Whether the change can make it another string. Asked of indexable ones.
    pub(crate) fn is_affected(&self, change: Change<'_>) -> bool {
        match self {
            Self::Attribute(text) => match change {
                Change::Method => *text == Text::Method,
                Change::Host => *text == Text::Host,
                Change::Path => matches!(text, Text::Path | Text::Uri),
                Change::Query => matches!(text, Text::Query | Text::Uri),
                Change::RequestHeader(name) => *text == Text::Host && name == b"host",
                Change::ResponseHeader(_) | Change::Variable(_) => false,
            },
            Self::Keyed(keyed, name) => match change {
                Change::Query => *keyed == Keyed::Arguments,
                Change::Host => *keyed == Keyed::RequestHeaders && **name == *b"host",
                Change::RequestHeader(changed) => match keyed {
                    Keyed::RequestHeaders => **name == *changed,
                    Keyed::Cookies => changed == b"cookie",
                    _ => false,
                },
                Change::ResponseHeader(changed) => match keyed {
                    Keyed::ResponseHeaders => **name == *changed,
                    Keyed::ResponseCookies => changed == b"set-cookie",
                    _ => false,
                },
                Change::Method | Change::Path | Change::Variable(_) => false,
            },
            Self::Variable(variable) => change == Change::Variable(*variable),
            Self::Lookup(_, inner) | Self::Case(_, inner) => inner.is_affected(change),
            Self::Literal(_) => false,
            Self::Field(_) | Self::Sum(_) | Self::If(_) | Self::Shown(_) => true,
        }
    }

    /// Whether upper and lower case mean the same in it.
    pub(crate) fn is_caseless(&self) -> bool {
        matches!(self, Self::Attribute(text) if text.is_caseless())
    }
}

fn look_up<'a, F: Facts>(
    map: MapIndex,
    key: &'a TextValue,
    facts: &'a F,
    scratch: &mut Scratch,
) -> &'a [u8] {
    let start = scratch.bytes.len();
    let key = key.find(facts, scratch);
    let value = facts.lookup(map, key.bytes(scratch)).unwrap_or_default();
    scratch.bytes.truncate(start);
    value
}

impl Shown {
    fn append<F: Facts>(&self, facts: &F, scratch: &mut Scratch) {
        // Writing to a vector cannot fail.
        let _ = match self {
            Self::Int(value) => {
                let value = value.find(facts, scratch);
                append_int(value, &mut scratch.bytes);
                Ok(())
            }
            Self::Float(value) => {
                let value = value.find(facts, scratch);
                write!(scratch.bytes, "{value}")
            }
            Self::Bool(value) => {
                let value = value.run(facts, scratch);
                write!(scratch.bytes, "{value}")
            }
            Self::Address(value) => match value.find(facts, scratch) {
                Some(IpAddr::V4(address)) => {
                    append_ipv4(address, &mut scratch.bytes);
                    Ok(())
                }
                Some(address) => write!(scratch.bytes, "{address}"),
                None => Ok(()),
            },
        };
    }
}

/// Appends an address as four numbers. The formatter of the standard library, which can do more, takes
/// ten times as long.
fn append_ipv4(address: Ipv4Addr, out: &mut Vec<u8>) {
    /// Four numbers of three digits, and three dots.
    const BYTES_MAX: usize = 15;
    let (mut text, mut end) = ([0; BYTES_MAX + 1], 0);
    let mut push = |byte: u8| {
        text[end] = byte;
        // It stays below: the last one that is pushed has no dot behind it.
        end = (end + 1) & BYTES_MAX;
    };
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            push(b'.');
        }
        if octet >= 100 {
            push(b'0' + octet / 100);
        }
        if octet >= 10 {
            push(b'0' + octet / 10 % 10);
        }
        push(b'0' + octet % 10);
    }
    out.extend_from_slice(&text[..end]);
}

/// The numbers below 100, two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0_u8;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// Appends a number in decimal.
fn append_int(value: i64, out: &mut Vec<u8>) {
    /// The digits of the longest number.
    const DIGITS_MAX: usize = 20;
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    let mut rest = value.unsigned_abs();
    while rest >= 10 {
        start -= 2;
        digits[start..start + 2].copy_from_slice(&PAIRS[(rest % 100) as usize]);
        rest /= 100;
    }
    if rest > 0 || start == DIGITS_MAX {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}

impl IntValue {
    #[inline]
    pub(crate) fn find<F: Facts>(&self, facts: &F, scratch: &mut Scratch) -> i64 {
        match self {
            Self::Literal(value) => *value,
            Self::Attribute(number) => facts.number(*number),
            Self::Field(field) => facts.field_number(*field),
            Self::Size(text) => {
                let start = scratch.bytes.len();
                let found = text.find(facts, scratch);
                let size = found.bytes(scratch).len();
                scratch.bytes.truncate(start);
                i64::try_from(size).unwrap_or(i64::MAX)
            }
            Self::If(parts) => {
                let (condition, yes, no) = &**parts;
                let chosen = if condition.run(facts, scratch) { yes } else { no };
                chosen.find(facts, scratch)
            }
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Attribute(a), Self::Attribute(b)) => a == b,
            (Self::Field(a), Self::Field(b)) => a == b,
            (Self::Size(a), Self::Size(b)) => a.is_same(b),
            _ => false,
        }
    }
}

impl FloatValue {
    pub(crate) fn find<F: Facts>(&self, facts: &F, scratch: &mut Scratch) -> f64 {
        match self {
            Self::Literal(value) => *value,
            Self::Rate(limit, key) => key.with(facts, scratch, |key| facts.rate(*limit, key)),
            // Nothing that is counted here reaches the 2^53 from which a float is not exact.
            #[allow(clippy::cast_precision_loss)]
            Self::Int(value) => value.find(facts, scratch) as f64,
        }
    }
}

impl AddressValue {
    #[inline]
    pub(crate) fn find<F: Facts>(&self, facts: &F, scratch: &mut Scratch) -> Option<IpAddr> {
        match self {
            Self::Attribute(address) => {
                facts.address(*address).map(|address| address.to_canonical())
            }
            Self::Parsed(text) => {
                let start = scratch.bytes.len();
                let found = text.find(facts, scratch);
                let address = parse_address(found.bytes(scratch));
                scratch.bytes.truncate(start);
                address
            }
        }
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Attribute(a), Self::Attribute(b)) => a == b,
            (Self::Parsed(a), Self::Parsed(b)) => a.is_same(b),
            _ => false,
        }
    }
}

/// The address that the bytes are, whole.
pub(crate) fn parse_address(bytes: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

impl KeyValue {
    /// Calls `ask` with the key.
    pub(crate) fn with<F: Facts, T: Default>(
        &self,
        facts: &F,
        scratch: &mut Scratch,
        ask: impl FnOnce(Key<'_>) -> T,
    ) -> T {
        match self {
            Self::Address(address) => match address.find(facts, scratch) {
                Some(address) => ask(Key::Address(address)),
                None => T::default(),
            },
            Self::Text(text) => {
                let start = scratch.bytes.len();
                let found = text.find(facts, scratch);
                let answer = ask(Key::Text(found.bytes(scratch)));
                scratch.bytes.truncate(start);
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for octet in 0..=u8::MAX {
            let address = Ipv4Addr::from([octet, 255 - octet, octet / 2, 0]);
            let mut out = Vec::new();
            append_ipv4(address, &mut out);
            assert_eq!(String::from_utf8(out).expect("digits"), address.to_string());
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for value in [0, 7, -1, 10, 1_712_345_678_123, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            append_int(value, &mut out);
            assert_eq!(String::from_utf8(out).expect("digits"), value.to_string());
        }
    }
}

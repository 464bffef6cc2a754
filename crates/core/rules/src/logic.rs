//! Owns conditions as trees, after their types were checked: simplified, and with tests of one thing
//! for many values joined into one.
//!
//! Leaves running them to `program` and using them to choose rules to `ruleset`. Every test has an
//! answer for whatever the facts are, and asking changes nothing, so that operands may be joined and
//! put in another order. Invariant: no operand of a sum or product is a constant or of its own kind.

use crate::attribute::{Flag, Keyed};
use crate::facts::ListIndex;
use crate::tables::Network;
use crate::value::{AddressValue, Case, FloatValue, IntValue, KeyValue, TextValue};

/// A truth.
#[derive(Clone, Debug)]
pub(crate) enum Logic {
    Const(bool),
    Test(Test),
    Not(Box<Logic>),
    All(Vec<Logic>),
    Any(Vec<Logic>),
    If(Box<[Logic; 3]>),
}

/// How a string is compared with given ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Whole,
    Front,
    Back,
    Anywhere,
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Less,
    LessOrEqual,
}

/// One question to the facts.
#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// One of the needles stands at the place.
    Text {
        subject: TextValue,
        place: Place,
        needles: Vec<Box<[u8]>>,
    },
    /// One of the patterns is found; they were compiled once and are valid.
    Regex {
        subject: TextValue,
        patterns: Vec<String>,
    },
    /// The second stands at the place in the first.
    Pair {
        subject: TextValue,
        place: Place,
        needle: TextValue,
    },
    Order {
        left: TextValue,
        compare: Compare,
        right: TextValue,
    },
    IntIn {
        subject: IntValue,
        values: Vec<i64>,
    },
    Int {
        left: IntValue,
        compare: Compare,
        right: IntValue,
    },
    Float {
        left: FloatValue,
        compare: Compare,
        right: FloatValue,
    },
    Range {
        subject: AddressValue,
        networks: Vec<Network>,
    },
    SameAddress {
        left: AddressValue,
        right: AddressValue,
    },
    Flag(Flag),
    Present {
        keyed: Keyed,
        name: Box<[u8]>,
    },
    InList {
        list: ListIndex,
        key: KeyValue,
    },
}

impl Logic {
    pub(crate) fn negated(self) -> Self {
        match self {
            Self::Const(value) => Self::Const(!value),
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    pub(crate) fn choice(condition: Self, yes: Self, no: Self) -> Self {
        match condition {
            Self::Const(true) => yes,
            Self::Const(false) => no,
            condition => match (yes, no) {
                (Self::Const(true), no) => Self::any([condition, no]),
                (Self::Const(false), no) => Self::all([condition.negated(), no]),
                (yes, Self::Const(false)) => Self::all([condition, yes]),
                (yes, Self::Const(true)) => Self::any([condition.negated(), yes]),
                (yes, no) => Self::If(Box::new([condition, yes, no])),
            },
        }
    }

    pub(crate) fn any(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut flat: Vec<Self> = Vec::new();
        for operand in operands {
            match operand {
                Self::Const(true) => return Self::Const(true),
                Self::Const(false) => {}
                Self::Any(inner) => inner.into_iter().for_each(|one| join(&mut flat, one)),
                other => join(&mut flat, other),
            }
        }
        flat.sort_by_key(Self::cost);
        match flat.len() {
            0 => Self::Const(false),
            1 => flat.remove(0),
            _ => Self::Any(flat),
        }
    }

    /// By De Morgan's law, so that `x != "a" && x != "b"` becomes one test as well.
    pub(crate) fn all(operands: impl IntoIterator<Item = Self>) -> Self {
        let mut positive: Vec<Self> = Vec::new();
        let mut negated: Vec<Self> = Vec::new();
        for operand in operands {
            let inner = match operand {
                Self::Const(false) => return Self::Const(false),
                Self::Const(true) => continue,
                Self::All(inner) => inner,
                other => vec![other],
            };
            for one in inner {
                match one {
                    Self::Not(inner) if matches!(*inner, Self::Test(_)) => {
                        join(&mut negated, *inner);
                    }
                    other => positive.push(other),
                }
            }
        }
        positive.extend(negated.into_iter().map(Self::negated));
        positive.sort_by_key(Self::cost);
        match positive.len() {
            0 => Self::Const(true),
            1 => positive.remove(0),
            _ => Self::All(positive),
        }
    }

    /// The number of tests in it.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Const(_) | Self::Test(_) => 1,
            Self::Not(inner) => inner.size(),
            Self::All(operands) | Self::Any(operands) => operands.iter().map(Self::size).sum(),
            Self::If(parts) => parts.iter().map(Self::size).sum(),
        }
    }

    /// Its levels.
    pub(crate) fn depth(&self) -> usize {
        let below = |operands: &[Self]| operands.iter().map(Self::depth).max().unwrap_or(0);
        1 + match self {
            Self::Const(_) | Self::Test(_) => 0,
            Self::Not(inner) => inner.depth(),
            Self::All(operands) | Self::Any(operands) => below(operands),
            Self::If(parts) => below(&**parts),
        }
    }

    /// Roughly what it costs to ask, so that the cheap questions come first.
    fn cost(&self) -> u32 {
        let sum = |operands: &[Self]| operands.iter().map(Self::cost).fold(0, u32::saturating_add);
        match self {
            Self::Const(_) => 0,
            Self::Test(test) => test.cost(),
            Self::Not(inner) => inner.cost(),
            Self::All(operands) | Self::Any(operands) => sum(operands),
            Self::If(parts) => sum(&**parts),
        }
    }
}

/// Adds an operand of "or"; a test of what another tests already widens that one.
fn join(operands: &mut Vec<Logic>, mut new: Logic) {
    if let Logic::Test(new) = &mut new {
        for operand in operands.iter_mut() {
            if let Logic::Test(old) = operand
                && old.widen(new)
            {
                return;
            }
        }
    }
    operands.push(new);
}

impl Test {
    /// Takes over what the other tests, if both test the same thing in the same way.
    fn widen(&mut self, other: &mut Self) -> bool {
        match (self, other) {
            (
                Self::Text { subject, place, needles },
                Self::Text { subject: other, place: other_place, needles: new },
            ) if place == other_place && subject.is_same(other) => needles.append(new),
            (Self::Regex { subject, patterns }, Self::Regex { subject: other, patterns: new })
                if subject.is_same(other) =>
            {
                patterns.append(new);
            }
            (Self::IntIn { subject, values }, Self::IntIn { subject: other, values: new })
                if subject.is_same(other) =>
            {
                values.append(new);
            }
            (Self::Range { subject, networks }, Self::Range { subject: other, networks: new })
                if subject.is_same(other) =>
            {
                networks.append(new);
            }
            _ => return false,
        }
        true
    }

    fn cost(&self) -> u32 {
        match self {
            Self::Flag(_) => 5,
            Self::IntIn { .. } | Self::Int { .. } => 10,
            Self::Text { subject, place, .. } => {
                subject_cost(subject) + if *place == Place::Anywhere { 80 } else { 15 }
            }
            Self::Range { .. } | Self::SameAddress { .. } => 30,
            Self::Pair { subject, needle: other, .. }
            | Self::Order { left: subject, right: other, .. } => {
                20 + subject_cost(subject) + subject_cost(other)
            }
            Self::Present { .. } => 80,
            Self::InList { .. } => 100,
            Self::Float { .. } => 150,
            Self::Regex { subject, .. } => 300 + subject_cost(subject),
        }
    }
}

fn subject_cost(subject: &TextValue) -> u32 {
    match subject {
        TextValue::Literal(_) => 1,
        TextValue::Attribute(_) | TextValue::Variable(_) | TextValue::Field(_) => 10,
        TextValue::Keyed(..) => 80,
        TextValue::Lookup(_, inner) | TextValue::Case(_, inner) => 60 + subject_cost(inner),
        TextValue::Sum(_) | TextValue::If(_) | TextValue::Shown(_) => 200,
    }
}

/// The test whether one of the needles stands at the place, or what it always comes to.
pub(crate) fn text_test(subject: TextValue, place: Place, needle: &[u8]) -> Logic {
    if let TextValue::Literal(bytes) = &subject {
        return Logic::Const(stands(bytes, place, needle));
    }
    if needle.is_empty() && place != Place::Whole {
        return Logic::Const(true);
    }
    let needle = if subject.is_caseless() { needle.to_ascii_lowercase() } else { needle.to_vec() };
    let is_impossible = match &subject {
        TextValue::Case(Case::Lower, _) => needle.iter().any(u8::is_ascii_uppercase),
        TextValue::Case(Case::Upper, _) => needle.iter().any(u8::is_ascii_lowercase),
        _ => false,
    };
    if is_impossible {
        return Logic::Const(false);
    }
    Logic::Test(Test::Text { subject, place, needles: vec![needle.into()] })
}

/// Whether the needle stands at the place.
#[inline]
pub(crate) fn stands(bytes: &[u8], place: Place, needle: &[u8]) -> bool {
    match place {
        Place::Whole => bytes == needle,
        Place::Front => bytes.starts_with(needle),
        Place::Back => bytes.ends_with(needle),
        Place::Anywhere => memchr::memmem::find(bytes, needle).is_some(),
    }
}

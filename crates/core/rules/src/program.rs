//! Owns conditions as they run: tests in a row, each with the test that follows when it holds and
//! the one that follows when not.
//!
//! Leaves strings and numbers to `value`. Invariant: a test leads only to earlier ones or to an
//! answer, so that a run is a loop of at most as many steps as there are tests.

use crate::attribute::{Flag, Keyed};
use crate::facts::{Facts, ListIndex};
use crate::logic::{Compare, Logic, Place, Test, stands};
use crate::tables::{ByteTable, End, Network, RangeTable, Trie};
use crate::value::{AddressValue, FloatValue, IntValue, KeyValue, Scratch, TextValue};
use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use std::sync::Arc;

/// The answer "yes" in the place of a test.
const YES: u32 = u32::MAX;
/// The answer "no" in the place of a test.
const NO: u32 = u32::MAX - 1;

/// The most values that are compared one after the other: hashing a string costs about as much as
/// comparing it with so many, which mostly differ in length.
const LINEAR_MAX: usize = 4;

/// How much memory a compiled regular expression may take, in bytes: enough for some thousand
/// characters, little enough that hundreds of them do no harm.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A condition, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    entry: u32,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    test: Ready,
    yes: u32,
    no: u32,
}

/// A test, with its values in the form in which they are fastest to find.
#[derive(Clone, Debug)]
enum Ready {
    Text(TextValue, Needles),
    Pair(TextValue, Place, TextValue),
    Order(TextValue, Compare, TextValue),
    IntIn(IntValue, Vec<i64>),
    Int(IntValue, Compare, IntValue),
    Float(FloatValue, Compare, FloatValue),
    Network(AddressValue, Network),
    Networks(AddressValue, Arc<RangeTable>),
    SameAddress(AddressValue, AddressValue),
    Flag(Flag),
    Present(Keyed, Box<[u8]>),
    InList(ListIndex, KeyValue),
}

/// What is looked for in a string.
#[derive(Clone, Debug)]
enum Needles {
    One(Box<[u8]>),
    /// In either case, and so without bringing the string to one.
    AnyCase(Place, Box<[u8]>),
    /// The same anywhere in the string, with the place in the needle that is searched for first.
    WithinAnyCase(Box<[u8]>, usize),
    Few(Vec<Box<[u8]>>),
    Many(Arc<ByteTable>),
    Front(Box<[u8]>),
    Back(Box<[u8]>),
    Ends(Arc<Trie>),
    Within(Box<Finder<'static>>),
    AnyWithin(AhoCorasick),
    Regex(Regex),
    Regexes(RegexSet),
}

impl Program {
    pub(crate) fn new(logic: &Logic) -> Self {
        let mut program = Self { entry: NO, steps: Vec::new() };
        program.entry = program.emit(logic, YES, NO);
        program
    }

    /// Adds what decides between two ways to go on; where it begins.
    fn emit(&mut self, logic: &Logic, yes: u32, no: u32) -> u32 {
        match logic {
            Logic::Const(true) => yes,
            Logic::Const(false) => no,
            Logic::Not(inner) => self.emit(inner, no, yes),
            Logic::All(operands) => {
                operands.iter().rev().fold(yes, |next, operand| self.emit(operand, next, no))
            }
            Logic::Any(operands) => {
                operands.iter().rev().fold(no, |next, operand| self.emit(operand, yes, next))
            }
            Logic::If(parts) => {
                let [condition, first, second] = &**parts;
                let (first, second) = (self.emit(first, yes, no), self.emit(second, yes, no));
                self.emit(condition, first, second)
            }
            Logic::Test(test) => {
                self.steps.push(Step { test: Ready::new(test), yes, no });
                u32::try_from(self.steps.len() - 1).expect("the size of conditions is bounded")
            }
        }
    }

    /// Whether the facts meet the condition.
    #[inline]
    pub(crate) fn run<F: Facts>(&self, facts: &F, scratch: &mut Scratch) -> bool {
        let mut next = self.entry;
        while let Some(step) = self.steps.get(next as usize) {
            next = if step.test.holds(facts, scratch) { step.yes } else { step.no };
        }
        next == YES
    }
}

impl Ready {
    fn new(test: &Test) -> Self {
        match test.clone() {
            Test::Text { subject: TextValue::Case(_, subject), place, mut needles }
                if needles.len() == 1 =>
            {
                Self::Text(*subject, Needles::in_any_case(place, needles.remove(0)))
            }
            Test::Text { subject, place, needles } => {
                Self::Text(subject, Needles::new(place, needles))
            }
            Test::Regex { subject, patterns } => {
                let needles = Needles::of_patterns(&patterns, subject.is_caseless());
                Self::Text(subject, needles)
            }
            Test::Pair { subject, place, needle } => Self::Pair(subject, place, needle),
            Test::Order { left, compare, right } => Self::Order(left, compare, right),
            Test::IntIn { subject, mut values } => {
                values.sort_unstable();
                values.dedup();
                Self::IntIn(subject, values)
            }
            Test::Int { left, compare, right } => Self::Int(left, compare, right),
            Test::Float { left, compare, right } => Self::Float(left, compare, right),
            Test::Range { subject, networks } => match networks.as_slice() {
                [network] => Self::Network(subject, *network),
                _ => {
                    let networks = networks.into_iter().map(|network| (network, 0));
                    Self::Networks(subject, Arc::new(RangeTable::new(networks)))
                }
            },
            Test::SameAddress { left, right } => Self::SameAddress(left, right),
            Test::Flag(flag) => Self::Flag(flag),
            Test::Present { keyed, name } => Self::Present(keyed, name),
            Test::InList { list, key } => Self::InList(list, key),
        }
    }

    #[inline]
    fn holds<F: Facts>(&self, facts: &F, scratch: &mut Scratch) -> bool {
        match self {
            // What stands in the facts is looked at where it stands.
            Self::Text(TextValue::Attribute(text), needles) => needles.are_in(facts.text(*text)),
            Self::Text(TextValue::Keyed(keyed, name), needles) => {
                needles.are_in(facts.keyed(*keyed, name).unwrap_or_default())
            }
            Self::Text(subject, needles) => needles.are_in_value(subject, facts, scratch),
            Self::Pair(subject, place, needle) => {
                with_pair(subject, needle, facts, scratch, |bytes, needle| {
                    stands(bytes, *place, needle)
                })
            }
            Self::Order(left, compare, right) => {
                with_pair(left, right, facts, scratch, |left, right| compare.holds(&left, &right))
            }
            Self::IntIn(subject, values) => {
                let value = subject.find(facts, scratch);
                match values.as_slice() {
                    [one] => *one == value,
                    values => values.binary_search(&value).is_ok(),
                }
            }
            Self::Int(left, compare, right) => {
                compare.holds(&left.find(facts, scratch), &right.find(facts, scratch))
            }
            Self::Float(left, compare, right) => {
                compare.holds(&left.find(facts, scratch), &right.find(facts, scratch))
            }
            Self::Network(subject, network) => {
                subject.find(facts, scratch).is_some_and(|address| network.contains(address))
            }
            Self::Networks(subject, networks) => {
                subject.find(facts, scratch).is_some_and(|address| networks.contains(address))
            }
            Self::SameAddress(left, right) => {
                let left = left.find(facts, scratch);
                left.is_some() && left == right.find(facts, scratch)
            }
            Self::Flag(flag) => facts.flag(*flag),
            Self::Present(keyed, name) => facts.keyed(*keyed, name).is_some(),
            Self::InList(list, key) => key.with(facts, scratch, |key| facts.in_list(*list, key)),
        }
    }
}

impl Compare {
    #[inline]
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

fn with_pair<F: Facts>(
    left: &TextValue,
    right: &TextValue,
    facts: &F,
    scratch: &mut Scratch,
    ask: impl FnOnce(&[u8], &[u8]) -> bool,
) -> bool {
    let start = scratch.bytes.len();
    let left = left.find(facts, scratch);
    let right = right.find(facts, scratch);
    let answer = ask(left.bytes(scratch), right.bytes(scratch));
    scratch.bytes.truncate(start);
    answer
}

impl Needles {
    fn new(place: Place, mut needles: Vec<Box<[u8]>>) -> Self {
        needles.sort();
        needles.dedup();
        let numbered = needles.iter().map(|needle| (&**needle, 0));
        if needles.len() == 1 {
            let needle = needles.remove(0);
            return match place {
                Place::Whole => Self::One(needle),
                Place::Front => Self::Front(needle),
                Place::Back => Self::Back(needle),
                Place::Anywhere => Self::Within(Box::new(Finder::new(&needle).into_owned())),
            };
        }
        match place {
            Place::Whole if needles.len() > LINEAR_MAX => {
                Self::Many(Arc::new(ByteTable::new(numbered)))
            }
            Place::Whole => Self::Few(needles),
            Place::Front => Self::Ends(Arc::new(Trie::new(End::Front, numbered))),
            Place::Back => Self::Ends(Arc::new(Trie::new(End::Back, numbered))),
            Place::Anywhere => {
                let automaton = AhoCorasick::new(&needles);
                Self::AnyWithin(
                    automaton.expect("needles are far smaller than an automaton may be"),
                )
            }
        }
    }

    fn in_any_case(place: Place, needle: Box<[u8]>) -> Self {
        if place != Place::Anywhere {
            return Self::AnyCase(place, needle);
        }
        let commonness = |byte: &u8| {
            let place = COMMON.iter().position(|common| *common == byte.to_ascii_lowercase());
            COMMON.len() - place.unwrap_or(COMMON.len())
        };
        let rarest = (0..needle.len()).min_by_key(|place| commonness(&needle[*place]));
        Self::WithinAnyCase(needle, rarest.unwrap_or(0))
    }

    fn of_patterns(patterns: &[String], is_caseless: bool) -> Self {
        if let [one] = patterns {
            let regex = compile_regex(one, is_caseless);
            return Self::Regex(regex.expect("the pattern compiled when it was checked"));
        }
        let set = RegexSetBuilder::new(patterns)
            .unicode(false)
            .case_insensitive(is_caseless)
            .size_limit(usize::MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build();
        Self::Regexes(set.expect("each compiled when it was checked, and all have no limit"))
    }

    #[inline(never)]
    fn are_in_value<F: Facts>(
        &self,
        subject: &TextValue,
        facts: &F,
        scratch: &mut Scratch,
    ) -> bool {
        let start = scratch.bytes.len();
        let found = subject.find(facts, scratch);
        let holds = self.are_in(found.bytes(scratch));
        scratch.bytes.truncate(start);
        holds
    }

    #[inline]
    fn are_in(&self, bytes: &[u8]) -> bool {
        match self {
            Self::One(needle) => bytes == &**needle,
            Self::AnyCase(place, needle) => stands_in_any_case(bytes, *place, needle),
            Self::WithinAnyCase(needle, rarest) => is_within_in_any_case(bytes, needle, *rarest),
            Self::Few(needles) => needles.iter().any(|needle| bytes == &**needle),
            Self::Many(table) => table.find(bytes).is_some(),
            Self::Front(needle) => bytes.starts_with(needle),
            Self::Back(needle) => bytes.ends_with(needle),
            Self::Ends(trie) => trie.walk(bytes, |_| true),
            Self::Within(finder) => finder.find(bytes).is_some(),
            Self::AnyWithin(automaton) => automaton.is_match(bytes),
            Self::Regex(regex) => regex.is_match(bytes),
            Self::Regexes(set) => set.is_match(bytes),
        }
    }
}

/// Whether the needle stands at the place in either case.
fn stands_in_any_case(bytes: &[u8], place: Place, needle: &[u8]) -> bool {
    let Some(slack) = bytes.len().checked_sub(needle.len()) else { return false };
    match place {
        Place::Whole => slack == 0 && bytes.eq_ignore_ascii_case(needle),
        Place::Front => bytes[..needle.len()].eq_ignore_ascii_case(needle),
        Place::Back => bytes[slack..].eq_ignore_ascii_case(needle),
        Place::Anywhere => is_within_in_any_case(bytes, needle, 0),
    }
}

/// Whether the needle stands anywhere in either case; its byte at `rarest` is what is searched for.
fn is_within_in_any_case(bytes: &[u8], needle: &[u8], rarest: usize) -> bool {
    let Some(slack) = bytes.len().checked_sub(needle.len()) else { return false };
    let Some(byte) = needle.get(rarest) else { return true };
    let places = &bytes[rarest..=rarest + slack];
    memchr::memchr2_iter(byte.to_ascii_lowercase(), byte.to_ascii_uppercase(), places)
        .any(|place| bytes[place..place + needle.len()].eq_ignore_ascii_case(needle))
}

/// Letters from the commonest in header fields to the rarest; what is none is rarer still, but for
/// the signs between words.
const COMMON: &[u8] = b" /;.-,=eatoinsrhldcumfpgwybvkxjqz";

/// Compiles a pattern as CEL's `matches` means it (RE2: unanchored, ASCII classes), over bytes.
pub(crate) fn compile_regex(pattern: &str, is_caseless: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(is_caseless)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
}

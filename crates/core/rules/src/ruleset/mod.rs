//! Owns an ordered list of rules and how far its evaluation has come.
//!
//! Which rules can match at all is in `index`, how they are chosen for it in `guard`. Leaves what a
//! rule does to others, which apply it between two matches and tell what it changed. Invariant: the
//! rules that are given are those that evaluating each in order would give.

mod guard;
mod index;

use crate::condition::{Condition, Uses};
use crate::facts::{Facts, VariableIndex};
use crate::program::Program;
use crate::value::Scratch;
use index::Index;

/// Rules in order, each with a condition or none.
///
/// At the start, what the conditions ask most is looked up once for all rules: a string in a table of
/// all the prefixes it is compared with, an address in a table of all networks. Only the rules for
/// which something was found are then evaluated, and those that no such question stands for.
///
/// Like [`Condition`], each shard works from a clone of its own.
#[derive(Clone, Debug)]
pub struct RuleSet {
    checks: Vec<Check>,
    index: Index,
    uses: Uses,
}

/// What remains to be asked of a rule that may match.
#[derive(Clone, Debug)]
enum Check {
    Nothing,
    Program(Program),
}

/// How far the evaluation of a list has come; reused, so that it allocates once.
#[derive(Debug, Default)]
pub struct Cursor {
    /// Working memory, also for templates that the caller writes between two matches.
    pub scratch: Scratch,
    /// The rules that may match and were not yet evaluated.
    candidates: Candidates,
    /// The first rule that was not yet evaluated.
    next: usize,
    /// Something that was looked up has changed.
    is_stale: bool,
}

/// A set of rules, and the header fields that were looked up for it.
#[derive(Debug, Default)]
struct Candidates {
    words: Vec<u64>,
    headers_seen: Vec<u64>,
}

/// What an edit changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The method.
    Method,
    /// The host, and with it the header field.
    Host,
    /// The path, and with it the URI.
    Path,
    /// The query, and with it the arguments and the URI.
    Query,
    /// A header field of the request, its name in lower case; with it the host or the cookies, if it
    /// is theirs.
    RequestHeader(&'a [u8]),
    /// A header field of the response, its name in lower case.
    ResponseHeader(&'a [u8]),
    /// A variable.
    Variable(VariableIndex),
}

impl RuleSet {
    /// Makes the list; a rule without a condition always matches.
    #[must_use]
    pub fn new(conditions: Vec<Option<Condition>>) -> Self {
        let uses =
            conditions.iter().flatten().map(Condition::uses).fold(Uses::default(), Uses::union);
        let logics = conditions.iter().map(|condition| condition.as_ref().map(|one| &*one.logic));
        let guards = guard::choose(&logics.collect::<Vec<_>>());
        let index = Index::new(&guards);
        let check = |(place, condition): (usize, Option<Condition>)| match condition {
            Some(condition) if !guards.is_exact(place) => Check::Program(condition.into_program()),
            _ => Check::Nothing,
        };
        let checks = conditions.into_iter().enumerate().map(check).collect();
        Self { checks, index, uses }
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// What the conditions ask about.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// Begins at the first rule.
    #[inline]
    pub fn start<F: Facts>(&self, facts: &F, cursor: &mut Cursor) {
        cursor.next = 0;
        cursor.is_stale = false;
        self.index.look_up(facts, &mut cursor.scratch, &mut cursor.candidates);
    }

    /// Begins behind a rule that matched: for a run that was left and is gone on with, perhaps with
    /// another cursor.
    pub fn start_behind(&self, rule: usize, cursor: &mut Cursor) {
        cursor.next = rule + 1;
        cursor.is_stale = true;
    }

    /// The next rule that matches, by its place in the list; none at the end. Follows
    /// [`start`](Self::start) or [`start_behind`](Self::start_behind) of the same list.
    #[inline]
    pub fn next_match<F: Facts>(&self, facts: &F, cursor: &mut Cursor) -> Option<usize> {
        if cursor.is_stale {
            self.index.look_up(facts, &mut cursor.scratch, &mut cursor.candidates);
            cursor.candidates.forget_before(cursor.next);
            cursor.is_stale = false;
        }
        while let Some(place) = cursor.candidates.take_from(cursor.next) {
            cursor.next = place + 1;
            let matches = match self.checks.get(place)? {
                Check::Nothing => true,
                Check::Program(program) => program.run(facts, &mut cursor.scratch),
            };
            if matches {
                return Some(place);
            }
        }
        None
    }

    /// Tells that an edit changed what later rules may ask about.
    pub fn changed(&self, change: Change<'_>, cursor: &mut Cursor) {
        cursor.is_stale |= self.index.is_affected(change);
    }
}

impl Candidates {
    #[inline]
    fn insert(&mut self, rule: u32) {
        if let Some(word) = self.words.get_mut(rule as usize / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    /// The first rule from `next` on.
    #[inline]
    fn take_from(&mut self, next: usize) -> Option<usize> {
        for (number, word) in self.words.iter_mut().enumerate().skip(next / 64) {
            if *word != 0 {
                let bit = word.trailing_zeros() as usize;
                *word &= *word - 1;
                return Some(number * 64 + bit);
            }
        }
        None
    }

    fn forget_before(&mut self, next: usize) {
        for (number, word) in self.words.iter_mut().enumerate() {
            let before = next.saturating_sub(number * 64).min(64);
            *word &= u64::MAX.checked_shl(u32::try_from(before).unwrap_or(64)).unwrap_or(0);
        }
    }
}

//! Owns the choice of what rules are indexed by.
//!
//! A rule's guard is a set of atoms, each a question that a table can answer for many rules at once,
//! of which one at least holds whenever the rule's condition does. Of several guards that a condition
//! offers, the one is taken whose atoms the fewest rules share. Leaves the tables to `index`. Invariant:
//! a rule whose guard does not hold does not match; where the guard is exact, it matches if it holds.

use crate::attribute::Keyed;
use crate::logic::{Logic, Place, Test};
use crate::tables::Network;
use crate::value::{AddressValue, TextValue};
use std::collections::BTreeMap;

/// From how many rules on a table pays: evaluating one costs about a quarter of looking up an
/// attribute of the request in a table.
const RULES_MIN: usize = 4;

/// The same, where a string has to be searched for or made before it can be compared.
const COSTLY_RULES_MIN: usize = 2;

/// From how many header fields on one pass over the request's header fields, in which each is looked up
/// among the names that are asked for, is cheaper than a search for each name.
pub(super) const WALK_HEADERS_MIN: usize = 4;

/// What a table answers about.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Text(TextValue, Place),
    Address(AddressValue),
}

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needle {
    Bytes(Box<[u8]>),
    Network(Network),
}

/// One question: the number of its subject, and what is looked for.
pub(super) type Atom = (usize, Needle);

/// What a rule is indexed by.
#[derive(Clone, Debug)]
struct Guard {
    atoms: Vec<Atom>,
    is_exact: bool,
    /// How many rules share its most common atom.
    sharing: usize,
}

/// The place of a rule in the index.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    /// Nothing stands for it: it may always match.
    Always,
    Never,
    Guarded {
        atoms: Vec<Atom>,
        is_exact: bool,
    },
}

/// What every rule of a list is indexed by.
#[derive(Clone, Debug, Default)]
pub(super) struct Guards {
    pub(super) rules: Vec<Rule>,
    pub(super) subjects: Vec<Subject>,
}

impl Guards {
    /// Whether nothing remains to be asked when the guard holds.
    pub(super) fn is_exact(&self, place: usize) -> bool {
        match self.rules.get(place) {
            Some(Rule::Guarded { is_exact, .. }) => *is_exact,
            Some(Rule::Never) => true,
            _ => false,
        }
    }
}

/// Chooses the guards of rules, which may have no condition.
pub(super) fn choose(conditions: &[Option<&Logic>]) -> Guards {
    let mut chooser = Chooser::default();
    conditions.iter().flatten().for_each(|logic| chooser.count(logic));
    let mut rules: Vec<Rule> = conditions
        .iter()
        .map(|condition| match condition {
            None => Rule::Always,
            Some(Logic::Const(false)) => Rule::Never,
            Some(logic) => match chooser.best(logic) {
                Some(Guard { atoms, is_exact, .. }) => Rule::Guarded { atoms, is_exact },
                None => Rule::Always,
            },
        })
        .collect();
    while chooser.drop_small_tables(&mut rules) {}
    Guards { rules, subjects: chooser.subjects }
}

#[derive(Default)]
struct Chooser {
    subjects: Vec<Subject>,
    /// How often each atom occurs.
    counts: BTreeMap<Atom, usize>,
}

impl Chooser {
    fn subject(&mut self, wanted: &Subject) -> usize {
        let known = self.subjects.iter().position(|subject| subject.is_same(wanted));
        known.unwrap_or_else(|| {
            self.subjects.push(wanted.clone());
            self.subjects.len() - 1
        })
    }

    /// The atoms of which one holds whenever the test does, and no other time.
    fn atoms(&mut self, test: &Test) -> Option<Vec<Atom>> {
        match test {
            Test::Text { subject, place, needles } => {
                // Header fields that are not there are not looked up.
                let is_absent_found = matches!(subject, TextValue::Keyed(Keyed::RequestHeaders, _))
                    && needles.iter().any(|needle| needle.is_empty());
                if !subject.is_indexable() || is_absent_found {
                    return None;
                }
                let number = self.subject(&Subject::Text(subject.clone(), *place));
                Some(needles.iter().map(|needle| (number, Needle::Bytes(needle.clone()))).collect())
            }
            Test::Range { subject: subject @ AddressValue::Attribute(_), networks } => {
                let number = self.subject(&Subject::Address(subject.clone()));
                Some(networks.iter().map(|network| (number, Needle::Network(*network))).collect())
            }
            _ => None,
        }
    }

    fn count(&mut self, logic: &Logic) {
        match logic {
            Logic::Test(test) => {
                for atom in self.atoms(test).unwrap_or_default() {
                    *self.counts.entry(atom).or_default() += 1;
                }
            }
            Logic::All(operands) | Logic::Any(operands) => {
                operands.iter().for_each(|operand| self.count(operand));
            }
            Logic::Const(_) | Logic::Not(_) | Logic::If(_) => {}
        }
    }

    fn best(&mut self, logic: &Logic) -> Option<Guard> {
        match logic {
            Logic::Test(test) => {
                let atoms = self.atoms(test)?;
                let sharing = atoms.iter().filter_map(|atom| self.counts.get(atom)).max();
                Some(Guard { sharing: sharing.copied().unwrap_or(0), atoms, is_exact: true })
            }
            Logic::All(operands) => {
                let guards = operands.iter().filter_map(|operand| self.best(operand));
                let best = guards.min_by_key(|guard| (guard.sharing, guard.atoms.len()))?;
                Some(Guard { is_exact: false, ..best })
            }
            Logic::Any(operands) => {
                let mut all = Guard { atoms: Vec::new(), is_exact: true, sharing: 0 };
                for operand in operands {
                    let guard = self.best(operand)?;
                    all.atoms.extend(guard.atoms);
                    all.is_exact &= guard.is_exact;
                    all.sharing = all.sharing.max(guard.sharing);
                }
                Some(all)
            }
            Logic::Const(_) | Logic::Not(_) | Logic::If(_) => None,
        }
    }

    /// Takes the guards of tables that serve too few rules from these rules; whether there were any.
    fn drop_small_tables(&self, rules: &mut [Rule]) -> bool {
        let mut served = vec![0; self.subjects.len()];
        for rule in rules.iter() {
            if let Rule::Guarded { atoms, .. } = rule {
                let mut numbers: Vec<usize> = atoms.iter().map(|(number, _)| *number).collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers.into_iter().for_each(|number| served[number] += 1);
            }
        }
        let mut headers: Vec<&[u8]> = self
            .subjects
            .iter()
            .zip(&served)
            .filter_map(|(subject, served)| subject.header().filter(|_| *served > 0))
            .collect();
        headers.sort_unstable();
        headers.dedup();
        let is_walk = headers.len() >= WALK_HEADERS_MIN;
        let is_small = |number: usize| {
            let subject = &self.subjects[number];
            let is_walked = is_walk && subject.header().is_some();
            !is_walked && served[number] < subject.rules_min()
        };
        let mut was_dropped = false;
        for rule in rules {
            if let Rule::Guarded { atoms, .. } = rule
                && atoms.iter().any(|(number, _)| is_small(*number))
            {
                *rule = Rule::Always;
                was_dropped = true;
            }
        }
        was_dropped
    }
}

impl Subject {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a, place_a), Self::Text(b, place_b)) => place_a == place_b && a.is_same(b),
            (Self::Address(a), Self::Address(b)) => a.is_same(b),
            _ => false,
        }
    }

    /// The header field of the request that it is.
    pub(super) fn header(&self) -> Option<&[u8]> {
        match self {
            Self::Text(TextValue::Keyed(Keyed::RequestHeaders, name), _) => Some(name),
            _ => None,
        }
    }

    fn rules_min(&self) -> usize {
        match self {
            Self::Text(TextValue::Attribute(_) | TextValue::Variable(_), Place::Anywhere)
            | Self::Address(_) => COSTLY_RULES_MIN,
            Self::Text(TextValue::Attribute(_) | TextValue::Variable(_), _) => RULES_MIN,
            Self::Text(..) => COSTLY_RULES_MIN,
        }
    }
}

//! Owns the tables that tell which rules may match.
//!
//! Leaves which questions rules are indexed by to `guard`. Invariant: after a look-up every rule that
//! can match is among the candidates, and looking up takes about as long for many rules as for few.

use super::guard::{Atom, Guards, Needle, Rule, Subject, WALK_HEADERS_MIN};
use super::{Candidates, Change};
use crate::facts::Facts;
use crate::logic::Place;
use crate::tables::{ByteTable, End, RangeTable, Trie};
use crate::value::{AddressValue, Scratch, TextValue};
use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Marks the number of a list of rules; without it the number is that of the one rule.
const LIST: u32 = 1 << 31;

/// The tables of a list of rules.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// A bit for each rule that may always match.
    always: Vec<u64>,
    texts: Vec<(TextValue, Arc<Probes>)>,
    headers: Option<Arc<Headers>>,
    addresses: Vec<(AddressValue, Arc<RangeTable>)>,
    lists: Arc<Lists>,
}

/// The tables about one string.
#[derive(Debug, Default)]
struct Probes {
    whole: Option<ByteTable>,
    front: Option<Trie>,
    back: Option<Trie>,
    anywhere: Option<(AhoCorasick, Vec<u32>)>,
}

/// The tables about header fields, which are found in one pass over those of the request.
#[derive(Debug)]
struct Headers {
    names: ByteTable,
    /// A bit for each length that a name has, the last for all that are longer.
    lengths: u64,
    probes: Vec<(TextValue, Probes)>,
}

/// Rules that share an atom, list by list.
#[derive(Debug, Default)]
struct Lists {
    rules: Vec<u32>,
    ends: Vec<usize>,
}

impl Index {
    pub(super) fn new(guards: &Guards) -> Self {
        let mut always = vec![0_u64; guards.rules.len().div_ceil(64)];
        let mut atoms: BTreeMap<&Atom, Vec<u32>> = BTreeMap::new();
        for (place, rule) in guards.rules.iter().enumerate() {
            match rule {
                Rule::Always => always[place / 64] |= 1 << (place % 64),
                Rule::Never => {}
                Rule::Guarded { atoms: guard, .. } => {
                    let number = u32::try_from(place).expect("a configuration is below 4 GiB");
                    guard.iter().for_each(|atom| atoms.entry(atom).or_default().push(number));
                }
            }
        }
        let mut lists = Lists::default();
        // The atoms are sorted by subject.
        let mut by_subject: BTreeMap<usize, Vec<(&Needle, u32)>> = BTreeMap::new();
        for ((subject, needle), mut rules) in atoms {
            rules.dedup();
            by_subject.entry(*subject).or_default().push((needle, lists.add(&rules)));
        }
        let mut index = Self {
            always,
            texts: Vec::new(),
            headers: None,
            addresses: Vec::new(),
            lists: Arc::default(),
        };
        let mut texts: Vec<(TextValue, Probes)> = Vec::new();
        for (number, needles) in by_subject {
            match &guards.subjects[number] {
                Subject::Address(subject) => {
                    let networks = needles.iter().filter_map(|(needle, list)| match needle {
                        Needle::Network(network) => Some((*network, *list)),
                        Needle::Bytes(_) => None,
                    });
                    let table = Arc::new(RangeTable::new(networks));
                    index.addresses.push((subject.clone(), table));
                }
                Subject::Text(subject, place) => {
                    let known = texts.iter().position(|(known, _)| known.is_same(subject));
                    let known = known.unwrap_or_else(|| {
                        texts.push((subject.clone(), Probes::default()));
                        texts.len() - 1
                    });
                    texts[known].1.add(*place, &needles);
                }
            }
        }
        index.lists = Arc::new(lists);
        index.take_texts(texts);
        index
    }

    /// Sorts strings into those that are asked for and those that a pass over the header fields finds.
    fn take_texts(&mut self, texts: Vec<(TextValue, Probes)>) {
        let name = |subject: &TextValue| {
            Subject::Text(subject.clone(), Place::Whole).header().map(<[u8]>::to_vec)
        };
        let headers_count = texts.iter().filter(|(subject, _)| name(subject).is_some()).count();
        let mut headers = Headers { names: ByteTable::of_names(), lengths: 0, probes: Vec::new() };
        for (subject, probes) in texts {
            match name(&subject) {
                Some(name) if headers_count >= WALK_HEADERS_MIN => {
                    let place = u32::try_from(headers.probes.len()).expect("fewer than rules");
                    headers.names.insert(&name, place);
                    headers.lengths |= length_bit(&name);
                    headers.probes.push((subject, probes));
                }
                _ => self.texts.push((subject, Arc::new(probes))),
            }
        }
        if !headers.names.is_empty() {
            self.headers = Some(Arc::new(headers));
        }
    }

    /// Makes the candidates those rules that may match.
    #[inline]
    pub(super) fn look_up<F: Facts>(
        &self,
        facts: &F,
        scratch: &mut Scratch,
        candidates: &mut Candidates,
    ) {
        candidates.words.clear();
        candidates.words.extend_from_slice(&self.always);
        for (subject, probes) in &self.texts {
            let start = scratch.bytes.len();
            let found = subject.find(facts, scratch);
            probes.look_up(found.bytes(scratch), &self.lists, candidates);
            scratch.bytes.truncate(start);
        }
        if let Some(headers) = &self.headers {
            headers.look_up(facts, &self.lists, candidates);
        }
        for (subject, table) in &self.addresses {
            if let Some(address) = subject.find(facts, scratch) {
                table.walk(address, |list| {
                    self.lists.insert(list, candidates);
                    false
                });
            }
        }
    }

    /// Whether the change can make a look-up find something else.
    pub(super) fn is_affected(&self, change: Change<'_>) -> bool {
        let headers = self.headers.iter().flat_map(|headers| &headers.probes);
        self.texts.iter().any(|(subject, _)| subject.is_affected(change))
            || headers.map(|(subject, _)| subject).any(|subject| subject.is_affected(change))
    }
}

impl Probes {
    fn add(&mut self, place: Place, needles: &[(&Needle, u32)]) {
        let keys = needles.iter().filter_map(|(needle, list)| match needle {
            Needle::Bytes(bytes) => Some((&**bytes, *list)),
            Needle::Network(_) => None,
        });
        match place {
            Place::Whole => self.whole = Some(ByteTable::new(keys)),
            Place::Front => self.front = Some(Trie::new(End::Front, keys)),
            Place::Back => self.back = Some(Trie::new(End::Back, keys)),
            Place::Anywhere => {
                let (needles, lists): (Vec<&[u8]>, Vec<u32>) = keys.unzip();
                let automaton =
                    AhoCorasick::builder().match_kind(MatchKind::Standard).build(needles);
                let automaton =
                    automaton.expect("needles are far smaller than an automaton may be");
                self.anywhere = Some((automaton, lists));
            }
        }
    }

    #[inline]
    fn look_up(&self, bytes: &[u8], lists: &Lists, candidates: &mut Candidates) {
        if let Some(list) = self.whole.as_ref().and_then(|table| table.find(bytes)) {
            lists.insert(list, candidates);
        }
        for trie in [&self.front, &self.back].into_iter().flatten() {
            trie.walk(bytes, |list| {
                lists.insert(list, candidates);
                false
            });
        }
        if let Some((automaton, numbers)) = &self.anywhere {
            for found in automaton.find_overlapping_iter(bytes) {
                if let Some(list) = numbers.get(found.pattern().as_usize()) {
                    lists.insert(*list, candidates);
                }
            }
        }
    }
}

impl Headers {
    fn look_up<F: Facts>(&self, facts: &F, lists: &Lists, candidates: &mut Candidates) {
        candidates.headers_seen.clear();
        candidates.headers_seen.resize(self.probes.len().div_ceil(64), 0);
        facts.visit_request_headers(|name, value| {
            if self.lengths & length_bit(name) == 0 {
                return;
            }
            let Some(place) = self.names.find_ignoring_case(name) else { return };
            let (word, bit) = (place as usize / 64, 1 << (place % 64));
            // Of several values the first is the one that conditions see.
            let Some(seen) = candidates.headers_seen.get_mut(word) else { return };
            if *seen & bit == 0 {
                *seen |= bit;
                if let Some((_, probes)) = self.probes.get(place as usize) {
                    probes.look_up(value, lists, candidates);
                }
            }
        });
    }
}

#[inline]
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

impl Lists {
    /// The number that stands for these rules.
    fn add(&mut self, rules: &[u32]) -> u32 {
        if let [rule] = rules {
            return *rule;
        }
        self.rules.extend_from_slice(rules);
        self.ends.push(self.rules.len());
        LIST | u32::try_from(self.ends.len() - 1).expect("fewer lists than atoms")
    }

    #[inline]
    fn insert(&self, number: u32, candidates: &mut Candidates) {
        if number & LIST == 0 {
            candidates.insert(number);
            return;
        }
        let list = (number & !LIST) as usize;
        let start =
            list.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let rules = self.ends.get(list).and_then(|end| self.rules.get(start..*end));
        rules.unwrap_or_default().iter().for_each(|rule| candidates.insert(*rule));
    }
}

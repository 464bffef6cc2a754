//! The least of many numbers that change one at a time.
//!
//! Owns a tree of the least over the places 0 to n - 1. The numbers say in their lowest bits which place they are of,
//! so that a node is one word and ties are settled. Words are compared as floating-point numbers, whose bits are in the same
//! order, because every processor finds the lesser of several such in one instruction. Invariant: each word above the
//! lowest level is the least of the group below it; the least of the highest words is looked for when it is asked for.

/// Bits of a word that are its place.
pub(crate) const PLACE_BITS: u32 = 15;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
/// Bits of a word that its user may set: what is above says that it is a number that can be compared, and none of the tiny
/// ones that take longer.
pub(crate) const WORD_BITS: u32 = 61;
const IS_NUMBER: u64 = 1 << WORD_BITS;
/// Words whose least is one word in the next level: a line of the cache.
const GROUP: usize = 8;
/// Words at most in the highest level: few servers have no level but this one.
const TOP: usize = 16;
/// More than each word.
const NOBODY: f64 = f64::INFINITY;

/// Words in pairs, as processors compare them: where they are so aligned, they need not be loaded before.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
struct Words<const PAIRS: usize>([[f64; 2]; PAIRS]);

impl<const PAIRS: usize> Words<PAIRS> {
    const NOBODY: Self = Self([[NOBODY; 2]; PAIRS]);

    /// Puts a word at its place, counted from a multiple of their number.
    #[inline(always)]
    fn put(&mut self, at: usize, word: f64) {
        self.0[at / 2 % PAIRS][at % 2] = word;
    }

    #[inline(always)]
    fn least(&self) -> f64 {
        let mut least = self.0[0];
        for pair in &self.0[1..] {
            least = [lesser(least[0], pair[0]), lesser(least[1], pair[1])];
        }
        lesser(least[0], least[1])
    }
}

#[derive(Debug)]
pub(crate) struct Tournament {
    /// From the places upwards; what is beyond the last word of a level is [`NOBODY`].
    levels: Vec<Vec<Words<{ GROUP / 2 }>>>,
    /// The least words of the groups of the highest level, or the words of the places, if they are few.
    top: Words<{ TOP / 2 }>,
    places_count: usize,
}

impl Default for Tournament {
    fn default() -> Self {
        Self { levels: Vec::new(), top: Words::NOBODY, places_count: 0 }
    }
}

impl Tournament {
    /// Starts over with so many words, which have their places in their lowest bits.
    pub(crate) fn fill(&mut self, places_count: usize, mut word: impl FnMut(usize) -> u64) {
        self.resize(places_count);
        self.update(|place| Some(word(place)));
    }

    /// Changes the words of those places for which there is another one.
    #[inline]
    pub(crate) fn update(&mut self, mut changed: impl FnMut(usize) -> Option<u64>) {
        let count = self.places_count;
        let Some((places, above)) = self.levels.split_first_mut() else {
            for place in 0..count {
                if let Some(word) = changed(place) {
                    self.top.put(place, number(word));
                }
            }
            return;
        };
        for (group, first) in places.iter_mut().zip((0..).step_by(GROUP)) {
            for place in first..count.min(first + GROUP) {
                if let Some(word) = changed(place) {
                    group.put(place, number(word));
                }
            }
        }
        let mut below = places;
        for level in above {
            for (at, group) in below.iter().enumerate() {
                level[at / GROUP].put(at, group.least());
            }
            below = level;
        }
        for (at, group) in below.iter().enumerate() {
            self.top.put(at, group.least());
        }
    }

    /// Makes the levels for so many places, with nobody there.
    fn resize(&mut self, places_count: usize) {
        let (mut count, mut depth) = (places_count, 0);
        while count > TOP {
            count = count.div_ceil(GROUP);
            if self.levels.len() == depth {
                self.levels.push(Vec::new());
            }
            self.levels[depth].clear();
            self.levels[depth].resize(count, Words::NOBODY);
            depth += 1;
        }
        self.levels.truncate(depth);
        self.top = Words::NOBODY;
        self.places_count = places_count;
    }

    /// The place with the least word.
    #[inline(always)]
    pub(crate) fn best(&self) -> usize {
        (self.top.least().to_bits() & PLACE_MASK) as usize
    }

    /// Changes the word of a place.
    #[inline(always)]
    pub(crate) fn set(&mut self, place: usize, word: u64) {
        let (mut at, mut word) = (place, number(word));
        for level in &mut self.levels {
            let Some(group) = level.get_mut(at / GROUP) else { return };
            group.put(at, word);
            word = group.least();
            at /= GROUP;
        }
        self.top.put(at, word);
    }
}

/// A word as what it is compared as.
#[inline(always)]
fn number(word: u64) -> f64 {
    f64::from_bits(word | IS_NUMBER)
}

/// As processors do it: [`f64::min`] asks about what is no number, too.
#[inline(always)]
fn lesser(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_found_after_any_changes() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        let mut tree = Tournament::default();
        for count in [1_u64, 2, 7, 16, 17, 100, 128, 129, 1_000, 1_025, 9_000, 3] {
            let word = |number: u64, place: u64| number << PLACE_BITS | place;
            let mut words: Vec<u64> = (0..count).map(|place| word(next() % 8, place)).collect();
            tree.fill(words.len(), |place| words[place]);
            for _ in 0..500 {
                let least = *words.iter().min().expect("at least one");
                assert_eq!(words[tree.best()], least);
                let place = usize::try_from(next() % count).expect("few");
                words[place] = word(next() % 8, place as u64);
                tree.set(place, words[place]);
                if place % 8 == 0 {
                    let changed: Vec<bool> = words.iter().map(|_| next() % 3 == 0).collect();
                    for (at, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
                        words[at] = word(next() % 8, at as u64);
                    }
                    tree.update(|at| changed[at].then_some(words[at]));
                }
            }
        }
    }
}

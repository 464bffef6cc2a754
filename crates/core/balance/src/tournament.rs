//! The least of many numbers that change one at a time.
//!
//! Owns a tree of the least over the places 0 to n - 1. The numbers say in their lowest bits which place they are of,
//! so that a node is one word and ties are settled. Invariant: each word above the lowest level is the least of the group
//! below it; the least of the highest words is looked for when it is asked for.

/// Bits of a word that are its place.
pub(crate) const PLACE_BITS: u32 = 15;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
/// Words whose least is one word in the next level. A group is one line of the cache.
const GROUP: usize = 8;
/// Words at most in the highest level, which is two levels of fours: few servers have no level but this one.
const TOP: usize = 16;

#[derive(Debug)]
pub(crate) struct Tournament {
    /// From the places upwards; what is beyond the last word of a level is [`u64::MAX`].
    levels: Vec<Vec<[u64; GROUP]>>,
    top: Top,
}

/// The least words of the groups of the highest level, or the words of the places, if they are few.
#[derive(Debug)]
struct Top {
    words: [[u64; 4]; 4],
    /// The least of each four.
    least: [u64; 4],
}

impl Top {
    const EMPTY: Self = Self { words: [[u64::MAX; 4]; 4], least: [u64::MAX; 4] };

    /// Changes a word, below [`TOP`].
    #[inline]
    fn set(&mut self, at: usize, word: u64) {
        let fours = (at / 4) % 4;
        let words = &mut self.words[fours];
        words[at % 4] = word;
        self.least[fours] = least(*words);
    }
}

impl Default for Tournament {
    fn default() -> Self {
        Self { levels: Vec::new(), top: Top::EMPTY }
    }
}

impl Tournament {
    /// Starts over with these words, which have their places in their lowest bits.
    pub(crate) fn fill(&mut self, words: impl ExactSizeIterator<Item = u64>) {
        let mut count = words.len();
        let mut depth = 0;
        while count > TOP {
            count = count.div_ceil(GROUP);
            if self.levels.len() == depth {
                self.levels.push(Vec::new());
            }
            self.levels[depth].clear();
            self.levels[depth].resize(count, [u64::MAX; GROUP]);
            depth += 1;
        }
        self.levels.truncate(depth);
        self.top = Top::EMPTY;
        for (place, word) in words.enumerate() {
            self.store(place, word);
        }
        for level in 1..=depth {
            for group in 0..self.levels[level - 1].len() {
                let least = least_of_group(&self.levels[level - 1][group]);
                match self.levels.get_mut(level) {
                    Some(above) => above[group / GROUP][group % GROUP] = least,
                    None => self.top.set(group, least),
                }
            }
        }
    }

    /// Puts a word at its place and changes nothing above it.
    fn store(&mut self, place: usize, word: u64) {
        match self.levels.first_mut() {
            Some(places) => places[place / GROUP][place % GROUP] = word,
            None => self.top.set(place, word),
        }
    }

    /// The place with the least word.
    #[inline]
    pub(crate) fn best(&self) -> usize {
        (least(self.top.least) & PLACE_MASK) as usize
    }

    /// Changes the word of a place.
    #[inline(always)]
    pub(crate) fn set(&mut self, place: usize, word: u64) {
        let (mut at, mut word) = (place, word);
        for level in &mut self.levels {
            let Some(group) = level.get_mut(at / GROUP) else { return };
            group[at % GROUP] = word;
            word = least_of_group(group);
            at /= GROUP;
        }
        self.top.set(at, word);
    }
}

#[inline]
fn least_of_group(words: &[u64; GROUP]) -> u64 {
    let [a, b, c, d, e, f, g, h] = *words;
    least([a, b, c, d]).min(least([e, f, g, h]))
}

#[inline]
fn least([a, b, c, d]: [u64; 4]) -> u64 {
    a.min(b).min(c.min(d))
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
            tree.fill(words.iter().copied());
            for _ in 0..500 {
                let least = *words.iter().min().expect("at least one");
                assert_eq!(words[tree.best()], least);
                let place = usize::try_from(next() % count).expect("few");
                words[place] = word(next() % 8, place as u64);
                tree.set(place, words[place]);
            }
        }
    }
}

//! The least of many numbers that change one at a time.
//!
//! Owns a binary tree of winners over the places 0 to n - 1. The numbers say in their lowest bits which place they are of,
//! so that a node is one word and ties are settled. Invariant: each node holds the lesser word of its two sides, so that the
//! root holds the least of all.

/// Bits of a word that are its place.
pub(crate) const PLACE_BITS: u32 = 15;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

/// A tree of winners: the root at 1, the children of node `i` at `2i` and `2i + 1`, the places behind the last inner node.
#[derive(Debug, Default)]
pub(crate) struct Tournament {
    nodes: Vec<u64>,
    /// Places, as many as a power of two; those beyond the last one have [`u64::MAX`].
    size: usize,
}

impl Tournament {
    /// Starts over with these words, which have their places in their lowest bits.
    pub(crate) fn fill(&mut self, words: impl ExactSizeIterator<Item = u64>) {
        self.size = words.len().next_power_of_two();
        self.nodes.clear();
        self.nodes.resize(self.size, u64::MAX);
        self.nodes.extend(words);
        self.nodes.resize(2 * self.size, u64::MAX);
        for node in (1..self.size).rev() {
            self.nodes[node] = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
        }
    }

    /// The place with the least word.
    #[inline]
    pub(crate) fn best(&self) -> usize {
        let word = self.nodes.get(1).copied().unwrap_or(u64::MAX);
        usize::try_from(word & PLACE_MASK).unwrap_or(usize::MAX)
    }

    #[inline]
    pub(crate) fn word(&self, place: usize) -> u64 {
        self.nodes.get(self.size + place).copied().unwrap_or(u64::MAX)
    }

    /// Changes the word of a place.
    #[inline(never)]
    pub(crate) fn set(&mut self, place: usize, word: u64) {
        let mut at = self.size + place;
        let nodes = self.nodes.as_mut_slice();
        let Some(node) = nodes.get_mut(at) else { return };
        *node = word;
        let mut winner = word;
        while at > 1 {
            let Some(sibling) = nodes.get(at ^ 1) else { return };
            winner = winner.min(*sibling);
            at /= 2;
            let Some(node) = nodes.get_mut(at) else { return };
            // Who won here before still wins above.
            if *node == winner {
                return;
            }
            *node = winner;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_least_after_any_changes() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state >> 33
        };
        for count in [1_u64, 2, 3, 7, 8, 9, 100] {
            let word = |number: u64, place: u64| number << PLACE_BITS | place;
            let mut words: Vec<u64> = (0..count).map(|place| word(next() % 8, place)).collect();
            let mut tree = Tournament::default();
            tree.fill(words.iter().copied());
            for _ in 0..500 {
                let least = *words.iter().min().expect("at least one");
                assert_eq!(words[tree.best()], least);
                let place = usize::try_from(next() % count).expect("few");
                words[place] = word(next() % 8, place as u64);
                tree.set(place, words[place]);
                assert_eq!(tree.word(place), words[place]);
            }
        }
    }
}

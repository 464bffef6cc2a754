//! The least of many numbers that change one at a time.
//!
//! Owns a binary tree of winners over the places 0 to n - 1. Invariant: each node holds the place with the
//! lesser key of its two sides, the lower place where keys are equal, so that the root holds the least of all.

/// A tree of winners.
#[derive(Debug, Default)]
pub(crate) struct Tournament {
    /// By place; places beyond the last one have [`u64::MAX`]. As many as a power of two, at least two.
    keys: Vec<u64>,
    /// By node, from 1: the children of node `i` are `2i` and `2i + 1`, and below the last nodes are the places.
    winners: Vec<u32>,
}

impl Tournament {
    /// Starts over with these keys.
    pub(crate) fn fill(&mut self, keys: impl Iterator<Item = u64>) {
        self.keys.clear();
        self.keys.extend(keys);
        let size = self.keys.len().next_power_of_two().max(2);
        self.keys.resize(size, u64::MAX);
        self.winners.clear();
        self.winners.resize(size, 0);
        for (place, winner) in (0_u32..).step_by(2).zip(&mut self.winners[size / 2..]) {
            let (left, right) = (place, place + 1);
            let right_wins = self.keys[right as usize] < self.keys[left as usize];
            *winner = if right_wins { right } else { left };
        }
        for node in (1..size / 2).rev() {
            self.winners[node] = self.better(self.winners[2 * node], self.winners[2 * node + 1]);
        }
    }

    /// The place with the least key; 0 if there are none.
    #[inline]
    pub(crate) fn best(&self) -> u32 {
        self.winners.get(1).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn key(&self, place: u32) -> u64 {
        self.keys[place as usize]
    }

    /// Changes one key.
    #[inline]
    pub(crate) fn set(&mut self, place: u32, key: u64) {
        self.keys[place as usize] = key;
        let mut winner = self.better(place & !1, place | 1);
        let mut node = (self.winners.len() + place as usize) / 2;
        loop {
            // Whoever wins here still, and did not change, wins above as before.
            if self.winners[node] == winner && winner != place {
                return;
            }
            self.winners[node] = winner;
            if node == 1 {
                return;
            }
            winner = self.better(winner, self.winners[node ^ 1]);
            node /= 2;
        }
    }

    #[inline]
    fn better(&self, one: u32, other: u32) -> u32 {
        let (key, other_key) = (self.keys[one as usize], self.keys[other as usize]);
        if key < other_key || (key == other_key && one < other) { one } else { other }
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
            let mut keys: Vec<u64> = (0..count).map(|_| next() % 8).collect();
            let mut tree = Tournament::default();
            tree.fill(keys.iter().copied());
            for _ in 0..500 {
                let least = keys.iter().min().expect("at least one");
                let first = keys.iter().position(|key| key == least).expect("it is there");
                assert_eq!(tree.best() as usize, first);
                let (place, key) = (next() % count, next() % 8);
                keys[usize::try_from(place).expect("few")] = key;
                tree.set(u32::try_from(place).expect("few"), key);
            }
        }
    }
}

//! The sum of all shares: a key belongs to the member in whose piece its hash lies.
//!
//! Owns the pieces and a guide to them; which of a key's places is good is the search's. Invariant: the pieces
//! follow each other without a gap, in the order of the members.

use super::{CANDIDATES_MAX, PROBES_MAX, Search, mix};
use crate::ask::Loads;
use crate::server::Member;

#[derive(Debug, Default)]
pub(super) struct Sum {
    /// Where the last piece ends.
    pub(super) total: u64,
    /// By place among the members: where its piece ends.
    ends: Vec<u64>,
    /// By the highest bits of a number: the first place that such a number may have. One more at the end.
    guide: Vec<u32>,
    /// How far a number is shifted to be a place in the guide.
    guide_shift: u32,
}

impl Sum {
    pub(super) fn rebuild(&mut self, members: &[Member]) {
        self.total = 0;
        self.ends.clear();
        for member in members {
            self.total += u64::from(member.share.0);
            self.ends.push(self.total);
        }
        // Twice as many as members: most of them are passed by one end or none.
        let bits = (2 * members.len().max(1)).next_power_of_two().ilog2();
        self.guide_shift = u64::BITS - bits;
        self.guide.clear();
        let mut place = 0;
        for step in 0..=1_u64 << bits {
            let point = (step * self.total) >> bits;
            while self.ends.get(place as usize).is_some_and(|end| *end <= point) {
                place += 1;
            }
            self.guide.push(place);
        }
    }

    /// The member in whose piece the key lies.
    #[inline]
    pub(super) fn first(&self, key: u64, members: &[Member]) -> Option<u32> {
        members.get(self.place(key)?).map(|member| member.server)
    }

    /// Tries one place of the key after the other.
    pub(super) fn find<L: Loads>(
        &self,
        key: u64,
        members: &[Member],
        search: &mut Search<'_, L>,
    ) -> Option<u32> {
        let mut number = key;
        for _ in 0..PROBES_MAX {
            let member = members.get(self.place(number)?)?;
            if search.takes(member.server) {
                return Some(member.server);
            }
            if search.candidates >= CANDIDATES_MAX {
                return None;
            }
            number = mix(number);
        }
        None
    }

    /// In whose piece a number lies.
    #[inline]
    fn place(&self, number: u64) -> Option<usize> {
        let point = ((number >> 32) * self.total) >> 32;
        let step = usize::try_from(number >> self.guide_shift).ok()?;
        let first = *self.guide.get(step)? as usize;
        if *self.ends.get(first)? > point {
            return Some(first);
        }
        let last = *self.guide.get(step + 1)? as usize;
        // Ends between two steps are few, unless shares differ a lot.
        let later = self.ends.get(first + 1..last)?;
        Some(first + 1 + later.partition_point(|end| *end <= point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Share;

    #[test]
    fn the_guide_leads_where_a_search_of_all_ends_leads() {
        for shares in [vec![1], vec![4096, 1, 1, 1, 1, 1, 1, 4096], vec![16; 100], vec![7, 4000, 3]]
        {
            let member = |share: &u16| Member { server: 0, share: Share(*share), reciprocal: 1 };
            let members: Vec<Member> = shares.iter().map(member).collect();
            let mut sum = Sum::default();
            sum.rebuild(&members);
            let mut number = 3;
            let edges = [0, u64::MAX, 1 << 63, (1 << 63) - 1];
            let numbers = edges.into_iter().chain((0..20_000).map(|_| {
                number = mix(number);
                number
            }));
            for number in numbers {
                let point = ((number >> 32) * sum.total) >> 32;
                let expected = sum.ends.partition_point(|end| *end <= point);
                assert_eq!(sum.place(number), Some(expected), "{number}");
            }
        }
    }
}

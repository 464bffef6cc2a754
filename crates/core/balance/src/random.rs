//! The best of a few servers drawn at random, as often as their weights say.
//!
//! Owns the drawing, by Vose's alias table: each draw is one look at it, however many servers there are. What is
//! best is the caller's. Invariant: a draw that is skipped is not taken while another server is not skipped.

use crate::ask::{Ask, Loads};
use crate::server::{Member, ServerId};

#[derive(Debug, Default)]
pub(crate) struct Draws {
    /// By place: up to which number, of 2^32, the place itself is drawn, and what is drawn otherwise.
    places: Vec<(u32, u32)>,
    /// Kept for its memory.
    spare: Vec<(u32, u64)>,
}

impl Draws {
    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        const WHOLE: u64 = 1 << 32;
        let count = members.len() as u64;
        let sum: u64 = members.iter().map(|member| u64::from(member.share.0)).sum();
        self.places.clear();
        self.places.extend((0..).zip(members).map(|(place, _)| (u32::MAX, place)));
        // What each has of the places, in 2^32 of one; those with less than one are filled up by those with more.
        let parts = &mut self.spare;
        parts.clear();
        let part = |member: &Member| u64::from(member.share.0) * count * WHOLE / sum;
        parts.extend((0..).zip(members).map(|(place, member)| (place, part(member))));
        parts.sort_unstable_by_key(|(_, part)| *part);
        let (mut small, mut large) = (0, parts.partition_point(|(_, part)| *part < WHOLE));
        let smalls = large;
        let mut pending: Option<(u32, u64)> = None;
        while large < parts.len() {
            let (place, part) = match pending.take() {
                Some(pending) => pending,
                None if small < smalls => {
                    small += 1;
                    parts[small - 1]
                }
                None => break,
            };
            let donor = &mut parts[large];
            self.places[place as usize] = (u32::try_from(part).unwrap_or(u32::MAX), donor.0);
            donor.1 -= WHOLE - part;
            if donor.1 < WHOLE {
                pending = Some(*donor);
                large += 1;
            }
        }
    }

    /// One place, for a number that is spread evenly.
    #[inline]
    pub(crate) fn draw(&self, number: u64) -> u32 {
        let place = ((number >> 32) * self.places.len() as u64) >> 32;
        let Some(&(own, other)) = usize::try_from(place).ok().and_then(|at| self.places.get(at))
        else {
            return 0;
        };
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
        let coin = number as u32;
        let place = place as u32;
        if coin < own { place } else { other }
    }

    /// The one with the least cost of `draws` that differ, as far as there are so many. A cost is asked with the
    /// requests in flight. None if all are skipped.
    #[inline(never)]
    pub(crate) fn best<L: Loads, C: PartialOrd>(
        &self,
        draws: u8,
        random: u64,
        members: &[Member],
        ask: &Ask<'_, L>,
        cost: impl Fn(&Member, u32) -> C,
    ) -> Option<u32> {
        let first = members.get(self.draw(random) as usize)?;
        let (mut last, mut number) = (first.server, random);
        let mut best = (cost(first, ask.loads.in_flight(ServerId(first.server))), first.server);
        let mut left = draws;
        while left > 1 {
            left -= 1;
            number = another(number);
            let place = self.draw(number) as usize;
            let mut member = members.get(place)?;
            if member.server == last {
                member = neighbour(members, place)?;
            }
            last = member.server;
            let cost = cost(member, ask.loads.in_flight(ServerId(last)));
            if cost < best.0 {
                best = (cost, last);
            }
        }
        // Who is full is seldom the best of them.
        if ask.skips(best.1) {
            return best_of_all(number, members, ask, cost);
        }
        Some(best.1)
    }
}

/// The number of the next draw of a pick: Knuth's multiplier, and an odd number so that zero is not the last. The first
/// one was drawn well; this one's upper half, which says the place, depends on all of its bits.
#[inline]
pub(crate) const fn another(number: u64) -> u64 {
    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(0x1405_7b7f)
}

/// Who is taken instead of one that was drawn twice.
#[cold]
fn neighbour(members: &[Member], place: usize) -> Option<&Member> {
    members.get(place + 1).or(members.first())
}

/// The one with the least cost of all that are not skipped, by a look at each from a random one on.
#[cold]
fn best_of_all<L: Loads, C: PartialOrd>(
    random: u64,
    members: &[Member],
    ask: &Ask<'_, L>,
    cost: impl Fn(&Member, u32) -> C,
) -> Option<u32> {
    let start = usize::try_from(random >> 32).unwrap_or(0) % members.len().max(1);
    let order = members[start..].iter().chain(&members[..start]);
    let others = order.filter(|member| !ask.skips(member.server));
    let mut best: Option<(C, u32)> = None;
    for member in others {
        let cost = cost(member, ask.loads.in_flight(ServerId(member.server)));
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, member.server));
        }
    }
    best.map(|(_, server)| server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::mix;
    use crate::server::Share;

    #[test]
    fn servers_are_drawn_as_often_as_their_shares_say() {
        for shares in [vec![1], vec![1, 1, 1], vec![16, 32, 4096], vec![5, 1, 9, 1, 30, 4]] {
            let member = |(server, share): (u32, &u16)| Member {
                server,
                share: Share(*share),
                reciprocal: 1,
            };
            let members: Vec<Member> = (0..).zip(&shares).map(member).collect();
            let mut draws = Draws::default();
            draws.rebuild(&members);
            let mut counts = vec![0_u32; shares.len()];
            let mut number = 7;
            for _ in 0..200_000 {
                number = mix(number);
                counts[draws.draw(number) as usize] += 1;
            }
            let sum: u32 = shares.iter().map(|share| u32::from(*share)).sum();
            for (count, share) in counts.iter().zip(&shares) {
                let expected = 200_000.0 * f64::from(*share) / f64::from(sum);
                let off = (f64::from(*count) - expected).abs();
                assert!(off < 4.5 * expected.sqrt() + 1.0, "{count} instead of {expected}");
            }
        }
    }

    /// The statistic of chi squared for counts in rows and columns that do not depend on each other, in standard deviations
    /// above its mean.
    fn dependence(counts: &[u32], columns: usize) -> f64 {
        let sum = |counts: &mut dyn Iterator<Item = &u32>| f64::from(counts.sum::<u32>());
        let rows: Vec<f64> = counts.chunks(columns).map(|row| sum(&mut row.iter())).collect();
        let column = |at| sum(&mut counts.iter().skip(at).step_by(columns));
        let by_column: Vec<f64> = (0..columns).map(column).collect();
        let all: f64 = rows.iter().sum();
        let expected = |at: usize| rows[at / columns] * by_column[at % columns] / all;
        let off =
            |(at, count): (usize, &u32)| (f64::from(*count) - expected(at)).powi(2) / expected(at);
        let statistic: f64 = counts.iter().enumerate().map(off).sum();
        let freedom = ((rows.len() - 1) * (columns - 1)) as f64;
        (statistic - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn what_is_drawn_next_does_not_depend_on_what_was_drawn() {
        const CELLS: usize = 25;
        for (count, spread) in
            [(25, 1), (25, 40), (1_000, 1), (1_000, 40), (10_000, 1), (10_000, 9)]
        {
            let share = |server| Share(100 + 100 * u16::try_from(server % spread).unwrap_or(0));
            let member = |server| Member { server, share: share(server), reciprocal: 1 };
            let members: Vec<Member> = (0..count).map(member).collect();
            let mut draws = Draws::default();
            draws.rebuild(&members);
            let cell = |place: u32| place as usize * CELLS / members.len();
            let (mut next, mut over_next) = (vec![0; CELLS * CELLS], vec![0; CELLS * CELLS]);
            let (mut low, mut seed) = (vec![0; CELLS * CELLS], 3_u64);
            for _ in 0..300_000 {
                // As SplitMix64 draws for each pick.
                seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let first = mix(seed);
                let (second, third) = (another(first), another(another(first)));
                let [one, two, three] = [first, second, third].map(|number| draws.draw(number));
                next[cell(one) * CELLS + cell(two)] += 1;
                over_next[cell(one) * CELLS + cell(three)] += 1;
                // The place within a cell, where the lower bits of a number show.
                low[(one as usize % CELLS) * CELLS + two as usize % CELLS] += 1;
            }
            for counts in [&next, &over_next, &low] {
                let off = dependence(counts, CELLS);
                assert!(off.abs() < 4.5, "{off} of {count} servers, spread {spread}");
            }
        }
    }
}

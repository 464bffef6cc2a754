//! A ring of points: a key belongs to the first usable point at or behind its hash.
//!
//! Owns the points and the walk. Invariant: the points are sorted, and those of one server are numbered so that a
//! server that keeps a part of its keys keeps its first points.

use super::{CANDIDATES_MAX, Search, mix};
use crate::ask::Loads;
use crate::server::ServerSettings;

/// Points of all servers together, about: 8 bytes each.
const POINTS_MAX: u64 = 1 << 17;
/// Most points of a server at the least weight: its share is off by 4 % of itself then, in the mean. With 1,000
/// servers there are 131 each, and 9 %.
const POINTS_PER_SERVER_MAX: u64 = 512;

/// A point: 32 bits of place, 15 of server, 17 of the point's number among those of its server.
#[derive(Debug)]
pub(crate) struct Ring {
    points: Vec<u64>,
    /// By the highest bits of a hash: the first point at or behind all such hashes.
    guide: Vec<u32>,
    /// How far a hash is shifted to be a place in the guide.
    guide_shift: u32,
    /// By server.
    counts: Vec<u32>,
}

const RANK_BITS: u32 = 17;
const RANK_MASK: u64 = (1 << RANK_BITS) - 1;
const SERVER_MASK: u64 = (1 << (32 - RANK_BITS)) - 1;

impl Ring {
    pub(crate) fn new(servers: &[ServerSettings]) -> Self {
        let weights = || servers.iter().map(|server| u64::from(server.weight.value().max(1)));
        let divisor = weights().fold(0, gcd).max(1);
        let sum: u64 = weights().sum::<u64>() / divisor;
        let greatest = weights().max().unwrap_or(1) / divisor;
        let per_weight =
            (POINTS_MAX / sum.max(1)).min(POINTS_PER_SERVER_MAX).min(RANK_MASK / greatest).max(1);
        let counts: Vec<u64> = weights().map(|weight| weight / divisor * per_weight).collect();
        let mut points = Vec::new();
        for (index, (server, count)) in (0_u64..).zip(servers.iter().zip(&counts)) {
            points.extend((0..*count).map(|rank| {
                let place = mix(server.identity ^ mix(rank)) >> 32;
                place << 32 | index << RANK_BITS | rank
            }));
        }
        points.sort_unstable();
        let counts = counts.iter().map(|count| u32::try_from(*count).unwrap_or(u32::MAX)).collect();
        // As many steps as points, about: a search begins a point or two before its end.
        let bits = points.len().next_power_of_two().ilog2().max(1);
        let guide_shift = u64::BITS - bits;
        let first_at = |step: u64| points.partition_point(|point| *point < step << guide_shift);
        let guide = (0..1 << bits).map(|step| u32::try_from(first_at(step)).unwrap_or(u32::MAX));
        Self { guide: guide.collect(), guide_shift, points, counts }
    }

    /// Puts the points that a server keeps in the place of the part of its keys that it keeps, of 2^16: at least one
    /// if it keeps any.
    pub(super) fn keep(&self, kept: &mut [u32]) {
        for (kept, count) in kept.iter_mut().zip(&self.counts) {
            let points = (u64::from(*count) * u64::from(*kept)).div_ceil(65_536);
            *kept = u32::try_from(points).unwrap_or(u32::MAX);
        }
    }

    /// The points that are left, if they are less than a quarter: the walk past the others would be long.
    pub(super) fn collect_few(&self, kept: &[u32], few: &mut Vec<u64>) {
        few.clear();
        let left: u64 = kept.iter().map(|kept| u64::from(*kept)).sum();
        if 4 * left < self.points.len() as u64 {
            few.extend(self.points.iter().filter(|point| is_kept(**point, kept)));
        }
    }

    /// The server of the first point at or behind the key's place that is kept; none beyond the last point.
    #[inline]
    pub(super) fn first(&self, key: u64, few: &[u64], kept: &[u32]) -> Option<u32> {
        let (points, start) = self.start(key, few);
        let behind = points.get(start..)?.iter().find(|point| is_kept(**point, kept));
        behind.map(|point| server_of(*point))
    }

    /// Walks from the key's place on, once around, over the few points or, if there are none, all.
    pub(super) fn find<L: Loads>(
        &self,
        key: u64,
        few: &[u64],
        kept: &[u32],
        search: &mut Search<'_, L>,
    ) -> Option<u32> {
        let (points, start) = self.start(key, few);
        for point in points[start..].iter().chain(&points[..start]) {
            if !is_kept(*point, kept) {
                continue;
            }
            let server = server_of(*point);
            if search.takes(server) {
                return Some(server);
            }
            if search.candidates >= CANDIDATES_MAX {
                return None;
            }
        }
        None
    }

    /// The few points or, if there are none, all, and the first of them at or behind the key's place: their number if
    /// there is none.
    #[inline]
    fn start<'a>(&'a self, key: u64, few: &'a [u64]) -> (&'a [u64], usize) {
        let place = key >> 32 << 32;
        if !few.is_empty() {
            return (few, few.partition_point(|point| *point < place));
        }
        let step = usize::try_from(key >> self.guide_shift).unwrap_or(usize::MAX);
        let mut at = self.guide.get(step).map_or(0, |first| *first as usize);
        while self.points.get(at).is_some_and(|point| *point < place) {
            at += 1;
        }
        (&self.points, at)
    }
}

/// Whether the point is one of those that its server keeps.
#[inline]
fn is_kept(point: u64, kept: &[u32]) -> bool {
    kept.get(server_of(point) as usize).is_some_and(|kept| point & RANK_MASK < u64::from(*kept))
}

#[inline]
fn server_of(point: u64) -> u32 {
    u32::try_from(point >> RANK_BITS & SERVER_MASK).unwrap_or(0)
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

//! A ring of points: a key belongs to the first usable point at or behind its hash.
//!
//! Owns the points and the walk. Invariant: the points are sorted, and those of one server are numbered so that a
//! server that keeps a part of its keys keeps its first points.

use super::{CANDIDATES_MAX, Search, mix};
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
        Self { points, counts }
    }

    pub(crate) fn points(&self) -> &[u64] {
        &self.points
    }

    /// The points that are left, if they are less than a quarter: the walk past the others would be long.
    pub(super) fn collect_few(&self, parts: &[u32], few: &mut Vec<u64>) {
        few.clear();
        let left =
            self.counts.iter().zip(parts).map(|(count, part)| u64::from(kept(*count, *part)));
        if 4 * left.sum::<u64>() < self.points.len() as u64 {
            few.extend(self.points.iter().filter(|point| self.is_kept(**point, parts)));
        }
    }

    /// Walks from the key's place on, once around.
    #[inline]
    pub(super) fn find(
        &self,
        key: u64,
        points: &[u64],
        parts: &[u32],
        search: &mut Search<'_>,
    ) -> Option<u32> {
        let place = key >> 32 << 32;
        let start = points.partition_point(|point| *point < place);
        for point in points[start..].iter().chain(&points[..start]) {
            if !self.is_kept(*point, parts) {
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

    #[inline]
    fn is_kept(&self, point: u64, parts: &[u32]) -> bool {
        let server = server_of(point) as usize;
        point & RANK_MASK < u64::from(kept(self.counts[server], parts[server]))
    }
}

/// Of so many points, those of a server that keeps a part of its keys: at least one if it keeps any.
#[inline]
fn kept(count: u32, part: u32) -> u32 {
    let kept = (u64::from(count) * u64::from(part)).div_ceil(65_536);
    u32::try_from(kept).unwrap_or(u32::MAX)
}

#[inline]
fn server_of(point: u64) -> u32 {
    u32::try_from(point >> RANK_BITS & SERVER_MASK).unwrap_or(0)
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

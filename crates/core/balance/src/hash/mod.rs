//! The same server for the same key.
//!
//! Owns the search for a key's server and the bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018); the tables
//! are in `ring` and `maglev`. They are made once, of all servers of the configuration at their configured weights,
//! and never change: a server that is down is passed over, and one with less than its configured weight is passed
//! over for a part of its keys, always the same part. So no change of a server's state rebuilds a table, and nothing
//! moves but the keys of the server that changed.
//!
//! Invariant: the choice for a key depends on the key, the names and weights of the servers and which of them are
//! usable; with a bound also on loads. No seed is drawn.

mod maglev;
mod ring;

pub(crate) use maglev::Maglev;
pub(crate) use ring::Ring;

use crate::ask::{Ask, Skips};
use crate::server::{Member, ServerId, ServerSettings, Share};
use crate::settings::{BalanceFactor, Plan, Table};

/// Servers that are asked for their load before the least loaded of them is taken.
const CANDIDATES_MAX: u32 = 64;
/// Places of a key that are tried before its server is found by the sum of weights: with a quarter of the servers
/// up, one key in a hundred million gets there.
const PROBES_MAX: u32 = 64;

/// An even spread of numbers: the finalizer of `SplitMix64`.
#[inline]
pub(crate) const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[derive(Debug)]
pub(crate) struct Hash {
    table: Table,
    factor: Option<BalanceFactor>,
    /// By server: its share at present, zero if it is not a member.
    shares: Vec<u16>,
    /// By server: the weight that the table was made with, in sixteenths, at least one weight.
    table_shares: Vec<u16>,
    /// By server: the part of its keys that it keeps, of 2^16.
    parts: Vec<u32>,
    /// By place among the members: where its piece of the sum of shares ends.
    ends: Vec<u64>,
    /// The points of the members alone, while they are few; otherwise empty.
    few_points: Vec<u64>,
}

impl Hash {
    pub(crate) fn new(plan: &Plan, factor: Option<BalanceFactor>) -> Self {
        let count = plan.servers.len();
        Self {
            table: plan.table.clone(),
            factor,
            shares: vec![0; count],
            table_shares: plan.servers.iter().map(table_share).collect(),
            parts: vec![0; count],
            ends: Vec::with_capacity(count),
            few_points: Vec::new(),
        }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        self.shares.fill(0);
        self.parts.fill(0);
        self.ends.clear();
        let mut sum = 0;
        for member in members {
            self.shares[member.server as usize] = member.share.0;
            sum += u64::from(member.share.0);
            self.ends.push(sum);
        }
        // A weight above the configured one cannot keep more keys than the table gives it: the others keep less.
        let ratio = |member: &Member| {
            let (share, of) = (member.share.0, self.table_shares[member.server as usize]);
            u64::from(share) * 65_536 / u64::from(of)
        };
        let greatest = members.iter().map(ratio).max().unwrap_or(0).max(65_536);
        for member in members {
            let part = (ratio(member) * 65_536).div_ceil(greatest);
            self.parts[member.server as usize] = u32::try_from(part).unwrap_or(65_536);
        }
        if let Table::Ring(ring) = &self.table {
            ring.collect_few(&self.parts, &mut self.few_points);
        }
    }

    /// The key's server; with `ask.avoid`, the next one for it. None if all are avoided.
    #[inline(never)]
    pub(crate) fn pick(
        &self,
        key: u64,
        members: &[Member],
        ask: &Ask<'_>,
        avoid: &[ServerId],
    ) -> Option<u32> {
        let bound = self.factor.map(|factor| Bound {
            // Of one share, in hundredths: the mean with this request, times the factor.
            numerator: u64::from(factor.percent()) * (u64::from(ask.loads.total()) + 1),
            denominator: 100 * self.ends.last().copied().unwrap_or(1).max(1),
        });
        let skips = Skips { avoid, loads: ask.loads };
        let mut search = Search { shares: &self.shares, skips, bound, candidates: 0, least: None };
        let found = match &self.table {
            Table::Ring(ring) if self.few_points.is_empty() => {
                ring.find(key, ring.points(), &self.parts, &mut search)
            }
            Table::Ring(ring) => ring.find(key, &self.few_points, &self.parts, &mut search),
            Table::Maglev(maglev) => maglev.find(key, &self.parts, &mut search),
            Table::None => None,
        };
        if found.is_some() {
            return found;
        }
        if search.candidates < CANDIDATES_MAX {
            let found = self.find_in_sum(key, members, &mut search);
            if found.is_some() {
                return found;
            }
        }
        // Every one that was looked at was above the bound, or avoided.
        search.least.map(|(_, server)| server).or_else(|| {
            let others = members.iter().map(|member| member.server);
            others.into_iter().find(|server| !skips.avoids(*server))
        })
    }

    /// By the sum of the shares, at one place of the key after the other.
    fn find_in_sum(&self, key: u64, members: &[Member], search: &mut Search<'_>) -> Option<u32> {
        let sum = *self.ends.last()?;
        let mut number = key;
        for _ in 0..PROBES_MAX {
            let point = ((number >> 32) * sum) >> 32;
            let member = members.get(self.ends.partition_point(|end| *end <= point))?;
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
}

/// The share that a server has in a table: one weight for those that are configured to have none, which may be
/// given one while the program runs.
fn table_share(server: &ServerSettings) -> u16 {
    server.weight.value().max(1) * Share::PER_WEIGHT
}

/// The most that one share may be loaded.
#[derive(Clone, Copy)]
struct Bound {
    numerator: u64,
    denominator: u64,
}

/// What is looked for at the places where a key leads.
struct Search<'a> {
    shares: &'a [u16],
    skips: Skips<'a>,
    bound: Option<Bound>,
    /// Members that were looked at and not taken.
    candidates: u32,
    /// The least loaded of those that were above the bound.
    least: Option<(u64, u32)>,
}

impl Search<'_> {
    /// Whether this member is the one.
    #[inline]
    fn takes(&mut self, server: u32) -> bool {
        self.candidates += 1;
        if self.skips.avoids(server) {
            return false;
        }
        let Some(Bound { numerator, denominator }) = self.bound else { return true };
        let share = u64::from(self.shares[server as usize]).max(1);
        let load = u64::from(self.skips.loads.in_flight(ServerId(server)));
        if load < (numerator * share).div_ceil(denominator) {
            return true;
        }
        let relative = load * 65_536 / share;
        if self.least.is_none_or(|(least, _)| relative < least) {
            self.least = Some((relative, server));
        }
        false
    }
}

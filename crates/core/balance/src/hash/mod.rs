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
mod sum;

pub(crate) use maglev::Maglev;
pub(crate) use ring::Ring;
use sum::Sum;

use crate::ask::{Ask, Loads};
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
    /// By server: what it keeps of what it has in the table: of 2^16 of its keys, or, in a ring, its points.
    kept: Vec<u32>,
    sum: Sum,
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
            kept: vec![0; count],
            sum: Sum::default(),
            few_points: Vec::new(),
        }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        self.shares.fill(0);
        self.kept.fill(0);
        for member in members {
            self.shares[member.server as usize] = member.share.0;
        }
        self.sum.rebuild(members);
        // A weight above the configured one cannot keep more keys than the table gives it: the others keep less.
        let ratio = |member: &Member| {
            let (share, of) = (member.share.0, self.table_shares[member.server as usize]);
            u64::from(share) * 65_536 / u64::from(of)
        };
        let greatest = members.iter().map(ratio).max().unwrap_or(0).max(65_536);
        for member in members {
            let part = (ratio(member) * 65_536).div_ceil(greatest);
            self.kept[member.server as usize] = u32::try_from(part).unwrap_or(65_536);
        }
        if let Table::Ring(ring) = &self.table {
            ring.keep(&mut self.kept);
            ring.collect_few(&self.kept, &mut self.few_points);
        }
    }

    /// The key's server; with `ask.avoid`, the next one for it. None if all are avoided.
    #[inline(never)]
    pub(crate) fn pick<L: Loads>(
        &self,
        key: u64,
        members: &[Member],
        ask: &Ask<'_, L>,
    ) -> Option<u32> {
        // Where a key leads first is where it stays in nearly every pick; what a search keeps is not needed then.
        let first = match &self.table {
            Table::Ring(ring) => ring.first(key, &self.few_points, &self.kept),
            Table::Maglev(maglev) => maglev.first(key, &self.kept),
            Table::None => self.sum.first(key, members),
        };
        match first {
            Some(server) if !ask.avoids(server) && self.has_room(server, ask) => Some(server),
            _ => self.search(key, members, ask),
        }
    }

    /// Whether the server is below the bound, if there is one.
    #[inline]
    fn has_room<L: Loads>(&self, server: u32, ask: &Ask<'_, L>) -> bool {
        let Some(bound) = self.bound(ask) else { return true };
        let share = self.shares.get(server as usize).copied().unwrap_or(1);
        bound.allows(ask.loads.in_flight(ServerId(server)), share)
    }

    #[inline]
    fn bound<L: Loads>(&self, ask: &Ask<'_, L>) -> Option<Bound> {
        self.factor.map(|factor| Bound {
            // Of one share, in hundredths: the mean with this request, times the factor.
            numerator: u64::from(factor.percent()) * (u64::from(ask.loads.total()) + 1),
            denominator: 100 * self.sum.total,
        })
    }

    /// Tries one place of the key after the other, from the first one on.
    #[inline(never)]
    fn search<L: Loads>(&self, key: u64, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        let bound = self.bound(ask);
        let mut search = Search { shares: &self.shares, ask, bound, candidates: 0, least: None };
        let found = match &self.table {
            Table::Ring(ring) => ring.find(key, &self.few_points, &self.kept, &mut search),
            Table::Maglev(maglev) => maglev.find(key, &self.kept, &mut search),
            Table::None => self.sum.find(key, members, &mut search),
        };
        match found {
            Some(server) => Some(server),
            None => self.find_other(key, members, search),
        }
    }

    /// A server of a key whose places have led to none.
    #[cold]
    fn find_other<L: Loads>(
        &self,
        key: u64,
        members: &[Member],
        mut search: Search<'_, L>,
    ) -> Option<u32> {
        if search.candidates < CANDIDATES_MAX && !matches!(self.table, Table::None) {
            let found = self.sum.find(key, members, &mut search);
            if found.is_some() {
                return found;
            }
        }
        // Every one that was looked at was above the bound, or avoided.
        search.least.map(|(_, server)| server).or_else(|| {
            let others = members.iter().map(|member| member.server);
            others.into_iter().find(|server| !search.ask.avoids(*server))
        })
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

impl Bound {
    /// Whether a server of this share may have a request more.
    #[inline]
    fn allows(&self, in_flight: u32, share: u16) -> bool {
        // Its load is below the bound times its share. A numerator has 46 bits, a share 12.
        u64::from(in_flight).saturating_mul(self.denominator)
            < self.numerator * u64::from(share.max(1))
    }
}

/// What is looked for at the places where a key leads.
struct Search<'a, L: Loads> {
    shares: &'a [u16],
    ask: &'a Ask<'a, L>,
    bound: Option<Bound>,
    /// Members that were looked at and not taken.
    candidates: u32,
    /// The least loaded of those that were above the bound.
    least: Option<(u64, u32)>,
}

impl<L: Loads> Search<'_, L> {
    /// Whether this member is the one.
    #[inline]
    fn takes(&mut self, server: u32) -> bool {
        self.candidates += 1;
        if self.ask.avoids(server) {
            return false;
        }
        let Some(bound) = &self.bound else { return true };
        let share = self.shares[server as usize];
        let in_flight = self.ask.loads.in_flight(ServerId(server));
        if bound.allows(in_flight, share) {
            return true;
        }
        let (load, share) = (u64::from(in_flight), u64::from(share.max(1)));
        let relative = load * 65_536 / share;
        if self.least.is_none_or(|(least, _)| relative < least) {
            self.least = Some((relative, server));
        }
        false
    }
}

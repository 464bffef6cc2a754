//! The fewest requests in flight for the weight, from all shards.
//!
//! Owns a tree of what each server's load was when it was last looked at, and the turns among equals. Other
//! shards change loads without telling, so the tree is a memory: the server on top is looked at again before it
//! is taken, and at each pick some others in rotation are, too. Loads that only grew are therefore exact: a
//! memory is never above the truth, and the top has been checked. A load that fell on this shard is noted at
//! once ([`LeastConn::refresh`]), on another one after at most `members / REFRESHED` picks.
//!
//! Invariant: the tree has a key for each member, and a turn is never more than one stride behind the last taken.

use crate::ask::{Loads, Skips};
use crate::server::{Member, ServerId, ShardId};
use crate::tournament::Tournament;

/// Corrections of the top in one pick. One shard alone needs none; a pick of each other shard makes one.
const CORRECTIONS_MAX: usize = 32;
/// What looking at all servers may cost, spread over the picks in between.
const LOOKS_PER_PICK: usize = 4;
/// Servers that are looked at in each pick besides the top, where there are more than [`FEW`].
const REFRESHED: usize = 2;
/// With so few, one is enough.
const FEW: usize = 16;
/// Beyond this many requests at one server, more do not count: the load has 32 bits of a key.
const IN_FLIGHT_MAX: u32 = 65_535;
/// Turns start over before they leave their 32 bits.
const TURN_MAX: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct LeastConn {
    tree: Tournament,
    /// By server: when its turn is among equally loaded ones. Each turn lies the reciprocal of the share later.
    turns: Vec<u32>,
    /// The turn taken last.
    latest: u32,
    /// By server: its place among the members; those that are none have [`u32::MAX`].
    places: Vec<u32>,
    /// Who is looked at next.
    cursor: usize,
    /// Since all were looked at.
    picks_since_all: usize,
}

impl LeastConn {
    /// Shards start the turns at different servers.
    pub(crate) fn new(servers_count: usize, shard: ShardId, shards_count: u16) -> Self {
        let start = usize::from(shard.0) * servers_count / usize::from(shards_count);
        let order =
            (0..servers_count).map(|server| (server + servers_count - start) % servers_count);
        Self {
            tree: Tournament::default(),
            turns: order.map(|turn| u32::try_from(turn).unwrap_or(u32::MAX)).collect(),
            latest: 0,
            places: vec![u32::MAX; servers_count],
            cursor: 0,
            picks_since_all: 0,
        }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member], loads: &dyn Loads) {
        self.places.fill(u32::MAX);
        for (place, member) in (0..).zip(members) {
            self.places[member.server as usize] = place;
        }
        self.look_at_all(members, loads);
    }

    #[inline]
    pub(crate) fn pick(&mut self, members: &[Member], skips: &Skips<'_>) -> Option<u32> {
        if members.is_empty() {
            return None;
        }
        let refreshed = if members.len() > FEW { REFRESHED } else { 1 };
        for _ in 0..refreshed {
            self.cursor = if self.cursor + 1 < members.len() { self.cursor + 1 } else { 0 };
            self.look_at(members[self.cursor], skips.loads);
        }
        let mut member = members[self.tree.best() as usize];
        if self.look_at(member, skips.loads) {
            member = self.correct_top(members, member, skips.loads);
        }
        if skips.skips(member.server) {
            member = self.best_other(members, skips)?;
        }
        self.picks_since_all += 1;
        self.take(member, members, skips.loads);
        Some(member.server)
    }

    /// Looks at one top after the other until one is as it was remembered. A shard that slept while others picked finds
    /// many that are not: it looks at all then, but not so often that it costs more than [`LOOKS_PER_PICK`], and
    /// otherwise takes the best of those that it looked at.
    fn correct_top(&mut self, members: &[Member], looked: Member, loads: &dyn Loads) -> Member {
        let key = |tree: &Tournament, places: &[u32], member: Member| {
            tree.key(places[member.server as usize])
        };
        let mut best = looked;
        for _ in 0..CORRECTIONS_MAX {
            let top = members[self.tree.best() as usize];
            if !self.look_at(top, loads) {
                return top;
            }
            if key(&self.tree, &self.places, top) < key(&self.tree, &self.places, best) {
                best = top;
            }
        }
        if self.picks_since_all * LOOKS_PER_PICK < members.len() {
            return best;
        }
        self.look_at_all(members, loads);
        members[self.tree.best() as usize]
    }

    /// Looks at a server whose load is known to have changed.
    #[inline]
    pub(crate) fn refresh(&mut self, server: u32, members: &[Member], loads: &dyn Loads) {
        let place = self.places.get(server as usize);
        if let Some(member) = place.and_then(|place| members.get(*place as usize)) {
            self.look_at(*member, loads);
        }
    }

    /// Corrects what is remembered of one; whether there was anything to correct.
    #[inline]
    fn look_at(&mut self, member: Member, loads: &dyn Loads) -> bool {
        let key = self.key(member, loads.in_flight(ServerId(member.server)));
        let place = self.places[member.server as usize];
        let changed = self.tree.key(place) != key;
        if changed {
            self.tree.set(place, key);
        }
        changed
    }

    #[inline]
    fn key(&self, member: Member, in_flight: u32) -> u64 {
        let load = u64::from(in_flight.min(IN_FLIGHT_MAX)) * u64::from(member.reciprocal);
        load << 32 | u64::from(self.turns[member.server as usize])
    }

    fn look_at_all(&mut self, members: &[Member], loads: &dyn Loads) {
        let mut tree = std::mem::take(&mut self.tree);
        tree.fill(
            members
                .iter()
                .map(|member| self.key(*member, loads.in_flight(ServerId(member.server)))),
        );
        self.tree = tree;
        self.picks_since_all = 0;
    }

    /// Ends the member's turn. Who was busy for long has one turn to make good, not all that it missed.
    #[inline]
    fn take(&mut self, member: Member, members: &[Member], loads: &dyn Loads) {
        let turn = &mut self.turns[member.server as usize];
        self.latest = self.latest.max(*turn);
        *turn = self.latest.saturating_add(member.reciprocal);
        if self.latest > TURN_MAX {
            return self.start_turns_over(members, loads);
        }
        let place = self.places[member.server as usize];
        let load = (self.tree.key(place) >> 32) + u64::from(member.reciprocal);
        self.tree.set(place, load << 32 | u64::from(self.turns[member.server as usize]));
    }

    #[cold]
    fn start_turns_over(&mut self, members: &[Member], loads: &dyn Loads) {
        for turn in &mut self.turns {
            *turn = turn.saturating_sub(self.latest);
        }
        self.latest = 0;
        self.look_at_all(members, loads);
    }

    /// The best that is not skipped, by a look at each.
    #[cold]
    fn best_other(&mut self, members: &[Member], skips: &Skips<'_>) -> Option<Member> {
        self.look_at_all(members, skips.loads);
        let others = (0_u32..).zip(members).filter(|(_, member)| !skips.skips(member.server));
        others.min_by_key(|(place, _)| self.tree.key(*place)).map(|(_, member)| *member)
    }
}

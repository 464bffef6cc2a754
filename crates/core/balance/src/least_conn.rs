//! The fewest requests in flight for the weight, from all shards.
//!
//! Owns a tree of what each server's load was when it was last looked at, and the turns among equals. Other
//! shards change loads without telling, so the tree is a memory: the server on top is looked at again before it
//! is taken, and at each pick some others in rotation are, too. Loads that only grew are therefore exact: a
//! memory is never above the truth, and the top has been checked. A load that fell on this shard is noted at
//! once ([`LeastConn::refresh`]), on another one after at most as many picks as there
//! are members, or half as many if they are more than [`FEW`].
//!
//! Invariant: the tree has a word for each member, and a turn is never more than one stride behind the last taken.

use crate::ask::{Loads, Skips};
use crate::server::{Member, ServerId, ShardId};
use crate::tournament::{PLACE_BITS, Tournament};

/// Corrections of the top in one pick. One shard alone needs none; a pick of each other shard makes one.
const CORRECTIONS_MAX: usize = 32;
/// What looking at all servers may cost, spread over the picks in between.
const LOOKS_PER_PICK: usize = 4;
/// So many servers are few: one of them is looked at in each pick besides the top. Of more, it is two.
const FEW: usize = 64;
/// Bits of a word for the turn, above those of the place. The load has the 27 above: 131,071 requests at a server of
/// weight 1, and more do not count.
const TURN_BITS: u32 = 22;
const LOAD_SHIFT: u32 = TURN_BITS + PLACE_BITS;
const LOAD_MAX: u64 = u64::MAX >> LOAD_SHIFT;
/// A quarter of the turns: they start over before they leave their bits.
const TURN_MAX: u64 = 1 << (TURN_BITS - 2);
/// Between two turns of a server of weight 1, and what one request counts there.
const STRIDE: u64 = 1024;

#[derive(Debug)]
pub(crate) struct LeastConn {
    tree: Tournament,
    /// By server: when its turn is among equally loaded ones.
    turns: Vec<u64>,
    /// The turn taken last.
    latest: u64,
    /// By server: its place among the members; those that are none have [`usize::MAX`].
    places: Vec<usize>,
    /// Who is looked at next.
    cursor: usize,
    /// Since all were looked at.
    picks_since_all: usize,
}

/// What one request counts at a member, and how far its turns are apart: the less, the greater its share.
#[inline]
fn stride(member: &Member) -> u64 {
    u64::from(member.reciprocal) / 4
}

impl LeastConn {
    /// Shards start the turns at different servers.
    pub(crate) fn new(servers_count: usize, shard: ShardId, shards_count: u16) -> Self {
        let start = usize::from(shard.0) * servers_count / usize::from(shards_count);
        let order =
            (0..servers_count).map(|server| (server + servers_count - start) % servers_count);
        Self {
            tree: Tournament::default(),
            turns: order.map(|turn| turn as u64 * STRIDE / servers_count as u64).collect(),
            latest: 0,
            places: vec![usize::MAX; servers_count],
            cursor: 0,
            picks_since_all: 0,
        }
    }

    pub(crate) fn rebuild(&mut self, members: &[Member], loads: &dyn Loads) {
        self.places.fill(usize::MAX);
        for (place, member) in members.iter().enumerate() {
            self.places[member.server as usize] = place;
        }
        self.cursor = 0;
        self.look_at_all(members, loads);
    }

    #[inline(never)]
    pub(crate) fn pick(&mut self, members: &[Member], skips: &Skips<'_>) -> Option<u32> {
        if members.len() > FEW {
            self.look_at_next(members, skips.loads);
        }
        self.look_at_next(members, skips.loads);
        let mut place = self.tree.best();
        let mut member = members.get(place)?;
        if self.look_at(place, member, skips.loads) {
            place = self.correct_top(members, place, skips.loads);
            member = members.get(place)?;
        }
        if skips.skips(member.server) {
            place = self.best_other(members, skips)?;
            member = members.get(place)?;
        }
        self.picks_since_all += 1;
        self.take(place, member);
        if self.latest > TURN_MAX {
            self.start_turns_over(members, skips.loads);
        }
        Some(member.server)
    }

    /// Looks at one top after the other until one is as it was remembered. A shard that slept while others picked finds
    /// many that are not: it looks at all then, but not so often that it costs more than [`LOOKS_PER_PICK`], and
    /// otherwise takes the best of those that it looked at.
    #[inline(never)]
    fn correct_top(&mut self, members: &[Member], looked: usize, loads: &dyn Loads) -> usize {
        let mut best = looked;
        for _ in 0..CORRECTIONS_MAX {
            let top = self.tree.best();
            let Some(member) = members.get(top) else { return best };
            if !self.look_at(top, member, loads) {
                return top;
            }
            if self.tree.word(top) < self.tree.word(best) {
                best = top;
            }
        }
        if self.picks_since_all * LOOKS_PER_PICK < members.len() {
            return best;
        }
        self.look_at_all(members, loads);
        self.tree.best()
    }

    /// Looks at a server whose load is known to have changed.
    #[inline]
    pub(crate) fn refresh(&mut self, server: u32, members: &[Member], loads: &dyn Loads) {
        if let Some(&place) = self.places.get(server as usize)
            && let Some(member) = members.get(place)
        {
            self.look_at(place, member, loads);
        }
    }

    /// Looks at one after the other, pick by pick.
    #[inline]
    fn look_at_next(&mut self, members: &[Member], loads: &dyn Loads) {
        let place = self.cursor;
        self.cursor = if place + 1 < members.len() { place + 1 } else { 0 };
        if let Some(member) = members.get(place) {
            self.look_at(place, member, loads);
        }
    }

    /// Corrects what is remembered of one; whether there was anything to correct.
    #[inline]
    fn look_at(&mut self, place: usize, member: &Member, loads: &dyn Loads) -> bool {
        let word = self.word(place, member, loads.in_flight(ServerId(member.server)));
        let changed = self.tree.word(place) != word;
        if changed {
            self.tree.set(place, word);
        }
        changed
    }

    #[inline]
    fn word(&self, place: usize, member: &Member, in_flight: u32) -> u64 {
        let load = (u64::from(in_flight) * stride(member)).min(LOAD_MAX);
        let turn = self.turns.get(member.server as usize).copied().unwrap_or(0);
        load << LOAD_SHIFT | turn << PLACE_BITS | place as u64
    }

    fn look_at_all(&mut self, members: &[Member], loads: &dyn Loads) {
        let mut tree = std::mem::take(&mut self.tree);
        tree.fill(members.iter().enumerate().map(|(place, member)| {
            self.word(place, member, loads.in_flight(ServerId(member.server)))
        }));
        self.tree = tree;
        self.picks_since_all = 0;
    }

    /// Ends the member's turn, and counts the request that it gets. Who was busy for long has one turn to make good, not
    /// all that it missed.
    #[inline]
    fn take(&mut self, place: usize, member: &Member) {
        let Some(turn) = self.turns.get_mut(member.server as usize) else { return };
        self.latest = self.latest.max(*turn);
        *turn = self.latest + stride(member);
        let load = ((self.tree.word(place) >> LOAD_SHIFT) + stride(member)).min(LOAD_MAX);
        self.tree.set(place, load << LOAD_SHIFT | *turn << PLACE_BITS | place as u64);
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
    fn best_other(&mut self, members: &[Member], skips: &Skips<'_>) -> Option<usize> {
        self.look_at_all(members, skips.loads);
        let others = members.iter().enumerate();
        let others = others.filter(|(_, member)| !skips.skips(member.server));
        others.map(|(place, _)| place).min_by_key(|place| self.tree.word(*place))
    }
}

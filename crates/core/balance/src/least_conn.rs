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

use crate::ask::{Ask, Loads};
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
    /// By place among the members.
    seats: Vec<Seat>,
    /// By server: when its turn is among equally loaded ones, while it has no seat.
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

/// What is known of a member.
#[derive(Clone, Copy, Debug)]
struct Seat {
    /// When its turn is among equally loaded ones.
    turn: u64,
    server: u32,
    /// What one request counts, and how far its turns are apart: the less, the greater its share.
    stride: u32,
    /// When it was last looked at.
    in_flight: u32,
}

impl Seat {
    /// The load, among equal ones the turn, among equal ones the place.
    #[inline]
    fn word(&self, place: usize) -> u64 {
        let load = (u64::from(self.in_flight) * u64::from(self.stride)).min(LOAD_MAX);
        load << LOAD_SHIFT | self.turn << PLACE_BITS | place as u64
    }
}

impl LeastConn {
    /// Shards start the turns at different servers.
    pub(crate) fn new(servers_count: usize, shard: ShardId, shards_count: u16) -> Self {
        let start = usize::from(shard.0) * servers_count / usize::from(shards_count);
        let order =
            (0..servers_count).map(|server| (server + servers_count - start) % servers_count);
        Self {
            tree: Tournament::default(),
            seats: Vec::with_capacity(servers_count),
            turns: order.map(|turn| turn as u64 * STRIDE / servers_count as u64).collect(),
            latest: 0,
            places: vec![usize::MAX; servers_count],
            cursor: 0,
            picks_since_all: 0,
        }
    }

    pub(crate) fn rebuild<L: Loads>(&mut self, members: &[Member], loads: &L) {
        for seat in self.seats.drain(..) {
            self.turns[seat.server as usize] = seat.turn;
        }
        self.places.fill(usize::MAX);
        for (place, member) in members.iter().enumerate() {
            self.places[member.server as usize] = place;
            self.seats.push(Seat {
                turn: self.turns[member.server as usize],
                server: member.server,
                stride: member.reciprocal / 4,
                in_flight: 0,
            });
        }
        self.cursor = 0;
        self.look_at_all(loads);
    }

    /// Nothing here is called and comes back, so that a pick that finds all as it was remembered needs no frame: whatever else
    /// there is to do, another function ends the pick.
    #[inline(never)]
    pub(crate) fn pick<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        let (from, count) = self.looks();
        if self.has_changed(from, ask.loads) || (count > 1 && self.has_changed(from + 1, ask.loads))
        {
            return self.pick_looking(ask);
        }
        self.cursor = from + count;
        self.pick_top(ask)
    }

    /// A pick that has to correct those that it looks at in rotation.
    #[inline(never)]
    fn pick_looking<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        let (from, count) = self.looks();
        for place in from..from + count {
            self.look_at(place, ask.loads);
        }
        self.cursor = from + count;
        self.pick_top(ask)
    }

    /// Where the looks of a pick begin, and how many they are.
    #[inline]
    fn looks(&self) -> (usize, usize) {
        let from = if self.cursor < self.seats.len() { self.cursor } else { 0 };
        (from, if self.seats.len() > FEW { 2 } else { 1 })
    }

    #[inline(always)]
    fn pick_top<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        let place = self.tree.best();
        let seat = self.seats.get(place)?;
        if ask.loads.in_flight(ServerId(seat.server)) != seat.in_flight {
            return self.pick_corrected(place, ask);
        }
        if ask.skips(seat.server) {
            return self.pick_other(ask);
        }
        self.take(place, ask.loads)
    }

    /// Takes the member's turn, and counts the request that it gets. Who was busy for long has one turn to make good, not
    /// all that it missed.
    #[inline(always)]
    fn take<L: Loads>(&mut self, place: usize, loads: &L) -> Option<u32> {
        let seat = self.seats.get_mut(place)?;
        self.picks_since_all += 1;
        self.latest = self.latest.max(seat.turn);
        seat.turn = self.latest + u64::from(seat.stride);
        seat.in_flight = seat.in_flight.wrapping_add(1);
        let (server, word) = (seat.server, seat.word(place));
        self.tree.set(place, word);
        if self.latest > TURN_MAX {
            return self.start_turns_over(server, loads);
        }
        Some(server)
    }

    /// A pick whose top is not as it was remembered: looks at one top after the other until one is.
    #[inline(never)]
    fn pick_corrected<L: Loads>(&mut self, top: usize, ask: &Ask<'_, L>) -> Option<u32> {
        self.look_at(top, ask.loads);
        // Most often the next one is right.
        let mut place = self.tree.best();
        if self.look_at(place, ask.loads) {
            place = self.correct_many(top, place, ask.loads);
        }
        if ask.skips(self.seats.get(place)?.server) {
            return self.pick_other(ask);
        }
        self.take(place, ask.loads)
    }

    /// The same after two that were not. A shard that slept while others picked finds many: it looks at all then, but
    /// not so often that it costs more than [`LOOKS_PER_PICK`], and otherwise takes the best of those that it looked at.
    #[inline(never)]
    fn correct_many<L: Loads>(&mut self, first: usize, second: usize, loads: &L) -> usize {
        let word = |seats: &[Seat], place: usize| {
            seats.get(place).map_or(u64::MAX, |seat| seat.word(place))
        };
        let better = |seats: &[Seat], a: usize, b: usize| {
            if word(seats, b) < word(seats, a) { b } else { a }
        };
        let mut best = better(&self.seats, first, second);
        for _ in 2..CORRECTIONS_MAX {
            let top = self.tree.best();
            if !self.look_at(top, loads) {
                return top;
            }
            best = better(&self.seats, best, top);
        }
        if self.picks_since_all * LOOKS_PER_PICK < self.seats.len() {
            return best;
        }
        self.look_at_all(loads);
        self.tree.best()
    }

    /// Looks at a server whose load is known to have changed.
    #[inline]
    pub(crate) fn refresh<L: Loads>(&mut self, server: u32, loads: &L) {
        if let Some(&place) = self.places.get(server as usize) {
            self.look_at(place, loads);
        }
    }

    /// Whether one is not as it is remembered.
    #[inline]
    fn has_changed<L: Loads>(&self, place: usize, loads: &L) -> bool {
        let seat = self.seats.get(place);
        seat.is_some_and(|seat| loads.in_flight(ServerId(seat.server)) != seat.in_flight)
    }

    /// Corrects what is remembered of one; whether there was anything to correct.
    #[inline]
    fn look_at<L: Loads>(&mut self, place: usize, loads: &L) -> bool {
        let Some(seat) = self.seats.get_mut(place) else { return false };
        let in_flight = loads.in_flight(ServerId(seat.server));
        if in_flight == seat.in_flight {
            return false;
        }
        seat.in_flight = in_flight;
        let word = seat.word(place);
        self.tree.set(place, word);
        true
    }

    fn look_at_all<L: Loads>(&mut self, loads: &L) {
        for seat in &mut self.seats {
            seat.in_flight = loads.in_flight(ServerId(seat.server));
        }
        self.tree.fill(self.seats.iter().enumerate().map(|(place, seat)| seat.word(place)));
        self.picks_since_all = 0;
    }

    /// Ends a pick after which the turns would soon leave their bits.
    #[cold]
    fn start_turns_over<L: Loads>(&mut self, server: u32, loads: &L) -> Option<u32> {
        let turns = self.turns.iter_mut().chain(self.seats.iter_mut().map(|seat| &mut seat.turn));
        for turn in turns {
            *turn = turn.saturating_sub(self.latest);
        }
        self.latest = 0;
        self.look_at_all(loads);
        Some(server)
    }

    /// The best that is not skipped, by a look at each.
    #[cold]
    fn pick_other<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        self.look_at_all(ask.loads);
        let others = self.seats.iter().enumerate();
        let others = others.filter(|(_, seat)| !ask.skips(seat.server));
        let (place, _) = others.min_by_key(|(place, seat)| seat.word(*place))?;
        self.take(place, ask.loads)
    }
}

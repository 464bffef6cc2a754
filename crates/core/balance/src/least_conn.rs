//! The fewest requests in flight for the weight, from all shards.
//!
//! Owns a tree of what each server's load was when it was last looked at, and the turns among equals. Other
//! shards change loads without telling, so the tree is a memory: the server on top is looked at again before it
//! is taken, and after as many picks as there are members all are. Loads that only grew are therefore exact: a
//! memory is never above the truth, and the top has been checked. A load that fell on this shard is noted at
//! once ([`LeastConn::refresh`]), on another one after at most as many picks as there are members, or half as many if
//! they are more than [`FEW`]. A top that is not as it was remembered has all looked at, too, if half of these have passed
//! since: other shards go round as this one does, so that where one load has changed the next ones have, and to look at all
//! costs a few instructions for each.
//!
//! Invariant: the tree has a word for each member, and a turn is never more than one stride behind the last taken.

use crate::ask::{Ask, Loads};
use crate::server::{Member, ServerId, ShardId};
use crate::tournament::{PLACE_BITS, Tournament, WORD_BITS};

/// Corrections of the top in one pick.
const CORRECTIONS_MAX: usize = 32;
/// Of more servers than this, all are looked at after half as many picks.
const FEW: usize = 64;
/// Bits of a word for the turn, above those of the place. The load has the 27 above: 131,071 requests at a server of
/// weight 1, and more do not count.
const TURN_BITS: u32 = 19;
const LOAD_SHIFT: u32 = TURN_BITS + PLACE_BITS;
const LOAD_MAX: u64 = (1 << (WORD_BITS - LOAD_SHIFT)) - 1;
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
    /// Until all are looked at.
    picks_left: u32,
    /// With so many left, a wrong top has all looked at.
    picks_worth: u32,
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
            picks_left: 0,
            picks_worth: 0,
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
        self.plant(loads);
    }

    /// Nothing here is called and comes back, so that a pick that finds all as it was remembered needs no frame: whatever else
    /// there is to do, another function ends the pick.
    #[inline(never)]
    pub(crate) fn pick<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        if self.picks_left == 0 {
            return self.pick_of_all(ask);
        }
        let place = self.tree.best();
        let seat = self.seats.get(place)?;
        if ask.loads.in_flight(ServerId(seat.server)) != seat.in_flight {
            return self.pick_corrected(ask);
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
        self.picks_left = self.picks_left.wrapping_sub(1);
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

    /// A pick after a look at all.
    #[inline(never)]
    fn pick_of_all<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        self.look_at_all(ask.loads);
        let place = self.tree.best();
        if ask.skips(self.seats.get(place)?.server) {
            return self.pick_other(ask);
        }
        self.take(place, ask.loads)
    }

    /// A pick whose top is not as it was remembered: looks at one top after the other until one is, or at all, if that is worth
    /// it. If neither helps, it takes the best of those that it looked at.
    #[inline(never)]
    fn pick_corrected<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        if self.picks_left <= self.picks_worth {
            return self.pick_of_all(ask);
        }
        let (mut best, mut least) = (0, u64::MAX);
        for _ in 0..CORRECTIONS_MAX {
            let place = self.tree.best();
            let seat = self.seats.get_mut(place)?;
            let in_flight = ask.loads.in_flight(ServerId(seat.server));
            if in_flight == seat.in_flight {
                best = place;
                break;
            }
            seat.in_flight = in_flight;
            let word = seat.word(place);
            self.tree.set(place, word);
            (best, least) = if word < least { (place, word) } else { (best, least) };
        }
        if ask.skips(self.seats.get(best)?.server) {
            return self.pick_other(ask);
        }
        self.take(best, ask.loads)
    }

    /// Looks at a server whose load is known to have changed.
    #[inline]
    pub(crate) fn refresh<L: Loads>(&mut self, server: u32, loads: &L) {
        if let Some(&place) = self.places.get(server as usize) {
            self.look_at(place, loads);
        }
    }

    /// Corrects what is remembered of one.
    #[inline]
    fn look_at<L: Loads>(&mut self, place: usize, loads: &L) {
        let Some(seat) = self.seats.get_mut(place) else { return };
        let in_flight = loads.in_flight(ServerId(seat.server));
        if in_flight != seat.in_flight {
            seat.in_flight = in_flight;
            let word = seat.word(place);
            self.tree.set(place, word);
        }
    }

    fn look_at_all<L: Loads>(&mut self, loads: &L) {
        let seats = self.seats.as_mut_slice();
        self.tree.update(|place| {
            let seat = seats.get_mut(place)?;
            let in_flight = loads.in_flight(ServerId(seat.server));
            if in_flight == seat.in_flight {
                return None;
            }
            seat.in_flight = in_flight;
            Some(seat.word(place))
        });
        self.note_looked_at();
    }

    /// All have just been looked at.
    fn note_looked_at(&mut self) {
        let count = self.seats.len();
        let picks = if count > FEW { count / 2 } else { count };
        self.picks_left = u32::try_from(picks).unwrap_or(u32::MAX);
        self.picks_worth = self.picks_left / 2;
    }

    /// Looks at all and makes the tree anew.
    fn plant<L: Loads>(&mut self, loads: &L) {
        let seats = self.seats.as_mut_slice();
        self.tree.fill(seats.len(), |place| {
            let Some(seat) = seats.get_mut(place) else { return u64::MAX };
            seat.in_flight = loads.in_flight(ServerId(seat.server));
            seat.word(place)
        });
        self.note_looked_at();
    }

    /// Ends a pick after which the turns would soon leave their bits.
    #[cold]
    fn start_turns_over<L: Loads>(&mut self, server: u32, loads: &L) -> Option<u32> {
        let turns = self.turns.iter_mut().chain(self.seats.iter_mut().map(|seat| &mut seat.turn));
        for turn in turns {
            *turn = turn.saturating_sub(self.latest);
        }
        self.latest = 0;
        self.plant(loads);
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

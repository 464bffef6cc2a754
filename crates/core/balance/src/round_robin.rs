//! Weighted round robin: exact, smooth, and without a table of turns.
//!
//! Owns whose turn it is. Servers of equal weight form a class; within a class the turn goes round.
//! Between classes the earliest turn is next: a class with `n` turns in a period has them evenly
//! spaced, at `(j + ½) / n`, and a heap yields the earliest. So a pick costs the logarithm of the number
//! of *distinct* weights, which is nothing when all weights are equal, and a change of weights costs one
//! sort rather than a schedule as long as their sum.
//!
//! Exactness: any run of as many picks as the weights add up to (divided by their greatest common
//! divisor) holds every server exactly as often as its weight says. Smoothness: over any run of picks a
//! class is off its share by at most `1 + p·(c - 2)` turns, where `p` is the share and `c` the number of
//! classes, and a server by that divided by the size of its class and less than one turn more. Picks
//! that avoid a server are outside both.
//!
//! Invariant: the turns are a heap, their rounds differ by at most one, and each class has one turn in
//! it and a cursor within its servers.

use crate::ask::{Ask, Loads};
use crate::server::{Member, ShardId, Share, Weight};

/// A turn: 4 bits of round, which wrap; 48 bits of time within the round; 12 bits that name the class
/// and settle ties always in the same order.
type Turn = u64;

/// As many classes as there are shares.
const CLASS_BITS: u32 = 12;
const TIME_BITS: u32 = 48;
const ROUND_SHIFT: u32 = CLASS_BITS + TIME_BITS;
const CLASS_MASK: Turn = (1 << CLASS_BITS) - 1;
const ROUND_MASK: Turn = Turn::MAX << ROUND_SHIFT;

#[derive(Debug)]
pub(crate) struct RoundRobin {
    /// A binary heap of the next turn of each class, the earliest first.
    turns: Vec<Turn>,
    /// By ascending share.
    classes: Vec<Class>,
    /// The classes before a rebuild; otherwise empty, kept for its memory.
    previous: Vec<Class>,
    /// The servers by share and then by id, so that those of each class are together.
    servers: Vec<(Share, u32)>,
    /// The turns are those of the backup servers.
    backup: bool,
    shard: ShardId,
    shards_count: u16,
}

/// Servers of one share.
#[derive(Clone, Copy, Debug)]
struct Class {
    /// The time between two of its turns, in place for adding to a [`Turn`].
    stride: Turn,
    /// Where its servers begin.
    first: usize,
    count: usize,
    /// Whose turn is next, below `count`.
    cursor: usize,
    share: Share,
    /// That server's id, set for a rebuild.
    resume: u32,
}

impl RoundRobin {
    pub(crate) fn new(servers_count: usize, shard: ShardId, shards_count: u16) -> Self {
        let classes_max = servers_count.min(usize::from(Weight::MAX.value() * Share::PER_WEIGHT));
        Self {
            turns: Vec::with_capacity(classes_max),
            classes: Vec::with_capacity(classes_max),
            previous: Vec::with_capacity(classes_max),
            servers: Vec::with_capacity(servers_count),
            backup: false,
            shard,
            shards_count,
        }
    }

    /// Takes the next turn of a server that is not skipped. None: all are.
    #[inline]
    pub(crate) fn pick<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        let turn = *self.turns.first()?;
        if ask.skips(self.next(turn)) {
            return self.pick_other(ask);
        }
        Some(self.take(0))
    }

    /// Starts anew over these servers, which come by ascending id. What was
    /// due stays due: a server that flaps does not send everyone back to the first one. Between primary
    /// and backup servers nothing carries over, and each shard starts at its own place again.
    pub(crate) fn rebuild(&mut self, backup: bool, members: &[Member]) {
        if backup != self.backup {
            self.turns.clear();
            self.classes.clear();
            self.backup = backup;
        }
        let start = match self.turns.first() {
            Some(turn) => (turn & !ROUND_MASK) >> CLASS_BITS,
            None => (u64::from(self.shard.0) << TIME_BITS) / u64::from(self.shards_count),
        };
        for class in &mut self.classes {
            class.resume = self.servers[class.first + class.cursor].1;
        }
        std::mem::swap(&mut self.classes, &mut self.previous);
        self.classes.clear();
        self.turns.clear();
        self.servers.clear();
        self.servers.extend(members.iter().map(|member| (member.share, member.server)));
        self.servers.sort_unstable();
        self.build_classes(start);
        self.previous.clear();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn build_classes(&mut self, start: u64) {
        // Without it, roundings that differ along the longer period would settle ties differently.
        let divisor = self.servers.iter().fold(0, |divisor, (share, _)| gcd(divisor, share.0));
        let mut first = 0;
        for (index, group) in (0..).zip(self.servers.chunk_by(|a, b| a.0 == b.0)) {
            let (share, count) = (group[0].0, group.len());
            let cursor = match self.previous.iter().find(|class| class.share == share) {
                Some(class) => group.partition_point(|&(_, server)| server < class.resume) % count,
                None => usize::from(self.shard.0) * count / usize::from(self.shards_count),
            };
            let turns_count = count as u64 * u64::from(share.0 / divisor);
            let stride = (1 << TIME_BITS) / turns_count;
            self.classes.push(Class {
                stride: stride << CLASS_BITS,
                first,
                count,
                cursor,
                share,
                resume: 0,
            });
            self.turns.push(first_turn_from(start, stride, turns_count) | index);
            first += count;
        }
        // No turn's round has wrapped, so sorted is a heap.
        self.turns.sort_unstable();
    }

    /// The server whose turn it is.
    #[inline]
    fn next(&self, turn: Turn) -> u32 {
        let class = &self.classes[class_of(turn)];
        self.servers[class.first + class.cursor].1
    }

    /// Ends the turn at this place in the heap and returns the server whose it was.
    #[inline]
    fn take(&mut self, place: usize) -> u32 {
        let turn = self.turns[place];
        let class = &mut self.classes[class_of(turn)];
        let server = self.servers[class.first + class.cursor].1;
        class.cursor += 1;
        if class.cursor == class.count {
            class.cursor = 0;
        }
        self.turns[place] = class.turn_after(turn);
        self.sift_down(place);
        server
    }

    /// Another server than the one whose turn it is. A class that has others gives its turn to the next
    /// of them, so that the skipped ones forfeit it. A class that is skipped whole keeps the turn, but only
    /// one: it would be flooded by all those it missed, and the rounds would come too far apart to be
    /// compared.
    #[cold]
    fn pick_other<L: Loads>(&mut self, ask: &Ask<'_, L>) -> Option<u32> {
        // Sorted is a heap, too.
        self.turns.sort_unstable_by(|a, b| is_before(*b, *a).cmp(&is_before(*a, *b)));
        let found = self.turns.iter().enumerate().find_map(|(place, &turn)| {
            let class = &self.classes[class_of(turn)];
            let steps = (0..class.count).find(|steps| {
                let within = (class.cursor + steps) % class.count;
                !ask.skips(self.servers[class.first + within].1)
            })?;
            Some((place, steps))
        });
        let (place, steps) = found?;
        let turn = self.turns[place];
        for skipped in &mut self.turns[..place] {
            *skipped = self.classes[class_of(*skipped)].last_turn_before(turn, *skipped);
        }
        let class = &mut self.classes[class_of(turn)];
        class.cursor = (class.cursor + steps) % class.count;
        let server = self.servers[class.first + class.cursor].1;
        class.cursor = (class.cursor + 1) % class.count;
        self.turns[place] = class.turn_after(turn);
        self.turns.sort_unstable_by(|a, b| is_before(*b, *a).cmp(&is_before(*a, *b)));
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
        Some(server)
    }

    #[inline]
    fn sift_down(&mut self, mut place: usize) {
        while 2 * place + 1 < self.turns.len() {
            let child = self.earliest_child(place);
            if is_before(self.turns[place], self.turns[child]) {
                return;
            }
            self.turns.swap(place, child);
            place = child;
        }
    }

    /// The earlier one of the children of a place that has at least one.
    #[inline]
    fn earliest_child(&self, place: usize) -> usize {
        let (left, right) = (2 * place + 1, 2 * place + 2);
        match self.turns.get(right) {
            Some(&turn) if is_before(turn, self.turns[left]) => right,
            _ => left,
        }
    }

    /// Checks what must hold between any two picks.
    fn check_invariants(&self) {
        assert_eq!(self.turns.len(), self.classes.len(), "each class has one turn");
        for (place, &turn) in self.turns.iter().enumerate().skip(1) {
            assert!(is_before(self.turns[(place - 1) / 2], turn), "the turns are a heap");
            let rounds = (round_of(turn) >> ROUND_SHIFT)
                .wrapping_sub(round_of(self.turns[0]) >> ROUND_SHIFT);
            assert!(rounds & (ROUND_MASK >> ROUND_SHIFT) <= 1, "the rounds differ by at most one");
        }
        let end = self.classes.iter().fold(0, |first, class| {
            assert_eq!(class.first, first, "the classes follow each other");
            assert!(class.cursor < class.count, "a cursor lies within its class");
            first + class.count
        });
        assert_eq!(end, self.servers.len(), "each server is in a class");
    }
}

impl Class {
    /// The turn after this one, in the same round or the first of the next.
    #[inline]
    const fn turn_after(&self, turn: Turn) -> Turn {
        let next = turn.wrapping_add(self.stride);
        if round_of(next) == round_of(turn) {
            return next;
        }
        round_of(next) | self.first_turn() | (turn & CLASS_MASK)
    }

    /// The first turn of a round, without the round and the class.
    #[inline]
    const fn first_turn(&self) -> Turn {
        (self.stride >> 1) & !CLASS_MASK
    }

    /// Where the class stands if it misses all of its turns from `turn` up to `other`, the earliest of
    /// the other classes, but the last one; or the first turn of the other's round if that is later.
    const fn last_turn_before(&self, other: Turn, turn: Turn) -> Turn {
        let round_start = round_of(other) | self.first_turn() | (turn & CLASS_MASK);
        let from = if round_of(turn) == round_of(other) { turn } else { round_start };
        if is_before(other, from) {
            return from;
        }
        from + other.wrapping_sub(from) / self.stride * self.stride
    }
}

/// The first turn at `start` or later, without the class.
const fn first_turn_from(start: u64, stride: u64, turns_count: u64) -> Turn {
    let half = stride / 2;
    let passed = start.saturating_sub(half).div_ceil(stride);
    let (round, time) = if passed < turns_count { (0, passed * stride + half) } else { (1, half) };
    (round << ROUND_SHIFT) | (time << CLASS_BITS)
}

#[inline]
const fn class_of(turn: Turn) -> usize {
    (turn & CLASS_MASK) as usize
}

#[inline]
const fn round_of(turn: Turn) -> Turn {
    turn & ROUND_MASK
}

/// Rounds wrap, but are close together: the sign of the difference tells.
#[inline]
const fn is_before(a: Turn, b: Turn) -> bool {
    a.wrapping_sub(b) > Turn::MAX / 2
}

const fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

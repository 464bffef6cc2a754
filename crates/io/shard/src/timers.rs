//! A hierarchical timer wheel (Varghese and Lauck, 1987, scheme 6): setting, moving and removing a timer is O(1).
//!
//! Owns deadlines by id; leaves acting on them to its user. Invariant: a timer never fires before its deadline, fires
//! within one tick after it when [`Timers::advance`] is called, and fires once per setting.

use std::time::{Duration, Instant};

/// Levels of 64 slots each: ticks of 1 ms reach 64^5 ms, about 12 days; later deadlines wait in the last level.
const LEVELS: usize = 5;
const SLOT_BITS: usize = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const REACH: u64 = 1 << (SLOT_BITS * LEVELS);
const NONE: u32 = u32::MAX;
const UNLINKED: u16 = u16::MAX;

/// A timer that has been made and not yet removed, set or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(u32);

struct Node {
    /// When it is to fire.
    deadline: u64,
    /// Under which tick it is linked: at or before the deadline.
    linked: u64,
    payload: u32,
    previous: u32,
    next: u32,
    /// Level and slot, or [`UNLINKED`].
    place: u16,
}

/// Timers of one shard, each with a `u32` that its owner recognises.
pub struct Timers {
    start: Instant,
    /// Ticks that have passed and been handled.
    now: u64,
    nodes: Vec<Node>,
    free: u32,
    heads: [[u32; SLOTS]; LEVELS],
    occupied: [u64; LEVELS],
}

impl Timers {
    /// No timers, with `start` as the beginning of time.
    pub fn new(start: Instant) -> Timers {
        Timers {
            start,
            now: 0,
            nodes: Vec::new(),
            free: NONE,
            heads: [[NONE; SLOTS]; LEVELS],
            occupied: [0; LEVELS],
        }
    }

    /// The first tick at or after `at`.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "2^64 ms are beyond any process's life")]
    fn tick_at(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        since.as_secs() * 1000 + u64::from(since.subsec_nanos().div_ceil(1_000_000))
    }

    /// Makes a timer that is not set.
    #[allow(clippy::cast_possible_truncation, reason = "bounded by connections")]
    pub fn insert(&mut self, payload: u32) -> TimerId {
        let node =
            Node { deadline: 0, linked: 0, payload, previous: NONE, next: NONE, place: UNLINKED };
        if self.free == NONE {
            self.nodes.push(node);
            return TimerId(self.nodes.len() as u32 - 1);
        }
        let id = self.free;
        self.free = self.nodes[id as usize].next;
        self.nodes[id as usize] = node;
        TimerId(id)
    }

    /// Removes a timer for good; its id may be given to another one.
    pub fn remove(&mut self, TimerId(id): TimerId) {
        self.unlink(id);
        self.nodes[id as usize].next = self.free;
        self.free = id;
    }

    /// Sets or moves a timer to fire at `deadline`. Moving to a later deadline only stores it.
    #[inline]
    pub fn set(&mut self, TimerId(id): TimerId, deadline: Instant) {
        let tick = self.tick_at(deadline).max(self.now + 1);
        let node = &mut self.nodes[id as usize];
        node.deadline = tick;
        if node.place == UNLINKED || tick < node.linked {
            self.unlink(id);
            self.link(id, tick);
        }
    }

    /// Stops a timer; it stays made and may be set again.
    pub fn stop(&mut self, TimerId(id): TimerId) {
        self.unlink(id);
    }

    fn link(&mut self, id: u32, tick: u64) {
        // A deadline beyond the reach waits at the far end and is linked again from there.
        let tick = tick.clamp(self.now + 1, self.now + REACH - 1);
        let differs = (tick ^ self.now) | (SLOTS as u64 - 1);
        let level = ((63 - differs.leading_zeros() as usize) / SLOT_BITS).min(LEVELS - 1);
        #[allow(clippy::cast_possible_truncation, reason = "masked to six bits")]
        let slot = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        let head = std::mem::replace(&mut self.heads[level][slot], id);
        self.occupied[level] |= 1 << slot;
        let node = &mut self.nodes[id as usize];
        #[allow(clippy::cast_possible_truncation, reason = "at most LEVELS * SLOTS")]
        let place = (level * SLOTS + slot) as u16;
        (node.linked, node.previous, node.next, node.place) = (tick, NONE, head, place);
        if head != NONE {
            self.nodes[head as usize].previous = id;
        }
    }

    fn unlink(&mut self, id: u32) {
        let node = &mut self.nodes[id as usize];
        if node.place == UNLINKED {
            return;
        }
        let (level, slot) = (usize::from(node.place) / SLOTS, usize::from(node.place) % SLOTS);
        let (previous, next) = (node.previous, node.next);
        node.place = UNLINKED;
        if previous == NONE {
            self.heads[level][slot] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << slot);
            }
        } else {
            self.nodes[previous as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
    }

    /// The tick at which the next slot must be looked at, and its level.
    fn next_slot(&self) -> Option<(u64, usize, usize)> {
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = level * SLOT_BITS;
            #[allow(clippy::cast_possible_truncation, reason = "masked to six bits")]
            let current = (self.now >> shift) as u32 % SLOTS as u32;
            let ahead = self.occupied[level].rotate_right(current).trailing_zeros();
            let slot = (current + ahead) as usize % SLOTS;
            let span = 1u64 << (shift + SLOT_BITS);
            let mut tick = (self.now & !(span - 1)) + ((slot as u64) << shift);
            if tick <= self.now {
                // Only the last level wraps around.
                tick += span;
            }
            return Some((tick, level, slot));
        }
        None
    }

    /// When [`Timers::advance`] has something to do next; a timer may turn out to have been moved since.
    pub fn next(&self) -> Option<Instant> {
        self.next_slot().map(|(tick, ..)| self.start + Duration::from_millis(tick))
    }

    /// Fires every timer whose deadline is at or before `now`: calls `fire` with its payload. Fired timers are not set.
    pub fn advance(&mut self, now: Instant, mut fire: impl FnMut(u32)) {
        let since = now.saturating_duration_since(self.start);
        let target = since.as_secs() * 1000 + u64::from(since.subsec_millis());
        while let Some((tick, level, slot)) = self.next_slot() {
            if tick > target {
                break;
            }
            self.now = tick;
            let mut id = std::mem::replace(&mut self.heads[level][slot], NONE);
            self.occupied[level] &= !(1 << slot);
            while id != NONE {
                let node = &mut self.nodes[id as usize];
                let (next, deadline, payload) = (node.next, node.deadline, node.payload);
                node.place = UNLINKED;
                if deadline <= tick {
                    fire(payload);
                } else {
                    self.link(id, deadline);
                }
                id = next;
            }
        }
        self.now = self.now.max(target);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_timer_moved_later_fires_at_the_new_deadline_only() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let id = timers.insert(7);
        timers.set(id, start + ms(10));
        timers.set(id, start + ms(500));
        let mut fired = Vec::new();
        timers.advance(start + ms(400), |x| fired.push(x));
        assert!(fired.is_empty());
        timers.advance(start + ms(500), |x| fired.push(x));
        timers.advance(start + ms(5000), |x| fired.push(x));
        assert_eq!(fired, [7]);
    }

    #[test]
    fn a_timer_beyond_the_reach_of_the_wheel_waits_its_time() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let id = timers.insert(1);
        let deadline = ms(REACH * 2 + 5);
        timers.set(id, start + deadline);
        let mut fired = 0;
        timers.advance(start + deadline - ms(1), |_| fired += 1);
        assert_eq!(fired, 0);
        timers.advance(start + deadline, |_| fired += 1);
        assert_eq!(fired, 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(usize, u64),
        Stop(usize),
        Advance(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let delay = prop_oneof![0..70u64, 0..5_000u64, 0..20_000_000u64];
        let step = prop_oneof![
            3 => (0..8usize, delay.clone()).prop_map(|(i, d)| Step::Set(i, d)),
            1 => (0..8usize).prop_map(Step::Stop),
            2 => delay.prop_map(Step::Advance),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        /// The wheel against a list of deadlines.
        #[test]
        fn fires_exactly_what_a_plain_list_would(steps in steps()) {
            let start = Instant::now();
            let mut timers = Timers::new(start);
            let ids: Vec<_> = (0..8).map(|i| timers.insert(i)).collect();
            let mut expected: [Option<u64>; 8] = [None; 8];
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Set(i, delay) => {
                        timers.set(ids[i], start + ms(now + delay));
                        expected[i] = Some((now + delay).max(now + 1));
                    }
                    Step::Stop(i) => {
                        timers.stop(ids[i]);
                        expected[i] = None;
                    }
                    Step::Advance(by) => {
                        now += by;
                        let mut fired = Vec::new();
                        timers.advance(start + ms(now), |i| fired.push(i as usize));
                        fired.sort_unstable();
                        let due: Vec<_> = (0..8).filter(|i| expected[*i].is_some_and(|at| at <= now)).collect();
                        prop_assert_eq!(&fired, &due);
                        due.iter().for_each(|i| expected[*i] = None);
                    }
                }
                let first = expected.iter().flatten().min();
                let next = timers.next().map(|at| (at - start).as_secs() * 1000 + u64::from((at - start).subsec_millis()));
                prop_assert_eq!(first.is_some(), next.is_some() && expected.iter().any(Option::is_some));
                if let (Some(first), Some(next)) = (first, next) {
                    prop_assert!(next <= *first, "would sleep past a deadline");
                }
            }
        }
    }
}

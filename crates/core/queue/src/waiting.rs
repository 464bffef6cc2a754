//! Those who wait on one shard in one queue, in their order.
//!
//! Owns a heap of keys with a place for each waiter, so that one that leaves is taken out from the middle; leaves waking it to
//! the shard. Invariant: a waiter is in the heap or has an outcome, and its place is reused only after it was taken out.

use crate::key::Key;

/// A waiter's place, good until its outcome is taken or it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaiterId(u32);

/// What became of a waiter.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<G> {
    /// It got what it waited for.
    Granted(G),
    /// It has to look again: the servers are not what they were.
    Roused,
}

/// The waiters of one queue on one shard: `W` is whom to wake, `G` what is waited for.
#[derive(Debug)]
pub struct Waiting<W, G> {
    slots: Vec<Slot<W, G>>,
    free: Vec<u32>,
    heap: Vec<u32>,
}

#[derive(Debug)]
struct Slot<W, G> {
    key: Key,
    /// Its place in the heap.
    at: u32,
    waker: Option<W>,
    outcome: Option<Outcome<G>>,
}

impl<W, G> Default for Waiting<W, G> {
    fn default() -> Self {
        Waiting { slots: Vec::new(), free: Vec::new(), heap: Vec::new() }
    }
}

impl<W, G> Waiting<W, G> {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// The key of the first.
    #[must_use]
    pub fn first(&self) -> Option<Key> {
        self.heap.first().map(|slot| self.slots[*slot as usize].key)
    }

    /// Somebody more waits.
    ///
    /// # Panics
    /// With 2^32 waiters, more than there is memory for.
    pub fn insert(&mut self, key: Key, waker: W) -> WaiterId {
        let at = u32::try_from(self.heap.len()).expect("fewer waiters than fit into memory");
        let slot = Slot { key, at, waker: Some(waker), outcome: None };
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("fewer waiters than fit into memory")
            }
        };
        self.heap.push(index);
        self.rise(at as usize);
        WaiterId(index)
    }

    /// Gives `what` to the first, who is to be woken.
    ///
    /// # Errors
    /// `what`, when nobody waits.
    pub fn grant(&mut self, what: G) -> Result<W, G> {
        match self.pop(|| Outcome::Roused) {
            None => Err(what),
            Some((index, waker)) => {
                self.slots[index as usize].outcome = Some(Outcome::Granted(what));
                Ok(waker)
            }
        }
    }

    /// Has the first look again, who is to be woken.
    pub fn rouse(&mut self) -> Option<W> {
        self.pop(|| Outcome::Roused).map(|(_, waker)| waker)
    }

    /// What became of a waiter; its place is gone with it.
    pub fn take(&mut self, WaiterId(index): WaiterId) -> Option<Outcome<G>> {
        let outcome = self.slots[index as usize].outcome.take()?;
        self.free.push(index);
        Some(outcome)
    }

    /// A waiter leaves; what it was given meanwhile comes back.
    pub fn leave(&mut self, id: WaiterId) -> Option<Outcome<G>> {
        if let Some(outcome) = self.take(id) {
            return Some(outcome);
        }
        let WaiterId(index) = id;
        self.remove(self.slots[index as usize].at as usize);
        self.slots[index as usize].waker = None;
        self.free.push(index);
        None
    }

    fn pop(&mut self, outcome: impl Fn() -> Outcome<G>) -> Option<(u32, W)> {
        let index = *self.heap.first()?;
        self.remove(0);
        let slot = &mut self.slots[index as usize];
        slot.outcome = Some(outcome());
        let waker = slot.waker.take().expect("who is in the heap has a waker");
        Some((index, waker))
    }

    fn remove(&mut self, at: usize) {
        self.heap.swap_remove(at);
        if at < self.heap.len() {
            self.note(at);
            self.sink(at);
            self.rise(at);
        }
    }

    fn key_at(&self, at: usize) -> Key {
        self.slots[self.heap[at] as usize].key
    }

    #[allow(clippy::cast_possible_truncation, reason = "a place in the heap is below 2^32")]
    fn note(&mut self, at: usize) {
        self.slots[self.heap[at] as usize].at = at as u32;
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 {
            let above = (at - 1) / 2;
            if self.key_at(above) <= self.key_at(at) {
                return;
            }
            self.swap(above, at);
            at = above;
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= self.heap.len() {
                return;
            }
            let is_right_first = right < self.heap.len() && self.key_at(right) < self.key_at(left);
            let below = if is_right_first { right } else { left };
            if self.key_at(at) <= self.key_at(below) {
                return;
            }
            self.swap(at, below);
            at = below;
        }
    }
}

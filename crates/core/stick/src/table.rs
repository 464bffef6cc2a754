//! The table: which server a key was last with, for all shards.
//!
//! Owns its sets of places, looking, storing and eviction; leaves the numbers of servers to `roster`. Invariant: a place is
//! written by whoever claimed it, and what is read of it counts only if nobody claimed it meanwhile.
//!
//! A place is two words: the mark, which is 64 bits of a keyed hash of the key, and a [`State`]. Whoever puts a new key into a
//! place first swaps its state for one that is busy and has the next tenancy, then writes the mark, then the state. Whoever
//! looks reads the state, the mark, and the state again: the same tenancy twice means that the mark between belongs to it. So an
//! entry is never read half, and no reader ever waits or has to try again: a place that got another tenant meanwhile is not the one
//! that was looked for.
//!
//! Two shards that store the same new key at once may both find it absent. Each looks through the set once more behind its own
//! write, and of two entries with one mark whoever sees both removes the one further back: one of the two sees the other (Dekker's
//! argument, all accesses sequentially consistent).

use std::hash::{BuildHasher, Hasher as _};
use std::time::{Duration, Instant};

use crate::cell::Word;
use crate::entry::{SECOND_MAX, Second, State};

/// Places in which a key can be. With as many keys as half of the places, one in a thousand finds its set full, and with eight
/// one in a hundred.
pub const WAYS: usize = 16;

/// Attempts to store, each of which fails only because another shard has stored in the same set meanwhile.
const ATTEMPTS_MAX: usize = 8;

/// A hash of a key that nobody outside can foresee. Two of a million keys have the same one once in 2^25 tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark(pub(crate) u64);

/// What a key is: a text and an address with the same bytes are two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any bytes.
    Text,
    /// The 4 or 16 bytes of an address.
    Address,
}

/// The number by which entries name a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u16);

/// What became of a key and its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It was there; it lasts longer now, where it was worth a write.
    Kept,
    /// It was there with another server.
    Moved,
    /// It is new.
    Added,
    /// It is new, and another key is forgotten for it: the one of its set that was used least recently.
    Evicted,
    /// It is not stored: other shards write in the same set all the time.
    Refused,
}

/// The places of one set: first the marks, which are all that most looks read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set {
    marks: [Word; WAYS],
    states: [Word; WAYS],
}

/// Keys and their servers, in bounded memory: 16 bytes a place.
#[derive(Debug)]
pub struct Table<S> {
    sets: Box<[Set]>,
    hasher: S,
    epoch: Instant,
}

impl<S: BuildHasher + Clone> Table<S> {
    /// An empty table whose time begins at `epoch`, for so many entries, rounded up to whole sets. What `hasher` makes of a key is
    /// to be a secret from clients, so that none can fill a set.
    #[must_use]
    pub fn new(entries_max: usize, epoch: Instant, hasher: S) -> Table<S> {
        let sets = (0..entries_max.div_ceil(WAYS).max(1)).map(|_| Set::default()).collect();
        Table { sets, hasher, epoch }
    }

    /// The most entries.
    #[must_use]
    pub fn entries_max(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// A table of another size with the entries of this one; what finds no place there is forgotten. Whatever is stored here
    /// meanwhile may be missing there.
    #[must_use]
    pub fn resized(&self, entries_max: usize, now: Instant) -> Table<S> {
        let table = Table::new(entries_max, self.epoch, self.hasher.clone());
        let second = self.second(now);
        for set in &self.sets {
            for way in 0..WAYS {
                if let Some((mark, state)) = set.tenant(way, second) {
                    table.put(mark, state.server(), state.end(), second);
                }
            }
        }
        table
    }

    /// The mark of a key.
    #[inline]
    #[must_use]
    pub fn mark(&self, kind: Kind, key: &[u8]) -> Mark {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(match kind {
            Kind::Text => 0,
            Kind::Address => 1,
        });
        hasher.write(key);
        Mark(hasher.finish())
    }

    #[inline]
    fn second(&self, now: Instant) -> Second {
        let seconds = now.saturating_duration_since(self.epoch).as_secs();
        Second::try_from(seconds).unwrap_or(SECOND_MAX).min(SECOND_MAX)
    }

    /// The end of an entry that is used now: whole seconds, and never before `expire` is over.
    #[inline]
    fn end(now: Second, expire: Duration) -> Second {
        let seconds = Second::try_from(expire.as_secs()).unwrap_or(SECOND_MAX);
        now.saturating_add(seconds).saturating_add(1).min(SECOND_MAX)
    }

    /// Whether an entry that ends then is worth a write to end at `end`: so it is renewed eight times in its life at most, and
    /// not with every request of a busy client.
    #[inline]
    fn is_due(state: State, end: Second, expire: Duration) -> bool {
        u64::from(end.saturating_sub(state.end())) > expire.as_secs() / 8
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of sets")]
    fn set(&self, Mark(mark): Mark) -> &Set {
        // The mark as a fraction of its range: below the number of sets.
        let at = (u128::from(mark) * self.sets.len() as u128) >> 64;
        &self.sets[at as usize]
    }

    /// The server of a key, whose entry lasts for another `expire` then.
    #[inline]
    pub fn find(&self, mark: Mark, now: Instant, expire: Duration) -> Option<Number> {
        let (set, second) = (self.set(mark), self.second(now));
        let (way, state) = set.locate(mark, second)?;
        let end = Self::end(second, expire);
        if Self::is_due(state, end, expire) {
            // Whoever changed it meanwhile has renewed it, or thrown it out.
            set.states[way].replace(state.0, state.with(state.server(), end).0);
        }
        Some(state.server())
    }

    /// The key is with this server now.
    pub fn store(&self, mark: Mark, server: Number, now: Instant, expire: Duration) -> Stored {
        let second = self.second(now);
        let end = Self::end(second, expire);
        let set = self.set(mark);
        // The common case writes nothing.
        if let Some((_, state)) = set.locate(mark, second)
            && state.server() == server
            && !Self::is_due(state, end, expire)
        {
            return Stored::Kept;
        }
        self.put(mark, server, end, second)
    }

    /// The key is with this server now, if it is known at all; `None` if it is not.
    pub fn update(
        &self,
        mark: Mark,
        server: Number,
        now: Instant,
        expire: Duration,
    ) -> Option<Stored> {
        let known = self.set(mark).locate(mark, self.second(now));
        known.map(|_| self.store(mark, server, now, expire))
    }

    fn put(&self, mark: Mark, server: Number, end: Second, now: Second) -> Stored {
        let set = self.set(mark);
        for _ in 0..ATTEMPTS_MAX {
            if let Some((way, state)) = set.locate(mark, now) {
                if set.states[way].replace(state.0, state.with(server, end).0) {
                    let stays = state.server() == server;
                    return if stays { Stored::Kept } else { Stored::Moved };
                }
                continue;
            }
            let Some((way, state)) = set.victim(now) else { continue };
            let claimed = state.claimed();
            if !set.states[way].replace(state.0, claimed.0) {
                continue;
            }
            set.marks[way].store(mark.0);
            set.states[way].store(claimed.with(server, end).0);
            set.remove_doubles(mark, now);
            return if state.lives(now) { Stored::Evicted } else { Stored::Added };
        }
        Stored::Refused
    }

    /// Forgets the entries of servers; how many.
    pub fn forget(&self, mut is_gone: impl FnMut(Number) -> bool) -> usize {
        let mut forgotten = 0;
        for word in self.sets.iter().flat_map(|set| &set.states) {
            // A place that changes under us is looked at again; what is written to it from now on names no server that is gone.
            loop {
                let state = State(word.load());
                if !state.lives(0) || !is_gone(state.server()) {
                    break;
                }
                if word.replace(state.0, state.vacated().0) {
                    forgotten += 1;
                    break;
                }
            }
        }
        forgotten
    }

    /// Entries that have not ended. Looks at every place: some milliseconds for a million.
    #[must_use]
    pub fn entries(&self, now: Instant) -> usize {
        let second = self.second(now);
        let states = self.sets.iter().flat_map(|set| &set.states);
        states.filter(|word| State(word.load()).lives(second)).count()
    }
}

impl Set {
    /// The place of a mark whose entry lives, and its state.
    #[inline]
    fn locate(&self, mark: Mark, now: Second) -> Option<(usize, State)> {
        (0..WAYS).find_map(|way| self.located(way, mark, now))
    }

    #[inline]
    fn located(&self, way: usize, mark: Mark, now: Second) -> Option<(usize, State)> {
        if self.marks[way].load() != mark.0 {
            return None;
        }
        // The mark may have been there before the state was: it counts only between two looks at the state.
        let (found, state) = self.tenant(way, now)?;
        (found == mark).then_some((way, state))
    }

    /// Who has a place.
    #[inline]
    fn tenant(&self, way: usize, now: Second) -> Option<(Mark, State)> {
        let before = State(self.states[way].load());
        if !before.lives(now) {
            return None;
        }
        let mark = self.marks[way].load();
        let state = State(self.states[way].load());
        (state.is_tenancy_of(before) && state.lives(now)).then_some((Mark(mark), state))
    }

    /// The place that can be given up best: an empty one, else the one that was renewed least recently.
    fn victim(&self, now: Second) -> Option<(usize, State)> {
        let states = self.states.iter().map(|word| State(word.load())).enumerate();
        let free = states.filter(|(_, state)| !state.is_busy());
        free.min_by_key(|(_, state)| if state.lives(now) { state.end() } else { 0 })
    }

    /// Removes all but the first entry of a mark.
    fn remove_doubles(&self, mark: Mark, now: Second) {
        let mut is_first = true;
        for way in 0..WAYS {
            while let Some((_, state)) = self.located(way, mark, now) {
                if std::mem::take(&mut is_first)
                    || self.states[way].replace(state.0, state.vacated().0)
                {
                    break;
                }
            }
        }
    }
}

//! One backend's table as one configuration sees it, and what stays from one to the next.
//!
//! Owns the way between the places of servers in a configuration and their numbers in the table. Invariant: an entry of a server
//! that the configuration does not have is as good as none.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::roster::Roster;
use crate::table::{Kind, Mark, Number, Stored, Table};

/// Which server a client stays with, by the servers' places in one configuration. Shared by all shards.
#[derive(Clone, Debug)]
pub struct Pins<S> {
    table: Arc<Table<S>>,
    expire: Duration,
    numbers: Box<[Option<Number>]>,
    /// By number; the places of the servers.
    places: Box<[Option<u32>]>,
}

impl<S: BuildHasher + Clone> Pins<S> {
    /// The mark of a key.
    #[inline]
    #[must_use]
    pub fn mark(&self, kind: Kind, key: &[u8]) -> Mark {
        self.table.mark(kind, key)
    }

    /// The server of a key; its entry lasts for another `expire` then.
    #[inline]
    #[must_use]
    pub fn find(&self, mark: Mark, now: Instant) -> Option<u32> {
        let Number(number) = self.table.find(mark, now, self.expire)?;
        self.places.get(usize::from(number)).copied().flatten()
    }

    /// The key is with this server now.
    pub fn store(&self, mark: Mark, server: u32, now: Instant) -> Stored {
        match self.number(server) {
            Some(number) => self.table.store(mark, number, now, self.expire),
            None => Stored::Refused,
        }
    }

    /// The key is with this server now, if it is known at all; `None` if it is not.
    pub fn update(&self, mark: Mark, server: u32, now: Instant) -> Option<Stored> {
        self.table.update(mark, self.number(server)?, now, self.expire)
    }

    fn number(&self, server: u32) -> Option<Number> {
        self.numbers.get(server as usize).copied().flatten()
    }
}

/// What stays of one backend's table over changes of the configuration.
#[derive(Clone, Debug)]
pub struct Keeper<S> {
    table: Arc<Table<S>>,
    roster: Roster,
}

impl<S: BuildHasher + Clone> Keeper<S> {
    /// Nothing is known; the table's time begins now. `hasher` is as for [`Table::new`].
    #[must_use]
    pub fn new(entries_max: usize, now: Instant, hasher: S) -> Keeper<S> {
        Keeper { table: Arc::new(Table::new(entries_max, now, hasher)), roster: Roster::default() }
    }

    /// The table for the servers that there are now. Those that are gone are forgotten; a table of another size takes over what
    /// finds a place in it.
    pub fn follow<'n>(
        &mut self,
        entries_max: usize,
        expire: Duration,
        servers: impl IntoIterator<Item = &'n str>,
        now: Instant,
    ) -> Pins<S> {
        let (numbers, gone) = self.roster.follow(servers);
        if !gone.is_empty() {
            self.table.forget(|number| gone.binary_search(&number).is_ok());
        }
        if entries_max.div_ceil(crate::WAYS).max(1) * crate::WAYS != self.table.entries_max() {
            self.table = Arc::new(self.table.resized(entries_max, now));
        }
        let count = numbers.iter().flatten().max();
        let count = count.map_or(0, |Number(greatest)| usize::from(*greatest) + 1);
        let mut places = vec![None; count];
        for (place, number) in (0..).zip(&numbers) {
            // Of two servers with one name the first is found.
            if let Some(Number(number)) = number {
                places[usize::from(*number)].get_or_insert(place);
            }
        }
        Pins { table: self.table.clone(), expire, numbers: numbers.into(), places: places.into() }
    }

    /// Entries that have not ended. Looks at every place.
    #[must_use]
    pub fn entries(&self, now: Instant) -> usize {
        self.table.entries(now)
    }

    /// The most entries.
    #[must_use]
    pub fn entries_max(&self) -> usize {
        self.table.entries_max()
    }
}

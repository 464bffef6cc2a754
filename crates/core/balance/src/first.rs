//! The first server that has room, in the order of the configuration: as few servers as possible are used.
//!
//! Owns the memory of which servers were full, a bit for each, so that a pick does not look at all of them. A
//! bit is cleared when this shard knows of an end ([`First::refresh`]), and one of them, in rotation, is looked at
//! again in each pick: an end on another shard is known after as many picks as servers are full.
//!
//! Invariant: a server whose bit is not set is looked at before it is taken.

use crate::ask::{Ask, Loads};
use crate::server::Member;

#[derive(Debug, Default)]
pub(crate) struct First {
    /// By place among the members.
    full: Vec<u64>,
    /// Where the search for a full server to look at again begins.
    cursor: usize,
}

impl First {
    pub(crate) fn rebuild(&mut self, members: &[Member]) {
        self.full.clear();
        self.full.resize(members.len().div_ceil(64), 0);
        self.cursor = 0;
    }

    #[inline(never)]
    pub(crate) fn pick<L: Loads>(&mut self, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        self.look_again(members, ask);
        for word in 0..self.full.len() {
            let mut room = !self.full[word];
            while room != 0 {
                let bit = room.trailing_zeros();
                room &= room - 1;
                let Some(member) = members.get(word * 64 + bit as usize) else { break };
                if ask.loads.is_full(crate::ServerId(member.server)) {
                    self.full[word] |= 1 << bit;
                } else if !ask.avoids(member.server) {
                    return Some(member.server);
                }
            }
        }
        self.first_of_all(members, ask)
    }

    /// Notes an end at a server: it may have room.
    #[inline]
    pub(crate) fn refresh(&mut self, server: u32, members: &[Member]) {
        if let Ok(place) = members.binary_search_by_key(&server, |member| member.server) {
            self.full[place / 64] &= !(1 << (place % 64));
        }
    }

    /// Looks at one server that was full, from the cursor on within its word.
    #[inline]
    fn look_again<L: Loads>(&mut self, members: &[Member], ask: &Ask<'_, L>) {
        let Some(word) = self.full.get_mut(self.cursor / 64) else { return };
        let later = *word >> (self.cursor % 64);
        if later == 0 {
            let next = (self.cursor / 64 + 1) * 64;
            self.cursor = if next < members.len() { next } else { 0 };
            return;
        }
        let place = self.cursor + later.trailing_zeros() as usize;
        let is_full = |member: &Member| ask.loads.is_full(crate::ServerId(member.server));
        if !members.get(place).is_some_and(is_full) {
            *word &= !(1 << (place % 64));
        }
        self.cursor = if place + 1 < members.len() { place + 1 } else { 0 };
    }

    /// A look at each, before it is said that all are full.
    #[cold]
    fn first_of_all<L: Loads>(&mut self, members: &[Member], ask: &Ask<'_, L>) -> Option<u32> {
        let member = members.iter().find(|member| !ask.skips(member.server))?;
        self.refresh(member.server, members);
        Some(member.server)
    }
}

//! Which address stands in which slot of a backend.
//!
//! Owns the assignment; leaves what a slot means (a server with its name, weight and counters) to others. Invariant: no address stands
//! in two slots, an address keeps its slot as long as it is there, and none is left out while a slot is free or holds a worse one.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::finding::Endpoint;

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the server is.
    pub socket: SocketAddr,
    /// Lower ones are used first.
    pub tier: u16,
    /// Its part of its server's weight; see [`Endpoint::share`].
    pub share: u16,
}

/// The slots of one name in one backend.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Of hosts, whose records name none; with a service's record its own goes first.
    port: Option<u16>,
    slots: Vec<Option<Place>>,
    surplus: usize,
}

impl Slots {
    /// So many free slots; `port` is that of servers whose records name none.
    #[must_use]
    pub fn new(count: usize, port: Option<u16>) -> Self {
        Self { port, slots: vec![None; count], surplus: 0 }
    }

    /// The slots of a configuration that follows another: an address stays in its slot if that is still there.
    pub fn adopt(&mut self, before: &Slots) {
        if self.port == before.port {
            for (slot, known) in self.slots.iter_mut().zip(&before.slots) {
                *slot = *known;
            }
        }
    }

    /// Takes the addresses that there are now; which slots have changed.
    pub fn assign(&mut self, endpoints: &[Endpoint]) -> Vec<usize> {
        let mut before: HashMap<SocketAddr, usize> = HashMap::new();
        for (slot, place) in self.slots.iter().enumerate() {
            before.extend(place.map(|place| (place.socket, slot)));
        }
        let place = |endpoint: &Endpoint| {
            let port = endpoint.port.or(self.port)?;
            let socket = SocketAddr::new(endpoint.address, port);
            Some(Place { socket, tier: endpoint.tier, share: endpoint.share })
        };
        let mut wanted: Vec<Place> = endpoints.iter().filter_map(place).collect();
        wanted.sort_by_key(|place| (place.socket, place.tier));
        wanted.dedup_by_key(|place| place.socket);
        // Better ones first, and of the same those that have a slot.
        wanted.sort_by_key(|place| (place.tier, !before.contains_key(&place.socket), place.socket));
        self.surplus = wanted.len().saturating_sub(self.slots.len());
        wanted.truncate(self.slots.len());
        let mut after = vec![None; self.slots.len()];
        let (stay, come): (Vec<Place>, Vec<Place>) =
            wanted.into_iter().partition(|place| before.contains_key(&place.socket));
        for place in stay {
            after[before[&place.socket]] = Some(place);
        }
        let mut free = (0..after.len()).filter(|slot| after[*slot].is_none()).collect::<Vec<_>>();
        // A slot that has been empty is taken before one whose address has just gone.
        free.sort_by_key(|slot| self.slots[*slot].is_some());
        for (slot, place) in free.into_iter().zip(come) {
            after[slot] = Some(place);
        }
        let changed = (0..after.len()).filter(|slot| after[*slot] != self.slots[*slot]).collect();
        self.slots = after;
        changed
    }

    /// What stands in a slot.
    #[must_use]
    pub fn place(&self, slot: usize) -> Option<Place> {
        self.slots.get(slot).copied().flatten()
    }

    /// How many slots there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Addresses that found no slot at the last assignment.
    #[must_use]
    pub const fn surplus(&self) -> usize {
        self.surplus
    }
}

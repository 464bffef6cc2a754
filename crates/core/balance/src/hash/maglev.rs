//! The table of Maglev (Eisenbud et al., NSDI 2016): each server fills places in an order of its own, in turns.
//!
//! Owns the table and the way from a key to its places. Differing from the paper, the table is not rebuilt when a
//! server goes: its keys are looked up once more, at a second place that the key has, and so on. So exactly its keys
//! move, and they spread over all the others. Invariant: every place holds a server.

use super::{CANDIDATES_MAX, PROBES_MAX, Search, mix, table_share};
use crate::ask::Loads;
use crate::server::ServerSettings;

/// Places, a prime: the paper's sizes. Hundred for each server keep shares within 1 %.
const PLACES: u32 = 65_537;
/// Where there are more than 650 servers.
const PLACES_OF_MANY: u32 = 655_373;

#[derive(Debug)]
pub(crate) struct Maglev {
    places: Vec<u16>,
}

impl Maglev {
    pub(crate) fn new(servers: &[ServerSettings]) -> Self {
        const EMPTY: u16 = u16::MAX;
        if servers.is_empty() {
            return Self { places: Vec::new() };
        }
        let size = if servers.len() > 650 { PLACES_OF_MANY } else { PLACES };
        let mut places = vec![EMPTY; size as usize];
        let greatest = u64::from(servers.iter().map(table_share).max().unwrap_or(1));
        let size = u64::from(size);
        // Where each is in its order, the step of that, and what it has saved up for its next turn.
        let mut orders: Vec<(u64, u64, u64)> = servers
            .iter()
            .map(|server| {
                let (offset, skip) =
                    (server.identity % size, mix(server.identity) % (size - 1) + 1);
                (offset, skip, 0)
            })
            .collect();
        // Servers take turns in the order of their names' hashes: the order in the file does not matter.
        let mut turns: Vec<usize> = (0..servers.len()).collect();
        turns.sort_unstable_by_key(|server| servers[*server].identity);
        let mut left = places.len();
        loop {
            for &server in &turns {
                let (at, skip, saved) = &mut orders[server];
                *saved += u64::from(table_share(&servers[server]));
                if *saved < greatest {
                    continue;
                }
                *saved -= greatest;
                let place = loop {
                    let place = usize::try_from(*at).unwrap_or(0);
                    *at = (*at + *skip) % size;
                    if places[place] == EMPTY {
                        break place;
                    }
                };
                places[place] = u16::try_from(server).unwrap_or(0);
                left -= 1;
                if left == 0 {
                    return Self { places };
                }
            }
        }
    }

    /// The server at the key's first place, if it keeps the key.
    #[inline]
    pub(super) fn first(&self, key: u64, kept: &[u32]) -> Option<u32> {
        let place = ((key >> 32) * self.places.len() as u64) >> 32;
        let server = *self.places.get(usize::try_from(place).ok()?)?;
        // The lower bits say whether the key is in the part that the server keeps.
        let keeps = key & 0xffff < u64::from(*kept.get(usize::from(server))?);
        keeps.then_some(server.into())
    }

    /// Tries the key's places until one belongs to a server that keeps it.
    pub(super) fn find<L: Loads>(
        &self,
        key: u64,
        kept: &[u32],
        search: &mut Search<'_, L>,
    ) -> Option<u32> {
        let mut number = key;
        for _ in 0..PROBES_MAX {
            if let Some(server) = self.first(number, kept) {
                if search.takes(server) {
                    return Some(server);
                }
                if search.candidates >= CANDIDATES_MAX {
                    return None;
                }
            }
            number = mix(number);
        }
        None
    }
}

//! The connections to one server that requests use, for the moment at which they must end.
//!
//! Owns their keys; leaves the sockets to the requests. Only servers whose sessions end with them are kept account of: the
//! others pay nothing. Invariant: a key is in the list from the taking of its connection until its giving up.

use std::cell::RefCell;

use tidegate_ring::{Ring, SocketKey};

/// The place of a connection in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// The connections in use. Places are used again, so that it grows to the most there were at once.
#[derive(Default)]
pub(crate) struct InUse(RefCell<List>);

#[derive(Default)]
struct List {
    keys: Vec<Option<SocketKey>>,
    free: Vec<u32>,
}

impl InUse {
    pub(crate) fn enter(&self, key: SocketKey) -> Place {
        let mut list = self.0.borrow_mut();
        let place = list.free.pop().unwrap_or_else(|| {
            list.keys.push(None);
            u32::try_from(list.keys.len() - 1).expect("there are fewer sockets than 2^32")
        });
        list.keys[place as usize] = Some(key);
        Place(place)
    }

    pub(crate) fn leave(&self, Place(place): Place) {
        let mut list = self.0.borrow_mut();
        list.keys[place as usize] = None;
        list.free.push(place);
    }

    /// Ends them all; those who use them give them up when they notice.
    pub(crate) fn abort(&self, ring: &Ring) {
        self.0.borrow().keys.iter().flatten().for_each(|key| ring.abort(*key));
    }
}

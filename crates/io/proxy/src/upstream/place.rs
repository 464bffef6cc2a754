//! Where a server is: at its address, or where its name is at the moment.
//!
//! Owns the address that new connections go to; leaves resolving to the control plane, and what becomes of connections to the place
//! before to whoever holds them. Invariant: two connections with the same epoch go to the same address.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustix::io::Errno;
use socket2::SockAddr;
use tidegate_ring::{Ring, Socket};

/// Where a name is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The address.
    pub socket: SocketAddr,
    /// Another number for each change of the server's address, the same on all shards.
    pub epoch: u32,
}

/// Where a server is, as it is configured.
#[derive(Clone, Debug)]
pub enum Location {
    /// There.
    Fixed(SockAddr),
    /// Where its name is.
    Named {
        /// What makes it the same server over reloads: the name and its port.
        name: Arc<str>,
        /// Where that is now; none: nowhere.
        spot: Option<Spot>,
    },
}

impl From<SocketAddr> for Location {
    fn from(socket: SocketAddr) -> Location {
        Location::Fixed(socket.into())
    }
}

/// The place of one server on one shard.
pub(crate) struct Place {
    /// None: fixed.
    name: Option<Arc<str>>,
    now: RefCell<Option<SockAddr>>,
    epoch: Cell<u32>,
}

impl Place {
    pub(crate) fn new(location: &Location) -> Place {
        match location {
            Location::Fixed(address) => {
                Place { name: None, now: RefCell::new(Some(address.clone())), epoch: Cell::new(0) }
            }
            Location::Named { name, spot } => {
                let place = Place {
                    name: Some(name.clone()),
                    now: RefCell::new(None),
                    epoch: Cell::new(0),
                };
                place.move_to(*spot);
                place
            }
        }
    }

    /// Whether a server there is the same one as before.
    pub(crate) fn is(&self, location: &Location) -> bool {
        match (location, &self.name) {
            (Location::Fixed(address), None) => self.now.borrow().as_ref() == Some(address),
            (Location::Named { name, .. }, Some(known)) => name == known,
            _ => false,
        }
    }

    /// Takes where the name is now; whether that is another place than before. A server whose name is nowhere stays where it was:
    /// it gets no requests, and those that are on their way may as well try.
    pub(crate) fn move_to(&self, spot: Option<Spot>) -> bool {
        let Some(spot) = spot.filter(|spot| self.name.is_some() && spot.epoch != self.epoch.get())
        else {
            return false;
        };
        self.epoch.set(spot.epoch);
        *self.now.borrow_mut() = Some(spot.socket.into());
        true
    }

    /// Which of its addresses connections go to that are made now.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    /// Whether what went to the place of this epoch goes to where the server is now.
    #[inline]
    pub(crate) fn is_at(&self, epoch: u32) -> bool {
        self.epoch.get() == epoch
    }

    /// Starts connecting.
    ///
    /// # Errors
    /// As [`Ring::connect`], or it is nowhere.
    pub(crate) fn connect(&self, ring: &Ring) -> io::Result<Socket> {
        match &*self.now.borrow() {
            Some(address) => ring.connect(address),
            None => Err(Errno::HOSTUNREACH.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_moves_and_stays_the_same_server() {
        let socket = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let named = |name: &str, spot| Location::Named { name: name.into(), spot };
        let place = Place::new(&named("app:80", None));
        assert!(place.is(&named("app:80", Some(Spot { socket: socket(1), epoch: 1 }))));
        assert!(!place.is(&named("db:80", None)) && !place.is(&socket(1).into()));
        assert!(place.move_to(Some(Spot { socket: socket(1), epoch: 7 })));
        assert!(!place.move_to(Some(Spot { socket: socket(1), epoch: 7 })), "it is there");
        assert!(!place.move_to(None), "it stays where it was");
        assert_eq!((place.epoch(), place.now.borrow().clone()), (7, Some(socket(1).into())));
        assert!(place.move_to(Some(Spot { socket: socket(2), epoch: 9 })));

        let fixed = Place::new(&socket(1).into());
        assert!(fixed.is(&socket(1).into()) && !fixed.is(&socket(2).into()));
        assert!(!fixed.move_to(Some(Spot { socket: socket(2), epoch: 9 })));
    }
}

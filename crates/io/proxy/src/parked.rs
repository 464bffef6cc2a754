//! Connections that wait without a task: idle clients and idle server connections, found by the token they parked under.
//!
//! Owns the table, and how a task without a client waits; leaves what to do when one of them says something to `worker`. Invariant: a place that is not vacant
//! belongs to exactly one parked socket.

use std::rc::Rc;

use tidegate_shard::TimerId;

use crate::client::Client;
use crate::site::Server;

/// Something parked: when it says something, its place is looked up by the token.
pub(crate) enum Parked {
    Client(Box<Client>),
    Server(Rc<Server>),
    Vacant,
}

pub(crate) struct Place {
    pub(crate) parked: Parked,
    /// Made when a client is first parked here. It is left running when the client leaves: moving it to a later deadline
    /// costs one store, stopping and setting it again would touch its neighbours in the wheel.
    pub(crate) timer: Option<TimerId>,
}

#[derive(Default)]
pub(crate) struct ParkedTable {
    pub(crate) places: Vec<Place>,
    pub(crate) free: Vec<u32>,
}

impl ParkedTable {
    #[allow(clippy::cast_possible_truncation, reason = "bounded by descriptors")]
    /// Puts `parked` into a free place, whose index is its token.
    pub(crate) fn insert(&mut self, parked: Parked) -> u32 {
        if let Some(index) = self.free.pop() {
            self.places[index as usize].parked = parked;
            return index;
        }
        self.places.push(Place { parked, timer: None });
        self.places.len() as u32 - 1
    }

    /// Empties a place.
    pub(crate) fn take(&mut self, index: u32) -> Parked {
        let parked = std::mem::replace(&mut self.places[index as usize].parked, Parked::Vacant);
        if !matches!(parked, Parked::Vacant) {
            self.free.push(index);
        }
        parked
    }

    /// Empties the places of all clients.
    #[allow(clippy::vec_box, reason = "clients are boxed where they are parked")]
    pub(crate) fn take_clients(&mut self) -> Vec<Box<Client>> {
        let count = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let mut clients = Vec::new();
        for index in 0..count {
            if matches!(self.places[index as usize].parked, Parked::Client(_))
                && let Parked::Client(client) = self.take(index)
            {
                clients.push(client);
            }
        }
        clients
    }
}

/// Pending once: the task goes on when it is woken.
pub(crate) async fn idle_once() {
    let mut polled = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut polled, true) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

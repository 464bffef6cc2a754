//! The log lines of what happens to names and to the servers that are where they are.
//!
//! Owns their words; leaves when there are too many of them to `flood`. Invariant: one line an event.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_discovery::{DnsName, Event};

use super::NameKey;
use crate::log::{Level, Line};

/// Something that has happened.
pub(crate) enum Told {
    /// To a name, which now has so many addresses.
    Name { key: NameKey, event: Event, count: usize },
    /// A server is somewhere else; none: nowhere.
    Server { backend: Arc<str>, server: Arc<str>, name: DnsName, socket: Option<SocketAddr> },
    /// There are more addresses than slots.
    Surplus { backend: Arc<str>, name: DnsName, slots: usize, surplus: usize },
}

/// Its line.
pub(crate) fn tell(told: &Told) -> Line {
    match told {
        Told::Name { key, event, count } => {
            let (level, word) = match event {
                Event::Changed => (Level::Info, "name_changed"),
                Event::Failing(_) => (Level::Warn, "name_failing"),
                Event::Absent(_) => (Level::Warn, "name_absent"),
                Event::Recovered => (Level::Info, "name_recovered"),
                Event::GivenUp => (Level::Error, "name_given_up"),
            };
            let line = Line::new(level, word)
                .with("name", &key.name)
                .with("resolvers", &key.resolvers)
                .with("addresses", count);
            match event {
                Event::Failing(fault) => line.with("reason", fault.label()),
                Event::Absent(absence) => line.with("reason", absence.label()),
                Event::Changed | Event::Recovered | Event::GivenUp => line,
            }
        }
        Told::Server { backend, server, name, socket } => {
            let (level, word) = match socket {
                Some(_) => (Level::Info, "server_address"),
                None => (Level::Warn, "server_without_address"),
            };
            let line = Line::new(level, word).with("backend", backend).with("server", server);
            let line = line.with("name", name);
            match socket {
                Some(socket) => line.with("address", socket),
                None => line,
            }
        }
        Told::Surplus { backend, name, slots, surplus } => {
            Line::new(Level::Warn, "addresses_without_slot")
                .with("backend", backend)
                .with("name", name)
                .with("slots", slots)
                .with("surplus", surplus)
                .with("help", "raise `slots`: these addresses get no requests")
        }
    }
}

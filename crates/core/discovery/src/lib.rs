//! Server addresses by name, without I/O.
//!
//! This crate owns names and what they stand for: the messages of DNS (RFC 1035), which resolver is asked next, what follows from
//! the answers, how long it holds, and which address stands in which slot of a backend. It leaves to others: sockets, the clock and
//! chance (the control plane), and whether a server at an address is well (`tidegate-health`).
//!
//! Invariant: addresses that were known stay until an answer says that they have gone or the time for holding them is over;
//! and an address keeps its slot as long as it is there.
//!
//! ```
//! use tidegate_discovery::{DnsName, Endpoint, Slots};
//!
//! let name: DnsName = "_http._tcp.app.internal".parse().unwrap();
//! assert!(name.is_service());
//! let endpoint = |last| Endpoint { address: [192, 0, 2, last].into(), port: None, tier: 0, share: 256 };
//! let mut slots = Slots::new(2, Some(8080));
//! slots.assign(&[endpoint(1), endpoint(2)]);
//! slots.assign(&[endpoint(2), endpoint(3)]);
//! assert_eq!(slots.place(0).unwrap().socket, "192.0.2.3:8080".parse().unwrap());
//! assert_eq!(slots.place(1).unwrap().socket, "192.0.2.2:8080".parse().unwrap());
//! ```

mod files;
mod finding;
mod lookup;
mod message;
mod name;
mod nameservers;
mod round;
mod settings;
mod slots;
mod watch;

pub use files::{FILE_BYTES_MAX, Hosts, nameservers};
pub use finding::{Absence, Endpoint, Fault, Finding, Outcome, SHARE_WHOLE};
pub use lookup::{Ask, Lookup, Next, Taken, Transport};
pub use message::{
    DATAGRAM_BYTES_MAX, Kind, NotRead, RECORDS_MAX, Record, Reply, read_reply, write_query,
};
pub use name::{DnsName, NameError};
pub use nameservers::{NAMESERVERS_MAX, Nameservers};
pub use round::{ENDPOINTS_MAX, Question, Round, TARGETS_MAX};
pub use settings::{Family, Settings};
pub use slots::{Place, Slots};
pub use watch::{Event, Watch};

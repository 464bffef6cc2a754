//! Where a peer is, in the few bytes a connection can afford to keep.
//!
//! Owns the type; leaves resolving to others. Invariant: no allocation, at most 32 bytes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// The address of a connection's other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// A TCP peer.
    Ip(SocketAddr),
    /// A peer on a Unix socket, which has no address worth showing.
    Unix,
    /// The kernel did not say: the connection was already gone.
    Unknown,
}

impl PeerAddress {
    pub(crate) fn of(address: &SockAddr) -> PeerAddress {
        match address.as_socket() {
            Some(address) => PeerAddress::Ip(address),
            None if address.is_unix() => PeerAddress::Unix,
            None => PeerAddress::Unknown,
        }
    }

    /// The IP address, when there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddress::Ip(address) => Some(address.ip()),
            PeerAddress::Unix | PeerAddress::Unknown => None,
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => address.fmt(f),
            PeerAddress::Unix => f.write_str("unix"),
            PeerAddress::Unknown => f.write_str("unknown"),
        }
    }
}

//! IP addresses as text.
//!
//! Owns the digits; leaves brackets and ports to the formats. Invariant: the text is that of the standard library
//! (RFC 5952 for IPv6), written without its formatting machinery, which costs more than the rest of a line.

use crate::line::Line;
use crate::record::Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Line {
    /// Writes the IP address, or `unix`.
    #[inline]
    pub(crate) fn ip(&mut self, address: &Address) {
        match address {
            Address::Ip(SocketAddr::V4(address)) => self.ipv4(*address.ip()),
            Address::Ip(SocketAddr::V6(address)) => self.ipv6(*address.ip()),
            Address::Unix => self.put(b"unix"),
        }
    }

    fn ipv4(&mut self, address: Ipv4Addr) {
        let [rest @ .., last] = address.octets();
        for octet in rest {
            self.number_and(octet.into(), b'.');
        }
        self.number(last.into());
    }

    fn ipv6(&mut self, address: Ipv6Addr) {
        if let Some(mapped) = address.to_ipv4_mapped() {
            self.put(b"::ffff:");
            return self.ipv4(mapped);
        }
        let groups = address.segments();
        let (start, length) = longest_zeros(&groups);
        let (before, rest) = groups.split_at_checked(start).unwrap_or((&groups, &[]));
        self.groups(before);
        if length > 1 {
            self.put(b"::");
            self.groups(rest.get(length..).unwrap_or_default());
        }
    }

    fn groups(&mut self, groups: &[u16]) {
        for (at, group) in groups.iter().enumerate() {
            if at > 0 {
                self.push(b':');
            }
            let digits = (16 - group.leading_zeros()).div_ceil(4).max(1);
            for digit in (0..digits).rev() {
                let [_, nibble] = (group >> (digit * 4) & 15).to_be_bytes();
                self.push(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
            }
        }
    }
}

/// Place and length of the first longest run of zero groups; if there is none of two or more, the end and zero.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut best_length, mut length) = (groups.len(), 1, 0);
    for (at, group) in groups.iter().enumerate() {
        length = if *group == 0 { length + 1 } else { 0 };
        if length > best_length {
            (best, best_length) = (at + 1 - length, length);
        }
    }
    if best == groups.len() { (best, 0) } else { (best, best_length) }
}

impl Address {
    /// The port; 0 for a Unix socket.
    #[inline]
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Unix => 0,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<(IpAddr, u16)> for Address {
    fn from((address, port): (IpAddr, u16)) -> Self {
        Self::Ip(SocketAddr::new(address, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_testkit::seed;

    fn text(ip: IpAddr) -> String {
        let mut line = Line::new();
        line.ip(&Address::from((ip, 1)));
        String::from_utf8(line.as_bytes().to_vec()).expect("addresses are text")
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_writes_them() {
        let known = [
            "::",
            "::1",
            "1::",
            "1:0:0:2:0:0:0:3",
            "::ffff:192.0.2.255",
            "fe80::abcd:0:9",
            "1:2:3:4:5:6:7:8",
        ];
        for ip in known {
            let ip: IpAddr = ip.parse().expect("it is an address");
            assert_eq!(text(ip), ip.to_string());
        }
        let seed = seed();
        let mut rng = seed.rng();
        for _ in 0..5000 {
            let group = |rng: &mut tidegate_testkit::Rng| {
                let [high, low, kind, ..] = rng.next_u64().to_le_bytes();
                if kind < 128 { 0 } else { u16::from_le_bytes([high, low]) >> (kind & 12) }
            };
            let groups: [u16; 8] = std::array::from_fn(|_| group(&mut rng));
            let [a, b, c, d, ..] = rng.next_u64().to_le_bytes();
            for ip in [IpAddr::from(groups), IpAddr::from([a, b, c & 15, d])] {
                assert_eq!(text(ip), ip.to_string());
            }
        }
    }
}

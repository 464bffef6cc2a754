//! Owns networks, and a table that tells which of many networks an address is in.
//!
//! Leaves what the numbers are to its users. Networks nest or are disjoint, so that their bounds cut
//! the addresses into at most twice as many intervals, in each of which the answer is the same: the
//! lookup is a binary search among these, which takes less memory and fewer steps than a trie of bits.
//! Invariant: an IPv4 address in IPv6 form is the IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A block of addresses, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkError {
    /// No address stands before the slash.
    Address,
    /// The prefix is no number up to this.
    Prefix(u8),
    /// The address has bits beyond the prefix; the network it is in.
    HostBits(Network),
}

impl Network {
    /// Reads an address or a block. Bits beyond the prefix are refused.
    pub(crate) fn parse_strict(text: &str) -> Result<Self, NetworkError> {
        let (network, address) = Self::parse_loose(text)?;
        if network.address == address { Ok(network) } else { Err(NetworkError::HostBits(network)) }
    }

    /// Reads an address or a block, whose bits beyond the prefix do not matter; also the address.
    fn parse_loose(text: &str) -> Result<(Self, IpAddr), NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(prefix) => {
                let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                let bits = if is_number { prefix.parse().ok() } else { None };
                bits.filter(|bits| *bits <= bits_max).ok_or(NetworkError::Prefix(bits_max))?
            }
        };
        let (address, prefix_bits) = match address {
            IpAddr::V6(v6) if prefix_bits >= 96 => match v6.to_ipv4_mapped() {
                Some(v4) => (IpAddr::V4(v4), prefix_bits - 96),
                None => (address, prefix_bits),
            },
            _ => (address, prefix_bits),
        };
        Ok((Self { address: masked(address, prefix_bits), prefix_bits }, address))
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.prefix_bits) == self.address
    }

    fn bounds(&self) -> (u128, u128) {
        match self.address {
            IpAddr::V4(v4) => {
                let first = v4.to_bits();
                let last = first | u32::MAX.checked_shr(self.prefix_bits.into()).unwrap_or(0);
                (first.into(), last.into())
            }
            IpAddr::V6(v6) => {
                let first = v6.to_bits();
                (first, first | u128::MAX.checked_shr(self.prefix_bits.into()).unwrap_or(0))
            }
        }
    }
}

/// Bits beyond the prefix are set to zero; a single address stands for itself.
impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse_loose(text).map(|(network, _)| network).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix_bits)
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => formatter.write_str("not an address or a block of addresses"),
            Self::Prefix(bits_max) => write!(formatter, "a prefix is a number up to {bits_max}"),
            Self::HostBits(_) => formatter.write_str("the address has bits beyond the prefix"),
        }
    }
}

fn masked(address: IpAddr, prefix_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let host_bits = u32::MAX.checked_shr(prefix_bits.into()).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !host_bits))
        }
        IpAddr::V6(v6) => {
            let host_bits = u128::MAX.checked_shr(prefix_bits.into()).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !host_bits))
        }
    }
}

/// No network is there.
const NONE: u32 = u32::MAX;

/// Intervals of addresses, each from its start to the next one's.
#[derive(Clone, Debug, Default)]
struct Intervals<T> {
    starts: Vec<T>,
    /// The chain of each interval, [`NONE`] outside of all networks.
    chains: Vec<u32>,
}

/// A network, and the one it is directly in.
#[derive(Clone, Debug)]
struct Link {
    value: u32,
    outer: u32,
}

/// Networks, each with a number.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeTable {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
    links: Vec<Link>,
}

impl RangeTable {
    /// A table of these networks; of a network given twice the first value stays.
    pub(crate) fn new(networks: impl IntoIterator<Item = (Network, u32)>) -> Self {
        let mut table = Self::default();
        let (mut v4, mut v6): (Vec<_>, Vec<_>) =
            networks.into_iter().partition(|(network, _)| network.address.is_ipv4());
        for networks in [&mut v4, &mut v6] {
            // An outer network stands before those in it.
            networks.sort_by_key(|(network, _)| (network.bounds().0, network.prefix_bits));
            networks.dedup_by_key(|(network, _)| *network);
        }
        let v4 = table.cut(&v4, u32::MAX.into());
        table.v4.chains = v4.chains;
        let narrow = |start: u128| u32::try_from(start).expect("an IPv4 address has 32 bits");
        table.v4.starts = v4.starts.into_iter().map(narrow).collect();
        table.v6 = table.cut(&v6, u128::MAX);
        table
    }

    fn cut(&mut self, networks: &[(Network, u32)], last_address: u128) -> Intervals<u128> {
        let mut intervals = Intervals { starts: vec![0], chains: vec![NONE] };
        // The networks that are open where the sweep stands: the last address and the link of each.
        let mut open: Vec<(u128, u32)> = Vec::new();
        for (network, value) in networks {
            let (first, last) = network.bounds();
            intervals.close_before(&mut open, first, last_address);
            let outer = open.last().map_or(NONE, |(_, link)| *link);
            let link = u32::try_from(self.links.len()).expect("lists are bounded far below 4 GiB");
            self.links.push(Link { value: *value, outer });
            intervals.begin(first, link);
            open.push((last, link));
        }
        intervals.close_before(&mut open, u128::MAX, last_address);
        // What reaches the last address needs no end.
        intervals
    }

    /// Calls `visit` with the number of every network that holds the address, the smallest first,
    /// until it returns true; whether it did.
    #[inline]
    pub(crate) fn walk(&self, address: IpAddr, mut visit: impl FnMut(u32) -> bool) -> bool {
        let mut chain = match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        };
        while let Some(link) = self.links.get(chain as usize) {
            if visit(link.value) {
                return true;
            }
            chain = link.outer;
        }
        false
    }

    #[inline]
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.walk(address, |_| true)
    }
}

impl Intervals<u128> {
    /// Begins an interval; one that has no addresses gives way.
    fn begin(&mut self, start: u128, chain: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.chains.pop();
        }
        self.starts.push(start);
        self.chains.push(chain);
    }

    /// Ends the networks that end before `first`, the innermost first.
    fn close_before(&mut self, open: &mut Vec<(u128, u32)>, first: u128, last_address: u128) {
        while let Some((last, _)) = open.pop_if(|(last, _)| *last < first) {
            if last < last_address {
                let outer = open.last().map_or(NONE, |(_, link)| *link);
                self.begin(last + 1, outer);
            }
        }
    }
}

impl<T: Ord + Copy> Intervals<T> {
    #[inline]
    fn find(&self, address: T) -> u32 {
        let after = self.starts.partition_point(|start| *start <= address);
        after.checked_sub(1).and_then(|index| self.chains.get(index)).copied().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORKS: [&str; 12] = [
        "10.0.0.0/8",
        "10.0.0.0/16",
        "10.0.1.0/24",
        "10.255.0.0/16",
        "192.0.2.7",
        "255.255.255.255",
        "255.0.0.0/8",
        "2001:db8::/32",
        "2001:db8:ffff::/48",
        "::/1",
        "ffff::/16",
        "::ffff:198.51.100.0/120",
    ];

    const ADDRESSES: [&str; 18] = [
        "0.0.0.0",
        "9.255.255.255",
        "10.0.0.0",
        "10.0.1.255",
        "10.0.2.0",
        "10.255.255.255",
        "11.0.0.0",
        "192.0.2.7",
        "192.0.2.8",
        "255.255.255.255",
        "255.1.1.1",
        "::",
        "2001:db8::1",
        "2001:db8:ffff:1::",
        "8000::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "198.51.100.77",
        "::ffff:10.0.1.1",
    ];

    #[test]
    fn the_table_agrees_with_each_network() {
        let networks: Vec<Network> =
            NETWORKS.iter().map(|text| text.parse().expect("a network")).collect();
        for skipped in 0..networks.len() {
            let kept = networks.iter().copied().zip(0..).skip(skipped);
            let table = RangeTable::new(kept.clone());
            for address in ADDRESSES {
                let address: IpAddr = address.parse().expect("an address");
                let mut found = Vec::new();
                table.walk(address, |value| {
                    found.push(value);
                    false
                });
                found.sort_unstable();
                let holding = kept.clone().filter(|(network, _)| network.contains(address));
                assert_eq!(
                    found,
                    holding.map(|(_, value)| value).collect::<Vec<u32>>(),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn networks_that_are_none_are_refused() {
        let cases = [
            ("", NetworkError::Address),
            ("10.0.0", NetworkError::Address),
            ("10.0.0.0/33", NetworkError::Prefix(32)),
            ("10.0.0.0/", NetworkError::Prefix(32)),
            ("10.0.0.0/+8", NetworkError::Prefix(32)),
            ("::/129", NetworkError::Prefix(128)),
            ("10.0.0.1/8", NetworkError::HostBits("10.0.0.0/8".parse().expect("a network"))),
        ];
        for (text, expected) in cases {
            assert_eq!(Network::parse_strict(text), Err(expected), "{text}");
        }
        assert_eq!("10.1.2.3/8".parse::<Network>().expect("a network").to_string(), "10.0.0.0/8");
    }
}

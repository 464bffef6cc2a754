//! The files of the system that say how names are resolved.
//!
//! Owns the meaning of `/etc/hosts` (hosts(5)) and of the `nameserver` lines of `/etc/resolv.conf` (resolv.conf(5)); leaves reading
//! them to the control plane. Invariant: a line that is not understood says nothing, as for the C library.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::name::DnsName;
use crate::nameservers::NAMESERVERS_MAX;

/// The largest file that is read, in bytes: some hundred thousand names.
pub const FILE_BYTES_MAX: u64 = 8 << 20;

/// The port of resolvers.
const PORT: u16 = 53;

/// The addresses of one name in a file of hosts: more are left out.
const ADDRESSES_MAX: usize = 64;

/// Names with addresses that no resolver is asked for.
#[derive(Clone, Debug, Default)]
pub struct Hosts(HashMap<DnsName, Vec<IpAddr>>);

impl Hosts {
    /// Reads a file of hosts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut hosts: HashMap<DnsName, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            // An address with a zone is of use on one link only.
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            for name in words.filter_map(|word| word.parse().ok()) {
                let known = hosts.entry(name).or_default();
                if !known.contains(&address) && known.len() < ADDRESSES_MAX {
                    known.push(address);
                }
            }
        }
        Self(hosts)
    }

    /// What the file says of a name; this machine's own names are known without a file.
    #[must_use]
    pub fn find(&self, name: &DnsName) -> Option<Vec<IpAddr>> {
        let local = || vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        self.0.get(name).cloned().or_else(|| name.is_localhost().then(local))
    }
}

/// The resolvers that `/etc/resolv.conf` names, the first [`NAMESERVERS_MAX`]; without any, the one of this machine.
#[must_use]
pub fn nameservers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let named = words.next() == Some("nameserver");
        let address = words.next().filter(|_| named)?.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address, PORT))
    };
    let servers: Vec<_> = text.lines().filter_map(server).take(NAMESERVERS_MAX).collect();
    if servers.is_empty() { vec![([127, 0, 0, 1], PORT).into()] } else { servers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost\n# 10.0.0.9 app\n10.0.0.1\tApp.internal app # first\n10.0.0.2 app\n10.0.0.2 app\n\
             fe80::1%eth0 app\nnonsense app\n::1 six\n",
        );
        let find = |name: &str| hosts.find(&name.parse().expect("valid"));
        let address = |text: &str| text.parse::<IpAddr>().expect("valid");
        assert_eq!(find("app.internal"), Some(vec![address("10.0.0.1")]));
        assert_eq!(find("app"), Some(vec![address("10.0.0.1"), address("10.0.0.2")]));
        assert_eq!(find("six"), Some(vec![address("::1")]));
        assert_eq!(find("localhost"), Some(vec![address("127.0.0.1")]));
        assert_eq!(find("db.localhost"), Some(vec![address("127.0.0.1"), address("::1")]));
        assert_eq!(find("other"), None);
    }

    #[test]
    fn reads_the_resolvers_of_the_system() {
        let text = "# made by hand\nsearch example\nnameserver 10.0.0.2\n  nameserver\t2001:db8::1\nnameserver x\noptions a\n";
        let servers: Vec<SocketAddr> =
            ["10.0.0.2:53", "[2001:db8::1]:53"].map(|text| text.parse().expect("valid")).into();
        assert_eq!(nameservers(text), servers);
        assert_eq!(nameservers(""), [SocketAddr::from(([127, 0, 0, 1], 53))]);
        assert_eq!(nameservers(&"nameserver 10.0.0.1\n".repeat(20)).len(), NAMESERVERS_MAX);
    }
}

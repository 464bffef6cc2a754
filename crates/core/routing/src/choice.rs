//! Which backend a split gives.
//!
//! Owns the arithmetic of weights and the hash of keys. Leaves the key to the rule's template and
//! randomness to the caller. Invariant: the choice for a key depends on the key and the split alone:
//! it is the same on every shard, after a restart, on every machine and in every release.

use std::net::IpAddr;

use tidegate_rules::Key;

use crate::settings::{BackendIndex, Split};

impl Split {
    /// The backend for a number that is spread evenly over all of its range.
    pub(crate) fn pick(&self, spread: u64) -> Option<BackendIndex> {
        // The number, as a fraction of its range, of the sum: even to 2^-32.
        let point = (u128::from(spread) * u128::from(self.sum)) >> 64;
        let mut end = 0_u128;
        let share = self.shares.iter().find(|share| {
            end += u128::from(share.weight);
            point < end
        });
        share.map(|share| share.backend)
    }
}

/// The number that stands for a key: FNV-1a with 64 bits over its bytes, then the finalizer of
/// `MurmurHash3`, without which the high bits of similar keys are similar. An address is hashed as the
/// 4 or 16 bytes that it has, an IPv4 address in IPv6 form as the 4.
///
/// It does not keep anyone from choosing a key to their liking: a key that clients can choose, such as
/// a cookie, lets them choose the backend.
pub(crate) fn spread(key: Key<'_>) -> u64 {
    match key {
        Key::Text(bytes) => finish(fnv(bytes)),
        Key::Address(address) => match address.to_canonical() {
            IpAddr::V4(address) => finish(fnv(&address.octets())),
            IpAddr::V6(address) => finish(fnv(&address.octets())),
        },
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn finish(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_keys_never_change() {
        let address = |text: &str| Key::Address(text.parse().expect("an address"));
        assert_eq!(spread(address("::ffff:192.0.2.1")), spread(address("192.0.2.1")));
        assert_ne!(spread(address("192.0.2.1")), spread(Key::Text(b"192.0.2.1")));
        // FNV-1a of "a" is the published af63dc4c8601ec8c.
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}

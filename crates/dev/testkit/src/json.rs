//! Owns JSON bodies as an API answers with them: for compression, whose cost and success depend on
//! what a body looks like.
//!
//! Leaves compressing to others. Invariant: the same seed gives the same bytes on every machine.

use crate::seed::Rng;
use std::fmt::Write;

const WORDS: [&str; 68] = [
    "amber", "anchor", "basket", "bicycle", "blue", "bottle", "bridge", "canvas", "carbon",
    "ceramic", "classic", "copper", "cotton", "desk", "double", "elastic", "engine", "family",
    "feather", "filter", "folding", "garden", "glass", "green", "hammer", "harbor", "heavy",
    "indigo", "kitchen", "ladder", "lamp", "large", "leather", "light", "linen", "marble",
    "mirror", "modern", "mountain", "narrow", "oak", "office", "orange", "outdoor", "paper",
    "pearl", "pocket", "quiet", "rapid", "river", "rubber", "saddle", "silver", "simple", "small",
    "solid", "steel", "stone", "summer", "table", "travel", "vintage", "violet", "walnut", "water",
    "winter", "wooden", "woven",
];

/// A page of a shop's products, `length` bytes long: an array of objects with identifiers, prices,
/// times, tags and sentences. zlib's level 6 makes a quarter of it.
///
/// The last object is cut to the length and the array closed after it.
///
/// # Panics
/// When `length` is below 100 bytes.
#[must_use]
pub fn json(seed: u64, length: usize) -> Vec<u8> {
    assert!(length >= 100, "a page has a head and an end");
    let (mut rng, mut page) = (Rng::new(seed), String::from("{\"page\":1,\"items\":["));
    while page.len() < length {
        item(&mut rng, &mut page).expect("a string takes everything");
    }
    page.truncate(length - 2);
    page.push_str("]}");
    page.into_bytes()
}

fn item(rng: &mut Rng, page: &mut String) -> std::fmt::Result {
    let (high, low) = (rng.next_u64(), rng.next_u64());
    let node = low & 0xFFFF_FFFF_FFFF;
    write!(page, "{{\"id\":\"{:08x}-{:04x}-4", high >> 32, (high >> 16) & 0xFFFF)?;
    write!(page, "{:03x}-{:04x}-{node:012x}\"", high & 0xFFF, 0x8000 | (low >> 50))?;
    write!(page, ",\"sku\":\"{}-{:05}\"", word(rng).to_uppercase(), rng.below(100_000))?;
    write!(page, ",\"name\":\"{} {} {}\"", word(rng), word(rng), word(rng))?;
    let currency = rng.choose(&["EUR", "USD", "GBP", "SEK"]);
    write!(page, ",\"price\":{{\"amount\":{}.{:02}", rng.below(900) + 1, rng.below(100))?;
    write!(page, ",\"currency\":\"{currency}\"}},\"in_stock\":{}", rng.below(4) != 0)?;
    write!(page, ",\"quantity\":{},\"created_at\":\"2026-", rng.below(500))?;
    write!(page, "{:02}-{:02}T{:02}", rng.below(12) + 1, rng.below(28) + 1, rng.below(24))?;
    write!(page, ":{:02}:{:02}.{:03}Z\"", rng.below(60), rng.below(60), rng.below(1000))?;
    write!(page, ",\"rating\":{}.{},\"tags\":[", rng.below(5), rng.below(10))?;
    for index in 0..rng.below(5) {
        write!(page, "{}\"{}\"", if index == 0 { "" } else { "," }, word(rng))?;
    }
    write!(page, "],\"description\":\"{}", word(rng))?;
    for _ in 0..7 + rng.below(20) {
        write!(page, " {}", word(rng))?;
    }
    write!(page, ".\",\"url\":\"https://shop.example.com/products/{}", word(rng))?;
    write!(page, "-{}-{}\"}},", word(rng), rng.below(1_000_000))
}

fn word(rng: &mut Rng) -> &'static str {
    WORDS[rng.below(WORDS.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_length_and_depends_on_its_seed_alone() {
        for length in [100, 1000, 65_536] {
            assert_eq!(json(1, length).len(), length);
        }
        assert_eq!(json(1, 65_536), json(1, 65_536));
        assert_ne!(json(1, 65_536), json(2, 65_536));
    }
}

//! A memory of credentials that were right, so that the slow comparison is not made per request.
//!
//! Owns the tags and their bounded table. Leaves the key and time to the caller. Invariant: the
//! table never grows, holds no password, and holds nothing that tells one without the key; only what
//! was right is ever in it, so that nobody can fill it by guessing.
//!
//! A tag is HMAC-SHA-256, with a random key of this process, over the stored hash, the name and the
//! password. With another stored hash the tag is another one: a changed password is not remembered
//! under the new configuration, whoever forgets to clear the table.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::hash::PasswordHash;

/// What stands for a name and a password in the table.
#[derive(Clone, Copy)]
pub struct Tag([u8; 32]);

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag")
    }
}

/// How many places a tag can be in.
const WAYS: usize = 4;

#[derive(Clone, Copy)]
struct Entry {
    tag: [u8; 32],
    /// Zero in an empty place: nothing is valid before the clock starts.
    expires: Duration,
}

const EMPTY: Entry = Entry { tag: [0; 32], expires: Duration::ZERO };

/// Credentials that were right, for some time. Each shard has its own; looking up and putting in
/// allocate nothing.
pub struct VerifiedCache {
    keyed: Hmac<Sha256>,
    lifetime: Duration,
    sets: Box<[[Entry; WAYS]]>,
}

impl VerifiedCache {
    /// The most entries of one cache: 3 MiB of 48 bytes each.
    pub const ENTRIES_MAX: usize = 65_536;

    /// A cache for at least `entries` (rounded up to a multiple of four, at most
    /// [`Self::ENTRIES_MAX`]), each good for `lifetime`. `key` is random and known to nobody else.
    #[must_use]
    pub fn new(key: [u8; 32], entries: usize, lifetime: Duration) -> Self {
        let sets = entries.clamp(1, Self::ENTRIES_MAX).div_ceil(WAYS);
        Self {
            keyed: Hmac::new_from_slice(&key).expect("HMAC takes keys of every length"),
            lifetime,
            sets: vec![[EMPTY; WAYS]; sets].into_boxed_slice(),
        }
    }

    /// The tag of a name and a password for a user with this hash.
    #[must_use]
    pub fn tag(&self, hash: &PasswordHash, user: &[u8], password: &[u8]) -> Tag {
        let mut mac = self.keyed.clone();
        // Lengths before the parts, so that no two triples give the same bytes.
        for part in [hash.text(), user, password] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Tag(mac.finalize().into_bytes().into())
    }

    /// Whether these credentials were right less than a lifetime ago. `now` is the time since some
    /// start, which never goes back.
    #[must_use]
    pub fn contains(&self, tag: &Tag, now: Duration) -> bool {
        let set = &self.sets[self.set_of(tag)];
        set.iter().any(|entry| entry.expires > now && entry.tag.ct_eq(&tag.0).into())
    }

    /// Remembers credentials that were right. The place of the entry that is oldest among a few is
    /// taken if all are in use.
    pub fn insert(&mut self, tag: &Tag, now: Duration) {
        let expires = now.saturating_add(self.lifetime);
        let index = self.set_of(tag);
        let set = &mut self.sets[index];
        let place = match set.iter().position(|entry| entry.tag == tag.0) {
            Some(place) => place,
            None => (1..WAYS).fold(0, |oldest, place| {
                if set[place].expires < set[oldest].expires { place } else { oldest }
            }),
        };
        set[place] = Entry { tag: tag.0, expires };
    }

    fn set_of(&self, tag: &Tag) -> usize {
        let [a, b, c, d, ..] = tag.0;
        u32::from_le_bytes([a, b, c, d]) as usize % self.sets.len()
    }
}

impl fmt::Debug for VerifiedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedCache")
            .field("entries", &(self.sets.len() * WAYS))
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

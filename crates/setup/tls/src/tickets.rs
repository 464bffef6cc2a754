//! Session tickets: what a client carries so that its next handshake is short, on whichever shard.
//!
//! Owns the keys and the tickets; leaves what is in them to rustls. Invariant: keys exist in memory only, are used for at most
//! half a lifetime and opened with for one more; a ticket is never taken after its lifetime.
//!
//! A ticket (RFC 5077 §4 leaves its form to the server): the key's name, a nonce, and under AES-256-GCM the time of issue and
//! the session.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// Bytes of a key's name.
const NAME_BYTES: usize = 16;

/// Keys that are kept: the one in use and the two before, which made the tickets that are not yet too old.
const KEYS_MAX: usize = 3;

/// One key.
struct Key {
    name: [u8; NAME_BYTES],
    key: RandomizedNonceKey,
    /// In seconds since 1970.
    made: u64,
}

impl Key {
    /// None: the system gives no random bytes.
    fn new(now: u64) -> Option<Arc<Self>> {
        let mut name = [0; NAME_BYTES];
        let mut secret = Zeroizing::new([0; 32]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut *secret).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &*secret).ok()?;
        Some(Arc::new(Self { name, key, made: now }))
    }
}

/// The keys of one bind, newest first.
type Keys = Vec<Arc<Key>>;

/// Makes and takes the tickets of one bind, on all shards.
pub(crate) struct Tickets {
    keys: ArcSwap<Keys>,
    lifetime: Duration,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl Tickets {
    pub fn new(lifetime: Duration) -> Self {
        Self { keys: ArcSwap::from_pointee(Vec::new()), lifetime }
    }

    /// Goes on with the keys of another bind, which shares them from now on until either rotates.
    pub fn take_over(&self, before: &Self) {
        self.keys.store(before.keys.load_full());
    }

    /// Takes no ticket any more that was made until now.
    pub fn forget(&self) {
        self.keys.store(Arc::new(Vec::new()));
    }

    /// The key to make tickets with: a new one after half a lifetime.
    fn current(&self, now: u64) -> Option<Arc<Key>> {
        let keys = self.keys.load();
        let newest = keys.first();
        let fresh_until = |key: &Key| key.made.saturating_add(self.lifetime.as_secs() / 2);
        // A clock that was set back makes no key last longer.
        if let Some(key) = newest.filter(|key| now <= fresh_until(key) && now + 60 >= key.made) {
            return Some(key.clone());
        }
        let key = Key::new(now)?;
        let others = keys.iter().take(KEYS_MAX - 1).cloned();
        let new = Arc::new(std::iter::once(key.clone()).chain(others).collect::<Keys>());
        let before = self.keys.compare_and_swap(&keys, new);
        // Of two shards that rotate at once, one is first and the other uses its key.
        if Arc::ptr_eq(&before, &keys) { Some(key) } else { self.keys.load().first().cloned() }
    }

    fn encrypt_at(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let key = self.current(now)?;
        let mut sealed = Vec::with_capacity(8 + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&now.to_be_bytes());
        sealed.extend_from_slice(plain);
        let nonce = key.key.seal_in_place_append_tag(Aad::from(&key.name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn decrypt_at(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let keys = self.keys.load();
        // Names are no secrets: they stand in every ticket.
        let key = keys.iter().find(|key| key.name == name)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let opened = key.key.open_in_place(nonce, Aad::from(&key.name), &mut bytes).ok()?;
        let (issued, plain) = opened.split_first_chunk::<8>()?;
        let age = now.saturating_sub(u64::from_be_bytes(*issued));
        (age <= self.lifetime.as_secs()).then(|| plain.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(cipher, now())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;

    fn tickets() -> Tickets {
        Tickets::new(Duration::from_secs(HOUR))
    }

    #[test]
    fn a_ticket_is_taken_for_its_lifetime_and_no_longer() {
        let tickets = tickets();
        let ticket = tickets.encrypt_at(b"session", 1000).expect("made");
        assert_eq!(tickets.decrypt_at(&ticket, 1000 + HOUR).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets.decrypt_at(&ticket, 1001 + HOUR), None);
    }

    #[test]
    fn keys_rotate_and_old_ones_are_dropped() {
        let tickets = tickets();
        let first = tickets.encrypt_at(b"session", 1000).expect("made");
        let mut names = std::collections::HashSet::new();
        for half in 0..6 {
            let at = 1000 + half * (HOUR / 2 + 1);
            let ticket = tickets.encrypt_at(b"session", at).expect("made");
            names.insert(ticket[..NAME_BYTES].to_vec());
            assert!(tickets.keys.load().len() <= KEYS_MAX);
            // With a clock that stands still the key alone decides.
            assert_eq!(tickets.decrypt_at(&first, 1000).is_some(), half < 3, "{half}");
        }
        assert_eq!(names.len(), 6);
    }

    #[test]
    fn a_clock_that_is_set_back_gets_a_new_key() {
        let tickets = tickets();
        let late = tickets.encrypt_at(b"session", 100 * HOUR).expect("made");
        let early = tickets.encrypt_at(b"session", HOUR).expect("made");
        assert_ne!(late[..NAME_BYTES], early[..NAME_BYTES]);
    }

    #[test]
    fn tickets_of_another_bind_are_not_taken_unless_its_keys_were_taken_over() {
        let (one, other) = (tickets(), tickets());
        let ticket = one.encrypt_at(b"session", 1000).expect("made");
        assert_eq!(other.decrypt_at(&ticket, 1000), None);
        other.take_over(&one);
        assert!(other.decrypt_at(&ticket, 1000).is_some());
        one.forget();
        assert_eq!(one.decrypt_at(&ticket, 1000), None);
        assert!(other.decrypt_at(&ticket, 1000).is_some());
    }

    proptest! {
        #[test]
        fn nothing_but_a_ticket_is_opened(
            plain in proptest::collection::vec(any::<u8>(), 0..200),
            place in any::<prop::sample::Index>(),
            change in 1_u8..,
            junk in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let tickets = tickets();
            let mut ticket = tickets.encrypt_at(&plain, 1000).expect("made");
            prop_assert_eq!(tickets.decrypt_at(&ticket, 1000), Some(plain));
            prop_assert_eq!(tickets.decrypt_at(&junk, 1000), None);
            let place = place.index(ticket.len());
            prop_assert_eq!(tickets.decrypt_at(&ticket[..place], 1000), None);
            ticket[place] ^= change;
            prop_assert_eq!(tickets.decrypt_at(&ticket, 1000), None);
        }
    }
}

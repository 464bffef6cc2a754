//! Plaintext to records.
//!
//! Owns cutting plaintext into records and the number of records that a key seals. Leaves when to send, and when to change the key, to
//! the user. Invariant: a sequence number is used before the next one, and none twice, whatever fails.

use crate::key::{Key, TAG_BYTES};
use crate::messages::KeyUpdate;
use crate::{Alert, HEADER_BYTES, KeyError, Kind, PLAINTEXT_BYTES_MAX, Secret, Version};
use aws_lc_rs::aead::{Aad, Nonce};

/// Why nothing more is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// The key has sealed as many records as it may ([`RECORDS_PER_KEY_MAX`](crate::RECORDS_PER_KEY_MAX)): it had to be changed
    /// before, and in TLS 1.2 the connection to be closed.
    KeyExhausted,
    /// The cipher refused, which it has no reason to.
    Cipher,
}

impl std::fmt::Display for SealError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KeyExhausted => "the key has sealed as many records as it may",
            Self::Cipher => "the cipher refused to seal",
        })
    }
}

impl std::error::Error for SealError {}

/// Seals the records of one direction.
pub struct Sealer {
    key: Key,
    sequence: u64,
}

impl Sealer {
    /// A sealer for the records after the handshake; `sequence` is the number of the first.
    ///
    /// # Errors
    ///
    /// The secret's lengths are not the cipher's.
    pub fn new(version: Version, secret: &Secret<'_>, sequence: u64) -> Result<Self, KeyError> {
        Ok(Self { key: Key::new(version, secret)?, sequence })
    }

    /// How many bytes so much plaintext becomes: none for none.
    #[must_use]
    #[inline]
    pub fn sealed_bytes(&self, plaintext_bytes: usize) -> usize {
        plaintext_bytes + plaintext_bytes.div_ceil(PLAINTEXT_BYTES_MAX) * self.overhead()
    }

    /// Appends the records of the plaintext to `out`: as few as can be, none for none.
    ///
    /// # Errors
    ///
    /// The key has no records left for all of it. `out` is as it was.
    #[inline]
    pub fn seal(
        &mut self,
        kind: Kind,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.seal_parts(kind, &[plaintext], out)
    }

    /// The same for plaintext that lies in several places, such as a head and the start of a body: the records are filled over
    /// their borders.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal).
    pub fn seal_parts(
        &mut self,
        kind: Kind,
        parts: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        self.check_records(kind, left.div_ceil(PLAINTEXT_BYTES_MAX))?;
        let before = out.len();
        out.resize(before + self.sealed_bytes(left), 0);
        let (mut rest, mut parts) = (&mut out[before..], Parts { parts, start: 0 });
        let mut outcome = Ok(());
        while left > 0 && outcome.is_ok() {
            let bytes = left.min(PLAINTEXT_BYTES_MAX);
            let (record, following) = rest.split_at_mut(bytes + self.overhead());
            outcome = self.seal_record(kind, &mut parts, record);
            (rest, left) = (following, left - bytes);
        }
        if outcome.is_err() {
            out.truncate(before);
        }
        outcome
    }

    /// Appends an alert. After a fatal one and after close_notify nothing may follow.
    ///
    /// # Errors
    ///
    /// As [`seal`](Self::seal), at the end of the sequence numbers alone.
    pub fn alert(&mut self, alert: Alert, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.seal(Kind::Alert, &alert.encode(), out)
    }

    /// Whether the key should be changed: by [`update_key`](Self::update_key) in TLS 1.3, by closing the connection in TLS 1.2.
    #[must_use]
    #[inline]
    pub fn needs_key_update(&self) -> bool {
        self.sequence >= self.key.records_until_update_max()
    }

    /// Appends a KeyUpdate sealed with the old key, and goes on with the key of `secret`, the next one of this direction
    /// (RFC 8446 §4.6.3). One answers any number of requests that came before it.
    ///
    /// # Errors
    ///
    /// The secret's lengths are not the cipher's, or the version is not 1.3: nothing was changed.
    pub fn update_key(
        &mut self,
        update: KeyUpdate,
        secret: &Secret<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), UpdateError> {
        let next = self.key.next(secret).map_err(UpdateError::Key)?;
        self.seal(Kind::Handshake, &update.encode(), out).map_err(UpdateError::Seal)?;
        (self.key, self.sequence) = (next, 0);
        Ok(())
    }

    #[inline]
    fn overhead(&self) -> usize {
        HEADER_BYTES + self.key.prefix_bytes() + self.key.suffix_bytes()
    }

    /// Alerts and key updates are let past the key's limit, so that a connection can still be ended or changed: they are few.
    #[inline]
    fn check_records(&self, kind: Kind, records: usize) -> Result<(), SealError> {
        let max = match kind {
            Kind::ApplicationData => self.key.records_max(),
            Kind::Alert | Kind::Handshake => u64::MAX,
        };
        let after =
            u64::try_from(records).ok().and_then(|records| self.sequence.checked_add(records));
        if after.is_some_and(|after| after <= max) { Ok(()) } else { Err(SealError::KeyExhausted) }
    }

    /// Fills `record`, which is as long as the record will be.
    #[inline]
    fn seal_record(
        &mut self,
        kind: Kind,
        parts: &mut Parts<'_>,
        record: &mut [u8],
    ) -> Result<(), SealError> {
        let key = &self.key;
        let bytes = record.len() - self.overhead();
        let [.., high, low] = (record.len() - HEADER_BYTES).to_be_bytes();
        let header = [key.outer_type(kind), 3, 3, high, low];
        let nonce = key.nonce(self.sequence);
        let data = Aad::from(key.additional_data(self.sequence, header, bytes));
        self.sequence += 1;

        let (start, content) = record.split_at_mut(HEADER_BYTES + key.prefix_bytes());
        start[..HEADER_BYTES].copy_from_slice(&header);
        let prefix_bytes = key.prefix_bytes();
        start[HEADER_BYTES..].copy_from_slice(&nonce[nonce.len() - prefix_bytes..]);
        let (content, end) = content.split_at_mut(bytes);
        let kind = [kind.code()];
        let inner_type = &kind[..end.len() - TAG_BYTES];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = match parts.take_whole(bytes) {
            Some(plaintext) => key
                .cipher
                .seal_out_of_place_scatter(nonce, data, plaintext, content, inner_type, end),
            None => {
                parts.copy(content);
                key.cipher.seal_in_place_scatter(nonce, data, content, inner_type, end)
            }
        };
        sealed.map_err(|_| SealError::Cipher)
    }
}

/// Why a key was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateError {
    /// The new key cannot be used.
    Key(KeyError),
    /// The message could not be sealed.
    Seal(SealError),
}

impl std::fmt::Display for UpdateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(error) => error.fmt(f),
            Self::Seal(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpdateError {}

/// What is left of the plaintext.
struct Parts<'a> {
    parts: &'a [&'a [u8]],
    /// Bytes of the first part that are taken.
    start: usize,
}

impl<'a> Parts<'a> {
    /// The next bytes, if they lie together.
    #[inline]
    fn take_whole(&mut self, bytes: usize) -> Option<&'a [u8]> {
        while let [first, rest @ ..] = self.parts {
            if self.start < first.len() {
                let whole = first.get(self.start..self.start + bytes)?;
                self.start += bytes;
                return Some(whole);
            }
            (self.parts, self.start) = (rest, 0);
        }
        None
    }

    /// Copies the next bytes, from as many parts as it takes.
    fn copy(&mut self, mut to: &mut [u8]) {
        while let ([first, rest @ ..], false) = (self.parts, to.is_empty()) {
            let bytes = to.len().min(first.len() - self.start);
            let (filled, empty) = to.split_at_mut(bytes);
            filled.copy_from_slice(&first[self.start..self.start + bytes]);
            (to, self.start) = (empty, self.start + bytes);
            if self.start == first.len() {
                (self.parts, self.start) = (rest, 0);
            }
        }
    }
}

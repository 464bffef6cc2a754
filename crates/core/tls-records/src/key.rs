//! Keys of one direction: from the secrets of a handshake to nonces and additional data.
//!
//! Owns which bytes go into the cipher beside the plaintext (RFC 8446 §5.2 and §5.3, RFC 5288 §3, RFC 7905 §2) and how many
//! records one key may seal. Leaves the cipher to aws-lc and counting to the opener and the sealer.
//! Invariant: nothing here prints or compares a key.

use crate::{HEADER_BYTES, Kind};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};

/// Bytes of a tag: the same for all ciphers here.
pub(crate) const TAG_BYTES: usize = 16;

/// Bytes of the nonce that AES-GCM in TLS 1.2 sends in each record (RFC 5288 §3).
pub(crate) const EXPLICIT_NONCE_BYTES: usize = 8;

/// Bytes of the fixed part of that nonce.
const SALT_BYTES: usize = NONCE_LEN - EXPLICIT_NONCE_BYTES;

/// After this many records sealed with one AES-GCM key, [`Sealer::needs_key_update`](crate::Sealer::needs_key_update) asks for a
/// new one. It is rustls' limit, and leaves time until [`RECORDS_PER_KEY_MAX`].
pub const RECORDS_UNTIL_UPDATE_MAX: u64 = 1 << 24;

/// After this many records, an AES-GCM key seals no more application data: 2^24.5 records of full size (RFC 8446 §5.5).
/// ChaCha20-Poly1305 ends with the sequence numbers alone.
pub const RECORDS_PER_KEY_MAX: u64 = 23_726_566;

/// The version that a handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// The cipher that a handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// AES-128-GCM, with a key of 16 bytes.
    Aes128Gcm,
    /// AES-256-GCM, with a key of 32 bytes.
    Aes256Gcm,
    /// ChaCha20-Poly1305, with a key of 32 bytes.
    ChaCha20Poly1305,
}

impl Cipher {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes128Gcm => &AES_128_GCM,
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// What a handshake leaves for one direction. It is borrowed, so that whoever owns the bytes can wipe them; the only copy that is
/// kept is inside the cipher's own state, which aws-lc wipes when it is freed. It has no `Debug`.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    /// The cipher.
    pub cipher: Cipher,
    /// The key, as long as the cipher's are.
    pub key: &'a [u8],
    /// Twelve bytes. For AES-GCM in TLS 1.2: the salt of four, then where the explicit nonces start.
    pub iv: &'a [u8],
}

/// Why a secret cannot be used: a fault of the program, never of the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The key or the iv has not the length that the cipher has.
    Length,
    /// Only TLS 1.3 changes keys after the handshake.
    NoKeyUpdate,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Length => "a key or iv whose length is not the cipher's",
            Self::NoKeyUpdate => "keys change after the handshake in TLS 1.3 alone",
        })
    }
}

impl std::error::Error for KeyError {}

/// How nonces and additional data are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// Nonce from the sequence number; the header is authenticated, the type is inside.
    Tls13,
    /// Nonce from the sequence number; sequence, header and length of the plaintext are authenticated.
    Tls12,
    /// The same, with eight bytes of the nonce in the record.
    Tls12Explicit,
}

/// A cipher with its key, for one direction.
pub(crate) struct Key {
    pub(crate) cipher: LessSafeKey,
    iv: [u8; NONCE_LEN],
    scheme: Scheme,
    limit: Limit,
}

/// Whether the number of records under one key is limited by the cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Gcm,
    None,
}

/// Bytes that are authenticated and not sent, or sent as the header: never more than these.
pub(crate) struct AdditionalData {
    bytes: [u8; 13],
    len: usize,
}

impl AsRef<[u8]> for AdditionalData {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Key {
    pub(crate) fn new(version: Version, secret: &Secret<'_>) -> Result<Self, KeyError> {
        let iv = secret.iv.try_into().map_err(|_| KeyError::Length)?;
        let key = UnboundKey::new(secret.cipher.algorithm(), secret.key);
        let cipher = LessSafeKey::new(key.map_err(|_| KeyError::Length)?);
        let (scheme, limit) = match (version, secret.cipher) {
            (Version::Tls13, Cipher::ChaCha20Poly1305) => (Scheme::Tls13, Limit::None),
            (Version::Tls13, _) => (Scheme::Tls13, Limit::Gcm),
            (Version::Tls12, Cipher::ChaCha20Poly1305) => (Scheme::Tls12, Limit::None),
            (Version::Tls12, _) => (Scheme::Tls12Explicit, Limit::Gcm),
        };
        Ok(Self { cipher, iv, scheme, limit })
    }

    /// The key that follows it.
    pub(crate) fn next(&self, secret: &Secret<'_>) -> Result<Self, KeyError> {
        match self.version() {
            Version::Tls12 => Err(KeyError::NoKeyUpdate),
            Version::Tls13 => Self::new(Version::Tls13, secret),
        }
    }

    #[inline]
    pub(crate) fn version(&self) -> Version {
        match self.scheme {
            Scheme::Tls13 => Version::Tls13,
            Scheme::Tls12 | Scheme::Tls12Explicit => Version::Tls12,
        }
    }

    /// Bytes between a record's header and its ciphertext.
    #[inline]
    pub(crate) fn prefix_bytes(&self) -> usize {
        match self.scheme {
            Scheme::Tls12Explicit => EXPLICIT_NONCE_BYTES,
            Scheme::Tls13 | Scheme::Tls12 => 0,
        }
    }

    /// Bytes between the plaintext's end and the record's.
    #[inline]
    pub(crate) fn suffix_bytes(&self) -> usize {
        match self.scheme {
            Scheme::Tls13 => 1 + TAG_BYTES,
            Scheme::Tls12 | Scheme::Tls12Explicit => TAG_BYTES,
        }
    }

    /// The nonce of the record with this number: the number over the iv (RFC 8446 §5.3, RFC 7905 §2). AES-GCM in TLS 1.2 may choose its
    /// explicit part (RFC 5288 §3); this is rustls' choice, and must be: it has sealed the handshake's last record.
    #[inline]
    pub(crate) fn nonce(&self, sequence: u64) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        for (byte, with) in nonce[SALT_BYTES..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= with;
        }
        nonce
    }

    /// The nonce of a received record: the explicit part where there is one.
    #[inline]
    pub(crate) fn nonce_of(&self, sequence: u64, prefix: &[u8]) -> Nonce {
        let mut nonce = self.nonce(sequence);
        if self.scheme == Scheme::Tls12Explicit {
            nonce[SALT_BYTES..].copy_from_slice(prefix);
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// What is authenticated beside the plaintext (RFC 8446 §5.2, RFC 5246 §6.2.3.3). `plaintext_bytes` is at most
    /// [`PLAINTEXT_BYTES_MAX`](crate::PLAINTEXT_BYTES_MAX).
    #[inline]
    pub(crate) fn additional_data(
        &self,
        sequence: u64,
        header: [u8; HEADER_BYTES],
        plaintext_bytes: usize,
    ) -> AdditionalData {
        let mut bytes = [0; 13];
        if self.scheme == Scheme::Tls13 {
            bytes[..HEADER_BYTES].copy_from_slice(&header);
            return AdditionalData { bytes, len: HEADER_BYTES };
        }
        let [kind, major, minor, ..] = header;
        let [.., high, low] = plaintext_bytes.to_be_bytes();
        bytes[..8].copy_from_slice(&sequence.to_be_bytes());
        bytes[8..].copy_from_slice(&[kind, major, minor, high, low]);
        AdditionalData { bytes, len: 13 }
    }

    /// The type in the header of a record of this kind: TLS 1.3 hides it.
    #[inline]
    pub(crate) fn outer_type(&self, kind: Kind) -> u8 {
        match self.version() {
            Version::Tls13 => Kind::ApplicationData.code(),
            Version::Tls12 => kind.code(),
        }
    }

    /// Records from which on a new key is wanted.
    #[inline]
    pub(crate) fn records_until_update_max(&self) -> u64 {
        match self.limit {
            Limit::Gcm => RECORDS_UNTIL_UPDATE_MAX,
            Limit::None => u64::MAX,
        }
    }

    /// Records of application data that may be sealed.
    #[inline]
    pub(crate) fn records_max(&self) -> u64 {
        match self.limit {
            Limit::Gcm => RECORDS_PER_KEY_MAX,
            Limit::None => u64::MAX,
        }
    }
}

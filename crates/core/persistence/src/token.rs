//! The token by which a client is known again.
//!
//! Owns its bytes: a version, the server, the time of the client's first token, the time of this one, and a signature over
//! these (HMAC-SHA-256, RFC 2104, cut to 128 bits). Leaves to `persistence` what a token means. Invariant: signatures are
//! compared in constant time, and a token of which one bit was changed is none.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::base64;
use crate::settings::Key;

/// The length of a token's text.
pub const TOKEN_BYTES: usize = 44;

const VERSION: u8 = 1;

/// What is signed.
const PAYLOAD_BYTES: usize = 17;

/// Half of a SHA-256, as RFC 2104 §5 allows: a guess is right once in 2^128.
const SIGNATURE_BYTES: usize = 16;

/// Where 32 bits of seconds begin: 2020. They last until 2156.
const EPOCH: u64 = 1_577_836_800;

/// A time in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unix(pub u64);

/// A token's text: letters, digits, `-` and `_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// The text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; TOKEN_BYTES] {
        &self.0
    }
}

/// A server by a part of the hash of its name: the same in every process and after every change of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerMark(pub(crate) [u8; 8]);

impl ServerMark {
    pub(crate) fn of(name: &str) -> Self {
        let hash = Sha256::digest(name.as_bytes());
        Self(hash.first_chunk().copied().unwrap_or_default())
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) server: ServerMark,
    pub(crate) first: Unix,
    pub(crate) renewed: Unix,
}

impl Claims {
    fn payload(&self) -> [u8; PAYLOAD_BYTES] {
        let seconds =
            |at: Unix| u32::try_from(at.0.saturating_sub(EPOCH)).unwrap_or(u32::MAX).to_be_bytes();
        let mut payload = [0; PAYLOAD_BYTES];
        payload[0] = VERSION;
        payload[1..9].copy_from_slice(&self.server.0);
        payload[9..13].copy_from_slice(&seconds(self.first));
        payload[13..].copy_from_slice(&seconds(self.renewed));
        payload
    }

    fn of_payload(payload: &[u8; PAYLOAD_BYTES]) -> Option<Self> {
        let [VERSION, rest @ ..] = payload else { return None };
        let (server, times) = rest.split_first_chunk::<8>()?;
        let (first, renewed) = times.split_first_chunk::<4>()?;
        let time = |seconds: [u8; 4]| Unix(EPOCH + u64::from(u32::from_be_bytes(seconds)));
        let renewed = renewed.first_chunk::<4>()?;
        Some(Self { server: ServerMark(*server), first: time(*first), renewed: time(*renewed) })
    }
}

/// Makes and checks the signatures of one key.
#[derive(Clone, Debug)]
pub(crate) struct Signer(Hmac<Sha256>);

impl Signer {
    pub(crate) fn new(key: &Key) -> Self {
        Self(Hmac::new_from_slice(key.bytes()).expect("HMAC takes keys of every length"))
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Token {
        let payload = claims.payload();
        let mut hash = self.0.clone();
        hash.update(&payload);
        let signature = hash.finalize().into_bytes();
        let mut bytes = [0; PAYLOAD_BYTES + SIGNATURE_BYTES];
        bytes[..PAYLOAD_BYTES].copy_from_slice(&payload);
        bytes[PAYLOAD_BYTES..].copy_from_slice(&signature[..SIGNATURE_BYTES]);
        let mut text = [0; TOKEN_BYTES];
        base64::encode(&bytes, &mut text);
        Token(text)
    }

    /// What a token says, if this key signed it.
    pub(crate) fn read(&self, bytes: &[u8; PAYLOAD_BYTES + SIGNATURE_BYTES]) -> Option<Claims> {
        let (payload, signature) = bytes.split_first_chunk::<PAYLOAD_BYTES>()?;
        let mut hash = self.0.clone();
        hash.update(payload);
        hash.verify_truncated_left(signature).ok()?;
        Claims::of_payload(payload)
    }
}

/// The bytes of what may be a token.
pub(crate) fn bytes_of(text: &[u8]) -> Option<[u8; PAYLOAD_BYTES + SIGNATURE_BYTES]> {
    let text: &[u8; TOKEN_BYTES] = text.try_into().ok()?;
    let mut bytes = [0; PAYLOAD_BYTES + SIGNATURE_BYTES];
    base64::decode(text, &mut bytes)?;
    Some(bytes)
}

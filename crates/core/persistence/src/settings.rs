//! How a backend's clients are known again.
//!
//! Owns the types; reading them from a file is left to the configuration. Invariant: a [`Key`] says nothing of what it was
//! made from.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How clients are known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where their token is.
    pub carrier: Carrier,
    /// The keys of signatures: the first one signs, all of them are good for reading. None yet: the
    /// configuration has none, and who fills them in takes the installation's.
    pub keys: Vec<Key>,
    /// A token that was not renewed for so long is not followed; one that is used is renewed. In seconds.
    pub max_idle: Option<Duration>,
    /// A token is not followed so long after the client's first one. In seconds.
    pub max_life: Option<Duration>,
}

/// Where a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// In a cookie.
    Cookie(Cookie),
    /// In a header field with this name, of responses and then of requests: for clients that keep no cookies.
    Header(Vec<u8>),
}

/// A cookie that holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: Vec<u8>,
    /// Whose cookie it is.
    pub mode: Mode,
    /// Servers do not see it. In the mode `Insert` alone.
    pub indirect: bool,
    /// What follows the value of one that is inserted, from the first semicolon on.
    pub attributes: Vec<u8>,
}

/// Whose cookie it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The proxy's own.
    Insert,
    /// The server's, with the token before its value.
    Prefix,
    /// The server's, whose value is replaced by the token.
    Rewrite,
}

/// The key of signatures of one backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    /// A backend's key from a secret that may be shared by many, with the backend's name for its purpose.
    #[must_use]
    pub fn derived(secret: &[u8], purpose: &[u8]) -> Self {
        let mut hash =
            Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of every length");
        hash.update(b"tidegate persistence\0");
        hash.update(purpose);
        Self(hash.finalize().into_bytes().into())
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

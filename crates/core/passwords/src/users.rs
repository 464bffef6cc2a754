//! The users who may pass, by name.
//!
//! Owns the comparison of a name and a password with them. Leaves one hash to `hash`. Invariant: an
//! unknown name costs a verification too, so that the time does not tell which names exist.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use crate::hash::PasswordHash;

/// Names and the hashes of their passwords.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, PasswordHash>,
}

/// A name that was given twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateUser(pub String);

impl fmt::Display for DuplicateUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the user `{}` is there twice", self.0)
    }
}

impl Error for DuplicateUser {}

impl Users {
    /// Collects users. Names are compared byte by byte; a name with a colon can never be sent.
    ///
    /// # Errors
    /// The first name that comes a second time.
    pub fn new<'a>(
        users: impl IntoIterator<Item = (&'a str, PasswordHash)>,
    ) -> Result<Self, DuplicateUser> {
        let mut by_name = BTreeMap::new();
        for (name, hash) in users {
            if by_name.insert(name.as_bytes().into(), hash).is_some() {
                return Err(DuplicateUser(name.to_owned()));
            }
        }
        Ok(Self { by_name })
    }

    /// The hash of a user, for [`VerifiedCache::tag`](crate::VerifiedCache::tag). A caller must not
    /// answer at once because there is none, but go on to [`Self::verify`].
    #[must_use]
    pub fn hash_of(&self, user: &[u8]) -> Option<&PasswordHash> {
        self.by_name.get(user)
    }

    /// Whether `password` is that of `user`. Slow on purpose: see the crate's documentation. For an
    /// unknown user the password is compared with that of another one, for the time it takes, and
    /// refused whatever comes out.
    #[must_use]
    pub fn verify(&self, user: &[u8], password: &[u8]) -> bool {
        match self.by_name.get(user) {
            Some(hash) => hash.verify(password),
            None => {
                let decoy = self.by_name.values().next();
                std::hint::black_box(decoy.is_some_and(|hash| hash.verify(password)));
                false
            }
        }
    }
}

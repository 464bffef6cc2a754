//! Passwords against their hashes: the users of a basic authentication, and a bounded memory of
//! credentials that were right.
//!
//! This crate owns which formats of hashes are read, how much work one of them may ask for, and the
//! comparison. It leaves to others reading credentials from a request, where the work is done, and
//! randomness: the key of a [`VerifiedCache`] is handed in.
//!
//! A verification is slow on purpose: milliseconds to about a second of one core, and for Argon2 up
//! to [`ARGON2_MEMORY_KIB_MAX`] of memory. Whoever calls [`Users::verify`] must therefore
//!
//! 1. never call it on a shard, but on a thread of its own;
//! 2. ask a [`VerifiedCache`] first, which costs well under a microsecond, and put into it what was
//!    right, so that a client pays once per lifetime and not once per request;
//! 3. bound how many verifications wait, and answer 429 or 503 beyond that, since wrong passwords
//!    are never remembered and anyone can send them. Limiting the rate per source address before
//!    this point keeps one client from using up the bound.
//!
//! Invariant: hashes that would exceed the limits on work are refused when they are read, and no
//! password is kept or shown.

mod hash;
mod users;
mod verified;

pub use hash::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_WORK_KIB_MAX, BCRYPT_COST_MAX, HashError,
    PASSWORD_BYTES_MAX, PasswordHash, SHA_CRYPT_ROUNDS_MAX,
};
pub use users::{DuplicateUser, Users};
pub use verified::{Tag, VerifiedCache};

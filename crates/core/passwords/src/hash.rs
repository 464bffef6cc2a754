//! One password's hash: reading its text, limits on its work, comparing.
//!
//! Owns the formats. Leaves users to `users`. Invariant: a hash that was read is complete, so that
//! comparing can only be right or wrong.

use std::error::Error;
use std::fmt;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params};
use sha_crypt::{PasswordVerifier, ShaCrypt};
use subtle::ConstantTimeEq;

/// The longest password that is compared; longer ones are wrong. SHA-crypt's work grows with the
/// square of the length at first and with the length in every round.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// The most rounds of SHA-crypt: 200 times the default, a quarter of a
/// second to a second with the length of the password.
pub const SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;

/// The highest cost of bcrypt, about a second; each step doubles it.
pub const BCRYPT_COST_MAX: u32 = 14;

/// The most memory for one verification with Argon2, in KiB: 64 MiB, RFC 9106's choice where memory
/// is scarce. Verifications at the same time need it each.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 65_536;

/// The most memory times passes of Argon2, in KiB: about half a second.
pub const ARGON2_WORK_KIB_MAX: u64 = 1_048_576;

/// The most lanes of Argon2. They are computed one after the other here.
pub const ARGON2_LANES_MAX: u32 = 16;

/// A password as the configuration has it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    kind: Kind,
    text: Box<str>,
}

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Plain,
    ShaCrypt,
    Bcrypt,
    Argon2(Box<phc::PasswordHash>),
}

/// What is wrong with the text of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashError {
    /// It does not begin as one of the formats that are read.
    UnknownFormat,
    /// The format is known and not read, for this reason.
    Refused(&'static str),
    /// It is not complete, or a part of it cannot be read.
    Malformed(&'static str),
    /// It asks for more work than the named limit allows.
    TooCostly(&'static str),
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFormat => f.write_str(
                "not a password hash: `$5$…` and `$6$…` (mkpasswd -m sha-512), `$2y$…` (htpasswd -B) \
                 and `$argon2id$…` are read",
            ),
            Self::Refused(reason) => f.write_str(reason),
            Self::Malformed(part) => write!(f, "the password hash is damaged: {part}"),
            Self::TooCostly(limit) => write!(f, "the password hash costs too much: {limit}"),
        }
    }
}

impl Error for HashError {}

impl PasswordHash {
    /// Reads a hash in the format of SHA-crypt (`$5$`, `$6$`), bcrypt (`$2a$`, `$2b$`, `$2y$`) or
    /// Argon2 (`$argon2id$`, `$argon2i$`). bcrypt looks at the first 72 bytes of a password only.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let id = text.strip_prefix('$').and_then(|rest| rest.split('$').next());
        let kind = match id {
            Some("5") => check_sha_crypt(text, 43, "./0123456789ABCD").map(|()| Kind::ShaCrypt)?,
            Some("6") => check_sha_crypt(text, 86, "./01").map(|()| Kind::ShaCrypt)?,
            Some("2a" | "2b" | "2y") => check_bcrypt(text).map(|()| Kind::Bcrypt)?,
            Some("argon2id" | "argon2i") => Kind::Argon2(Box::new(check_argon2(text)?)),
            Some(id) => return Err(unread_format(id)),
            None => return Err(HashError::UnknownFormat),
        };
        Ok(Self { kind, text: text.into() })
    }

    /// A password that the configuration has in the clear. Comparing takes the same time whatever
    /// is wrong with a password of the same length.
    #[must_use]
    pub fn plain(password: &str) -> Self {
        Self { kind: Kind::Plain, text: password.into() }
    }

    /// Whether the password is in the clear, about which a configuration may be warned.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.kind == Kind::Plain
    }

    /// Whether `password` is the one. Slow on purpose, except for one in the clear.
    #[must_use]
    pub fn verify(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        match &self.kind {
            Kind::Plain => self.text.as_bytes().ct_eq(password).into(),
            Kind::ShaCrypt => ShaCrypt::default().verify_password(password, &*self.text).is_ok(),
            Kind::Bcrypt => bcrypt::verify(password, &self.text).unwrap_or(false),
            Kind::Argon2(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }

    /// What tells this hash from another, for the cache.
    pub(crate) fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Plain => "plain",
            Kind::ShaCrypt => "SHA-crypt",
            Kind::Bcrypt => "bcrypt",
            Kind::Argon2(_) => "Argon2",
        };
        f.debug_tuple("PasswordHash").field(&format_args!("{kind}")).finish()
    }
}

fn unread_format(id: &str) -> HashError {
    match id {
        "1" | "apr1" => HashError::Refused("MD5-crypt is too weak; make a new hash with `$6$`"),
        "y" | "7" | "gy" => HashError::Refused(
            "yescrypt and scrypt are not read; make a new hash with `mkpasswd -m sha-512`",
        ),
        "2x" => HashError::Refused("`$2x$` marks hashes of a faulty bcrypt; make a new one"),
        "argon2d" => HashError::Refused("Argon2d is not for passwords; make one with Argon2id"),
        _ => HashError::UnknownFormat,
    }
}

/// `$6$rounds=5000$salt$digest`, the rounds optional, the salt of 1 to 16 bytes, the digest of
/// `digest_chars`, of which the last stands for the bits that are left, so that it is one of
/// `last_chars`.
fn check_sha_crypt(text: &str, digest_chars: usize, last_chars: &str) -> Result<(), HashError> {
    let mut fields = text.split('$').skip(2).peekable();
    if let Some(rounds) = fields.peek().and_then(|field| field.strip_prefix("rounds=")) {
        fields.next();
        let rounds: u32 =
            rounds.parse().map_err(|_| HashError::Malformed("its rounds are not a number"))?;
        if rounds > SHA_CRYPT_ROUNDS_MAX {
            return Err(HashError::TooCostly("at most 1000000 rounds"));
        }
        if rounds < sha_crypt::Params::ROUNDS_MIN {
            return Err(HashError::Malformed("fewer than 1000 rounds"));
        }
    }
    let is_of_alphabet = |field: &str| {
        field.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/'))
    };
    let salt = fields.next().unwrap_or_default();
    if !(1..=16).contains(&salt.len()) || !is_of_alphabet(salt) {
        return Err(HashError::Malformed("its salt is not 1 to 16 letters, digits, `.` and `/`"));
    }
    let digest = fields.next().unwrap_or_default();
    if !digest.ends_with(|last| last_chars.contains(last)) {
        return Err(HashError::Malformed("its last character is none that can stand there"));
    }
    if digest.len() != digest_chars || !is_of_alphabet(digest) || fields.next().is_some() {
        return Err(HashError::Malformed("it has not the length of its kind"));
    }
    Ok(())
}

fn check_bcrypt(text: &str) -> Result<(), HashError> {
    let parts: bcrypt::HashParts =
        text.parse().map_err(|_| HashError::Malformed("it is not what bcrypt writes"))?;
    match parts.get_cost() {
        0..4 => Err(HashError::Malformed("a cost below 4")),
        4..=BCRYPT_COST_MAX => Ok(()),
        _ => Err(HashError::TooCostly("a cost of at most 14")),
    }
}

fn check_argon2(text: &str) -> Result<phc::PasswordHash, HashError> {
    let hash = phc::PasswordHash::new(text)
        .map_err(|_| HashError::Malformed("it is not what Argon2 writes"))?;
    let params = Params::try_from(&hash)
        .map_err(|_| HashError::Malformed("its parameters are not valid"))?;
    // Hashes without a version are of the first one, which the library would take for the second.
    let is_complete = Algorithm::try_from(hash.algorithm.as_str()).is_ok()
        && hash.version.is_some_and(|version| argon2::Version::try_from(version).is_ok())
        && hash.salt.as_ref().is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN)
        && hash.hash.is_some();
    if !is_complete {
        return Err(HashError::Malformed("a version, a salt of 8 bytes or a digest is missing"));
    }
    if params.m_cost() > ARGON2_MEMORY_KIB_MAX {
        return Err(HashError::TooCostly("at most 65536 KiB (m)"));
    }
    if u64::from(params.m_cost()) * u64::from(params.t_cost()) > ARGON2_WORK_KIB_MAX {
        return Err(HashError::TooCostly("at most 1048576 KiB times passes (m times t)"));
    }
    if params.p_cost() > ARGON2_LANES_MAX {
        return Err(HashError::TooCostly("at most 16 lanes (p)"));
    }
    Ok(hash)
}

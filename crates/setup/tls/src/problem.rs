//! What can be wrong with the files and settings of TLS.
//!
//! Owns the faults and their words; leaves to the configuration where the file says so. Invariant: no message holds a byte of a
//! key file.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::Version;

/// Which setting a problem is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// An entry of `certificates`, or a client certificate.
    Certificate(usize),
    /// An entry of `client_ca` or `ca`.
    Ca(usize),
    /// An entry of `crl`.
    Crl(usize),
    /// An entry of `acme.directory_ca`.
    DirectoryCa(usize),
    /// Versions and ciphers.
    Crypto,
    /// The system's certificates.
    System,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub at: At,
    /// The file, where there is one.
    pub file: PathBuf,
    /// What is wrong.
    pub fault: Fault,
}

impl Problem {
    pub(crate) fn new(at: At, file: &Path, fault: Fault) -> Self {
        Self { at, file: file.to_path_buf(), fault }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.as_os_str().is_empty() {
            write!(f, "{}: ", self.file.display())?;
        }
        self.fault.fmt(f)
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be read; the system's words.
    Unreadable(String),
    /// It is longer than so many bytes.
    TooLarge(u64),
    /// It is no PEM; where it breaks off.
    NotPem(String),
    /// It holds no certificate.
    NoCertificate,
    /// It holds no private key.
    NoKey,
    /// It holds more than one private key.
    SeveralKeys,
    /// Its private key is encrypted.
    EncryptedKey,
    /// Its private key is of no known kind.
    BadKey,
    /// The key is not that of the certificate.
    Mismatch,
    /// A certificate in it cannot be read; the reason.
    BadCertificate(String),
    /// It holds no revocation list.
    NoCrl,
    /// A revocation list in it cannot be read; the reason.
    BadCrl(String),
    /// It is no OCSP response.
    BadOcsp,
    /// A directory without certificates.
    EmptyDirectory,
    /// A directory with more files than are taken.
    TooManyFiles(usize),
    /// The system has no certificates of authorities; the reason.
    NoSystemStore(String),
    /// None of the ciphers belongs to this version.
    NoCipher(Version),
    /// What the library says to the settings.
    Refused(String),
    /// Warning: it is no longer valid, for so many seconds.
    Expired(u64),
    /// Warning: it is not yet valid, for so many seconds.
    NotYetValid(u64),
    /// Warning: it has no name that a client could ask for.
    Nameless,
}

impl Fault {
    /// Whether the file is used all the same.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Expired(_) | Self::NotYetValid(_) | Self::Nameless)
    }

    /// What to do about it, where that is not plain.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotPem(_) => "it has to be text that begins with `-----BEGIN`",
            Self::NoCertificate => {
                "a chain begins with the certificate of the site, then those that signed it"
            }
            Self::NoKey => {
                "put the key into the same file, or write { chain = \"…\", key = \"…\" }"
            }
            Self::EncryptedKey => {
                "decrypt it, for example with `openssl pkey -in FILE -out FILE`, and keep it from others"
            }
            Self::BadKey => "RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, or Ed25519",
            Self::Mismatch => "the first certificate of the chain has to be the one of this key",
            Self::BadOcsp => {
                "it has to be the response in DER, as `openssl ocsp -respout` writes it"
            }
            Self::EmptyDirectory => {
                "files that end in .pem or .crt are read, and the .key beside them"
            }
            Self::NoSystemStore(_) => "install ca-certificates, or name the authorities with `ca`",
            _ => return None,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "cannot be read: {why}"),
            Self::TooLarge(max) => write!(f, "is longer than {max} bytes"),
            Self::NotPem(why) => write!(f, "is not PEM: {why}"),
            Self::NoCertificate => f.write_str("holds no certificate"),
            Self::NoKey => f.write_str("holds no private key"),
            Self::SeveralKeys => f.write_str("holds more than one private key"),
            Self::EncryptedKey => f.write_str("holds an encrypted private key"),
            Self::BadKey => f.write_str("holds a private key of a kind that is not supported"),
            Self::Mismatch => f.write_str("the private key does not belong to the certificate"),
            Self::BadCertificate(why) => {
                write!(f, "holds a certificate that cannot be read: {why}")
            }
            Self::NoCrl => f.write_str("holds no revocation list"),
            Self::BadCrl(why) => write!(f, "holds a revocation list that cannot be read: {why}"),
            Self::BadOcsp => f.write_str("is not an OCSP response"),
            Self::EmptyDirectory => f.write_str("is a directory without certificates"),
            Self::TooManyFiles(max) => {
                write!(f, "is a directory with more than {max} certificates")
            }
            Self::NoSystemStore(why) => {
                write!(f, "the system has no certificates of authorities: {why}")
            }
            Self::NoCipher(Version::Tls12) => f.write_str("none of the ciphers is of TLS 1.2"),
            Self::NoCipher(Version::Tls13) => f.write_str("none of the ciphers is of TLS 1.3"),
            Self::Refused(why) => f.write_str(why),
            Self::Expired(seconds) => write!(f, "the certificate expired {} ago", span(*seconds)),
            Self::NotYetValid(seconds) => {
                write!(f, "the certificate becomes valid in {} only", span(*seconds))
            }
            Self::Nameless => {
                f.write_str("the certificate has no DNS name, so that no client can ask for it")
            }
        }
    }
}

/// A time as people say it.
fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7199 => (seconds / 60, "minute"),
        7200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

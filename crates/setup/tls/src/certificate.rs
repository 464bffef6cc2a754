//! One certificate with its key, read from its files.
//!
//! Owns where the parts stand and that they belong together; leaves which one is shown to `index`. Invariant: a
//! [`Certificate`] has the key of its chain.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureAlgorithm;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use zeroize::Zeroize as _;

use crate::files::{Stamp, beside, read, sections, stamp};
use crate::identity::{Facts, fingerprint, renewal_identifier};
use crate::problem::{At, Fault, Problem};

/// Files of one directory: ten times what the largest hosters keep on a machine.
pub(crate) const DIRECTORY_FILES_MAX: usize = 100_000;

/// Where a certificate and its key stand. Paths are absolute, or begin where the process was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// Chain and key in one PEM file.
    File {
        /// The file.
        path: PathBuf,
        /// The OCSP response in DER; none: the file of the same name with `.ocsp` appended, if it is there.
        ocsp: Option<PathBuf>,
    },
    /// Two PEM files.
    Pair {
        /// The chain.
        chain: PathBuf,
        /// The private key.
        key: PathBuf,
        /// As above, by the name of the chain.
        ocsp: Option<PathBuf>,
    },
    /// Every file of a directory that ends in `.pem` or `.crt`, in the order of their names, with its key inside or in the
    /// file of the same name that ends in `.key`.
    Directory(PathBuf),
}

/// The kind of a key, in the order of preference: signatures with RSA cost ten times as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// ECDSA.
    Ecdsa,
    /// Ed25519.
    Ed25519,
    /// RSA.
    Rsa,
}

/// A certificate with its key.
pub struct Certificate {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) facts: Facts,
    kind: KeyKind,
    file: PathBuf,
    fingerprint: String,
}

impl Certificate {
    /// The DNS names that it is for, in lower case.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.facts.names
    }

    /// The subject, as RFC 4514 writes it.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.facts.subject
    }

    /// The serial number in hexadecimal digits.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.facts.serial
    }

    /// The last moment at which it is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.facts.not_after
    }

    /// The first moment at which it is valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.facts.not_before
    }

    /// What authorities know it by when they say when to renew it (RFC 9773 §4.1): the identifier of their key, and the
    /// content of its serial number; none: it does not name their key.
    #[must_use]
    pub fn renewal_identifier(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        renewal_identifier(self.certified.cert.first()?)
    }

    /// The kind of its key.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The file with its chain.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// SHA-256 over the certificate, in hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether an OCSP response is stapled to it.
    #[must_use]
    pub fn is_stapled(&self) -> bool {
        self.certified.ocsp.is_some()
    }

    /// Whether both show the same to clients.
    pub(crate) fn shows_the_same_as(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert && self.certified.ocsp == other.certified.ocsp
    }

    /// What is not wrong with it and yet seldom meant.
    pub(crate) fn warnings(&self, now: SystemTime) -> Vec<Fault> {
        let mut warnings = Vec::new();
        if let Ok(late) = now.duration_since(self.facts.not_after) {
            warnings.push(Fault::Expired(late.as_secs()));
        }
        if let Ok(early) = self.facts.not_before.duration_since(now) {
            warnings.push(Fault::NotYetValid(early.as_secs()));
        }
        warnings
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("file", &self.file)
            .field("names", &self.facts.names)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Files {
    pub chain: PathBuf,
    pub key: Option<PathBuf>,
    pub ocsp: PathBuf,
    /// Whether the configuration names the OCSP response, so that it has to be there.
    pub ocsp_needed: bool,
}

/// The stamps of those.
pub(crate) type Stamps = [Option<Stamp>; 3];

impl Files {
    pub fn new(chain: &Path, key: Option<&Path>, ocsp: Option<&Path>) -> Self {
        Self {
            chain: chain.to_path_buf(),
            key: key.map(Path::to_path_buf),
            ocsp: ocsp.map_or_else(|| beside(chain, ".ocsp"), Path::to_path_buf),
            ocsp_needed: ocsp.is_some(),
        }
    }

    pub fn stamps(&self) -> Stamps {
        [stamp(&self.chain), self.key.as_deref().and_then(stamp), stamp(&self.ocsp)]
    }

    /// Reads the certificate; what is wrong comes with its file.
    pub fn load(&self, at: At) -> Result<Certificate, Problem> {
        let of_chain = |fault| Problem::new(at, &self.chain, fault);
        let mut found = sections(&self.chain).map_err(of_chain)?;
        let leaf = found.certificates.first().ok_or_else(|| of_chain(Fault::NoCertificate))?;
        let facts = Facts::of(leaf).map_err(|why| of_chain(Fault::BadCertificate(why)))?;
        let fingerprint = fingerprint(leaf);
        let (key_file, key) = match &self.key {
            Some(path) => (path, sections(path).and_then(|mut sections| sections.take_key())),
            None => (&self.chain, found.take_key()),
        };
        let of_key = |fault| Problem::new(at, key_file, fault);
        let mut key = key.map_err(of_key)?;
        let signing = any_supported_type(&key);
        key.zeroize();
        let signing = signing.map_err(|_| of_key(Fault::BadKey))?;
        let kind = match signing.algorithm() {
            SignatureAlgorithm::RSA => KeyKind::Rsa,
            SignatureAlgorithm::ECDSA => KeyKind::Ecdsa,
            SignatureAlgorithm::ED25519 => KeyKind::Ed25519,
            _ => return Err(of_key(Fault::BadKey)),
        };
        let mut certified = CertifiedKey::new(std::mem::take(&mut found.certificates), signing);
        certified.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => of_key(Fault::Mismatch),
            other => of_chain(Fault::BadCertificate(other.to_string())),
        })?;
        certified.ocsp = self.staple().map_err(|fault| Problem::new(at, &self.ocsp, fault))?;
        let file = self.chain.clone();
        Ok(Certificate { certified: Arc::new(certified), facts, kind, file, fingerprint })
    }

    /// The OCSP response, which has to be one that says something (RFC 6960 §4.2.1): a sequence of the whole file's length
    /// that begins with the status `successful`.
    fn staple(&self) -> Result<Option<Vec<u8>>, Fault> {
        if !self.ocsp_needed && !self.ocsp.exists() {
            return Ok(None);
        }
        let bytes = read(&self.ocsp)?;
        let header = match bytes.get(1) {
            Some(short @ 0..=0x7f) => Some((2, usize::from(*short))),
            Some(0x81) => bytes.get(2).map(|length| (3, usize::from(*length))),
            Some(0x82) => bytes.get(2..4).map(|b| (4, usize::from(b[0]) << 8 | usize::from(b[1]))),
            _ => None,
        };
        let is_response = header.is_some_and(|(start, length)| {
            bytes.first() == Some(&0x30)
                && bytes.len() == start + length
                && bytes.get(start..start + 3) == Some(&[0x0a, 1, 0])
        });
        if is_response { Ok(Some(bytes.to_vec())) } else { Err(Fault::BadOcsp) }
    }
}

impl CertificateSource {
    /// The files of each of its certificates.
    pub(crate) fn files(&self, at: At) -> Result<Vec<Files>, Problem> {
        match self {
            Self::File { path, ocsp } => Ok(vec![Files::new(path, None, ocsp.as_deref())]),
            Self::Pair { chain, key, ocsp } => {
                Ok(vec![Files::new(chain, Some(key), ocsp.as_deref())])
            }
            Self::Directory(path) => list(path).map_err(|fault| Problem::new(at, path, fault)),
        }
    }
}

/// The certificates of a directory.
fn list(directory: &Path) -> Result<Vec<Files>, Fault> {
    let unreadable = |error: std::io::Error| Fault::Unreadable(error.to_string());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("pem" | "crt")) {
            paths.push(path);
        }
        if paths.len() > DIRECTORY_FILES_MAX {
            return Err(Fault::TooManyFiles(DIRECTORY_FILES_MAX));
        }
    }
    if paths.is_empty() {
        return Err(Fault::EmptyDirectory);
    }
    paths.sort();
    let files = |path: &PathBuf| {
        let key = path.with_extension("key");
        Files::new(path, key.exists().then_some(&*key), None)
    };
    Ok(paths.iter().map(files).collect())
}

//! Files: their bytes, whether they have changed, and the PEM sections in them.
//!
//! Owns reading and the stamps by which a change is noticed; leaves the meaning of sections to others. Invariant: bytes that
//! may hold a key are wiped when they are dropped.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::pem::{self, PemObject as _, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::{Zeroize as _, Zeroizing};

use crate::Fault;

/// Longest file, in bytes: the largest bundle of authorities has 250 kB, a revocation list of a large authority a few MB.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 20;

/// After a change, in seconds, a file is read again although its stamp is the same: clocks of file systems are coarse, and who
/// writes may not have finished.
const SETTLED_SECONDS: i64 = 2;

/// By what a change of a file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    settled: bool,
}

impl Stamp {
    /// Whether the file may be another one than when `self` was taken.
    pub fn differs(&self, now: Option<Self>) -> bool {
        now.is_none_or(|now| !self.settled || Self { settled: true, ..now } != *self)
    }

    /// Whether the file has been left alone for a while.
    pub fn is_settled(self) -> bool {
        self.settled
    }
}

/// The stamp of a file; none: it is not there.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    Some(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
        settled: now - meta.ctime().max(meta.mtime().min(now)) >= SETTLED_SECONDS,
    })
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let unreadable = |error: std::io::Error| Fault::Unreadable(error.to_string());
    let file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Fault::TooLarge(FILE_BYTES_MAX));
    }
    // As large as it is from the start: a growing vector leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What is in a PEM file.
#[derive(Default)]
pub(crate) struct Sections {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: Option<PrivateKeyDer<'static>>,
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    keys: usize,
    encrypted: bool,
}

impl Drop for Sections {
    fn drop(&mut self) {
        if let Some(key) = &mut self.key {
            key.zeroize();
        }
    }
}

impl Sections {
    /// The only key.
    pub fn take_key(&mut self) -> Result<PrivateKeyDer<'static>, Fault> {
        match self.key.take() {
            Some(key) if self.keys == 1 => Ok(key),
            Some(mut key) => {
                key.zeroize();
                Err(Fault::SeveralKeys)
            }
            None if self.encrypted => Err(Fault::EncryptedKey),
            None => Err(Fault::NoKey),
        }
    }
}

/// The sections of the PEM file at `path`.
pub(crate) fn sections(path: &Path) -> Result<Sections, Fault> {
    let bytes = read(path)?;
    let mut sections = Sections::default();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let (kind, mut der) = section.map_err(|error| Fault::NotPem(words(&error)))?;
        match kind {
            SectionKind::Certificate => sections.certificates.push(der.into()),
            SectionKind::Crl => sections.crls.push(der.into()),
            kind => match PrivateKeyDer::from_pem(kind, std::mem::take(&mut der)) {
                Some(mut key) => {
                    sections.keys += 1;
                    if sections.key.is_none() {
                        sections.key = Some(key);
                    } else {
                        key.zeroize();
                    }
                }
                None => der.zeroize(),
            },
        }
    }
    sections.encrypted = holds(&bytes, b"-----BEGIN ENCRYPTED PRIVATE KEY-----");
    if !holds(&bytes, b"-----BEGIN ") {
        return Err(Fault::NotPem("it has no line that begins with `-----BEGIN`".to_owned()));
    }
    Ok(sections)
}

/// The library's words without the bytes that it found: they may be those of a key.
fn words(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end",
        pem::Error::IllegalSectionStart { .. } => "a section begins with a malformed line",
        pem::Error::Base64Decode(_) => "a section is not in base 64",
        _ => "it is malformed",
    }
    .to_owned()
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// The name of the file with another ending appended: `a.pem` becomes `a.pem.ocsp`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

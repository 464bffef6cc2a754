//! Who is believed: certificates of authorities and revocation lists, from files.
//!
//! Owns reading them and noticing changes; leaves the verifiers that are made of them to `server` and `client`. Invariant: all
//! files together are good, or what they said before stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::files::{Stamp, sections, stamp};
use crate::problem::{At, Fault, Problem};

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub authorities: Vec<CertificateDer<'static>>,
    pub crls: Vec<CertificateRevocationListDer<'static>>,
}

impl Contents {
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        // Each was tried when it was read.
        roots.add_parsable_certificates(self.authorities.iter().cloned());
        Arc::new(roots)
    }
}

/// Files of authorities and revocation lists.
#[derive(Debug)]
pub(crate) struct Authorities {
    files: Vec<(At, PathBuf)>,
    stamps: Vec<Option<Stamp>>,
    pub contents: Contents,
    failed: Option<Problem>,
}

impl Authorities {
    pub fn load(ca: &[PathBuf], crl: &[PathBuf]) -> Result<Self, Vec<Problem>> {
        let ca = ca.iter().enumerate().map(|(place, path)| (At::Ca(place), path.clone()));
        let crl = crl.iter().enumerate().map(|(place, path)| (At::Crl(place), path.clone()));
        let files: Vec<_> = ca.chain(crl).collect();
        let stamps = files.iter().map(|(_, path)| stamp(path)).collect();
        let contents = read(&files)?;
        Ok(Self { files, stamps, contents, failed: None })
    }

    /// What the files say if that has changed; an error only once.
    pub fn refresh(&mut self) -> Result<Option<Contents>, Problem> {
        let stamps: Vec<_> = self.files.iter().map(|(_, path)| stamp(path)).collect();
        let changed = self.stamps.iter().zip(&stamps).any(|(before, now)| match before {
            Some(before) => before.differs(*now),
            None => now.is_some(),
        });
        if !changed {
            return Ok(None);
        }
        let settled = stamps.iter().flatten().all(|stamp| stamp.is_settled());
        let read_before = self.stamps == stamps;
        self.stamps = stamps;
        match read(&self.files) {
            Ok(contents) => {
                self.failed = None;
                Ok((contents != self.contents).then_some(contents))
            }
            Err(_) if !settled => Ok(None),
            Err(problems) => {
                let first = problems.into_iter().next();
                // A file that is not there is looked for each time.
                if read_before && first == self.failed {
                    return Ok(None);
                }
                self.failed = first.clone();
                first.map_or(Ok(None), Err)
            }
        }
    }

    /// The setting and the file that come first, for messages about all of them.
    pub fn first(&self) -> (At, PathBuf) {
        self.files.first().cloned().unwrap_or((At::System, PathBuf::new()))
    }
}

fn read(files: &[(At, PathBuf)]) -> Result<Contents, Vec<Problem>> {
    let (mut contents, mut problems) = (Contents::default(), Vec::new());
    for (at, path) in files {
        let found = sections(path).and_then(|mut sections| match at {
            At::Crl(_) => {
                let crls = std::mem::take(&mut sections.crls);
                check_crls(&crls)?;
                contents.crls.extend(crls);
                Ok(())
            }
            _ => {
                let authorities = std::mem::take(&mut sections.certificates);
                check_authorities(&authorities)?;
                contents.authorities.extend(authorities);
                Ok(())
            }
        });
        if let Err(fault) = found {
            problems.push(Problem::new(*at, path, fault));
        }
    }
    if problems.is_empty() { Ok(contents) } else { Err(problems) }
}

/// The authorities in one file.
pub(crate) fn certificates(at: At, path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let contents = read(&[(at, path.to_path_buf())]);
    contents.map(|contents| contents.authorities).map_err(|mut problems| problems.remove(0))
}

fn check_authorities(certificates: &[CertificateDer<'static>]) -> Result<(), Fault> {
    if certificates.is_empty() {
        return Err(Fault::NoCertificate);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate.clone());
        added.map_err(|error| Fault::BadCertificate(error.to_string()))?;
    }
    Ok(())
}

fn check_crls(crls: &[CertificateRevocationListDer<'static>]) -> Result<(), Fault> {
    if crls.is_empty() {
        return Err(Fault::NoCrl);
    }
    // The verifier reads all of them when it is built, and says only that one is bad.
    let mut roots = RootCertStore::empty();
    roots.roots.push(ANY_ROOT.clone());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    );
    let built = verifier.with_crls(crls.iter().cloned()).build();
    built.map(drop).map_err(|error| Fault::BadCrl(error.to_string()))
}

/// A root that signs nothing: verifiers are not built without one.
const ANY_ROOT: rustls::pki_types::TrustAnchor<'static> = rustls::pki_types::TrustAnchor {
    subject: rustls::pki_types::Der::from_slice(&[]),
    subject_public_key_info: rustls::pki_types::Der::from_slice(&[]),
    name_constraints: None,
};

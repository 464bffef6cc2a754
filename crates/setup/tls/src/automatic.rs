//! Certificates that an authority gives out on request (ACME, RFC 8555), as far as files and settings go.
//!
//! Owns what the configuration says of them and where they are kept; leaves ordering them to `tidegate-acme`. Invariant: the
//! same domains at the same authority have the same file, whichever bind names them and in whatever order.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use crate::certificate::{Certificate, Files};
use crate::problem::{At, Fault, Problem};

/// Domains of one certificate: as many as large authorities take.
pub const DOMAINS_MAX: usize = 100;

/// Longest file with the key of an external account, in bytes: a key has 32 to 128.
pub const HMAC_FILE_BYTES_MAX: usize = 4096;

/// Files that are looked through for a certificate of other domains: what some years of changed domains leave behind.
const STAND_IN_FILES_MAX: usize = 1_000;

/// How an authority is shown that a domain is ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChallengeKind {
    /// A file at port 80 of the domain (RFC 8555 §8.3).
    Http01,
    /// A certificate in a handshake at port 443 of the domain (RFC 8737): the bind itself answers.
    #[default]
    TlsAlpn01,
}

/// An account that the authority knows from elsewhere (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternalAccount {
    /// Its name there.
    pub key_id: String,
    /// A file with its key in base64url.
    pub hmac_key_file: PathBuf,
}

/// A certificate that is ordered and renewed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Automatic {
    /// The names that it is for, in lower case, no wildcards; at least one, at most [`DOMAINS_MAX`].
    pub domains: Vec<String>,
    /// Whom the authority writes to.
    pub email: Option<String>,
    /// The URL of the authority's directory; `https`.
    pub directory: String,
    /// PEM files of whom the directory's own certificate is believed from; empty: the system's.
    pub directory_ca: Vec<PathBuf>,
    /// How the domains are shown to be ours.
    pub challenge: ChallengeKind,
    /// The directory that everything is kept in.
    pub storage: PathBuf,
    /// The account that this one belongs to.
    pub external_account: Option<ExternalAccount>,
    /// How long after a first failure it is tried again.
    pub retry_delay: Duration,
}

impl Automatic {
    /// What is kept of this authority: the account, the certificates.
    #[must_use]
    pub fn authority_directory(&self) -> PathBuf {
        let rest = self.directory.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split(['/', ':', '?']).next().unwrap_or_default();
        self.storage.join(format!("{}-{}", plain(host), short_hash(self.directory.as_bytes())))
    }

    /// The account's file.
    #[must_use]
    pub fn account_file(&self) -> PathBuf {
        self.authority_directory().join("account.json")
    }

    /// The directory of the certificates.
    #[must_use]
    pub fn certificates_directory(&self) -> PathBuf {
        self.authority_directory().join("certificates")
    }

    /// The certificate's file: chain and key.
    #[must_use]
    pub fn certificate_file(&self) -> PathBuf {
        let first = self.domains.first().map_or("", String::as_str);
        let sorted: BTreeSet<&str> = self.domains.iter().map(String::as_str).collect();
        let all = sorted.into_iter().collect::<Vec<_>>().join("\n");
        // The first name is for people; a name has at most 253 bytes.
        let sorted_first = all.lines().next().unwrap_or(first);
        let name = format!("{}-{}.pem", plain(sorted_first), short_hash(all.as_bytes()));
        self.certificates_directory().join(name)
    }

    /// Whether `certificate` is for every domain.
    #[must_use]
    pub fn is_covered_by(&self, certificate: &Certificate) -> bool {
        self.domains.iter().all(|domain| certificate.names().contains(domain))
    }
}

/// Only what is harmless in the name of a file.
fn plain(name: &str) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || ".-".contains(*c);
    name.chars().filter(is_plain).take(100).collect::<String>().trim_start_matches('.').to_owned()
}

fn short_hash(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a certificate that is kept with its key in one file.
///
/// # Errors
/// It is not there, or not whole.
pub fn read_stored(file: &Path) -> Result<Certificate, Fault> {
    let files = Files::new(file, None, None);
    files.load(At::System).map_err(|problem| problem.fault)
}

/// Those whom an authority's own server is believed from: what the files say, or the system.
///
/// # Errors
/// A file cannot be read, or the system has none.
pub fn directory_authorities(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    if files.is_empty() {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let why = found.errors.first().map_or("none".to_owned(), ToString::to_string);
            return Err(Problem::new(At::System, "".as_ref(), Fault::NoSystemStore(why)));
        }
        return Ok(found.certs);
    }
    let mut all = Vec::new();
    for (place, file) in files.iter().enumerate() {
        all.extend(crate::authorities::certificates(At::DirectoryCa(place), file)?);
    }
    Ok(all)
}

/// What is shown until the certificate is there: those for other sets of the domains, such as before one was added, as long
/// as they are valid.
pub(crate) fn stand_ins(settings: &Automatic, now: SystemTime) -> Vec<Files> {
    let own = settings.certificate_file();
    let Ok(entries) = fs::read_dir(settings.certificates_directory()) else { return Vec::new() };
    let paths = entries.take(STAND_IN_FILES_MAX).filter_map(|entry| Some(entry.ok()?.path()));
    let mut fitting: Vec<(SystemTime, PathBuf)> = paths
        .filter(|path| *path != own && path.extension().is_some_and(|ending| ending == "pem"))
        .filter_map(|path| Some((read_stored(&path).ok()?, path)))
        .filter(|(one, _)| one.not_after() > now)
        .filter(|(one, _)| settings.domains.iter().any(|domain| one.names().contains(domain)))
        .map(|(one, path)| (one.not_after(), path))
        .collect();
    // Of two for the same name the first is shown: the one that lives longest.
    fitting.sort_by(|one, other| other.cmp(one));
    fitting.into_iter().map(|(_, path)| Files::new(&path, None, None)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(domains: &[&str], directory: &str) -> Automatic {
        Automatic {
            domains: domains.iter().map(|one| (*one).to_owned()).collect(),
            email: None,
            directory: directory.to_owned(),
            directory_ca: Vec::new(),
            challenge: ChallengeKind::default(),
            storage: "/store".into(),
            external_account: None,
            retry_delay: Duration::from_secs(120),
        }
    }

    #[test]
    fn the_file_is_that_of_the_domains_and_the_authority() {
        let file = |domains: &[&str], directory| settings(domains, directory).certificate_file();
        let one = file(&["b.example", "a.example"], "https://ca.example/dir");
        assert_eq!(one, file(&["a.example", "b.example"], "https://ca.example/dir"));
        assert_ne!(one, file(&["a.example"], "https://ca.example/dir"));
        assert_ne!(one, file(&["a.example", "b.example"], "https://ca.example/other"));
        let text = one.display().to_string();
        assert!(text.starts_with("/store/ca.example-"), "{text}");
        assert!(text.contains("/certificates/a.example-") && text.ends_with(".pem"), "{text}");
        let odd = settings(&["a.example"], "https://../../etc:1/x").authority_directory();
        assert_eq!(odd.parent(), Some(Path::new("/store")), "{}", odd.display());
    }
}

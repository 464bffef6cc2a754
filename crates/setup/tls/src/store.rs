//! The certificates of one bind, and their replacement while clients connect.
//!
//! Owns the files, what was read from them, and the resolver that rustls asks; leaves when to look again to the caller.
//! Invariant: a certificate in use is replaced by one that was read and checked as a whole, or stays.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::ServerSettings;
use crate::automatic::{Automatic, stand_ins};
use crate::certificate::{Certificate, CertificateSource, Files, Stamps};
use crate::challenges::{ACME_ALPN, Challenges};
use crate::crypto::Protocol;
use crate::index::Index;
use crate::problem::{At, Fault, Problem};
use crate::session;

/// What became of a file that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting that names it.
    pub at: At,
    /// The file.
    pub file: PathBuf,
    /// What became of it.
    pub what: What,
}

/// What became of a file that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is in use now, in the place of what it said before.
    Replaced,
    /// It is new in its directory, and in use.
    Added,
    /// It is gone from its directory, and no longer in use.
    Removed,
    /// It is wrong, and what it said before stays in use.
    Failed(Fault),
}

/// One certificate and the state of its files.
struct Watched {
    at: At,
    files: Files,
    stamps: Stamps,
    /// None: it has been wrong since it came into its directory.
    certificate: Option<Arc<Certificate>>,
    failed: Option<Fault>,
}

/// The certificates of one bind.
pub(crate) struct Store {
    sources: Vec<CertificateSource>,
    strict: bool,
    protocols: Vec<Protocol>,
    /// What authorities are answered, where they may ask here.
    challenges: OnceLock<Arc<Challenges>>,
    index: ArcSwap<Index>,
    /// For the control plane; shards read the index.
    watched: Mutex<Vec<Watched>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl Store {
    /// Reads all of them; warnings are appended to `warnings`.
    pub fn load(
        settings: &ServerSettings,
        warnings: &mut Vec<Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let (sources, strict) = (&settings.certificates, settings.strict_sni);
        let (mut watched, mut problems) = (Vec::new(), Vec::new());
        let now = SystemTime::now();
        for (place, source) in sources.iter().enumerate() {
            let at = At::Certificate(place);
            let files = match source.files(at) {
                Ok(files) => files,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            for files in files {
                let stamps = files.stamps();
                match files.load(at) {
                    Ok(certificate) => {
                        let path = certificate.file().to_path_buf();
                        let nameless = certificate.names().is_empty() && (strict || place > 0);
                        let faults = certificate.warnings(now).into_iter();
                        let faults = faults.chain(nameless.then_some(Fault::Nameless));
                        warnings.extend(faults.map(|fault| Problem::new(at, &path, fault)));
                        let certificate = Some(Arc::new(certificate));
                        watched.push(Watched { at, files, stamps, certificate, failed: None });
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if let Some(automatic) = &settings.automatic {
            watched.extend(kept(automatic, At::Certificate(sources.len()), now));
        }
        let index = ArcSwap::from_pointee(index(&watched));
        Ok(Self {
            sources: sources.clone(),
            strict,
            protocols: settings.protocols.clone(),
            challenges: OnceLock::new(),
            index,
            watched: Mutex::new(watched),
        })
    }

    /// Authorities are answered from there, from the first call on.
    pub fn answer_from(&self, challenges: &Arc<Challenges>) {
        let _ = self.challenges.set(challenges.clone());
    }

    /// All certificates in use, in the order of the configuration.
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.lock().iter().filter_map(|watched| watched.certificate.clone()).collect()
    }

    /// Looks at all files and takes over what has changed.
    pub fn refresh(&self) -> Vec<Change> {
        let mut watched = self.lock();
        let mut changes = Vec::new();
        self.look_into_directories(&mut watched, &mut changes);
        for one in watched.iter_mut() {
            changes.extend(one.refresh());
        }
        if changes.iter().any(|change| !matches!(change.what, What::Failed(_))) {
            self.index.store(Arc::new(index(&watched)));
        }
        changes
    }

    /// Takes note of files that came and went.
    fn look_into_directories(&self, watched: &mut Vec<Watched>, changes: &mut Vec<Change>) {
        for (place, source) in self.sources.iter().enumerate() {
            if !matches!(source, CertificateSource::Directory(_)) {
                continue;
            }
            let at = At::Certificate(place);
            // A directory that is gone or empty is an accident, and what it held goes on.
            let Ok(listed) = source.files(at) else { continue };
            let of_source = |one: &Watched| one.at == at;
            let known = watched.iter().filter(|one| of_source(one)).map(|one| &one.files);
            if known.eq(listed.iter()) {
                continue;
            }
            let mut known: HashMap<Files, Watched> = HashMap::new();
            let first = watched.iter().position(of_source).unwrap_or(watched.len());
            let taken = watched.extract_if(.., |one| of_source(one));
            known.extend(taken.map(|one| (one.files.clone(), one)));
            let listed = listed.into_iter().map(|files| {
                known.remove(&files).unwrap_or_else(|| Watched {
                    at,
                    files,
                    stamps: [None; 3],
                    certificate: None,
                    failed: None,
                })
            });
            let listed: Vec<_> = listed.collect();
            watched.splice(first..first, listed);
            let gone = known.into_values().filter(|one| one.certificate.is_some());
            changes.extend(gone.map(|one| Change {
                at,
                file: one.files.chain,
                what: What::Removed,
            }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate for this name, in any case.
    fn find(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(lower_case);
        if let Some(challenges) = self.challenges.get()
            && self.is_challenge(hello)
        {
            return challenges.certificate(name.as_deref()?);
        }
        let index = self.index.load();
        let found = index.find(name.as_deref(), hello.signature_schemes(), self.strict);
        found.map(|certificate| certificate.certified.clone())
    }
}

impl Store {
    /// Whether the handshake will be in the name of a challenge: with who offers a protocol of ours it will not.
    fn is_challenge(&self, hello: &ClientHello<'_>) -> bool {
        let offers = |wanted: &[u8]| {
            hello.alpn().is_some_and(|mut offered| offered.any(|one| one == wanted))
        };
        offers(ACME_ALPN) && !self.protocols.iter().any(|own| offers(own.alpn().as_bytes()))
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = self.find(&hello);
        session::note_hello(hello.server_name(), found.is_none());
        found
    }
}

/// Names have no case (RFC 4343).
pub(crate) fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// What is on disk of a certificate that is ordered: it, and as long as it is not there, what is shown in its place.
fn kept(automatic: &Automatic, at: At, now: SystemTime) -> Vec<Watched> {
    let load = |files: Files| {
        let stamps = files.stamps();
        // What is wrong with it is no fault of the configuration, and will be replaced.
        let (certificate, failed) = match files.load(at) {
            Ok(certificate) => (Some(Arc::new(certificate)), None),
            Err(problem) => (None, Some(problem.fault)),
        };
        Watched { at, files, stamps, certificate, failed }
    };
    let own = load(Files::new(&automatic.certificate_file(), None, None));
    let is_there = own.certificate.is_some();
    let mut all = vec![own];
    if !is_there {
        all.extend(stand_ins(automatic, now).into_iter().map(load));
    }
    all
}

fn index(watched: &[Watched]) -> Index {
    Index::new(watched.iter().filter_map(|one| one.certificate.as_ref()))
}

impl Watched {
    /// Looks at the files; none: nothing to tell.
    fn refresh(&mut self) -> Option<Change> {
        let stamps = self.files.stamps();
        let is_new = self.certificate.is_none() && self.failed.is_none();
        let pairs = self.stamps.iter().zip(&stamps);
        let changed = pairs.into_iter().any(|(before, now)| match before {
            Some(before) => before.differs(*now),
            None => now.is_some(),
        });
        if !changed && !is_new {
            return None;
        }
        let settled = stamps.iter().flatten().all(|stamp| stamp.is_settled());
        let loaded = self.files.load(self.at);
        // The stamps of before reading: what is written meanwhile is seen the next time.
        let read_before = std::mem::replace(&mut self.stamps, stamps) == stamps;
        let what = match loaded {
            Ok(certificate) => {
                self.failed = None;
                let is_added = self.certificate.is_none();
                let current = self.certificate.as_ref();
                if current.is_some_and(|current| current.shows_the_same_as(&certificate)) {
                    return None;
                }
                self.certificate = Some(Arc::new(certificate));
                if is_added { What::Added } else { What::Replaced }
            }
            // Whoever writes may not have finished: two files are not replaced at once.
            Err(_) if !settled => return None,
            Err(problem) => {
                // A file that is not there is looked for each time.
                if read_before && self.failed.as_ref() == Some(&problem.fault) {
                    return None;
                }
                self.failed = Some(problem.fault.clone());
                return Some(Change {
                    at: self.at,
                    file: problem.file,
                    what: What::Failed(problem.fault),
                });
            }
        };
        Some(Change { at: self.at, file: self.files.chain.clone(), what })
    }
}

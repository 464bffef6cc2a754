//! Certificates while the process runs: their files are looked at, their ends are warned about.
//!
//! Owns when to look, what the log is told, and the figures; leaves reading and replacing to `tidegate_tls`. Invariant: looking
//! takes at most a hundredth of the control executor's time, however many files there are, and a certificate is warned about
//! once a day.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_config::{BindAddress, Config};
use tidegate_tls::{At, Certificate, Change, ClientTls, ServerTls, What};

use crate::log::{Level, Line};

/// Files are looked at so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// And not more often than a look takes, times this.
const LOOK_SHARE: u32 = 100;

/// Before its end a certificate is warned about for so long, or for a quarter of its life if that is less: a renewal that goes
/// wrong is seen with time to spare.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// As often as a certificate is warned about.
const WARN_INTERVAL: Duration = Duration::from_secs(86_400);

/// Certificates whose end a scrape shows, those that end first: what is scraped every few seconds stays below a megabyte.
pub(crate) const CERTIFICATES_SHOWN_MAX: usize = 1_000;

/// Which bind TLS is of: the same after a reload.
type BindKey = (Arc<str>, BindAddress, usize);

/// The certificates of the configuration.
#[derive(Default)]
pub(crate) struct Certificates {
    binds: Vec<(BindKey, Arc<ServerTls>)>,
    backends: Vec<(Arc<str>, Arc<ClientTls>)>,
    /// When each was last warned about, by its fingerprint.
    warned: HashMap<String, SystemTime>,
    replaced: u64,
    failures: u64,
}

/// What a scrape says of certificates.
#[derive(Clone, Debug, Default)]
pub(crate) struct CertificateFigures {
    /// Certificates that binds show.
    pub(crate) loaded: u64,
    /// Files that were taken after they had changed.
    pub(crate) replaced: u64,
    /// Files that had changed and were wrong.
    pub(crate) failures: u64,
    /// Those that end first.
    pub(crate) ends: Vec<CertificateEnd>,
}

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateEnd {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) not_after: SystemTime,
}

impl Certificates {
    /// Looks after the certificates of `config` from now on. Binds that go on keep their tickets.
    pub(crate) fn follow(&mut self, config: &Config) {
        let mut binds = Vec::new();
        for frontend in &config.frontends {
            for (place, bind) in frontend.binds.iter().enumerate() {
                let Some(tls) = &bind.tls else { continue };
                let is_chosen =
                    matches!(bind.address, BindAddress::Tcp(address) if is_any_port(address));
                let key = (
                    frontend.name.clone(),
                    bind.address.clone(),
                    if is_chosen { place } else { 0 },
                );
                if let Some((_, before)) = self.binds.iter().find(|(known, _)| *known == key) {
                    tls.take_over(before);
                }
                binds.push((key, tls.clone()));
            }
        }
        self.binds = binds;
        let backends = config.backends.iter();
        self.backends =
            backends.filter_map(|one| Some((one.name.clone(), one.tls.clone()?))).collect();
    }

    /// Looks at all files; what the log is told, and how long until the next look. None: there are no files.
    pub(crate) fn look(&mut self, now: SystemTime) -> (Vec<Line>, Option<Duration>) {
        if self.binds.is_empty() && self.backends.is_empty() {
            return (Vec::new(), None);
        }
        let begun = Instant::now();
        let mut lines = Vec::new();
        let (mut replaced, mut failures) = (0, 0);
        let mut tell = |owner: &str, name: &str, changes: Vec<Change>| {
            for change in changes {
                match change.what {
                    What::Failed(_) => failures += 1,
                    What::Replaced | What::Added | What::Removed => replaced += 1,
                }
                lines.push(line(&change).with(owner, name));
            }
        };
        for ((frontend, ..), tls) in &self.binds {
            tell("frontend", frontend, tls.refresh());
        }
        for (backend, tls) in &self.backends {
            tell("backend", backend, tls.refresh());
        }
        self.replaced += replaced;
        self.failures += failures;
        lines.extend(self.warnings(now));
        (lines, Some(LOOK_INTERVAL.max(begun.elapsed() * LOOK_SHARE)))
    }

    /// Lines about certificates that have ended or will soon, each once a day.
    fn warnings(&mut self, now: SystemTime) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut warned = HashMap::new();
        for certificate in self.shown() {
            let left = certificate.not_after().duration_since(now);
            if left.as_ref().is_ok_and(|left| *left > warn_before(&certificate)) {
                continue;
            }
            let last = self.warned.get(certificate.fingerprint()).copied();
            let is_due = last.is_none_or(|last| {
                now.duration_since(last).is_ok_and(|since| since >= WARN_INTERVAL)
            });
            let at = if is_due { now } else { last.unwrap_or(now) };
            if is_due && !warned.contains_key(certificate.fingerprint()) {
                lines.push(ending(&certificate, left.ok()));
            }
            warned.insert(certificate.fingerprint().to_owned(), at);
        }
        self.warned = warned;
        lines
    }

    fn shown(&self) -> impl Iterator<Item = Arc<Certificate>> {
        self.binds.iter().flat_map(|(_, tls)| tls.certificates())
    }

    pub(crate) fn figures(&self) -> CertificateFigures {
        let mut ends: Vec<CertificateEnd> = Vec::new();
        let mut loaded = 0;
        for certificate in self.shown() {
            loaded += 1;
            ends.push(CertificateEnd {
                file: certificate.file().display().to_string(),
                name: name(&certificate).to_owned(),
                not_after: certificate.not_after(),
            });
        }
        ends.sort_by(|one, other| {
            (one.not_after, &one.file, &one.name).cmp(&(other.not_after, &other.file, &other.name))
        });
        // Several binds may show the same.
        ends.dedup_by(|one, other| (&one.file, &one.name) == (&other.file, &other.name));
        ends.truncate(CERTIFICATES_SHOWN_MAX);
        CertificateFigures { loaded, replaced: self.replaced, failures: self.failures, ends }
    }
}

/// A certificate of a few days is renewed a few days before its end: what is warned about is the last quarter of its life.
fn warn_before(certificate: &Certificate) -> Duration {
    let life = certificate.not_after().duration_since(certificate.not_before());
    WARN_BEFORE.min(life.unwrap_or_default() / 4)
}

/// The kernel chooses the port: only the place in the file says which bind it is.
fn is_any_port(address: SocketAddr) -> bool {
    address.port() == 0
}

fn name(certificate: &Certificate) -> &str {
    certificate.names().first().map_or(certificate.subject(), String::as_str)
}

fn line(change: &Change) -> Line {
    let is_certificate = matches!(change.at, At::Certificate(_));
    let (level, event) = match (&change.what, is_certificate) {
        (What::Failed(_), true) => (Level::Error, "certificate_failed"),
        (What::Failed(_), false) => (Level::Error, "authorities_failed"),
        (What::Added, _) => (Level::Info, "certificate_added"),
        (What::Removed, _) => (Level::Info, "certificate_removed"),
        (What::Replaced, true) => (Level::Info, "certificate_replaced"),
        (What::Replaced, false) => (Level::Info, "authorities_replaced"),
    };
    let line = Line::new(level, event).with("file", change.file.display());
    match &change.what {
        What::Failed(fault) => {
            line.with("reason", fault).with("help", "what it said before stays in use")
        }
        What::Replaced | What::Added | What::Removed => line,
    }
}

fn ending(certificate: &Certificate, left: Option<Duration>) -> Line {
    let line = match left {
        Some(left) => {
            Line::new(Level::Warn, "certificate_expires").with("days", left.as_secs() / 86_400)
        }
        None => Line::new(Level::Error, "certificate_expired"),
    };
    line.with("file", certificate.file().display())
        .with("name", name(certificate))
        .with("serial", certificate.serial())
        .with("not_after", humantime::format_rfc3339_seconds(certificate.not_after()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// A copy of the certificate of the reference configuration, which ends with the year 2123.
    struct Copy(PathBuf);

    impl Copy {
        fn new(test: &str) -> Copy {
            let name = format!("tidegate-control-{test}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            fs::create_dir_all(&directory).expect("a directory");
            let copy = Copy(directory);
            copy.write(&fs::read(certs().join("site.pem")).expect("readable"));
            copy
        }

        fn write(&self, bytes: &[u8]) {
            fs::write(self.0.join("new"), bytes).expect("writable");
            fs::rename(self.0.join("new"), self.0.join("site.pem")).expect("a move");
        }

        fn config(&self) -> Config {
            let text = "[frontends.web]\ndefault_backend = \"app\"\n\
                 bind = [{ address = \"127.0.0.1:0\", tls = { certificates = [\"site.pem\"] } }]\n\
                 [backends.app.servers]\na = \"127.0.0.1:9001\"\n";
            tidegate_config::parse_beside(&self.0, "test.toml", text).expect("valid")
        }
    }

    impl Drop for Copy {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn certs() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../config/certs")
    }

    /// How many lines there are at that time.
    fn lines(certificates: &mut Certificates, now: SystemTime) -> usize {
        certificates.look(now).0.len()
    }

    #[test]
    fn the_end_of_a_certificate_is_warned_about_once_a_day() {
        let copy = Copy::new("ends");
        let mut certificates = Certificates::default();
        certificates.follow(&copy.config());
        let end = certificates.figures().ends[0].not_after;
        assert_eq!(lines(&mut certificates, end - 15 * DAY), 0);
        assert_eq!(lines(&mut certificates, end - 13 * DAY), 1);
        assert_eq!(lines(&mut certificates, end - 13 * DAY + DAY / 2), 0);
        assert_eq!(lines(&mut certificates, end - 12 * DAY), 1);
        // The same one after a reload.
        certificates.follow(&copy.config());
        assert_eq!(lines(&mut certificates, end - 12 * DAY + DAY / 2), 0);
        assert_eq!(lines(&mut certificates, end + DAY), 1);
    }

    #[test]
    fn files_that_change_are_counted_and_a_wrong_one_leaves_the_old() {
        let copy = Copy::new("changes");
        let mut certificates = Certificates::default();
        assert_eq!(certificates.look(SystemTime::now()).1, None, "there is nothing to look at");
        certificates.follow(&copy.config());
        let now = SystemTime::now();
        let (none, next) = certificates.look(now);
        assert!(none.is_empty() && next.is_some_and(|next| next >= LOOK_INTERVAL));
        copy.write(b"nothing");
        let mut told = 0;
        for _ in 0..100 {
            told += lines(&mut certificates, now);
            if told > 0 {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        let figures = certificates.figures();
        assert_eq!((told, figures.failures, figures.replaced, figures.loaded), (1, 1, 0, 1));
        copy.write(&fs::read(certs().join("client.pem")).expect("readable"));
        assert_eq!(lines(&mut certificates, now), 1);
        let figures = certificates.figures();
        assert_eq!((figures.failures, figures.replaced), (1, 1));
        assert_eq!(figures.ends[0].name, "client.example");
    }
}

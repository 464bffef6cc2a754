//! What is kept on disk.
//!
//! Owns directories, permissions, and how a file is replaced; leaves what is in the files to others. Invariant: whenever the
//! machine stops, a file is the old one or the new one, whole; and nobody but the owner can read one.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tidegate_tls::Automatic;

/// Longest account file: a key and two URLs.
const ACCOUNT_BYTES_MAX: u64 = 64 * 1024;

/// Makes the directories of `settings`, for the owner alone.
///
/// # Errors
/// One cannot be made or written in; which, and the system's words.
pub fn prepare(settings: &Automatic) -> Result<(), String> {
    let certificates = settings.certificates_directory();
    let told = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| format!("{}: {error}", path.display())
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&certificates)
        .map_err(told(&certificates))?;
    for directory in [&settings.authority_directory(), &certificates] {
        let mode = fs::metadata(directory).map_err(told(directory))?.permissions().mode();
        // One that was there before may have been made with less care.
        if mode & 0o077 != 0 {
            let narrow = Permissions::from_mode(mode & 0o700);
            fs::set_permissions(directory, narrow).map_err(told(directory))?;
        }
    }
    // Said now rather than when a certificate has been signed for nothing.
    let probe = Draft::create(&certificates.join("probe")).map_err(told(&certificates))?;
    drop(probe);
    Ok(())
}

/// A file that takes its place when it is whole, or goes.
pub(crate) struct Draft {
    path: PathBuf,
    place: PathBuf,
    file: File,
    is_kept: bool,
}

impl Draft {
    /// Begins the successor of the file at `place`.
    pub(crate) fn create(place: &Path) -> io::Result<Self> {
        let mut name = place.as_os_str().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let path = PathBuf::from(name);
        // A process of the same number may have died here.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { path, place: place.to_path_buf(), file, is_kept: false })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Where it is for now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.place)?;
        self.is_kept = true;
        let directory = self.place.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Replaces a file.
pub(crate) fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::create(place)?;
    draft.write(bytes)?;
    draft.keep()
}

/// The account's file; none: there is none yet.
pub(crate) fn read_account(place: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(ACCOUNT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// That this process alone orders certificates of an authority with this storage, until it is dropped or the process ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// None: another process has it.
    pub(crate) fn take(settings: &Automatic) -> io::Result<Option<Self>> {
        let path = settings.authority_directory().join("lock");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate_tls::ChallengeKind;

    use super::*;

    fn settings(test: &str) -> Automatic {
        let name = format!("tidegate-acme-{test}-{}", std::process::id());
        Automatic {
            domains: vec!["a.example".to_owned()],
            email: None,
            directory: "https://ca.example/dir".to_owned(),
            directory_ca: Vec::new(),
            challenge: ChallengeKind::Http01,
            storage: std::env::temp_dir().join(name).join("below"),
            external_account: None,
            retry_delay: Duration::from_secs(1),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn nobody_but_the_owner_reads_what_is_kept() {
        let settings = settings("modes");
        fs::create_dir_all(settings.certificates_directory()).expect("made with less care");
        fs::set_permissions(settings.certificates_directory(), Permissions::from_mode(0o755))
            .expect("changed");
        prepare(&settings).expect("prepared");
        assert_eq!(mode(&settings.authority_directory()), 0o700);
        assert_eq!(mode(&settings.certificates_directory()), 0o700);
        let file = settings.certificate_file();
        replace(&file, b"one").expect("written");
        replace(&file, b"other").expect("replaced");
        assert_eq!((mode(&file), fs::read(&file).expect("read")), (0o600, b"other".to_vec()));
        let left = fs::read_dir(settings.certificates_directory()).expect("listed").count();
        assert_eq!(left, 1, "no draft stays behind");
        drop(fs::remove_dir_all(settings.storage.parent().expect("a parent")));
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_the_old() {
        let settings = settings("drafts");
        prepare(&settings).expect("prepared");
        let file = settings.certificate_file();
        replace(&file, b"old").expect("written");
        let mut draft = Draft::create(&file).expect("begun");
        draft.write(b"new").expect("written");
        drop(draft);
        assert_eq!(fs::read(&file).expect("read"), b"old");
        drop(fs::remove_dir_all(settings.storage.parent().expect("a parent")));
    }

    #[test]
    fn one_at_a_time_has_the_lock() {
        let settings = settings("locks");
        prepare(&settings).expect("prepared");
        let lock = Lock::take(&settings).expect("opened").expect("free");
        assert!(Lock::take(&settings).expect("opened").is_none());
        drop(lock);
        assert!(Lock::take(&settings).expect("opened").is_some());
        drop(fs::remove_dir_all(settings.storage.parent().expect("a parent")));
    }

    #[test]
    fn a_storage_that_cannot_be_written_is_named() {
        let mut settings = settings("refused");
        settings.storage = "/proc/tidegate".into();
        let why = prepare(&settings).expect_err("refused");
        assert!(why.starts_with("/proc/tidegate/"), "{why}");
    }
}

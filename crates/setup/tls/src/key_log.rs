//! The key log: session secrets for whoever has to read recorded traffic.
//!
//! Owns the file in the format of NSS; leaves the warning about it to others. Invariant: nothing is written before
//! [`KeyLog::open`] was called, which happens only when the configuration says so.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A file of secrets, for all binds and backends.
pub struct KeyLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl KeyLog {
    /// One that is not yet open.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(None) }
    }

    /// Where it is written.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to write: the file is made for its owner alone, or appended to.
    ///
    /// # Errors
    /// The system's.
    pub fn open(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }
}

impl PartialEq for KeyLog {
    /// Of the same file.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for KeyLog {}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLog").field("path", &self.path).finish_non_exhaustive()
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line =
            String::with_capacity(label.len() + 2 * (client_random.len() + secret.len()) + 3);
        line.push_str(label);
        for bytes in [client_random, secret] {
            line.push(' ');
            bytes
                .iter()
                .for_each(|byte| write!(line, "{byte:02x}").expect("a String takes everything"));
        }
        line.push('\n');
        if let Some(file) = &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner) {
            // Traffic goes on without its secrets where the disk is full.
            drop(file.write_all(line.as_bytes()));
        }
    }
}

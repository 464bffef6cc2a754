//! Owns a directory that lives as long as one test.
//!
//! Leaves what is in it to the callers. Invariant: names are unique in the process and between
//! processes, and the directory is gone when its owner is dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static CREATED: AtomicU32 = AtomicU32::new(0);

/// A fresh directory, removed with everything in it on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Creates an empty directory below the system's directory for temporary files.
    ///
    /// # Panics
    /// When it cannot be created.
    #[must_use]
    pub fn new() -> Self {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("tidegate-test-{}-{number}", std::process::id()));
        // A process id comes round again; what an aborted run left under this name is of no use to
        // anybody.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Self { path }
    }

    /// Where the directory is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the directory, whether it exists or not.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file into the directory, creates the directories above it, and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        let parent = path.parent().expect("a file in the directory has a parent");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, contents))
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        path
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Failing to clean up says nothing about the software under test.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_distinct_and_removed_on_drop() {
        let (one, two) = (TempDir::new(), TempDir::new());
        assert_ne!(one.path(), two.path());
        let file = one.write("below/file", "contents");
        assert_eq!(fs::read_to_string(&file).expect("the file exists"), "contents");
        drop(one);
        assert!(!file.exists());
        assert!(two.path().exists());
    }
}

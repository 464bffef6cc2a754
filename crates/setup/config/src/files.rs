//! Files that the configuration names: lists, maps, pages, users.
//!
//! Owns their reading: where relative paths begin, that only regular files of a bounded size are read, each once. Leaves
//! what stands in them to the section files.
//!
//! Invariant: a name that cannot be read has been reported, and nothing that could block is opened.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Problem, quoted};
use crate::model::FileRead;
use crate::text::Text;
use crate::units;
use crate::walk::Problems;

/// What a file holds, or why it cannot be read as the end of a sentence.
type Outcome = Result<Arc<[u8]>, String>;

/// The files read so far.
pub(crate) struct Files<'a> {
    directory: &'a Path,
    problems: &'a Problems,
    read: RefCell<BTreeMap<PathBuf, Outcome>>,
}

impl<'a> Files<'a> {
    /// Relative names begin at `directory`.
    pub fn new(directory: &'a Path, problems: &'a Problems) -> Self {
        Self { directory, problems, read: RefCell::default() }
    }

    /// Where a file of that name is.
    pub fn path(&self, name: &Text) -> PathBuf {
        self.directory.join(&name.value)
    }

    /// What the file `name` holds, if that is at most `bytes_max`. A failure has been reported.
    pub fn bytes(&self, name: &Text, bytes_max: usize) -> Option<Arc<[u8]>> {
        let path = self.directory.join(&name.value);
        let mut read = self.read.borrow_mut();
        let outcome = read.entry(path.clone()).or_insert_with(|| content(&path, bytes_max));
        let failure = match outcome {
            Ok(bytes) if bytes.len() <= bytes_max => return Some(bytes.clone()),
            Ok(_) => too_long(bytes_max),
            Err(failure) => failure.clone(),
        };
        let problem = Problem::about(name, format!("the file {} {failure}", quoted(&name.value)));
        self.problems.push(if Path::new(&name.value).is_relative() {
            problem.help("a relative path begins at the directory of the configuration file")
        } else {
            problem
        });
        None
    }

    /// The same as text.
    pub fn text(&self, name: &Text, bytes_max: usize) -> Option<String> {
        let bytes = self.bytes(name, bytes_max)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(error) => {
                let line =
                    bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                let message =
                    format!("the file {} is not valid UTF-8 in line {line}", quoted(&name.value));
                self.problems.push(Problem::about(name, message).help("save the file in UTF-8"));
                None
            }
        }
    }

    /// What was read, by path.
    pub fn into_list(self) -> Vec<FileRead> {
        let digest = |bytes: &[u8]| {
            let mut hasher = DefaultHasher::new();
            hasher.write(bytes);
            hasher.finish()
        };
        let read = self.read.into_inner().into_iter();
        read.filter_map(|(path, outcome)| {
            let bytes = outcome.ok()?;
            Some(FileRead { path, bytes: bytes.len(), digest: digest(&bytes) })
        })
        .collect()
    }
}

fn content(path: &Path, bytes_max: usize) -> Outcome {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > bytes_max { Err(too_long(bytes_max)) } else { Ok(bytes.into()) }
}

fn too_long(bytes_max: usize) -> String {
    format!("is longer than {}", units::size_text(bytes_max as u64))
}

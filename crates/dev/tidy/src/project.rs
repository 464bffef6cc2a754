//! Owns finding and reading the project's files.
//!
//! Leaves judging them to the checks. Invariant: paths are relative to the root, with `/` between
//! parts, in order.

use cargo_metadata::{Metadata, MetadataCommand};
use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold what programs made, not what people wrote.
const GENERATED: [&str; 6] =
    [".git", "target", "fuzz/target", "fuzz/artifacts", "fuzz/coverage", "fuzz/corpus"];

/// The endings of files that people write as text.
const TEXT_ENDINGS: [&str; 8] = ["rs", "toml", "md", "sh", "yml", "json", "svg", "css"];

/// One text file of the project.
#[derive(Clone, Debug)]
pub struct File {
    /// The path relative to the root.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl File {
    /// A file for a sample.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Whether the path ends in `.ending`.
    #[must_use]
    pub fn has_ending(&self, ending: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == ending)
    }
}

/// The root of the workspace that this crate is part of.
///
/// # Panics
/// When the crate is not where the layout puts it.
#[must_use]
pub fn root() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory.ancestors().nth(3).expect("the crate is at crates/dev/tidy").to_owned()
}

/// Every text file below `root`, in order. Scripts without an ending count where `scripts` and
/// `.ci` hold them.
///
/// # Panics
/// When a file cannot be read or is not UTF-8.
#[must_use]
pub fn text_files(root: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    walk(root, "", &mut paths);
    paths.sort();
    let read = |path: String| {
        let text =
            fs::read_to_string(root.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        File { path, text }
    };
    paths.into_iter().map(read).collect()
}

fn walk(root: &Path, directory: &str, paths: &mut Vec<String>) {
    let entries =
        fs::read_dir(root.join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{directory}: {error}"));
        let name =
            entry.file_name().into_string().unwrap_or_else(|name| panic!("{name:?} is not UTF-8"));
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        if entry.path().is_dir() {
            if !GENERATED.contains(&path.as_str()) {
                walk(root, &path, paths);
            }
        } else if is_text(&path) {
            paths.push(path);
        }
    }
}

fn is_text(path: &str) -> bool {
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    match ending {
        Some(ending) => TEXT_ENDINGS.contains(&ending),
        None => path.starts_with("scripts/") || path.starts_with(".ci/"),
    }
}

/// What Cargo knows about the workspace's own packages, without their dependencies' packages.
///
/// # Panics
/// When Cargo fails.
#[must_use]
pub fn metadata(root: &Path) -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root.join("Cargo.toml")).no_deps();
    command.exec().unwrap_or_else(|error| panic!("cargo metadata: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_finds_what_people_wrote_and_nothing_else() {
        let files = text_files(&root());
        let has = |path: &str| files.iter().any(|file| file.path == path);
        assert!(
            has("Cargo.toml")
                && has("crates/dev/tidy/src/project.rs")
                && has("scripts/test")
                && has("README.md")
        );
        assert!(!files.iter().any(|file| file.path.starts_with("target/")));
    }
}

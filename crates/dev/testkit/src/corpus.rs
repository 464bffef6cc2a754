//! The committed corpora of the fuzz targets, as input for ordinary tests.
//!
//! Owns reading them; leaves checking to the tests. Invariant: a corpus that is missing or empty fails the test.

use std::fs;
use std::path::Path;

/// Calls `check` with each seed of the fuzz target `target`, and says on standard error which one it is.
///
/// # Panics
/// If the corpus is not there or has no seed.
pub fn for_each_seed(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&directory).expect("the corpus is committed") {
        let path = entry.expect("the corpus is readable").path();
        let bytes = fs::read(&path).expect("the corpus is readable");
        eprintln!("{}", path.display());
        check(&bytes);
        seeds += 1;
    }
    assert!(seeds > 0, "{} is empty", directory.display());
}

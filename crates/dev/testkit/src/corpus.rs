//! The committed corpora of the fuzz targets, as input for ordinary tests: as they are, and changed at random.
//!
//! Owns reading and changing them; leaves checking to the tests. Invariant: a corpus that is missing or empty fails the test, and an input
//! that breaks a check is shown whole.

use crate::seed::{Rng, seed};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// The variable that says for how many seconds each corpus is changed and checked.
pub const FUZZ_VARIABLE: &str = "TIDEGATE_FUZZ_SECONDS";

/// Changed inputs of each corpus where no time is given.
const CHANGED_COUNT: usize = 64;

/// Bytes of an input that is changed.
const CHANGED_BYTES_MAX: usize = 4_096;

/// Calls `check` with each seed of the fuzz target `target`, and then with changed ones: a few, or for as long as `TIDEGATE_FUZZ_SECONDS` says.
///
/// # Panics
/// If the corpus is not there or has no seed, and where `check` does: the input is on standard error.
pub fn for_each_seed(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/corpus").join(target);
    let mut seeds = Vec::new();
    for entry in fs::read_dir(&directory).expect("the corpus is committed") {
        let path = entry.expect("the corpus is readable").path();
        seeds.push((path.clone(), fs::read(&path).expect("the corpus is readable")));
    }
    assert!(!seeds.is_empty(), "{} is empty", directory.display());
    // The order of a directory is nobody's, and the same numbers are to give the same inputs.
    seeds.sort();
    for (path, bytes) in &seeds {
        checked(check, bytes, &path.display().to_string());
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, bytes)| bytes).collect();
    let seconds = std::env::var(FUZZ_VARIABLE).ok();
    let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = seed();
    let (mut rng, mut count) = (seed.rng(), 0);
    while until.map_or(count < CHANGED_COUNT, |until| Instant::now() < until) {
        checked(check, &changed(&seeds, &mut rng), "a changed one");
        count += 1;
    }
    if until.is_some() {
        eprintln!("{target}: {count} inputs");
    }
}

fn checked(check: fn(&[u8]), bytes: &[u8], what: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(bytes))) {
        eprintln!("{what}: b\"{}\"", bytes.escape_ascii());
        resume_unwind(panic);
    }
}

/// One of the seeds with one to eight changes.
fn changed(seeds: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = rng.choose(seeds).clone();
    for _ in 0..=rng.below(8) {
        change(&mut bytes, seeds, rng);
    }
    bytes.truncate(CHANGED_BYTES_MAX);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    /// Where parsers turn.
    const TURNS: &[u8] = b"\0\x01\x09\n\r !\"%()*+,-./059:;<=>?@AZ[\\]az{|}~\x7f\x80\xc0\xff";
    let place = rng.below(bytes.len() + 1);
    let end = place + rng.below((bytes.len() - place).min(32) + 1);
    match rng.below(7) {
        0 if place < bytes.len() => bytes[place] ^= 1 << rng.below(8),
        1 if place < bytes.len() => bytes[place] = *rng.choose(TURNS),
        2 => bytes.insert(place, *rng.choose(TURNS)),
        3 => drop(bytes.drain(place..end)),
        // Again, a few times.
        4 => {
            let part = bytes[place..end].repeat(1 + rng.below(8));
            bytes.splice(place..place, part);
        }
        // A part of another seed.
        5 => {
            let other = rng.choose(seeds);
            let begin = rng.below(other.len() + 1);
            let part = other[begin..begin + rng.below(other.len() - begin + 1)].to_vec();
            bytes.splice(place..end, part);
        }
        _ => {
            let count = rng.below(9);
            let part = rng.bytes(count);
            bytes.splice(place..end, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_changed_in_every_way_and_the_same_for_the_same_seed() {
        let seeds = [b"GET / HTTP/1.1\r\n\r\n".to_vec(), Vec::new()];
        let changed = |number| {
            let mut rng = Rng::new(number);
            (0..500).map(|_| changed(&seeds, &mut rng)).collect::<Vec<_>>()
        };
        let (one, same, other) = (changed(1), changed(1), changed(2));
        assert!(one == same && one != other);
        let is_longer = |bytes: &Vec<u8>| bytes.len() > seeds[0].len();
        assert!(one.iter().any(is_longer) && !one.iter().all(is_longer));
        assert!(one.iter().all(|bytes| bytes.len() <= CHANGED_BYTES_MAX));
    }
}

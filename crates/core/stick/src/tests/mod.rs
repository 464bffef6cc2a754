//! Tests of the whole: every schedule of small scripts, real threads, and long random histories against a model.
//!
//! Owns what they share; the scheduler is that of `tidegate-queue`. Invariant: whatever is found was stored for that key.

mod histories;
mod interleavings;
#[path = "../../../queue/src/tests/schedule.rs"]
pub(crate) mod schedule;
mod threads;

use std::hash::RandomState;
use std::time::{Duration, Instant};

use crate::table::{Kind, Mark, Number};

type Table = crate::table::Table<RandomState>;

pub(crate) const EXPIRE: Duration = Duration::from_secs(100);

/// A table of one set, and its beginning.
fn one_set() -> (Table, Instant) {
    let epoch = Instant::now();
    (Table::new(1, epoch, RandomState::new()), epoch)
}

fn mark(table: &Table, key: usize) -> Mark {
    table.mark(Kind::Text, &key.to_le_bytes())
}

/// Whether what was found for `key` is one of the numbers that are stored for it: so many thousands, and below that by whom.
fn is_of(number: Number, key: usize) -> bool {
    usize::from(number.0) / 1000 == key
}

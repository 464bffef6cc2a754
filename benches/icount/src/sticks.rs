//! The table of clients: a key that is there, one that is not, and one that is stored.
//!
//! Owns the table's filling. Invariant: the marks of each iteration are those of another key, as with real clients.

use std::hash::RandomState;
use std::hint::black_box;
use std::time::{Duration, Instant};

use tidegate_stick::{Keeper, Kind, Mark, Pins};

use crate::cases::Case;

/// Everything that is counted here. What is stored is counted with the hash of its key.
pub const CASES: &[Case] = &[
    Case { name: "stick_mark", iterations: 20_000, run: mark },
    Case { name: "stick_find", iterations: 20_000, run: find },
    Case { name: "stick_miss", iterations: 20_000, run: miss },
    Case { name: "stick_store_known", iterations: 20_000, run: store_known },
    Case { name: "stick_store_new", iterations: 20_000, run: store_new },
];

const KEYS: u64 = 1000;

fn filled() -> (Pins<RandomState>, Vec<Mark>, Instant) {
    let now = Instant::now();
    let pins = Keeper::new(2048, now, RandomState::new()).follow(
        2048,
        Duration::from_secs(1800),
        ["a", "b"],
        now,
    );
    let marks: Vec<_> = (0..KEYS).map(|key| pins.mark(Kind::Text, &key.to_le_bytes())).collect();
    for mark in &marks {
        pins.store(*mark, 1, now);
    }
    (pins, marks, now)
}

/// An address of 4 bytes.
fn mark(iterations: u64) {
    let (pins, ..) = filled();
    for at in 0..iterations {
        let bytes = at.to_le_bytes();
        black_box(pins.mark(Kind::Address, black_box(&bytes[..4])));
    }
}

fn find(iterations: u64) {
    let (pins, marks, now) = filled();
    for (_, mark) in (0..iterations).zip(marks.iter().cycle()) {
        black_box(pins.find(black_box(*mark), now));
    }
}

fn miss(iterations: u64) {
    let (pins, _, now) = filled();
    let unknown: Vec<_> =
        (0..KEYS).map(|key| pins.mark(Kind::Address, &key.to_le_bytes())).collect();
    for (_, mark) in (0..iterations).zip(unknown.iter().cycle()) {
        black_box(pins.find(black_box(*mark), now));
    }
}

fn store_known(iterations: u64) {
    let (pins, marks, now) = filled();
    for (_, mark) in (0..iterations).zip(marks.iter().cycle()) {
        black_box(pins.store(black_box(*mark), 1, now));
    }
}

/// New keys all the time: the table is full after a while, and each evicts another.
fn store_new(iterations: u64) {
    let (pins, _, now) = filled();
    for at in 0..iterations {
        let mark = pins.mark(Kind::Text, &(KEYS + at).to_le_bytes());
        black_box(pins.store(mark, 1, now));
    }
}

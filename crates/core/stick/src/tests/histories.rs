//! Long random histories against a model, and the rules of eviction, expiry and size.

use std::collections::HashMap;
use std::hash::RandomState;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{EXPIRE, Table, mark, one_set};
use crate::pins::Keeper;
use crate::table::{Kind, Number, Stored, WAYS};

fn at(epoch: Instant, seconds: u64) -> Instant {
    epoch + Duration::from_secs(seconds)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is found is what was stored last; nothing ends early; nothing outlives its time by more than a second.
    #[test]
    fn what_is_found_was_stored_last(
        places in 1..100_usize,
        steps in proptest::collection::vec((0..40_usize, 0..5_u16, 0..4_u8, 0..60_u64), 1..400),
    ) {
        let epoch = Instant::now();
        let table = Table::new(places, epoch, RandomState::new());
        // The server of each key and when it was used last.
        let mut model: HashMap<usize, (Number, u64)> = HashMap::new();
        let (mut second, mut evicted) = (0, 0);
        for (key, server, what, pause) in steps {
            let (now, key_mark) = (at(epoch, second), mark(&table, key));
            match what {
                0 => second += pause,
                1 | 2 => {
                    let stored = table.store(key_mark, Number(server), now, EXPIRE);
                    prop_assert_ne!(stored, Stored::Refused);
                    evicted += usize::from(stored == Stored::Evicted);
                    if stored == Stored::Evicted {
                        prop_assert!(model.len() >= WAYS, "only a full set evicts");
                    }
                    model.insert(key, (Number(server), second));
                }
                _ => {
                    let found = table.find(key_mark, now, EXPIRE);
                    let known = model.get(&key).copied();
                    match (found, known) {
                        (Some(found), Some((server, used))) => {
                            prop_assert_eq!(found, server);
                            prop_assert!(second - used <= EXPIRE.as_secs() + 1);
                            model.insert(key, (server, second));
                        }
                        (Some(_), None) => prop_assert!(false, "found what nobody stored"),
                        (None, Some((_, used))) => {
                            // Renewed when an eighth of its life was over.
                            let is_old = second - used > EXPIRE.as_secs() * 7 / 8;
                            prop_assert!(is_old || evicted > 0);
                            if is_old { model.remove(&key); }
                        }
                        (None, None) => {}
                    }
                }
            }
            prop_assert!(table.entries(at(epoch, second)) <= model.len().min(table.entries_max()));
        }
    }
}

#[test]
fn the_entry_that_was_used_least_recently_makes_room() {
    let (table, epoch) = one_set();
    assert_eq!(table.entries_max(), WAYS);
    for key in 0..WAYS {
        assert_eq!(
            table.store(mark(&table, key), Number(1), at(epoch, key as u64), EXPIRE),
            Stored::Added
        );
    }
    let now = at(epoch, 60);
    assert_eq!(table.find(mark(&table, 0), now, EXPIRE), Some(Number(1)), "used again");
    assert_eq!(table.store(mark(&table, 99), Number(2), now, EXPIRE), Stored::Evicted);
    let is_there = |key| table.find(mark(&table, key), now, EXPIRE).is_some();
    assert!(is_there(0) && is_there(99) && !is_there(1) && is_there(2));
    // Entries that have ended go first, and are no eviction.
    let later = at(epoch, 60 + 102);
    assert_eq!(table.store(mark(&table, 100), Number(3), later, EXPIRE), Stored::Added);
}

#[test]
fn an_entry_ends_when_it_was_not_used_for_its_time() {
    let (table, epoch) = one_set();
    let (first, second) = (mark(&table, 1), mark(&table, 2));
    table.store(first, Number(1), epoch, EXPIRE);
    table.store(second, Number(1), epoch, EXPIRE);
    for seconds in [50, 100, 150, 200, 250] {
        assert_eq!(table.find(first, at(epoch, seconds), EXPIRE), Some(Number(1)), "{seconds}");
    }
    assert_eq!(table.find(second, at(epoch, 100), EXPIRE), Some(Number(1)), "to the last second");
    assert_eq!(table.find(second, at(epoch, 202), EXPIRE), None);
    assert_eq!(table.entries(at(epoch, 250)), 1);
    assert_eq!(table.find(first, at(epoch, 352), EXPIRE), None);
    // Beyond all time nothing breaks.
    let end = at(epoch, u64::from(u32::MAX) + 10);
    assert_eq!(table.find(first, end, EXPIRE), None);
    table.store(first, Number(1), end, Duration::MAX);
}

#[test]
fn an_update_changes_what_is_there_and_nothing_else() {
    let (table, epoch) = one_set();
    let key = mark(&table, 1);
    assert_eq!(table.update(key, Number(1), epoch, EXPIRE), None);
    assert_eq!(table.entries(epoch), 0);
    table.store(key, Number(1), epoch, EXPIRE);
    assert_eq!(table.update(key, Number(1), epoch, EXPIRE), Some(Stored::Kept));
    assert_eq!(table.update(key, Number(2), epoch, EXPIRE), Some(Stored::Moved));
    assert_eq!(table.find(key, epoch, EXPIRE), Some(Number(2)));
}

#[test]
fn keys_are_hashed_with_a_secret_and_by_their_kind() {
    let (one, epoch) = one_set();
    let other = Table::new(1, epoch, RandomState::new());
    assert_ne!(one.mark(Kind::Text, b"a"), other.mark(Kind::Text, b"a"));
    assert_ne!(one.mark(Kind::Text, b"abcd"), one.mark(Kind::Address, b"abcd"));
    assert_eq!(one.mark(Kind::Text, b"abcd"), one.mark(Kind::Text, b"abcd"));
}

#[test]
fn with_half_of_the_places_taken_hardly_anything_is_evicted() {
    let epoch = Instant::now();
    let table = Table::new(100_000, epoch, RandomState::new());
    let store = |key| table.store(mark(&table, key), Number(1), epoch, EXPIRE);
    let evicted = (0..50_000).filter(|key| store(*key) == Stored::Evicted).count();
    assert!(evicted < 250, "{evicted} of 50,000 evicted");
    assert_eq!(table.entries(epoch), 50_000 - evicted);
}

#[test]
fn a_reload_keeps_clients_by_the_names_of_their_servers() {
    let now = Instant::now();
    let mut keeper = Keeper::new(1000, now, RandomState::new());
    let first = keeper.follow(1000, EXPIRE, ["a", "b", "c"], now);
    let marks: Vec<_> = (0..3_u8).map(|key| first.mark(Kind::Text, &[key])).collect();
    for (server, mark) in (0..).zip(&marks) {
        assert_eq!(first.store(*mark, server, now), Stored::Added);
    }
    assert_eq!(first.store(marks[0], 7, now), Stored::Refused, "there is no such server");
    // Another order, one gone, one new, and another size.
    for entries_max in [1000, 500, 2000] {
        let second = keeper.follow(entries_max, EXPIRE, ["c", "d", "a"], now);
        let found: Vec<_> = marks.iter().map(|mark| second.find(*mark, now)).collect();
        assert_eq!(found, [Some(2), None, Some(0)]);
        assert_eq!(keeper.entries(now), 2, "the one that is gone is forgotten");
        assert_eq!(keeper.entries_max(), entries_max.div_ceil(WAYS) * WAYS);
    }
    // A request that began before the reload may still store the one that is gone.
    let third = keeper.follow(1000, EXPIRE, ["c", "d", "a"], now);
    first.store(marks[1], 1, now);
    assert_eq!(third.find(marks[1], now), None);
}

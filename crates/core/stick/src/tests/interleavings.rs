//! Small scripts in every order of their accesses with few preemptions.
//!
//! Owns the scripts. What is asserted in each history: nobody finds a server that was stored for another key, and at the end
//! there is at most one entry of a key.

use std::sync::Arc;
use std::time::Instant;

use super::schedule::explore;
use super::{EXPIRE, Table, is_of, mark, one_set};
use crate::table::{Number, Stored, WAYS};

/// Preemptions of one history.
const PREEMPTIONS_MAX: usize = 2;

type Found = Vec<(usize, Option<Number>)>;
type Script = Box<dyn FnOnce() -> Found + Send>;
type Act = fn(&Table, Instant) -> Found;

fn look(table: &Table, key: usize, now: Instant) -> (usize, Option<Number>) {
    (key, table.find(mark(table, key), now, EXPIRE))
}

fn store(table: &Table, key: usize, by: u16, now: Instant) -> Stored {
    let number = u16::try_from(key).expect("small") * 1000 + by;
    table.store(mark(table, key), Number(number), now, EXPIRE)
}

/// Runs the acts at once on a set in which so many other keys are, the first one the oldest.
fn run(name: &str, others: usize, acts: &[Act], at_end: impl Fn(&Table, Instant, &str)) {
    let last = std::cell::RefCell::new(None);
    let made = || {
        let (table, epoch) = one_set();
        let table = Arc::new(table);
        for key in 0..others {
            let now = epoch + std::time::Duration::from_secs(key as u64);
            assert_eq!(store(&table, key, 0, now), Stored::Added);
        }
        let now = epoch + std::time::Duration::from_secs(50);
        *last.borrow_mut() = Some((table.clone(), now));
        let script = |act: &Act| {
            let (act, table) = (*act, table.clone());
            Box::new(move || act(&table, now)) as Script
        };
        acts.iter().map(script).collect()
    };
    let histories = explore(PREEMPTIONS_MAX, made, |found, history| {
        for (key, found) in found.into_iter().flatten() {
            assert!(
                found.is_none_or(|number| is_of(number, key)),
                "{name}: {key}: {found:?}: {history}"
            );
        }
        let (table, now) = last.borrow_mut().take().expect("made for each history");
        let entries = table.entries(now);
        assert!(entries <= WAYS, "{name}: {history}");
        at_end(&table, now, &format!("{name}: {history}"));
    });
    assert!(histories > 100, "{name}: {histories} histories");
}

#[test]
fn a_key_that_takes_anothers_place_is_not_found_for_it() {
    let evict: Act = |table, now| {
        store(table, 40, 1, now);
        Vec::new()
    };
    let find: Act = |table, now| vec![look(table, 0, now), look(table, 40, now)];
    run("evicted", WAYS, &[evict, find], |table, now, history| {
        assert_eq!(look(table, 40, now).1, Some(Number(40_001)), "{history}");
        // The oldest made room, or the next one where that was used in time.
        let gone = (0..WAYS).find(|key| look(table, *key, now).1.is_none());
        assert!(matches!(gone, Some(0 | 1)), "{gone:?}: {history}");
        assert_eq!(table.entries(now), WAYS, "{history}");
    });
}

#[test]
fn two_keys_that_want_one_place_both_find_one() {
    let one: Act = |table, now| {
        store(table, 40, 1, now);
        vec![look(table, 40, now)]
    };
    let other: Act = |table, now| {
        store(table, 41, 2, now);
        vec![look(table, 41, now)]
    };
    run("full", WAYS, &[one, other], |table, now, history| {
        assert_eq!(look(table, 40, now).1, Some(Number(40_001)), "{history}");
        assert_eq!(look(table, 41, now).1, Some(Number(41_002)), "{history}");
        assert_eq!(table.entries(now), WAYS, "{history}");
    });
}

#[test]
fn one_key_stored_twice_at_once_is_there_once() {
    let one: Act = |table, now| {
        store(table, 40, 1, now);
        vec![look(table, 40, now)]
    };
    let other: Act = |table, now| {
        store(table, 40, 2, now);
        vec![look(table, 40, now)]
    };
    for others in [0, 3] {
        run("double", others, &[one, other], |table, now, history| {
            assert!(look(table, 40, now).1.is_some_and(|number| is_of(number, 40)), "{history}");
            assert_eq!(table.entries(now), others + 1, "{history}");
        });
    }
}

#[test]
fn an_entry_that_moves_or_is_renewed_is_found_all_the_time() {
    let moves: Act = |table, now| {
        assert_eq!(store(table, 0, 7, now), Stored::Moved);
        Vec::new()
    };
    let find: Act = |table, now| {
        let found = look(table, 0, now);
        assert!(found.1.is_some(), "it was there before and is there behind");
        vec![found]
    };
    run("moved", 2, &[moves, find], |table, now, history| {
        assert_eq!(look(table, 0, now).1, Some(Number(7)), "{history}");
    });
}

#[test]
fn servers_that_are_forgotten_are_not_found_and_make_room() {
    let forget: Act = |table, _| {
        assert!(table.forget(|number| is_of(number, 1)) == 1, "one entry is of that server");
        Vec::new()
    };
    let work: Act = |table, now| {
        store(table, 40, 1, now);
        vec![look(table, 0, now)]
    };
    run("forgotten", 3, &[forget, work], |table, now, history| {
        assert_eq!(look(table, 1, now).1, None, "{history}");
        assert_eq!(table.entries(now), 3, "{history}");
    });
}

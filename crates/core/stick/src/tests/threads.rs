//! Shards on real threads, in a table that is much too small for them.

use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::{Table, is_of, mark};
use crate::table::{Number, Stored};

const SHARDS: u16 = 4;
const KEYS: usize = 60;
const OPERATIONS: u64 = 300_000;
const EXPIRE: Duration = Duration::from_secs(3);

/// What one shard saw.
#[derive(Default)]
struct Seen {
    hits: u64,
    evictions: u64,
    refused: u64,
}

fn work(table: &Table, epoch: Instant, shard: u16, failed: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut state = u64::from(shard) + 1;
    for operation in 0..OPERATIONS {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = usize::try_from(state >> 20).unwrap_or_default() % KEYS;
        // The shards' clocks differ, and entries end all the time.
        let now = epoch + Duration::from_millis(operation / 20 + 700 * u64::from(shard));
        if state.is_multiple_of(3) {
            let number = Number(u16::try_from(key).expect("few") * 1000 + shard);
            match table.store(mark(table, key), number, now, EXPIRE) {
                Stored::Evicted => seen.evictions += 1,
                Stored::Refused => seen.refused += 1,
                Stored::Kept | Stored::Moved | Stored::Added => {}
            }
        } else if state.is_multiple_of(1009) {
            table.forget(|number| is_of(number, key));
        } else if let Some(number) = table.find(mark(table, key), now, EXPIRE) {
            seen.hits += 1;
            if !is_of(number, key) {
                failed.store(true, SeqCst);
            }
        }
    }
    seen
}

#[test]
fn no_shard_ever_finds_what_was_stored_for_another_key() {
    let epoch = Instant::now();
    let (table, failed) = (Table::new(32, epoch, RandomState::new()), AtomicBool::new(false));
    let seen: Vec<Seen> = std::thread::scope(|scope| {
        let begin = |shard| {
            scope.spawn({
                let (table, failed) = (&table, &failed);
                move || work(table, epoch, shard, failed)
            })
        };
        let threads: Vec<_> = (0..SHARDS).map(begin).collect();
        threads.into_iter().map(|thread| thread.join().expect("no shard panics")).collect()
    });
    assert!(!failed.load(SeqCst), "a server of another key");
    let sum = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>();
    assert!(sum(|seen| seen.hits) > 10_000 && sum(|seen| seen.evictions) > 1000, "it was tried");
    assert!(sum(|seen| seen.refused) < OPERATIONS / 1000, "{} refused", sum(|seen| seen.refused));
    assert!(table.entries(epoch) <= table.entries_max());
    let later = epoch + Duration::from_secs(3600);
    assert_eq!(table.entries(later), 0, "everything ends");
    assert_eq!(
        table.store(mark(&table, 0), Number(0), later, EXPIRE),
        Stored::Added,
        "no place is lost"
    );
    // Every place can be taken again: none stayed busy.
    for key in 0..1000 {
        let stored = table.store(mark(&table, key), Number(0), later, EXPIRE);
        assert_ne!(stored, Stored::Refused);
    }
    assert_eq!(table.entries(later), table.entries_max());
}

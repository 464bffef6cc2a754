//! What is taken, kept and offered.

use std::time::{Duration, Instant};

use tidegate_idle::{IdleList, Kept, Pace, PoolSettings, SHELF_MAX, Shelf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connection {
    number: u32,
    opened: Instant,
    requests: u32,
}

impl Kept for Connection {
    fn opened(&self) -> Instant {
        self.opened
    }

    fn requests(&self) -> u32 {
        self.requests
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn pool() -> PoolSettings {
    PoolSettings { idle_max: 10, idle_timeout: 8 * SECOND, max_lifetime: None, max_requests: None }
}

fn connection(number: u32, opened: Instant) -> Connection {
    Connection { number, opened, requests: 1 }
}

#[test]
fn the_connection_used_last_is_used_next_and_the_oldest_goes_first() {
    let (list, now) = (IdleList::default(), Instant::now());
    (0..3).for_each(|number| list.push(connection(number, now), now + number * SECOND));
    assert_eq!(list.remove(|known| known.number == 1).map(|known| known.number), Some(1));
    assert_eq!(list.pop_expired(now + 7 * SECOND, &pool()), None);
    assert_eq!(list.pop_expired(now + 8 * SECOND, &pool()).map(|known| known.number), Some(0));
    list.push(connection(3, now), now + 9 * SECOND);
    assert_eq!(list.pop().map(|known| known.number), Some(3));
    assert_eq!((list.len(), list.is_empty()), (1, false));
}

#[test]
fn a_connection_that_may_carry_no_more_goes_whenever_it_was_used() {
    let (list, now) = (IdleList::default(), Instant::now());
    list.push(connection(0, now + 5 * SECOND), now + 5 * SECOND);
    list.push(connection(1, now), now + 5 * SECOND);
    let pool = PoolSettings { max_lifetime: Some(6 * SECOND), max_requests: Some(2), ..pool() };
    let expired = list.pop_expired(now + 6 * SECOND, &pool);
    assert_eq!(expired.map(|known| known.number), Some(1));
    assert_eq!(list.pop_expired(now + 6 * SECOND, &pool), None);
    let worn = Connection { requests: 2, ..connection(2, now) };
    assert!(!pool.may_carry_more(&worn, now) && pool.may_carry_more(&connection(2, now), now));
}

#[test]
fn a_shard_that_comes_back_late_uses_the_server_seldom() {
    let (pace, now, pool) = (Pace::default(), Instant::now(), pool());
    pace.note_use(now, &pool);
    assert!(pace.is_seldom(), "nothing is known of it");
    pace.note_use(now + SECOND - Duration::from_millis(1), &pool);
    assert!(!pace.is_seldom());
    pace.note_use(now + 2 * SECOND, &pool);
    assert!(pace.is_seldom(), "an eighth of the time has passed");
}

#[test]
fn a_shelf_gives_each_connection_once_and_holds_so_many() {
    let (shelf, now) = (Shelf::default(), Instant::now());
    let count = u32::try_from(SHELF_MAX).expect("few");
    (0..count).for_each(|number| shelf.offer(connection(number, now), now).expect("room"));
    assert_eq!(shelf.offer(connection(count, now), now).map_err(|back| back.number), Err(count));
    assert_eq!(shelf.take().map(|known| known.number), Some(0));
    assert_eq!((shelf.len(), shelf.clear(), shelf.is_empty()), (SHELF_MAX - 1, 63, true));
    assert_eq!(shelf.take(), None);
}

#[test]
fn what_is_too_old_leaves_the_shelf() {
    let (shelf, now) = (Shelf::default(), Instant::now());
    (0..3).for_each(|number| {
        shelf.offer(connection(number, now), now + number * SECOND).expect("room");
    });
    assert_eq!(shelf.sweep(now + 9 * SECOND, &pool(), |_| true), 2);
    assert_eq!(shelf.take().map(|known| known.number), Some(2));
    shelf.offer(connection(3, now), now).expect("room");
    shelf.offer(connection(4, now), now).expect("room");
    assert_eq!(shelf.sweep(now, &pool(), |known| known.number != 4), 1, "it has died");
    let pool = PoolSettings { max_lifetime: Some(SECOND), ..pool() };
    assert_eq!((shelf.sweep(now + SECOND, &pool, |_| true), shelf.len()), (1, 0));
}

#[test]
fn shards_that_take_and_leave_at_the_same_time_lose_nothing() {
    let (shelf, now) = (Shelf::default(), Instant::now());
    (0..8).for_each(|number| shelf.offer(connection(number, now), now).expect("room"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if let Some(taken) = shelf.take() {
                        shelf.offer(taken, now).expect("room for what was here");
                    }
                    shelf.sweep(now, &pool(), |_| true);
                }
            });
        }
    });
    let mut numbers: Vec<u32> = std::iter::from_fn(|| shelf.take()).map(|it| it.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..8).collect::<Vec<_>>());
}

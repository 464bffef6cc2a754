//! The pool's limit: what is refused, what waits, what is freed.

use tidegate_compression::{Coding, GzipLevel, Level, Levels, Pool, PoolLimits, ZstdLevel};

const GZIP: usize = Level::Gzip(GzipLevel::MIN).state_bytes_max();
const ZSTD: usize = Level::Zstd(ZstdLevel::MIN).state_bytes_max();

fn level(coding: Coding) -> Level {
    Levels::default().of(coding)
}

fn pool(bytes_max: usize, idle_bytes_max: usize) -> Pool {
    Pool::new(PoolLimits { bytes_max, idle_bytes_max })
}

#[test]
fn encoders_beyond_the_limit_are_refused_until_one_is_given_back() {
    let pool = pool(2 * GZIP, 2 * GZIP);
    let first = pool.start(level(Coding::Gzip)).expect("there is room for two");
    let _second = pool.start(level(Coding::Gzip)).expect("there is room for two");
    assert!(pool.start(level(Coding::Gzip)).is_none());
    assert!(pool.start(level(Coding::Zstd)).is_none());
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (2 * GZIP, 0));
    drop(first);
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (GZIP, GZIP));
    assert!(pool.start(level(Coding::Gzip)).is_some());
}

#[test]
fn states_that_wait_make_room_for_another_coding() {
    let pool = pool(ZSTD, ZSTD);
    drop(pool.start(level(Coding::Gzip)).expect("there is room"));
    assert_eq!(pool.idle_bytes(), GZIP);
    let _zstd = pool.start(level(Coding::Zstd)).expect("what waits is freed");
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (ZSTD, 0));
}

#[test]
fn no_more_states_wait_than_are_allowed() {
    let pool = pool(10 * GZIP, 3 * GZIP);
    let encoders: Vec<_> = (0..10).map(|_| pool.start(level(Coding::Gzip))).collect();
    assert!(encoders.iter().all(Option::is_some));
    drop(encoders);
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (0, 3 * GZIP));
}

#[test]
fn brotli_states_do_not_wait() {
    let pool = Pool::new(PoolLimits::default());
    drop(pool.start(level(Coding::Brotli)).expect("there is room"));
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (0, 0));
}

#[test]
fn new_limits_free_what_waits_and_leave_what_works() {
    let pool = pool(10 * GZIP, 10 * GZIP);
    let mut encoder = pool.start(level(Coding::Gzip)).expect("there is room");
    drop(pool.start(level(Coding::Gzip)).expect("there is room"));
    pool.set_limits(PoolLimits { bytes_max: 0, idle_bytes_max: 10 * GZIP });
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (GZIP, 0));
    assert!(pool.start(level(Coding::Gzip)).is_none());
    let mut out = Vec::new();
    assert!(encoder.encode(b"it goes on", &mut out, 64).is_ok());
    drop(encoder);
    assert_eq!((pool.active_bytes(), pool.idle_bytes()), (0, 0));
}

#[test]
fn an_encoder_outlives_every_handle_of_its_pool() {
    let pool = Pool::new(PoolLimits::default());
    let mut encoder = pool.start(level(Coding::Zstd)).expect("there is room");
    drop(pool);
    assert!(encoder.finish(&mut Vec::new(), 64).expect("it ends").is_done);
}

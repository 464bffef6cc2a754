//! Memory: each state stays within what the pool charges for it, a long body takes no more than a
//! short one, and a warm pool allocates nothing.
//!
//! One test, because the counters are the process's. The memory that zstd takes is its own library's
//! and is held by that module's tests.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate_compression::{BrotliLevel, GzipLevel, Level, Levels, Pool, PoolLimits, ZstdLevel};
use tidegate_testkit::{Rng, json};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROOM: usize = 16 * 1024;
const BODY_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes that lived on the heap beyond those before it began.
fn encode(pool: &Pool, level: Level, body: &[u8], out: &mut Vec<u8>) -> usize {
    let region = Region::new(ALLOCATOR);
    let live = || {
        let change = region.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated)
    };
    let mut encoder = pool.start(level).expect("the pool has room");
    let mut peak = live();
    for piece in body.chunks(ROOM) {
        let mut rest = piece;
        loop {
            out.clear();
            let progress = encoder.encode(rest, out, ROOM).expect("it encodes");
            peak = peak.max(live());
            rest = &rest[progress.consumed..];
            if progress.is_done {
                break;
            }
        }
    }
    loop {
        out.clear();
        let is_done = encoder.finish(out, ROOM).expect("it ends").is_done;
        peak = peak.max(live());
        if is_done {
            return peak;
        }
    }
}

#[test]
fn memory_is_bounded_and_a_warm_pool_allocates_nothing() {
    let (body, mut out) = (json(1, BODY_BYTES), Vec::with_capacity(ROOM));
    let noise = Rng::new(1).bytes(BODY_BYTES);
    let gzip = (1..=9).filter_map(GzipLevel::new).map(Level::Gzip);
    let brotli = (2..=6).filter_map(BrotliLevel::new).map(Level::Brotli);
    for level in gzip.chain(brotli) {
        let pool = Pool::new(PoolLimits::default());
        let peak =
            encode(&pool, level, &body, &mut out).max(encode(&pool, level, &noise, &mut out));
        let bytes_max = level.state_bytes_max();
        eprintln!("{level:?}: {peak} bytes of {bytes_max}");
        assert!(peak <= bytes_max, "{level:?} held {peak} bytes");
    }

    let pool = Pool::new(PoolLimits::default());
    let warm = [
        Level::Gzip(GzipLevel::MIN),
        Level::Zstd(ZstdLevel::MIN),
        Level::Gzip(GzipLevel::MAX),
        Level::Zstd(ZstdLevel::MAX),
    ];
    for level in warm {
        encode(&pool, level, &body[..65_536], &mut out);
    }
    let region = Region::new(ALLOCATOR);
    for level in warm {
        encode(&pool, level, &body[..65_536], &mut out);
    }
    assert_eq!(region.change().allocations, 0, "a warm pool allocates");
    assert_eq!(region.change().reallocations, 0, "a warm pool allocates");

    let brotli = Level::Brotli(Levels::default().brotli);
    encode(&pool, brotli, &body[..65_536], &mut out);
    let region = Region::new(ALLOCATOR);
    encode(&pool, brotli, &body[..65_536], &mut out);
    let change = region.change();
    eprintln!("brotli: {} allocations, {} bytes", change.allocations, change.bytes_allocated);
    assert_eq!(change.bytes_allocated, change.bytes_deallocated, "brotli gives all of it back");
}

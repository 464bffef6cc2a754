//! Pushing a line allocates nothing.
//!
//! Owns the only test of its process. The writing thread may allocate; it sleeps in most of the rounds, and a push that
//! allocated would do so in all of them.

mod stage;

use stage::{Stage, line, number};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use tidegate_access_log::Severity;
use tidegate_log::Pushed;
use tidegate_testkit::TempDir;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 100;

#[test]
fn a_push_costs_no_allocation() {
    let directory = TempDir::new();
    let path = directory.file("access.log");
    let mut stage = Stage::new(1);
    let log = stage.open(path.to_str().expect("the path is text"));
    stage.push(&log, 0..100);
    stage.flush();
    let (text, writer) = (line(7), &mut stage.writers[0]);
    let least = (0..ROUNDS).map(|_| {
        let region = Region::new(ALLOCATOR);
        for _ in 0..10 {
            let pushed = writer.push_line(log.id(), Severity::Info, text.as_bytes());
            assert_eq!(pushed, Pushed::Queued);
        }
        region.change().allocations
    });
    assert_eq!(least.min(), Some(0));
    stage.flush();
    stage.wait_until(|| log.counts().lines == 100 + 10 * ROUNDS as u64);
    let text = std::fs::read_to_string(&path).expect("it can be read");
    assert_eq!(text.lines().map(number).filter(|number| *number == 7).count(), 10 * ROUNDS + 1);
}

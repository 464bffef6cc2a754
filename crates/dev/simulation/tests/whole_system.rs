//! Histories of the whole system, and whether they reach what they are about.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tidegate_simulation::{Report, Setup, World};
use tidegate_testkit::{Rng, SEED_VARIABLE, seed};

/// Histories of one run, a few thousand requests each at most.
const HISTORIES: u64 = 50;

fn run(seed: u64) -> Report {
    let mut rng = Rng::new(seed);
    let setup = Setup::draw(&mut rng);
    let history = AssertUnwindSafe(|| World::new(&setup, rng).run());
    catch_unwind(history).unwrap_or_else(|panic| {
        eprintln!("repeat it with {SEED_VARIABLE}={seed:#x}: {setup}");
        resume_unwind(panic)
    })
}

#[test]
fn nothing_that_must_hold_breaks_in_any_history() {
    if std::env::var_os(SEED_VARIABLE).is_some() {
        let report = run(seed().value());
        return println!("{report:?}");
    }
    let reports: Vec<Report> = (0..HISTORIES).map(run).collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let requests = sum(|report| report.requests);
    println!("{requests} requests");
    for (what, count, least) in [
        ("requests", requests, 10_000),
        ("answers", sum(|report| report.finished), requests / 4),
        ("failures", sum(|report| report.failed), 500),
        ("clients that left", sum(|report| report.left), 200),
        ("waits", sum(|report| report.queued), 1_000),
        ("slots that came to who waited", sum(|report| report.granted), 500),
        ("retries", sum(|report| report.retries), 500),
        ("repeats", sum(|report| report.repeats), 200),
        ("second tries", sum(|report| report.hedges), 50),
        ("second tries taken over", sum(|report| report.hedges_won), 10),
        ("servers down", sum(|report| report.downs), 50),
        ("ejections", sum(|report| report.ejections), 20),
        ("panics", sum(|report| report.panics), 5),
    ] {
        println!("{what}: {count}");
        assert!(count >= least, "{what}: {count}");
    }
}

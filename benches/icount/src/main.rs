//! Counts the instructions of the request path's pure parts and holds them to a committed baseline.
//!
//! Owns the command line; leaves what is run to `cases`, `picks`, `sticks`, `rules` and `routing`, counting to
//! `callgrind`, and judging to `baseline`. Invariant: a count that grew by more than the tolerance, or
//! that has no baseline, makes the exit code 1.
//!
//! ```text
//! cargo run --release -p tidegate-icount                   compare with the baseline
//! cargo run --release -p tidegate-icount -- --update       make what is counted now the baseline
//! tidegate-icount --run CASE ITERATIONS                    run one case; what valgrind is given
//! ```

mod baseline;
mod callgrind;
mod cases;
mod log_lines;
mod picks;
mod routing;
mod rules;
mod sticks;

use baseline::{Baseline, Verdict};
use std::collections::BTreeMap;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["--run", name, iterations] => run(name, iterations).map(|()| true),
        [] => count_all().and_then(|counts| compare(&counts)),
        ["--update"] => count_all().and_then(|counts| counts.save()).map(|()| true),
        _ => Err("usage: tidegate-icount [--update]".to_owned()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn run(name: &str, iterations: &str) -> Result<(), String> {
    let case = all()
        .chain(&picks::LOOPS)
        .find(|case| case.name == name)
        .ok_or_else(|| format!("no case {name}"))?;
    let iterations = iterations.parse().map_err(|error| format!("{iterations}: {error}"))?;
    (case.run)(iterations);
    Ok(())
}

/// What has a count in the baseline.
fn all() -> impl Iterator<Item = &'static cases::Case> {
    cases::ALL.iter().chain(picks::CASES.iter().map(|(case, _)| case)).chain(sticks::CASES)
}

fn count_all() -> Result<Baseline, String> {
    if cfg!(debug_assertions) {
        return Err(
            "instructions are counted in release builds: cargo run --release -p tidegate-icount"
                .to_owned(),
        );
    }
    let mut counts = Baseline::default();
    for case in cases::ALL.iter().chain(sticks::CASES) {
        counts.insert(case.name, callgrind::instructions_per_iteration(case)?);
    }
    let mut loops = BTreeMap::new();
    for around in &picks::LOOPS {
        loops.insert(around.name, callgrind::instructions_per_iteration(around)?);
    }
    for (case, around) in picks::CASES {
        let count = callgrind::instructions_per_iteration(case)?;
        // To hundredths, as they are counted.
        let alone = ((count - loops[around.name]) * 100.0).round() / 100.0;
        counts.insert(case.name, alone);
    }
    Ok(counts)
}

/// Prints a line for each case; true when none is worse than the baseline allows.
fn compare(counts: &Baseline) -> Result<bool, String> {
    let baseline = Baseline::load()?;
    let lines = baseline.compare(counts);
    for line in &lines {
        println!("{line}");
    }
    if lines.iter().any(|line| line.verdict == Verdict::Better) {
        println!(
            "better than the baseline: move it with --update, and say in the commit what did it"
        );
    }
    let is_good = lines.iter().all(|line| matches!(line.verdict, Verdict::Same | Verdict::Better));
    if !is_good {
        println!(
            "if this growth is wanted: move the baseline with --update, and say why in the commit"
        );
    }
    Ok(is_good)
}

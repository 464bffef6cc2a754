//! Running a case under valgrind and reading how many instructions it took.
//!
//! Owns the subtraction that makes start-up cancel; leaves the cases to `cases`. Invariant: the
//! result depends on the program alone, not on the machine's load.

use crate::cases::Case;
use std::process::Command;

/// Instructions of one iteration of `case`: the difference between a longer and a shorter run,
/// divided.
pub fn instructions_per_iteration(case: &Case) -> Result<f64, String> {
    let (short, long) = (case.iterations, case.iterations * 3);
    let difference = instructions(case.name, long)?
        .checked_sub(instructions(case.name, short)?)
        .ok_or_else(|| format!("{}: more iterations took fewer instructions", case.name))?;
    let hundredths = difference * 100 / (long - short);
    let hundredths =
        u32::try_from(hundredths).map_err(|_| format!("{}: too many instructions", case.name))?;
    Ok(f64::from(hundredths) / 100.0)
}

/// Instructions of a whole process that runs `iterations` iterations of a case.
fn instructions(name: &str, iterations: u64) -> Result<u64, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--run", name, &iterations.to_string()])
        .output()
        .map_err(|error| {
            format!("cannot run valgrind: {error}; scripts/install-test-tools.sh installs it")
        })?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("valgrind failed on {name}:\n{report}"));
    }
    collected(&report).ok_or_else(|| format!("valgrind reported no count for {name}:\n{report}"))
}

/// The count in a line such as `==123== Collected : 4567`.
fn collected(report: &str) -> Option<u64> {
    let line = report.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_the_report() {
        let report = "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(report), Some(123_456));
        assert_eq!(collected("==7== nothing\n"), None);
    }
}

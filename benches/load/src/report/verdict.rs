//! The figures Tidegate must hold, each with what was measured and whether it passes. Owns the
//! limits; this is the only place that knows them.
//!
//! Invariant: a figure that was not measured is said to be so, never passed over.

use std::fmt::Write;

use super::table::number;
use crate::results::{Level, Ratio, Results, Run, Spread};
use crate::scenario::TRAFFIC;

/// The programs Tidegate is compared with.
pub const PEERS: &[&str] = &["haproxy", "nginx"];
const OWN: &str = "tidegate";
/// The baseline of the keep-alive figure.
const SPIKE: &str = "hproxy";

/// How a figure came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Within the limit.
    Pass,
    /// Beyond it.
    Miss,
    /// Not part of this comparison.
    Unmeasured,
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What is measured.
    pub what: String,
    /// The largest value that passes.
    pub limit: f64,
    /// Its unit: `×` for ratios.
    pub unit: &'static str,
    /// What was measured, in words.
    pub measured: String,
    /// The outcome.
    pub finding: Finding,
}

impl Verdict {
    fn ratio(what: String, limit: f64, ratio: Option<Ratio>) -> Self {
        let finding = ratio.as_ref().map(|ratio| ratio.value);
        let measured = ratio.map(|ratio| {
            let Ratio { value, min, max, against } = ratio;
            format!("{value:.2} ({min:.2}–{max:.2}) × {against}")
        });
        Self::judged(what, limit, "×", finding, measured)
    }

    fn value(what: &str, limit: f64, unit: &'static str, spread: Option<Spread>) -> Self {
        let measured = spread.map(|spread| {
            let Spread { median, min, max } = spread;
            format!("{} ({}–{}) {unit}", number(median), number(min), number(max))
        });
        Self::judged(what.into(), limit, unit, spread.map(|spread| spread.median), measured)
    }

    fn judged(
        what: String,
        limit: f64,
        unit: &'static str,
        value: Option<f64>,
        measured: Option<String>,
    ) -> Self {
        let finding = match value {
            None => Finding::Unmeasured,
            Some(value) if value <= limit => Finding::Pass,
            Some(_) => Finding::Miss,
        };
        Self { what, limit, unit, measured: measured.unwrap_or_default(), finding }
    }
}

/// All figures, in the order in which they are promised.
pub fn verdicts(results: &Results) -> Vec<Verdict> {
    let cpu = |scenario: &str, others: &[&str]| {
        results.ratio(scenario, Level::Saturation, OWN, others, Run::cpu_us)
    };
    let per_gib = results.ratio("body-1m", Level::Saturation, OWN, PEERS, Run::cpu_s_per_gib);
    let mut verdicts = vec![
        Verdict::ratio(
            "CPU per keep-alive request, 64 connections".into(),
            0.85,
            cpu("keepalive-64", PEERS),
        ),
        Verdict::ratio("the same, against the spike".into(), 1.05, cpu("keepalive-64", &[SPIKE])),
        Verdict::ratio("the same, 2,000 connections".into(), 0.55, cpu("keepalive-2000", PEERS)),
        Verdict::ratio("the same, each logged".into(), 0.75, cpu("keepalive-64-log", PEERS)),
        Verdict::ratio("the same, the last of 200 rules".into(), 0.70, cpu("rules", PEERS)),
        Verdict::ratio("CPU, a connection per request".into(), 0.85, cpu("per-request", PEERS)),
        Verdict::ratio("CPU per GiB, 1 MiB bodies".into(), 0.90, per_gib),
    ];
    for scenario in TRAFFIC {
        for percent in [50, 75] {
            let level = Level::Percent(percent);
            if results.cell(scenario.name, level, OWN).next().is_none() {
                continue;
            }
            let name = scenario.name;
            let p99 = results.ratio(name, level, OWN, PEERS, |run| run.latency_us.p99);
            let p99_9 = results.ratio(name, level, OWN, PEERS, |run| run.latency_us.p99_9);
            verdicts.push(Verdict::ratio(format!("p99 at {level}, {name}"), 1.0, p99));
            verdicts.push(Verdict::ratio(format!("p99.9 at {level}, {name}"), 1.0, p99_9));
        }
    }
    verdicts.extend(process_verdicts(results));
    verdicts
}

fn process_verdicts(results: &Results) -> [Verdict; 4] {
    let runs = results.runs.iter().filter(|run| run.proxy == OWN);
    let failed = Spread::of(runs.map(|run| run.errors.total() as f64));
    // Judged by the worst run: a failed request in one of them spoils its figures.
    let failed = failed.map(|spread| Spread { median: spread.max, ..spread });
    let shards = Spread::of(results.shards.iter().map(|run| run.many_cpu_us / run.one_cpu_us));
    let own = || results.idle.iter().filter(|run| run.proxy == OWN);
    let bytes = Spread::of(own().map(|run| run.bytes_per_connection));
    let idle = Spread::of(own().map(|run| run.idle_cpu_percent));
    [
        Verdict::value("failed requests in the worst run", 0.0, "", failed),
        Verdict::value("CPU per request, two shards against one", 1.05, "×", shards),
        Verdict::value("memory per idle keep-alive connection", 520.0, "B", bytes),
        Verdict::value("idle process", 0.2, "% of a core", idle),
    ]
}

/// Appends the figures as a Markdown table.
///
/// # Errors
/// When the page cannot be written to.
pub fn write_table(page: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(page, "\n## Must hold\n")?;
    writeln!(page, "| figure | at most | measured | |\n| --- | --- | --- | --- |")?;
    for verdict in verdicts(results) {
        let Verdict { what, limit, unit, measured, finding } = verdict;
        writeln!(page, "| {what} | {limit} {unit} | {measured} | {} |", word(finding))?;
    }
    Ok(())
}

/// The figures as lines for a terminal.
pub fn lines(results: &Results) -> String {
    let mut text = String::new();
    for verdict in verdicts(results) {
        let Verdict { what, limit, unit, measured, finding } = verdict;
        let finding = word(finding);
        writeln!(text, "  {finding:<12} {what:<46} at most {limit} {unit:<12} {measured}")
            .expect("writing to a string");
    }
    text
}

fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Pass => "pass",
        Finding::Miss => "**miss**",
        Finding::Unmeasured => "not measured",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::add;

    #[test]
    fn limits_decide_and_gaps_are_named() {
        let mut results = Results::default();
        add(&mut results, Level::Saturation, OWN, &[10.0]);
        add(&mut results, Level::Saturation, "nginx", &[14.0]);
        add(&mut results, Level::Saturation, "haproxy", &[16.0]);
        add(&mut results, Level::Saturation, SPIKE, &[9.0]);
        let found = verdicts(&results);
        assert_eq!(found[0].finding, Finding::Pass, "10 of 14 is 0.71");
        assert_eq!(found[0].measured, "0.71 (0.71–0.71) × nginx");
        assert_eq!(found[1].finding, Finding::Miss, "10 of 9 is above 1.05");
        let measured: Vec<&str> = found
            .iter()
            .filter(|verdict| verdict.finding != Finding::Unmeasured)
            .map(|verdict| &*verdict.what)
            .collect();
        assert_eq!(measured.len(), 3, "{measured:?}");
    }

    #[test]
    fn one_failed_request_is_a_miss() {
        let mut results = Results::default();
        add(&mut results, Level::Saturation, OWN, &[10.0, 10.0, 10.0]);
        let finding = |results: &Results| {
            let found = verdicts(results);
            found.iter().find(|one| one.what.starts_with("failed requests")).map(|one| one.finding)
        };
        assert_eq!(finding(&results), Some(Finding::Pass));
        results.runs[1].errors.reset = 1;
        assert_eq!(finding(&results), Some(Finding::Miss));
    }

    #[test]
    fn tail_latency_is_judged_where_it_was_measured() {
        let mut results = Results::default();
        for (proxy, cpu) in [(OWN, 15.0), ("nginx", 14.0), ("haproxy", 16.0)] {
            add(&mut results, Level::Percent(50), proxy, &[cpu]);
        }
        let found = verdicts(&results);
        let p99 = found.iter().find(|verdict| verdict.what.starts_with("p99 at 50 %"));
        assert_eq!(p99.map(|verdict| verdict.finding), Some(Finding::Miss));
        assert!(!found.iter().any(|verdict| verdict.what.contains("75 %")));
    }
}

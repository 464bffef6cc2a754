//! Everything a comparison measured, and the statistics over it. Owns the data that becomes JSON;
//! drawing tables and curves from it is the report's.
//!
//! Invariant: a summary is a median over rounds with its range, and a ratio pairs runs of the same
//! round, because neighbouring runs share the machine's weather.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

use crate::procstat::Memory;
use crate::recorder::{Errors, empty_histogram};

/// Bytes in a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

/// How much load a run carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As much as goes through.
    Saturation,
    /// A percentage of the slowest proxy's saturation.
    Percent(u64),
}

impl std::fmt::Display for Level {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Saturation => formatter.write_str("saturation"),
            Self::Percent(percent) => write!(formatter, "{percent} %"),
        }
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 9 of 10.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p99_9: f64,
    /// 9,999 of 10,000.
    pub p99_99: f64,
    /// The slowest.
    pub max: f64,
}

impl Latency {
    /// Reads the percentiles of a histogram of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// One proxy, one scenario, one level, one round.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// Scenario name.
    pub scenario: String,
    /// Load level.
    pub level: Level,
    /// Requests per second offered, if the loop was open.
    pub rate: Option<u64>,
    /// Counted from 1.
    pub round: usize,
    /// Proxy name.
    pub proxy: String,
    /// Correct responses in the window.
    pub operations: u64,
    /// Their body bytes.
    pub body_bytes: u64,
    /// Length of the window.
    pub seconds: f64,
    /// CPU time of all the proxy's processes in the window.
    pub cpu_seconds: f64,
    /// CPU time of generator and origin in the window.
    pub harness_cpu_seconds: f64,
    /// Counted from the intended send time when the loop was open.
    pub latency_us: Latency,
    /// Failed requests, warm-up included.
    pub errors: Errors,
    /// The proxy's memory after the window, connections still open.
    pub memory: Memory,
}

impl Run {
    /// CPU time per request in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.operations.max(1) as f64
    }

    /// CPU time of generator and origin per request in microseconds.
    pub fn harness_cpu_us(&self) -> f64 {
        self.harness_cpu_seconds * 1e6 / self.operations.max(1) as f64
    }

    /// CPU seconds per GiB of bodies.
    pub fn cpu_s_per_gib(&self) -> f64 {
        self.cpu_seconds * GIB / self.body_bytes.max(1) as f64
    }

    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        self.operations as f64 / self.seconds
    }
}

/// Idle connections of one proxy in one round.
#[derive(Debug, Clone, Serialize)]
pub struct IdleRun {
    /// Counted from 1.
    pub round: usize,
    /// Proxy name.
    pub proxy: String,
    /// Connections opened.
    pub connections: usize,
    /// Growth of a fresh process's own memory, divided by the connections, in bytes.
    pub bytes_per_connection: f64,
    /// The same for the connections after the first thousandth only: without first-use costs.
    pub marginal_bytes_per_connection: f64,
    /// Memory before the first connection.
    pub memory_before: Memory,
    /// Memory with all connections open and silent.
    pub memory_after: Memory,
    /// CPU time of the process without connections, in percent of one core.
    pub idle_cpu_percent: f64,
    /// The same with all connections open and silent.
    pub connected_cpu_percent: f64,
}

/// Tidegate on one and on several cores at the same rate, in one round.
#[derive(Debug, Clone, Serialize)]
pub struct ShardRun {
    /// Counted from 1.
    pub round: usize,
    /// Shards of the wider run.
    pub shards: usize,
    /// Requests per second offered to both.
    pub rate: u64,
    /// CPU time per request on one shard, in microseconds.
    pub one_cpu_us: f64,
    /// CPU time per request on `shards` shards, in microseconds.
    pub many_cpu_us: f64,
}

/// A median with its range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of the values given; `None` for none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { median, min: first, max: last })
    }
}

/// A ratio of medians, the range of the ratios inside each round, and against whom.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ratio {
    /// Ratio of the medians.
    pub value: f64,
    /// Smallest ratio in a round.
    pub min: f64,
    /// Largest ratio in a round.
    pub max: f64,
    /// The proxy in the denominator.
    pub against: String,
}

/// All runs of a comparison.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    /// What it ran on and how.
    pub environment: BTreeMap<String, String>,
    /// Runs with traffic.
    pub runs: Vec<Run>,
    /// Runs with idle connections.
    pub idle: Vec<IdleRun>,
    /// One shard against several.
    pub shards: Vec<ShardRun>,
    /// Latencies of all rounds added up, by scenario, level and proxy.
    #[serde(skip)]
    pub histograms: BTreeMap<(String, Level, String), Histogram<u64>>,
}

impl Results {
    /// Adds a run and its latencies.
    pub fn add(&mut self, run: Run, histogram: &Histogram<u64>) {
        let key = (run.scenario.clone(), run.level, run.proxy.clone());
        self.histograms
            .entry(key)
            .or_insert_with(empty_histogram)
            .add(histogram)
            .expect("all histograms share their bounds");
        self.runs.push(run);
    }

    /// The runs of one cell, in the order of the rounds.
    pub fn cell<'a>(
        &'a self,
        scenario: &'a str,
        level: Level,
        proxy: &'a str,
    ) -> impl Iterator<Item = &'a Run> {
        self.runs
            .iter()
            .filter(move |run| run.scenario == scenario && run.level == level && run.proxy == proxy)
    }

    /// Median and range of `metric` over the rounds of a cell.
    pub fn spread(
        &self,
        scenario: &str,
        level: Level,
        proxy: &str,
        metric: impl Fn(&Run) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.cell(scenario, level, proxy).map(metric))
    }

    /// `proxy`'s metric (smaller is better) over that of the best among `others`.
    pub fn ratio(
        &self,
        scenario: &str,
        level: Level,
        proxy: &str,
        others: &[&str],
        metric: impl Fn(&Run) -> f64 + Copy,
    ) -> Option<Ratio> {
        let own = self.spread(scenario, level, proxy, metric)?;
        let (against, best) = others
            .iter()
            .filter_map(|other| Some((*other, self.spread(scenario, level, other, metric)?)))
            .min_by(|left, right| left.1.median.total_cmp(&right.1.median))?;
        let pairs = self.cell(scenario, level, proxy).filter_map(|run| {
            let other =
                self.cell(scenario, level, against).find(|other| other.round == run.round)?;
            Some(metric(run) / metric(other))
        });
        let range = Spread::of(pairs)?;
        Some(Ratio {
            value: own.median / best.median,
            min: range.min,
            max: range.max,
            against: against.to_owned(),
        })
    }

    /// The names of the proxies in a scenario: Tidegate, its peers, then baselines by name. The
    /// order in which they ran rotates and must not decide their places and colours.
    pub fn proxies(&self, scenario: &str) -> Vec<&str> {
        let runs = self.runs.iter().filter(|run| run.scenario == scenario);
        let mut names = unique(runs.map(|run| &*run.proxy));
        let known = ["tidegate", "haproxy", "nginx"];
        let place = |name: &str| known.iter().position(|one| *one == name).unwrap_or(known.len());
        names.sort_by_key(|name| (place(name), *name));
        names
    }

    /// The open-loop levels of a scenario, lowest first.
    pub fn levels(&self, scenario: &str) -> Vec<Level> {
        let runs = self.runs.iter().filter(|run| run.scenario == scenario);
        let mut levels: Vec<Level> =
            runs.map(|run| run.level).filter(|level| *level != Level::Saturation).collect();
        levels.sort_unstable();
        levels.dedup();
        levels
    }
}

/// The distinct names, in order of first appearance.
pub fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run with the given CPU time per request, for tests of reports.
    pub fn run(scenario: &str, level: Level, proxy: &str, round: usize, cpu_us: f64) -> Run {
        Run {
            scenario: scenario.into(),
            level,
            rate: None,
            round,
            proxy: proxy.into(),
            operations: 1_000_000,
            body_bytes: 100_000_000,
            seconds: 10.0,
            cpu_seconds: cpu_us,
            harness_cpu_seconds: 8.0,
            latency_us: Latency { p50: cpu_us * 2.0, p99: cpu_us * 5.0, ..Latency::default() },
            errors: Errors::default(),
            memory: Memory::default(),
        }
    }

    /// Adds runs of a proxy, one per round.
    pub fn add(results: &mut Results, level: Level, proxy: &str, cpu_us: &[f64]) {
        for (index, &cpu) in cpu_us.iter().enumerate() {
            let mut histogram = empty_histogram();
            (1..=1_000_u64).for_each(|n| histogram.saturating_record(n * 1_000));
            results.add(run("keepalive-64", level, proxy, index + 1, cpu), &histogram);
        }
    }

    #[test]
    fn median_and_range() {
        let odd = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(odd, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        let even = Spread::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!(even, Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn proxies_have_fixed_places_whatever_ran_first() {
        let mut results = Results::default();
        for proxy in ["zproxy", "nginx", "aproxy", "tidegate", "haproxy"] {
            add(&mut results, Level::Saturation, proxy, &[1.0]);
        }
        let order = ["tidegate", "haproxy", "nginx", "aproxy", "zproxy"];
        assert_eq!(results.proxies("keepalive-64"), order);
    }

    #[test]
    fn ratio_is_against_the_better_peer_and_pairs_rounds() {
        let mut results = Results::default();
        add(&mut results, Level::Saturation, "tidegate", &[8.0, 9.0, 10.0]);
        add(&mut results, Level::Saturation, "haproxy", &[20.0, 20.0, 20.0]);
        add(&mut results, Level::Saturation, "nginx", &[10.0, 18.0, 20.0]);
        let ratio = results
            .ratio(
                "keepalive-64",
                Level::Saturation,
                "tidegate",
                &["haproxy", "nginx"],
                Run::cpu_us,
            )
            .expect("all ran");
        assert_eq!(ratio.against, "nginx");
        assert!((ratio.value - 0.5).abs() < 1e-9);
        assert!((ratio.min - 0.5).abs() < 1e-9 && (ratio.max - 0.8).abs() < 1e-9);
        let none = results.ratio("idle", Level::Saturation, "tidegate", &["haproxy"], Run::cpu_us);
        assert_eq!(none, None);
    }

    #[test]
    fn per_request_figures() {
        let run = run("x", Level::Saturation, "p", 1, 12.0);
        assert!((run.cpu_us() - 12.0).abs() < 1e-9);
        assert!((run.harness_cpu_us() - 8.0).abs() < 1e-9);
        assert!((run.per_second() - 100_000.0).abs() < 1e-6);
        assert!((run.cpu_s_per_gib() - 12.0 * GIB / 1e8).abs() < 1e-6);
    }
}

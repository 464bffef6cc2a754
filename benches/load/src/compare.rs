//! `compare`: Tidegate, HAProxy, nginx and baselines side by side. Owns the order of the runs:
//! one proxy at a time, proxies interleaved within a round, their order rotated between rounds, so
//! that slow drifts of the machine hit all alike.
//!
//! First every scenario's saturation is measured over all rounds; the slowest proxy's median then
//! sets the rates at which all proxies' latencies are taken.

mod plan;
mod step;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::args::Args;
use crate::commands::CommandResult;
use crate::harness::Harness;
use crate::pacer::Load;
use crate::peers::Proxy;
use crate::process;
use crate::progress::Progress;
use crate::report;
use crate::results::{Level, Results, Run};
use crate::scenario::Scenario;
use plan::Plan;

/// A comparison under way.
struct Comparison {
    plan: Plan,
    harness: Harness,
    directory: PathBuf,
    progress: Progress,
    results: Results,
}

/// Runs a comparison and writes its report.
pub fn command(args: Args) -> CommandResult {
    let plan = Plan::from_args(args)?;
    process::pin_to(&[plan.harness_cpu])?;
    let directory = scratch_directory()?;
    let comparison = Comparison {
        harness: Harness::with_origin(([127, 0, 0, 1], 0).into())?,
        progress: Progress::new(plan.expected()),
        results: Results { environment: plan.environment(), ..Results::default() },
        directory: directory.clone(),
        plan,
    };
    let finished = comparison.carry_out();
    // Configurations and logs of the proxies; an error has quoted what it needs of them.
    let _ = std::fs::remove_dir_all(directory);
    let (plan, results) = finished?;
    report::write(&results, &plan.out)?;
    println!("{}", report::verdict::lines(&results));
    println!("written to {}", plan.out.display());
    Ok(())
}

impl Comparison {
    fn carry_out(mut self) -> io::Result<(Plan, Results)> {
        for scenario in self.plan.traffic.clone() {
            for round in 1..=self.plan.rounds {
                for proxy in self.plan.order(round, &scenario) {
                    self.traffic(&scenario, round, &proxy, Level::Saturation, Load::Saturate)?;
                }
            }
            let Some(slowest) = self.slowest_saturation(scenario.name) else { continue };
            for round in 1..=self.plan.rounds {
                for percent in self.plan.levels.clone() {
                    let load = Load::Rate(rate_at(slowest, percent));
                    for proxy in self.plan.order(round, &scenario) {
                        self.traffic(&scenario, round, &proxy, Level::Percent(percent), load)?;
                    }
                }
            }
        }
        if self.plan.idle {
            self.idle_rounds()?;
        }
        if let (Some(shards), Some(tidegate)) = (self.plan.shards, self.plan.tidegate()) {
            self.shard_rounds(shards, &tidegate)?;
        }
        Ok((self.plan, self.results))
    }

    fn traffic(
        &mut self,
        scenario: &Scenario,
        round: usize,
        proxy: &Proxy,
        level: Level,
        load: Load,
    ) -> io::Result<()> {
        let name = proxy.name();
        let what =
            format!("{}  {level}  round {round}/{}  {name}", scenario.name, self.plan.rounds);
        self.progress.begin(&what);
        let step = step::Traffic {
            scenario,
            proxy,
            load,
            window: self.plan.window,
            cpus: vec![self.plan.proxy_cpu],
        };
        let measured = step.run(&mut self.harness, &self.directory)?;
        let run = measured.run(round, level);
        let found = format!(
            "{what}:  {:.2} µs CPU, {:.0}/s, p50 {:.0} p99 {:.0} p99.9 {:.0} µs{}",
            run.cpu_us(),
            run.per_second(),
            run.latency_us.p50,
            run.latency_us.p99,
            run.latency_us.p99_9,
            match run.errors.total() {
                0 => String::new(),
                errors => format!(", {errors} ERRORS {:?}", run.errors),
            }
        );
        self.results.add(run, &measured.outcome.histogram);
        self.progress.end(self.plan.step_expected(), &found);
        Ok(())
    }

    /// The smallest median saturation among Tidegate and its peers; a baseline that leaves out
    /// half the work does not set the pace unless it is alone.
    fn slowest_saturation(&self, scenario: &str) -> Option<f64> {
        let median = |proxy: &Proxy| {
            let name = proxy.name();
            let spread = self.results.spread(scenario, Level::Saturation, &name, Run::per_second);
            spread.map(|spread| spread.median)
        };
        let contenders = |include_spikes| {
            let proxies = self.plan.proxies.iter();
            let chosen = proxies.filter(move |p| include_spikes || !matches!(p, Proxy::Spike(_)));
            chosen.filter_map(median).min_by(f64::total_cmp)
        };
        contenders(false).or_else(|| contenders(true))
    }

    fn idle_rounds(&mut self) -> io::Result<()> {
        let connections = self.plan.idle_connections;
        for round in 1..=self.plan.rounds {
            for proxy in self.plan.idle_order(round) {
                let name = proxy.name();
                let what = format!("idle  round {round}/{}  {name}", self.plan.rounds);
                self.progress.begin(&what);
                let step = step::Idle {
                    proxy: &proxy,
                    connections,
                    watch: self.plan.idle_watch,
                    cpu: self.plan.proxy_cpu,
                };
                let run = step.run(round, &mut self.harness, &self.directory)?;
                let found = format!(
                    "{what}:  {:.0} B/connection ({:.0} marginal), {:.3} % CPU",
                    run.bytes_per_connection,
                    run.marginal_bytes_per_connection,
                    run.idle_cpu_percent
                );
                self.results.idle.push(run);
                self.progress.end(self.plan.idle_expected(), &found);
            }
        }
        Ok(())
    }

    /// The same rate over the same connections for each shard, once on the proxy's core alone and once
    /// on it and its neighbours (which the harness shares: CPU time counts here, not throughput). At the
    /// same rate in all, two shards would be half as busy each, sleep more often and gather less: that
    /// is the price of a lower load, which every proxy pays, and not that of a second shard.
    fn shard_rounds(&mut self, shards: usize, tidegate: &Proxy) -> io::Result<()> {
        let plain = crate::scenario::KEEPALIVE_64;
        let many: Vec<usize> = (self.plan.proxy_cpu..).take(shards).collect();
        let one = vec![self.plan.proxy_cpu];
        let rate = match self.slowest_saturation(plain.name) {
            Some(slowest) => rate_at(slowest, 50),
            None => plan::SHARDS_RATE,
        };
        for round in 1..=self.plan.rounds {
            let mut cpu_us = [0.0; 2];
            let mut widths = [(0, &one), (1, &many)];
            widths.rotate_left(round % 2);
            for (place, cpus) in widths {
                let what = format!("shards {}  round {round}/{}", cpus.len(), self.plan.rounds);
                self.progress.begin(&what);
                let scenario = Scenario { connections: plain.connections * cpus.len(), ..plain };
                let step = step::Traffic {
                    scenario: &scenario,
                    proxy: tidegate,
                    load: Load::Rate(rate * cpus.len() as u64),
                    window: self.plan.window,
                    cpus: cpus.clone(),
                };
                let run =
                    step.run(&mut self.harness, &self.directory)?.run(round, Level::Saturation);
                cpu_us[place] = run.cpu_us();
                let found = format!("{what}:  {:.2} µs CPU at {rate}/s a shard", run.cpu_us());
                self.progress.end(self.plan.step_expected(), &found);
            }
            let [one_cpu_us, many_cpu_us] = cpu_us;
            let run = crate::results::ShardRun { round, shards, rate, one_cpu_us, many_cpu_us };
            self.results.shards.push(run);
        }
        Ok(())
    }
}

/// `percent` of `saturation` in whole requests a second, at least one.
fn rate_at(saturation: f64, percent: u64) -> u64 {
    let rate = Duration::try_from_secs_f64(saturation * percent as f64 / 100.0);
    rate.map_or(1, |rate| rate.as_secs().max(1))
}

fn scratch_directory() -> io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("tidegate-load-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    Ok(Path::new(&directory).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_and_never_zero() {
        assert_eq!(rate_at(60_001.0, 25), 15_000);
        assert_eq!(rate_at(0.5, 25), 1);
        assert_eq!(rate_at(f64::NAN, 25), 1);
    }
}

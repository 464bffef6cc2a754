//! One measurement of one freshly started proxy. Owns starting it, driving it and stopping it;
//! which steps run in which order is the comparison's.
//!
//! Invariant: a proxy never meets a second measurement, so none inherits another's heap or pools.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::commands::CpuSampler;
use crate::generator::{Generator, Outcome, Settings, Window};
use crate::harness::Harness;
use crate::idle;
use crate::pacer::Load;
use crate::peers::{Proxy, syslog_socket};
use crate::process::{Running, free_address};
use crate::procstat::Memory;
use crate::protocol::http1::{Http1, Persistence};
use crate::results::{IdleRun, Latency, Level, Run};
use crate::scenario::{Scenario, Setup};
use crate::syslog::Syslog;

/// Longest wait for a response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Traffic of one scenario through one proxy.
pub struct Traffic<'a> {
    pub scenario: &'a Scenario,
    pub proxy: &'a Proxy,
    pub load: Load,
    pub window: Window,
    pub cpus: Vec<usize>,
}

/// What a traffic step measured.
pub struct Measured<'a> {
    step: &'a Traffic<'a>,
    pub outcome: Outcome,
    cpu: Duration,
    memory: Memory,
}

impl Traffic<'_> {
    /// Starts the proxy, loads it and stops it.
    pub fn run(&self, harness: &mut Harness, directory: &Path) -> io::Result<Measured<'_>> {
        let scenario = self.scenario;
        let _syslog = match scenario.setup {
            Setup::Logged => Some(Syslog::listen(&syslog_socket(directory))?),
            Setup::Plain | Setup::Rules => None,
        };
        let (running, target) = start(self.proxy, &self.cpus, scenario.setup, harness, directory)?;
        let expected = Some(scenario.body_bytes);
        let protocol = Http1::get(scenario.path, "bench", scenario.persistence, expected);
        let settings = Settings {
            target,
            connections: scenario.connections,
            persistence: scenario.persistence,
            timeout: TIMEOUT,
            sources: 1,
        };
        let group = running.group()?;
        let mut sampler = CpuSampler::new(Some(group.clone()));
        let mut generator = Generator::new(protocol, settings, harness);
        generator.connect(harness)?;
        let outcome = generator.measure(harness, self.load, self.window, &mut sampler)?;
        let memory = group.memory()?;
        Ok(Measured { step: self, outcome, cpu: sampler.spent, memory })
    }
}

impl Measured<'_> {
    /// The record of the step.
    pub fn run(&self, round: usize, level: Level) -> Run {
        let Self { step, outcome, cpu, memory } = self;
        Run {
            scenario: step.scenario.name.into(),
            level,
            rate: match step.load {
                Load::Rate(rate) => Some(rate),
                Load::Saturate | Load::OnceEach => None,
            },
            round,
            proxy: step.proxy.name(),
            operations: outcome.operations,
            body_bytes: outcome.body_bytes,
            seconds: outcome.elapsed.as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            harness_cpu_seconds: outcome.harness_cpu.as_secs_f64(),
            latency_us: Latency::of(&outcome.histogram),
            errors: outcome.errors,
            memory: *memory,
        }
    }
}

/// Idle connections on one fresh proxy.
pub struct Idle<'a> {
    pub proxy: &'a Proxy,
    pub connections: usize,
    /// How long its CPU time is watched, twice.
    pub watch: Duration,
    pub cpu: usize,
}

impl Idle<'_> {
    /// Starts the proxy, watches it unconnected, connects, watches again, stops it.
    pub fn run(
        &self,
        round: usize,
        harness: &mut Harness,
        directory: &Path,
    ) -> io::Result<IdleRun> {
        let (running, target) = start(self.proxy, &[self.cpu], Setup::Plain, harness, directory)?;
        let group = running.group()?;
        let cpu_percent = || -> io::Result<f64> {
            let (cpu, started) = (group.cpu_time(), Instant::now());
            if running.wait_end(self.watch)? {
                return Err(io::Error::other(format!("{} ended", self.proxy.name())));
            }
            let spent = group.cpu_time().saturating_sub(cpu);
            Ok(100.0 * spent.as_secs_f64() / started.elapsed().as_secs_f64())
        };
        let idle_cpu_percent = cpu_percent()?;
        let plan = idle::Plan {
            target,
            connections: self.connections,
            path: "/100".into(),
            body_bytes: Some(100),
            sources: 1,
        };
        let (growth, generator) = idle::grow(harness, &plan, &group)?;
        let connected_cpu_percent = cpu_percent()?;
        drop(generator);
        Ok(IdleRun {
            round,
            proxy: self.proxy.name(),
            connections: self.connections,
            bytes_per_connection: growth.per_connection(),
            marginal_bytes_per_connection: growth.marginal(),
            memory_before: growth.before,
            memory_after: growth.after,
            idle_cpu_percent,
            connected_cpu_percent,
        })
    }
}

/// Starts a proxy and has it answer one request: a listening socket alone does not show that the
/// workers exist (nginx listens before it forks).
fn start(
    proxy: &Proxy,
    cpus: &[usize],
    setup: Setup,
    harness: &mut Harness,
    directory: &Path,
) -> io::Result<(Running, SocketAddr)> {
    let listen = free_address()?;
    let origin =
        harness.origin_address().ok_or_else(|| io::Error::other("the harness has no origin"))?;
    let running = proxy.launch(listen, origin, cpus, setup, directory)?.start()?;
    running.wait_ready(listen)?;
    let protocol = Http1::get("/100", "bench", Persistence::KeepAlive, Some(100));
    let settings = Settings {
        target: listen,
        connections: 1,
        persistence: Persistence::KeepAlive,
        timeout: TIMEOUT,
        sources: 1,
    };
    Generator::new(protocol, settings, harness).once_each(harness, 0..1, 1)?;
    Ok((running, listen))
}

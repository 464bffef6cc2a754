//! The subcommands that measure one thing: `run`, `origin`, `idle`, `handshakes`, `pin`. Each turns arguments
//! into a plan, carries it out and prints the outcome. `compare` is a module of its own.
//!
//! Invariant: load goes to loopback addresses only.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::args::{Args, UsageError};
use crate::generator::{Generator, Observer, Outcome, Settings, Window};
use crate::handshakes::{self, Target};
use crate::harness::Harness;
use crate::idle::{Plan, grow};
use crate::pacer::Load;
use crate::process;
use crate::procstat::Group;
use crate::protocol::http1::{Http1, Persistence};
use crate::recorder::Errors;
use crate::report::hgrm;
use crate::results::Latency;

/// The result of a subcommand; the error decides the exit code.
pub type CommandResult = Result<(), Box<dyn Error>>;

/// Samples the CPU time of a process group over the window.
#[derive(Debug)]
pub struct CpuSampler {
    group: Option<Group>,
    opened: Duration,
    /// CPU time spent in the window.
    pub spent: Duration,
}

impl CpuSampler {
    /// Of `group`; of nothing when there is none.
    pub fn new(group: Option<Group>) -> Self {
        Self { group, opened: Duration::ZERO, spent: Duration::ZERO }
    }

    fn now(&self) -> Duration {
        self.group.as_ref().map_or(Duration::ZERO, Group::cpu_time)
    }
}

impl Observer for CpuSampler {
    fn window_opens(&mut self) {
        self.opened = self.now();
    }

    fn window_closes(&mut self) {
        self.spent = self.now().saturating_sub(self.opened);
    }
}

#[derive(Debug, Serialize)]
struct RunReport {
    operations: u64,
    operations_per_second: f64,
    body_bytes: u64,
    seconds: f64,
    harness_cpu_us_per_operation: f64,
    target_cpu_us_per_operation: Option<f64>,
    latency_us: Latency,
    errors: Errors,
}

/// `run`: one load against one target.
pub fn run(mut args: Args) -> CommandResult {
    let target = loopback_target(&mut args)?;
    let persistence = match args.text("scenario")?.as_deref() {
        None | Some("keep-alive") => Persistence::KeepAlive,
        Some("connection-per-request") => Persistence::Close,
        Some(other) => return Err(UsageError(format!("no scenario {other:?}")).into()),
    };
    let load = match (args.value("rate")?, args.switch("saturate")) {
        (Some(rate), false) if rate > 0 => Load::Rate(rate),
        (None, _) => Load::Saturate,
        _ => return Err(UsageError("--rate N (above 0) or --saturate, not both".into()).into()),
    };
    let window = Window {
        warmup: args.duration("warmup", Duration::from_secs(2))?,
        duration: args.duration("duration", Duration::from_secs(10))?,
    };
    let settings = Settings {
        target,
        connections: args.value("connections")?.unwrap_or(64),
        persistence,
        timeout: args.duration("timeout", Duration::from_secs(5))?,
        sources: args.value("sources")?.unwrap_or(1),
    };
    let path = args.text("path")?.unwrap_or_else(|| "/100".into());
    let host = args.text("host")?.unwrap_or_else(|| "bench".into());
    let protocol = Http1::get(&path, &host, persistence, args.value("expect-bytes")?);
    let group = args.value("pid")?.map(Group::single);
    let (cpu, file) = (args.value("cpu")?, args.text("hgrm")?.map(PathBuf::from));
    let json = args.switch("json");
    args.finish()?;

    pin_self(cpu)?;
    let mut harness = Harness::new()?;
    let mut generator = Generator::new(protocol, settings, &harness);
    generator.connect(&mut harness)?;
    let mut sampler = CpuSampler::new(group);
    let outcome = generator.measure(&mut harness, load, window, &mut sampler)?;
    if let Some(file) = file {
        std::fs::write(file, hgrm::text(&outcome.histogram))?;
    }
    let report = run_report(&outcome, &sampler);
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_run(&report);
    }
    match report.errors.total() {
        0 => Ok(()),
        errors => Err(io::Error::other(format!("{errors} requests failed")).into()),
    }
}

fn run_report(outcome: &Outcome, sampler: &CpuSampler) -> RunReport {
    let per_operation =
        |time: Duration| time.as_secs_f64() * 1e6 / outcome.operations.max(1) as f64;
    let seconds = outcome.elapsed.as_secs_f64();
    RunReport {
        operations: outcome.operations,
        operations_per_second: outcome.operations as f64 / seconds,
        body_bytes: outcome.body_bytes,
        seconds,
        harness_cpu_us_per_operation: per_operation(outcome.harness_cpu),
        target_cpu_us_per_operation: sampler.group.as_ref().map(|_| per_operation(sampler.spent)),
        latency_us: Latency::of(&outcome.histogram),
        errors: outcome.errors,
    }
}

fn print_run(report: &RunReport) {
    let Latency { p50, p90, p99, p99_9, p99_99, max } = report.latency_us;
    println!("{:>12.0} requests/s, {} in all", report.operations_per_second, report.operations);
    println!("{:>12.2} µs of CPU per request, generator", report.harness_cpu_us_per_operation);
    if let Some(target) = report.target_cpu_us_per_operation {
        println!("{target:>12.2} µs of CPU per request, target");
    }
    println!(
        "latency µs: p50 {p50:.0}  p90 {p90:.0}  p99 {p99:.0}  p99.9 {p99_9:.0}  p99.99 {p99_99:.0}  max {max:.0}"
    );
    if report.errors.total() > 0 {
        println!("errors: {:?}", report.errors);
    }
}

/// `origin`: serves until it is killed.
pub fn origin(mut args: Args) -> CommandResult {
    let listen = args.address("listen")?;
    let cpu = args.value("cpu")?;
    let report = args.switch("connections-report");
    args.finish()?;
    pin_self(cpu)?;
    let mut harness = Harness::with_origin(listen)?;
    if report {
        harness.watch_most();
    }
    if let Some(address) = harness.origin_address() {
        println!("listening on {address}");
    }
    let second = Duration::from_secs(1);
    let (mut shown, mut next_ns) = (harness.origin_counts(), 0);
    loop {
        harness.turn(report.then_some(second), |_, _, _| ())?;
        let counts = harness.origin_counts();
        if report && counts != shown && harness.clock.now_ns() >= next_ns {
            eprintln!("{counts:?}");
            shown = counts;
            next_ns = harness.clock.now_ns() + crate::clock::nanos(second);
        }
    }
}

/// `idle`: memory of open, silent connections.
pub fn idle(mut args: Args) -> CommandResult {
    let plan = Plan {
        target: loopback_target(&mut args)?,
        connections: args.value("connections")?.unwrap_or(6_000),
        path: args.text("path")?.unwrap_or_else(|| "/100".into()),
        body_bytes: args.value("expect-bytes")?,
        sources: args.value("sources")?.unwrap_or(1),
    };
    let pid: u32 =
        args.value("pid")?.ok_or_else(|| UsageError("--pid of the target is required".into()))?;
    args.finish()?;
    let mut harness = Harness::new()?;
    let (growth, generator) = grow(&mut harness, &plan, &Group::single(pid))?;
    let kib = |memory: crate::procstat::Memory| memory.allocated_bytes() / 1024;
    println!("{:>12.0} B per connection, {} of them", growth.per_connection(), growth.connections);
    println!(
        "{:>12.0} B per connection after the first {}",
        growth.marginal(),
        growth.warm_connections
    );
    println!("{:>12} KiB before, {} KiB after", kib(growth.before), kib(growth.after));
    println!(
        "{:>12} KiB proportional set before, {} KiB after",
        growth.before.proportional_bytes / 1024,
        growth.after.proportional_bytes / 1024
    );
    drop(generator);
    Ok(())
}

/// `handshakes`: CPU time of connections with TLS.
pub fn handshakes(mut args: Args) -> CommandResult {
    let mut targets = Vec::new();
    for text in args.all("target")? {
        let wrong = || UsageError(format!("--target: {text:?} is no NAME=IP:PORT=PID on loopback"));
        targets.push(Target::parse(&text).ok_or_else(wrong)?);
    }
    if targets.is_empty() {
        return Err(UsageError("--target NAME=IP:PORT=PID is required".into()).into());
    }
    let version = match args.text("tls")?.as_deref() {
        None | Some("1.3") => &tidegate_tls::rustls::version::TLS13,
        Some("1.2") => &tidegate_tls::rustls::version::TLS12,
        Some(other) => return Err(UsageError(format!("no version {other:?}")).into()),
    };
    let plan = handshakes::Plan {
        targets,
        rounds: args.value("rounds")?.unwrap_or(7),
        count: args.value("count")?.unwrap_or(600),
        clients: args.value("clients")?.unwrap_or(16),
        name: args.text("name")?.unwrap_or_else(|| "a.example".into()),
        names: args.value("names")?.unwrap_or(1),
        resumed: args.switch("resumed"),
        version,
        path: args.text("path")?.unwrap_or_else(|| "/".into()),
    };
    let cpu = args.value("cpu")?;
    args.finish()?;
    pin_self(cpu)?;
    let figures = handshakes::measure(&plan)?;
    for one in &figures {
        let crate::results::Spread { median, min, max } = one.spread();
        print!("{:>12}: {median:7.1} ({min:.1}–{max:.1}) µs of CPU per connection", one.name);
        // Of the first one to each.
        match figures[0].to(one) {
            Some(ratio) if one.name != figures[0].name => println!(
                "; {} to it {:.2} ({:.2}–{:.2})",
                figures[0].name, ratio.median, ratio.min, ratio.max
            ),
            _ => println!(),
        }
    }
    Ok(())
}

/// `pin`: becomes another program on given CPUs.
pub fn pin(args: &mut Args) -> CommandResult {
    let cpus: Vec<usize> =
        args.list("cpus")?.ok_or_else(|| UsageError("--cpus N[,N] is required".into()))?;
    let mut command = args.take_rest().into_iter();
    let program = command.next().ok_or_else(|| UsageError("-- PROGRAM is required".into()))?;
    let arguments: Vec<_> = command.collect();
    Ok(process::become_pinned(&cpus, &program, &arguments)?)
}

fn pin_self(cpu: Option<usize>) -> io::Result<()> {
    cpu.map_or(Ok(()), |cpu| process::pin_to(&[cpu]))
}

fn loopback_target(args: &mut Args) -> Result<SocketAddr, UsageError> {
    let target = args.address("target")?;
    if target.ip().is_loopback() {
        return Ok(target);
    }
    Err(UsageError(format!("{target} is not a loopback address")))
}

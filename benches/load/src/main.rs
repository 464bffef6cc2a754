//! `tidegate-load`: the judge. Measures proxies one at a time, on one core, against an origin and
//! a generator on another, and writes down what it saw. This file maps subcommands to modules.
//!
//! Invariant: usage errors exit with 2, failed measurements with 1; nothing else is reported as
//! success.

mod args;
mod clock;
mod commands;
mod compare;
mod generator;
mod handshakes;
mod harness;
mod idle;
mod origin;
mod pacer;
mod peers;
mod poller;
mod process;
mod procstat;
mod progress;
mod protocol;
mod recorder;
mod report;
mod results;
mod scenario;
mod syslog;

use std::error::Error;
use std::process::ExitCode;

use args::{Args, UsageError};

const USAGE: &str = "\
tidegate-load: measures load balancers

  run      --target IP:PORT [--connections 64] [--rate N | --saturate] [--duration 10s]
           [--warmup 2s] [--path /100] [--host bench] [--expect-bytes N] [--timeout 5s]
           [--scenario keep-alive|connection-per-request] [--sources 1] [--cpu N]
           [--pid PID] [--hgrm FILE] [--json]
  origin   --listen IP:PORT [--cpu N] [--connections-report]
  idle     --target IP:PORT --pid PID [--connections 6000] [--path /100] [--sources 1]
  handshakes --target NAME=IP:PORT=PID [--target ...]... [--resumed] [--tls 1.3|1.2] [--rounds 7]
           [--count 600] [--clients 16] [--name a.example | --name site{}.example --names N]
           [--path /] [--cpu N]
  compare  [--tidegate PATH] [--spike PATH]... [--proxies haproxy,nginx]
           [--scenarios keepalive-64,keepalive-2000,per-request,body-16k,body-1m,idle,shards]
           [--rounds 5] [--duration 5s] [--warmup 1s] [--levels 25,50,75,90]
           [--idle-connections 6000] [--shards 2] [--proxy-cpu 0] [--harness-cpu 1]
           [--out docs/performance] [--quick]
  pin      --cpus N[,N] -- PROGRAM [ARGUMENT]...
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let mut args = Args::new(arguments);
    let result = match command.as_str() {
        "run" => commands::run(args),
        "origin" => commands::origin(args),
        "idle" => commands::idle(args),
        "handshakes" => commands::handshakes(args),
        "compare" => compare::command(args),
        "pin" => commands::pin(&mut args),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(UsageError(format!("unknown subcommand {other:?}\n\n{USAGE}")).into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate-load: {error}");
            ExitCode::from(exit_code(&*error))
        }
    }
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    if error.is::<UsageError>() { 2 } else { 1 }
}

//! Owns what the tests of rules share: configurations with rules before named backends, and what servers and metrics say.
//!
//! Leaves behaviour to the tests. Invariant: each backend is one server that answers with its own name.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Write as _;
use std::net::SocketAddr;

use tidegate_testkit::{Builder, Client, Metrics, Origin, Tidegate, script};

/// The program under test, not started.
pub fn builder() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// An origin that answers everything with its name.
pub fn origin(name: &str) -> Origin {
    Origin::start(script::answer_ok(name))
}

/// A configuration with the frontend `web`, these lines of it, these backends with a server each, and then `rules`. The
/// first backend is the default.
pub fn config(lines: &str, rules: &str, backends: &[(&str, SocketAddr)]) -> String {
    let mut text = "global.cores = [0]\nadmin.bind = [\"127.0.0.1:0\"]\n".to_owned();
    for (name, address) in backends {
        writeln!(text, "backends.{name}.servers.one = \"{address}\"").expect("a String takes all");
    }
    write!(text, "[frontends.web]\nbind = [\"127.0.0.1:0\"]\n{lines}\n")
        .expect("a String takes all");
    if let Some((name, _)) = backends.first() {
        writeln!(text, "default_backend = \"{name}\"").expect("a String takes all");
    }
    text + rules + "\n"
}

/// The program with rules in front of one origin.
#[track_caller]
pub fn start(origin: &Origin, lines: &str, rules: &str) -> Tidegate {
    builder().start(&config(lines, rules, &[("app", origin.address())]))
}

/// A client connected to the program.
#[track_caller]
pub fn client(tidegate: &Tidegate) -> Client {
    Client::connect(tidegate.address("web"))
}

/// Requests that rules ended, by the ending.
pub fn answered(metrics: &Metrics, reason: &str) -> u64 {
    metrics.count("tidegate_frontend_requests_answered_total", &[("reason", reason)])
}

/// What rules asked for and was not done, by reason.
pub fn dropped(metrics: &Metrics, reason: &str) -> u64 {
    metrics.count("tidegate_frontend_rules_dropped_total", &[("reason", reason)])
}

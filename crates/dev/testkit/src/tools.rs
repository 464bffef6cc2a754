//! Owns the external programs that tests drive: found or the test fails, run with a deadline, their
//! reports read.
//!
//! Leaves installing them to `scripts/install-test-tools.sh`. Invariant: a missing tool is a
//! failure that names that script, never a test that silently passes.

use crate::deadline::Deadline;
use crate::process::{Exit, Process};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How much longer than its load a load generator may take.
const LOAD_GRACE: Duration = Duration::from_secs(20);

/// The path of a program that the tests need.
///
/// # Panics
/// When it is not installed.
#[must_use]
#[track_caller]
pub fn require_tool(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| {
        panic!("{name} is not installed; scripts/install-test-tools.sh installs it")
    })
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers are installed where only the administrator's path leads.
    let directories =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    // What is installed for these tests alone.
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = cache.map(|cache| cache.join("tidegate-test-tools/bin"));
    let directories = directories.chain(own);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Runs a tool until it exits, whatever its status.
///
/// # Panics
/// When it is not installed or does not exit before the deadline.
#[track_caller]
pub fn run(name: &str, arguments: &[&str], deadline: Deadline) -> Exit {
    let mut command = Command::new(require_tool(name));
    command.args(arguments);
    Process::spawn(name, command).into_exit(deadline)
}

/// Runs curl, silent but for errors, until it exits, whatever its status.
///
/// # Panics
/// When it is not installed or does not exit in time.
#[track_caller]
pub fn curl(arguments: &[&str]) -> Exit {
    // --disable, which must come first, keeps the user's own settings out of the test.
    run(
        "curl",
        &[&["--disable", "--silent", "--show-error"], arguments].concat(),
        Deadline::default(),
    )
}

/// Runs curl and returns what it printed.
///
/// # Panics
/// When it does not succeed.
#[track_caller]
pub fn curl_ok(arguments: &[&str]) -> String {
    let exit = curl(arguments);
    assert!(exit.status.success(), "curl {arguments:?}: {}: {}", exit.status, exit.stderr_text());
    exit.stdout_text()
}

/// What a load generator reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests that were answered.
    pub requests_count: u64,
    /// Requests answered per second.
    pub requests_per_second: f64,
    /// Answers other than 2xx and 3xx.
    pub failed_statuses_count: u64,
    /// Connections refused, reset, timed out, and requests without an answer.
    pub errors_count: u64,
}

/// Runs wrk: as many requests as the connections can carry, for `seconds`.
///
/// # Panics
/// When it is not installed, does not exit in time, or prints no report.
#[track_caller]
pub fn wrk(url: &str, connections: u32, seconds: u32, arguments: &[&str]) -> Load {
    let (connections, duration) = (connections.to_string(), format!("{seconds}s"));
    let fixed = [
        "--threads",
        "1",
        "--connections",
        &connections,
        "--duration",
        &duration,
        "--timeout",
        "10s",
    ];
    let deadline = Deadline::after(Duration::from_secs(seconds.into()) + LOAD_GRACE);
    let exit = run("wrk", &[&fixed, arguments, &[url]].concat(), deadline);
    let text = exit.stdout_text();
    parse_wrk(&text)
        .unwrap_or_else(|| panic!("wrk {url} gave no report:\n{text}{}", exit.stderr_text()))
}

fn parse_wrk(text: &str) -> Option<Load> {
    let mut load = Load::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [count, "requests", "in", ..] => load.requests_count = count.parse().ok()?,
            ["Requests/sec:", rate] => load.requests_per_second = rate.parse().ok()?,
            ["Non-2xx", "or", "3xx", "responses:", count] => {
                load.failed_statuses_count = count.parse().ok()?;
            }
            ["Socket", "errors:", errors @ ..] => {
                let counts =
                    errors.iter().filter_map(|word| word.trim_end_matches(',').parse::<u64>().ok());
                load.errors_count = counts.sum();
            }
            _ => {}
        }
    }
    (load.requests_per_second > 0.0 || load.errors_count > 0).then_some(load)
}

/// Runs h2load over HTTP/1.1: exactly `requests` requests over `connections` connections.
///
/// # Panics
/// When it is not installed, does not exit in time, or prints no report.
#[track_caller]
pub fn h2load_http1(url: &str, connections: u32, requests: u32, arguments: &[&str]) -> Load {
    let (connections, requests) = (connections.to_string(), requests.to_string());
    let fixed = ["--h1", "--clients", &connections, "--requests", &requests, "--threads", "1"];
    let exit = run(
        "h2load",
        &[&fixed, arguments, &[url]].concat(),
        Deadline::after(Duration::from_secs(120)),
    );
    let text = exit.stdout_text();
    parse_h2load(&text)
        .unwrap_or_else(|| panic!("h2load {url} gave no report:\n{text}{}", exit.stderr_text()))
}

fn parse_h2load(text: &str) -> Option<Load> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let count = |line: &str, what: &str| -> Option<u64> {
        line.split(',').find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
    };
    let requests = line("requests:")?;
    let statuses = line("status codes:")?;
    let rate = line("finished in")?
        .split(',')
        .find_map(|part| part.trim().strip_suffix("req/s")?.trim().parse().ok());
    Some(Load {
        requests_count: count(requests, "done")?,
        requests_per_second: rate?,
        failed_statuses_count: count(statuses, "4xx")? + count(statuses, "5xx")?,
        errors_count: count(requests, "errored")? + count(requests, "timeout")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Origin, script};

    #[test]
    #[should_panic(expected = "scripts/install-test-tools.sh")]
    fn a_missing_tool_fails_and_says_how_to_install_it() {
        let _ = require_tool("no-such-tool");
    }

    #[test]
    fn reports_of_wrk_are_read() {
        let text = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 2 connections\n  12893 requests in 1.00s, \
                    2.01MB read\n  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: \
                    7\nRequests/sec:  12880.11\nTransfer/sec:      2.01MB\n";
        let load = Load {
            requests_count: 12893,
            requests_per_second: 12880.11,
            failed_statuses_count: 7,
            errors_count: 4,
        };
        assert_eq!(parse_wrk(text), Some(load));
        assert_eq!(parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
    }

    #[test]
    fn reports_of_h2load_are_read() {
        let text = "finished in 53.30ms, 1876.25 req/s, 270.29KB/s\nrequests: 100 total, 100 started, 99 done, 98 \
                    succeeded, 2 failed, 1 errored, 0 timeout\nstatus codes: 97 2xx, 0 3xx, 1 4xx, 1 5xx\n";
        let load = Load {
            requests_count: 99,
            requests_per_second: 1876.25,
            failed_statuses_count: 2,
            errors_count: 1,
        };
        assert_eq!(parse_h2load(text), Some(load));
        assert_eq!(parse_h2load("no report"), None);
    }

    #[test]
    fn the_installed_tools_drive_an_origin() {
        let origin = Origin::start(script::answer_ok("hello"));
        let url = format!("http://{}/", origin.address());
        assert_eq!(curl_ok(&[&url]), "hello");
        let failed = curl(&["http://127.0.0.1:1/"]);
        assert_eq!(failed.status.code(), Some(7), "{}", failed.stderr_text());
        let load = h2load_http1(&url, 2, 50, &[]);
        assert_eq!(
            (load.requests_count, load.failed_statuses_count, load.errors_count),
            (50, 0, 0)
        );
        let load = wrk(&url, 2, 1, &[]);
        assert!(load.requests_count > 0 && load.errors_count == 0, "{load:?}");
    }
}

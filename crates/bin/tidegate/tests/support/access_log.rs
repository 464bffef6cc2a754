//! Owns the program with an access log to a file, and a reader of its lines.
//!
//! Leaves behaviour to the tests. Invariant: a line that HAProxy's format does not allow fails the test.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Display;
use std::path::{Path, PathBuf};
use tidegate_testkit::{Builder, Metrics, Tidegate, site};

/// The program under test, not started.
pub fn builder() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// The program with its log.
pub struct Logged {
    pub tidegate: Tidegate,
    pub path: PathBuf,
}

impl Logged {
    /// In front of these servers, with further lines of configuration, logging to a file.
    #[track_caller]
    pub fn start<A: Display>(
        shards: usize,
        servers: impl IntoIterator<Item = A>,
        more: &str,
    ) -> Logged {
        Logged::with_site(&site(shards, servers), more)
    }

    /// The same with another beginning of the configuration.
    #[track_caller]
    pub fn with_site(site: &str, more: &str) -> Logged {
        let builder = builder();
        let path = builder.directory().join("access.log");
        let tidegate = builder.start(&(site.to_owned() + &to(&path) + more + "\n"));
        Logged { tidegate, path }
    }

    /// Waits until so many lines are written, and returns them all.
    #[track_caller]
    pub fn raw_lines(&self, count: u64) -> Vec<String> {
        wait_written(&self.tidegate, count);
        read_lines(&self.path)
    }

    /// The same, as HAProxy's fields.
    #[track_caller]
    pub fn lines(&self, count: u64) -> Vec<Line> {
        self.raw_lines(count).iter().map(|text| Line::parse(text)).collect()
    }

    /// The last of so many lines.
    #[track_caller]
    pub fn last(&self, count: u64) -> Line {
        self.lines(count).pop().expect("there is one")
    }
}

/// The key that logs to this file.
pub fn to(path: &Path) -> String {
    format!("global.log.to = {:?}\n", path.display().to_string())
}

/// Waits until so many lines are written.
#[track_caller]
pub fn wait_written(tidegate: &Tidegate, count: u64) -> Metrics {
    let what = format!("{count} lines of the access log");
    tidegate.wait_metrics(&what, |metrics| metrics.count(WRITTEN, &[]) >= count)
}

pub const WRITTEN: &str = "tidegate_access_log_lines_written_total";
pub const DROPPED: &str = "tidegate_access_log_lines_dropped_total";

/// The lines of a file, each of which must have its end.
#[track_caller]
pub fn read_lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the log is a file of text");
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text}");
    text.lines().map(str::to_owned).collect()
}

/// A line of the `http` format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub client: String,
    pub date: String,
    pub frontend: String,
    pub backend: String,
    pub server: String,
    /// `TR`, `Tw`, `Tc`, `Tr`, `Ta`
    pub times: [i64; 5],
    pub status: i64,
    pub bytes: u64,
    pub termination: String,
    /// Process, frontend, backend, server.
    pub counts: [u64; 4],
    pub retries: String,
    pub queues: [u64; 2],
    /// What stands between the queues and the request, without the blanks around it.
    pub captures: String,
    pub request: String,
}

impl Line {
    /// Reads a line.
    #[track_caller]
    pub fn parse(text: &str) -> Line {
        Line::read(text).unwrap_or_else(|| panic!("not a line of option httplog: {text}"))
    }

    fn read(text: &str) -> Option<Line> {
        let (client, rest) = text.split_once(" [")?;
        let (date, rest) = rest.split_once("] ")?;
        let (rest, request) = rest.strip_suffix('"')?.split_once('"')?;
        let mut words = rest.trim_end().splitn(10, ' ');
        let mut word = || words.next();
        let frontend = word()?;
        let (backend, server) = word()?.split_once('/')?;
        let times = numbers(word()?)?;
        let (status, bytes) = (word()?.parse().ok()?, word()?.parse().ok()?);
        (word()? == "-" && word()? == "-").then_some(())?;
        let termination = word()?;
        let (counts, retries) = word()?.rsplit_once('/')?;
        let rest = word()?;
        let (queues, captures) = rest.split_once(' ').unwrap_or((rest, ""));
        Some(Line {
            client: client.to_owned(),
            date: date.to_owned(),
            frontend: frontend.to_owned(),
            backend: backend.to_owned(),
            server: server.to_owned(),
            times,
            status,
            bytes,
            termination: termination.to_owned(),
            counts: numbers(counts)?,
            retries: retries.to_owned(),
            queues: numbers(queues)?,
            captures: captures.to_owned(),
            request: request.to_owned(),
        })
    }

    /// The two letters of who ended it and when; the other two are of cookies, which there are none of.
    #[track_caller]
    pub fn letters(&self) -> &str {
        self.termination.strip_suffix("--").expect("there is no persistence")
    }
}

fn numbers<const N: usize, T: std::str::FromStr>(text: &str) -> Option<[T; N]> {
    let numbers: Option<Vec<T>> = text.split('/').map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}

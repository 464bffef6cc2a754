//! CPU time and memory of other processes, from /proc. Owns reading and parsing; which processes
//! belong together is a process group, so master and worker processes are counted alike.
//!
//! Invariant: CPU time is the scheduler's own nanosecond sum over every thread, not ticks.

use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

/// User-space memory of a process group, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident anonymous pages (`RssAnon`): heap, stacks, registered buffers.
    pub anonymous_bytes: u64,
    /// Resident shared-memory pages (`RssShmem`).
    pub shared_bytes: u64,
    /// All resident pages, files included (`VmRSS`).
    pub resident_bytes: u64,
    /// Resident pages with shared ones divided among their users (`Pss`).
    pub proportional_bytes: u64,
}

impl Memory {
    /// What the program itself allocated: anonymous and shared memory, no file pages.
    pub fn allocated_bytes(&self) -> u64 {
        self.anonymous_bytes + self.shared_bytes
    }
}

/// The processes of one group, found once and sampled often.
#[derive(Debug, Clone)]
pub struct Group {
    pids: Vec<u32>,
}

impl Group {
    /// All processes whose group id is `group`.
    ///
    /// # Errors
    /// When /proc cannot be listed.
    pub fn of(group: u32) -> io::Result<Self> {
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // A process may end between listing and reading; then it is not part of the group.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if parse_group(&stat) == Some(group) {
                pids.push(pid);
            }
        }
        Ok(Self { pids })
    }

    /// One process alone.
    pub fn single(pid: u32) -> Self {
        Self { pids: vec![pid] }
    }

    /// CPU time, user and system, of all live threads so far. A thread that ended takes its share
    /// with it; none of the programs measured here ends threads while under load.
    pub fn cpu_time(&self) -> Duration {
        let nanoseconds = self.pids.iter().map(|&pid| cpu_ns_of(pid)).sum();
        Duration::from_nanos(nanoseconds)
    }

    /// Memory of all processes.
    ///
    /// # Errors
    /// When a process has ended or its maps may not be read.
    pub fn memory(&self) -> io::Result<Memory> {
        let mut sum = Memory::default();
        for pid in &self.pids {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let field = |text: &str, name: &str| {
                kibibytes(text, name).ok_or_else(|| io::Error::other(format!("no {name}")))
            };
            sum.anonymous_bytes += field(&status, "RssAnon")?;
            sum.shared_bytes += field(&status, "RssShmem")?;
            sum.resident_bytes += field(&status, "VmRSS")?;
            sum.proportional_bytes += field(&rollup, "Pss")?;
        }
        Ok(sum)
    }
}

fn cpu_ns_of(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| parse_schedstat(&text))
        .sum()
}

/// The first number of a schedstat: nanoseconds on a CPU.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The process group in a stat line: the third field after the command, which may hold anything.
fn parse_group(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// The value of a `Name:   123 kB` line, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_kernel_writes() {
        assert_eq!(parse_schedstat("1040407 12 1\n"), Some(1_040_407));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_group("42 (a b) c)) S 1 77 77 0 -1"), Some(77));
        assert_eq!(parse_group("nonsense"), None);
        let status = "VmRSS:\t    5120 kB\nRssAnon:\t     128 kB\nRssShmem:\t       0 kB\n";
        assert_eq!(kibibytes(status, "RssAnon"), Some(131_072));
        assert_eq!(kibibytes(status, "VmRSS"), Some(5_242_880));
        assert_eq!(kibibytes(status, "Rss"), None);
    }

    #[test]
    fn own_process_has_memory_and_its_group_contains_it() {
        let own = std::process::id();
        let memory = Group::single(own).memory().expect("one's own status is readable");
        assert!(memory.anonymous_bytes > 0 && memory.resident_bytes >= memory.anonymous_bytes);
        let stat = fs::read_to_string("/proc/self/stat").expect("one's own stat is readable");
        let group = Group::of(parse_group(&stat).expect("a stat line")).expect("/proc is there");
        assert!(group.pids.contains(&own));
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let group = Group::single(std::process::id());
        let before = group.cpu_time();
        let mut sum = 0_u64;
        // Far longer than a scheduler tick, since a running thread's sum moves at ticks.
        for n in 0..200_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(n * n));
        }
        assert!(group.cpu_time() > before, "no CPU time for {sum}");
    }
}

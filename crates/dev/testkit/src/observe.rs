//! Owns what can be seen of a process from outside: its memory, its CPU time, and states that no
//! event announces.
//!
//! Leaves starting and ending it to `process`. Invariant: a wait ends as soon as its condition
//! holds, fails at once when the process ends, and is bounded otherwise.

use crate::deadline::{Deadline, PATIENCE};
use crate::process::Process;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a state is looked at that no event announces: often enough not to be felt, seldom
/// enough to leave the process alone.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

impl Process {
    /// Looks until `condition` yields something: for states that are seen from outside only, such
    /// as a metric or a count of descriptors.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`], or the process ends first. `what` is for the
    /// message.
    #[track_caller]
    pub fn wait_until<R>(&self, what: &str, mut condition: impl FnMut() -> Option<R>) -> R {
        let deadline = Deadline::default();
        loop {
            if let Some(result) = condition() {
                return result;
            }
            assert!(deadline.remaining().is_some(), "waited {PATIENCE:?} for {what}");
            let ended = self.wait_end(Deadline::after(LOOK_INTERVAL));
            assert!(ended.is_none(), "the process ended before {what}");
        }
    }

    /// Memory of the process in RAM, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    #[track_caller]
    pub fn resident_bytes(&self) -> u64 {
        let status = read(&self.proc_path("status"));
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("a living process has VmRSS")
            * 1024
    }

    /// CPU time that the threads alive now have used, user and system, to the nanosecond.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    #[track_caller]
    pub fn cpu_time(&self) -> Duration {
        let threads = std::fs::read_dir(self.proc_path("task")).expect("a living process");
        let used = |thread: std::fs::DirEntry| {
            // A thread that has just ended counts no more.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(threads.flatten().filter_map(used).sum())
    }

    fn proc_path(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.id().to_string()).join(name)
    }
}

#[track_caller]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn bash(script: &str) -> Process {
        let mut command = Command::new("bash");
        command.arg("-c").arg(script);
        Process::spawn("bash", command)
    }

    #[test]
    fn memory_and_cpu_time_are_those_of_the_process() {
        let idle = bash("exec sleep 60");
        let busy = bash("while :; do :; done");
        // A process that is about to run another program has no memory of its own for a moment.
        let held = 100_000..100_000_000;
        idle.wait_until("100 kB of memory", || held.contains(&idle.resident_bytes()).then_some(()));
        let used = Duration::from_millis(20);
        busy.wait_until("20 ms of CPU time", || (busy.cpu_time() >= used).then_some(()));
        assert!(idle.cpu_time() < used, "{:?}", idle.cpu_time());
    }

    #[test]
    #[should_panic(expected = "the process ended before the moon is blue")]
    fn waiting_ends_with_the_process() {
        bash("exit 0").wait_until("the moon is blue", || None::<()>);
    }
}

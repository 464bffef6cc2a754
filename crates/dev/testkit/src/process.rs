//! Owns child processes of a test: started with their output collected, waited for with a deadline,
//! never left behind.
//!
//! Leaves the meaning of output to the callers. Invariant: when the owner is dropped the process is
//! gone, and if the test failed, what the process printed has been shown.

use crate::deadline::{Deadline, PATIENCE};
use crate::log::{Log, LogLine, Output};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, PidfdFlags, Resource, Signal, getrlimit, pidfd_open, pidfd_send_signal, setrlimit,
};
use std::fmt::Write as _;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{PoisonError, RwLock};

/// Held for writing while a descriptor is inheritable, so that no other child started meanwhile
/// inherits it as well.
static SPAWNING: RwLock<()> = RwLock::new(());

/// How a process ended and what it printed.
#[derive(Debug)]
pub struct Exit {
    /// The exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output, byte for byte.
    pub stdout: Vec<u8>,
    /// Every line of both outputs, in the order seen.
    pub lines: Vec<LogLine>,
}

impl Exit {
    /// Standard output as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        let lines = self.lines.iter().filter(|line| line.output == Output::Stderr);
        lines.fold(String::new(), |text, line| text + &line.text + "\n")
    }
}

/// A running child process. Its standard input is empty.
pub struct Process {
    name: String,
    child: Child,
    pidfd: OwnedFd,
    log: Log,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with its output collected. `name` is what messages call it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(name: &str, command: Command) -> Self {
        Self::spawn_with_listeners(name, command, &[])
    }

    /// Starts `command` with `listeners` as its file descriptors 3, 4 and so on, as a service
    /// manager does.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_with_listeners(name: &str, command: Command, listeners: &[&TcpListener]) -> Self {
        let child = if listeners.is_empty() {
            let _other_descriptors_stay_private =
                SPAWNING.read().unwrap_or_else(PoisonError::into_inner);
            start(name, command)
        } else {
            let _alone = SPAWNING.write().unwrap_or_else(PoisonError::into_inner);
            set_descriptor_flags(listeners, FdFlags::empty());
            let child = start(name, behind_shell(&command, listeners));
            set_descriptor_flags(listeners, FdFlags::CLOEXEC);
            child
        };
        Self::adopt(name, child)
    }

    fn adopt(name: &str, mut child: Child) -> Self {
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())
            .expect("a child that was not waited for has a pidfd");
        let log = Log::new();
        // Two locals, so that both outputs are counted as open before either can end.
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        log.collect(Output::Stdout, stdout.expect("standard output is piped"));
        log.collect(Output::Stderr, stderr.expect("standard error is piped"));
        Self { name: name.to_owned(), child, pidfd, log, status: None }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, signal) {
            panic!("cannot send {signal:?} to {}: {error}\n{}", self.name, self.log.text());
        }
    }

    /// Waits until the process exits and its output has ended.
    ///
    /// # Panics
    /// When the deadline passes first.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Deadline) -> ExitStatus {
        let Some(status) = self.try_wait_exit(deadline) else {
            panic!("{} did not exit in time; it printed:\n{}", self.name, self.log.text());
        };
        status
    }

    /// Waits as [`Process::wait_exit`] does; `None` when the deadline passes first.
    pub fn try_wait_exit(&mut self, deadline: Deadline) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.wait_end(deadline)?;
            self.status = Some(self.child.wait().expect("a child that was not waited for can be"));
            self.log.wait_end(deadline);
        }
        self.status
    }

    /// Waits until the process ends, which makes its pidfd readable; `None` when the deadline passes
    /// first.
    pub(crate) fn wait_end(&self, deadline: Deadline) -> Option<()> {
        loop {
            let left =
                Timespec::try_from(deadline.remaining()?).expect("the kit's deadlines are short");
            let mut descriptors = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut descriptors, Some(&left)) {
                Ok(1..) => return Some(()),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("cannot wait for {}: {error}", self.name),
            }
        }
    }

    /// Waits for the end and returns everything printed.
    ///
    /// # Panics
    /// When the deadline passes first.
    #[must_use]
    #[track_caller]
    pub fn into_exit(mut self, deadline: Deadline) -> Exit {
        let status = self.wait_exit(deadline);
        self.log.look(|printed| Exit {
            status,
            stdout: printed.stdout.clone(),
            lines: printed.lines.clone(),
        })
    }

    /// The lines printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<LogLine> {
        self.log.look(|printed| printed.lines.clone())
    }

    /// How many lines were printed so far: a mark for [`Process::wait_line_after`].
    #[must_use]
    pub fn lines_count(&self) -> usize {
        self.log.lines_count()
    }

    /// Waits for a line, among those printed already and those to come.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`], or the process ends without it.
    #[track_caller]
    pub fn wait_line(&self, matches: impl FnMut(&LogLine) -> bool) -> LogLine {
        self.wait_line_after(0, matches)
    }

    /// Waits for a line after the first `mark` lines.
    ///
    /// # Panics
    /// As [`Process::wait_line`].
    #[track_caller]
    pub fn wait_line_after(&self, mark: usize, matches: impl FnMut(&LogLine) -> bool) -> LogLine {
        let Some(line) = self.log.wait(mark, Deadline::default(), matches) else {
            panic!(
                "{} did not print the expected line within {PATIENCE:?}:\n{}",
                self.name,
                self.log.text()
            );
        };
        line
    }

    /// How many file descriptors the process has open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    #[track_caller]
    pub fn open_fds(&self) -> usize {
        self.descriptors().len()
    }

    /// What each open file descriptor refers to, such as `3 -> socket:[1234]`: for the message of a
    /// failed count.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    #[track_caller]
    pub fn descriptors(&self) -> Vec<String> {
        let directory = format!("/proc/{}/fd", self.id());
        let entries =
            std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
        let describe = |entry: std::fs::DirEntry| {
            // A descriptor closed since the directory was read is not open any more.
            let target = std::fs::read_link(entry.path()).ok()?;
            Some(format!("{} -> {}", entry.file_name().display(), target.display()))
        };
        entries.flatten().filter_map(describe).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            // Both fail only when the process is gone, which is what they are for.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            self.log.wait_end(Deadline::after(std::time::Duration::from_secs(1)));
            eprintln!("--- {} printed:\n{}---", self.name, self.log.text());
        }
    }
}

/// Lets this process have `descriptors` open, for tests with thousands of connections: many systems
/// begin with 1,024.
///
/// # Panics
/// When the system does not allow as many.
#[track_caller]
pub fn raise_descriptor_limit(descriptors: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < descriptors) {
        limit.current = Some(descriptors);
        setrlimit(Resource::Nofile, limit)
            .unwrap_or_else(|error| panic!("{descriptors} descriptors are not allowed: {error}"));
    }
}

#[track_caller]
fn start(name: &str, mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error} ({command:?})"))
}

/// Wraps `command` in a shell that moves the listeners to descriptors 3 and up and becomes the
/// command: the one way to place descriptors without `unsafe`.
fn behind_shell(command: &Command, listeners: &[&TcpListener]) -> Command {
    let mut script = String::new();
    // Descriptors that the shell reads from must be out of the way of those it writes to.
    let moved = |place: usize| 100 + place;
    for (place, listener) in listeners.iter().enumerate() {
        let from = listener.as_raw_fd();
        write!(script, "exec {}<&{from} {from}<&-; ", moved(place))
            .expect("a String takes everything");
    }
    for place in 0..listeners.len() {
        write!(script, "exec {}<&{} {1}<&-; ", 3 + place, moved(place))
            .expect("a String takes everything");
    }
    script.push_str("exec \"$@\"");
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script).arg("bash").arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    shell
}

fn set_descriptor_flags(listeners: &[&TcpListener], flags: FdFlags) {
    for listener in listeners {
        fcntl_setfd(listener, flags).expect("an open descriptor has flags");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bash(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn output_and_status_are_collected() {
        let exit = Process::spawn("bash", bash("printf 'a\\nb'; echo oops >&2; exit 3"))
            .into_exit(Deadline::default());
        assert_eq!((exit.status.code(), exit.stdout.as_slice()), (Some(3), &b"a\nb"[..]));
        assert_eq!(exit.stderr_text(), "oops\n");
    }

    #[test]
    fn signals_reach_the_process_and_lines_are_awaited() {
        let script = "trap 'echo caught; exit 0' USR1; echo ready; while :; do sleep 1 >/dev/null 2>&1 & wait $!; done";
        let mut process = Process::spawn("bash", bash(script));
        process.wait_line(|line| line.text == "ready");
        assert!(process.open_fds() >= 3, "{:?}", process.descriptors());
        let mark = process.lines_count();
        process.signal(Signal::USR1);
        assert_eq!(process.wait_line_after(mark, |_| true).text, "caught");
        assert_eq!(process.wait_exit(Deadline::default()).code(), Some(0));
    }

    #[test]
    fn waiting_for_a_process_that_stays_ends_at_the_deadline() {
        let mut process = Process::spawn("sleep", {
            let mut command = Command::new("sleep");
            command.arg("60");
            command
        });
        assert_eq!(process.try_wait_exit(Deadline::after(Duration::from_millis(10))), None);
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::spawn("sleep", command);
        let place = format!("/proc/{}", process.id());
        assert!(std::path::Path::new(&place).exists());
        drop(process);
        assert!(!std::path::Path::new(&place).exists());
    }

    #[test]
    fn listeners_arrive_as_descriptors_three_and_four() {
        let (one, two) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let (one, two) = (one.expect("a port"), two.expect("a port"));
        let command = bash("readlink /proc/$$/fd/3 /proc/$$/fd/4; readlink /proc/$$/fd/*");
        let exit = Process::spawn_with_listeners("bash", command, &[&one, &two])
            .into_exit(Deadline::default());
        let text = exit.stdout_text();
        let lines: Vec<&str> = text.lines().collect();
        for (place, listener) in [one, two].iter().enumerate() {
            let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
            let socket =
                std::fs::read_link(path).expect("an open descriptor").display().to_string();
            assert_eq!(lines[place], socket);
            let copies_count = lines[2..].iter().filter(|line| **line == socket).count();
            assert_eq!(copies_count, 1, "leaked: {lines:?}");
        }
    }
}

//! Starting and stopping the programs under test: pinned, in a process group of their own, and
//! never left behind. Owns their life; what they are and how they are configured is `peers`.
//!
//! Invariant: a started group is gone when its [`Running`] is dropped, and dies with this process
//! if it is killed (parent-death signal set by the `pin` subcommand before it becomes the program).

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::CpuSet;

use crate::procstat::Group;

/// A program that does not accept connections by then has failed to start.
const READY_MAX: Duration = Duration::from_secs(10);
/// A program that has not ended this long after SIGTERM is killed.
const STOP_MAX: Duration = Duration::from_secs(3);
/// Between two attempts to connect to a starting program.
const READY_POLL: Duration = Duration::from_millis(5);

/// A program to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Shown in messages.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The CPUs it may use.
    pub cpus: Vec<usize>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A started program with all its processes.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    ended: OwnedFd,
    log: PathBuf,
}

impl Launch {
    /// Starts the program through `pin`.
    ///
    /// # Errors
    /// When it cannot be executed or its log not be created.
    pub fn start(&self) -> io::Result<Running> {
        let log = File::create(&self.log)?;
        let cpus = self.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let child = Command::new(std::env::current_exe()?)
            .args(["pin", "--cpus", &cpus, "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let ended = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Running { name: self.name.clone(), child, ended, log: self.log.clone() })
    }
}

impl Running {
    /// Waits until `address` accepts a connection.
    ///
    /// # Errors
    /// When the program ends first or takes too long; the text holds what it wrote.
    pub fn wait_ready(&self, address: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            let ended = self.wait_end(READY_POLL)?;
            if ended || Instant::now() > deadline {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let what = if ended { "ended" } else { "accepts no connection" };
                return Err(io::Error::other(format!("{} {what}:\n{log}", self.name)));
            }
        }
    }

    /// All processes of the program.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn group(&self) -> io::Result<Group> {
        Group::of(self.child.id())
    }

    /// Waits for the end of the main process; false when the time is over first.
    ///
    /// # Errors
    /// When polling fails.
    pub fn wait_end(&self, limit: Duration) -> io::Result<bool> {
        let mut watched = [PollFd::new(&self.ended, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        match rustix::event::poll(&mut watched, Some(&limit)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn signal(&self, signal: Signal) {
        // The group may be gone already; there is nothing else to do about it.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        if !self.wait_end(STOP_MAX).unwrap_or(false) {
            self.signal(Signal::KILL);
        }
        // Reaps the main process; an error means that it has been reaped.
        let _ = self.child.wait();
        // Workers that outlived their master.
        self.signal(Signal::KILL);
    }
}

/// Restricts this thread (and what it starts) to `cpus`.
///
/// # Errors
/// When none of them exists.
pub fn pin_to(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::other(format!("no CPU {cpu}")));
        }
        set.set(cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The `pin` subcommand: pins itself, asks to die with its parent and becomes the program.
///
/// # Errors
/// Returns only when that fails.
pub fn become_pinned(cpus: &[usize], program: &OsString, arguments: &[OsString]) -> io::Result<()> {
    pin_to(cpus)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    Err(Command::new(program).args(arguments).exec())
}

/// An address on loopback that nothing listens on now.
///
/// # Errors
/// When no port is left.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_addresses_are_on_loopback_and_bindable() {
        let address = free_address().expect("a port is free");
        assert!(address.ip().is_loopback() && address.port() != 0);
        TcpListener::bind(address).expect("it was free a moment ago");
    }

    #[test]
    fn cpus_that_cannot_exist_are_refused() {
        assert!(pin_to(&[CpuSet::MAX_CPU]).is_err());
    }
}

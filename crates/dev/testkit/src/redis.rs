//! Owns Redis as a real server behind a Unix socket, so that there is no port to race for.
//!
//! Leaves what is asked to the caller. Invariant: it keeps nothing on disk and ends with its owner.

use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::tools::require_tool;
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::Command;

/// A running Redis.
pub struct Redis {
    process: Process,
    directory: TempDir,
}

impl Redis {
    /// Starts it.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let directory = TempDir::new();
        let mut command = Command::new(require_tool("redis-server"));
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]);
        command.arg(directory.file("redis.sock")).arg("--dir").arg(directory.path());
        let process = Process::spawn("redis", command);
        // On standard output; the socket is there when it accepts.
        let deadline = crate::deadline::Deadline::default();
        while std::os::unix::net::UnixStream::connect(directory.file("redis.sock")).is_err() {
            assert!(deadline.remaining().is_some(), "redis does not listen: {:?}", process.lines());
            std::thread::yield_now();
        }
        Self { process, directory }
    }

    /// Its socket.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.file("redis.sock")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }
}

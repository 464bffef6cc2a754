//! Going to the background: `global.daemon = true`.
//!
//! The process that the user started runs the program again, with a pipe as its standard output,
//! and waits. The new process leaves the session; once it serves, it swaps its outputs for
//! `/dev/null` and says so on the pipe. What it writes to standard error before goes where the user
//! looks. No fork, so no half-copied threads, and descriptors such as `fd@3` are inherited as ever.
//!
//! Owns both ends of that handshake; leaves serving to `run`. Invariant: the command returns 0 only
//! when every address is being served, and a server whose starter has gone does not stay.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, getpid, kill_process, setsid};

use crate::args::DETACHED;
use crate::console::{self, Exit};

/// What the new process says once it serves.
const READY: &[u8] = b"ready\n";

/// How a start in the background came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// It serves.
    Ready,
    /// It closed the pipe without a word, which it does by ending.
    Ended,
}

/// Starts the server in the background; returns once it serves or has failed.
pub(crate) fn start(config: &Path) -> Exit {
    let waited = spawn(config).and_then(|mut child| {
        let mut pipe = child.stdout.take().expect("standard output is a pipe");
        match wait(&mut pipe)? {
            Start::Ready => Ok(Exit::SUCCESS),
            Start::Ended => failed(&mut child),
        }
    });
    waited.unwrap_or_else(|error| {
        console::start_failed(&format_args!("cannot start the process in the background: {error}"))
    })
}

fn spawn(config: &Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg("run")
        .arg("--config")
        .arg(config)
        .arg(DETACHED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// Reads until the other side is ready or has ended.
fn wait(pipe: &mut impl Read) -> io::Result<Start> {
    let mut said = [0; READY.len()];
    match pipe.read_exact(&mut said) {
        Ok(()) if said == READY => Ok(Start::Ready),
        Ok(()) => Err(io::Error::other("it said something else than that it is ready")),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Start::Ended),
        Err(error) => Err(error),
    }
}

/// The exit code of a server that has ended before it was ready. It has told why itself, unless it
/// could not.
fn failed(child: &mut Child) -> io::Result<Exit> {
    let status = child.wait()?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) if code != Exit::SUCCESS.0 => Ok(Exit(code)),
        _ => Err(io::Error::other(format!("it ended before it was ready ({status})"))),
    }
}

/// Leaves the terminal's session, whose end would end this process too.
pub(crate) fn detach() {
    // It fails only for a process that leads a group: then the user ran the hidden form by hand.
    let _ = setsid();
}

/// Lets go of the terminal, then tells the waiting process that this one serves.
pub(crate) fn let_go() {
    let pipe = io::stdout().as_fd().try_clone_to_owned();
    if let Err(error) = redirect() {
        console::warn("outputs_kept", &format_args!("cannot redirect to /dev/null: {error}"));
    }
    let told = pipe.and_then(|pipe| File::from(pipe).write_all(READY));
    if told.is_err() {
        // Whoever started this gave up waiting, and does not know that it runs.
        let _ = kill_process(getpid(), Signal::INT);
    }
}

/// Standard output to `/dev/null`; standard error too when it is a terminal. A file, a pipe or a
/// journal that the user has redirected the log to keeps it.
fn redirect() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    if io::stderr().is_terminal() {
        rustix::stdio::dup2_stderr(&null)?;
    }
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte a read, as a pipe may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let take = self.0.len().min(buffer.len()).min(1);
            buffer[..take].copy_from_slice(&self.0[..take]);
            self.0 = &self.0[take..];
            Ok(take)
        }
    }

    #[test]
    fn the_one_who_waits_sees_readiness_whole_or_in_pieces() {
        assert_eq!(wait(&mut &READY[..]).expect("readable"), Start::Ready);
        assert_eq!(wait(&mut Trickle(READY)).expect("readable"), Start::Ready);
    }

    #[test]
    fn a_pipe_that_closes_early_means_the_server_has_ended() {
        for length in 0..READY.len() {
            let start = wait(&mut Trickle(&READY[..length])).expect("readable");
            assert_eq!(start, Start::Ended, "after {length} bytes");
        }
    }

    #[test]
    fn anything_else_on_the_pipe_is_not_taken_for_readiness() {
        let error = wait(&mut &b"redy!\nready\n"[..]).expect_err("another word");
        assert!(error.to_string().contains("something else"), "{error}");
    }

    fn ended(script: &str) -> io::Result<Exit> {
        let mut child = Command::new("sh").args(["-c", script]).spawn().expect("a shell");
        failed(&mut child)
    }

    #[test]
    fn the_exit_code_of_a_failed_server_is_passed_on() {
        assert_eq!(ended("exit 2").expect("a code"), Exit::REFUSED);
        assert_eq!(ended("exit 1").expect("a code"), Exit::FAILURE);
    }

    #[test]
    fn a_server_that_ends_without_a_code_of_failure_has_failed_all_the_same() {
        for script in ["exit 0", "kill -KILL $$"] {
            let error = ended(script).expect_err(script);
            assert!(error.to_string().contains("ended before it was ready"), "{error}");
        }
    }
}

//! Standard output, standard error and the exit code.
//!
//! Owns what happens when nobody reads: a closed output is not an error worth a panic. Leaves the
//! texts to the subcommands. Invariant: no write here panics, whatever became of the descriptors.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};
use std::process::{ExitCode, Termination};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub(crate) u8);

impl Exit {
    /// What was asked for is done.
    pub(crate) const SUCCESS: Exit = Exit(0);
    /// It could not be done: an address is in use, io_uring is not available, …
    pub(crate) const FAILURE: Exit = Exit(1);
    /// It was not tried: the arguments or the configuration are wrong.
    pub(crate) const REFUSED: Exit = Exit(2);
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.0)
    }
}

/// Writes `text` and a line end to standard output.
///
/// # Errors
/// It cannot be written; [`ErrorKind::BrokenPipe`] when the reader has gone.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes `text`, which is all that was asked for, to standard output.
pub(crate) fn answer(text: &str) -> Exit {
    match print(text) {
        Ok(()) => Exit::SUCCESS,
        // `tidegate --help | head -1`: the reader had enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::SUCCESS,
        Err(error) => {
            complain(&format!("tidegate: cannot write to standard output: {error}"));
            Exit::FAILURE
        }
    }
}

/// Writes `text` and a line end to standard error, in one write where the system can.
pub(crate) fn complain(text: &str) {
    // There is no other place to tell that this one is gone.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Logs why nothing is served.
pub(crate) fn start_failed(reason: &dyn Display) -> Exit {
    fail("start_failed", reason)
}

/// Logs an error that ends the program.
pub(crate) fn fail(event: &str, reason: &dyn Display) -> Exit {
    complain(&line("error", event, reason));
    Exit::FAILURE
}

/// Logs something that the program can live with.
pub(crate) fn warn(event: &str, reason: &dyn Display) {
    complain(&line("warn", event, reason));
}

/// Quoted and escaped as in the rest of the log, so that it is one line whatever the reason holds.
fn line(level: &str, event: &str, reason: &dyn Display) -> String {
    format!("level={level} event={event} reason={:?}", reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stays_on_its_line_whatever_it_holds() {
        assert_eq!(
            line("error", "start_failed", &"cannot listen on \"x\"\nlevel=info"),
            r#"level=error event=start_failed reason="cannot listen on \"x\"\nlevel=info""#
        );
    }
}

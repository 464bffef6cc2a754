//! A file.
//!
//! Owns opening it and what its errors mean. Invariant: it is only appended to, so that several processes and a tool
//! that truncates it can share it.

use super::{Outcome, Tally};
use crate::outbox::Outbox;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

/// The most bytes of one write: enough to make the call cheap, and little enough that the thread comes back.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// An open file.
#[derive(Debug)]
pub(crate) struct FileSink(OwnedFd);

/// Whether there is a socket at this path.
pub(crate) fn is_socket(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl FileSink {
    /// Opens or makes the file; a new one can be read by its group, because lines name clients.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        // Not waiting matters for a named pipe, which otherwise is opened only when somebody reads it.
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::CLOEXEC
            | OFlags::NOCTTY
            | OFlags::NONBLOCK;
        Ok(Self(rustix::fs::open(path, flags, Mode::from_raw_mode(0o640))?))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn write(&mut self, outbox: &mut Outbox, tally: &mut Tally) -> Outcome {
        write_pieces(&self.0, outbox, tally, |outbox| {
            let pending = outbox.pending();
            pending.get(..WRITE_BYTES_MAX).unwrap_or(pending)
        })
    }
}

/// Writes piece after piece until everything is written or the target does not take one.
pub(super) fn write_pieces(
    descriptor: &OwnedFd,
    outbox: &mut Outbox,
    tally: &mut Tally,
    piece: impl Fn(&Outbox) -> &[u8],
) -> Outcome {
    loop {
        if outbox.is_empty() {
            return Outcome::Done;
        }
        match rustix::io::write(descriptor, piece(outbox)) {
            Ok(0) => return Outcome::Full,
            Ok(bytes) => tally.wrote(outbox.wrote(bytes)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Outcome::Full,
            Err(error @ (Errno::PIPE | Errno::BADF)) => return Outcome::Broken(error.into()),
            Err(error) => return Outcome::Stuck(error.into()),
        }
    }
}

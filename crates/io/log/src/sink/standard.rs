//! Standard output and standard error.
//!
//! Owns writing to descriptors that others share. Invariant: their mode is left alone, because it belongs to whoever
//! gave them to us; so each write to a pipe or terminal is preceded by a look, and is small enough that a pipe that has
//! room takes it whole.

use super::file::write_pieces;
use super::{Outcome, Tally};
use crate::bell::is_writable;
use crate::outbox::Outbox;
use rustix::fs::FileType;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a pipe that can be written to takes without waiting, and without mixing it with what others write.
const PIPE_BYTES_MAX: usize = 4096;

/// A copy of the descriptor.
#[derive(Debug)]
pub(crate) struct StandardSink {
    descriptor: OwnedFd,
    is_file: bool,
}

impl StandardSink {
    pub(crate) fn open(standard: impl AsFd) -> io::Result<Self> {
        let descriptor = standard.as_fd().try_clone_to_owned()?;
        let mode = rustix::fs::fstat(&descriptor)?.st_mode;
        Ok(Self { is_file: FileType::from_raw_mode(mode) == FileType::RegularFile, descriptor })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(crate) fn write(&mut self, outbox: &mut Outbox, tally: &mut Tally) -> Outcome {
        if self.is_file {
            return write_pieces(&self.descriptor, outbox, tally, Outbox::pending);
        }
        // One piece a look.
        while !outbox.is_empty() {
            if !is_writable(self.descriptor.as_fd()) {
                return Outcome::Full;
            }
            match rustix::io::write(&self.descriptor, outbox.pending_whole(PIPE_BYTES_MAX)) {
                Ok(bytes) => tally.wrote(outbox.wrote(bytes)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Outcome::Full,
                Err(error) => return Outcome::Stuck(error.into()),
            }
        }
        Outcome::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Kind;
    use std::io::Read;

    #[test]
    fn a_pipe_that_nobody_reads_is_full_and_gets_whole_lines() {
        let (mut reader, writer) = std::io::pipe().expect("descriptors are free");
        let mut sink = StandardSink::open(&writer).expect("it can be copied");
        let line = [[b'x'; 299].as_slice(), b"\n"].concat();
        let (mut outbox, mut tally) = (Outbox::default(), Tally::default());
        for _ in 0..1000 {
            assert!(outbox.push(Kind::Line, &[&line]));
        }
        assert!(matches!(sink.write(&mut outbox, &mut tally), Outcome::Full));
        assert!(tally.lines > 100 && tally.bytes == tally.lines * 300, "{tally:?}");
        let mut text = vec![0; usize::try_from(tally.bytes).expect("it is small")];
        reader.read_exact(&mut text).expect("it was written");
        assert!(matches!(sink.write(&mut outbox, &mut tally), Outcome::Full));
        assert!(tally.lines > 200 && !outbox.is_empty());
        drop(reader);
        assert!(matches!(sink.write(&mut outbox, &mut tally), Outcome::Stuck(_)));
    }
}

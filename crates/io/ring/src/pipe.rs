//! Pipes through which bytes move between sockets without being copied.
//!
//! Owns making, counting and keeping them; leaves when to use one to `splice`. Invariant: a pipe that still holds bytes is
//! closed, never given to another splice.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// Most bytes that a pipe holds: four receive buffers' worth, so that a system call is paid for seldom, and still within the
/// second-level cache.
pub const PIPE_BYTES: usize = 128 * 1024;

/// The size below which a pipe saves nothing: the kernel makes tiny ones for a user who has many.
const USEFUL_BYTES_MIN: usize = 64 * 1024;

/// Empty pipes kept open: a splice gives its pipe back whenever it waits with nothing in it, so few are in use at a time.
const KEPT_MAX: usize = 16;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// Both ends of one pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    held: usize,
}

impl Pipe {
    fn new() -> Option<Pipe> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Unprivileged users may make so much of pipes and no more; a smaller one may still do.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        let bytes = fcntl_getpipe_size(&writer).ok()?;
        (bytes >= USEFUL_BYTES_MIN).then_some(Pipe { reader, writer, held: 0 })
    }

    /// Bytes in it.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes at most `bytes_max` bytes from a socket in non-blocking mode; 0 at its end.
    pub(crate) fn fill(&mut self, from: BorrowedFd<'_>, bytes_max: usize) -> Result<usize, Errno> {
        let bytes = repeat(|| splice(from, None, &self.writer, None, bytes_max, FLAGS))?;
        self.held += bytes;
        Ok(bytes)
    }

    /// Gives what it holds, or the first of it, to a socket in non-blocking mode.
    pub(crate) fn drain(&mut self, to: BorrowedFd<'_>) -> Result<usize, Errno> {
        let bytes = repeat(|| splice(&self.reader, None, to, None, self.held, FLAGS))?;
        debug_assert!(bytes <= self.held, "more came out of a pipe than went in");
        self.held = self.held.saturating_sub(bytes);
        Ok(bytes)
    }
}

/// Calls again after a signal.
fn repeat(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// The pipes of one ring.
#[derive(Debug)]
pub(crate) struct Pipes {
    kept: Vec<Pipe>,
    /// The fewest that were kept since the last trim: so many were of no use.
    spare: usize,
    used: u32,
    max: u32,
}

impl Pipes {
    pub(crate) fn new(max: u32) -> Pipes {
        Pipes { kept: Vec::new(), spare: 0, used: 0, max }
    }

    /// Pipes in use, and those kept.
    pub(crate) fn count(&self) -> (u32, usize) {
        (self.used, self.kept.len())
    }

    /// An empty pipe; none when all are in use or no more can be made.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if self.used >= self.max {
            return None;
        }
        let pipe = self.kept.pop().or_else(Pipe::new)?;
        self.spare = self.spare.min(self.kept.len());
        self.used += 1;
        Some(pipe)
    }

    /// Takes a pipe back, to be closed if it holds bytes.
    pub(crate) fn put(&mut self, pipe: Pipe) {
        self.used -= 1;
        if pipe.held == 0 && self.kept.len() < KEPT_MAX {
            self.kept.push(pipe);
        }
    }

    /// Closes the pipes that have been of no use since the last call.
    pub(crate) fn trim(&mut self) {
        self.kept.truncate(self.kept.len() - self.spare.min(self.kept.len()));
        self.spare = self.kept.len();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn pipes_are_kept_only_when_empty_and_made_only_up_to_the_bound() {
        let mut pipes = Pipes::new(2);
        let (first, second) = (pipes.take(), pipes.take());
        assert!(first.is_some() && second.is_some() && pipes.take().is_none());
        let (mut writer, reader) = UnixStream::pair().expect("descriptors are left");
        writer.write_all(b"held").expect("the reader is open");
        let mut held = first.expect("it was there");
        assert_eq!(held.fill(reader.as_fd(), PIPE_BYTES), Ok(4));
        assert_eq!(held.fill(reader.as_fd(), PIPE_BYTES), Err(Errno::AGAIN));
        pipes.put(held);
        assert_eq!(pipes.count(), (1, 0), "a pipe with bytes in it was kept");
        pipes.put(second.expect("it was there"));
        assert_eq!(pipes.count(), (0, 1));
    }

    #[test]
    fn pipes_that_nobody_uses_are_closed() {
        let mut pipes = Pipes::new(3);
        let taken: Vec<_> = (0..3).filter_map(|_| pipes.take()).collect();
        taken.into_iter().for_each(|pipe| pipes.put(pipe));
        pipes.trim();
        assert_eq!(pipes.count(), (0, 3), "all were in use since the last time");
        let one = pipes.take().expect("some are kept");
        pipes.put(one);
        pipes.trim();
        assert_eq!(pipes.count(), (0, 1), "one at a time was enough");
        pipes.trim();
        assert_eq!(pipes.count(), (0, 0));
    }

    #[test]
    fn what_goes_in_comes_out_once() {
        let mut pipe = Pipe::new().expect("descriptors are left");
        let (mut writer, source) = UnixStream::pair().expect("descriptors are left");
        let (sink, mut reader) = UnixStream::pair().expect("descriptors are left");
        writer.write_all(b"some bytes").expect("the reader is open");
        assert_eq!(pipe.fill(source.as_fd(), 4), Ok(4));
        assert_eq!((pipe.drain(sink.as_fd()), pipe.held()), (Ok(4), 0));
        drop(writer);
        assert_eq!(pipe.fill(source.as_fd(), 100), Ok(6));
        assert_eq!(pipe.fill(source.as_fd(), 100), Ok(0), "the end");
        assert_eq!((pipe.drain(sink.as_fd()), pipe.held()), (Ok(6), 0));
        drop(sink);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).expect("the stream ends in order");
        assert_eq!(read, b"some bytes");
    }
}

//! Owns the life of one encoded body: pieces, flushes, the end, in any order a caller may choose.
//!
//! Leaves the formats to `gzip`, `brotli` and `zstd`, and memory to `pool`. Invariant: after a
//! flush or an end has begun, nothing else happens before it is complete, and a state that failed is
//! never used again.

use crate::brotli::Brotli;
use crate::gzip::Gzip;
use crate::level::{Coding, Level};
use crate::pool::Lease;
use crate::zstd::Zstd;

/// The least output that a call must be allowed, in bytes: deflate repeats the 5 bytes that end a
/// flush when they do not fit into one call, so a caller with less room sends first.
pub const PRODUCED_MIN: usize = 16;

/// Why a body could not be encoded further: memory that the library could not get, or a fault of
/// its own. The coded body cannot be completed, so the response has to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    /// The coding that failed.
    pub coding: Coding,
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the {} encoder failed", self.coding.token())
    }
}

impl std::error::Error for EncodeError {}

/// What one call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Bytes appended to the output, at most what the call was allowed.
    pub produced: usize,
    /// Whether the call did all that was asked; if not, it wants to be repeated with what is left
    /// of the input and more room.
    pub is_done: bool,
}

/// What an encoder is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Flushing,
    Finishing,
    Finished,
    Failed,
}

/// What a call asks of a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Take input, emit when it pays.
    Encode,
    /// Emit all that was taken, so that a decoder can see it.
    Flush,
    /// End the coded body.
    Finish,
}

/// The library state of any coding.
#[derive(Debug)]
pub(crate) enum State {
    Gzip(Gzip),
    Brotli(Brotli),
    Zstd(Zstd),
}

impl State {
    /// `None` when the library gets no memory.
    pub(crate) fn new(level: Level) -> Option<Self> {
        Some(match level {
            Level::Gzip(level) => Self::Gzip(Gzip::new(level)),
            Level::Brotli(level) => Self::Brotli(Brotli::new(level)),
            Level::Zstd(level) => Self::Zstd(Zstd::new(level)?),
        })
    }

    /// Removes every trace of the body that was encoded; `None` when the state is of no more use,
    /// as always with brotli.
    pub(crate) fn wipe(self) -> Option<Self> {
        match self {
            Self::Gzip(state) => state.wipe().map(Self::Gzip),
            Self::Brotli(_) => None,
            Self::Zstd(state) => state.wipe().map(Self::Zstd),
        }
    }

    /// Gives a wiped state its next level; `None` when it does not take it.
    pub(crate) fn renew(self, level: Level) -> Option<Self> {
        match (self, level) {
            (Self::Gzip(state), Level::Gzip(level)) => state.renew(level).map(Self::Gzip),
            (Self::Zstd(state), Level::Zstd(level)) => state.renew(level).map(Self::Zstd),
            _ => None,
        }
    }

    pub(crate) const fn coding(&self) -> Coding {
        match self {
            Self::Gzip(_) => Coding::Gzip,
            Self::Brotli(_) => Coding::Brotli,
            Self::Zstd(_) => Coding::Zstd,
        }
    }

    /// One call into the library: input taken, output filled, and whether the operation is complete
    /// (of [`Operation::Encode`]: whether the input is all taken). `None` when the library fails.
    fn step(&mut self, operation: Operation, input: &[u8], out: &mut [u8]) -> Option<Progress> {
        match self {
            Self::Gzip(state) => state.step(operation, input, out),
            Self::Brotli(state) => state.step(operation, input, out),
            Self::Zstd(state) => state.step(operation, input, out),
        }
    }
}

/// Encodes one body. Made by [`Pool::start`](crate::Pool::start); dropping it, at the end of the
/// body or in its middle, gives its memory back to the pool.
#[derive(Debug)]
pub struct Encoder {
    lease: Lease,
    phase: Phase,
}

impl Encoder {
    pub(crate) const fn new(lease: Lease) -> Self {
        Self { lease, phase: Phase::Open }
    }

    /// The coding that it applies.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.lease.coding()
    }

    /// Takes from `input` and appends at most `produced_max` bytes to `out`. It may append none and
    /// keep what it took, up to a block of 128 KiB; [`flush`](Self::flush) brings that out.
    ///
    /// `out` needs `produced_max` bytes of spare capacity, or it is grown.
    ///
    /// # Errors
    /// When the library fails; the encoder is of no use then.
    ///
    /// # Panics
    /// When `produced_max` is below [`PRODUCED_MIN`], or the body was already finished.
    pub fn encode(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        produced_max: usize,
    ) -> Result<Progress, EncodeError> {
        assert!(!matches!(self.phase, Phase::Finishing | Phase::Finished), "the body has ended");
        if self.phase == Phase::Flushing {
            let flushed = self.flush(out, produced_max)?;
            return Ok(Progress { is_done: flushed.is_done && input.is_empty(), ..flushed });
        }
        if input.is_empty() {
            return Ok(Progress { consumed: 0, produced: 0, is_done: true });
        }
        self.run(Operation::Encode, input, out, produced_max)
    }

    /// Appends all that was encoded so far, at most `produced_max` bytes at a time, such that a
    /// decoder can give out everything up to here. Costs a few bytes and some compression: for
    /// bodies that wait for their next event, not for every piece.
    ///
    /// # Errors
    /// When the library fails; the encoder is of no use then.
    ///
    /// # Panics
    /// When `produced_max` is below [`PRODUCED_MIN`], or the body was already finished.
    pub fn flush(
        &mut self,
        out: &mut Vec<u8>,
        produced_max: usize,
    ) -> Result<Progress, EncodeError> {
        assert!(!matches!(self.phase, Phase::Finishing | Phase::Finished), "the body has ended");
        let progress = self.run(Operation::Flush, &[], out, produced_max)?;
        self.phase = if progress.is_done { Phase::Open } else { Phase::Flushing };
        Ok(progress)
    }

    /// Ends the body, appending at most `produced_max` bytes at a time. Complete, it does nothing
    /// more.
    ///
    /// # Errors
    /// When the library fails; the encoder is of no use then.
    ///
    /// # Panics
    /// When `produced_max` is below [`PRODUCED_MIN`].
    pub fn finish(
        &mut self,
        out: &mut Vec<u8>,
        produced_max: usize,
    ) -> Result<Progress, EncodeError> {
        if self.phase == Phase::Finished {
            return Ok(Progress { consumed: 0, produced: 0, is_done: true });
        }
        if self.phase == Phase::Flushing {
            return Ok(Progress { is_done: false, ..self.flush(out, produced_max)? });
        }
        let progress = self.run(Operation::Finish, &[], out, produced_max)?;
        self.phase = if progress.is_done { Phase::Finished } else { Phase::Finishing };
        Ok(progress)
    }

    fn run(
        &mut self,
        operation: Operation,
        input: &[u8],
        out: &mut Vec<u8>,
        produced_max: usize,
    ) -> Result<Progress, EncodeError> {
        assert!(produced_max >= PRODUCED_MIN, "an encoder needs room");
        let failed = EncodeError { coding: self.coding() };
        if self.phase == Phase::Failed {
            return Err(failed);
        }
        let before = out.len();
        out.resize(before + produced_max, 0);
        let step = self.lease.state_mut().step(operation, input, &mut out[before..]);
        out.truncate(before + step.map_or(0, |progress| progress.produced));
        let Some(progress) = step else {
            self.phase = Phase::Failed;
            self.lease.discard();
            return Err(failed);
        };
        debug_assert!(progress.consumed <= input.len());
        debug_assert!(progress.is_done || progress.produced > 0, "a step makes progress");
        Ok(progress)
    }
}

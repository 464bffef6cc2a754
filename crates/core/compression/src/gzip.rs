//! Owns gzip: the library, the meaning of its levels, and when a flush is complete.
//!
//! Leaves the order of calls to `encoder`. Invariant: a renewed state emits the same bytes as a new
//! one, because nothing of the last body is left in it.

use crate::encoder::{Operation, Progress};
use crate::level::GzipLevel;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

/// The most memory of one state, in bytes: a window of 2 × 32 KiB, its chains of 64 KiB, the hash table
/// of 128 KiB, output and symbols of 64 KiB, and the state itself. Held by a test.
pub(crate) const STATE_BYTES_MAX: usize = 384 * 1024;

/// A window of 32 KiB, the largest, and 16 more for the gzip wrapper, as zlib has it.
const WINDOW_BITS: i32 = 15 + 16;

/// Both halves of the library's window.
const WINDOW_BYTES: usize = 64 * 1024;
static ZEROS: [u8; WINDOW_BYTES] = [0; WINDOW_BYTES];

/// The level that copies into the window and searches nothing.
const LIBRARY_LEVEL_STORED: i32 = 0;
const LIBRARY_LEVEL_MIN: i32 = 2;
const LIBRARY_LEVEL_MAX: i32 = 8;

/// The state of one gzip body.
pub(crate) struct Gzip {
    deflate: Deflate,
}

impl Gzip {
    pub(crate) fn new(level: GzipLevel) -> Self {
        let config = DeflateConfig {
            level: library_level(level),
            window_bits: WINDOW_BITS,
            ..DeflateConfig::default()
        };
        Self { deflate: Deflate::new_with_config(config) }
    }

    /// Overwrites the window with zeros, as in a new state. The library's own reset leaves it, and
    /// where a body pauses or ends, hashes a few bytes beyond it: with what another body left there,
    /// the length of a response would tell whether a guess of those bytes is right.
    pub(crate) fn wipe(mut self) -> Option<Self> {
        let used = usize::try_from(self.deflate.total_in())
            .map_or(WINDOW_BYTES, |used| used.min(WINDOW_BYTES));
        self.deflate.reset();
        self.deflate.set_level(LIBRARY_LEVEL_STORED).ok()?;
        // One call, so that all of it goes to the window's beginning.
        let wiped = self.step(Operation::Encode, &ZEROS[..used], &mut [0; 256])?;
        self.deflate.reset();
        wiped.is_done.then_some(self)
    }

    /// Takes the next body after [`wipe`](Self::wipe).
    pub(crate) fn renew(mut self, level: GzipLevel) -> Option<Self> {
        self.deflate.set_level(library_level(level)).ok()?;
        Some(self)
    }

    pub(crate) fn step(
        &mut self,
        operation: Operation,
        input: &[u8],
        out: &mut [u8],
    ) -> Option<Progress> {
        let flush = match operation {
            Operation::Encode => DeflateFlush::NoFlush,
            Operation::Flush => DeflateFlush::SyncFlush,
            Operation::Finish => DeflateFlush::Finish,
        };
        let (total_in, total_out) = (self.deflate.total_in(), self.deflate.total_out());
        let status = self.deflate.compress(input, out, flush).ok()?;
        let consumed = difference(self.deflate.total_in(), total_in);
        let produced = difference(self.deflate.total_out(), total_out);
        let is_done = match operation {
            Operation::Encode => consumed == input.len(),
            // Room to spare is the library's sign that nothing is left.
            Operation::Flush => produced < out.len(),
            Operation::Finish => status == Status::StreamEnd,
        };
        Some(Progress { consumed, produced, is_done })
    }
}

impl std::fmt::Debug for Gzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gzip").finish_non_exhaustive()
    }
}

/// The library's level for ours. Its level 1 emits a fifth more than zlib's, its level 9 takes JSON
/// for 3 % more than its level 8; their neighbours keep what the number promises (ADR 0010).
fn library_level(level: GzipLevel) -> i32 {
    i32::from(level.value()).clamp(LIBRARY_LEVEL_MIN, LIBRARY_LEVEL_MAX)
}

/// What one call added to a total; a call handles less than `usize::MAX` bytes.
fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after - before).expect("a call handles slices, whose lengths are a usize")
}

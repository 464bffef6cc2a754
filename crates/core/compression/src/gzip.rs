//! Owns gzip: the library, the meaning of its levels, and when a flush is complete.
//!
//! Leaves the order of calls to `encoder`. Invariant: a renewed state emits the same bytes as a new
//! one.

use crate::encoder::{Operation, Progress};
use crate::level::GzipLevel;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

/// The most memory of one state, in bytes: a window of 2 × 32 KiB, its chains of 64 KiB, the hash table
/// of 128 KiB, output and symbols of 64 KiB, and the state itself. Held by a test.
pub(crate) const STATE_BYTES_MAX: usize = 384 * 1024;

/// A window of 32 KiB, the largest, and 16 more for the gzip wrapper, as zlib has it.
const WINDOW_BITS: i32 = 15 + 16;

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

    pub(crate) fn renew(mut self, level: GzipLevel) -> Option<Self> {
        self.deflate.reset();
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

/// The library's level for ours. Its level 1 emits a fifth more than zlib's, its level 9 finds
/// less than its level 8 in JSON; their neighbours keep what the number promises (ADR 0010).
fn library_level(level: GzipLevel) -> i32 {
    i32::from(level.value()).clamp(2, 8)
}

/// What one call added to a total; a call handles less than `usize::MAX` bytes.
fn difference(after: u64, before: u64) -> usize {
    usize::try_from(after - before).expect("a call handles slices, whose lengths are a usize")
}

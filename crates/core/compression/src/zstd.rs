//! Owns zstd: the library, the sizes of its window and tables, and when a flush is complete.
//!
//! Leaves the order of calls to `encoder`. Invariant: a state's memory is bounded at every level,
//! and a renewed state emits the same bytes as a new one.

use crate::encoder::{Operation, Progress};
use crate::level::ZstdLevel;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

/// The most memory of one state, in bytes: tables of 768 KiB, a window of 256 KiB, a block of
/// 128 KiB on its way in and one on its way out, and what is found in a block. Held by a test.
pub(crate) const STATE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A window of 256 KiB: a body of 1 MiB gets 4 % smaller than with 128 KiB, and 0.6 % larger than with
/// 1 MiB, which costs another 768 KiB. RFC 9659 §3 allows 8 MiB.
const WINDOW_LOG: u32 = 18;

/// From this level on the library's tables outgrow those of level 3, which is the largest that
/// [`STATE_BYTES_MAX`] pays for: level 9 would take 11 MB.
const BOUNDED_FROM_LEVEL: u8 = 4;
/// Entries of 4 bytes in the hash table: 512 KiB.
const HASH_LOG: u32 = 17;
/// Entries of 4 bytes in the chains: 256 KiB.
const CHAIN_LOG: u32 = 16;
/// What the library takes for "as the level has it".
const OF_LEVEL: u32 = 0;

/// The state of one zstd body.
pub(crate) struct Zstd {
    context: CCtx<'static>,
}

impl Zstd {
    /// `None` when the library gets no memory.
    pub(crate) fn new(level: ZstdLevel) -> Option<Self> {
        let mut context = CCtx::try_create()?;
        context.set_parameter(CParameter::WindowLog(WINDOW_LOG)).ok()?;
        set_level(&mut context, level)?;
        Some(Self { context })
    }

    /// Ends the body, whole or not. The library never looks at the window of an earlier body.
    pub(crate) fn wipe(mut self) -> Option<Self> {
        self.context.reset(ResetDirective::SessionOnly).ok()?;
        Some(self)
    }

    /// Takes the next body after [`wipe`](Self::wipe).
    pub(crate) fn renew(mut self, level: ZstdLevel) -> Option<Self> {
        set_level(&mut self.context, level)?;
        Some(self)
    }

    pub(crate) fn step(
        &mut self,
        operation: Operation,
        input: &[u8],
        out: &mut [u8],
    ) -> Option<Progress> {
        let directive = match operation {
            Operation::Encode => ZSTD_EndDirective::ZSTD_e_continue,
            Operation::Flush => ZSTD_EndDirective::ZSTD_e_flush,
            Operation::Finish => ZSTD_EndDirective::ZSTD_e_end,
        };
        let (mut source, mut sink) = (InBuffer::around(input), OutBuffer::around(out));
        let left = self.context.compress_stream2(&mut sink, &mut source, directive).ok()?;
        let (consumed, produced) = (source.pos(), sink.pos());
        let is_done = match operation {
            Operation::Encode => consumed == input.len(),
            Operation::Flush | Operation::Finish => left == 0,
        };
        Some(Progress { consumed, produced, is_done })
    }
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").finish_non_exhaustive()
    }
}

fn set_level(context: &mut CCtx<'static>, level: ZstdLevel) -> Option<()> {
    let is_bounded = level.value() >= BOUNDED_FROM_LEVEL;
    let (hash_log, chain_log) =
        if is_bounded { (HASH_LOG, CHAIN_LOG) } else { (OF_LEVEL, OF_LEVEL) };
    context.set_parameter(CParameter::CompressionLevel(i32::from(level.value()))).ok()?;
    context.set_parameter(CParameter::HashLog(hash_log)).ok()?;
    context.set_parameter(CParameter::ChainLog(chain_log)).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_testkit::seed;

    #[test]
    fn a_state_stays_within_its_memory_at_every_level() {
        let seed = seed();
        let body = seed.rng().bytes(1024 * 1024);
        for level in (1..=9).filter_map(ZstdLevel::new) {
            let mut state = Zstd::new(level).expect("there is memory");
            let (mut rest, mut out) = (body.as_slice(), vec![0; 64 * 1024]);
            while !rest.is_empty() {
                let step = state.step(Operation::Encode, rest, &mut out).expect("it encodes");
                rest = &rest[step.consumed..];
            }
            let bytes = state.context.sizeof();
            assert!(bytes <= STATE_BYTES_MAX, "level {level:?} holds {bytes} bytes");
        }
    }
}

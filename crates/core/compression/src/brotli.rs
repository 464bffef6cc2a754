//! Owns brotli: the library, the window, and when a flush is complete.
//!
//! Leaves the order of calls to `encoder`. Invariant: every body gets a new state, since the
//! library cannot renew one.

use crate::encoder::{Operation, Progress};
use crate::level::BrotliLevel;
use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderDestroyInstance, BrotliEncoderOperation, BrotliEncoderParameter,
    BrotliEncoderStateStruct,
};

/// The most memory of one state, in bytes: hash tables of 512 KiB to 2 MiB, the ring buffer with its
/// window, commands and output of a block. Held by a test.
pub(crate) const fn state_bytes_max(level: BrotliLevel) -> usize {
    match level.value() {
        ..=4 => 4 * 1024 * 1024,
        _ => 6 * 1024 * 1024,
    }
}

/// A window of 256 KiB. Larger ones cost memory and time at once (24.6 instead of 14.7 ms per MiB
/// with 4 MiB) and shrink a body of 1 MiB by less than 1 %; with one of 64 KiB the library takes
/// ten times as long at level 5.
const WINDOW_LOG: u32 = 18;

/// The state of one brotli body. Boxed: it is some kilobytes, and it moves.
pub(crate) struct Brotli {
    state: Box<BrotliEncoderStateStruct<StandardAlloc>>,
}

impl Brotli {
    pub(crate) fn new(level: BrotliLevel) -> Self {
        let mut state = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
        let quality = u32::from(level.value());
        let is_set = state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_QUALITY, quality)
            && state.set_parameter(BrotliEncoderParameter::BROTLI_PARAM_LGWIN, WINDOW_LOG);
        assert!(is_set, "a state that has not begun takes parameters");
        Self { state }
    }

    pub(crate) fn step(
        &mut self,
        operation: Operation,
        input: &[u8],
        out: &mut [u8],
    ) -> Option<Progress> {
        let operation_of_library = match operation {
            Operation::Encode => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Operation::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Operation::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let (mut consumed, mut produced) = (0, 0);
        let (mut input_left, mut out_left) = (input.len(), out.len());
        let is_ok = self.state.compress_stream(
            operation_of_library,
            &mut input_left,
            input,
            &mut consumed,
            &mut out_left,
            out,
            &mut produced,
            &mut None,
            &mut |_, _, _, _| {},
        );
        let is_done = match operation {
            Operation::Encode => consumed == input.len(),
            Operation::Flush => !self.state.has_more_output(),
            Operation::Finish => self.state.is_finished(),
        };
        is_ok.then_some(Progress { consumed, produced, is_done })
    }
}

impl Drop for Brotli {
    fn drop(&mut self) {
        BrotliEncoderDestroyInstance(&mut self.state);
    }
}

impl std::fmt::Debug for Brotli {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brotli").finish_non_exhaustive()
    }
}

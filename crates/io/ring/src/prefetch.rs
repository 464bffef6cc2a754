//! Hints that memory will be needed soon.
//!
//! Owns nothing; a hint has no effect but on the cache. Invariant: only memory that is reachable by a reference is hinted at.
#![allow(unsafe_code, reason = "a prefetch takes a pointer; the block says why it is sound")]

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks the processor to bring the first `lines` cache lines of `value` closer, as far as it has so many.
///
/// Worth it where many independent objects are about to be touched for the first time in a while: their misses overlap.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T, lines: usize) {
    let bytes = size_of_val(value).min(lines * LINE_BYTES);
    let start = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..bytes).step_by(LINE_BYTES) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the address lies within `value`; a prefetch reads nothing and cannot fault.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(start.add(offset).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (start, offset);
    }
}

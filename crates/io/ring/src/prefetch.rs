//! Hints that memory will be needed soon.
//!
//! Owns nothing; a hint has no effect but on the cache. Invariant: nothing is read.
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
        prefetch_address(start.wrapping_add(offset).cast());
    }
}

/// As [`prefetch`], for the line at an address, whatever is there.
#[inline]
pub(crate) fn prefetch_address(address: *const ()) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and cannot fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

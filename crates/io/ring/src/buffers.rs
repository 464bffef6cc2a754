//! Receive buffers: one memory region shared with the kernel as a provided-buffer ring.
//!
//! Owns the region and who holds which buffer; leaves receiving to `core`. Invariant: a buffer is either in
//! the kernel's ring, held by exactly one [`RecvBuf`] (or a queued completion), or kept back while their number shrinks.
#![allow(unsafe_code, reason = "memory is shared with the kernel; each block says why it is sound")]

mod trim;

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use self::trim::Trimming;

pub(crate) use self::trim::RECALLED_MAX;

/// Bytes of one receive buffer. 32 KiB holds the largest head allowed by default (16 KiB) with room for the start
/// of a body, and moves a large body in few completions; untouched pages of a buffer cost no memory.
pub const BUFFER_BYTES: usize = 32 * 1024;

#[allow(clippy::cast_possible_truncation, reason = "32 KiB fits")]
const BUFFER_BYTES_U32: u32 = BUFFER_BYTES as u32;

/// Distance between two buffers: a few cache lines more than a buffer, so that the first lines of all buffers do not
/// fall into the same set of the L1 cache.
const STRIDE_BYTES: usize = BUFFER_BYTES + 5 * 64;

/// Capacity from which a last quarter is kept in circulation by copying out of it. In a smaller ring who finds no buffer waits.
const COPYING_CAPACITY_MIN: u16 = 64;

/// The buffer group every receive of the ring draws from.
pub(crate) const GROUP: u16 = 0;

/// Memory mapped for the life of the ring.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        // SAFETY: an anonymous private mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast())
            .ok_or_else(|| io::Error::other("mmap gave a null address"))?;
        Ok(Mapping { base, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and bytes are those of a mapping this value alone owns; the ring that could write into it has
        // no operation in flight any more (see `Ring`'s drop) or leaks the whole structure instead.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// The provided-buffer ring and its buffers.
///
/// It starts with few buffers, which stay in the cache, doubles on demand up to its capacity, and shrinks again when they
/// have not been needed for a while.
pub(crate) struct Buffers {
    entries: Mapping,
    memory: Mapping,
    capacity: u16,
    /// Buffers made so far: ids `0..made` exist.
    made: Cell<u16>,
    /// Buffers that the kernel may fill now.
    available: Cell<u16>,
    tail: Cell<u16>,
    trimming: Trimming,
}

impl Buffers {
    /// Maps room for `capacity` buffers (a power of two, at most 32,768) and makes the first `initial`.
    pub(crate) fn new(capacity: u16, initial: u16) -> io::Result<Rc<Buffers>> {
        assert!(
            capacity.is_power_of_two() && capacity <= 1 << 15,
            "the kernel's limits on a buffer ring"
        );
        assert!(
            (1..=capacity).contains(&initial),
            "a ring begins with a buffer and has room for all it begins with"
        );
        let buffers = Buffers {
            entries: Mapping::new(usize::from(capacity) * size_of::<BufRingEntry>())?,
            memory: Mapping::new(usize::from(capacity) * STRIDE_BYTES)?,
            capacity,
            made: Cell::new(0),
            available: Cell::new(0),
            tail: Cell::new(0),
            trimming: Trimming::new(initial),
        };
        buffers.grow(initial);
        Ok(Rc::new(buffers))
    }

    /// Whether most of the buffers are in use and no more can be made.
    pub(crate) fn is_scarce(&self) -> bool {
        let low = self.available.get() < self.capacity / 4;
        low && self.circulating_max() == self.capacity && self.capacity >= COPYING_CAPACITY_MIN
    }

    /// Address and entry count to register with the kernel.
    pub(crate) fn registration(&self) -> (u64, u16) {
        (self.entries.base.as_ptr() as u64, self.capacity)
    }

    pub(crate) fn available(&self) -> u16 {
        self.available.get()
    }

    /// Buffers in circulation: those that the kernel may fill and those that it has filled.
    pub(crate) fn made(&self) -> u16 {
        self.made.get() - self.kept_back()
    }

    /// Doubles the buffers when fewer than half of them are left to the kernel; whether it did.
    pub(crate) fn grow_if_low(&self) -> bool {
        let (made, available) = (self.made.get(), self.available.get());
        self.note_available(available);
        if available >= made.div_ceil(2) || self.growing_waits() || made == self.capacity {
            return false;
        }
        self.grow(made.min(self.capacity - made));
        true
    }

    fn grow(&self, count: u16) {
        let first = self.made.get();
        assert!(count <= self.capacity - first, "more buffers than the ring has room for");
        self.made.set(first + count);
        self.circulate_all();
        for id in first..first + count {
            self.give_to_kernel(id);
        }
    }

    /// Puts buffer `id` at the tail of the kernel's ring, unless their number is shrinking and it is one too many.
    pub(crate) fn give_to_kernel(&self, id: u16) {
        debug_assert!(id < self.made.get(), "a buffer that does not exist");
        debug_assert!(self.available.get() < self.made.get(), "a buffer returned twice");
        if id >= self.circulating_max() {
            self.keep_back(id);
            return;
        }
        let tail = self.tail.get();
        let index = usize::from(tail & (self.capacity - 1));
        let base: *mut BufRingEntry = self.entries.base.as_ptr().cast();
        // SAFETY: `index` < `capacity`, so the entry lies in the mapping, is aligned (the mapping is page-aligned and
        // entries are 16 bytes), and the kernel reads it only after the tail below has passed it. Entry 0 shares
        // memory with the tail: its `resv` field, which the setters leave alone.
        unsafe {
            let entry = &mut *base.add(index);
            entry.set_addr(self.address(id).as_ptr() as u64);
            entry.set_len(BUFFER_BYTES_U32);
            entry.set_bid(id);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        self.available.set(self.available.get() + 1);
        // SAFETY: the tail is a 16-bit field inside the mapping that both sides access atomically; Release makes the
        // entry above visible before the kernel sees the new tail.
        unsafe { (*BufRingEntry::tail(base).cast::<AtomicU16>()).store(tail, Ordering::Release) };
    }

    /// The kernel filled buffer `id`: it now belongs to the completion that says so.
    pub(crate) fn taken_from_kernel(&self, id: u16) {
        debug_assert!(
            id < self.made.get() && self.available.get() > 0,
            "a buffer the kernel did not have"
        );
        self.available.set(self.available.get() - 1);
    }

    fn address(&self, id: u16) -> NonNull<u8> {
        debug_assert!(id < self.capacity);
        // SAFETY: `id` < `capacity`, so the offset lies inside the mapping.
        unsafe { self.memory.base.add(usize::from(id) * STRIDE_BYTES) }
    }
}

/// One buffer that the kernel filled; it goes back when this is dropped.
struct Filled {
    buffers: Rc<Buffers>,
    id: u16,
}

impl Drop for Filled {
    #[inline]
    fn drop(&mut self) {
        self.buffers.give_to_kernel(self.id);
    }
}

enum Memory {
    Shared(Filled),
    Copied(Vec<u8>),
}

/// Received bytes, mostly in a ring buffer, which goes back to the kernel when this is dropped.
///
/// Holding many of them starves other connections of buffers: pass on or copy out soon.
pub struct RecvBuf {
    memory: Memory,
    start: u32,
    end: u32,
}

impl RecvBuf {
    /// Wraps the first `len` bytes of buffer `id`, which the kernel has just filled.
    pub(crate) fn new(buffers: Rc<Buffers>, id: u16, len: u32) -> RecvBuf {
        assert!(len as usize <= BUFFER_BYTES, "the kernel wrote beyond the buffer");
        RecvBuf { memory: Memory::Shared(Filled { buffers, id }), start: 0, end: len }
    }

    /// Wraps bytes that lie elsewhere: copied out of a buffer, or made of received bytes by a layer above the socket.
    ///
    /// # Panics
    /// They are 4 GiB or more.
    pub fn from_vec(bytes: Vec<u8>) -> RecvBuf {
        let end = u32::try_from(bytes.len()).expect("received bytes come in small pieces");
        RecvBuf { memory: Memory::Copied(bytes), start: 0, end }
    }

    /// The vector that it is made of, if it is no ring buffer.
    pub(crate) fn into_copied(self) -> Option<Vec<u8>> {
        match self.memory {
            Memory::Copied(bytes) => Some(bytes),
            Memory::Shared(_) => None,
        }
    }

    /// The bytes, to be changed where they lie: what a layer above the socket makes of them.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start as usize, self.end as usize);
        match &mut self.memory {
            Memory::Copied(bytes) => &mut bytes[start..end],
            Memory::Shared(filled) => {
                let memory = filled.buffers.address(filled.id);
                // SAFETY: `start..end` lies in the buffer and was written by the kernel (or zeroed by the mapping); while
                // this value exists the buffer is not in the kernel's ring, and this value, borrowed for as long as the
                // slice lives, is the only one with this buffer's id: nobody else reads or writes it.
                unsafe { std::slice::from_raw_parts_mut(memory.as_ptr().add(start), end - start) }
            }
        }
    }

    /// Drops the first `count` bytes; at most all of them.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "bounded by the buffer's length, a u32")]
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "advance beyond the received bytes");
        self.start += count as u32;
    }

    /// Keeps only the first `count` bytes.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "bounded by the buffer's length, a u32")]
    pub fn truncate(&mut self, count: usize) {
        if count < self.len() {
            self.end = self.start + count as u32;
        }
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let (start, end) = (self.start as usize, self.end as usize);
        match &self.memory {
            Memory::Copied(bytes) => &bytes[start..end],
            Memory::Shared(filled) => {
                let memory = filled.buffers.address(filled.id);
                // SAFETY: `start..end` lies in the buffer and was written by the kernel (or zeroed by the mapping); while
                // this value exists the buffer is not in the kernel's ring, so nobody writes to it.
                unsafe { std::slice::from_raw_parts(memory.as_ptr().add(start), end - start) }
            }
        }
    }
}

impl std::fmt::Debug for RecvBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBuf").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_double_when_fewer_than_half_are_left_and_stop_at_capacity() {
        let buffers = Buffers::new(16, 4).expect("mapping");
        let mut held = Vec::new();
        for id in 0..3 {
            buffers.taken_from_kernel(id);
            held.push(RecvBuf::new(buffers.clone(), id, 10));
        }
        assert!(buffers.grow_if_low());
        assert_eq!((buffers.made(), buffers.available()), (8, 5));
        assert!(!buffers.grow_if_low());
        drop(held);
        assert_eq!(buffers.available(), 8);
    }

    #[test]
    fn a_received_buffer_is_changed_where_it_lies_within_its_bounds() {
        let buffers = Buffers::new(4, 2).expect("mapping");
        for id in 0..2 {
            buffers.taken_from_kernel(id);
        }
        let mut first = RecvBuf::new(buffers.clone(), 0, 5);
        let second = RecvBuf::new(buffers.clone(), 1, 5);
        first.advance(1);
        first.truncate(3);
        first.bytes_mut().copy_from_slice(b"abc");
        assert_eq!((&first[..], &second[..]), (&b"abc"[..], &[0; 5][..]));
        drop(first);
        buffers.taken_from_kernel(0);
        assert_eq!(&RecvBuf::new(buffers.clone(), 0, 5)[..], b"\0abc\0");
        let mut own = RecvBuf::from_vec(b"hello".to_vec());
        own.advance(1);
        own.bytes_mut()[0] = b'u';
        assert_eq!(&own[..], b"ullo");
    }

    #[test]
    fn a_received_buffer_shows_its_bytes_and_returns_on_drop() {
        let buffers = Buffers::new(4, 1).expect("mapping");
        buffers.taken_from_kernel(0);
        let mut received = RecvBuf::new(buffers.clone(), 0, 5);
        assert_eq!(&received[..], &[0; 5]);
        received.advance(2);
        received.truncate(2);
        assert_eq!(received.len(), 2);
        assert_eq!(buffers.available(), 0);
        drop(received);
        assert_eq!(buffers.available(), 1);
    }
}

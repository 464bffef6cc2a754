//! Fewer buffers again after a burst, and their memory back to the system.
//!
//! Owns when there are too many buffers and which of them leave; leaves time, and calling buffers back from the kernel, to
//! the ring. A buffer in the kernel's ring cannot be taken out of it, nor its memory touched: the kernel may be filling it.
//! So those with the highest ids are kept back one by one as they return, and their memory is released when all of them
//! have. Invariant: a buffer that is kept back, or that is beyond `made`, is in nobody else's hands.

use std::cell::{Cell, RefCell};

use super::{Buffers, STRIDE_BYTES};

/// Trims without much use before the number shrinks: a burst that comes again within seconds finds its buffers.
const QUIET_TRIMS: u8 = 10;

/// What is little use: at most this part of the buffers. They double when half are in use, and shrink to four times what is
/// used, so that neither brings the other about.
const QUIET_PART: u16 = 8;

/// Buffers called back by one trim: receiving into so many takes 0.2 ms.
pub(crate) const RECALLED_MAX: u16 = 256;

/// Buffers whose memory one trim releases: 4 MiB, for which the kernel needs 0.3 ms.
const RELEASED_MAX: u16 = 128;

/// Released memory begins and ends at multiples of this, which every size of a page divides.
const ALIGNMENT: usize = 64 * 1024;

pub(super) struct Trimming {
    /// What there is at the least.
    initial: u16,
    /// Buffers with ids from here on are kept back. As many as are made unless their number is shrinking.
    keep: Cell<u16>,
    kept_back: RefCell<Vec<u16>>,
    /// The fewest that were left to the kernel at the end of a turn since the last trim.
    least_available: Cell<u16>,
    /// Trims in a row that found little use, and the most in use that they found.
    quiet: Cell<u8>,
    most_in_use: Cell<u16>,
    /// Buffers to call back until all that were with the kernel have returned once.
    to_recall: Cell<u16>,
    /// No buffer with an id from here on has memory.
    resident_end: Cell<u16>,
}

impl Trimming {
    pub(super) fn new(initial: u16) -> Trimming {
        Trimming {
            initial,
            keep: Cell::new(initial),
            kept_back: RefCell::default(),
            least_available: Cell::new(u16::MAX),
            quiet: Cell::new(0),
            most_in_use: Cell::new(0),
            to_recall: Cell::new(0),
            resident_end: Cell::new(0),
        }
    }
}

impl Buffers {
    /// Ids below this circulate.
    #[inline]
    pub(super) fn circulating_max(&self) -> u16 {
        self.trimming.keep.get()
    }

    pub(super) fn circulate_all(&self) {
        self.trimming.keep.set(self.made.get());
    }

    #[inline]
    pub(super) fn note_available(&self, available: u16) {
        let least = &self.trimming.least_available;
        least.set(least.get().min(available));
    }

    /// How many are kept back.
    #[allow(clippy::cast_possible_truncation, reason = "as many as there are ids at most")]
    pub(super) fn kept_back(&self) -> u16 {
        self.trimming.kept_back.borrow().len() as u16
    }

    #[cold]
    pub(super) fn keep_back(&self, id: u16) {
        self.trimming.kept_back.borrow_mut().push(id);
    }

    fn is_shrinking(&self) -> bool {
        self.trimming.keep.get() < self.made.get()
    }

    /// Whether growing has to wait because the number is shrinking. If those that stay are not enough, all circulate again, and
    /// whether they are is to be seen first.
    #[cold]
    pub(super) fn growing_waits(&self) -> bool {
        if !self.is_shrinking() {
            return false;
        }
        let in_use = self.made() - self.available.get();
        if in_use > self.trimming.keep.get() / 2 {
            self.circulate_all();
            self.trimming.take_kept_back().into_iter().for_each(|id| self.give_to_kernel(id));
        }
        true
    }

    /// Whether there is anything to trim, now or later.
    pub(crate) fn has_grown(&self) -> bool {
        self.made.get().max(self.trimming.resident_end.get()) > self.trimming.initial
    }

    /// One step towards fewer buffers if they have not been needed for a while; how many are to be called back from the
    /// kernel now, by receiving into them.
    pub(crate) fn trim(&self) -> u16 {
        self.release();
        let trimming = &self.trimming;
        let least = trimming.least_available.replace(self.available.get());
        if !self.is_shrinking() {
            let (made, in_use) = (self.made.get(), self.made.get() - least.min(self.made.get()));
            let is_quiet = made > trimming.initial && in_use <= made / QUIET_PART;
            let (quiet, most) = if is_quiet {
                (trimming.quiet.get() + 1, trimming.most_in_use.get().max(in_use))
            } else {
                (0, 0)
            };
            trimming.quiet.set(quiet % QUIET_TRIMS);
            trimming.most_in_use.set(most);
            if quiet < QUIET_TRIMS {
                return 0;
            }
            trimming.most_in_use.set(0);
            trimming.keep.set((most * 4).next_power_of_two().max(trimming.initial));
            trimming.to_recall.set(self.available.get());
        }
        if self.kept_back() == self.made.get() - trimming.keep.get() {
            trimming.resident_end.set(trimming.resident_end.get().max(self.made.get()));
            self.made.set(trimming.keep.get());
            drop(trimming.take_kept_back());
            return 0;
        }
        // Half of what is left stays for those who receive meanwhile.
        let recalled = RECALLED_MAX.min(trimming.to_recall.get()).min(self.available.get() / 2);
        trimming.to_recall.set(trimming.to_recall.get() - recalled);
        recalled
    }

    /// Releases the memory of the highest buffers that are not made any more.
    fn release(&self) {
        let (made, end) = (self.made.get(), self.trimming.resident_end.get());
        if end <= made {
            return;
        }
        let start = made.max(end.saturating_sub(RELEASED_MAX));
        let base = self.memory.base.as_ptr() as usize;
        let boundary =
            |id: u16| (base + usize::from(id) * STRIDE_BYTES).next_multiple_of(ALIGNMENT);
        let (from, to) = (boundary(start), boundary(end).min(base + self.memory.bytes));
        if from < to {
            // SAFETY: the range lies in the mapping and, rounded up as it is, begins behind the last buffer that is made and
            // ends within one that is not or at the mapping's end. Buffers that are not made have been kept back, so neither
            // the kernel's ring nor a `RecvBuf` has them; they read as zeros should they be made again.
            unsafe {
                libc::madvise(
                    self.memory.base.as_ptr().add(from - base).cast(),
                    to - from,
                    libc::MADV_DONTNEED,
                )
            };
        }
        self.trimming.resident_end.set(start);
    }
}

impl Trimming {
    fn take_kept_back(&self) -> Vec<u16> {
        std::mem::take(&mut *self.kept_back.borrow_mut())
    }
}

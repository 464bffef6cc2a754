//! The bytes that edits make, in one buffer.
//!
//! Owns the buffer and its bound. Leaves what the bytes mean to the overlays. Invariant: a span that
//! was handed out stays the same bytes until the arena is cleared.

/// The most bytes that the edits of one message may make, superseded ones included: as many as the
/// largest head that is received. What goes beyond is dropped.
pub const ARENA_BYTES_MAX: usize = 65_536;

/// Where something stands in an [`Arena`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// A reusable buffer.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
}

impl Arena {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    #[inline]
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Keeps a copy; none if it does not fit.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<Span> {
        if bytes.len() > ARENA_BYTES_MAX - self.bytes.len() {
            return None;
        }
        self.write(|out| out.extend_from_slice(bytes))
    }

    /// Keeps what `write` appends; none if it does not fit.
    #[inline]
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<Span> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        if end > ARENA_BYTES_MAX {
            self.bytes.truncate(start);
            return None;
        }
        Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(end).ok()? })
    }
}

//! The bounds on what a peer may send in a head, a chunk-size line and a trailer section.
//!
//! Owns the numbers and their reasons; the parsers enforce them. Invariant: whatever a caller sets,
//! the effective limits stay within the capacities here, so that offsets fit `u16` and the header
//! slots fit the parser's stack frame.

/// The most header lines a head may have, whatever [`Limits::headers_count_max`] says: the parser's
/// slots live on the stack, 256 × 32 bytes = 8 KiB.
pub const HEADERS_CAPACITY: usize = 256;

/// The largest head in bytes, whatever [`Limits::head_bytes_max`] says: a head stores its ranges as
/// `u16`.
pub const HEAD_BYTES_CAPACITY: usize = u16::MAX as usize;

/// The longest method in bytes. The longest registered one, `UPDATEREDIRECTREF`, has 17.
pub const METHOD_BYTES_MAX: usize = 32;

/// The longest `host:port` in bytes: a DNS name of 255, a colon and five digits.
pub const HOST_BYTES_MAX: usize = 255 + 1 + 5;

/// The most options the `Connection` lines of one head may list. Each option is compared with each
/// header name, so this bounds that work to 16 × 256 comparisons; real clients send at most three.
pub const CONNECTION_OPTIONS_MAX: usize = 16;

/// Bounds on a message, per frontend or backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, start line to the empty line inclusive; more is a 431. At most
    /// [`HEAD_BYTES_CAPACITY`].
    pub head_bytes_max: usize,
    /// Header lines in a head; more is a 431. At most [`HEADERS_CAPACITY`].
    pub headers_count_max: usize,
    /// Bytes of a request target; more is a 414.
    pub target_bytes_max: usize,
    /// Bytes of a chunked body's trailer section, line ends included.
    pub trailer_bytes_max: usize,
    /// Bytes of one chunk-size line, extensions and line end included. A size has at most 16
    /// digits; extensions are dropped, so a generous limit would only buy a peer free traffic.
    pub chunk_line_bytes_max: usize,
}

impl Default for Limits {
    /// 16 KiB and 100 lines of head as nginx and Apache allow, 8 KiB of target as RFC 9112 §3
    /// recommends.
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            headers_count_max: 100,
            target_bytes_max: 8 * 1024,
            trailer_bytes_max: 8 * 1024,
            chunk_line_bytes_max: 256,
        }
    }
}

impl Limits {
    /// The part of `buf` a head may occupy.
    #[inline]
    pub(crate) fn window<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        let bytes_max = self.head_bytes_max.min(HEAD_BYTES_CAPACITY);
        buf.get(..bytes_max).unwrap_or(buf)
    }

    /// Whether a head that does not end within `window` can never end within the limit.
    #[inline]
    pub(crate) fn fills(&self, window: &[u8]) -> bool {
        window.len() >= self.head_bytes_max.min(HEAD_BYTES_CAPACITY)
    }

    /// Header slots to parse with.
    #[inline]
    pub(crate) fn headers_count(&self) -> usize {
        self.headers_count_max.min(HEADERS_CAPACITY)
    }
}

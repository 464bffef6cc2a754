//! Header lines as ranges into the received buffer, and the few names the proxy acts on.
//!
//! Owns where each line is and what kind it is; the meaning of the values is read by `framing`,
//! `persistence` and the head parsers. Invariant: lines are contiguous: each begins where the one
//! before ends, so a run of them can be copied as one piece.

use crate::fault::Fault;
use crate::grammar::spells;

/// What a header name means to an intermediary. The discriminant is a bit, so that sets of kinds
/// are masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum HeaderKind {
    /// Passed on as it is.
    EndToEnd = 1,
    Host = 1 << 1,
    ContentLength = 1 << 2,
    TransferEncoding = 1 << 3,
    Connection = 1 << 4,
    /// `Keep-Alive`, `Proxy-Connection` and `TE`: hop-by-hop, and of no use to this proxy.
    HopByHop = 1 << 5,
    Upgrade = 1 << 6,
    Expect = 1 << 7,
    /// Hop-by-hop because `Connection` lists it.
    Listed = 1 << 8,
}

impl HeaderKind {
    /// Length and first byte decide before any comparison: most headers cost a jump and a compare.
    #[inline]
    pub(crate) fn of(name: &[u8]) -> Self {
        let Some(&first) = name.first() else { return Self::EndToEnd };
        let (matches, kind) = match (name.len(), first | 0x20) {
            (2, b't') => (spells(name, b"te"), Self::HopByHop),
            (4, b'h') => (spells(name, b"host"), Self::Host),
            (6, b'e') => (spells(name, b"expect"), Self::Expect),
            (7, b'u') => (spells(name, b"upgrade"), Self::Upgrade),
            (10, b'c') => (spells(name, b"connection"), Self::Connection),
            (10, b'k') => (spells(name, b"keep-alive"), Self::HopByHop),
            (14, b'c') => (spells(name, b"content-length"), Self::ContentLength),
            (16, b'p') => (spells(name, b"proxy-connection"), Self::HopByHop),
            (17, b't') => (spells(name, b"transfer-encoding"), Self::TransferEncoding),
            _ => return Self::EndToEnd,
        };
        if matches { kind } else { Self::EndToEnd }
    }

    #[inline]
    pub(crate) fn bit(self) -> u16 {
        self as u16
    }
}

/// A part of the received buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u16,
    pub(crate) len: u16,
}

impl Span {
    /// The span of `part` within `buf`, which it must be a part of.
    #[inline]
    pub(crate) fn of(buf: &[u8], part: &[u8]) -> Self {
        Self::at((part.as_ptr() as usize).wrapping_sub(buf.as_ptr() as usize), part.len())
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "heads end below HEAD_BYTES_CAPACITY")]
    pub(crate) fn at(start: usize, len: usize) -> Self {
        Self { start: start as u16, len: len as u16 }
    }

    #[inline]
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    #[inline]
    pub(crate) fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    #[inline]
    pub(crate) fn bytes(self, buf: &[u8]) -> &[u8] {
        &buf[self.start()..self.end()]
    }
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderLine {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) kind: HeaderKind,
}

impl HeaderLine {
    /// Whether the line is exactly `name: value` and CRLF. Framing and routing lines are passed on
    /// verbatim only then: odd blanks around those values are where recipients disagree.
    #[inline]
    pub(crate) fn is_plain(&self, buf: &[u8]) -> bool {
        self.value.start() == self.name.end() + 2
            && buf.get(self.name.end() + 1) == Some(&b' ')
            && buf.get(self.value.end()) == Some(&b'\r')
    }
}

/// The header lines of a head, in the order received. Its storage grows to the configured count
/// once and is reused.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderTable {
    lines: Vec<HeaderLine>,
    kinds: u16,
    /// Where the empty line begins.
    end: u16,
}

impl HeaderTable {
    /// Takes the lines that httparse found in `buf`, in the place of those held.
    #[inline]
    pub(crate) fn fill(&mut self, buf: &[u8], headers: &[httparse::Header<'_>], lines_max: usize) {
        self.lines.clear();
        self.lines.reserve(lines_max);
        let mut kinds = 0;
        self.lines.extend(headers.iter().map(|header| {
            let kind = HeaderKind::of(header.name.as_bytes());
            kinds |= kind.bit();
            let name = Span::of(buf, header.name.as_bytes());
            HeaderLine { name, value: Span::of(buf, header.value), kind }
        }));
        self.kinds = kinds;
    }

    /// The lines that mean something to an intermediary.
    #[inline]
    pub(crate) fn known(&self) -> impl Iterator<Item = &HeaderLine> {
        self.lines.iter().filter(|line| line.kind != HeaderKind::EndToEnd)
    }

    /// Checks what httparse leaves open: that every line of the head in `buf[..head_bytes]` ends
    /// with CRLF, not LF. httparse lets CR occur only before LF, so the byte before each LF
    /// tells.
    #[inline]
    pub(crate) fn close(&mut self, buf: &[u8], head_bytes: usize) -> Result<(), Fault> {
        let end = head_bytes.wrapping_sub(2);
        let ends_lines = |at: usize| buf.get(at.wrapping_sub(2)) == Some(&b'\r');
        if !self.lines.iter().all(|line| ends_lines(line.name.start()))
            || !ends_lines(end)
            || !ends_lines(head_bytes)
        {
            return Err(Fault::BareLf);
        }
        self.end = Span::at(end, 0).start;
        Ok(())
    }

    #[inline]
    pub(crate) fn lines(&self) -> &[HeaderLine] {
        &self.lines
    }

    /// The kinds that occur, as a mask.
    #[inline]
    pub(crate) fn kinds(&self) -> u16 {
        self.kinds
    }

    /// Where the start line ends: the first header line, or the empty line without any.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.lines.first().map_or(self.end as usize, |line| line.name.start())
    }

    /// Where the last header line ends.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.end as usize
    }

    #[inline]
    pub(crate) fn line_of(&self, kind: HeaderKind) -> Option<&HeaderLine> {
        if self.kinds & kind.bit() == 0 {
            return None;
        }
        self.lines.iter().find(|line| line.kind == kind)
    }

    #[inline]
    pub(crate) fn iter<'b>(
        &self,
        buf: &'b [u8],
    ) -> impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone {
        self.lines.iter().map(move |line| (line.name.bytes(buf), line.value.bytes(buf)))
    }

    #[inline]
    pub(crate) fn find<'b>(&self, buf: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
        self.lines
            .iter()
            .find(|line| {
                usize::from(line.name.len) == name.len()
                    && line.name.bytes(buf).eq_ignore_ascii_case(name)
            })
            .map(|line| line.value.bytes(buf))
    }

    pub(crate) fn connection_value<'b>(&self, buf: &'b [u8], position: usize) -> Option<&'b [u8]> {
        let line = self.lines.get(position)?;
        (line.kind == HeaderKind::Connection).then(|| line.value.bytes(buf))
    }

    pub(crate) fn mark_listed(&mut self, buf: &[u8], name: &[u8]) {
        for line in &mut self.lines {
            if line.kind == HeaderKind::EndToEnd && line.name.bytes(buf).eq_ignore_ascii_case(name)
            {
                line.kind = HeaderKind::Listed;
                self.kinds |= HeaderKind::Listed.bit();
            }
        }
    }
}

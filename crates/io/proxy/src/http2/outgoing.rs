//! Content on its way to the library, on either side.
//!
//! Owns which piece is the last; leaves the text to the decoders of `tidegate-http2`, windows and frames to the library. Invariant: the
//! end of a stream goes with its last data wherever that is known in time.

use std::ops::Range;
use std::rc::Rc;

use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_http2::ContentSink;
use tidegate_ring::SendBuf;

use super::piece::{Piece, Queued};

/// One stream's content.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Where it goes, once the head has gone.
    pub(super) send: Option<SendStream<Piece>>,
    /// Data that may turn out to be the last.
    held: Option<Piece>,
}

/// The content of one piece of text.
pub(super) struct Content<'a> {
    /// The piece that is being decoded.
    whole: Option<&'a Rc<SendBuf>>,
    queued: &'a Rc<Queued>,
    pub(super) outgoing: &'a mut Outgoing,
    /// The library took something not: the peer has ended the stream.
    pub(super) failed: bool,
}

impl<'a> Content<'a> {
    pub(super) fn new(
        whole: Option<&'a Rc<SendBuf>>,
        queued: &'a Rc<Queued>,
        outgoing: &'a mut Outgoing,
    ) -> Content<'a> {
        Content { whole, queued, outgoing, failed: false }
    }

    pub(super) fn note<T, E>(&mut self, sent: &Result<T, E>) {
        self.failed |= sent.is_err();
    }

    fn send_data(&mut self, piece: Piece, ends: bool) {
        let sent = self.outgoing.send.as_mut().map_or(Ok(()), |send| send.send_data(piece, ends));
        self.note(&sent);
    }

    /// Sends what was held back.
    pub(super) fn release(&mut self) {
        if let Some(held) = self.outgoing.held.take() {
            self.send_data(held, false);
        }
    }
}

impl ContentSink for Content<'_> {
    fn data(&mut self, part: Range<usize>) {
        self.release();
        self.outgoing.held = self.whole.map(|whole| Piece::new(whole, part, self.queued));
    }

    fn trailers<'a>(&mut self, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.release();
        let mut map = HeaderMap::new();
        collect(lines, &mut map);
        let sent = self.outgoing.send.as_mut().map_or(Ok(()), |send| send.send_trailers(map));
        self.note(&sent);
    }

    fn end(&mut self) {
        let last = self.outgoing.held.take().unwrap_or_else(|| Piece::empty(self.queued));
        self.send_data(last, true);
    }
}

/// Adds fields that came as text; a name or value that the library has no room for is left out.
pub(super) fn collect<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>, map: &mut HeaderMap) {
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            // 256 lines at most, of the 24,576 that it takes.
            let _ = map.try_append(name, value);
        }
    }
}

/// The lines of a header map.
pub(super) fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

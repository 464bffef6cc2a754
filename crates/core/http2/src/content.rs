//! The content of a message's text as data and trailers, in whatever pieces it comes.
//!
//! Owns where it ends and its framing; leaves heads to `response` and `server_request`. Invariant: nothing behind the end is handed
//! on, and an end is told once.

use std::ops::Range;

use tidegate_http1::{BodyLength, ChunkedDecoder, Limits, Parsed, Piece};

/// Text that is no such message: the stream can only be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Where content goes.
pub trait ContentSink {
    /// Content: this part, never empty, of the piece that is being decoded.
    fn data(&mut self, part: Range<usize>);

    /// The end with trailers.
    fn trailers<'a>(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>);

    /// The end without.
    fn end(&mut self);
}

/// The beginning of a head that comes in several pieces.
#[derive(Debug, Default)]
pub(crate) struct Spilled(Vec<u8>);

impl Spilled {
    /// Parses the head that `piece` begins or goes on with; `parse` is told whether it goes on. How much of `piece` belongs to it;
    /// none: all of it, and more is to come.
    pub(crate) fn parse<E>(
        &mut self,
        piece: &[u8],
        parse: impl FnOnce(&[u8], bool) -> Result<Parsed, E>,
    ) -> Result<Option<usize>, Broken> {
        let before = self.0.len();
        let goes_on = before > 0;
        if goes_on {
            self.0.extend_from_slice(piece);
        }
        match parse(self.text(piece), goes_on) {
            Ok(Parsed::Complete { head_bytes }) => Ok(Some(head_bytes - before)),
            Ok(Parsed::Incomplete) => {
                if !goes_on {
                    self.0.extend_from_slice(piece);
                }
                Ok(None)
            }
            Err(_) => Err(Broken),
        }
    }

    /// The text of the head, which `piece` ends.
    pub(crate) fn text<'a>(&'a self, piece: &'a [u8]) -> &'a [u8] {
        if self.0.is_empty() { piece } else { &self.0 }
    }
}

/// How far the text has been decoded.
#[derive(Debug)]
pub(crate) enum State {
    /// In a head.
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    /// In a chunked body, with its trailers so far.
    Chunked(Box<(ChunkedDecoder, Vec<u8>)>),
    /// In a body, or a tunnel, that the end of the connection ends.
    UntilEnd,
    Done,
}

impl State {
    /// What follows a head whose body is so long.
    pub(crate) fn after_head(body: BodyLength, limits: &Limits) -> State {
        match body {
            BodyLength::None | BodyLength::Length(0) => State::Done,
            BodyLength::Length(bytes) => State::Length(bytes),
            BodyLength::Chunked => {
                State::Chunked(Box::new((ChunkedDecoder::new(limits), Vec::new())))
            }
            BodyLength::UntilClose | BodyLength::Tunnel => State::UntilEnd,
        }
    }

    /// Takes a part of `piece` from `at` on, behind the head; where the next part begins.
    pub(crate) fn feed(
        &mut self,
        piece: &[u8],
        at: usize,
        sink: &mut impl ContentSink,
    ) -> Result<usize, Broken> {
        match self {
            State::Head => Ok(at),
            State::Length(left) => {
                let rest = piece.len() - at;
                let taken = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                *left -= taken as u64;
                let ends = *left == 0;
                sink.data(at..at + taken);
                if ends {
                    *self = State::Done;
                    sink.end();
                }
                Ok(at + taken)
            }
            State::Chunked(_) => self.feed_chunked(piece, at, sink),
            State::UntilEnd => {
                sink.data(at..piece.len());
                Ok(piece.len())
            }
            State::Done => Ok(piece.len()),
        }
    }

    /// The text has ended.
    pub(crate) fn finish(&mut self, sink: &mut impl ContentSink) {
        if matches!(self, State::UntilEnd) {
            *self = State::Done;
            sink.end();
        }
    }

    fn feed_chunked(
        &mut self,
        piece: &[u8],
        at: usize,
        sink: &mut impl ContentSink,
    ) -> Result<usize, Broken> {
        let State::Chunked(chunked) = self else { return Ok(piece.len()) };
        let (decoder, lines) = &mut **chunked;
        match decoder.next(&piece[at..]).map_err(|_| Broken)? {
            Piece::Framing(bytes) | Piece::Skip(bytes) => Ok(at + bytes),
            Piece::Data(bytes) => {
                sink.data(at..at + bytes);
                Ok(at + bytes)
            }
            Piece::Trailer(bytes) => {
                lines.extend_from_slice(&piece[at..at + bytes]);
                Ok(at + bytes)
            }
            Piece::End(bytes) => {
                let lines = std::mem::take(lines);
                *self = State::Done;
                let mut trailers = trailers(&lines).peekable();
                if trailers.peek().is_some() {
                    sink.trailers(trailers);
                } else {
                    sink.end();
                }
                Ok(at + bytes)
            }
            Piece::NeedMore => Ok(piece.len()),
        }
    }
}

/// The fields of valid trailer lines.
fn trailers(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split(|&byte| byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        (!is_of_connection(name)).then_some((name, value))
    })
}

/// Whether a field belongs to the connection (RFC 9113 §8.2.2).
pub(crate) fn is_of_connection(name: &[u8]) -> bool {
    let names: [&[u8]; 7] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
        b"te",
        b"http2-settings",
    ];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

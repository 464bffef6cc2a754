//! The text of an HTTP/1.1 response as what HTTP/2 sends: fields, data, trailers (RFC 9113 §8.3.2).
//!
//! Owns the decoding, in whatever pieces the text comes; leaves the grammar to `tidegate-http1` and sending to the sink.
//! Invariant: the same text gives the same response however it is cut, and nothing behind its end is sent.

use std::ops::Range;

use tidegate_http1::{
    BodyLength, ChunkedDecoder, Limits, Method, Parsed, Piece, ResponseContext, ResponseHead,
    ResponseScan, continue_response, parse_response,
};

use crate::request::RequestKind;

/// Text that is no response: the stream can only be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// Where a response goes. Names come as the text has them, in any case; fields of the connection do not come.
pub trait ResponseSink {
    /// A 1xx before the response.
    fn interim<'a>(&mut self, status: u16, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>);

    /// The response; `ends`: there is nothing else of it, and [`ResponseSink::end`] is not called.
    fn head<'a>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    );

    /// Content: this part, never empty, of the piece that is being decoded.
    fn data(&mut self, part: Range<usize>);

    /// The end with trailers.
    fn trailers<'a>(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>);

    /// The end without.
    fn end(&mut self);
}

#[derive(Debug)]
enum State {
    /// In a head, of which `spilled` holds the beginning.
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    /// In a chunked body; `spilled` holds its trailers so far.
    Chunked(ChunkedDecoder),
    /// In a body, or a tunnel, that the end of the connection ends.
    UntilEnd,
    Done,
}

/// One response from its first byte to its last.
#[derive(Debug)]
pub struct ResponseDecoder {
    kind: RequestKind,
    state: State,
    spilled: Vec<u8>,
    scan: ResponseScan,
    limits: Limits,
    began: bool,
}

impl ResponseDecoder {
    /// For the response to a request of this kind; heads and trailers may be as long as `limits` say.
    #[must_use]
    pub fn new(kind: RequestKind, limits: Limits) -> ResponseDecoder {
        ResponseDecoder {
            kind,
            state: State::Head,
            spilled: Vec::new(),
            scan: ResponseScan::new(),
            limits,
            began: false,
        }
    }

    /// Whether the final head has come.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.began
    }

    /// Whether all of it has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next piece of the text; what lies behind the response is dropped. `head` is room for parsing.
    ///
    /// # Errors
    /// The text is no response to such a request. Nothing more is to be fed.
    pub fn feed(
        &mut self,
        piece: &[u8],
        head: &mut ResponseHead,
        sink: &mut impl ResponseSink,
    ) -> Result<(), Broken> {
        let mut at = 0;
        while at < piece.len() {
            match &mut self.state {
                State::Head => at += self.feed_head(&piece[at..], head, sink)?,
                State::Length(left) => {
                    let rest = piece.len() - at;
                    let taken = usize::try_from(*left).map_or(rest, |left| left.min(rest));
                    *left -= taken as u64;
                    let ends = *left == 0;
                    sink.data(at..at + taken);
                    at += taken;
                    if ends {
                        self.state = State::Done;
                        sink.end();
                    }
                }
                State::Chunked(_) => at = self.feed_chunked(piece, at, sink)?,
                State::UntilEnd => {
                    sink.data(at..piece.len());
                    at = piece.len();
                }
                State::Done => at = piece.len(),
            }
        }
        Ok(())
    }

    /// The text has ended. Whether that ends the response; if not, it was cut.
    pub fn finish(&mut self, sink: &mut impl ResponseSink) -> bool {
        if matches!(self.state, State::UntilEnd) {
            self.state = State::Done;
            sink.end();
        }
        self.is_done()
    }

    /// Takes what of `piece` belongs to a head; how much that is.
    fn feed_head(
        &mut self,
        piece: &[u8],
        head: &mut ResponseHead,
        sink: &mut impl ResponseSink,
    ) -> Result<usize, Broken> {
        let context = ResponseContext {
            method: if self.kind == RequestKind::Head { Method::Head } else { Method::Get },
            upgrade_requested: self.kind == RequestKind::WebSocket,
        };
        let before = self.spilled.len();
        let parsed = if before == 0 {
            parse_response(piece, &self.limits, context, head)
        } else {
            self.spilled.extend_from_slice(piece);
            continue_response(&self.spilled, &self.limits, context, head, &mut self.scan)
        };
        let head_bytes = match parsed {
            Ok(Parsed::Complete { head_bytes }) => head_bytes,
            Ok(Parsed::Incomplete) => {
                if before == 0 {
                    self.spilled.extend_from_slice(piece);
                }
                return Ok(piece.len());
            }
            Err(_) => return Err(Broken),
        };
        let text = if before == 0 { piece } else { &self.spilled };
        let is_tunnel = head.body() == BodyLength::Tunnel;
        let lists = listed_anywhere(head.headers(text));
        let fields = head.headers(text).filter(|(name, _)| {
            let dropped = is_of_connection(name)
                || (lists && is_listed(head.headers(text), name))
                || (is_tunnel && name.eq_ignore_ascii_case(b"sec-websocket-accept"));
            !dropped
        });
        if head.is_interim() {
            sink.interim(head.status(), fields);
        } else {
            self.began = true;
            let ends = matches!(head.body(), BodyLength::None | BodyLength::Length(0));
            sink.head(self.status(head), fields, ends);
            self.state = match head.body() {
                BodyLength::None | BodyLength::Length(0) => State::Done,
                BodyLength::Length(bytes) => State::Length(bytes),
                BodyLength::Chunked => State::Chunked(ChunkedDecoder::new(&self.limits)),
                BodyLength::UntilClose | BodyLength::Tunnel => State::UntilEnd,
            };
        }
        self.spilled = Vec::new();
        self.scan = ResponseScan::new();
        Ok(head_bytes - before)
    }

    /// The status that HTTP/2 has for it: a switch is a success there (RFC 8441 §5), and a success without a switch, which
    /// would be taken for one, is a gateway's failure.
    fn status(&self, head: &ResponseHead) -> u16 {
        match (self.kind, head.status()) {
            (RequestKind::WebSocket, 101) => 200,
            (RequestKind::WebSocket, 200..300) => 502,
            (RequestKind::WebSocket | RequestKind::Head | RequestKind::Other, status) => status,
        }
    }

    /// Takes one part of a chunked body; where the next begins.
    fn feed_chunked(
        &mut self,
        piece: &[u8],
        at: usize,
        sink: &mut impl ResponseSink,
    ) -> Result<usize, Broken> {
        let State::Chunked(decoder) = &mut self.state else { return Ok(piece.len()) };
        match decoder.next(&piece[at..]).map_err(|_| Broken)? {
            Piece::Framing(bytes) | Piece::Skip(bytes) => Ok(at + bytes),
            Piece::Data(bytes) => {
                sink.data(at..at + bytes);
                Ok(at + bytes)
            }
            Piece::Trailer(bytes) => {
                self.spilled.extend_from_slice(&piece[at..at + bytes]);
                Ok(at + bytes)
            }
            Piece::End(bytes) => {
                self.state = State::Done;
                let mut trailers = trailers(&self.spilled).peekable();
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
fn is_of_connection(name: &[u8]) -> bool {
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

/// The options of all `Connection` fields.
fn options<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, value)| value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii))
}

/// Whether `Connection` lists the names of fields.
fn listed_anywhere<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let known: [&[u8]; 3] = [b"close", b"keep-alive", b"upgrade"];
    options(fields).any(|option| !known.iter().any(|known| option.eq_ignore_ascii_case(known)))
}

fn is_listed<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, name: &[u8]) -> bool {
    options(fields).any(|option| option.eq_ignore_ascii_case(name))
}

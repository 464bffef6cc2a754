//! The text of an HTTP/1.1 response as what HTTP/2 sends: fields, data, trailers (RFC 9113 §8.3.2).
//!
//! Owns the decoding, in whatever pieces the text comes; leaves the grammar to `tidegate-http1` and sending to the sink.
//! Invariant: the same text gives the same response however it is cut, and nothing behind its end is sent.

use tidegate_http1::{
    BodyLength, Limits, Method, ResponseContext, ResponseHead, ResponseScan, continue_response,
    parse_response,
};

use crate::content::{Broken, ContentSink, Spilled, State, is_of_connection};
use crate::request::RequestKind;

/// Where a response goes. Names come as the text has them, in any case; fields of the connection do not come.
pub trait ResponseSink: ContentSink {
    /// A 1xx before the response.
    fn interim<'a>(&mut self, status: u16, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>);

    /// The response; `ends`: there is nothing else of it, and [`ContentSink::end`] is not called.
    fn head<'a>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    );
}

/// One response from its first byte to its last.
#[derive(Debug)]
pub struct ResponseDecoder {
    kind: RequestKind,
    state: State,
    spilled: Spilled,
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
            spilled: Spilled::default(),
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
                state => at = state.feed(piece, at, sink)?,
            }
        }
        Ok(())
    }

    /// The text has ended. Whether that ends the response; if not, it was cut.
    pub fn finish(&mut self, sink: &mut impl ResponseSink) -> bool {
        self.state.finish(sink);
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
        let (limits, scan) = (&self.limits, &mut self.scan);
        let taken = self.spilled.parse(piece, |text, goes_on| match goes_on {
            false => parse_response(text, limits, context, head),
            true => continue_response(text, limits, context, head, scan),
        })?;
        let Some(taken) = taken else { return Ok(piece.len()) };
        let text = self.spilled.text(piece);
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
            self.state = State::after_head(head.body(), &self.limits);
        }
        self.spilled = Spilled::default();
        self.scan = ResponseScan::new();
        Ok(taken)
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

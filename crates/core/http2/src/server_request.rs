//! The text of an HTTP/1.1 request as what HTTP/2 sends to a server: fields, data, trailers (RFC 9113 §8.3.1).
//!
//! Owns the decoding, in whatever pieces the text comes; leaves the grammar to `tidegate-http1` and sending to the sink.
//! Invariant: the same text gives the same request however it is cut, and nothing behind its end is sent.

use tidegate_http1::{
    BodyLength, Limits, Method, RequestHead, RequestScan, TargetForm, continue_request,
    parse_request,
};

use crate::content::{Broken, ContentSink, Spilled, State, is_of_connection};
use crate::request::RequestKind;
use crate::websocket;

/// What a request begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// `:method`
    pub method: &'a [u8],
    /// `:authority`
    pub authority: &'a [u8],
    /// `:path`
    pub path: &'a [u8],
    /// What it is: an upgrade to WebSocket becomes an extended CONNECT with `:protocol` (RFC 8441 §4). Any other upgrade is not
    /// asked for, as HTTP/2 has none.
    pub kind: RequestKind,
}

/// Where a request goes. Names come as the text has them, in any case; fields of the connection and `Host` do not come, and cookies
/// come one by one (§8.2.3).
pub trait RequestSink: ContentSink {
    /// The request's head; `ends`: there is nothing else of it, and [`ContentSink::end`] is not called.
    fn head<'a>(
        &mut self,
        target: &Target<'a>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    );
}

/// One request from its first byte to its last.
#[derive(Debug)]
pub struct RequestDecoder {
    state: State,
    spilled: Spilled,
    scan: RequestScan,
    limits: Limits,
    kind: RequestKind,
    accept: Option<String>,
}

impl RequestDecoder {
    /// For one request, whose head and trailers may be as long as `limits` say.
    #[must_use]
    pub fn new(limits: Limits) -> RequestDecoder {
        RequestDecoder {
            state: State::Head,
            spilled: Spilled::default(),
            scan: RequestScan::new(),
            limits,
            kind: RequestKind::Other,
            accept: None,
        }
    }

    /// What the request is, once its head has come.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        self.kind
    }

    /// What answers the key of a WebSocket's handshake, which HTTP/2 has none of (RFC 6455 §4.2.2), once the head has come.
    #[must_use]
    pub fn accept(&self) -> Option<&str> {
        self.accept.as_deref()
    }

    /// Whether all of it has come.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next piece of the text; what lies behind the request is dropped. `head` is room for parsing.
    ///
    /// # Errors
    /// The text is no request. Nothing more is to be fed.
    pub fn feed(
        &mut self,
        piece: &[u8],
        head: &mut RequestHead,
        sink: &mut impl RequestSink,
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

    /// The text has ended. Whether that ends the request; if not, it was cut.
    pub fn finish(&mut self, sink: &mut impl RequestSink) -> bool {
        self.state.finish(sink);
        self.is_done()
    }

    /// Takes what of `piece` belongs to the head; how much that is.
    fn feed_head(
        &mut self,
        piece: &[u8],
        head: &mut RequestHead,
        sink: &mut impl RequestSink,
    ) -> Result<usize, Broken> {
        let (limits, scan) = (&self.limits, &mut self.scan);
        let taken = self.spilled.parse(piece, |text, goes_on| match goes_on {
            false => parse_request(text, limits, head),
            true => continue_request(text, limits, head, scan),
        })?;
        let Some(taken) = taken else { return Ok(piece.len()) };
        let spilled = std::mem::take(&mut self.spilled);
        self.begin(head, spilled.text(piece), sink);
        Ok(taken)
    }

    fn begin(&mut self, head: &RequestHead, text: &[u8], sink: &mut impl RequestSink) {
        self.kind = match head.method() {
            Method::Head => RequestKind::Head,
            Method::Get if head.upgrade() && asks_for_websocket(head, text) => {
                RequestKind::WebSocket
            }
            _ => RequestKind::Other,
        };
        let tunnels = self.kind == RequestKind::WebSocket;
        if tunnels {
            let key = head.header(text, b"sec-websocket-key").unwrap_or_default();
            self.accept = Some(websocket::accept(key));
        }
        let path = match head.target_form() {
            TargetForm::Asterisk => b"*",
            _ => head.path_and_query(text),
        };
        let target = Target {
            method: if tunnels { b"CONNECT" } else { head.method_bytes(text) },
            authority: head.host(text),
            path: if path.is_empty() { b"/" } else { path },
            kind: self.kind,
        };
        let fields = head.headers(text).filter(|(name, _)| {
            let dropped = is_of_connection(name)
                || name.eq_ignore_ascii_case(b"host")
                || (tunnels && name.eq_ignore_ascii_case(b"sec-websocket-key"));
            !dropped
        });
        let body = if tunnels { BodyLength::Tunnel } else { head.body() };
        self.state = State::after_head(body, &self.limits);
        sink.head(&target, fields.flat_map(|(name, value)| crumbs(name, value)), self.is_done());
    }
}

fn asks_for_websocket(head: &RequestHead, text: &[u8]) -> bool {
    let fields = head.headers(text).filter(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"));
    let mut options = fields.flat_map(|(_, value)| value.split(|&byte| byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// A field as it is, or each cookie of one in a field of its own: the table of fields takes them better so (§8.2.3).
fn crumbs<'a>(name: &'a [u8], value: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let splits = name.eq_ignore_ascii_case(b"cookie");
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest.take()?;
        let end = value.windows(2).position(|two| two == b"; ").filter(|_| splits);
        let crumb = end.map_or(value, |end| &value[..end]);
        rest = end.map(|end| &value[end + 2..]);
        Some((name, crumb))
    })
}

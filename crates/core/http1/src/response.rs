//! Response heads (RFC 9112 §4): parsing, body length, persistence.
//!
//! Owns the judgement of a complete response head in the light of the request it answers. What is
//! wrong below that level is named by `fault`; how the head goes on to a client is `encode`.

use std::mem::MaybeUninit;

use crate::error::ResponseError;
use crate::fault::{Fault, first_fault, judge_unfinished};
use crate::framing::{BodyLength, FramingHeaders};
use crate::header::{HeaderKind, HeaderTable, Span};
use crate::limits::{HEADERS_CAPACITY, Limits};
use crate::message::{Method, Parsed, Version};
use crate::persistence::{ConnectionOptions, mark_listed};
use crate::scan::{ResponseScan, Scanned, scan_response};

/// What the request was that a response answers, as far as it decides the response's meaning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseContext {
    /// The request's method, as it went to the server.
    pub method: Method,
    /// Whether the request went out with `Connection: upgrade`; without, a 101 is an error.
    pub upgrade_requested: bool,
}

/// A parsed response head: ranges into the buffer it was parsed from, and what they mean. Reusable
/// like [`RequestHead`](crate::RequestHead).
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    status: u16,
    version: Version,
    body: BodyLength,
    keep_alive: bool,
    head_bytes: u16,
    pub(crate) framing: FramingHeaders,
    pub(crate) table: HeaderTable,
}

/// Parses the response head at the start of `buf` into `head`; `context` is the request it answers.
///
/// When more bytes have come, go on with [`continue_response`], or call it again from the start of
/// the head. After an interim response ([`ResponseHead::is_interim`]) the next head follows it.
///
/// # Errors
///
/// The first fault of the head; see [`ResponseError`]. The server's connection cannot be used
/// further.
pub fn parse_response(
    buf: &[u8],
    limits: &Limits,
    context: ResponseContext,
    head: &mut ResponseHead,
) -> Result<Parsed, ResponseError> {
    let window = limits.window(buf);
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        window,
        &mut slots[..limits.headers_count()],
    );
    match parsed {
        Ok(httparse::Status::Complete(head_bytes)) => {
            match head.read(window, head_bytes, &response, limits, context) {
                Ok(()) => Ok(Parsed::Complete { head_bytes }),
                Err(error) => Err(first_fault(scan_response(window, limits), error)),
            }
        }
        Ok(httparse::Status::Partial) => judge_unfinished(
            scan_response(window, limits),
            limits.fills(window).then_some(ResponseError::HeadTooLarge),
            None,
        ),
        Err(error) => judge_unfinished(
            scan_response(window, limits),
            limits.fills(window).then_some(ResponseError::HeadTooLarge),
            Some(error),
        ),
    }
}

/// As [`parse_response`], for a head of which earlier calls with the same `scan` have seen less; see
/// [`continue_request`](crate::continue_request).
///
/// # Errors
///
/// As [`parse_response`].
pub fn continue_response(
    buf: &[u8],
    limits: &Limits,
    context: ResponseContext,
    head: &mut ResponseHead,
    scan: &mut ResponseScan,
) -> Result<Parsed, ResponseError> {
    let window = limits.window(buf);
    match scan.advance(window, limits)? {
        Scanned::Ended => parse_response(buf, limits, context, head),
        Scanned::Unfinished if limits.fills(window) => Err(ResponseError::HeadTooLarge),
        Scanned::Unfinished => Ok(Parsed::Incomplete),
    }
}

/// What the header lines of a response say, as far as the proxy acts on it.
#[derive(Default)]
struct Fields {
    framing: FramingHeaders,
    connection: ConnectionOptions,
}

impl Fields {
    #[inline]
    fn read(&mut self, kind: HeaderKind, value: &[u8]) -> Result<(), Fault> {
        match kind {
            HeaderKind::ContentLength => self.framing.read_content_length(value),
            HeaderKind::TransferEncoding => self.framing.read_transfer_encoding(value),
            HeaderKind::Connection => self.connection.read(value),
            HeaderKind::EndToEnd
            | HeaderKind::Host
            | HeaderKind::HopByHop
            | HeaderKind::Upgrade
            | HeaderKind::Expect
            | HeaderKind::Listed => Ok(()),
        }
    }
}

impl ResponseHead {
    /// An empty head, which holds no storage yet.
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    fn read(
        &mut self,
        window: &[u8],
        head_bytes: usize,
        response: &httparse::Response<'_, '_>,
        limits: &Limits,
        context: ResponseContext,
    ) -> Result<(), ResponseError> {
        // httparse skips empty lines here too, but only a request may have one.
        if window.first() != Some(&b'H') {
            return Err(ResponseError::StatusLineMalformed);
        }
        self.head_bytes = Span::at(head_bytes, 0).start;
        self.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
        self.status = response.code.unwrap_or_default();
        if self.status < 100 {
            return Err(ResponseError::StatusInvalid);
        }
        self.table.fill(window, response.headers, limits.headers_count());
        let mut fields = Fields::default();
        for line in self.table.known() {
            fields.read(line.kind, line.value.bytes(window))?;
        }
        self.table.close(window, head_bytes)?;
        self.conclude(window, &fields, context)
    }

    /// Judges what takes more than one line to know.
    #[inline]
    fn conclude(
        &mut self,
        window: &[u8],
        fields: &Fields,
        context: ResponseContext,
    ) -> Result<(), ResponseError> {
        fields.framing.check(self.version)?;
        if self.status == 101 && !context.upgrade_requested {
            return Err(ResponseError::SwitchNotRequested);
        }
        self.framing = fields.framing;
        self.body = self.body_length(context.method);
        let delimited = !matches!(self.body, BodyLength::UntilClose | BodyLength::Tunnel);
        self.keep_alive = fields.connection.persists(self.version)
            && delimited
            && !self.announces_impossible_body();
        if fields.connection.lists_headers {
            mark_listed(&mut self.table, window);
        }
        Ok(())
    }

    /// RFC 9112 §6.3, items 1, 2 and 4 to 8.
    #[inline]
    fn body_length(&self, request: Method) -> BodyLength {
        match self.status {
            101 => BodyLength::Tunnel,
            200..300 if request == Method::Connect => BodyLength::Tunnel,
            100..200 | 204 | 304 => BodyLength::None,
            _ if request == Method::Head => BodyLength::None,
            _ => self.framing.declared(BodyLength::UntilClose),
        }
    }

    /// A 1xx or 204 that announces a body all the same: it may well be sent, so what follows is not
    /// to be trusted.
    #[inline]
    fn announces_impossible_body(&self) -> bool {
        !self.may_declare_length()
            && (self.framing.chunked
                || self.framing.content_length.is_some_and(|length| length > 0))
    }

    /// Whether framing headers may stand in this head at all (RFC 9110 §8.6, RFC 9112 §6.1). A HEAD
    /// or 304 response has no body but may say how long one would be.
    #[inline]
    pub(crate) fn may_declare_length(&self) -> bool {
        self.status >= 200 && self.status != 204 && self.body != BodyLength::Tunnel
    }

    /// The status code, 100 to 999.
    #[inline]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The protocol version the server spoke.
    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Bytes of the head in the buffer, the empty line included.
    #[inline]
    pub fn head_bytes(&self) -> usize {
        usize::from(self.head_bytes)
    }

    /// Every header line in the order received, names as received, values without surrounding
    /// blanks.
    #[inline]
    pub fn headers<'b>(&self, buf: &'b [u8]) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        self.table.iter(buf)
    }

    /// The value of the first header called `name`, in any case.
    #[inline]
    pub fn header<'b>(&self, buf: &'b [u8], name: &[u8]) -> Option<&'b [u8]> {
        self.table.find(buf, name)
    }

    /// How the body is delimited (RFC 9112 §6.3); responses to HEAD, and 1xx, 204 and 304, have
    /// none.
    #[inline]
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether the server's connection can carry another request after this response (RFC 9112
    /// §9.3): both the server wants it and the end of the body is known without a close.
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether another response to the same request follows: any 1xx but 101 (RFC 9110 §15.2).
    #[inline]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

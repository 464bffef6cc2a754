//! Request heads (RFC 9112 §3): parsing, and what a proxy asks of one.
//!
//! Owns the judgement of a complete request head. What is wrong below that level is named by
//! `fault`; how the head goes on to a server is `encode`.

use std::mem::MaybeUninit;

use crate::error::RequestError;
use crate::fault::{first_fault, judge_unfinished};
use crate::framing::{BodyLength, FramingHeaders};
use crate::grammar::{list, spells};
use crate::header::{HeaderKind, HeaderTable, Span};
use crate::limits::{HEADERS_CAPACITY, Limits, METHOD_BYTES_MAX};
use crate::message::{Method, Parsed, Version};
use crate::persistence::{ConnectionOptions, mark_listed};
use crate::scan::{RequestScan, Scanned, scan_request};
use crate::target::{Target, TargetForm, is_host_and_port};

/// A parsed request head: ranges into the buffer it was parsed from, and what they mean.
///
/// Reusable: parse into the same value again and it allocates nothing once its storage has grown to
/// [`Limits::headers_count_max`] lines of 10 bytes. Its contents mean something only after
/// [`Parsed::Complete`].
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    method: Method,
    version: Version,
    form: TargetForm,
    method_span: Span,
    target: Span,
    authority: Span,
    path: Span,
    body: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
    upgrade: bool,
    head_bytes: u16,
    pub(crate) table: HeaderTable,
}

/// Parses the request head at the start of `buf` into `head`.
///
/// When more bytes have come, go on with [`continue_request`], or call it again from the start of the
/// head. A head that is already wrong is refused without waiting for its end, with the same error
/// that the whole head would get.
///
/// # Errors
///
/// The first fault of the head; see [`RequestError`]. Nothing of the message may be forwarded, and
/// the connection cannot be used further because where the message ends is unknown.
pub fn parse_request(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
) -> Result<Parsed, RequestError> {
    let window = limits.window(buf);
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(window, &mut slots[..limits.headers_count()]) {
        Ok(httparse::Status::Complete(head_bytes)) => {
            match head.read(window, head_bytes, &request, limits) {
                Ok(()) => Ok(Parsed::Complete { head_bytes }),
                Err(error) => Err(first_fault(scan_request(window, limits), error)),
            }
        }
        Ok(httparse::Status::Partial) => judge_unfinished(
            scan_request(window, limits),
            limits.fills(window).then_some(RequestError::HeadTooLarge),
            None,
        ),
        Err(error) => judge_unfinished(
            scan_request(window, limits),
            limits.fills(window).then_some(RequestError::HeadTooLarge),
            Some(error),
        ),
    }
}

/// As [`parse_request`], for a head of which earlier calls with the same `scan` have seen less: what
/// is judged already is not looked at again before the head is complete, so that a head costs the
/// same in however many pieces it comes.
///
/// # Errors
///
/// As [`parse_request`].
pub fn continue_request(
    buf: &[u8],
    limits: &Limits,
    head: &mut RequestHead,
    scan: &mut RequestScan,
) -> Result<Parsed, RequestError> {
    let window = limits.window(buf);
    match scan.advance(window, limits)? {
        Scanned::Ended => parse_request(buf, limits, head),
        Scanned::Unfinished if limits.fills(window) => Err(RequestError::HeadTooLarge),
        Scanned::Unfinished => Ok(Parsed::Incomplete),
    }
}

/// What the header lines of a request say, as far as the proxy acts on it.
#[derive(Default)]
struct Fields {
    framing: FramingHeaders,
    connection: ConnectionOptions,
    host_seen: bool,
    expects_continue: bool,
    offers_upgrade: bool,
    offers_h2c: bool,
}

impl Fields {
    #[inline]
    fn read(&mut self, kind: HeaderKind, value: &[u8]) -> Result<(), RequestError> {
        match kind {
            HeaderKind::Host if self.host_seen => return Err(RequestError::HostRepeated),
            HeaderKind::Host => {
                self.host_seen = true;
                if !is_host_and_port(value) {
                    return Err(RequestError::HostInvalid);
                }
            }
            HeaderKind::ContentLength => self.framing.read_content_length(value)?,
            HeaderKind::TransferEncoding => self.framing.read_transfer_encoding(value)?,
            HeaderKind::Connection => self.connection.read(value)?,
            HeaderKind::Expect if !spells(value, b"100-continue") => {
                return Err(RequestError::ExpectationUnsupported);
            }
            HeaderKind::Expect => self.expects_continue = true,
            HeaderKind::Upgrade => self.read_upgrade(value),
            HeaderKind::EndToEnd | HeaderKind::HopByHop | HeaderKind::Listed => {}
        }
        Ok(())
    }

    fn read_upgrade(&mut self, value: &[u8]) {
        for protocol in list(value) {
            self.offers_upgrade = true;
            let name = protocol.get(..3).unwrap_or_default();
            self.offers_h2c |= name.eq_ignore_ascii_case(b"h2c");
        }
    }
}

impl RequestHead {
    /// An empty head, which holds no storage yet.
    pub fn new() -> Self {
        Self::default()
    }

    #[inline]
    fn read(
        &mut self,
        window: &[u8],
        head_bytes: usize,
        request: &httparse::Request<'_, '_>,
        limits: &Limits,
    ) -> Result<(), RequestError> {
        self.head_bytes = Span::at(head_bytes, 0).start;
        self.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        self.read_target(
            window,
            request.method.unwrap_or_default().as_bytes(),
            request.path.unwrap_or_default().as_bytes(),
            limits,
        )?;
        self.table.fill(window, request.headers, limits.headers_count());
        let mut fields = Fields::default();
        for line in self.table.known() {
            fields.read(line.kind, line.value.bytes(window))?;
        }
        self.table.close(window, head_bytes)?;
        self.conclude(window, &fields)
    }

    #[inline]
    fn read_target(
        &mut self,
        window: &[u8],
        method: &[u8],
        target: &[u8],
        limits: &Limits,
    ) -> Result<(), RequestError> {
        self.method_span = Span::of(window, method);
        self.target = Span::of(window, target);
        // One empty line may come first. Its CRLF is two bytes; any other start means several lines
        // or a bare LF.
        if self.method_span.start() > 0 && !(self.method_span.start() == 2 && window[0] == b'\r') {
            return Err(RequestError::LeadingEmptyLines);
        }
        if method.len() > METHOD_BYTES_MAX {
            return Err(RequestError::MethodTooLong);
        }
        if target.len() > limits.target_bytes_max {
            return Err(RequestError::TargetTooLong);
        }
        self.method = Method::from_token(method);
        let parts = Target::parse(self.method, target)?;
        let shift =
            |span: Span| Span::at(self.target.start() + span.start(), span.end() - span.start());
        self.form = parts.form;
        self.authority = shift(parts.authority);
        self.path = shift(parts.path);
        Ok(())
    }

    /// Judges what takes more than one line to know.
    #[inline]
    fn conclude(&mut self, window: &[u8], fields: &Fields) -> Result<(), RequestError> {
        if !fields.host_seen && self.version == Version::Http11 {
            return Err(RequestError::HostMissing);
        }
        fields.framing.check(self.version)?;
        self.body = fields.framing.declared(BodyLength::None);
        if matches!(self.form, TargetForm::Origin | TargetForm::Asterisk) {
            self.authority =
                self.table.line_of(HeaderKind::Host).map_or(Span::default(), |line| line.value);
        }
        let has_content = !matches!(self.body, BodyLength::None | BodyLength::Length(0));
        let modern = self.version == Version::Http11;
        self.keep_alive = fields.connection.persists(self.version);
        self.expects_continue = fields.expects_continue && has_content && modern;
        self.upgrade = fields.connection.upgrade
            && fields.offers_upgrade
            && !fields.offers_h2c
            && !has_content
            && modern
            && self.method != Method::Connect;
        if fields.connection.lists_headers {
            mark_listed(&mut self.table, window);
        }
        Ok(())
    }

    /// Where the request line begins, after the empty line that may precede it.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        self.method_span.start()
    }

    /// Whether the request line and Host can go to a server as received: both are already what
    /// HTTP/1.1 asks for, and Host is where the authority came from.
    #[inline]
    pub(crate) fn start_is_final(&self) -> bool {
        matches!(self.form, TargetForm::Origin | TargetForm::Asterisk)
            && self.version == Version::Http11
    }

    /// The method. CONNECT parses like any other; whether to serve it is the caller's decision.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as received.
    #[inline]
    pub fn method_bytes<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        self.method_span.bytes(buf)
    }

    /// The request target as received.
    #[inline]
    pub fn target<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        self.target.bytes(buf)
    }

    /// The form of the request target.
    #[inline]
    pub fn target_form(&self) -> TargetForm {
        self.form
    }

    /// The authority the request is for, `host[:port]` as received: that of the target if it names
    /// one, and only then that of the Host header (RFC 9112 §3.2.2). Empty for an HTTP/1.0
    /// request that names none.
    #[inline]
    pub fn host<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        self.authority.bytes(buf)
    }

    /// The target in origin-form: path and query as received, `*` for a server-wide OPTIONS, empty
    /// for CONNECT.
    ///
    /// An absolute target without a path reads `/`, or `*` with OPTIONS (RFC 9112 §3.2.4). With a
    /// query but no path, the result begins with `?`;
    /// [`encode_request_head`](crate::encode_request_head) adds the slash.
    #[inline]
    pub fn path_and_query<'b>(&self, buf: &'b [u8]) -> &'b [u8] {
        if self.path.len == 0 && self.form == TargetForm::Absolute {
            return if self.method == Method::Options { b"*" } else { b"/" };
        }
        self.path.bytes(buf)
    }

    /// The protocol version the client spoke.
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

    /// How the body is delimited; never [`BodyLength::UntilClose`] or [`BodyLength::Tunnel`].
    #[inline]
    pub fn body(&self) -> BodyLength {
        self.body
    }

    /// Whether the client wants the connection to persist after this exchange (RFC 9112 §9.3).
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client may wait for a 100 (Continue) before it sends the body (RFC 9110
    /// §10.1.1). Never for HTTP/1.0, whose expectation is to be ignored, nor without content.
    #[inline]
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Whether the client asks to switch protocols (RFC 9110 §7.8). Never for HTTP/1.0, which must
    /// be ignored. Requests with content, and those that offer `h2c`, which would carry
    /// requests past this proxy unseen, are treated as if they had not asked, as the RFC lets a
    /// recipient do.
    #[inline]
    pub fn upgrade(&self) -> bool {
        self.upgrade
    }
}

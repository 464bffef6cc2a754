//! What a head is to become on its way out: the changes that a caller asks of the encoder.
//!
//! Owns the types; writing is `encode`'s. Callers give names and values that are valid already.
//! Invariant: whatever the edits say, they do not reach the headers that frame a message or belong to
//! one connection: those are neither removed nor added by [`HeaderEdits`].

use crate::header::HeaderKind;
use crate::message::{Method, Version};

/// Changes to the end-to-end header lines of a head. They are asked for line by line, so that nothing
/// is copied but what is written.
pub trait HeaderEdits {
    /// Whether [`removes`](Self::removes) says so of any name at all. Without, the lines are copied
    /// in one piece.
    fn removes_any(&self) -> bool;

    /// Whether received lines of this name, in any case, are left out. Not asked about `Host`,
    /// framing and hop-by-hop headers.
    fn removes(&self, name: &[u8]) -> bool;

    /// Calls `add` with name and value of each line to append, in order, both valid: a token, and
    /// bytes without controls. `Host`, framing and hop-by-hop headers among them are not written.
    fn each_added(&self, add: impl FnMut(&[u8], &[u8]));
}

/// No changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unchanged;

impl HeaderEdits for Unchanged {
    #[inline]
    fn removes_any(&self) -> bool {
        false
    }

    #[inline]
    fn removes(&self, _name: &[u8]) -> bool {
        false
    }

    #[inline]
    fn each_added(&self, _add: impl FnMut(&[u8], &[u8])) {}
}

/// Changes as lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderLists<'a> {
    /// Lines to append.
    pub add: &'a [(&'a [u8], &'a [u8])],
    /// Names to leave out, in any case.
    pub remove: &'a [&'a [u8]],
}

impl HeaderEdits for HeaderLists<'_> {
    #[inline]
    fn removes_any(&self) -> bool {
        !self.remove.is_empty()
    }

    #[inline]
    fn removes(&self, name: &[u8]) -> bool {
        self.remove.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }

    #[inline]
    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.add.iter().for_each(|(name, value)| add(name, value));
    }
}

impl<H: HeaderEdits> HeaderEdits for &H {
    #[inline]
    fn removes_any(&self) -> bool {
        (**self).removes_any()
    }

    #[inline]
    fn removes(&self, name: &[u8]) -> bool {
        (**self).removes(name)
    }

    #[inline]
    fn each_added(&self, add: impl FnMut(&[u8], &[u8])) {
        (**self).each_added(add);
    }
}

/// Whether a line of this name may be added by edits.
#[inline]
pub(crate) fn may_be_added(name: &[u8]) -> bool {
    HeaderKind::of(name) == HeaderKind::EndToEnd
}

/// What the `Connection` header of the message written says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionHeader {
    /// The connection persists: nothing is written, except `keep-alive` to an HTTP/1.0 client.
    #[default]
    KeepAlive,
    /// The connection closes after this message.
    Close,
    /// The protocol switches: the received `Upgrade` header is kept.
    Upgrade,
}

/// Changes to a request head on its way to a server.
#[derive(Clone, Copy, Debug)]
pub struct RequestEdits<'a, H = Unchanged> {
    /// What `Connection` says.
    pub connection: ConnectionHeader,
    /// Whether `Expect: 100-continue` is passed on, if the client sent one that counts.
    pub expect_continue: bool,
    /// What request line and `Host` say instead of what was received.
    pub start: Option<&'a NewStart<'a>>,
    /// The other header lines.
    pub headers: H,
}

/// New parts of a request's start: its request line, and `Host`, which comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewStart<'a> {
    /// Another method, a token. One that needs another framing or response (`HEAD`, `CONNECT`) is the
    /// caller's to refuse.
    pub method: Option<&'a [u8]>,
    /// Another target, path and query: one that [`is_origin_target`](crate::is_origin_target) accepts.
    pub target: Option<&'a [u8]>,
    /// Another `Host`: one that [`is_authority`](crate::is_authority) accepts.
    pub host: Option<&'a [u8]>,
}

impl Default for RequestEdits<'_> {
    /// No changes.
    #[inline]
    fn default() -> Self {
        Self {
            connection: ConnectionHeader::default(),
            expect_continue: false,
            start: None,
            headers: Unchanged,
        }
    }
}

impl<'a> RequestEdits<'a> {
    /// The same with changes to header lines.
    #[inline]
    pub fn with_headers<H: HeaderEdits>(self, headers: H) -> RequestEdits<'a, H> {
        let Self { connection, expect_continue, start, headers: Unchanged } = self;
        RequestEdits { connection, expect_continue, start, headers }
    }
}

/// How the body of a response is sent to the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFraming {
    /// With the framing the server used.
    #[default]
    AsReceived,
    /// Until the connection closes, without framing: decoded chunks, for an HTTP/1.0 client.
    UntilClose,
    /// Chunked: a body that the server ends by closing, or that is changed on its way, for an HTTP/1.1
    /// client.
    Chunked,
    /// As received where there is a body. Where there is none (HEAD) no length is announced: what
    /// would come is not as long as the server says.
    Undeclared,
}

/// Changes to a response head on its way to a client.
#[derive(Clone, Copy, Debug)]
pub struct ResponseEdits<H = Unchanged> {
    /// What `Connection` says. Written as `close` whatever it is, if the body ends by closing.
    pub connection: ConnectionHeader,
    /// The version the client spoke: `keep-alive` has to be said to HTTP/1.0, which never gets
    /// `Transfer-Encoding`.
    pub client_version: Version,
    /// How the body is sent.
    pub body: BodyFraming,
    /// Another status, 200 to 599, with the reason phrase registered for it. Of a status that says
    /// whether there is a body (1xx, 204, 205, 304) and one that does not, neither replaces the other:
    /// the received one stays.
    pub status: Option<u16>,
    /// The header lines.
    pub headers: H,
}

impl Default for ResponseEdits {
    /// No changes, for an HTTP/1.1 client.
    #[inline]
    fn default() -> Self {
        Self {
            connection: ConnectionHeader::default(),
            client_version: Version::default(),
            body: BodyFraming::default(),
            status: None,
            headers: Unchanged,
        }
    }
}

impl ResponseEdits {
    /// The same with changes to header lines.
    #[inline]
    pub fn with_headers<H: HeaderEdits>(self, headers: H) -> ResponseEdits<H> {
        let Self { connection, client_version, body, status, headers: Unchanged } = self;
        ResponseEdits { connection, client_version, body, status, headers }
    }
}

/// A response the proxy gives by itself.
#[derive(Clone, Copy, Debug)]
pub struct SimpleResponse<'a, H = Unchanged> {
    /// The status code.
    pub status: u16,
    /// Headers besides `Content-Length` and `Connection`; what they remove means nothing.
    pub headers: H,
    /// The body; for HEAD its length is announced and it is not written.
    pub body: &'a [u8],
    /// What `Connection` says.
    pub connection: ConnectionHeader,
    /// The version the client spoke.
    pub client_version: Version,
    /// The method of the request answered.
    pub method: Method,
}

impl Default for SimpleResponse<'_> {
    /// Nothing but the status, which is 0, for a GET of an HTTP/1.1 client.
    #[inline]
    fn default() -> Self {
        Self {
            status: 0,
            headers: Unchanged,
            body: b"",
            connection: ConnectionHeader::default(),
            client_version: Version::default(),
            method: Method::default(),
        }
    }
}

impl<'a> SimpleResponse<'a> {
    /// The same with header lines.
    #[inline]
    pub fn with_headers<H: HeaderEdits>(self, headers: H) -> SimpleResponse<'a, H> {
        let Self { status, headers: Unchanged, body, connection, client_version, method } = self;
        SimpleResponse { status, headers, body, connection, client_version, method }
    }
}

//! Owns HTTP/1 messages as tests see them, and a reader that accepts nothing but well-formed ones.
//!
//! Deliberately separate from the product's parser: a mistake there must not be excused by the same
//! mistake here. Leaves connections to `stream`. Invariant: a message that violates RFC 9112 is an
//! error, never repaired.

use crate::deadline::Deadline;
use crate::stream::Stream;
use std::io::{self, ErrorKind};

/// The longest head the reader takes; the product's own limit is far below.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Header or trailer fields in the order received. Values map each byte to the character of the
/// same number, so that bytes above 127 survive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The value of the only field of this name, without regard to case.
    ///
    /// # Panics
    /// When the field is repeated: the test should say which one it means through [`Fields::all`].
    #[must_use]
    #[track_caller]
    pub fn value(&self, name: &str) -> Option<&str> {
        let mut values = self
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value);
        let first = values.next();
        assert!(values.next().is_none(), "field {name} is repeated in {self:?}");
        first
    }

    /// The values of every field of this name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

/// How the end of a body was marked (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The message cannot have a body, or says nothing about one.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection ended.
    UntilClose,
}

/// A request as an origin received it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target, as sent.
    pub target: String,
    /// The version, such as `HTTP/1.1`.
    pub version: String,
    /// The header fields.
    pub headers: Fields,
    /// The decoded body.
    pub body: Vec<u8>,
    /// How the body was framed.
    pub framing: Framing,
    /// The trailer fields after a chunked body.
    pub trailers: Fields,
    /// The head exactly as received, with the empty line.
    pub raw_head: Vec<u8>,
}

/// A response as a client received it.
#[derive(Clone, Debug)]
pub struct Response {
    /// The version, such as `HTTP/1.1`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: String,
    /// The header fields.
    pub headers: Fields,
    /// The decoded body.
    pub body: Vec<u8>,
    /// How the body was framed.
    pub framing: Framing,
    /// The trailer fields after a chunked body.
    pub trailers: Fields,
    /// The interim (1xx) responses that came before.
    pub interim: Vec<u16>,
    /// The head exactly as received, with the empty line.
    pub raw_head: Vec<u8>,
}

impl Response {
    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }
}

struct Head {
    start_line: [String; 3],
    fields: Fields,
    raw: Vec<u8>,
}

/// Reads one request with its body; `None` when the connection ended in order before it began.
///
/// # Errors
/// `InvalidData` for anything RFC 9112 does not allow, `UnexpectedEof` when the connection ends
/// within.
pub(crate) fn read_request(stream: &mut Stream, deadline: Deadline) -> io::Result<Option<Request>> {
    match read_request_head(stream, deadline)? {
        Some(request) => read_request_body(stream, deadline, request).map(Some),
        None => Ok(None),
    }
}

/// Reads the head of a request and leaves the body unread.
pub(crate) fn read_request_head(
    stream: &mut Stream,
    deadline: Deadline,
) -> io::Result<Option<Request>> {
    if stream.unread().is_empty() && stream.fill(deadline)? == 0 {
        return Ok(None);
    }
    let Head { start_line: [method, target, version], fields: headers, raw } =
        read_head(stream, deadline)?;
    if !version.starts_with("HTTP/1.") {
        return Err(invalid(format!("version {version:?}")));
    }
    let framing = declared_framing(&headers)?.unwrap_or(Framing::None);
    let (body, trailers) = (Vec::new(), Fields::default());
    Ok(Some(Request { method, target, version, headers, body, framing, trailers, raw_head: raw }))
}

/// Reads the body that the head of `request` declares.
pub(crate) fn read_request_body(
    stream: &mut Stream,
    deadline: Deadline,
    mut request: Request,
) -> io::Result<Request> {
    (request.body, request.trailers) = read_body(stream, deadline, request.framing)?;
    Ok(request)
}

/// Reads the response to a request with this method, after any interim ones. A 101, or a 2xx to
/// CONNECT, has no body: what follows belongs to the tunnel.
///
/// # Errors
/// As for [`read_request`]; also when the connection ends before a response.
pub(crate) fn read_response(
    stream: &mut Stream,
    deadline: Deadline,
    method: &str,
) -> io::Result<Response> {
    let mut interim = Vec::new();
    loop {
        let mut response = read_response_head(stream, deadline, method)?;
        if (100..200).contains(&response.status) && response.status != 101 {
            interim.push(response.status);
            continue;
        }
        (response.body, response.trailers) = read_body(stream, deadline, response.framing)?;
        response.interim = interim;
        return Ok(response);
    }
}

/// Reads the head of a response, interim or final, and leaves the body unread.
pub(crate) fn read_response_head(
    stream: &mut Stream,
    deadline: Deadline,
    method: &str,
) -> io::Result<Response> {
    let Head { start_line: [version, status, reason], fields: headers, raw } =
        read_head(stream, deadline)?;
    if !version.starts_with("HTTP/1.") {
        return Err(invalid(format!("version {version:?}")));
    }
    if status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(format!("status {status:?}")));
    }
    let status = status.parse().map_err(|_| invalid(format!("status {status:?}")))?;
    let bodiless = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
    let declared = declared_framing(&headers)?;
    if matches!(status, 100..200 | 204) && declared.is_some() {
        return Err(invalid(format!("a {status} response that declares a body")));
    }
    let framing = if bodiless || (method == "CONNECT" && (200..300).contains(&status)) {
        Framing::None
    } else {
        declared.unwrap_or(Framing::UntilClose)
    };
    let (body, trailers, interim) = (Vec::new(), Fields::default(), Vec::new());
    Ok(Response {
        version,
        status,
        reason,
        headers,
        body,
        framing,
        trailers,
        interim,
        raw_head: raw,
    })
}

fn read_head(stream: &mut Stream, deadline: Deadline) -> io::Result<Head> {
    let mut searched = 0;
    let head_bytes = loop {
        let unread = stream.unread();
        if let Some(place) = unread[searched..].windows(4).position(|window| window == b"\r\n\r\n")
        {
            break searched + place + 4;
        }
        searched = unread.len().saturating_sub(3);
        if unread.len() > HEAD_BYTES_MAX {
            return Err(invalid(format!("a head of more than {HEAD_BYTES_MAX} bytes")));
        }
        stream.fill_until(deadline, unread.len() + 1)?;
    };
    let raw = stream.take(head_bytes);
    let mut lines = split_lines(&raw[..head_bytes - 2])?.into_iter();
    let start = lines.next().ok_or_else(|| invalid("a head without a start line"))?;
    let mut parts = start.splitn(3, ' ').map(str::to_owned);
    let (Some(first), Some(second), Some(third)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid(format!("start line {start:?}")));
    };
    let fields = lines.map(|line| parse_field(&line)).collect::<io::Result<_>>()?;
    Ok(Head { start_line: [first, second, third], fields: Fields(fields), raw })
}

/// Splits a block of lines that each end in CRLF; a lone CR or LF is an error.
fn split_lines(block: &[u8]) -> io::Result<Vec<String>> {
    let text: String = block.iter().copied().map(char::from).collect();
    let body = text.strip_suffix("\r\n").ok_or_else(|| invalid("a line without CRLF"))?;
    let lines: Vec<String> = body.split("\r\n").map(str::to_owned).collect();
    match lines.iter().find(|line| line.contains(['\r', '\n', '\0'])) {
        Some(line) => Err(invalid(format!("a bare CR, LF or NUL in {line:?}"))),
        None => Ok(lines),
    }
}

fn parse_field(line: &str) -> io::Result<(String, String)> {
    let (name, value) =
        line.split_once(':').ok_or_else(|| invalid(format!("field line {line:?}")))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(invalid(format!("field name {name:?}")));
    }
    let value = value.trim_matches([' ', '\t']);
    if value.chars().any(|char| char.is_ascii_control() && char != '\t') {
        return Err(invalid(format!("control bytes in {line:?}")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn declared_framing(headers: &Fields) -> io::Result<Option<Framing>> {
    let lengths: Vec<&str> = headers.all("content-length").collect();
    let encodings: Vec<&str> = headers.all("transfer-encoding").collect();
    match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => Ok(None),
        ([], [encoding]) if encoding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], [])
            if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let length =
                length.parse().map_err(|_| invalid(format!("content-length {length:?}")))?;
            Ok(Some(Framing::Length(length)))
        }
        _ => Err(invalid(format!(
            "framing by content-length {lengths:?} and transfer-encoding {encodings:?}"
        ))),
    }
}

fn read_body(
    stream: &mut Stream,
    deadline: Deadline,
    framing: Framing,
) -> io::Result<(Vec<u8>, Fields)> {
    match framing {
        Framing::None => Ok((Vec::new(), Fields::default())),
        Framing::Length(length) => {
            let length = usize::try_from(length)
                .map_err(|_| invalid(format!("a body of {length} bytes")))?;
            stream.fill_until(deadline, length)?;
            Ok((stream.take(length), Fields::default()))
        }
        Framing::Chunked => read_chunked(stream, deadline),
        Framing::UntilClose => {
            while stream.fill(deadline)? > 0 {}
            Ok((stream.take(stream.unread().len()), Fields::default()))
        }
    }
}

fn read_chunked(stream: &mut Stream, deadline: Deadline) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream, deadline)?;
        let digits = line.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid(format!("chunk size line {line:?}")));
        }
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| invalid(format!("chunk size {digits:?}")))?;
        if size == 0 {
            break;
        }
        stream.fill_until(deadline, size)?;
        body.extend(stream.take(size));
        if !read_line(stream, deadline)?.is_empty() {
            return Err(invalid("a chunk without CRLF after it"));
        }
    }
    let mut trailers = Vec::new();
    loop {
        let line = read_line(stream, deadline)?;
        if line.is_empty() {
            return Ok((body, Fields(trailers)));
        }
        trailers.push(parse_field(&line)?);
    }
}

fn read_line(stream: &mut Stream, deadline: Deadline) -> io::Result<String> {
    loop {
        if let Some(place) = stream.unread().iter().position(|byte| *byte == b'\n') {
            let line = stream.take(place + 1);
            return Ok(split_lines(&line)?.concat());
        }
        stream.fill_until(deadline, stream.unread().len() + 1)?;
    }
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not a valid HTTP/1 message: {what}"))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;

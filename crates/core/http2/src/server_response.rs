//! A server's response from its fields to the head of an HTTP/1.1 response (RFC 9113 §8.3.2).
//!
//! Owns what of a response is malformed beyond what the framing library refuses, and the text. Leaves sizes to `tidegate-http1`,
//! which reads the text next. Invariant: a line of the text is made of one field, and no byte of a field can end it.

use tidegate_http1::reason_phrase;

use crate::content::is_of_connection;
use crate::grammar::{is_name, is_value};
use crate::request::{Body, END_OF_HEAD, RequestKind, decimal};

/// A rule of RFC 9113 §8 that a response breaks: its stream ends with PROTOCOL_ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedResponse {
    /// A status that HTTP/2 does not have: 101 (§8.6), or none of three digits.
    StatusInvalid,
    /// The name of a field is no token in lower case (§8.2.1).
    NameInvalid,
    /// The value of a field has a control byte, or a blank at an end (§8.2.1).
    ValueInvalid,
    /// A field of the connection (§8.2.2).
    ConnectionField,
    /// `Content-Length` is no number, or stands twice with different ones.
    ContentLengthInvalid,
    /// `Content-Length` promises content and the stream ends without, or has another length (§8.1.1).
    ContentLengthUnmet,
}

impl MalformedResponse {
    /// How it is called in logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            MalformedResponse::StatusInvalid => "h2_status_invalid",
            MalformedResponse::NameInvalid => "h2_name_invalid",
            MalformedResponse::ValueInvalid => "h2_value_invalid",
            MalformedResponse::ConnectionField => "h2_connection_field",
            MalformedResponse::ContentLengthInvalid => "h2_content_length_invalid",
            MalformedResponse::ContentLengthUnmet => "h2_content_length_unmet",
        }
    }
}

/// What a response is, as far as its text depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The request's kind.
    pub kind: RequestKind,
    /// What answers the key of a WebSocket's handshake.
    pub accept: Option<&'a str>,
    /// The stream ends with the fields.
    pub ends: bool,
}

/// Appends the head of a 1xx response to `out`. `fields` come with their names in lower case.
///
/// # Errors
/// It is malformed; what `out` holds then is of no use.
pub fn write_interim<'a>(
    status: u16,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), MalformedResponse> {
    if !(100..200).contains(&status) || status == 101 {
        return Err(MalformedResponse::StatusInvalid);
    }
    write_status_line(status, out);
    for (name, value) in fields {
        judge(name, value)?;
        // It would frame what a 1xx has not (RFC 9110 §8.6).
        if name != b"content-length" {
            write_field(name, value, out);
        }
    }
    out.extend_from_slice(END_OF_HEAD);
    Ok(())
}

/// Appends the head of a final response to `out`, and says how its body follows. `fields` come with their names in lower case. Where
/// they announce trailers (RFC 9110 §6.6.2), the text has no `Content-Length`.
///
/// # Errors
/// It is malformed; what `out` holds then is of no use.
pub fn write_response<'a>(
    status: u16,
    answered: &Answered<'_>,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<Body, MalformedResponse> {
    if !(200..1000).contains(&status) {
        return Err(MalformedResponse::StatusInvalid);
    }
    let switches = answered.kind == RequestKind::WebSocket && (200..300).contains(&status);
    write_status_line(if switches { 101 } else { status }, out);
    let (mut length, mut announces_trailers) = (None, false);
    for (name, value) in fields {
        judge(name, value)?;
        if name == b"content-length" {
            let read = decimal(value).ok_or(MalformedResponse::ContentLengthInvalid)?;
            if length.replace(read).is_some_and(|before| before != read) {
                return Err(MalformedResponse::ContentLengthInvalid);
            }
        } else {
            announces_trailers |= name == b"trailer" && !value.is_empty();
            write_field(name, value, out);
        }
    }
    if switches {
        write_field(b"upgrade", b"websocket", out);
        write_field(b"connection", b"upgrade", out);
        write_field(b"sec-websocket-accept", answered.accept.unwrap_or_default().as_bytes(), out);
        out.extend_from_slice(END_OF_HEAD);
        return Ok(Body::Tunnel);
    }
    let has_none = answered.kind == RequestKind::Head || matches!(status, 204 | 304);
    // The text has room for trailers behind chunks only; the library holds the content to its length.
    if !has_none && !answered.ends && announces_trailers {
        length = None;
    }
    if let Some(length) = length.filter(|_| status != 204) {
        write_field(b"content-length", length.to_string().as_bytes(), out);
    }
    let body = match (has_none, answered.ends, length) {
        (true, ..) => Body::None,
        (false, true, Some(1..)) => return Err(MalformedResponse::ContentLengthUnmet),
        (false, true, Some(_)) => Body::None,
        (false, true, None) => {
            write_field(b"content-length", b"0", out);
            Body::None
        }
        (false, false, Some(length)) => Body::Length(length),
        (false, false, None) => {
            write_field(b"transfer-encoding", b"chunked", out);
            Body::Chunked
        }
    };
    out.extend_from_slice(END_OF_HEAD);
    Ok(body)
}

fn judge(name: &[u8], value: &[u8]) -> Result<(), MalformedResponse> {
    match (is_name(name), is_value(value), is_of_connection(name)) {
        (false, ..) => Err(MalformedResponse::NameInvalid),
        (true, false, _) => Err(MalformedResponse::ValueInvalid),
        (true, true, true) => Err(MalformedResponse::ConnectionField),
        (true, true, false) => Ok(()),
    }
}

fn write_status_line(status: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason_phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

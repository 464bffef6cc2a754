//! A request's fields as the head of an HTTP/1.1 request (RFC 9113 §8.3.1).
//!
//! Owns what of a request is malformed beyond what the framing library refuses, and the text. Leaves the judgement of targets,
//! hosts and sizes to `tidegate-http1`, which reads the text next. Invariant: a line of the text is made of one field, and no
//! byte of a field can end it.

use crate::error::Malformed;
use crate::grammar::{is_name, is_token, is_value, is_visible};
use crate::websocket::base64;

/// What ends a head.
pub const END_OF_HEAD: &[u8] = b"\r\n";

/// The pseudo-header fields of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pseudo<'a> {
    /// `:method`
    pub method: &'a [u8],
    /// `:scheme`
    pub scheme: Option<&'a [u8]>,
    /// `:authority`
    pub authority: Option<&'a [u8]>,
    /// `:path`
    pub path: Option<&'a [u8]>,
    /// `:protocol` (RFC 8441 §4)
    pub protocol: Option<&'a [u8]>,
}

/// How the body is delimited in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none.
    None,
    /// As it comes, so many bytes.
    Length(u64),
    /// As chunks.
    Chunked,
    /// As it comes, until the stream ends: there is a tunnel once the response says so.
    Tunnel,
}

/// What the request was, as far as it decides what a response means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestKind {
    /// Anything else.
    #[default]
    Other,
    /// Responses have no body.
    Head,
    /// An extended CONNECT for WebSocket, which the text has as an upgrade.
    WebSocket,
}

/// A request that has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// How its body follows the head.
    pub body: Body,
    /// What it was.
    pub kind: RequestKind,
}

/// What the fields say, as far as they have to be known before the head ends.
#[derive(Default)]
struct Seen<'a> {
    content_length: Option<u64>,
    host: Option<&'a [u8]>,
    has_cookies: bool,
}

/// Appends the head of a request to `out`. `ends`: the stream ends with the fields. `nonce` becomes the key of a WebSocket's
/// handshake, which HTTP/2 has none of (RFC 8441 §5). `fields` gives the same each time; they come with their names in lower case; the order of different names
/// is kept, but for `host`, which comes first, and cookies, which are joined at the end (§8.2.3).
///
/// `te: trailers` is written although HTTP/1.1 would need it listed in `Connection`: only this proxy reads the text, and it passes
/// no `TE` on.
///
/// # Errors
/// The request is malformed; what `out` holds then is of no use.
pub fn write_request<'a, I: Iterator<Item = (&'a [u8], &'a [u8])>>(
    pseudo: &Pseudo<'a>,
    fields: impl Fn() -> I,
    ends: bool,
    nonce: [u8; 16],
    out: &mut Vec<u8>,
) -> Result<Carried, Malformed> {
    if !is_token(pseudo.method) {
        return Err(Malformed::MethodInvalid);
    }
    let seen = judge_fields(fields())?;
    let authority = authority(pseudo, seen.host)?;
    let connects = pseudo.method == b"CONNECT";
    if !connects && pseudo.protocol.is_some() {
        return Err(Malformed::ConnectInvalid);
    }
    if connects && pseudo.protocol.is_none_or(|protocol| protocol != b"websocket") {
        return write_connect(pseudo, authority, out);
    }
    let path = path(pseudo)?;
    let tunnels = connects;
    if tunnels && (ends || seen.content_length.is_some() || pseudo.authority.is_none()) {
        return Err(Malformed::ConnectInvalid);
    }
    let body = match (tunnels, ends, seen.content_length) {
        (true, ..) => Body::Tunnel,
        (false, true, Some(1..)) => return Err(Malformed::ContentLengthUnmet),
        (false, true, _) => Body::None,
        (false, false, Some(length)) => Body::Length(length),
        (false, false, None) => Body::Chunked,
    };
    push(out, &[if tunnels { b"GET" } else { pseudo.method }, b" ", path, b" HTTP/1.1\r\n"]);
    if let Some(authority) = authority {
        push(out, &[b"host: ", authority, b"\r\n"]);
    }
    let keeps = |name: &[u8]| name != b"host" && !(tunnels && name == b"sec-websocket-key");
    for (name, value) in fields().filter(|(name, _)| *name != b"cookie" && keeps(name)) {
        push(out, &[name, b": ", value, b"\r\n"]);
    }
    if seen.has_cookies {
        write_cookies(fields(), out);
    }
    match body {
        Body::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Body::Tunnel => {
            out.extend_from_slice(
                b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ",
            );
            out.extend_from_slice(base64(&nonce).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Body::None | Body::Length(_) => {}
    }
    out.extend_from_slice(END_OF_HEAD);
    let kind = match pseudo.method {
        b"HEAD" => RequestKind::Head,
        _ if tunnels => RequestKind::WebSocket,
        _ => RequestKind::Other,
    };
    Ok(Carried { body, kind })
}

/// A `CONNECT` for what is not served: its text is there to be refused, with a status and in the log.
fn write_connect(
    pseudo: &Pseudo<'_>,
    authority: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<Carried, Malformed> {
    let authority = authority.filter(|_| pseudo.authority.is_some());
    let authority = authority.ok_or(Malformed::ConnectInvalid)?;
    // A plain one has neither scheme nor path (§8.5), an extended one both.
    let is_extended = pseudo.protocol.is_some();
    if pseudo.scheme.is_some() != is_extended || pseudo.path.is_some() != is_extended {
        return Err(Malformed::ConnectInvalid);
    }
    let port =
        authority.iter().rposition(|&byte| byte == b':').map(|colon| &authority[colon + 1..]);
    let has_port = port.is_some_and(|port| port.iter().all(u8::is_ascii_digit) && !port.is_empty());
    let port: &[u8] = if has_port || !is_extended { b"" } else { b":443" };
    push(out, &[b"CONNECT ", authority, port, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]);
    out.extend_from_slice(END_OF_HEAD);
    Ok(Carried { body: Body::None, kind: RequestKind::Other })
}

#[inline]
fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

/// Looks at each field once.
fn judge_fields<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Seen<'a>, Malformed> {
    let mut seen = Seen::default();
    for (name, value) in fields {
        if !is_name(name) {
            return Err(Malformed::NameInvalid);
        }
        if !is_value(value) {
            return Err(Malformed::ValueInvalid);
        }
        match name {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => return Err(Malformed::ConnectionField),
            b"te" if !value.eq_ignore_ascii_case(b"trailers") => return Err(Malformed::TeInvalid),
            b"host" if seen.host.replace(value).is_some() => return Err(Malformed::HostRepeated),
            b"content-length" => {
                let length = decimal(value).ok_or(Malformed::ContentLengthInvalid)?;
                if seen.content_length.replace(length).is_some() {
                    return Err(Malformed::ContentLengthInvalid);
                }
            }
            b"cookie" => seen.has_cookies = true,
            _ => {}
        }
    }
    Ok(seen)
}

pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The target of any request but a plain CONNECT.
fn path<'a>(pseudo: &Pseudo<'a>) -> Result<&'a [u8], Malformed> {
    let scheme = pseudo.scheme.ok_or(Malformed::SchemeInvalid)?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Malformed::SchemeInvalid);
    }
    let path = pseudo.path.filter(|path| !path.is_empty()).ok_or(Malformed::PathMissing)?;
    // Without the slash the text would name another host.
    if !is_visible(path) || (path[0] != b'/' && path != b"*") {
        return Err(Malformed::PathInvalid);
    }
    Ok(path)
}

/// What the request is for: `:authority`, and only without it `Host`.
fn authority<'a>(
    pseudo: &Pseudo<'a>,
    host: Option<&'a [u8]>,
) -> Result<Option<&'a [u8]>, Malformed> {
    let Some(authority) = pseudo.authority else { return Ok(host) };
    if !is_visible(authority) || authority.contains(&b'@') {
        return Err(Malformed::AuthorityInvalid);
    }
    let port: &[u8] = match pseudo.scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => b":443",
        _ => b":80",
    };
    let bare = |host: &'a [u8]| host.strip_suffix(port).or(host.strip_suffix(b":")).unwrap_or(host);
    match host {
        Some(host) if !bare(host).eq_ignore_ascii_case(bare(authority)) => {
            Err(Malformed::AuthorityMismatch)
        }
        Some(_) | None => Ok(Some(authority)),
    }
}

/// One line of all of them (§8.2.3).
fn write_cookies<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    let mut lead: &[u8] = b"cookie: ";
    for (_, value) in fields.filter(|(name, value)| *name == b"cookie" && !value.is_empty()) {
        push(out, &[lead, value]);
        lead = b"; ";
    }
    if lead == b"; " {
        out.extend_from_slice(b"\r\n");
    }
}

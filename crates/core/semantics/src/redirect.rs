//! `Location` of a redirect: put together from a configuration and the request (RFC 9110 §10.2.2).
//!
//! Owns spelling the location. Leaves the status and the expansion of templates to the caller.
//! Invariant: what is written holds only bytes that a URI may have, so that nothing of a request can
//! end the line or be read as markup; and a location that begins with a slash of a request's path
//! never names another host, as `//host` would.

use std::error::Error;
use std::fmt;

use crate::grammar::{push_escape, split_at_byte};
use crate::host;

/// The scheme of a location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it is spelled, without the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What becomes of the request's query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// It is added to the location, after `?`, or after `&` if the location has a query.
    Keep,
    /// It is left out.
    Drop,
}

/// Where a redirect leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// The path of the request, elsewhere. Without scheme and host the location is relative: it
    /// begins with the prefix or the path.
    Parts {
        /// Another scheme; without one, that of the request.
        scheme: Option<Scheme>,
        /// Another host, and a port if it needs one; without one, the request's. A port of the
        /// request is kept only with its scheme, since the other scheme listens elsewhere, and only
        /// if it is not the default.
        host: Option<&'a [u8]>,
        /// What is put before the path, such as `/v2` or `https://example.com`: the operator's own
        /// text, without anything of the request. A slash at its end does not double that of the
        /// path.
        prefix: &'a [u8],
    },
    /// This location.
    Location {
        /// The whole of it, with templates expanded.
        text: &'a [u8],
        /// How many bytes at its beginning are the operator's own text. If they are fewer than two,
        /// a `//` at the beginning is the request's work and does not name a host.
        fixed_bytes: usize,
    },
}

/// The request to be redirected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirected<'a> {
    /// The scheme it came by.
    pub scheme: Scheme,
    /// Its host and port, as received; empty when it has none.
    pub authority: &'a [u8],
    /// Its path, without the query.
    pub path: &'a [u8],
    /// Its query, without the question mark.
    pub query: Option<&'a [u8]>,
}

/// Why there is no location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectError {
    /// A host is needed, and the request has none (HTTP/1.0).
    NoHost,
    /// The host holds a byte that would end it: `/`, `?`, `#`, `@`, a backslash, a blank or a
    /// control byte.
    Host,
}

/// Appends the location to `out`. On an error `out` is as it was.
///
/// # Errors
/// Why there is none; the answer is 400 then.
pub fn push_location(
    destination: &Destination<'_>,
    request: &Redirected<'_>,
    query: Query,
    out: &mut Vec<u8>,
) -> Result<(), RedirectError> {
    let start = out.len();
    let query = request.query.filter(|_| query == Query::Keep);
    match *destination {
        Destination::Parts { scheme, host, prefix } => {
            if scheme.is_some() || host.is_some() {
                push_origin(scheme, host, request, out)?;
            }
            let prefix = prefix.strip_suffix(b"/").unwrap_or(prefix);
            let names_own_host = out.len() > start || prefix.len() > 1;
            push_escaped(prefix, out);
            push_path(request.path, out);
            if !names_own_host {
                keep_on_host(start, out);
            }
            push_query(query, b'?', out);
        }
        Destination::Location { text, fixed_bytes } => {
            let (text, fragment) = split_at_byte(text, b'#');
            push_escaped(text, out);
            if fixed_bytes < 2 {
                keep_on_host(start, out);
            }
            let divider = if text.contains(&b'?') { b'&' } else { b'?' };
            push_query(query, divider, out);
            if let Some(fragment) = fragment {
                out.push(b'#');
                push_escaped(fragment, out);
            }
        }
    }
    Ok(())
}

/// Appends `scheme://host:port`.
fn push_origin(
    scheme: Option<Scheme>,
    host: Option<&[u8]>,
    request: &Redirected<'_>,
    out: &mut Vec<u8>,
) -> Result<(), RedirectError> {
    let ends_host = |byte: &u8| byte.is_ascii_control() || b"/?#@\\ ".contains(byte);
    let authority = host.unwrap_or(request.authority);
    if authority.is_empty() {
        return Err(RedirectError::NoHost);
    }
    if authority.iter().any(ends_host) {
        return Err(RedirectError::Host);
    }
    let scheme = scheme.unwrap_or(request.scheme);
    out.extend_from_slice(scheme.name().as_bytes());
    out.extend_from_slice(b"://");
    let port = host::port(authority);
    let drops_port = host.is_none()
        && (scheme != request.scheme || port.is_none() || port == Some(scheme.default_port()));
    push_escaped(if drops_port { without_port(authority) } else { authority }, out);
    Ok(())
}

/// The host as it was sent, unlike [`host::host_without_port`] with the dot at its end.
fn without_port(authority: &[u8]) -> &[u8] {
    let colon = authority.iter().rposition(|&b| b == b':');
    let in_literal = authority.iter().rposition(|&b| b == b']');
    match colon {
        Some(colon) if Some(colon) > in_literal => &authority[..colon],
        _ => authority,
    }
}

/// Appends the request's path, with the slash that it must begin with after an authority.
fn push_path(path: &[u8], out: &mut Vec<u8>) {
    if path.first() != Some(&b'/') {
        out.push(b'/');
    }
    push_escaped(path, out);
}

fn push_query(query: Option<&[u8]>, divider: u8, out: &mut Vec<u8>) {
    if let Some(query) = query {
        out.push(divider);
        push_escaped(query, out);
    }
}

/// If what begins at `start` begins with two slashes, puts `/.` before them: a dot segment, which
/// leaves the path as it is, and a first segment that is no host (RFC 3986 §3.3, §4.2).
fn keep_on_host(start: usize, out: &mut Vec<u8>) {
    if out[start..].starts_with(b"//") {
        out.splice(start..start, *b"/.");
    }
}

/// Whether `byte` can stand in a URI as it is. The percent sign can: escapes stay as they are.
fn is_safe(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Appends `bytes` with a percent escape for each byte that a URI cannot have: blanks, controls,
/// bytes outside ASCII, ``"<>\^`{|}``. A backslash is among them because browsers take it for a
/// slash.
pub fn push_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        if is_safe(byte) {
            out.push(byte);
        } else {
            push_escape(byte, out);
        }
    }
}

/// What is wrong with a configured location, prefix or host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationError {
    /// There is none.
    Empty,
    /// This blank, control or other byte that a URI cannot have, at this place; it could be written
    /// as an escape.
    Byte(u8, usize),
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a location cannot be empty"),
            Self::Byte(byte, place) => write!(
                f,
                "`{}` (byte {}) cannot stand in a location; write %{byte:02X}",
                byte.escape_ascii(),
                place + 1
            ),
        }
    }
}

impl Error for LocationError {}

/// Checks the fixed text of a configured location. Templates in it are to be cut out before.
///
/// # Errors
/// What is wrong with it.
pub fn check_location(text: &[u8]) -> Result<(), LocationError> {
    if text.is_empty() {
        return Err(LocationError::Empty);
    }
    match text.iter().position(|&byte| !is_safe(byte)) {
        Some(place) => Err(LocationError::Byte(text[place], place)),
        None => Ok(()),
    }
}

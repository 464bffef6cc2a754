//! Request targets (RFC 9112 §3.2) and authorities (RFC 3986 §3.2).
//!
//! Owns which of the four forms a target has and whether it is valid for its method. Normalising or
//! decoding a path is left to routing: a proxy forwards what it received.
//!
//! Accepted: origin-form; absolute-form with scheme `http` or `https`, without user information;
//! authority-form, only for CONNECT and with a port; `*`, only for OPTIONS. Paths are RFC 3986 §3.3
//! plus `[` and `]`, with complete percent escapes; queries are §3.4 plus the bytes browsers leave
//! unescaped there, `[ ] { | } ^` and the backtick, and any percent sign. Fragments, backslashes,
//! quotes, angle brackets, controls, spaces and non-ASCII are refused.

use std::net::Ipv6Addr;

use crate::error::RequestError;
use crate::grammar::{NAME, NOT_PATH, NOT_QUERY, PERCENT, QUESTION, classes_of, is};
use crate::header::Span;
use crate::limits::HOST_BYTES_MAX;
use crate::message::Method;

/// The form of a request target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, for CONNECT
    Authority,
    /// `*`, for OPTIONS
    Asterisk,
}

/// A valid target, as spans of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) form: TargetForm,
    pub(crate) authority: Span,
    pub(crate) path: Span,
}

impl Target {
    #[inline]
    pub(crate) fn parse(method: Method, target: &[u8]) -> Result<Self, RequestError> {
        if target.first() == Some(&b'/') && method != Method::Connect {
            check_path_and_query(target)?;
            let path = Span::at(0, target.len());
            return Ok(Self { form: TargetForm::Origin, authority: Span::default(), path });
        }
        Self::parse_uncommon(method, target)
    }

    fn parse_uncommon(method: Method, target: &[u8]) -> Result<Self, RequestError> {
        if method == Method::Connect {
            return Self::parse_connect(target);
        }
        if target == b"*" {
            return if method == Method::Options {
                let path = Span::at(0, 1);
                Ok(Self { form: TargetForm::Asterisk, authority: Span::default(), path })
            } else {
                Err(RequestError::TargetFormInvalid)
            };
        }
        let scheme_bytes = scheme(target)?;
        let hierarchy = &target[scheme_bytes..];
        let end = hierarchy.iter().position(|b| matches!(b, b'/' | b'?'));
        let (authority, path) = hierarchy.split_at(end.unwrap_or(hierarchy.len()));
        if authority.contains(&b'@') {
            return Err(RequestError::TargetUserinfo);
        }
        if !is_host_and_port(authority) {
            return Err(RequestError::TargetAuthorityInvalid);
        }
        check_path_and_query(path)?;
        Ok(Self {
            form: TargetForm::Absolute,
            authority: Span::at(scheme_bytes, authority.len()),
            path: Span::at(scheme_bytes + authority.len(), path.len()),
        })
    }

    /// RFC 9110 §9.3.6: a CONNECT target is a host and a port, and the port is not optional.
    fn parse_connect(target: &[u8]) -> Result<Self, RequestError> {
        if target.contains(&b'@') {
            return Err(RequestError::TargetUserinfo);
        }
        let port = target.iter().rposition(|&b| b == b':').map(|colon| &target[colon + 1..]);
        if !port.is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit)) {
            return Err(RequestError::TargetFormInvalid);
        }
        if !is_host_and_port(target) {
            return Err(RequestError::TargetAuthorityInvalid);
        }
        let authority = Span::at(0, target.len());
        Ok(Self { form: TargetForm::Authority, authority, path: Span::at(target.len(), 0) })
    }
}

/// The length of the `http://` or `https://` that an absolute-form target begins with.
fn scheme(target: &[u8]) -> Result<usize, RequestError> {
    for scheme in [&b"http://"[..], b"https://"] {
        if target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) {
            return Ok(scheme.len());
        }
    }
    if target.windows(3).any(|window| window == b"://") {
        Err(RequestError::TargetSchemeUnsupported)
    } else {
        Err(RequestError::TargetFormInvalid)
    }
}

/// Whether `target` may stand in a request line that goes to a server, as the one received would have
/// had to: in origin-form (RFC 9112 §3.2.1), a path that begins with a slash and perhaps a query. For
/// targets that rules make.
#[must_use]
pub fn is_origin_target(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && check_path_and_query(target).is_ok()
}

/// Whether `value` may stand in `Host`, as the one received would have had to. For hosts that rules
/// make.
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    !matches!(value.first(), None | Some(b':'))
        && value.len() <= HOST_BYTES_MAX
        && is_uncommon_host_and_port(value)
}

/// Checks `path [ "?" query ]`. One pass without branches settles the common target: a path of
/// plain bytes.
#[inline]
fn check_path_and_query(bytes: &[u8]) -> Result<(), RequestError> {
    let classes = bytes.iter().fold(0, |classes, &b| classes | classes_of(b));
    if classes & (NOT_PATH | PERCENT | QUESTION) == 0 {
        return Ok(());
    }
    check_uncommon_path_and_query(bytes)
}

fn check_uncommon_path_and_query(bytes: &[u8]) -> Result<(), RequestError> {
    let path_bytes = bytes.iter().position(|&b| b == b'?').unwrap_or(bytes.len());
    let (path, query) = bytes.split_at(path_bytes);
    if path.iter().any(|&b| is(b, NOT_PATH)) || query.iter().any(|&b| is(b, NOT_QUERY)) {
        return Err(RequestError::TargetByteInvalid);
    }
    if !percent_escapes_are_complete(path) {
        return Err(RequestError::TargetPercentInvalid);
    }
    Ok(())
}

fn percent_escapes_are_complete(mut bytes: &[u8]) -> bool {
    while let Some(position) = bytes.iter().position(|&b| b == b'%') {
        match bytes.get(position + 1..position + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                bytes = &bytes[position + 3..];
            }
            _ => return false,
        }
    }
    true
}

/// Whether `value` is `uri-host [ ":" port ]` (RFC 9110 §7.2) with a host that is not empty, as
/// §4.2.1 demands of http URIs, a port that exists, and at most [`HOST_BYTES_MAX`] bytes. User
/// information is not part of it.
#[inline]
pub(crate) fn is_host_and_port(value: &[u8]) -> bool {
    if value.is_empty() || value.len() > HOST_BYTES_MAX {
        return false;
    }
    let name_bytes = value.iter().position(|&b| !is(b, NAME)).unwrap_or(value.len());
    match value.get(name_bytes) {
        None => true,
        Some(b':') => name_bytes > 0 && is_port(&value[name_bytes + 1..]),
        Some(_) => is_uncommon_host_and_port(value),
    }
}

/// IP literals and names with percent escapes.
fn is_uncommon_host_and_port(value: &[u8]) -> bool {
    let (host, rest) = match value {
        [b'[', literal @ ..] => {
            let Some(end) = literal.iter().position(|&b| b == b']') else { return false };
            if !is_ip_literal(&literal[..end]) {
                return false;
            }
            (&b""[..], &literal[end + 1..])
        }
        _ => value.split_at(value.iter().position(|&b| b == b':').unwrap_or(value.len())),
    };
    host.iter().all(|&b| is(b, NAME | PERCENT))
        && percent_escapes_are_complete(host)
        && match rest {
            [] => true,
            [b':', digits @ ..] => is_port(digits),
            _ => false,
        }
}

/// What stands between the brackets: an IPv6 address or an address of a future version (RFC 3986
/// §3.2.2); no zones.
fn is_ip_literal(literal: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = literal {
        let Some(dot) = future.iter().position(|&b| b == b'.') else { return false };
        let (version, address) = (&future[..dot], &future[dot + 1..]);
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&b| is(b, NAME) || b == b':');
    }
    std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `*DIGIT` (RFC 3986 §3.2.3) up to 65,535; an empty port is valid and means the default one.
#[inline]
fn is_port(digits: &[u8]) -> bool {
    let mut port: u32 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return false;
        }
        port = port * 10 + u32::from(digit - b'0');
        if port > u32::from(u16::MAX) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_hosts_of_every_kind() {
        for host in [
            "example.com",
            "example.com:80",
            "example.com:",
            "EXAMPLE.com.:65535",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:443",
            "[2001:db8::192.0.2.1]:1",
            "[v7.a:b]",
            "under_score-d.internal",
            "a%20b",
            "xn--bcher-kva.example",
            "a,b;c=d",
            "h:000080",
        ] {
            assert!(is_host_and_port(host.as_bytes()), "{host}");
            assert!(is_authority(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_host_and_port() {
        for host in [
            "",
            ":80",
            "a:b",
            "a:80:80",
            "a b",
            "user@host",
            "a/b",
            "a?b",
            "a#b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[v.a]",
            "[v7.]",
            "[vx.a]",
            "a%2",
            "a%zz",
            "%",
            "a:65536",
            "a:99999999999999999999",
            "h\u{e9}",
            "a\\b",
            "a\"",
            "<a>",
            "a|b",
            "a\t",
            "[::1]]",
            "a[::1]",
            "a%20b:x",
        ] {
            assert!(!is_host_and_port(host.as_bytes()), "{host}");
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
        assert!(is_host_and_port(&[b'a'; HOST_BYTES_MAX]));
        assert!(!is_host_and_port(&[b'a'; HOST_BYTES_MAX + 1]));
    }
}

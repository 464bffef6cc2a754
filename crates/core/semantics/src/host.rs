//! Hosts as rules see them: without a port, in lower case, without the dot at the end.
//!
//! Owns the reading of `uri-host [ ":" port ]` (RFC 9110 §7.2). Leaves to the parsers whether an
//! authority is valid: what is not gets some reading here, never a panic. Escapes and addresses
//! keep their spelling: `[::1]` and `[0::1]` are different hosts to a rule.
//!
//! The dot that ends an absolute name is dropped, because `example.com.` reaches the same server as
//! `example.com`, and a rule that could be passed by adding a dot would protect nothing. Invariant:
//! the host of a host is itself.

/// The host of `authority`: up to the port, with the brackets of an IP literal, without dots at the
/// end. The case is as received; see [`normal`].
#[inline]
#[must_use]
pub fn host_without_port(authority: &[u8]) -> &[u8] {
    let mut host = &authority[..host_bytes(authority)];
    while let [rest @ .., b'.'] = host
        && !rest.is_empty()
    {
        host = rest;
    }
    host
}

/// The port of `authority`: decimal digits up to 65,535; `None` when there is none, an empty one,
/// or another text.
#[must_use]
pub fn port(authority: &[u8]) -> Option<u16> {
    let [b':', digits @ ..] = &authority[host_bytes(authority)..] else { return None };
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// How many bytes of `authority` come before the colon of the port.
#[inline]
fn host_bytes(authority: &[u8]) -> usize {
    let literal_bytes = match authority {
        [b'[', ..] => authority.iter().position(|&b| b == b']').unwrap_or(authority.len()),
        _ => 0,
    };
    let colon = authority[literal_bytes..].iter().position(|&b| b == b':');
    colon.map_or(authority.len(), |position| literal_bytes + position)
}

/// Whether no byte of `host` is an upper-case letter, so that it can be used as it is.
#[inline]
#[must_use]
pub fn is_lowercase(host: &[u8]) -> bool {
    !host.iter().fold(false, |found, byte| found | byte.is_ascii_uppercase())
}

/// Puts `host` in lower case into `out` in the place of what it holds.
pub fn lowercase(host: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(host.iter().map(u8::to_ascii_lowercase));
}

/// The host of `authority` as rules compare it: a part of `authority` when it is in lower case,
/// else made in `scratch`.
#[inline]
#[must_use]
pub fn normal<'a>(authority: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let host = host_without_port(authority);
    if is_lowercase(host) {
        return host;
    }
    lowercase(host, scratch);
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let cases: [(&str, &str, Option<u16>); 18] = [
            ("example.com", "example.com", None),
            ("example.com:8080", "example.com", Some(8080)),
            ("example.com:", "example.com", None),
            ("example.com.", "example.com", None),
            ("example.com.:80", "example.com", Some(80)),
            ("example.com..", "example.com", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some(80)),
            ("[::1]:", "[::1]", None),
            ("[::1", "[::1", None),
            ("[", "[", None),
            ("::1", "", None),
            (":80", "", Some(80)),
            ("", "", None),
            (".", ".", None),
            ("a:65536", "a", None),
            ("a:+80", "a", None),
        ];
        for (authority, host, expected_port) in cases {
            assert_eq!(host_without_port(authority.as_bytes()), host.as_bytes(), "{authority}");
            assert_eq!(port(authority.as_bytes()), expected_port, "{authority}");
        }
    }

    #[test]
    fn only_upper_case_letters_make_a_copy() {
        let mut scratch = Vec::new();
        let authority = b"Www.Example.COM.:80";
        assert_eq!(normal(authority, &mut scratch), b"www.example.com");
        let lower = b"xn--bcher-kva.example:80";
        let host = normal(lower, &mut scratch);
        assert_eq!(host, b"xn--bcher-kva.example");
        assert_eq!(host.as_ptr(), lower.as_ptr());
        assert!(is_lowercase("\u{c4}-0@[`{".as_bytes()));
        assert!(!is_lowercase(b"aZ") && !is_lowercase(b"A"));
    }
}

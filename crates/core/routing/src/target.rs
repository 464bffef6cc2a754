//! What may stand in a request target and in a Host field, and how anything else is spelled there.
//!
//! Owns the bytes (RFC 3986 §3.2 to §3.4). Leaves received targets to the parsers. Invariant: what is
//! written here is a target that every parser takes for the same, whatever bytes it was made from.

/// Appends a path: `bytes` with an escape for each byte that a path cannot have, and with the slash
/// that it must begin with. Escapes stay; a percent sign that begins none becomes one.
pub(crate) fn push_path(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.first() != Some(&b'/') {
        out.push(b'/');
    }
    push(bytes, IN_PATH, out);
}

/// Appends a query, in the same way.
pub(crate) fn push_query(bytes: &[u8], out: &mut Vec<u8>) {
    push(bytes, IN_QUERY, out);
}

const IN_PATH: u8 = 1;
const IN_QUERY: u8 = 2;

/// Where each byte may stand as it is. A path has pchar (RFC 3986 §3.3) but for the percent sign, the
/// slash, and brackets, which stand in received paths too; a query has the question mark besides.
static PLACES: [u8; 256] = {
    let mut places = [0; 256];
    let mut byte = 0_u8;
    loop {
        if is_name_byte(byte) || matches!(byte, b':' | b'@' | b'/' | b'[' | b']') {
            places[byte as usize] = IN_PATH | IN_QUERY;
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    places[b'?' as usize] = IN_QUERY;
    places
};

fn push(bytes: &[u8], place: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let is_allowed = |byte: &u8| PLACES[usize::from(*byte)] & place != 0;
    let mut rest = bytes;
    while let Some(length) = rest.iter().position(|byte| !is_allowed(byte)) {
        out.extend_from_slice(&rest[..length]);
        let (byte, behind) = (rest[length], &rest[length + 1..]);
        let is_escape = byte == b'%'
            && matches!(behind, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
        if is_escape {
            out.push(byte);
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            out.extend_from_slice(&[b'%', digits[0], digits[1]]);
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
}

/// Unreserved bytes and sub-delims.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

/// Whether it is `host[:port]`: a name or an IPv4 address, or an IP literal in brackets.
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host, rest) = match bytes {
        [b'[', inner @ ..] => {
            let Some(end) = inner.iter().position(|byte| *byte == b']') else { return false };
            let (literal, rest) = (&inner[..end], &inner[end + 1..]);
            if !literal.iter().all(|&byte| is_name_byte(byte) || byte == b':') {
                return false;
            }
            (literal, rest)
        }
        _ => {
            let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
            let (name, rest) = bytes.split_at(end);
            if !name.iter().all(|&byte| is_name_byte(byte)) {
                return false;
            }
            (name, rest)
        }
    };
    let is_port = match rest {
        [] => true,
        [b':', digits @ ..] => {
            let port = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u16>().ok());
            digits.iter().all(u8::is_ascii_digit) && port.is_some()
        }
        _ => false,
    };
    !host.is_empty() && is_port
}

/// `bytes` without the blanks around it, which are not part of a field's value (RFC 9110 §5.5).
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

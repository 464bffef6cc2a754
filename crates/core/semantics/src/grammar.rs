//! Byte classes and small readers that the modules share: tokens, blanks, lists, hexadecimal.
//!
//! Leaves to the modules which class applies where. Invariant: every function is total.

/// Whether `byte` is a tchar (RFC 9110 §5.6.2).
pub(crate) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
}

/// Whether `bytes` is a token: one tchar or more.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_tchar(b))
}

/// Whether `byte` is unreserved (RFC 3986 §2.3).
pub(crate) const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether `byte` can stand in a header value: HTAB, SP, VCHAR or obs-text (RFC 9110 §5.5).
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

/// `bytes` without the blanks around it (OWS, RFC 9110 §5.6.3).
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1.2), trimmed; empty ones are skipped, as
/// recipients must. Commas in quoted strings divide as well: the lists read here have none that
/// matter.
#[inline]
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// `bytes` up to the first `divider`, and what comes after it, if there is one.
#[inline]
pub(crate) fn split_at_byte(bytes: &[u8], divider: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|&b| b == divider) {
        Some(position) => (&bytes[..position], Some(&bytes[position + 1..])),
        None => (bytes, None),
    }
}

/// The value of a hexadecimal digit in either case.
#[inline]
pub(crate) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte that the two hexadecimal digits after a percent sign stand for, if `rest`, which comes
/// after the sign, begins with two.
#[inline]
pub(crate) fn escaped_byte(rest: &[u8]) -> Option<u8> {
    let [high, low, ..] = rest else { return None };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

/// Appends `byte` as a percent escape with upper-case digits (RFC 3986 §6.2.2.1).
pub(crate) fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let [high, low] = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    out.extend_from_slice(&[b'%', high, low]);
}

/// Appends `bytes` in lower-case hexadecimal.
pub(crate) fn push_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_skip_empty_elements_and_blanks() {
        let elements: Vec<&[u8]> = list(b" a ,, \tb;q=1,").collect();
        assert_eq!(elements, [&b"a"[..], b"b;q=1"]);
    }

    #[test]
    fn escapes_need_two_digits() {
        assert_eq!(escaped_byte(b"2Fx"), Some(b'/'));
        assert_eq!(escaped_byte(b"2f"), Some(b'/'));
        for bytes in [&b""[..], b"2", b"2g", b"g2", b"+1"] {
            assert_eq!(escaped_byte(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn every_byte_is_escaped_so_that_it_is_read_back() {
        for byte in 0..=u8::MAX {
            let mut out = Vec::new();
            push_escape(byte, &mut out);
            assert_eq!(escaped_byte(&out[1..]), Some(byte));
        }
    }
}

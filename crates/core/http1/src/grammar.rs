//! Byte classes of RFC 9110 §5.5–5.6 and RFC 3986, and the list walk that header values share.
//!
//! Owns the tables; which class applies where is the parsers' business.

/// A tchar (RFC 9110 §5.6.2): a byte of a method or a header name.
pub(crate) const TOKEN: u8 = 1;
/// A byte of a header value: HTAB, SP, VCHAR or obs-text (RFC 9110 §5.5).
pub(crate) const VALUE: u8 = 1 << 1;
/// unreserved / sub-delims (RFC 3986 §2): a plain byte of a registered name.
pub(crate) const NAME: u8 = 1 << 2;
/// A byte that cannot stand in a target's path.
pub(crate) const NOT_PATH: u8 = 1 << 3;
/// A byte that cannot stand in a target's query.
pub(crate) const NOT_QUERY: u8 = 1 << 4;
/// The percent sign.
pub(crate) const PERCENT: u8 = 1 << 5;
/// The question mark.
pub(crate) const QUESTION: u8 = 1 << 6;

static CLASSES: [u8; 256] = classes();

/// The classes of `byte`, as a bit set.
#[inline]
pub(crate) fn classes_of(byte: u8) -> u8 {
    CLASSES[byte as usize]
}

#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    CLASSES[byte as usize] & class != 0
}

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stops at 256")]
        let byte = index as u8;
        table[index] = classify(byte);
        index += 1;
    }
    table
}

/// Paths are what RFC 3986 §3.3 allows plus `[` and `]`; queries are what §3.4 allows plus the
/// bytes that browsers send there unescaped (WHATWG URL, query percent-encode set): `[ ] { | } ^`
/// and the backtick. None of them delimits anything in a request line. Backslash, quotes, angle
/// brackets, `#`, controls and non-ASCII are refused everywhere.
const fn classify(byte: u8) -> u8 {
    let mut class = 0;
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let sub_delimiter =
        matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
    let pchar = unreserved || sub_delimiter || matches!(byte, b'%' | b':' | b'@');
    let path = pchar || matches!(byte, b'/' | b'[' | b']');
    let query = path || matches!(byte, b'?' | b'{' | b'|' | b'}' | b'^' | b'`');
    if byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
    {
        class |= TOKEN;
    }
    if byte == b'\t' || (byte >= 0x20 && byte != 0x7f) {
        class |= VALUE;
    }
    if unreserved || sub_delimiter {
        class |= NAME;
    }
    if !path {
        class |= NOT_PATH;
    }
    if !query {
        class |= NOT_QUERY;
    }
    if byte == b'%' {
        class |= PERCENT;
    }
    if byte == b'?' {
        class |= QUESTION;
    }
    class
}

/// Whether `bytes`, which are of a header name or value, spell `lower` in any case; `lower` is
/// lower-case letters, digits and hyphens. Among the bytes that names and values may have, only
/// those differ from these by bit 5 alone that are the same letter in the other case, so a bitwise
/// comparison of known length settles it.
#[inline]
pub(crate) fn spells<const N: usize>(bytes: &[u8], lower: &[u8; N]) -> bool {
    let Ok(bytes) = <&[u8; N]>::try_from(bytes) else { return false };
    bytes.iter().zip(lower).fold(0, |difference, (&b, &l)| difference | ((b | 0x20) ^ l)) == 0
}

/// Whether `bytes` is a token: one tchar or more.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is(b, TOKEN))
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1.2), trimmed; empty ones are skipped, as
/// recipients must.
#[inline]
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

#[inline]
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_ignores_case_and_nothing_else() {
        let lower = b"az-019";
        for byte in (0..=u8::MAX).filter(|&b| is(b, VALUE)) {
            for place in 0..lower.len() {
                let mut bytes = *lower;
                bytes[place] = byte;
                assert_eq!(spells(&bytes, lower), bytes.eq_ignore_ascii_case(lower), "{bytes:?}");
            }
        }
        assert!(!spells(b"az-01", lower) && !spells(b"az-0199", lower));
    }
}

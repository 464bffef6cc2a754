//! Byte classes of names and values (RFC 9113 §8.2.1), stricter than those of RFC 9110.
//!
//! Owns the tables; which part of a message has to be what is `request`'s business.

/// A byte of a token that is not an upper-case letter.
const NAME: u8 = 1;
/// A byte of a token.
const TOKEN: u8 = 1 << 1;
/// A byte of a value: HTAB, SP, VCHAR or obs-text.
const VALUE: u8 = 1 << 2;
/// A visible ASCII byte.
const VISIBLE: u8 = 1 << 3;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stops at 256")]
        let byte = index as u8;
        let token = byte.is_ascii_alphanumeric()
            || matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~');
        if token {
            table[index] |= TOKEN;
        }
        if token && !byte.is_ascii_uppercase() {
            table[index] |= NAME;
        }
        if byte == b'\t' || (byte >= 0x20 && byte != 0x7f) {
            table[index] |= VALUE;
        }
        if byte.is_ascii_graphic() {
            table[index] |= VISIBLE;
        }
        index += 1;
    }
    table
}

#[inline]
fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |classes, &byte| classes & CLASSES[usize::from(byte)]) != 0
}

/// Whether it is the name of a field in lower case.
#[inline]
pub(crate) fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, NAME)
}

/// Whether it is a method.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether it is a value: no control byte, and no blank at either end.
#[inline]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    all(bytes, VALUE) && !blank(bytes.first()) && !blank(bytes.last())
}

/// Whether it is made of visible ASCII, as targets and authorities are.
#[inline]
pub(crate) fn is_visible(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, VISIBLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_upper_case_and_values_no_controls_and_no_blanks_at_their_ends() {
        for byte in 0..=u8::MAX {
            let text = [b'a', byte, b'b'];
            assert_eq!(is_value(&text), byte == b'\t' || (byte >= 32 && byte != 127), "{byte}");
            assert_eq!(is_name(&text), is_token(&text) && !byte.is_ascii_uppercase(), "{byte}");
            assert!(!is_token(&text) || is_visible(&text), "{byte}");
        }
        assert!(is_value(b"") && !is_name(b"") && !is_token(b"") && !is_visible(b""));
        for value in [&b" a"[..], b"a ", b"\ta", b"a\t", b" "] {
            assert!(!is_value(value));
        }
        assert!(!is_name(b"a:") && !is_name(b":a") && !is_name(b"a b"));
    }
}

//! Names and values of headers that rules set: what is allowed, and why the rest is not.
//!
//! Owns the checks for configured names and values, and the cleaning of values that are put together
//! per request. Leaves parsing of received lines to the parsers. Invariant: a name that passed and a
//! value that passed or was cleaned can be put into a head without changing its framing or adding a
//! line to it.

use std::error::Error;
use std::fmt;

use crate::grammar::{is_tchar, is_value_byte};

/// The longest name. The names in the IANA registry are at most 37 bytes long; longer ones are
/// refused by some servers.
pub const NAME_BYTES_MAX: usize = 256;

/// What is wrong with the name of a header that a rule sets, adds or removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is no name.
    Empty,
    /// More than [`NAME_BYTES_MAX`] bytes.
    TooLong,
    /// This byte, at this place, cannot stand in a name.
    Byte(u8, usize),
    /// The proxy itself decides about this header; the text says why.
    Reserved(&'static str),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a header needs a name"),
            Self::TooLong => write!(f, "a header's name has at most {NAME_BYTES_MAX} bytes"),
            Self::Byte(byte, place) => write!(
                f,
                "`{}` (byte {}) cannot stand in a header's name: letters, digits and !#$%&'*+-.^_`|~ can",
                byte.escape_ascii(),
                place + 1
            ),
            Self::Reserved(reason) => f.write_str(reason),
        }
    }
}

impl Error for NameError {}

/// What is wrong with the value of a header that a rule sets or adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// This control byte, at this place, cannot stand in a value.
    Byte(u8, usize),
    /// Blanks at the beginning or the end, which are not part of a value (RFC 9110 §5.5).
    OuterBlank,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(byte, place) => write!(
                f,
                "the control character `{}` (byte {}) cannot stand in a header's value",
                byte.escape_ascii(),
                place + 1
            ),
            Self::OuterBlank => f.write_str("a header's value does not begin or end with a blank"),
        }
    }
}

impl Error for ValueError {}

const FRAMING: &str = "it tells where the message ends; the proxy writes it from what it sends";
const CONNECTION: &str = "it is about one connection; the proxy writes its own on each side";

/// The names that rules must not touch, in lower case, and why.
const RESERVED: [(&str, &str); 10] = [
    ("connection", CONNECTION),
    ("content-length", FRAMING),
    (
        "host",
        "it is changed with `set_host`, which also changes what rules and servers see as host",
    ),
    ("http2-settings", CONNECTION),
    ("keep-alive", CONNECTION),
    ("proxy-connection", CONNECTION),
    ("te", CONNECTION),
    ("trailer", FRAMING),
    ("transfer-encoding", FRAMING),
    ("upgrade", CONNECTION),
];

/// The names that rules must neither set, add nor remove, in lower case, each with the reason that a
/// configuration error gives.
pub fn reserved_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    RESERVED.into_iter()
}

/// Checks the name of a header that a rule sets, adds or removes.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &[u8]) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if let Some(place) = name.iter().position(|&b| !is_tchar(b)) {
        return Err(NameError::Byte(name[place], place));
    }
    match RESERVED.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())) {
        Some((_, reason)) => Err(NameError::Reserved(reason)),
        None => Ok(()),
    }
}

/// Checks a configured value.
///
/// # Errors
/// What is wrong with it.
pub fn check_value(value: &[u8]) -> Result<(), ValueError> {
    if let Some(place) = value.iter().position(|&b| !is_value_byte(b)) {
        return Err(ValueError::Byte(value[place], place));
    }
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return Err(ValueError::OuterBlank);
    }
    Ok(())
}

/// Whether every byte of `value` can stand in a header's value.
#[inline]
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    value.iter().fold(true, |is_value, &byte| is_value & is_value_byte(byte))
}

/// Appends a piece of a value that is put together per request, such as a decoded argument. Each
/// byte that cannot stand in a value becomes a space (RFC 9110 §5.5), so that no piece can begin a
/// line of its own.
pub fn push_value(piece: &[u8], out: &mut Vec<u8>) {
    if is_value(piece) {
        out.extend_from_slice(piece);
    } else {
        out.extend(piece.iter().map(|&byte| if is_value_byte(byte) { byte } else { b' ' }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_that_are_not_reserved() {
        for name in
            ["X-A", "a", "set-cookie", "x_y.z~", "Hosts", "Via", &"n".repeat(NAME_BYTES_MAX)]
        {
            assert_eq!(check_name(name.as_bytes()), Ok(()), "{name}");
        }
        let cases: [(&[u8], &str); 9] = [
            (b"", "a header needs a name"),
            (b"x y", "` ` (byte 2) cannot stand in a header's name"),
            (b"x:", "`:` (byte 2)"),
            (b":authority", "`:` (byte 1)"),
            (b"x\r\ny", "`\\r` (byte 2)"),
            (b"x\0", "`\\x00` (byte 2)"),
            (b"\xe9", "`\\xe9` (byte 1)"),
            (&[b'n'; NAME_BYTES_MAX + 1], "at most 256 bytes"),
            (b"HOST", "it is changed with `set_host`"),
        ];
        for (name, text) in cases {
            let error = check_name(name).expect_err("not a name for rules").to_string();
            assert!(error.contains(text), "{name:?}: {error}");
        }
    }

    #[test]
    fn each_reserved_name_is_refused_with_its_reason() {
        for (name, reason) in reserved_names() {
            let upper = name.to_ascii_uppercase();
            assert_eq!(check_name(upper.as_bytes()), Err(NameError::Reserved(reason)), "{name}");
        }
        assert!(reserved_names().is_sorted());
    }

    #[test]
    fn values_are_free_of_controls_and_outer_blanks() {
        for value in ["", "a", "a b\tc", "\u{e9}", "\"a\", b"] {
            assert_eq!(check_value(value.as_bytes()), Ok(()), "{value}");
        }
        for byte in (0..0x20).chain([0x7f]).filter(|&b| b != b'\t') {
            assert_eq!(check_value(&[b'a', byte, b'b']), Err(ValueError::Byte(byte, 1)));
            let mut out = b"x".to_vec();
            push_value(&[b'a', byte, b'b'], &mut out);
            assert_eq!(out, b"xa b");
        }
        for value in [" a", "a ", "\ta", "a\t", " "] {
            assert_eq!(check_value(value.as_bytes()), Err(ValueError::OuterBlank), "{value:?}");
        }
        assert_eq!(
            check_value(b"a\nb").expect_err("a line end").to_string(),
            "the control character `\\n` (byte 2) cannot stand in a header's value"
        );
    }
}

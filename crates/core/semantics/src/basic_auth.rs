//! Basic authentication (RFC 7617): the credentials of a request and the challenge of a response.
//!
//! Owns `Authorization: Basic` and base64. Leaves comparing passwords, which is slow on purpose, to
//! `tidegate-passwords`. Invariant: a value has at most one reading; padding, leftover bits and
//! bytes outside the alphabet are not forgiven.

use crate::grammar::{is_value_byte, split_at_byte};

/// The longest credentials in base64 that are read: what a browser sends for a user name and a
/// password of 250 bytes each, and a bound on the work for those who are not let in.
pub const ENCODED_BYTES_MAX: usize = 700;

/// A name and a password, as they were sent: usually UTF-8, but any bytes except controls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// Everything before the first colon.
    pub user: &'a [u8],
    /// Everything after it.
    pub password: &'a [u8],
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.user.escape_ascii();
        f.debug_struct("Credentials").field("user", &format_args!("{user}")).finish_non_exhaustive()
    }
}

/// Why there are no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasicError {
    /// The scheme is another one.
    Scheme,
    /// Longer than [`ENCODED_BYTES_MAX`].
    TooLong,
    /// Not base64.
    Encoding,
    /// No colon, or a control byte.
    Credentials,
}

/// Reads the value of an `Authorization` line, decoding into `scratch` in the place of what it
/// holds. The password stays there until it is overwritten.
///
/// # Errors
/// Why there are no credentials; the answer is 401 in each case.
pub fn parse<'a>(value: &[u8], scratch: &'a mut Vec<u8>) -> Result<Credentials<'a>, BasicError> {
    const SCHEME: &[u8] = b"basic ";
    let (scheme, mut encoded) = value.split_at_checked(SCHEME.len()).ok_or(BasicError::Scheme)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(BasicError::Scheme);
    }
    while let [b' ', rest @ ..] = encoded {
        encoded = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = encoded {
        encoded = rest;
    }
    if encoded.len() > ENCODED_BYTES_MAX {
        return Err(BasicError::TooLong);
    }
    scratch.clear();
    push_decoded(encoded, scratch).ok_or(BasicError::Encoding)?;
    let has_control = scratch.iter().any(|byte| byte.is_ascii_control());
    match split_at_byte(scratch, b':') {
        (user, Some(password)) if !has_control => Ok(Credentials { user, password }),
        _ => Err(BasicError::Credentials),
    }
}

/// Appends the value of `WWW-Authenticate` for `realm`, of which bytes that cannot be quoted are
/// left out.
pub fn push_challenge(realm: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Basic realm=\"");
    for &byte in realm.iter().filter(|&&byte| is_value_byte(byte)) {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.extend_from_slice(b"\", charset=\"UTF-8\"");
}

/// Appends what `encoded` (RFC 4648 §4) stands for. Padding must be complete or left out, and the
/// bits that no byte uses must be zero.
fn push_decoded(encoded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let encoded = match encoded {
        [digits @ .., b'=', b'='] if encoded.len().is_multiple_of(4) => digits,
        [digits @ .., b'='] if encoded.len().is_multiple_of(4) => digits,
        _ => encoded,
    };
    for group in encoded.chunks(4) {
        let digits =
            group.iter().try_fold(0, |bits: u32, &byte| Some(bits << 6 | sextet(byte)?))?;
        let unused_bits = match group.len() {
            4 => 0,
            3 => 2,
            2 => 4,
            _ => return None,
        };
        if digits & ((1 << unused_bits) - 1) != 0 {
            return None;
        }
        let bytes = (digits >> unused_bits).to_be_bytes();
        out.extend_from_slice(&bytes[5 - group.len()..]);
    }
    Some(())
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use BasicError::{Credentials as Content, Encoding, Scheme, TooLong};

    #[test]
    fn credentials_are_read() {
        let cases = [
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
            ("basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame"),
            ("BASIC   dGVzdDoxMjPCow== ", "test", "123\u{a3}"),
            ("Basic YTpiOmM=", "a", "b:c"),
            ("Basic YTo=", "a", ""),
            ("Basic Og==", "", ""),
            ("Basic fn4+Pz8/Og==", "~~>???", ""),
        ];
        let mut scratch = Vec::new();
        for (value, user, password) in cases {
            let credentials = parse(value.as_bytes(), &mut scratch);
            let (user, password) = (user.as_bytes(), password.as_bytes());
            assert_eq!(credentials, Ok(Credentials { user, password }), "{value}");
        }
    }

    #[test]
    fn other_values_are_refused() {
        let long = format!("Basic {}", "A".repeat(ENCODED_BYTES_MAX + 1));
        let cases = [
            ("", Scheme),
            ("Basic", Scheme),
            ("Bearer abc", Scheme),
            ("Basic\tYTpi", Scheme),
            ("Basicx YTpi", Scheme),
            (&long, TooLong),
            ("Basic ", Content),
            ("Basic YWI=", Content),
            ("Basic YQpiOmM=", Content),
            ("Basic YToKYg==", Content),
            ("Basic YTpi=", Encoding),
            ("Basic YTo==", Encoding),
            ("Basic YT=piOmM", Encoding),
            ("Basic =", Encoding),
            ("Basic ====", Encoding),
            ("Basic YTpiY", Encoding),
            ("Basic YTp=", Encoding),
            ("Basic YTpi YTpi", Encoding),
            ("Basic fn4-Og==", Encoding),
        ];
        let mut scratch = Vec::new();
        for (value, error) in cases {
            assert_eq!(parse(value.as_bytes(), &mut scratch), Err(error), "{value}");
        }
    }

    #[test]
    fn every_length_and_byte_is_decoded() {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for byte in 0..=u8::MAX {
            for length in 0..7 {
                let bytes: Vec<u8> =
                    (0..length).map(|place| byte.wrapping_add(place * 37)).collect();
                let mut encoded = Vec::new();
                for group in bytes.chunks(3) {
                    let mut padded = [0; 4];
                    padded[1..=group.len()].copy_from_slice(group);
                    let bits = u32::from_be_bytes(padded);
                    for place in 0..=group.len() {
                        let digit = (bits >> (18 - 6 * place)) & 63;
                        encoded.push(ALPHABET[usize::try_from(digit).expect("below 64")]);
                    }
                }
                let mut out = Vec::new();
                assert_eq!(push_decoded(&encoded, &mut out), Some(()), "{encoded:?}");
                assert_eq!(out, bytes);
                encoded.resize(encoded.len().next_multiple_of(4), b'=');
                out.clear();
                assert_eq!(push_decoded(&encoded, &mut out), Some(()), "{encoded:?}");
                assert_eq!(out, bytes);
            }
        }
    }

    #[test]
    fn challenges_quote_the_realm_and_debug_output_hides_the_password() {
        let mut out = Vec::new();
        push_challenge(b"a \"b\" \\ \r\nc", &mut out);
        assert_eq!(out, b"Basic realm=\"a \\\"b\\\" \\\\ c\", charset=\"UTF-8\"");
        let debug = format!("{:?}", Credentials { user: b"me", password: b"secret" });
        assert_eq!(debug, "Credentials { user: me, .. }");
    }
}

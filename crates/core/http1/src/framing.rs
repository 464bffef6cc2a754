//! How long a body is (RFC 9112 §6): the two framing headers and the rules that combine them.
//!
//! Owns the reading of `Content-Length` and `Transfer-Encoding`; decoding chunks is `chunked`.
//! Invariant: a message frames one way or is refused; nothing is repaired, merged or guessed.

use crate::fault::Fault;
use crate::grammar::spells;
use crate::message::Version;

/// How the end of a message's body is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body, and no framing header that announces one.
    #[default]
    None,
    /// Exactly this many bytes, which may be 0.
    Length(u64),
    /// Chunked (RFC 9112 §7.1).
    Chunked,
    /// Everything until the server closes; responses only.
    UntilClose,
    /// Not a body: the connection has become a tunnel (101, or 2xx to CONNECT).
    Tunnel,
}

/// The framing headers of one head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FramingHeaders {
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
}

impl FramingHeaders {
    #[inline]
    pub(crate) fn read_content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        let length = content_length(value)?;
        if self.content_length.replace(length).is_some() {
            return Err(Fault::ContentLengthRepeated);
        }
        Ok(())
    }

    /// RFC 9112 §6.1 allows other codings before a final `chunked`; a proxy that cannot decode them
    /// cannot vouch for where the message ends, so `chunked` alone is accepted.
    #[inline]
    pub(crate) fn read_transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(Fault::TransferEncodingRepeated);
        }
        if !spells(value, b"chunked") {
            return Err(Fault::TransferEncodingUnsupported);
        }
        self.chunked = true;
        Ok(())
    }

    /// Refuses the combinations that two recipients could frame differently (RFC 9112 §6.1, §6.3
    /// item 3).
    #[inline]
    pub(crate) fn check(self, version: Version) -> Result<(), Fault> {
        if !self.chunked {
            return Ok(());
        }
        if version == Version::Http10 {
            return Err(Fault::TransferEncodingInHttp10);
        }
        if self.content_length.is_some() {
            return Err(Fault::ContentLengthWithTransferEncoding);
        }
        Ok(())
    }

    /// The length the headers declare, or `absent` without any.
    #[inline]
    pub(crate) fn declared(self, absent: BodyLength) -> BodyLength {
        match (self.chunked, self.content_length) {
            (true, _) => BodyLength::Chunked,
            (false, Some(length)) => BodyLength::Length(length),
            (false, None) => absent,
        }
    }
}

/// `1*DIGIT` (RFC 9110 §8.6): leading zeros are valid and do not matter, signs, blanks and lists
/// are not.
#[inline]
fn content_length(value: &[u8]) -> Result<u64, Fault> {
    let mut length: u64 = 0;
    for &byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(if value.contains(&b',') {
                Fault::ContentLengthList
            } else {
                Fault::ContentLengthInvalid
            });
        }
        length = length
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit)))
            .ok_or(Fault::ContentLengthOverflow)?;
    }
    if value.is_empty() { Err(Fault::ContentLengthInvalid) } else { Ok(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_is_plain_digits_within_64_bits() {
        for (value, expected) in [
            (&b"0"[..], Ok(0)),
            (b"42", Ok(42)),
            (b"00042", Ok(42)),
            (b"000000000000000000000000000000042", Ok(42)),
            (b"18446744073709551615", Ok(u64::MAX)),
            (b"18446744073709551616", Err(Fault::ContentLengthOverflow)),
            (b"99999999999999999999999", Err(Fault::ContentLengthOverflow)),
            (b"", Err(Fault::ContentLengthInvalid)),
            (b"+1", Err(Fault::ContentLengthInvalid)),
            (b"-1", Err(Fault::ContentLengthInvalid)),
            (b"0x10", Err(Fault::ContentLengthInvalid)),
            (b"1 2", Err(Fault::ContentLengthInvalid)),
            (b"1.0", Err(Fault::ContentLengthInvalid)),
            (b"5, 5", Err(Fault::ContentLengthList)),
            (b"5,", Err(Fault::ContentLengthList)),
            (b",5", Err(Fault::ContentLengthList)),
        ] {
            assert_eq!(content_length(value), expected, "{}", String::from_utf8_lossy(value));
        }
    }
}

//! Records to plaintext, in the buffer that they were received in.
//!
//! Owns what a record may look like after the handshake and the floods that records alone can make. Leaves what is in a record to
//! [`Messages`](crate::Messages), [`read_alert`](crate::read_alert) and the application. Invariant: a record is shown once, in its
//! turn, and only if its tag was right.

use crate::key::{Key, TAG_BYTES};
use crate::{
    Alert, HEADER_BYTES, KeyError, Kind, PLAINTEXT_BYTES_MAX, RECORD_BYTES_MAX, Secret, Version,
};
use aws_lc_rs::aead::Aad;
use std::ops::Range;

/// How many records in a row may come without a byte of application data: empty ones, warnings, key updates, handshake messages.
/// Each costs work and moves nothing, so that an endless run of them is a flood. A server sends a few tickets at most; 32 is what
/// other implementations allow of each of these.
pub const RECORDS_WITHOUT_DATA_MAX: u8 = 32;

/// What there is at the start of the received bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Not yet a whole record.
    Incomplete {
        /// Bytes from the record's start that are needed to go on: the whole record, once its header is there, and before
        /// that the header. Always more than there were, and at most [`RECORD_BYTES_MAX`].
        needed: usize,
    },
    /// A record, opened.
    Record {
        /// What it carries.
        kind: Kind,
        /// Where its plaintext lies in the bytes. Empty for application data alone.
        plaintext: Range<usize>,
        /// Bytes that the record took: the next one starts there.
        taken: usize,
    },
}

/// Why a record is refused. The connection has to end: with [`alert`](Self::alert), without reading on. What lies in the buffer is
/// no plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A type that no record may have now; a change_cipher_spec is one, and in TLS 1.3 everything that is not sealed.
    UnexpectedType(u8),
    /// The version in the header is not 3.3 (RFC 8446 §5.2, RFC 5246 §6.2.1).
    Version(u16),
    /// It is too long, or what it carries is (RFC 8446 §5.2, RFC 5246 §6.2).
    Overflow,
    /// The tag is wrong or cut off: changed on the way, out of order, or sealed with another key.
    BadMac,
    /// Sealed, and nothing but zeros inside: no type (RFC 8446 §5.4).
    OnlyPadding,
    /// An alert or a handshake message without a byte (RFC 8446 §5.4, RFC 5246 §6.2.1).
    Empty,
    /// More than [`RECORDS_WITHOUT_DATA_MAX`] in a row without application data.
    Flood,
    /// The sequence numbers are used up (RFC 8446 §5.3).
    SequenceExhausted,
}

impl RecordError {
    /// The alert to end the connection with.
    #[must_use]
    pub fn alert(self) -> Alert {
        match self {
            Self::UnexpectedType(_) | Self::OnlyPadding | Self::Empty | Self::Flood => {
                Alert::UNEXPECTED_MESSAGE
            }
            Self::Version(_) => Alert::PROTOCOL_VERSION,
            Self::Overflow => Alert::RECORD_OVERFLOW,
            Self::BadMac => Alert::BAD_RECORD_MAC,
            Self::SequenceExhausted => Alert::INTERNAL_ERROR,
        }
    }
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnexpectedType(code) => write!(f, "a record of type {code} after the handshake"),
            Self::Version(version) => write!(f, "a record of version {version:#06x}"),
            Self::Overflow => f.write_str("a record that is too long"),
            Self::BadMac => f.write_str("a record that was changed or sealed with another key"),
            Self::OnlyPadding => f.write_str("a record of padding alone"),
            Self::Empty => f.write_str("an alert or handshake record without content"),
            Self::Flood => f.write_str("too many records without application data"),
            Self::SequenceExhausted => f.write_str("too many records"),
        }
    }
}

impl std::error::Error for RecordError {}

/// Opens the records of one direction.
pub struct Opener {
    key: Key,
    sequence: u64,
    without_data: u8,
}

impl Opener {
    /// An opener for the records after the handshake; `sequence` is the number of the first.
    ///
    /// # Errors
    ///
    /// The secret's lengths are not the cipher's.
    pub fn new(version: Version, secret: &Secret<'_>, sequence: u64) -> Result<Self, KeyError> {
        Ok(Self { key: Key::new(version, secret)?, sequence, without_data: 0 })
    }

    /// The key that the peer uses after its KeyUpdate (RFC 8446 §4.6.3).
    ///
    /// # Errors
    ///
    /// The secret's lengths are not the cipher's, or the version is not 1.3.
    pub fn rekey(&mut self, secret: &Secret<'_>) -> Result<(), KeyError> {
        self.key = self.key.next(secret)?;
        self.sequence = 0;
        Ok(())
    }

    /// Opens the record that `bytes` starts with, in place. What follows it is not touched.
    ///
    /// # Errors
    ///
    /// A record that no correct peer sends. It is found as soon as the header shows it.
    #[inline]
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Opened, RecordError> {
        let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else {
            return Ok(Opened::Incomplete { needed: HEADER_BYTES });
        };
        let header = *header;
        let length = self.checked_length(header)?;
        let taken = HEADER_BYTES + length;
        let Some(fragment) = rest.get_mut(..length) else {
            return Ok(Opened::Incomplete { needed: taken });
        };
        let (kind, plaintext_bytes) = self.open_fragment(header, fragment)?;
        self.count(kind, plaintext_bytes)?;
        let start = HEADER_BYTES + self.key.prefix_bytes();
        Ok(Opened::Record { kind, plaintext: start..start + plaintext_bytes, taken })
    }

    /// Bytes after the header, if they may be that many.
    #[inline]
    fn checked_length(&self, header: [u8; HEADER_BYTES]) -> Result<usize, RecordError> {
        let [code, major, minor, high, low] = header;
        let is_expected = match self.key.version() {
            Version::Tls13 => code == Kind::ApplicationData.code(),
            Version::Tls12 => Kind::from_code(code).is_some(),
        };
        if !is_expected {
            return Err(RecordError::UnexpectedType(code));
        }
        if [major, minor] != [3, 3] {
            return Err(RecordError::Version(u16::from_be_bytes([major, minor])));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (least, suffix) = (self.key.prefix_bytes() + TAG_BYTES, self.key.suffix_bytes());
        if length > self.key.prefix_bytes() + PLAINTEXT_BYTES_MAX + suffix {
            return Err(RecordError::Overflow);
        }
        if length < least {
            return Err(RecordError::BadMac);
        }
        debug_assert!(HEADER_BYTES + length <= RECORD_BYTES_MAX);
        Ok(length)
    }

    /// Opens what follows the header; what it carries, and how many bytes of it.
    #[inline]
    fn open_fragment(
        &mut self,
        header: [u8; HEADER_BYTES],
        fragment: &mut [u8],
    ) -> Result<(Kind, usize), RecordError> {
        let following = self.sequence.checked_add(1).ok_or(RecordError::SequenceExhausted)?;
        let prefix_bytes = self.key.prefix_bytes();
        let (prefix, sealed) =
            fragment.split_at_mut_checked(prefix_bytes).ok_or(RecordError::BadMac)?;
        let (content, tag) =
            sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(RecordError::BadMac)?;
        let nonce = self.key.nonce_of(self.sequence, prefix);
        let data = self.key.additional_data(self.sequence, header, content.len());
        self.key
            .cipher
            .open_in_place_separate_tag(nonce, Aad::from(data), tag, content)
            .map_err(|_| RecordError::BadMac)?;
        self.sequence = following;
        let [code, ..] = header;
        match self.key.version() {
            Version::Tls12 => {
                let kind = Kind::from_code(code).ok_or(RecordError::UnexpectedType(code))?;
                Ok((kind, content.len()))
            }
            Version::Tls13 => inner(content),
        }
    }

    /// Refuses what is empty and may not be, and what has gone on for too long.
    #[inline]
    fn count(&mut self, kind: Kind, plaintext_bytes: usize) -> Result<(), RecordError> {
        match (kind, plaintext_bytes) {
            (Kind::Alert | Kind::Handshake, 0) => return Err(RecordError::Empty),
            (Kind::ApplicationData, 1..) => self.without_data = 0,
            _ if self.without_data >= RECORDS_WITHOUT_DATA_MAX => return Err(RecordError::Flood),
            _ => self.without_data += 1,
        }
        Ok(())
    }
}

/// The real type of a record of TLS 1.3, and how many bytes come before it: it is the last byte that is not zero (RFC 8446 §5.4).
#[inline]
fn inner(content: &[u8]) -> Result<(Kind, usize), RecordError> {
    let last = content.iter().rposition(|byte| *byte != 0).ok_or(RecordError::OnlyPadding)?;
    let code = content.get(last).copied().unwrap_or_default();
    Ok((Kind::from_code(code).ok_or(RecordError::UnexpectedType(code))?, last))
}

//! Reading a head byte by byte, strictly by RFC 9112 §2.2–§5, from where the last piece of it ended.
//!
//! Owns the lexical rules and their order; runs only when a head is incomplete or refused. Meaning
//! (Host, framing, target forms) is judged elsewhere, on complete heads. Invariant: each byte is
//! looked at once, and a fault found in a prefix is the fault of every continuation: a bad head is
//! refused at its first bad byte, and however small its pieces are, it costs what its bytes cost.

use crate::error::{RequestError, ResponseError};
use crate::fault::Fault;
use crate::grammar::{NOT_PATH, NOT_QUERY, TOKEN, VALUE, classes_of, is};
use crate::limits::{Limits, METHOD_BYTES_MAX};

/// How far a head without a fault goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// The bytes ended first.
    Unfinished,
    /// The head ends within the bytes.
    Ended,
}

/// Judges a request head in one piece. Not inlined: its state would have a place in the parser's stack
/// frame, for every head.
#[cold]
#[inline(never)]
pub(crate) fn scan_request(window: &[u8], limits: &Limits) -> Result<Scanned, RequestError> {
    RequestScan::new().advance(window, limits)
}

/// Judges a response head in one piece; see [`scan_request`].
#[cold]
#[inline(never)]
pub(crate) fn scan_response(window: &[u8], limits: &Limits) -> Result<Scanned, ResponseError> {
    ResponseScan::new().advance(window, limits)
}

/// How far a request head that comes in pieces has been judged. One for each head.
#[derive(Clone, Debug, Default)]
pub struct RequestScan {
    place: RequestPlace,
    seen: u32,
    /// Bytes of the method or the target so far.
    length: u32,
    version: Version,
    fields: Fields,
}

/// What the next byte of a request head is judged as.
#[derive(Clone, Copy, Debug, Default)]
enum RequestPlace {
    #[default]
    Start,
    LeadingLf,
    AfterLeading,
    Method,
    Target,
    AfterTarget,
    Version,
    LineEnd,
    Lf,
    Fields,
}

/// How far a response head that comes in pieces has been judged. One for each head.
#[derive(Clone, Debug, Default)]
pub struct ResponseScan {
    place: ResponsePlace,
    seen: u32,
    /// Digits of the status so far.
    digits: u8,
    version: Version,
    fields: Fields,
}

/// What the next byte of a response head is judged as.
#[derive(Clone, Copy, Debug, Default)]
enum ResponsePlace {
    #[default]
    Version,
    Space,
    Status,
    AfterStatus,
    Reason,
    Lf,
    Fields,
}

impl RequestScan {
    /// Nothing has been judged.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges the bytes of `window` that no earlier call has seen. After a fault, and after the end,
    /// there is nothing more to judge.
    pub(crate) fn advance(
        &mut self,
        window: &[u8],
        limits: &Limits,
    ) -> Result<Scanned, RequestError> {
        for &byte in window.get(self.seen as usize..).unwrap_or_default() {
            self.step(byte, limits)?;
            self.seen += 1;
            if self.fields.ended() {
                break;
            }
        }
        Ok(self.fields.scanned())
    }

    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), RequestError> {
        use RequestPlace as Place;
        self.place = match (self.place, byte) {
            // One empty line before a request line is ignored (RFC 9112 §2.2): old clients end a
            // body with one too many.
            (Place::Start, b'\r') => Place::LeadingLf,
            (Place::Start | Place::LineEnd, b'\n') => return Err(Fault::BareLf.into()),
            (Place::LeadingLf, b'\n') => Place::AfterLeading,
            (Place::AfterLeading, b'\r' | b'\n') => return Err(RequestError::LeadingEmptyLines),
            (Place::Start | Place::AfterLeading | Place::Method, _) => self.method(byte)?,
            (Place::Target, _) => self.target(byte, limits.target_bytes_max)?,
            (Place::AfterTarget, b' ') => return Err(RequestError::RequestLineSpacing),
            (Place::AfterTarget | Place::Version, _) => match self.version.step(byte) {
                VersionStep::Unfinished => Place::Version,
                VersionStep::Supported => Place::LineEnd,
                VersionStep::Unsupported => return Err(RequestError::VersionUnsupported),
                VersionStep::Malformed => return Err(RequestError::VersionMalformed),
            },
            (Place::LineEnd, b'\r') => Place::Lf,
            (Place::LineEnd, _) => return Err(RequestError::VersionMalformed),
            (Place::Lf, b'\n') => Place::Fields,
            (Place::LeadingLf | Place::Lf, _) => return Err(Fault::BareCr.into()),
            (Place::Fields, _) => {
                self.fields.step(byte, limits.headers_count())?;
                Place::Fields
            }
        };
        Ok(())
    }

    fn method(&mut self, byte: u8) -> Result<RequestPlace, RequestError> {
        match byte {
            b' ' if self.length > 0 => {
                self.length = 0;
                Ok(RequestPlace::Target)
            }
            byte if !is(byte, TOKEN) => Err(RequestError::MethodInvalid),
            _ if self.length as usize == METHOD_BYTES_MAX => Err(RequestError::MethodTooLong),
            _ => {
                self.length += 1;
                Ok(RequestPlace::Method)
            }
        }
    }

    /// Finds the bytes that no part of a target may have; which part a byte is in is judged on
    /// complete heads.
    fn target(&mut self, byte: u8, bytes_max: usize) -> Result<RequestPlace, RequestError> {
        match byte {
            b' ' if self.length > 0 => Ok(RequestPlace::AfterTarget),
            b' ' => Err(RequestError::RequestLineSpacing),
            b'\r' | b'\n' => Err(RequestError::VersionMissing),
            _ if self.length as usize == bytes_max => Err(RequestError::TargetTooLong),
            b'#' => Err(RequestError::TargetFragment),
            byte if classes_of(byte) & (NOT_PATH | NOT_QUERY) == NOT_PATH | NOT_QUERY => {
                Err(RequestError::TargetByteInvalid)
            }
            _ => {
                self.length += 1;
                Ok(RequestPlace::Target)
            }
        }
    }
}

impl ResponseScan {
    /// Nothing has been judged.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`RequestScan::advance`].
    pub(crate) fn advance(
        &mut self,
        window: &[u8],
        limits: &Limits,
    ) -> Result<Scanned, ResponseError> {
        for &byte in window.get(self.seen as usize..).unwrap_or_default() {
            self.step(byte, limits)?;
            self.seen += 1;
            if self.fields.ended() {
                break;
            }
        }
        Ok(self.fields.scanned())
    }

    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), ResponseError> {
        use ResponsePlace as Place;
        self.place = match (self.place, byte) {
            (Place::Version, _) => match self.version.step(byte) {
                VersionStep::Unfinished => Place::Version,
                VersionStep::Supported => Place::Space,
                VersionStep::Unsupported => return Err(ResponseError::VersionUnsupported),
                VersionStep::Malformed => return Err(ResponseError::StatusLineMalformed),
            },
            (Place::Space, b' ') => Place::Status,
            (Place::Space, _) => return Err(ResponseError::StatusLineMalformed),
            (Place::Status, byte)
                if !byte.is_ascii_digit() || (self.digits == 0 && byte == b'0') =>
            {
                return Err(ResponseError::StatusInvalid);
            }
            (Place::Status, _) => {
                self.digits += 1;
                if self.digits == 3 { Place::AfterStatus } else { Place::Status }
            }
            // The space before an absent reason phrase may be missing, as many servers have it.
            (Place::AfterStatus | Place::Reason, b'\r') => Place::Lf,
            (Place::AfterStatus | Place::Reason, b'\n') => return Err(Fault::BareLf.into()),
            (Place::AfterStatus, b' ') => Place::Reason,
            (Place::AfterStatus, _) => return Err(ResponseError::StatusInvalid),
            (Place::Reason, byte) if !is(byte, VALUE) => return Err(ResponseError::ReasonInvalid),
            (Place::Reason, _) => Place::Reason,
            (Place::Lf, b'\n') => Place::Fields,
            (Place::Lf, _) => return Err(Fault::BareCr.into()),
            (Place::Fields, _) => {
                self.fields.step(byte, limits.headers_count())?;
                Place::Fields
            }
        };
        Ok(())
    }
}

/// The protocol version of either kind of start line.
#[derive(Clone, Debug, Default)]
struct Version {
    seen: u8,
    major: u8,
}

/// What a version is after one more byte.
enum VersionStep {
    Unfinished,
    /// HTTP/1.0 or HTTP/1.1.
    Supported,
    /// Any other well-formed version.
    Unsupported,
    Malformed,
}

impl Version {
    fn step(&mut self, byte: u8) -> VersionStep {
        let place = usize::from(self.seen);
        self.seen += 1;
        match (place, byte) {
            (0..5, _) if b"HTTP/"[place] == byte => VersionStep::Unfinished,
            (5, b'0'..=b'9') => {
                self.major = byte;
                VersionStep::Unfinished
            }
            (6, b'.') => VersionStep::Unfinished,
            (7, b'0' | b'1') if self.major == b'1' => VersionStep::Supported,
            (7, b'0'..=b'9') => VersionStep::Unsupported,
            _ => VersionStep::Malformed,
        }
    }
}

/// The header lines and the empty one.
#[derive(Clone, Debug, Default)]
struct Fields {
    place: FieldPlace,
    /// Lines that have ended.
    count: u32,
}

/// What the next byte of the header lines is judged as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FieldPlace {
    #[default]
    LineStart,
    Name,
    Value,
    Lf,
    LastLf,
    Ended,
}

impl Fields {
    fn ended(&self) -> bool {
        self.place == FieldPlace::Ended
    }

    fn scanned(&self) -> Scanned {
        if self.ended() { Scanned::Ended } else { Scanned::Unfinished }
    }

    fn step(&mut self, byte: u8, count_max: usize) -> Result<(), Fault> {
        use FieldPlace as Place;
        self.place = match (self.place, byte) {
            (Place::LineStart, b'\r') => Place::LastLf,
            (Place::LineStart | Place::Value, b'\n') => return Err(Fault::BareLf),
            (Place::LineStart, _) if self.count as usize == count_max => {
                return Err(Fault::TooManyHeaders);
            }
            (Place::LineStart, b' ' | b'\t') => return Err(Fault::FoldedLine),
            (Place::LineStart, b':') => return Err(Fault::HeaderNameEmpty),
            (Place::Name, b':') => Place::Value,
            (Place::Name, b' ' | b'\t') => return Err(Fault::SpaceBeforeColon),
            (Place::Name, b'\r' | b'\n') => return Err(Fault::HeaderColonMissing),
            (Place::LineStart | Place::Name, byte) if !is(byte, TOKEN) => {
                return Err(Fault::HeaderNameInvalid);
            }
            (Place::LineStart | Place::Name, _) => Place::Name,
            (Place::Value, b'\r') => Place::Lf,
            (Place::Value, byte) if !is(byte, VALUE) => return Err(Fault::HeaderControlByte),
            (Place::Value, _) => Place::Value,
            (Place::Lf, b'\n') => {
                self.count += 1;
                Place::LineStart
            }
            (Place::LastLf, b'\n') => Place::Ended,
            (Place::Lf | Place::LastLf, _) => return Err(Fault::BareCr),
            (Place::Ended, _) => Place::Ended,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Method, Parsed};
    use crate::request::{RequestHead, continue_request};
    use crate::response::{ResponseContext, ResponseHead, continue_response};

    /// `bytes` with what comes before `end` made unreadable.
    fn forgotten(bytes: &[u8], end: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[..end].fill(0);
        bytes
    }

    #[test]
    fn nothing_is_looked_at_twice_before_the_head_ends() {
        let limits = Limits::default();
        let bytes = b"GET /a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
        let (mut head, mut scan) = (RequestHead::new(), RequestScan::new());
        for end in 0..bytes.len() {
            let seen = forgotten(&bytes[..end], end.saturating_sub(1));
            let judged = continue_request(&seen, &limits, &mut head, &mut scan);
            assert_eq!(judged, Ok(Parsed::Incomplete), "{end} bytes");
        }
        let judged = continue_request(bytes, &limits, &mut head, &mut scan);
        assert_eq!(judged, Ok(Parsed::Complete { head_bytes: bytes.len() }));

        let bytes = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
        let context = ResponseContext { method: Method::Get, upgrade_requested: false };
        let (mut head, mut scan) = (ResponseHead::new(), ResponseScan::new());
        for end in 0..bytes.len() {
            let seen = forgotten(&bytes[..end], end.saturating_sub(1));
            let judged = continue_response(&seen, &limits, context, &mut head, &mut scan);
            assert_eq!(judged, Ok(Parsed::Incomplete), "{end} bytes");
        }
        let judged = continue_response(bytes, &limits, context, &mut head, &mut scan);
        assert_eq!(judged, Ok(Parsed::Complete { head_bytes: bytes.len() }));
    }

    #[test]
    fn limits_hold_at_their_byte() {
        let limits = Limits { target_bytes_max: 10, head_bytes_max: 40, ..Limits::default() };
        let mut head = RequestHead::new();
        let mut judge = |bytes: &[u8]| {
            let mut scan = RequestScan::new();
            (1..bytes.len()).for_each(|end| {
                let judged = continue_request(&bytes[..end], &limits, &mut head, &mut scan);
                assert_eq!(judged, Ok(Parsed::Incomplete), "{end} bytes");
            });
            continue_request(bytes, &limits, &mut head, &mut scan)
        };
        assert_eq!(judge(b"GET /123456789"), Ok(Parsed::Incomplete));
        assert_eq!(judge(b"GET /1234567890"), Err(RequestError::TargetTooLong));
        assert_eq!(
            judge(b"GET / HTTP/1.1\r\nHost: a\r\nX: 456789012345"),
            Err(RequestError::HeadTooLarge)
        );
    }
}

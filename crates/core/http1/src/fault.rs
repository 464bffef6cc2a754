//! Which fault comes first in a head that the fast parser refused or has not seen the end of.
//!
//! httparse is fast and lenient, and names faults coarsely. This scanner reads the same grammar
//! byte by byte, strictly by RFC 9112 §2.2–§5, and only runs when a head is incomplete or refused.
//! Invariant: a fault found in a prefix is the fault of every continuation, so a head is judged the
//! same whether it arrives whole or a byte at a time, and bad heads are refused at their first bad
//! byte. Meaning (Host, framing, target forms) is judged elsewhere, on complete heads.

use crate::error::{RequestError, ResponseError};
use crate::grammar::{NOT_PATH, NOT_QUERY, TOKEN, VALUE, classes_of, is};
use crate::limits::{Limits, METHOD_BYTES_MAX};
use crate::message::Parsed;

/// A fault that heads of requests and responses share. The error enums describe each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    BareLf,
    BareCr,
    FoldedLine,
    HeaderNameEmpty,
    HeaderNameInvalid,
    SpaceBeforeColon,
    HeaderColonMissing,
    HeaderControlByte,
    TooManyHeaders,
    ContentLengthInvalid,
    ContentLengthList,
    ContentLengthOverflow,
    ContentLengthRepeated,
    ContentLengthWithTransferEncoding,
    TransferEncodingUnsupported,
    TransferEncodingRepeated,
    TransferEncodingInHttp10,
    ConnectionInvalid,
    ConnectionOptionsTooMany,
    ConnectionListsEssential,
}

/// What the fast parser's refusal means where this scanner finds nothing wrong.
impl From<httparse::Error> for Fault {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::TooManyHeaders,
            httparse::Error::HeaderValue => Self::HeaderControlByte,
            httparse::Error::NewLine => Self::BareCr,
            httparse::Error::HeaderName
            | httparse::Error::Status
            | httparse::Error::Token
            | httparse::Error::Version => Self::HeaderNameInvalid,
        }
    }
}

/// Why a scan did not reach the end of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop<E> {
    /// The bytes ended first; nothing is wrong with them.
    Unfinished,
    Fault(E),
}

impl Stop<Fault> {
    fn widen<E: From<Fault>>(self) -> Stop<E> {
        match self {
            Self::Unfinished => Stop::Unfinished,
            Self::Fault(fault) => Stop::Fault(fault.into()),
        }
    }
}

/// The head's first lexical fault, or `error` if it has none: the order of faults is that of the
/// bytes.
#[cold]
pub(crate) fn first_fault<E>(scanned: Result<(), Stop<E>>, error: E) -> E {
    match scanned {
        Err(Stop::Fault(first)) => first,
        Ok(()) | Err(Stop::Unfinished) => error,
    }
}

/// What to make of a head that did not parse to its end. `too_large` is the fault of one that already
/// fills its limit, and `refusal` what the parser found wrong, if anything.
#[cold]
pub(crate) fn judge_unfinished<E: From<Fault>>(
    scanned: Result<(), Stop<E>>,
    too_large: Option<E>,
    refusal: Option<httparse::Error>,
) -> Result<Parsed, E> {
    match (scanned, refusal) {
        (Err(Stop::Fault(fault)), _) => Err(fault),
        (Ok(()), Some(refusal)) => Err(Fault::from(refusal).into()),
        (Ok(()), None) | (Err(Stop::Unfinished), _) => {
            too_large.map_or(Ok(Parsed::Incomplete), Err)
        }
    }
}

/// Scans a request head; `Ok` if it ends within `window` without a lexical fault.
#[cold]
pub(crate) fn scan_request(window: &[u8], limits: &Limits) -> Result<(), Stop<RequestError>> {
    let mut scanner = Scanner { bytes: window };
    scanner.leading_line()?;
    scanner.method()?;
    scanner.target(limits.target_bytes_max)?;
    match scanner.version().map_err(Stop::widen)? {
        Some(true) => {}
        Some(false) => return Err(Stop::Fault(RequestError::VersionUnsupported)),
        None => return Err(Stop::Fault(RequestError::VersionMalformed)),
    }
    match scanner.peek().map_err(Stop::widen)? {
        b'\r' | b'\n' => scanner.line_end().map_err(Stop::widen)?,
        _ => return Err(Stop::Fault(RequestError::VersionMalformed)),
    }
    scanner.headers(limits.headers_count()).map_err(Stop::widen)
}

/// Scans a response head; `Ok` if it ends within `window` without a lexical fault.
#[cold]
pub(crate) fn scan_response(window: &[u8], limits: &Limits) -> Result<(), Stop<ResponseError>> {
    let mut scanner = Scanner { bytes: window };
    match scanner.version().map_err(Stop::widen)? {
        Some(true) => {}
        Some(false) => return Err(Stop::Fault(ResponseError::VersionUnsupported)),
        None => return Err(Stop::Fault(ResponseError::StatusLineMalformed)),
    }
    scanner.status()?;
    scanner.headers(limits.headers_count()).map_err(Stop::widen)
}

struct Scanner<'b> {
    bytes: &'b [u8],
}

impl Scanner<'_> {
    fn peek(&self) -> Result<u8, Stop<Fault>> {
        self.bytes.first().copied().ok_or(Stop::Unfinished)
    }

    fn next(&mut self) -> Result<u8, Stop<Fault>> {
        let (&byte, rest) = self.bytes.split_first().ok_or(Stop::Unfinished)?;
        self.bytes = rest;
        Ok(byte)
    }

    fn line_end(&mut self) -> Result<(), Stop<Fault>> {
        if self.next()? == b'\n' {
            return Err(Stop::Fault(Fault::BareLf));
        }
        if self.next()? == b'\n' { Ok(()) } else { Err(Stop::Fault(Fault::BareCr)) }
    }

    /// One empty line before a request line is ignored (RFC 9112 §2.2): old clients end a body with
    /// one too many.
    fn leading_line(&mut self) -> Result<(), Stop<RequestError>> {
        if !matches!(self.peek().map_err(Stop::widen)?, b'\r' | b'\n') {
            return Ok(());
        }
        self.line_end().map_err(Stop::widen)?;
        if matches!(self.peek().map_err(Stop::widen)?, b'\r' | b'\n') {
            return Err(Stop::Fault(RequestError::LeadingEmptyLines));
        }
        Ok(())
    }

    fn method(&mut self) -> Result<(), Stop<RequestError>> {
        for length in 0.. {
            match self.next().map_err(Stop::widen)? {
                b' ' if length > 0 => break,
                byte if !is(byte, TOKEN) => return Err(Stop::Fault(RequestError::MethodInvalid)),
                _ if length == METHOD_BYTES_MAX => {
                    return Err(Stop::Fault(RequestError::MethodTooLong));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Finds the bytes that no part of a target may have; which part a byte is in is judged on
    /// complete heads.
    fn target(&mut self, bytes_max: usize) -> Result<(), Stop<RequestError>> {
        for length in 0.. {
            let fault = match self.next().map_err(Stop::widen)? {
                b' ' if length > 0 => break,
                b' ' => RequestError::RequestLineSpacing,
                b'\r' | b'\n' => RequestError::VersionMissing,
                _ if length == bytes_max => RequestError::TargetTooLong,
                b'#' => RequestError::TargetFragment,
                byte if classes_of(byte) & (NOT_PATH | NOT_QUERY) == NOT_PATH | NOT_QUERY => {
                    RequestError::TargetByteInvalid
                }
                _ => continue,
            };
            return Err(Stop::Fault(fault));
        }
        if self.peek().map_err(Stop::widen)? == b' ' {
            return Err(Stop::Fault(RequestError::RequestLineSpacing));
        }
        Ok(())
    }

    /// `Some(true)` for HTTP/1.0 and HTTP/1.1, `Some(false)` for any other well-formed version,
    /// `None` for junk.
    fn version(&mut self) -> Result<Option<bool>, Stop<Fault>> {
        for &expected in b"HTTP/" {
            if self.next()? != expected {
                return Ok(None);
            }
        }
        let major = self.next()?;
        if !major.is_ascii_digit() || self.next()? != b'.' {
            return Ok(None);
        }
        let minor = self.next()?;
        if !minor.is_ascii_digit() {
            return Ok(None);
        }
        Ok(Some(major == b'1' && matches!(minor, b'0' | b'1')))
    }

    /// The rest of a status line. The space before an absent reason phrase may be missing, as many
    /// servers have it.
    fn status(&mut self) -> Result<(), Stop<ResponseError>> {
        if self.next().map_err(Stop::widen)? != b' ' {
            return Err(Stop::Fault(ResponseError::StatusLineMalformed));
        }
        for place in 0..3 {
            let digit = self.next().map_err(Stop::widen)?;
            if !digit.is_ascii_digit() || (place == 0 && digit == b'0') {
                return Err(Stop::Fault(ResponseError::StatusInvalid));
            }
        }
        match self.peek().map_err(Stop::widen)? {
            b' ' | b'\r' | b'\n' => {}
            _ => return Err(Stop::Fault(ResponseError::StatusInvalid)),
        }
        loop {
            match self.peek().map_err(Stop::widen)? {
                b'\r' | b'\n' => return self.line_end().map_err(Stop::widen),
                byte if !is(byte, VALUE) => return Err(Stop::Fault(ResponseError::ReasonInvalid)),
                _ => self.next().map_err(Stop::widen)?,
            };
        }
    }

    fn headers(&mut self, count_max: usize) -> Result<(), Stop<Fault>> {
        let mut count = 0;
        loop {
            if matches!(self.peek()?, b'\r' | b'\n') {
                return self.line_end();
            }
            if count == count_max {
                return Err(Stop::Fault(Fault::TooManyHeaders));
            }
            self.header_name()?;
            self.header_value()?;
            count += 1;
        }
    }

    fn header_name(&mut self) -> Result<(), Stop<Fault>> {
        match self.peek()? {
            b' ' | b'\t' => return Err(Stop::Fault(Fault::FoldedLine)),
            b':' => return Err(Stop::Fault(Fault::HeaderNameEmpty)),
            _ => {}
        }
        loop {
            let fault = match self.next()? {
                b':' => return Ok(()),
                b' ' | b'\t' => Fault::SpaceBeforeColon,
                b'\r' | b'\n' => Fault::HeaderColonMissing,
                byte if !is(byte, TOKEN) => Fault::HeaderNameInvalid,
                _ => continue,
            };
            return Err(Stop::Fault(fault));
        }
    }

    fn header_value(&mut self) -> Result<(), Stop<Fault>> {
        loop {
            match self.peek()? {
                b'\r' | b'\n' => return self.line_end(),
                byte if !is(byte, VALUE) => return Err(Stop::Fault(Fault::HeaderControlByte)),
                _ => self.next()?,
            };
        }
    }
}

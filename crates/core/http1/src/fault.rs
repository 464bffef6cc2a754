//! Which fault counts in a head that the fast parser refused or has not seen the end of.
//!
//! Owns the faults that both kinds of heads share, and the choice between what the parser and what
//! the `scan` found. httparse is fast and lenient, and names faults coarsely; a scan is strict.
//! Invariant: a fault in the bytes comes before one of their meaning, and a head is judged the same
//! whether it arrives whole or a byte at a time.

use crate::message::Parsed;
use crate::scan::Scanned;

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

/// The head's first lexical fault, or `error` if it has none: the order of faults is that of the
/// bytes.
#[cold]
pub(crate) fn first_fault<E>(scanned: Result<Scanned, E>, error: E) -> E {
    scanned.err().unwrap_or(error)
}

/// What to make of a head that did not parse to its end. `too_large` is the fault of one that already
/// fills its limit, and `refusal` what the parser found wrong, if anything.
#[cold]
pub(crate) fn judge_unfinished<E: From<Fault>>(
    scanned: Result<Scanned, E>,
    too_large: Option<E>,
    refusal: Option<httparse::Error>,
) -> Result<Parsed, E> {
    match (scanned?, refusal) {
        (Scanned::Ended, Some(refusal)) => Err(Fault::from(refusal).into()),
        (Scanned::Ended, None) | (Scanned::Unfinished, _) => {
            too_large.map_or(Ok(Parsed::Incomplete), Err)
        }
    }
}

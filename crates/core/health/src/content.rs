//! The content of a check's answer, in whatever pieces it comes.
//!
//! Owns where it ends; leaves the head and the judgement to the checks, and chunks to `tidegate-http1`. Invariant: nothing
//! behind the end is taken.

use tidegate_http1::{BodyLength, ChunkedDecoder, Limits, Piece};

use crate::outcome::{Failure, Fault};

/// How content is delimited, and what of it is to come.
pub(crate) enum Framing {
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl Framing {
    /// What follows a head.
    pub(crate) fn of(body: BodyLength) -> Self {
        match body {
            BodyLength::None => Self::Length(0),
            BodyLength::Length(length) => Self::Length(length),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new(&Limits::default())),
            BodyLength::UntilClose | BodyLength::Tunnel => Self::UntilClose,
        }
    }

    /// Adds the content among `bytes`, and hands over the lines of trailers, which the decoder bounds; whether it was the last.
    pub(crate) fn add(
        &mut self,
        bytes: &[u8],
        content: &mut Vec<u8>,
        mut trailer: impl FnMut(&[u8]),
    ) -> Result<bool, Failure> {
        match self {
            Self::UntilClose => {
                content.extend_from_slice(bytes);
                Ok(false)
            }
            Self::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                content.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                Ok(*left == 0)
            }
            Self::Chunked(decoder) => {
                let mut rest = bytes;
                loop {
                    let piece = decoder.next(rest).map_err(|error| Failure {
                        fault: Fault::Malformed,
                        detail: error.reason().to_owned(),
                    })?;
                    let count = match piece {
                        Piece::Data(count) => {
                            content.extend_from_slice(&rest[..count]);
                            count
                        }
                        Piece::Trailer(count) => {
                            trailer(&rest[..count]);
                            count
                        }
                        Piece::Framing(count) | Piece::Skip(count) => count,
                        Piece::End(_) => return Ok(true),
                        Piece::NeedMore => return Ok(false),
                    };
                    rest = &rest[count..];
                }
            }
        }
    }
}

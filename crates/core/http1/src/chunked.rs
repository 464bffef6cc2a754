//! Chunked transfer coding (RFC 9112 §7.1): validates a body and says what each byte is, without
//! copying any.
//!
//! Owns the framing of chunks, extensions and trailers. A relay forwards everything but
//! [`Piece::Skip`] as received, or only [`Piece::Data`] to a peer that does not know chunks.
//! Invariant: the pieces of a body are the same, joined, however its bytes were split; every byte
//! given is classified at once, so a caller never has to hold any back.

use crate::error::ChunkedError;
use crate::grammar::{TOKEN, VALUE, is};
use crate::limits::Limits;
use crate::trailer::{NAME_BYTES_SEEN, is_forbidden};

/// The line end that follows a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The last chunk and an empty trailer section, which end a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A chunk size has at most this many digits, leading zeros included: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

/// What the next bytes of a chunked body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// This many bytes of chunk sizes and line ends, to pass on as they are.
    Framing(usize),
    /// This many bytes of content.
    Data(usize),
    /// This many bytes of chunk extensions, to drop: they are hop-by-hop (RFC 9112 §7.1.1).
    Skip(usize),
    /// This many bytes of valid trailer lines, to pass on as they are.
    Trailer(usize),
    /// The message is complete after this many bytes of framing, to pass on as they are.
    End(usize),
    /// Every byte given has been classified, and the message goes on.
    NeedMore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    /// Blanks after the size, which only an extension may follow.
    SizeBlank,
    ExtensionStart,
    ExtensionName,
    ExtensionNameBlank,
    ExtensionValueStart,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscape,
    ExtensionEnd,
    ExtensionBlank,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// What a byte belongs to; contiguous bytes of one class make a [`Piece`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Framing,
    Skip,
    Trailer,
    End,
}

/// The state of one chunked body, resumable at every byte. Not to be used further after an error.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    /// The chunk's size as read so far, then the bytes of its data still to come.
    remaining: u64,
    line_bytes: u32,
    line_bytes_max: u32,
    trailer_bytes: u32,
    trailer_bytes_max: u32,
    state: State,
    size_digits: u8,
    name_bytes: u8,
    name: [u8; NAME_BYTES_SEEN],
}

const _: () = assert!(size_of::<ChunkedDecoder>() <= 64);

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    pub fn new(limits: &Limits) -> Self {
        let bounded = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            remaining: 0,
            line_bytes: 0,
            line_bytes_max: bounded(limits.chunk_line_bytes_max),
            trailer_bytes: 0,
            trailer_bytes_max: bounded(limits.trailer_bytes_max),
            state: State::SizeStart,
            size_digits: 0,
            name_bytes: 0,
            name: [0; NAME_BYTES_SEEN],
        }
    }

    /// Classifies the first bytes of `buf`, which follow those of the pieces before. [`Piece::End`]
    /// leaves what comes after the message; from then on it is `End(0)`.
    ///
    /// # Errors
    ///
    /// The first fault; see [`ChunkedError`]. No byte of `buf` may be forwarded, and neither
    /// connection can be used further.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Result<Piece, ChunkedError> {
        if self.state == State::Data && !buf.is_empty() {
            return Ok(Piece::Data(self.take_data(buf.len())));
        }
        self.next_framing(buf)
    }

    #[inline]
    fn take_data(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.remaining).map_or(available, |left| left.min(available));
        self.remaining -= taken as u64;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    fn next_framing(&mut self, buf: &[u8]) -> Result<Piece, ChunkedError> {
        let mut class = None;
        let mut taken = 0;
        for &byte in buf {
            if matches!(self.state, State::Data | State::Done) {
                break;
            }
            let next = self.class_of(byte);
            if class.is_some_and(|class| class != next) {
                break;
            }
            self.step(byte)?;
            class = Some(next);
            taken += 1;
        }
        Ok(match class {
            None if self.state == State::Done => Piece::End(0),
            None => Piece::NeedMore,
            Some(Class::Skip) => Piece::Skip(taken),
            Some(Class::Trailer) => Piece::Trailer(taken),
            Some(Class::End) if self.state == State::Done => Piece::End(taken),
            Some(Class::Framing | Class::End) => Piece::Framing(taken),
        })
    }

    #[inline]
    fn class_of(&self, byte: u8) -> Class {
        match self.state {
            State::Size if matches!(byte, b' ' | b'\t' | b';') => Class::Skip,
            State::SizeStart
            | State::Size
            | State::SizeLf
            | State::Data
            | State::DataCr
            | State::DataLf => Class::Framing,
            State::ExtensionName | State::ExtensionToken | State::ExtensionEnd if byte == b'\r' => {
                Class::Framing
            }
            State::SizeBlank
            | State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionNameBlank
            | State::ExtensionValueStart
            | State::ExtensionToken
            | State::ExtensionQuoted
            | State::ExtensionEscape
            | State::ExtensionEnd
            | State::ExtensionBlank => Class::Skip,
            State::TrailerStart if byte == b'\r' => Class::End,
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                Class::Trailer
            }
            State::EndLf | State::Done => Class::End,
        }
    }

    #[inline]
    fn step(&mut self, byte: u8) -> Result<(), ChunkedError> {
        self.state = match self.state {
            State::SizeStart | State::Size => self.step_size(byte)?,
            State::SizeBlank
            | State::ExtensionStart
            | State::ExtensionName
            | State::ExtensionNameBlank
            | State::ExtensionValueStart
            | State::ExtensionToken
            | State::ExtensionQuoted
            | State::ExtensionEscape
            | State::ExtensionEnd
            | State::ExtensionBlank => self.step_extension(byte)?,
            State::SizeLf => {
                self.count_line_byte()?;
                expect_lf(byte)?;
                self.line_bytes = 0;
                self.size_digits = 0;
                if self.remaining == 0 { State::TrailerStart } else { State::Data }
            }
            State::DataCr => match byte {
                b'\r' => State::DataLf,
                b'\n' => return Err(ChunkedError::BareLf),
                _ => return Err(ChunkedError::DataUnterminated),
            },
            State::DataLf => {
                expect_lf(byte)?;
                State::SizeStart
            }
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.step_trailer(byte)?
            }
            State::EndLf => {
                expect_lf(byte)?;
                State::Done
            }
            State::Data | State::Done => self.state,
        };
        Ok(())
    }

    #[inline]
    fn step_size(&mut self, byte: u8) -> Result<State, ChunkedError> {
        self.count_line_byte()?;
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => return self.end_size(byte),
        };
        if self.size_digits == SIZE_DIGITS_MAX {
            return Err(ChunkedError::SizeOverflow);
        }
        self.size_digits += 1;
        self.remaining = (self.remaining << 4) | u64::from(digit);
        Ok(State::Size)
    }

    fn end_size(&self, byte: u8) -> Result<State, ChunkedError> {
        let missing = self.state == State::SizeStart;
        match byte {
            b'\n' => Err(ChunkedError::BareLf),
            b'\r' | b';' if missing => Err(ChunkedError::SizeMissing),
            b'\r' => Ok(State::SizeLf),
            b';' => Ok(State::ExtensionStart),
            b' ' | b'\t' if !missing => Ok(State::SizeBlank),
            _ => Err(ChunkedError::SizeInvalid),
        }
    }

    /// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`, RFC 9112 §7.1.1.
    fn step_extension(&mut self, byte: u8) -> Result<State, ChunkedError> {
        self.count_line_byte()?;
        let blank = matches!(byte, b' ' | b'\t');
        let token = is(byte, TOKEN);
        match (self.state, byte) {
            (State::ExtensionName | State::ExtensionToken | State::ExtensionEnd, b'\r') => {
                Ok(State::SizeLf)
            }
            (_, b'\n') => Err(ChunkedError::BareLf),
            (State::SizeBlank, b';') => Ok(State::ExtensionStart),
            (State::SizeBlank, _) if blank => Ok(State::SizeBlank),
            (State::SizeBlank, _) => Err(ChunkedError::SizeInvalid),
            (State::ExtensionStart, _) if blank => Ok(State::ExtensionStart),
            (State::ExtensionStart | State::ExtensionName, _) if token => Ok(State::ExtensionName),
            (State::ExtensionName | State::ExtensionNameBlank, b'=') => {
                Ok(State::ExtensionValueStart)
            }
            (State::ExtensionName | State::ExtensionNameBlank, _) if blank => {
                Ok(State::ExtensionNameBlank)
            }
            (State::ExtensionValueStart, _) if blank => Ok(State::ExtensionValueStart),
            (State::ExtensionValueStart, b'"') => Ok(State::ExtensionQuoted),
            (State::ExtensionValueStart | State::ExtensionToken, _) if token => {
                Ok(State::ExtensionToken)
            }
            (State::ExtensionQuoted, b'"') => Ok(State::ExtensionEnd),
            (State::ExtensionQuoted, b'\\') => Ok(State::ExtensionEscape),
            (State::ExtensionQuoted | State::ExtensionEscape, _) if is(byte, VALUE) => {
                Ok(State::ExtensionQuoted)
            }
            (State::ExtensionToken | State::ExtensionEnd | State::ExtensionBlank, _) if blank => {
                Ok(State::ExtensionBlank)
            }
            (
                State::ExtensionName
                | State::ExtensionNameBlank
                | State::ExtensionToken
                | State::ExtensionEnd
                | State::ExtensionBlank,
                b';',
            ) => Ok(State::ExtensionStart),
            _ => Err(ChunkedError::ExtensionInvalid),
        }
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, ChunkedError> {
        if self.state == State::TrailerStart && byte == b'\r' {
            return Ok(State::EndLf);
        }
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.trailer_bytes_max {
            return Err(ChunkedError::TrailersTooLarge);
        }
        match (self.state, byte) {
            (State::TrailerLf, _) => {
                expect_lf(byte)?;
                Ok(State::TrailerStart)
            }
            (_, b'\n') => Err(ChunkedError::BareLf),
            (State::TrailerStart, b' ' | b'\t') => Err(ChunkedError::TrailerFolded),
            (State::TrailerStart, b':') => Err(ChunkedError::TrailerNameEmpty),
            (State::TrailerStart, _) => {
                self.name_bytes = 0;
                self.take_name_byte(byte)
            }
            (State::TrailerName, b':') if is_forbidden(&self.name[..self.name_bytes.into()]) => {
                Err(ChunkedError::TrailerForbidden)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerName, _) => self.take_name_byte(byte),
            (_, b'\r') => Ok(State::TrailerLf),
            (_, _) if is(byte, VALUE) => Ok(State::TrailerValue),
            (_, _) => Err(ChunkedError::TrailerControlByte),
        }
    }

    /// Keeps the name's first bytes, in lower case, for the verdict when it ends.
    fn take_name_byte(&mut self, byte: u8) -> Result<State, ChunkedError> {
        if !is(byte, TOKEN) {
            return Err(ChunkedError::TrailerNameInvalid);
        }
        if let Some(place) = self.name.get_mut(usize::from(self.name_bytes)) {
            *place = byte.to_ascii_lowercase();
            self.name_bytes += 1;
        }
        Ok(State::TrailerName)
    }

    #[inline]
    fn count_line_byte(&mut self) -> Result<(), ChunkedError> {
        self.line_bytes += 1;
        if self.line_bytes > self.line_bytes_max {
            return Err(ChunkedError::LineTooLong);
        }
        Ok(())
    }
}

#[inline]
fn expect_lf(byte: u8) -> Result<(), ChunkedError> {
    if byte == b'\n' { Ok(()) } else { Err(ChunkedError::BareCr) }
}

/// A chunk whose data is being appended, by where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenChunk(usize);

/// What a chunk that was opened takes besides its data: up to four digits and two line ends.
pub const OPEN_CHUNK_BYTES: usize = OPEN_DIGITS + 2 + CHUNK_END.len();

/// The most data that an open chunk can take.
pub const OPEN_CHUNK_DATA_BYTES_MAX: usize = (1 << (4 * OPEN_DIGITS)) - 1;

const OPEN_DIGITS: usize = 4;

/// Opens a chunk whose size is not known yet: what is appended until [`close_chunk`], at most
/// [`OPEN_CHUNK_DATA_BYTES_MAX`], is its data.
#[inline]
pub fn open_chunk(out: &mut Vec<u8>) -> OpenChunk {
    let start = out.len();
    out.extend_from_slice(b"0000\r\n");
    OpenChunk(start)
}

/// Closes a chunk. One without data would end the body, so of it nothing is left.
#[inline]
pub fn close_chunk(out: &mut Vec<u8>, OpenChunk(start): OpenChunk) {
    let data_start = start + OPEN_DIGITS + 2;
    let len = out.len().saturating_sub(data_start);
    debug_assert!(len <= OPEN_CHUNK_DATA_BYTES_MAX, "a chunk has more data than digits");
    if len == 0 {
        return out.truncate(start);
    }
    // No leading zeros: they are valid, and not every client has seen them.
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4) as usize;
    let unused = OPEN_DIGITS.saturating_sub(digits);
    if unused > 0 {
        out.copy_within(start + OPEN_DIGITS.., start + digits);
        out.truncate(out.len() - unused);
    }
    for (place, digit) in out.iter_mut().skip(start).take(digits).enumerate() {
        *digit = b"0123456789abcdef"[(len >> (4 * (digits - 1 - place))) & 0xf];
    }
    out.extend_from_slice(CHUNK_END);
}

/// Appends the size line of a chunk of `len` bytes; [`CHUNK_END`] follows its data, and
/// [`LAST_CHUNK`] the last one.
///
/// A chunk of 0 bytes would end the body, so for 0 nothing is written, and no [`CHUNK_END`] may
/// follow.
#[inline]
pub fn encode_chunk_header(out: &mut Vec<u8>, len: usize) {
    if len == 0 {
        return;
    }
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(len >> (4 * place)) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
}

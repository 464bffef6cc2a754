//! HTTP/1.1 as a client that checks what it gets: one request in flight per connection, no
//! pipelining. Reads status, framing and length; keeps no body. Leaves sockets to the generator.
//!
//! Invariant: a response is counted as correct only when its head parsed, its status was the
//! expected one and its body ended exactly where its framing said and had the expected length.

use std::rc::Rc;

use super::{Exchange, Protocol, Session};
use crate::recorder::Failure;

/// Longest response head accepted: far above what a proxy adds to the origin's 60 bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest chunk-size or trailer line accepted.
const LINE_BYTES_MAX: usize = 4 << 10;
const STATUS_EXPECTED: u16 = 200;

/// A request and what a correct response to it looks like.
#[derive(Debug, Clone)]
pub struct Http1 {
    request: Rc<[u8]>,
    body_bytes_expected: Option<u64>,
}

/// Whether the client asks the server to close after the response (RFC 9112 §9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Many requests per connection.
    KeepAlive,
    /// A connection per request.
    Close,
}

impl Http1 {
    /// A GET for `path` at `host`; `body_bytes_expected` is checked when given.
    pub fn get(
        path: &str,
        host: &str,
        persistence: Persistence,
        body_bytes_expected: Option<u64>,
    ) -> Self {
        let close = match persistence {
            Persistence::KeepAlive => "",
            Persistence::Close => "Connection: close\r\n",
        };
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tidegate-load\r\nAccept: */*\r\n{close}\r\n"
        );
        Self { request: text.into_bytes().into(), body_bytes_expected }
    }
}

impl Protocol for Http1 {
    type Session = Http1Session;

    fn session(&self) -> Http1Session {
        Http1Session {
            protocol: self.clone(),
            in_flight: None,
            expecting: Expecting::Head,
            partial: Vec::new(),
            response: Response::default(),
        }
    }
}

/// One connection's response parser.
#[derive(Debug)]
pub struct Http1Session {
    protocol: Http1,
    in_flight: Option<u64>,
    expecting: Expecting,
    /// The beginning of a head or chunk line that arrived in pieces.
    partial: Vec<u8>,
    response: Response,
}

#[derive(Debug, Default)]
struct Response {
    status: u16,
    reusable: bool,
    started: bool,
    body_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expecting {
    Head,
    Body { left: u64 },
    BodyUntilEnd,
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailer,
}

impl Session for Http1Session {
    #[inline]
    fn has_room(&self) -> bool {
        self.in_flight.is_none()
    }

    #[inline]
    fn begin(&mut self, intended_ns: u64, out: &mut Vec<u8>) {
        debug_assert!(self.in_flight.is_none(), "no pipelining");
        self.in_flight = Some(intended_ns);
        self.expecting = Expecting::Head;
        self.response = Response::default();
        out.extend_from_slice(&self.protocol.request);
    }

    fn receive(
        &mut self,
        mut bytes: &[u8],
        _out: &mut Vec<u8>,
        done: &mut Vec<Exchange>,
    ) -> Result<(), Failure> {
        while !bytes.is_empty() {
            if self.in_flight.is_none() {
                return Err(Failure::Malformed);
            }
            self.response.started = true;
            match self.expecting {
                Expecting::Head => bytes = self.take_head(bytes, done)?,
                Expecting::Body { left } => {
                    let taken = self.take_body(&mut bytes, left);
                    self.expecting = Expecting::Body { left: left - taken };
                    if left == taken {
                        self.finish(done);
                    }
                }
                Expecting::BodyUntilEnd => {
                    self.take_body(&mut bytes, u64::MAX);
                }
                Expecting::ChunkData { left } => {
                    let taken = self.take_body(&mut bytes, left);
                    self.expecting = match left - taken {
                        0 => Expecting::ChunkEnd,
                        left => Expecting::ChunkData { left },
                    };
                }
                Expecting::ChunkSize | Expecting::ChunkEnd | Expecting::Trailer => {
                    bytes = self.take_chunk_line(bytes, done)?;
                }
            }
        }
        Ok(())
    }

    fn end_of_stream(&mut self, done: &mut Vec<Exchange>) {
        if self.expecting == Expecting::BodyUntilEnd && self.in_flight.is_some() {
            self.finish(done);
        }
        let failure = if self.response.started { Failure::Short } else { Failure::Reset };
        self.abandon(failure, done);
    }

    fn abandon(&mut self, failure: Failure, done: &mut Vec<Exchange>) {
        if let Some(intended_ns) = self.in_flight.take() {
            done.push(Exchange { intended_ns, outcome: Err(failure), reusable: false });
        }
    }
}

impl Http1Session {
    /// Consumes head bytes; returns what follows the head, or nothing when it is incomplete.
    fn take_head<'a>(
        &mut self,
        bytes: &'a [u8],
        done: &mut Vec<Exchange>,
    ) -> Result<&'a [u8], Failure> {
        let (head, rest) = if self.partial.is_empty() {
            match head_end(bytes) {
                Some(end) => (parse_head(&bytes[..end]), &bytes[end..]),
                None => return self.keep_partial(bytes, HEAD_BYTES_MAX),
            }
        } else {
            let kept = self.partial.len();
            self.keep_partial(bytes, HEAD_BYTES_MAX + bytes.len())?;
            let Some(end) = head_end(&self.partial) else {
                if self.partial.len() > HEAD_BYTES_MAX {
                    return Err(Failure::Malformed);
                }
                return Ok(&[]);
            };
            let head = parse_head(&self.partial[..end]);
            self.partial.clear();
            (head, &bytes[end - kept..])
        };
        let head = head.ok_or(Failure::Malformed)?;
        self.enter_body(&head, done);
        Ok(rest)
    }

    /// Chooses the framing of the body (RFC 9112 §6.3) or finishes a response without one.
    fn enter_body(&mut self, head: &ResponseHead, done: &mut Vec<Exchange>) {
        if (100..200).contains(&head.status) && head.status != 101 {
            return;
        }
        self.response.status = head.status;
        self.response.reusable = !head.close;
        let bodiless = matches!(head.status, 101 | 204 | 304);
        self.expecting = match (head.chunked, head.content_length) {
            _ if bodiless => Expecting::Body { left: 0 },
            (true, _) => Expecting::ChunkSize,
            (false, Some(left)) => Expecting::Body { left },
            (false, None) => Expecting::BodyUntilEnd,
        };
        match self.expecting {
            Expecting::Body { left: 0 } => self.finish(done),
            Expecting::BodyUntilEnd => self.response.reusable = false,
            _ => {}
        }
    }

    #[inline]
    fn take_body(&mut self, bytes: &mut &[u8], left: u64) -> u64 {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        *bytes = &bytes[taken..];
        self.response.body_bytes += taken as u64;
        taken as u64
    }

    /// Consumes one line of chunked framing (RFC 9112 §7.1).
    fn take_chunk_line<'a>(
        &mut self,
        bytes: &'a [u8],
        done: &mut Vec<Exchange>,
    ) -> Result<&'a [u8], Failure> {
        let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') else {
            return self.keep_partial(bytes, LINE_BYTES_MAX);
        };
        self.keep_partial(&bytes[..=newline], LINE_BYTES_MAX)?;
        let line = self.partial.strip_suffix(b"\r\n").ok_or(Failure::Malformed)?;
        let next = match self.expecting {
            Expecting::ChunkSize => match parse_chunk_size(line).ok_or(Failure::Malformed)? {
                0 => Some(Expecting::Trailer),
                left => Some(Expecting::ChunkData { left }),
            },
            Expecting::ChunkEnd if line.is_empty() => Some(Expecting::ChunkSize),
            Expecting::Trailer if line.is_empty() => None,
            Expecting::Trailer => Some(Expecting::Trailer),
            _ => return Err(Failure::Malformed),
        };
        self.partial.clear();
        match next {
            Some(expecting) => self.expecting = expecting,
            None => self.finish(done),
        }
        Ok(&bytes[newline + 1..])
    }

    fn keep_partial<'a>(&mut self, bytes: &[u8], bytes_max: usize) -> Result<&'a [u8], Failure> {
        if self.partial.len() + bytes.len() > bytes_max {
            return Err(Failure::Malformed);
        }
        self.partial.extend_from_slice(bytes);
        Ok(&[])
    }

    #[inline]
    fn finish(&mut self, done: &mut Vec<Exchange>) {
        self.expecting = Expecting::Head;
        let Some(intended_ns) = self.in_flight.take() else { return };
        let length = self.response.body_bytes;
        let outcome = if self.response.status != STATUS_EXPECTED {
            Err(Failure::Status)
        } else if self.protocol.body_bytes_expected.is_some_and(|expected| expected != length) {
            Err(Failure::Length)
        } else {
            Ok(length)
        };
        done.push(Exchange { intended_ns, outcome, reusable: self.response.reusable });
    }
}

#[derive(Debug, PartialEq, Eq)]
struct ResponseHead {
    status: u16,
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
}

/// The length of a head including its empty line, if it is all there.
#[inline]
pub fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(offset) = bytes[from..].iter().position(|&byte| byte == b'\n') {
        let newline = from + offset;
        if bytes[..=newline].ends_with(b"\r\n\r\n") {
            return Some(newline + 1);
        }
        from = newline + 1;
    }
    None
}

fn parse_head(head: &[u8]) -> Option<ResponseHead> {
    let mut lines = head.strip_suffix(b"\r\n\r\n")?.split(|&byte| byte == b'\n');
    let first = lines.next()?;
    let minor = *first.strip_prefix(b"HTTP/1.")?.first()?;
    let status = parse_decimal(first.get(9..12)?)?;
    let mut parsed = ResponseHead {
        status: u16::try_from(status).ok()?,
        content_length: None,
        chunked: false,
        close: minor == b'0',
    };
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Only names that start with c or t matter; the rest is skipped on one comparison.
        if !matches!(line.first().map(u8::to_ascii_lowercase), Some(b'c' | b't')) {
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            parsed.content_length = Some(parse_decimal(value)?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            parsed.chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") {
            parsed.close = value.eq_ignore_ascii_case(b"close");
        }
    }
    Some(parsed)
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&byte| byte == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests;

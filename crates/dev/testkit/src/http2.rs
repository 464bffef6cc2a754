//! Owns a raw HTTP/2 client: it sends exactly the frames it is given, and reads frames one by one.
//!
//! Leaves header compression to `hpack` and what to send to the tests. Invariant: every operation ends within the client's
//! patience or fails the test; nothing is acknowledged and no window is opened behind a test's back.

use crate::deadline::PATIENCE;
use crate::hpack;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// The types of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs, reason = "they are called as in the RFC")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "they are called as in the RFC")]
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

/// The codes of errors (RFC 9113 §7).
pub mod code {
    #![allow(missing_docs, reason = "they are called as in the RFC")]
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL_ERROR: u32 = 1;
    pub const INTERNAL_ERROR: u32 = 2;
    pub const FLOW_CONTROL_ERROR: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE_ERROR: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION_ERROR: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What follows its header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The number in its payload at this place, of RST_STREAM, GOAWAY or WINDOW_UPDATE.
    #[must_use]
    #[track_caller]
    pub fn number(&self, at: usize) -> u32 {
        let bytes = self.payload[at..at + 4].try_into().expect("four bytes");
        u32::from_be_bytes(bytes)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What came of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The statuses of the responses before the final one.
    pub interim: Vec<u16>,
    /// The final status; 0 if there was none.
    pub status: u16,
    /// The fields of the final response.
    pub fields: Vec<(String, String)>,
    /// The content.
    pub body: Vec<u8>,
    /// The fields behind the content.
    pub trailers: Vec<(String, String)>,
    /// The code of the RST_STREAM that ended it.
    pub reset: Option<u32>,
}

impl Answer {
    /// The value of a field of the head.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// One client connection. Every method that waits panics when its deadline passes.
pub struct Http2Client {
    stream: TcpStream,
    /// Frames that were read while another stream was waited for.
    held: Vec<Frame>,
}

impl Http2Client {
    /// Connects, and begins with the preface and SETTINGS that allow no dynamic table and windows of 16 MiB.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::connect_silent(address);
        client.send(PREFACE);
        client.send_settings(&[(1, 0), (4, 16 << 20)]);
        client.send_frame(kind::WINDOW_UPDATE, 0, 0, &(16_u32 << 20).to_be_bytes());
        client
    }

    /// Connects, and begins with the preface and these SETTINGS besides having no dynamic table.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::connect_silent(address);
        client.send(PREFACE);
        client.send_settings(&[&[(1, 0)], settings].concat());
        client
    }

    /// Connects and says nothing.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect_silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the program listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("a duration above zero");
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, held: Vec::new() }
    }

    /// Sends bytes as they are. A peer that has closed is for who reads to find.
    ///
    /// # Panics
    /// When the peer takes nothing for too long.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the peer takes nothing")
            }
            Err(_) => false,
        }
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send_frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send(&frame(kind, flags, stream, payload))
    }

    /// Sends SETTINGS.
    #[track_caller]
    pub fn send_settings(&mut self, settings: &[(u16, u32)]) {
        let pair =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(pair).collect();
        self.send_frame(kind::SETTINGS, 0, 0, &payload);
    }

    /// Sends the fields of a request in one HEADERS frame.
    #[track_caller]
    pub fn send_headers(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
        self.send_frame(kind::HEADERS, flags, stream, &hpack::block(fields));
    }

    /// Sends a whole GET.
    #[track_caller]
    pub fn get(&mut self, stream: u32, path: &str) {
        self.send_headers(stream, &request("GET", path), true);
    }

    /// Sends content in frames of at most 16 KiB.
    #[track_caller]
    pub fn send_data(&mut self, stream: u32, data: &[u8], ends: bool) {
        let count = data.len().div_ceil(16_384).max(1);
        for place in 0..count {
            let part = &data[place * 16_384..data.len().min((place + 1) * 16_384)];
            let last = if ends && place + 1 == count { flag::END_STREAM } else { 0 };
            self.send_frame(kind::DATA, last, stream, part);
        }
    }

    /// The next frame from the network, or `None` at the end of the connection, in order or by a reset.
    ///
    /// # Panics
    /// When nothing comes in time, or the connection ends within a frame.
    #[track_caller]
    pub fn read_frame(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        if !self.read_exactly(&mut header) {
            return None;
        }
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        if !self.read_exactly(&mut payload) {
            return None;
        }
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        Some(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    #[track_caller]
    fn read_exactly(&mut self, into: &mut [u8]) -> bool {
        match self.stream.read_exact(into) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no frame came within {PATIENCE:?}")
            }
            Err(_) => false,
        }
    }

    /// The next frame that `wanted` takes, of those held back and those that come; `None` at the end of the connection.
    #[track_caller]
    pub fn find_frame(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        if let Some(place) = self.held.iter().position(&wanted) {
            return Some(self.held.remove(place));
        }
        loop {
            let frame = self.read_frame()?;
            if wanted(&frame) {
                return Some(frame);
            }
            self.held.push(frame);
        }
    }

    /// Waits for a frame of this type.
    ///
    /// # Panics
    /// When the connection ends without.
    #[track_caller]
    pub fn wait_frame(&mut self, kind: u8) -> Frame {
        self.find_frame(|frame| frame.kind == kind)
            .unwrap_or_else(|| panic!("the connection ended without a frame of type {kind}"))
    }

    /// Waits for the answer on a stream, to its end.
    ///
    /// # Panics
    /// When the connection ends before.
    #[track_caller]
    pub fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let frame = self
                .find_frame(|frame| frame.stream == stream && frame.kind != kind::WINDOW_UPDATE)
                .unwrap_or_else(|| {
                    panic!("the connection ended within stream {stream}: {answer:?}")
                });
            let ends = frame.kind == kind::RST_STREAM || frame.has(flag::END_STREAM);
            match frame.kind {
                kind::HEADERS => {
                    assert!(frame.has(flag::END_HEADERS), "one frame holds the fields");
                    add_fields(&mut answer, hpack::read_block(&frame.payload), ends);
                }
                kind::DATA => answer.body.extend_from_slice(&frame.payload),
                kind::RST_STREAM => answer.reset = Some(frame.number(0)),
                other => panic!("a frame of type {other} on a stream"),
            }
            if ends {
                return answer;
            }
        }
    }

    /// Waits for GOAWAY with an error, and the end of the connection; the code. None: it ended without.
    #[track_caller]
    pub fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        self.held.clear();
        while let Some(frame) = self.read_frame() {
            if frame.kind == kind::GOAWAY {
                code = Some(frame.number(4));
            }
        }
        code
    }

    /// The code by which a stream, or the connection, is ended.
    ///
    /// # Panics
    /// When neither is.
    #[track_caller]
    pub fn error(&mut self, stream: u32) -> Error {
        let is_error = |frame: &Frame| {
            frame.kind == kind::GOAWAY || (frame.kind == kind::RST_STREAM && frame.stream == stream)
        };
        match self.find_frame(is_error) {
            Some(frame) if frame.kind == kind::GOAWAY => Error::Connection(frame.number(4)),
            Some(frame) => Error::Stream(frame.number(0)),
            None => Error::Closed,
        }
    }
}

/// How a peer answers what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// RST_STREAM with this code.
    Stream(u32),
    /// GOAWAY with this code.
    Connection(u32),
    /// The connection was closed without a word.
    Closed,
}

fn add_fields(answer: &mut Answer, fields: Vec<(String, String)>, ends: bool) {
    let status = fields.iter().find(|(name, _)| name == ":status");
    let Some((_, status)) = status else {
        assert!(ends && answer.status != 0, "trailers end a response");
        answer.trailers = fields;
        return;
    };
    match status.parse().expect("a number") {
        status @ 100..200 => answer.interim.push(status),
        status => (answer.status, answer.fields) = (status, fields),
    }
}

/// The bytes of a frame.
///
/// # Panics
/// When the payload is longer than frames can be.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length of three bytes").to_be_bytes();
    assert_eq!(length[0], 0, "a length of three bytes");
    let header = [length[1], length[2], length[3], kind, flags];
    [&header[..], &stream.to_be_bytes(), payload].concat()
}

/// The pseudo-header fields of a request.
#[must_use]
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")]
}

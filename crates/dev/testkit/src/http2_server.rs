//! Owns a raw HTTP/2 server: it sends exactly the frames that a test gives it, and reads frames one by one.
//!
//! Leaves header compression to `hpack` and what to answer to the tests. Invariant: every connection has a thread of its own, and a
//! thread that fails tells why when the server is dropped.

use crate::deadline::PATIENCE;
use crate::hpack;
use crate::http2::{Frame, flag, frame, kind};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Fields as they came.
type Lines = Vec<(String, String)>;

/// A running server.
pub struct Http2Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    requests: Mutex<Vec<Http2Request>>,
}

/// A request as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2Request {
    /// Its stream.
    pub stream: u32,
    /// Its fields, those with a colon included.
    pub fields: Vec<(String, String)>,
    /// Its content, where it was waited for.
    pub body: Vec<u8>,
    /// Whether it ended with its fields.
    pub ended: bool,
}

impl Http2Request {
    /// The value of a field; of several the first one.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

impl Http2Origin {
    /// Starts it: `serve` is called for each connection, on a thread of its own, before a byte of it was read.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(
        serve: impl Fn(&mut Http2Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (shared, serve) = (Arc::new(Shared::default()), Arc::new(serve));
        let seen = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                let (serve, seen) = (serve.clone(), seen.clone());
                thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PATIENCE));
                    let _ = stream.set_nodelay(true);
                    let mut connection = Http2Connection { stream, number, seen };
                    // Whoever is served may close at any time.
                    let _ = serve(&mut connection);
                });
            }
        });
        Self { address, shared }
    }

    /// As [`Http2Origin::start`], with SETTINGS and an answer for each request.
    #[must_use]
    pub fn answering(
        settings: &'static [(u16, u32)],
        answer: impl Fn(&mut Http2Connection, &Http2Request) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::start(move |connection| {
            connection.begin(settings)?;
            while let Some(request) = connection.read_request()? {
                answer(connection, &request)?;
            }
            Ok(())
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The requests that came so far.
    ///
    /// # Panics
    /// When a connection's thread panicked.
    #[must_use]
    pub fn requests(&self) -> Vec<Http2Request> {
        self.shared.requests.lock().expect("no thread panics with it").clone()
    }
}

/// One connection.
pub struct Http2Connection {
    stream: TcpStream,
    number: usize,
    seen: Arc<Shared>,
}

impl Http2Connection {
    /// Its number, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads the preface, and says these SETTINGS besides having no dynamic table.
    ///
    /// # Errors
    /// The client has gone, or begins with something else.
    pub fn begin(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        self.send_settings(&[&[(1, 0)], settings].concat())?;
        self.read_preface()
    }

    /// Reads the preface.
    ///
    /// # Errors
    /// The client has gone, or begins with something else.
    pub fn read_preface(&mut self) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface)?;
        if preface == PREFACE { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The client has gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The client has gone.
    pub fn send_frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.send(&frame(kind, flags, stream, payload))
    }

    /// Sends SETTINGS.
    ///
    /// # Errors
    /// The client has gone.
    pub fn send_settings(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let pair =
            |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(pair).collect();
        self.send_frame(kind::SETTINGS, 0, 0, &payload)
    }

    /// Sends fields in one HEADERS frame.
    ///
    /// # Errors
    /// The client has gone.
    pub fn send_fields(
        &mut self,
        stream: u32,
        fields: &[(&str, &str)],
        ends: bool,
    ) -> io::Result<()> {
        let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
        self.send_frame(kind::HEADERS, flags, stream, &hpack::block(fields))
    }

    /// Sends content in one DATA frame.
    ///
    /// # Errors
    /// The client has gone.
    pub fn send_data(&mut self, stream: u32, data: &[u8], ends: bool) -> io::Result<()> {
        self.send_frame(kind::DATA, if ends { flag::END_STREAM } else { 0 }, stream, data)
    }

    /// Sends a whole response.
    ///
    /// # Errors
    /// The client has gone.
    pub fn respond(&mut self, stream: u32, status: &str, body: &str) -> io::Result<()> {
        self.send_fields(stream, &[(":status", status)], body.is_empty())?;
        if body.is_empty() { Ok(()) } else { self.send_data(stream, body.as_bytes(), true) }
    }

    /// Ends a stream with this code.
    ///
    /// # Errors
    /// The client has gone.
    pub fn reset(&mut self, stream: u32, code: u32) -> io::Result<()> {
        self.send_frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    /// Takes no streams beyond `last` any more.
    ///
    /// # Errors
    /// The client has gone.
    pub fn goaway(&mut self, last: u32, code: u32) -> io::Result<()> {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.send_frame(kind::GOAWAY, 0, 0, &payload)
    }

    /// The next frame, or `None` at the end of the connection.
    ///
    /// # Errors
    /// It has failed, or nothing came in time.
    pub fn read_frame(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; 9];
        match self.stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        Ok(Some(Frame { kind: header[3], flags: header[4], stream, payload }))
    }

    /// The fields of the next request, with SETTINGS and PING acknowledged meanwhile; `None` at the end of the connection.
    ///
    /// # Errors
    /// As [`Http2Connection::read_frame`].
    ///
    /// # Panics
    /// When a thread panicked.
    pub fn read_request(&mut self) -> io::Result<Option<Http2Request>> {
        loop {
            let Some(frame) = self.read_frame()? else { return Ok(None) };
            match frame.kind {
                kind::HEADERS => {
                    let request = Http2Request {
                        stream: frame.stream,
                        fields: hpack::read_block(&frame.payload),
                        body: Vec::new(),
                        ended: frame.flags & flag::END_STREAM != 0,
                    };
                    // Trailers are no request.
                    if request.field(":method").is_some() {
                        let mut seen = self.seen.requests.lock().expect("no thread panics with it");
                        seen.push(request.clone());
                        return Ok(Some(request));
                    }
                }
                kind::SETTINGS | kind::PING if frame.flags & flag::ACK == 0 => {
                    let payload = if frame.kind == kind::PING { &frame.payload[..] } else { &[] };
                    self.send_frame(frame.kind, flag::ACK, 0, payload)?;
                }
                _ => {}
            }
        }
    }

    /// The content of a request to its end, and its trailers. Windows are opened for what came.
    ///
    /// # Errors
    /// As [`Http2Connection::read_frame`].
    pub fn read_body(&mut self, stream: u32) -> io::Result<(Vec<u8>, Lines)> {
        let mut body = Vec::new();
        loop {
            let Some(frame) = self.read_frame()? else {
                return Err(ErrorKind::UnexpectedEof.into());
            };
            if frame.stream != stream {
                continue;
            }
            let ends = frame.flags & flag::END_STREAM != 0;
            match frame.kind {
                kind::DATA => {
                    body.extend_from_slice(&frame.payload);
                    let bytes = u32::try_from(frame.payload.len()).unwrap_or_default();
                    if bytes > 0 {
                        self.send_frame(kind::WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())?;
                        self.send_frame(kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())?;
                    }
                    if ends {
                        return Ok((body, Vec::new()));
                    }
                }
                kind::HEADERS if ends => return Ok((body, hpack::read_block(&frame.payload))),
                kind::RST_STREAM => return Err(ErrorKind::ConnectionReset.into()),
                _ => {}
            }
        }
    }
}

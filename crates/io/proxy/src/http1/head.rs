//! Reading a request's head from a client.
//!
//! Owns the bytes until the head is complete and the copy of it that goes to servers; leaves judging it to
//! `tidegate-http1`. Invariant: nothing received is held in a ring buffer while waiting for more.

use std::net::SocketAddr;
use std::time::Instant;

use tidegate_access_log::Ending;
use tidegate_exchange::{Failure, FailureKind};
use tidegate_http1::{
    BodyLength, ConnectionHeader, Method, Parsed, RequestError, RequestHead, RequestScan, Version,
    continue_request, parse_request,
};
use tidegate_http2::is_grpc;
use tidegate_persistence::Pin;
use tidegate_ring::{PeerAddress, RecvBuf};
use tidegate_semantics::compressed_head::Asked;

use super::mirror::Copies;
use super::respond;
use super::sticking::Stuck;
use super::trace::{Outcome, Trace};
use super::write_head::HeadWriter;
use super::{Server, Spilled};
use crate::client::Client;
use crate::rules::{Ends, Judge, OwnFields, Received, Route};
use crate::site::Frontend;
use crate::spoken::Spoken;

/// A request whose head is complete: what the exchange has to know of it.
pub(super) struct Incoming {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) body: BodyLength,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) upgrade: bool,
    /// It is a call of gRPC.
    pub(super) grpc: bool,
    /// When its first byte was seen.
    pub(super) started: Instant,
    /// Its head as every server gets it; as it was received while a password is compared.
    pub(super) head: Vec<u8>,
    /// Where it goes.
    pub(super) route: Route,
    /// What it says of codings, where responses may be compressed.
    pub(super) asked: Option<Asked>,
    /// What stands for it there, where servers are picked by a hash.
    pub(super) key: Option<u64>,
    /// What goes elsewhere besides.
    pub(super) copies: Option<Copies>,
    /// What the log quotes of it.
    pub(super) trace: Trace,
    /// The server that its client has had.
    pub(super) pin: Pin,
    /// The same by the backend's table.
    pub(super) stuck: Stuck,
}

type Head = Spilled<RequestScan>;

/// A head that is refused, and what the log quotes of it.
struct Refused {
    error: RequestError,
    trace: Trace,
}

/// What came of waiting for a request.
pub(super) enum Heard {
    /// It is in the place that was given for it.
    Request,
    /// The line end too many that old clients send behind a body, and nothing else so far.
    EmptyLine,
    /// There is no request and the client has been dealt with.
    End,
}

impl Server {
    /// Reads one head; what it says is put into `request`, where it stays while it is served: moving it costs more than
    /// reading it where it is.
    pub(super) async fn read_request(
        &self,
        client: &mut Client,
        frontend: &Frontend,
        input: &mut Option<RecvBuf>,
        request: &mut Option<Incoming>,
    ) -> Heard {
        let started = self.alarm.now();
        let deadline = started + frontend.timeouts.request_head;
        let mut spilled = None;
        loop {
            let piece = match input.take() {
                Some(piece) => piece,
                None => {
                    let received = self
                        .alarm
                        .within(deadline, |context| client.socket.poll_recv(context))
                        .await;
                    match received {
                        Ok(Ok(Some(piece))) => {
                            frontend.stats.bytes_in.add(piece.len() as u64);
                            piece
                        }
                        Ok(Ok(None) | Err(_)) => {
                            self.left(client, frontend, spilled, started);
                            return Heard::End;
                        }
                        Err(_expired) => {
                            client.count_request();
                            let failure = Failure::in_request(FailureKind::RequestHeadTimeout);
                            let trace = self.unfinished(frontend, &mut spilled);
                            self.refuse(client, frontend, failure, started, trace).await;
                            return Heard::End;
                        }
                    }
                }
            };
            let places = (&mut spilled, &mut *input, &mut *request);
            match self.add_to_head(client, frontend, piece, places, started) {
                Ok(Parsed::Incomplete) => {
                    if self.ignores_empty_line(client, &mut spilled) {
                        return Heard::EmptyLine;
                    }
                }
                Ok(Parsed::Complete { .. }) => {
                    client.count_request();
                    client.empty_line_seen = false;
                    return Heard::Request;
                }
                Err(Refused { error, trace }) => {
                    client.count_request();
                    let failure = respond::rejected(error);
                    self.refuse(client, frontend, failure, started, trace).await;
                    return Heard::End;
                }
            }
        }
    }

    /// Forgets an empty line after a request: who sent it has not begun another one (RFC 9112 §2.2). Only one, so that a
    /// client cannot keep its connection by empty lines.
    fn ignores_empty_line(&self, client: &mut Client, spilled: &mut Option<Head>) -> bool {
        let is_empty_line = spilled.as_ref().is_some_and(|head| head.bytes == b"\r\n");
        if client.requests.get() == 0 || client.empty_line_seen || !is_empty_line {
            return false;
        }
        client.empty_line_seen = true;
        self.forget(spilled);
        true
    }

    /// What the log quotes of a head that does not end.
    fn unfinished(&self, frontend: &Frontend, spilled: &mut Option<Head>) -> Trace {
        let bytes = spilled.as_ref().map_or(&[][..], |head| &head.bytes);
        let trace = Trace::of_invalid(self, frontend, bytes);
        self.forget(spilled);
        trace
    }

    fn forget(&self, spilled: &mut Option<Head>) {
        if let Some(head) = spilled.take() {
            self.worker.shard.ring.put_vec(head.bytes);
        }
    }

    /// The client closed between two requests, or within a head: an abandoned head is a failure that is counted.
    fn left(
        &self,
        client: &mut Client,
        frontend: &Frontend,
        mut spilled: Option<Head>,
        started: Instant,
    ) {
        if spilled.is_none() {
            return self.worker.log_empty(client, FailureKind::ClientGone);
        }
        client.count_request();
        let failure = Failure::in_request(FailureKind::ClientGone);
        frontend.stats.failures.increment(failure.index());
        let trace = self.unfinished(frontend, &mut spilled);
        let outcome = Outcome { ending: Ending::Failed(failure), status: None, sent: 0 };
        self.log_refused(client, frontend, started, trace, &outcome);
    }

    /// Takes one more piece. The head is parsed where it was received unless it spans pieces, and then each byte of it is
    /// judged as it comes and the whole is parsed at its end.
    fn add_to_head(
        &self,
        client: &Client,
        frontend: &Frontend,
        mut piece: RecvBuf,
        (spilled, input, request): (&mut Option<Head>, &mut Option<RecvBuf>, &mut Option<Incoming>),
        started: Instant,
    ) -> Result<Parsed, Refused> {
        let before = spilled.as_ref().map_or(0, |head| head.bytes.len());
        let mut head = self.worker.scratch.request.borrow_mut();
        let parsed = match spilled {
            None => parse_request(&piece, &frontend.limits, &mut head),
            Some(Spilled { bytes, scan }) => {
                bytes.extend_from_slice(&piece);
                continue_request(bytes, &frontend.limits, &mut head, scan)
            }
        };
        match parsed {
            Ok(Parsed::Complete { head_bytes }) => {
                let bytes = spilled.as_ref().map_or(&piece[..], |head| &head.bytes);
                *request = Some(self.incoming(client, frontend, bytes, &head, started));
                piece.advance(head_bytes - before);
                if piece.is_empty() {
                    self.worker.shard.ring.put_received(piece);
                } else {
                    *input = Some(piece);
                }
                self.forget(spilled);
                Ok(Parsed::Complete { head_bytes })
            }
            Ok(Parsed::Incomplete) => {
                if spilled.is_none() {
                    let mut bytes = self.worker.shard.ring.take_vec();
                    bytes.extend_from_slice(&piece);
                    *spilled = Some(Head { bytes, scan: RequestScan::new() });
                }
                Ok(Parsed::Incomplete)
            }
            Err(error) => {
                let bytes = spilled.as_ref().map_or(&piece[..], |head| &head.bytes);
                let trace = Trace::of_invalid(self, frontend, bytes);
                self.forget(spilled);
                Err(Refused { error, trace })
            }
        }
    }

    /// What the head just parsed from `bytes` says, where it goes, and its copy for the servers.
    fn incoming(
        &self,
        client: &Client,
        frontend: &Frontend,
        bytes: &[u8],
        parsed: &RequestHead,
        started: Instant,
    ) -> Incoming {
        let received = received(client, frontend, bytes, parsed);
        let trace = Trace::of_head(self, frontend, &received);
        let route = match parsed.method() {
            Method::Connect => {
                self.notes.borrow_mut().clear();
                Route::Nowhere
            }
            _ if OwnFields::is_loop(&frontend.own_fields, parsed, bytes) => {
                self.notes.borrow_mut().clear();
                Route::Loop
            }
            _ => self.judge(frontend).decide(&received, &mut self.notes.borrow_mut()),
        };
        self.prepare(client, frontend, &received, route, (started, trace))
    }

    pub(super) fn judge<'a>(&'a self, frontend: &'a Frontend) -> Judge<'a> {
        Judge { frontend, scratch: &self.worker.scratch.rules, now: self.alarm.now() }
    }

    /// The request once its route is known, with when it began and what the log quotes of it.
    pub(super) fn prepare(
        &self,
        client: &Client,
        frontend: &Frontend,
        received: &Received<'_>,
        route: Route,
        (started, trace): (Instant, Trace),
    ) -> Incoming {
        let parsed = received.head;
        let mut head = self.worker.shard.ring.take_vec();
        let (mut method, mut copies) = (parsed.method(), None);
        let (mut asked, mut key) = (None, None);
        let (mut pin, mut stuck) = (Pin::default(), Stuck::default());
        match &route {
            Route::Backend(backend) => {
                let notes = self.notes.borrow();
                key = self.judge(frontend).balance_key(received, &notes, backend);
                let mark = self.judge(frontend).mark(received, &notes, backend);
                stuck = Stuck::find(backend, mark, self.alarm.now());
                let mut writer = HeadWriter::new(self, client, frontend, received, &notes);
                if let Some(persistence) = &backend.persistence {
                    pin = writer.hide_token(persistence);
                }
                let connection = match (parsed.upgrade(), backend.reuse) {
                    (true, _) => ConnectionHeader::Upgrade,
                    (false, true) => ConnectionHeader::KeepAlive,
                    (false, false) => ConnectionHeader::Close,
                };
                method = writer.method(method);
                if frontend.compression(backend).is_some() {
                    let headers = parsed.headers(received.bytes);
                    asked = Some(Asked::of(headers, method == Method::Head));
                }
                writer.write(connection, true, &mut head);
                if !notes.overlay.mirrors().is_empty() && !parsed.upgrade() {
                    copies = Copies::new(frontend, &notes, method, |out| {
                        writer.write(ConnectionHeader::Close, false, out);
                    });
                }
            }
            // The rules will go on over these bytes.
            Route::Verify(_) => head.extend_from_slice(&received.bytes[..parsed.head_bytes()]),
            Route::Answer(_) | Route::Nowhere | Route::Loop => {}
        }
        Incoming {
            method,
            version: parsed.version(),
            body: parsed.body(),
            keep_alive: parsed.keep_alive(),
            expects_continue: parsed.expects_continue(),
            upgrade: parsed.upgrade(),
            grpc: is_call(client, received),
            started,
            head,
            route,
            asked,
            key,
            copies,
            trace,
            pin,
            stuck,
        }
    }
}

/// Whether it is a call of gRPC, which HTTP/2 alone can carry.
fn is_call(client: &Client, received: &Received<'_>) -> bool {
    client.socket.is_http2()
        && received.head.header(received.bytes, b"content-type").is_some_and(is_grpc)
}

/// A request's head, seen with where it came from.
pub(super) fn received<'a>(
    client: &'a Client,
    frontend: &Frontend,
    bytes: &'a [u8],
    head: &'a RequestHead,
) -> Received<'a> {
    Received { head, bytes, ends: ends(client, frontend, head.version()) }
}

/// A client's connection as rules see it: IPv4 addresses in their own form, that of this side only if it is asked for.
pub(super) fn ends<'a>(client: &'a Client, frontend: &Frontend, text: Version) -> Ends<'a> {
    let of = |address| match address {
        PeerAddress::Ip(address) => {
            Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
        }
        PeerAddress::Unix | PeerAddress::Unknown => None,
    };
    let local = if frontend.needs.local { of(client.socket.local_address()) } else { None };
    let (spoken, tls) = (Spoken::of(client, text), client.socket.tls_facts());
    Ends { peer: of(client.peer), local, spoken, tls }
}

/// The Host of an HTTP/1.0 request that has none: what the client connected to. The server is spoken to in HTTP/1.1, where it
/// must not be missing or empty (RFC 9112 §3.2).
pub(super) fn local_host(client: &Client) -> String {
    match client.socket.local_address() {
        PeerAddress::Ip(address) => address.to_string(),
        PeerAddress::Unix | PeerAddress::Unknown => "localhost".to_owned(),
    }
}

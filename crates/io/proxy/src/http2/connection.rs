//! The task of one HTTP/2 connection: it begins streams and ends the connection.
//!
//! Owns the order of a connection's life: preface, streams, idleness, GOAWAY, close; leaves each stream to a task of its own.
//! Invariant: whatever the client does, every wait here has a deadline.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tidegate_exchange::{Failure, FailureKind};
use tidegate_http2::{Carried, Flood, Malformed, Pseudo, RequestKind, write_request};
use tidegate_ring::RecvBuf;
use tidegate_shard::{Alarm, TaskId};

use super::carrier::{Carrier, End};
use super::errors::{ERROR_CODES, error_index};
use super::outgoing::fields;
use super::shared::Shared;
use super::stream::Http2Stream;
use super::{Piece, SHARD_STREAMS_MAX, STREAMS_TOTAL_MAX, settings};
use crate::client::Client;
use crate::command::{Event, EventKind};
use crate::http1;
use crate::settings::rejection_index;
use crate::stream::{Stream, Tls};
use crate::worker::Worker;

/// How long a client that was told to go may take to say that it has heard it, and to take the last bytes.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a malformed request is counted and logged with.
const MALFORMED_STATUS: u16 = 400;

/// How far a connection is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Streams may be opened.
    Open,
    /// The client knows that it is to open no more; those that are open go on.
    Leaving,
    /// The end has been sent.
    Ended(Instant),
}

/// One connection.
struct Conversation<'a> {
    worker: &'a Rc<Worker>,
    alarm: &'a Alarm,
    client: &'a Rc<Client>,
    shared: &'a Rc<Shared>,
    phase: Phase,
    /// When it had nothing left to do but to hear from the client.
    left_at: Option<Instant>,
}

/// The client as the library's bytes see it.
struct ClientSide {
    client: Rc<Client>,
    shared: Rc<Shared>,
    worker: Rc<Worker>,
}

impl End for ClientSide {
    fn stream(&self) -> &Stream {
        &self.client.socket
    }

    fn note_received(&self, now: Instant, bytes: &[u8]) {
        self.shared.note_received(now, bytes);
    }

    fn is_flooding(&self) -> bool {
        self.shared.is_flooding()
    }

    fn note_sent(&self, bytes: &[u8]) {
        self.shared.resets.note_sent(bytes, |stream, reason| {
            let code = error_index(reason);
            let frontend = self.client.entrance.frontend();
            frontend.stats.http2_stream_errors.increment(code);
            let detail = format!("stream {stream}");
            let event =
                Event { detail, ..Event::new(EventKind::StreamMalformed, ERROR_CODES[code]) };
            tell(&self.worker, &self.client, event);
        });
    }

    fn note_finished(&self) -> bool {
        self.shared.is_finished.replace(true)
    }
}

/// The entry in the shard's list, which a drop takes out.
struct Listed<'a>(&'a Worker, TaskId, Rc<Client>);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.http2.tasks.borrow_mut().remove(&self.1.0);
        self.2.entrance.frontend().stats.http2_connections_open.decrement();
    }
}

/// Serves a client that speaks HTTP/2, of which `first` has come, until its connection has ended.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    alarm: &Alarm,
    client: Box<Client>,
    first: Option<RecvBuf>,
) {
    let Some(task) = worker.shard.tasks.current() else { return };
    let client: Rc<Client> = Rc::from(client);
    let frontend = client.entrance.frontend();
    let addresses = (client.peer, client.socket.local_address());
    let tls = client.socket.tls().and_then(Tls::shared_facts);
    let shared = Shared::new(worker, task, &client.entrance, addresses, tls);
    frontend.stats.http2_connections_total.increment();
    frontend.stats.http2_connections_open.increment();
    worker.http2.tasks.borrow_mut().insert(task.0);
    let _listed = Listed(worker, task, client.clone());
    let side =
        ClientSide { client: client.clone(), shared: shared.clone(), worker: worker.clone() };
    let carrier = Carrier::new(side, &worker.shard, first);
    let deadline = alarm.now() + frontend.timeouts.request_head;
    let mut handshake = pin!(settings(&frontend.limits).handshake::<_, Piece>(carrier));
    let begun = alarm.within(deadline, |context| handshake.as_mut().poll(context)).await;
    let conversation = Conversation {
        worker,
        alarm,
        client: &client,
        shared: &shared,
        phase: Phase::Open,
        left_at: None,
    };
    match begun {
        Ok(Ok(mut connection)) => {
            conversation.run(&mut connection).await;
            drop(connection);
        }
        Ok(Err(error)) => conversation.note_error(&error),
        Err(_) => {}
    }
    http1::close_with_care(alarm, &client, alarm.now() + FAREWELL).await;
}

/// Tells the log what a client has done.
fn tell(worker: &Worker, client: &Client, mut event: Event) {
    event.frontend = Some(client.entrance.frontend().name.clone());
    event.peer = Some(client.peer);
    worker.report_event(event);
}

impl Conversation<'_> {
    async fn run(mut self, connection: &mut Connection<Carrier<ClientSide>, Piece>) {
        poll_fn(|context| self.poll(context, connection)).await;
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        connection: &mut Connection<Carrier<ClientSide>, Piece>,
    ) -> Poll<()> {
        loop {
            self.end_flood(connection);
            match connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => {
                    self.note_error(&error);
                    return Poll::Ready(());
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if self.has_new_flood() => {}
                Poll::Pending if self.leaves(connection) => {}
                Poll::Pending => return self.poll_deadline(connection),
            }
        }
    }

    fn has_new_flood(&self) -> bool {
        self.shared.is_flooding() && !matches!(self.phase, Phase::Ended(_))
    }

    /// Ends a connection that costs more than it brings.
    fn end_flood(&mut self, connection: &mut Connection<Carrier<ClientSide>, Piece>) {
        if self.has_new_flood()
            && let Some(flood) = self.shared.flood()
        {
            self.count_flood(flood);
            self.end(connection, Reason::ENHANCE_YOUR_CALM);
        }
    }

    fn count_flood(&self, flood: Flood) {
        let frontend = self.client.entrance.frontend();
        frontend.stats.http2_floods.increment(flood.index());
        self.tell(EventKind::ConnectionFlooded, flood.label());
    }

    /// Counts and tells that the client broke a rule which ends its connection (RFC 9113 §5.4.1).
    fn count_error(&self, reason: Reason) {
        let frontend = self.client.entrance.frontend();
        let code = error_index(reason);
        frontend.stats.http2_errors.increment(code);
        self.tell(EventKind::ConnectionMalformed, ERROR_CODES[code]);
    }

    /// Tells the log what the client has done.
    fn tell(&self, kind: EventKind, reason: &'static str) {
        tell(self.worker, self.client, Event::new(kind, reason));
    }

    fn end(&mut self, connection: &mut Connection<Carrier<ClientSide>, Piece>, reason: Reason) {
        self.client.entrance.frontend().stats.http2_goaways.increment();
        connection.abrupt_shutdown(reason);
        self.phase = Phase::Ended(self.alarm.now() + FAREWELL);
    }

    /// The library has ended the connection, or the client has.
    fn note_error(&self, error: &h2::Error) {
        if error.is_go_away() && error.is_library() {
            self.client.entrance.frontend().stats.http2_goaways.increment();
            match error.reason() {
                Some(Reason::ENHANCE_YOUR_CALM) => {
                    self.shared.note_flood(Flood::Library);
                    self.count_flood(Flood::Library);
                }
                Some(reason) if reason != Reason::NO_ERROR => self.count_error(reason),
                _ => {}
            }
        }
    }

    /// Tells the client to open no more streams when it is time; `true` if it was told just now.
    fn leaves(&mut self, connection: &mut Connection<Carrier<ClientSide>, Piece>) -> bool {
        if self.phase != Phase::Open {
            return false;
        }
        let now = self.alarm.now();
        let is_due = self.worker.is_draining()
            || self.client.requests.get() >= STREAMS_TOTAL_MAX
            || now >= self.expires()
            || self.idle_deadline().is_some_and(|idle| now >= idle);
        if is_due {
            self.client.entrance.frontend().stats.http2_goaways.increment();
            connection.graceful_shutdown();
            self.phase = Phase::Leaving;
        }
        is_due
    }

    /// When it is as old as it may get, by the configuration of today.
    fn expires(&self) -> Instant {
        self.client.accepted + self.client.entrance.frontend().timeouts.http2_lifetime
    }

    /// When a connection without streams has been idle for too long.
    fn idle_deadline(&self) -> Option<Instant> {
        let timeouts = &self.client.entrance.frontend().timeouts;
        let patience = if self.client.requests.get() == 0 {
            timeouts.request_head
        } else {
            timeouts.keep_alive
        };
        (self.shared.streams_open() == 0).then(|| self.shared.active_at() + patience)
    }

    /// Waits for the next thing that time brings.
    fn poll_deadline(
        &mut self,
        connection: &mut Connection<Carrier<ClientSide>, Piece>,
    ) -> Poll<()> {
        let now = self.alarm.now();
        let deadline = match self.phase {
            Phase::Open => {
                let expires = self.expires();
                self.idle_deadline().map_or(expires, |idle| idle.min(expires))
            }
            Phase::Leaving if self.shared.streams_open() > 0 => {
                self.left_at = None;
                return Poll::Pending;
            }
            Phase::Leaving => *self.left_at.get_or_insert(now) + FAREWELL,
            Phase::Ended(deadline) => deadline,
        };
        match (self.alarm.poll(deadline), self.phase) {
            (Poll::Pending, _) => return Poll::Pending,
            (Poll::Ready(_), Phase::Ended(_)) => return Poll::Ready(()),
            (Poll::Ready(_), Phase::Leaving) => self.end(connection, Reason::NO_ERROR),
            // It became due since it was asked.
            (Poll::Ready(_), Phase::Open) => {}
        }
        if let Some(task) = self.worker.shard.tasks.current() {
            self.worker.shard.tasks.wake(task);
        }
        Poll::Pending
    }

    /// A stream was opened.
    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Piece>) {
        let client = self.client;
        client.requests.set(client.requests.get().saturating_add(1));
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let frontend = client.entrance.frontend();
        if self.worker.http2.streams_open.get() >= SHARD_STREAMS_MAX {
            frontend.stats.http2_streams_refused.increment();
            return self.shared.resets.reset(&mut respond, Reason::REFUSED_STREAM);
        }
        let mut head = self.worker.shard.ring.take_vec();
        match self.write(&request, body.is_end_stream(), &mut head) {
            Ok(carried) => {
                let stream = Http2Stream::new(self.shared, head, carried, body, respond);
                let client = Client::of_stream(stream, client, self.alarm.now());
                self.worker.begin_stream(Box::new(client));
            }
            Err(malformed) => {
                self.note_malformed(&request, malformed);
                self.shared.resets.reset(&mut respond, Reason::PROTOCOL_ERROR);
                self.worker.shard.ring.put_vec(head);
            }
        }
    }

    /// Counts, tells and logs a request that is none. Its client sees the end of the stream, and no status (RFC 9113 §8.1.1).
    fn note_malformed(&self, request: &Request<()>, malformed: Malformed) {
        let frontend = self.client.entrance.frontend();
        frontend.stats.requests.record(MALFORMED_STATUS);
        if let Some(rule) = rejection_index(malformed.reason()) {
            frontend.stats.rejected.increment(rule);
        }
        self.tell(EventKind::RequestRejected, malformed.reason());
        let path = request.uri().path_and_query();
        let line =
            path.map(|path| (request.method().as_str().as_bytes(), path.as_str().as_bytes()));
        let kind = FailureKind::BadRequest { status: MALFORMED_STATUS, detail: malformed.reason() };
        self.worker.log_malformed(self.client, &frontend, line, Failure::in_request(kind));
    }

    fn write(
        &self,
        request: &Request<()>,
        ends: bool,
        out: &mut Vec<u8>,
    ) -> Result<Carried, Malformed> {
        let (uri, method) = (request.uri(), request.method().as_str().as_bytes());
        let protocol = request.extensions().get::<h2::ext::Protocol>();
        let is_plain_connect = method == b"CONNECT" && protocol.is_none();
        let pseudo = Pseudo {
            method,
            // The library demands one and forgets it where there is no authority.
            scheme: (!is_plain_connect)
                .then(|| uri.scheme_str().map_or(&b"http"[..], str::as_bytes)),
            authority: uri.authority().map(|authority| authority.as_str().as_bytes()),
            path: uri.path_and_query().map(|path| path.as_str().as_bytes()),
            protocol: protocol.map(|protocol| protocol.as_str().as_bytes()),
        };
        let scratch = &self.worker.scratch;
        let nonce = match pseudo.protocol {
            None => [0; 16],
            Some(_) => {
                let (one, two) = (scratch.random(), scratch.random());
                (u128::from(one) << 64 | u128::from(two)).to_be_bytes()
            }
        };
        let carried = write_request(&pseudo, || fields(request.headers()), ends, nonce, out)?;
        debug_assert!(carried.kind != RequestKind::WebSocket || pseudo.protocol.is_some());
        Ok(carried)
    }
}

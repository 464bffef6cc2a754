//! Answers of our own, and the end of a client's connection.
//!
//! Owns the text of error answers and closing so that the client can read them; leaves choosing the status to
//! `tidegate-exchange`. Invariant: an answer that refuses a request closes the connection, because where the next request
//! begins is unknown.

use std::time::{Duration, Instant};

use tidegate_access_log::Ending;
use tidegate_exchange::{Failure, FailureKind, Origin};
use tidegate_http1::{
    ConnectionHeader, HeaderEdits, HeaderLists, Method, RequestError, SimpleResponse, Version,
    encode_simple_response, reason_phrase,
};
use tidegate_http2::grpc_status_for;
use tidegate_ring::SendBuf;
use tidegate_shard::Alarm;

use super::exchange::Driver;
use super::head::Incoming;
use super::trace::{Outcome, Trace};
use super::upload::Upload;
use super::{Next, Server};
use crate::client::Client;
use crate::command::{Event, EventKind};
use crate::settings::rejection_index;
use crate::site::{Backend, Frontend};

/// How long a client may go on sending after our last word, so that closing does not destroy it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);

/// What it may send in that time.
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What a request that the parser refuses has failed by.
pub(super) fn rejected(error: RequestError) -> Failure {
    Failure::in_request(FailureKind::BadRequest { status: error.status(), detail: error.reason() })
}

/// Counts a failed request: one that breaks a rule by the rule, any other by its kind.
pub(super) fn count_failure(frontend: &Frontend, failure: Failure) {
    let rule = failure.kind.detail().filter(|_| is_rejection(failure)).and_then(rejection_index);
    match rule {
        Some(rule) => frontend.stats.rejected.increment(rule),
        None => frontend.stats.failures.increment(failure.index()),
    }
}

fn is_rejection(failure: Failure) -> bool {
    matches!(failure.kind, FailureKind::BadRequest { .. })
}

/// An event that says everything a failure knows.
fn failure_event(failure: Failure, frontend: &Frontend, client: &Client) -> Event {
    let kind =
        if is_rejection(failure) { EventKind::RequestRejected } else { EventKind::RequestFailed };
    let mut event = Event::new(kind, failure.reason());
    event.frontend = Some(frontend.name.clone());
    event.peer = Some(client.peer);
    event.status = failure.status().unwrap_or(0);
    event.detail = failure.kind.detail().unwrap_or_default().to_owned();
    event.flags = failure.flags().to_string();
    event
}

/// What an answer of our own says besides its content.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) connection: ConnectionHeader,
    pub(super) version: Version,
    pub(super) method: Method,
    /// It answers a call of gRPC, whose callers look for its own statuses.
    pub(super) grpc: bool,
}

/// Queues an error answer: the page configured for its status, or a short text, or what callers of gRPC read; how many bytes that are.
pub(super) fn queue_error(
    client: &Client,
    frontend: &Frontend,
    backend: Option<&Backend>,
    out: Vec<u8>,
    answer: &Answer,
    more: &[(&[u8], &[u8])],
) -> u64 {
    const NO_STORE: (&[u8], &[u8]) = (b"Cache-Control", b"no-store");
    if answer.grpc {
        return queue_grpc_status(client, frontend, out, answer, more);
    }
    let text;
    let (content_type, body) = match frontend.error_page(backend, answer.status) {
        Some(page) => (&*page.content_type, &*page.body),
        None => {
            text = format!("{} {}\n", answer.status, reason_phrase(answer.status));
            (&b"text/plain"[..], text.as_bytes())
        }
    };
    let own = [(&b"Content-Type"[..], content_type), NO_STORE];
    let headers =
        Both(HeaderLists { add: &own, remove: &[] }, HeaderLists { add: more, remove: &[] });
    queue_answer(client, frontend, out, answer, headers, body)
}

/// Queues an error answer as callers of gRPC read it: the response has no message, and its head says the status.
fn queue_grpc_status(
    client: &Client,
    frontend: &Frontend,
    out: Vec<u8>,
    answer: &Answer,
    more: &[(&[u8], &[u8])],
) -> u64 {
    let code = grpc_status_for(answer.status).to_string();
    let text = format!("{} {}", answer.status, reason_phrase(answer.status));
    let own = [
        (&b"Content-Type"[..], &b"application/grpc"[..]),
        (b"Grpc-Status", code.as_bytes()),
        (b"Grpc-Message", text.as_bytes()),
    ];
    let headers =
        Both(HeaderLists { add: &own, remove: &[] }, HeaderLists { add: more, remove: &[] });
    let answer = Answer { status: 200, ..*answer };
    queue_answer(client, frontend, out, &answer, headers, b"")
}

/// The lines of two.
pub(super) struct Both<A, B>(pub(super) A, pub(super) B);

impl<A: HeaderEdits, B: HeaderEdits> HeaderEdits for Both<A, B> {
    fn removes_any(&self) -> bool {
        self.0.removes_any() || self.1.removes_any()
    }

    fn removes(&self, name: &[u8]) -> bool {
        self.0.removes(name) || self.1.removes(name)
    }

    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.0.each_added(&mut add);
        self.1.each_added(add);
    }
}

/// Queues an answer of our own; how many bytes that are.
pub(super) fn queue_answer<H: HeaderEdits>(
    client: &Client,
    frontend: &Frontend,
    out: Vec<u8>,
    answer: &Answer,
    headers: H,
    body: &[u8],
) -> u64 {
    let mut out = out;
    let response = SimpleResponse {
        status: answer.status,
        headers,
        body,
        connection: answer.connection,
        client_version: answer.version,
        method: answer.method,
    };
    encode_simple_response(&mut out, &response);
    client.socket.queue(SendBuf::Vec(out));
    let sent = client.newly_sent();
    frontend.stats.bytes_out.add(sent);
    if answer.connection == ConnectionHeader::Close {
        client.socket.flush_last();
    } else {
        client.socket.flush();
    }
    sent
}

impl Server {
    /// Answers a request that goes no further, counts and logs it, and closes.
    pub(super) async fn refuse(
        &self,
        client: &Client,
        frontend: &Frontend,
        failure: Failure,
        started: Instant,
        trace: Trace,
    ) {
        let status = failure.status().unwrap_or(400);
        frontend.stats.requests.record(status);
        count_failure(frontend, failure);
        self.worker.report_event(failure_event(failure, frontend, client));
        let out = self.worker.shard.ring.take_vec();
        let answer = Answer {
            status,
            connection: ConnectionHeader::Close,
            version: Version::Http11,
            method: Method::Get,
            grpc: false,
        };
        let sent = queue_error(client, frontend, None, out, &answer, &[]);
        let outcome = Outcome { ending: Ending::Failed(failure), status: Some(status), sent };
        self.log_refused(client, frontend, started, trace, &outcome);
        close_with_care(&self.alarm, client, self.alarm.now() + frontend.timeouts.client).await;
    }
}

impl Driver<'_> {
    /// Answers a request that failed, and logs it. The connection persists if the client has sent all of the request.
    pub(super) async fn answer(
        &self,
        incoming: &Incoming,
        upload: &Upload,
        failure: Failure,
        sent_before: u64,
    ) -> Next {
        let Some(status) = failure.status() else { return Next::Close };
        let persists = incoming.keep_alive
            && upload.is_finished()
            && failure.origin() != Origin::Client
            && !self.worker.is_draining();
        let connection =
            if persists { ConnectionHeader::KeepAlive } else { ConnectionHeader::Close };
        let answer = Answer {
            status,
            connection,
            version: incoming.version,
            method: incoming.method,
            grpc: incoming.grpc,
        };
        if incoming.grpc {
            self.note_grpc(grpc_status_for(status));
        }
        let out = self.ring().take_vec();
        let sent = queue_error(self.client, self.frontend, Some(self.backend), out, &answer, &[]);
        let (ending, sent) = (Ending::Failed(failure), sent_before + sent);
        self.log(incoming, upload, &Outcome { ending, status: Some(status), sent });
        if persists {
            return Next::KeepAlive;
        }
        close_with_care(self.alarm, self.client, self.alarm.now() + self.timeouts.client).await;
        Next::Close
    }

    /// Takes note of the status of a call of gRPC, its server's or our own.
    pub(super) fn note_grpc(&self, status: u8) {
        self.marks.grpc_status.set(Some(status));
        self.backend.stats.grpc.increment(status.into());
    }

    /// Everything but a client's own leaving is worth a line.
    pub(super) fn log_failure(&self, failure: Failure, retries: u8) {
        if failure.kind == FailureKind::ClientGone {
            return;
        }
        let mut event = failure_event(failure, self.frontend, self.client);
        event.backend = Some(self.backend.name.clone());
        let server = failure.server.or(self.last_server.get());
        event.server = server
            .and_then(|index| self.backend.servers.get(index as usize))
            .map(|server| server.name.clone());
        if event.status == 0 {
            event.status = self.status.get();
        }
        event.retries = retries;
        self.worker.report_event(event);
    }
}

/// Tells the client that nothing more comes and waits until it has taken what is queued; `false` when it is gone or too slow.
async fn finished(alarm: &Alarm, client: &Client, deadline: Instant) -> bool {
    client.socket.finish();
    let sent = alarm.within(deadline, |context| client.socket.poll_flushed(context, 0)).await;
    matches!(sent, Ok(Ok(())))
}

/// Ends a connection whose client has nothing more to say: it asked for the end, or is idle.
pub(super) async fn close(alarm: &Alarm, client: &Client, deadline: Instant) {
    if finished(alarm, client, deadline).await && client.socket.has_arrived() {
        close_with_care(alarm, client, deadline).await;
    }
}

/// Ends a connection whose client may still be sending: says that we are done, then reads for a while what it sends, since
/// closing with unread bytes would reset the connection and could destroy our answer on its way (RFC 9112 §9.6).
pub(crate) async fn close_with_care(alarm: &Alarm, client: &Client, deadline: Instant) {
    // The end of a stream is a frame, which no byte of the client's can destroy.
    if !finished(alarm, client, deadline).await || client.socket.is_http2() {
        return;
    }
    client.socket.shutdown_write();
    let until = alarm.now() + LINGER;
    let mut ignored = 0;
    while ignored <= LINGER_BYTES_MAX {
        let received = alarm.within(until, |context| client.socket.poll_recv(context)).await;
        match received {
            Ok(Ok(Some(bytes))) => ignored += bytes.len(),
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        }
    }
}

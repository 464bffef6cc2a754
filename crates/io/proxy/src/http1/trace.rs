//! What is kept of a request for its record in the access log.
//!
//! Owns the copy of what the line quotes, the moments of the request's way, and the record made of them; leaves formats,
//! sampling and writing to `journal`. Invariant: without a log nothing is copied; with one nothing is allocated that is not
//! reused.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use tidegate_access_log as access_log;
use tidegate_access_log::{
    CAPTURES_MAX, Capture, Cookies, Ending, Extra, Micros, Queues, REQUEST_TARGET_BYTES_MAX,
    Record, Request, RequestCookie, ResponseCookie, Retries, Times, Traffic, VALUE_BYTES_MAX,
};
use tidegate_exchange::Stage;
use tidegate_http1::ResponseHead;

use super::Server;
use super::exchange::Driver;
use super::head::Incoming;
use super::upload::Upload;
use crate::client::Client;
use crate::journal::FrontendLog;
use crate::rules::{Notes, Received};
use crate::site::Frontend;
use crate::spoken::Spoken;
use crate::worker::Worker;

/// What stands for a header that a message does not have, in place of a value's length.
const ABSENT: u16 = u16::MAX;

/// The most fields of rules that one line shows: a stack's worth, and a line holds few more.
const EXTRAS_MAX: usize = 32;

/// What a record quotes: one buffer with the method, the target and the captured values, each of these behind its length.
#[derive(Default)]
pub(super) struct Trace {
    bytes: RefCell<Vec<u8>>,
    quoted: Quoted,
    /// Where the values of the response's headers begin, once there was one.
    response_at: Cell<Option<usize>>,
    /// Bytes read from the client up to the end of the head.
    pub(super) head_bytes: u64,
    /// When the head was complete.
    read_at: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
enum Quoted {
    #[default]
    Nothing,
    /// A request line: the method ends here, the target there.
    Line { method_end: usize, target_end: usize, spoken: Spoken },
    /// So many bytes of something else.
    Invalid(usize),
}

/// The moments of a request's way to a server, and what else only its driver sees.
#[derive(Default)]
pub(super) struct Marks {
    /// When the server was picked that was used last.
    pub(super) picked: Cell<Option<Instant>>,
    /// When the connection to it was there.
    pub(super) connected: Cell<Option<Instant>>,
    /// When the head of the response was complete.
    pub(super) answered: Cell<Option<Instant>>,
    pub(super) first_server: Cell<Option<u32>>,
    /// Who was before it in queues.
    queues: Cell<Queues>,
    /// When it left the last queue.
    pub(super) left_queue: Cell<Option<Instant>>,
    /// Bytes that the client sent through a tunnel.
    pub(super) tunnelled: Cell<u64>,
    /// No byte passed through the tunnel for too long.
    pub(super) tunnel_expired: Cell<bool>,
    /// What the client's token was like.
    pub(super) request_cookie: Cell<RequestCookie>,
    /// What was done to the response's.
    pub(super) response_cookie: Cell<ResponseCookie>,
    /// The status of a call of gRPC, as in `tidegate_http2::GRPC_STATUSES`.
    pub(super) grpc_status: Cell<Option<u8>>,
    /// The record has been written.
    pub(super) logged: Cell<bool>,
}

/// How a request ended for its client.
pub(super) struct Outcome {
    pub(super) ending: Ending,
    /// The status that the client got; absent if none.
    pub(super) status: Option<u16>,
    /// Bytes sent to the client.
    pub(super) sent: u64,
}

impl Marks {
    /// A server was picked; a connection to it may be at hand.
    #[inline]
    pub(super) fn note_pick(&self, server: u32, now: Instant, reused: bool) {
        if self.first_server.get().is_none() {
            self.first_server.set(Some(server));
        }
        self.picked.set(Some(now));
        self.connected.set(reused.then_some(now));
    }

    /// The request waits behind so many others.
    pub(super) fn note_queued(&self, for_one_server: bool, before: u32) {
        let mut queues = self.queues.get();
        let count = if for_one_server { &mut queues.server } else { &mut queues.backend };
        *count = count.saturating_add(before);
        self.queues.set(queues);
    }

    /// A connection is being made, perhaps again.
    #[inline]
    pub(super) fn note_connecting(&self, now: Instant) {
        self.picked.set(Some(now));
        self.connected.set(None);
    }

    /// How far the request has come.
    fn stage(&self) -> Stage {
        match (self.picked.get(), self.connected.get(), self.answered.get()) {
            (_, _, Some(_)) => Stage::Data,
            (_, Some(_), None) => Stage::Head,
            (Some(_), None, None) => Stage::Connect,
            (None, None, None) => Stage::Queue,
        }
    }
}

impl Trace {
    /// Keeps what the log of `frontend` will quote of a head just parsed.
    pub(super) fn of_head(server: &Server, frontend: &Frontend, received: &Received<'_>) -> Trace {
        let Received { head, bytes, ends } = *received;
        let spoken = ends.spoken;
        let Some(log) = &frontend.log else { return Trace::default() };
        let mut kept = server.worker.shard.ring.take_vec();
        kept.extend_from_slice(cut(head.method_bytes(bytes), VALUE_BYTES_MAX));
        let method_end = kept.len();
        kept.extend_from_slice(cut(head.target(bytes), REQUEST_TARGET_BYTES_MAX));
        let quoted = Quoted::Line { method_end, target_end: kept.len(), spoken };
        for name in log.captures().request() {
            keep(&mut kept, last_value(head.headers(bytes), name));
        }
        Trace {
            bytes: RefCell::new(kept),
            quoted,
            response_at: Cell::new(None),
            head_bytes: head.head_bytes() as u64,
            read_at: Some(server.worker.shard.clock.now()),
        }
    }

    /// Keeps the first line of what is no request, or not yet.
    pub(super) fn of_invalid(server: &Server, frontend: &Frontend, bytes: &[u8]) -> Trace {
        if frontend.log.is_none() {
            return Trace::default();
        }
        let start = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let line = bytes[start..].split(|byte| b"\r\n".contains(byte)).next().unwrap_or_default();
        let mut kept = server.worker.shard.ring.take_vec();
        kept.extend_from_slice(cut(line, REQUEST_TARGET_BYTES_MAX));
        Trace {
            quoted: Quoted::Invalid(kept.len()),
            bytes: RefCell::new(kept),
            head_bytes: bytes.len() as u64,
            ..Trace::default()
        }
    }

    /// Keeps what the log of `frontend` will quote of the final response's head.
    pub(super) fn note_response(&self, frontend: &Frontend, head: &ResponseHead, bytes: &[u8]) {
        let names = frontend.log.as_ref().map(|log| log.captures().response());
        let Some(names) = names.filter(|names| !names.is_empty()) else { return };
        let mut kept = self.bytes.borrow_mut();
        self.response_at.set(Some(kept.len()));
        for name in names {
            keep(&mut kept, last_value(head.headers(bytes), name));
        }
    }

    fn request<'a>(&self, kept: &'a [u8]) -> Request<'a> {
        match self.quoted {
            Quoted::Nothing | Quoted::Invalid(0) => Request::None,
            Quoted::Invalid(end) => Request::Invalid(&kept[..end]),
            Quoted::Line { method_end, target_end, spoken } => Request::Line {
                method: &kept[..method_end],
                target: &kept[method_end..target_end],
                version: spoken.text(),
            },
        }
    }

    /// Has the record quote what was kept and what rules noted, and gives it to `write`.
    fn complete(
        &self,
        frontend: &Frontend,
        log: &FrontendLog,
        notes: &Notes,
        record: Record<'_>,
        write: impl FnOnce(&Record<'_>),
    ) {
        let kept = self.bytes.borrow();
        let record = Record { request: self.request(&kept), ..record };
        let captures = log.captures();
        // Without a request the notes are those of the last one.
        let Quoted::Line { target_end, .. } = self.quoted else { return write(&record) };
        let mut extras = [Extra { name: "", value: b"" }; EXTRAS_MAX];
        let rule = notes.rule.and_then(|rule| frontend.rules.name(rule)).map(|name| &**name);
        let record = Record {
            rule: rule.filter(|name| !name.is_empty()),
            request_id: Some(&*notes.id).filter(|id| !id.is_empty()),
            extras: extras_of(notes, &mut extras),
            ..record
        };
        if captures.request().is_empty() && captures.response().is_empty() {
            return write(&record);
        }
        let none = Capture { name: "", value: None };
        let (mut request, mut response) = ([none; CAPTURES_MAX], [none; CAPTURES_MAX]);
        let request = quote(captures.request(), kept.get(target_end..), &mut request);
        let response_at = self.response_at.get().and_then(|at| kept.get(at..));
        let response = quote(captures.response(), response_at, &mut response);
        write(&Record { request_headers: request, response_headers: response, ..record });
    }
}

/// The fields that rules added.
fn extras_of<'a>(notes: &'a Notes, extras: &'a mut [Extra<'a>; EXTRAS_MAX]) -> &'a [Extra<'a>] {
    let mut count = 0;
    for (extra, (name, value)) in extras.iter_mut().zip(notes.overlay.log_fields()) {
        // Names come from the configuration, which is text.
        *extra = Extra { name: str::from_utf8(name).unwrap_or_default(), value };
        count += 1;
    }
    extras.get(..count).unwrap_or_default()
}

fn cut(bytes: &[u8], bytes_max: usize) -> &[u8] {
    bytes.get(..bytes_max).unwrap_or(bytes)
}

/// Of several lines with a name the last one counts, as in HAProxy.
fn last_value<'b>(
    headers: impl Iterator<Item = (&'b [u8], &'b [u8])>,
    name: &str,
) -> Option<&'b [u8]> {
    let called = headers.filter(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    called.last().map(|(_, value)| value)
}

/// Appends a value behind its length.
fn keep(kept: &mut Vec<u8>, value: Option<&[u8]>) {
    let value = value.map(|value| cut(value, VALUE_BYTES_MAX));
    let length = value.and_then(|value| u16::try_from(value.len()).ok()).unwrap_or(ABSENT);
    kept.extend_from_slice(&length.to_le_bytes());
    kept.extend_from_slice(value.unwrap_or_default());
}

/// The values that `keep` has put one behind the other; without any, all are absent.
fn quote<'a>(
    names: &'a [String],
    kept: Option<&'a [u8]>,
    captures: &'a mut [Capture<'a>; CAPTURES_MAX],
) -> &'a [Capture<'a>] {
    let mut rest = kept.unwrap_or_default();
    for (capture, name) in captures.iter_mut().zip(names) {
        let mut value = None;
        if let Some((length, behind)) = rest.split_first_chunk() {
            rest = behind;
            value = behind.split_at_checked(u16::from_le_bytes(*length).into());
        }
        if let Some((_, behind)) = value {
            rest = behind;
        }
        *capture = Capture { name, value: value.map(|(value, _)| value) };
    }
    captures.get(..names.len()).unwrap_or_default()
}

impl Server {
    /// Logs a request that went no further than here.
    pub(super) fn log_refused(
        &self,
        client: &Client,
        frontend: &Frontend,
        started: Instant,
        trace: Trace,
        outcome: &Outcome,
    ) {
        if let Some(log) = &frontend.log {
            let head = trace.read_at.map(|at| Micros::from(at.saturating_duration_since(started)));
            let now = self.alarm.now();
            let total = Micros::from(now.saturating_duration_since(started));
            let is_tarpit = matches!(
                outcome.ending,
                Ending::Tarpitted | Ending::TarpitAbandoned | Ending::TarpitKilled
            );
            let waited = trace.read_at.filter(|_| is_tarpit);
            // HAProxy has no time for the head of a request that is held back or closed.
            let is_timed = !is_tarpit && outcome.ending != Ending::ClosedByRule;
            let queue = waited.map(|at| Micros::from(now.saturating_duration_since(at)));
            let record = Record {
                status: outcome.status,
                ending: outcome.ending,
                times: Times {
                    request_head: head.filter(|_| is_timed),
                    queue,
                    total,
                    ..Times::default()
                },
                traffic: Traffic { received: trace.head_bytes, sent: outcome.sent },
                ..self.worker.record(client, frontend, log, started)
            };
            let notes = self.notes.borrow();
            trace.complete(frontend, log, &notes, record, |record| {
                self.worker.journal.write(log, record);
            });
        }
        self.worker.reclaim(trace);
    }
}

impl Worker {
    /// Takes the buffer back for another request.
    pub(super) fn reclaim(&self, trace: Trace) {
        self.shard.ring.put_vec(trace.bytes.into_inner());
    }
}

impl Driver<'_> {
    /// Logs the request, once.
    #[inline]
    pub(super) fn log(&self, incoming: &Incoming, upload: &Upload, outcome: &Outcome) {
        if let Some(log) = &self.frontend.log
            && !self.marks.logged.replace(true)
        {
            self.log_to(log, incoming, upload, outcome);
        }
    }

    fn log_to(&self, log: &FrontendLog, incoming: &Incoming, upload: &Upload, outcome: &Outcome) {
        let now = self.alarm.now();
        let server = self.last_server.get();
        let server_of = |index: u32| self.backend.servers.get(index as usize);
        let known = server.and_then(server_of);
        let base = self.worker.record(self.client, self.frontend, log, incoming.started);
        let connections = access_log::Connections {
            backend: self.backend.in_flight(now),
            server: known.map_or(0, |server| server.in_flight(now)),
            ..base.connections
        };
        let received =
            incoming.trace.head_bytes + upload.received.get() + self.marks.tunnelled.get();
        let record = Record {
            backend: Some(&self.backend.name),
            server: known.map(|server| &*server.name),
            status: outcome.status,
            ending: outcome.ending,
            times: self.times(incoming, now),
            traffic: Traffic { received, sent: outcome.sent },
            retries: Retries {
                count: self.machine.borrow().retries().into(),
                redispatched: server != self.marks.first_server.get(),
            },
            connections,
            queues: self.marks.queues.get(),
            cookies: Cookies {
                request_state: self.marks.request_cookie.get(),
                response_state: self.marks.response_cookie.get(),
                ..base.cookies
            },
            grpc_status: self.marks.grpc_status.get(),
            ..base
        };
        let notes = self.notes.borrow();
        incoming.trace.complete(self.frontend, log, &notes, record, |record| {
            self.worker.journal.write(log, record);
        });
    }

    fn times(&self, incoming: &Incoming, now: Instant) -> Times {
        let Marks { picked, connected, answered, left_queue, .. } = &self.marks;
        let between = |from: Option<Instant>, to: Option<Instant>| {
            Some(Micros::from(to?.saturating_duration_since(from?)))
        };
        let read_at = incoming.trace.read_at;
        Times {
            request_head: between(Some(incoming.started), read_at),
            queue: between(read_at, picked.get().max(left_queue.get())),
            connect: between(picked.get(), connected.get()),
            response_head: between(connected.get(), answered.get()),
            total: Micros::from(now.saturating_duration_since(incoming.started)),
        }
    }

    /// How a complete exchange ended.
    pub(super) fn completed(&self, sent: u64) -> Outcome {
        let ending =
            if self.marks.tunnel_expired.get() { Ending::TunnelTimeout } else { Ending::Complete };
        Outcome { ending, status: self.status_sent(), sent }
    }

    /// The status of the response that was relayed; absent if there was none.
    pub(super) fn status_sent(&self) -> Option<u16> {
        Some(self.status.get()).filter(|status| *status != 0)
    }
}

/// Sees to it that a request is logged whatever becomes of it: one whose task is dropped was ended from outside, or panicked.
pub(super) struct Witness<'a, 'b> {
    pub(super) driver: &'a Driver<'b>,
    pub(super) incoming: &'a Incoming,
    pub(super) upload: &'a Upload,
}

impl Drop for Witness<'_, '_> {
    fn drop(&mut self) {
        let Witness { driver, incoming, upload } = self;
        if driver.frontend.log.is_none() || driver.marks.logged.get() {
            return;
        }
        let stage = driver.marks.stage();
        let ending =
            if std::thread::panicking() { Ending::Internal(stage) } else { Ending::Killed(stage) };
        let sent = driver.client.newly_sent();
        driver.frontend.stats.bytes_out.add(sent);
        driver.log(incoming, upload, &Outcome { ending, status: driver.status_sent(), sent });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_values_are_quoted_in_their_places() {
        let long = vec![b'x'; VALUE_BYTES_MAX + 1];
        let values = [Some(&b"one"[..]), None, Some(b""), Some(&long)];
        let mut kept = b"GET/".to_vec();
        values.iter().for_each(|value| keep(&mut kept, *value));
        let names = ["A", "B", "C", "D"].map(str::to_owned);
        let none = Capture { name: "", value: None };
        let mut places = [none; CAPTURES_MAX];
        let quoted = quote(&names, kept.get(4..), &mut places);
        let expected = [Some(&b"one"[..]), None, Some(b""), Some(&long[..VALUE_BYTES_MAX])];
        assert_eq!(quoted.len(), 4);
        for (capture, (name, value)) in quoted.iter().zip(names.iter().zip(expected)) {
            assert_eq!(*capture, Capture { name, value });
        }
        let mut places = [none; CAPTURES_MAX];
        let quoted = quote(&names, None, &mut places);
        assert!(quoted.iter().all(|capture| capture.value.is_none()) && quoted.len() == 4);
    }

    #[test]
    fn of_several_headers_the_last_counts() {
        let headers: [(&[u8], &[u8]); 3] = [(b"Via", b"a"), (b"X", b"b"), (b"VIA", b"c")];
        assert_eq!(last_value(headers.into_iter(), "via"), Some(&b"c"[..]));
        assert_eq!(last_value(headers.into_iter(), "host"), None);
    }

    #[test]
    fn the_stage_follows_the_marks() {
        let (marks, now) = (Marks::default(), Instant::now());
        assert_eq!(marks.stage(), Stage::Queue);
        marks.note_pick(1, now, false);
        assert_eq!(marks.stage(), Stage::Connect);
        marks.connected.set(Some(now));
        assert_eq!(marks.stage(), Stage::Head);
        marks.note_connecting(now);
        assert_eq!(marks.stage(), Stage::Connect);
        marks.note_pick(2, now, true);
        assert_eq!((marks.stage(), marks.first_server.get()), (Stage::Head, Some(1)));
        marks.answered.set(Some(now));
        assert_eq!(marks.stage(), Stage::Data);
    }
}

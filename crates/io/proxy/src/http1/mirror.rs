//! Copies of requests for other backends, whose answers nobody sees.
//!
//! Owns the copy and its delivery, each by a task of its own. Invariant: nothing here delays or fails the request that is
//! copied; what does not fit a limit is dropped and counted.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_http1::{
    BodyLength, ChunkedDecoder, Limits, Method, Parsed, Piece, ResponseContext, ResponseHead,
    parse_response,
};
use tidegate_ring::SendBuf;
use tidegate_shard::Alarm;
use tidegate_telemetry::FrontendStats;

use super::exchange::Driver;
use super::upload::Upload;
use crate::rules::{Dropped, Notes};
use crate::site::{Backend, Frontend};
use crate::upstream::connecting::{Connecting, Wanted};
use crate::worker::Worker;

/// The largest body that is copied: it is held until it is whole.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Copies of one shard that are on their way: a backend that does not answer holds so many tasks and bodies, 16 MiB.
const IN_FLIGHT_MAX: u32 = 256;

/// What is read of an answer before the connection is closed.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A request's copies while its body comes in.
pub(super) struct Copies {
    heads: Vec<(Rc<Backend>, Vec<u8>)>,
    method: Method,
    body: Vec<u8>,
    /// The body is larger than what is copied.
    is_too_large: bool,
}

impl Copies {
    /// Copies for the backends that rules name; `write` appends the head.
    pub(super) fn new(
        frontend: &Frontend,
        notes: &Notes,
        method: Method,
        write: impl Fn(&mut Vec<u8>),
    ) -> Option<Copies> {
        let backends = notes.overlay.mirrors().iter();
        let heads: Vec<_> = backends
            .filter_map(|index| frontend.backend_at(*index))
            .map(|backend| {
                let mut head = Vec::new();
                write(&mut head);
                (backend, head)
            })
            .collect();
        (!heads.is_empty()).then_some(Copies {
            heads,
            method,
            body: Vec::new(),
            is_too_large: false,
        })
    }

    /// Takes a piece of the body, and perhaps of what follows it.
    pub(super) fn add(&mut self, piece: &[u8]) {
        if self.body.len() > BODY_BYTES_MAX {
            self.is_too_large = true;
            self.body = Vec::new();
        }
        if !self.is_too_large {
            self.body.extend_from_slice(piece);
        }
    }

    /// Whether no more of the body is wanted: it will not be copied.
    pub(super) fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// Gives back what followed the body in the last piece.
    pub(super) fn cut(&mut self, behind: usize) {
        let length = self.body.len().saturating_sub(behind);
        self.body.truncate(length);
    }
}

/// A copy on its way, counted until its drop.
struct InFlight(Rc<Worker>);

impl InFlight {
    fn begin(worker: &Rc<Worker>) -> Option<InFlight> {
        let count: &Cell<u32> = &worker.mirrors;
        (count.get() < IN_FLIGHT_MAX).then(|| {
            count.set(count.get() + 1);
            InFlight(worker.clone())
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

impl Driver<'_> {
    /// Sends the copies, if there are any and the body is whole.
    #[inline]
    pub(super) fn start_copies(&self, upload: &Upload) {
        if upload.copies.borrow().is_some() {
            self.start(upload);
        }
    }

    fn start(&self, upload: &Upload) {
        if !upload.is_finished() {
            return;
        }
        let Some(copies) = upload.copies.borrow_mut().take() else { return };
        let Copies { heads, method, body, is_too_large } = copies;
        let is_too_large = is_too_large || body.len() > BODY_BYTES_MAX;
        for (backend, mut bytes) in heads {
            let drop = |dropped: Dropped| {
                self.frontend.stats.rules_dropped.increment(dropped.index());
            };
            if is_too_large {
                drop(Dropped::MirrorBody);
                continue;
            }
            let Some(place) = InFlight::begin(self.worker) else {
                drop(Dropped::Mirrors);
                continue;
            };
            bytes.extend_from_slice(&body);
            let stats = self.frontend.stats.clone();
            stats.mirrored.increment();
            self.worker.shard.tasks.spawn(deliver(place, stats, backend, bytes, method));
        }
    }
}

async fn deliver(
    place: InFlight,
    stats: Arc<FrontendStats>,
    backend: Rc<Backend>,
    bytes: Vec<u8>,
    method: Method,
) {
    if !is_answered(&place.0, &backend, bytes, method).await {
        stats.rules_dropped.increment(Dropped::MirrorFailed.index());
    }
}

/// Sends one copy and reads its answer; whether there was one.
async fn is_answered(
    worker: &Rc<Worker>,
    backend: &Backend,
    bytes: Vec<u8>,
    method: Method,
) -> bool {
    let Some(task) = worker.shard.tasks.current() else { return false };
    let alarm = Alarm::new(&worker.shard, task);
    let random = worker.scratch.random();
    let Ok(picked) = backend.pick(alarm.now(), random, None, &[]) else { return false };
    let Some(server) = backend.servers.get(picked.0 as usize) else { return false };
    // A copy waits for nothing.
    let Some((slot, _)) = worker.acquire(server, &backend.pool, true) else { return false };
    let Ok(mut connecting) = Connecting::begin(worker, &slot.server, Wanted::Any) else {
        return false;
    };
    let deadline = alarm.now() + backend.exchange.connect_timeout;
    let connected = alarm.within(deadline, |context| connecting.poll(context)).await;
    if !matches!(connected, Ok(Ok(()))) {
        slot.server.stats.connects_failed.increment();
        return false;
    }
    let connection = connecting.established(alarm.now());
    let socket = connection.socket();
    socket.set_recv_on_demand(true);
    slot.server.stats.bytes_out.add(bytes.len() as u64);
    socket.queue(SendBuf::Vec(bytes));
    socket.flush();
    let mut answer = Answer::new(ResponseContext { method, upgrade_requested: false });
    while !answer.is_over() && answer.read <= ANSWER_BYTES_MAX {
        let deadline = alarm.now() + backend.exchange.server_timeout;
        let received = alarm.within(deadline, |context| socket.poll_recv(context)).await;
        let Ok(Ok(Some(piece))) = received else { break };
        slot.server.stats.bytes_in.add(piece.len() as u64);
        answer.take(&piece, &mut worker.scratch.response.borrow_mut());
    }
    if let Some(status) = answer.status {
        slot.server.stats.requests.record(status);
    }
    answer.status.is_some()
}

/// What has come of an answer.
struct Answer {
    context: ResponseContext,
    /// What came before the head was whole.
    head: Vec<u8>,
    status: Option<u16>,
    rest: Rest,
    /// Bytes in all.
    read: usize,
}

/// What is still to come.
enum Rest {
    Head,
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
    Nothing,
}

impl Answer {
    fn new(context: ResponseContext) -> Answer {
        Answer { context, head: Vec::new(), status: None, rest: Rest::Head, read: 0 }
    }

    fn is_over(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    fn take(&mut self, piece: &[u8], parsed: &mut ResponseHead) {
        self.read += piece.len();
        if !matches!(self.rest, Rest::Head) {
            return self.skip(piece);
        }
        self.head.extend_from_slice(piece);
        let mut bytes = std::mem::take(&mut self.head);
        loop {
            match parse_response(&bytes, &Limits::default(), self.context, parsed) {
                Ok(Parsed::Complete { head_bytes }) if parsed.is_interim() => {
                    bytes.drain(..head_bytes);
                }
                Ok(Parsed::Complete { head_bytes }) => {
                    self.status = Some(parsed.status());
                    self.rest = match parsed.body() {
                        BodyLength::None => Rest::Nothing,
                        BodyLength::Length(bytes) => Rest::Length(bytes),
                        BodyLength::Chunked => {
                            Rest::Chunked(ChunkedDecoder::new(&Limits::default()))
                        }
                        BodyLength::UntilClose | BodyLength::Tunnel => Rest::UntilClose,
                    };
                    return self.skip(&bytes[head_bytes..]);
                }
                Ok(Parsed::Incomplete) => {
                    self.head = bytes;
                    return;
                }
                Err(_) => {
                    self.rest = Rest::Nothing;
                    return;
                }
            }
        }
    }

    /// Goes over a piece of the body.
    fn skip(&mut self, piece: &[u8]) {
        let is_over = match &mut self.rest {
            Rest::Length(left) => {
                *left = left.saturating_sub(piece.len() as u64);
                *left == 0
            }
            Rest::Chunked(decoder) => ends_in(decoder, piece),
            Rest::Head | Rest::UntilClose => false,
            Rest::Nothing => true,
        };
        if is_over {
            self.rest = Rest::Nothing;
        }
    }
}

/// Whether a chunked body ends in this piece, by its framing or by breaking it.
fn ends_in(decoder: &mut ChunkedDecoder, mut piece: &[u8]) -> bool {
    while !piece.is_empty() {
        let bytes = match decoder.next(piece) {
            Ok(Piece::End(_)) | Err(_) => return true,
            Ok(Piece::NeedMore) => return false,
            Ok(
                Piece::Data(bytes)
                | Piece::Framing(bytes)
                | Piece::Trailer(bytes)
                | Piece::Skip(bytes),
            ) => bytes,
        };
        piece = &piece[bytes..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status of an answer that comes in pieces of this many bytes, and whether it is over then.
    fn outcome(answer: &str, method: Method, bytes: usize) -> (Option<u16>, bool) {
        let context = ResponseContext { method, upgrade_requested: false };
        let (mut taken, mut parsed) = (Answer::new(context), ResponseHead::new());
        let pieces = answer.as_bytes().chunks(bytes);
        let count = pieces.len();
        for (place, piece) in pieces.enumerate() {
            taken.take(piece, &mut parsed);
            assert!(!taken.is_over() || place + 1 == count, "{answer}: over before its end");
        }
        (taken.status, taken.is_over())
    }

    #[test]
    fn answers_end_where_their_framing_says() {
        const CHUNKS: &str =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for (answer, method, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", Method::Post, (Some(200), true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Method::Post, (Some(200), false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::Head, (Some(200), true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Method::Get, (Some(204), true)),
            (CHUNKS, Method::Get, (Some(200), true)),
            ("HTTP/1.1 200 OK\r\n\r\nabc", Method::Get, (Some(200), false)),
            (
                "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\na",
                Method::Get,
                (Some(404), true),
            ),
            ("HTTP/1.1 2", Method::Get, (None, false)),
        ] {
            for bytes in [1, 7, 1000] {
                assert_eq!(outcome(answer, method, bytes), expected, "{answer} by {bytes}");
            }
        }
        assert_eq!(outcome("nonsense", Method::Get, 1000), (None, true));
    }
}

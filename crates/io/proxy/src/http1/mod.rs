//! HTTP/1.x as a server: one client connection from request to request.
//!
//! Owns the order of things on a client's connection; leaves parsing to `tidegate-http1`, decisions to
//! `tidegate-exchange`, and one request's way to a server to `exchange`. Invariant: a request is answered before the next
//! one is looked at, and nothing of a refused request reaches a server.

mod answer;
mod authenticate;
mod body;
mod coded;
mod exchange;
mod finish;
mod head;
mod hedge;
mod held;
mod mirror;
mod observe;
mod queued;
mod respond;
mod response;
mod response_head;
mod secure;
mod splice;
mod sticking;
mod trace;
mod upload;
mod write_head;

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use tidegate_exchange::{Failure, FailureKind, NoServerCause};
use tidegate_http1::{Method, RequestHead, ResponseHead};
use tidegate_http2::{Preface, judge_preface};
use tidegate_ring::RecvBuf;
use tidegate_shard::{Alarm, TaskId};

use self::head::{Heard, Incoming};
pub(crate) use self::respond::close_with_care;
use crate::client::Client;
use crate::http2::{self, Protocols};
use crate::rules::{self, Notes, Route};
use crate::settings::CONNECT_NOT_SUPPORTED;
use crate::site::Frontend;
use crate::worker::Worker;

/// What follows a request on its connection.
enum Next {
    /// Another request may follow.
    KeepAlive,
    /// The connection ends.
    Close,
}

/// The parsers' storage, one for all connections of a shard: heads are parsed and encoded without waiting in between, and
/// what is shared stays in the cache.
#[derive(Default)]
pub(crate) struct Scratch {
    request: RefCell<RequestHead>,
    response: RefCell<ResponseHead>,
    rules: RefCell<rules::Scratch>,
    weak_etag: RefCell<Vec<u8>>,
    /// A field with a client's token.
    token: RefCell<Vec<u8>>,
}

impl Scratch {
    /// The next number of this shard's chance.
    pub(crate) fn random(&self) -> u64 {
        self.rules.borrow_mut().random.next()
    }
}

/// A head that comes in pieces: what has come of it, and how far it has been judged.
#[derive(Default)]
struct Spilled<S> {
    bytes: Vec<u8>,
    scan: S,
}

/// One connection task's tools, reused from client to client so that a warm connection allocates nothing.
pub(crate) struct Server {
    worker: Rc<Worker>,
    alarm: Alarm,
    /// What rules made of the request that is being served.
    notes: RefCell<Notes>,
}

impl Server {
    pub(crate) fn new(worker: &Rc<Worker>, task: TaskId) -> Server {
        Server {
            worker: worker.clone(),
            alarm: Alarm::new(&worker.shard, task),
            notes: RefCell::default(),
        }
    }

    /// Serves requests until the client is idle, and gives it back with the time it may stay so, or is gone.
    pub(crate) async fn serve(&self, mut client: Box<Client>) -> Option<(Box<Client>, Instant)> {
        if client.socket.awaits_handshake() {
            client.protocols = self.secure(&client).await?;
            if !client.socket.has_arrived() && !self.worker.is_draining() {
                let limit = self.alarm.now() + client.entrance.frontend().timeouts.request_head;
                return Some((client, limit));
            }
        }
        // Bytes received beyond the end of the last message.
        let mut input: Option<RecvBuf> = None;
        if client.protocols != Protocols::Http1 && client.requests.get() == 0 {
            match self.spoken(&client).await {
                Begun::Http1(received) => input = received,
                Begun::Http2(received) => {
                    let served = http2::serve(&self.worker, &self.alarm, client, received);
                    Box::pin(served).await;
                    return None;
                }
                Begun::Gone => {
                    self.worker.log_empty(&client, FailureKind::ClientGone);
                    return None;
                }
            }
        }
        let is_stream = client.socket.is_http2();
        let mut request = None;
        loop {
            let frontend = client.entrance.frontend();
            match self.read_request(&mut client, &frontend, &mut input, &mut request).await {
                Heard::Request => {
                    let asks = |incoming: &mut Incoming| matches!(incoming.route, Route::Verify(_));
                    if let Some(incoming) = request.take_if(asks) {
                        // Seldom, and larger than all the rest.
                        let asked = self.authenticate(&client, &frontend, incoming);
                        request = Some(Box::pin(asked).await?);
                    }
                    let Some(incoming) = &mut request else { continue };
                    match self.handle(&client, &frontend, incoming, &mut input).await {
                        Next::KeepAlive => {}
                        Next::Close => return None,
                    }
                }
                Heard::EmptyLine => {}
                Heard::End => return None,
            }
            if is_stream {
                // One request is all that it carries.
                self.see_off(&client).await;
                return None;
            }
            if input.is_none() && !client.socket.has_arrived() {
                if self.worker.is_draining() {
                    let limit = self.alarm.now() + frontend.timeouts.client;
                    respond::close(&self.alarm, &client, limit).await;
                    return None;
                }
                return Some((client, self.alarm.now() + frontend.timeouts.keep_alive));
            }
        }
    }
}

/// What a client has begun with.
enum Begun {
    Http1(Option<RecvBuf>),
    Http2(Option<RecvBuf>),
    Gone,
}

impl Server {
    /// Which version of HTTP a client speaks, by its first bytes, which come with the answer.
    async fn spoken(&self, client: &Client) -> Begun {
        let frontend = client.entrance.frontend();
        let deadline = self.alarm.now() + frontend.timeouts.request_head;
        let mut seen = Vec::new();
        loop {
            let received =
                self.alarm.within(deadline, |context| client.socket.poll_recv(context)).await;
            let Ok(Ok(Some(piece))) = received else { return Begun::Gone };
            frontend.stats.bytes_in.add(piece.len() as u64);
            seen.extend_from_slice(&piece);
            let first =
                if seen.len() == piece.len() { piece } else { RecvBuf::from_vec(seen.clone()) };
            match (judge_preface(&first), client.protocols) {
                (Preface::Whole, _) => return Begun::Http2(Some(first)),
                (Preface::Part, _) => {}
                // Its end is the library's to make.
                (Preface::Other, Protocols::Http2) => return Begun::Http2(Some(first)),
                (Preface::Other, _) => return Begun::Http1(Some(first)),
            }
        }
    }

    /// Waits until the client of a stream has taken the end of its response, as long as it takes something.
    async fn see_off(&self, client: &Client) {
        let patience = client.entrance.frontend().timeouts.client;
        loop {
            let (before, deadline) = (client.socket.sent_bytes(), self.alarm.now() + patience);
            let flushed = self.alarm.within(deadline, |context| {
                match client.socket.poll_flushed(context, 0) {
                    Poll::Pending if client.socket.sent_bytes() != before => Poll::Ready(None),
                    flushed => flushed.map(Some),
                }
            });
            match flushed.await {
                Ok(None) => {}
                Ok(Some(_)) => return,
                Err(_expired) => return client.socket.end_now(),
            }
        }
    }

    /// Sees a request to its end, by a server or by an answer of our own.
    async fn handle(
        &self,
        client: &Client,
        frontend: &Frontend,
        incoming: &mut Incoming,
        input: &mut Option<RecvBuf>,
    ) -> Next {
        match std::mem::replace(&mut incoming.route, Route::Nowhere) {
            Route::Backend(backend) => {
                self.exchange(client, frontend, backend, incoming, input).await
            }
            Route::Answer(answered) => {
                let next = self.answer(client, frontend, incoming, answered, input).await;
                self.worker.shard.ring.put_vec(std::mem::take(&mut incoming.head));
                next
            }
            route @ (Route::Nowhere | Route::Loop | Route::Verify(_)) => {
                let failure = match (route, incoming.method) {
                    (Route::Loop, _) => FailureKind::Loop,
                    (_, Method::Connect) => {
                        FailureKind::BadRequest { status: 501, detail: CONNECT_NOT_SUPPORTED }
                    }
                    _ => FailureKind::NoServer(NoServerCause::Empty),
                };
                let (failure, started) = (Failure::in_request(failure), incoming.started);
                let trace = std::mem::take(&mut incoming.trace);
                self.refuse(client, frontend, failure, started, trace).await;
                Next::Close
            }
        }
    }
}

/// Ends the connection of a client that is idle but for the end of its last response.
pub(crate) async fn close_idle(worker: &Worker, client: &Client) {
    let Some(task) = worker.shard.tasks.current() else { return };
    let alarm = Alarm::new(&worker.shard, task);
    client.socket.unpark();
    let limit = alarm.now() + client.entrance.frontend().timeouts.client;
    respond::close(&alarm, client, limit).await;
}

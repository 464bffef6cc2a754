//! One request on its way to a server and back: carries out what the exchange decides.
//!
//! Owns the server's slot and connection while the request lives; leaves decisions to `tidegate-exchange`, bytes to
//! `upload` and `response`. Invariant: whatever ends a request, its slot and connection are given back by drops.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tidegate_exchange::{Action, ConnectFailure, Exchange, Input, Policy, Request};
use tidegate_http1::BodyLength;
use tidegate_ring::{RecvBuf, Ring};
use tidegate_routing::TimeoutEdits;
use tidegate_shard::Alarm;

use super::body::{Body, Output, Sink};
use super::head::Incoming;
use super::hedge::{Hedge, Sent};
use super::trace::{Marks, Witness};
use super::upload::{self, Kept, Upload};
use super::{Next, Server, response};
use crate::client::Client;
use crate::http2::servers::Grpc;
use crate::rules::Notes;
use crate::site::{Backend, Frontend};
use crate::upstream::connect::{Connection, Slot, connect_failure};
use crate::upstream::connecting::{Connecting, Wanted};
use crate::upstream::persist;
use crate::worker::Worker;

/// What the parts of one exchange share.
pub(super) struct Driver<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) alarm: &'a Alarm,
    pub(super) client: &'a Client,
    pub(super) frontend: &'a Frontend,
    pub(super) backend: &'a Backend,
    pub(super) machine: RefCell<Exchange<'a>>,
    pub(super) timeouts: Timeouts,
    pub(super) notes: &'a RefCell<Notes>,
    /// What stands for the request where servers are picked by a hash.
    pub(super) key: Option<u64>,
    /// The server that the client has had.
    pub(super) pin: Option<u32>,
    /// What it needs of its server's connection.
    pub(super) wanted: Wanted,
    /// The second try beside one that is slow; in a box, because it is looked for at each piece of a response and seldom there.
    pub(super) hedge: Cell<Option<Box<Hedge>>>,
    /// The server picked last, for the log.
    pub(super) last_server: Cell<Option<u32>>,
    /// Which of its addresses that was.
    pub(super) last_epoch: Cell<u32>,
    /// The status that reached the client.
    pub(super) status: Cell<u16>,
    /// The rest of what the log says.
    pub(super) marks: Marks,
}

/// How long one exchange waits besides what its policy says: as configured, or as rules say.
pub(super) struct Timeouts {
    /// For a client that takes nothing of a response.
    pub(super) client: Duration,
    /// For a tunnel that is silent.
    pub(super) tunnel: Duration,
}

impl Timeouts {
    fn new(frontend: &Frontend, backend: &Backend, edits: TimeoutEdits) -> Timeouts {
        Timeouts {
            client: edits.client.unwrap_or(frontend.timeouts.client),
            tunnel: edits.tunnel.unwrap_or(backend.tunnel_timeout),
        }
    }
}

/// The policy of one exchange where rules have changed the configured one.
fn edited(configured: &Policy, edits: TimeoutEdits) -> Option<Policy> {
    let TimeoutEdits { connect, server, queue, .. } = edits;
    (connect.is_some() || server.is_some() || queue.is_some()).then(|| Policy {
        connect_timeout: connect.unwrap_or(configured.connect_timeout),
        server_timeout: server.unwrap_or(configured.server_timeout),
        queue_timeout: queue.unwrap_or(configured.queue_timeout),
        ..*configured
    })
}

/// How a response left the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// At a message boundary, and the client was told that the connection persists.
    Persistent,
    /// The client was told that the connection ends.
    Closing,
    /// The connection's end is the body's end: only a reset tells a cut response from a whole one.
    Undelimited,
    /// The connection has become a tunnel.
    Switched,
}

/// A request's server side while it is used.
pub(super) struct Attempt {
    pub(super) connection: Connection,
    pub(super) slot: Slot,
    /// The server keeps the connection, and nothing came on it that belongs to no response.
    pub(super) persists: Cell<bool>,
    /// The response was, or could have been, larger than a few buffers.
    pub(super) large: Cell<bool>,
}

impl Attempt {
    /// What the response has said of its call of gRPC so far.
    pub(super) fn grpc(&self) -> Option<Grpc> {
        self.connection.socket().grpc()
    }

    /// Takes note of what may have come on the connection behind the response.
    pub(super) fn persists_only_if(&self, nothing_came: bool) {
        self.persists.set(self.persists.get() && nothing_came);
    }
}

/// A request that a backend handles, counted while it lives.
struct Handling<'a>(&'a Backend);

impl Handling<'_> {
    fn begin(backend: &Backend) -> Handling<'_> {
        backend.stats.in_flight.increment();
        Handling(backend)
    }
}

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        self.0.stats.in_flight.decrement();
    }
}

impl Driver<'_> {
    #[inline]
    pub(super) fn input(&self, input: Input) -> Action {
        self.machine.borrow_mut().handle(self.alarm.now(), input)
    }

    /// For inputs that only move the deadline.
    pub(super) fn tell(&self, input: Input) {
        let action = self.input(input);
        debug_assert_eq!(action, Action::Wait);
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.worker.shard.ring
    }

    /// The exchange's deadline has passed: what it makes of that, if it agrees.
    pub(super) fn poll_deadline(&self) -> Poll<Action> {
        let mut deadline = self.machine.borrow().deadline();
        while let Some(passed) = deadline
            && self.alarm.poll(passed).is_ready()
        {
            let action = self.input(Input::Deadline);
            if action != Action::Wait {
                return Poll::Ready(action);
            }
            // It goes on until another one, for which the task has to be woken.
            deadline = self.machine.borrow().deadline().filter(|next| *next > passed);
        }
        Poll::Pending
    }

    /// Connects to the server of `slot`.
    async fn connect(&self, slot: &Slot) -> Result<Connection, Action> {
        let count = |failure| self.count_connect_failure(self.last_server.get(), slot, failure);
        let failed = |failure: ConnectFailure| {
            count(failure);
            self.input(Input::ConnectFailed(failure))
        };
        if slot.server.down.get() && slot.server.closes_sessions.get() {
            // Its connections have just been ended: the next try is another server's.
            return Err(self.input(Input::ConnectFailed(ConnectFailure::Reset)));
        }
        self.marks.note_connecting(self.alarm.now());
        let mut connecting = match Connecting::begin(self.worker, &slot.server, self.wanted) {
            Ok(connecting) => connecting,
            Err(error) => return Err(failed(connect_failure(&error))),
        };
        let outcome = poll_fn(|context| {
            if let Poll::Ready(connected) = connecting.poll(context) {
                return Poll::Ready(Ok(connected));
            }
            if self.client.socket.poll_gone(context).is_ready() {
                return Poll::Ready(Err(self.input(Input::ClientGone)));
            }
            self.poll_deadline().map(|action| {
                count(ConnectFailure::TimedOut);
                Err(action)
            })
        })
        .await?;
        match outcome {
            Ok(()) => Ok(connecting.established(self.alarm.now())),
            Err(error) => {
                self.report_dial_error(slot, &error);
                Err(failed(error.failure()))
            }
        }
    }

    /// Waits as the exchange asks before it goes on.
    async fn back_off(&self) -> Action {
        poll_fn(|context| {
            if self.client.socket.poll_gone(context).is_ready() {
                return Poll::Ready(self.input(Input::ClientGone));
            }
            self.poll_deadline()
        })
        .await
    }

    /// Sends the request and relays the response.
    async fn converse(
        &self,
        incoming: &Incoming,
        upload: &Upload,
        attempt: &Attempt,
        ending: &Cell<Ending>,
    ) -> Action {
        let mut sink = Sink::new(attempt.connection.socket(), self.ring());
        sink.tail().extend_from_slice(&incoming.head);
        upload.repeat(&mut sink);
        if let Err(invalid) = upload.forward_received(self, &mut sink) {
            sink.tail().clear();
            return self.input(invalid);
        }
        let sent_before = attempt.connection.socket().sent_bytes();
        sink.flush();
        if upload.began.get() {
            // What has been taken of the body is there for another connection only if it is kept, whether it left or not.
            self.tell(Input::RequestProgress { kept: upload.is_kept() });
            self.start_copies(upload);
        }
        let action =
            self.send_and_receive(incoming, upload, attempt, ending, sent_before, &mut sink).await;
        let sent = attempt.connection.socket().sent_bytes() - sent_before;
        attempt.slot.server.stats.bytes_out.add(sent);
        self.backend.stats.bytes_out.add(sent);
        action
    }

    /// Relays the response, and the rest of the request beside it when there is one.
    async fn send_and_receive(
        &self,
        incoming: &Incoming,
        upload: &Upload,
        attempt: &Attempt,
        ending: &Cell<Ending>,
        sent_before: u64,
        sink: &mut Sink<'_>,
    ) -> Action {
        let mut response =
            pin!(response::relay(self, incoming, upload, attempt, ending, (sent_before, None)));
        if upload.is_finished() {
            self.tell(Input::RequestSent);
            return response.await;
        }
        let mut uploading =
            pin!(upload::run(self, upload, sink, self.frontend.timeouts.request_body));
        let mut uploaded = false;
        poll_fn(|context| {
            if !uploaded && !upload.stopped.get() {
                match uploading.as_mut().poll(context) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => {
                        uploaded = true;
                        self.start_copies(upload);
                        self.tell(Input::RequestSent);
                    }
                    Poll::Ready(Err(input)) => return Poll::Ready(self.input(input)),
                }
            }
            response.as_mut().poll(context)
        })
        .await
    }

    /// Relays the response to the second try.
    async fn go_on(
        &self,
        incoming: &Incoming,
        upload: &Upload,
        sent: Sent,
        ending: &Cell<Ending>,
    ) -> (Action, Attempt) {
        let Sent { attempt, sent_before, piece, .. } = sent;
        let from = (sent_before, piece);
        let action = response::relay(self, incoming, upload, &attempt, ending, from).await;
        let sent = attempt.connection.socket().sent_bytes() - sent_before;
        attempt.slot.server.stats.bytes_out.add(sent);
        self.backend.stats.bytes_out.add(sent);
        (action, attempt)
    }

    /// From the first pick to a terminal action.
    async fn run(
        &self,
        incoming: &Incoming,
        upload: &Upload,
        ending: &Cell<Ending>,
    ) -> (Action, Option<Attempt>) {
        let mut action = Action::FIRST;
        let (mut slot, mut connection) = (None, None);
        loop {
            action = match action {
                Action::Pick { avoid, fresh_only } => {
                    drop((connection.take(), slot.take()));
                    let next;
                    (next, slot, connection) = self.acquire(&avoid, fresh_only).await;
                    next
                }
                Action::Connect { .. } => {
                    drop(connection.take());
                    let Some(slot) = &slot else { return (action, None) };
                    match self.connect(slot).await {
                        Ok(connected) => {
                            self.marks.connected.set(Some(self.alarm.now()));
                            connection = Some(connected);
                            self.input(Input::Connected)
                        }
                        Err(action) => action,
                    }
                }
                Action::Send { .. } => {
                    let (Some(taken), Some(mut connected)) = (slot.take(), connection.take())
                    else {
                        return (action, None);
                    };
                    connected.count_request();
                    let attempt = Attempt {
                        connection: connected,
                        slot: taken,
                        persists: Cell::new(false),
                        large: Cell::new(false),
                    };
                    let next = self.converse(incoming, upload, &attempt, ending).await;
                    if !matches!(next, Action::Adopt { .. }) {
                        self.hedge.set(None);
                    }
                    if next.is_terminal() {
                        return (next, Some(attempt));
                    }
                    slot = Some(attempt.slot);
                    next
                }
                Action::Adopt { .. } => {
                    drop(slot.take());
                    let Some(sent) = self.adopt_hedge() else { return (action, None) };
                    let goes_on = self.go_on(incoming, upload, sent, ending);
                    let (next, attempt) = Box::pin(goes_on).await;
                    if next.is_terminal() {
                        return (next, Some(attempt));
                    }
                    slot = Some(attempt.slot);
                    next
                }
                Action::Delay | Action::Wait | Action::Hedge { .. } => {
                    drop(connection.take());
                    self.back_off().await
                }
                terminal => return (terminal, None),
            }
        }
    }
}

impl Server {
    /// Serves one request by a backend.
    pub(super) async fn exchange(
        &self,
        client: &Client,
        frontend: &Frontend,
        backend: Rc<Backend>,
        incoming: &mut Incoming,
        input: &mut Option<RecvBuf>,
    ) -> Next {
        let worker: Rc<Worker> = self.worker.clone();
        let has_body = !matches!(incoming.body, BodyLength::None | BodyLength::Length(0));
        let repeatable = incoming.method.is_idempotent() || backend.repeats.non_idempotent;
        let kept_bytes_max = if repeatable { backend.repeats.body_bytes_max } else { 0 };
        let room =
            if has_body && kept_bytes_max > 0 { worker.shard.ring.take_vec() } else { Vec::new() };
        let upload = Upload {
            body: RefCell::new(Body::new(incoming.body, Output::AsReceived, &frontend.limits)),
            input: RefCell::new(input.take()),
            expects_continue: Cell::new(incoming.expects_continue && has_body),
            stopped: Cell::new(false),
            began: Cell::new(false),
            kept: RefCell::new(Kept::new(kept_bytes_max, room)),
            copies: RefCell::new(incoming.copies.take()),
            received: Cell::new(0),
        };
        let request = Request { repeatable, seed: worker.scratch.random() };
        let edits = self.notes.borrow().overlay.timeouts();
        let edited = edited(&backend.exchange, edits);
        let driver = Driver {
            worker: &worker,
            alarm: &self.alarm,
            client,
            frontend,
            backend: &backend,
            machine: RefCell::new(Exchange::new(
                edited.as_ref().unwrap_or(&backend.exchange),
                backend.retry_budget.as_ref(),
                request,
                self.alarm.now(),
            )),
            timeouts: Timeouts::new(frontend, &backend, edits),
            notes: &self.notes,
            key: incoming.key,
            pin: incoming.pin.server.or(incoming.stuck.server),
            wanted: if incoming.upgrade { Wanted::Http1 } else { Wanted::Any },
            hedge: Cell::new(None),
            last_server: Cell::new(None),
            last_epoch: Cell::new(0),
            status: Cell::new(0),
            marks: Marks::default(),
        };
        if backend.persistence.is_some() {
            let state = persist::logged_request(incoming.pin.state);
            driver.marks.request_cookie.set(state);
        }
        driver.start_copies(&upload);
        let _handling = Handling::begin(&backend);
        let witness = Witness { driver: &driver, incoming, upload: &upload };
        let ending = Cell::new(Ending::Closing);
        let (action, attempt) = driver.run(incoming, &upload, &ending).await;
        driver.observe(action);
        let next = driver.finish(incoming, &upload, action, attempt, &ending).await;
        driver.note_end();
        drop(witness);
        *input = upload.input.into_inner();
        worker.shard.ring.put_vec(upload.kept.into_inner().into_room());
        worker.shard.ring.put_vec(std::mem::take(&mut incoming.head));
        worker.reclaim(std::mem::take(&mut incoming.trace));
        next
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;

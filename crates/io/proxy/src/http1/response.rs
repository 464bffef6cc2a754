//! Relaying a server's response to the client.
//!
//! Owns reading the server's heads and its half of the exchange's time; leaves what becomes of a head to `response_head`, the
//! framing of bodies to `body`, and bodies that are compressed to `coded`.
//! Invariant: no more of a response is held than the client's send queue and one received piece.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use tidegate_compression::Encoder;
use tidegate_exchange::{Action, Failure, FailureKind, Input, Stage, Upload as Rest};
use tidegate_http1::{
    BodyLength, Limits, Parsed, ResponseContext, ResponseScan, continue_response, parse_response,
};
use tidegate_ring::RecvBuf;

use super::Spilled;
use super::body::{Body, Sink};
use super::exchange::{Attempt, Driver, Ending};
use super::head::Incoming;
use super::response_head::output_for;
use super::splice::Flowed;
use super::upload::Upload;
use crate::flow::Flow;
use crate::http2::servers::Fault;
use crate::tunnel;

/// Bytes queued towards a client that stop reading from the server: enough for the kernel to always have something to
/// send, little enough for thousands of slow readers.
pub(super) const QUEUED_BYTES_MAX: usize = 128 * 1024;

/// Everything about one response being relayed.
pub(super) struct Relay<'a, 'b> {
    pub(super) driver: &'a Driver<'b>,
    pub(super) incoming: &'a Incoming,
    pub(super) upload: &'a Upload,
    pub(super) attempt: &'a Attempt,
    pub(super) ending: &'a Cell<Ending>,
    /// What the connection had sent before this request: nothing more means that the request never left.
    sent_before: u64,
    /// What the body is to be compressed with; here, because heads are moved and it is larger than all the rest of one.
    pub(super) encoder: Cell<Option<Encoder>>,
}

/// What a relayed head means for what follows.
pub(super) struct Head {
    pub(super) interim: bool,
    pub(super) body: BodyLength,
    pub(super) rest: Rest,
}

/// Relays the response of the request that has been (or is being) sent; the action that ends the conversation.
pub(super) async fn relay(
    driver: &Driver<'_>,
    incoming: &Incoming,
    upload: &Upload,
    attempt: &Attempt,
    ending: &Cell<Ending>,
    (sent_before, first): (u64, Option<RecvBuf>),
) -> Action {
    let encoder = Cell::new(None);
    let relay = Relay { driver, incoming, upload, attempt, ending, sent_before, encoder };
    let mut sink = Sink::new(&driver.client.socket, driver.ring());
    match relay.run(first, &mut sink).await {
        Ok(action) | Err(action) => action,
    }
}

impl Relay<'_, '_> {
    async fn run(&self, first: Option<RecvBuf>, sink: &mut Sink<'_>) -> Result<Action, Action> {
        let mut piece = first;
        if let Some(piece) = &piece {
            self.count_received(piece.len());
        }
        loop {
            let head = self.read_head(&mut piece, sink).await?;
            if head.interim {
                self.upload.expects_continue.set(false);
                sink.flush();
                if !self.upload.is_finished() && !self.upload.stopped.get() {
                    // The server has spoken: the body is the client's to send now.
                    self.driver.tell(Input::WaitingOnClient);
                }
                continue;
            }
            if head.rest == Rest::Stop {
                self.upload.stopped.set(true);
            }
            if head.body == BodyLength::Tunnel {
                sink.flush();
                self.ending.set(Ending::Switched);
                // In a box, because what few need would make every request's state larger.
                return Box::pin(self.tunnel(piece.take())).await;
            }
            if let Some(encoder) = self.encoder.take() {
                return self.relay_coded(head, encoder, piece.take(), sink).await;
            }
            return self.relay_body(head, piece.take(), sink).await;
        }
    }

    /// Reads and encodes one head; what was received behind it is left in `piece`.
    async fn read_head(
        &self,
        piece: &mut Option<RecvBuf>,
        sink: &mut Sink<'_>,
    ) -> Result<Head, Action> {
        let limits = Limits::default();
        let context = ResponseContext {
            method: self.incoming.method,
            upgrade_requested: self.incoming.upgrade,
        };
        let mut spilled: Option<Spilled<ResponseScan>> = None;
        loop {
            let mut received = match piece.take() {
                Some(received) => received,
                None => self.receive(spilled.is_none()).await?,
            };
            let before = spilled.as_ref().map_or(0, |head| head.bytes.len());
            let mut head = self.driver.worker.scratch.response.borrow_mut();
            let (bytes, parsed) = match &mut spilled {
                None => (&received[..], parse_response(&received, &limits, context, &mut head)),
                Some(Spilled { bytes, scan }) => {
                    bytes.extend_from_slice(&received);
                    (&bytes[..], continue_response(bytes, &limits, context, &mut head, scan))
                }
            };
            match parsed {
                Ok(Parsed::Complete { head_bytes }) => {
                    let relayed = self.relay_head(&head, bytes, sink)?;
                    received.advance(head_bytes - before);
                    *piece = (!received.is_empty()).then_some(received);
                    spilled.into_iter().for_each(|head| self.driver.ring().put_vec(head.bytes));
                    return Ok(relayed);
                }
                Ok(Parsed::Incomplete) => {
                    if spilled.is_none() {
                        let mut bytes = self.driver.ring().take_vec();
                        bytes.extend_from_slice(&received);
                        spilled = Some(Spilled { bytes, scan: ResponseScan::new() });
                    }
                    self.driver.tell(Input::ResponseBytes);
                }
                Err(error) => return Err(self.server_failed(Input::BadResponse(error.reason()))),
            }
        }
    }

    async fn relay_body(
        &self,
        head: Head,
        piece: Option<RecvBuf>,
        sink: &mut Sink<'_>,
    ) -> Result<Action, Action> {
        let (output, _) = output_for(head.body, self.incoming.version);
        let mut body = Body::new(head.body, output, &Limits::default());
        let mut surplus = None;
        if let Some(piece) = piece {
            surplus =
                self.forward(&mut body, piece, sink).map_err(|action| unsent(action, sink))?;
        }
        self.note_size(&body);
        let server = self.attempt.connection.socket();
        let mut flows = true;
        while !body.is_finished() {
            if let Some(bytes) = body.flowing_bytes().filter(|_| flows) {
                sink.flush();
                if let Some(flow) = Flow::begin(server, &self.driver.client.socket, bytes) {
                    match self.flow(flow, |bytes| body.passed(bytes)).await? {
                        Flowed::Whole => self.attempt.persists_only_if(!server.has_unread()),
                        Flowed::Unable => flows = false,
                        Flowed::End if body.ends_with_connection(sink) => {}
                        Flowed::End => return Err(self.server_failed(Input::ServerClosed)),
                    }
                    continue;
                }
            }
            self.make_room(sink).await?;
            let received = self.receive_or_end().await?;
            match received {
                Some(piece) => {
                    self.driver.tell(Input::ResponseProgress);
                    surplus = self.forward(&mut body, piece, sink)?;
                }
                None if body.ends_with_connection(sink) => {}
                None => return Err(self.server_failed(Input::ServerClosed)),
            }
        }
        Ok(self.finish_body(&head, surplus.is_some(), sink))
    }

    /// Takes note of how large the rest of a body may be.
    #[inline]
    pub(super) fn note_size(&self, rest: &Body) {
        let large = rest.may_be_large();
        self.attempt.large.set(large);
        if large {
            self.attempt.connection.socket().set_recv_on_demand(true);
            self.attempt.slot.server.note_response(true);
        }
    }

    /// Sends the last of a response whose whole body is in the sink. `has_surplus`: more was received.
    #[inline]
    pub(super) fn finish_body(
        &self,
        head: &Head,
        has_surplus: bool,
        sink: &mut Sink<'_>,
    ) -> Action {
        match self.ending.get() {
            Ending::Closing | Ending::Undelimited => sink.flush_last(),
            Ending::Persistent | Ending::Switched => sink.flush(),
        }
        if head.rest == Rest::Continue && !self.upload.is_finished() {
            // The whole response is here before the whole request: RFC 9112 §9.5 lets us stop; the connection ends.
            self.ending.set(Ending::Closing);
        }
        // Bytes beyond the response: the server's connection cannot be trusted with another request.
        if has_surplus {
            self.attempt.persists.set(false);
        }
        self.driver.input(Input::ResponseDone)
    }

    fn forward(
        &self,
        body: &mut Body,
        piece: RecvBuf,
        sink: &mut Sink<'_>,
    ) -> Result<Option<RecvBuf>, Action> {
        body.forward(piece, sink).map_err(|error| {
            // What came before the broken part is part of a response that has begun: it ends here, visibly.
            self.server_failed(Input::BadResponse(error.reason()))
        })
    }

    /// Waits until the client has taken enough for more to be read.
    pub(super) async fn make_room(&self, sink: &mut Sink<'_>) -> Result<(), Action> {
        sink.flush();
        let client = &self.driver.client.socket;
        if client.has_room(QUEUED_BYTES_MAX) {
            return Ok(());
        }
        self.driver.tell(Input::WaitingOnClient);
        let patience = self.driver.timeouts.client;
        loop {
            let (before, deadline) = (client.sent_bytes(), self.driver.alarm.now() + patience);
            let flushed = poll_fn(|context| match client.poll_flushed(context, QUEUED_BYTES_MAX) {
                Poll::Ready(flushed) => Poll::Ready(Some(flushed)),
                // A slow client is not a stalled one: each byte it takes starts its clock again.
                Poll::Pending if client.sent_bytes() != before => Poll::Ready(None),
                Poll::Pending => self
                    .driver
                    .alarm
                    .poll(deadline)
                    .map(|_| Some(Err(io::ErrorKind::TimedOut.into()))),
            });
            match flushed.await {
                Some(Ok(())) => break,
                Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(self.driver.input(Input::ClientTimeout));
                }
                Some(Err(_)) => return Err(self.driver.input(Input::ClientGone)),
                None => {}
            }
        }
        self.driver.tell(Input::ResponseProgress);
        Ok(())
    }

    /// The next piece, where the server's close is a failure. `first`: nothing of a head has come yet.
    async fn receive(&self, first: bool) -> Result<RecvBuf, Action> {
        match self.receive_or_end().await? {
            Some(piece) => Ok(piece),
            None if first && self.never_sent() => Err(self.server_failed(Input::PoolLost)),
            None => Err(self.server_failed(Input::ServerClosed)),
        }
    }

    fn never_sent(&self) -> bool {
        self.attempt.connection.socket().sent_bytes() == self.sent_before
    }

    /// The next piece, or `None` at the server's close, while the client is there and the server in time.
    async fn receive_or_end(&self) -> Result<Option<RecvBuf>, Action> {
        let received = poll_fn(|context| self.poll_server(context)).await?;
        self.received(received)
    }

    /// What the server sends, while the client is there and the server in time.
    #[inline]
    pub(super) fn poll_server(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<io::Result<Option<RecvBuf>>, Action>> {
        let (server, client) = (self.attempt.connection.socket(), &self.driver.client.socket);
        if let Poll::Ready(received) = server.poll_recv(context) {
            return Poll::Ready(Ok(received));
        }
        // Also while a body is read from the client: the upload may be waiting for the server.
        if client.poll_gone(context).is_ready() {
            return Poll::Ready(Err(self.driver.input(Input::ClientGone)));
        }
        self.poll_deadline_and_hedge(context).map(|action| Err(self.counted(action)))
    }

    /// Counts what came, and tells the exchange if the connection broke.
    #[inline]
    pub(super) fn received(
        &self,
        received: io::Result<Option<RecvBuf>>,
    ) -> Result<Option<RecvBuf>, Action> {
        match received {
            Ok(piece) => {
                self.count_received(piece.as_ref().map_or(0, |piece| piece.len()));
                if piece.is_some() {
                    // Bytes of a response have come: a second try is too late.
                    self.driver.hedge.set(None);
                }
                Ok(piece)
            }
            Err(_) => Err(self.server_failed(self.what_broke())),
        }
    }

    /// What it means that nothing more can be received.
    #[cold]
    fn what_broke(&self) -> Input {
        match self.attempt.connection.socket().fault() {
            Some(Fault::Refused) => Input::StreamRefused,
            Some(Fault::Goaway) => Input::StreamUnseen,
            Some(Fault::Reset) => Input::StreamReset,
            Some(Fault::Malformed(detail)) => Input::BadResponse(detail),
            Some(Fault::Lost) => Input::ServerReset,
            None if self.never_sent() => Input::PoolLost,
            None => Input::ServerReset,
        }
    }

    pub(super) fn count_received(&self, bytes: usize) {
        self.attempt.slot.server.stats.bytes_in.add(bytes as u64);
        self.driver.backend.stats.bytes_in.add(bytes as u64);
    }

    /// Tells the exchange and counts against the server what ended the attempt, unless a second try goes on alone.
    pub(super) fn server_failed(&self, input: Input) -> Action {
        let kind = match input {
            Input::ServerClosed => FailureKind::EmptyResponse,
            Input::StreamRefused | Input::StreamUnseen => FailureKind::StreamRefused,
            _ => FailureKind::ServerReset,
        };
        if let Some(action) = self.driver.promote_hedge(&self.attempt.slot, kind) {
            return action;
        }
        self.counted(self.driver.input(input))
    }

    pub(super) fn counted(&self, action: Action) -> Action {
        let failed = match action {
            Action::Respond(failure) | Action::Cut(failure) => Some(failure.kind),
            Action::Pick { .. } | Action::Delay => self.driver.machine.borrow().retried(),
            Action::Connect { .. } => {
                // A reused connection that had died while idle says nothing of the server's health.
                let retried = self.driver.machine.borrow().retried();
                if let Some(kind) = retried {
                    self.attempt.slot.server.stats.failures.increment(kind.index());
                }
                None
            }
            Action::Send { .. }
            | Action::Hedge { .. }
            | Action::Adopt { .. }
            | Action::Wait
            | Action::Relay { .. }
            | Action::Abort(_)
            | Action::Finish { .. } => None,
        };
        if let Some(kind) = failed {
            self.driver.count_attempt_failure(&self.attempt.slot, kind);
        }
        action
    }

    /// Both sides speak another protocol from here on.
    async fn tunnel(&self, from_server: Option<RecvBuf>) -> Result<Action, Action> {
        let driver = self.driver;
        let sides = tunnel::Sides {
            client: &driver.client.socket,
            server: self.attempt.connection.socket(),
            from_client: self.upload.input.borrow_mut().take(),
            from_server,
        };
        let moved = tunnel::run(driver.ring(), driver.alarm, sides, driver.timeouts.tunnel).await;
        driver.marks.tunnelled.set(moved.from_client);
        driver.marks.tunnel_expired.set(moved.expired);
        driver.frontend.stats.bytes_in.add(moved.from_client);
        driver.backend.stats.bytes_in.add(moved.from_server);
        self.attempt.slot.server.stats.bytes_in.add(moved.from_server);
        Ok(driver.input(Input::ResponseDone))
    }
}

/// A response that turned out to be broken before anything of it was sent is answered like any other bad response.
pub(super) fn unsent(action: Action, sink: &mut Sink<'_>) -> Action {
    match action {
        Action::Cut(failure) => {
            sink.tail().clear();
            Action::Respond(Failure { stage: Stage::Head, ..failure })
        }
        other => other,
    }
}

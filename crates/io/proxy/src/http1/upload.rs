//! Passing a request's body on to the server.
//!
//! Owns the client's half of the exchange's time; leaves the server's to the response side, which runs beside it.
//! Invariant: no more of the client's body is read than the server has room for.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use tidegate_exchange::Input;
use tidegate_ring::RecvBuf;

use super::body::{Body, Sink};
use super::exchange::Driver;
use super::mirror::Copies;
use super::splice::Flowed;

/// Bytes queued towards a server that stop reading from the client.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// The request's body between the client and whichever server it is sent to.
pub(super) struct Upload {
    pub(super) body: RefCell<Body>,
    /// Received from the client and not passed on; after the body's end, the next request.
    pub(super) input: RefCell<Option<RecvBuf>>,
    /// The server has not asked for the body yet and the client may wait for it to do so.
    pub(super) expects_continue: Cell<bool>,
    /// Some of the body has been taken: only what is kept of it can be sent again.
    pub(super) began: Cell<bool>,
    /// What has been taken of the body, for another try.
    pub(super) kept: RefCell<Kept>,
    /// What goes to other backends once the whole body is here.
    pub(super) copies: RefCell<Option<Copies>>,
    /// Bytes of the body taken so far, its framing included.
    pub(super) received: Cell<u64>,
    /// The server answered without wanting the rest.
    pub(super) stopped: Cell<bool>,
}

/// The taken part of a body, kept so that its request can be repeated.
#[derive(Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// Nothing is kept beyond it.
    bytes_max: usize,
    /// Some of the body is not here.
    is_partial: bool,
}

impl Kept {
    /// Keeps up to `bytes_max` bytes in `room`; with 0 nothing.
    pub(super) fn new(bytes_max: usize, room: Vec<u8>) -> Kept {
        Kept { bytes: room, bytes_max, is_partial: false }
    }

    fn keeps(&self) -> bool {
        self.bytes_max > 0 && !self.is_partial
    }

    /// The last piece ended `behind` bytes earlier. Whether it was one too many.
    fn end_piece(&mut self, behind: usize) -> bool {
        if !self.keeps() {
            self.is_partial = true;
            return false;
        }
        self.bytes.truncate(self.bytes.len().saturating_sub(behind));
        self.is_partial = self.bytes.len() > self.bytes_max;
        self.is_partial
    }

    /// Whether the rest of the body, so many bytes, would be kept.
    fn has_room_for(&self, rest: u64) -> bool {
        let held = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX);
        self.keeps() && held.saturating_add(rest) <= self.bytes_max as u64
    }

    /// The rest of the body passes by without being seen. Whether what was kept is lost by that.
    fn give_up(&mut self) -> bool {
        let kept = self.keeps();
        self.is_partial = true;
        kept
    }

    pub(super) fn into_room(self) -> Vec<u8> {
        self.bytes
    }
}

impl Upload {
    /// Whether all that has been taken of the body is there for another connection.
    pub(super) fn is_kept(&self) -> bool {
        !self.kept.borrow().is_partial
    }

    /// Whether the rest of the body, so many bytes, may pass by without being kept. From then on the request cannot be repeated.
    pub(super) fn give_up_keeping(&self, driver: &Driver<'_>, rest: u64) -> bool {
        let kept = &mut *self.kept.borrow_mut();
        if kept.has_room_for(rest) {
            return false;
        }
        if kept.give_up() {
            driver.backend.stats.retry_bodies_dropped.increment();
        }
        true
    }

    /// Queues what has been taken of the body for an earlier connection.
    pub(super) fn repeat(&self, sink: &mut Sink<'_>) {
        if self.began.get() {
            sink.tail().extend_from_slice(&self.kept.borrow().bytes);
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.body.borrow().is_finished()
    }

    /// Queues what has been received of the body already.
    pub(super) fn forward_received(
        &self,
        driver: &Driver<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Input> {
        if self.is_finished() {
            return Ok(());
        }
        let piece = self.input.borrow_mut().take();
        piece.map_or(Ok(()), |piece| self.forward(driver, piece, sink))
    }

    fn forward(
        &self,
        driver: &Driver<'_>,
        piece: RecvBuf,
        sink: &mut Sink<'_>,
    ) -> Result<(), Input> {
        self.began.set(true);
        if let Some(copies) = &mut *self.copies.borrow_mut() {
            copies.add(&piece);
        }
        let kept = &mut *self.kept.borrow_mut();
        if kept.keeps() {
            kept.bytes.extend_from_slice(&piece);
        }
        let length = piece.len();
        match self.body.borrow_mut().forward(piece, sink) {
            Ok(rest) => {
                if let (Some(copies), Some(rest)) = (&mut *self.copies.borrow_mut(), &rest) {
                    copies.cut(rest.len());
                }
                if kept.end_piece(rest.as_ref().map_or(0, |rest| rest.len())) {
                    driver.backend.stats.retry_bodies_dropped.increment();
                }
                let taken = length - rest.as_ref().map_or(0, |rest| rest.len());
                self.received.set(self.received.get() + taken as u64);
                *self.input.borrow_mut() = rest;
                Ok(())
            }
            Err(error) => Err(Input::ClientBad { status: error.status(), detail: error.reason() }),
        }
    }
}

/// Passes on the rest of the body. What ends it early is an input for the exchange.
pub(super) async fn run(
    driver: &Driver<'_>,
    upload: &Upload,
    sink: &mut Sink<'_>,
    patience: Duration,
) -> Result<(), Input> {
    let on_demand = upload.body.borrow().may_be_large();
    driver.client.socket.set_recv_on_demand(on_demand);
    let mut flows = true;
    while !upload.is_finished() {
        if flows && let Some(flow) = upload.begin_flow(driver, sink) {
            sink.flush();
            match upload.flow(driver, flow, patience).await? {
                Flowed::Whole => {}
                Flowed::Unable => flows = false,
                Flowed::End => return Err(Input::ClientGone),
            }
            continue;
        }
        // A failed send is no failure of the upload: the response tells what the server makes of it.
        let server = sink.socket();
        if std::future::poll_fn(|context| server.poll_flushed(context, QUEUED_BYTES_MAX))
            .await
            .is_err()
        {
            std::future::pending::<()>().await;
        }
        if !upload.expects_continue.get() {
            driver.tell(Input::WaitingOnClient);
        }
        let socket = &driver.client.socket;
        // A client that waits for "100 Continue" is the server's to wait for, so its own clock does not run.
        let received = loop {
            let deadline = driver.alarm.now() + patience;
            match driver.alarm.within(deadline, |context| socket.poll_recv(context)).await {
                Ok(received) => break Ok(received),
                Err(_expired) if upload.expects_continue.get() => {}
                Err(_expired) => break Err(Input::ClientTimeout),
            }
        }?;
        let Ok(Some(piece)) = received else { return Err(Input::ClientGone) };
        upload.expects_continue.set(false);
        driver.frontend.stats.bytes_in.add(piece.len() as u64);
        let forwarded = upload.forward(driver, piece, sink);
        sink.flush();
        driver.tell(Input::RequestProgress { kept: upload.is_kept() });
        forwarded?;
    }
    if on_demand {
        driver.client.socket.set_recv_on_demand(false);
    }
    Ok(())
}

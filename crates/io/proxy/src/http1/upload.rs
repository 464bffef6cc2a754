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
    /// Some of the body has been taken: the request cannot be sent from its start again.
    pub(super) began: Cell<bool>,
    /// What goes to other backends once the whole body is here.
    pub(super) copies: RefCell<Option<Copies>>,
    /// Bytes of the body taken so far, its framing included.
    pub(super) received: Cell<u64>,
    /// The server answered without wanting the rest.
    pub(super) stopped: Cell<bool>,
}

impl Upload {
    pub(super) fn is_finished(&self) -> bool {
        self.body.borrow().is_finished()
    }

    /// Queues what has been received of the body already.
    pub(super) fn forward_received(&self, sink: &mut Sink<'_>) -> Result<(), Input> {
        if self.is_finished() {
            return Ok(());
        }
        let piece = self.input.borrow_mut().take();
        piece.map_or(Ok(()), |piece| self.forward(piece, sink))
    }

    fn forward(&self, piece: RecvBuf, sink: &mut Sink<'_>) -> Result<(), Input> {
        self.began.set(true);
        if let Some(copies) = &mut *self.copies.borrow_mut() {
            copies.add(&piece);
        }
        let length = piece.len();
        match self.body.borrow_mut().forward(piece, sink) {
            Ok(rest) => {
                if let (Some(copies), Some(rest)) = (&mut *self.copies.borrow_mut(), &rest) {
                    copies.cut(rest.len());
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
        let forwarded = upload.forward(piece, sink);
        sink.flush();
        driver.tell(Input::RequestProgress);
        forwarded?;
    }
    if on_demand {
        driver.client.socket.set_recv_on_demand(false);
    }
    Ok(())
}

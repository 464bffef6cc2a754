//! Large bodies whose bytes go on as they come: they flow past this process.
//!
//! Owns both directions of the exchange's time and counting while they do; leaves moving bytes to `flow`, and all other bodies
//! to `response` and `upload`. Invariant: not a byte beyond the body's end is taken from its sender.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use tidegate_exchange::{Action, Input};

use super::body::Sink;
use super::exchange::Driver;
use super::response::Relay;
use super::upload::Upload;
use crate::flow::{Flow, Step, Wait};

/// How a flow left a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flowed {
    /// All of it has gone.
    Whole,
    /// The sender ended its side.
    End,
    /// What follows has to be received.
    Unable,
}

impl Relay<'_, '_> {
    /// Lets a response's body flow to the client; `passed` is told of each part that has gone.
    pub(super) async fn flow(
        &self,
        mut flow: Flow<'_>,
        mut passed: impl FnMut(usize),
    ) -> Result<Flowed, Action> {
        let (driver, client) = (self.driver, &self.driver.client.socket);
        let patience = driver.timeouts.client;
        // While the client is waited for: since when it has taken nothing, and what it had taken by then.
        let mut stalled: Option<(Instant, u64)> = None;
        loop {
            let step = poll_fn(|context| {
                if let Poll::Ready(step) = flow.poll(context) {
                    return Poll::Ready(Ok(step));
                }
                match flow.waits_for() {
                    Wait::Turn => Poll::Pending,
                    Wait::Sink => {
                        if stalled.is_none() {
                            driver.tell(Input::WaitingOnClient);
                        }
                        // A slow client is not a stalled one: each byte it takes starts its clock again.
                        let sent = client.sent_bytes();
                        let known = stalled.filter(|(_, known)| *known == sent);
                        let (since, _) =
                            *stalled.insert(known.unwrap_or((driver.alarm.now(), sent)));
                        let expired = driver.alarm.poll(since + patience);
                        expired.map(|_| Err(driver.input(Input::ClientTimeout)))
                    }
                    Wait::Source => {
                        if stalled.take().is_some() {
                            driver.tell(Input::ResponseProgress);
                        }
                        if client.poll_gone(context).is_ready() {
                            return Poll::Ready(Err(driver.input(Input::ClientGone)));
                        }
                        driver.poll_deadline().map(|action| Err(self.counted(action)))
                    }
                }
            })
            .await?;
            match step {
                Step::Received(bytes) => {
                    stalled = None;
                    self.count_received(bytes);
                    driver.tell(Input::ResponseProgress);
                }
                Step::Sent(bytes) => passed(bytes),
                Step::Done => return Ok(Flowed::Whole),
                Step::End => return Ok(Flowed::End),
                Step::Unable => return Ok(Flowed::Unable),
                Step::SourceFailed => return Err(self.server_failed(Input::ServerReset)),
                Step::SinkFailed => return Err(driver.input(Input::ClientGone)),
            }
        }
    }
}

impl Upload {
    /// Lets the body flow to the server.
    pub(super) async fn flow(
        &self,
        driver: &Driver<'_>,
        mut flow: Flow<'_>,
        patience: Duration,
    ) -> Result<Flowed, Input> {
        // Since when the client has given nothing.
        let mut stalled = None;
        loop {
            let step = poll_fn(|context| {
                if let Poll::Ready(step) = flow.poll(context) {
                    return Poll::Ready(Ok(step));
                }
                if flow.waits_for() != Wait::Source {
                    return Poll::Pending;
                }
                let since = *stalled.get_or_insert_with(|| {
                    driver.tell(Input::WaitingOnClient);
                    driver.alarm.now()
                });
                driver.alarm.poll(since + patience).map(|_| Err(Input::ClientTimeout))
            })
            .await?;
            match step {
                Step::Received(bytes) => {
                    stalled = None;
                    self.began.set(true);
                    self.received.set(self.received.get() + bytes as u64);
                    driver.frontend.stats.bytes_in.add(bytes as u64);
                    driver.tell(Input::RequestProgress { kept: false });
                }
                Step::Sent(bytes) => {
                    self.body.borrow_mut().passed(bytes);
                    driver.tell(Input::RequestProgress { kept: false });
                }
                Step::Done => return Ok(Flowed::Whole),
                Step::End => return Ok(Flowed::End),
                Step::Unable => return Ok(Flowed::Unable),
                Step::SourceFailed => return Err(Input::ClientGone),
                // A failed send is no failure of the upload: the response tells what the server makes of it.
                Step::SinkFailed => std::future::pending().await,
            }
        }
    }

    /// Begins a flow of the rest of the body, if that is large, passed on as it comes, and wanted by nobody else.
    pub(super) fn begin_flow<'a>(
        &self,
        driver: &'a Driver<'_>,
        sink: &Sink<'a>,
    ) -> Option<Flow<'a>> {
        let bytes = self.body.borrow().flowing_bytes()?;
        let is_copied = self.copies.borrow().as_ref().is_some_and(|copies| !copies.is_too_large());
        if is_copied || self.expects_continue.get() || self.input.borrow().is_some() {
            return None;
        }
        if !self.give_up_keeping(driver, bytes) {
            return None;
        }
        Flow::begin(&driver.client.socket, sink.socket(), bytes)
    }
}

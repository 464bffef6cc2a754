//! A second try beside one that is slow: sent to another server, and taken over if it answers first.
//!
//! Owns the second try's slot and connection until it is taken over or given up; leaves whether there is one to
//! `tidegate-exchange`. Invariant: it is there only while nothing of a response has come from the first, and dropping it gives
//! everything back.

use std::cell::Cell;
use std::task::{Context, Poll};

use tidegate_balance::ServerId;
use tidegate_exchange::{Action, Avoided, FailureKind, Input};
use tidegate_ring::RecvBuf;

use super::body::Sink;
use super::exchange::{Attempt, Driver};
use super::head::Incoming;
use super::response::Relay;
use super::upload::Upload;
use crate::upstream::connect::{Connection, Slot, connect_failure};
use crate::upstream::connecting::Connecting;

/// The second try.
pub(super) struct Hedge {
    /// Its server, by its index in the backend.
    server: u32,
    state: State,
}

enum State {
    /// Dropped in this order.
    Connecting {
        connecting: Connecting,
        slot: Slot,
    },
    Sent(Sent),
}

/// A second try whose request is with its server.
pub(super) struct Sent {
    pub(super) server: u32,
    pub(super) attempt: Attempt,
    /// What the connection had sent before.
    pub(super) sent_before: u64,
    /// The first bytes of its response.
    pub(super) piece: Option<RecvBuf>,
}

impl Driver<'_> {
    /// Begins a second try, if there is another server for it.
    pub(super) fn start_hedge(&self, avoid: &Avoided, incoming: &Incoming, upload: &Upload) {
        let Some(server) = self.pick_beside(avoid) else { return };
        let Some(known) = self.backend.servers.get(server as usize) else { return };
        // A second try waits for nobody's slot.
        let Some((slot, idle)) = self.worker.acquire(known, &self.backend.pool, false) else {
            return;
        };
        self.backend.stats.hedges.increment();
        if let Some(connection) = idle {
            let sent = self.send_beside(server, slot, connection, incoming, upload);
            return self.keep_hedge(server, State::Sent(sent));
        }
        match Connecting::begin(self.worker, known, self.wanted) {
            Ok(connecting) => {
                self.keep_hedge(server, State::Connecting { connecting, slot });
            }
            Err(error) => {
                self.count_connect_failure(Some(server), &slot, connect_failure(&error));
            }
        }
    }

    fn keep_hedge(&self, server: u32, state: State) {
        self.hedge.set(Some(Box::new(Hedge { server, state })));
    }

    /// Another server, if there is one: a client that stays with its server has none.
    fn pick_beside(&self, avoid: &Avoided) -> Option<u32> {
        if self.pin.is_some() {
            return None;
        }
        let mut avoided = [ServerId(0); Avoided::SERVERS_MAX];
        let avoided = super::queued::server_ids(avoid, &mut avoided);
        let random = self.worker.scratch.random();
        let ServerId(server) = self.backend.pick(self.alarm.now(), random, None, avoided).ok()?;
        (!avoid.contains(server)).then_some(server)
    }

    /// Sends the whole request on a connection of the second try.
    fn send_beside(
        &self,
        server: u32,
        slot: Slot,
        connection: Connection,
        incoming: &Incoming,
        upload: &Upload,
    ) -> Sent {
        let sent_before = connection.socket().sent_bytes();
        let mut sink = Sink::new(connection.socket(), self.ring());
        sink.tail().extend_from_slice(&incoming.head);
        upload.repeat(&mut sink);
        sink.flush();
        drop(sink);
        let attempt =
            Attempt { connection, slot, persists: Cell::new(false), large: Cell::new(false) };
        Sent { server, attempt, sent_before, piece: None }
    }

    /// Ready when the second try has the first bytes of its response. One that fails is given up.
    pub(super) fn poll_hedge(
        &self,
        context: &Context<'_>,
        incoming: &Incoming,
        upload: &Upload,
    ) -> Poll<Action> {
        let Some(hedge) = self.hedge.take() else { return Poll::Pending };
        let Hedge { server, mut state } = *hedge;
        if let State::Connecting { mut connecting, slot } = state {
            state = match connecting.poll(context) {
                Poll::Pending => State::Connecting { connecting, slot },
                Poll::Ready(Ok(())) => {
                    let connection = connecting.established(self.alarm.now());
                    State::Sent(self.send_beside(server, slot, connection, incoming, upload))
                }
                Poll::Ready(Err(error)) => {
                    self.report_dial_error(&slot, &error);
                    self.count_connect_failure(Some(server), &slot, error.failure());
                    drop((connecting, slot));
                    return Poll::Pending;
                }
            };
        }
        if let State::Sent(sent) = &mut state {
            match sent.attempt.connection.socket().poll_recv(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(Some(piece))) => {
                    sent.piece = Some(piece);
                    self.keep_hedge(server, state);
                    return Poll::Ready(self.input(Input::HedgeWon { server }));
                }
                Poll::Ready(failed) => {
                    let kind = match failed {
                        Ok(_) => FailureKind::EmptyResponse,
                        Err(_) => FailureKind::ServerReset,
                    };
                    self.count_attempt_failure(&sent.attempt.slot, kind);
                    return Poll::Pending;
                }
            }
        }
        self.keep_hedge(server, state);
        Poll::Pending
    }

    /// The first try has failed by `kind`: the second one goes on alone, if its request was sent. Otherwise it is given up.
    pub(super) fn promote_hedge(&self, failed: &Slot, kind: FailureKind) -> Option<Action> {
        let Hedge { server, state } = *self.hedge.take()?;
        let State::Sent(sent) = state else { return None };
        self.count_attempt_failure(failed, kind);
        self.keep_hedge(server, State::Sent(sent));
        Some(self.input(Input::HedgeWon { server }))
    }

    /// Takes the second try over.
    pub(super) fn adopt_hedge(&self) -> Option<Sent> {
        let Hedge { state: State::Sent(sent), .. } = *self.hedge.take()? else { return None };
        self.backend.stats.hedges_won.increment();
        self.last_server.set(Some(sent.server));
        self.last_epoch.set(sent.attempt.slot.epoch());
        self.marks.note_pick(sent.server, self.alarm.now(), true);
        Some(sent)
    }
}

impl Relay<'_, '_> {
    /// What comes of the time, and of a second try that it begins.
    #[inline]
    pub(super) fn poll_deadline_and_hedge(&self, context: &Context<'_>) -> Poll<Action> {
        let driver = self.driver;
        let due = driver.poll_deadline();
        if let Poll::Ready(Action::Hedge { avoid }) = due {
            driver.start_hedge(&avoid, self.incoming, self.upload);
            // The task is to be woken at the next deadline, too.
            if let Poll::Ready(action) = driver.poll_deadline() {
                return Poll::Ready(action);
            }
        } else if due.is_ready() {
            return due;
        }
        driver.poll_hedge(context, self.incoming, self.upload)
    }
}

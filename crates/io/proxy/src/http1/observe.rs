//! What the balancing and the health of servers learn from an exchange.
//!
//! Owns which time counts as a server's latency; leaves what follows from it to `tidegate-balance`. Invariant: a server that
//! fails is never taken for a fast one.

use std::time::Duration;

use tidegate_balance::ServerId;
use tidegate_exchange::{Action, ConnectFailure, Failure, FailureKind, Origin};

use super::exchange::Driver;
use crate::command::{Event, EventKind};
use crate::upstream::connect::{DialError, Slot};

/// What a failure counts as, at least: servers that refuse at once would otherwise draw all requests to themselves.
const FAILED_LATENCY: Duration = Duration::from_secs(1);

impl Driver<'_> {
    /// Tells how long the last server took to the head of its response. What comes behind the head depends on its length
    /// and on the client. Of an exchange that ended before, it took at least so long.
    #[inline]
    pub(super) fn observe(&self, action: Action) {
        let (Some(server), Some(picked)) = (self.last_server.get(), self.marks.picked.get()) else {
            return;
        };
        let known = self.backend.servers.get(server as usize);
        if known.is_some_and(|known| !known.place.is_at(self.last_epoch.get())) {
            return;
        }
        let now = self.alarm.now();
        let answered = self.marks.answered.get().unwrap_or(now);
        let took = answered.saturating_duration_since(picked);
        let latency = match action {
            Action::Respond(failure) | Action::Cut(failure) | Action::Abort(failure)
                if is_of_server(failure) =>
            {
                took.max(FAILED_LATENCY)
            }
            _ => took,
        };
        self.backend.observe(ServerId(server), latency, now);
    }

    /// Counts a connection that could not be made, to the server with this index. Where this machine lacked something its health
    /// does not suffer.
    pub(super) fn count_connect_failure(
        &self,
        index: Option<u32>,
        slot: &Slot,
        failure: ConnectFailure,
    ) {
        slot.server.stats.connects_failed.increment();
        slot.server.stats.failures.increment(FailureKind::Connect(failure).index());
        if !slot.is_current() {
            return;
        }
        if let Some(index) = index {
            self.backend.observe(ServerId(index), FAILED_LATENCY, self.alarm.now());
        }
        if failure != ConnectFailure::LocalResource {
            self.backend.note_error(&slot.server);
        }
    }

    /// Says why a server could not be spoken to by TLS: the reason is more than a word.
    pub(super) fn report_dial_error(&self, slot: &Slot, error: &DialError) {
        let error = match error {
            DialError::Handshake(error) => error.to_string(),
            DialError::Protocol(detail) => detail.clone(),
            DialError::Connect(_) | DialError::Shared(_) => return,
        };
        let mut event = Event::new(EventKind::HandshakeFailed, "server_handshake");
        event.frontend = Some(self.frontend.name.clone());
        event.backend = Some(self.backend.name.clone());
        event.server = Some(slot.server.name.clone());
        event.detail = error;
        self.worker.report_event(event);
    }

    /// Counts an attempt that a server has failed. What its status says was noted with its answer.
    pub(super) fn count_attempt_failure(&self, slot: &Slot, kind: FailureKind) {
        slot.server.stats.failures.increment(kind.index());
        if kind.origin() == Origin::Server && !is_no_error(kind) && slot.is_current() {
            self.backend.note_error(&slot.server);
        }
    }

    /// Tells that the request has left its last server.
    #[inline]
    pub(super) fn note_end(&self) {
        if let Some(server) = self.last_server.get() {
            self.backend.ended(ServerId(server), self.alarm.now());
        }
    }
}

/// What a response says was noted with it, and a request that was not taken says nothing.
fn is_no_error(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Status(_) | FailureKind::GrpcStatus(_) | FailureKind::StreamRefused)
}

fn is_of_server(failure: Failure) -> bool {
    failure.origin() == Origin::Server
}

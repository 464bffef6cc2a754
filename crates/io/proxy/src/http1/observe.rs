//! What the balancing learns from an exchange.
//!
//! Owns which time counts as a server's latency; leaves what follows from it to `tidegate-balance`. Invariant: a server that
//! fails is never taken for a fast one.

use std::time::Duration;

use tidegate_balance::ServerId;
use tidegate_exchange::{Action, Failure, Origin};

use super::exchange::Driver;

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

    /// Tells that a connection to the last server could not be made.
    pub(super) fn observe_failure(&self) {
        if let Some(server) = self.last_server.get() {
            self.backend.observe(ServerId(server), FAILED_LATENCY, self.alarm.now());
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

fn is_of_server(failure: Failure) -> bool {
    failure.origin() == Origin::Server
}

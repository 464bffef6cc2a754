//! The end of an exchange.
//!
//! Owns carrying out terminal actions: answers, connections that are kept or closed, what is counted. Leaves the way there to
//! `exchange`, and lines of the log to `trace`. Invariant: a request is counted once.

use std::cell::Cell;
use std::time::Instant;

use tidegate_access_log as access_log;
use tidegate_exchange::{Action, Failure};

use super::Next;
use super::exchange::{Attempt, Driver, Ending};
use super::head::Incoming;
use super::respond;
use super::trace::Outcome;
use super::upload::Upload;

impl Driver<'_> {
    /// Carries out a terminal action: answers, keeps or closes connections, counts.
    pub(super) async fn finish(
        &self,
        incoming: &Incoming,
        upload: &Upload,
        action: Action,
        attempt: Option<Attempt>,
        ending: &Cell<Ending>,
    ) -> Next {
        match action {
            Action::Finish { reuse } => {
                if let Some(grpc) = attempt.as_ref().and_then(Attempt::grpc) {
                    self.note_grpc(grpc.status);
                }
                let sent = self.record(incoming.started, None);
                self.log(incoming, upload, &self.completed(sent));
                let server_persists = reuse && self.backend.reuse;
                if let Some(attempt) = &attempt {
                    attempt.slot.server.note_response(attempt.large.get());
                }
                if let Some(mut attempt) = attempt
                    && server_persists
                    && attempt.persists.get()
                    && !attempt.connection.socket().has_arrived()
                {
                    self.worker.keep_idle(
                        attempt.connection,
                        &mut attempt.slot,
                        &self.backend.pool,
                    );
                }
                match ending.get() {
                    Ending::Persistent if reuse => Next::KeepAlive,
                    Ending::Persistent | Ending::Closing | Ending::Undelimited => {
                        let deadline = self.alarm.now() + self.timeouts.client;
                        if incoming.keep_alive || !upload.is_finished() {
                            respond::close_with_care(self.alarm, self.client, deadline).await;
                        } else {
                            respond::close(self.alarm, self.client, deadline).await;
                        }
                        Next::Close
                    }
                    Ending::Switched => Next::Close,
                }
            }
            Action::Respond(failure) => {
                drop(attempt);
                let sent = self.record(incoming.started, Some(failure));
                self.answer(incoming, upload, failure, sent).await
            }
            Action::Cut(failure) | Action::Abort(failure) => {
                drop(attempt);
                if ending.get() == Ending::Undelimited {
                    self.client.socket.reset_when_closed();
                } else {
                    self.client.socket.cut_when_closed();
                }
                let sent = self.record(incoming.started, Some(failure));
                let (ending, status) = (access_log::Ending::Failed(failure), self.status_sent());
                self.log(incoming, upload, &Outcome { ending, status, sent });
                Next::Close
            }
            Action::Pick { .. }
            | Action::Connect { .. }
            | Action::Send { .. }
            | Action::Delay
            | Action::Hedge { .. }
            | Action::Adopt { .. }
            | Action::Wait
            | Action::Relay { .. } => {
                debug_assert!(false, "an exchange ended with {action:?}");
                Next::Close
            }
        }
    }

    /// Counts one request and tells of what failed; the bytes that the client was sent.
    fn record(&self, started: Instant, failure: Option<Failure>) -> u64 {
        let micros = u64::try_from(self.alarm.now().saturating_duration_since(started).as_micros())
            .unwrap_or(u64::MAX);
        let (frontend, backend) = (&self.frontend.stats, &self.backend.stats);
        let answered = failure.and_then(Failure::status).unwrap_or_else(|| self.status.get());
        frontend.requests.record(answered);
        backend.requests.record(answered);
        let sent = self.client.newly_sent();
        frontend.bytes_out.add(sent);
        frontend.request_duration.record_micros(micros);
        backend.request_duration.record_micros(micros);
        let retries = self.machine.borrow().retries();
        if retries > 0 {
            backend.retries.add(u64::from(retries));
        }
        if self.machine.borrow().is_over_budget() {
            backend.retries_over_budget.increment();
        }
        if let Some(failure) = failure {
            respond::count_failure(self.frontend, failure);
            backend.failures.increment(failure.index());
            self.log_failure(failure, retries);
        }
        sent
    }
}

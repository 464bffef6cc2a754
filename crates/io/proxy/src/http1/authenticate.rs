//! Waiting for a password to be compared.
//!
//! Owns the wait and what follows from it; leaves the comparison to `rules::Verifier`. Invariant: the rules go on over the
//! same bytes that they stopped at, and nobody waits without a deadline.

use std::future::poll_fn;
use std::task::Poll;

use tidegate_access_log::Ending;
use tidegate_exchange::{Failure, FailureKind, Stage};
use tidegate_http1::{Parsed, parse_request};

use super::Server;
use super::head::{Incoming, received};
use super::held::Held;
use super::trace::Outcome;
use crate::client::Client;
use crate::rules::{Answered, Dropped, Question, Refusal, Route, VERIFICATION_PATIENCE};
use crate::site::Frontend;

/// How a wait ended.
enum Waited {
    Compared(bool),
    Dropped(Dropped),
    ClientGone,
}

impl Server {
    /// Sees a request through the comparisons that rules ask for. `None`: the client has left.
    pub(super) async fn authenticate(
        &self,
        client: &Client,
        frontend: &Frontend,
        mut incoming: Incoming,
    ) -> Option<Incoming> {
        loop {
            match incoming.route {
                Route::Verify(question) => {
                    incoming.route = Route::Nowhere;
                    incoming = self.go_on(client, frontend, incoming, *question).await?;
                }
                route => {
                    incoming.route = route;
                    return Some(incoming);
                }
            }
        }
    }

    async fn go_on(
        &self,
        client: &Client,
        frontend: &Frontend,
        mut incoming: Incoming,
        question: Question,
    ) -> Option<Incoming> {
        let pending = question.pending;
        let killed = Ending::Killed(Stage::Request);
        let held = Held::new(self, client, frontend, &mut incoming, killed);
        let waited = self.compared(client, frontend, question).await;
        held.end();
        let is_right = match waited {
            Waited::Compared(is_right) => is_right,
            Waited::Dropped(dropped) => {
                frontend.stats.rules_dropped.increment(dropped.index());
                return Some(Incoming { route: Route::Answer(Answered::Deny(503)), ..incoming });
            }
            Waited::ClientGone => {
                frontend.stats.requests.record(0);
                let failure = Failure::in_request(FailureKind::ClientGone);
                let outcome = Outcome { ending: Ending::Failed(failure), status: None, sent: 0 };
                self.log_refused(client, frontend, incoming.started, incoming.trace, &outcome);
                self.worker.shard.ring.put_vec(incoming.head);
                return None;
            }
        };
        let bytes = incoming.head;
        let mut head = self.worker.scratch.request.borrow_mut();
        let parsed = parse_request(&bytes, &frontend.limits, &mut head);
        debug_assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "it was parsed before");
        let received = received(client, frontend, &bytes, &head);
        let judge = self.judge(frontend);
        let route = judge.resume(&received, &mut self.notes.borrow_mut(), &pending, is_right);
        let begun = (incoming.started, incoming.trace);
        let next = self.prepare(client, frontend, &received, route, begun);
        self.worker.shard.ring.put_vec(bytes);
        Some(next)
    }

    async fn compared(&self, client: &Client, frontend: &Frontend, question: Question) -> Waited {
        let Some(verifier) = &frontend.verifier else {
            return Waited::Dropped(Dropped::Verifications);
        };
        let until = self.alarm.now() + VERIFICATION_PATIENCE;
        let (mut question, mut asked) = (Some(question), None);
        poll_fn(|context| {
            if let Some(question) = question.take() {
                match verifier.ask(question, context) {
                    Ok(verification) => asked = Some(verification),
                    Err(Refusal::Full | Refusal::Gone) => {
                        return Poll::Ready(Waited::Dropped(Dropped::Verifications));
                    }
                }
            }
            if let Some(verification) = &asked
                && let Poll::Ready(is_right) = verification.poll()
            {
                return Poll::Ready(Waited::Compared(is_right));
            }
            if client.socket.poll_gone(context).is_ready() {
                return Poll::Ready(Waited::ClientGone);
            }
            self.alarm.poll(until).map(|_| Waited::Dropped(Dropped::VerificationTimeout))
        })
        .await
    }
}

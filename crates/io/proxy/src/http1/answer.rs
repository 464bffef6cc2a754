//! Answers that rules give: redirects, texts, refusals, and none at all.
//!
//! Owns what each of them says and what becomes of the request's body; leaves which it is to the rules. Invariant: a
//! connection goes on only where the next request begins at a known place.

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tidegate_access_log::Ending;
use tidegate_http1::{BodyLength, ConnectionHeader, HeaderEdits, HeaderLists};
use tidegate_ring::RecvBuf;
use tidegate_routing::{RequestOverlay, RespondBody};
use tidegate_semantics::basic_auth;

use super::head::Incoming;
use super::held::Held;
use super::respond::{self, Answer, Both, close_with_care};
use super::trace::Outcome;
use super::{Next, Server};
use crate::client::Client;
use crate::rules::{Answered, Dropped, Notes};
use crate::site::Frontend;

/// The largest rest of a request that is read so that its connection can go on: beyond it, a new connection costs less.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// Clients of one shard that are made to wait: each holds a task of a few KiB. More are answered at once.
const TARPITS_MAX: u32 = 4096;

/// A place among those who wait, given back by its drop.
struct Place<'a>(&'a Cell<u32>);

impl<'a> Place<'a> {
    fn take(count: &'a Cell<u32>, count_max: u32) -> Option<Place<'a>> {
        (count.get() < count_max).then(|| {
            count.set(count.get() + 1);
            Place(count)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The fields that a rule's answer has.
struct OverlayFields<'a>(&'a RequestOverlay);

impl HeaderEdits for OverlayFields<'_> {
    fn removes_any(&self) -> bool {
        false
    }

    fn removes(&self, _name: &[u8]) -> bool {
        false
    }

    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.0.answer_headers().for_each(|(name, value)| add(name, value));
    }
}

impl Server {
    /// Ends a request as rules say.
    pub(super) async fn answer(
        &self,
        client: &Client,
        frontend: &Frontend,
        incoming: &mut Incoming,
        answered: Answered,
        input: &mut Option<RecvBuf>,
    ) -> Next {
        frontend.stats.answered.increment(answered.index());
        match answered {
            Answered::Close => {
                return self.end_without_answer(client, frontend, incoming, Ending::ClosedByRule);
            }
            Answered::Tarpit(_, delay) => {
                let killed = Ending::TarpitKilled;
                let held = Held::new(self, client, frontend, incoming, killed);
                let stayed = self.wait_out(client, frontend, delay).await;
                held.end();
                if !stayed {
                    let ending = Ending::TarpitAbandoned;
                    return self.end_without_answer(client, frontend, incoming, ending);
                }
            }
            Answered::Redirect(_)
            | Answered::Respond
            | Answered::Deny(_)
            | Answered::Unauthorized
            | Answered::Challenge => {}
        }
        let persists = incoming.keep_alive
            && !self.worker.is_draining()
            && match incoming.body {
                BodyLength::None => true,
                BodyLength::Length(0) => true,
                BodyLength::Length(bytes) => bytes <= DRAIN_BYTES_MAX && !incoming.expects_continue,
                BodyLength::Chunked | BodyLength::UntilClose | BodyLength::Tunnel => false,
            };
        let connection =
            if persists { ConnectionHeader::KeepAlive } else { ConnectionHeader::Close };
        let (status, sent) = self.queue(client, frontend, incoming, answered, connection);
        let outcome = Outcome { ending: ending(answered), status: Some(status), sent };
        self.record_answer(client, frontend, incoming, &outcome);
        if persists && self.drain(client, frontend, incoming.body, input).await {
            return Next::KeepAlive;
        }
        let deadline = self.alarm.now() + frontend.timeouts.client;
        if incoming.keep_alive || incoming.body != BodyLength::None {
            close_with_care(&self.alarm, client, deadline).await;
        } else {
            respond::close(&self.alarm, client, deadline).await;
        }
        Next::Close
    }

    /// Queues the answer; its status, and how many bytes it has.
    fn queue(
        &self,
        client: &Client,
        frontend: &Frontend,
        incoming: &Incoming,
        answered: Answered,
        connection: ConnectionHeader,
    ) -> (u16, u64) {
        let out = self.worker.shard.ring.take_vec();
        let notes = self.notes.borrow();
        let Incoming { version, method, grpc, .. } = *incoming;
        let answer = |status| Answer { status, connection, version, method, grpc };
        match answered {
            Answered::Redirect(status) => {
                let fields = [(&b"Location"[..], notes.overlay.location())];
                let headers = HeaderLists { add: &fields, remove: &[] };
                let sent =
                    respond::queue_answer(client, frontend, out, &answer(status), headers, b"");
                (status, sent)
            }
            Answered::Challenge => {
                let fields = [(&b"Content-Type"[..], &b"application/octet-stream"[..])];
                let headers = HeaderLists { add: &fields, remove: &[] };
                let text = notes.challenge.as_deref().unwrap_or_default();
                let sent =
                    respond::queue_answer(client, frontend, out, &answer(200), headers, text);
                (200, sent)
            }
            Answered::Respond => queue_respond(client, frontend, &notes, out, answer),
            Answered::Unauthorized => {
                let mut challenge = Vec::new();
                let asked = notes.rule.and_then(|rule| frontend.rules.authenticate(rule));
                let realm = asked.map_or(&b""[..], |asked| &asked.realm);
                basic_auth::push_challenge(realm, &mut challenge);
                let more: [(&[u8], &[u8]); 1] = [(b"WWW-Authenticate", &challenge)];
                (401, respond::queue_error(client, frontend, None, out, &answer(401), &more))
            }
            Answered::Deny(status) | Answered::Tarpit(status, _) => {
                let answer = answer(status);
                (status, respond::queue_error(client, frontend, None, out, &answer, &[]))
            }
            Answered::Close => (0, 0),
        }
    }

    fn end_without_answer(
        &self,
        client: &Client,
        frontend: &Frontend,
        incoming: &mut Incoming,
        ending: Ending,
    ) -> Next {
        let outcome = Outcome { ending, status: None, sent: 0 };
        self.record_answer(client, frontend, incoming, &outcome);
        Next::Close
    }

    /// Counts and logs it.
    fn record_answer(
        &self,
        client: &Client,
        frontend: &Frontend,
        incoming: &mut Incoming,
        outcome: &Outcome,
    ) {
        let taken = self.alarm.now().saturating_duration_since(incoming.started);
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        frontend.stats.requests.record(outcome.status.unwrap_or(0));
        frontend.stats.request_duration.record_micros(micros);
        let trace = std::mem::take(&mut incoming.trace);
        self.log_refused(client, frontend, incoming.started, trace, outcome);
    }

    /// Makes a client wait; `false` when it has left. With too many waiting, it does not have to.
    async fn wait_out(&self, client: &Client, frontend: &Frontend, delay: Duration) -> bool {
        let Some(_place) = Place::take(&self.worker.tarpits, TARPITS_MAX) else {
            frontend.stats.rules_dropped.increment(Dropped::Tarpits.index());
            return true;
        };
        let until = self.alarm.now() + delay;
        poll_fn(|context| {
            if client.socket.poll_gone(context).is_ready() {
                return Poll::Ready(false);
            }
            self.alarm.poll(until).map(|_| true)
        })
        .await
    }

    /// Reads the rest of a request that is not wanted; `false` when it does not come.
    async fn drain(
        &self,
        client: &Client,
        frontend: &Frontend,
        body: BodyLength,
        input: &mut Option<RecvBuf>,
    ) -> bool {
        let BodyLength::Length(mut left) = body else { return true };
        while left > 0 {
            let piece = match input.take() {
                Some(piece) => piece,
                None => {
                    let until = self.alarm.now() + frontend.timeouts.request_body;
                    let received =
                        self.alarm.within(until, |context| client.socket.poll_recv(context)).await;
                    let Ok(Ok(Some(piece))) = received else { return false };
                    frontend.stats.bytes_in.add(piece.len() as u64);
                    piece
                }
            };
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            left -= taken as u64;
            let mut piece = piece;
            piece.advance(taken);
            *input = (!piece.is_empty()).then_some(piece);
        }
        true
    }
}

/// What the log says of an answer that was given.
fn ending(answered: Answered) -> Ending {
    match answered {
        Answered::Redirect(_) => Ending::Redirected,
        Answered::Respond | Answered::Challenge => Ending::Responded,
        Answered::Deny(_) => Ending::Denied,
        Answered::Tarpit(..) => Ending::Tarpitted,
        Answered::Close => Ending::ClosedByRule,
        Answered::Unauthorized => Ending::Unauthorized,
    }
}

/// Queues what a `respond` says; its status, and how many bytes it has.
fn queue_respond(
    client: &Client,
    frontend: &Frontend,
    notes: &Notes,
    out: Vec<u8>,
    answer: impl Fn(u16) -> Answer,
) -> (u16, u64) {
    let Some(respond) = notes.rule.and_then(|rule| frontend.rules.respond(rule)) else {
        return (500, respond::queue_error(client, frontend, None, out, &answer(500), &[]));
    };
    let content_type = respond.content_type.as_deref().map(|value| (&b"Content-Type"[..], value));
    let fields = HeaderLists { add: content_type.as_slice(), remove: &[] };
    let headers = Both(fields, OverlayFields(&notes.overlay));
    let body = match &respond.body {
        RespondBody::Bytes(bytes) => bytes,
        RespondBody::Template(_) => notes.overlay.answer_body(),
    };
    let answer = answer(respond.status);
    (respond.status, respond::queue_answer(client, frontend, out, &answer, headers, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let count = Cell::new(0);
        let places: Vec<_> = (0..3).filter_map(|_| Place::take(&count, 2)).collect();
        assert_eq!((places.len(), count.get()), (2, 2));
        drop(places);
        assert!(
            count.get() == 0
                && Place::take(&count, 2).is_some()
                && Place::take(&count, 0).is_none()
        );
    }
}

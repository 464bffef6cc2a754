//! The TLS handshake of a client that has just come in.
//!
//! Owns its order: a place, the first bytes, the turn for each step, the deadline; leaves the steps to `stream` and the share of the
//! shard's time to its turnstile. Invariant: a handshake has a deadline from the accept on, and whatever ends it gives its place
//! and its turn back.

use std::task::Context;
use std::time::Instant;

use tidegate_exchange::FailureKind;
use tidegate_ring::SendBuf;
use tidegate_shard::TaskId;
use tidegate_tls::ServerTls;

use super::{Server, respond};
use crate::client::Client;
use crate::command::{Event, EventKind};
use crate::http2::Protocols;
use crate::settings::HandshakeFailure;
use crate::stream::{Handshake, HandshakeError, Tls};
use crate::worker::Worker;

/// What who speaks HTTP without TLS is told.
const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 77\r\n\
Connection: close\r\n\r\nThis port speaks TLS: ask for https:// here, or for http:// at another port.\n";

/// A handshake's claims on the shard.
struct Claims<'a> {
    worker: &'a Worker,
    task: TaskId,
    has_place: bool,
}

impl Drop for Claims<'_> {
    fn drop(&mut self) {
        let (turnstile, tasks) = (&self.worker.turnstile, &self.worker.shard.tasks);
        turnstile.forget(self.task).into_iter().for_each(|task| tasks.wake(task));
        if self.has_place {
            turnstile.leave().into_iter().for_each(|task| tasks.wake(task));
        }
    }
}

/// Why there is no connection.
enum Failed {
    TimedOut,
    /// The certificate of a client that goes on with an earlier session has expired meanwhile; it was told.
    CertificateExpired,
    By(HandshakeError),
}

impl Server {
    /// Makes the handshake, and says what is spoken from here on; `None` when there is no connection and the client has been dealt
    /// with.
    pub(super) async fn secure(&self, client: &Client) -> Option<Protocols> {
        let tls = client.socket.tls()?;
        let server = client.entrance.tls()?;
        let frontend = client.entrance.frontend();
        let deadline = client.accepted + frontend.timeouts.tls_handshake;
        match self.shake(tls, &server, deadline).await {
            Ok(()) => {
                let resumed = tls.facts().is_some_and(|facts| facts.session.resumed);
                let stats = &frontend.stats;
                if resumed {
                    stats.tls_resumed.increment();
                } else {
                    stats.tls_handshakes.increment();
                }
                let took = self.alarm.now().saturating_duration_since(client.accepted);
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                stats.tls_handshake_duration.record_micros(micros);
                if tls.facts().is_some_and(|facts| facts.session.is_challenge) {
                    // The authority has seen the certificate, which is all (RFC 8737 §3).
                    let limit = self.alarm.now() + frontend.timeouts.client;
                    respond::close(&self.alarm, client, limit).await;
                    return None;
                }
                let chosen = tls.facts().and_then(|facts| facts.session.protocol);
                Some(client.protocols.chosen(chosen))
            }
            Err(failed) => {
                self.count_handshake(client, &failed);
                self.part(client, tls, failed).await;
                None
            }
        }
    }

    async fn shake(&self, tls: &Tls, server: &ServerTls, deadline: Instant) -> Result<(), Failed> {
        let Some(task) = self.worker.shard.tasks.current() else { return Err(Failed::TimedOut) };
        let turnstile = &self.worker.turnstile;
        let mut claims = Claims { worker: &self.worker, task, has_place: false };
        let place = |_: &mut Context<'_>| turnstile.poll_place(task);
        self.alarm.within(deadline, place).await.map_err(|_expired| Failed::TimedOut)?;
        claims.has_place = true;
        let mut handshake = Handshake::accept(server.config()).map_err(Failed::By)?;
        loop {
            let due = |context: &mut Context<'_>| handshake.poll_step_due(tls.socket(), context);
            let due = self.alarm.within(deadline, due).await;
            due.map_err(|_expired| Failed::TimedOut)?.map_err(Failed::By)?;
            let turn = |_: &mut Context<'_>| turnstile.poll_turn(task, self.alarm.now());
            self.alarm.within(deadline, turn).await.map_err(|_expired| Failed::TimedOut)?;
            // The shard's own clock stands still within a turn.
            let begun = Instant::now();
            let outcome = handshake.step(tls.socket());
            turnstile.charge(begun.elapsed());
            if outcome.map_err(Failed::By)? {
                tls.establish(handshake).map_err(Failed::By)?;
                let believed = !tls.refuse_expired();
                return believed.then_some(()).ok_or(Failed::CertificateExpired);
            }
        }
    }

    /// Sees a client off that will not have a connection.
    async fn part(&self, client: &Client, tls: &Tls, failed: Failed) {
        let frontend = client.entrance.frontend();
        let limit = self.alarm.now() + frontend.timeouts.client;
        match failed {
            Failed::By(HandshakeError::NotTls(bytes)) if is_http(&bytes) => {
                tls.socket().queue(SendBuf::Static(PLAIN_HTTP_ANSWER));
                tls.socket().flush();
                respond::close_with_care(&self.alarm, client, limit).await;
            }
            // It is to read why.
            Failed::By(HandshakeError::Tls(_) | HandshakeError::UnknownName(_)) => {
                respond::close_with_care(&self.alarm, client, limit).await;
            }
            Failed::CertificateExpired => {
                respond::close_with_care(&self.alarm, client, limit).await;
            }
            Failed::By(_) | Failed::TimedOut => {}
        }
    }

    fn count_handshake(&self, client: &Client, failed: &Failed) {
        let frontend = client.entrance.frontend();
        let (kind, detail) = match failed {
            Failed::TimedOut => (HandshakeFailure::TimedOut, String::new()),
            Failed::CertificateExpired => (
                HandshakeFailure::ClientCertificate,
                "expired since its first handshake".to_owned(),
            ),
            Failed::By(error) => (HandshakeFailure::of(error), error.to_string()),
        };
        frontend.stats.tls_failed.increment(kind.index());
        if kind == HandshakeFailure::Closed {
            // Health checks, scanners, impatient clients: what they have not begun is not worth a line.
            self.worker.log_empty(client, FailureKind::ClientGone);
            return;
        }
        let mut event = Event::new(EventKind::HandshakeFailed, kind.label());
        event.frontend = Some(frontend.name.clone());
        event.peer = Some(client.peer);
        event.detail = detail;
        self.worker.report_event(event);
    }
}

/// Whether it looks like a request: a method in capital letters, or HTTP/2's preface.
fn is_http(bytes: &[u8]) -> bool {
    let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (3..=16).contains(&letters) && bytes.get(letters).is_none_or(|byte| *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_noise() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"PRI * HTTP/2.0\r\n", true),
            (b"OPTIONS", true),
            (b"get / HTTP/1.1\r\n", false),
            (b"GE", false),
            (b"SSH-2.0-x", false),
            (b"\x80\x2e\x01", false),
            (b"", false),
        ] {
            assert_eq!(is_http(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_answer_to_plain_http_has_the_length_that_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP_ANSWER).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}

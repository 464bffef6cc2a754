//! The task of one HTTP/2 connection to a server, from connecting to its end.
//!
//! Owns the order of its life and what ends it: idleness, age, GOAWAY, silence, floods, faults; leaves streams to the tasks of their
//! requests. Invariant: whatever the server does, every wait here has a deadline, and at its end every stream has an error.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::client::Connection;
use h2::{Ping, PingPong};
use rustix::io::Errno;
use tidegate_ring::Socket;
use tidegate_shard::{Alarm, Expired};
use tidegate_tls::Protocol;

use super::trunk::{Ended, State, Trunk};
use super::{
    CONNECTION_WINDOW_BYTES_MAX, FAREWELL, FIELDS_BYTES_MAX, QUIET_PING_INTERVAL,
    SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES,
};
use crate::command::{Event, EventKind};
use crate::http2::carrier::{Carrier, End};
use crate::http2::piece::Piece;
use crate::settings::BackendProtocol;
use crate::stream::Stream;
use crate::upstream::connect::{DialError, Dialing};
use crate::worker::Worker;

/// Where a connection begins.
pub(super) enum Start {
    /// With a socket that is being connected.
    Dial(Box<Socket>),
    /// With a connection on which HTTP/2 was agreed on.
    Speak(Box<Stream>),
}

/// The end of a connection: why, and more about it.
type Over = (Ended, String);

/// Takes a connection out of its server's list and ends the wait of whoever waits for it, however its task ends.
struct Listed<'a>(&'a Trunk);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.server.trunks.remove(self.0);
        self.0.send.borrow_mut().take();
        self.0.set_state(State::Ended);
    }
}

/// A connection that is counted as open.
struct Counted<'a>(&'a Trunk);

impl<'a> Counted<'a> {
    fn new(trunk: &'a Trunk) -> Counted<'a> {
        trunk.server.stats.connections_total.increment();
        trunk.server.stats.connections_open.increment();
        Counted(trunk)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.server.stats.connections_open.decrement();
    }
}

/// The server as the library's bytes see it.
struct ServerSide {
    stream: Rc<Stream>,
    trunk: Rc<Trunk>,
}

impl End for ServerSide {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn note_received(&self, now: Instant, bytes: &[u8]) {
        self.trunk.note_received(now, bytes);
    }

    fn is_flooding(&self) -> bool {
        self.trunk.flood.get().is_some()
    }

    fn note_finished(&self) -> bool {
        self.trunk.is_finished.replace(true)
    }
}

/// Makes a connection and keeps it as long as it is of use.
pub(super) async fn run(worker: Rc<Worker>, trunk: Rc<Trunk>, start: Start) {
    let _listed = Listed(&trunk);
    let Some(task) = worker.shard.tasks.current() else { return };
    let alarm = Alarm::new(&worker.shard, task);
    let made = match start {
        Start::Dial(socket) => dial(&alarm, &trunk, *socket).await,
        Start::Speak(stream) => Ok(*stream),
    };
    let stream = match made {
        Ok(stream) => Rc::new(stream),
        Err(error) => return fail(&trunk, error),
    };
    if !speaks_http2(&trunk, &stream) {
        return;
    }
    let counted = Counted::new(&trunk);
    let (ended, detail) = speak(&worker, &alarm, &trunk, &stream).await;
    drop(counted);
    trunk.server.stats.http2_ended.increment(ended as usize);
    report(&worker, &trunk, ended, detail);
}

fn fail(trunk: &Trunk, error: DialError) {
    trunk.failure.set(Some(error.failure()));
    *trunk.error.borrow_mut() = Some(error);
}

async fn dial(alarm: &Alarm, trunk: &Trunk, socket: Socket) -> Result<Stream, DialError> {
    let deadline = trunk.opened + trunk.settings.connect_timeout;
    let mut dialing = Dialing::new(socket, &trunk.server);
    match alarm.within(deadline, |context| dialing.poll(context)).await {
        Ok(connected) => connected?,
        Err(Expired) => return Err(DialError::Connect(Errno::TIMEDOUT.into())),
    }
    Ok(dialing.into_stream())
}

/// Whether HTTP/2 may be spoken on it; if not, those who wait are told.
fn speaks_http2(trunk: &Trunk, stream: &Stream) -> bool {
    let Some(facts) = stream.tls_facts() else { return true };
    if facts.session.protocol == Some(Protocol::Http2) {
        return true;
    }
    // RFC 9113 §3.2
    match trunk.server.protocol {
        BackendProtocol::Auto => trunk.note_refused(),
        BackendProtocol::Http1 | BackendProtocol::Http2 => {
            let detail = "the server did not agree on h2 by ALPN".to_owned();
            fail(trunk, DialError::Protocol(detail));
        }
    }
    false
}

fn builder(trunk: &Trunk) -> h2::client::Builder {
    let streams = trunk.settings.http2.streams_max;
    let window = streams.saturating_mul(STREAM_WINDOW_BYTES).min(CONNECTION_WINDOW_BYTES_MAX);
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        // Nothing is sent before the server has said how many it takes.
        .initial_max_send_streams(0)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(window.max(STREAM_WINDOW_BYTES))
        .max_header_list_size(FIELDS_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(streams as usize)
        .reset_stream_duration(FAREWELL);
    builder
}

/// Speaks until the end; why that came.
async fn speak(worker: &Rc<Worker>, alarm: &Alarm, trunk: &Rc<Trunk>, stream: &Rc<Stream>) -> Over {
    let side = ServerSide { stream: stream.clone(), trunk: trunk.clone() };
    let carrier = Carrier::new(side, &worker.shard, None);
    let deadline = trunk.opened + trunk.settings.connect_timeout;
    let mut handshake = pin!(builder(trunk).handshake::<_, Piece>(carrier));
    let begun = alarm.within(deadline, |context| handshake.as_mut().poll(context)).await;
    let (send, mut connection) = match begun {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => {
            fail(trunk, DialError::Protocol(error.to_string()));
            return (Ended::Dial, String::new());
        }
        Err(Expired) => {
            fail(trunk, DialError::Connect(Errno::TIMEDOUT.into()));
            return (Ended::Dial, String::new());
        }
    };
    *trunk.send.borrow_mut() = Some(send);
    let pings = connection.ping_pong();
    let mut life = Life { worker, alarm, trunk, pings, pinged: None, frames: 0, farewell: None };
    let over = poll_fn(|context| life.poll(context, &mut connection)).await;
    // Before the connection, so that nobody opens a stream on it.
    trunk.send.borrow_mut().take();
    if trunk.state() == State::Dialing {
        fail(trunk, not_spoken(trunk, &over));
        return (Ended::Dial, String::new());
    }
    over
}

/// Why there is no connection with HTTP/2.
fn not_spoken(trunk: &Trunk, (ended, detail): &Over) -> DialError {
    DialError::Protocol(match ended {
        _ if trunk.is_http1.get() => "the server answers in HTTP/1".to_owned(),
        Ended::Closed => "the server closed the connection before its SETTINGS".to_owned(),
        _ => detail.clone(),
    })
}

/// A connection from its preface on.
struct Life<'a> {
    worker: &'a Rc<Worker>,
    alarm: &'a Alarm,
    trunk: &'a Trunk,
    pings: Option<PingPong>,
    /// When a PING was sent that has not been answered.
    pinged: Option<Instant>,
    /// Frames of responses that had come at the last PING.
    frames: u64,
    /// When the server is given up that was told of the end.
    farewell: Option<(Instant, Ended)>,
}

impl Life<'_> {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        connection: &mut Connection<Carrier<ServerSide>, Piece>,
    ) -> Poll<Over> {
        loop {
            if self.trunk.is_aborted() {
                return Poll::Ready((Ended::Left, String::new()));
            }
            let polled = Pin::new(&mut *connection).poll(context);
            if let Some(flood) = self.trunk.flood.get() {
                return Poll::Ready((Ended::Flood, flood.label().to_owned()));
            }
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(self.over(ended));
            }
            self.note_settings(connection.max_concurrent_send_streams());
            if !self.says_farewell() {
                break;
            }
        }
        self.poll_deadline(context)
    }

    /// The library is done with it.
    fn over(&self, ended: Result<(), h2::Error>) -> Over {
        let is_goaway = self.trunk.heard().goaway;
        match (ended, self.farewell) {
            (_, Some((_, ended))) => (ended, String::new()),
            (Ok(()), None) if is_goaway => (Ended::Goaway, String::new()),
            (Ok(()), None) => (Ended::Closed, String::new()),
            (Err(error), None) if error.is_io() => (Ended::Broken, error.to_string()),
            (Err(error), None) if error.is_remote() => (Ended::Goaway, error.to_string()),
            (Err(error), None) => (Ended::Protocol, error.to_string()),
        }
    }

    /// The server may have spoken for the first time, or allow another number of streams.
    fn note_settings(&self, streams_max: usize) {
        let heard = self.trunk.heard();
        self.trunk.streams_max.set(u32::try_from(streams_max).unwrap_or(u32::MAX));
        match self.trunk.state() {
            // Without streams it is of no use yet.
            State::Dialing if heard.settings && streams_max > 0 => {
                let now = self.alarm.now();
                self.trunk.active_at.set(now);
                self.trunk.note_allowed(self.trunk.streams_max.get());
                let is_for_none = heard.goaway || !self.trunk.is_current();
                self.trunk.set_state(if is_for_none { State::Leaving } else { State::Open });
            }
            State::Open if heard.goaway => self.trunk.set_state(State::Leaving),
            _ => {}
        }
    }

    /// Tells the server of the end when it is time; `true` if it is to be told now.
    fn says_farewell(&mut self) -> bool {
        let (trunk, now) = (self.trunk, self.alarm.now());
        let pool = &trunk.settings.pool;
        let is_idle = trunk.streams() == 0;
        let expires = trunk.active_at.get() + pool.idle_timeout;
        let ended = match trunk.state() {
            State::Open if !pool.may_carry_more(trunk, now) || self.worker.is_draining() => {
                trunk.set_state(State::Leaving);
                Ended::Left
            }
            State::Open if is_idle && now >= expires => {
                trunk.set_state(State::Leaving);
                Ended::Idle
            }
            State::Leaving if trunk.heard().goaway => Ended::Goaway,
            State::Leaving => Ended::Left,
            State::Dialing | State::Open | State::Ended => return false,
        };
        // With its last handle the library sends GOAWAY and closes.
        let says = is_idle && self.farewell.is_none() && trunk.send.borrow_mut().take().is_some();
        if says {
            self.farewell = Some((now + FAREWELL, ended));
        }
        says
    }

    /// Asks a silent server whether it is there; when it should have answered, or is to be asked.
    fn poll_ping(&mut self, context: &mut Context<'_>) -> Result<Instant, Over> {
        let (trunk, now) = (self.trunk, self.alarm.now());
        let settings = &trunk.settings.http2;
        if let (Some(pings), Some(_)) = (&mut self.pings, self.pinged)
            && pings.poll_pong(context).is_ready()
        {
            self.pinged = None;
        }
        if let Some(pinged) = self.pinged {
            let due = pinged.max(trunk.heard_at.get()) + settings.ping_timeout;
            if now < due {
                return Ok(due);
            }
            let detail = format!("no answer to a PING within {:?}", settings.ping_timeout);
            return Err((Ended::PingTimeout, detail));
        }
        let is_quiet = self.frames > 0 && self.frames == trunk.heard().frames + 1;
        let patience = if is_quiet {
            settings.ping_after.max(QUIET_PING_INTERVAL)
        } else {
            settings.ping_after
        };
        let due = trunk.heard_at.get() + patience;
        if now < due {
            return Ok(due);
        }
        if let Some(pings) = &mut self.pings
            && pings.send_ping(Ping::opaque()).is_ok()
        {
            // One more, so that none is told from no PING.
            self.frames = trunk.heard().frames + 1;
            self.pinged = Some(now);
            context.waker().wake_by_ref();
        }
        Ok(now + settings.ping_timeout)
    }

    /// Waits for the next thing that time brings.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        let trunk = self.trunk;
        let mut due = match (trunk.state(), self.farewell) {
            (_, Some((farewell, ended))) => {
                return self.alarm.poll(farewell).map(|_| (ended, String::new()));
            }
            (State::Dialing, None) => {
                let due = trunk.opened + trunk.settings.connect_timeout;
                let detail = "no SETTINGS came that allow streams".to_owned();
                return self.alarm.poll(due).map(|_| (Ended::Protocol, detail));
            }
            (State::Open, None) if trunk.streams() == 0 => {
                trunk.active_at.get() + trunk.settings.pool.idle_timeout
            }
            _ => trunk.heard_at.get() + QUIET_PING_INTERVAL,
        };
        match self.poll_ping(context) {
            Ok(ping) => due = due.min(ping),
            Err(over) => return Poll::Ready(over),
        }
        if let Some(lifetime) = trunk.settings.pool.max_lifetime
            && trunk.state() == State::Open
        {
            due = due.min(trunk.opened + lifetime);
        }
        if self.alarm.poll(due).is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Tells of an end that somebody should know of.
fn report(worker: &Worker, trunk: &Trunk, ended: Ended, detail: String) {
    let is_fault = match ended {
        Ended::Idle | Ended::Left | Ended::Dial => false,
        // Servers close what is idle, and go down in order.
        Ended::Closed | Ended::Broken => trunk.streams() > 0,
        Ended::Goaway => !detail.is_empty(),
        Ended::Protocol | Ended::PingTimeout | Ended::Flood => true,
    };
    if !is_fault {
        return;
    }
    let site = worker.site.borrow().clone();
    let is_its = |server: &Rc<_>| Rc::ptr_eq(server, &trunk.server);
    let backend = site.backends.iter().find(|backend| backend.servers.iter().any(is_its));
    let mut event = Event::new(EventKind::ServerConnectionEnded, ended.label());
    event.backend = backend.map(|backend| backend.name.clone());
    event.server = Some(trunk.server.name.clone());
    event.detail = detail;
    worker.report_event(event);
}

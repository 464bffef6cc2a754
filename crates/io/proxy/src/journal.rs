//! The shard's end of the access logs: a record becomes a line in the ring of the thread that writes.
//!
//! Owns which records are logged (severity, sampling) and the wall clock of a shard; leaves what a request's record says to
//! `http1::trace`, and what becomes of lines to `tidegate-log`. Invariant: a record costs no allocation, no system call but
//! one for an address that its format shows, and no wait.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tidegate_access_log::{
    Address, Captures, Connections, DateCache, Ending, Format, Line, Micros, Protocol, Record,
    Request, Sampler, Sampling, Severity, Times, Timestamp, Tls,
};
use tidegate_exchange::{Failure, FailureKind, Stage};
use tidegate_log::{Log, Writer};
use tidegate_ring::PeerAddress;

use crate::client::Client;
use crate::site::Frontend;
use crate::spoken::Spoken;
use crate::worker::Worker;

/// How a frontend's requests are logged.
pub struct AccessLog {
    /// Where lines go.
    pub targets: Vec<Log>,
    /// How a record becomes a line.
    pub format: Format,
    /// The headers whose values are kept for the line.
    pub captures: Captures,
    /// How many of the records are logged.
    pub sampling: Sampling,
    /// Records that are less severe are not logged.
    pub least_severe: Severity,
    /// Whether connections that sent nothing are logged.
    pub empty_connections: bool,
}

/// A frontend's log on one shard.
pub(crate) struct FrontendLog {
    settings: Arc<AccessLog>,
    sampler: RefCell<Sampler>,
}

impl FrontendLog {
    pub(crate) fn new(settings: &Arc<AccessLog>) -> FrontendLog {
        FrontendLog {
            settings: settings.clone(),
            sampler: RefCell::new(Sampler::new(settings.sampling)),
        }
    }

    pub(crate) fn captures(&self) -> &Captures {
        &self.settings.captures
    }
}

/// What all logs of a shard share.
pub(crate) struct Journal(RefCell<Desk>);

struct Desk {
    writer: Writer,
    line: Line,
    dates: DateCache,
    wall: Wall,
}

impl Journal {
    pub(crate) fn new(writer: Writer) -> Journal {
        let (line, dates, wall) = (Line::new(), DateCache::new(0), Wall::read());
        Journal(RefCell::new(Desk { writer, line, dates, wall }))
    }

    /// The wall clock's time at a moment that has passed.
    fn timestamp(&self, at: Instant) -> Timestamp {
        self.0.try_borrow_mut().map_or(Timestamp(0), |mut desk| desk.wall.at(at))
    }

    /// Logs the record if its log wants it.
    pub(crate) fn write(&self, log: &FrontendLog, record: &Record<'_>) {
        let (settings, severity) = (&*log.settings, record.severity());
        if severity > settings.least_severe || !log.sampler.borrow_mut().is_logged(record, 0) {
            return;
        }
        // In use only when a panic in here has brought us here again.
        let Ok(mut desk) = self.0.try_borrow_mut() else { return };
        let Desk { writer, line, dates, .. } = &mut *desk;
        settings.format.write(record, dates, line);
        for target in &settings.targets {
            // A line that was lost is counted by the log.
            let _ = writer.push_line(target.id(), severity, line.as_bytes());
        }
    }
}

/// The wall clock, read once a second: in between a moment is told by how long it is away.
struct Wall {
    read_at: Instant,
    micros: u64,
}

impl Wall {
    /// How old a reading may be: a clock that is set is followed within this.
    const AGE_MAX: Duration = Duration::from_secs(1);

    fn read() -> Wall {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Wall { read_at: Instant::now(), micros: Micros::from(since).0 }
    }

    fn at(&mut self, at: Instant) -> Timestamp {
        if at.saturating_duration_since(self.read_at) > Self::AGE_MAX {
            *self = Wall::read();
        }
        let after = Micros::from(at.saturating_duration_since(self.read_at)).0;
        let before = Micros::from(self.read_at.saturating_duration_since(at)).0;
        Timestamp(self.micros.saturating_add(after).saturating_sub(before))
    }
}

impl Worker {
    /// A record with what is known of the connection.
    pub(crate) fn record<'a>(
        &self,
        client: &'a Client,
        frontend: &'a Frontend,
        log: &FrontendLog,
        started: Instant,
    ) -> Record<'a> {
        let local = if log.settings.format.shows_frontend_address() {
            address(client.socket.local_address())
        } else {
            Address::Unix
        };
        let accepted_at = self.journal.timestamp(client.accepted);
        let new =
            Record::new(Protocol::Http, accepted_at, address(client.peer), local, &frontend.name);
        let connections = Connections {
            process: self.connections_open(),
            frontend: client.entrance.connections.open(),
            ..Connections::default()
        };
        let facts = client.socket.tls_facts();
        let sni = facts.and_then(|facts| facts.server_name.as_deref()).map(str::as_bytes);
        let tls = facts.map(|facts| Tls {
            version: facts.session.version,
            cipher: facts.session.cipher,
            alpn: facts.session.protocol.map(|protocol| protocol.alpn().as_bytes()),
        });
        Record { started_at: self.journal.timestamp(started), connections, tls, sni, ..new }
    }

    /// Logs a request over HTTP/2 that breaks a rule of its own and ends with its stream; `line` is its method and its path.
    pub(crate) fn log_malformed(
        &self,
        client: &Client,
        frontend: &Frontend,
        line: Option<(&[u8], &[u8])>,
        failure: Failure,
    ) {
        let Some(log) = &frontend.log else { return };
        let base = self.record(client, frontend, log, self.shard.clock.now());
        let request = line.map_or(Request::None, |(method, target)| Request::Line {
            method,
            target,
            version: Spoken::Http2.text(),
        });
        let record = Record {
            accepted_at: base.started_at,
            request,
            status: failure.status(),
            ending: Ending::Failed(failure),
            ..base
        };
        self.journal.write(log, &record);
    }

    /// Logs a connection that sends nothing and is over.
    pub(crate) fn log_empty(&self, client: &Client, kind: FailureKind) {
        self.log_silent(client, Ending::Failed(Failure::in_request(kind)));
    }

    /// Logs a connection that has sent nothing and is closed because the shard ends.
    pub(crate) fn log_unused(&self, client: &Client) {
        self.log_silent(client, Ending::Killed(Stage::Request));
    }

    fn log_silent(&self, client: &Client, ending: Ending) {
        let frontend = client.entrance.frontend();
        let Some(log) = frontend.log.as_ref().filter(|log| log.settings.empty_connections) else {
            return;
        };
        if client.requests.get() > 0 {
            return;
        }
        let total = Micros::from(self.shard.clock.now().saturating_duration_since(client.accepted));
        let record = Record {
            ending,
            times: Times { total, ..Times::default() },
            ..self.record(client, &frontend, log, client.accepted)
        };
        self.journal.write(log, &record);
    }
}

fn address(address: PeerAddress) -> Address {
    match address {
        PeerAddress::Ip(address) => Address::Ip(address),
        PeerAddress::Unix => Address::Unix,
        PeerAddress::Unknown => Address::from(([0, 0, 0, 0].into(), 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_a_reading_are_told_from_it() {
        let read_at = Instant::now() + Duration::from_secs(60);
        let mut wall = Wall { read_at, micros: 5_000_000 };
        for (at, expected) in [
            (read_at, 5_000_000),
            (read_at + Duration::from_micros(7), 5_000_007),
            (read_at - Duration::from_micros(7), 4_999_993),
            (read_at - Duration::from_secs(6), 0),
        ] {
            assert_eq!(wall.at(at), Timestamp(expected));
        }
        // Too far from the reading: the clock is read again.
        assert!(wall.at(read_at + Duration::from_secs(2)) > Timestamp(1_600_000_000_000_000));
    }
}

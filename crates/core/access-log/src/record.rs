//! What one line can say.
//!
//! Owns the record and its limits; leaves measuring to the data plane and writing to the formats. Invariant: a record
//! borrows everything, so that making one costs no allocation, and what is not known is absent, not zero.

use crate::captures::Capture;
use crate::date::Timestamp;
use crate::ending::{Ending, RequestCookie, ResponseCookie};
use crate::severity::Severity;
use std::net::SocketAddr;
use std::time::Duration;

/// The most bytes of a request's target, or of a line that is no request line, that are logged. HAProxy stops at
/// 1,024 by default; half a line leaves room for the captured headers.
pub const REQUEST_TARGET_BYTES_MAX: usize = 4096;

/// The most bytes of any other value from outside that are logged: a header, a cookie, a server name, a field added
/// by a rule.
pub const VALUE_BYTES_MAX: usize = 1024;

/// A time that passed, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl From<Duration> for Micros {
    #[inline]
    fn from(time: Duration) -> Self {
        Self(time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into()))
    }
}

/// What was spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP: one record for each request.
    Http,
    /// TCP: one record for each connection.
    Tcp,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A Unix socket, which is logged as `unix` with port 0.
    Unix,
}

/// The request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Nothing that could be one arrived, or the protocol has none.
    None,
    /// A request.
    Line {
        /// Its method.
        method: &'a [u8],
        /// Its target as the client sent it; at most [`REQUEST_TARGET_BYTES_MAX`] bytes are logged.
        target: &'a [u8],
        /// `HTTP/1.1` and the like.
        version: &'a str,
    },
    /// The first line of something that is not a valid request; at most [`REQUEST_TARGET_BYTES_MAX`] bytes are
    /// logged.
    Invalid(&'a [u8]),
}

/// How long each part took; absent if it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// From the request's first byte to the end of its head (HAProxy's `TR`). Absent for a tarpit, a rejected
    /// request, or TCP.
    pub request_head: Option<Micros>,
    /// In queues and, after a failed attempt, until the next one (`Tw`); the wait in a tarpit.
    pub queue: Option<Micros>,
    /// To establish the connection to the server (`Tc`); zero for a connection that was reused.
    pub connect: Option<Micros>,
    /// From the connection being there to the end of the response's head (`Tr`).
    pub response_head: Option<Micros>,
    /// From the request's first byte to the response's last one (`Ta`); for TCP from accepting to closing (`Tt`).
    pub total: Micros,
}

/// Bytes moved, heads included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read from the client.
    pub received: u64,
    /// Sent to the client.
    pub sent: u64,
}

/// Attempts after the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// How many.
    pub count: u32,
    /// Whether the last server is another than the first.
    pub redispatched: bool,
}

/// Connections open when the record is written, this one included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In the process.
    pub process: u32,
    /// At the frontend.
    pub frontend: u32,
    /// At the backend: requests that it handles.
    pub backend: u32,
    /// At the server.
    pub server: u32,
}

/// How many requests were served before this one while it was queued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// In the server's queue.
    pub server: u32,
    /// In the backend's queue.
    pub backend: u32,
}

/// The client's TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// `TLSv1.3` and the like.
    pub version: &'a str,
    /// The cipher suite's name.
    pub cipher: &'a str,
    /// The application protocol that was agreed on.
    pub alpn: Option<&'a [u8]>,
}

/// Cookies: what was captured, and what persistence did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cookies<'a> {
    /// The captured cookie of the request, `name=value`.
    pub request: Option<&'a [u8]>,
    /// The captured cookie of the response, `name=value`.
    pub response: Option<&'a [u8]>,
    /// The third letter of the termination state.
    pub request_state: RequestCookie,
    /// The fourth letter of the termination state.
    pub response_state: ResponseCookie,
}

/// A field that a rule added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// Its name, from the configuration.
    pub name: &'a str,
    /// Its value.
    pub value: &'a [u8],
}

/// Everything that one line can say. Values from outside are bytes; names from the configuration are text.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What was spoken.
    pub protocol: Protocol,
    /// When the connection was accepted.
    pub accepted_at: Timestamp,
    /// When the request's first byte came; for TCP as `accepted_at`.
    pub started_at: Timestamp,
    /// The client.
    pub client: Address,
    /// The address it connected to.
    pub frontend_address: Address,
    /// The frontend.
    pub frontend: &'a str,
    /// The backend, once one was chosen.
    pub backend: Option<&'a str>,
    /// The last server that was tried.
    pub server: Option<&'a str>,
    /// TLS with the client.
    pub tls: Option<Tls<'a>>,
    /// The server name that the client asked for, also where TLS is only passed through.
    pub sni: Option<&'a [u8]>,
    /// The request line.
    pub request: Request<'a>,
    /// The status sent to the client; absent if none was.
    pub status: Option<u16>,
    /// How long each part took.
    pub times: Times,
    /// Bytes moved.
    pub traffic: Traffic,
    /// Attempts after the first.
    pub retries: Retries,
    /// Connections now.
    pub connections: Connections,
    /// Places in queues.
    pub queues: Queues,
    /// Captured headers of the request, in the order of [`Captures::request`](crate::Captures::request); empty if
    /// there was no request.
    pub request_headers: &'a [Capture<'a>],
    /// Captured headers of the response, in the order of [`Captures::response`](crate::Captures::response).
    pub response_headers: &'a [Capture<'a>],
    /// Cookies.
    pub cookies: Cookies<'a>,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// The request's id.
    pub request_id: Option<&'a [u8]>,
    /// The status of a call of gRPC: 0 to 16, or a higher one where it is not known.
    pub grpc_status: Option<u8>,
    /// How it ended.
    pub ending: Ending,
    /// Fields that rules added.
    pub extras: &'a [Extra<'a>],
}

impl<'a> Record<'a> {
    /// A connection or request that has only begun: everything else is absent, and the ending is complete.
    #[must_use]
    pub const fn new(
        protocol: Protocol,
        accepted_at: Timestamp,
        client: Address,
        frontend_address: Address,
        frontend: &'a str,
    ) -> Self {
        Self {
            protocol,
            accepted_at,
            started_at: accepted_at,
            client,
            frontend_address,
            frontend,
            backend: None,
            server: None,
            tls: None,
            sni: None,
            request: Request::None,
            status: None,
            times: Times {
                request_head: None,
                queue: None,
                connect: None,
                response_head: None,
                total: Micros(0),
            },
            traffic: Traffic { received: 0, sent: 0 },
            retries: Retries { count: 0, redispatched: false },
            connections: Connections { process: 0, frontend: 0, backend: 0, server: 0 },
            queues: Queues { server: 0, backend: 0 },
            request_headers: &[],
            response_headers: &[],
            cookies: Cookies {
                request: None,
                response: None,
                request_state: RequestCookie::NotUsed,
                response_state: ResponseCookie::NotUsed,
            },
            rule: None,
            request_id: None,
            grpc_status: None,
            ending: Ending::Complete,
            extras: &[],
        }
    }

    /// Whether the client sent nothing at all: a probe, or a connection that a browser opened in advance.
    #[must_use]
    pub fn is_empty_connection(&self) -> bool {
        self.traffic.received == 0
    }

    /// Whether an operator would look for it: a status of 500 or more, or an end that somebody's fault or a timeout
    /// forced. What a rule answered, denied requests included, is not an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.status.is_some_and(|status| status >= 500) || self.ending.is_failure()
    }

    /// How bad it is, for syslog: an error for a status of 500 or more and for failures without a status, a warning
    /// for other failures, a notice for other statuses of 400 or more, and information for the rest.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match (self.status, self.ending.is_failure()) {
            (Some(500..), _) | (None, true) => Severity::Error,
            (Some(_), true) => Severity::Warning,
            (Some(400..), false) => Severity::Notice,
            (Some(_) | None, false) => Severity::Info,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_exchange::{Failure, FailureKind, Stage};

    fn record(status: Option<u16>, ending: Ending) -> Record<'static> {
        let new = Record::new(Protocol::Http, Timestamp(0), Address::Unix, Address::Unix, "web");
        Record { status, ending, ..new }
    }

    #[test]
    fn the_severity_tells_faults_from_refusals() {
        let gone = Ending::Failed(Failure {
            kind: FailureKind::ClientGone,
            stage: Stage::Data,
            server: None,
        });
        let cases = [
            (Some(200), Ending::Complete, Severity::Info, false),
            (None, Ending::Complete, Severity::Info, false),
            (Some(404), Ending::Complete, Severity::Notice, false),
            (Some(403), Ending::Denied, Severity::Notice, false),
            (Some(503), Ending::Responded, Severity::Error, true),
            (Some(200), gone, Severity::Warning, true),
            (None, gone, Severity::Error, true),
        ];
        for (status, ending, severity, is_error) in cases {
            let record = record(status, ending);
            assert_eq!((record.severity(), record.is_error()), (severity, is_error), "{record:?}");
        }
    }

    #[test]
    fn long_times_do_not_wrap() {
        assert_eq!(Micros::from(Duration::from_nanos(1_999)), Micros(1));
        assert_eq!(Micros::from(Duration::MAX), Micros(u64::MAX));
    }
}

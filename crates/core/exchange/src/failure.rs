//! What can go wrong with a request, and what follows from it.
//!
//! Owns the one total function from a failure's kind to its status, origin, log letter, metric label
//! and retry ([`FailureKind::row`]); nothing else in the proxy chooses a status for a failure. Leaves to
//! the machine when a retry that is allowed here is affordable. Invariant: every kind has exactly one
//! index and one reason, and the table of reasons is complete; both are checked when this file compiles.

use std::fmt;

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The client.
    Client,
    /// The server, or the network to it.
    Server,
    /// This proxy: a limit, a resource, its configuration.
    Proxy,
}

/// Why no server could be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoServerCause {
    /// No server accepts requests: all are down, draining or of weight zero.
    AllDown,
    /// The backend has no server at all.
    Empty,
    /// Every usable server is at its limit and the queue is full.
    PoolFull,
}

/// Why a connection could not be established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// The server refused it (`ECONNREFUSED`).
    Refused,
    /// It was not established in time.
    TimedOut,
    /// There is no route, or a router said so (`EHOSTUNREACH`, `ENETUNREACH`).
    Unreachable,
    /// It was reset while being established.
    Reset,
    /// This machine lacks a descriptor, a port or memory for it.
    LocalResource,
    /// The TLS handshake failed: the two do not agree, or the server is not who it should be.
    Tls,
    /// The connection was there, and the server does not speak the protocol that it should.
    Protocol,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The client did not complete a request head in time.
    RequestHeadTimeout,
    /// The request is invalid or beyond a limit.
    BadRequest {
        /// The status chosen by the rule that rejects it; outside 400 to 599 it counts as 400.
        status: u16,
        /// The rule it breaks, in `snake_case`.
        detail: &'static str,
    },
    /// The client did not deliver the request's body, or accept the response, in time.
    ClientTimeout,
    /// The client left before the response was complete.
    ClientGone,
    /// There was no server to pick.
    NoServer(NoServerCause),
    /// The request waited for a server for too long.
    QueueTimeout,
    /// No connection could be established within the retries.
    Connect(ConnectFailure),
    /// The server closed the connection before it sent anything.
    EmptyResponse,
    /// The server closed the connection within a response head.
    IncompleteHead,
    /// The connection broke.
    ServerReset,
    /// The server sent something that is not a valid response.
    BadResponse {
        /// The rule it breaks, in `snake_case`.
        detail: &'static str,
    },
    /// The server made no progress in time.
    ServerTimeout,
    /// The server closed the connection within a response body.
    TruncatedResponse,
    /// The request has been here already: it names this proxy in `Via` (RFC 9110 §7.6.3).
    Loop,
    /// A response with this status, which the policy lists. It fails a try and never a request: the last one is passed on.
    Status(u16),
    /// The server has refused the request before it did anything with it, and said so, or took no more on its connection (RFC 9113
    /// §8.7).
    StreamRefused,
    /// A response that is nothing but this gRPC status, which the policy lists. Like [`FailureKind::Status`] it fails a try and
    /// never a request.
    GrpcStatus(u8),
}

/// How a failure may be made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Not at all.
    Never,
    /// By another connection attempt, if the policy lists it: the request has not left this machine, or the server says that it
    /// has done nothing with it.
    Connect,
    /// By sending the request again, if the policy lists it, the request can be repeated, and nothing of a response has
    /// reached the client.
    Repeat,
    /// By a fresh connection to the same server, if the connection was a reused one that the server may
    /// have closed while idle (RFC 9112 §9.3.1), nothing of a response came, and the request can be
    /// repeated; otherwise as [`Retry::Repeat`].
    FreshConnection,
}

/// All that follows from a failure's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    index: usize,
    reason: &'static str,
    origin: Origin,
    status: Option<u16>,
    cause: u8,
    pub(crate) retry: Retry,
}

impl FailureKind {
    /// One value of every kind, in the order of their indices.
    pub const ALL: [Self; 25] = [
        Self::RequestHeadTimeout,
        Self::BadRequest { status: 400, detail: "" },
        Self::ClientTimeout,
        Self::ClientGone,
        Self::NoServer(NoServerCause::AllDown),
        Self::NoServer(NoServerCause::Empty),
        Self::NoServer(NoServerCause::PoolFull),
        Self::QueueTimeout,
        Self::Connect(ConnectFailure::Refused),
        Self::Connect(ConnectFailure::TimedOut),
        Self::Connect(ConnectFailure::Unreachable),
        Self::Connect(ConnectFailure::Reset),
        Self::Connect(ConnectFailure::LocalResource),
        Self::EmptyResponse,
        Self::IncompleteHead,
        Self::ServerReset,
        Self::BadResponse { detail: "" },
        Self::ServerTimeout,
        Self::TruncatedResponse,
        Self::Loop,
        Self::Status(503),
        Self::Connect(ConnectFailure::Tls),
        Self::Connect(ConnectFailure::Protocol),
        Self::StreamRefused,
        Self::GrpcStatus(14),
    ];

    /// The total function: what follows from each kind. The letters are those HAProxy logs: who ended
    /// the exchange (`C`lient, `S`erver, `P`roxy, `R`esource; small for a timeout).
    #[rustfmt::skip]
    pub(crate) const fn row(self) -> Row {
        use ConnectFailure::{LocalResource, Protocol, Refused, Reset, TimedOut, Tls, Unreachable};
        use NoServerCause::{AllDown, Empty, PoolFull};
        use Origin::{Client, Proxy, Server};
        use Retry::{Connect, FreshConnection, Never, Repeat};
        let (index, reason, origin, status, cause, retry) = match self {
            Self::RequestHeadTimeout => (0, "request_head_timeout", Client, Some(408), b'c', Never),
            Self::BadRequest { status, .. } =>
                (1, "bad_request", Client, Some(error_status(status)), b'P', Never),
            Self::ClientTimeout => (2, "client_timeout", Client, Some(408), b'c', Never),
            Self::ClientGone => (3, "client_gone", Client, None, b'C', Never),
            Self::NoServer(AllDown) => (4, "no_server_up", Server, Some(503), b'S', Never),
            Self::NoServer(Empty) => (5, "no_server_configured", Proxy, Some(503), b'P', Never),
            Self::NoServer(PoolFull) => (6, "servers_full", Proxy, Some(503), b'P', Never),
            Self::QueueTimeout => (7, "queue_timeout", Proxy, Some(503), b's', Never),
            Self::Connect(Refused) => (8, "connect_refused", Server, Some(503), b'S', Connect),
            Self::Connect(TimedOut) => (9, "connect_timeout", Server, Some(503), b's', Connect),
            Self::Connect(Unreachable) => (10, "connect_unreachable", Server, Some(503), b'S', Connect),
            Self::Connect(Reset) => (11, "connect_reset", Server, Some(503), b'S', Connect),
            Self::Connect(LocalResource) => (12, "connect_local_resource", Proxy, Some(503), b'R', Connect),
            Self::EmptyResponse => (13, "empty_response", Server, Some(502), b'S', FreshConnection),
            Self::IncompleteHead => (14, "incomplete_response_head", Server, Some(502), b'S', Repeat),
            Self::ServerReset => (15, "server_reset", Server, Some(502), b'S', FreshConnection),
            Self::BadResponse { .. } => (16, "bad_response", Server, Some(502), b'P', Repeat),
            Self::ServerTimeout => (17, "server_timeout", Server, Some(504), b's', Repeat),
            Self::TruncatedResponse => (18, "truncated_response", Server, Some(502), b'S', Never),
            Self::Loop => (19, "loop_detected", Proxy, Some(508), b'P', Never),
            Self::Status(status) => (20, "response_status", Server, Some(error_status(status)), b'S', Repeat),
            Self::Connect(Tls) => (21, "connect_tls", Server, Some(503), b'S', Connect),
            Self::Connect(Protocol) => (22, "connect_protocol", Server, Some(503), b'S', Connect),
            Self::StreamRefused => (23, "stream_refused", Server, Some(503), b'S', Connect),
            Self::GrpcStatus(_) => (24, "grpc_status", Server, Some(503), b'S', Repeat),
        };
        Row { index, reason, origin, status, cause, retry }
    }

    /// Who is at fault.
    #[must_use]
    pub const fn origin(self) -> Origin {
        self.row().origin
    }

    /// The metric label and log word, in `snake_case`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }

    /// The place of the reason in [`Failure::REASONS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.row().index
    }

    /// How it may be made good.
    #[must_use]
    pub const fn retry(self) -> Retry {
        self.row().retry
    }

    /// The rule that the message broke, for the kinds that stand for many.
    #[must_use]
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::BadRequest { detail, .. } | Self::BadResponse { detail } => Some(detail),
            _ => None,
        }
    }
}

/// How far the exchange had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The request's head was being received.
    Request,
    /// A server was being picked.
    Queue,
    /// A connection was being established.
    Connect,
    /// The request was being sent, or the response's head awaited.
    Head,
    /// The response was being relayed.
    Data,
}

impl Stage {
    /// The letter of HAProxy's termination state for it.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Self::Request => b'R',
            Self::Queue => b'Q',
            Self::Connect => b'C',
            Self::Head => b'H',
            Self::Data => b'D',
        }
    }
}

/// A request that failed: what went wrong, when, and at which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// How far the exchange had come.
    pub stage: Stage,
    /// The server that was being used, by its index in the backend.
    pub server: Option<u32>,
}

impl Failure {
    /// The reasons of all kinds by their index, for tables of counters.
    pub const REASONS: &'static [&'static str] = &reasons();

    /// A failure before there was a complete request, and so before there was an exchange.
    #[must_use]
    pub const fn in_request(kind: FailureKind) -> Self {
        Self { kind, stage: Stage::Request, server: None }
    }

    /// The status to answer with. `None` if no answer can be given: the client is gone, or a response
    /// has begun.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self.stage {
            Stage::Data => None,
            Stage::Request | Stage::Queue | Stage::Connect | Stage::Head => self.kind.row().status,
        }
    }

    /// Who is at fault.
    #[must_use]
    pub const fn origin(self) -> Origin {
        self.kind.origin()
    }

    /// The metric label and log word, in `snake_case`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.kind.reason()
    }

    /// The place of the reason in [`Failure::REASONS`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.kind.index()
    }

    /// The two letters of the access log.
    #[must_use]
    pub const fn flags(self) -> TerminationFlags {
        TerminationFlags([self.kind.row().cause, self.stage.letter()])
    }
}

/// The first two letters of HAProxy's termination state: who ended the exchange, and in which stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TerminationFlags([u8; 2]);

impl TerminationFlags {
    /// A complete exchange.
    pub const NORMAL: Self = Self(*b"--");

    /// The letters.
    #[must_use]
    pub const fn letters(self) -> [u8; 2] {
        self.0
    }

    /// The letters as text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        match std::str::from_utf8(&self.0) {
            Ok(text) => text,
            Err(_) => "??",
        }
    }
}

impl fmt::Display for TerminationFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

const fn error_status(status: u16) -> u16 {
    if status >= 400 && status <= 599 { status } else { 400 }
}

const fn reasons() -> [&'static str; FailureKind::ALL.len()] {
    let mut reasons = [""; FailureKind::ALL.len()];
    let mut at = 0;
    while at < reasons.len() {
        let row = FailureKind::ALL[at].row();
        assert!(row.index == at, "kinds stand in the order of their indices");
        reasons[at] = row.reason;
        at += 1;
    }
    reasons
}

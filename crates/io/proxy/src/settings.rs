//! The immutable snapshot that a shard works from.
//!
//! Owns the types; the control plane fills them. Invariant: indices in a snapshot point into the same snapshot.

use std::hash::RandomState;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tidegate_balance as balance;
use tidegate_exchange::{BudgetSettings, Failure, Policy};
use tidegate_health::{Standing, StatusSet};
use tidegate_http1::{ChunkedError, Limits, RequestError};
use tidegate_http2::{Flood, GRPC_STATUSES, Malformed};
pub use tidegate_idle::PoolSettings;
use tidegate_idle::Shelf;
use tidegate_persistence::Persistence;
use tidegate_queue::{Hub, Limit, Line};
use tidegate_routing::{BalanceKey, ErrorPages, HeaderName, RequestRule, ResponseRule, Rules};
use tidegate_rules::{ValueList, ValueMap};
use tidegate_semantics::forwarded::Received;
use tidegate_semantics::traceparent::Sampling;
use tidegate_semantics::via::Pseudonym;
use tidegate_stick::Pins;
use tidegate_telemetry::{BackendStats, FrontendStats, PerShard, Reasons, ServerStats, ShardStats};
use tidegate_tls::rustls::Error;
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::{Challenges, ClientTls, Protocol, ServerTls};

use crate::budget::Budget;
use crate::compression::{self, Compression};
use crate::http2::ERROR_CODES;
use crate::http2::servers::Ended;
pub use crate::http2::servers::ServerHttp2Settings;
use crate::journal::AccessLog;
use crate::rules::{Answered, Dropped, Verifier};
use crate::stream::HandshakeError;
use crate::upstream::place::Location;
use crate::upstream::queue::Handed;

/// Everything a shard needs to know, for all shards.
pub struct Snapshot {
    /// Counts up with each configuration.
    pub generation: u64,
    /// How many shards there are.
    pub shards_count: u16,
    /// The frontends.
    pub frontends: Vec<FrontendSettings>,
    /// The backends.
    pub backends: Vec<BackendSettings>,
    /// What the rules of all frontends look things up in.
    pub tables: Arc<Tables>,
    /// Compares passwords; none where no rule asks for one.
    pub verifier: Option<Arc<Verifier>>,
    /// Connections that multishot accepts could take at once before they are stopped: what the listen queues of all shards
    /// and listeners hold together. With less room than this, connections are accepted one by one.
    pub accept_burst_max: u32,
    /// Client connections of the whole process.
    pub connections: Arc<Budget>,
    /// How much of a shard handshakes of TLS may take.
    pub handshakes: HandshakeLimits,
    /// What authorities are answered that look whether a domain is ours.
    pub challenges: Arc<Challenges>,
    /// How shards pass slots of servers to each other: the same for all snapshots.
    pub hub: Arc<Hub<Handed>>,
    /// The shards' own counters.
    pub shards: PerShard<ShardStats>,
}

/// How much of a shard handshakes of TLS may take, so that established traffic goes on in a flood of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Handshakes with clients under way at once; a further connection waits before its first message is read.
    pub concurrent_max: u32,
    /// The part of the shard's time that they get while other work waits, in percent.
    pub share_percent: u8,
}

/// What rules look things up in.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// In the order of [`ListIndex`](tidegate_rules::ListIndex).
    pub lists: Vec<Arc<ValueList>>,
    /// In the order of [`MapIndex`](tidegate_rules::MapIndex).
    pub maps: Vec<Arc<ValueMap>>,
}

/// The header fields that the proxy itself writes.
#[derive(Clone, Debug, Default)]
pub struct OwnFieldSettings {
    /// Which fields tell the server where a request came from; none: none is touched.
    pub forwarding: Option<Forwarding>,
    /// The field of the request's id; none: there is no id.
    pub request_id: Option<HeaderName>,
    /// The name in `Via` of requests and responses; none: no entry is added.
    pub via: Option<Pseudonym>,
    /// The flags of a `traceparent` that is made here; none: the field is not touched.
    pub traceparent: Option<Sampling>,
}

/// Which fields tell the server where a request came from, and whom to believe about it.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// What is told.
    pub fields: Vec<ForwardedField>,
    /// Peers that are believed.
    pub trust: ValueList,
    /// What becomes of what these sent.
    pub trusted: Received,
    /// What becomes of what others sent.
    pub untrusted: Received,
}

/// A field that tells where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For`
    For,
    /// `X-Forwarded-Proto`
    Proto,
    /// `X-Forwarded-Host`
    Host,
    /// `X-Forwarded-Port`
    Port,
    /// `Forwarded` (RFC 7239) with `for`, `host` and `proto`.
    Forwarded,
}

/// Where clients connect.
pub struct FrontendSettings {
    /// Its name in the configuration; the same name keeps its connections over a reload.
    pub name: Arc<str>,
    /// Index of the backend that takes the requests that no rule sends elsewhere.
    pub default_backend: Option<usize>,
    /// What is spoken at each of its addresses, in the order of [`ListenerSpec::bind`](crate::ListenerSpec::bind).
    pub binds: Vec<BindSettings>,
    /// How long to wait for clients.
    pub timeouts: ClientTimeouts,
    /// How large a head may be.
    pub limits: Limits,
    /// The rules of requests.
    pub rules: Rules<RequestRule>,
    /// The rules of responses that come from servers.
    pub response_rules: Rules<ResponseRule>,
    /// What is answered instead of our own short texts.
    pub error_pages: Arc<ErrorPages>,
    /// The header fields that the proxy itself writes.
    pub own_fields: OwnFieldSettings,
    /// Which responses are compressed, unless the backend has settings of its own; none: none.
    pub compression: Option<Arc<Compression>>,
    /// Where its requests are logged; none: nowhere.
    pub log: Option<Arc<AccessLog>>,
    /// Client connections of this frontend.
    pub connections: Arc<Budget>,
    /// Its counters.
    pub stats: PerShard<FrontendStats>,
}

/// What is spoken at one address.
#[derive(Clone, Debug)]
pub struct BindSettings {
    /// TLS; none: connections are in the clear.
    pub tls: Option<Arc<ServerTls>>,
    /// Versions of HTTP, in the order of preference. With TLS the client chooses by ALPN, and one that names none gets
    /// HTTP/1.1 where it is among them; without TLS a client that is served HTTP/2 begins with its preface.
    pub protocols: Vec<Protocol>,
}

impl Default for BindSettings {
    fn default() -> Self {
        Self { tls: None, protocols: vec![Protocol::Http1] }
    }
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// For a handshake of TLS, from accepting to its end.
    pub tls_handshake: Duration,
    /// Between two bytes that it takes of a response.
    pub client: Duration,
    /// From a request's first byte to the end of its head.
    pub request_head: Duration,
    /// Between two pieces of a request's body.
    pub request_body: Duration,
    /// From the end of a response to the next request.
    pub keep_alive: Duration,
    /// From accepting a connection with HTTP/2 to telling its client to make another one.
    pub http2_lifetime: Duration,
}

/// Servers that answer the same requests.
pub struct BackendSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How a server is picked, of `servers` in their order.
    pub balance: balance::Plan,
    /// What requests are spread by, where servers are picked by a hash.
    pub balance_key: Option<BalanceKey>,
    /// The servers.
    pub servers: Vec<ServerSettings>,
    /// TLS with its servers, the handshake within the time for connecting; none: in the clear.
    pub tls: Option<Arc<ClientTls>>,
    /// What is spoken with its servers.
    pub protocol: BackendProtocol,
    /// What connections with HTTP/2 to them may carry.
    pub http2: ServerHttp2Settings,
    /// Attempts and deadlines.
    pub exchange: Policy,
    /// How a client stays with its server; none: it does not.
    pub persistence: Option<Arc<Persistence>>,
    /// How a client stays with its server by a table; none: it does not.
    pub stick: Option<StickSettings>,
    /// Which requests are repeated.
    pub repeats: RepeatSettings,
    /// Longest silence of both sides of a tunnel.
    pub tunnel_timeout: Duration,
    /// Whether a server connection carries more than one request.
    pub reuse: bool,
    /// What is answered instead of those of the frontend.
    pub error_pages: Arc<ErrorPages>,
    /// Which responses are compressed, in the place of what the frontend says.
    pub compression: Option<Arc<Compression>>,
    /// Statuses that count against a server; none: outcomes are not counted for its health.
    pub error_statuses: Option<StatusSet>,
    /// What becomes of requests and tunnels at a server that goes down.
    pub on_marked_down: OnMarkedDown,
    /// Server connections between requests.
    pub pool: PoolSettings,
    /// Who waits for its servers, if any of them has a limit. The same for the same servers.
    pub line: Option<Arc<Line>>,
    /// Its counters.
    pub stats: PerShard<BackendStats>,
}

/// What is spoken with servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; in the clear with prior knowledge (RFC 9113 §3.3).
    Http2,
    /// What the server chooses by ALPN; HTTP/1.1 where it chooses nothing. Only with TLS.
    Auto,
}

/// How clients stay with their servers by a table.
#[derive(Clone)]
pub struct StickSettings {
    /// The table, shared by all shards.
    pub pins: Arc<Pins<RandomState>>,
    /// What a client is known by in its requests.
    pub key: BalanceKey,
    /// What it will be known by, in responses; then the keys of requests make no entries. None: they do.
    pub learn: Option<BalanceKey>,
}

/// Which requests may be sent again although a server may have acted on them.
#[derive(Clone, Copy, Debug, Default)]
pub struct RepeatSettings {
    /// Those whose method is not idempotent too.
    pub non_idempotent: bool,
    /// The largest part of a body that is kept for that, in bytes. So much is held, and one received piece more, by each
    /// request in flight that has a body and can be repeated.
    pub body_bytes_max: usize,
    /// How many, over all shards.
    pub budget: BudgetSettings,
}

/// What becomes of requests and tunnels at a server that goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMarkedDown {
    /// They go on as long as they can.
    #[default]
    KeepSessions,
    /// They end at once.
    CloseSessions,
}

/// One server.
pub struct ServerSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Location,
    /// The name that it is asked for and has to prove, with TLS only.
    pub tls_name: Option<ServerName<'static>>,
    /// The slots for connections to it, if these are limited or may come to be. The same as long as it is the same server.
    pub limit: Option<Arc<Limit>>,
    /// Its idle connections that any shard may take. The same as long as it is the same server.
    pub shelf: Arc<Shelf<Handed>>,
    /// What is known of it, its share of the requests included.
    pub standing: Standing,
    /// Its counters.
    pub stats: PerShard<ServerStats>,
}

/// Why there is no connection after a TLS handshake with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// The client closed or broke the connection.
    Closed,
    /// It took too long.
    TimedOut,
    /// The client speaks something else.
    NotTls,
    /// There is no certificate for the name that it asks for.
    UnknownName,
    /// It has no certificate, or one that is not believed.
    ClientCertificate,
    /// It does not believe ours, or has ended the handshake by another alert.
    RefusedByClient,
    /// The two have no version, cipher or group in common.
    NoAgreement,
    /// What it sends is against the protocol.
    Invalid,
}

impl HandshakeFailure {
    pub(crate) const LABELS: [&'static str; 8] = [
        "closed",
        "timeout",
        "not_tls",
        "unknown_name",
        "client_certificate",
        "refused_by_client",
        "no_agreement",
        "invalid",
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    pub(crate) fn of(error: &HandshakeError) -> HandshakeFailure {
        match error {
            HandshakeError::Closed | HandshakeError::Io(_) => Self::Closed,
            HandshakeError::NotTls(_) => Self::NotTls,
            HandshakeError::UnknownName(_) => Self::UnknownName,
            HandshakeError::Unusable(_) => Self::Invalid,
            HandshakeError::Tls(error) => match error {
                Error::AlertReceived(_) => Self::RefusedByClient,
                Error::NoCertificatesPresented
                | Error::InvalidCertificate(_)
                | Error::InvalidCertRevocationList(_)
                | Error::UnsupportedNameType => Self::ClientCertificate,
                Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::NoAgreement,
                _ => Self::Invalid,
            },
        }
    }
}

/// The detail of a CONNECT request, which an HTTP frontend does not serve.
pub(crate) const CONNECT_NOT_SUPPORTED: &str = "connect_not_supported";

/// Every rule that a request can break, by which refused requests are counted.
static REJECTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let heads = RequestError::ALL.iter().map(|error| error.reason());
    let bodies = ChunkedError::ALL.iter().map(|error| error.reason());
    let fields = Malformed::ALL.iter().map(|malformed| malformed.reason());
    heads.chain(bodies).chain([CONNECT_NOT_SUPPORTED]).chain(fields).collect()
});

/// The reasons by which the data plane counts refused and failed requests.
pub fn reasons() -> Reasons {
    Reasons {
        rejections: &REJECTIONS,
        failures: Failure::REASONS,
        answers: &Answered::LABELS,
        rule_drops: &Dropped::LABELS,
        codings: &compression::LABELS,
        handshakes: &HandshakeFailure::LABELS,
        floods: &Flood::LABELS,
        http2_errors: &ERROR_CODES,
        http2_stream_errors: &ERROR_CODES,
        server_endings: &Ended::LABELS,
        grpc: &GRPC_STATUSES,
    }
}

/// The place among the rejections of the rule that a bad request broke.
pub(crate) fn rejection_index(detail: &str) -> Option<usize> {
    REJECTIONS.iter().position(|reason| *reason == detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_one_counter() {
        for (at, reason) in REJECTIONS.iter().enumerate() {
            assert_eq!(rejection_index(reason), Some(at));
        }
        assert_eq!(rejection_index("no such rule"), None);
    }
}

//! The validated configuration: plain values that the rest of the program reads.
//!
//! Owns the types; leaves their numbers to `defaults`, the settings of the leaf crates to those
//! crates, and the making to the section files and `check`.
//!
//! Invariant: a value of these types that came out of [`parse`](crate::parse) or
//! [`load`](crate::load) is usable as it stands: every reference resolves, every number is in
//! range, and every frontend has an address to listen on.

mod log;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_balance::{Settings as Balance, Weight};
use tidegate_discovery::{DnsName, Settings as Resolving};
use tidegate_exchange::{BudgetSettings, Redispatch, RetryOn};
use tidegate_health::{PassiveSettings, Probe, Timing};
use tidegate_http1::Limits;
use tidegate_routing::HeaderName;
use tidegate_semantics::traceparent::Sampling;
use tidegate_semantics::via::Pseudonym;
use tidegate_tls::{ClientTls, KeyLog, Protocol, ServerTls};

pub use log::{FrontendLog, LogTargets};

pub use crate::http2::{BackendHttp2, FrontendHttp2};
use crate::{Diagnostic, Group, Span, User, defaults};

mod headers;
mod key;
mod rules;

pub use headers::{Compression, CompressionLevels, ForwardedHeader, Forwarding};
pub use key::{HashKey, Stick};
pub use rules::{FileRead, FrontendRules, NamedList, NamedMap, Pages, Tables};
pub use tidegate_routing::BackendIndex;

/// One configuration file, checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[global]`: the process.
    pub global: Global,
    /// `[admin]`: metrics and health of the process itself; `None` when the file has no such table.
    pub admin: Option<Admin>,
    /// `[frontends.NAME]` in the order of the file; never empty.
    pub frontends: Vec<Frontend>,
    /// `[backends.NAME]` in the order of the file; [`BackendIndex`] counts in it.
    pub backends: Vec<Backend>,
    /// `[resolvers.NAME]`; never empty, [`Backend::resolvers`] counts in it.
    pub resolvers: Vec<Resolvers>,
    /// What the rules of all frontends share: lists, maps, names.
    pub tables: Tables,
    /// What is allowed but probably not meant, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

impl Config {
    /// The backend that `index` names.
    #[must_use]
    pub fn backend(&self, index: BackendIndex) -> &Backend {
        &self.backends[index.0]
    }
}

/// `[global]`: settings of the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// The CPUs that carry a shard each.
    pub cores: Cores,
    /// Client connections over all shards; the next one waits in the listen queue.
    pub max_connections: u32,
    /// Go to the background once ready.
    pub daemon: bool,
    /// After SIGTERM, how long to go on serving as one that is not ready, before draining begins; may be zero.
    pub shutdown_delay: Duration,
    /// Time that requests in flight get once draining has begun.
    pub shutdown_timeout: Duration,
    /// `listen(2)` backlog of every listener; the kernel cuts it to `net.core.somaxconn`.
    pub listen_backlog: u32,
    /// Where the access log goes; `None`: there is none.
    pub log: Option<LogTargets>,
    /// Whether the kernel may write the memory of the process, private keys included, into a file when it crashes.
    pub core_dumps: bool,
    /// TLS handshakes with clients under way at once on one shard; the next connection waits.
    pub tls_handshakes_max: u32,
    /// The part of a shard's time that TLS handshakes get while other work waits, in percent.
    pub tls_handshake_share: u8,
    /// Where the secrets of TLS sessions are written for whoever reads recorded traffic; `None`: nowhere.
    pub tls_key_log: Option<Arc<KeyLog>>,
    /// Whose rights the process has once everything is open; `None`: those of who starts it.
    pub user: Option<User>,
    /// The group then; `None`: the user's.
    pub group: Option<Group>,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            cores: Cores::Auto,
            max_connections: defaults::MAX_CONNECTIONS,
            daemon: false,
            shutdown_delay: defaults::SHUTDOWN_DELAY,
            shutdown_timeout: defaults::SHUTDOWN_TIMEOUT,
            listen_backlog: defaults::LISTEN_BACKLOG,
            log: None,
            core_dumps: defaults::CORE_DUMPS,
            tls_handshakes_max: defaults::TLS_HANDSHAKES_MAX,
            tls_handshake_share: defaults::TLS_HANDSHAKE_SHARE,
            tls_key_log: None,
            user: None,
            group: None,
        }
    }
}

/// Which CPUs carry a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cores {
    /// Every CPU that the process may run on.
    Auto,
    /// These CPU numbers: at least one, none twice, in the order of the file.
    List(Vec<usize>),
}

impl fmt::Display for Cores {
    /// As in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::List(cores) => write!(f, "{cores:?}"),
        }
    }
}

/// `[admin]`: where the process answers about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Addresses to listen on; never empty.
    pub bind: Vec<Bind>,
}

/// What a frontend speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.0 and HTTP/1.1.
    #[default]
    Http,
}

/// `[frontends.NAME]`: addresses to listen on and what to do with what arrives.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontend {
    /// Its key in the file.
    pub name: Arc<str>,
    /// What it speaks.
    pub mode: Mode,
    /// Addresses to listen on; never empty, none twice in the file.
    pub binds: Vec<Bind>,
    /// Where requests go that no rule sends elsewhere; without one they are answered with 503.
    pub default_backend: Option<BackendIndex>,
    /// How long to wait for its clients.
    pub timeouts: FrontendTimeouts,
    /// How large a request's head may be.
    pub header_limits: Limits,
    /// Client connections of this frontend over all shards; `None`: only the global limit.
    pub max_connections: Option<u32>,
    /// Which fields tell the server where a request came from; `None`: none is touched.
    pub forwarded_for: Option<Forwarding>,
    /// The field with the request's id, kept if it is sane and made otherwise; `None`: none is touched.
    pub request_id: Option<HeaderName>,
    /// The name in `Via`, added to requests and responses; `None`: no entry is added.
    pub via: Option<Pseudonym>,
    /// `traceparent` is made where it is missing, with these flags, and passed on with a parent id of this proxy;
    /// `None`: it is not touched.
    pub traceparent: Option<Sampling>,
    /// How its connections with HTTP/2 live.
    pub http2: FrontendHttp2,
    /// Which responses are compressed; that of the backend goes before.
    pub compression: Option<Compression>,
    /// What is answered instead of our own short texts; that of the backend goes before.
    pub error_pages: Pages,
    /// `rules` and `response_rules`.
    pub rules: FrontendRules,
    /// What is logged of its requests.
    pub log: FrontendLog,
}

/// How long a frontend waits for a client. Each is between 1 ms and 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendTimeouts {
    /// For a TLS handshake, from accepting to its end.
    pub tls_handshake: Duration,
    /// Between two bytes that the client takes of a response.
    pub client: Duration,
    /// From the first byte of a request to the end of its head.
    pub request_head: Duration,
    /// Between two pieces of a request's body.
    pub request_body: Duration,
    /// From the end of a response to the first byte of the next request.
    pub keep_alive: Duration,
}

impl Default for FrontendTimeouts {
    fn default() -> Self {
        Self {
            tls_handshake: defaults::TLS_HANDSHAKE_TIMEOUT,
            client: defaults::CLIENT_TIMEOUT,
            request_head: defaults::REQUEST_HEAD_TIMEOUT,
            request_body: defaults::REQUEST_BODY_TIMEOUT,
            keep_alive: defaults::KEEP_ALIVE_TIMEOUT,
        }
    }
}

/// One address to listen on. Two are equal when they say the same, wherever they stand in the
/// file.
#[derive(Clone, Debug)]
pub struct Bind {
    /// The address.
    pub address: BindAddress,
    /// Where the file says so.
    pub span: Span,
    /// What is spoken, in the order of preference; never empty.
    pub protocols: Vec<Protocol>,
    /// TLS; `None`: in the clear.
    pub tls: Option<Arc<ServerTls>>,
}

impl PartialEq for Bind {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.protocols == other.protocols && self.tls == other.tls
    }
}

impl Eq for Bind {}

/// Something to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// `127.0.0.1:8080`, `[::1]:8080`; `*:8080` is every IPv4 address, `[::]:8080` every IPv6
    /// address and only those. Port 0: the kernel chooses.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `fd@3`: an inherited listening socket; 3 or higher.
    Fd(i32),
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => socket.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(fd) => write!(f, "fd@{fd}"),
        }
    }
}

/// `[backends.NAME]`: servers that answer the same requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its key in the file.
    pub name: Arc<str>,
    /// How a server is picked.
    pub balance: Balance,
    /// What requests are spread by, with `algorithm` a hash; `None` with all others.
    pub hash_key: Option<HashKey>,
    /// In the order of the file; never empty, and at least one has a weight above 0.
    pub servers: Vec<Server>,
    /// What is spoken with its servers.
    pub protocol: BackendProtocol,
    /// What connections with HTTP/2 to them may carry.
    pub http2: BackendHttp2,
    /// TLS with its servers; `None`: in the clear.
    pub tls: Option<Arc<ClientTls>>,
    /// Who is asked for the names of its servers, as a place in [`Config::resolvers`].
    pub resolvers: usize,
    /// How long to wait for its servers.
    pub timeouts: BackendTimeouts,
    /// What is tried again.
    pub retries: Retries,
    /// Keep a server connection for the next request; `false`: one connection per request.
    pub reuse_server_connections: bool,
    /// Idle server connections.
    pub pool: PoolSettings,
    /// Requests that may wait for any of its servers; `None`: no limit.
    pub max_queue: Option<u32>,
    /// Which servers are outliers in traffic; `None`: traffic is not looked at.
    pub passive_health: Option<PassiveSettings>,
    /// With fewer than this percentage of servers well, all are used; 0: never.
    pub panic_threshold: u8,
    /// What becomes of a server's connections when it goes down.
    pub on_marked_down: OnMarkedDown,
    /// Which responses are compressed; `None`: as the frontend says.
    pub compression: Option<Compression>,
    /// What is answered instead of our own short texts, once a request has come to this backend.
    pub error_pages: Pages,
    /// How a client is known again, so that it stays with its server. Without keys: no key was written.
    pub persistence: Option<tidegate_persistence::Settings>,
    /// What is in its place where clients are known by a table.
    pub stick: Option<Stick>,
}

/// What is spoken with servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// What the server chooses by ALPN; only with TLS.
    Auto,
}

/// What is tried again after a failure, where, when and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub max: u8,
    /// Which of them go to another server where there is one.
    pub redispatch: Redispatch,
    /// What is tried again.
    pub on: RetryOn,
    /// Repeat requests whose method is not idempotent too.
    pub non_idempotent: bool,
    /// The largest part of a request's body that is kept for repeating it, in bytes; 0: none.
    pub body_max: usize,
    /// How many requests are repeated at most.
    pub budget: BudgetSettings,
    /// Shortest delay before the same server is tried again.
    pub delay_min: Duration,
    /// Longest delay before the same server is tried again; not below the shortest.
    pub delay_max: Duration,
    /// Time for a response's head, after which another try is made; `None`: only the server's timeout holds.
    pub per_try: Option<Duration>,
    /// Time for a response's first byte, after which a second try is made beside the first; `None`: there is none.
    pub hedge_after: Option<Duration>,
}

/// How long a backend waits for a server. Each is between 1 ms and 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendTimeouts {
    /// For a connection to be established.
    pub connect: Duration,
    /// For a response's first byte, and between two of its pieces.
    pub server: Duration,
    /// For a server's free slot.
    pub queue: Duration,
    /// Without a byte in either direction once a connection has turned into a tunnel.
    pub tunnel: Duration,
}

impl Default for BackendTimeouts {
    fn default() -> Self {
        Self {
            connect: defaults::CONNECT_TIMEOUT,
            server: defaults::SERVER_TIMEOUT,
            queue: defaults::QUEUE_TIMEOUT,
            tunnel: defaults::TUNNEL_TIMEOUT,
        }
    }
}

/// Idle server connections that one shard keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// To one server, by one shard; 0 keeps none.
    pub max_idle: u32,
    /// An idle connection is closed after this.
    pub idle_timeout: Duration,
    /// A connection that is older carries no further request; `None`: however old.
    pub max_lifetime: Option<Duration>,
    /// Requests that one connection carries; `None`: as many as there are.
    pub max_requests: Option<u32>,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            max_idle: defaults::POOL_MAX_IDLE,
            idle_timeout: defaults::POOL_IDLE_TIMEOUT,
            max_lifetime: None,
            max_requests: None,
        }
    }
}

/// One server of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its key in the file.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: ServerAddress,
    /// Which addresses of a name it gets; `None` where its address is no name.
    pub slot: Option<Slot>,
    /// Its share of the requests; 0: none.
    pub weight: Weight,
    /// Connections to it over all shards, idle ones included; the next request waits. `None`: no limit.
    pub max_connections: Option<u32>,
    /// Requests that may wait for it and no other; `None`: no limit.
    pub max_queue: Option<u32>,
    /// It is used only while no other server is usable.
    pub backup: bool,
    /// How it is checked; `None`: it is not.
    pub check: Option<ServerCheck>,
}

/// The place of a server among those that share the addresses of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Their key in the file: that of the server, where there is one alone.
    pub template: Arc<str>,
    /// Its place among them; they stand one after another.
    pub index: usize,
}

/// `[resolvers.NAME]`: who says which addresses a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolvers {
    /// Its key in the file.
    pub name: Arc<str>,
    /// Who is asked, first to last; `None`: whom `resolv_conf` names.
    pub nameservers: Option<Vec<SocketAddr>>,
    /// The file that names the system's resolvers.
    pub resolv_conf: PathBuf,
    /// The file of names that are not asked for; `None`: all are.
    pub hosts: Option<PathBuf>,
    /// How they are asked, and how long answers hold.
    pub settings: Resolving,
    /// What becomes of a start without an answer.
    pub init: Init,
}

/// What becomes of a start when a name has no address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// The server is down until it has one.
    #[default]
    None,
    /// There is no start.
    Fail,
}

/// How one server is checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerCheck {
    /// What it is asked; shared by servers that are asked the same.
    pub probe: Arc<Probe>,
    /// How often, and what it takes to come up and go down.
    pub timing: Timing,
    /// Where it is asked.
    pub address: ServerAddress,
    /// Whether it is asked over the TLS of its backend.
    pub tls: bool,
    /// What carries a check by HTTP.
    pub protocol: BackendProtocol,
}

/// What becomes of the connections to a server when it goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMarkedDown {
    /// Requests and tunnels go on as long as they can.
    #[default]
    KeepSessions,
    /// They end at once.
    CloseSessions,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// `10.0.0.1:8080`, `[2001:db8::1]:8080`.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `app.internal:8080`, `_http._tcp.app.internal`.
    Name {
        /// The name.
        name: DnsName,
        /// The port; `None`: that of the service's record.
        port: Option<u16>,
    },
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { name, port: None } => name.fmt(f),
            Self::Name { name, port: Some(port) } => write!(f, "{name}:{port}"),
            Self::Tcp(socket) => socket.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

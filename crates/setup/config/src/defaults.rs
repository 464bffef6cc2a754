//! Every default and every limit of the configuration, each beside its reason.
//!
//! Owns the numbers that no other crate owns (heads: `tidegate_http1::Limits`, weights:
//! `tidegate_balance::Weight`); leaves the types that carry them to `model` and the reading of
//! overrides to the section files.
//!
//! Invariant: a default lies inside the range that a file may set, and stands nowhere else in the
//! project.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_balance::{BalanceFactor, HashMethod, Weight};
use tidegate_exchange::Redispatch;
use tidegate_health::StatusSet;
use tidegate_http1::{HEAD_BYTES_CAPACITY, HEADERS_CAPACITY};
use tidegate_semantics::accept_encoding::Coding;
use tidegate_tls::Protocol;

/// Longest file that is read, in bytes. The largest real configurations of this kind hold tens of
/// thousands of servers at about 100 bytes each.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Problems reported for one file; the rest are counted. More than anyone corrects in one go.
pub const PROBLEMS_MAX: usize = 200;

/// Entries of `frontends`, of `backends`, of one `servers` table and of one `bind` list. Names each
/// of them by 16 bits with room to spare, and keeps per-server counter slots (one cache line a
/// shard) within a few MiB a shard.
pub const ENTRIES_MAX: usize = 10_000;

/// Longest name of a frontend, backend or server, in bytes: names are metric labels and log fields.
pub const NAME_BYTES_MAX: usize = 128;

/// Slots of one name: as many servers, with their counters on every shard.
pub const SLOTS_RANGE: RangeInclusive<u32> = 1..=1000;

/// The port of a server whose address is a name without one: that of HTTP.
pub const SERVER_PORT: u16 = 80;

/// The port of resolvers (RFC 1035 §4.2).
pub const RESOLVER_PORT: u16 = 53;

/// The system's resolvers (resolv.conf(5)).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The system's names (hosts(5)).
pub const HOSTS: &str = "/etc/hosts";

/// How long one resolver has for one answer: a resolver that has to ask others itself rarely takes longer, and the next one is
/// asked while the known addresses go on being used.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often each resolver is asked before a question has failed: one lost datagram is not a failure.
pub const RESOLVE_TRIES: u32 = 2;

/// How many there may be.
pub const RESOLVE_TRIES_RANGE: RangeInclusive<u32> = 1..=10;

/// A name with a TTL of zero would be asked for without end.
pub const RESOLVE_TTL_MIN: Duration = Duration::from_secs(1);

/// Servers move faster than some zones expect.
pub const RESOLVE_TTL_MAX: Duration = Duration::from_mins(5);

/// How long addresses are used beyond their TTL while no resolver answers: servers outlive an outage of resolvers, and checks find
/// those that do not.
pub const RESOLVE_HOLD: Duration = Duration::from_hours(1);

/// How long they are used while the answer is that there are none: a zone that is being replaced is empty for a moment.
pub const RESOLVE_HOLD_ABSENT: Duration = Duration::from_secs(30);

/// Longest page or body that is answered from memory, in bytes: a page with its pictures inside. Whatever is larger is a
/// server's work.
pub const PAGE_BYTES_MAX: usize = 1 << 20;

/// Longest file of a list or a map, in bytes: as many entries as are taken (ten million), at about 25 bytes each.
pub const TABLE_FILE_BYTES_MAX: usize = 256 << 20;

/// Longest file of users, in bytes: as many as a table takes (10,000), at about 128 bytes each.
pub const USERS_FILE_BYTES_MAX: usize = 2 << 20;

/// Wrong lines of one file that are reported; the rest are counted.
pub const LINE_PROBLEMS_MAX: usize = 5;

/// Longest name that a rule or a field of the log is given, in bytes.
pub const RULE_NAME_BYTES_MAX: usize = NAME_BYTES_MAX;

/// What a share of a split takes; the sum of 10,000 of them stays within 32 bits.
pub const SHARE_RANGE: RangeInclusive<u32> = 0..=65_535;

/// What `set_priority` takes.
pub const PRIORITY_RANGE: RangeInclusive<i16> = i16::MIN..=i16::MAX;

/// Statuses that an answer of our own may have: interim ones (1xx) are no answers.
pub const ANSWER_STATUS_RANGE: RangeInclusive<u16> = 200..=599;

/// Statuses that have error pages.
pub const PAGE_STATUS_RANGE: RangeInclusive<u16> = 400..=599;

/// What a refusal says that does not say otherwise.
pub const DENY_STATUS: u16 = 403;

/// What a refusal after a while says: the client asks too much.
pub const TARPIT_STATUS: u16 = 429;

/// The while: long enough to slow a script down, short enough that few are waiting.
pub const TARPIT_DELAY: Duration = Duration::from_secs(5);

/// A redirect that does not say otherwise is for ever, as the move to another scheme is.
pub const REDIRECT_STATUS: u16 = 301;

/// What clients are told that they need credentials for.
pub const REALM: &str = "restricted";

/// A body without a type is what an operator writes into the file.
pub const BODY_CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// Longest path of a UNIX socket, in bytes: `sun_path` of `sockaddr_un` holds 108 with its final
/// NUL.
pub const UNIX_PATH_BYTES_MAX: usize = 107;

/// Highest CPU number that `global.cores` takes: the kernel's `cpu_set_t` ends there.
pub const CORE_MAX: usize = 1023;

/// Client connections in the whole process.
///
/// Descriptors: each client connection may hold one server connection (2 × 50,000), idle server
/// connections were in use a moment ago and stay below the same 50,000, listeners, rings and
/// event descriptors need a few hundred, and pipes at most 512 for each shard: about 155,000 at
/// the worst with eight shards, under the hard limit of 524,288 that systemd gives a service.
pub const MAX_CONNECTIONS: u32 = 50_000;

/// What `max_connections` takes. The upper end is ten times what the largest descriptor limits in
/// use allow.
pub const MAX_CONNECTIONS_RANGE: RangeInclusive<u32> = 1..=10_000_000;

/// Who stops Tidegate by hand wants it to stop: only who has a load balancer in front of it, which has to see that
/// `/readyz` says no, knows how long that takes.
pub const SHUTDOWN_DELAY: Duration = Duration::ZERO;

/// Requests in flight at SIGTERM get as long as an orchestrator waits before it kills (Kubernetes:
/// 30 s).
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Memory of the process holds private keys and what was encrypted with them.
pub const CORE_DUMPS: bool = false;

/// A handshake under way holds about 25 KiB: 25 MiB a shard. A core makes a few thousand in a second.
pub const TLS_HANDSHAKES_MAX: u32 = 1_000;

/// What `global.tls_handshakes_max` takes.
pub const TLS_HANDSHAKES_MAX_RANGE: RangeInclusive<u32> = 1..=1_000_000;

/// Half of a core's time, in percent: a flood of handshakes leaves established traffic the other half.
pub const TLS_HANDSHAKE_SHARE: u8 = 50;

/// Three round trips and a slow client's computing; ten seconds outlast lost packets.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// In the clear HTTP/2 is spoken where it is asked for: a client has to know beforehand.
pub const PROTOCOLS: [Protocol; 1] = [Protocol::Http1];

/// In TLS the two sides agree, and every browser prefers HTTP/2.
pub const TLS_PROTOCOLS: [Protocol; 2] = [Protocol::Http2, Protocol::Http1];

/// A resumed handshake costs a tenth of a full one.
pub const SESSION_TICKETS: bool = true;

/// Visits of one day; whoever gets hold of a key reads at most a day and a half of resumed sessions.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// What `ticket_lifetime` takes; a week is the most (RFC 8446 §4.6.1).
pub const TICKET_LIFETIME_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 3600);

/// Where distributions have programs keep what has to outlive a restart.
pub const ACME_STORAGE: &str = "/var/lib/tidegate/acme";

/// Doubled with each failure, it makes five tries in the first hour: what large authorities allow for a name.
pub const ACME_RETRY_DELAY: Duration = Duration::from_secs(120);

/// What `retry_delay` of `acme` takes: an authority of one's own may be asked more often.
pub const ACME_RETRY_DELAY_RANGE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3600);

/// Connections the kernel completes ahead of `accept`; it cuts the number to `net.core.somaxconn`,
/// 4096 since Linux 5.4.
pub const LISTEN_BACKLOG: u32 = 4096;

/// What `listen_backlog` takes: the kernel keeps the queue's length in 16 bits on older kernels.
pub const LISTEN_BACKLOG_RANGE: RangeInclusive<u32> = 1..=65_535;

/// Shortest timeout: one tick of the timer wheel. Zero would mean "never succeeds", not "for ever".
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Longest timeout: a month is longer than any connection that is still of use.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// One lost SYN is sent again after 1 s, a second one after 3 s: 5 s outlives both.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that neither takes nor sends a byte for so long is gone; mobile links pause for 10 to
/// 20 s.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The slowest page that a person still waits for.
pub const SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Waiting longer for a server's slot than for a connection to it tells the client less than a 503
/// does.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A tunnel (WebSocket) is quiet by design; an hour outlives the heart-beats in use (20 s to some
/// minutes) by far.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(3600);

/// A head is one or two packets; ten seconds outlast lost packets and stop a client that sends a
/// byte at a time.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The same patience as for any other byte of a client.
pub const REQUEST_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Long enough for a reader's next click, short enough that idle connections make room; they hold
/// no buffer.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connection attempts after the first: survives two bad servers in a row, and bounds what one
/// request can cost.
pub const RETRIES: u8 = 3;

/// What `retries` takes: each attempt may last `timeouts.connect`.
pub const RETRIES_RANGE: RangeInclusive<u8> = 0..=10;

/// Whoever has requests repeated that may do something twice has to say so.
pub const RETRY_NON_IDEMPOTENT: bool = false;

/// Most requests without idempotent methods have no body, and keeping one costs a copy.
pub const RETRY_BODY_MAX: usize = 0;

/// What `retry_body_max` takes: so much is held for each request in flight with a body.
pub const RETRY_BODY_MAX_RANGE: RangeInclusive<usize> = 0..=1024 * 1024;

/// As in Finagle: a backend that fails altogether gets a fifth more requests, not four times as many.
pub const RETRY_PERCENT: u8 = 20;

/// What `retry_budget.percent` takes.
pub const RETRY_PERCENT_RANGE: RangeInclusive<u8> = 0..=100;

/// As in Finagle: a fifth of few requests is none at all.
pub const RETRY_PER_SECOND: u32 = 10;

/// What `retry_budget.min_per_second` takes.
pub const RETRY_PER_SECOND_RANGE: RangeInclusive<u32> = 0..=1_000_000;

/// As in HAProxy: a server may want to see where its client was sent.
pub const COOKIE_INDIRECT: bool = false;

/// As in HAProxy, attributes are there when they are asked for.
pub const COOKIE_HTTP_ONLY: bool = false;

/// A cookie that is secure is not sent over HTTP, which is what this version speaks.
pub const COOKIE_SECURE: bool = false;

/// The whole site.
pub const COOKIE_PATH: &str = "/";

/// Keys of one backend: the one in use, the one before, the next one, and one to spare. A token that none signed is compared
/// with all.
pub const PERSISTENCE_KEYS_MAX: usize = 4;

/// Shorter keys can be guessed.
pub const PERSISTENCE_KEY_BYTES_MIN: usize = 16;

/// A file with keys: a few lines and comments.
pub const KEYS_FILE_BYTES_MAX: usize = 16 * 1024;

/// Clients of a busy site in half an hour; takes 1.6 MB.
pub const STICK_ENTRIES_MAX: usize = 100_000;

/// What `max_entries` takes. The upper end takes 64 MiB, and some ten milliseconds to be counted for a scrape.
pub const STICK_ENTRIES_RANGE: RangeInclusive<usize> = 16..=4_194_304;

/// As long as servers usually keep a session that is not used.
pub const STICK_EXPIRE: Duration = Duration::from_secs(30 * 60);

/// A server that closed its listener for a moment is back; one that restarts needs the longer delays that follow.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);

/// As HAProxy waits before it tries the same server again.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);

/// What `weight` takes; 0 sends no requests.
pub const WEIGHT_RANGE: RangeInclusive<u16> = Weight::ZERO.value()..=Weight::MAX.value();

/// Servers drawn by `random`: the second draw is what evens the loads out, further ones add little.
pub const BALANCE_DRAWS: u8 = 2;

/// What `balance.draws` takes; 1 ignores loads.
pub const BALANCE_DRAWS_RANGE: RangeInclusive<u8> = 1..=16;

/// What `balance.depth` takes.
pub const BALANCE_DEPTH_RANGE: RangeInclusive<u16> = 1..=1_000;

/// What `balance.balance_factor` takes, in percent.
pub const BALANCE_FACTOR_RANGE: RangeInclusive<u16> = BalanceFactor::MIN..=BalanceFactor::MAX;

/// A hash without `hash`: who adds or removes a server wants to keep the rest as it is.
pub const HASH_METHOD: HashMethod = HashMethod::Consistent;

/// As in HAProxy: often enough to notice within seconds, seldom enough to be no load.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// A check has until the next one is due; one that is made every minute need not wait for as long.
pub const CHECK_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// As in HAProxy: one good answer may be luck.
pub const CHECK_RISE: u32 = 2;

/// As in HAProxy: a lost packet is no dead server.
pub const CHECK_FALL: u32 = 3;

/// What `rise` and `fall` take: more than a hundred would be hours.
pub const CHECKS_IN_A_ROW_RANGE: RangeInclusive<u32> = 1..=100;

/// Every server answers it.
pub const CHECK_METHOD: &str = "GET";

/// Every server has it.
pub const CHECK_PATH: &str = "/";

/// As in HAProxy: a redirect comes from a server that works.
pub const CHECK_STATUSES: StatusSet = StatusSet::range(200, 399);

/// Longest name of a database user in a check, in bytes: PostgreSQL's is 63, MySQL's 32 characters.
pub const CHECK_USER_BYTES_MAX: usize = 64;

/// Longest text that a check sends or expects, in bytes: requests of checks are a line or two.
pub const CHECK_TEXT_BYTES_MAX: usize = 4096;

/// Most steps of an exchange: a log-in takes a dozen.
pub const CHECK_STEPS_MAX: usize = 64;

/// What percentages take that must say something.
pub const PERCENT_RANGE: RangeInclusive<u8> = 1..=100;

/// What counts of errors and requests take.
pub const PASSIVE_ERRORS_RANGE: RangeInclusive<u32> = 1..=1_000_000;

/// Below, a percentage is made of accidents.
pub const PASSIVE_REQUESTS_MIN: u32 = 20;

/// Long enough for a percentage, short enough to notice.
pub const PASSIVE_WINDOW: Duration = Duration::from_secs(10);

/// As in Envoy: a restart is over by then.
pub const PASSIVE_EJECT_FOR: Duration = Duration::from_secs(30);

/// As in Envoy: somebody looks every five minutes.
pub const PASSIVE_EJECT_FOR_MAX: Duration = Duration::from_secs(300);

/// Errors that hit half of the servers are seldom the servers' own: the others would fall over next.
pub const PASSIVE_EJECTED_PERCENT_MAX: u8 = 50;

/// What other gateways answer for a server that does not; a 500 may be one client's request.
pub const PASSIVE_STATUSES: StatusSet = StatusSet::range(502, 504);

/// As in Envoy, where nothing else is looked for.
pub const PASSIVE_CONSECUTIVE_ERRORS: u32 = 5;

/// What `panic_threshold` takes.
pub const PANIC_THRESHOLD_RANGE: RangeInclusive<u8> = 0..=100;

/// Never: with no server up clients are told so, as HAProxy does.
pub const PANIC_THRESHOLD: u8 = 0;

/// Idle connections kept to one server by one shard. It only has to hold the swing of the requests
/// in flight: more idle connections than the busiest moment needed never exist. 2,048 × about 0.5
/// KiB is 1 MiB a server and shard.
pub const POOL_MAX_IDLE: u32 = 2_048;

/// Requests at a time on one connection: what most servers allow.
pub const HTTP2_MAX_STREAMS: u32 = 100;

/// What `http2.max_streams` takes. Each may hold 256 KiB of its response here.
pub const HTTP2_MAX_STREAMS_RANGE: RangeInclusive<u32> = 1..=10_000;

/// A day: seldom enough to cost nothing, and no connection outlives every change of the configuration.
pub const HTTP2_MAX_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Long enough for a server that works on a request in silence to be asked seldom.
pub const HTTP2_PING_AFTER: Duration = Duration::from_secs(30);

/// As long as the kernel needs to send a segment again a few times.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What `pool.max_requests` takes; without it a server decides how many requests a connection carries.
pub const POOL_MAX_REQUESTS_RANGE: RangeInclusive<u32> = 1..=1_000_000_000;

/// What `max_queue` takes; 0 lets nobody wait. Without it as many wait as there are clients, which are limited themselves.
pub const MAX_QUEUE_RANGE: RangeInclusive<u32> = 0..=10_000_000;

/// What `pool.max_idle` takes; 0 keeps no connection once its request is done.
pub const POOL_MAX_IDLE_RANGE: RangeInclusive<u32> = 0..=1_000_000;

/// Just below the 5 s after which Node.js and Apache close an idle connection: a request seldom
/// meets a closing one.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// What `header_limits.bytes` and `.target_bytes` take: below 1 KiB ordinary browsers fail, and the
/// parser keeps places in a head in 16 bits.
pub const HEAD_BYTES_RANGE: RangeInclusive<usize> = 1 << 10..=HEAD_BYTES_CAPACITY;

/// What `header_limits.count` takes: browsers send about 20 and proxies add 10; the parser has room
/// for 256.
pub const HEADERS_COUNT_RANGE: RangeInclusive<usize> = 16..=HEADERS_CAPACITY;

/// Codings offered, in the order of preference among those that a client likes equally: zstd is the cheapest for its size,
/// and gzip is what everything reads.
pub const COMPRESSION_CODINGS: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// Media types that are text by nature; images, films, archives and fonts in WOFF are compressed already.
pub const COMPRESSION_TYPES: [&str; 9] = [
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/xml",
    "application/*+xml",
    "application/wasm",
    "image/svg+xml",
    "font/ttf",
];

/// Shorter bodies fit into the packet of their head, compressed or not.
pub const COMPRESSION_BYTES_MIN: u64 = 1 << 10;

/// What `compression.min_size` takes.
pub const COMPRESSION_SIZE_RANGE: RangeInclusive<usize> = 0..=1 << 30;

/// What `compression.level.gzip` takes.
pub const GZIP_LEVEL_RANGE: RangeInclusive<u8> = 1..=9;

/// What `compression.level.br` takes: level 1 is worse than gzip, levels from 7 on hold a shard too long.
pub const BROTLI_LEVEL_RANGE: RangeInclusive<u8> = 2..=6;

/// What `compression.level.zstd` takes: beyond it, bounded memory finds little more.
pub const ZSTD_LEVEL_RANGE: RangeInclusive<u8> = 1..=9;

/// As in nginx: level 6 makes JSON a tenth smaller for three to five times the CPU time.
pub const GZIP_LEVEL: u8 = 1;

/// Level 5 takes twice the CPU time for little.
pub const BROTLI_LEVEL: u8 = 4;

/// The format's own default.
pub const ZSTD_LEVEL: u8 = 3;

/// Targets of the access log: each is opened twice during a reload, and all together must be few.
pub const LOG_TARGETS_MAX: usize = 4;

/// What syslog messages are called.
pub const LOG_TAG: &str = "tidegate";

/// Every request is logged.
pub const LOG_ONE_IN: u32 = 1;

/// What `log_sampling.one_in` takes: a busy process answers a few hundred thousand requests a second, so that even of these one
/// is logged every few seconds.
pub const LOG_ONE_IN_RANGE: RangeInclusive<u32> = 1..=1_000_000;

/// Browsers open connections ahead of need, and probes of other balancers open and close them all the time.
pub const LOG_EMPTY_CONNECTIONS: bool = false;

/// A retry at another server is what makes one dead server invisible.
pub const REDISPATCH: Redispatch = Redispatch::EveryRetry;

/// A connection per request costs a handshake each; servers that cannot take a second request say
/// `Connection: close`.
pub const REUSE_SERVER_CONNECTIONS: bool = true;

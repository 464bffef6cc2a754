//! A warm connection allocates nothing: requests are counted against the process's allocations.
//!
//! Owns one shard, a server and a client in one process, the latter two free of allocations themselves. Invariant: the
//! only thing that runs besides them is what is measured.

use std::alloc::System;
use std::hash::RandomState;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate_access_log::{Captures, Format, Sampling, Severity, Target};
use tidegate_balance::{
    Availability, HashMethod, Plan, Policy as Balance, ServerSettings as Balanced, Weight,
};
use tidegate_compression::Levels;
use tidegate_exchange::Policy;
use tidegate_health::Standing;
use tidegate_http1::Limits;
use tidegate_log::{Logs, Settings as LogSettings, Writer};
use tidegate_persistence::{
    Carrier, Cookie, Key, Mode, Persistence, Pin, Settings as PersistenceSettings, Unix,
};
use tidegate_proxy::{
    AccessLog, BackendProtocol, BackendSettings, BindSettings, Budget, ClientTimeouts, Command,
    Compression, Context, ForwardedField, Forwarding, FrontendSettings, HandshakeLimits,
    ListenerId, ListenerSpec, OnMarkedDown, OwnFieldSettings, PoolSettings, RepeatSettings,
    ServerHttp2Settings, ServerSettings, Snapshot, StickSettings, reasons,
};
use tidegate_queue::Hub;
use tidegate_ring::Settings;
use tidegate_routing::{
    BackendChoice, BackendIndex, BackendShare, BalanceKey, Edit, Ending, HeaderName, RequestRule,
    ResponseRule, RewritePath, Rules, Split,
};
use tidegate_rules::{Condition, Conditions, Environment, Names, Phase, Template, ValueList};
use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::compressible::{MediaTypes, Policy as Compressible};
use tidegate_semantics::forwarded::Received;
use tidegate_semantics::traceparent::Sampling as TraceSampling;
use tidegate_semantics::via::Pseudonym;
use tidegate_shard::{Sender, Shard, queue, spawn};
use tidegate_stick::Keeper;
use tidegate_telemetry::Registry;
use tidegate_testkit::json;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WARM_UP: usize = 200;
/// A round has to be over before the executor's timer comes again, on a loaded machine too.
const MEASURED: usize = 20;
/// Of answers that are compressed, which take longer.
const MEASURED_CODED: usize = 5;
/// Rounds without an allocation that are enough.
const QUIET_ROUNDS: usize = 5;
const ROUNDS_MAX: usize = 300;
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every request on every connection with the same bytes, without allocating once it runs.
fn start_server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("one connection is made");
        let mut received = [0; 4096];
        let mut filled = 0;
        loop {
            match stream.read(&mut received[filled..]) {
                Ok(0) | Err(_) => return,
                Ok(count) => filled += count,
            }
            if received[..filled].ends_with(b"\r\n\r\n") || received[..filled].ends_with(b"body!") {
                filled = 0;
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        }
    });
    address
}

/// A log of this format to nowhere, with a header captured from each side.
fn access_log(logs: &Logs, format: &str) -> AccessLog {
    let target = Target::parse("/dev/null").expect("a target");
    let mut captures = Captures::new();
    captures.add_request("User-Agent");
    captures.add_response("Content-Length");
    AccessLog {
        targets: vec![logs.open(&LogSettings::new(target)).expect("it opens")],
        format: Format::parse(format, &mut captures).expect("a format"),
        captures,
        sampling: Sampling::ALL,
        least_severe: Severity::Info,
        empty_connections: false,
    }
}

/// The rules of the example in which a request meets most of them before it is routed: conditions, edits, a rewritten path,
/// and rules for the response.
fn rules() -> (Rules<RequestRule>, Rules<ResponseRule>) {
    let mut names = Names::default();
    let entries = [
        ("is_api", r#"request.path.startsWith("/api/")"#),
        (
            "is_static",
            r#"[".jpg", ".png", ".gif", ".css", ".js"].exists(suffix, request.path.endsWith(suffix))"#,
        ),
        ("is_mobile", r#"request.headers["user-agent"].lowerAscii().contains("mobile")"#),
        ("is_internal", r#"inIpRange(source.ip, "10.0.0.0/8")"#),
    ];
    let (conditions, problems) = Conditions::compile(&mut names, entries);
    assert!(problems.is_empty(), "{problems:?}");
    let mut request =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
    let rule = |edits, ending| RequestRule { name: "".into(), edits, authenticate: None, ending };
    let name = |name: &str| HeaderName::new(name.as_bytes()).expect("a name");
    let mut when = |text: &str| Condition::compile(text, &mut request).expect("a condition");
    let to = |index| Some(Ending::Backend(BackendChoice::One(BackendIndex(index))));
    let shares = [95, 5].map(|weight| BackendShare { backend: BackendIndex(0), weight }).to_vec();
    let split = Split { shares, sum: 100, key: None };
    let conditions_of = [
        r#"request.path == "/admin" && !is_internal"#,
        r#"request.path == "/old""#,
        "is_api",
        "is_static",
        r#"is_mobile || request.cookies["beta"] == "1""#,
    ]
    .map(&mut when);
    let [admin, old, api, files, mobile] = conditions_of;
    let mut template = |text: &str| Template::compile(text, &mut request).expect("a template");
    let stamp = vec![
        Edit::SetHeader(name("X-Request-Start"), template("{now}")),
        Edit::SetHeader(name("X-Client"), template("{source.ip}")),
        Edit::RemoveHeader(name("X-Debug")),
    ];
    let rewrite = RewritePath::new("^/api/(.*)$", "/$1").expect("a pattern");
    let rules = Rules::new(vec![
        (Some(admin), rule(vec![], Some(Ending::Deny { status: 403 }))),
        (None, rule(stamp, None)),
        (Some(old), rule(vec![], Some(Ending::Deny { status: 403 }))),
        (Some(api), rule(vec![Edit::RewritePath(rewrite)], to(0))),
        (Some(files), rule(vec![], to(0))),
        (Some(mobile), rule(vec![], Some(Ending::Backend(BackendChoice::Split(split))))),
    ]);
    let mut response =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Response };
    let failed = Condition::compile(
        r#"response.code >= 200 && request.path.startsWith("/api/")"#,
        &mut response,
    )
    .expect("a condition");
    let cache = Template::compile("no-store", &mut response).expect("a template");
    let edits = |edits| ResponseRule { name: "".into(), edits, set_status: None };
    let response_rules = Rules::new(vec![
        (Some(failed), edits(vec![Edit::SetHeader(name("Cache-Control"), cache)])),
        (None, edits(vec![Edit::RemoveHeader(name("Server"))])),
    ]);
    (rules, response_rules)
}

/// Brotli is not offered: its library allocates for each body.
fn compression() -> Compression {
    Compression {
        policy: Compressible {
            types: MediaTypes::parse(["text/*", "application/json"]).expect("media types"),
            bytes_min: 1024,
            bytes_max: None,
        },
        codings: vec![Coding::Zstd, Coding::Gzip],
        levels: Levels::default(),
    }
}

fn backend(server: SocketAddr, registry: &mut Registry) -> BackendSettings {
    let second = Duration::from_secs(1);
    BackendSettings {
        name: "app".into(),
        balance: Plan::new(Balance::RoundRobin.into(), &[Balanced::default()]),
        balance_key: None,
        servers: vec![ServerSettings {
            shelf: Arc::default(),
            limit: None,
            name: "a".into(),
            address: server.into(),
            tls_name: None,
            standing: Standing {
                availability: Availability::Up,
                weight: Weight::default(),
                since: None,
                healthy: true,
                max_connections: None,
            },
            stats: registry.server("app", "a").clone(),
        }],
        tls: None,
        protocol: BackendProtocol::default(),
        http2: ServerHttp2Settings {
            streams_max: 100,
            ping_after: PATIENCE,
            ping_timeout: PATIENCE,
        },
        exchange: Policy::default(),
        persistence: None,
        stick: None,
        repeats: RepeatSettings::default(),
        tunnel_timeout: second * 60,
        reuse: true,
        error_pages: Arc::default(),
        compression: None,
        error_statuses: None,
        on_marked_down: OnMarkedDown::default(),
        pool: PoolSettings {
            idle_max: 16,
            idle_timeout: second * 60,
            max_lifetime: None,
            max_requests: None,
        },
        line: None,
        stats: registry.backend("app").clone(),
    }
}

/// The key that an expression makes.
fn key(text: &str, phase: Phase) -> BalanceKey {
    let (mut names, conditions) = (Names::default(), Conditions::default());
    let mut environment = Environment { names: &mut names, conditions: &conditions, phase };
    BalanceKey::new(Template::compile_expression(text, &mut environment).expect("a key"), None)
}

/// Clients are known by a cookie of the proxy's own.
fn persistence() -> Persistence {
    let cookie = Cookie {
        name: b"SRV".to_vec(),
        mode: Mode::Insert,
        indirect: true,
        attributes: b"; Path=/".to_vec(),
    };
    let keys = vec![Key::derived(b"secret", b"app")];
    let carrier = Carrier::Cookie(cookie);
    let settings = PersistenceSettings { carrier, keys, max_idle: None, max_life: None };
    Persistence::new(&settings, "app", ["a"])
}

fn by_cookie(backend: &mut BackendSettings) {
    backend.persistence = Some(Arc::new(persistence()));
}

/// A request with the token that the proxy gives for its only server.
fn with_token() -> Vec<u8> {
    let (ours, mut cookie) = (persistence(), Vec::new());
    let answer = ours.answer(&Pin::default(), 0, Unix(1_800_000_000));
    assert!(ours.write(&answer, &mut cookie));
    let end = cookie.iter().position(|byte| *byte == b';').expect("attributes");
    let head: &[u8] = b"GET / HTTP/1.1\r\nHost: example\r\nCookie: a=b; ";
    [head, &cookie[..end], b"\r\n\r\n"].concat()
}

/// Clients stay by a header of their requests.
fn by_table(backend: &mut BackendSettings) {
    let now = Instant::now();
    let mut keeper = Keeper::new(1024, now, RandomState::new());
    let pins = Arc::new(keeper.follow(1024, Duration::from_secs(60), ["a"], now));
    let key = key(r#"request.headers["x-session"]"#, Phase::Request);
    backend.stick = Some(StickSettings { pins, key, learn: None });
}

/// They stay by a cookie of their server.
fn by_learning(backend: &mut BackendSettings) {
    by_table(backend);
    if let Some(stick) = &mut backend.stick {
        stick.key = key(r#"request.cookies["SID"]"#, Phase::Request);
        stick.learn = Some(key(r#"response.cookies["SID"]"#, Phase::Response));
    }
}

/// By the hash of a header.
fn by_hash(backend: &mut BackendSettings) {
    let policy = Balance::Hash { method: HashMethod::Consistent, balance_factor: None };
    backend.balance = Plan::new(policy.into(), &[Balanced::default()]);
    backend.balance_key = Some(key(r#"request.headers["x-session"]"#, Phase::Request));
}

fn snapshot(
    server: SocketAddr,
    arrange: fn(&mut BackendSettings),
    log: Option<AccessLog>,
) -> Arc<Snapshot> {
    let (rules, response_rules) = rules();
    let mut registry = Registry::new(1, reasons());
    let second = Duration::from_secs(1);
    let mut backend = backend(server, &mut registry);
    arrange(&mut backend);
    let frontend = FrontendSettings {
        name: "web".into(),
        default_backend: Some(0),
        binds: vec![BindSettings::default()],
        timeouts: ClientTimeouts {
            tls_handshake: Duration::from_secs(10),
            client: second * 30,
            request_head: second * 10,
            request_body: second * 30,
            keep_alive: second * 60,
            http2_lifetime: second * 3600,
        },
        limits: Limits::default(),
        rules,
        response_rules,
        error_pages: Arc::default(),
        own_fields: OwnFieldSettings {
            forwarding: Some(Forwarding {
                fields: vec![ForwardedField::For, ForwardedField::Proto],
                trust: ValueList::new(["0.0.0.0/0"]).expect("a network"),
                trusted: Received::Append,
                untrusted: Received::Replace,
            }),
            request_id: Some(HeaderName::new(b"X-Request-Id").expect("a name")),
            via: Pseudonym::new("tidegate"),
            traceparent: Some(TraceSampling::NotRecorded),
        },
        compression: Some(Arc::new(compression())),
        log: log.map(Arc::new),
        connections: Arc::new(Budget::new(u32::MAX)),
        stats: registry.frontend("web").clone(),
    };
    Arc::new(Snapshot {
        generation: 1,
        shards_count: 1,
        accept_burst_max: 16,
        frontends: vec![frontend],
        backends: vec![backend],
        tables: Arc::default(),
        verifier: None,
        challenges: Arc::default(),
        hub: Arc::new(Hub::new(1)),
        connections: Arc::new(Budget::new(100_000)),
        handshakes: HandshakeLimits { concurrent_max: 100, share_percent: 50 },
        shards: registry.shards().clone(),
    })
}

fn start_shard(
    server: SocketAddr,
    arrange: fn(&mut BackendSettings),
    log: Option<AccessLog>,
    writer: Writer,
) -> (SocketAddr, Sender<Command>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (mut commands, for_shard) = queue(4);
    let (from_shard, mut reports) = queue(64);
    let (made, made_here) = mpsc::channel();
    let snapshot = snapshot(server, arrange, log);
    let listeners = vec![ListenerSpec {
        backlog: None,
        id: ListenerId(0),
        frontend: 0,
        bind: 0,
        shared: false,
        socket: Some(listener.into()),
    }];
    spawn("shard", None, move || async move {
        let shard = Shard::new(&Settings::default()).expect("io_uring");
        made.send(shard.ring.wakeup()).expect("the test waits for it");
        let (commands, reports) = (for_shard, from_shard);
        let context = Context { index: 0, snapshot, listeners, commands, reports, log: writer };
        tidegate_proxy::run(shard, context).await;
    })
    .expect("a thread");
    commands.wakes(made_here.recv_timeout(PATIENCE).expect("the shard starts"));
    while reports.receive().is_none() {
        std::thread::yield_now();
    }
    (address, commands)
}

fn exchange(stream: &mut TcpStream, request: &[u8], received: &mut [u8], length: usize) {
    stream.write_all(request).expect("the balancer reads");
    stream.read_exact(&mut received[..length]).expect("an answer");
}

/// Allocations of the whole process while requests are answered on one warm connection, `MEASURED` or fewer of those that take
/// long: those of the worst of the `QUIET_ROUNDS` best rounds.
fn allocations(
    arrange: fn(&mut BackendSettings),
    request: &[u8],
    answer: &'static [u8],
    format: Option<&str>,
) -> usize {
    let (logs, mut writers) = Logs::start(1, |_| {}).expect("a thread");
    let log = format.map(|format| access_log(&logs, format));
    let writer = writers.pop().expect("one for each shard");
    let (address, mut commands) = start_shard(start_server(answer), arrange, log, writer);
    let mut stream = TcpStream::connect(address).expect("the balancer listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
    let mut received = vec![0; 64 * 1024];
    stream.write_all(request).expect("the balancer reads");
    let mut length = 0;
    let head_end = |bytes: &[u8]| bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.len() - head_end(answer).expect("a head") - 4;
    // An answer that is compressed is shorter, and ends as chunks do.
    let is_whole = |bytes: &[u8]| {
        let is_coded = bytes.windows(16).any(|name| name == b"Content-Encoding");
        match head_end(bytes) {
            Some(_) if is_coded => bytes.ends_with(b"\r\n0\r\n\r\n"),
            Some(at) => bytes.len() >= at + 4 + body,
            None => false,
        }
    };
    while !is_whole(&received[..length]) {
        length += stream.read(&mut received[length..]).expect("an answer");
    }
    let is_coded = length < answer.len();
    assert_eq!(is_coded, request.windows(15).any(|name| name == b"Accept-Encoding"));
    for _ in 0..WARM_UP {
        exchange(&mut stream, request, &mut received, length);
    }
    let measured = if is_coded { MEASURED_CODED } else { MEASURED };
    let mut round = || {
        let region = Region::new(ALLOCATOR);
        for _ in 0..measured {
            exchange(&mut stream, request, &mut received, length);
        }
        let change = region.change();
        change.allocations + change.reallocations
    };
    // The executor's own preemption timer and the log's thread allocate a few times in 100 ms, whatever the requests: rounds
    // without them count. An allocation per request would show in each of them.
    let mut seen = Vec::new();
    while seen.len() < ROUNDS_MAX
        && seen.iter().filter(|allocated| **allocated == 0).count() < QUIET_ROUNDS
    {
        seen.push(round());
    }
    seen.sort_unstable();
    if format.is_some() {
        assert!(logs.flush(PATIENCE));
        let requests = 1 + WARM_UP + seen.len() * measured;
        assert_eq!(usize::try_from(logs.totals().lines), Ok(requests));
    }
    commands.send(Command::Stop).unwrap_or_else(|_| panic!("the shard is there"));
    seen.get(QUIET_ROUNDS - 1).copied().unwrap_or(usize::MAX)
}

/// One test, because the counter is the whole process's.
#[test]
fn a_warm_connection_allocates_nothing() {
    const GET: &[u8] =
        b"GET /index.html HTTP/1.1\r\nHost: example\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
    const POST: &[u8] = b"POST /form HTTP/1.1\r\nHost: example\r\nContent-Length: 5\r\n\r\nbody!";
    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    const API: &[u8] = b"GET /api/v1/%7Euser?a=%20b HTTP/1.1\r\nHost: Example\r\nX-Debug: 1\r\n\
        X-Request-Id: abc\r\nCookie: a=b\r\n\r\n";
    const GZIP: &[u8] = b"GET / HTTP/1.1\r\nHost: example\r\nAccept-Encoding: gzip\r\n\r\n";
    const ZSTD: &[u8] = b"GET / HTTP/1.1\r\nHost: example\r\nAccept-Encoding: zstd\r\n\r\n";
    let typed = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"a\"\r\n";
    let large = format!("{typed}Content-Length: 50000\r\n\r\n").into_bytes();
    let large: &'static [u8] = [large, json(1, 50_000)].concat().leak();
    const MOBILE: &[u8] = b"GET / HTTP/1.1\r\nHost: example\r\nUser-Agent: Mobile\r\n\r\n";
    const SESSION: &[u8] = b"GET / HTTP/1.1\r\nHost: example\r\nX-Session: 7\r\n\r\n";
    const LEARNED: &[u8] = b"GET / HTTP/1.1\r\nHost: example\r\nCookie: a=b; SID=7\r\n\r\n";
    const SID: &[u8] =
        b"HTTP/1.1 200 OK\r\nSet-Cookie: SID=7; Path=/\r\nContent-Length: 5\r\n\r\nhello";
    let with_token: &'static [u8] = with_token().leak();
    let plain: fn(&mut BackendSettings) = |_| {};
    for (name, arrange, request, answer) in [
        ("GET", plain, GET, LENGTH),
        ("POST", plain, POST, LENGTH),
        ("chunked", plain, GET, CHUNKED),
        ("rewritten", plain, API, LENGTH),
        ("split", plain, MOBILE, LENGTH),
        ("gzip", plain, GZIP, large),
        ("zstd", plain, ZSTD, large),
        ("given a cookie", by_cookie, GET, LENGTH),
        ("with its cookie", by_cookie, with_token, LENGTH),
        ("stuck", by_table, SESSION, LENGTH),
        ("learned", by_learning, LEARNED, SID),
        ("hashed", by_hash, SESSION, LENGTH),
    ] {
        for format in [None, Some("http"), Some("json"), Some("{request_header.Accept} {server}")] {
            let allocated = allocations(arrange, request, answer, format);
            assert_eq!(allocated, 0, "{name}, log {format:?}: a round of {MEASURED} requests");
        }
    }
}

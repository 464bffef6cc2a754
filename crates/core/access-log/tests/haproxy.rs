//! The `http` and `tcp` formats against HAProxy's: lines that HAProxy 2.6 wrote, and a reader of its format that
//! shares no code with the writer.

mod samples;

use samples::{example, line};
use std::net::{IpAddr, SocketAddr};
use tidegate_access_log::{
    Address, Capture, Connections, Cookies, Ending, Format, Micros, Protocol, Record, Request,
    RequestCookie, ResponseCookie, Retries, Times, Timestamp, Traffic,
};
use tidegate_exchange::{ConnectFailure, Failure, FailureKind, NoServerCause, Stage};

/// 24/Nov/2026:21:26:00.000
const MINUTE: u64 = 1_795_555_560_000_000;

fn failed(kind: FailureKind, stage: Stage) -> Ending {
    Ending::Failed(Failure { kind, stage, server: None })
}

fn base(client: &str, millis: u64, frontend: &'static str) -> Record<'static> {
    let client: SocketAddr = client.parse().expect("it is an address");
    let at = Timestamp(MINUTE + millis * 1000);
    Record {
        connections: Connections { process: 1, frontend: 1, backend: 0, server: 0 },
        ..Record::new(Protocol::Http, at, client.into(), Address::Unix, frontend)
    }
}

fn get(target: &'static str) -> Request<'static> {
    Request::Line { method: b"GET", target: target.as_bytes(), version: "HTTP/1.1" }
}

/// TR, Tw, Tc, Tr, Ta in ms; -1 for absent.
fn times(millis: [i64; 5]) -> Times {
    let time = |millis: i64| u64::try_from(millis).ok().map(|millis| Micros(millis * 1000 + 999));
    let [request_head, queue, connect, response_head, total] = millis.map(time);
    let total = total.expect("there always is a total");
    Times { request_head, queue, connect, response_head, total }
}

fn sent(sent: u64) -> Traffic {
    Traffic { received: 100, sent }
}

const ODD: &[u8] = b"a b{c|d}\"#\xc3\xa9\tz";
const ASKED: &[Capture<'_>] = &[
    Capture { name: "User-Agent", value: Some(ODD) },
    Capture { name: "Host", value: Some(b"h") },
];
const ANSWERED: &[Capture<'_>] = &[Capture { name: "Server", value: Some(b"a{b|c}d\"e#f") }];
const UNANSWERED: &[Capture<'_>] = &[Capture { name: "Server", value: None }];

#[test]
fn complete_requests_are_logged_as_haproxy_logs_them() {
    let complete = Record {
        backend: Some("app"),
        server: Some("s1"),
        request: get("/"),
        status: Some(200),
        times: times([0; 5]),
        traffic: sent(69),
        request_headers: ASKED,
        response_headers: ANSWERED,
        ..base("127.0.0.1:39018", 39_165, "web")
    };
    assert_eq!(
        line(&Format::HTTP, &complete),
        "127.0.0.1:39018 [24/Nov/2026:21:26:39.165] web app/s1 0/0/0/0/0 200 69 - - ---- 1/1/0/0/0 0/0 \
         {a b#7Bc#7Cd#7D#22#23#C3#A9#09z|h} {a#7Bb#7Cc#7Dd#22e#23f} \"GET / HTTP/1.1\""
    );
    let bare = Record {
        request: get("/plain"),
        request_headers: &[],
        response_headers: &[],
        frontend: "plain",
        client: "127.0.0.1:40598".parse::<SocketAddr>().expect("it is an address").into(),
        started_at: Timestamp(MINUTE + 47_597_000),
        ..complete
    };
    assert_eq!(
        line(&Format::HTTP, &bare),
        "127.0.0.1:40598 [24/Nov/2026:21:26:47.597] plain app/s1 0/0/0/0/0 200 69 - - ---- 1/1/0/0/0 0/0 \
         \"GET /plain HTTP/1.1\""
    );
}

#[test]
fn requests_that_rules_ended_are_logged_as_haproxy_logs_them() {
    let ended = |client, millis, target, status, bytes, parts, ending| Record {
        request: get(target),
        status,
        times: times(parts),
        traffic: sent(bytes),
        request_headers: ASKED,
        response_headers: UNANSWERED,
        ending,
        ..base(client, millis, "web")
    };
    let denied = ended(
        "127.0.0.1:39026",
        39_216,
        "/deny",
        Some(403),
        192,
        [0, -1, -1, -1, 0],
        Ending::Denied,
    );
    assert_eq!(
        line(&Format::HTTP, &denied),
        "127.0.0.1:39026 [24/Nov/2026:21:26:39.216] web web/<NOSRV> 0/-1/-1/-1/0 403 192 - - PR-- 1/1/0/0/0 0/0 \
         {a b#7Bc#7Cd#7D#22#23#C3#A9#09z|h} {} \"GET /deny HTTP/1.1\""
    );
    let tarpitted = ended(
        "127.0.0.1:39034",
        39_267,
        "/tarpit",
        Some(500),
        208,
        [-1, 502, -1, -1, 501],
        Ending::Tarpitted,
    );
    assert_eq!(
        line(&Format::HTTP, &tarpitted),
        "127.0.0.1:39034 [24/Nov/2026:21:26:39.267] web web/<NOSRV> -1/502/-1/-1/501 500 208 - - PT-- 1/1/0/0/0 0/0 \
         {a b#7Bc#7Cd#7D#22#23#C3#A9#09z|h} {} \"GET /tarpit HTTP/1.1\""
    );
    let dropped = ended(
        "127.0.0.1:39080",
        39_972,
        "/drop",
        None,
        0,
        [-1, -1, -1, -1, 0],
        Ending::ClosedByRule,
    );
    assert_eq!(
        line(&Format::HTTP, &dropped),
        "127.0.0.1:39080 [24/Nov/2026:21:26:39.972] web web/<NOSRV> -1/-1/-1/-1/0 -1 0 - - PR-- 1/1/0/0/0 0/0 \
         {a b#7Bc#7Cd#7D#22#23#C3#A9#09z|h} {} \"GET /drop HTTP/1.1\""
    );
}

#[test]
fn failures_are_logged_as_haproxy_logs_them() {
    let refused = Record {
        backend: Some("dead"),
        server: Some("d1"),
        request: get("/dead"),
        status: Some(503),
        times: times([0, 2002, -1, -1, 2002]),
        traffic: sent(217),
        retries: Retries { count: 2, redispatched: false },
        ending: failed(FailureKind::Connect(ConnectFailure::Refused), Stage::Connect),
        ..base("127.0.0.1:39090", 42_075, "web")
    };
    assert_eq!(
        line(&Format::HTTP, &refused),
        "127.0.0.1:39090 [24/Nov/2026:21:26:42.075] web dead/d1 0/2002/-1/-1/2002 503 217 - - SC-- 1/1/0/0/2 0/0 \
         \"GET /dead HTTP/1.1\""
    );
    let invalid = Record {
        request: Request::Invalid(b"GET /\x01\" HTTP/1.1"),
        status: Some(400),
        times: times([-1, -1, -1, -1, 0]),
        ending: failed(FailureKind::BadRequest { status: 400, detail: "x" }, Stage::Request),
        ..base("127.0.0.1:56190", 47_495, "web")
    };
    assert_eq!(
        line(&Format::HTTP, &invalid),
        "127.0.0.1:56190 [24/Nov/2026:21:26:47.495] web web/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 \
         \"<BADREQ>\""
    );
}

#[test]
fn connections_are_logged_as_haproxy_logs_them() {
    let complete = Record {
        protocol: Protocol::Tcp,
        backend: Some("tcpl"),
        server: Some("t1"),
        times: times([-1, 1, 0, -1, 0]),
        traffic: sent(62),
        ..base("127.0.0.1:40884", 47_648, "tcpl")
    };
    assert_eq!(
        line(&Format::TCP, &complete),
        "127.0.0.1:40884 [24/Nov/2026:21:26:47.648] tcpl tcpl/t1 1/0/0 62 -- 1/1/0/0/0 0/0"
    );
    let gone = Record {
        client: "127.0.0.1:40890".parse::<SocketAddr>().expect("it is an address").into(),
        accepted_at: Timestamp(MINUTE + 50_307_000),
        times: times([-1, 1, 0, -1, 100]),
        traffic: sent(0),
        ending: failed(FailureKind::ClientGone, Stage::Data),
        ..complete
    };
    assert_eq!(
        line(&Format::TCP, &gone),
        "127.0.0.1:40890 [24/Nov/2026:21:26:50.307] tcpl tcpl/t1 1/0/100 0 CD 1/1/0/0/0 0/0"
    );
}

#[test]
fn the_rest_of_the_letters_and_marks() {
    assert_eq!(
        line(&Format::HTTP, &example()),
        "203.0.113.7:51234 [01/Apr/2026:12:00:07.000] web~ app/app1 1/0/2/30/34 200 2750 - - --VN 5/4/3/2/+1 0/6 \
         {www.example.com|curl/8} {nginx} \"GET /items/7?x=1 HTTP/1.1\""
    );
    let cookies = Cookies {
        request: Some(b"a=b c"),
        response: Some(b"d=\"e\""),
        request_state: RequestCookie::Down,
        response_state: ResponseCookie::Inserted,
    };
    let text = line(&Format::HTTP, &Record { cookies, client: Address::Unix, ..example() });
    assert!(text.starts_with("unix:0 ["), "{text}");
    assert!(text.contains(" a=b#20c d=#22e#22 --DI "), "{text}");
}

/// A line as a log tool takes it apart.
#[derive(Debug, PartialEq)]
struct Parsed {
    server: String,
    times: [i64; 5],
    status: i64,
    bytes: u64,
    termination: String,
    retries: String,
    request: String,
}

/// Reads a line without captures, by blanks, as the log tools do.
fn parse(line: &str) -> Parsed {
    let (fields, request) = line.split_once(" \"").expect("there is a quoted request");
    let fields: Vec<&str> = fields.split(' ').collect();
    let [client, date, _frontend, server, times, status, bytes, _, _, termination, counts, queues] =
        fields.as_slice()
    else {
        panic!("{} fields: {line}", fields.len());
    };
    // An IPv6 address has no brackets in HAProxy's log.
    let (ip, port) = client.rsplit_once(':').expect("there is a port");
    assert!(ip.parse::<IpAddr>().is_ok() && port.parse::<u16>().is_ok(), "{line}");
    assert!(date.starts_with('[') && date.ends_with(']'), "{line}");
    let numbers = |text: &str| -> Vec<i64> {
        text.split('/').map(|number| number.parse().expect("it is a number")).collect()
    };
    assert_eq!(numbers(queues).len(), 2);
    let (counts, retries) = counts.rsplit_once('/').expect("retries stand last");
    assert_eq!(numbers(counts).len(), 4);
    Parsed {
        server: (*server).to_owned(),
        times: numbers(times).try_into().expect("there are five times"),
        status: status.parse().expect("the status is a number"),
        bytes: bytes.parse().expect("the bytes are a number"),
        termination: (*termination).to_owned(),
        retries: retries.to_owned(),
        request: request.strip_suffix('"').expect("the quote ends").to_owned(),
    }
}

/// Every ending that a request can have, with the letters that HAProxy's documentation gives it in section 8.5.
fn endings() -> Vec<(Ending, &'static str, &'static str, &'static str)> {
    use FailureKind as Kind;
    let bad = Kind::BadRequest { status: 400, detail: "method_invalid" };
    let refused = Kind::Connect(ConnectFailure::Refused);
    let resource = Kind::Connect(ConnectFailure::LocalResource);
    vec![
        (Ending::Complete, "--", "complete", "end"),
        (failed(Kind::ClientGone, Stage::Request), "CR", "client_gone", "request"),
        (failed(Kind::ClientGone, Stage::Queue), "CQ", "client_gone", "queue"),
        (failed(Kind::ClientGone, Stage::Connect), "CC", "client_gone", "connect"),
        (failed(Kind::ClientGone, Stage::Head), "CH", "client_gone", "response_head"),
        (failed(Kind::ClientGone, Stage::Data), "CD", "client_gone", "data"),
        (Ending::ClientGoneAtEnd, "CL", "client_gone_at_end", "last_data"),
        (failed(Kind::RequestHeadTimeout, Stage::Request), "cR", "request_head_timeout", "request"),
        (failed(Kind::ClientTimeout, Stage::Head), "cH", "client_timeout", "response_head"),
        (failed(Kind::ClientTimeout, Stage::Data), "cD", "client_timeout", "data"),
        (Ending::TunnelTimeout, "cD", "tunnel_timeout", "data"),
        (failed(bad, Stage::Request), "PR", "bad_request", "request"),
        (failed(Kind::QueueTimeout, Stage::Queue), "sQ", "queue_timeout", "queue"),
        (
            failed(Kind::NoServer(NoServerCause::AllDown), Stage::Connect),
            "SC",
            "no_server_up",
            "connect",
        ),
        (failed(refused, Stage::Connect), "SC", "connect_refused", "connect"),
        (
            failed(Kind::Connect(ConnectFailure::TimedOut), Stage::Connect),
            "sC",
            "connect_timeout",
            "connect",
        ),
        (failed(resource, Stage::Connect), "RC", "connect_local_resource", "connect"),
        (failed(Kind::EmptyResponse, Stage::Head), "SH", "empty_response", "response_head"),
        (failed(Kind::ServerReset, Stage::Data), "SD", "server_reset", "data"),
        (failed(Kind::TruncatedResponse, Stage::Data), "SD", "truncated_response", "data"),
        (failed(Kind::ServerTimeout, Stage::Head), "sH", "server_timeout", "response_head"),
        (failed(Kind::ServerTimeout, Stage::Data), "sD", "server_timeout", "data"),
        (
            failed(Kind::BadResponse { detail: "x" }, Stage::Head),
            "PH",
            "bad_response",
            "response_head",
        ),
        (failed(Kind::BadResponse { detail: "x" }, Stage::Data), "PD", "bad_response", "data"),
        (Ending::Responded, "LR", "responded", "request"),
        (Ending::Redirected, "LR", "redirected", "request"),
        (Ending::Unauthorized, "LR", "unauthorized", "request"),
        (Ending::Denied, "PR", "denied", "request"),
        (Ending::ClosedByRule, "PR", "closed_by_rule", "request"),
        (Ending::Tarpitted, "PT", "tarpitted", "tarpit"),
        (Ending::TarpitAbandoned, "CT", "tarpit_abandoned", "tarpit"),
        (Ending::TarpitKilled, "KT", "killed", "tarpit"),
        (failed(Kind::Loop, Stage::Request), "PR", "loop_detected", "request"),
        (Ending::ResponseDenied, "PH", "response_denied", "response_head"),
        (Ending::Killed(Stage::Data), "KD", "killed", "data"),
        (Ending::ServerDown(Stage::Head), "DH", "server_down", "response_head"),
        (Ending::BackupReplaced(Stage::Data), "UD", "backup_replaced", "data"),
        (Ending::Internal(Stage::Head), "IH", "internal_error", "response_head"),
    ]
}

#[test]
fn every_ending_is_read_back_from_its_line() {
    for (ending, letters, reason, stage) in endings() {
        let record = Record {
            ending,
            backend: Some("app"),
            request: get("/a?b={c}"),
            status: Some(200),
            times: times([1, 2, 3, -1, 7]),
            traffic: sent(12),
            retries: Retries { count: 3, redispatched: true },
            ..base("[2001:db8::1]:1", 0, "web")
        };
        let expected = Parsed {
            server: "app/<NOSRV>".to_owned(),
            times: [1, 2, 3, -1, 7],
            status: 200,
            bytes: 12,
            termination: format!("{letters}--"),
            retries: "+3".to_owned(),
            request: "GET /a?b={c} HTTP/1.1".to_owned(),
        };
        assert_eq!(parse(&line(&Format::HTTP, &record)), expected, "{ending:?}");
        let tcp = line(&Format::TCP, &Record { protocol: Protocol::Tcp, ..record });
        assert_eq!(tcp.split(' ').nth(6), Some(letters), "{tcp}");
        let json: serde_json::Value =
            serde_json::from_str(&line(&Format::JSON, &record)).expect("it is JSON");
        assert_eq!(json["termination"], expected.termination);
        assert_eq!((&json["reason"], &json["stage"]), (&reason.into(), &stage.into()));
    }
}

#[test]
fn every_failure_has_letters_that_the_documentation_knows() {
    for kind in FailureKind::ALL {
        for stage in [Stage::Request, Stage::Queue, Stage::Connect, Stage::Head, Stage::Data] {
            let [cause, stage] = failed(kind, stage).letters();
            assert!(b"CSPLRIDUKcs".contains(&cause) && b"RQCHD".contains(&stage), "{kind:?}");
        }
    }
}

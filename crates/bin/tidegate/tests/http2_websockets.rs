//! Owns WebSocket to servers of HTTP/2 (RFC 8441), from clients of both versions.
//!
//! Leaves those to servers of HTTP/1.1 to `http_upgrade` and `http2_requests`. Invariant: a server sees an extended CONNECT only if it
//! has said that it takes one.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod http2;
#[path = "support/tls.rs"]
mod tls;

use http::{client, on_one_and_two_shards, start, wait_nothing_in_flight};
use http2::start_http2;
use tidegate_testkit::http2::kind;
use tidegate_testkit::{Http2Client, Http2Origin, Origin, script, site};
use tls::Ground;

/// The lines of a backend that speaks HTTP/2.
const H2: &str = "backends.app.protocol = \"h2\"\n";

/// ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
const EXTENDS_CONNECT: &[(u16, u32)] = &[(8, 1)];

/// What a client of HTTP/2 asks for a WebSocket with (RFC 8441 §5).
const CONNECT: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "http"),
    (":path", "/chat"),
    (":authority", "a"),
    ("sec-websocket-version", "13"),
];

/// A WebSocket's bytes both ways: what comes is sent back in upper case.
fn echo() -> Http2Origin {
    Http2Origin::answering(EXTENDS_CONNECT, |connection, request| {
        assert_eq!(request.field(":method"), Some("CONNECT"));
        assert_eq!(request.field(":protocol"), Some("websocket"));
        assert_eq!(request.field("sec-websocket-key"), None);
        assert_eq!(request.field("sec-websocket-version"), Some("13"));
        connection.send_fields(request.stream, &[(":status", "200")], false)?;
        loop {
            let Some(frame) = connection.read_frame()? else { return Ok(()) };
            if frame.kind == kind::DATA && frame.stream == request.stream {
                let ends = frame.flags & 1 != 0;
                connection.send_data(request.stream, &frame.payload.to_ascii_uppercase(), ends)?;
                if ends {
                    return Ok(());
                }
            }
        }
    })
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_websocket_of_http1_reaches_a_server_of_http2() {
    on_one_and_two_shards(|shards| {
        let origin = echo();
        let tidegate = start(shards, [origin.address()], H2);
        let mut client = client(&tidegate);
        client.send(UPGRADE);
        let head = client.read_head();
        assert_eq!(head.status, 101);
        assert_eq!(head.headers.value("upgrade"), Some("websocket"));
        // RFC 6455 §1.3
        let accept = head.headers.value("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        for _ in 0..3 {
            client.send("hello");
            assert_eq!(client.read_exactly(5), b"HELLO");
        }
        client.half_close();
        client.expect_end();
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_websocket_of_http2_reaches_a_server_of_http2() {
    on_one_and_two_shards(|shards| {
        let origin = echo();
        let tidegate = start_http2(shards, [origin.address()], H2);
        let mut client = Http2Client::connect(tidegate.address("web"));
        client.send_headers(1, &CONNECT, false);
        client.send_data(1, b"hello", true);
        let answer = client.answer(1);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"HELLO"[..]));
    });
}

#[test]
fn a_websocket_to_a_server_of_either_version_goes_over_http1() {
    // A second one is the server: it chooses HTTP/2 where it is offered.
    let echo = Origin::start(script::upgrade_echo("websocket"));
    let ground = Ground::new();
    let authority = ground.authority.pem().to_owned();
    let inner = ground.start(1, [echo.address()], "alpn = [\"h2\", \"http/1.1\"]", "");
    let builder = http::builder();
    std::fs::write(builder.directory().join("ca.pem"), authority).expect("it takes files");
    let bind =
        "frontends.web.bind = [{ address = \"127.0.0.1:0\", protocols = [\"h2\", \"http/1.1\"] }]";
    let config = site(1, [inner.tidegate.address("web")])
        .replace("frontends.web.bind = [\"127.0.0.1:0\"]", bind)
        + "backends.app.protocol = \"auto\"\n\
           backends.app.tls = { ca = \"ca.pem\", server_name = \"a.example\" }\n";
    let outer = builder.start(&config);
    let spoken = || {
        let metrics = inner.tidegate.metrics();
        let count = |name| metrics.count(name, &[]);
        (
            count("tidegate_frontend_http2_streams_total"),
            count("tidegate_frontend_connections_total"),
        )
    };
    for round in 0..2 {
        let mut first = client(&outer);
        first.send(UPGRADE);
        assert_eq!(first.read_head().status, 101, "round {round}");
        first.send("hello");
        assert_eq!(first.read_exactly(5), b"hello");
        let mut second = Http2Client::connect(outer.address("web"));
        second.send_headers(1, &CONNECT, false);
        second.send_data(1, b"hello", false);
        let data = second.find_frame(|frame| frame.kind == kind::DATA).expect("an echo");
        assert_eq!(data.payload, b"hello");
        assert_eq!(spoken().0, round, "no stream carries it");
        first.half_close();
        first.expect_end();
        // What may choose has HTTP/2, and the next ones are none the worse for it. The answer is the echo's, which wants an upgrade.
        client(&outer).send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").read_response();
        assert_eq!(spoken().0, round + 1);
    }
    assert_eq!(spoken().1, 5, "one for each WebSocket, and one that is shared");
    assert!(echo.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn a_server_that_takes_no_websockets_is_told_of_and_others_go_on() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        connection.respond(request.stream, "200", "ok")
    });
    let tidegate = start(1, [origin.address()], H2);
    let mut client = client(&tidegate);
    client.send(UPGRADE);
    assert_eq!(client.read_response().status, 502);
    let line = tidegate.wait_log(|line| line.is_event("request_failed"));
    assert_eq!(line.field("detail").as_deref(), Some("h2_no_extended_connect"), "{}", line.text);
    assert!(origin.requests().is_empty());
    assert_eq!(http::client(&tidegate).get("/").text(), "ok");
}

#[test]
fn a_connect_of_another_kind_is_refused_and_others_go_on() {
    let origin = Http2Origin::answering(EXTENDS_CONNECT, |connection, request| {
        connection.respond(request.stream, "200", "ok")
    });
    let tidegate = start_http2(1, [origin.address()], H2);
    let mut client = Http2Client::connect(tidegate.address("web"));
    let mut fields = CONNECT;
    fields[1].1 = "connect-udp";
    client.send_headers(1, &fields, false);
    assert_eq!(client.answer(1).status, 501);
    assert!(origin.requests().is_empty());
    client.get(3, "/");
    assert_eq!(client.answer(3).body, b"ok");
}

//! Owns calls of gRPC: unary and streaming, their statuses, what is retried, and the health service.
//!
//! Leaves HTTP/2 itself to `http2_servers`. Invariant: a caller always sees a status of gRPC.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod http2;

use http::wait_nothing_in_flight;
use http2::start_http2;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidegate_testkit::http2::kind;
use tidegate_testkit::{Http2Client, Http2Origin, TempDir, Tidegate, refused_address};

const H2: &str = "backends.app.protocol = \"h2\"\n";

/// The head of a call.
const CALL: [(&str, &str); 7] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.Service/Call"),
    (":authority", "a"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("grpc-timeout", "1S"),
];

const HEAD: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

fn call(tidegate: &Tidegate) -> tidegate_testkit::http2::Answer {
    let mut client = Http2Client::connect(tidegate.address("web"));
    client.send_headers(1, &CALL, false);
    client.send_data(1, b"\0\0\0\0\x02hi", true);
    client.answer(1)
}

fn trailer<'a>(answer: &'a tidegate_testkit::http2::Answer, name: &str) -> Option<&'a str> {
    answer.trailers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

fn calls(tidegate: &Tidegate, status: &str) -> u64 {
    tidegate.metrics().count("tidegate_backend_grpc_calls_total", &[("grpc_status", status)])
}

#[test]
fn a_unary_call_passes_with_its_deadline_and_its_status_is_told() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        let (body, _) = connection.read_body(request.stream)?;
        assert_eq!(body, b"\0\0\0\0\x02hi");
        connection.send_fields(request.stream, &HEAD, false)?;
        connection.send_data(request.stream, b"\0\0\0\0\x02ho", false)?;
        let trailers = [("grpc-status", "5"), ("grpc-message", "none")];
        connection.send_fields(request.stream, &trailers, true)
    });
    let tidegate = start_http2(1, [origin.address()], H2);
    let answer = call(&tidegate);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"\0\0\0\0\x02ho"[..]));
    assert_eq!(trailer(&answer, "grpc-status"), Some("5"));
    assert_eq!(trailer(&answer, "grpc-message"), Some("none"));
    let requests = origin.requests();
    for (name, value) in [
        ("te", "trailers"),
        ("grpc-timeout", "1S"),
        ("content-type", "application/grpc"),
        (":path", "/a.Service/Call"),
    ] {
        assert_eq!(requests[0].field(name), Some(value), "{name}");
    }
    wait_nothing_in_flight(&tidegate);
    assert_eq!((calls(&tidegate, "not_found"), calls(&tidegate, "ok")), (1, 0));
}

#[test]
fn many_calls_on_one_connection_are_no_flood() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        connection.send_fields(request.stream, &HEAD, false)?;
        connection.send_fields(request.stream, &[("grpc-status", "0")], true)
    });
    let tidegate = start_http2(1, [origin.address()], H2);
    let mut client = Http2Client::connect(tidegate.address("web"));
    for batch in 0..100_u32 {
        let streams = (0..30).map(|place| batch * 60 + place * 2 + 1);
        streams.clone().for_each(|stream| client.send_headers(stream, &CALL, true));
        streams.for_each(|stream| assert_eq!(client.answer(stream).status, 200));
    }
    assert_eq!((calls(&tidegate, "ok"), origin.connections()), (3_000, 1));
}

#[test]
fn messages_stream_both_ways_at_once() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        connection.send_fields(request.stream, &HEAD, false)?;
        loop {
            let Some(frame) = connection.read_frame()? else { return Ok(()) };
            if frame.kind != kind::DATA {
                continue;
            }
            if !frame.payload.is_empty() {
                connection.send_data(request.stream, &frame.payload, false)?;
            }
            if frame.flags & 1 != 0 {
                return connection.send_fields(request.stream, &[("grpc-status", "0")], true);
            }
        }
    });
    let tidegate = start_http2(1, [origin.address()], H2);
    let mut client = Http2Client::connect(tidegate.address("web"));
    client.send_headers(1, &CALL, false);
    assert!(
        client.find_frame(|frame| frame.kind == kind::HEADERS).is_some(),
        "the head comes first"
    );
    for round in 0..20_u8 {
        let message = [0, 0, 0, 0, 1, round];
        client.send_data(1, &message, round == 19);
        let echo = client.find_frame(|frame| frame.kind == kind::DATA && !frame.payload.is_empty());
        assert_eq!(echo.expect("an echo").payload, message);
    }
    assert!(
        client.find_frame(|frame| frame.kind == kind::HEADERS && frame.flags & 1 != 0).is_some()
    );
    wait_nothing_in_flight(&tidegate);
    assert_eq!(calls(&tidegate, "ok"), 1);
}

#[test]
fn errors_of_our_own_are_statuses_of_grpc() {
    let refused = refused_address();
    let tidegate = start_http2(1, [refused.address()], &format!("{H2}backends.app.retries = 0\n"));
    let answer = call(&tidegate);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/grpc"));
    assert_eq!(answer.field("grpc-status"), Some("14"));
    assert_eq!(answer.field("grpc-message"), Some("503 Service Unavailable"));
    assert!(answer.body.is_empty());
    assert_eq!(calls(&tidegate, "unavailable"), 1);
    let mut client = Http2Client::connect(tidegate.address("web"));
    client.get(1, "/");
    assert_eq!(client.answer(1).status, 503, "what is no call gets a status of HTTP");
}

#[test]
fn the_status_of_a_call_is_in_the_access_log() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        connection.read_body(request.stream)?;
        let alone = [HEAD[0], HEAD[1], ("grpc-status", "14")];
        match request.field(":path") {
            Some("/a.S/Head") => connection.send_fields(request.stream, &alone, true),
            Some("/a.S/None") => {
                connection.send_fields(request.stream, &HEAD, false)?;
                connection.send_data(request.stream, b"\0\0\0\0\0", true)
            }
            Some("/a.S/Odd") => {
                connection.send_fields(request.stream, &HEAD, false)?;
                connection.send_fields(request.stream, &[("grpc-status", "x")], true)
            }
            _ => {
                connection.send_fields(request.stream, &HEAD, false)?;
                connection.send_data(request.stream, b"\0\0\0\0\0", false)?;
                connection.send_fields(request.stream, &[("grpc-status", "5")], true)
            }
        }
    });
    let directory = TempDir::new();
    let path = directory.file("access.log");
    let log = format!(
        "{H2}global.log.to = {:?}\nfrontends.web.log_format = \"{{path}} {{status}} {{grpc_status}}\"\n\
         [[frontends.web.rules]]\nwhen = 'request.path == \"/a.S/Gone\"'\nbackend = \"gone\"\n\
         [backends.gone]\nprotocol = \"h2\"\nretries = 0\nservers.g1 = \"{}\"\n",
        path.display().to_string(),
        refused_address().address(),
    );
    let tidegate = start_http2(1, [origin.address()], &log);
    let mut client = Http2Client::connect(tidegate.address("web"));
    let mut expected = String::new();
    for (stream, (path, logged)) in (1..).step_by(2).zip([
        ("/a.S/Call", "200 5"),
        ("/a.S/Head", "200 14"),
        ("/a.S/None", "200 -"),
        ("/a.S/Odd", "200 17"),
        // The log keeps the status of HTTP that it stands for.
        ("/a.S/Gone", "503 14"),
    ]) {
        let mut fields = CALL;
        fields[2].1 = path;
        client.send_headers(stream, &fields, false);
        client.send_data(stream, b"\0\0\0\0\0", true);
        assert_eq!(client.answer(stream).status, 200, "{path}");
        expected += &format!("{path} {logged}\n");
    }
    let written = tidegate.process().wait_until("the lines", || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.lines().count() == 5).then_some(text)
    });
    assert_eq!(written, expected);
}

#[test]
fn a_status_that_is_listed_is_retried_while_nothing_else_has_come() {
    for (on, alone, expected) in [
        ("grpc_unavailable", true, Some("0")),
        ("grpc_internal", true, Some("14")),
        ("grpc_unavailable", false, Some("14")),
    ] {
        let bad = Http2Origin::answering(&[], move |connection, request| {
            connection.read_body(request.stream)?;
            if alone {
                let fields = [HEAD[0], HEAD[1], ("grpc-status", "14")];
                return connection.send_fields(request.stream, &fields, true);
            }
            connection.send_fields(request.stream, &HEAD, false)?;
            connection.send_fields(request.stream, &[("grpc-status", "14")], true)
        });
        let good = Http2Origin::answering(&[], |connection, request| {
            connection.read_body(request.stream)?;
            let fields = [HEAD[0], HEAD[1], ("grpc-status", "0")];
            connection.send_fields(request.stream, &fields, true)
        });
        let more = format!(
            "{H2}backends.app.retry_on = [\"{on}\"]\nbackends.app.retry_non_idempotent = true\n\
             backends.app.retry_body_max = \"1KiB\"\nbackends.app.balance = \"first\"\n"
        );
        let tidegate = start_http2(1, [bad.address(), good.address()], &more);
        let answer = call(&tidegate);
        let status = answer.field("grpc-status").or(trailer(&answer, "grpc-status"));
        assert_eq!(status, expected, "{on} {alone}");
        assert_eq!(bad.requests().len(), 1);
    }
}

#[test]
fn the_health_service_says_whether_a_server_is_up() {
    let serves = Arc::new(AtomicBool::new(true));
    let asked = serves.clone();
    let origin = Http2Origin::answering(&[], move |connection, request| {
        let (body, _) = connection.read_body(request.stream)?;
        assert_eq!(request.field(":path"), Some("/grpc.health.v1.Health/Check"));
        assert_eq!(request.field("te"), Some("trailers"));
        assert_eq!(body, b"\0\0\0\0\x0b\x0a\x09a.Service");
        let state = if asked.load(Ordering::SeqCst) { 1 } else { 2 };
        connection.send_fields(request.stream, &HEAD, false)?;
        connection.send_data(request.stream, &[0, 0, 0, 0, 2, 8, state], false)?;
        connection.send_fields(request.stream, &[("grpc-status", "0")], true)
    });
    let check = "backends.app.health_check = { type = \"grpc\", service = \"a.Service\", interval = \"20ms\", rise = 1, fall = 1 }\n";
    let tidegate = start_http2(1, [origin.address()], &format!("{H2}{check}"));
    let up = |expected: u64| {
        tidegate.wait_metrics("the state of the server", |metrics| {
            metrics.count("tidegate_server_up", &[]) == expected
                && metrics.count("tidegate_server_checks_total", &[]) > 0
        });
    };
    up(1);
    serves.store(false, Ordering::SeqCst);
    up(0);
    let line = tidegate.wait_log(|line| line.is_event("server_down"));
    assert!(line.text.contains("NOT_SERVING"), "{}", line.text);
    serves.store(true, Ordering::SeqCst);
    up(1);
}

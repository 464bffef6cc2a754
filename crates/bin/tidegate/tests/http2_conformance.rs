//! Owns what a client may not do over HTTP/2: each rule of RFC 9113 that it can break, and how that ends.
//!
//! Leaves what is done too often to `http2_floods`. Invariant: what is wrong reaches no server, and an error of a stream leaves
//! the others of its connection alone.

#[path = "support/http2.rs"]
mod support;

use support::{client, start_http2};
use tidegate_testkit::http2::{Error, code, flag, frame, kind, request};
use tidegate_testkit::{Http2Client, Origin, TempDir, Tidegate, hpack, script};

/// The program, and a server that must not hear of anything wrong.
fn start() -> (Origin, Tidegate) {
    let origin = Origin::start(script::answer_ok("hi"));
    let tidegate = start_http2(1, [origin.address()], "");
    (origin, tidegate)
}

/// Whether the connection is ended by one of these codes, or without a word.
#[track_caller]
fn ends_connection(
    what: &str,
    tidegate: &Tidegate,
    codes: &[u32],
    send: impl Fn(&mut Http2Client),
) {
    let mut client = client(tidegate);
    send(&mut client);
    match client.error(u32::MAX) {
        Error::Connection(code) => assert!(codes.contains(&code), "{what}: {code}"),
        other => panic!("{what}: {other:?}"),
    }
}

/// Whether stream 1 is reset by one of these codes, or the connection ended by it, and in the first case stream 3 served.
#[track_caller]
fn resets_stream(what: &str, tidegate: &Tidegate, codes: &[u32], send: impl Fn(&mut Http2Client)) {
    let mut client = client(tidegate);
    send(&mut client);
    match client.error(1) {
        Error::Stream(code) => {
            assert!(codes.contains(&code), "{what}: {code}");
            client.get(3, "/");
            assert_eq!(client.answer(3).body, b"hi", "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn what_does_not_begin_like_http2_is_not_served() {
    let (origin, tidegate) = start();
    for bytes in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"] {
        let mut client = Http2Client::connect_silent(tidegate.address("web"));
        client.send(bytes);
        while let Some(frame) = client.read_frame() {
            assert!([kind::SETTINGS, kind::GOAWAY].contains(&frame.kind));
        }
    }
    assert_eq!(origin.received_bytes_total(), 0);
}

#[test]
fn what_ends_a_connection_is_counted_and_logged() {
    let (_origin, tidegate) = start();
    let count = |reason| {
        let metrics = tidegate.metrics();
        metrics.count("tidegate_frontend_http2_errors_total", &[("reason", reason)])
    };
    ends_connection("DATA on 0", &tidegate, &[code::PROTOCOL_ERROR], |client| {
        client.send_frame(kind::DATA, 0, 0, &[1]);
    });
    ends_connection(
        "a window of more than 2^31 - 1",
        &tidegate,
        &[code::FLOW_CONTROL_ERROR],
        |client| {
            client.send_frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
        },
    );
    for reason in ["protocol_error", "flow_control_error"] {
        let line = tidegate.wait_log(|line| {
            line.is_event("connection_malformed") && line.field("reason").as_deref() == Some(reason)
        });
        assert_eq!(line.field("frontend").as_deref(), Some("web"));
        assert!(line.field("client").is_some());
        assert_eq!(count(reason), 1, "{reason}");
    }
    // A client that behaves is none.
    let mut client = client(&tidegate);
    client.get(1, "/");
    assert_eq!(client.answer(1).status, 200);
    drop(client);
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_http2_errors_total", &[]), 2);
}

#[test]
fn frames_of_a_wrong_size_end_the_connection() {
    let (_origin, tidegate) = start();
    // The library calls some of them errors of the protocol.
    let size = &[code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR][..];
    let sized = |kind: u8, stream: u32, bytes: usize| {
        move |client: &mut Http2Client| {
            client.send_frame(kind, 0, stream, &vec![0; bytes]);
        }
    };
    ends_connection("a large frame", &tidegate, size, sized(kind::DATA, 1, 16_385));
    ends_connection("SETTINGS of 5", &tidegate, size, sized(kind::SETTINGS, 0, 5));
    ends_connection("PING of 7", &tidegate, size, sized(kind::PING, 0, 7));
    ends_connection("WINDOW_UPDATE of 3", &tidegate, size, sized(kind::WINDOW_UPDATE, 0, 3));
    ends_connection("RST_STREAM of 3", &tidegate, size, |client| {
        client.send_headers(1, &request("POST", "/"), false);
        client.send_frame(kind::RST_STREAM, 0, 1, &[0; 3]);
    });
    ends_connection("SETTINGS ACK with content", &tidegate, size, |client| {
        client.send_frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]);
    });
}

#[test]
fn frames_on_the_wrong_stream_end_the_connection() {
    let (_origin, tidegate) = start();
    let protocol = &[code::PROTOCOL_ERROR][..];
    let on = |kind: u8, flags: u8, stream: u32, payload: Vec<u8>| {
        move |client: &mut Http2Client| {
            client.send_frame(kind, flags, stream, &payload);
        }
    };
    let fields = hpack::block(&request("GET", "/"));
    let whole = flag::END_HEADERS | flag::END_STREAM;
    ends_connection("DATA on 0", &tidegate, protocol, on(kind::DATA, 0, 0, vec![1]));
    ends_connection(
        "HEADERS on 0",
        &tidegate,
        protocol,
        on(kind::HEADERS, whole, 0, fields.clone()),
    );
    ends_connection(
        "HEADERS on 2",
        &tidegate,
        protocol,
        on(kind::HEADERS, whole, 2, fields.clone()),
    );
    ends_connection("RST_STREAM on 0", &tidegate, protocol, on(kind::RST_STREAM, 0, 0, vec![0; 4]));
    ends_connection("SETTINGS on 1", &tidegate, protocol, on(kind::SETTINGS, 0, 1, vec![]));
    ends_connection("PING on 1", &tidegate, protocol, on(kind::PING, 0, 1, vec![0; 8]));
    ends_connection("GOAWAY on 1", &tidegate, protocol, on(kind::GOAWAY, 0, 1, vec![0; 8]));
    ends_connection("PRIORITY on 0", &tidegate, protocol, on(kind::PRIORITY, 0, 0, vec![0; 5]));
    ends_connection(
        "PUSH_PROMISE",
        &tidegate,
        protocol,
        on(kind::PUSH_PROMISE, flag::END_HEADERS, 1, [&[0, 0, 0, 2][..], &fields].concat()),
    );
    ends_connection(
        "CONTINUATION alone",
        &tidegate,
        protocol,
        on(kind::CONTINUATION, flag::END_HEADERS, 1, fields),
    );
    ends_connection("DATA on an idle stream", &tidegate, protocol, on(kind::DATA, 0, 5, vec![1]));
    ends_connection(
        "RST_STREAM on an idle stream",
        &tidegate,
        protocol,
        on(kind::RST_STREAM, 0, 5, vec![0; 4]),
    );
    ends_connection(
        "WINDOW_UPDATE on an idle stream",
        &tidegate,
        protocol,
        on(kind::WINDOW_UPDATE, 0, 5, vec![0, 0, 0, 1]),
    );
    ends_connection(
        "a lower stream",
        &tidegate,
        &[code::PROTOCOL_ERROR, code::STREAM_CLOSED],
        |client| {
            client.get(5, "/");
            client.get(3, "/");
        },
    );
}

#[test]
fn a_block_of_fields_is_not_interrupted() {
    let (_origin, tidegate) = start();
    let fields = hpack::block(&request("GET", "/"));
    for (what, between) in [
        ("PING", frame(kind::PING, 0, 0, &[0; 8])),
        ("DATA", frame(kind::DATA, 0, 1, b"x")),
        ("CONTINUATION of another", frame(kind::CONTINUATION, flag::END_HEADERS, 3, b"")),
        ("HEADERS", frame(kind::HEADERS, flag::END_HEADERS, 3, &fields)),
    ] {
        ends_connection(what, &tidegate, &[code::PROTOCOL_ERROR], |client| {
            client.send_frame(kind::HEADERS, flag::END_STREAM, 1, &fields[..10]);
            client.send(&between);
        });
    }
    let mut client = client(&tidegate);
    client.send_frame(kind::HEADERS, flag::END_STREAM, 1, &fields[..10]);
    client.send_frame(kind::CONTINUATION, 0, 1, &fields[10..20]);
    client.send_frame(kind::CONTINUATION, flag::END_HEADERS, 1, &fields[20..]);
    assert_eq!(client.answer(1).body, b"hi");
}

#[test]
fn settings_and_windows_have_their_ranges() {
    let (_origin, tidegate) = start();
    let set =
        |id: u16, value: u32| move |client: &mut Http2Client| client.send_settings(&[(id, value)]);
    ends_connection("ENABLE_PUSH 2", &tidegate, &[code::PROTOCOL_ERROR], set(2, 2));
    // The library calls it an error of the protocol.
    let flow = &[code::FLOW_CONTROL_ERROR, code::PROTOCOL_ERROR][..];
    ends_connection("a window of 2^31", &tidegate, flow, set(4, 1 << 31));
    ends_connection("frames of 16,383", &tidegate, &[code::PROTOCOL_ERROR], set(5, 16_383));
    ends_connection("frames of 2^24", &tidegate, &[code::PROTOCOL_ERROR], set(5, 1 << 24));
    ends_connection("an increment of 0", &tidegate, &[code::PROTOCOL_ERROR], |client| {
        client.send_frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]);
    });
    ends_connection(
        "a connection's window over 2^31",
        &tidegate,
        &[code::FLOW_CONTROL_ERROR],
        |client| {
            client.send_frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
        },
    );
    resets_stream(
        "a stream's window over 2^31",
        &tidegate,
        &[code::FLOW_CONTROL_ERROR],
        |client| {
            client.send_headers(1, &request("POST", "/"), false);
            client.send_frame(kind::WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
        },
    );
    let mut client = client(&tidegate);
    client.send_settings(&[(0x7777, 1)]);
    client.send_frame(0x55, 0xff, 1, b"of no known type");
    client.get(1, "/");
    assert_eq!(client.answer(1).body, b"hi", "what is not known is ignored");
}

#[test]
fn padding_is_no_longer_than_its_frame() {
    let (_origin, tidegate) = start();
    ends_connection("HEADERS", &tidegate, &[code::PROTOCOL_ERROR], |client| {
        let fields = [&[255][..], &hpack::block(&request("GET", "/"))].concat();
        client.send_frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED, 1, &fields);
    });
    ends_connection("DATA", &tidegate, &[code::PROTOCOL_ERROR], |client| {
        client.send_headers(1, &request("POST", "/"), false);
        client.send_frame(kind::DATA, flag::PADDED, 1, &[5, 0, 0]);
    });
    resets_stream(
        "a stream that depends on itself",
        &tidegate,
        &[code::PROTOCOL_ERROR],
        |client| {
            let fields = [&[0, 0, 0, 1, 0][..], &hpack::block(&request("GET", "/"))].concat();
            let flags = flag::END_HEADERS | flag::END_STREAM | flag::PRIORITY;
            client.send_frame(kind::HEADERS, flags, 1, &fields);
        },
    );
}

#[test]
fn a_closed_stream_takes_nothing() {
    let (_origin, tidegate) = start();
    let closed = [code::STREAM_CLOSED, code::PROTOCOL_ERROR];
    for (what, frame) in [
        ("DATA", frame(kind::DATA, 0, 1, b"x")),
        (
            "HEADERS",
            frame(
                kind::HEADERS,
                flag::END_HEADERS | flag::END_STREAM,
                1,
                &hpack::block(&request("GET", "/")),
            ),
        ),
    ] {
        let mut client = client(&tidegate);
        client.get(1, "/");
        assert_eq!(client.answer(1).status, 200);
        client.send(&frame);
        match client.error(1) {
            Error::Stream(code) | Error::Connection(code) => {
                assert!(closed.contains(&code), "{what}: {code}");
            }
            Error::Closed => panic!("{what}"),
        }
    }
}

#[test]
fn malformed_requests_are_reset_and_reach_no_server() {
    let (origin, tidegate) = start();
    let get = request("GET", "/");
    let with = |more: &[(&'static str, &'static str)]| [&get[..], more].concat();
    let without =
        |gone: &str| -> Vec<_> { get.iter().copied().filter(|(name, _)| *name != gone).collect() };
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("an empty path", [&without(":path")[..], &[(":path", "")]].concat()),
        ("a path without a slash", [&without(":path")[..], &[(":path", "x")]].concat()),
        ("a path with a space", [&without(":path")[..], &[(":path", "/a b")]].concat()),
        ("another scheme", [&without(":scheme")[..], &[(":scheme", "ftp")]].concat()),
        ("two methods", with(&[(":method", "GET")])),
        ("two paths", with(&[(":path", "/")])),
        ("a status", with(&[(":status", "200")])),
        ("a late pseudo-header", [&without(":path")[..], &[("x", "y"), (":path", "/")]].concat()),
        ("another host", with(&[("host", "b.example")])),
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "5")])),
        ("proxy-connection", with(&[("proxy-connection", "x")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "x")])),
        ("te", with(&[("te", "gzip")])),
        ("a length without content", with(&[("content-length", "1")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "0")])),
        ("a blank before a value", with(&[("x", " a")])),
        ("a blank behind a value", with(&[("x", "a ")])),
        (
            "user information",
            [&without(":authority")[..], &[(":authority", "u@a.example")]].concat(),
        ),
        ("a protocol without CONNECT", with(&[(":protocol", "websocket")])),
    ];
    for (what, fields) in cases {
        resets_stream(what, &tidegate, &[code::PROTOCOL_ERROR], |client| {
            client.send_headers(1, &fields, true);
        });
    }
    for request in origin.requests() {
        assert_eq!((&*request.target, request.headers.value("host")), ("/", Some("a.example")));
        assert!(!request.headers.contains("x") && !request.headers.contains("content-length"));
    }
}

#[test]
fn malformed_requests_are_logged_with_their_rule() {
    let origin = Origin::start(script::answer_ok("hi"));
    let directory = TempDir::new();
    let path = directory.file("access.log");
    let log = format!("global.log.to = \"{}\"\ndefaults.log_format = \"json\"", path.display());
    let tidegate = start_http2(1, [origin.address()], &log);
    let mut client = client(&tidegate);
    let mut fields = request("GET", "/here").to_vec();
    fields.push(("host", "another.example"));
    client.send_headers(1, &fields, true);
    assert_eq!(client.error(1), Error::Stream(code::PROTOCOL_ERROR));
    let line = tidegate.process().wait_until("the line", || {
        let text = std::fs::read_to_string(&path).ok()?;
        text.ends_with('\n').then_some(text)
    });
    for part in [
        "\"status\":400",
        "\"reason\":\"bad_request\"",
        "\"detail\":\"h2_authority_mismatch\"",
        "/here",
        "HTTP/2.0",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    let rejected = [("reason", "h2_authority_mismatch")];
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_requests_rejected_total", &rejected), 1);
}

#[test]
fn fields_that_are_none_end_the_stream_or_the_connection() {
    let (_origin, tidegate) = start();
    let get = request("GET", "/");
    for (name, value) in
        [("X", "y"), ("a b", "y"), ("", "y"), ("x", "a\rb"), ("x", "a\nb"), ("x", "a\0b")]
    {
        let mut client = client(&tidegate);
        client.send_headers(1, &[&get[..], &[(name, value)]].concat(), true);
        match client.error(1) {
            Error::Stream(code) | Error::Connection(code) => {
                assert!(
                    [code::PROTOCOL_ERROR, code::COMPRESSION_ERROR].contains(&code),
                    "{name:?}: {code}"
                );
            }
            Error::Closed => panic!("{name:?}"),
        }
    }
    // Of the fields that are none the library knows that they end the connection.
    ends_connection("an unknown pseudo-header", &tidegate, &[code::PROTOCOL_ERROR], |client| {
        client.send_headers(1, &[&get[..], &[(":other", "x")]].concat(), true);
    });
    ends_connection(
        "a block that cannot be read",
        &tidegate,
        &[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR],
        |client| {
            client.send_frame(
                kind::HEADERS,
                flag::END_HEADERS | flag::END_STREAM,
                1,
                &[0xff, 0xff, 0xff, 0xff, 0xff],
            );
        },
    );
}

#[test]
fn content_is_as_long_as_was_said() {
    let (_origin, tidegate) = start();
    let post = [&request("POST", "/")[..], &[("content-length", "4")]].concat();
    for (what, data) in [("too little", &b"abc"[..]), ("too much", b"abcde")] {
        resets_stream(what, &tidegate, &[code::PROTOCOL_ERROR], |client| {
            client.send_headers(1, &post, false);
            client.send_data(1, data, true);
        });
    }
}

#[test]
fn trailers_end_their_stream_and_hold_fields_alone() {
    let (_origin, tidegate) = start();
    let codes = [code::PROTOCOL_ERROR];
    resets_stream("trailers that do not end the stream", &tidegate, &codes, |client| {
        client.send_headers(1, &request("POST", "/"), false);
        client.send_headers(1, &[("x", "y")], false);
    });
    resets_stream("a connection's field", &tidegate, &codes, |client| {
        client.send_headers(1, &request("POST", "/"), false);
        client.send_headers(1, &[("connection", "close")], true);
    });
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let origin = Origin::start(|connection: tidegate_testkit::Connection| connection.hang());
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    for stream in (1..=201).step_by(2) {
        client.get(stream, "/");
    }
    let reset = client.find_frame(|frame| frame.kind == kind::RST_STREAM).expect("a refusal");
    assert_eq!((reset.stream, reset.number(0)), (201, code::REFUSED_STREAM));
}

#[test]
fn streams_that_no_request_is_read_from_are_counted_and_logged() {
    let origin = Origin::start(|connection: tidegate_testkit::Connection| connection.hang());
    let tidegate = start_http2(1, [origin.address()], "");
    let count = |reason| {
        let name = "tidegate_frontend_http2_stream_errors_total";
        tidegate.metrics().count(name, &[("reason", reason)])
    };
    let get = request("GET", "/");
    resets_stream_alone(&tidegate, &[&get[..], &[("te", "gzip")]].concat());
    resets_stream_alone(&tidegate, &get[1..]);
    let mut long = client(&tidegate);
    long.send_headers(1, &request("POST", "/"), false);
    long.send_frame(kind::WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes());
    assert_eq!(long.error(1), Error::Stream(code::FLOW_CONTROL_ERROR));
    let mut many = client(&tidegate);
    (1..=205).step_by(2).for_each(|stream| many.get(stream, "/"));
    assert_eq!(many.error(205), Error::Stream(code::REFUSED_STREAM));
    for (reason, expected, detail) in [
        ("protocol_error", 2, "stream 1"),
        ("flow_control_error", 1, "stream 1"),
        ("refused_stream", 3, "stream 201"),
    ] {
        let line = tidegate.wait_log(|line| {
            line.is_event("stream_malformed") && line.field("reason").as_deref() == Some(reason)
        });
        assert_eq!(line.field("frontend").as_deref(), Some("web"));
        assert_eq!(line.field("detail").as_deref(), Some(detail));
        assert_eq!(count(reason), expected, "{reason}");
    }
    // What is reset here has a name of its own.
    resets_stream_alone(&tidegate, &[&get[..], &[("host", "b.example")]].concat());
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_http2_stream_errors_total", &[]), 6);
}

/// Whether a request's stream is reset as malformed.
#[track_caller]
fn resets_stream_alone(tidegate: &Tidegate, fields: &[(&str, &str)]) {
    let mut client = client(tidegate);
    client.send_headers(1, fields, true);
    assert_eq!(client.error(1), Error::Stream(code::PROTOCOL_ERROR));
}

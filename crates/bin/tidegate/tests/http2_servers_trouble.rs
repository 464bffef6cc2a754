//! Owns servers of HTTP/2 that refuse, leave, break, flood or fall silent.
//!
//! Leaves what works to `http2_servers`. Invariant: a request that must not be repeated reaches servers once, and each cause is told.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod http2;

use http::{client, start, wait_nothing_in_flight};
use http2::start_http2;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate_testkit::http2::{code, flag, kind};
use tidegate_testkit::{
    Http2Client, Http2Connection, Http2Origin, Http2Request, Nginx, Tidegate, hpack,
};

const H2: &str = "backends.app.protocol = \"h2\"\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

fn well() -> Http2Origin {
    Http2Origin::answering(&[], |connection, request| {
        connection.respond(request.stream, "200", "well")
    })
}

fn ended(tidegate: &Tidegate, reason: &str) -> u64 {
    let labels = [("reason", reason)];
    tidegate.metrics().count("tidegate_server_http2_connections_ended_total", &labels)
}

#[test]
fn what_a_server_refuses_goes_to_another_whatever_it_is() {
    type Refuse = fn(&mut Http2Connection, &Http2Request) -> io::Result<()>;
    let refusals: [Refuse; 2] = [
        |connection, request| connection.reset(request.stream, code::REFUSED_STREAM),
        |connection, _| connection.goaway(0, code::NO_ERROR),
    ];
    for refuse in refusals {
        let bad = Http2Origin::answering(&[], refuse);
        let good = well();
        let tidegate = start(1, [bad.address(), good.address()], H2);
        let mut client = client(&tidegate);
        for _ in 0..6 {
            client.send(POST);
            let response = client.read_response();
            assert_eq!((response.status, response.text()), (200, "well"));
        }
        assert_eq!(good.requests().len(), 6);
        let refused = [("reason", "stream_refused")];
        let counted = tidegate.metrics().count("tidegate_server_attempts_failed_total", &refused);
        assert!(counted >= 3, "{counted}");
    }
}

#[test]
fn a_stream_above_the_last_of_goaway_is_sent_again_and_those_below_go_on() {
    let origin = Http2Origin::start(|connection| {
        connection.begin(&[])?;
        let first = connection.read_request()?.expect("a request");
        if connection.number() > 0 {
            return connection.respond(first.stream, "200", "again");
        }
        let second = connection.read_request()?.expect("a request");
        connection.goaway(first.stream, code::NO_ERROR)?;
        assert!(second.stream > first.stream);
        // The second one comes on another connection.
        http::take_time(Duration::from_millis(300));
        connection.respond(first.stream, "200", "first")?;
        assert!(connection.read_request()?.is_none(), "nothing is opened on it any more");
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], H2);
    let mut client = Http2Client::connect(tidegate.address("web"));
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    client.send_headers(1, &post, true);
    tidegate.wait_metrics("the first is at the server", |metrics| {
        metrics.count("tidegate_server_http2_streams_open", &[]) == 1
    });
    client.send_headers(3, &post, true);
    assert_eq!(client.answer(3).body, b"again");
    assert_eq!(client.answer(1).body, b"first");
    tidegate.wait_metrics("the first connection has ended", |_| ended(&tidegate, "goaway") == 1);
    assert_eq!((origin.connections(), origin.requests().len()), (2, 3));
}

#[test]
fn what_may_have_been_done_is_not_done_twice() {
    type Fail = fn(&mut Http2Connection, &Http2Request) -> io::Result<()>;
    let failures: [(Fail, &str); 4] = [
        (|connection, request| connection.reset(request.stream, code::CANCEL), "server_reset"),
        (
            |connection, request| connection.reset(request.stream, code::INTERNAL_ERROR),
            "server_reset",
        ),
        (|_, _| Err(io::ErrorKind::ConnectionReset.into()), "server_reset"),
        (
            // GOAWAY with an error does not say that this stream was not processed.
            |connection, request| {
                connection.goaway(request.stream, code::INTERNAL_ERROR)?;
                Err(io::ErrorKind::ConnectionReset.into())
            },
            "server_reset",
        ),
    ];
    for (fail, reason) in failures {
        let bad = Http2Origin::answering(&[], fail);
        let tidegate = start(1, [bad.address()], H2);
        let mut client = client(&tidegate);
        client.send(POST);
        assert_eq!(client.read_response().status, 502);
        let line = tidegate.wait_log(|line| line.is_event("request_failed"));
        assert_eq!(line.field("reason").as_deref(), Some(reason), "{}", line.text);
        assert_eq!(bad.requests().len(), 1);
        wait_nothing_in_flight(&tidegate);
    }
}

#[test]
fn malformed_responses_are_bad_gateways() {
    let ok = (":status", "200");
    let cases: [(&[(&str, &str)], &str); 9] = [
        (&[ok, ("X-Upper", "1")], "h2_"),
        (&[ok, ("connection", "close")], "h2_"),
        (&[ok, ("transfer-encoding", "chunked")], "h2_"),
        (&[ok, ("x", "a\u{1}b")], "h2_"),
        (&[ok, ("x y", "1")], "h2_"),
        (&[("x", "1")], "h2_"),
        (&[(":status", "101")], "h2_status_invalid"),
        (&[(":status", "20")], "h2_"),
        (&[ok, ("content-length", "5"), ("content-length", "6")], "h2_"),
    ];
    for (fields, detail) in cases {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let shown = format!("{fields:?}");
        let bad = Http2Origin::answering(&[], move |connection, request| {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
            connection.send_fields(request.stream, &fields, true)
        });
        let tidegate = start(1, [bad.address()], H2);
        assert_eq!(client(&tidegate).get("/").status, 502, "{shown}");
        let line = tidegate.wait_log(|line| line.is_event("request_failed"));
        let told = line.field("detail").unwrap_or_default();
        assert!(told.starts_with(detail), "{shown}: {}", line.text);
    }
}

#[test]
fn lengths_that_disagree_with_data_are_cut_or_refused() {
    let short = Http2Origin::answering(&[], |connection, request| {
        connection.send_fields(
            request.stream,
            &[(":status", "200"), ("content-length", "5")],
            false,
        )?;
        connection.send_data(request.stream, b"abc", true)
    });
    let tidegate = start(1, [short.address()], H2);
    let mut client = client(&tidegate);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let bytes = client.read_to_end();
    assert!(
        !bytes.ends_with(b"abc") || bytes.starts_with(b"HTTP/1.1 200"),
        "a response is never completed"
    );
    wait_nothing_in_flight(&tidegate);
    let failed = tidegate.metrics().count("tidegate_backend_requests_failed_total", &[]);
    assert_eq!(failed, 1);
}

#[test]
fn a_response_that_breaks_off_is_cut_for_the_client() {
    for ends in [0, 1] {
        let bad = Http2Origin::answering(&[], move |connection, request| {
            connection.send_fields(request.stream, &[(":status", "200")], false)?;
            connection.send_data(request.stream, b"begun", false)?;
            http::take_time(Duration::from_millis(100));
            match ends {
                0 => connection.reset(request.stream, code::INTERNAL_ERROR),
                _ => Err(io::ErrorKind::ConnectionReset.into()),
            }
        });
        let tidegate = start_http2(1, [bad.address()], H2);
        let mut client = Http2Client::connect(tidegate.address("web"));
        client.get(1, "/");
        let answer = client.answer(1);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"begun"[..]));
        assert_eq!(answer.reset, Some(code::INTERNAL_ERROR));
    }
}

#[test]
fn a_server_of_http1_is_told_from_one_of_http2() {
    let nginx = Nginx::start("");
    let tidegate = start(1, [nginx.address()], H2);
    assert_eq!(client(&tidegate).get("/").status, 503);
    let line = tidegate.wait_log(|line| line.is_event("request_failed"));
    assert_eq!(line.field("reason").as_deref(), Some("connect_protocol"), "{}", line.text);
}

#[test]
fn a_silent_server_is_asked_and_given_up() {
    let silent = Http2Origin::start(|connection| {
        connection.begin(&[])?;
        connection.read_request()?.expect("a request");
        // It reads and says nothing, not even to PING.
        while connection.read_frame()?.is_some() {}
        Ok(())
    });
    let more = format!(
        "{H2}backends.app.http2 = {{ ping_after = \"200ms\", ping_timeout = \"200ms\" }}\n"
    );
    let tidegate = start(1, [silent.address()], &more);
    let mut client = client(&tidegate);
    client.send(POST);
    assert_eq!(client.read_response().status, 502);
    let line = tidegate.wait_log(|line| line.is_event("server_connection_ended"));
    assert_eq!(line.field("reason").as_deref(), Some("ping_timeout"), "{}", line.text);
    assert_eq!(line.field("server").as_deref(), Some("s1"), "{}", line.text);
    assert_eq!(ended(&tidegate, "ping_timeout"), 1);
}

#[test]
fn a_slow_server_that_answers_pings_is_waited_for() {
    let pings = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = pings.clone();
    let slow = Http2Origin::start(move |connection| {
        connection.begin(&[])?;
        let request = connection.read_request()?.expect("a request");
        while let Some(frame) = connection.read_frame()? {
            if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
                seen.fetch_add(1, Ordering::SeqCst);
                connection.send_frame(kind::PING, flag::ACK, 0, &frame.payload)?;
                http::take_time(Duration::from_millis(800));
                connection.respond(request.stream, "200", "late")?;
            }
        }
        Ok(())
    });
    let more = format!(
        "{H2}backends.app.http2 = {{ ping_after = \"100ms\", ping_timeout = \"200ms\" }}\n"
    );
    let tidegate = start(1, [slow.address()], &more);
    assert_eq!(client(&tidegate).get("/").text(), "late");
    // Servers of gRPC take more for a flood.
    assert_eq!(pings.load(Ordering::SeqCst), 1, "the answer to one keeps it quiet");
}

#[test]
fn a_server_that_allows_no_streams_is_not_waited_for_long() {
    let origin = Http2Origin::answering(&[(3, 0)], |_, _| panic!("it allowed none"));
    let more = format!(
        "{H2}backends.app.timeouts = {{ connect = \"300ms\" }}\nbackends.app.retries = 0\n"
    );
    let tidegate = start(1, [origin.address()], &more);
    assert_eq!(client(&tidegate).get("/").status, 503);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn floods_of_a_server_end_its_connection() {
    type Flood = fn(&mut Http2Connection, u32) -> io::Result<()>;
    let floods: [(Flood, &str); 6] = [
        (|connection, _| connection.send_frame(kind::PING, 0, 0, &[0; 8]), "pings"),
        (|connection, _| connection.send_frame(kind::SETTINGS, 0, 0, &[]), "settings"),
        (|connection, stream| connection.send_data(stream, b"", false), "empty_data"),
        (|connection, stream| connection.send_fields(stream, &[(":status", "103")], false), ""),
        (
            |connection, stream| {
                connection.send_frame(kind::WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes())
            },
            "window_updates",
        ),
        (
            |connection, stream| {
                let block = hpack::block(&[(":status", "200")]);
                connection.send_frame(kind::HEADERS, 0, stream, &block)?;
                loop {
                    connection.send_frame(
                        kind::CONTINUATION,
                        0,
                        stream,
                        &hpack::block(&[("a", "b")]),
                    )?;
                }
            },
            "",
        ),
    ];
    for (flood, reason) in floods {
        let origin = Http2Origin::answering(&[], move |connection, request| {
            if reason == "empty_data" {
                connection.send_fields(request.stream, &[(":status", "200")], false)?;
            }
            for _ in 0..200_000 {
                flood(connection, request.stream)?;
            }
            Ok(())
        });
        let tidegate = start(1, [origin.address()], &format!("{H2}backends.app.retries = 0\n"));
        let mut client = client(&tidegate);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.read_until_end();
        wait_nothing_in_flight(&tidegate);
        if !reason.is_empty() {
            let line = tidegate.wait_log(|line| line.is_event("server_connection_ended"));
            assert_eq!(line.field("reason").as_deref(), Some("flood"), "{}", line.text);
            assert_eq!(line.field("detail").as_deref(), Some(reason), "{}", line.text);
        }
    }
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let value = "x".repeat(15_000);
    let origin = Http2Origin::answering(&[], move |connection, request| {
        let fields = [(":status", "200"), ("a", &*value), ("b", &*value)];
        let block = hpack::block(&fields);
        let (first, rest) = block.split_at(16_384);
        connection.send_frame(kind::HEADERS, flag::END_STREAM, request.stream, first)?;
        connection.send_frame(kind::CONTINUATION, flag::END_HEADERS, request.stream, rest)
    });
    let tidegate = start(1, [origin.address()], &format!("{H2}backends.app.retries = 0\n"));
    assert_eq!(client(&tidegate).get("/").status, 502);
    wait_nothing_in_flight(&tidegate);
}

#[test]
fn a_server_that_is_down_or_gone_loses_its_connections() {
    let origin = well();
    let tidegate =
        start(1, [origin.address()], &format!("{H2}backends.app.pool.idle_timeout = \"1m\"\n"));
    assert_eq!(client(&tidegate).get("/").status, 200);
    assert_eq!(tidegate.metrics().count("tidegate_server_connections_open", &[]), 1);
    let other = well();
    tidegate.reload(&(tidegate_testkit::site(1, [other.address()]) + H2));
    assert_eq!(client(&tidegate).get("/").text(), "well");
    assert_eq!(other.requests().len(), 1);
}

//! Owns responses that come before their time: interim ones, `100 Continue`, and final ones before
//! the request's body has been sent.
//!
//! Leaves ordinary bodies to `http_bodies`. Invariant: a client that does what RFC 9110 §10.1.1 and
//! RFC 9112 §9.5 allow gets its whole answer.

#[path = "support/http.rs"]
mod support;

use std::time::Duration;
use support::{client, on_one_and_two_shards, patterned, start, take_time, wait_nothing_in_flight};
use tidegate_testkit::{Connection, Gate, Origin, script};

const EARLY_HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

#[test]
fn interim_responses_are_passed_on_as_they_come() {
    on_one_and_two_shards(|shards| {
        let seen = Gate::new();
        let origin = Origin::start({
            let seen = seen.clone();
            move |mut connection: Connection| {
                while connection.read_request()?.is_some() {
                    connection.send(EARLY_HINTS)?;
                    seen.wait();
                    connection.send("HTTP/1.1 102 Processing\r\n\r\n")?;
                    connection.send([EARLY_HINTS.as_bytes(), &script::ok("done")].concat())?;
                }
                Ok(())
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let hints = client.read_head();
        assert_eq!(hints.status, 103);
        assert_eq!(hints.headers.value("link"), Some("</style.css>; rel=preload"));
        assert!(!hints.headers.contains("connection"), "{:?}", hints.headers);
        seen.open();
        let response = client.read_response();
        assert_eq!((&response.interim[..], response.text()), (&[102, 103][..], "done"));
        let response = client.get("/");
        assert_eq!((&response.interim[..], response.text()), (&[103, 102, 103][..], "done"));
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn interim_responses_without_end_are_the_servers_failure() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            connection.read_request()?;
            connection.send(EARLY_HINTS.repeat(256))?;
            connection.finish()
        });
        let tidegate = start(shards, [origin.address()], "");
        let response = client(&tidegate).get("/");
        assert_eq!((response.status, response.interim.len()), (502, 255));
        let failed = [("reason", "bad_response")];
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_server_attempts_failed_total", &failed), 1);
    });
}

/// Asks for each body with `100 Continue` and answers with it.
fn ask_and_echo(mut connection: Connection) -> std::io::Result<()> {
    while let Some(head) = connection.read_request_head()? {
        assert_eq!(head.headers.value("expect"), Some("100-continue"));
        connection.send(CONTINUE)?;
        let request = connection.read_body(head)?;
        connection.send(script::ok(&request.body))?;
    }
    Ok(())
}

#[test]
fn a_client_that_waits_for_100_continue_gets_the_servers() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(ask_and_echo);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for (framing, body) in [
            ("Content-Length: 5", "hello"),
            ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            for _ in 0..3 {
                client.send(format!(
                    "POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\nExpect: 100-continue\r\n\r\n"
                ));
                assert_eq!(client.read_head().status, 100, "{framing}");
                client.send(body);
                assert_eq!(client.read_response().text(), "hello", "{framing}");
            }
        }
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_client_that_does_not_wait_for_100_continue_is_served_too() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(ask_and_echo);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for body in ["hello", &"x".repeat(100_000)] {
            let length = body.len();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n{body}"
            ));
            let response = client.read_response();
            assert_eq!((&response.interim[..], response.text()), (&[100][..], body));
        }
    });
}

#[test]
fn a_server_that_never_says_100_continue_gets_the_body_all_the_same() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("done"));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        );
        origin.wait_connections(1);
        // The client has waited long enough (RFC 9110 §10.1.1) and sends.
        client.send("hello");
        assert_eq!(client.read_response().text(), "done");
        assert_eq!(origin.requests()[0].body, b"hello");
    });
}

#[test]
fn a_final_answer_instead_of_100_continue_ends_the_request() {
    on_one_and_two_shards(|shards| {
        for status in [401, 413, 417] {
            let refusal = script::response(status, "Refused", &[], "no");
            let origin = Origin::start(move |mut connection: Connection| {
                if connection.read_request_head()?.is_some() {
                    connection.send(&refusal)?;
                }
                connection.hang()
            });
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
            );
            let response = client.read_response();
            assert_eq!((response.status, response.text()), (status, "no"));
            // Whether a body follows is unknown, so that nothing else may follow either.
            assert_eq!(response.headers.value("connection"), Some("close"));
            client.expect_eof();
            origin.wait_end(0);
            let head_bytes = origin.requests()[0].raw_head.len();
            assert_eq!(origin.received_bytes_total(), head_bytes, "nothing behind the head");
            wait_nothing_in_flight(&tidegate);
        }
    });
}

/// A body larger than what all buffers on the way hold together.
const LARGE: usize = 64 << 20;

fn large_upload(framing: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
}

#[test]
fn a_refusal_that_comes_while_the_client_uploads_arrives_whole() {
    on_one_and_two_shards(|shards| {
        for stops_reading in [true, false] {
            let refusal = script::response(413, "Content Too Large", &[], "too large");
            let origin = Origin::start(move |mut connection: Connection| {
                let Some(_head) = connection.read_request_head()? else { return Ok(()) };
                connection.read_exactly(100_000)?;
                connection.send(&refusal)?;
                if stops_reading {
                    connection.half_close()?;
                }
                connection.hang()
            });
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send(large_upload(&format!("Content-Length: {LARGE}")));
            client.send(patterned(300_000));
            let response = client.read_response();
            assert_eq!((response.status, response.text()), (413, "too large"));
            assert_eq!(response.headers.value("connection"), Some("close"));
            client.expect_eof();
            origin.wait_end(0);
            wait_nothing_in_flight(&tidegate);
            assert!(origin.received_bytes_total() < LARGE);
        }
    });
}

#[test]
fn a_server_that_refuses_and_closes_at_once_is_still_heard() {
    on_one_and_two_shards(|shards| {
        let refusal = script::response(413, "Content Too Large", &[], "too large");
        let origin = Origin::start(script::answer_early_and_close(refusal));
        let tidegate = start(shards, [origin.address()], "");
        for _ in 0..20 {
            let mut client = client(&tidegate);
            client.send(large_upload("Transfer-Encoding: chunked"));
            // As much as the other side takes: it may answer and close at any point.
            let chunk = [b"4000\r\n", &patterned(0x4000)[..], b"\r\n"].concat();
            let _stopped_early = (0..20).try_for_each(|_| client.try_send(&chunk));
            let response = client.read_response();
            assert_eq!((response.status, response.text()), (413, "too large"));
            client.expect_eof();
        }
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn an_early_success_lets_the_upload_go_on() {
    on_one_and_two_shards(|shards| {
        // Answers each piece of the body as it comes: both bodies are under way at the same time.
        let origin = Origin::start(|mut connection: Connection| {
            while connection.read_request_head()?.is_some() {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                loop {
                    let piece = connection.read_exactly(10)?;
                    connection.send(&piece)?;
                    if piece.starts_with(b"0") {
                        break;
                    }
                }
            }
            Ok(())
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send(large_upload("Transfer-Encoding: chunked"));
            assert_eq!(client.read_head().status, 200);
            for chunk in ["5\r\nhello\r\n", "5\r\nworld\r\n", "0\r\nX:y\r\n\r\n"] {
                client.send(chunk);
                assert_eq!(client.read_exactly(chunk.len()), chunk.as_bytes());
            }
        }
    });
}

#[test]
fn an_interim_response_keeps_a_slow_server_within_its_time() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            while connection.read_request()?.is_some() {
                for _ in 0..4 {
                    connection.send("HTTP/1.1 102 Processing\r\n\r\n")?;
                    take_time(Duration::from_millis(200));
                }
                connection.send(script::ok("done"))?;
            }
            Ok(())
        });
        let more = "defaults.timeouts.server = \"400ms\"";
        let tidegate = start(shards, [origin.address()], more);
        let response = client(&tidegate).get("/");
        assert_eq!((&response.interim[..], response.text()), (&[102; 4][..], "done"));
    });
}

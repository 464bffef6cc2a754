//! Owns peers that take too long: clients with their heads, bodies and reading, servers with their
//! responses.
//!
//! Leaves connecting to `http_retries`. Invariant: every wait has an end, the end has its status,
//! and no slot and no connection is held beyond it.

#[path = "support/http.rs"]
mod support;

use std::io::ErrorKind;
use std::time::{Duration, Instant};
use support::{
    client, on_one_and_two_shards, patterned, start, take_time, wait_in_flight,
    wait_nothing_in_flight,
};
use tidegate_testkit::{Client, Connection, End, LogLine, Origin, Tidegate, script};

/// The timeout under test where it is meant to pass.
const SHORT: &str = "300ms";
const SHORT_DURATION: Duration = Duration::from_millis(300);

fn logged(event: &str, reason: &str) -> impl FnMut(&LogLine) -> bool {
    move |line| line.is_event(event) && line.field("reason").as_deref() == Some(reason)
}

#[test]
fn a_server_that_says_nothing_is_a_gateway_timeout() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(Connection::hang);
        let more = format!("defaults.timeouts.server = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        let mut client = client(&tidegate);
        let began = Instant::now();
        let response = client.get("/");
        assert_eq!(response.status, 504);
        assert!(began.elapsed() >= SHORT_DURATION, "{:?}", began.elapsed());
        tidegate.wait_log(logged("request_failed", "server_timeout"));
        // The client's connection persists; the server's does not.
        origin.wait_end(0);
        assert_eq!(client.get("/").status, 504);
        assert_eq!(origin.connections_count(), 2);
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_server_that_stops_in_mid_response_is_cut() {
    on_one_and_two_shards(|shards| {
        for part in ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "HTTP/1.1 200 OK\r\nX"] {
            let origin = Origin::start(move |mut connection: Connection| {
                connection.read_request()?;
                connection.send(part)?;
                connection.hang()
            });
            let more = format!("defaults.timeouts.server = \"{SHORT}\"");
            let tidegate = start(shards, [origin.address()], &more);
            let mut client = client(&tidegate);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            if part.contains("hello") {
                assert_eq!(client.read_head().status, 200);
                assert_eq!(client.read_exactly(5), b"hello");
                client.expect_end();
            } else {
                assert_eq!(client.read_response().status, 504);
            }
            tidegate.wait_log(logged("request_failed", "server_timeout"));
            origin.wait_end(0);
            wait_nothing_in_flight(&tidegate);
        }
    });
}

#[test]
fn a_server_that_is_slow_but_not_silent_is_in_time() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            while connection.read_request()?.is_some() {
                for piece in ["HTTP/1.1 200 OK\r\n", "Content-Length: 2\r\n\r\n", "o", "k"] {
                    connection.send(piece)?;
                    take_time(Duration::from_millis(150));
                }
            }
            Ok(())
        });
        let more = format!("defaults.timeouts.server = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        assert_eq!(client(&tidegate).get("/").text(), "ok");
    });
}

#[test]
fn a_head_that_does_not_end_in_time_is_a_request_timeout() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = format!("defaults.timeouts.request_head = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        let mut fresh = client(&tidegate);
        fresh.send("GET / HTTP/1.1\r\nHost: a\r\n");
        let mut used = client(&tidegate);
        used.get("/");
        used.send("G");
        for client in [&mut fresh, &mut used] {
            let response = client.read_response();
            assert_eq!(response.status, 408);
            assert_eq!(response.headers.value("connection"), Some("close"));
            client.expect_eof();
        }
        tidegate.wait_log(logged("request_failed", "request_head_timeout"));
        assert_eq!(origin.requests_count(), 1);
    });
}

#[test]
fn a_head_that_drips_in_does_not_move_its_deadline() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = format!("defaults.timeouts.request_head = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        let mut client = client(&tidegate);
        let began = Instant::now();
        client.send("GET / HTTP/1.1\r\n");
        // Each piece comes well within the time, all of them do not.
        while began.elapsed() < 3 * SHORT_DURATION {
            if client.try_send("X: y\r\n").is_err() {
                break;
            }
            take_time(SHORT_DURATION / 6);
        }
        assert_eq!(client.read_response().status, 408);
        client.expect_end();
        assert_eq!(origin.connections_count(), 0);
    });
}

#[test]
fn a_client_that_says_nothing_is_closed_without_a_word() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = format!(
            "defaults.timeouts.request_head = \"{SHORT}\"\ndefaults.timeouts.keep_alive = \"{SHORT}\""
        );
        let tidegate = start(shards, [origin.address()], &more);
        let mut fresh = client(&tidegate);
        let mut used = client(&tidegate);
        used.get("/");
        fresh.expect_eof();
        used.expect_eof();
        let lines = tidegate.process().lines();
        assert!(!lines.iter().any(|line| line.is_event("request_rejected")), "{lines:?}");
        let rejected = tidegate.metrics().count("tidegate_frontend_requests_rejected_total", &[]);
        assert_eq!(rejected, 0);
    });
}

#[test]
fn an_empty_line_after_a_request_is_no_request_that_takes_too_long() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = format!("defaults.timeouts.request_head = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        // Behind its body, and a while later.
        for (body, later) in [("hello\r\n", ""), ("hello", "\r\n"), ("hello\r", "\n")] {
            let mut client = client(&tidegate);
            for _ in 0..2 {
                client
                    .send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{body}"));
                assert_eq!(client.read_response().status, 200);
                client.send(later);
                take_time(2 * SHORT_DURATION);
            }
            assert_eq!(client.get("/").status, 200, "{body:?} {later:?}");
            client.send("\r\n").half_close();
            client.expect_eof();
        }
        assert_eq!(tidegate.metrics().count("tidegate_frontend_requests_failed_total", &[]), 0);
    });
}

#[test]
fn empty_lines_do_not_keep_a_connection() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = format!("defaults.timeouts.keep_alive = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        let mut one = client(&tidegate);
        one.get("/");
        one.send("\r\n").expect_eof();
        assert_eq!(tidegate.metrics().count("tidegate_frontend_requests_failed_total", &[]), 0);

        let more = format!("defaults.timeouts.request_head = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        let mut many = client(&tidegate);
        many.get("/");
        many.send("\r\n");
        take_time(SHORT_DURATION);
        many.send("\r\n");
        assert_eq!(many.read_response().status, 408);
        many.expect_eof();
    });
}

/// Starts an upload, stops in the middle, and expects the end of it.
fn check_stalled_upload(tidegate: &Tidegate, origin: &Origin, framing: &str, part: &str) {
    let index = origin.connections_count();
    let mut client = client(tidegate);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{part}"));
    let response = client.read_response();
    assert_eq!(response.status, 408, "{framing}");
    assert_eq!(response.headers.value("connection"), Some("close"));
    client.expect_eof();
    // Whole or broken off, but never complete.
    origin.wait_end(index);
}

#[test]
fn a_body_that_stops_coming_is_a_request_timeout() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = format!("defaults.timeouts.request_body = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        check_stalled_upload(&tidegate, &origin, "Content-Length: 10", "hello");
        check_stalled_upload(&tidegate, &origin, "Content-Length: 10", "");
        check_stalled_upload(&tidegate, &origin, "Transfer-Encoding: chunked", "5\r\nhello\r\n");
        assert_eq!(origin.requests_count(), 0, "no complete request");
        tidegate.wait_log(logged("request_failed", "client_timeout"));
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_body_that_comes_slowly_is_in_time_for_both_sides() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("done"));
        let more = format!(
            "defaults.timeouts.request_body = \"{SHORT}\"\ndefaults.timeouts.server = \"{SHORT}\""
        );
        let tidegate = start(shards, [origin.address()], &more);
        let mut client = client(&tidegate);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
        for byte in *b"hello" {
            take_time(SHORT_DURATION / 2);
            client.send([byte]);
        }
        assert_eq!(client.read_response().text(), "done");
    });
}

/// A response larger than what all buffers on the way hold together, endless for a test.
fn endless(mut connection: Connection) -> std::io::Result<()> {
    if connection.read_request()?.is_none() {
        return Ok(());
    }
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")?;
    let piece = patterned(1 << 16);
    loop {
        connection.send(&piece)?;
    }
}

#[test]
fn a_client_that_stops_reading_is_cut() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(endless);
        let more = format!("defaults.timeouts.client = \"{SHORT}\"");
        let tidegate = start(shards, [origin.address()], &more);
        let mut client = Client::connect_with_receive_buffer(tidegate.address("web"), 4096);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_head().status, 200);
        tidegate.wait_log(logged("request_failed", "client_timeout"));
        wait_nothing_in_flight(&tidegate);
        origin.wait_idle();
    });
}

#[test]
fn a_client_that_leaves_frees_the_servers_slot() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            match connection.read_request_head()?.map(|head| head.target) {
                Some(target) if target == "/endless" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nhello")?;
                    connection.hang()
                }
                _ => connection.hang(),
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let leavings: [(&str, &str); 4] = [
            ("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", "while the server thinks"),
            (
                "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nhello",
                "in its body",
            ),
            (
                "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "in its chunks",
            ),
            ("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", "in the response"),
        ];
        let mut index = 0;
        for (request, when) in leavings {
            for leaving in [End::Eof, End::Reset] {
                let mut client = client(&tidegate);
                client.send(request);
                wait_in_flight(&tidegate, 1);
                origin.wait_requests(index + 1);
                if request.contains("endless") {
                    assert_eq!(client.read_head().status, 200);
                    assert_eq!(client.read_exactly(5), b"hello");
                }
                match leaving {
                    End::Eof | End::Cut => drop(client),
                    End::Reset => client.reset(),
                }
                origin.wait_end(index);
                wait_nothing_in_flight(&tidegate);
                eprintln!("left {when} with {leaving:?}");
                index += 1;
            }
        }
        let reason = [("reason", "client_gone")];
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_backend_requests_failed_total", &reason), 8);
        assert_eq!(metrics.count("tidegate_server_connections_open", &[]), 0);
    });
}

#[test]
fn a_client_that_leaves_while_it_is_sent_more_than_it_reads_frees_the_slot() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(endless);
        let tidegate = start(shards, [origin.address()], "");
        for _ in 0..4 {
            let mut client = client(&tidegate);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.read_head().status, 200);
            wait_in_flight(&tidegate, 1);
            drop(client);
            wait_nothing_in_flight(&tidegate);
            origin.wait_idle();
        }
    });
}

#[test]
fn a_client_that_leaves_an_upload_which_the_server_does_not_take_frees_the_slot() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::with_receive_buffer(Some(4096), |mut connection: Connection| {
            connection.read_request_head()?;
            connection.ignore()
        });
        let more = "defaults.timeouts.server = \"10s\"";
        let tidegate = start(shards, [origin.address()], more);
        let mut client = client(&tidegate);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
        client.set_patience(Duration::from_millis(200));
        // As much as all buffers on the way take.
        let full = loop {
            if let Err(error) = client.try_send(patterned(1 << 20)) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::TimedOut);
        wait_in_flight(&tidegate, 1);
        let left = Instant::now();
        client.reset();
        wait_nothing_in_flight(&tidegate);
        assert!(left.elapsed() < Duration::from_secs(5), "not at once: {:?}", left.elapsed());
    });
}

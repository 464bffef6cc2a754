//! Owns requests that did not reach a server at the first attempt: what is tried again, and what
//! never is.
//!
//! Leaves servers that answer badly to `http_broken_responses`. Invariant: a request that cannot be
//! repeated is sent at most once, counted at the servers.

#[path = "support/http.rs"]
mod support;

use std::io;
use support::{builder, client, on_one_and_two_shards, start, wait_nothing_in_flight};
use tidegate_testkit::{
    Connection, Metrics, Origin, Request, SilentAddress, refused_address, script,
};

/// Answers `/warm-up` and leaves on reading anything else on the first connection, as a server does
/// that had closed the idle connection while the request was on its way. Later ones answer.
fn closes_first_connection(
    mut connection: Connection,
    parting: &'static str,
    reset: bool,
) -> io::Result<()> {
    while let Some(request) = connection.read_request()? {
        if connection.index() == 0 && request.target != "/warm-up" {
            connection.send(parting)?;
            return if reset { connection.reset() } else { Ok(()) };
        }
        connection.send(script::ok("answered"))?;
    }
    Ok(())
}

/// What the proxy calls such a parting.
fn parting_reason(reset: bool) -> &'static str {
    if reset { "server_reset" } else { "empty_response" }
}

/// One attempt failed, whatever became of its request.
#[track_caller]
fn expect_one_failed_attempt(metrics: &Metrics, reason: &str) {
    let failed =
        |labels: &[(&str, &str)]| metrics.count("tidegate_server_attempts_failed_total", labels);
    assert_eq!((failed(&[("reason", reason)]), failed(&[])), (1, 1), "{reason}");
}

fn targets(origin: &Origin) -> Vec<String> {
    origin.requests().into_iter().map(|Request { target, .. }| target).collect()
}

#[test]
fn a_request_that_met_a_closing_connection_is_repeated_if_it_can_be() {
    on_one_and_two_shards(|shards| {
        for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
            for reset in [false, true] {
                let origin =
                    Origin::start(move |connection| closes_first_connection(connection, "", reset));
                let tidegate = start(shards, [origin.address()], "");
                let mut client = client(&tidegate);
                client.get("/warm-up");
                client.send(format!("{method} /again HTTP/1.1\r\nHost: a\r\n\r\n"));
                let response = client.read_response_to(method);
                assert_eq!(response.status, 200, "{method}");
                assert_eq!(targets(&origin), ["/warm-up", "/again", "/again"], "{method}");
                assert_eq!(origin.connections_count(), 2, "{method}");
                let metrics = tidegate.metrics();
                assert_eq!(metrics.count("tidegate_backend_retries_total", &[]), 1, "{method}");
                expect_one_failed_attempt(&metrics, parting_reason(reset));
            }
        }
    });
}

#[test]
fn a_request_that_cannot_be_repeated_is_sent_once() {
    on_one_and_two_shards(|shards| {
        for request in [
            "POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "POST /once HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "PATCH /once HTTP/1.1\r\nHost: a\r\n\r\n",
            "FROB /once HTTP/1.1\r\nHost: a\r\n\r\n",
            "PUT /once HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "GET /once HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ] {
            for reset in [false, true] {
                let origin =
                    Origin::start(move |connection| closes_first_connection(connection, "", reset));
                let tidegate = start(shards, [origin.address()], "");
                let mut client = client(&tidegate);
                client.get("/warm-up");
                client.send(request);
                assert_eq!(client.read_response().status, 502, "{request}");
                assert_eq!(targets(&origin), ["/warm-up", "/once"], "{request}");
                assert_eq!(origin.connections_count(), 1, "{request}");
                expect_one_failed_attempt(&tidegate.metrics(), parting_reason(reset));
                // The next request is served, and the refused one still not sent again.
                assert_eq!(client.get("/warm-up").status, 200);
                assert_eq!(targets(&origin), ["/warm-up", "/once", "/warm-up"], "{request}");
            }
        }
    });
}

#[test]
fn a_response_that_has_begun_is_not_asked_for_again() {
    on_one_and_two_shards(|shards| {
        for parting in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
            let origin = Origin::start(move |connection| {
                closes_first_connection(connection, parting, false)
            });
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.get("/warm-up");
            assert_eq!(client.get("/once").status, 502, "{parting:?}");
            assert_eq!(targets(&origin), ["/warm-up", "/once"], "{parting:?}");
        }
    });
}

#[test]
fn a_fresh_connection_that_closes_is_not_tried_again() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_and_close(""));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        assert_eq!(client.get("/").status, 502);
        assert_eq!((origin.connections_count(), origin.requests_count()), (1, 1));
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_backend_retries_total", &[]), 0);
        expect_one_failed_attempt(&metrics, "empty_response");
    });
}

#[test]
fn a_connection_that_closed_while_idle_is_not_used_whatever_the_method() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            connection.read_request()?;
            connection.send(script::ok("answered"))?;
            connection.finish()
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 0..10 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.read_response().status, 200);
            // The proxy has seen the server's end and answered with its own.
            origin.wait_end(number);
        }
        assert_eq!((origin.connections_count(), origin.requests_count()), (10, 10));
    });
}

#[test]
fn a_server_that_refuses_connections_is_passed_over() {
    on_one_and_two_shards(|shards| {
        let refused = refused_address();
        let origin = Origin::start(script::answer_ok("answered"));
        let tidegate = start(shards, [refused.address(), origin.address()], "");
        let mut client = client(&tidegate);
        for number in 1..=10 {
            // Nothing of it has left: a POST is as good as any other.
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            assert_eq!(client.read_response().text(), "answered");
            assert_eq!(origin.requests_count(), number);
        }
        let metrics = tidegate.metrics();
        assert!(metrics.count("tidegate_backend_retries_total", &[]) >= 4, "every other request");
        let failed = [("server", "s1")];
        assert!(metrics.count("tidegate_server_connects_failed_total", &failed) >= 4);
    });
}

#[test]
fn without_a_server_that_accepts_the_service_is_unavailable() {
    on_one_and_two_shards(|shards| {
        let refused = refused_address();
        let more = "defaults.retries = 2\ndefaults.timeouts.connect = \"100ms\"";
        let tidegate = start(shards, [refused.address()], more);
        let mut client = client(&tidegate);
        for number in 1..=2 {
            assert_eq!(client.get("/").status, 503);
            let metrics = tidegate.metrics();
            assert_eq!(metrics.count("tidegate_server_connects_failed_total", &[]), 3 * number);
            assert_eq!(metrics.count("tidegate_backend_retries_total", &[]), 2 * number);
        }
        tidegate.wait_log(|line| {
            line.is_event("request_failed")
                && line.field("reason").as_deref() == Some("connect_refused")
                && line.field("retries").as_deref() == Some("2")
        });
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_server_that_does_not_accept_in_time_is_passed_over() {
    on_one_and_two_shards(|shards| {
        let silent = SilentAddress::new();
        let origin = Origin::start(script::answer_ok("answered"));
        let more = "defaults.timeouts.connect = \"100ms\"";
        let tidegate = start(shards, [silent.address(), origin.address()], more);
        let mut client = client(&tidegate);
        for _ in 0..4 {
            assert_eq!(client.get("/").text(), "answered");
        }
        let timed_out = [("server", "s1")];
        let metrics = tidegate.metrics();
        assert!(metrics.count("tidegate_server_connects_failed_total", &timed_out) >= 1);
    });
}

#[test]
fn a_frontend_without_a_backend_is_unavailable() {
    on_one_and_two_shards(|shards| {
        let cpus: Vec<usize> = (0..shards).collect();
        let text = format!("global.cores = {cpus:?}\nfrontends.web.bind = [\"127.0.0.1:0\"]\n");
        let tidegate = builder().start(&text);
        for _ in 0..3 {
            let mut client = client(&tidegate);
            assert_eq!(client.get("/").status, 503);
            client.expect_eof();
        }
        tidegate.wait_log(|line| line.field("reason").as_deref() == Some("no_server_configured"));
    });
}

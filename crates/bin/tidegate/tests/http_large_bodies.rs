//! Owns bodies that flow from socket to socket: where they begin and end, what ends them early, what is counted of them.
//!
//! Leaves the bound on memory to `http_memory` and smaller bodies to `http_bodies`. Invariant: content is compared byte for
//! byte, and that something flowed is read off the metrics.

#[path = "support/http.rs"]
mod support;

use std::io;
use std::time::Duration;
use support::{
    builder, client, on_one_and_two_shards, patterned, start, wait_in_flight,
    wait_nothing_in_flight,
};
use tidegate_testkit::{Client, Connection, Deadline, End, Gate, Origin, Signal, Tidegate, site};

/// What a body's rest must have to flow.
const FLOWING_BYTES_MIN: usize = 64 * 1024;

const MIB: usize = 1 << 20;

fn head(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// Answers `/N` with so many bytes, and a request that has a body with that body.
fn answer(mut connection: Connection) -> io::Result<()> {
    while let Some(request) = connection.read_request()? {
        let asked: usize = request.target[1..].parse().expect("a length");
        let body = if request.body.is_empty() { patterned(asked) } else { request.body };
        connection.send([head(body.len()).as_bytes(), &body].concat())?;
    }
    Ok(())
}

/// Waits until the metrics show that bytes have flowed, as many as expected at least.
#[track_caller]
fn wait_flowed(tidegate: &Tidegate, bytes_min: usize) {
    let what = format!("{bytes_min} bytes to have flowed");
    tidegate.wait_metrics(&what, |metrics| flowed(metrics) >= bytes_min as u64);
}

fn flowed(metrics: &tidegate_testkit::Metrics) -> u64 {
    assert!(metrics.contains(FLOWED), "the metric has another name");
    metrics.count(FLOWED, &[])
}

const FLOWED: &str = "tidegate_shard_spliced_bytes_total";

#[test]
fn bodies_around_the_bound_and_far_beyond_come_through_unchanged() {
    const PIECE: usize = 32 * 1024;
    let around = |bytes: usize| [bytes - 1, bytes, bytes + 1];
    let bounds = [FLOWING_BYTES_MIN, FLOWING_BYTES_MIN + PIECE, 2 * FLOWING_BYTES_MIN, MIB];
    let sizes = bounds.map(around);
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(answer);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for size in sizes.into_iter().flatten().chain([16 * MIB]) {
            let body = patterned(size);
            assert!(client.get(&format!("/{size}")).body == body, "{size} bytes changed");
            let put = format!("PUT /0 HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
            client.send([put.as_bytes(), &body].concat());
            assert!(client.read_response().body == body, "{size} bytes changed in one direction");
        }
        wait_flowed(&tidegate, 2 * 16 * MIB);
        assert_eq!(origin.connections_count(), 1, "the server's connection is used again");
        let sent = client.received().len() as u64;
        tidegate.wait_metrics("every byte that was sent to be counted", |metrics| {
            metrics.count("tidegate_frontend_sent_bytes_total", &[]) == sent
        });
        let metrics = tidegate.metrics();
        assert!(metrics.count("tidegate_server_received_bytes_total", &[]) >= sent);
        let received = origin.received(0).len() as u64;
        assert_eq!(metrics.count("tidegate_server_sent_bytes_total", &[]), received);
    });
}

#[test]
fn what_lies_behind_a_body_is_the_next_request() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(answer);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let body = patterned(MIB);
        for _ in 0..5 {
            let put = format!("PUT /0 HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n");
            let (first, last) = (get("/500000"), get("/7"));
            client.send([first.as_bytes(), put.as_bytes(), &body, last.as_bytes()].concat());
            assert!(client.read_response().body == body[..500_000]);
            assert!(client.read_response().body == body);
            assert_eq!(client.read_response().body, body[..7]);
        }
        wait_flowed(&tidegate, MIB);
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_connection_with_bytes_behind_a_response_is_not_used_again() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            while connection.read_request_head()?.is_some() {
                let body = [patterned(MIB), b"HTTP/1.1 200 OK\r\n".to_vec()].concat();
                connection.send([head(MIB).as_bytes(), &body].concat())?;
            }
            Ok(())
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 1..=3 {
            assert!(client.get("/").body == patterned(MIB));
            assert_eq!(origin.connections_count(), number);
        }
    });
}

#[test]
fn a_body_until_the_end_of_the_connection_flows_to_who_reads_until_the_end() {
    on_one_and_two_shards(|shards| {
        for bytes in [0, 1, 100_000, 3 * MIB] {
            for is_reset in [false, true] {
                let read = Gate::new();
                let origin = Origin::start({
                    let read = read.clone();
                    move |mut connection: Connection| {
                        connection.read_request_head()?;
                        connection.send("HTTP/1.1 200 OK\r\n\r\n")?;
                        connection.send(patterned(bytes))?;
                        read.wait();
                        if is_reset { connection.reset() } else { Ok(()) }
                    }
                });
                let tidegate = start(shards, [origin.address()], "");
                let mut client = client(&tidegate);
                client.send("GET / HTTP/1.0\r\n\r\n");
                assert_eq!(client.read_head().status, 200);
                assert!(client.read_exactly(bytes) == patterned(bytes));
                read.open();
                let end = if is_reset { End::Reset } else { End::Eof };
                assert_eq!(client.expect_end(), end, "{bytes} bytes");
                wait_nothing_in_flight(&tidegate);
            }
        }
    });
}

#[test]
fn a_server_that_leaves_in_mid_body_cuts_it_there() {
    on_one_and_two_shards(|shards| {
        for bytes in [0, 1, 60_000, FLOWING_BYTES_MIN, 300_000, MIB - 1] {
            for (is_reset, reason) in [(false, "truncated_response"), (true, "server_reset")] {
                let read = Gate::new();
                let origin = Origin::start({
                    let read = read.clone();
                    move |mut connection: Connection| {
                        connection.read_request_head()?;
                        connection.send([head(MIB).as_bytes(), &patterned(bytes)].concat())?;
                        read.wait();
                        if is_reset { connection.reset() } else { Ok(()) }
                    }
                });
                let tidegate = start(shards, [origin.address()], "");
                let mut client = client(&tidegate);
                client.send(get("/"));
                assert_eq!(client.read_head().status, 200);
                assert!(client.read_exactly(bytes) == patterned(bytes), "{bytes} bytes");
                read.open();
                client.expect_end();
                tidegate.wait_log(|line| line.field("reason").as_deref() == Some(reason));
                wait_nothing_in_flight(&tidegate);
            }
        }
    });
}

/// An origin that never stops with its body.
fn endless(mut connection: Connection) -> io::Result<()> {
    connection.read_request_head()?;
    connection.send(head(1 << 40))?;
    let piece = patterned(1 << 16);
    loop {
        connection.send(&piece)?;
    }
}

#[test]
fn a_client_that_leaves_in_mid_body_frees_the_server() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(endless);
        let tidegate = start(shards, [origin.address()], "");
        for bytes in [0, 1, 200_000, 5 * MIB] {
            for leave in [Client::reset, drop] {
                let mut client = client(&tidegate);
                client.send(get("/"));
                assert_eq!(client.read_head().status, 200);
                client.read_exactly(bytes);
                wait_in_flight(&tidegate, 1);
                leave(client);
                origin.wait_idle();
                wait_nothing_in_flight(&tidegate);
            }
        }
    });
}

#[test]
fn a_client_that_takes_nothing_of_a_flowing_body_is_given_up() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(endless);
        let more = "defaults.timeouts.client = \"500ms\"";
        let tidegate = start(shards, [origin.address()], more);
        let mut client = client(&tidegate);
        client.send(get("/"));
        assert_eq!(client.read_head().status, 200);
        tidegate.wait_log(|line| line.field("reason").as_deref() == Some("client_timeout"));
        origin.wait_idle();
        wait_nothing_in_flight(&tidegate);
        client.read_to_end();
    });
}

#[test]
fn a_server_that_pauses_for_too_long_in_mid_body_is_given_up() {
    on_one_and_two_shards(|shards| {
        for bytes in [1, 30_000, 300_000] {
            let origin = Origin::start(move |mut connection: Connection| {
                connection.read_request_head()?;
                connection.send([head(MIB).as_bytes(), &patterned(bytes)].concat())?;
                connection.hang()
            });
            let more = "defaults.timeouts.server = \"300ms\"";
            let tidegate = start(shards, [origin.address()], more);
            let mut client = client(&tidegate);
            client.send(get("/"));
            assert_eq!(client.read_head().status, 200);
            assert!(client.read_exactly(bytes) == patterned(bytes));
            tidegate.wait_log(|line| line.field("reason").as_deref() == Some("server_timeout"));
            client.expect_end();
            wait_nothing_in_flight(&tidegate);
        }
    });
}

#[test]
fn an_upload_that_pauses_for_too_long_is_given_up() {
    on_one_and_two_shards(|shards| {
        for bytes in [1, 30_000, 300_000] {
            let origin = Origin::start(Connection::ignore);
            let more = "defaults.timeouts.request_body = \"300ms\"";
            let tidegate = start(shards, [origin.address()], more);
            let mut client = client(&tidegate);
            let put = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n");
            client.send([put.as_bytes(), &patterned(bytes)].concat());
            tidegate.wait_log(|line| line.field("reason").as_deref() == Some("client_timeout"));
            wait_nothing_in_flight(&tidegate);
        }
    });
}

#[test]
fn an_upload_that_breaks_off_never_looks_whole() {
    on_one_and_two_shards(|shards| {
        for bytes in [1, 60_000, 300_000, MIB - 1] {
            for leave in [Client::reset, drop] {
                let origin = Origin::start(|mut connection: Connection| {
                    let Some(head) = connection.read_request_head()? else { return Ok(()) };
                    let read = connection.read_body(head);
                    assert!(read.is_err(), "the server got a whole request");
                    Ok(())
                });
                let tidegate = start(shards, [origin.address()], "");
                let mut client = client(&tidegate);
                let put = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n");
                client.send([put.as_bytes(), &patterned(bytes)].concat());
                origin.wait_connections(1);
                origin.wait_received(0, bytes);
                leave(client);
                origin.wait_end(0);
                wait_nothing_in_flight(&tidegate);
            }
        }
    });
}

#[test]
fn a_server_that_answers_an_upload_in_mid_body_is_heard() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            connection.read_request_head()?;
            connection.read_exactly(300_000)?;
            connection.send("HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")?;
            connection.hang()
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let put = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n");
        client.send([put.as_bytes(), &patterned(500_000)].concat());
        let response = client.read_response();
        assert_eq!((response.status, response.text()), (413, "no"));
        client.half_close().expect_end();
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn tunnels_flow_in_both_directions_at_once() {
    const ROUND_BYTES: usize = 200_000;
    const SWITCH: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            connection.read_request_head()?;
            connection.send(SWITCH)?;
            connection.echo()
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        assert_eq!(client.read_head().status, 101);
        let large = patterned(ROUND_BYTES);
        // Small pieces between the large ones: from flows back to receiving and again.
        for round in 0..30 {
            client.send(&large);
            assert!(client.read_exactly(ROUND_BYTES) == large, "other bytes in round {round}");
            for _ in 0..3 {
                client.send("ping");
                assert_eq!(client.read_exactly(4), b"ping");
            }
        }
        wait_flowed(&tidegate, 2 * MIB);
        client.send(&large).half_close();
        assert!(client.read_to_end() == large);
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_flowing_body_is_finished_when_the_program_is_told_to_stop() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(answer);
        let mut tidegate = builder().start(&site(shards, [origin.address()]));
        let mut client = client(&tidegate);
        client.send(get(&format!("/{}", 16 * MIB)));
        assert_eq!(client.read_head().status, 200);
        let first = client.read_exactly(200_000);
        tidegate.signal(Signal::TERM);
        tidegate.wait_log(|line| line.is_event("draining"));
        let rest = client.read_exactly(16 * MIB - first.len());
        assert!([first, rest].concat() == patterned(16 * MIB));
        client.expect_eof();
        let status = tidegate.wait_exit(Deadline::after(Duration::from_secs(10)));
        assert_eq!(status.code(), Some(0), "{status}");
    });
}

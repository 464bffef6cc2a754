//! Owns requests that are sent again after a server may have seen them: what `retry_on` lists, bodies that are kept, the
//! time of one try, and the budget.
//!
//! Leaves retries of connections to `http_retries`. Invariant: servers count what they get, so that a request that must not
//! be repeated is seen once.

#[path = "support/http.rs"]
mod support;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use support::{client, on_one_and_two_shards, patterned, start, wait_nothing_in_flight};
use tidegate_testkit::{Client, Connection, Origin, Rng, script, seed};

const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

/// Reads one request and ends the connection without an answer.
fn resets(mut connection: Connection) -> io::Result<()> {
    connection.read_request()?;
    connection.reset()
}

/// Reads requests and does not answer them.
fn hangs(mut connection: Connection) -> io::Result<()> {
    connection.read_request()?;
    connection.hang()
}

fn seen(origins: &[&Origin], target: &str) -> usize {
    let of = |origin: &Origin| {
        origin.requests().iter().filter(|request| request.target == target).count()
    };
    origins.iter().map(|origin| of(origin)).sum()
}

/// Of two POSTs the one that the slow server gets fails, and both are sent to one server.
fn assert_posts_are_sent_once(client: &mut Client, slow: &Origin, good: &Origin) {
    let mut statuses = Vec::new();
    for number in 0..2 {
        client.send(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        statuses.push(client.read_response().status);
        assert_eq!(seen(&[slow, good], &format!("/{number}")), 1);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 504]);
}

#[test]
fn what_retry_on_lists_is_answered_by_another_server() {
    on_one_and_two_shards(|shards| {
        for (cause, bad) in [
            ("[503]", Origin::start(script::answer(BUSY))),
            ("[\"503\"]", Origin::start(script::answer(BUSY))),
            ("[\"empty_response\"]", Origin::start(script::answer_and_close(""))),
            ("[\"reset\"]", Origin::start(resets)),
            ("[\"junk_response\"]", Origin::start(script::answer_and_close("HTTP/1.1 200"))),
            ("[\"junk_response\"]", Origin::start(script::answer_and_close("FTP/1.1\r\n\r\n"))),
        ] {
            let good = Origin::start(script::answer_ok("answered"));
            let more = format!("backends.app.retry_on = {cause}");
            let tidegate = start(shards, [bad.address(), good.address()], &more);
            let mut client = client(&tidegate);
            for number in 0..6 {
                let response = client.get(&format!("/{number}"));
                assert_eq!((response.status, response.text()), (200, "answered"), "{cause}");
            }
            let tried = bad.requests_count();
            assert!(tried > 0, "{cause}: the other one was never asked");
            let metrics = tidegate.metrics();
            let count = |name: &str, labels: &[(&str, &str)]| metrics.count(name, labels);
            assert_eq!(count("tidegate_backend_retries_total", &[]), tried as u64, "{cause}");
            assert_eq!(count("tidegate_backend_redispatches_total", &[]), tried as u64);
            let failed = count("tidegate_server_attempts_failed_total", &[("server", "s1")]);
            assert_eq!(failed, tried as u64, "{cause}");
            assert_eq!(count("tidegate_backend_requests_total", &[("status", "2xx")]), 6);
            wait_nothing_in_flight(&tidegate);
        }
    });
}

#[test]
fn the_last_answer_is_passed_on() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer(BUSY));
        let more = "backends.app.retries = 2\nbackends.app.retry_on = [503]\n\
                    backends.app.retry_delay = { min = \"1ms\", max = \"2ms\" }";
        let tidegate = start(shards, [origin.address()], more);
        let response = client(&tidegate).get("/");
        assert_eq!((response.status, response.text()), (503, "busy"));
        assert_eq!(origin.requests_count(), 3);
    });
}

#[test]
fn a_server_that_is_slow_to_answer_is_left_for_another_one() {
    on_one_and_two_shards(|shards| {
        let slow = Origin::start(hangs);
        let good = Origin::start(script::answer_ok("answered"));
        let more = "backends.app.timeouts = { per_try = \"50ms\", server = \"300ms\" }";
        let tidegate = start(shards, [slow.address(), good.address()], more);
        let mut client = client(&tidegate);
        for _ in 0..4 {
            assert_eq!(client.get("/").status, 200);
        }
        assert!(slow.requests_count() > 0);
        // What cannot be repeated has all of the server's time, and is not sent again.
        assert_posts_are_sent_once(&mut client, &slow, &good);
    });
}

#[test]
fn a_body_is_sent_again_if_it_was_kept() {
    on_one_and_two_shards(|shards| {
        let bad = Origin::start(resets);
        let good = Origin::start(script::answer_ok("answered"));
        let more = "backends.app.retry_on = [\"reset\"]\nbackends.app.retry_body_max = \"64KiB\"";
        let tidegate = start(shards, [bad.address(), good.address()], more);
        let mut client = client(&tidegate);
        for length in [1, 5_000, 60_000] {
            let body = patterned(length);
            for request in [
                format!("PUT /{length} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
                    .into_bytes(),
                format!("PUT /{length} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .into_bytes(),
            ] {
                let is_chunked = request.windows(7).any(|window| window == b"chunked");
                let sent = if is_chunked { support::chunked(&body, 700) } else { body.clone() };
                for _ in 0..2 {
                    client.send([&request[..], &sent].concat());
                    assert_eq!(client.read_response().status, 200, "{length}");
                }
            }
            for request in good.requests().iter().rev().take(4) {
                assert!(request.body == body, "another body of {length} bytes");
            }
        }
        assert!(bad.requests_count() > 0, "none failed first");

        let body = patterned(80_000);
        let mut statuses = Vec::new();
        for number in 0..2 {
            let head =
                format!("PUT /x{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 80000\r\n\r\n");
            client.send([head.as_bytes(), &body].concat());
            statuses.push(client.read_response().status);
            assert_eq!(seen(&[&bad, &good], &format!("/x{number}")), 1);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 502]);
        let dropped = "tidegate_backend_retry_bodies_dropped_total";
        assert_eq!(tidegate.metrics().count(dropped, &[]), 2);
    });
}

#[test]
fn repeats_end_with_the_budget() {
    let bad = Origin::start(script::answer(BUSY));
    let more = "backends.app.retries = 1\nbackends.app.retry_on = [503]\n\
                backends.app.retry_delay = { min = \"1ms\", max = \"1ms\" }\n\
                backends.app.retry_budget = { percent = 0, min_per_second = 1 }";
    let tidegate = start(1, [bad.address()], more);
    let mut client = client(&tidegate);
    for _ in 0..30 {
        assert_eq!(client.get("/").status, 503);
    }
    let repeats = bad.requests_count() - 30;
    // Ten in ten seconds; a slow machine may take longer.
    assert!((10..30).contains(&repeats), "{repeats} repeats");
    let metrics = tidegate.metrics();
    let over = metrics.count("tidegate_backend_retries_over_budget_total", &[]);
    assert_eq!(over + repeats as u64, 30);
}

/// A server that does to each request what chance says.
fn capricious(seed: u64) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    move |mut connection| {
        let mut rng = Rng::new(seed ^ (connection.index() as u64) << 20);
        while connection.read_request()?.is_some() {
            match rng.below(8) {
                0 => return Ok(()),
                1 => return connection.reset(),
                2 => connection.send(BUSY)?,
                3 => return connection.send("HTTP/1.1 200 OK\r\nContent-Le"),
                4 => return connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
                5 => return connection.hang(),
                _ => connection.send(script::ok("answered"))?,
            }
        }
        Ok(())
    }
}

#[test]
fn a_request_that_must_not_be_repeated_is_seen_once_whatever_servers_do() {
    let seed = seed();
    let mut rng = seed.rng();
    for shards in [1, 2] {
        let origins: Vec<Origin> =
            (0..3).map(|_| Origin::start(capricious(rng.next_u64()))).collect();
        let more = "backends.app.retries = 4\n\
                    backends.app.retry_on = [\"connect_failure\", \"empty_response\", \
                    \"junk_response\", \"timeout\", \"reset\", 503]\n\
                    backends.app.retry_body_max = \"1KiB\"\n\
                    backends.app.retry_budget = { percent = 100, min_per_second = 1000 }\n\
                    backends.app.retry_delay = { min = \"1ms\", max = \"5ms\" }\n\
                    backends.app.timeouts = { per_try = \"30ms\", server = \"60ms\" }";
        let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
        let tidegate = start(shards, addresses, more);
        let mut sent: BTreeMap<String, &str> = BTreeMap::new();
        let mut answered = 0;
        for number in 0..150 {
            let method = *rng.choose(&["GET", "PUT", "POST", "PATCH", "FROB", "DELETE"]);
            let body = rng.choose(&[0, 3, 900, 3_000]);
            let body = if method == "GET" { 0 } else { *body };
            let target = format!("/{shards}/{number}");
            let head =
                format!("{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n");
            let mut client = client(&tidegate);
            client.send([head.as_bytes(), &patterned(body)].concat());
            // A response that a server began and did not end is cut off for the client too.
            let response = client.try_read_response_to(method);
            assert!(
                !response.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut),
                "{method} {target} was never answered"
            );
            answered += usize::from(response.is_ok_and(|response| response.status == 200));
            sent.insert(target, if body > 1024 { "once" } else { method });
        }
        let origins: Vec<&Origin> = origins.iter().collect();
        let mut repeated = 0;
        for (target, method) in &sent {
            let count = seen(&origins, target);
            let most = if ["GET", "PUT", "DELETE"].contains(method) { 6 } else { 1 };
            assert!(count <= most, "{method} {target} was seen {count} times");
            repeated += usize::from(count > 1);
        }
        assert!(repeated > 5 && answered > 15, "{repeated} repeated, {answered} answered");
        wait_nothing_in_flight(&tidegate);
        tidegate.wait_metrics("idle", |metrics| {
            metrics.count("tidegate_backend_requests_in_flight", &[]) == 0
        });
    }
}

/// Answers with this body after a while, which is what is slow about it.
fn answers_after(
    delay: Duration,
    body: &'static str,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    move |mut connection| {
        while connection.read_request()?.is_some() {
            support::take_time(delay);
            connection.send(script::ok(body))?;
        }
        Ok(())
    }
}

#[test]
fn a_second_try_answers_for_a_server_that_is_slow() {
    on_one_and_two_shards(|shards| {
        let slow = Origin::start(hangs);
        let good = Origin::start(script::answer_ok("answered"));
        let more = "backends.app.hedge_after = \"30ms\"\n\
                    backends.app.timeouts.server = \"400ms\"";
        let tidegate = start(shards, [slow.address(), good.address()], more);
        let mut client = client(&tidegate);
        for _ in 0..6 {
            let response = client.get("/");
            assert_eq!((response.status, response.text()), (200, "answered"));
        }
        let begun = slow.connections_count();
        assert!(begun > 0, "the slow one was asked");
        for index in 0..begun {
            slow.wait_end(index);
        }
        wait_nothing_in_flight(&tidegate);
        let metrics = tidegate.metrics();
        let count = |name: &str| metrics.count(name, &[]);
        assert_eq!(count("tidegate_backend_hedges_total"), begun as u64);
        assert_eq!(count("tidegate_backend_hedges_won_total"), begun as u64);
        assert_eq!(count("tidegate_backend_retries_total"), 0, "they are no retries");
        // What cannot be repeated waits for its server.
        assert_posts_are_sent_once(&mut client, &slow, &good);
    });
}

#[test]
fn the_first_try_may_still_win_and_a_second_one_may_go_on_alone() {
    on_one_and_two_shards(|shards| {
        // Whichever is asked first answers after the second one was sent, or breaks.
        let (late, slower) = (Duration::from_millis(150), Duration::from_millis(400));
        for (first, expected) in [
            (Origin::start(answers_after(late, "first")), "first"),
            (
                Origin::start(move |mut connection| {
                    connection.read_request()?;
                    support::take_time(late);
                    connection.reset()
                }),
                "second",
            ),
        ] {
            let second = Origin::start(answers_after(slower, "second"));
            let more = "backends.app.hedge_after = \"30ms\"\nbackends.app.retries = 0";
            let tidegate = start(shards, [first.address(), second.address()], more);
            // By turns one or the other has the first try.
            for number in 0..2 {
                let response = client(&tidegate).get(&format!("/{number}"));
                assert_eq!((response.status, response.text()), (200, expected));
                assert_eq!(seen(&[&first], &format!("/{number}")), 1);
                assert_eq!(seen(&[&second], &format!("/{number}")), 1);
            }
            wait_nothing_in_flight(&tidegate);
        }
    });
}

//! Owns what a line of the access log says of a request, and which requests have one.
//!
//! Leaves the ways in which a request ends to `log_endings`, and where lines go to `log_targets`. Invariant: what a line says is
//! compared with what client and server saw.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/http.rs"]
mod support;

use access_log::{Line, Logged, WRITTEN};
use std::time::Duration;
use support::{client, on_one_and_two_shards, take_time, wait_in_flight};
use tidegate_testkit::{Client, Connection, Origin, refused_address, script, site};

/// The timeout under test where it is meant to pass.
const SHORT: &str = "300ms";

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_request_that_was_answered_is_told_whole() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("hello"));
        let logged = Logged::start(shards, [origin.address()], "");
        let mut client = client(&logged.tidegate);
        for (number, request) in (1..).zip([
            GET.to_owned(),
            "HEAD / HTTP/1.0\r\n\r\n".to_owned(),
            "FROB /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        ]) {
            let method = request.split(' ').next().expect("it has one");
            let before = client.received().len();
            client.send(&request);
            assert_eq!(client.read_response_to(method).status, 200);
            let line = logged.last(number);
            assert_eq!(line.client, client.local_address().to_string());
            assert_eq!((&*line.frontend, &*line.backend, &*line.server), ("web", "app", "s1"));
            assert_eq!((line.status, line.letters()), (200, "--"));
            assert_eq!(line.bytes, (client.received().len() - before) as u64, "{request}");
            let [head, queue, connect, response, total] = line.times;
            assert!(head >= 0 && queue == 0 && response >= 0 && connect >= 0, "{line:?}");
            assert!(total >= head + connect + response, "{line:?}");
            assert_eq!((line.counts, &*line.retries, line.queues), ([1, 1, 1, 1], "0", [0, 0]));
            assert_eq!(line.request, request.lines().next().expect("it has a first"));
            assert_eq!(line.captures, "");
            if method == "HEAD" {
                // It asked for the end of the connection.
                client = Client::connect(logged.tidegate.address("web"));
            }
        }
        let written = logged.tidegate.metrics().count(WRITTEN, &[]);
        assert_eq!(written, 3, "one line each");
    });
}

#[track_caller]
fn expect(mut client: Client, request: &str, status: u16) {
    client.send(request);
    assert_eq!(client.read_response().status, status, "{request}");
}

#[test]
fn times_are_those_of_the_parts() {
    let origin = Origin::start(|mut connection: Connection| {
        while connection.read_request()?.is_some() {
            take_time(Duration::from_millis(120));
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")?;
            take_time(Duration::from_millis(240));
            connection.send("cd")?;
        }
        Ok(())
    });
    let logged = Logged::start(1, [origin.address()], "");
    let mut client = client(&logged.tidegate);
    client.send("GET / HT");
    take_time(Duration::from_millis(60));
    client.send("TP/1.1\r\nHost: a\r\n\r\n").read_response();
    let line = logged.last(1);
    let [head, _, connect, response, total] = line.times;
    // No more than what was waited for is certain; how much longer it took is the machine's.
    assert!(head >= 59 && connect < 120 && response >= 119 && total >= 418, "{line:?}");
    // Each is cut to whole milliseconds.
    assert!(total >= head + response + 236, "{line:?}");
}

#[test]
fn attempts_that_failed_are_counted_and_a_change_of_server_is_marked() {
    on_one_and_two_shards(|shards| {
        let refused = refused_address();
        let origin = Origin::start(script::answer_ok("hello"));
        let logged = Logged::start(shards, [refused.address(), origin.address()], "");
        let mut client = client(&logged.tidegate);
        for _ in 0..4 {
            assert_eq!(client.get("/").status, 200);
        }
        let lines = logged.lines(4);
        let retried: Vec<&Line> = lines.iter().filter(|line| line.retries != "0").collect();
        assert!(retried.len() >= 2, "every other one at least: {lines:?}");
        for line in retried {
            assert_eq!((&*line.retries, &*line.server, line.letters()), ("+1", "s2", "--"));
        }
    });
}

#[test]
fn a_reused_connection_takes_no_time() {
    let origin = Origin::start(script::answer_ok("hello"));
    let logged = Logged::start(1, [origin.address()], "");
    let mut client = client(&logged.tidegate);
    (0..3).for_each(|_| drop(client.get("/")));
    assert_eq!(origin.connections_count(), 1);
    assert!(logged.lines(3)[1..].iter().all(|line| line.times[2] == 0));
}

/// Opens a tunnel.
const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn a_tunnel_is_logged_at_its_end_with_all_its_bytes() {
    let origin = Origin::start(script::upgrade_echo("echo"));
    let more = "frontends.web.log_format = '{termination} {status} {bytes_received} {bytes_sent}'";
    let logged = Logged::start(1, [origin.address()], more);
    let mut client = client(&logged.tidegate);
    client.send(UPGRADE);
    assert_eq!(client.read_head().status, 101);
    client.send([b'x'; 1000]);
    client.read_exactly(1000);
    assert_eq!(logged.tidegate.metrics().count(WRITTEN, &[]), 0, "it has not ended");
    client.half_close().expect_eof();
    let received = UPGRADE.len() + 1000;
    let line = logged.raw_lines(1).remove(0);
    assert_eq!(line, format!("---- 101 {received} {}", client.received().len()));
}

#[test]
fn connections_that_sent_nothing_are_logged_where_that_is_asked_for() {
    let origin = Origin::start(script::answer_ok("hello"));
    let quick = format!("defaults.timeouts.request_head = \"{SHORT}\"\n");
    for (asked, expected) in [("false", 0), ("true", 2)] {
        let more = format!("{quick}defaults.log_empty_connections = {asked}");
        let logged = Logged::start(1, [origin.address()], &more);
        drop(client(&logged.tidegate));
        client(&logged.tidegate).expect_eof();
        // Who has sent a request is not one of them.
        let mut served = client(&logged.tidegate);
        served.get("/");
        served.half_close().expect_eof();
        let mut lines = logged.lines(expected + 1);
        assert_eq!(lines.len() as u64, expected + 1);
        lines.retain(|line| line.request == "<BADREQ>");
        let letters: Vec<&str> = lines.iter().map(Line::letters).collect();
        let all = ["CR", "cR"];
        assert!(letters.len() as u64 == expected && letters.iter().all(|two| all.contains(two)));
        assert!(lines.iter().all(|line| line.status == -1 && line.bytes == 0), "{lines:?}");
    }
}

#[test]
fn captured_headers_stand_in_braces() {
    let answer = script::response(200, "OK", &[("Server", "one"), ("Server", "two|")], "");
    let origin = Origin::start(script::answer(answer));
    let more = "defaults.log_headers = { request = [\"host\", \"X-None\", \"User-Agent\"], response = [\"Server\"] }";
    let logged = Logged::start(1, [origin.address()], more);
    let mut agent = client(&logged.tidegate);
    agent.send("GET / HTTP/1.1\r\nHost: a.b\r\nUser-Agent: x \"y\"\r\n\r\n").read_response();
    assert_eq!(logged.last(1).captures, "{a.b||x #22y#22} {two#7C}");
    expect(client(&logged.tidegate), "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    assert_eq!(logged.last(2).captures, "");
}

#[test]
fn json_tells_in_words() {
    let origin = Origin::start(Connection::hang);
    let more = format!(
        "defaults.log_format = \"json\"\ndefaults.timeouts.server = \"{SHORT}\"\n\
         defaults.log_headers.request = [\"Host\"]"
    );
    let logged = Logged::start(1, [origin.address()], &more);
    let mut agent = client(&logged.tidegate);
    agent.send("GET /\u{7f}é HTTP/1.1\r\nHost: a\r\n\r\n");
    agent.read_response();
    let mut agent = client(&logged.tidegate);
    agent.send(GET);
    agent.read_response();
    let lines = logged.raw_lines(2);
    let port = agent.local_address().port();
    for part in [
        "\"protocol\":\"http\"",
        &format!("\"client_ip\":\"127.0.0.1\",\"client_port\":{port},"),
        &format!("\"frontend_port\":{},", logged.tidegate.address("web").port()),
        "\"method\":\"GET\",\"target\":\"/a?b=c\",\"version\":\"HTTP/1.1\"",
        "\"status\":504",
        "\"request_headers\":{\"Host\":\"a\"}",
        "\"termination\":\"sH--\",\"reason\":\"server_timeout\",\"stage\":\"response_head\"",
    ] {
        assert!(lines[1].contains(part), "{part} in {}", lines[1]);
    }
    assert!(lines[0].contains("\"reason\":\"bad_request\""), "{}", lines[0]);
    assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')));
}

#[test]
fn a_request_line_is_cut_and_cannot_break_its_line() {
    let origin = Origin::start(script::answer_ok(""));
    let logged = Logged::start(1, [origin.address()], "");
    let target = format!("/{}", "x".repeat(6000));
    let mut agent = client(&logged.tidegate);
    agent.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).read_response();
    assert_eq!(logged.last(1).request, format!("GET {} HTTP/1.1", &target[..4096]));
}

#[test]
fn requests_are_sampled_and_failed_ones_kept() {
    let origin = Origin::start(script::answer_with(|_, request| {
        let status = if request.target == "/bad" { 500 } else { 200 };
        script::response(status, "X", &[], "")
    }));
    let more = "defaults.log_sampling = { one_in = 10 }";
    let logged = Logged::start(1, [origin.address()], more);
    let mut client = client(&logged.tidegate);
    for number in 0..40 {
        client.get(if number % 20 == 5 { "/bad" } else { "/" });
    }
    let lines = logged.lines(2 + 4);
    let failed = lines.iter().filter(|line| line.status == 500).count();
    assert_eq!((lines.len(), failed), (6, 2), "{lines:?}");
}

#[test]
fn only_what_is_severe_enough_is_logged() {
    let origin = Origin::start(script::answer_with(|_, request| {
        let status = request.target[1..].parse().expect("a status");
        script::response(status, "X", &[], "")
    }));
    for (level, expected) in [
        ("info", &[200, 404, 503][..]),
        ("notice", &[404, 503]),
        ("warning", &[503]),
        ("error", &[503]),
    ] {
        let more = format!("global.log.level = \"{level}\"");
        let logged = Logged::start(1, [origin.address()], &more);
        let mut client = client(&logged.tidegate);
        for status in [200, 404, 503] {
            client.get(&format!("/{status}"));
        }
        let lines = logged.lines(expected.len() as u64);
        let statuses: Vec<i64> = lines.iter().map(|line| line.status).collect();
        assert_eq!(statuses, expected, "{level}");
    }
}

#[test]
fn counts_are_those_of_all_shards() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|connection| match connection.index() {
            index if index < 4 => connection.hang(),
            _ => script::answer_ok("hello")(connection),
        });
        let more =
            "frontends.more.bind = [\"127.0.0.1:0\"]\nfrontends.more.default_backend = \"app\"";
        let logged = Logged::start(shards, [origin.address()], more);
        let waiting: Vec<Client> = (0..4)
            .map(|number| {
                let frontend = if number == 0 { "more" } else { "web" };
                let mut client = Client::connect(logged.tidegate.address(frontend));
                client.send(GET);
                origin.wait_connections(number + 1);
                client
            })
            .collect();
        wait_in_flight(&logged.tidegate, 4);
        let mut asking = client(&logged.tidegate);
        asking.get("/first");
        // What is known of other shards may be a moment old.
        take_time(Duration::from_millis(20));
        asking.get("/second");
        assert_eq!(logged.last(2).counts, [5, 4, 5, 5]);
        drop(waiting);
    });
}

#[test]
fn without_a_log_nothing_is_written() {
    let origin = Origin::start(script::answer_ok("hello"));
    let tidegate = access_log::builder().start(&site(1, [origin.address()]));
    assert_eq!(client(&tidegate).get("/").status, 200);
    assert_eq!(tidegate.metrics().count(WRITTEN, &[]), 0);
}

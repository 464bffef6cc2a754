//! Servers that fail: refuse, stay silent, break off, come back.
//!
//! Owns what a client sees of it, and what log and metrics say. Leaves invalid responses and the
//! repeat of a request on a connection that was idle to the tests of HTTP. A server that vanishes
//! without a word is one that never answers: what is done about it is the same.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Builder, Client, Connection, Deadline, Gate, LogLine, Origin, ReservedPort, Signal,
    SilentAddress, Tidegate, refused_address, script, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// The only failure in the log: its reason must be `reason`, its status `status`.
#[track_caller]
fn assert_failed(tidegate: &Tidegate, status: &str, reason: &str) -> LogLine {
    let line = tidegate.wait_log(|line| line.is_event("request_failed"));
    let fields = [("frontend", "web"), ("backend", "app"), ("status", status), ("reason", reason)];
    for (key, value) in fields {
        assert_eq!(line.field(key).as_deref(), Some(value), "{key} in {}", line.text);
    }
    for family in
        ["tidegate_frontend_requests_failed_total", "tidegate_backend_requests_failed_total"]
    {
        assert!(tidegate.metrics().count(family, &[("reason", reason)]) > 0, "{family}");
    }
    line
}

#[test]
fn a_refused_connection_is_tried_on_another_server() {
    for shards in [1, 2] {
        let refused = refused_address();
        let origin = Origin::start(script::answer_ok("hello"));
        let tidegate = tidegate().start(&site(shards, [refused.address(), origin.address()]));
        for _ in 0..10 {
            let mut client = Client::connect(tidegate.address("web"));
            assert_eq!(client.get("/").text(), "hello");
            // Nothing of a request has left before there is a connection: any request may be moved.
            client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
            assert_eq!(client.read_response().text(), "hello");
        }
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_backend_requests_total", &[("status", "2xx")]), 20);
        let failed = metrics.count("tidegate_server_connects_failed_total", &[("server", "s1")]);
        // The retry takes the turn of s2, so that the next request begins at s1 again.
        assert!((20 - shards as u64..=20).contains(&failed), "{failed}");
        assert_eq!(metrics.count("tidegate_backend_retries_total", &[]), failed);
        assert_eq!(metrics.count("tidegate_backend_redispatches_total", &[]), failed);
        assert_eq!(metrics.count("tidegate_frontend_requests_failed_total", &[]), 0);
        assert_eq!(origin.requests_count(), 20);
    }
}

#[test]
fn when_every_server_refuses_the_client_is_told() {
    for shards in [1, 2] {
        let servers: Vec<ReservedPort> = (0..3).map(|_| refused_address()).collect();
        let config = site(shards, servers.iter().map(ReservedPort::address));
        let tidegate = tidegate().start(&config);
        let mut client = Client::connect(tidegate.address("web"));
        let response = client.get("/");
        assert_eq!(
            (response.status, response.headers.value("content-type")),
            (503, Some("text/plain"))
        );
        let line = assert_failed(&tidegate, "503", "connect_refused");
        assert_eq!(line.field("retries").as_deref(), Some("3"), "{}", line.text);
        assert_eq!(line.field("flags").as_deref(), Some("SC"), "{}", line.text);
        let peer = client.local_address().to_string();
        assert_eq!(line.field("client"), Some(peer), "{}", line.text);
        assert_eq!(client.get("/").status, 503, "the connection is still good");
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_server_connects_failed_total", &[]), 8);
        let refused = [("reason", "connect_refused")];
        assert_eq!(metrics.count("tidegate_server_attempts_failed_total", &refused), 8);
        assert_eq!(metrics.count("tidegate_backend_requests_total", &[("status", "5xx")]), 2);
    }
}

#[test]
fn without_redispatch_a_server_that_starts_is_waited_for() {
    // A reserved port refuses until somebody listens: here a moment after the first attempt.
    let reserved = ReservedPort::new();
    let address = reserved.address().to_string();
    let other = Origin::start(script::answer_ok("other"));
    let config = site(1, [&address]) + "backends.app.redispatch = false\n";
    let front = tidegate().start(&config);
    let mut client = Client::connect(front.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    front.wait_metrics("the first attempt", |metrics| {
        metrics.count("tidegate_server_connects_failed_total", &[]) > 0
    });
    drop(reserved);
    let behind = site(1, [other.address()])
        .replace("web.bind = [\"127.0.0.1:0\"]", &format!("web.bind = [\"{address}\"]"));
    let _behind = tidegate().start(&behind);
    assert_eq!(client.read_response().text(), "other");
}

#[test]
fn a_connection_that_is_not_established_in_time_is_tried_elsewhere() {
    for shards in [1, 2] {
        let silent = SilentAddress::new();
        let origin = Origin::start(script::answer_ok("hello"));
        let config = site(shards, [silent.address(), origin.address()])
            + "backends.app.timeouts.connect = \"100ms\"\n";
        let tidegate = tidegate().start(&config);
        let mut client = Client::connect(tidegate.address("web"));
        for _ in 0..4 {
            assert_eq!(client.get("/").text(), "hello");
        }
        let metrics = tidegate.metrics();
        let failed = metrics.count("tidegate_server_connects_failed_total", &[("server", "s1")]);
        assert!((3..=4).contains(&failed), "{failed}");
        assert_eq!(metrics.count("tidegate_backend_retries_total", &[]), failed);
    }
}

#[test]
fn when_no_connection_is_established_in_time_the_client_is_told_in_time() {
    for shards in [1, 2] {
        let servers = [SilentAddress::new(), SilentAddress::new()];
        let config = site(shards, servers.each_ref().map(SilentAddress::address))
            + "backends.app.timeouts.connect = \"100ms\"\nbackends.app.retries = 2\n";
        let tidegate = tidegate().start(&config);
        let before = Instant::now();
        assert_eq!(Client::connect(tidegate.address("web")).get("/").status, 503);
        let took = before.elapsed();
        assert!(took >= Duration::from_millis(300), "three attempts in {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        let line = assert_failed(&tidegate, "503", "connect_timeout");
        let timed_out = [("reason", "connect_timeout")];
        let attempts =
            tidegate.metrics().count("tidegate_server_attempts_failed_total", &timed_out);
        assert_eq!(attempts, 3);
        assert_eq!(line.field("flags").as_deref(), Some("sC"), "{}", line.text);
        tidegate.wait_metrics("nothing is left open", |metrics| {
            metrics.count("tidegate_server_connections_open", &[]) == 0
                && metrics.count("tidegate_server_requests_in_flight", &[]) == 0
        });
    }
}

#[test]
fn a_server_that_closes_without_a_word_is_a_bad_gateway() {
    for shards in [1, 2] {
        for (reads, resets) in [(true, false), (true, true), (false, false)] {
            let origin = Origin::start(move |mut connection| {
                if reads {
                    connection.read_request()?;
                }
                if resets { connection.reset() } else { Ok(()) }
            });
            let tidegate = tidegate().start(&site(shards, [origin.address()]));
            let mut client = Client::connect(tidegate.address("web"));
            assert_eq!(client.get("/").status, 502);
            let line = tidegate.wait_log(|line| line.is_event("request_failed"));
            let reason = line.field("reason").unwrap_or_default();
            // Who does not read resets, whether it means to or not.
            let expected = if reads && !resets {
                &["empty_response"][..]
            } else {
                &["server_reset", "empty_response"]
            };
            assert!(expected.contains(&&*reason), "{}", line.text);
            assert_eq!(client.get("/").status, 502, "the connection is still good");
            assert_eq!(origin.connections_count(), 2, "a request that was sent is not sent again");
        }
    }
}

const LENGTH: &str = "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: 10\r\n\r\n0123456789";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";

/// Answers `/17` with the first 17 bytes of `response` and ends the connection: in order, or not.
fn answer_cut(response: &'static str, resets: bool) -> Origin {
    Origin::start(move |mut connection| {
        let Some(request) = connection.read_request()? else { return Ok(()) };
        let cut: usize = request.target[1..].parse().expect("the test asks for numbers");
        connection.send(&response[..cut])?;
        if resets { connection.reset() } else { connection.finish() }
    })
}

#[test]
fn a_response_that_breaks_off_at_any_byte_is_a_bad_gateway_or_visibly_cut() {
    for shards in [1, 2] {
        for (response, resets) in
            [(LENGTH, false), (LENGTH, true), (CHUNKED, false), (CHUNKED, true)]
        {
            let head_bytes = response.find("\r\n\r\n").expect("it has a head") + 4;
            let origin = answer_cut(response, resets);
            let tidegate = tidegate().start(&site(shards, [origin.address()]));
            for cut in 0..=response.len() {
                let mut client = Client::connect(tidegate.address("web"));
                client.send(format!("GET /{cut} HTTP/1.1\r\nHost: a\r\n\r\n"));
                let outcome = client.try_read_response_to("GET");
                let context =
                    format!("cut at {cut} of {}, resets: {resets}: {outcome:?}", response.len());
                match outcome {
                    Ok(answer) if cut < head_bytes => assert_eq!(answer.status, 502, "{context}"),
                    Ok(answer) => {
                        assert_eq!(
                            (answer.status, answer.text()),
                            (200, "0123456789"),
                            "{context}"
                        );
                        assert_eq!(cut, response.len(), "{context}");
                    }
                    Err(error) => {
                        assert!(cut >= head_bytes && cut < response.len(), "{context}");
                        let cut_off = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                        assert!(cut_off.contains(&error.kind()), "{context}");
                    }
                }
            }
            let metrics = tidegate.metrics();
            let body_bytes = response.len() - head_bytes;
            let failed = metrics.count("tidegate_backend_requests_failed_total", &[]);
            assert_eq!(failed, (head_bytes + body_bytes) as u64);
            let bad_gateways =
                metrics.count("tidegate_frontend_requests_total", &[("status", "5xx")]);
            assert_eq!(bad_gateways, head_bytes as u64);
        }
    }
}

#[test]
fn a_server_that_dies_in_a_large_body_cuts_it_for_the_client() {
    const SENT: usize = 3 << 20;
    for shards in [1, 2] {
        for resets in [false, true] {
            let origin = Origin::start(move |mut connection| {
                connection.read_request()?;
                connection
                    .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SENT + 1))?;
                connection.send(vec![b'x'; SENT])?;
                if resets { connection.reset() } else { Ok(()) }
            });
            let tidegate = tidegate().start(&site(shards, [origin.address()]));
            let mut client = Client::connect(tidegate.address("web"));
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            let error = client.try_read_response_to("GET").expect_err("the body is not whole");
            let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(kinds.contains(&error.kind()), "{error}");
            if !resets {
                assert_failed(&tidegate, "200", "truncated_response");
            }
            tidegate.wait_metrics("nothing is left open", |metrics| {
                metrics.count("tidegate_server_connections_open", &[]) == 0
                    && metrics.count("tidegate_frontend_connections_open", &[]) == 0
            });
        }
    }
}

#[test]
fn a_server_that_stops_answering_times_out() {
    for shards in [1, 2] {
        let stalls: [(&'static str, Option<u16>); 3] = [
            ("", Some(504)),
            ("HTTP/1.1 200 OK\r\nContent-Le", Some(504)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", None),
        ];
        for (sent, status) in stalls {
            let origin = Origin::start(move |mut connection| {
                connection.read_request()?;
                connection.send(sent)?;
                connection.hang()
            });
            let config =
                site(shards, [origin.address()]) + "backends.app.timeouts.server = \"200ms\"\n";
            let tidegate = tidegate().start(&config);
            let mut client = Client::connect(tidegate.address("web"));
            client.set_patience(Duration::from_secs(10));
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            match (client.try_read_response_to("GET"), status) {
                (Ok(answer), Some(status)) => assert_eq!(answer.status, status, "{sent:?}"),
                (Err(error), None) => assert_ne!(error.kind(), ErrorKind::TimedOut, "{sent:?}"),
                (outcome, _) => panic!("{sent:?}: {outcome:?}"),
            }
            let status = status.map_or("200".to_owned(), |status| status.to_string());
            assert_failed(&tidegate, &status, "server_timeout");
            origin.wait_end(0);
        }
    }
}

#[test]
fn a_slow_server_that_makes_progress_does_not_time_out() {
    let origin = Origin::start(|mut connection: Connection| {
        connection.read_request()?;
        // Each byte comes within the timeout, all of them together do not.
        let pauses = Gate::new();
        for byte in LENGTH.as_bytes() {
            connection.send([*byte])?;
            assert!(!pauses.wait_at_most(Duration::from_millis(10)), "nobody opens it");
        }
        Ok(())
    });
    let config = site(2, [origin.address()]) + "backends.app.timeouts.server = \"400ms\"\n";
    let tidegate = tidegate().start(&config);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "0123456789");
}

/// A program in front of `origin` that listens on `address`: a server that can be restarted.
fn server(address: &str, origin: &Origin) -> Tidegate {
    let config = site(1, [origin.address()]);
    tidegate().start(
        &config.replace("web.bind = [\"127.0.0.1:0\"]", &format!("web.bind = [\"{address}\"]")),
    )
}

#[test]
fn servers_restarted_under_load_lose_no_request() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let mut servers = [server("127.0.0.1:0", &origin), server("127.0.0.1:0", &origin)];
        let addresses = servers.each_ref().map(|server| server.address("web").to_string());
        let front = tidegate().start(&site(shards, &addresses));
        let address = front.address("web");
        let stop = Gate::new();
        std::thread::scope(|scope| {
            let load = |_| {
                let stop = stop.clone();
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let mut count = 0;
                    while !stop.is_open() {
                        let response = client.get("/");
                        assert_eq!(
                            (response.status, response.text()),
                            (200, "hello"),
                            "request {count}"
                        );
                        count += 1;
                    }
                    count
                })
            };
            let clients: Vec<_> = (0..8).map(load).collect();
            for round in 0..6 {
                let (server_number, before) = (round % 2, front.metrics());
                let requests = before.count("tidegate_backend_requests_total", &[]);
                front.wait_metrics("a hundred requests", |metrics| {
                    metrics.count("tidegate_backend_requests_total", &[]) > requests + 100
                });
                servers[server_number].signal(Signal::TERM);
                assert!(servers[server_number].wait_exit(Deadline::default()).success());
                servers[server_number] = server(&addresses[server_number], &origin);
            }
            stop.open();
            for client in clients {
                let count: i32 = client.join().expect("every request was answered");
                assert!(count > 0);
            }
        });
        let metrics = front.metrics();
        assert_eq!(metrics.count("tidegate_frontend_requests_failed_total", &[]), 0);
    }
}

#[test]
fn a_server_killed_under_load_costs_at_most_what_it_was_working_on() {
    let origin = Origin::start(script::answer_ok("hello"));
    let mut servers = [server("127.0.0.1:0", &origin), server("127.0.0.1:0", &origin)];
    let addresses = servers.each_ref().map(|server| server.address("web").to_string());
    let front = tidegate().start(&site(2, &addresses));
    let address = front.address("web");
    let stop = Gate::new();
    let clients_count = 8;
    let failed: u64 = std::thread::scope(|scope| {
        let load = |_| {
            let stop = stop.clone();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                let mut failed = 0;
                while !stop.is_open() {
                    match client.get("/").status {
                        200 => {}
                        502 => failed += 1,
                        status => panic!("{status} is not what a killed server costs"),
                    }
                }
                failed
            })
        };
        let clients: Vec<_> = (0..clients_count).map(load).collect();
        front.wait_metrics("load", |metrics| {
            metrics.count("tidegate_backend_requests_total", &[]) > 500
        });
        servers[0].signal(Signal::KILL);
        servers[0].wait_exit(Deadline::default());
        let answered = front.metrics().count("tidegate_backend_requests_total", &[]);
        front.wait_metrics("load goes on", |metrics| {
            metrics.count("tidegate_backend_requests_total", &[]) > answered + 500
        });
        stop.open();
        clients.into_iter().map(|client| client.join().expect("only known failures")).sum()
    });
    // Each client had one request under way when the server died.
    assert!(failed <= clients_count, "{failed} failures");
    let metrics = front.metrics();
    assert_eq!(metrics.count("tidegate_frontend_requests_failed_total", &[]), failed);
    for sample in metrics.matching("tidegate_frontend_requests_failed_total", &[]) {
        let reason = sample.labels["reason"].as_str();
        let known =
            ["server_reset", "empty_response", "incomplete_response_head", "truncated_response"];
        assert!(sample.value == 0.0 || known.contains(&reason), "{sample:?}");
    }
    assert!(
        front.metrics().count("tidegate_server_connects_failed_total", &[("server", "s1")]) > 0
    );
}

#[test]
fn a_backend_without_a_usable_server_answers_at_once() {
    let origin = Origin::start(script::answer_ok("hello"));
    let config = site(2, ["127.0.0.1:1"]).replace(
        "servers.s1 = \"127.0.0.1:1\"",
        &format!(
            "servers.s1 = {{ address = \"{}\", weight = 0 }}\nbackends.app.servers.s2 = \"{}\"",
            origin.address(),
            origin.address()
        ),
    );
    let tidegate = tidegate().start(&config);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "hello");
    let labels = [("server", "s1")];
    assert_eq!(
        tidegate.metrics().count("tidegate_server_requests_total", &labels),
        0,
        "weight 0 gets none"
    );

    let no_backend =
        site(2, [origin.address()]).replace("frontends.web.default_backend = \"app\"\n", "");
    assert!(tidegate.reload(&no_backend).is_event("reloaded"));
    let response = Client::connect(tidegate.address("web")).get("/");
    assert_eq!(response.status, 503);
    let line =
        tidegate.wait_log(|line| line.field("reason").as_deref() == Some("no_server_configured"));
    assert_eq!(line.field("status").as_deref(), Some("503"), "{}", line.text);
}

//! Clients that misbehave: vanish, drip, say nothing, read nothing, and many of them at once.
//!
//! Owns that each costs no more than its connection, disturbs nobody, and leaves nothing behind.
//! Leaves invalid requests to the tests of HTTP. A client that vanishes without a word is one that
//! stays silent: the same timeouts end it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Builder, Client, Connection, End, Gate, Metrics, Origin, Rng, Tidegate, script, seed, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// What a well-behaved client may have to wait while others misbehave: far below every timeout of
/// the program, far above what a busy machine needs.
const UNDISTURBED: Duration = Duration::from_secs(2);

#[track_caller]
fn assert_undisturbed(address: SocketAddr) {
    for fresh in [false, true] {
        let mut client = Client::connect(address);
        for _ in 0..10 {
            let before = Instant::now();
            if fresh {
                client = Client::connect(address);
            }
            assert_eq!(client.get("/").text(), "hello");
            assert!(before.elapsed() < UNDISTURBED, "{:?}", before.elapsed());
        }
    }
}

/// No timeout ends what a client has left: it must be noticed.
const NO_TIMEOUTS: &str = "frontends.web.timeouts.client = \"5m\"\nfrontends.web.timeouts.request_body = \"5m\"\n\
                           backends.app.timeouts.server = \"5m\"\n";

/// Waits until no client is connected and nothing is in flight.
fn wait_quiet(tidegate: &Tidegate) -> Metrics {
    tidegate.wait_metrics("every gauge is back", |metrics| {
        let gauges = ["tidegate_frontend_connections_open", "tidegate_server_requests_in_flight"];
        gauges.iter().all(|gauge| metrics.count(gauge, &[]) == 0)
    })
}

/// The stages of a request at which a client can leave, each with what it has sent by then.
const STAGES: [(&str, &str); 7] = [
    ("before the first byte", ""),
    ("in the head", "GET / HTTP/1.1\r\nHo"),
    ("before the response", "GET /silent HTTP/1.1\r\nHost: a\r\n\r\n"),
    (
        "in the request's body",
        "POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome",
    ),
    (
        "between chunks",
        "POST /silent HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ),
    ("in the response", "GET /half HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("in a large response", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"),
];

/// Answers `/silent` never, `/half` by half, `/large` with more than any buffer takes.
fn staged_origin() -> Origin {
    let megabyte = vec![b'x'; 1_000_000];
    Origin::start(move |mut connection: Connection| {
        while let Some(head) = connection.read_request_head()? {
            match head.target.as_str() {
                "/silent" => return connection.hang(),
                "/half" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")?;
                    return connection.hang();
                }
                "/large" => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")?;
                    (0..100).try_for_each(|_| connection.send(&megabyte))?;
                }
                _ => {
                    connection.read_body(head)?;
                    connection.send(script::ok("hello"))?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_client_that_leaves_at_any_stage_leaves_nothing_behind() {
    for shards in [1, 2] {
        for (stage, sent) in STAGES {
            for resets in [false, true] {
                let origin = staged_origin();
                let config = site(shards, [origin.address()])
                    + NO_TIMEOUTS
                    + "frontends.web.timeouts.request_head = \"5m\"\n";
                let tidegate = tidegate().start(&config);
                let fds = tidegate.open_fds();
                let mut client = Client::connect(tidegate.address("web"));
                client.send(sent);
                let reached_server = sent.contains("\r\n\r\n");
                if reached_server {
                    origin.wait_requests(1);
                }
                if stage.ends_with("response") && stage.starts_with("in") {
                    assert_eq!(client.read_head().status, 200);
                }
                if resets {
                    client.reset();
                } else {
                    drop(client);
                }
                if reached_server {
                    // The server hears of it, so that it need not go on.
                    origin.wait_connections(1);
                    if !sent.contains("/large") {
                        origin.wait_end(0);
                    }
                }
                let metrics = tidegate.wait_metrics(stage, |metrics| {
                    metrics.count("tidegate_frontend_connections_open", &[]) == 0
                        && metrics.count("tidegate_server_requests_in_flight", &[]) == 0
                        && metrics.count("tidegate_server_connections_open", &[]) == 0
                });
                assert_eq!(metrics.count("tidegate_shard_panics_contained_total", &[]), 0);
                let back = || (tidegate.open_fds() <= fds).then_some(());
                tidegate.process().wait_until("the descriptors are back", back);
                assert_undisturbed(tidegate.address("web"));
            }
        }
    }
}

#[test]
fn a_thousand_dripping_clients_disturb_nobody_and_are_sent_away() {
    for shards in [1, 2] {
        tidegate_testkit::raise_descriptor_limit(4_000);
        let origin = Origin::start(script::answer_ok("hello"));
        let config =
            site(shards, [origin.address()]) + "frontends.web.timeouts.request_head = \"1500ms\"\n";
        let tidegate = tidegate().start(&config);
        let address = tidegate.address("web");
        let mut drips: Vec<Client> = (0..1_000).map(|_| Client::connect(address)).collect();
        let head: Vec<u8> =
            [b"GET / HTTP/1.1\r\nHost: a\r\nX: ".as_slice(), &[b'x'; 4_000]].concat();
        let pauses = Gate::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // A byte at a time, never a whole head, for longer than a head may take.
                for byte in &head[..30] {
                    for client in &mut drips {
                        // Sending fails once the program has closed.
                        let _ = client.try_send([*byte]);
                    }
                    assert!(!pauses.wait_at_most(Duration::from_millis(60)), "nobody opens it");
                }
            });
            assert_undisturbed(address);
        });
        let late = tidegate.wait_metrics("every dripping client is sent away", |metrics| {
            let labels = [("reason", "request_head_timeout")];
            metrics.count("tidegate_frontend_requests_failed_total", &labels) == 1_000
        });
        assert_eq!(late.count("tidegate_frontend_requests_total", &[("status", "4xx")]), 1_000);
        for client in &mut drips {
            // What they still send while being sent away may reset the connection, answer and all.
            if let Ok(response) = client.try_read_response_to("GET") {
                assert_eq!(response.status, 408);
            }
        }
        drop(drips);
        wait_quiet(&tidegate);
        assert_eq!(origin.requests_count(), 20, "nothing of them reached a server");
    }
}

#[test]
fn a_flood_of_silent_connections_is_closed_and_costs_little() {
    const FLOOD: usize = 2_000;
    for shards in [1, 2] {
        tidegate_testkit::raise_descriptor_limit(8_000);
        let origin = Origin::start(script::answer_ok("hello"));
        let config =
            site(shards, [origin.address()]) + "frontends.web.timeouts.request_head = \"1s\"\n";
        let tidegate = tidegate().start(&config);
        let address = tidegate.address("web");
        assert_undisturbed(address);
        wait_quiet(&tidegate);
        let (bytes_before, fds_before) = (tidegate.process().resident_bytes(), tidegate.open_fds());
        let mut flood: Vec<Client> = (0..FLOOD).map(|_| Client::connect(address)).collect();
        assert_undisturbed(address);
        let growth = tidegate.process().resident_bytes().saturating_sub(bytes_before);
        // No buffer for a connection on which nothing came; a margin for what the allocator rounds.
        assert!(growth < 2_048 * FLOOD as u64, "{growth} bytes for {FLOOD} connections");
        for client in &mut flood {
            assert_eq!(client.expect_end(), End::Eof);
        }
        let metrics = wait_quiet(&tidegate);
        assert!(metrics.count("tidegate_frontend_connections_empty_total", &[]) >= FLOOD as u64);
        assert_eq!(metrics.count("tidegate_frontend_requests_total", &[("status", "4xx")]), 0);
        let back = || (tidegate.open_fds() <= fds_before).then_some(());
        tidegate.process().wait_until("the descriptors are back", back);
    }
}

#[test]
fn a_client_that_reads_nothing_is_cut_off() {
    for shards in [1, 2] {
        let origin = staged_origin();
        let config =
            site(shards, [origin.address()]) + "frontends.web.timeouts.client = \"300ms\"\n";
        let tidegate = tidegate().start(&config);
        let mut client = Client::connect_with_receive_buffer(tidegate.address("web"), 4_096);
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        let line = tidegate.wait_log(|line| line.is_event("request_failed"));
        assert_eq!(line.field("reason").as_deref(), Some("client_timeout"), "{}", line.text);
        wait_quiet(&tidegate);
        assert_undisturbed(tidegate.address("web"));
    }
}

#[test]
fn an_idle_client_is_closed_after_its_time() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let config =
            site(shards, [origin.address()]) + "frontends.web.timeouts.keep_alive = \"300ms\"\n";
        let tidegate = tidegate().start(&config);
        let mut client = Client::connect(tidegate.address("web"));
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "hello");
            client.expect_silence(Duration::from_millis(100));
        }
        let before = Instant::now();
        client.expect_eof();
        assert!(before.elapsed() < Duration::from_secs(5));
        wait_quiet(&tidegate);
    }
}

/// One client of the storm: does something, good or bad, and leaves.
fn visit(address: SocketAddr, rng: &mut Rng) {
    let mut client = Client::connect(address);
    let (_, sent) = *rng.choose(&STAGES);
    let prefix = &sent[..rng.below(sent.len() + 1)];
    match rng.below(8) {
        // Bad: a part of a request, or bytes that are none, and gone.
        0 => drop(client.try_send(prefix)),
        1 => {
            let _ = client.try_send(prefix);
            client.reset();
        }
        2 => {
            let garbage = rng.bytes(200);
            let _ = client.try_send(garbage);
        }
        3 => {
            let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
            let answer = client.try_read_response_to("GET").expect("a refusal is well-formed");
            assert_eq!(answer.status, 400);
        }
        4 => {
            // Part of a large response.
            client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
            client.read_exactly(1 + rng.below(300_000));
        }
        5 => {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(5));
            (0..rng.below(6)).for_each(|_| assert_eq!(client.read_response().text(), "hello"));
        }
        6 => {
            client.send("GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.read_head().status, 200);
        }
        // Good.
        _ => (0..10).for_each(|_| assert_eq!(client.get("/").text(), "hello")),
    }
}

/// What a receive buffer takes, with its share of what is around it.
const BUFFER_BYTES_MAX: u64 = 36 << 10;

#[test]
fn after_a_storm_of_good_and_bad_clients_everything_is_as_before() {
    for shards in [1, 2] {
        let seed = seed();
        let origin = staged_origin();
        let config = site(shards, [origin.address()])
            + NO_TIMEOUTS
            + "frontends.web.timeouts.request_head = \"500ms\"\nbackends.app.pool.idle_timeout = \"100ms\"\n";
        let tidegate = tidegate().start(&config);
        let address = tidegate.address("web");
        let storm = |round: u64| {
            std::thread::scope(|scope| {
                for thread in 0..16 {
                    let mut rng = Rng::new(seed.value() ^ (round << 32) ^ thread);
                    scope.spawn(move || (0..25).for_each(|_| visit(address, &mut rng)));
                }
            });
            wait_quiet(&tidegate);
            tidegate.wait_metrics("idle server connections are closed", |metrics| {
                metrics.count("tidegate_server_connections_open", &[]) == 0
            })
        };
        let fds_before = tidegate.open_fds();
        let bytes_before = tidegate.process().resident_bytes();
        let [.., last] = [0, 1, 2, 3].map(storm);
        let back = || (tidegate.open_fds() <= fds_before).then_some(());
        tidegate.process().wait_until("the descriptors are back", back);
        // Receive buffers and tasks are kept for the next peak.
        let buffers_bytes = last.count("tidegate_shard_buffers", &[]) * BUFFER_BYTES_MAX;
        let allowed = bytes_before + buffers_bytes + (8 << 20);
        let bytes = tidegate.process().resident_bytes();
        assert!(
            bytes <= allowed,
            "{bytes} bytes, {bytes_before} before, {buffers_bytes} in buffers"
        );
        let tasks = last.count("tidegate_shard_tasks", &[]);
        assert!(tasks < 200, "{tasks} tasks after 1,600 connections, 16 at a time");
        assert_eq!(last.count("tidegate_shard_panics_contained_total", &[]), 0);
        let accepted = last.count("tidegate_shard_connections_accepted_total", &[]);
        assert!(accepted >= 4 * 16 * 25, "{accepted}");
        assert_undisturbed(address);
    }
}

//! The admin listener and the log: what they say is what happened.
//!
//! Owns the truth of metrics against requests that the test counts itself, the health endpoints,
//! and the form of the log. Leaves the text format's details to the unit tests of the metrics.

use std::time::Instant;

use tidegate_testkit::{
    Builder, Client, End, LogLine, Metrics, Origin, Output, Signal, Tidegate, refused_address,
    script, site, tools,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// Answers `/404` with that status and anything else with its own length of body.
fn origin() -> Origin {
    Origin::start(script::answer_with(|_, request| match request.target[1..].parse::<u16>() {
        Ok(status @ 200..=599) => script::response(status, "As Asked", &[], "asked"),
        _ => script::ok("hello"),
    }))
}

#[test]
fn counters_match_the_requests_that_were_made() {
    for shards in [1, 2] {
        let origin = origin();
        let refused = refused_address();
        let config = site(shards, [origin.address()])
            + &format!(
                "frontends.broken.bind = [\"127.0.0.1:0\"]\nfrontends.broken.default_backend = \"down\"\n\
                 backends.down.retries = 0\nbackends.down.servers.x = \"{}\"\n",
                refused.address()
            );
        let tidegate = tidegate().start(&config);
        let (mut sent, mut received) = (0, 0);
        for statuses in [&[200, 200, 404][..], &[201, 302, 500, 503], &[200]] {
            let mut client = Client::connect(tidegate.address("web"));
            for status in statuses {
                let request =
                    format!("POST /{status} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
                sent += request.len() as u64;
                client.send(request);
                assert_eq!(client.read_response_to("POST").status, *status);
            }
            received += client.received().len() as u64;
        }
        let mut rejected = Client::connect(tidegate.address("web"));
        let bad = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
        sent += bad.len() as u64;
        rejected.send(bad);
        assert_eq!(rejected.read_response().status, 400);
        received += rejected.received().len() as u64;
        drop(rejected);
        drop(Client::connect(tidegate.address("web")));
        assert_eq!(Client::connect(tidegate.address("broken")).get("/").status, 503);

        let metrics = tidegate.wait_metrics("every connection is closed", |metrics| {
            metrics.count("tidegate_frontend_connections_open", &[]) == 0
                && metrics.count("tidegate_frontend_connections_empty_total", &[]) == 1
        });
        let web = [("frontend", "web")];
        for (status, count) in
            [("2xx", 4), ("3xx", 1), ("4xx", 2), ("5xx", 2), ("1xx", 0), ("other", 0)]
        {
            let labels = [web[0], ("status", status)];
            assert_eq!(
                metrics.count("tidegate_frontend_requests_total", &labels),
                count,
                "{status}"
            );
        }
        let expected = [
            ("tidegate_frontend_connections_total", 5),
            ("tidegate_frontend_received_bytes_total", sent),
            ("tidegate_frontend_sent_bytes_total", received),
            ("tidegate_frontend_requests_rejected_total", 1),
            ("tidegate_frontend_requests_failed_total", 0),
            ("tidegate_frontend_request_duration_seconds_count", 8),
        ];
        for (family, count) in expected {
            assert_eq!(metrics.count(family, &web), count, "{family}");
        }
        let reason = [web[0], ("reason", "host_repeated")];
        assert_eq!(metrics.count("tidegate_frontend_requests_rejected_total", &reason), 1);
        assert_servers(&metrics, &origin);
        let down = [("backend", "down")];
        let refused = [down[0], ("reason", "connect_refused")];
        assert_eq!(metrics.count("tidegate_backend_requests_failed_total", &refused), 1);
        assert_eq!(metrics.count("tidegate_server_attempts_failed_total", &refused), 1);
        assert_eq!(metrics.count("tidegate_server_connects_failed_total", &down), 1);
    }
}

/// What the metrics say of the servers of `app` is what their origin saw.
#[track_caller]
fn assert_servers(metrics: &Metrics, origin: &Origin) {
    let app = [("backend", "app")];
    let sent_to_server = origin.received_bytes_total() as u64;
    let requests = origin.requests_count() as u64;
    let connections = origin.connections_count() as u64;
    let expected = [
        ("tidegate_backend_requests_total", requests),
        ("tidegate_backend_request_duration_seconds_count", requests),
        ("tidegate_backend_retries_total", 0),
        ("tidegate_backend_sent_bytes_total", sent_to_server),
        ("tidegate_server_requests_total", requests),
        ("tidegate_server_sent_bytes_total", sent_to_server),
        ("tidegate_server_connections_total", connections),
        ("tidegate_server_connections_reused_total", requests - connections),
        ("tidegate_server_requests_in_flight", 0),
    ];
    for (family, count) in expected {
        assert_eq!(metrics.count(family, &app), count, "{family}");
    }
    let received = metrics.count("tidegate_server_received_bytes_total", &app);
    assert_eq!(metrics.count("tidegate_backend_received_bytes_total", &app), received);
    let answers: usize = origin
        .requests()
        .iter()
        .map(|request| {
            let status = request.target[1..].parse().expect("the test asks for statuses");
            script::response(status, "As Asked", &[], "asked").len()
        })
        .sum();
    assert_eq!(received, answers as u64);
}

#[test]
fn bytes_of_chunked_and_large_bodies_are_counted_as_they_are_on_the_wire() {
    for shards in [1, 2] {
        let large = "x".repeat(1_000_000);
        let origin = Origin::start(script::answer(script::ok_chunked(&["hello", &large, "end"])));
        let tidegate = tidegate().start(&site(shards, [origin.address()]));
        let mut client = Client::connect(tidegate.address("web"));
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
        client.send(head).send(&body);
        assert_eq!(client.read_response_to("POST").body.len(), 8 + large.len());
        let metrics = tidegate.metrics();
        let sent = (head.len() + body.len()) as u64;
        let received = client.received().len() as u64;
        assert_eq!(metrics.count("tidegate_frontend_received_bytes_total", &[]), sent);
        assert_eq!(metrics.count("tidegate_frontend_sent_bytes_total", &[]), received);
        let at_origin = origin.received_bytes_total() as u64;
        assert_eq!(metrics.count("tidegate_server_sent_bytes_total", &[]), at_origin);
    }
}

#[test]
fn a_scrape_counts_every_request_of_a_load() {
    for shards in [1, 2] {
        let origin = origin();
        let tidegate = tidegate().start(&site(shards, [origin.address()]));
        let url = format!("http://{}/", tidegate.address("web"));
        let load = tools::h2load_http1(&url, 16, 5_000, &[]);
        assert_eq!(
            (load.requests_count, load.failed_statuses_count, load.errors_count),
            (5_000, 0, 0)
        );
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_frontend_requests_total", &[("status", "2xx")]), 5_000);
        assert_eq!(metrics.count("tidegate_frontend_connections_total", &[]), 16);
        assert_eq!(metrics.count("tidegate_server_requests_total", &[]), 5_000);
        let buckets = "tidegate_frontend_request_duration_seconds_bucket";
        assert_eq!(metrics.count(buckets, &[("le", "+Inf")]), 5_000);
        let mut last = 0.0;
        for bucket in metrics.matching(buckets, &[("frontend", "web")]) {
            assert!(bucket.value >= last, "buckets add up: {bucket:?} after {last}");
            last = bucket.value;
        }
        let turns =
            |shard: &str| metrics.count("tidegate_shard_ring_enters_total", &[("shard", shard)]);
        (0..shards).for_each(|shard| assert!(turns(&shard.to_string()) > 0));
    }
}

#[test]
fn the_health_endpoints_and_nothing_else() {
    let origin = origin();
    let tidegate = tidegate().start(&site(2, [origin.address()]));
    assert_eq!(tidegate.admin_get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(tidegate.admin_get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(tidegate.admin_get("/readyz?verbose").0, 200);
    for path in ["/", "/metrics/", "/metric", "/admin"] {
        let (status, text) = tidegate.admin_get(path);
        assert_eq!(status, 404, "{path}");
        assert!(text.contains("/metrics"), "{text}");
    }
    let mut client = Client::connect(tidegate.admin());
    for method in ["POST", "DELETE", "OPTIONS"] {
        client.send(format!("{method} /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.read_response_to(method);
        assert_eq!(
            (response.status, response.headers.value("allow")),
            (405, Some("GET, HEAD")),
            "{method}"
        );
    }
    client.send("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response_to("HEAD").status, 200);
    let metrics = client.get("/metrics");
    assert_eq!(
        metrics.headers.value("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    client.send("GET /metrics HTTP/1.1\r\n\r\n");
    assert_eq!(client.read_response().status, 400, "a request without Host");
    client.expect_end();
    let url = format!("http://{}/metrics", tidegate.admin());
    assert!(tools::curl_ok(&[&url]).contains("\ntidegate_build_info{"));
    assert_eq!(
        tidegate.metrics().count("tidegate_frontend_connections_total", &[]),
        0,
        "none is a client"
    );
}

#[test]
fn a_flood_of_the_admin_port_is_bounded_and_disturbs_no_client() {
    for shards in [1, 2] {
        let origin = origin();
        let tidegate = tidegate().start(&site(shards, [origin.address()]));
        let (fds, address) = (tidegate.open_fds(), tidegate.admin());
        let mut flood: Vec<Client> = (0..300).map(|_| Client::connect(address)).collect();
        let refused = flood.split_off(64);
        for mut client in refused {
            client.expect_end();
        }
        // 64 connections stay, each with one descriptor.
        assert!(tidegate.open_fds() <= fds + 64 + origin.connections_count() + 1);
        let mut client = Client::connect(tidegate.address("web"));
        assert_eq!(client.get("/").text(), "hello");
        for admin in &mut flood {
            assert_eq!(admin.get("/healthz").status, 200);
        }
        drop(flood);
        tidegate.process().wait_until("there is room again", || {
            let mut client = Client::connect(address);
            client.try_send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
            client.try_read_response_to("GET").ok()
        });
        tidegate.process().wait_until("the descriptors are back", || {
            (tidegate.open_fds() <= fds + origin.connections_count() + 1).then_some(())
        });
    }
}

#[test]
fn a_slow_admin_client_is_sent_away() {
    let tidegate = tidegate().start(&site(1, ["127.0.0.1:1"]));
    let mut slow = Client::connect(tidegate.admin());
    slow.send("GET /metr");
    let mut idle = Client::connect(tidegate.admin());
    assert_eq!(idle.get("/healthz").status, 200);
    // Each gets 10 s.
    assert_eq!(slow.expect_end(), End::Eof);
    assert_eq!(idle.expect_end(), End::Eof);
}

/// Whether every word of a line is `key=value`, quoted where it has to be.
fn is_logfmt(line: &str) -> bool {
    let mut rest = line;
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else { return false };
        let well_named = |char: char| char.is_ascii_lowercase() || char == '_';
        if key.is_empty() || !key.chars().all(well_named) {
            return false;
        }
        let end = if let Some(quoted) = after.strip_prefix('"') {
            let mut escaped = false;
            let closing = quoted.find(|char| {
                let closes = char == '"' && !escaped;
                escaped = char == '\\' && !escaped;
                closes
            });
            match closing {
                Some(place) => place + 2,
                None => return false,
            }
        } else {
            let end = after.find(' ').unwrap_or(after.len());
            if after[..end].contains('"') || end == 0 {
                return false;
            }
            end
        };
        rest = match after[end..].strip_prefix(' ') {
            Some("") => return false,
            Some(rest) => rest,
            None if after.len() == end => return true,
            None => return false,
        };
    }
    true
}

#[test]
fn the_check_of_log_lines_tells_good_from_bad() {
    for good in ["a=b", "a=b c_d=\"e f\"", "a=\"x \\\"y\\\" \\\\\" b=1", "a=\"\""] {
        assert!(is_logfmt(good), "{good}");
    }
    for bad in
        ["a", "a=b c", "a=b  c=d", "a=\"b", "a=b\"c", "A=b", "=b", "a=b ", "a= b=c", "a=\"b\"c"]
    {
        assert!(!is_logfmt(bad), "{bad}");
    }
}

#[test]
fn every_line_of_the_log_is_logfmt() {
    let origin = Origin::start(script::answer_and_close("HTTP/1.1 200 \u{7f}\u{1}\r\n\r\n"));
    let refused = refused_address();
    let config = site(2, [origin.address()]) + "backends.app.retries = 0\n";
    let mut tidegate = tidegate().start(&config);
    let address = tidegate.address("web");
    assert_eq!(Client::connect(address).get("/").status, 502);
    for bad in [
        "GET / HTTP/1.1\r\n\r\n",
        "G\"E=T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\"a=b\n: c\r\n\r\n",
        "\r\n\0",
    ] {
        let mut client = Client::connect(address);
        client.send(bad).half_close();
        let _ = client.try_read_response_to("GET");
    }
    let next = site(2, [refused.address()]) + "backends.app.retries = 0\n";
    assert!(tidegate.reload(&next).is_event("reloaded"));
    assert_eq!(Client::connect(address).get("/").status, 503);
    let elsewhere = next.replace("web.bind = [\"127.0.0.1:0\"]", "web.bind = [\"192.0.2.1:1\"]");
    assert!(tidegate.reload(&elsewhere).is_event("reload_failed"));
    assert!(tidegate.reload("bind = ").is_event("reload_failed"));
    tidegate.signal(Signal::TERM);
    assert!(tidegate.wait_exit(tidegate_testkit::Deadline::default()).success());
    let is_event = |line: &&LogLine| line.text.contains("event=");
    let lines = tidegate.process().lines();
    let events: Vec<&LogLine> = lines.iter().filter(is_event).collect();
    assert!(events.len() > 10, "{lines:?}");
    for line in events {
        assert_eq!(line.output, Output::Stderr, "{}", line.text);
        assert!(is_logfmt(&line.text), "{}", line.text);
        assert!(line.text.starts_with("time="), "{}", line.text);
        let level = line.field("level").unwrap_or_default();
        assert!(["info", "warn", "error"].contains(&&*level), "{}", line.text);
    }
    assert!(!lines.iter().any(|line| line.output == Output::Stdout), "{lines:?}");
}

#[test]
fn a_flood_of_failures_is_no_flood_of_lines() {
    const REQUESTS: u64 = 3_000;
    for shards in [1, 2] {
        let refused = refused_address();
        let config = site(shards, [refused.address()]) + "backends.app.retries = 0\n";
        let tidegate = tidegate().start(&config);
        let before = Instant::now();
        let mut client = Client::connect(tidegate.address("web"));
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/").status, 503);
        }
        let counts = || {
            let lines = tidegate.process().lines();
            let written = lines.iter().filter(|line| line.is_event("request_failed")).count();
            let summaries = lines.iter().filter(|line| line.is_event("log_lines_suppressed"));
            let left_out = summaries.map(|line| {
                assert_eq!(line.field("of").as_deref(), Some("request_failed"), "{}", line.text);
                line.field("count").and_then(|count| count.parse::<u64>().ok()).expect("a count")
            });
            (written as u64, left_out.sum::<u64>())
        };
        // The end of the flood is said too: each request is in the log once, as a line or in a sum.
        let (written, left_out) = tidegate.process().wait_until("everything is told", || {
            Some(counts()).filter(|(written, left_out)| written + left_out == REQUESTS)
        });
        let seconds = before.elapsed().as_secs() + 1;
        assert!((1_000..=1_000 + 100 * seconds).contains(&written), "{written} in {seconds} s");
        let metrics = tidegate.metrics();
        let suppressed = "tidegate_log_lines_suppressed_total";
        assert_eq!(metrics.count(suppressed, &[("event", "request_failed")]), left_out);
        assert_eq!(metrics.count(suppressed, &[]), left_out);
        assert_eq!(metrics.count("tidegate_frontend_requests_failed_total", &[]), REQUESTS);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    // The pipe of a reader that has gone: every write to it fails.
    let origin = origin();
    let refused = refused_address();
    let more = format!(
        "frontends.broken.bind = [\"127.0.0.1:0\"]\nfrontends.broken.default_backend = \"down\"\n\
         backends.down.retries = 0\nbackends.down.servers.x = \"{}\"\n",
        refused.address()
    );
    let wrapper = ["bash", "-c", "exec \"$@\" 2> >(head -n 5 >&2)", "bash"];
    let tidegate = tidegate().wrapped_in(&wrapper).start(&(site(2, [origin.address()]) + &more));
    let mut client = Client::connect(tidegate.address("broken"));
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 503);
    }
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "hello");
    assert_eq!(tidegate.metrics().count("tidegate_backend_requests_failed_total", &[]), 200);
}

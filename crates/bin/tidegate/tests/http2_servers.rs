//! Owns HTTP/2 to servers: what a request looks like there, how its response comes back, and on how many connections.
//!
//! Leaves servers that misbehave to `http2_servers_trouble` and gRPC to `grpc`. Invariant: no test knows which shard serves it.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod http2;
#[path = "support/tls.rs"]
mod tls;

use http::{client, on_one_and_two_shards, patterned, start, wait_nothing_in_flight};
use http2::start_http2;
use std::thread;
use tidegate_testkit::http2::kind;
use tidegate_testkit::{Client, Gate, Http2Client, Http2Origin, Nginx, Tidegate};
use tls::Ground;

/// The lines of a backend that speaks HTTP/2.
const H2: &str = "backends.app.protocol = \"h2\"\n";

fn opened(tidegate: &Tidegate) -> u64 {
    tidegate.metrics().count("tidegate_server_connections_total", &[])
}

#[test]
fn a_request_reaches_the_server_as_http2_and_its_response_comes_back() {
    on_one_and_two_shards(|shards| {
        let origin = Http2Origin::answering(&[], |connection, request| {
            let fields = [(":status", "201"), ("x-own", "1"), ("content-length", "5")];
            connection.send_fields(request.stream, &fields, false)?;
            connection.send_data(request.stream, b"hello", true)
        });
        let tidegate = start(shards, [origin.address()], H2);
        let mut client = client(&tidegate);
        client.send(
            "GET /path?q=1 HTTP/1.1\r\nHost: a.example:81\r\nCookie: a=1; b=2\r\nX-Own: 2\r\n\
             Connection: x-hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n",
        );
        let response = client.read_response();
        assert_eq!((response.status, response.text()), (201, "hello"));
        assert_eq!(response.headers.value("x-own"), Some("1"));
        assert_eq!(response.headers.value("content-length"), Some("5"));
        let requests = origin.requests();
        let [seen] = &requests[..] else { panic!("{requests:?}") };
        for (name, value) in [
            (":method", Some("GET")),
            (":path", Some("/path?q=1")),
            (":scheme", Some("http")),
            (":authority", Some("a.example:81")),
            ("x-own", Some("2")),
            ("te", Some("trailers")),
            ("host", None),
            ("connection", None),
            ("x-hop", None),
        ] {
            assert_eq!(seen.field(name), value, "{name}");
        }
        let cookies = seen.fields.iter().filter(|(name, _)| name == "cookie");
        assert_eq!(cookies.map(|(_, value)| &**value).collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert!(seen.ended, "without a body the fields end it");
    });
}

#[test]
fn nginx_answers_every_kind_of_request() {
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start_http2(
            "location = /say { return 200 \"$server_protocol $request_method $http_te\\n\"; }\n\
             location = /none { return 204; }\n\
             location = /no { return 503 \"no\\n\"; }\n",
        );
        let large = patterned(3_000_000);
        nginx.write_file("large", &large);
        let tidegate = start(shards, [nginx.address()], H2);
        let mut client = client(&tidegate);
        assert_eq!(client.get("/say").text(), "HTTP/2.0 GET trailers\n");
        assert_eq!(client.get("/none").status, 204);
        assert_eq!(client.get("/no").status, 503);
        assert!(client.get("/large").body == large, "a large body");
        client.send("HEAD /large HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.read_response_to("HEAD");
        assert_eq!(head.headers.value("content-length"), Some("3000000"));
        client.send("POST /say HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.read_response().text(), "HTTP/2.0 POST trailers\n");
        assert_eq!(client.get("/say").status, 200);
        wait_nothing_in_flight(&tidegate);
        assert_eq!(tidegate.metrics().count("tidegate_server_http2_streams_open", &[]), 0);
        assert_eq!(opened(&tidegate), 1);
    });
}

#[test]
fn nginx_takes_its_leave_and_no_request_is_lost() {
    // It says GOAWAY after so many requests, with more on their way.
    let nginx = Nginx::start_http2("keepalive_requests 20;\nlocation / { return 200 ok; }\n");
    let tidegate = start_http2(2, [nginx.address()], H2);
    let clients: Vec<_> = (0..4)
        .map(|_| Http2Client::connect(tidegate.address("web")))
        .map(|mut client| {
            thread::spawn(move || {
                for round in 0..20_u32 {
                    let streams = (0..10).map(|place| round * 20 + place * 2 + 1);
                    streams.clone().for_each(|stream| client.get(stream, "/"));
                    streams.for_each(|stream| assert_eq!(client.answer(stream).status, 200));
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("every request was answered"));
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_backend_requests_total", &[("status", "2xx")]), 800);
    let left =
        metrics.count("tidegate_server_http2_connections_ended_total", &[("reason", "goaway")]);
    assert!(left >= 20, "{left}");
    assert!(
        !tidegate.process().lines().iter().any(|line| line.is_event("server_connection_ended"))
    );
}

#[test]
fn bodies_of_unknown_length_and_trailers_pass_both_ways() {
    on_one_and_two_shards(|shards| {
        let origin = Http2Origin::answering(&[], |connection, request| {
            let (body, trailers) = connection.read_body(request.stream)?;
            assert_eq!(trailers, [("x-sum".to_owned(), "7".to_owned())]);
            connection.send_fields(request.stream, &[(":status", "200")], false)?;
            connection.send_data(request.stream, &body, false)?;
            connection.send_fields(request.stream, &[("x-end", "8")], true)
        });
        let tidegate = start(shards, [origin.address()], H2);
        let mut client = client(&tidegate);
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
             3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 7\r\n\r\n",
        );
        let response = client.read_response();
        assert_eq!(response.text(), "abcde");
        assert_eq!(response.trailers.value("x-end"), Some("8"));
        assert_eq!(origin.requests()[0].field("transfer-encoding"), None);
    });
}

#[test]
fn trailers_that_are_announced_pass_behind_content_with_a_length() {
    on_one_and_two_shards(|shards| {
        let origin = Http2Origin::answering(&[], |connection, request| {
            let fields = [(":status", "200"), ("content-length", "5"), ("trailer", "x-sum")];
            connection.send_fields(request.stream, &fields, false)?;
            let data = if request.field(":path") == Some("/short") { "abc" } else { "hello" };
            connection.send_data(request.stream, data.as_bytes(), false)?;
            connection.send_fields(request.stream, &[("x-sum", "7")], true)
        });
        let tidegate = start(shards, [origin.address()], H2);
        let mut whole = client(&tidegate);
        for _ in 0..2 {
            let response = whole.get("/");
            assert_eq!((response.text(), response.trailers.value("x-sum")), ("hello", Some("7")));
        }
        // The length still holds.
        let mut short = client(&tidegate);
        short.send("GET /short HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(short.try_read_response_to("GET").is_err(), "it is cut");
    });
}

#[test]
fn a_large_body_waits_for_the_windows_of_its_server() {
    on_one_and_two_shards(|shards| {
        let origin = Http2Origin::answering(&[], |connection, request| {
            let (body, _) = connection.read_body(request.stream)?;
            let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>().to_string();
            connection.respond(request.stream, "200", &sum)
        });
        let tidegate = start(shards, [origin.address()], H2);
        let mut client = client(&tidegate);
        let body = patterned(1_000_000);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
        client.send(&body);
        let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        assert_eq!(client.read_response().text(), sum.to_string());
    });
}

#[test]
fn interim_responses_come_first_and_a_body_waits_for_its_100() {
    on_one_and_two_shards(|shards| {
        let origin = Http2Origin::answering(&[], |connection, request| {
            let hints = [(":status", "103"), ("link", "</a>")];
            connection.send_fields(request.stream, &hints, false)?;
            if request.field("expect").is_some() {
                connection.send_fields(request.stream, &[(":status", "100")], false)?;
                let (body, _) = connection.read_body(request.stream)?;
                assert_eq!(body, b"abc");
            }
            connection.respond(request.stream, "200", "done")
        });
        let tidegate = start(shards, [origin.address()], H2);
        let mut client = client(&tidegate);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let hints = client.read_head();
        assert_eq!((hints.status, hints.headers.value("link")), (103, Some("</a>")));
        assert_eq!(client.read_response().text(), "done");
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.read_head().status, 103);
        assert_eq!(client.read_head().status, 100);
        client.send("abc");
        assert_eq!(client.read_response().text(), "done");
    });
}

#[test]
fn an_answer_before_the_whole_request_is_passed_on() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        connection.respond(request.stream, "413", "too much")?;
        // RFC 9113 §8.1: the rest is not wanted.
        connection.reset(request.stream, 0)
    });
    let tidegate = start(1, [origin.address()], H2);
    let mut client = client(&tidegate);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc");
    let response = client.read_response();
    assert_eq!((response.status, response.text()), (413, "too much"));
}

#[test]
fn requests_share_a_connection_and_another_is_opened_by_load() {
    for (settings, own, expected) in [
        (&[][..], "", 1),
        // As the server says, or as we do.
        (&[(3, 2)], "", 3),
        (&[], "backends.app.http2 = { max_streams = 3 }\n", 2),
    ] {
        let gate = Gate::new();
        let origin = Http2Origin::start({
            let gate = gate.clone();
            move |connection| {
                connection.begin(settings)?;
                let mut waiting = Vec::new();
                let quota = if settings.is_empty() { usize::MAX } else { 2 };
                while let Some(request) = connection.read_request()? {
                    if request.field(":path") == Some("/now") {
                        connection.respond(request.stream, "200", "now")?;
                        continue;
                    }
                    waiting.push(request.stream);
                    assert!(waiting.len() <= quota, "more streams than the server allows");
                    if waiting.len() == quota.min(6 / expected) {
                        gate.wait();
                        for stream in waiting.drain(..) {
                            connection.respond(stream, "200", "waited")?;
                        }
                    }
                }
                Ok(())
            }
        });
        let tidegate = start_http2(1, [origin.address()], &format!("{H2}{own}"));
        let mut client = Http2Client::connect(tidegate.address("web"));
        for stream in (1..12).step_by(2) {
            client.get(stream, "/");
        }
        tidegate.wait_metrics("all at the server", |metrics| {
            metrics.count("tidegate_server_http2_streams_open", &[]) == 6
        });
        assert_eq!(opened(&tidegate), expected as u64, "{settings:?} {own}");
        gate.open();
        for stream in (1..12).step_by(2) {
            assert_eq!(client.answer(stream).body, b"waited");
        }
        client.get(13, "/now");
        assert_eq!(client.answer(13).body, b"now");
        assert_eq!(opened(&tidegate), expected as u64);
    }
}

#[test]
fn limits_and_queues_count_streams() {
    let gate = Gate::new();
    let origin = Http2Origin::start({
        let gate = gate.clone();
        move |connection| {
            connection.begin(&[])?;
            let first = connection.read_request()?.expect("two come");
            let second = connection.read_request()?.expect("two come");
            gate.wait();
            for request in [first, second] {
                connection.respond(request.stream, "200", "ok")?;
            }
            while let Some(request) = connection.read_request()? {
                connection.respond(request.stream, "200", "ok")?;
            }
            Ok(())
        }
    });
    let more = format!(
        "{H2}backends.app.servers.s2 = {{ address = \"{}\", max_connections = 2 }}\n",
        origin.address()
    );
    let none: [&str; 0] = [];
    let tidegate = start_http2(1, none, &more);
    let mut client = Http2Client::connect(tidegate.address("web"));
    for stream in [1, 3, 5, 7] {
        client.get(stream, "/");
    }
    tidegate.wait_metrics("two at the server and two waiting", |metrics| {
        metrics.count("tidegate_server_http2_streams_open", &[]) == 2
            && metrics.count("tidegate_backend_requests_queued", &[]) == 2
    });
    assert_eq!(origin.requests().len(), 2);
    gate.open();
    for stream in [1, 3, 5, 7] {
        assert_eq!(client.answer(stream).status, 200);
    }
    wait_nothing_in_flight(&tidegate);
}

#[test]
fn an_idle_connection_is_closed_after_its_time_and_one_too_many_at_once() {
    let origin = Http2Origin::start(|connection| {
        connection.begin(&[])?;
        let request = connection.read_request()?.expect("a request");
        connection.respond(request.stream, "200", "ok")?;
        while let Some(frame) = connection.read_frame()? {
            if frame.kind == kind::GOAWAY {
                assert_eq!(frame.number(4), 0, "in order");
            }
        }
        Ok(())
    });
    let more = format!("{H2}backends.app.pool = {{ idle_timeout = \"200ms\" }}\n");
    let tidegate = start(1, [origin.address()], &more);
    assert_eq!(client(&tidegate).get("/").status, 200);
    let ended = |reason: &'static str| {
        tidegate.wait_metrics("the connection has ended", |metrics| {
            let labels = [("reason", reason)];
            metrics.count("tidegate_server_http2_connections_ended_total", &labels) == 1
        })
    };
    let metrics = ended("idle");
    assert_eq!(metrics.count("tidegate_server_connections_open", &[]), 0);
    assert_eq!(metrics.count("tidegate_server_connections_idle", &[]), 0);
    tidegate.reload(&format!(
        "{}{H2}backends.app.pool = {{ max_idle = 0 }}\n",
        tidegate_testkit::site(1, [origin.address()])
    ));
    assert_eq!(client(&tidegate).get("/").status, 200);
    ended("left");
}

#[test]
fn a_client_that_does_not_read_holds_its_window_and_no_other_response() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        if request.field(":path") == Some("/small") {
            return connection.respond(request.stream, "200", "small");
        }
        connection.send_fields(request.stream, &[(":status", "200")], false)?;
        // As much as the window of a stream allows, and the rest never.
        for _ in 0..16 {
            connection.send_data(request.stream, &[b'a'; 16_384], false)?;
        }
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], H2);
    let mut slow = Http2Client::connect_with(tidegate.address("web"), &[(4, 0)]);
    for stream in (1..20).step_by(2) {
        slow.get(stream, "/large");
    }
    tidegate.wait_metrics("all at the server", |metrics| {
        metrics.count("tidegate_server_http2_streams_open", &[]) == 10
    });
    let mut quick = Http2Client::connect(tidegate.address("web"));
    for stream in (1..20).step_by(2) {
        quick.get(stream, "/small");
        assert_eq!(quick.answer(stream).body, b"small");
    }
    assert_eq!(opened(&tidegate), 1, "they share the connection");
    let received = tidegate.metrics().count("tidegate_server_received_bytes_total", &[]);
    assert!(received < 10 * 300 * 1024, "{received}");
}

/// A site in front of nginx with TLS, of which the backend says this.
fn start_tls(server: &str, with_http2: bool, backend: &str) -> (Nginx, Tidegate) {
    let ground = Ground::new();
    let identity = ground.authority.sign(&["s1.example"]);
    let (chain, key) =
        (ground.write("s1.pem", &identity.chain), ground.write("s1.key", &identity.key));
    let nginx = if with_http2 {
        Nginx::start_tls_http2(server, &chain, &key)
    } else {
        Nginx::start_tls(server, &chain, &key)
    };
    let tls = "backends.app.tls = { ca = \"ca.pem\", server_name = \"s1.example\" }\n";
    let config = tidegate_testkit::site(1, [nginx.address()]) + tls + backend;
    (nginx, ground.builder.start(&config))
}

#[test]
fn nginx_is_spoken_to_over_tls_as_it_chooses() {
    const SAY: &str = "location / { return 200 \"$server_protocol\"; }\n";
    for (with_http2, protocol, expected) in [
        (true, "h2", "HTTP/2.0"),
        (true, "auto", "HTTP/2.0"),
        (false, "auto", "HTTP/1.1"),
        (true, "http/1.1", "HTTP/1.1"),
    ] {
        let backend = format!("backends.app.protocol = \"{protocol}\"\n");
        let (_nginx, tidegate) = start_tls(SAY, with_http2, &backend);
        let answers: Vec<_> = (0..4)
            .map(|_| tidegate.address("web"))
            .map(|address| {
                thread::spawn(move || {
                    let mut client = Client::connect(address);
                    (0..5).map(|_| client.get("/").text().to_owned()).collect::<Vec<_>>()
                })
            })
            .collect();
        for answer in answers {
            let texts = answer.join().expect("all were answered");
            assert!(texts.iter().all(|text| text == expected), "{protocol}: {texts:?}");
        }
        wait_nothing_in_flight(&tidegate);
    }
}

#[test]
fn a_server_that_does_not_agree_on_h2_is_told_of() {
    let (_nginx, tidegate) = start_tls("", false, H2);
    let response = client(&tidegate).get("/");
    assert_eq!(response.status, 503);
    let line = tidegate.wait_log(|line| line.is_event("request_failed"));
    // By an alert (RFC 7301 §3.2); one that goes on without would be told from it.
    assert_eq!(line.field("reason").as_deref(), Some("connect_tls"), "{}", line.text);
}

#[test]
fn servers_are_checked_as_requests_are_made() {
    let nginx = Nginx::start_http2("location = /health { return 200 \"$server_protocol\"; }\n");
    let check = "backends.app.health_check = { path = \"/health\", expect_body = \"HTTP/2.0\", interval = \"50ms\", initial = \"down\" }\n";
    let tidegate = start(1, [nginx.address()], &format!("{H2}{check}"));
    tidegate
        .wait_metrics("the server is up", |metrics| metrics.count("tidegate_server_up", &[]) == 1);
    let metrics = tidegate.wait_metrics("several checks were made", |metrics| {
        metrics.count("tidegate_server_checks_total", &[]) >= 4
    });
    assert_eq!(
        metrics.count("tidegate_server_checks_total", &[]),
        metrics.count("tidegate_server_checks_total", &[("result", "passed")])
    );
}

//! Owns requests over HTTP/2: what of them reaches a server of HTTP/1.1, and what of its response comes back.
//!
//! Leaves what is refused to `http2_conformance` and what costs too much to `http2_floods`. Invariant: the server never sees that
//! its client speaks another version, but for what the proxy says of it.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod support;

use http::{on_one_and_two_shards, patterned, wait_in_flight, wait_nothing_in_flight};
use support::{client, start_http2};
use tidegate_testkit::http2::{code, flag, kind, request};
use tidegate_testkit::{
    Connection, Deadline, Gate, Http2Client, Origin, Tidegate, hpack, script, site, tools,
};

#[test]
fn a_request_reaches_the_server_as_http1_and_its_response_comes_back() {
    on_one_and_two_shards(|shards| {
        let fields = [("X-Own", "1"), ("Connection", "X-Hop"), ("X-Hop", "2")];
        let origin = Origin::start(script::answer(script::response(201, "Made", &fields, "hello")));
        let tidegate = start_http2(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let more = [("cookie", "a=1"), ("x-many", "1"), ("cookie", "b=2"), ("te", "trailers")];
        client.send_headers(1, &[&request("GET", "/path?q=1")[..], &more].concat(), true);
        let answer = client.answer(1);
        assert_eq!((answer.status, &answer.body[..], answer.reset), (201, &b"hello"[..], None));
        assert_eq!((answer.field("x-own"), answer.field("content-length")), (Some("1"), Some("5")));
        for gone in ["connection", "x-hop", "keep-alive", "transfer-encoding"] {
            assert_eq!(answer.field(gone), None, "{gone}");
        }
        let seen = origin.wait_requests(1);
        assert_eq!((&*seen.method, &*seen.target), ("GET", "/path?q=1"));
        assert_eq!(seen.headers.value("host"), Some("a.example"));
        assert_eq!(seen.headers.value("cookie"), Some("a=1; b=2"));
        assert!(!seen.headers.contains("te") && !seen.headers.contains("transfer-encoding"));
    });
}

#[test]
fn streams_of_one_connection_are_served_side_by_side() {
    on_one_and_two_shards(|shards| {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |mut connection: Connection| {
                while let Some(request) = connection.read_request()? {
                    if request.target == "/slow" {
                        gate.wait();
                    }
                    connection.send(script::ok(&request.target))?;
                }
                Ok(())
            }
        });
        let tidegate = start_http2(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.get(1, "/slow");
        client.get(3, "/fast");
        assert_eq!(client.answer(3).body, b"/fast");
        gate.open();
        assert_eq!(client.answer(1).body, b"/slow");
        for stream in (5..205).step_by(2) {
            client.get(stream, "/many");
        }
        for stream in (5..205).step_by(2) {
            assert_eq!(client.answer(stream).body, b"/many");
        }
        tidegate.wait_metrics("no stream open", |metrics| {
            metrics.count("tidegate_frontend_http2_streams_open", &[]) == 0
        });
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_frontend_http2_streams_total", &[]), 102);
        assert_eq!(metrics.count("tidegate_frontend_http2_connections_open", &[]), 1);
        assert_eq!(metrics.count("tidegate_frontend_connections_open", &[]), 1);
        assert_eq!(metrics.count("tidegate_frontend_connections_total", &[]), 1);
        assert_eq!(metrics.count("tidegate_frontend_requests_total", &[]), 102);
    });
}

#[test]
fn bodies_of_any_size_pass_both_ways_with_and_without_a_length() {
    let body = patterned(3_000_000);
    let origin = Origin::start(|mut connection: Connection| {
        while let Some(request) = connection.read_request()? {
            connection.send(script::ok(&request.body))?;
        }
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], "");
    let address = tidegate.address("web");
    let file = tidegate_testkit::TempDir::new();
    let path = file.write("body", String::from_utf8(body.clone()).expect("text"));
    let data = format!("@{}", path.display());
    for more in [&["-H", "Transfer-Encoding:"][..], &["-H", "Content-Length:"]] {
        let url = format!("http://{address}/");
        let fixed = ["--http2-prior-knowledge", "--data-binary", &data, &url];
        assert!(tools::curl_ok(&[&fixed[..], more].concat()).as_bytes() == body);
    }
    // Chunked by the client: no length is known.
    let mut client = client(&tidegate);
    client.send_headers(1, &request("POST", "/"), false);
    client.send_data(1, &body[..50_000], false);
    client.send_data(1, &body[50_000..60_000], false);
    client.send_data(1, b"", true);
    assert!(client.answer(1).body == body[..60_000]);
    assert_eq!(
        origin
            .requests()
            .last()
            .and_then(|request| request.headers.value("transfer-encoding").map(str::to_owned))
            .as_deref(),
        Some("chunked")
    );
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::start(|mut connection: Connection| {
        while connection.read_request()?.is_some() {
            connection.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n2\r\nhi\r\n0\r\nGrpc-Status: 0\r\n\r\n",
            )?;
        }
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    client.send_headers(1, &request("POST", "/"), false);
    client.send_data(1, b"data", false);
    client.send_headers(1, &[("x-sum", "7")], true);
    let answer = client.answer(1);
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
    assert_eq!(answer.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
    assert!(http::holds(&origin.received(0), "0\r\nx-sum: 7\r\n\r\n"));
}

#[test]
fn responses_without_content_end_with_their_fields() {
    let origin = Origin::start(script::answer_with(|_, request| match &*request.target {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec(),
        "/close" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
        _ => script::ok(""),
    }));
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    for (stream, method, path, status) in [
        (1, "GET", "/204", 204),
        (3, "GET", "/304", 304),
        (5, "GET", "/", 200),
        (7, "HEAD", "/close", 200),
    ] {
        client.send_headers(stream, &request(method, path), true);
        let head = client.find_frame(|frame| frame.stream == stream).expect("an answer");
        assert_eq!((head.kind, head.flags), (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM));
        assert_eq!(hpack::read_block(&head.payload)[0].1, status.to_string());
    }
}

#[test]
fn interim_responses_come_before_the_final_one() {
    let origin = Origin::start(|mut connection: Connection| {
        while connection.read_request_head()?.is_some() {
            connection.send(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
            )?;
            assert_eq!(connection.read_exactly(4)?, b"body");
            connection.send(script::ok("done"))?;
        }
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    let more = [("content-length", "4"), ("expect", "100-continue")];
    client.send_headers(1, &[&request("PUT", "/")[..], &more].concat(), false);
    for status in ["103", "100"] {
        let frame = client.find_frame(|frame| frame.stream == 1).expect("an interim response");
        assert_eq!(hpack::read_block(&frame.payload)[0].1, status);
    }
    client.send_data(1, b"body", true);
    assert_eq!(client.answer(1).body, b"done");
}

#[test]
fn an_answer_of_our_own_comes_over_http2() {
    let refused = tidegate_testkit::refused_address();
    let tidegate = start_http2(1, [refused.address()], "backends.app.retries = 0");
    let mut client = client(&tidegate);
    client.get(1, "/");
    let answer = client.answer(1);
    assert_eq!(
        (answer.status, answer.field("content-type"), answer.reset),
        (503, Some("text/plain"), None)
    );
    client.send_headers(3, &[(":method", "CONNECT"), (":authority", "a:1")], false);
    assert_eq!(client.answer(3).status, 501);
    client.get(5, "/%zz");
    assert_eq!(client.answer(5).status, 400);
}

#[test]
fn a_websocket_runs_over_a_stream() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::upgrade_echo("websocket"));
        let tidegate = start_http2(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let settings = client.wait_frame(kind::SETTINGS);
        let pairs: Vec<&[u8]> = settings.payload.chunks(6).collect();
        assert!(pairs.contains(&&[0, 8, 0, 0, 0, 1][..]), "extended CONNECT is offered");
        let mut fields = request("CONNECT", "/chat").to_vec();
        fields.extend([(":protocol", "websocket"), ("sec-websocket-version", "13")]);
        client.send_headers(1, &fields, false);
        let head = client.find_frame(|frame| frame.stream == 1).expect("an answer");
        assert_eq!((head.kind, head.flags & flag::END_STREAM), (kind::HEADERS, 0));
        assert_eq!(hpack::read_block(&head.payload)[0].1, "200");
        let seen = origin.wait_requests(1);
        assert_eq!((&*seen.method, seen.headers.value("upgrade")), ("GET", Some("websocket")));
        assert_eq!(seen.headers.value("sec-websocket-key").map(str::len), Some(24));
        for round in 0..3 {
            let text = format!("round {round}");
            client.send_data(1, text.as_bytes(), false);
            let data = client.find_frame(|frame| frame.kind == kind::DATA).expect("an echo");
            assert_eq!(data.payload, text.as_bytes());
        }
        client.send_data(1, b"", true);
        let end = client.find_frame(|frame| frame.kind == kind::DATA).expect("the end");
        assert_eq!((&end.payload[..], end.flags), (&b""[..], flag::END_STREAM));
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_stream_that_the_client_resets_ends_its_request_at_the_server() {
    let origin = Origin::start(|mut connection: Connection| {
        connection.read_request_head()?;
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")?;
        connection.read_some(1)?;
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    client.get(1, "/");
    client.find_frame(|frame| frame.kind == kind::DATA).expect("the beginning");
    client.send_frame(kind::RST_STREAM, 0, 1, &code::CANCEL.to_be_bytes());
    origin.wait_end(0);
    wait_nothing_in_flight(&tidegate);
    client.get(3, "/");
    client.find_frame(|frame| frame.stream == 3 && frame.kind == kind::DATA).expect("goes on");
}

#[test]
fn a_response_that_the_server_cuts_is_reset() {
    let origin =
        Origin::start(script::answer_and_close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"));
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    client.get(1, "/");
    let answer = client.answer(1);
    assert_eq!((answer.status, answer.reset), (200, Some(code::INTERNAL_ERROR)));
    tidegate.wait_metrics("one reset", |metrics| {
        metrics.count("tidegate_frontend_http2_streams_reset_total", &[]) == 1
    });
    assert_eq!(stream_errors(&tidegate), 0, "it is the server's fault, and told as that");
}

fn stream_errors(tidegate: &Tidegate) -> u64 {
    tidegate.metrics().count("tidegate_frontend_http2_stream_errors_total", &[])
}

#[test]
fn an_early_answer_ends_the_request_without_an_error() {
    let origin = Origin::start(script::answer_early_and_close(script::ok("enough")));
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    client.send_headers(1, &request("POST", "/"), false);
    client.send_data(1, b"some", false);
    let answer = client.answer(1);
    assert_eq!((answer.status, &answer.body[..], answer.reset), (200, &b"enough"[..], None));
    let reset = client.find_frame(|frame| frame.kind == kind::RST_STREAM).expect("a reset");
    assert_eq!((reset.stream, reset.number(0)), (1, code::NO_ERROR));
    assert_eq!(stream_errors(&tidegate), 0);
}

#[test]
fn a_slow_server_stops_the_client_at_its_window() {
    const WINDOW_BYTES: usize = 256 * 1024;
    let gate = Gate::new();
    let origin = Origin::with_receive_buffer(Some(4096), {
        let gate = gate.clone();
        move |mut connection: Connection| {
            connection.read_request_head()?;
            gate.wait();
            connection.ignore()
        }
    });
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    // The program's windows hold once its settings are acknowledged.
    client.wait_frame(kind::SETTINGS);
    client.send_frame(kind::SETTINGS, flag::ACK, 0, &[]);
    client.send_headers(1, &request("POST", "/"), false);
    client.send_data(1, &vec![b'x'; WINDOW_BYTES], false);
    wait_in_flight(&tidegate, 1);
    // What went to the server's buffers opens the window again, and that is little: without reading it cannot be opened for long.
    let mut opened = 0;
    client.send_frame(kind::PING, 0, 0, b"no more?");
    while let Some(frame) = client.read_frame() {
        match frame.kind {
            kind::WINDOW_UPDATE if frame.stream == 1 => opened += frame.number(0) as usize,
            kind::PING => break,
            _ => {}
        }
    }
    assert!(opened <= WINDOW_BYTES, "{opened}");
    gate.open();
}

#[test]
fn a_client_that_reads_slowly_holds_little_of_a_response() {
    let body = patterned(4_000_000);
    let origin = Origin::start(script::answer(script::ok(&body)));
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = Http2Client::connect_with(tidegate.address("web"), &[(4, 1000)]);
    client.get(1, "/");
    let mut received = Vec::new();
    while received.len() < 50_000 {
        let frame = client.read_frame().expect("data");
        if frame.kind == kind::DATA {
            received.extend_from_slice(&frame.payload);
            let bytes = u32::try_from(frame.payload.len()).expect("short").to_be_bytes();
            client.send_frame(kind::WINDOW_UPDATE, 0, 0, &bytes);
            client.send_frame(kind::WINDOW_UPDATE, 0, 1, &bytes);
        }
    }
    assert!(received[..] == body[..received.len()]);
    let got = tidegate.metrics().count("tidegate_backend_received_bytes_total", &[]);
    assert!(got < 3_000_000, "the server was read ahead: {got}");
}

#[test]
fn draining_loses_nothing_and_says_goodbye() {
    on_one_and_two_shards(|shards| {
        let gate = Gate::new();
        let origin = Origin::start({
            let gate = gate.clone();
            move |mut connection: Connection| {
                connection.read_request()?;
                gate.wait();
                connection.send(script::ok("late"))
            }
        });
        let mut tidegate = start_http2(shards, [origin.address()], "");
        let (mut busy, mut idle) = (client(&tidegate), client(&tidegate));
        busy.get(1, "/");
        wait_in_flight(&tidegate, 1);
        idle.send_frame(kind::PING, 0, 0, b"12345678");
        idle.wait_frame(kind::PING);
        tidegate.signal(tidegate_testkit::Signal::TERM);
        assert_eq!(idle.wait_frame(kind::GOAWAY).number(4), code::NO_ERROR);
        assert_eq!(busy.wait_frame(kind::GOAWAY).number(4), code::NO_ERROR);
        gate.open();
        assert_eq!(busy.answer(1).body, b"late");
        assert!(tidegate.wait_exit(Deadline::default()).success());
    });
}

#[test]
fn an_idle_connection_is_told_to_go() {
    let origin = Origin::start(script::answer_ok("hi"));
    let tidegate =
        start_http2(1, [origin.address()], "frontends.web.timeouts.keep_alive = \"200ms\"");
    let mut client = client(&tidegate);
    client.get(1, "/");
    assert_eq!(client.answer(1).status, 200);
    assert_eq!(client.goaway(), Some(code::NO_ERROR));
}

#[test]
fn a_listener_of_both_versions_tells_them_apart() {
    let origin = Origin::start(script::answer_ok("hi"));
    let config = site(1, [origin.address()]).replace(
        "frontends.web.bind = [\"127.0.0.1:0\"]",
        "frontends.web.bind = [{ address = \"127.0.0.1:0\", protocols = [\"h2\", \"http/1.1\"] }]",
    );
    let tidegate = Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate")).start(&config);
    let address = tidegate.address("web");
    let mut plain = tidegate_testkit::Client::connect(address);
    assert_eq!(plain.get("/").text(), "hi");
    let mut cut = tidegate_testkit::Client::connect(address);
    cut.send("P");
    cut.send("RI / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(cut.read_response().status, 200);
    let mut client = client(&tidegate);
    client.get(1, "/");
    assert_eq!(client.answer(1).body, b"hi");
}

#[test]
fn real_clients_are_served() {
    let origin = Origin::start(script::answer_ok("hello"));
    let tidegate = start_http2(1, [origin.address()], "");
    let url = format!("http://{}/", tidegate.address("web"));
    let said =
        tools::curl_ok(&["--http2-prior-knowledge", "--write-out", " %{http_version}", &url]);
    assert_eq!(said, "hello 2");
    let nghttp = tools::run("nghttp", &[&url], Deadline::default());
    assert_eq!((nghttp.status.success(), &*nghttp.stdout_text()), (true, "hello"));
    let load =
        tools::run("h2load", &["-n", "2000", "-c", "4", "-m", "32", &url], Deadline::default());
    let text = load.stdout_text();
    assert!(text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{text}");
}

//! Owns bodies on their way in both directions: their framing, their content, their end.
//!
//! Leaves how much of them is held to `http_memory` and broken ones to `http_broken_responses`.
//! Invariant: content is compared byte for byte, and framing by what either side received.

#[path = "support/http.rs"]
mod support;

use std::io;
use support::{chunked, client, holds, on_one_and_two_shards, patterned, start};
use tidegate_testkit::{Connection, Framing, Gate, Origin, Request, script};

/// Sizes around those that buffers have, and some beyond them.
const SIZES: [usize; 10] = [0, 1, 1_000, 2_048, 2_049, 16_384, 32_768, 65_537, 300_000, 3_000_000];

/// Answers with the body received, in the framing that the target names.
fn echo_body(_connection: usize, request: &Request) -> Vec<u8> {
    match request.target.as_str() {
        "/length" => script::ok(&request.body),
        "/chunks" => {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            [&head[..], &chunked(&request.body, 10_000)].concat()
        }
        other => panic!("no framing for {other}"),
    }
}

#[test]
fn bodies_with_a_length_are_the_same_in_both_directions() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_body));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for size in SIZES {
            let body = patterned(size);
            let head = format!("PUT /length HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
            client.send([head.as_bytes(), &body].concat());
            let response = client.read_response();
            assert!(response.body == body, "a body of {size} bytes came back changed");
            assert_eq!(response.framing, Framing::Length(size as u64));
        }
        let framings: Vec<_> = origin.requests().iter().map(|request| request.framing).collect();
        assert_eq!(framings, SIZES.map(|size| Framing::Length(size as u64)));
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn chunked_bodies_are_the_same_in_both_directions() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_body));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let head = b"PUT /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in SIZES {
            let body = patterned(size);
            // Chunks of one byte where they are not too many for a test.
            let chunk_bytes = if size <= 65_537 { 1 + size % 7 } else { 8_191 };
            client.send([&head[..], &chunked(&body, chunk_bytes)].concat());
            let response = client.read_response();
            assert!(response.body == body, "a body of {size} bytes came back changed");
            assert_eq!(response.framing, Framing::Chunked);
        }
        assert!(origin.requests().iter().all(|request| request.framing == Framing::Chunked));
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_request_body_is_passed_on_while_it_comes() {
    on_one_and_two_shards(|shards| {
        for (framing, first, second) in [
            ("Content-Length: 10", "first", "again"),
            ("Transfer-Encoding: chunked", "5\r\nfirst\r\n", "5\r\nagain\r\n0\r\n\r\n"),
        ] {
            let origin = Origin::start(script::answer_ok("done"));
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
            origin.wait_connections(1);
            client.send(first);
            let head_bytes = "POST / HTTP/1.1\r\nHost: a\r\n\r\n\r\n".len() + framing.len();
            origin.wait_received(0, head_bytes + first.len());
            let received = origin.received(0);
            assert!(holds(&received, "first"), "{}", received.escape_ascii());
            client.send(second);
            assert_eq!(client.read_response().text(), "done");
            assert_eq!(origin.requests()[0].body, b"firstagain");
        }
    });
}

#[test]
fn a_response_body_is_passed_on_while_it_comes() {
    on_one_and_two_shards(|shards| {
        for (framing, first, second) in [
            ("Content-Length: 10", "first", "again"),
            ("Transfer-Encoding: chunked", "5\r\nfirst\r\n", "5\r\nagain\r\n0\r\n\r\n"),
        ] {
            let read = Gate::new();
            let origin = Origin::start({
                let read = read.clone();
                move |mut connection: Connection| {
                    connection.read_request()?;
                    connection.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))?;
                    connection.send(first)?;
                    read.wait();
                    connection.send(second)?;
                    connection.finish()
                }
            });
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.read_head().status, 200);
            assert_eq!(client.read_exactly(first.len()), first.as_bytes());
            read.open();
            assert_eq!(client.read_exactly(second.len()), second.as_bytes());
        }
    });
}

#[test]
fn chunk_extensions_are_dropped_and_trailers_kept_in_both_directions() {
    const BODY: &str = "3;secret=1\r\nabc\r\n2;secret=\"q;\\\"\"\r\nde\r\n0;secret\r\n\
        X-Sum: 1\r\nX-Two: a\r\nX-Two: b\r\n\r\n";
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{BODY}"
        )));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(BODY);
            let response = client.read_response();
            assert_eq!(response.text(), "abcde");
            assert_eq!(response.trailers.value("x-sum"), Some("1"));
            assert_eq!(response.trailers.all("x-two").collect::<Vec<_>>(), ["a", "b"]);
        }
        for request in origin.requests() {
            assert_eq!(request.body, b"abcde");
            assert_eq!(request.trailers.value("x-sum"), Some("1"));
            assert_eq!(request.trailers.all("x-two").collect::<Vec<_>>(), ["a", "b"]);
        }
        assert!(!holds(&client.received(), "secret"), "an extension reached the client");
        assert!(!holds(&origin.received(0), "secret"), "an extension reached the server");
    });
}

#[test]
fn responses_that_have_no_body_end_with_their_head() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(|_, request| {
            match request.target.as_str() {
                "/head-length" => &b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"[..],
                "/head-chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "/head-nothing" => b"HTTP/1.1 200 OK\r\n\r\n",
                "/204" => b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
                "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            }
            .to_vec()
        }));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for (method, target, status, length) in [
            ("HEAD", "/head-length", 200, Some("1234")),
            ("HEAD", "/head-chunked", 200, None),
            ("HEAD", "/head-nothing", 200, None),
            ("GET", "/204", 204, None),
            ("HEAD", "/204", 204, None),
            ("GET", "/304", 304, Some("99")),
            ("HEAD", "/304", 304, Some("99")),
        ] {
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = client.read_response_to(method);
            assert_eq!(response.status, status, "{method} {target}");
            assert_eq!(response.headers.value("content-length"), length, "{method} {target}");
            assert!(!response.headers.contains("connection"), "{method} {target}");
            assert_eq!(client.get("/ok").text(), "ok", "after {method} {target}");
        }
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_204_that_declares_a_body_is_passed_on_without_the_declaration() {
    on_one_and_two_shards(|shards| {
        let origin =
            Origin::start(script::answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            // The reader refuses a 204 with a length.
            assert_eq!(client.get("/").status, 204);
        }
    });
}

#[test]
fn a_body_that_ends_with_the_connection_reaches_the_client_in_chunks() {
    on_one_and_two_shards(|shards| {
        let body = patterned(500_000);
        let origin = Origin::start({
            let body = body.clone();
            move |mut connection: Connection| {
                let Some(request) = connection.read_request()? else { return Ok(()) };
                connection.send("HTTP/1.1 200 OK\r\n\r\n")?;
                let sent = if request.target == "/empty" { &[][..] } else { &body };
                sent.chunks(7_777).try_for_each(|piece| connection.send(piece))
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 1..=3 {
            let response = client.get("/");
            assert_eq!(response.framing, Framing::Chunked);
            assert!(!response.headers.contains("connection"), "the client's connection persists");
            assert!(response.body == body, "the body came back changed");
            assert_eq!(client.get("/empty").body, b"");
            assert_eq!(origin.connections_count(), 2 * number);
        }
    });
}

fn http10_server(target: &str) -> &'static str {
    match target {
        "/length" => "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "/kept" => "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        _ => "HTTP/1.0 200 OK\r\n\r\nhello",
    }
}

#[test]
fn a_server_that_speaks_http10_is_understood() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            while let Some(request) = connection.read_request()? {
                connection.send(http10_server(&request.target))?;
                if request.target != "/kept" {
                    return connection.finish();
                }
            }
            Ok(())
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for (target, framing, connections_count) in [
            ("/kept", Framing::Length(5), 1),
            ("/kept", Framing::Length(5), 1),
            ("/length", Framing::Length(5), 1),
            ("/length", Framing::Length(5), 2),
            ("/until-close", Framing::Chunked, 3),
            ("/until-close", Framing::Chunked, 4),
        ] {
            let response = client.get(target);
            assert_eq!((response.text(), response.framing), ("hello", framing), "{target}");
            assert_eq!(response.version, "HTTP/1.1");
            assert!(!response.headers.contains("connection"), "{target}");
            assert_eq!(origin.connections_count(), connections_count, "{target}");
        }
        assert!(origin.requests().iter().all(|request| request.version == "HTTP/1.1"));
    });
}

fn any_framing(mut connection: Connection) -> io::Result<()> {
    while let Some(request) = connection.read_request()? {
        match request.target.as_str() {
            "/chunks" => connection.send(script::ok_chunked(&["hel", "lo"]))?,
            "/until-close" => {
                connection.send(script::ok_until_close("hello"))?;
                return connection.finish();
            }
            "/no-content" => connection.send("HTTP/1.1 204 No Content\r\n\r\n")?,
            "/interim" => {
                connection.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")?;
                connection.send(script::ok("hello"))?;
            }
            _ => connection.send(script::ok("hello"))?,
        }
    }
    Ok(())
}

#[test]
fn a_client_that_speaks_http10_gets_what_it_understands() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(any_framing);
        let tidegate = start(shards, [origin.address()], "");
        for (target, framing) in [
            ("/length", Framing::Length(5)),
            ("/chunks", Framing::UntilClose),
            ("/until-close", Framing::UntilClose),
            ("/interim", Framing::Length(5)),
        ] {
            for keep_alive in ["", "Connection: keep-alive\r\n"] {
                let mut client = client(&tidegate);
                client.send(format!("GET {target} HTTP/1.0\r\nHost: a\r\n{keep_alive}\r\n"));
                let response = client.read_response();
                assert_eq!((response.text(), response.framing), ("hello", framing), "{target}");
                assert!(response.interim.is_empty(), "{target}: {:?}", response.interim);
                assert!(!response.headers.contains("transfer-encoding"), "{target}");
                let kept = !keep_alive.is_empty() && matches!(framing, Framing::Length(_));
                let expected = if kept { "keep-alive" } else { "close" };
                assert_eq!(response.headers.value("connection"), Some(expected), "{target}");
                if kept {
                    client.send("GET /length HTTP/1.0\r\n\r\n");
                    assert_eq!(client.read_response().text(), "hello");
                }
                client.expect_eof();
            }
        }
        let requests = origin.requests();
        assert!(requests.iter().all(|request| request.version == "HTTP/1.1"));
        let hosts = |request: &Request| request.headers.all("host").count();
        assert!(requests.iter().all(|request| hosts(request) == 1), "a Host for every server");
    });
}

#[test]
fn a_client_that_speaks_http10_sends_bodies_and_keeps_its_connection() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_body));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send(
                "POST /length HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello",
            );
            assert_eq!(client.read_response().text(), "hello");
        }
        client.send("HEAD /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.read_response_to("HEAD");
        assert_eq!(response.headers.value("connection"), Some("keep-alive"));
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_204_keeps_an_http10_connection() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(any_framing);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send("GET /no-content HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            let response = client.read_response();
            assert_eq!(response.status, 204);
            assert_eq!(response.headers.value("connection"), Some("keep-alive"));
        }
    });
}

//! Owns the life of connections between requests: keep-alive, pipelining, reuse of server
//! connections.
//!
//! Leaves bodies to `http_bodies` and lost connections to `http_retries`. Invariant: requests are
//! answered in their order, whatever the segments they come in.

#[path = "support/http.rs"]
mod support;

use support::{client, on_one_and_two_shards, start};
use tidegate_testkit::{Client, Connection, End, Gate, Origin, Request, script};

/// Answers with the method, the target and the body received.
fn echo_request(_connection: usize, request: &Request) -> Vec<u8> {
    let text = [request.method.as_bytes(), b" ", request.target.as_bytes(), b" ", &request.body];
    if request.method == "HEAD" {
        return script::response(200, "OK", &[], "");
    }
    script::ok(text.concat())
}

#[test]
fn a_connection_carries_many_requests_on_both_sides() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 0..200 {
            let response = client.get(&format!("/{number}"));
            assert_eq!(response.text(), format!("GET /{number} "));
            assert!(!response.headers.contains("connection"), "{:?}", response.headers);
        }
        assert_eq!((origin.connections_count(), origin.requests_count()), (1, 200));
        let requests = origin.requests();
        assert!(requests.iter().all(|request| !request.headers.contains("connection")));
    });
}

#[test]
fn many_requests_in_one_segment_are_answered_in_order() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let count = 300;
        let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send((0..count).map(request).collect::<String>());
        for number in 0..count {
            assert_eq!(client.read_response().text(), format!("GET /{number} "));
        }
        let targets: Vec<String> =
            origin.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(targets, (0..count).map(|number| format!("/{number}")).collect::<Vec<_>>());
    });
}

/// Requests of every framing, one after the other, and what each is answered.
const MIXED: &str = "POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
    GET /none HTTP/1.1\r\nHost: a\r\n\r\n\
    POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    3;x=\"y\"\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n\
    HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n\
    POST /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

#[track_caller]
fn expect_mixed_answers(client: &mut Client) {
    assert_eq!(client.read_response().text(), "POST /length hello");
    assert_eq!(client.read_response().text(), "GET /none ");
    assert_eq!(client.read_response().text(), "POST /chunks abcde");
    assert_eq!(client.read_response_to("HEAD").body, b"");
    assert_eq!(client.read_response().text(), "POST /empty ");
}

#[test]
fn requests_split_into_two_segments_at_every_byte_are_the_same_requests() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for place in 0..=MIXED.len() {
            let (first, second) = MIXED.split_at(place);
            client.send(first).send(second);
            expect_mixed_answers(&mut client);
        }
    });
}

#[test]
fn requests_that_come_byte_by_byte_are_the_same_requests() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send_bytewise(MIXED).expect("the program reads everything");
            expect_mixed_answers(&mut client);
        }
    });
}

#[test]
fn responses_split_at_every_byte_are_the_same_responses() {
    const RESPONSE: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n\
        3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n";
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            while let Some(request) = connection.read_request()? {
                match request.target.trim_start_matches('/').parse() {
                    Ok(place) => {
                        let (first, second) = RESPONSE.split_at(place);
                        connection.send(first)?;
                        connection.send(second)?;
                    }
                    Err(_) => connection.send_bytewise(RESPONSE)?,
                }
            }
            Ok(())
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let places = (0..=RESPONSE.len()).map(|place| format!("/{place}"));
        for target in places.chain(["/bytewise".to_owned()]) {
            let response = client.get(&target);
            assert_eq!(response.text(), "abcde", "{target}");
            assert_eq!(response.headers.value("x-a"), Some("b"), "{target}");
            assert_eq!(response.trailers.value("x-sum"), Some("1"), "{target}");
        }
    });
}

#[test]
fn one_empty_line_before_a_request_is_forgiven() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 0..3 {
            assert_eq!(client.send("\r\n").get("/a").text(), "GET /a ", "request {number}");
        }
        assert!(origin.requests()[0].raw_head.starts_with(b"GET /a HTTP/1.1\r\n"));
    });
}

#[test]
fn a_client_that_asks_for_close_gets_its_answer_and_the_end() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        for _ in 0..20 {
            let mut client = client(&tidegate);
            client.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let response = client.read_response();
            assert_eq!(response.headers.value("connection"), Some("close"));
            assert_eq!(response.text(), "GET /a ");
            client.expect_eof();
        }
        // What ends is the client's connection, not the server's: one for each shard is enough.
        let connections_count = origin.connections_count();
        assert!(connections_count <= shards, "{connections_count} connections, {shards} shards");
        assert!(!origin.requests()[0].headers.contains("connection"));
    });
}

#[test]
fn what_follows_a_request_with_close_is_not_a_request() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send(
            "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        );
        assert_eq!(client.read_response().text(), "GET /a ");
        client.expect_eof();
        assert_eq!(origin.requests_count(), 1);
    });
}

#[test]
fn a_server_that_closes_after_its_answer_leaves_the_client_connected() {
    on_one_and_two_shards(|shards| {
        let closing = script::response(200, "OK", &[("Connection", "close")], "bye");
        let origin = Origin::start(script::answer_and_close(closing));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 1..=5 {
            let response = client.get("/");
            assert_eq!(response.text(), "bye");
            assert!(!response.headers.contains("connection"), "{:?}", response.headers);
            assert_eq!(origin.connections_count(), number);
        }
    });
}

#[test]
fn a_server_connection_serves_one_client_after_the_other() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let tidegate = start(shards, [origin.address()], "");
        for number in 0..40 {
            let target = format!("/{number}");
            assert_eq!(client(&tidegate).get(&target).text(), format!("GET {target} "));
        }
        let connections_count = origin.connections_count();
        assert!(connections_count <= shards, "{connections_count} connections, {shards} shards");
        let reused = tidegate.metrics().count("tidegate_server_connections_reused_total", &[]);
        assert_eq!(reused, 40 - u64::try_from(connections_count).expect("a small number"));
    });
}

#[test]
fn without_reuse_each_request_has_a_server_connection_of_its_own() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(echo_request));
        let more = "defaults.reuse_server_connections = false";
        let tidegate = start(shards, [origin.address()], more);
        let mut client = client(&tidegate);
        for number in 1..=10 {
            let response = client.get("/");
            assert!(!response.headers.contains("connection"), "{:?}", response.headers);
            assert_eq!(origin.connections_count(), number);
            let request = origin.wait_requests(number);
            assert_eq!(request.headers.value("connection"), Some("close"));
        }
        (0..10).for_each(|index| assert_eq!(origin.wait_end(index), End::Eof));
    });
}

#[test]
fn bytes_behind_a_response_reach_nobody() {
    on_one_and_two_shards(|shards| {
        let smuggled = script::ok("smuggled");
        let both = [script::ok("real"), smuggled].concat();
        let origin = Origin::start(script::answer(both));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for number in 1..=5 {
            assert_eq!(client.get("/").text(), "real");
            assert_eq!(origin.connections_count(), number, "a connection with a surplus is closed");
        }
    });
}

#[test]
fn what_an_idle_server_connection_says_is_nobodys_answer() {
    on_one_and_two_shards(|shards| {
        let answered = Gate::new();
        let origin = Origin::start({
            let answered = answered.clone();
            move |mut connection: Connection| {
                while connection.read_request()?.is_some() {
                    connection.send(script::ok("real"))?;
                    if connection.index() == 0 {
                        answered.wait();
                        connection.send(script::response(408, "Request Timeout", &[], ""))?;
                    }
                }
                Ok(())
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        assert_eq!(client.get("/").text(), "real");
        answered.open();
        assert_eq!(origin.wait_end(0), End::Eof);
        let response = client.get("/");
        assert_eq!((response.status, response.text()), (200, "real"));
        assert_eq!(origin.connections_count(), 2);
    });
}

//! Owns what happens to request lines and header fields on their way: targets, hop-by-hop fields,
//! `X-Forwarded-For`.
//!
//! Leaves framing fields to `http_bodies` and refused ones to `http_malformed`. Invariant: what is
//! end to end arrives as it was sent, and what belongs to one connection stays on it.

#[path = "support/http.rs"]
mod support;

use std::net::IpAddr;
use support::{client, on_one_and_two_shards, start};
use tidegate_testkit::{Client, Fields, Origin, Request, script};

/// Sends a request without a body and returns it as the server got it.
#[track_caller]
fn seen(client: &mut Client, origin: &Origin, request: &str) -> Request {
    let before = origin.requests_count();
    client.send(request);
    assert_eq!(client.read_response().status, 200, "{request}");
    origin.wait_requests(before + 1)
}

fn lines(fields: &Fields) -> Vec<String> {
    fields.iter().map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn targets_reach_the_server_in_origin_form_with_the_authority_in_host() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for (line, host, expected_line, expected_host) in [
            ("GET /a/../b//c?q=%20&r HTTP/1.1", "a", "GET /a/../b//c?q=%20&r HTTP/1.1", "a"),
            ("GET http://b:81/p?q HTTP/1.1", "a", "GET /p?q HTTP/1.1", "b:81"),
            ("GET http://b HTTP/1.1", "b", "GET / HTTP/1.1", "b"),
            ("GET http://b?q HTTP/1.1", "b", "GET /?q HTTP/1.1", "b"),
            ("GET HTTPS://b/ HTTP/1.1", "a", "GET / HTTP/1.1", "b"),
            ("GET http://[::1]:80/ HTTP/1.1", "a", "GET / HTTP/1.1", "[::1]:80"),
            ("OPTIONS * HTTP/1.1", "a", "OPTIONS * HTTP/1.1", "a"),
            ("OPTIONS http://b HTTP/1.1", "a", "OPTIONS * HTTP/1.1", "b"),
            ("PURGE / HTTP/1.1", "a:8080", "PURGE / HTTP/1.1", "a:8080"),
        ] {
            let request = seen(&mut client, &origin, &format!("{line}\r\nHost: {host}\r\n\r\n"));
            let got = format!("{} {} {}", request.method, request.target, request.version);
            assert_eq!(got, expected_line);
            assert_eq!(request.headers.value("host"), Some(expected_host), "{line}");
        }
    });
}

#[test]
fn end_to_end_fields_keep_their_order_case_and_bytes() {
    const FIELDS: &str = "Accept: */*\r\naCCEPT: second\r\nX-Empty:\r\nX-Blanks: a  b\tc\r\n\
        X-Bytes: \u{e9}\u{20ac}\r\nCookie: a=b; c=d\r\nX-Last: 1\r\n";
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer(format!(
            "HTTP/1.1 200 Very Well\r\n{FIELDS}Content-Length: 0\r\n\r\n"
        )));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let request =
            seen(&mut client, &origin, &format!("GET / HTTP/1.1\r\nHost: a\r\n{FIELDS}\r\n"));
        let expected = format!("GET / HTTP/1.1\r\nHost: a\r\n{FIELDS}\r\n");
        assert_eq!(request.raw_head.escape_ascii().to_string(), escaped(&expected));
        let expected = format!("HTTP/1.1 200 Very Well\r\n{FIELDS}Content-Length: 0\r\n\r\n");
        assert_eq!(client.received().escape_ascii().to_string(), escaped(&expected));
    });
}

fn escaped(text: &str) -> String {
    text.as_bytes().escape_ascii().to_string()
}

/// Fields that belong to one connection, and those that `Connection` makes so.
const HOP_BY_HOP: &str = "Connection: X-Listed, keep-alive\r\nConnection: x-also-listed\r\n\
    Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
    X-Listed: a\r\nX-ALSO-LISTED: b\r\nX-Listed: c\r\nX-Kept: d\r\n";

#[test]
fn hop_by_hop_fields_stay_on_their_connection_in_both_directions() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer(format!(
            "HTTP/1.1 200 OK\r\n{HOP_BY_HOP}Upgrade: h2c\r\nContent-Length: 0\r\n\r\n"
        )));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{HOP_BY_HOP}Upgrade: h2c\r\n\r\n");
        for _ in 0..3 {
            let request = seen(&mut client, &origin, &request);
            assert_eq!(lines(&request.headers), ["Host: a", "X-Kept: d"]);
        }
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.read_response();
        assert_eq!(lines(&response.headers), ["X-Kept: d", "Content-Length: 0"]);
        assert_eq!(origin.connections_count(), 1, "the server's keep-alive counts");
    });
}

#[test]
fn connection_cannot_take_away_what_the_message_means() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let tidegate = start(shards, [origin.address()], "");
        for listed in ["Host", "content-length", "close, HOST", "keep-alive,Content-Length"] {
            let mut client = client(&tidegate);
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: {listed}\r\n\r\n"
            ));
            assert_eq!(client.read_response().status, 400, "{listed}");
            client.expect_eof();
        }
        assert_eq!(origin.connections_count(), 0);
        // Transfer-Encoding is hop-by-hop anyway: the body keeps its framing.
        let mut client = client(&tidegate);
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Connection: transfer-encoding\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        );
        assert_eq!(client.read_response().status, 200);
        assert_eq!(origin.requests()[0].body, b"hello");
    });
}

#[test]
fn the_clients_address_is_appended_to_what_came_before() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let more = "frontends.web.forwarded_for = true";
        let tidegate = start(shards, [origin.address()], more);
        let source: IpAddr = "127.0.0.9".parse().expect("an address");
        let mut client = Client::connect_from(source, tidegate.address("web"));
        for (fields, expected) in [
            ("", &["127.0.0.9"][..]),
            ("X-Forwarded-For: 192.0.2.1\r\n", &["192.0.2.1", "127.0.0.9"]),
            (
                "x-forwarded-for: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-For: b\r\n",
                &["192.0.2.1, 192.0.2.2", "b", "127.0.0.9"],
            ),
            // A client cannot make the proxy's own field hop-by-hop.
            ("X-Forwarded-For: evil\r\nConnection: x-forwarded-for\r\n", &["127.0.0.9"]),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let request = seen(&mut client, &origin, &request);
            let values: Vec<&str> = request.headers.all("x-forwarded-for").collect();
            assert_eq!(values, expected, "{fields:?}");
        }
    });
}

#[test]
fn without_being_asked_no_address_is_added() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        let request = seen(&mut client, &origin, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(lines(&request.headers), ["Host: a"]);
    });
}

#[test]
fn connect_is_refused_and_reaches_no_server() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok(""));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
        assert_eq!(client.read_response_to("CONNECT").status, 501);
        client.expect_eof();
        assert_eq!(origin.connections_count(), 0);
        tidegate.wait_log(|line| {
            line.is_event("request_rejected")
                && line.field("detail").as_deref() == Some("connect_not_supported")
        });
    });
}

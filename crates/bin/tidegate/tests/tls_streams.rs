//! What goes through TLS with clients: messages, tunnels, keys that change, and how connections end.
//!
//! Owns established connections; leaves handshakes to `tls_clients`. Each behaviour is held in both versions.

#[path = "support/http.rs"]
mod http;
#[path = "support/tls.rs"]
mod tls;

use http::{chunked, patterned};
use std::time::Duration;
use tidegate_testkit::{Client, Connection, End, Framing, Origin, TlsVersion, script};
use tls::{Ground, World};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Runs `body` with a client of each version.
fn in_each_version(world: &World, body: impl Fn(Client)) {
    for version in TlsVersion::ALL {
        eprintln!("{version:?}:");
        body(world.connect_as(&world.client().version(version).build()));
    }
}

/// Sends back the request's body.
fn mirror() -> Origin {
    Origin::start(script::answer_with(|_, request| script::ok(&request.body)))
}

#[test]
fn a_connection_carries_one_request_after_another_and_several_at_once() {
    let origin = Origin::start(script::answer_with(|_, request| script::ok(&request.target)));
    let world = Ground::new().start(2, [origin.address()], "", "");
    in_each_version(&world, |mut client| {
        for target in ["/1", "/2", "/3"] {
            assert_eq!(client.get(target).text(), target);
        }
        let requests: String =
            (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
        client.send(requests);
        for n in 0..20 {
            assert_eq!(client.read_response().text(), format!("/{n}"));
        }
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = client.read_response_to("HEAD");
        assert_eq!(response.headers.value("content-length"), Some("1"));
        client.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(client.read_response().text(), "/last");
        client.expect_eof();
    });
}

#[test]
fn bodies_of_any_size_and_form_pass_both_ways() {
    let origin = mirror();
    let world = Ground::new().start(1, [origin.address()], "", "");
    in_each_version(&world, |mut client| {
        for length in [0, 1, 16_383, 16_384, 16_385, 100_000, 3_000_001] {
            let body = patterned(length);
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
            client.send([head.as_bytes(), &body].concat());
            assert!(client.read_response().body == body, "{length}");
            client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(chunked(&body, 5_000));
            assert!(client.read_response().body == body, "{length} in chunks");
        }
    });
}

#[test]
fn a_slow_reader_holds_the_server_back_and_gets_everything() {
    const LENGTH: usize = 20_000_000;
    let origin = Origin::start(script::answer(script::ok(patterned(LENGTH))));
    let world = Ground::new().start(1, [origin.address()], "", "");
    let started = world.tidegate.process().resident_bytes();
    let address = world.tidegate.address("web");
    for version in TlsVersion::ALL {
        let client = Client::connect_with_receive_buffer(address, 8_192);
        let mut client = client.secured(&world.client().version(version).build());
        client.send(GET);
        let head = client.read_head();
        assert_eq!(head.framing, Framing::Length(LENGTH as u64));
        http::take_time(Duration::from_millis(200));
        let grown = world.tidegate.process().resident_bytes().saturating_sub(started);
        assert!(grown < 8_000_000, "it holds {grown} bytes for one slow reader");
        assert!(client.read_exactly(LENGTH) == patterned(LENGTH));
    }
}

#[test]
fn a_client_that_expects_100_continue_is_asked_for_its_body() {
    let origin = Origin::start(|mut connection: Connection| {
        while let Some(head) = connection.read_request_head()? {
            connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
            let request = connection.read_body(head)?;
            connection.send(script::ok(&request.body))?;
        }
        Ok(())
    });
    let world = Ground::new().start(1, [origin.address()], "", "");
    in_each_version(&world, |mut client| {
        client.send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.read_head().status, 100);
        client.send("hello");
        assert_eq!(client.read_response().text(), "hello");
    });
}

#[test]
fn a_tunnel_goes_through_tls_and_each_side_ends_on_its_own() {
    let origin = Origin::start(script::upgrade_echo("websocket"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    in_each_version(&world, |mut client| {
        client.send(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly",
        );
        assert_eq!(client.read_head().status, 101);
        assert_eq!(client.read_exactly(5), b"early");
        for length in [1, 16_384, 1_000_000] {
            let bytes = patterned(length);
            client.send(&bytes);
            assert!(client.read_exactly(length) == bytes);
        }
        client.send("bye").close_notify();
        assert_eq!(client.read_to_end(), b"bye");
    });
    origin.wait_idle();
}

#[test]
fn requests_come_whole_however_their_records_and_segments_are_cut() {
    let origin = mirror();
    let world = Ground::new().start(1, [origin.address()], "", "");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    in_each_version(&world, |mut client| {
        // One record, cut at each of its bytes.
        let mut place = 1;
        loop {
            let sealed = client.seal(request);
            if place >= sealed.len() {
                client.send_wire(&sealed);
                assert_eq!(client.read_response().text(), "hello");
                break;
            }
            client.send_wire(&sealed[..place]).send_wire(&sealed[place..]);
            assert_eq!(client.read_response().text(), "hello", "cut at {place}");
            place += 1;
        }
        // Two records, cut at each byte of the request.
        for place in 1..request.len() {
            client.send(&request[..place]).send(&request[place..]);
            assert_eq!(client.read_response().text(), "hello", "records cut at {place}");
        }
        // Each byte of the record alone, then each byte of the request in a record.
        let sealed = client.seal(request);
        for byte in &sealed {
            client.send_wire([*byte]);
        }
        assert_eq!(client.read_response().text(), "hello");
        client.send_bytewise(request).expect("they are taken");
        assert_eq!(client.read_response().text(), "hello");
        // Many records in one segment: of one byte, empty ones, and two requests.
        let mut wire = Vec::new();
        for byte in request.bytes() {
            wire.extend(client.seal([byte]));
        }
        wire.extend(client.seal(request));
        client.send_wire(wire);
        assert_eq!(client.read_response().text(), "hello");
        assert_eq!(client.read_response().text(), "hello");
    });
}

#[test]
fn keys_are_changed_by_the_client_at_any_time() {
    let origin = mirror();
    let world = Ground::new().start(1, [origin.address()], "", "");
    let mut client = world.connect_as(&world.client().version(TlsVersion::V13).build());
    for n in 0..20 {
        client.update_keys();
        assert_eq!(client.get("/").status, 200, "{n}");
    }
    // With the last message of the handshake, as often as it gets there together with it.
    for _ in 0..40 {
        let mut early = world.connect_as(&world.client().version(TlsVersion::V13).build());
        assert_eq!(early.update_keys().get("/").status, 200);
    }
    // In the middle of a body, several times.
    let body = patterned(300_000);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    for piece in body.chunks(10_000) {
        client.update_keys().send(piece);
    }
    assert!(client.read_response().body == body);
    // openssl: `K` asks for keys of the other side too.
    let request = "GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n";
    let input = format!(
        "printf 'K\\n'; sleep 0.3; printf 'k\\n'; sleep 0.3; printf '{request}'; sleep 0.5; printf 'Q\\n'"
    );
    let exit = world.s_client(&input, &["-tls1_3"]);
    let said = exit.stdout_text();
    assert!(said.matches("KEYUPDATE").count() == 2 && said.contains("HTTP/1.1 200"), "{said}");
}

#[test]
fn a_client_that_says_it_sends_no_more_has_left() {
    let origin = Origin::start(|mut connection: Connection| {
        connection.read_request()?;
        // Its end comes instead of a second request.
        assert!(connection.read_request()?.is_none());
        Ok(())
    });
    let world = Ground::new().start(1, [origin.address()], "", "");
    in_each_version(&world, |mut client| {
        client.send(GET).close_notify();
        client.read_until_end();
        assert!(client.received().is_empty());
    });
    in_each_version(&world, |mut client| {
        client.send(GET).half_close();
        client.read_until_end();
        assert!(client.received().is_empty());
    });
    origin.wait_idle();
}

#[test]
fn each_end_in_order_is_announced() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "frontends.web.timeouts.keep_alive = \"200ms\"\nfrontends.web.timeouts.request_head = \"300ms\"\n";
    let world = Ground::new().start(1, [origin.address()], "", more);
    in_each_version(&world, |mut client| {
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_response().text(), "hello");
        client.expect_eof();
    });
    // An idle connection.
    in_each_version(&world, |mut client| {
        assert_eq!(client.get("/").text(), "hello");
        client.expect_eof();
    });
    // A request that does not come, one that is wrong, and a client that leaves.
    in_each_version(&world, |mut client| {
        client.send("GET / HTTP/1.1\r\n");
        assert_eq!(client.read_response().status, 408);
        client.expect_eof();
    });
    in_each_version(&world, |mut client| {
        client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
        assert_eq!(client.read_response().status, 400);
        client.expect_eof();
    });
    in_each_version(&world, |mut client| {
        assert_eq!(client.get("/").text(), "hello");
        client.close_notify().expect_eof();
    });
}

#[test]
fn a_response_that_is_cut_does_not_look_whole() {
    for (response, resets) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n", false),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart", true),
    ] {
        let origin = Origin::start(move |mut connection: Connection| {
            if connection.read_request()?.is_some() {
                connection.send(response)?;
                if resets {
                    connection.read_exactly(1)?;
                }
            }
            Ok(())
        });
        let more = "backends.app.timeouts.server = \"300ms\"\n";
        let world = Ground::new().start(1, [origin.address()], "", more);
        in_each_version(&world, |mut client| {
            client.send(GET);
            assert_eq!(client.read_head().status, 200);
            assert_ne!(client.read_until_end(), End::Eof, "{response:?}");
        });
    }
}

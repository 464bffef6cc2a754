//! Owns upgrades: from the request for one to the end of the tunnel.
//!
//! Leaves `Upgrade` fields that mean nothing to `http_headers`. Invariant: behind a
//! `101 Switching Protocols` every byte and each end is passed on as it is.

#[path = "support/http.rs"]
mod support;

use std::io;
use support::{
    client, on_one_and_two_shards, patterned, start, wait_in_flight, wait_nothing_in_flight,
};
use tidegate_testkit::{Client, Connection, End, Gate, Origin, Tidegate, script};

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An origin that switches protocols and then runs `tunnel`.
fn switching(tunnel: impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static) -> Origin {
    Origin::start(move |mut connection: Connection| {
        if connection.read_request_head()?.is_none() {
            return Ok(());
        }
        connection.send(SWITCHING)?;
        tunnel(connection)
    })
}

/// A client whose connection has become a tunnel.
#[track_caller]
fn upgraded(tidegate: &Tidegate) -> Client {
    let mut client = client(tidegate);
    client.send(REQUEST);
    assert_eq!(client.read_head().status, 101);
    client
}

#[test]
fn an_upgrade_is_negotiated_with_its_fields() {
    on_one_and_two_shards(|shards| {
        let origin = switching(Connection::echo);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send(REQUEST);
        let request = origin.wait_requests(1);
        assert_eq!(request.headers.value("upgrade"), Some("websocket"));
        assert_eq!(request.headers.value("connection"), Some("upgrade"));
        assert!(request.headers.contains("sec-websocket-key"));
        let response = client.read_head();
        assert_eq!((response.status, response.reason.as_str()), (101, "Switching Protocols"));
        assert_eq!(response.headers.value("upgrade"), Some("websocket"));
        assert_eq!(response.headers.value("connection"), Some("upgrade"));
        assert!(response.headers.contains("sec-websocket-accept"));
        wait_in_flight(&tidegate, 1);
        drop(client);
        assert_eq!(origin.wait_end(0), End::Eof);
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn bytes_pass_both_ways_at_once() {
    const ROUND_BYTES: usize = 48_000;
    const ROUNDS: usize = 50;
    on_one_and_two_shards(|shards| {
        let from_server = patterned(ROUND_BYTES);
        let from_client: Vec<u8> = from_server.iter().rev().copied().collect();
        // In each round both sides send before either reads.
        let origin = switching({
            let (from_server, from_client) = (from_server.clone(), from_client.clone());
            move |mut connection: Connection| {
                for round in 0..ROUNDS {
                    connection.send(&from_server)?;
                    let got = connection.read_exactly(ROUND_BYTES)?;
                    assert!(got == from_client, "the server got other bytes in round {round}");
                }
                connection.finish()
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = upgraded(&tidegate);
        for round in 0..ROUNDS {
            client.send(&from_client);
            let got = client.read_exactly(ROUND_BYTES);
            assert!(got == from_server, "the client got other bytes in round {round}");
        }
        client.expect_eof();
    });
}

#[test]
fn bytes_in_the_segment_of_either_head_belong_to_the_tunnel() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|mut connection: Connection| {
            if connection.read_request_head()?.is_none() {
                return Ok(());
            }
            connection.send([SWITCHING, "from the server"].concat())?;
            assert_eq!(connection.read_exactly(15)?, b"from the client");
            connection.finish()
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send([REQUEST, "from the client"].concat());
        assert_eq!(client.read_head().status, 101);
        assert_eq!(client.read_exactly(15), b"from the server");
        client.expect_eof();
    });
}

#[test]
fn a_client_that_finishes_first_still_receives() {
    on_one_and_two_shards(|shards| {
        let rest = patterned(200_000);
        let origin = switching({
            let rest = rest.clone();
            move |mut connection: Connection| {
                assert_eq!(connection.read_exactly(3)?, b"bye");
                assert_eq!(connection.read_some(1)?, b"", "the client's end is passed on");
                connection.send(&rest)
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = upgraded(&tidegate);
        client.send("bye").half_close();
        assert!(client.read_to_end() == rest, "what the server sent after the client's end");
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_server_that_finishes_first_still_receives() {
    on_one_and_two_shards(|shards| {
        let rest = patterned(200_000);
        let received = Gate::new();
        let origin = switching({
            let (rest, received) = (rest.clone(), received.clone());
            move |mut connection: Connection| {
                connection.send("bye")?;
                connection.half_close()?;
                assert!(connection.read_exactly(rest.len())? == rest, "the client's bytes");
                received.open();
                assert_eq!(connection.read_some(1)?, b"", "the client's end is passed on");
                Ok(())
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = upgraded(&tidegate);
        assert_eq!(client.read_to_end(), b"bye");
        client.send(&rest);
        received.wait();
        drop(client);
        assert_eq!(origin.wait_end(0), End::Eof);
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_side_that_breaks_off_ends_the_tunnel() {
    on_one_and_two_shards(|shards| {
        let origin =
            switching(|mut connection: Connection| match connection.read_exactly(4)?.as_slice() {
                b"hang" => connection.hang(),
                _ => connection.reset(),
            });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = upgraded(&tidegate);
        client.send("quit");
        client.expect_end();
        let mut client = upgraded(&tidegate);
        client.send("hang");
        wait_in_flight(&tidegate, 1);
        client.reset();
        origin.wait_end(1);
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends() {
    on_one_and_two_shards(|shards| {
        let origin = switching(Connection::echo);
        let more = "defaults.timeouts.tunnel = \"300ms\"";
        let tidegate = start(shards, [origin.address()], more);
        let mut client = upgraded(&tidegate);
        for _ in 0..3 {
            client.send("ping");
            assert_eq!(client.read_exactly(4), b"ping");
        }
        client.expect_end();
        origin.wait_end(0);
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_server_that_does_not_switch_answers_as_ever() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("no chat here"));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send(REQUEST);
            let response = client.read_response();
            assert_eq!((response.status, response.text()), (200, "no chat here"));
            assert_eq!(client.get("/").status, 200);
        }
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_server_that_requires_another_protocol_can_say_which() {
    on_one_and_two_shards(|shards| {
        let fields = [("Connection", "upgrade"), ("Upgrade", "chat/2, chat/1")];
        let required = script::response(426, "Upgrade Required", &fields, "chat, please");
        let origin = Origin::start(script::answer(required));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for (connection, expected) in
            [("keep-alive", "upgrade"), ("keep-alive", "upgrade"), ("close", "close, upgrade")]
        {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n"));
            let response = client.read_response();
            assert_eq!((response.status, response.text()), (426, "chat, please"));
            assert_eq!(response.headers.value("upgrade"), Some("chat/2, chat/1"));
            assert_eq!(response.headers.value("connection"), Some(expected));
        }
        client.expect_eof();
        assert_eq!(origin.connections_count(), 1);
    });
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::upgrade_echo("websocket"));
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for request in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
        ] {
            client.send(request);
            assert_eq!(client.read_response().status, 502, "{request}");
        }
        assert!(origin.requests().iter().all(|request| !request.headers.contains("upgrade")));
        wait_nothing_in_flight(&tidegate);
    });
}

//! Peers of TLS that are there no longer and do not say so, on either side, at any point of the handshake and behind it.
//!
//! Owns what they cost: the time that is configured for that point, a count, and nothing behind it while their sockets stay open. Leaves
//! those who close to `tls_trouble`.

#[path = "support/tls.rs"]
mod tls;

use tidegate_testkit::http2::{flag, frame, kind, request};
use tidegate_testkit::{
    Client, Connection, End, Metrics, Origin, TlsServer, TlsVersion, hpack, script, site,
};
use tls::{Ground, NAME, World};

const FAILED: &str = "tidegate_frontend_tls_handshakes_failed_total";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Short times of a frontend, each another one.
const SHORT: &str = "frontends.web.timeouts = { tls_handshake = \"200ms\", request_head = \"300ms\", \
    request_body = \"400ms\", keep_alive = \"500ms\" }\n";

fn count(metrics: &Metrics, name: &str) -> u64 {
    metrics.count(name, &[])
}

/// Waits until the program holds nothing of its clients, who are all there yet.
#[track_caller]
fn wait_nothing_held(world: &World, descriptors: usize) {
    world.tidegate.wait_metrics("nothing is held for clients", |metrics| {
        [
            "tidegate_frontend_connections_open",
            "tidegate_shard_tls_handshakes",
            "tidegate_frontend_http2_connections_open",
            "tidegate_frontend_http2_streams_open",
            "tidegate_server_requests_in_flight",
        ]
        .iter()
        .all(|name| count(metrics, name) == 0)
    });
    // Fewer when the idle connection to the server has gone meanwhile.
    wait_descriptors(world, descriptors);
}

/// The connection that asked for metrics goes as well, a moment later.
#[track_caller]
fn wait_descriptors(world: &World, most: usize) {
    let process = world.tidegate.process();
    process.wait_until("no descriptor is left", || (process.open_fds() <= most).then_some(()));
}

/// The program, which has served once, and how many descriptors it has without clients.
fn start(origin: &Origin) -> (World, usize) {
    let world = Ground::new().start(2, [origin.address()], "alpn = [\"h2\", \"http/1.1\"]", SHORT);
    assert_eq!(world.connect().get("/").text(), "hello");
    world.tidegate.wait_metrics("the client has gone", |metrics| {
        count(metrics, "tidegate_frontend_connections_open") == 0
    });
    let descriptors = world.tidegate.open_fds();
    (world, descriptors)
}

#[test]
fn clients_that_stall_within_their_hello_hold_nothing_after_their_time() {
    let origin = Origin::start(script::answer_ok("hello"));
    let (world, descriptors) = start(&origin);
    let mut clients = Vec::new();
    for version in TlsVersion::ALL {
        let hello = world.client().version(version).build().hello();
        for place in 1..=20 {
            let mut client = Client::connect(world.tidegate.address("web"));
            client.send(&hello[..hello.len() * place / 20]);
            clients.push(client);
        }
    }
    let metrics = world.tidegate.wait_metrics("all are given up", |metrics| {
        metrics.count(FAILED, &[("reason", "timeout")]) == 40
    });
    assert_eq!(count(&metrics, FAILED), 40);
    wait_nothing_held(&world, descriptors);
    assert_eq!(world.connect().get("/").text(), "hello");
    drop(clients);
}

#[test]
fn clients_that_vanish_behind_the_handshake_hold_nothing_after_their_time() {
    let origin = Origin::start(script::answer_ok("hello"));
    let (world, descriptors) = start(&origin);
    let fields = hpack::block(&request("POST", "/"));
    let half = frame(kind::HEADERS, flag::END_HEADERS, 1, &fields);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let mut clients = Vec::new();
    for version in TlsVersion::ALL {
        for (alpn, sent) in [
            ("http/1.1", b"".to_vec()),
            ("http/1.1", b"GET / HTTP/1.1\r\nHo".to_vec()),
            ("http/1.1", [head.as_bytes(), b"half"].concat()),
            ("http/1.1", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
            ("h2", b"".to_vec()),
            ("h2", PREFACE[..10].to_vec()),
            ("h2", PREFACE.to_vec()),
            ("h2", [PREFACE, &half[..20]].concat()),
            ("h2", [PREFACE, &half].concat()),
            ("h2", [PREFACE, &half, &frame(kind::DATA, 0, 1, b"half")].concat()),
        ] {
            let client = world.client().version(version).alpn(&[alpn]).build();
            let mut client = world.connect_as(&client);
            client.send(&sent);
            // Half a record besides, which never ends.
            let record = client.seal("x");
            client.send_wire(&record[..record.len() / 2]);
            clients.push((alpn, sent, client));
        }
    }
    wait_nothing_held(&world, descriptors);
    assert_eq!(count(&world.tidegate.metrics(), FAILED), 0, "the handshakes were whole");
    for (alpn, sent, client) in &mut clients {
        let end = client.read_until_end();
        assert_eq!(end, End::Eof, "{alpn} {:?}", String::from_utf8_lossy(sent));
    }
    assert_eq!(world.connect().get("/").text(), "hello");
}

/// A record of a handshake that says it has 100 bytes.
const SERVER_HELLO: &[u8] = &[22, 3, 3, 0, 104, 2, 0, 0, 100, 3, 3];

#[test]
fn servers_that_stall_in_or_behind_the_handshake_cost_the_time_to_connect_and_no_more() {
    for protocol in ["http/1.1", "h2", "auto"] {
        for place in [0, 1, 5, SERVER_HELLO.len()] {
            let silent = Origin::start(move |mut connection: Connection| {
                connection.read_some(5)?;
                connection.send(&SERVER_HELLO[..place])?;
                connection.hang()
            });
            let (world, descriptors) = start_behind(&silent, protocol);
            costs_the_time_to_connect(&world, descriptors, 503, "connect_timeout");
            assert_ne!(silent.wait_end(0), End::Cut, "{protocol} {place}");
        }
    }
    // The handshake is over, and no SETTINGS come.
    for protocol in ["h2", "auto"] {
        let ground = Ground::new();
        let server = TlsServer::showing(&ground.authority.sign(&[NAME])).alpn(&["h2"]);
        let silent = Origin::start_tls(&server, |connection: Connection| connection.hang());
        let (world, descriptors) = start_on(ground, &silent, protocol);
        costs_the_time_to_connect(&world, descriptors, 503, "connect_timeout");
        silent.wait_end(0);
        let ended = [("reason", "dial")];
        let name = "tidegate_server_http2_connections_ended_total";
        assert_eq!(world.tidegate.metrics().count(name, &ended), 1, "{protocol}");
    }
    // It has taken the request, and answers nothing.
    let ground = Ground::new();
    let server = TlsServer::showing(&ground.authority.sign(&[NAME]));
    let silent = Origin::start_tls(&server, |connection: Connection| connection.hang());
    let (world, descriptors) = start_on(ground, &silent, "auto");
    costs_the_time_to_connect(&world, descriptors, 504, "server_timeout");
    silent.wait_end(0);
}

fn start_behind(silent: &Origin, protocol: &str) -> (World, usize) {
    start_on(Ground::new(), silent, protocol)
}

fn start_on(ground: Ground, silent: &Origin, protocol: &str) -> (World, usize) {
    let more = format!(
        "backends.app.protocol = \"{protocol}\"\nbackends.app.retries = 0\n\
         backends.app.timeouts = {{ connect = \"200ms\", server = \"300ms\" }}\n\
         backends.app.tls = {{ ca = \"ca.pem\", server_name = \"{NAME}\" }}\n"
    );
    let world = ground.start_on(&(site(1, [silent.address()]) + &more));
    let descriptors = world.tidegate.open_fds();
    (world, descriptors)
}

#[track_caller]
fn costs_the_time_to_connect(world: &World, descriptors: usize, status: u16, reason: &str) {
    let mut client = Client::connect(world.tidegate.address("web"));
    assert_eq!(client.get("/").status, status);
    drop(client);
    let line = world.tidegate.wait_log(|line| line.is_event("request_failed"));
    assert_eq!(line.field("reason").as_deref(), Some(reason), "{}", line.text);
    let metrics = world.tidegate.wait_metrics("nothing is held", |metrics| {
        ["tidegate_frontend_connections_open", "tidegate_server_connections_open"]
            .iter()
            .all(|name| count(metrics, name) == 0)
    });
    let failed = [("reason", reason)];
    assert_eq!(metrics.count("tidegate_server_attempts_failed_total", &failed), 1);
    wait_descriptors(world, descriptors);
}

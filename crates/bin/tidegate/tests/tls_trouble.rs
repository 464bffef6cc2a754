//! Peers that mean harm or are broken: what they cost, and that nobody else notices.
//!
//! Owns garbage, silence, floods and ends in the middle; leaves connections in order to `tls_streams`.

#[path = "support/tls.rs"]
mod tls;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tidegate_testkit::{
    Client, Connection, Deadline, End, Gate, Origin, Signal, TlsVersion, script, seed,
};
use tls::{Ground, World};

const FAILED: &str = "tidegate_frontend_tls_handshakes_failed_total";
const UNDER_WAY: &str = "tidegate_shard_tls_handshakes";

fn plain(world: &World) -> Client {
    Client::connect(world.tidegate.address("web"))
}

/// Waits until this many handshakes failed for a reason.
#[track_caller]
fn wait_failed(world: &World, reason: &str, count: u64) {
    world.tidegate.wait_metrics(reason, |metrics| {
        metrics.count(FAILED, &[("reason", reason)]) == count && metrics.count(UNDER_WAY, &[]) == 0
    });
}

/// A client's first message.
fn hello(world: &World, version: TlsVersion) -> Vec<u8> {
    world.client().version(version).build().hello()
}

#[test]
fn what_is_no_tls_is_told_so_or_dropped() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = plain(&world);
        client.send(request);
        let response = client.read_response();
        assert_eq!(response.status, 400);
        assert!(response.text().contains("https://"), "{}", response.text());
        client.expect_eof();
    }
    for garbage in ["SSH-2.0-x\r\n", "\0\0\0\0", "\u{80}\u{2e}\u{1}", "\r\n\r\n"] {
        let mut client = plain(&world);
        client.send(garbage);
        assert_ne!(client.read_until_end(), End::Cut, "{garbage:?}");
        assert!(client.received().is_empty());
    }
    wait_failed(&world, "not_tls", 6);
    assert_eq!(world.connect().get("/").text(), "hello");
    assert_eq!(origin.requests_count(), 1);
}

#[test]
fn a_hello_that_ends_at_any_byte_leaves_nothing_behind() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    assert_eq!(world.connect().get("/").text(), "hello");
    let (mut closed, descriptors) = (0, settled_descriptors(&world));
    for version in TlsVersion::ALL {
        let hello = hello(&world, version);
        for end in (0..hello.len()).step_by(if cfg!(debug_assertions) { 7 } else { 1 }) {
            for resets in [false, true] {
                let mut client = plain(&world);
                client.send(&hello[..end]);
                if resets {
                    client.reset();
                } else {
                    drop(client);
                }
                closed += 1;
            }
        }
    }
    wait_failed(&world, "closed", closed);
    // Fewer when the idle connection to the server has gone meanwhile; the kernel may take a moment to close the last ones.
    world.tidegate.process().wait_until("their descriptors are closed", || {
        (settled_descriptors(&world) <= descriptors).then_some(())
    });
    assert_eq!(world.connect().get("/").text(), "hello");
}

/// Descriptors once all clients have gone.
fn settled_descriptors(world: &World) -> usize {
    world.tidegate.wait_metrics("no client is there", |metrics| {
        metrics.count("tidegate_frontend_connections_open", &[]) == 0
    });
    world.tidegate.open_fds()
}

#[test]
fn hellos_with_any_byte_changed_are_refused_or_answered_and_harm_nobody() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "frontends.web.timeouts.tls_handshake = \"100ms\"\n";
    let world = Ground::new().start(1, [origin.address()], "", more);
    let mut rng = seed().rng();
    for version in TlsVersion::ALL {
        let hello = hello(&world, version);
        let mut clients: Vec<Client> = Vec::new();
        for place in 0..hello.len() {
            let mut bytes = hello.clone();
            bytes[place] ^= 1 << rng.below(8);
            let mut client = plain(&world);
            client.send(bytes);
            clients.push(client);
        }
        for mut client in clients {
            client.read_until_end();
        }
    }
    assert_eq!(world.connect().get("/").text(), "hello");
    world
        .tidegate
        .wait_metrics("nothing is under way", |metrics| metrics.count(UNDER_WAY, &[]) == 0);
}

#[test]
fn who_does_not_go_on_is_left_at_the_timeout() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "frontends.web.timeouts.tls_handshake = \"300ms\"\n";
    let world = Ground::new().start(1, [origin.address()], "", more);
    let hello = hello(&world, TlsVersion::V13);
    let begun = Instant::now();
    let mut clients = Vec::new();
    for start in [0, 1, 5, 100, hello.len()] {
        let mut client = plain(&world);
        client.send(&hello[..start]);
        clients.push(client);
    }
    for mut client in clients {
        client.read_until_end();
    }
    assert!(begun.elapsed() >= Duration::from_millis(290));
    // Who has said nothing at all has not begun a handshake.
    wait_failed(&world, "timeout", 4);
    // One byte at a time is no excuse.
    let mut slow = plain(&world);
    let never = Gate::new();
    let begun = Instant::now();
    let ended = hello.iter().any(|byte| {
        let _ = never.wait_at_most(Duration::from_millis(20));
        slow.try_send([*byte]).is_err()
    });
    assert!(ended && begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_hello_without_end_is_refused_soon() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    let memory = world.tidegate.process().resident_bytes();
    // Records of a handshake message that says it has 16 MB.
    let mut record = vec![22, 3, 1, 0x40, 0x00, 1, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let mut client = plain(&world);
    // What is refused is read and forgotten for a while, so that the alert arrives.
    let taken = (0..1_000).take_while(|_| client.try_send(&record).is_ok()).count();
    client.read_until_end();
    assert!(taken < 1_000, "it takes everything");
    assert!(world.tidegate.process().resident_bytes() < memory + 4_000_000);
    wait_failed(&world, "invalid", 1);
    // A record longer than any may be.
    let mut client = plain(&world);
    client.send([22, 3, 1, 0xff, 0xff, 1, 0, 0, 0]);
    client.read_until_end();
    wait_failed(&world, "invalid", 2);
}

#[test]
fn records_that_are_not_right_end_the_connection_with_an_alert() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    for version in TlsVersion::ALL {
        let tls = world.client().version(version).build();
        let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        for place in [0, 1, 3, 4, 5, 20, -1] {
            let mut client = world.connect_as(&tls);
            assert_eq!(client.get("/").text(), "hello");
            let mut sealed = client.seal(request);
            let place =
                if place < 0 { sealed.len() - 1 } else { usize::try_from(place).expect("small") };
            sealed[place] ^= 0x40;
            client.send_wire(sealed);
            // A length that was made greater waits for the rest.
            if matches!(place, 3 | 4) {
                client.try_half_close();
            }
            let before = client.received().len();
            let end = client.try_read_response_to("GET").expect_err("nothing was asked for");
            assert_eq!(client.received().len(), before, "{version:?} {place}: {end}");
        }
    }
    assert_eq!(world.connect().get("/").text(), "hello");
}

#[test]
fn an_alert_of_the_client_ends_its_connection_alone() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    let mut other = world.connect();
    assert_eq!(other.get("/").text(), "hello");
    // During the handshake, in plain.
    let mut client = plain(&world);
    client.send([21, 3, 1, 0, 2, 2, 40]);
    client.read_until_end();
    let mut client = plain(&world);
    client.send(hello(&world, TlsVersion::V12));
    client.read_some(1);
    client.send([21, 3, 3, 0, 2, 2, 42]);
    client.read_until_end();
    world.wait_failed("refused_by_client");
    // A connection that is cut while idle, and with half a record.
    for version in TlsVersion::ALL {
        let mut client = world.connect_as(&world.client().version(version).build());
        assert_eq!(client.get("/").text(), "hello");
        let sealed = client.seal("GET / HTTP/1.1\r\n");
        client.send_wire(&sealed[..sealed.len() / 2]);
        client.cut();
        let mut client = world.connect_as(&world.client().version(version).build());
        assert_eq!(client.get("/").text(), "hello");
        client.cut();
    }
    assert_eq!(other.get("/").text(), "hello");
}

#[test]
fn renegotiation_is_declined_and_the_connection_goes_on() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    let request = "GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n";
    let input = format!("printf '{request}'; sleep 0.5; printf 'R\\n'; sleep 1");
    let exit = world.s_client(&input, &["-tls1_2"]);
    let said = exit.stdout_text();
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    assert_eq!(world.connect().get("/").text(), "hello");
}

#[test]
fn a_flood_of_handshakes_is_bounded_and_established_traffic_goes_on() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "global.tls_handshakes_max = 4\nglobal.tls_handshake_share = 30\n\
        frontends.web.timeouts.tls_handshake = \"1s\"\n";
    let world = Ground::new().start(1, [origin.address()], "", more);
    let hello = hello(&world, TlsVersion::V13);
    let (over, floods) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut established = world.connect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut silent = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let Ok(mut client) = Client::try_connect(world.tidegate.address("web")) else {
                        continue;
                    };
                    let _ = client.try_send(&hello);
                    floods.fetch_add(1, Ordering::SeqCst);
                    silent.push(client);
                    if silent.len() > 50 {
                        silent.clear();
                    }
                }
            });
        }
        // A starved connection would not get there within the test's time.
        let mut asked = 0;
        while asked < 200 || floods.load(Ordering::SeqCst) <= 200 {
            assert_eq!(established.get("/").text(), "hello");
            asked += 1;
            if asked % 50 == 0 {
                let under_way = world.tidegate.metrics().count(UNDER_WAY, &[]);
                assert!(under_way <= 4, "{under_way} under way");
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    world.tidegate.wait_metrics("the flood is over", |metrics| metrics.count(UNDER_WAY, &[]) == 0);
    assert_eq!(world.connect().get("/").text(), "hello");
}

#[test]
fn descriptors_and_memory_return_to_where_they_were() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(2, [origin.address()], "", "");
    let round = || {
        let mut clients: Vec<Client> = (0..200).map(|_| world.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "hello");
        }
        drop(clients);
        settled_descriptors(&world)
    };
    round();
    let (descriptors, memory) = (round(), world.tidegate.process().resident_bytes());
    for _ in 0..3 {
        round();
    }
    assert!(settled_descriptors(&world) <= descriptors + 2);
    let grown = world.tidegate.process().resident_bytes().saturating_sub(memory);
    assert!(grown < 4_000_000, "{grown} bytes more after 600 connections");
}

#[test]
fn draining_lets_the_busy_end_and_closes_the_idle_in_order() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        while let Some(request) = connection.read_request()? {
            if request.target == "/slow" {
                opened.wait();
            }
            connection.send(script::ok("hello"))?;
        }
        Ok(())
    });
    let mut world = Ground::new().start(1, [origin.address()], "", "");
    let mut idle = world.connect();
    assert_eq!(idle.get("/").text(), "hello");
    let mut busy = world.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_requests(2);
    world.tidegate.signal(Signal::TERM);
    idle.expect_eof();
    gate.open();
    assert_eq!(busy.read_response().text(), "hello");
    busy.expect_eof();
    assert!(world.tidegate.wait_exit(Deadline::default()).success());
}

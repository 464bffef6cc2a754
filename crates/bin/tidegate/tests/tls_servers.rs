//! TLS to servers: who is believed, what is kept and gone on with, and what fails how.
//!
//! Owns connections to servers; leaves clients with TLS to `tls_clients`.

#[path = "support/tls.rs"]
mod tls;

use std::collections::HashSet;
use std::fmt::Display;
use tidegate_testkit::{
    Authority, Client, Connection, End, Identity, Nginx, Origin, Response, Tidegate, TlsServer,
    TlsVersion, Validity, script, site,
};
use tls::{Ground, NAME, World};

/// Verified by the authority of the test, by the name of its certificates.
const VERIFIED: &str = "backends.app.tls = { ca = \"ca.pem\", server_name = \"a.example\" }\n";

/// Starts the program with plain clients in front of servers.
fn start<A: Display>(
    ground: Ground,
    shards: usize,
    servers: impl IntoIterator<Item = A>,
    more: &str,
) -> World {
    ground.start_on(&(site(shards, servers) + more))
}

#[track_caller]
fn get(tidegate: &Tidegate) -> Response {
    Client::connect(tidegate.address("web")).get("/")
}

fn showing(ground: &Ground) -> TlsServer {
    TlsServer::showing(&ground.authority.sign(&[NAME]))
}

#[test]
fn a_server_that_is_not_believed_gets_no_request() {
    let ground = Ground::new();
    let sign = |names: &[&str], validity| ground.authority.sign_valid(names, validity);
    let cases: [(Identity, &str); 5] = [
        (Authority::new("another").sign(&[NAME]), "UnknownIssuer"),
        (Identity::self_signed(&[NAME]), "UnknownIssuer"),
        (sign(&["b.example"], Validity::Now), "not valid for name"),
        (sign(&[NAME], Validity::Past), "expired"),
        (sign(&[NAME], Validity::Future), "not valid yet"),
    ];
    let origins: Vec<Origin> = cases
        .iter()
        .map(|(identity, _)| {
            Origin::start_tls(&TlsServer::showing(identity), script::answer_ok("no"))
        })
        .collect();
    let mut config = site(1, [origins[0].address()]) + VERIFIED;
    for (number, origin) in origins.iter().enumerate().skip(1) {
        config += &format!(
            "[frontends.f{number}]\nbind = [\"127.0.0.1:0\"]\ndefault_backend = \"b{number}\"\n\
             [backends.b{number}]\ntls = {{ ca = \"ca.pem\", server_name = \"a.example\" }}\n\
             servers.s1 = \"{}\"\n",
            origin.address()
        );
    }
    let world = ground.start_on(&config);
    for (number, ((_, why), origin)) in cases.iter().zip(&origins).enumerate() {
        let frontend = if number == 0 { "web".to_owned() } else { format!("f{number}") };
        let backend = if number == 0 { "app".to_owned() } else { format!("b{number}") };
        let response = Client::connect(world.tidegate.address(&frontend)).get("/");
        assert_eq!(response.status, 503, "{why}");
        let line = world.tidegate.wait_log(|line| {
            line.is_event("tls_handshake_failed")
                && line.field("backend").as_ref() == Some(&backend)
        });
        let detail = line.field("detail").unwrap_or_default();
        assert!(detail.contains(why), "{why}: {}", line.text);
        assert_eq!(line.field("server").as_deref(), Some("s1"), "{}", line.text);
        let line = world.tidegate.wait_log(|line| {
            line.is_event("request_failed") && line.field("backend").as_ref() == Some(&backend)
        });
        assert_eq!(line.field("reason").as_deref(), Some("connect_tls"), "{}", line.text);
        assert_eq!(origin.requests_count(), 0);
        assert!(!origin.failed_handshakes().is_empty() || !origin.handshakes().is_empty());
    }
}

#[test]
fn without_verification_anybody_is_spoken_to_and_a_warning_says_so() {
    let stranger = Identity::self_signed(&["whatever"]);
    let origin = Origin::start_tls(&TlsServer::showing(&stranger), script::answer_ok("hello"));
    let world =
        start(Ground::new(), 1, [origin.address()], "backends.app.tls = { verify = false }\n");
    assert_eq!(get(&world.tidegate).text(), "hello");
    world.tidegate.wait_log(|line| line.text.contains("servers are not verified"));
}

#[test]
fn the_name_asked_for_is_the_address_or_what_is_configured() {
    let ground = Ground::new();
    let identity = ground.authority.sign(&[NAME, "127.0.0.1"]);
    let origin = Origin::start_tls(&TlsServer::showing(&identity), script::answer_ok("hello"));
    let (more, server) = ("backends.app.tls = { ca = \"ca.pem\" }\n", [origin.address()]);
    let world = start(ground, 1, server, more);
    assert_eq!(get(&world.tidegate).text(), "hello");
    assert_eq!(origin.handshakes()[0].server_name, None, "an address is not asked for by SNI");
    let config = site(1, server) + VERIFIED;
    assert!(world.tidegate.reload(&config).is_event("reloaded"));
    assert_eq!(get(&world.tidegate).text(), "hello");
    let asked: HashSet<_> =
        origin.handshakes().into_iter().filter_map(|facts| facts.server_name).collect();
    assert_eq!(asked, HashSet::from([NAME.to_owned()]));
}

#[test]
fn servers_are_shown_our_certificate_and_versions_hold() {
    let ground = Ground::new();
    let ours = ground.authority.sign(&["proxy.example"]);
    let identity = ground.authority.sign(&[NAME]);
    for version in TlsVersion::ALL {
        let tls = TlsServer::new(&identity, &[version], Some(&ground.authority));
        let origin = Origin::start_tls(&tls, script::answer_ok("hello"));
        let inner = Ground::new();
        inner.write("ca.pem", ground.authority.pem());
        inner.write("client.pem", ours.both());
        let with = "backends.app.tls = { ca = \"ca.pem\", server_name = \"a.example\", certificate = \"client.pem\" }\n";
        let world = start(inner, 1, [origin.address()], with);
        for _ in 0..3 {
            assert_eq!(get(&world.tidegate).text(), "hello");
        }
        assert!(origin.handshakes()[0].was_shown(&ours));
        assert_eq!(origin.handshakes()[0].version, version);
        // Without one the server refuses: in TLS 1.3 after our side is done.
        world.tidegate.reload(&(site(1, [origin.address()]) + VERIFIED));
        assert!([502, 503].contains(&get(&world.tidegate).status));
        let refused = origin.failed_handshakes();
        assert!(refused.iter().any(|why| why.contains("no certificates")), "{refused:?}");
    }
}

#[test]
fn connections_are_kept_and_used_again_whatever_comes_between_requests() {
    let ground = Ground::new();
    let identity = ground.authority.sign(&[NAME]);
    for version in TlsVersion::ALL {
        let tls = TlsServer::new(&identity, &[version], None);
        let origin = Origin::start_tls(&tls, move |mut connection: Connection| {
            while connection.read_request()?.is_some() {
                connection.send(script::ok("hello"))?;
                if version == TlsVersion::V13 {
                    // On a connection that is idle for us.
                    connection.update_keys()?;
                }
            }
            Ok(())
        });
        let inner = Ground::new();
        inner.write("ca.pem", ground.authority.pem());
        let world = start(inner, 1, [origin.address()], VERIFIED);
        let mut client = Client::connect(world.tidegate.address("web"));
        for _ in 0..50 {
            assert_eq!(client.get("/").text(), "hello");
        }
        assert_eq!(origin.connections_count(), 1, "{version:?}");
    }
}

#[test]
fn sessions_with_servers_go_on_on_any_shard() {
    let ground = Ground::new();
    let identity = ground.authority.sign(&[NAME]);
    for version in TlsVersion::ALL {
        let tls = TlsServer::new(&identity, &[version], None);
        let answer = script::response(200, "OK", &[("Connection", "close")], "hello");
        let origin = Origin::start_tls(&tls, script::answer_and_close(answer));
        let inner = Ground::new();
        inner.write("ca.pem", ground.authority.pem());
        let world = start(inner, 2, [origin.address()], VERIFIED);
        for _ in 0..20 {
            assert_eq!(get(&world.tidegate).text(), "hello");
        }
        let handshakes = origin.handshakes();
        let full = handshakes.iter().filter(|facts| !facts.resumed).count();
        assert_eq!(handshakes.len(), 20);
        assert!(full <= 2, "{version:?}: {full} of 20 in full");
    }
}

#[test]
fn a_server_without_tls_is_passed_over_for_another() {
    let ground = Ground::new();
    let plain = Origin::start(|mut connection: Connection| {
        connection.read_some(1)?;
        connection.send("HTTP/1.1 400 Bad Request\r\n\r\n")
    });
    let origin = Origin::start_tls(&showing(&ground), script::answer_ok("hello"));
    let servers = [plain.address(), origin.address()];
    let world = start(ground, 1, servers, &(VERIFIED.to_owned() + "backends.app.retries = 2\n"));
    for _ in 0..10 {
        assert_eq!(get(&world.tidegate).text(), "hello");
    }
    assert!(plain.connections_count() > 0);
    let failed = [("server", "s1"), ("reason", "connect_tls")];
    let metrics = world.tidegate.wait_metrics("failures are counted", |metrics| {
        metrics.count("tidegate_server_attempts_failed_total", &failed) > 0
    });
    assert_eq!(metrics.count("tidegate_server_attempts_failed_total", &[("server", "s2")]), 0);
}

#[test]
fn a_silent_server_costs_the_time_to_connect() {
    let silent = Origin::start(|connection: Connection| connection.hang());
    let more = VERIFIED.to_owned()
        + "backends.app.timeouts.connect = \"200ms\"\nbackends.app.retries = 0\n";
    let world = start(Ground::new(), 1, [silent.address()], &more);
    assert_eq!(get(&world.tidegate).status, 503);
    let line = world.tidegate.wait_log(|line| line.is_event("request_failed"));
    assert_eq!(line.field("reason").as_deref(), Some("connect_timeout"), "{}", line.text);
    assert_ne!(silent.wait_end(0), End::Cut);
}

#[test]
fn checks_speak_tls_as_requests_do() {
    let ground = Ground::new();
    let good = Origin::start_tls(&showing(&ground), script::answer_ok("hello"));
    let stranger = Authority::new("another").sign(&[NAME]);
    let bad = Origin::start_tls(&TlsServer::showing(&stranger), script::answer_ok("no"));
    for kind in ["http", "tcp"] {
        let inner = Ground::new();
        inner.write("ca.pem", ground.authority.pem());
        let more = VERIFIED.to_owned()
            + &format!(
                "backends.app.health_check = {{ type = \"{kind}\", interval = \"50ms\", timeout = \"5s\" }}\n"
            );
        let world = start(inner, 1, [good.address(), bad.address()], &more);
        let line = world.tidegate.wait_log(|line| line.is_event("server_down"));
        assert_eq!(line.field("server").as_deref(), Some("s2"), "{}", line.text);
        assert_eq!(line.field("reason").as_deref(), Some("tls"), "{}", line.text);
        let detail = line.field("detail").unwrap_or_default();
        assert!(detail.contains("UnknownIssuer"), "{}", line.text);
        world.tidegate.wait_metrics("the other is well", |metrics| {
            let passed = [("server", "s1"), ("result", "passed")];
            metrics.count("tidegate_server_checks_total", &passed) >= 5
        });
        for _ in 0..5 {
            assert_eq!(get(&world.tidegate).text(), "hello");
        }
        // Whom the checks believe follows a reload that leaves them as they are.
        let config = site(1, [good.address(), bad.address()])
            + &more.replace("ca = \"ca.pem\", server_name = \"a.example\"", "verify = false");
        world.tidegate.reload(&config);
        world.tidegate.wait_log(|line| line.is_event("server_up"));
    }
}

#[test]
fn a_limit_on_connections_holds_over_shards() {
    let ground = Ground::new();
    let origin = Origin::start_tls(&showing(&ground), script::answer_ok("hello"));
    let more = VERIFIED.to_owned() + "backends.app.servers.s1.max_connections = 1\n";
    let config = site(2, [origin.address()])
        .replace("backends.app.servers.s1 = ", "backends.app.servers.s1.address = ")
        + &more;
    let world = ground.start_on(&config);
    let address = world.tidegate.address("web");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(Client::connect(address).get("/").text(), "hello");
                }
            });
        }
    });
    assert_eq!(origin.connections_open_most(), 1);
    assert_eq!(origin.requests_count(), 400);
    let handshakes = origin.handshakes();
    assert!(handshakes.len() < 200, "{} connections: they are not handed over", handshakes.len());
}

#[test]
fn a_server_that_ends_in_a_body_has_not_sent_it_whole() {
    let ground = Ground::new();
    let origin = Origin::start_tls(&showing(&ground), move |mut connection: Connection| {
        let Some(request) = connection.read_request()? else { return Ok(()) };
        let head = match &*request.target {
            "/length" | "/length-cut" => "Content-Length: 100\r\n",
            "/chunked" | "/chunked-cut" => "Transfer-Encoding: chunked\r\n",
            _ => "Connection: close\r\n",
        };
        let part = if request.target.starts_with("/chunked") { "4\r\npart\r\n" } else { "part" };
        connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n{part}"))?;
        if request.target.ends_with("-cut") {
            connection.cut();
        }
        Ok(())
    });
    let world = start(ground, 1, [origin.address()], VERIFIED);
    for (target, is_whole) in [
        ("/length", false),
        ("/length-cut", false),
        ("/chunked", false),
        ("/chunked-cut", false),
        ("/close", true),
        ("/close-cut", false),
    ] {
        let mut client = Client::connect(world.tidegate.address("web"));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let response = client.try_read_response_to("GET");
        assert_eq!(response.is_ok(), is_whole, "{target}: {response:?}");
    }
}

#[test]
fn the_answer_of_a_hedged_request_is_the_first_ones() {
    let ground = Ground::new();
    let slow = Origin::start_tls(&showing(&ground), |mut connection: Connection| {
        connection.read_request()?;
        connection.hang()
    });
    let fast = Origin::start_tls(&showing(&ground), script::answer_ok("fast"));
    let more = VERIFIED.to_owned() + "backends.app.hedge_after = \"30ms\"\n";
    let world = start(ground, 1, [slow.address(), fast.address()], &more);
    for _ in 0..6 {
        assert_eq!(get(&world.tidegate).text(), "fast");
    }
    assert!(slow.requests_count() > 0);
}

#[test]
fn nginx_is_spoken_to_by_tls_with_large_bodies() {
    let ground = Ground::new();
    let identity = ground.authority.sign(&[NAME]);
    let (chain, key) =
        (ground.write("nginx.pem", identity.chain), ground.write("nginx.key", identity.key));
    let nginx = Nginx::start_tls("location /hello { return 200 'hello'; }", &chain, &key);
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    nginx.write_file("large", &body);
    let world = start(ground, 1, [nginx.address()], VERIFIED);
    let mut client = Client::connect(world.tidegate.address("web"));
    for _ in 0..20 {
        assert_eq!(client.get("/hello").text(), "hello");
        assert!(client.get("/large").body == body);
    }
    let connections: HashSet<String> = nginx
        .access_log()
        .iter()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect();
    assert_eq!(connections.len(), 1, "the connection is used again");
}

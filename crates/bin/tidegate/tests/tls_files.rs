//! Certificates that change while the program runs, and what is said of their end.
//!
//! Owns files and reloads; leaves what certificates mean to `tls_clients`.

#[path = "support/tls.rs"]
mod tls;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tidegate_testkit::{
    Authority, Client, Identity, Origin, TlsClient, TlsServer, TlsVersion, Validity, script, site,
};
use tls::{Ground, NAME, World, put, tls_site};

/// Replaces `site.pem`, and waits until the program says that it has it.
#[track_caller]
fn replace(world: &World, content: &str, event: &str) {
    let mark = world.tidegate.process().lines_count();
    put(world.tidegate.directory(), "site.pem", content);
    world.tidegate.process().wait_line_after(mark, |line| line.is_event(event));
}

/// A client that makes each handshake in full.
fn fresh(world: &World) -> TlsClient {
    world.client().without_resumption().build()
}

#[test]
fn a_certificate_is_replaced_under_load_and_nobody_is_refused() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(2, [origin.address()], "", "");
    let identities: Vec<Identity> = (0..4).map(|_| world.authority.sign(&[NAME])).collect();
    let (over, made) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut established = world.connect();
    std::thread::scope(|scope| {
        for version in TlsVersion::ALL {
            let (over, made, world) = (&over, &made, &world);
            scope.spawn(move || {
                let tls = world.client().version(version).without_resumption().build();
                while !over.load(Ordering::SeqCst) {
                    assert_eq!(world.connect_as(&tls).get("/").text(), "hello");
                    made.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for identity in &identities {
            replace(&world, &identity.both(), "certificate_replaced");
            let mut client = world.connect_as(&fresh(&world));
            assert!(client.tls().was_shown(identity));
            // Only then is the handshake over on the other side too.
            assert_eq!(client.get("/").text(), "hello");
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(established.get("/").text(), "hello", "what was there goes on");
    let metrics = world.tidegate.metrics();
    assert_eq!(metrics.count("tidegate_tls_files_replaced_total", &[]), 4);
    assert_eq!(metrics.count("tidegate_frontend_tls_handshakes_failed_total", &[]), 0);
    assert!(made.load(Ordering::SeqCst) > 20);
}

#[test]
fn a_bad_file_leaves_the_certificate_that_was_there() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let first = ground.authority.sign(&[NAME]);
    ground.write("site.pem", first.both());
    let world = ground.start(1, [origin.address()], "", "");
    let other = world.authority.sign(&[NAME]);
    let mismatched = format!("{}{}", other.chain, first.key);
    for (failures, bad) in (1..).zip(["", "no PEM", other.chain.as_str(), mismatched.as_str()]) {
        replace(&world, bad, "certificate_failed");
        assert!(world.connect_as(&fresh(&world)).tls().was_shown(&first), "{bad:?}");
        let metrics = world.tidegate.metrics();
        assert_eq!(metrics.count("tidegate_tls_files_failed_total", &[]), failures);
    }
    let line = world.tidegate.wait_log(|line| line.is_event("certificate_failed"));
    assert!(line.field("file").is_some_and(|file| file.ends_with("site.pem")), "{}", line.text);
    assert!(line.field("reason").is_some() && line.field("frontend").is_some(), "{}", line.text);
    replace(&world, &other.both(), "certificate_replaced");
    assert!(world.connect_as(&fresh(&world)).tls().was_shown(&other));
}

#[test]
fn the_end_of_certificates_is_told_by_metrics_and_warned_about() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let past = ground.authority.sign_valid(&["past.example"], Validity::Past);
    ground.write("past.pem", past.both());
    let keys = "certificates = [\"site.pem\", \"past.pem\"]";
    let world = ground.start(1, [origin.address()], keys, "");
    let line = world.tidegate.wait_log(|line| line.is_event("certificate_expired"));
    assert_eq!(line.field("name").as_deref(), Some("past.example"), "{}", line.text);
    assert_eq!(line.field("not_after").as_deref(), Some("2021-01-01T00:00:00Z"), "{}", line.text);
    let metrics = world.tidegate.metrics();
    assert_eq!(metrics.count("tidegate_tls_certificates", &[]), 2);
    let end = |name| metrics.count("tidegate_tls_certificate_expiry_seconds", &[("name", name)]);
    assert_eq!((end("past.example"), end(NAME)), (1_609_459_200, 3_786_912_000));
}

#[test]
fn a_reload_takes_certificates_and_keeps_sessions_and_connections() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(2, [origin.address()], "", "");
    let tls = world.client().build();
    let mut established = world.connect_as(&tls);
    assert_eq!(established.get("/").text(), "hello");
    let identity = world.authority.sign(&["b.example"]);
    put(world.tidegate.directory(), "b.pem", identity.both());
    let config = tls_site(2, [origin.address()], "certificates = [\"site.pem\", \"b.pem\"]", "");
    assert!(world.tidegate.reload(&config).is_event("reloaded"));
    let other = TlsClient::new(&world.authority, "b.example");
    assert!(world.connect_as(&other).tls().was_shown(&identity));
    let mut again = world.connect_as(&tls);
    assert!(again.tls().resumed, "tickets outlive a reload");
    assert_eq!(again.get("/").text(), "hello");
    assert_eq!(established.get("/").text(), "hello");
    // What is wrong changes nothing.
    let wrong = config.replace("b.pem", "none.pem");
    assert!(world.tidegate.reload(&wrong).is_event("reload_failed"));
    assert_eq!(world.connect_as(&other).get("/").text(), "hello");
}

#[test]
fn tickets_and_connections_end_with_what_they_were_believed_by() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let alice = ground.authority.sign(&["alice"]);
    ground.write("ca.crl", ground.authority.revoke(&[]));
    let keys = "client_ca = \"ca.pem\", client_auth = \"required\", crl = \"ca.crl\"";
    let world = ground.start(1, [origin.address()], keys, "");
    for version in TlsVersion::ALL {
        put(world.tidegate.directory(), "ca.crl", world.authority.revoke(&[]));
        let tls = world.client().version(version).identity(&alice).build();
        world.tidegate.process().wait_until("she is believed", || {
            let mut client = Client::try_connect_tls(world.tidegate.address("web"), &tls).ok()?;
            client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
            client.try_read_response_to("GET").ok()
        });
        let mark = world.tidegate.process().lines_count();
        put(world.tidegate.directory(), "ca.crl", world.authority.revoke(&[&alice]));
        world
            .tidegate
            .process()
            .wait_line_after(mark, |line| line.is_event("authorities_replaced"));
        let refusal = world.refusal(&tls);
        assert!(refusal.contains("CertificateRevoked"), "{version:?}: {refusal}");
    }
}

#[test]
fn authorities_of_servers_are_replaced_without_a_reload() {
    let ground = Ground::new();
    let later = Authority::new("later");
    let tls = TlsServer::showing(&later.sign(&[NAME])).without_resumption();
    let origin = Origin::start_tls(&tls, script::answer_ok("hello"));
    let more = "backends.app.tls = { ca = \"ca.pem\", server_name = \"a.example\" }\n";
    let world = ground.start_on(&(site(2, [origin.address()]) + more));
    let get = || Client::connect(world.tidegate.address("web")).get("/");
    assert_eq!(get().status, 503);
    let mark = world.tidegate.process().lines_count();
    put(world.tidegate.directory(), "ca.pem", later.pem());
    world.tidegate.process().wait_line_after(mark, |line| line.is_event("authorities_replaced"));
    assert_eq!(get().text(), "hello");
}

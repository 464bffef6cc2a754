//! Clients that speak TLS: what is agreed on, who is believed, and what rules and the log know of it.
//!
//! Owns handshakes that succeed or are refused for what they ask; leaves bytes and endings to `tls_streams`, and peers that mean
//! harm to `tls_trouble`.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/tls.rs"]
mod tls;

use tidegate_testkit::{
    Authority, Client, Identity, Origin, TlsClient, TlsVersion, Validity, script,
};
use tls::{Ground, NAME, World, tls_site};

const SUITES: [(&str, TlsVersion, bool); 9] = [
    ("TLS_AES_128_GCM_SHA256", TlsVersion::V13, false),
    ("TLS_AES_256_GCM_SHA384", TlsVersion::V13, false),
    ("TLS_CHACHA20_POLY1305_SHA256", TlsVersion::V13, false),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", TlsVersion::V12, false),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", TlsVersion::V12, false),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", TlsVersion::V12, false),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", TlsVersion::V12, true),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", TlsVersion::V12, true),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", TlsVersion::V12, true),
];

#[test]
fn each_version_and_cipher_suite_carries_requests() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    ground.write("rsa.pem", ground.authority.sign_rsa(&["rsa.example"]).both());
    let keys = "certificates = [\"site.pem\", \"rsa.pem\"]";
    let world = ground.start(2, [origin.address()], keys, "");
    for (suite, version, rsa) in SUITES {
        let name = if rsa { "rsa.example" } else { NAME };
        let tls = TlsClient::builder(&world.authority, name).version(version).suite(suite);
        let mut client = world.connect_as(&tls.build());
        let facts = client.tls().clone();
        assert_eq!((facts.suite.as_str(), facts.version), (suite, version));
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "hello", "{suite}");
        }
    }
}

#[test]
fn the_versions_and_ciphers_of_the_bind_hold() {
    let origin = Origin::start(script::answer_ok("hello"));
    let keys = "min_version = \"1.3\", ciphers = [\"TLS_AES_256_GCM_SHA384\"]";
    let world = Ground::new().start(1, [origin.address()], keys, "");
    let mut client = world.connect();
    assert_eq!(client.tls().suite, "TLS_AES_256_GCM_SHA384");
    assert_eq!(client.get("/").text(), "hello");
    let old = world.client().version(TlsVersion::V12).build();
    let refusal = world.refusal(&old);
    assert!(refusal.contains("ProtocolVersion"), "{refusal}");
    let other = world.client().suite("TLS_AES_128_GCM_SHA256").build();
    let refusal = world.refusal(&other);
    assert!(refusal.contains("HandshakeFailure"), "{refusal}");
    world.wait_failed("no_agreement");
    world.tidegate.wait_metrics("both are counted", |metrics| {
        let labels = [("reason", "no_agreement")];
        metrics.count("tidegate_frontend_tls_handshakes_failed_total", &labels) == 2
    });
}

#[test]
fn curl_and_openssl_are_answered() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(2, [origin.address()], "", "");
    for version in ["--tls-max 1.2", "--tlsv1.3"] {
        let arguments: Vec<&str> = ["--http1.1"].into_iter().chain(version.split(' ')).collect();
        assert_eq!(world.curl("/", &arguments), "hello", "{version}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        // At the end of its input it would leave; it is to stay until the server ends the connection.
        let arguments = [version, "-quiet", "-verify_return_error", "-ign_eof"];
        let request =
            "printf 'GET / HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n'";
        let exit = world.s_client(request, &arguments);
        let said = exit.stdout_text();
        assert!(said.contains("HTTP/1.1 200 OK") && said.contains("hello"), "{version}: {said}");
    }
}

/// A program with certificates for an exact name, a wildcard and, first, [`NAME`].
fn several(keys: &str) -> (Origin, World, [Identity; 3]) {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let sign = |names: &[&str]| ground.authority.sign(names);
    let identities = [sign(&[NAME]), sign(&["exact.wild.example"]), sign(&["*.wild.example"])];
    for (identity, file) in identities.iter().zip(["one.pem", "two.pem", "three.pem"]) {
        ground.write(file, identity.both());
    }
    let keys = format!("certificates = [\"one.pem\", \"two.pem\", \"three.pem\"]{keys}");
    let world = ground.start(1, [origin.address()], &keys, "");
    (origin, world, identities)
}

#[test]
fn the_certificate_is_that_of_the_name_asked_for() {
    let (_origin, world, [default, exact, wild]) = several("");
    for (name, expected) in [
        (NAME, &default),
        ("exact.wild.example", &exact),
        ("other.wild.example", &wild),
        ("OTHER.wild.example", &wild),
    ] {
        let mut client = world.connect_as(&TlsClient::new(&world.authority, name));
        assert!(client.tls().was_shown(expected), "{name}");
        assert_eq!(client.get("/").text(), "hello");
    }
    // Others are shown the first, and do not believe it.
    let refusal = world.refusal(&TlsClient::new(&world.authority, "b.example"));
    assert!(refusal.contains("not valid for name"), "{refusal}");
    world.wait_failed("refused_by_client");
    let nameless = world.client().without_name().build();
    assert!(world.connect_as(&nameless).tls().was_shown(&default));
}

#[test]
fn with_strict_sni_an_unknown_name_is_refused_by_its_own_alert() {
    let (_origin, world, _identities) = several(", strict_sni = true");
    for version in TlsVersion::ALL {
        let tls = TlsClient::builder(&world.authority, "b.example").version(version).build();
        let refusal = world.refusal(&tls);
        assert!(refusal.contains("UnrecognisedName"), "{refusal}");
        let nameless = world.client().version(version).without_name().build();
        let refusal = world.refusal(&nameless);
        assert!(refusal.contains("UnrecognisedName"), "{refusal}");
        let known = TlsClient::builder(&world.authority, "x.wild.example").version(version);
        assert_eq!(world.connect_as(&known.build()).get("/").text(), "hello");
    }
    let line = world.wait_failed("unknown_name");
    assert!(
        line.field("detail").is_some_and(|detail| detail.contains("b.example")),
        "{}",
        line.text
    );
}

#[test]
fn the_protocol_is_agreed_on() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(1, [origin.address()], "alpn = [\"http/1.1\"]", "");
    let both = world.client().alpn(&["h2", "http/1.1"]).build();
    let mut client = world.connect_as(&both);
    assert_eq!(client.tls().alpn.as_deref(), Some("http/1.1"));
    assert_eq!(client.get("/").text(), "hello");
    let mut client = world.connect();
    assert_eq!(client.tls().alpn, None);
    assert_eq!(client.get("/").text(), "hello");
    for version in TlsVersion::ALL {
        let other = world.client().version(version).alpn(&["spdy/3"]).build();
        let refusal = world.refusal(&other);
        assert!(refusal.contains("NoApplicationProtocol"), "{refusal}");
    }
}

#[test]
fn http2_is_agreed_on_where_the_bind_speaks_it() {
    let origin = Origin::start(script::answer_ok("hello"));
    let agreed = |world: &World, offered: &[&str]| {
        let client = world.client().alpn(offered).build();
        let connected = Client::try_connect_tls(world.tidegate.address("web"), &client);
        connected.map(|client| client.tls().alpn.clone()).map_err(|error| error.to_string())
    };
    let world = Ground::new().start(1, [origin.address()], "alpn = [\"h2\", \"http/1.1\"]", "");
    for (offered, expected) in [
        // The order of the bind decides.
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&["spdy/3", "http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        assert_eq!(agreed(&world, offered), Ok(expected.map(str::to_owned)), "{offered:?}");
    }
    assert_eq!(world.connect().get("/").text(), "hello", "who names nothing speaks HTTP/1.1");
    let alone = Ground::new().start(1, [origin.address()], "alpn = [\"h2\"]", "");
    assert_eq!(agreed(&alone, &["http/1.1", "h2"]), Ok(Some("h2".to_owned())));
    let refusal = agreed(&alone, &["http/1.1"]).expect_err("nothing is common");
    assert!(refusal.contains("NoApplicationProtocol"), "{refusal}");
    alone.wait_failed("no_agreement");
}

#[test]
fn rules_headers_and_the_log_know_the_connection() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let alice = ground.authority.sign(&["alice.example"]);
    let path = ground.builder.directory().join("access.log");
    let more = access_log::to(&path)
        + "frontends.web.log_format = '{tls_mark} {tls} {tls_version} {tls_cipher} {alpn} {sni} {status}'\n\
           frontends.web.forwarded_for = { headers = [\"x-forwarded-for\", \"x-forwarded-proto\"] }\n\
           [[frontends.web.rules]]\n\
           when = \"connection.tls && request.scheme == 'https'\"\n\
           set_headers = { X-Tls = '{connection.tls_version}/{connection.tls_cipher}/{connection.sni}/{connection.alpn}' }\n\
           [[frontends.web.rules]]\n\
           when = \"connection.mtls\"\n\
           set_headers = { X-Subject = '{connection.client_subject}', X-Issuer = '{connection.client_issuer}' }\n";
    let keys = "client_ca = \"ca.pem\", client_auth = \"optional\"";
    let world = ground.start(1, [origin.address()], keys, &more);
    let suites = [("TLSv1.2", SUITES[3]), ("TLSv1.3", SUITES[0])];
    for (name, (suite, version, _)) in suites {
        let tls = world.client().version(version).suite(suite).alpn(&["http/1.1"]);
        assert_eq!(world.connect_as(&tls.build()).get("/").text(), "hello");
        let request = origin.requests().pop().expect("it came");
        let said = request.headers.value("x-tls").expect("a rule set it").to_owned();
        assert!(
            said.starts_with(&format!("{name}/")) && said.ends_with("/a.example/http/1.1"),
            "{said}"
        );
        assert_eq!(request.headers.value("x-forwarded-proto"), Some("https"));
        assert!(!request.headers.contains("x-subject"), "{:?}", request.headers);
    }
    let tls = world.client().identity(&alice).build();
    assert_eq!(world.connect_as(&tls).get("/").text(), "hello");
    let request = origin.requests().pop().expect("it came");
    let subject = request.headers.value("x-subject").expect("a rule set it");
    assert!(subject.contains("CN=alice.example"), "{subject}");
    let issuer = request.headers.value("x-issuer").expect("a rule set it");
    assert!(issuer.contains("CN=Authority of tests"), "{issuer}");
    access_log::wait_written(&world.tidegate, 3);
    let lines = access_log::read_lines(&path);
    let word =
        |line: usize, at: usize| lines[line].split(' ').nth(at).unwrap_or_default().to_owned();
    for (line, version) in ["TLSv1.2", "TLSv1.3", "TLSv1.3"].into_iter().enumerate() {
        assert_eq!(
            [word(line, 0), word(line, 1), word(line, 2)],
            ["~", "true", version],
            "{lines:?}"
        );
        assert_eq!([word(line, 5), word(line, 6)], [NAME, "200"], "{lines:?}");
    }
    assert_eq!([word(0, 4), word(2, 4)], ["http/1.1", "-"], "{lines:?}");
}

#[test]
fn plain_requests_are_redirected_to_https() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "frontends.plain.bind = [\"127.0.0.1:0\"]\nfrontends.plain.default_backend = \"app\"\n\
        [[frontends.web.rules]]\nwhen = 'request.scheme == \"http\"'\nredirect = { scheme = \"https\" }\n\
        [[frontends.plain.rules]]\nwhen = 'request.scheme == \"http\"'\nredirect = { scheme = \"https\" }\n";
    let world = Ground::new().start(1, [origin.address()], "", more);
    assert_eq!(world.connect().get("/a?b").status, 200);
    let response = Client::connect(world.tidegate.address("plain")).get("/a?b");
    let location = response.headers.value("location");
    assert_eq!((response.status, location), (301, Some("https://example.test/a?b")));
}

#[test]
fn clients_without_a_certificate_that_is_believed_are_refused() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let (good, revoked) = (ground.authority.sign(&["good"]), ground.authority.sign(&["revoked"]));
    let expired = ground.authority.sign_valid(&["expired"], Validity::Past);
    let future = ground.authority.sign_valid(&["future"], Validity::Future);
    let stranger = Authority::new("another").sign(&["stranger"]);
    ground.write("ca.crl", ground.authority.revoke(&[&revoked]));
    let keys = "client_ca = \"ca.pem\", client_auth = \"required\", crl = \"ca.crl\"";
    let world = ground.start(2, [origin.address()], keys, "");
    for version in TlsVersion::ALL {
        let showing = |identity| world.client().version(version).identity(identity).build();
        assert_eq!(world.connect_as(&showing(&good)).get("/").text(), "hello");
        for (identity, alert) in [
            (&revoked, "CertificateRevoked"),
            (&expired, "CertificateExpired"),
            // "… or is not currently valid" (RFC 8446 §6.2).
            (&future, "CertificateExpired"),
            (&stranger, "UnknownCA"),
        ] {
            let refusal = world.refusal(&showing(identity));
            assert!(refusal.contains(alert), "{version:?} {alert}: {refusal}");
        }
        let without = world.client().version(version).build();
        let refusal = world.refusal(&without);
        assert!(refusal.contains("CertificateRequired"), "{version:?}: {refusal}");
    }
    world.tidegate.wait_metrics("all are counted", |metrics| {
        let labels = [("reason", "client_certificate")];
        metrics.count("tidegate_frontend_tls_handshakes_failed_total", &labels) == 10
    });
    assert_eq!(origin.requests_count(), 2);
}

#[test]
fn an_optional_certificate_is_looked_at_when_it_is_shown() {
    let origin = Origin::start(script::answer_ok("hello"));
    let ground = Ground::new();
    let good = ground.authority.sign(&["good"]);
    let keys = "client_ca = \"ca.pem\", client_auth = \"optional\"";
    let more = "[[frontends.web.rules]]\nwhen = \"!connection.mtls\"\nrespond = { status = 403 }\n";
    let world = ground.start(1, [origin.address()], keys, more);
    for version in TlsVersion::ALL {
        let client = || world.client().version(version);
        assert_eq!(world.connect_as(&client().build()).get("/").status, 403);
        assert_eq!(world.connect_as(&client().identity(&good).build()).get("/").status, 200);
        let stranger = Authority::new("another").sign(&["stranger"]);
        let refusal = world.refusal(&client().identity(&stranger).build());
        assert!(refusal.contains("UnknownCA"), "{refusal}");
    }
}

#[test]
fn a_session_goes_on_on_any_shard_and_not_without_tickets() {
    let origin = Origin::start(script::answer_ok("hello"));
    let world = Ground::new().start(2, [origin.address()], "", "");
    for version in TlsVersion::ALL {
        let tls = world.client().version(version).build();
        let resumed = (0..16).filter(|_| {
            let mut client = world.connect_as(&tls);
            assert_eq!(client.get("/").text(), "hello");
            client.tls().resumed
        });
        assert_eq!(resumed.count(), 15, "{version:?}");
    }
    let metrics = world.tidegate.wait_metrics("handshakes are counted", |metrics| {
        metrics.count("tidegate_frontend_tls_resumed_total", &[]) == 30
    });
    assert_eq!(metrics.count("tidegate_frontend_tls_handshakes_total", &[]), 2);
    let per_shard =
        |shard| metrics.count("tidegate_shard_connections_accepted_total", &[("shard", shard)]);
    let accepted = [per_shard("0"), per_shard("1")];
    assert!(accepted.iter().all(|count| *count > 0), "one shard had them all: {accepted:?}");

    let world = Ground::new().start(2, [origin.address()], "session_tickets = false", "");
    let tls = world.client().build();
    for _ in 0..4 {
        let mut client = world.connect_as(&tls);
        assert_eq!(client.get("/").text(), "hello");
        assert!(!client.tls().resumed);
    }
}

#[test]
fn the_example_with_several_certificates_and_client_certificates_works() {
    let ground = Ground::new();
    let origin_identity = ground.authority.sign(&[NAME]);
    let app = Origin::start_tls(
        &tidegate_testkit::TlsServer::showing(&origin_identity),
        script::answer_ok("app"),
    );
    let grpc = Origin::start(script::answer_ok("grpc"));
    ground.write("wildcard.pem", ground.authority.sign(&["*.example", "grpc.example"]).both());
    let alice = ground.authority.sign(&["alice"]);
    let bind = "{ address = \"127.0.0.1:0\", tls = { certificates = [\"site.pem\", \"wildcard.pem\"], \
        alpn = [\"http/1.1\"], min_version = \"1.2\" } }, \
        { address = \"127.0.0.1:0\", tls = { certificates = [\"site.pem\"], client_ca = \"ca.pem\", client_auth = \"required\" } }";
    let config = tls_site(1, [app.address()], "", "");
    let old = config.lines().find(|line| line.starts_with("frontends.web.bind")).expect("a bind");
    let config = config.replace(old, &format!("frontends.web.bind = [{bind}]"))
        + &format!("backends.grpc.servers.g1 = \"{}\"\n", grpc.address())
        + "backends.app.tls = { ca = \"ca.pem\", server_name = \"a.example\" }\n\
        [[frontends.web.rules]]\nwhen = \"connection.mtls\"\n\
        set_headers = { X-Client-Subject = \"{connection.client_subject}\" }\n\
        [[frontends.web.rules]]\nwhen = 'connection.sni == \"grpc.example\"'\nbackend = \"grpc\"\n";
    let world = ground.start_on(&config);
    assert_eq!(world.connect().get("/").text(), "app");
    let other = TlsClient::new(&world.authority, "grpc.example");
    assert_eq!(world.connect_as(&other).get("/").text(), "grpc");
    let second: std::net::SocketAddr =
        world.tidegate.addresses("web")[1].parse().expect("an address");
    let tls = world.client().identity(&alice).build();
    assert_eq!(Client::connect_tls(second, &tls).get("/").text(), "app");
    let request = app.requests().pop().expect("it came");
    let subject = request.headers.value("x-client-subject").expect("it is known");
    assert!(subject.contains("CN=alice"), "{subject}");
    assert_eq!(app.handshakes()[0].server_name.as_deref(), Some(NAME));
}

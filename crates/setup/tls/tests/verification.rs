//! Who is believed: clients by a bind, servers by a backend.
//!
//! Owns the matrix of certificates on both sides; leaves which certificate is shown to `certificates`. Invariant: every case is
//! a whole handshake, in both versions of TLS.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::PKCS_ECDSA_P256_SHA256;
use support::{
    Authority, Connected, Directory, Failed, Signed, Validity, believing, client, connect, file,
    self_signed, server,
};
use tidegate_tls::rustls::ClientConfig;
use tidegate_tls::{
    ClientAuth, ClientSettings, PeerIdentity, ServerSettings, ServerTls, Session, Trust, Version,
    Versions, What,
};

const VERSIONS: [Version; 2] = [Version::Tls12, Version::Tls13];

fn only(version: Version) -> Versions {
    Versions { min: version, max: version }
}

/// A server's files and the authorities of both sides.
struct World {
    directory: Directory,
    clients: Authority,
    servers: Authority,
    ca: PathBuf,
    server: PathBuf,
}

impl World {
    fn new() -> Self {
        let (directory, clients, servers) =
            (Directory::new(), Authority::new("Clients"), Authority::new("Servers"));
        let ca = directory.write("servers.pem", &servers.pem);
        directory.write("clients.pem", &clients.pem);
        let server = directory.write("server.pem", servers.sign(&["a.example"]).both());
        Self { directory, clients, servers, ca, server }
    }

    fn settings(&self, version: Version, client_auth: ClientAuth) -> ServerSettings {
        let asks = client_auth != ClientAuth::None;
        ServerSettings {
            certificates: vec![file(&self.server)],
            versions: only(version),
            client_auth,
            client_ca: if asks { vec![self.directory.path("clients.pem")] } else { Vec::new() },
            ticket_lifetime: Some(Duration::from_secs(3600)),
            ..ServerSettings::default()
        }
    }

    /// A client that shows this certificate.
    fn client(&self, shown: Option<&Signed>) -> Arc<ClientConfig> {
        let certificate =
            shown.map(|signed| file(self.directory.write("client.pem", signed.both())));
        let trust = Trust::Files(vec![self.ca.clone()]);
        client(ClientSettings { trust, certificate, ..ClientSettings::default() }).config()
    }
}

fn peer(connected: &Connected) -> Option<PeerIdentity> {
    Session::of(&connected.server).expect("readable").peer
}

#[test]
fn clients_are_believed_as_the_settings_say() {
    let world = World::new();
    let sign = |validity, serial| {
        world.clients.sign_as(&["client"], &PKCS_ECDSA_P256_SHA256, validity, serial)
    };
    let good = sign(Validity::Now, 0x1234);
    let revoked = sign(Validity::Now, 7);
    let shown = [
        ("none", None),
        ("good", Some(good)),
        ("expired", Some(sign(Validity::Past, 3))),
        ("not yet valid", Some(sign(Validity::Future, 4))),
        ("self-signed", Some(self_signed(&["client"]))),
        ("of another authority", Some(world.servers.sign(&["client"]))),
        ("revoked", Some(revoked.clone())),
    ];
    let crl = world.directory.write("clients.crl", world.clients.revoke(&[&revoked]));
    for version in VERSIONS {
        for auth in [ClientAuth::None, ClientAuth::Optional, ClientAuth::Required] {
            let crl = if auth == ClientAuth::None { Vec::new() } else { vec![crl.clone()] };
            let tls = server(ServerSettings { crl, ..world.settings(version, auth) });
            for (name, certificate) in &shown {
                let client = world.client(certificate.as_ref());
                let connected = connect(&tls, &client, "a.example");
                let is_served = match auth {
                    ClientAuth::None => true,
                    ClientAuth::Optional => ["none", "good"].contains(name),
                    ClientAuth::Required => *name == "good",
                };
                assert_eq!(
                    connected.is_ok(),
                    is_served,
                    "{version:?} {auth:?} {name}: {connected:?}"
                );
                let Ok(connected) = connected else { continue };
                let is_known = auth != ClientAuth::None && *name == "good";
                assert_eq!(peer(&connected).is_some(), is_known, "{auth:?} {name}");
            }
        }
    }
}

#[test]
fn the_identity_is_what_the_certificate_says() {
    let world = World::new();
    let signed =
        world.clients.sign_as(&["client"], &PKCS_ECDSA_P256_SHA256, Validity::Now, 0x00ab_cdef);
    let tls = server(world.settings(Version::Tls13, ClientAuth::Required));
    let client = world.client(Some(&signed));
    let identity = peer(&connect(&tls, &client, "a.example").expect("served")).expect("known");
    assert_eq!(identity.subject, "CN=client,O=Example\\, Ltd");
    assert_eq!(identity.issuer, "CN=Clients");
    assert_eq!(identity.serial, "ABCDEF");
    assert_eq!(identity.fingerprint.len(), 64);
    let now = SystemTime::now();
    assert!(!identity.is_expired(now));
    assert!(identity.is_expired(now + Duration::from_secs(80 * 366 * 86_400)));
    // It goes with the session.
    let resumed = connect(&tls, &client, "a.example").expect("served");
    assert!(Session::of(&resumed.server).expect("readable").resumed);
    assert_eq!(peer(&resumed), Some(identity));
}

#[test]
fn a_revocation_list_that_changes_holds_for_sessions_too() {
    for version in VERSIONS {
        let world = World::new();
        let signed = world.clients.sign(&["client"]);
        let crl = world.directory.write("clients.crl", world.clients.revoke(&[]));
        let settings = world.settings(version, ClientAuth::Required);
        let tls = server(ServerSettings { crl: vec![crl], ..settings });
        let client = world.client(Some(&signed));
        assert!(connect(&tls, &client, "a.example").is_ok());
        world.directory.write("clients.crl", world.clients.revoke(&[&signed]));
        let told: Vec<_> = tls.refresh().into_iter().map(|change| change.what).collect();
        assert_eq!(told, [What::Replaced]);
        let refused = connect(&tls, &client, "a.example");
        assert!(matches!(refused, Err(Failed::Server(..))), "{version:?}");
    }
}

#[test]
fn an_old_revocation_list_says_nothing_about_anybody() {
    let world = World::new();
    let signed = world.clients.sign(&["client"]);
    let crl = world.directory.write("clients.crl", world.clients.revoke_until(&[], 2021));
    let settings = world.settings(Version::Tls13, ClientAuth::Required);
    let tls = server(ServerSettings { crl: vec![crl], ..settings });
    assert!(connect(&tls, &world.client(Some(&signed)), "a.example").is_err());
}

#[test]
fn servers_are_verified_unless_the_settings_say_that_they_are_not() {
    let world = World::new();
    let sign = |names: &[&str], validity, serial| {
        world.servers.sign_as(names, &PKCS_ECDSA_P256_SHA256, validity, serial)
    };
    let revoked = sign(&["a.example"], Validity::Now, 7);
    let crl = world.directory.write("servers.crl", world.servers.revoke(&[&revoked]));
    let cases = [
        ("good", sign(&["a.example"], Validity::Now, 2), true),
        ("expired", sign(&["a.example"], Validity::Past, 3), false),
        ("not yet valid", sign(&["a.example"], Validity::Future, 4), false),
        ("wrong name", sign(&["b.example"], Validity::Now, 5), false),
        ("self-signed", self_signed(&["a.example"]), false),
        ("of another authority", world.clients.sign(&["a.example"]), false),
        ("revoked", revoked, false),
    ];
    for version in VERSIONS {
        for (name, certificate, is_good) in &cases {
            let path = world.directory.write("case.pem", certificate.both());
            let settings = ServerSettings {
                certificates: vec![file(path)],
                versions: only(version),
                ..ServerSettings::default()
            };
            let (tls, _) = support::try_server(settings).expect("taken");
            let settings = |trust| ClientSettings { trust, ..ClientSettings::default() };
            let verifying = ClientSettings {
                crl: vec![crl.clone()],
                ..settings(Trust::Files(vec![world.ca.clone()]))
            };
            let connected = connect(&tls, &client(verifying).config(), "a.example");
            assert_eq!(connected.is_ok(), *is_good, "{version:?} {name}: {connected:?}");
            let anybody = client(settings(Trust::Anybody)).config();
            assert!(connect(&tls, &anybody, "a.example").is_ok(), "{version:?} {name}");
        }
    }
}

#[test]
fn a_server_can_be_known_by_its_address() {
    let world = World::new();
    let path = world.directory.write("ip.pem", world.servers.sign(&["192.0.2.7"]).both());
    let tls =
        server(ServerSettings { certificates: vec![file(path)], ..ServerSettings::default() });
    let client = believing(&world.ca).config();
    let connected = connect(&tls, &client, "192.0.2.7").expect("served");
    assert_eq!(connected.hello.server_name, None, "addresses are not asked for (RFC 6066 §3)");
    assert!(connect(&tls, &client, "192.0.2.8").is_err());
}

/// Whether a session that began at one is gone on with at the other.
fn resumes(first: &ServerTls, then: &ServerTls, client: &Arc<ClientConfig>) -> bool {
    connect(first, client, "a.example").expect("served");
    let again = connect(then, client, "a.example").expect("served");
    Session::of(&again.server).expect("readable").resumed
}

#[test]
fn sessions_are_resumed_where_the_same_clients_are_believed() {
    for version in VERSIONS {
        let world = World::new();
        let settings = || world.settings(version, ClientAuth::None);
        let fresh = || believing(&world.ca).config();
        let tls = server(settings());
        // Every connection may be on another shard: all have the same object and nothing else.
        assert!(resumes(&tls, &tls, &fresh()), "{version:?}");
        // Another bind, and the same bind after a reload.
        let other = server(settings());
        assert!(!resumes(&tls, &other, &fresh()), "{version:?}");
        other.take_over(&tls);
        assert!(resumes(&tls, &other, &fresh()), "{version:?}");
        // A bind that asks for certificates takes no tickets of one that does not.
        let asking = server(world.settings(version, ClientAuth::Optional));
        asking.take_over(&tls);
        assert!(!resumes(&tls, &asking, &fresh()), "{version:?}");
        let without = server(ServerSettings { ticket_lifetime: None, ..settings() });
        assert!(!resumes(&without, &without, &fresh()), "{version:?}");
    }
}

#[test]
fn the_authorities_of_a_backend_are_followed() {
    let world = World::new();
    let tls = server(world.settings(Version::Tls13, ClientAuth::None));
    let believed = world.directory.write("believed.pem", &world.clients.pem);
    let backend = believing(&believed);
    assert!(connect(&tls, &backend.config(), "a.example").is_err());
    world.directory.write("believed.pem", &world.servers.pem);
    assert_eq!(backend.refresh().len(), 1);
    assert!(connect(&tls, &backend.config(), "a.example").is_ok());
}

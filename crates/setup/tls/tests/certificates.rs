//! Which certificate is shown, and what becomes of it when its file changes.
//!
//! Owns whole handshakes with a server that has files; leaves who is believed to `verification`. Invariant: each test makes its
//! own certificates.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{
    Authority, Connected, Directory, Failed, Signed, Validity, believing, connect, file, server,
    try_server,
};
use tidegate_tls::rustls::crypto::aws_lc_rs;
use tidegate_tls::rustls::pki_types::CertificateDer;
use tidegate_tls::rustls::pki_types::pem::PemObject as _;
use tidegate_tls::rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore, SignatureScheme};
use tidegate_tls::{
    CertificateSource, Cipher, Fault, Group, KeyKind, Protocol, ServerSettings, ServerTls, Session,
    Version, Versions, What, refine_alert,
};

fn is(connected: &Connected, signed: &Signed) -> bool {
    let der = CertificateDer::from_pem_slice(signed.chain.as_bytes()).expect("PEM");
    connected.shown() == der.to_vec()
}

#[test]
fn the_certificate_is_the_one_of_the_name_that_was_asked_for() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let ca = directory.write("ca.pem", &authority.pem);
    let certificates = [
        &["a.example", "b.example"][..],
        &["*.wild.example", "wild.example"],
        &["exact.wild.example"],
    ]
    .map(|names| authority.sign(names));
    let files = ["one.pem", "two.pem", "three.pem"];
    let sources: Vec<_> = files
        .iter()
        .zip(&certificates)
        .map(|(name, signed)| file(directory.write(name, signed.both())))
        .collect();
    let tls = server(ServerSettings { certificates: sources, ..ServerSettings::default() });
    let client = believing(&ca).config();
    let cases = [
        ("a.example", 0),
        ("b.example", 0),
        ("A.Example", 0),
        ("x.wild.example", 1),
        ("wild.example", 1),
        ("exact.wild.example", 2),
    ];
    for (name, expected) in cases {
        let connected = connect(&tls, &client, name).expect(name);
        assert!(is(&connected, &certificates[expected]), "{name}");
        assert_eq!(connected.hello.server_name.as_deref(), Some(&*name.to_lowercase()));
    }
    // The first is shown where none fits, and the client says that it is another's.
    for name in ["y.x.wild.example", "other.example", "192.0.2.1"] {
        assert!(matches!(connect(&tls, &client, name), Err(Failed::Client(_))), "{name}");
    }
}

#[test]
fn a_strict_bind_refuses_other_names_in_the_words_of_rfc_6066() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let ca = directory.write("ca.pem", &authority.pem);
    let path = directory.write("one.pem", authority.sign(&["a.example", "*.b.example"]).both());
    let settings = ServerSettings {
        certificates: vec![file(path)],
        strict_sni: true,
        ..ServerSettings::default()
    };
    let tls = server(settings);
    let client = believing(&ca).config();
    for name in ["a.example", "c.b.example"] {
        let hello = connect(&tls, &client, name).expect(name).hello;
        assert!(!hello.refused);
    }
    for name in ["b.example", "x.a.example", "192.0.2.1"] {
        let Err(Failed::Server(_, hello, mut alert)) = connect(&tls, &client, name) else {
            panic!("{name} was served");
        };
        assert!(hello.refused);
        assert_eq!(hello.server_name.is_some(), !name.starts_with('1'));
        refine_alert(&mut alert);
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112], "{name}");
    }
}

/// A client that verifies only these signatures and offers only these suites and groups.
fn picky(
    ca: &Authority,
    schemes: Option<fn(SignatureScheme) -> bool>,
    suites: fn(CipherSuite) -> bool,
    groups: fn(NamedGroup) -> bool,
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suites(suite.suite()));
    provider.kx_groups = aws_lc_rs::ALL_KX_GROUPS.to_vec();
    provider.kx_groups.retain(|group| groups(group.name()));
    if let Some(accepts) = schemes {
        let mapping = provider.signature_verification_algorithms.mapping;
        let kept: Vec<_> = mapping.iter().filter(|(scheme, _)| accepts(*scheme)).copied().collect();
        provider.signature_verification_algorithms.mapping = kept.leak();
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("PEM")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("suites")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[test]
fn clients_get_the_kind_of_key_that_they_verify() {
    let (directory, ecdsa) = (Directory::new(), Authority::new("CA"));
    let (with_ecdsa, with_rsa) = (ecdsa.sign(&["a.example"]), ecdsa.sign_rsa(&["a.example"]));
    let sources = [("rsa.pem", &with_rsa), ("ecdsa.pem", &with_ecdsa)];
    let certificates = sources.map(|(name, one)| file(directory.write(name, one.both()))).to_vec();
    let tls = server(ServerSettings { certificates, ..ServerSettings::default() });
    let kinds: Vec<_> = tls.certificates().iter().map(|one| one.kind()).collect();
    assert_eq!(kinds, [KeyKind::Rsa, KeyKind::Ecdsa]);
    let (every, group) = (|_| true, |_| true);
    let is_tls12 = |suite| !format!("{suite:?}").starts_with("TLS13");
    let rsa_suites = |suite| format!("{suite:?}").starts_with("TLS_ECDHE_RSA");
    // The authority's own signature is ECDSA with P-256, which clients have to verify as well; RSA alone is asked for by suites.
    let cases = [
        (picky(&ecdsa, None, every, group), &with_ecdsa),
        (picky(&ecdsa, None, is_tls12, group), &with_ecdsa),
        (picky(&ecdsa, None, rsa_suites, group), &with_rsa),
    ];
    for (client, expected) in cases {
        let connected = connect(&tls, &client, "a.example").expect("served");
        assert!(is(&connected, expected));
    }
    // Where no name is asked for, both stand for the default too.
    let client = picky(&ecdsa, None, rsa_suites, group);
    assert!(matches!(connect(&tls, &client, "192.0.2.1"), Err(Failed::Client(_))));
}

#[test]
fn versions_suites_groups_and_protocols_are_those_of_the_settings() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let path = directory.write("one.pem", authority.sign(&["a.example"]).both());
    let settings = |versions, ciphers: &[&str], groups: &[&str]| ServerSettings {
        certificates: vec![file(&path)],
        versions,
        ciphers: ciphers.iter().map(|name| Cipher::named(name).expect("known")).collect(),
        groups: groups.iter().map(|name| Group::named(name).expect("known")).collect(),
        protocols: vec![Protocol::Http2, Protocol::Http1],
        ..ServerSettings::default()
    };
    let only = |version| Versions { min: version, max: version };
    let every = || picky(&authority, None, |_| true, |_| true);
    for (version, name) in [(Version::Tls12, "TLSv1.2"), (Version::Tls13, "TLSv1.3")] {
        let tls = server(settings(only(version), &[], &[]));
        let connected = connect(&tls, &every(), "a.example").expect(name);
        assert_eq!(Session::of(&connected.server).expect("readable").version, name);
    }
    let ciphers = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];
    let tls = server(settings(only(Version::Tls13), &ciphers, &["secp384r1"]));
    let connected = connect(&tls, &every(), "a.example").expect("served");
    let session = Session::of(&connected.server).expect("readable");
    // The order of the settings goes before the client's.
    assert_eq!(session.cipher, "TLS_CHACHA20_POLY1305_SHA256");
    let group = |connected: &Connected| {
        connected.server.negotiated_key_exchange_group().map(|group| group.name())
    };
    assert_eq!(group(&connected), Some(NamedGroup::secp384r1));
    let tls = server(settings(Versions::default(), &[], &[]));
    let connected = connect(&tls, &every(), "a.example").expect("served");
    assert_eq!(group(&connected), Some(NamedGroup::X25519MLKEM768));
    let old = picky(&authority, None, |_| true, |group| group == NamedGroup::X25519);
    assert_eq!(group(&connect(&tls, &old, "a.example").expect("served")), Some(NamedGroup::X25519));
    for (offered, expected) in [
        (&["http/1.1", "h2"][..], Some(Protocol::Http2)),
        (&["http/1.1"], Some(Protocol::Http1)),
        (&[], None),
    ] {
        let mut client = ClientConfig::clone(&every());
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let connected = connect(&tls, &Arc::new(client), "a.example").expect("served");
        assert_eq!(Session::of(&connected.server).expect("readable").protocol, expected);
    }
    let no_tls12 = try_server(settings(Versions::default(), &ciphers, &[])).expect_err("no suite");
    assert_eq!(no_tls12[0].fault, Fault::NoCipher(Version::Tls12));
}

#[test]
fn what_is_wrong_with_files_is_told_and_names_the_file() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let (one, other) = (authority.sign(&["a.example"]), authority.sign(&["b.example"]));
    let fault = |source: CertificateSource| {
        let settings = ServerSettings { certificates: vec![source], ..ServerSettings::default() };
        let problems = try_server(settings).expect_err("refused");
        assert_eq!(problems.len(), 1);
        let file = problems[0].file.file_name().expect("a file").to_string_lossy().into_owned();
        (file, problems[0].fault.clone())
    };
    let write = |name: &str, content: &str| file(directory.write(name, content));
    let half = &one.both()[..one.both().len() - 40];
    let cases = [
        (write("chain.pem", &one.chain), "chain.pem", Fault::NoKey),
        (write("key.pem", &one.key), "key.pem", Fault::NoCertificate),
        (write("mixed.pem", &(one.chain.clone() + &other.key)), "mixed.pem", Fault::Mismatch),
        (write("two.pem", &(one.both() + &other.key)), "two.pem", Fault::SeveralKeys),
    ];
    for (source, name, expected) in cases {
        assert_eq!(fault(source), (name.to_owned(), expected));
    }
    assert!(matches!(fault(write("text.pem", "hello")).1, Fault::NotPem(_)));
    assert!(matches!(fault(write("half.pem", half)).1, Fault::NotPem(_)));
    assert!(matches!(fault(file(directory.path("none.pem"))).1, Fault::Unreadable(_)));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let source = write("locked.pem", &(one.chain.clone() + encrypted));
    assert_eq!(fault(source).1, Fault::EncryptedKey);
    let chain = directory.write("pair.chain", &one.chain);
    let key = directory.write("pair.key", &other.key);
    let pair = CertificateSource::Pair { chain, key, ocsp: None };
    assert_eq!(fault(pair), ("pair.key".to_owned(), Fault::Mismatch));
    std::fs::create_dir(directory.path("empty")).expect("a directory");
    let empty = CertificateSource::Directory(directory.path("empty"));
    assert_eq!(fault(empty).1, Fault::EmptyDirectory);
}

#[test]
fn a_certificate_that_is_not_valid_now_is_warned_about_and_shown() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let sign = |validity| {
        authority.sign_as(&["a.example"], &rcgen::PKCS_ECDSA_P256_SHA256, validity, 5).both()
    };
    for (validity, is_it) in [
        (Validity::Past, (|fault| matches!(fault, Fault::Expired(_))) as fn(&Fault) -> bool),
        (Validity::Future, |fault| matches!(fault, Fault::NotYetValid(_))),
    ] {
        let certificates = vec![file(directory.write("one.pem", sign(validity)))];
        let settings = ServerSettings { certificates, ..ServerSettings::default() };
        let (_, warnings) = try_server(settings).expect("taken");
        assert!(warnings.len() == 1 && is_it(&warnings[0].fault), "{warnings:?}");
        assert!(warnings[0].fault.is_warning());
    }
}

#[test]
fn a_staple_is_delivered_and_replaced() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let path = directory.write("one.pem", authority.sign(&["a.example"]).both());
    // As much of an OCSP response as is looked at.
    let response = |mark: u8| [&[0x30, 6, 0x0a, 1, 0][..], &[mark; 3]].concat();
    directory.write("one.pem.ocsp", response(1));
    let settings = ServerSettings { certificates: vec![file(&path)], ..ServerSettings::default() };
    let tls = server(settings.clone());
    assert!(tls.certificates()[0].is_stapled());
    let client = recording(&authority);
    connect(&tls, &client.0, "a.example").expect("served");
    assert_eq!(client.1.take(), response(1));
    directory.write("one.pem.ocsp", response(2));
    assert_eq!(tls.refresh().len(), 1);
    connect(&tls, &client.0, "a.example").expect("served");
    assert_eq!(client.1.take(), response(2));
    // One that says `try later` is not shown to clients.
    directory.write("one.pem.ocsp", [0x30, 3, 0x0a, 1, 3]);
    assert_eq!(try_server(settings).expect_err("no answer")[0].fault, Fault::BadOcsp);
}

/// A client that notes the staple.
fn recording(authority: &Authority) -> (Arc<ClientConfig>, Arc<recorder::Recorder>) {
    let inner = picky(authority, None, |_| true, |_| true);
    let recorder = Arc::new(recorder::Recorder::default());
    let config = ClientConfig::builder_with_provider(inner.crypto_provider().clone())
        .with_safe_default_protocol_versions()
        .expect("suites")
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    (Arc::new(config), recorder)
}

mod recorder {
    use std::sync::Mutex;

    use tidegate_tls::rustls::client::danger::{
        HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
    };
    use tidegate_tls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tidegate_tls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Believes everybody and keeps the staple.
    #[derive(Debug, Default)]
    pub struct Recorder(Mutex<Vec<u8>>);

    impl Recorder {
        pub fn take(&self) -> Vec<u8> {
            std::mem::take(&mut *self.0.lock().expect("not poisoned"))
        }
    }

    impl ServerCertVerifier for Recorder {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            ocsp: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            *self.0.lock().expect("not poisoned") = ocsp.to_vec();
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }
}

/// Looks until something is told: a file that was written a moment ago is not judged at once.
fn refresh(tls: &ServerTls) -> Vec<What> {
    for _ in 0..200 {
        let changes = tls.refresh();
        if !changes.is_empty() {
            return changes.into_iter().map(|change| change.what).collect();
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Vec::new()
}

#[test]
fn a_file_that_changes_is_taken_and_a_bad_one_leaves_the_old() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let ca = directory.write("ca.pem", &authority.pem);
    let client = believing(&ca).config();
    let (first, second) = (authority.sign(&["a.example"]), authority.sign(&["a.example"]));
    let path = directory.write("one.pem", first.both());
    let tls =
        server(ServerSettings { certificates: vec![file(path)], ..ServerSettings::default() });
    let shows = |signed| is(&connect(&tls, &client, "a.example").expect("served"), signed);
    assert_eq!(tls.refresh(), []);
    directory.write("one.pem", second.both());
    assert_eq!(refresh(&tls), [What::Replaced]);
    assert!(shows(&second));
    // The same content again is no change.
    directory.write("one.pem", second.both());
    assert_eq!(tls.refresh(), []);
    directory.write("one.pem", first.chain.clone() + &second.key);
    assert_eq!(tls.refresh(), [], "it may be about to be finished");
    assert_eq!(refresh(&tls), [What::Failed(Fault::Mismatch)]);
    assert!(shows(&second));
    assert_eq!(tls.refresh(), [], "told once");
    directory.write("one.pem", first.both());
    assert_eq!(refresh(&tls), [What::Replaced]);
    assert!(shows(&first));
}

#[test]
fn a_directory_is_followed() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let ca = directory.write("ca.pem", &authority.pem);
    let client = believing(&ca).config();
    let (a, b, c) = (&["a.example"][..], &["b.example"][..], &["c.example"][..]);
    let [a, b, c] = [a, b, c].map(|names| authority.sign(names));
    std::fs::create_dir(directory.path("certs")).expect("a directory");
    directory.write("certs/1.pem", a.both());
    directory.write("certs/2.crt", &b.chain);
    directory.write("certs/2.key", &b.key);
    directory.write("certs/README", "not one");
    let sources = vec![CertificateSource::Directory(directory.path("certs"))];
    let tls = server(ServerSettings {
        certificates: sources,
        strict_sni: true,
        ..ServerSettings::default()
    });
    let served = |name| connect(&tls, &client, name).is_ok();
    assert!(served("a.example") && served("b.example") && !served("c.example"));
    directory.write("certs/3.pem", c.both());
    std::fs::remove_file(directory.path("certs/2.crt")).expect("removed");
    let mut told = refresh(&tls);
    told.sort_by_key(|what| format!("{what:?}"));
    assert_eq!(told, [What::Added, What::Removed]);
    assert!(served("a.example") && !served("b.example") && served("c.example"));
}

#[test]
fn nothing_shows_a_key() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let signed = authority.sign(&["a.example"]);
    let path = directory.write("one.pem", signed.both());
    let settings = ServerSettings {
        certificates: vec![file(path)],
        ticket_lifetime: Some(Duration::from_secs(3600)),
        ..ServerSettings::default()
    };
    let tls = server(settings);
    let shown = format!("{tls:?} {:?} {:?}", tls.certificates(), tls.config());
    let key = tidegate_tls::rustls::pki_types::PrivateKeyDer::from_pem_slice(signed.key.as_bytes())
        .expect("a key");
    let numbers = format!("{:?}", &key.secret_der()[40..48]);
    let hex: String = key.secret_der()[40..48].iter().map(|byte| format!("{byte:02x}")).collect();
    let inner = numbers.trim_matches(['[', ']']);
    assert!(!shown.contains(inner) && !shown.to_lowercase().contains(&hex), "{shown}");
}

//! Certificates that are ordered: what is shown before and after, and what an authority is answered.
//!
//! Owns whole handshakes; leaves ordering to `tidegate-acme`. Invariant: each test has a storage of its own.

mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use support::{Authority, Directory, Failed, Signed, believing, connect, file, server};
use tidegate_tls::rustls::ClientConfig;
use tidegate_tls::rustls::pki_types::CertificateDer;
use tidegate_tls::rustls::pki_types::PrivateKeyDer;
use tidegate_tls::rustls::pki_types::pem::PemObject as _;
use tidegate_tls::{
    Automatic, ChallengeKind, Challenges, Protocol, ServerSettings, Session, What, read_stored,
};

fn automatic(directory: &Directory, domains: &[&str]) -> Automatic {
    Automatic {
        domains: domains.iter().map(|one| (*one).to_owned()).collect(),
        email: None,
        directory: "https://ca.example/dir".to_owned(),
        directory_ca: Vec::new(),
        challenge: ChallengeKind::TlsAlpn01,
        storage: directory.path("store"),
        external_account: None,
        retry_delay: Duration::from_secs(120),
    }
}

fn settings(automatic: &Automatic) -> ServerSettings {
    ServerSettings {
        automatic: Some(Arc::new(automatic.clone())),
        protocols: vec![Protocol::Http2, Protocol::Http1],
        ..ServerSettings::default()
    }
}

fn keep(automatic: &Automatic, signed: &Signed) {
    fs::create_dir_all(automatic.certificates_directory()).expect("a directory");
    fs::write(automatic.certificate_file(), signed.both()).expect("writable");
}

fn der(signed: &Signed) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(signed.chain.as_bytes()).expect("PEM")
}

fn offering(client: &Arc<ClientConfig>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(client);
    config.alpn_protocols = protocols.iter().map(|one| one.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[test]
fn nothing_is_shown_until_it_is_there_and_then_it_is() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let client = believing(&directory.write("ca.pem", &authority.pem)).config();
    let automatic = automatic(&directory, &["a.example"]);
    let tls = server(settings(&automatic));
    match connect(&tls, &client, "a.example") {
        Err(Failed::Server(_, hello, _)) => assert!(hello.refused),
        other => panic!("{other:?}"),
    }
    assert!(tls.refresh().is_empty(), "that it is not there is no news");
    let signed = authority.sign(&["a.example"]);
    keep(&automatic, &signed);
    let changes: Vec<What> = tls.refresh().into_iter().map(|change| change.what).collect();
    assert_eq!(changes, [What::Added]);
    let connected = connect(&tls, &client, "a.example").expect("shown");
    assert_eq!(connected.shown(), der(&signed).to_vec());
    assert!(automatic.is_covered_by(&read_stored(&automatic.certificate_file()).expect("read")));
}

#[test]
fn certificates_of_the_bind_come_first_and_those_of_other_domains_stand_in() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let client = believing(&directory.write("ca.pem", &authority.pem)).config();
    let before = automatic(&directory, &["a.example"]);
    let kept = authority.sign(&["a.example"]);
    keep(&before, &kept);
    let now = automatic(&directory, &["a.example", "b.example"]);
    let own = authority.sign(&["own.example"]);
    let certificates = vec![file(directory.write("own.pem", own.both()))];
    let tls = server(ServerSettings { certificates, ..settings(&now) });
    let shown = |name: &str| connect(&tls, &client, name).map(|connected| connected.shown());
    assert_eq!(shown("a.example").expect("it stands in"), der(&kept).to_vec());
    assert_eq!(shown("own.example").expect("shown"), der(&own).to_vec());
    // Nothing is there for it: the first is shown, which the client does not take.
    assert!(matches!(shown("b.example"), Err(Failed::Client(_))));
    let both = authority.sign(&["a.example", "b.example"]);
    keep(&now, &both);
    tls.refresh();
    for name in ["a.example", "b.example"] {
        assert_eq!(shown(name).expect("shown"), der(&both).to_vec(), "{name}");
    }
}

#[test]
fn an_authority_is_answered_and_nobody_else() {
    let (directory, authority) = (Directory::new(), Authority::new("CA"));
    let client = believing(&directory.write("ca.pem", &authority.pem)).config();
    let automatic = automatic(&directory, &["a.example"]);
    let kept = authority.sign(&["a.example"]);
    keep(&automatic, &kept);
    let tls = server(settings(&automatic));
    let challenges = Arc::<Challenges>::default();
    tls.answer_from(&challenges);
    let asking = offering(&client, &["acme-tls/1"]);
    assert!(
        matches!(connect(&tls, &asking, "a.example"), Err(Failed::Server(_, hello, _)) if hello.refused),
        "no order is under way, and the usual certificate is no answer"
    );
    let answer = authority.sign(&["a.example"]);
    let key = PrivateKeyDer::from_pem_slice(answer.key.as_bytes()).expect("PEM");
    challenges
        .add_certificate("a.example", der(&answer), key.secret_der().to_vec())
        .expect("it can be used");
    let connected = connect(&tls, &asking, "A.example").expect("answered");
    assert_eq!(connected.shown(), der(&answer).to_vec());
    let session = Session::of(&connected.server).expect("a session");
    assert!(session.is_challenge && session.protocol.is_none());
    for (offered, expected) in [
        (&[][..], None),
        (&["h2"], Some(Protocol::Http2)),
        (&["acme-tls/1", "http/1.1"], Some(Protocol::Http1)),
    ] {
        let usual = connect(&tls, &offering(&client, offered), "a.example").expect("as always");
        assert_eq!(usual.shown(), der(&kept).to_vec(), "{offered:?}");
        let session = Session::of(&usual.server).expect("a session");
        assert!(!session.is_challenge && session.protocol == expected, "{offered:?}");
    }
    challenges.clear();
    assert!(connect(&tls, &asking, "a.example").is_err(), "the order is over");
}

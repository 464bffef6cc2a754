//! `tls` of binds and backends: the example of the contract, and what only certificates made at test time can show.
//!
//! Owns what becomes of the keys; leaves the words of errors to `invalid`, and handshakes to `tidegate_tls`. Invariant: the
//! example stands here as it is promised.

use std::fs;
use std::path::PathBuf;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tidegate_config::{BackendProtocol, Config, Severity, parse_beside};
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::{ChallengeKind, ClientAuth, Protocol, Trust, Version};

const EXAMPLE: &str = r#"
[frontends.secure]
default_backend = "app"
[[frontends.secure.bind]]
address = "127.0.0.1:8443"
[frontends.secure.bind.tls]
certificates = ["certs/a.example.pem", "certs/wildcard.example.pem"]   # PEM: chain and key in one file, or { chain = …, key = … }
alpn = ["h2", "http/1.1"]
min_version = "1.2"

[[frontends.secure.bind]]
address = "127.0.0.1:8444"
tls = { certificates = ["certs/a.example.pem"], client_ca = "certs/ca.pem", client_auth = "required" }

[[frontends.secure.bind]]
address = "127.0.0.1:8445"
protocols = ["h2"]                                                     # cleartext HTTP/2, prior knowledge

[[frontends.secure.rules]]
when = "connection.mtls"
set_headers = { "X-Client-Subject" = "{connection.client_subject}" }

[[frontends.secure.rules]]
when = 'connection.sni == "grpc.example"'
backend = "grpc"

[backends.app]
tls = { ca = "certs/ca.pem", server_name = "a.example" }              # verified by default
[backends.app.servers]
s1 = "127.0.0.1:9443"

[backends.grpc]
protocol = "h2"                                                       # "http/1.1" (default), "h2", or "auto" (ALPN)
[backends.grpc.servers]
g1 = "127.0.0.1:9050"
"#;

/// A directory with the certificates of the example, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidegate-config-{test}-{}", std::process::id()));
        fs::create_dir_all(path.join("certs")).expect("a directory");
        let directory = Self(path);
        directory.write("a.example.pem", &["a.example"], 2090);
        directory.write("wildcard.example.pem", &["*.example"], 2090);
        directory.write("ca.pem", &["ca.example"], 2090);
        directory
    }

    fn write(&self, name: &str, names: &[&str], until: i32) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let text = params.self_signed(&key).expect("signed").pem() + &key.serialize_pem();
        fs::write(self.0.join("certs").join(name), text).expect("writable");
    }

    fn parse(&self, text: &str) -> Config {
        parse_beside(&self.0, "tidegate.toml", text).unwrap_or_else(|report| panic!("{report}"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn the_example_of_the_contract_is_taken_as_it_is_written() {
    let directory = Directory::new("example");
    let config = directory.parse(EXAMPLE);
    assert_eq!(config.warnings, []);
    let [public, mutual, clear] = &config.frontends[0].binds[..] else { panic!("three binds") };
    let tls = public.tls.as_ref().expect("set");
    let names: Vec<_> = tls.certificates().iter().map(|one| one.names().to_vec()).collect();
    assert_eq!(names, [["a.example"], ["*.example"]]);
    assert_eq!(tls.settings().protocols, [Protocol::Http2, Protocol::Http1]);
    assert_eq!(public.protocols, tls.settings().protocols);
    assert_eq!(tls.settings().versions.min, Version::Tls12);
    assert_eq!(tls.settings().client_auth, ClientAuth::None);
    let tls = mutual.tls.as_ref().expect("set");
    assert_eq!(tls.settings().client_auth, ClientAuth::Required);
    assert_eq!(tls.settings().protocols, [Protocol::Http1]);
    assert_eq!((clear.tls.is_none(), &clear.protocols[..]), (true, &[Protocol::Http2][..]));
    let [app, grpc] = &config.backends[..] else { panic!("two backends") };
    let tls = app.tls.as_ref().expect("set");
    let name = ServerName::try_from("a.example").expect("a name");
    assert_eq!(tls.settings().server_name, Some(name));
    assert_eq!(tls.settings().trust, Trust::Files(vec![directory.0.join("certs/ca.pem")]));
    assert_eq!((app.protocol, grpc.protocol), (BackendProtocol::Http1, BackendProtocol::Http2));
    assert!(grpc.tls.is_none());
    assert_eq!(config, directory.parse(EXAMPLE));
    directory.write("a.example.pem", &["a.example"], 2090);
    assert_ne!(config, directory.parse(EXAMPLE), "another certificate is another configuration");
}

#[test]
fn what_is_dangerous_is_warned_about_and_taken() {
    let directory = Directory::new("warned");
    directory.write("a.example.pem", &["a.example"], 2021);
    let text = EXAMPLE.replace("ca = \"certs/ca.pem\", server_name", "verify = false, server_name");
    let config = directory.parse(&text);
    let messages: Vec<_> = config.warnings.iter().map(|warning| &*warning.message).collect();
    assert!(config.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    assert_eq!(messages.len(), 3, "{messages:?}");
    // In both binds that show it.
    assert!(
        messages[..2]
            .iter()
            .all(|message| message.starts_with("`certs/a.example.pem`: the certificate expired "))
    );
    assert!(messages[2].starts_with("servers are not verified"), "{messages:?}");
}

#[test]
fn checks_go_over_the_backends_tls_unless_they_go_elsewhere() {
    let directory = Directory::new("checks");
    let over_tls = |check: &str| {
        let text = EXAMPLE.replace(
            "[backends.app]\n",
            &format!("[backends.app]\nhealth_check = {{ type = \"http\"{check} }}\n"),
        );
        let config = directory.parse(&text);
        config.backends[0].servers[0].check.as_ref().expect("checked").tls
    };
    assert!(over_tls(""));
    assert!(!over_tls(", port = 8081"));
    assert!(over_tls(", port = 8081, tls = true"));
    assert!(!over_tls(", tls = false"));
}

#[test]
fn paths_begin_at_the_file_and_the_key_log_is_shared() {
    let directory = Directory::new("paths");
    let config = directory.parse(&format!("[global]\ntls_key_log = \"keys.log\"\n{EXAMPLE}"));
    let log = config.global.tls_key_log.expect("set");
    assert_eq!(log.path(), directory.0.join("keys.log"));
    assert!(!log.path().exists(), "a check writes nothing");
}

#[test]
fn a_certificate_that_is_ordered_has_what_is_written_and_the_defaults() {
    let directory = Directory::new("acme");
    let config = directory.parse(
        "[frontends.web]\ndefault_backend = \"app\"\n\
         [[frontends.web.bind]]\naddress = \"127.0.0.1:8443\"\n\
         [frontends.web.bind.tls.acme]\ndomains = [\"WWW.a.example\"]\n\
         directory = \"https://ca.example/dir\"\n\
         [[frontends.web.bind]]\naddress = \"127.0.0.1:8444\"\n\
         [frontends.web.bind.tls]\ncertificates = [\"certs/a.example.pem\"]\n\
         [frontends.web.bind.tls.acme]\ndomains = [\"b.example\"]\n\
         directory = \"https://ca.example/dir\"\nstorage = \"store\"\nchallenge = \"http-01\"\n\
         [[frontends.web.bind]]\naddress = \"127.0.0.1:8080\"\n\
         [backends.app.servers]\na = \"127.0.0.1:9001\"\n",
    );
    assert_eq!(config.warnings, []);
    let of = |place: usize| {
        let tls = config.frontends[0].binds[place].tls.as_ref().expect("TLS");
        (tls.certificates().len(), tls.settings().automatic.clone().expect("ordered"))
    };
    let (shown, plain) = of(0);
    assert_eq!((shown, &plain.domains[..]), (0, &["www.a.example".to_owned()][..]));
    assert_eq!(plain.storage, PathBuf::from("/var/lib/tidegate/acme"));
    assert_eq!(plain.challenge, ChallengeKind::TlsAlpn01);
    assert_eq!(plain.retry_delay.as_secs(), 120);
    assert!(plain.email.is_none() && plain.external_account.is_none());
    let (shown, beside) = of(1);
    assert_eq!((shown, beside.challenge), (1, ChallengeKind::Http01));
    assert_eq!(beside.storage, directory.0.join("store"));
}

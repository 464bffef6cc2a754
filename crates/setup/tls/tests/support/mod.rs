//! Certificates made at test time, and handshakes in memory.
//!
//! Owns both; leaves what is expected to the tests. Invariant: a handshake ends: each side's bytes are handed over until neither
//! has any.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::rustls::{ClientConfig, ClientConnection, Error, ServerConnection};
use tidegate_tls::{
    CertificateSource, ClientSettings, ClientTls, Hello, Loader, Problem, ServerSettings,
    ServerTls, Trust, take_hello,
};

/// A directory of one test, removed at its end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes as whoever means well does: beside it, then in its place.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let (path, beside) = (self.path(name), self.path(&format!("{name}.new")));
        let mut file = fs::File::create(&beside).expect("writable");
        file.write_all(content.as_ref()).expect("writable");
        fs::rename(&beside, &path).expect("a move");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Now,
    Past,
    Future,
}

/// An authority that signs.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, in PEM.
#[derive(Clone)]
pub struct Signed {
    pub chain: String,
    pub key: String,
    pub serial: SerialNumber,
}

impl Signed {
    pub fn both(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    pub fn sign(&self, names: &[&str]) -> Signed {
        self.sign_as(names, &PKCS_ECDSA_P256_SHA256, Validity::Now, 1)
    }

    pub fn sign_rsa(&self, names: &[&str]) -> Signed {
        self.sign_as(names, &PKCS_RSA_SHA256, Validity::Now, 2)
    }

    pub fn sign_as(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        validity: Validity,
        serial: u64,
    ) -> Signed {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let params = params(names, validity, serial);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Signed { chain: certificate.pem(), key: key.serialize_pem(), serial: serial.into() }
    }

    /// A revocation list with these, valid until the end of 2090.
    pub fn revoke(&self, revoked: &[&Signed]) -> String {
        self.revoke_until(revoked, 2090)
    }

    pub fn revoke_until(&self, revoked: &[&Signed], year: i32) -> String {
        let entry = |signed: &&Signed| RevokedCertParams {
            serial_number: signed.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("signed").pem().expect("PEM")
    }
}

fn params(names: &[&str], validity: Validity, serial: u64) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names.clone()).expect("names");
    let common = names.first().map_or("nobody", String::as_str);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example, Ltd");
    params.distinguished_name.push(DnType::CommonName, common);
    params.serial_number = Some(serial.into());
    let (from, until) = match validity {
        Validity::Now => (2020, 2090),
        Validity::Past => (2020, 2021),
        Validity::Future => (2089, 2090),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

/// A certificate that signs itself.
pub fn self_signed(names: &[&str]) -> Signed {
    let key = KeyPair::generate().expect("a key");
    let certificate = params(names, Validity::Now, 9).self_signed(&key).expect("signed");
    Signed { chain: certificate.pem(), key: key.serialize_pem(), serial: 9_u64.into() }
}

/// One file with chain and key.
pub fn file(path: impl Into<PathBuf>) -> CertificateSource {
    CertificateSource::File { path: path.into(), ocsp: None }
}

pub fn server(settings: ServerSettings) -> ServerTls {
    let (tls, warnings) = try_server(settings).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(warnings, []);
    tls
}

pub fn try_server(settings: ServerSettings) -> Result<(ServerTls, Vec<Problem>), Vec<Problem>> {
    let mut warnings = Vec::new();
    Loader::new(None).server(settings, &mut warnings).map(|tls| (tls, warnings))
}

pub fn client(settings: ClientSettings) -> ClientTls {
    let mut warnings = Vec::new();
    Loader::new(None)
        .client(settings, &mut warnings)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A client that believes the authority of this file.
pub fn believing(ca: &Path) -> ClientTls {
    let trust = Trust::Files(vec![ca.to_path_buf()]);
    client(ClientSettings { trust, ..ClientSettings::default() })
}

/// Both ends of a connection after a handshake.
#[derive(Debug)]
pub struct Connected {
    pub client: ClientConnection,
    pub server: ServerConnection,
    pub hello: Hello,
}

impl Connected {
    /// The certificate that the client was shown, in DER.
    pub fn shown(&self) -> Vec<u8> {
        self.client.peer_certificates().expect("one was shown")[0].to_vec()
    }
}

/// Who ended a handshake.
#[derive(Debug)]
pub enum Failed {
    Client(Error),
    Server(Error, Hello, Vec<u8>),
}

/// A handshake in which the client asks for `name`.
pub fn connect(
    server: &ServerTls,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Connected, Failed> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut server = ServerConnection::new(server.config()).expect("a server");
    let mut hello = None;
    for _ in 0..16 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("a vector takes everything");
        }
        server.read_tls(&mut &bytes[..]).expect("a vector is read");
        let processed = server.process_new_packets();
        hello = hello.or(take_hello());
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).expect("a vector takes everything");
        }
        if let Err(error) = processed {
            return Err(Failed::Server(error, hello.unwrap_or_default(), bytes));
        }
        client.read_tls(&mut &bytes[..]).expect("a vector is read");
        if let Err(error) = client.process_new_packets() {
            return Err(Failed::Client(error));
        }
        if !client.wants_write() && !client.is_handshaking() && !server.is_handshaking() {
            let hello = hello.expect("every handshake has one");
            return Ok(Connected { client, server, hello });
        }
    }
    panic!("a handshake without an end");
}

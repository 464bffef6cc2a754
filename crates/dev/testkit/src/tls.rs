//! Owns what the kit's clients and origins speak TLS with: settings, and the facts of a handshake.
//!
//! Leaves certificates to `certificates` and bytes to `stream`. Invariant: a client believes what its authority signed and nothing
//! else, and each client and server has sessions of its own.

use crate::certificates::{Authority, Identity};
use rustls::client::{ClientSessionMemoryCache, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::{
    ClientConfig, Connection, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};
use std::sync::Arc;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246
    V12,
    /// RFC 8446
    V13,
}

impl TlsVersion {
    /// Both, the older first.
    pub const ALL: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];

    /// As it is written in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TlsVersion::V12 => "TLSv1.2",
            TlsVersion::V13 => "TLSv1.3",
        }
    }

    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            TlsVersion::V12 => &rustls::version::TLS12,
            TlsVersion::V13 => &rustls::version::TLS13,
        }
    }
}

/// What a client speaks TLS with; its sessions are remembered for its later connections.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// How a [`TlsClient`] is to be.
#[derive(Clone, Default)]
#[must_use]
pub struct TlsClientBuilder {
    authority: String,
    name: String,
    version: Option<TlsVersion>,
    suite: Option<String>,
    alpn: Vec<Vec<u8>>,
    identity: Option<Identity>,
    hides_name: bool,
    resumes: bool,
}

impl TlsClient {
    /// Begins a client that believes this authority and asks for this name.
    ///
    /// # Panics
    /// When the authority is none.
    pub fn builder(authority: &Authority, name: &str) -> TlsClientBuilder {
        Self::believing(authority.pem(), name)
    }

    /// The same with the authority's certificate in PEM.
    ///
    /// # Panics
    /// When it is none.
    pub fn believing(authority: &str, name: &str) -> TlsClientBuilder {
        TlsClientBuilder {
            authority: authority.to_owned(),
            name: name.to_owned(),
            resumes: true,
            ..Default::default()
        }
    }

    /// A client with nothing special.
    #[must_use]
    pub fn new(authority: &Authority, name: &str) -> Self {
        Self::builder(authority, name).build()
    }

    /// The records of a client's first message.
    ///
    /// # Panics
    /// Never: a vector takes everything.
    #[must_use]
    pub fn hello(&self) -> Vec<u8> {
        let (mut connection, mut hello) = (self.connection(), Vec::new());
        while connection.wants_write() {
            connection.write_tls(&mut hello).expect("a vector takes everything");
        }
        hello
    }

    pub(crate) fn connection(&self) -> Connection {
        let connection = rustls::ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        connection.expect("the settings can be used").into()
    }
}

impl TlsClientBuilder {
    /// Speaks this version only.
    pub fn version(mut self, version: TlsVersion) -> Self {
        self.version = Some(version);
        self
    }

    /// Speaks this cipher suite only, by its name in RFC 8446 or RFC 5289.
    pub fn suite(mut self, suite: &str) -> Self {
        self.suite = Some(suite.to_owned());
        self
    }

    /// Offers these protocols.
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate when it is asked for one.
    pub fn identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// Sends no server name.
    pub fn without_name(mut self) -> Self {
        self.hides_name = true;
        self
    }

    /// Makes each handshake in full.
    pub fn without_resumption(mut self) -> Self {
        self.resumes = false;
        self
    }

    /// The client.
    ///
    /// # Panics
    /// When the settings do not go together.
    #[must_use]
    #[track_caller]
    pub fn build(self) -> TlsClient {
        let mut provider = aws_lc_rs::default_provider();
        if let Some(suite) = &self.suite {
            provider.cipher_suites.retain(|known| suite_name(known.suite()) == *suite);
            assert_eq!(provider.cipher_suites.len(), 1, "{suite} is no suite");
        }
        let provider = Arc::new(provider);
        let versions = match self.version {
            Some(version) => vec![version.supported()],
            None => TlsVersion::ALL.map(TlsVersion::supported).to_vec(),
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .expect("the suite is one of the version");
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots(&self.authority), provider)
                .build()
                .expect("there is an authority");
        let builder = builder.with_webpki_verifier(verifier);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = chain_and_key(identity);
                builder.with_client_auth_cert(chain, key).expect("chain and key go together")
            }
        };
        config.alpn_protocols = self.alpn;
        config.enable_sni = !self.hides_name;
        config.resumption = if self.resumes {
            Resumption::store(Arc::new(ClientSessionMemoryCache::new(64)))
        } else {
            Resumption::disabled()
        };
        let name = ServerName::try_from(self.name).expect("it is a name");
        TlsClient { config: Arc::new(config), name }
    }
}

/// What an origin speaks TLS with.
#[derive(Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// One that shows this certificate, speaks these versions, and asks for a certificate by `client_authority`, if there is one.
    ///
    /// # Panics
    /// When the settings do not go together.
    #[must_use]
    #[track_caller]
    pub fn new(
        identity: &Identity,
        versions: &[TlsVersion],
        client_authority: Option<&Authority>,
    ) -> Self {
        let versions: Vec<_> = versions.iter().map(|version| version.supported()).collect();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .expect("there are suites for them");
        let (chain, key) = chain_and_key(identity);
        let builder = match client_authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = roots(authority.pem());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().expect("there is an authority"))
            }
        };
        let mut config = builder.with_single_cert(chain, key).expect("chain and key go together");
        config.session_storage = ServerSessionMemoryCache::new(256);
        Self { config: Arc::new(config) }
    }

    /// One with nothing special.
    #[must_use]
    #[track_caller]
    pub fn showing(identity: &Identity) -> Self {
        Self::new(identity, &TlsVersion::ALL, None)
    }

    /// Chooses the first of these protocols that a client offers.
    #[must_use]
    pub fn alpn(self, protocols: &[&str]) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { config: Arc::new(config) }
    }

    /// Remembers no session.
    #[must_use]
    pub fn without_resumption(self) -> Self {
        let mut config = Arc::unwrap_or_clone(self.config);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Self { config: Arc::new(config) }
    }

    pub(crate) fn connection(&self) -> Connection {
        let connection = rustls::ServerConnection::new(Arc::clone(&self.config));
        connection.expect("the settings can be used").into()
    }
}

/// What a handshake has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite, by its name in RFC 8446 or RFC 5289.
    pub suite: String,
    /// Whether it went on with an earlier session.
    pub resumed: bool,
    /// The protocol agreed on.
    pub alpn: Option<String>,
    /// The name that the client asked for, where this is the server's view.
    pub server_name: Option<String>,
    /// The first certificate that the other side has shown, in DER.
    pub peer: Option<Vec<u8>>,
}

impl TlsFacts {
    /// Of a connection after its handshake.
    pub(crate) fn of(connection: &Connection) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::V12,
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::V13,
            other => panic!("a version that was not offered: {other:?}"),
        };
        let server_name = match connection {
            Connection::Client(_) => None,
            Connection::Server(server) => server.server_name().map(str::to_owned),
        };
        let suite = connection.negotiated_cipher_suite().expect("the handshake is over");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            version,
            suite: suite_name(suite.suite()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            alpn: connection.alpn_protocol().map(text),
            server_name,
            peer: connection.peer_certificates().map(|chain| chain[0].to_vec()),
        }
    }

    /// Whether the other side has shown this certificate.
    #[must_use]
    pub fn was_shown(&self, identity: &Identity) -> bool {
        self.peer.as_deref() == certificates(&identity.chain).first().map(AsRef::as_ref)
    }
}

fn suite_name(suite: rustls::CipherSuite) -> String {
    let name = suite.as_str().unwrap_or("unknown");
    name.replace("TLS13_", "TLS_")
}

fn roots(pem: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for root in certificates(pem) {
        roots.add(root).expect("an authority can be believed");
    }
    Arc::new(roots)
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.expect("it is PEM")
}

fn chain_and_key(identity: &Identity) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("it is a key");
    (certificates(&identity.chain), key)
}

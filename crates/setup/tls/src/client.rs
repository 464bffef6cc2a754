//! What a backend with TLS works with.
//!
//! Owns the configuration of rustls for the side of servers, and its replacement when files change; leaves connections to the
//! data plane. Invariant: a server is verified unless the settings say in so many words that it is not.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::authorities::{Authorities, Contents};
use crate::certificate::CertificateSource;
use crate::crypto::{self, Cipher, Group, Protocol, Side, Versions};
use crate::loader::Loader;
use crate::problem::{At, Fault, Problem};
use crate::server::ServerSettings;
use crate::store::{Change, Store, What};

/// Server names of one backend for which sessions are kept, for all shards: a backend has one, or one for each server. rustls
/// keeps up to eight tickets for each.
const RESUMED_NAMES_MAX: usize = 1_024;

/// The settings of a store for one certificate.
fn shown(certificate: &CertificateSource) -> ServerSettings {
    ServerSettings { certificates: vec![certificate.clone()], ..ServerSettings::default() }
}

/// Who is believed to be the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whom the system believes.
    #[default]
    System,
    /// Whom the authorities of these PEM files have signed.
    Files(Vec<PathBuf>),
    /// Anybody: traffic can be read and changed on its way.
    Anybody,
}

/// How a backend speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// Who is believed.
    pub trust: Trust,
    /// PEM files of revocation lists: with any, each certificate of a server's chain has to be covered by a list that has not
    /// expired.
    pub crl: Vec<PathBuf>,
    /// The name that servers are asked for and have to prove; none: the name by which each was configured.
    pub server_name: Option<ServerName<'static>>,
    /// What is shown to servers that ask for a certificate; not a directory.
    pub certificate: Option<CertificateSource>,
    /// Protocols offered, in the order of preference.
    pub protocols: Vec<Protocol>,
    /// Versions of TLS.
    pub versions: Versions,
    /// Cipher suites in the order of preference; empty: all.
    pub ciphers: Vec<Cipher>,
    /// Groups in the order of preference; empty: x25519, secp256r1, secp384r1.
    pub groups: Vec<Group>,
}

/// What a backend with TLS works with, for all shards.
pub struct ClientTls {
    settings: ClientSettings,
    config: ArcSwap<ClientConfig>,
    state: Mutex<State>,
}

/// What the control plane looks at.
struct State {
    authorities: Authorities,
    system: Option<Arc<RootCertStore>>,
    certificate: Option<Store>,
    resumption: Resumption,
}

impl ClientTls {
    pub(crate) fn load(
        settings: ClientSettings,
        loader: &Loader,
        warnings: &mut Vec<Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if let Some(version) = crypto::version_without_cipher(settings.versions, &settings.ciphers)
        {
            problems.push(Problem::new(At::Crypto, "".as_ref(), Fault::NoCipher(version)));
        }
        let mut take = |found: Vec<Problem>| problems.extend(found);
        let of_system = |fault| vec![Problem::new(At::System, "".as_ref(), fault)];
        let (ca, system) = match &settings.trust {
            Trust::System => (&[][..], loader.system().map(Some).map_err(of_system)),
            Trust::Files(files) => (&files[..], Ok(None)),
            Trust::Anybody => (&[][..], Ok(None)),
        };
        let crl = if settings.trust == Trust::Anybody { &[][..] } else { &settings.crl[..] };
        let system = system.map_err(&mut take).ok();
        let authorities = Authorities::load(ca, crl).map_err(&mut take).ok();
        let certificate = settings.certificate.as_ref();
        let certificate = certificate.map(|one| Store::load(&shown(one), warnings));
        let certificate = certificate.transpose().map_err(&mut take).ok();
        let (Some(system), Some(authorities), Some(certificate), true) =
            (system, authorities, certificate, problems.is_empty())
        else {
            return Err(problems);
        };
        let resumption = Resumption::in_memory_sessions(RESUMED_NAMES_MAX);
        let state = State { authorities, system, certificate, resumption };
        let mut config = config(&settings, &state).map_err(|fault| {
            let (at, file) = state.authorities.first();
            vec![Problem { at, file, fault }]
        })?;
        if let Some(key_log) = &loader.key_log {
            config.key_log = key_log.clone();
        }
        Ok(Self { settings, config: ArcSwap::from_pointee(config), state: Mutex::new(state) })
    }

    /// What the next connection is made with. Replaced when files change.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// The settings it was made from.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    /// Looks at all files, takes over what has changed and is good, and keeps what it had where the new is bad; for the control
    /// plane.
    pub fn refresh(&self) -> Vec<Change> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changes = state.certificate.as_ref().map(Store::refresh).unwrap_or_default();
        let mut changed = changes.iter().any(|change| !matches!(change.what, What::Failed(_)));
        let mut before: Option<Contents> = None;
        match state.authorities.refresh() {
            Ok(None) => {}
            Err(Problem { at, file, fault }) => {
                changes.push(Change { at, file, what: What::Failed(fault) });
            }
            Ok(Some(contents)) => {
                before = Some(std::mem::replace(&mut state.authorities.contents, contents));
                let (at, file) = state.authorities.first();
                changes.push(Change { at, file, what: What::Replaced });
                changed = true;
            }
        }
        if !changed {
            return changes;
        }
        if before.is_some() {
            // A session that is resumed is not verified again.
            state.resumption = Resumption::in_memory_sessions(RESUMED_NAMES_MAX);
        }
        match config(&self.settings, &state) {
            Ok(mut config) => {
                config.key_log = self.config.load().key_log.clone();
                self.config.store(Arc::new(config));
            }
            Err(fault) => {
                if let Some(before) = before {
                    state.authorities.contents = before;
                }
                if let Some(last) = changes.last_mut() {
                    last.what = What::Failed(fault);
                }
            }
        }
        changes
    }

    fn contents(&self) -> Contents {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.authorities.contents.clone()
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PartialEq for ClientTls {
    /// Of the same settings and authorities.
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.contents() == other.contents()
    }
}

fn config(settings: &ClientSettings, state: &State) -> Result<ClientConfig, Fault> {
    let provider = crypto::provider(Side::Client, &settings.ciphers, &settings.groups);
    let verifier: Arc<dyn ServerCertVerifier> = match &settings.trust {
        Trust::Anybody => Arc::new(Unverified(provider.clone())),
        Trust::System | Trust::Files(_) => {
            let roots = state.system.clone().unwrap_or_else(|| state.authorities.contents.roots());
            WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .with_crls(state.authorities.contents.crls.iter().cloned())
                .enforce_revocation_expiration()
                .build()
                .map_err(|error| Fault::Refused(error.to_string()))?
        }
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&settings.versions.supported())
        .map_err(|error| Fault::Refused(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let shown =
        state.certificate.as_ref().and_then(|store| store.certificates().into_iter().next());
    let mut config = match shown {
        Some(certificate) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            certificate.certified.clone(),
        ))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols =
        settings.protocols.iter().map(|protocol| protocol.alpn().as_bytes().to_vec()).collect();
    config.resumption = state.resumption.clone();
    config.enable_early_data = false;
    // Records are opened and sealed by our own layer once the handshake is over (ADR 0017).
    config.enable_secret_extraction = true;
    Ok(config)
}

/// Believes every certificate, and still has the server prove that it has the key.
#[derive(Debug)]
pub struct Unverified(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

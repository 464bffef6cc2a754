//! What a bind with TLS works with.
//!
//! Owns the configuration of rustls for the side of clients, and its replacement when files change; leaves connections to the
//! data plane. Invariant: sessions are resumed only at a bind that would believe the same clients.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::authorities::{Authorities, Contents};
use crate::automatic::{Automatic, ChallengeKind, directory_authorities};
use crate::certificate::{Certificate, CertificateSource};
use crate::challenges::{ACME_ALPN, Challenges};
use crate::crypto::{self, Cipher, Group, Protocol, Side, Versions};
use crate::loader::Loader;
use crate::problem::{At, Fault, Problem};
use crate::store::{Change, Store, What};
use crate::tickets::Tickets;

/// Tickets for each TLS 1.3 handshake. A resumed connection brings a new one, so that one is enough for a client that goes on;
/// each costs a key derivation, an encryption and about 200 bytes.
const TICKETS_EACH: usize = 1;

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// They are asked and may have none; one that is not believed ends the handshake.
    Optional,
    /// Without one that is believed there is no connection.
    Required,
}

/// How a bind speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// Certificates; the first is shown where no name fits. Not empty, unless one is ordered.
    pub certificates: Vec<CertificateSource>,
    /// One that is ordered from an authority, and comes after the others.
    pub automatic: Option<Arc<Automatic>>,
    /// Refuse clients that ask for a name without a certificate, or for none.
    pub strict_sni: bool,
    /// Versions of TLS.
    pub versions: Versions,
    /// Cipher suites in the order of preference, which goes before the client's; empty: all.
    pub ciphers: Vec<Cipher>,
    /// Groups in the order of preference; empty: X25519MLKEM768, x25519, secp256r1, secp384r1.
    pub groups: Vec<Group>,
    /// Protocols offered, in the order of preference; empty: clients that name some are served all the same.
    pub protocols: Vec<Protocol>,
    /// How long a session can be resumed by a ticket; none: there are no tickets, and no session is resumed.
    pub ticket_lifetime: Option<Duration>,
    /// Whether clients have to show a certificate.
    pub client_auth: ClientAuth,
    /// PEM files of the authorities that sign client certificates; needed where clients are asked.
    pub client_ca: Vec<PathBuf>,
    /// PEM files of revocation lists: with any, each certificate of a client's chain has to be covered by a list that has not
    /// expired.
    pub crl: Vec<PathBuf>,
}

/// What a bind with TLS works with, for all shards.
pub struct ServerTls {
    settings: ServerSettings,
    store: Arc<Store>,
    config: ArcSwap<ServerConfig>,
    tickets: Option<Arc<Tickets>>,
    /// For the control plane.
    authorities: Mutex<Authorities>,
}

impl ServerTls {
    pub(crate) fn load(
        settings: ServerSettings,
        loader: &Loader,
        warnings: &mut Vec<Problem>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        if let Some(version) = crypto::version_without_cipher(settings.versions, &settings.ciphers)
        {
            problems.push(Problem::new(At::Crypto, "".as_ref(), Fault::NoCipher(version)));
        }
        let mut take = |found: Vec<Problem>| problems.extend(found);
        let store = Store::load(&settings, warnings).map_err(&mut take).ok();
        let automatic = settings.automatic.as_ref();
        let files = automatic.map_or(&[][..], |automatic| &automatic.directory_ca);
        if !files.is_empty()
            && let Err(problem) = directory_authorities(files)
        {
            take(vec![problem]);
        }
        let authorities = match settings.client_auth {
            ClientAuth::None => Authorities::load(&[], &[]),
            _ => Authorities::load(&settings.client_ca, &settings.crl),
        };
        let authorities = authorities.map_err(&mut take).ok();
        let (Some(store), Some(authorities), true) = (store, authorities, problems.is_empty())
        else {
            return Err(problems);
        };
        let store = Arc::new(store);
        let tickets = settings.ticket_lifetime.map(|lifetime| Arc::new(Tickets::new(lifetime)));
        let refused = |fault| {
            let (at, file) = authorities.first();
            vec![Problem { at, file, fault }]
        };
        let verifier = verifier(&settings, &authorities.contents).map_err(refused)?;
        let config = config(&settings, verifier, store.clone(), tickets.clone(), loader);
        let config = config.map_err(|fault| vec![Problem::new(At::Crypto, "".as_ref(), fault)])?;
        let config = ArcSwap::from_pointee(config);
        Ok(Self { settings, store, config, tickets, authorities: Mutex::new(authorities) })
    }

    /// What the next connection is made with. Replaced when authorities or revocation lists change; certificates change
    /// inside.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// The settings it was made from.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// The certificates in use, in the order of the settings.
    #[must_use]
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.store.certificates()
    }

    /// From now on authorities that look at a domain in a handshake are answered from `challenges`.
    pub fn answer_from(&self, challenges: &Arc<Challenges>) {
        self.store.answer_from(challenges);
    }

    /// Takes the tickets of the same bind before a reload, if it believed the same clients.
    pub fn take_over(&self, before: &Self) {
        let same_clients = self.settings.client_auth == before.settings.client_auth
            && self.settings.ticket_lifetime == before.settings.ticket_lifetime
            && self.contents() == before.contents();
        if let (Some(tickets), Some(earlier), true) = (&self.tickets, &before.tickets, same_clients)
        {
            tickets.take_over(earlier);
        }
    }

    /// Looks at all files, takes over what has changed and is good, and keeps what it had where the new is bad; for the control
    /// plane.
    pub fn refresh(&self) -> Vec<Change> {
        let mut changes = self.store.refresh();
        let mut authorities = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        match authorities.refresh() {
            Ok(None) => {}
            Err(Problem { at, file, fault }) => {
                changes.push(Change { at, file, what: What::Failed(fault) });
            }
            Ok(Some(contents)) => {
                let (at, file) = authorities.first();
                let what = match verifier(&self.settings, &contents) {
                    Err(fault) => What::Failed(fault),
                    Ok(verifier) => {
                        authorities.contents = contents;
                        self.believe(verifier);
                        What::Replaced
                    }
                };
                changes.push(Change { at, file, what });
            }
        }
        changes
    }

    /// From now on clients are verified so, those with tickets from before included.
    fn believe(&self, verifier: Arc<dyn ClientCertVerifier>) {
        let before = self.config.load_full();
        let provider = before.crypto_provider().clone();
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.settings.versions.supported());
        // The versions were taken when the first one was made.
        let Ok(builder) = builder else { return };
        let mut config =
            builder.with_client_cert_verifier(verifier).with_cert_resolver(self.store.clone());
        finish(&mut config, &self.settings, self.tickets.clone());
        config.key_log = before.key_log.clone();
        self.config.store(Arc::new(config));
        // A revoked client would go on with its ticket.
        if let Some(tickets) = &self.tickets {
            tickets.forget();
        }
    }

    fn contents(&self) -> Contents {
        self.authorities.lock().unwrap_or_else(PoisonError::into_inner).contents.clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl PartialEq for ServerTls {
    /// Of the same settings and certificates.
    fn eq(&self, other: &Self) -> bool {
        let prints = |tls: &Self| -> Vec<String> {
            tls.certificates().iter().map(|one| one.fingerprint().to_owned()).collect()
        };
        self.settings == other.settings
            && self.contents() == other.contents()
            && prints(self) == prints(other)
    }
}

/// Who is believed to be a client.
fn verifier(
    settings: &ServerSettings,
    contents: &Contents,
) -> Result<Arc<dyn ClientCertVerifier>, Fault> {
    if settings.client_auth == ClientAuth::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let provider = crypto::provider(Side::Server, &settings.ciphers, &settings.groups);
    let mut builder = WebPkiClientVerifier::builder_with_provider(contents.roots(), provider)
        .with_crls(contents.crls.iter().cloned())
        .enforce_revocation_expiration();
    if settings.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| Fault::Refused(error.to_string()))
}

fn config(
    settings: &ServerSettings,
    verifier: Arc<dyn ClientCertVerifier>,
    store: Arc<Store>,
    tickets: Option<Arc<Tickets>>,
    loader: &Loader,
) -> Result<ServerConfig, Fault> {
    let provider = crypto::provider(Side::Server, &settings.ciphers, &settings.groups);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&settings.versions.supported())
        .map_err(|error| Fault::Refused(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(store);
    finish(&mut config, settings, tickets);
    if let Some(key_log) = &loader.key_log {
        config.key_log = key_log.clone();
    }
    Ok(config)
}

fn finish(config: &mut ServerConfig, settings: &ServerSettings, tickets: Option<Arc<Tickets>>) {
    config.alpn_protocols =
        settings.protocols.iter().map(|protocol| protocol.alpn().as_bytes().to_vec()).collect();
    let is_asked = settings
        .automatic
        .as_ref()
        .is_some_and(|automatic| automatic.challenge == ChallengeKind::TlsAlpn01);
    // The last, so that who offers anything else gets that. Where nothing is chosen, it would refuse everybody else.
    if is_asked && !config.alpn_protocols.is_empty() {
        config.alpn_protocols.push(ACME_ALPN.to_vec());
    }
    // So that what is negotiated is known, as in HAProxy; scanners mark the other as a weakness, although all that is offered is strong.
    config.ignore_client_order = true;
    // Sessions live in tickets alone: nothing is kept for clients, on any shard.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = if tickets.is_some() { TICKETS_EACH } else { 0 };
    if let Some(tickets) = tickets {
        config.ticketer = tickets;
    }
    // Records are opened and sealed by our own layer once the handshake is over (ADR 0017).
    config.enable_secret_extraction = true;
    // Early data can be replayed (RFC 8446 §8).
    config.max_early_data_size = 0;
}

//! `tls` of a bind: the keys, and which of them go together.
//!
//! Owns those; leaves what is read alike on both sides to its parent. Invariant: a bind whose clients are to show certificates
//! knows whom to believe.

use std::sync::Arc;
use std::time::Duration;

use tidegate_tls::{Automatic, ClientAuth, Loader, Protocol, ServerSettings, ServerTls};

use super::acme::AcmeDraft;
use super::{CertificateDraft, CryptoDraft, Places, certificate, paths, protocols};
use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::files::Files;
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, set, walk};

/// `tls` of a bind as it is written.
#[derive(Clone, Debug)]
pub(crate) struct BindTlsDraft {
    /// Where the table stands.
    span: Span,
    certificates: Vec<CertificateDraft>,
    /// Something in `certificates` could not be read, and has been reported.
    obscured: bool,
    strict_sni: bool,
    crypto: CryptoDraft,
    alpn: Option<(Vec<Protocol>, Span)>,
    session_tickets: bool,
    ticket_lifetime: Duration,
    client_auth: Option<(ClientAuth, Span)>,
    client_ca: Vec<Text>,
    crl: Vec<Text>,
    acme: Option<AcmeDraft>,
}

const CLIENT_AUTH: [(&str, ClientAuth); 3] = [
    ("none", ClientAuth::None),
    ("optional", ClientAuth::Optional),
    ("required", ClientAuth::Required),
];

pub(crate) const BIND_TLS_KEYS: &[Key<BindTlsDraft>] = &[
    key("certificates", "[\"certs/site.pem\"]", |draft, node| {
        let Some(elements) = node.elements() else { return };
        draft.certificates = elements.iter().filter_map(|element| certificate(element)).collect();
        draft.obscured = draft.certificates.len() != elements.len();
    }),
    key("strict_sni", "false", |draft, node| set(&mut draft.strict_sni, node.boolean())),
    key("min_version", "\"1.2\"", |draft, node| draft.crypto.read_min(node)),
    key("max_version", "\"1.3\"", |draft, node| draft.crypto.read_max(node)),
    key(
        "ciphers",
        "[\"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]",
        |draft, node| {
            draft.crypto.read_ciphers(node);
        },
    ),
    key("groups", "[\"X25519MLKEM768\", \"x25519\", \"secp256r1\"]", |draft, node| {
        draft.crypto.read_groups(node);
    }),
    key("alpn", "[\"h2\", \"http/1.1\"]", |draft, node| {
        draft.alpn = protocols(node).map(|protocols| (protocols, node.name_span));
    }),
    key("session_tickets", "true", |draft, node| set(&mut draft.session_tickets, node.boolean())),
    key("ticket_lifetime", "\"12h\"", |draft, node| {
        set(&mut draft.ticket_lifetime, node.time_in(defaults::TICKET_LIFETIME_RANGE));
    }),
    key("client_auth", "\"none\"", |draft, node| {
        draft.client_auth = node.word(&CLIENT_AUTH).map(|auth| (auth, node.span));
    }),
    key("client_ca", "\"certs/ca.pem\"", |draft, node| draft.client_ca = paths(node)),
    key("crl", "\"certs/ca.crl\"", |draft, node| draft.crl = paths(node)),
    key(
        "acme",
        "{ domains = [\"site.example\"], directory = \"https://ca.example/directory\" }",
        |draft, node| draft.acme = AcmeDraft::read(node),
    ),
];

impl BindTlsDraft {
    /// Reads the table.
    pub fn read(node: &Node<'_>) -> Option<Self> {
        let table = node.table()?;
        let mut draft = Self {
            span: node.span,
            certificates: Vec::new(),
            obscured: false,
            strict_sni: false,
            crypto: CryptoDraft::default(),
            alpn: None,
            session_tickets: defaults::SESSION_TICKETS,
            ticket_lifetime: defaults::TICKET_LIFETIME,
            client_auth: None,
            client_ca: Vec::new(),
            crl: Vec::new(),
            acme: None,
        };
        walk(node, BIND_TLS_KEYS, &mut draft);
        draft.obscured |= node.obscures("certificates") || node.obscures("acme");
        let has_acme = table.contains_key("acme");
        if draft.certificates.is_empty() && !draft.obscured && !has_acme {
            let message = format!("{} has no `certificates`", quoted(&node.path()));
            let problem = Problem::error(node.name_span, message).absent();
            node.report(problem.help(
                "for example certificates = [\"certs/site.pem\"], or `acme` to have one ordered",
            ));
        }
        Some(draft)
    }

    /// The certificate that is ordered.
    pub fn acme(&self) -> Option<&AcmeDraft> {
        self.acme.as_ref()
    }

    /// The protocols of `alpn` and where it stands.
    pub fn alpn(&self) -> Option<&(Vec<Protocol>, Span)> {
        self.alpn.as_ref()
    }

    /// Reads the files.
    pub fn finish(
        &self,
        protocols: &[Protocol],
        loader: &Loader,
        files: &Files<'_>,
        problems: &Problems,
    ) -> Option<Arc<ServerTls>> {
        let client_auth = self.client_auth(problems)?;
        let automatic = match &self.acme {
            None => None,
            Some(acme) => Some(self.automatic(acme, client_auth, files, problems)?),
        };
        if (self.certificates.is_empty() && automatic.is_none()) || self.obscured {
            return None;
        }
        let settings = ServerSettings {
            certificates: self.certificates.iter().filter_map(|one| one.source(files)).collect(),
            automatic,
            strict_sni: self.strict_sni,
            versions: self.crypto.versions(problems),
            ciphers: self.crypto.ciphers.clone(),
            groups: self.crypto.groups.clone(),
            protocols: protocols.to_vec(),
            ticket_lifetime: self.session_tickets.then_some(self.ticket_lifetime),
            client_auth,
            client_ca: self.client_ca.iter().map(|text| files.path(text)).collect(),
            crl: self.crl.iter().map(|text| files.path(text)).collect(),
        };
        let places = Places {
            certificates: &self.certificates,
            ca: &self.client_ca,
            crl: &self.crl,
            directory_ca: self.acme.as_ref().map_or(&[], |acme| &acme.directory_ca),
            crypto: self.crypto.span,
            table: self.span,
        };
        let mut warnings = Vec::new();
        let loaded = loader.server(settings, &mut warnings);
        places.report(warnings, files, problems);
        loaded.map(Arc::new).map_err(|found| places.report(found, files, problems)).ok()
    }

    /// The certificate that is ordered, if the authority can look at its domains here.
    fn automatic(
        &self,
        acme: &AcmeDraft,
        client_auth: ClientAuth,
        files: &Files<'_>,
        problems: &Problems,
    ) -> Option<Arc<Automatic>> {
        if acme.asks_in_handshake() && client_auth == ClientAuth::Required {
            let message = "with client_auth = \"required\" the authority, which has no certificate, cannot make a handshake";
            let problem = Problem::error(acme.span, message);
            problems.push(problem.help("write challenge = \"http-01\""));
            return None;
        }
        acme.finish(files)
    }

    /// Whether clients show certificates, where the keys about them go together.
    fn client_auth(&self, problems: &Problems) -> Option<ClientAuth> {
        let about = self.client_ca.first().or(self.crl.first());
        match (self.client_auth, about) {
            (None, None) => Some(ClientAuth::None),
            (None, Some(text)) => {
                let message =
                    "there is no `client_auth` beside it: no client is asked for a certificate";
                let problem = Problem::error(text.span, message);
                problems.push(problem.help("add client_auth = \"required\", or \"optional\""));
                None
            }
            (Some((ClientAuth::None, _)), Some(text)) => {
                let message = "with client_auth = \"none\" no client is asked for a certificate";
                problems.push(Problem::warning(text.span, message).help("remove what is not used"));
                Some(ClientAuth::None)
            }
            (Some((ClientAuth::None, _)), None) => Some(ClientAuth::None),
            (Some((auth, _)), _) if !self.client_ca.is_empty() => Some(auth),
            (Some((_, span)), _) => {
                let message = "clients are to show certificates, and there is no `client_ca`";
                let problem = Problem::error(span, message).absent();
                problems.push(problem.help(
                    "name the authorities that sign them, for example client_ca = \"certs/ca.pem\"",
                ));
                None
            }
        }
    }
}

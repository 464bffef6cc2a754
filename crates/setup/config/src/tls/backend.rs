//! `tls` of a backend: the keys, and which of them go together.
//!
//! Owns those; leaves what is read alike on both sides to its parent. Invariant: a backend that does not verify its servers says
//! so in the file, and is warned about.

use std::sync::Arc;

use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::{ClientSettings, ClientTls, Loader, Protocol, Trust};
use toml::de::DeValue;

use super::{CertificateDraft, CryptoDraft, Places, certificate, paths};
use crate::diagnostic::{Problem, Span, quoted};
use crate::files::Files;
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, set, walk};

/// `tls` of a backend as it is written.
#[derive(Clone, Debug)]
pub(crate) struct BackendTlsDraft {
    /// Where it stands.
    pub span: Span,
    ca: Vec<Text>,
    verify: bool,
    verify_span: Span,
    /// Readable or not.
    pub server_name_written: bool,
    server_name: Option<ServerName<'static>>,
    certificate: Vec<CertificateDraft>,
    crl: Vec<Text>,
    crypto: CryptoDraft,
}

pub(crate) const BACKEND_TLS_KEYS: &[Key<BackendTlsDraft>] = &[
    key("ca", "\"certs/ca.pem\"", |draft, node| draft.ca = paths(node)),
    key("verify", "true", |draft, node| {
        draft.verify_span = node.span;
        set(&mut draft.verify, node.boolean());
    }),
    key("server_name", "\"app.example\"", |draft, node| {
        draft.server_name_written = true;
        draft.server_name = server_name(node);
    }),
    key("certificate", "\"certs/client.pem\"", |draft, node| {
        draft.certificate = certificate(node).into_iter().collect();
    }),
    key("crl", "\"certs/ca.crl\"", |draft, node| draft.crl = paths(node)),
    key("min_version", "\"1.2\"", |draft, node| draft.crypto.read_min(node)),
    key("max_version", "\"1.3\"", |draft, node| draft.crypto.read_max(node)),
    key(
        "ciphers",
        "[\"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\"]",
        |draft, node| {
            draft.crypto.read_ciphers(node);
        },
    ),
    key("groups", "[\"x25519\", \"secp256r1\"]", |draft, node| draft.crypto.read_groups(node)),
];

impl BackendTlsDraft {
    /// Reads a table, or `true`; `false` is none.
    pub fn read(node: &Node<'_>) -> Option<Self> {
        let mut draft = Self {
            span: node.name_span,
            ca: Vec::new(),
            verify: true,
            verify_span: Span::default(),
            server_name_written: false,
            server_name: None,
            certificate: Vec::new(),
            crl: Vec::new(),
            crypto: CryptoDraft::default(),
        };
        match node.value {
            DeValue::Boolean(true) => {}
            DeValue::Boolean(false) => return None,
            DeValue::Table(_) => walk(node, BACKEND_TLS_KEYS, &mut draft),
            _ => return node.wrong_type("true, or a table"),
        }
        Some(draft)
    }

    /// Reads the files.
    pub fn finish(
        &self,
        protocols: Vec<Protocol>,
        loader: &Loader,
        files: &Files<'_>,
        problems: &Problems,
    ) -> Option<Arc<ClientTls>> {
        let used_to_verify = self.ca.first().or(self.crl.first());
        let trust = match (self.verify, used_to_verify) {
            (true, _) if self.ca.is_empty() => Trust::System,
            (true, _) => Trust::Files(self.ca.iter().map(|text| files.path(text)).collect()),
            (false, Some(text)) => {
                let message = "with verify = false no server is verified, and this is not used";
                let problem = Problem::error(text.span, message);
                problems.push(
                    problem.note("`verify` stands at", self.verify_span).help("remove one of them"),
                );
                return None;
            }
            (false, None) => {
                let message = "servers are not verified: traffic to them can be read and changed";
                let problem = Problem::warning(self.verify_span, message);
                problems.push(
                    problem.help(
                        "name the authority that signs them, for example ca = \"certs/ca.pem\"",
                    ),
                );
                Trust::Anybody
            }
        };
        let settings = ClientSettings {
            trust,
            crl: self.crl.iter().map(|text| files.path(text)).collect(),
            server_name: self.server_name.clone(),
            certificate: self.certificate.first().and_then(|one| one.source(files)),
            protocols,
            versions: self.crypto.versions(problems),
            ciphers: self.crypto.ciphers.clone(),
            groups: self.crypto.groups.clone(),
        };
        let places = Places {
            certificates: &self.certificate,
            ca: &self.ca,
            crl: &self.crl,
            directory_ca: &[],
            crypto: self.crypto.span,
            table: self.span,
        };
        let mut warnings = Vec::new();
        let loaded = loader.client(settings, &mut warnings);
        places.report(warnings, files, problems);
        loaded.map(Arc::new).map_err(|found| places.report(found, files, problems)).ok()
    }
}

/// A host name or an address.
fn server_name(node: &Node<'_>) -> Option<ServerName<'static>> {
    let written = node.string()?;
    let name = ServerName::try_from(written.trim_end_matches('.').to_owned()).ok();
    if name.is_none() {
        let message = format!("{} cannot be the name of a server", quoted(written));
        let problem = Problem::error(node.span, message);
        node.report(problem.help("a host name without port, or an IP address"));
    }
    name
}

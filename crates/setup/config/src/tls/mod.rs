//! `tls`: how binds and backends speak TLS.
//!
//! Owns what both sides have in common: certificates, versions, ciphers and groups, and the way from what is wrong in a file to
//! the place that names it. Leaves the keys of each side to `bind` and `backend`, and the files themselves to `tidegate_tls`.
//!
//! Invariant: what was read without a problem works as it stands.

mod acme;
mod backend;
mod bind;

use std::fs;
use std::path::Path;

use tidegate_tls::{
    At, CIPHERS, CertificateSource, Cipher, GROUPS, Group, Protocol, Version, Versions,
};
use toml::de::DeValue;

use crate::diagnostic::{Problem, Span, quoted};
use crate::files::Files;
use crate::suggest;
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, walk};

pub(crate) use acme::{ACME_KEYS, EXTERNAL_ACCOUNT_KEYS, check_challenges};
pub(crate) use backend::{BACKEND_TLS_KEYS, BackendTlsDraft};
pub(crate) use bind::{BIND_TLS_KEYS, BindTlsDraft};

/// A certificate as it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct CertificateDraft {
    chain: Option<Text>,
    key: Option<Text>,
    ocsp: Option<Text>,
}

pub(crate) const CERTIFICATE_KEYS: &[Key<CertificateDraft>] = &[
    key("chain", "\"certs/site.chain.pem\"", |draft, node| draft.chain = node.text()),
    key("key", "\"certs/site.key\"", |draft, node| draft.key = node.text()),
    key("ocsp", "\"certs/site.ocsp\"", |draft, node| draft.ocsp = node.text()),
];

/// A file with both, a directory, or a table.
fn certificate(node: &Node<'_>) -> Option<CertificateDraft> {
    let mut draft = CertificateDraft::default();
    match node.value {
        DeValue::String(_) => draft.chain = node.text(),
        DeValue::Table(_) => {
            walk(node, CERTIFICATE_KEYS, &mut draft);
            if draft.chain.is_none() && !node.obscures("chain") {
                let message = format!("an entry of {} has no `chain`", quoted(&node.path()));
                let problem = Problem::error(node.span, message).absent();
                node.report(problem.help("for example chain = \"certs/site.chain.pem\""));
            }
        }
        _ => return node.wrong_type("a path in quotes, or a table with `chain` and `key`"),
    }
    draft.chain.is_some().then_some(draft)
}

impl CertificateDraft {
    fn source(&self, files: &Files<'_>) -> Option<CertificateSource> {
        let path = files.path(self.chain.as_ref()?);
        let ocsp = self.ocsp.as_ref().map(|text| files.path(text));
        Some(match &self.key {
            Some(key) => CertificateSource::Pair { chain: path, key: files.path(key), ocsp },
            None if self.ocsp.is_none() && fs::metadata(&path).is_ok_and(|meta| meta.is_dir()) => {
                CertificateSource::Directory(path)
            }
            None => CertificateSource::File { path, ocsp },
        })
    }

    /// The text that names the file, or else the first.
    fn naming(&self, file: &Path, files: &Files<'_>) -> Option<&Text> {
        let mut texts = [&self.chain, &self.key, &self.ocsp].into_iter().flatten();
        texts.clone().find(|text| files.path(text) == file).or_else(|| texts.next())
    }
}

/// Versions, ciphers and groups as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct CryptoDraft {
    min: Option<Version>,
    max: Option<Version>,
    ciphers: Vec<Cipher>,
    groups: Vec<Group>,
    /// Where the last of them stands.
    span: Span,
}

impl CryptoDraft {
    fn read_min(&mut self, node: &Node<'_>) {
        self.span = node.span;
        self.min = version(node);
    }

    fn read_max(&mut self, node: &Node<'_>) {
        self.span = node.span;
        self.max = version(node);
    }

    fn read_ciphers(&mut self, node: &Node<'_>) {
        self.span = node.span;
        self.ciphers = list(node, cipher);
    }

    fn read_groups(&mut self, node: &Node<'_>) {
        self.groups = list(node, group);
    }

    fn versions(&self, problems: &Problems) -> Versions {
        let default = Versions::default();
        let (min, max) = (self.min.unwrap_or(default.min), self.max.unwrap_or(default.max));
        if min > max {
            let message = "`min_version` is higher than `max_version`";
            problems.push(Problem::error(self.span, message).help("remove one of them"));
            return default;
        }
        Versions { min, max }
    }
}

fn version(node: &Node<'_>) -> Option<Version> {
    let written = node.string()?;
    match written.trim_start_matches(['T', 'L', 'S', 'v', ' ']) {
        "1.2" => return Some(Version::Tls12),
        "1.3" => return Some(Version::Tls13),
        "1.0" | "1.1" | "1" => {
            let message = format!("TLS {} is broken, and not spoken", quoted(written));
            let problem = Problem::error(node.span, message);
            node.report(
                problem.help("write \"1.2\" or \"1.3\" (RFC 8996 forbids what was before)"),
            );
        }
        _ => {
            let message = format!("{} is no version of TLS", quoted(written));
            node.report(Problem::error(node.span, message).help("write \"1.2\" or \"1.3\""));
        }
    }
    None
}

/// A list without an element twice; an empty one has been reported.
fn list<V: PartialEq>(node: &Node<'_>, read: impl Fn(&Node<'_>) -> Option<V>) -> Vec<V> {
    let Some(elements) = node.elements() else { return Vec::new() };
    if elements.is_empty() {
        let message = format!("{} is empty", quoted(&node.path()));
        node.report(Problem::error(node.span, message).help("remove it, and the default holds"));
    }
    let mut values = Vec::new();
    for element in &elements {
        let Some(value) = read(element) else { continue };
        if values.contains(&value) {
            let message = format!("{} has an element twice", quoted(&node.path()));
            element.report(Problem::error(element.span, message).help("remove one of them"));
        } else {
            values.push(value);
        }
    }
    values
}

fn cipher(node: &Node<'_>) -> Option<Cipher> {
    /// What names of ciphers hold that were left behind, and why.
    const WEAK: [(&str, &str); 9] = [
        ("NULL", "it encrypts nothing"),
        ("ANON", "it proves nothing about the server"),
        ("ADH", "it proves nothing about the server"),
        ("EXP", "its keys are short on purpose"),
        ("RC4", "RFC 7465 forbids it"),
        ("DES", "its blocks are short (CVE-2016-2183)"),
        ("CBC", "its records can be tampered with (Lucky 13)"),
        ("MD5", "its hash is broken"),
        ("SHA", "without an AEAD mode and ephemeral keys, what is recorded can be read later"),
    ];
    let written = node.string()?;
    if let Some(cipher) = Cipher::named(written) {
        return Some(cipher);
    }
    if written.contains(':') {
        let message = format!("{} is a list in the form of OpenSSL", quoted(written));
        let help = "write each cipher by itself: [\"TLS_AES_128_GCM_SHA256\", …]";
        node.report(Problem::error(node.span, message).help(help));
        return None;
    }
    let upper = written.to_ascii_uppercase();
    let known = CIPHERS.iter().copied();
    if let Some(near) = suggest::nearest(&upper, known) {
        let message = format!("there is no cipher {}", quoted(written));
        let problem = Problem::error(node.span, message);
        node.report(problem.help(format!("did you mean \"{near}\"?")));
        return None;
    }
    let weak = WEAK.iter().find(|(part, _)| upper.contains(part));
    let problem = match weak {
        Some((_, why)) => {
            Problem::error(node.span, format!("the cipher {} is weak: {why}", quoted(written)))
        }
        None => Problem::error(node.span, format!("there is no cipher {}", quoted(written))),
    };
    node.report(problem.help(format!("write one of \"{}\"", CIPHERS.join("\", \""))));
    None
}

fn group(node: &Node<'_>) -> Option<Group> {
    let written = node.string()?;
    let group = Group::named(written);
    if group.is_none() {
        let message = format!("there is no group {}", quoted(written));
        let near = suggest::nearest(written, GROUPS);
        let help = near.map_or_else(
            || format!("write one of \"{}\"", GROUPS.join("\", \"")),
            |near| format!("did you mean \"{near}\"?"),
        );
        node.report(Problem::error(node.span, message).help(help));
    }
    group
}

/// Protocols by their names in ALPN.
pub(crate) fn protocols(node: &Node<'_>) -> Option<Vec<Protocol>> {
    let words = [Protocol::Http1, Protocol::Http2].map(|protocol| (protocol.alpn(), protocol));
    let protocols = list(node, |element| element.word(&words));
    (!protocols.is_empty()).then_some(protocols)
}

/// A path, or a list of them.
fn paths(node: &Node<'_>) -> Vec<Text> {
    match node.value {
        DeValue::String(_) => node.text().into_iter().collect(),
        _ => node.elements().unwrap_or_default().iter().filter_map(Node::text).collect(),
    }
}

/// Where the settings of one side name their files.
struct Places<'a> {
    certificates: &'a [CertificateDraft],
    ca: &'a [Text],
    crl: &'a [Text],
    directory_ca: &'a [Text],
    crypto: Span,
    table: Span,
}

impl Places<'_> {
    /// Reports what is wrong with files at the places that name them.
    fn report(&self, found: Vec<tidegate_tls::Problem>, files: &Files<'_>, problems: &Problems) {
        for found in found {
            let text = match found.at {
                At::Certificate(place) => {
                    let draft = self.certificates.get(place);
                    draft.and_then(|draft| draft.naming(&found.file, files))
                }
                At::Ca(place) => self.ca.get(place),
                At::Crl(place) => self.crl.get(place),
                At::DirectoryCa(place) => self.directory_ca.get(place),
                At::Crypto | At::System => None,
            };
            let fault = &found.fault;
            let message = match text {
                None => fault.to_string(),
                Some(text) => {
                    let is_itself = files.path(text) == found.file;
                    let shown = if is_itself {
                        quoted(&text.value)
                    } else {
                        quoted(&found.file.display().to_string())
                    };
                    let words = fault.to_string();
                    // Some are about the file, some about what is in it.
                    if words.starts_with("the ") {
                        format!("{shown}: {words}")
                    } else {
                        format!("the file {shown} {words}")
                    }
                }
            };
            let at_none = if found.at == At::Crypto { self.crypto } else { self.table };
            let span = text.map_or(at_none, |text| text.span);
            let problem = if fault.is_warning() {
                Problem::warning(span, message)
            } else {
                Problem::error(span, message)
            };
            let is_relative = text.is_some_and(|text| Path::new(&text.value).is_relative());
            let is_unreadable = matches!(fault, tidegate_tls::Fault::Unreadable(_));
            let help = fault.help().or_else(|| {
                (is_relative && is_unreadable)
                    .then_some("a relative path begins at the directory of the configuration file")
            });
            problems.push(match help {
                Some(help) => problem.help(help),
                None => problem,
            });
        }
    }
}

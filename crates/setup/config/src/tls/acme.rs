//! `acme` of a bind's `tls`: a certificate that is ordered from an authority.
//!
//! Owns its keys and what they need of the rest of the file; leaves where certificates are kept to `tidegate_tls`, and ordering
//! them to the control plane. Invariant: the domains are names that an authority can look at, each once.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_tls::{Automatic, ChallengeKind, DOMAINS_MAX, ExternalAccount, HMAC_FILE_BYTES_MAX};

use super::paths;
use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::files::Files;
use crate::frontend::FrontendDraft;
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, set, walk};

/// Longest name, in bytes (RFC 1035 §2.3.4).
const DOMAIN_BYTES_MAX: usize = 253;

/// `acme` as it is written.
#[derive(Clone, Debug)]
pub(crate) struct AcmeDraft {
    /// Where its name stands.
    pub span: Span,
    domains: Vec<String>,
    email: Option<String>,
    directory: Option<String>,
    pub directory_ca: Vec<Text>,
    challenge: ChallengeKind,
    storage: Option<Text>,
    external_account: Option<ExternalDraft>,
    retry_delay: Duration,
}

/// `external_account` as it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExternalDraft {
    key_id: Option<String>,
    hmac_key_file: Option<Text>,
}

const CHALLENGES: [(&str, ChallengeKind); 2] =
    [("http-01", ChallengeKind::Http01), ("tls-alpn-01", ChallengeKind::TlsAlpn01)];

const DIRECTORY: &str = "\"https://acme-staging-v02.api.letsencrypt.org/directory\"";

pub(crate) const ACME_KEYS: &[Key<AcmeDraft>] = &[
    key("domains", "[\"site.example\", \"www.site.example\"]", |draft, node| {
        draft.domains = domains(node);
    }),
    key("email", "\"ops@site.example\"", |draft, node| draft.email = email(node)),
    key("directory", DIRECTORY, |draft, node| draft.directory = directory(node)),
    key("directory_ca", "\"certs/ca.pem\"", |draft, node| draft.directory_ca = paths(node)),
    key("challenge", "\"tls-alpn-01\"", |draft, node| {
        set(&mut draft.challenge, node.word(&CHALLENGES));
    }),
    key("storage", "\"/var/lib/tidegate/acme\"", |draft, node| draft.storage = node.text()),
    key(
        "external_account",
        "{ key_id = \"kid-1\", hmac_key_file = \"eab.key\" }",
        |draft, node| {
            draft.external_account = external_account(node);
        },
    ),
    key("retry_delay", "\"2m\"", |draft, node| {
        set(&mut draft.retry_delay, node.time_in(defaults::ACME_RETRY_DELAY_RANGE));
    }),
];

pub(crate) const EXTERNAL_ACCOUNT_KEYS: &[Key<ExternalDraft>] = &[
    key("key_id", "\"kid-1\"", |draft, node| draft.key_id = node.string().map(ToOwned::to_owned)),
    key("hmac_key_file", "\"eab.key\"", |draft, node| draft.hmac_key_file = node.text()),
];

impl AcmeDraft {
    /// Reads the table.
    pub fn read(node: &Node<'_>) -> Option<Self> {
        node.table()?;
        let mut draft = Self {
            span: node.name_span,
            domains: Vec::new(),
            email: None,
            directory: None,
            directory_ca: Vec::new(),
            challenge: ChallengeKind::default(),
            storage: None,
            external_account: None,
            retry_delay: defaults::ACME_RETRY_DELAY,
        };
        walk(node, ACME_KEYS, &mut draft);
        let table = node.table()?;
        let absent = |key: &str| !table.contains_key(key) && !node.obscures(key);
        if absent("domains") {
            missing(node, "domains", "for example domains = [\"site.example\"]");
        }
        if absent("directory") {
            missing(
                node,
                "directory",
                "for Let's Encrypt \"https://acme-v02.api.letsencrypt.org/directory\", and to try it out \
                 first \"https://acme-staging-v02.api.letsencrypt.org/directory\"",
            );
        }
        Some(draft)
    }

    /// The settings, if all of them could be read.
    pub fn finish(&self, files: &Files<'_>) -> Option<Arc<Automatic>> {
        let external_account = match &self.external_account {
            None => None,
            Some(draft) => Some(draft.finish(files)?),
        };
        let storage = self.storage.as_ref().map(|text| files.path(text));
        let domains = (!self.domains.is_empty()).then(|| self.domains.clone())?;
        Some(Arc::new(Automatic {
            domains,
            email: self.email.clone(),
            directory: self.directory.clone()?,
            directory_ca: self.directory_ca.iter().map(|text| files.path(text)).collect(),
            challenge: self.challenge,
            storage: storage.unwrap_or_else(|| PathBuf::from(defaults::ACME_STORAGE)),
            external_account,
            retry_delay: self.retry_delay,
        }))
    }

    /// Whether the authority asks in a handshake.
    pub fn asks_in_handshake(&self) -> bool {
        self.challenge == ChallengeKind::TlsAlpn01
    }
}

impl ExternalDraft {
    fn finish(&self, files: &Files<'_>) -> Option<ExternalAccount> {
        let (key_id, file) = (self.key_id.clone()?, self.hmac_key_file.as_ref()?);
        files.bytes(file, HMAC_FILE_BYTES_MAX)?;
        Some(ExternalAccount { key_id, hmac_key_file: files.path(file) })
    }
}

/// Reports certificates whose challenge nobody would answer.
pub(crate) fn check_challenges(frontends: &[FrontendDraft], problems: &Problems) {
    let has_plain = frontends.iter().any(|one| one.bind_tls.iter().any(Option::is_none));
    if has_plain {
        return;
    }
    let binds = frontends.iter().flat_map(|one| one.bind_tls.iter().flatten());
    for acme in binds.filter_map(|tls| tls.acme()).filter(|acme| !acme.asks_in_handshake()) {
        let message =
            "no frontend has a bind without TLS: nothing would answer a challenge \"http-01\"";
        problems.push(
            Problem::error(acme.span, message).help(
                "add a frontend with a bind at port 80, or write challenge = \"tls-alpn-01\"",
            ),
        );
    }
}

fn missing(node: &Node<'_>, key: &str, help: &str) {
    let message = format!("{} has no `{key}`", quoted(&node.path()));
    node.report(Problem::error(node.name_span, message).absent().help(help));
}

fn domains(node: &Node<'_>) -> Vec<String> {
    let Some(elements) = node.elements() else { return Vec::new() };
    if elements.is_empty() {
        let message = format!("{} is empty", quoted(&node.path()));
        let problem = Problem::error(node.span, message);
        node.report(problem.help("name what the certificate is for: [\"site.example\"]"));
    }
    if elements.len() > DOMAINS_MAX {
        let message = format!("{} has more than {DOMAINS_MAX} elements", quoted(&node.path()));
        let problem = Problem::error(node.span, message);
        node.report(problem.help("authorities take no more in one certificate: use several binds"));
        return Vec::new();
    }
    let mut domains = Vec::new();
    for element in &elements {
        let Some(written) = element.string() else { continue };
        let domain = written.to_ascii_lowercase();
        if let Some((why, help)) = wrong_with(&domain) {
            let message = format!("{} {why}", quoted(written));
            element.report(Problem::error(element.span, message).help(help));
        } else if domains.contains(&domain) {
            let message = format!("{} has an element twice", quoted(&node.path()));
            element.report(Problem::error(element.span, message).help("remove one of them"));
        } else {
            domains.push(domain);
        }
    }
    domains
}

/// Why an authority could not look at this name, and what to do.
fn wrong_with(domain: &str) -> Option<(&'static str, &'static str)> {
    if domain.starts_with("*.") {
        return Some((
            "is a wildcard, which can be shown to be ours by a challenge in the DNS alone",
            "name each host, or get the certificate with another program and name it in `certificates`",
        ));
    }
    if domain.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Some(("is an address", "write the name that clients ask for"));
    }
    if !domain.is_ascii() {
        return Some((
            "is not in ASCII",
            "write the name as the DNS has it: \"xn--bcher-kva.example\"",
        ));
    }
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() > DOMAIN_BYTES_MAX || !domain.split('.').all(is_label) {
        return Some((
            "is no name of a host",
            "a name alone, without port and path: \"site.example\"",
        ));
    }
    None
}

fn email(node: &Node<'_>) -> Option<String> {
    let written = node.string()?;
    let is_plain = |c: char| c.is_ascii_graphic() && !",;?&<>\"".contains(c);
    let halves = written.split_once('@');
    if halves
        .is_some_and(|(one, other)| !one.is_empty() && !other.is_empty() && !other.contains('@'))
        && written.chars().all(is_plain)
        && !written.starts_with("mailto:")
    {
        return Some(written.to_owned());
    }
    let message = format!("{} is no e-mail address", quoted(written));
    node.report(Problem::error(node.span, message).help("for example \"ops@site.example\""));
    None
}

fn directory(node: &Node<'_>) -> Option<String> {
    let written = node.string()?;
    let host = written.strip_prefix("https://").map(|rest| rest.split('/').next().unwrap_or(""));
    let is_plain = written.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if host.is_some_and(|host| !host.is_empty() && !host.contains('@')) && is_plain {
        return Some(written.to_owned());
    }
    let message = format!("{} is no URL that begins with https://", quoted(written));
    let problem = Problem::error(node.span, message);
    node.report(problem.help(format!("the authority says which it is, for example {DIRECTORY}")));
    None
}

fn external_account(node: &Node<'_>) -> Option<ExternalDraft> {
    let table = node.table()?;
    let mut draft = ExternalDraft::default();
    walk(node, EXTERNAL_ACCOUNT_KEYS, &mut draft);
    for (key, example) in
        [("key_id", "key_id = \"kid-1\""), ("hmac_key_file", "hmac_key_file = \"eab.key\"")]
    {
        if !table.contains_key(key) && !node.obscures(key) {
            missing(node, key, &format!("both come from the authority: {example}"));
        }
    }
    Some(draft)
}

//! `backends.NAME.persistence`: how a client is known again.
//!
//! Owns its keys and the text of a cookie's attributes; leaves tokens to `tidegate_persistence` and tables to `stick`.
//!
//! Invariant: what comes out has a cookie or a header that a browser or a client keeps as it is sent, or a table.

use std::time::Duration;

use tidegate_persistence::{Carrier, Cookie, Key as Secret, Mode, Settings};

use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::files::Files;
use crate::model::Stick;
use crate::rules::{self, Compiler};
use crate::stick::StickDraft;
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, set, walk};

/// Persistence while it is read.
pub(crate) struct PersistenceDraft {
    cookie: Option<Vec<u8>>,
    header: Option<Vec<u8>>,
    mode: Mode,
    indirect: bool,
    http_only: bool,
    secure: bool,
    same_site: Option<&'static str>,
    path: String,
    domain: Option<String>,
    max_idle: Option<Duration>,
    max_life: Option<Duration>,
    keys: Vec<Text>,
    keys_file: Option<Text>,
    /// Keys that only an inserted cookie has, where they stand.
    for_inserted: Vec<(&'static str, Span)>,
    /// Keys that only tokens have.
    of_tokens: Vec<(&'static str, Span)>,
    /// Keys that only tables have.
    of_tables: Vec<(&'static str, Span)>,
    stick: StickDraft,
}

pub(crate) const PERSISTENCE_KEYS: &[Key<PersistenceDraft>] = &[
    key("cookie", "\"SRV\"", |draft, node| draft.cookie = cookie_name(node)),
    key("header", "\"X-Server\"", |draft, node| {
        let name = node.string().and_then(|name| rules::header_name(node, name, node.span));
        draft.header = name.map(|name| name.written().to_vec());
    }),
    key("mode", "\"insert\"", |draft, node| {
        draft.of_tokens.push(("mode", node.name_span));
        set(&mut draft.mode, node.word(&MODES));
    }),
    key("indirect", "true", |draft, node| {
        draft.for_inserted.push(("indirect", node.name_span));
        set(&mut draft.indirect, node.boolean());
    }),
    key("http_only", "true", |draft, node| {
        draft.for_inserted.push(("http_only", node.name_span));
        set(&mut draft.http_only, node.boolean());
    }),
    key("secure", "true", |draft, node| {
        draft.for_inserted.push(("secure", node.name_span));
        set(&mut draft.secure, node.boolean());
    }),
    key("same_site", "\"lax\"", |draft, node| {
        draft.for_inserted.push(("same_site", node.name_span));
        draft.same_site = node.word(&SAME_SITE);
    }),
    key("path", "\"/\"", |draft, node| {
        draft.for_inserted.push(("path", node.name_span));
        let path = attribute(node).filter(|path| {
            let is_absolute = path.starts_with('/');
            if !is_absolute {
                let message = format!("{} must begin with `/`", quoted(&node.path()));
                node.report(Problem::error(node.span, message));
            }
            is_absolute
        });
        set(&mut draft.path, path);
    }),
    key("domain", "\"example.com\"", |draft, node| {
        draft.for_inserted.push(("domain", node.name_span));
        draft.domain = attribute(node);
    }),
    key("max_idle", "\"30m\"", |draft, node| {
        draft.of_tokens.push(("max_idle", node.name_span));
        draft.max_idle = seconds(node);
    }),
    key("max_life", "\"8h\"", |draft, node| {
        draft.of_tokens.push(("max_life", node.name_span));
        draft.max_life = seconds(node);
    }),
    key("keys", "[\"a secret of sixteen bytes or more\"]", |draft, node| {
        draft.of_tokens.push(("keys", node.name_span));
        let elements = node.elements().unwrap_or_default();
        draft.keys = elements.iter().filter_map(Node::text).collect();
    }),
    key("keys_file", "\"tables/persistence.keys\"", |draft, node| {
        draft.of_tokens.push(("keys_file", node.name_span));
        draft.keys_file = node.text();
    }),
    key("stick_on", "\"source.ip\"", |draft, node| draft.stick.on = node.text()),
    key("learn", "'response.cookies[\"SID\"]'", |draft, node| {
        draft.of_tables.push(("learn", node.name_span));
        draft.stick.learn = node.text();
    }),
    key("max_entries", "100_000", |draft, node| {
        draft.of_tables.push(("max_entries", node.name_span));
        set(&mut draft.stick.entries_max, node.integer(defaults::STICK_ENTRIES_RANGE));
    }),
    key("expire", "\"30m\"", |draft, node| {
        draft.of_tables.push(("expire", node.name_span));
        set(&mut draft.stick.expire, seconds(node));
    }),
];

const MODES: [(&str, Mode); 3] =
    [("insert", Mode::Insert), ("prefix", Mode::Prefix), ("rewrite", Mode::Rewrite)];

const SAME_SITE: [(&str, &str); 3] = [("strict", "Strict"), ("lax", "Lax"), ("none", "None")];

/// Reads the table; what could not be read has been reported.
pub(crate) fn read(node: &Node<'_>) -> Option<PersistenceDraft> {
    let mut draft = PersistenceDraft {
        cookie: None,
        header: None,
        mode: Mode::Insert,
        indirect: defaults::COOKIE_INDIRECT,
        http_only: defaults::COOKIE_HTTP_ONLY,
        secure: defaults::COOKIE_SECURE,
        same_site: None,
        path: defaults::COOKIE_PATH.to_owned(),
        domain: None,
        max_idle: None,
        max_life: None,
        keys: Vec::new(),
        keys_file: None,
        for_inserted: Vec::new(),
        of_tokens: Vec::new(),
        of_tables: Vec::new(),
        stick: StickDraft::default(),
    };
    let table = node.table()?;
    walk(node, PERSISTENCE_KEYS, &mut draft);
    let path = quoted(&node.path());
    let written: Vec<_> = CARRIERS.iter().filter(|key| table.contains_key(**key)).collect();
    match written[..] {
        [] if !CARRIERS.iter().any(|key| node.obscures(key)) => {
            let message = format!("{path} has no `cookie`, no `header` and no `stick_on`");
            let problem = Problem::error(node.name_span, message).absent();
            node.report(problem.help("for example cookie = \"SRV\""));
        }
        [one, other, ..] => {
            let message = format!("{path} has both `{one}` and `{other}`");
            node.report(
                Problem::error(node.span, message).help("a client is known by one of them"),
            );
            return None;
        }
        _ => {}
    }
    let (foreign, reason) = match written[..] {
        [&"stick_on"] => {
            draft.of_tokens.append(&mut draft.for_inserted);
            (&draft.of_tokens, "is of tokens: a table has none")
        }
        [_] => (&draft.of_tables, "is of tables: there is no `stick_on`"),
        _ => (&Vec::new(), ""),
    };
    for (name, span) in foreign {
        let message = format!("{} {reason}", quoted(&format!("{}.{name}", node.path())));
        node.report(Problem::error(*span, message).help("remove it"));
    }
    draft.check_attributes(node);
    let is_read = draft.cookie.is_some() || draft.header.is_some() || draft.stick.on.is_some();
    is_read.then_some(draft)
}

/// What a client is known by: one of these.
const CARRIERS: [&str; 3] = ["cookie", "header", "stick_on"];

impl PersistenceDraft {
    /// Reports what an inserted cookie has and this one has not.
    fn check_attributes(&self, node: &Node<'_>) {
        let reason = match (&self.header, self.mode) {
            (Some(_), _) => "a header has none",
            (None, Mode::Prefix) => "with the mode `prefix` the cookie is the server's",
            (None, Mode::Rewrite) => "with the mode `rewrite` the cookie is the server's",
            (None, Mode::Insert) => {
                if self.same_site == Some("None") && !self.secure {
                    let span = self.for_inserted.iter().find(|(name, _)| *name == "same_site");
                    let span = span.map(|(_, span)| *span).unwrap_or_default();
                    let message = "a cookie with `same_site = \"none\"` must be secure";
                    let problem = Problem::error(span, message);
                    node.report(problem.help("browsers drop it; add secure = true"));
                }
                return;
            }
        };
        for (name, span) in &self.for_inserted {
            let path = quoted(&format!("{}.{name}", node.path()));
            let message = format!("{path} is of cookies that are inserted: {reason}");
            node.report(Problem::error(*span, message).help("remove it"));
        }
    }

    /// The table of a backend's clients, if it has one.
    pub fn stick(&self, compiler: &mut Compiler<'_>, problems: &Problems) -> Option<Stick> {
        self.stick.finish(compiler, problems)
    }

    /// The settings for a backend that uses tokens, with the keys that its file holds. Without any key: none was written.
    pub fn finish(self, backend: &str, files: &Files<'_>, problems: &Problems) -> Option<Settings> {
        let attributes = self.attributes();
        let mut secrets: Vec<(String, Text)> =
            self.keys.iter().map(|text| (text.value.clone(), text.clone())).collect();
        if let Some(file) = &self.keys_file {
            let text = files.text(file, defaults::KEYS_FILE_BYTES_MAX);
            let is_read = text.is_some();
            let text = text.unwrap_or_default();
            let lines = text.lines().map(str::trim);
            let written = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            let before = secrets.len();
            secrets.extend(written.map(|line| (line.to_owned(), file.clone())));
            if is_read && secrets.len() == before {
                let message = format!("the file {} holds no key", quoted(&file.value));
                problems.push(Problem::about(file, message));
            }
        }
        if let Some((_, text)) = secrets.get(defaults::PERSISTENCE_KEYS_MAX) {
            let message = format!(
                "{} keys; at most {} are taken",
                secrets.len(),
                defaults::PERSISTENCE_KEYS_MAX
            );
            problems.push(Problem::error(text.span, message));
        }
        let mut keys = Vec::new();
        for (secret, text) in &secrets {
            if secret.len() < defaults::PERSISTENCE_KEY_BYTES_MIN {
                // Not the key itself: reports are copied into tickets.
                let message =
                    format!("a key of {} bytes is too short to be a secret", secret.len());
                let help = format!(
                    "take {} bytes or more, for example from `openssl rand -base64 32`",
                    defaults::PERSISTENCE_KEY_BYTES_MIN
                );
                problems.push(Problem::error(text.span, message).help(help));
            }
            keys.push(Secret::derived(secret.as_bytes(), backend.as_bytes()));
        }
        let carrier = match (self.cookie, self.header) {
            (Some(name), _) => Carrier::Cookie(Cookie {
                name,
                mode: self.mode,
                indirect: self.indirect && self.mode == Mode::Insert,
                attributes,
            }),
            (None, name) => Carrier::Header(name?),
        };
        Some(Settings { carrier, keys, max_idle: self.max_idle, max_life: self.max_life })
    }

    fn attributes(&self) -> Vec<u8> {
        let mut text = format!("; Path={}", self.path);
        if let Some(domain) = &self.domain {
            text.push_str("; Domain=");
            text.push_str(domain);
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if let Some(word) = self.same_site {
            text.push_str("; SameSite=");
            text.push_str(word);
        }
        text.into_bytes()
    }
}

/// The name of a cookie: a token (RFC 6265 §4.1.1).
fn cookie_name(node: &Node<'_>) -> Option<Vec<u8>> {
    let name = node.string()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        let message = format!("{} cannot be the name of a cookie", quoted(name));
        let help = "a name is made of letters, digits, `_`, `-` and `.`";
        node.report(Problem::error(node.span, message).help(help));
        return None;
    }
    Some(name.as_bytes().to_vec())
}

/// The value of a cookie's attribute: no `;` and no control (RFC 6265 §4.1.1).
fn attribute(node: &Node<'_>) -> Option<String> {
    let value = node.string()?;
    if value.is_empty() || value.bytes().any(|byte| !(0x20..0x7f).contains(&byte) || byte == b';') {
        let message = format!("{} cannot be {}", quoted(&node.path()), quoted(value));
        let help = "it is not empty and has no `;` and no control characters";
        node.report(Problem::error(node.span, message).help(help));
        return None;
    }
    Some(value.to_owned())
}

/// A time of one second or more, which is what tokens count in.
fn seconds(node: &Node<'_>) -> Option<Duration> {
    let time = node.timeout()?;
    if time.subsec_nanos() != 0 {
        let message = format!("{} must be whole seconds", quoted(&node.path()));
        node.report(Problem::error(node.span, message).help("times here count in seconds"));
        return None;
    }
    Some(time)
}

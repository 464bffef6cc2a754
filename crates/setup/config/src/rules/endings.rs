//! Endings of a rule: what stops the list.
//!
//! Owns their drafts and keys; leaves templates, files and names of backends to `finish`.
//!
//! Invariant: numbers and words in a draft are in range.

use std::time::Duration;

use tidegate_semantics::redirect::Scheme;
use toml::de::{DeTable, DeValue};

use super::edits::{HeaderDraft, headers, missing};
use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::text::Text;
use crate::walk::{Key, Node, entries, key, set, walk};

/// What ends the list.
pub(crate) enum EndingDraft {
    Backend(TargetDraft),
    Redirect(RedirectDraft),
    Respond(RespondDraft),
    Deny { status: u16 },
    Tarpit { status: u16, delay: Duration },
    Close,
}

/// Which backend.
pub(crate) enum TargetDraft {
    /// A name, or a template for one.
    Name(Text),
    Split(SplitDraft),
}

/// Backends with their weights.
#[derive(Default)]
pub(crate) struct SplitDraft {
    pub shares: Vec<(Text, u32)>,
    pub by: Option<Text>,
    /// `split` stands in the table, readable or not.
    written: bool,
}

pub(crate) const SPLIT_KEYS: &[Key<SplitDraft>] = &[
    key("split", "{ web = 95, canary = 5 }", |draft, node| {
        draft.written = true;
        draft.shares = shares(node);
    }),
    key("by", "\"source.ip\"", |draft, node| draft.by = node.text()),
];

/// `backend = "name"`, `{ web = 95, canary = 5 }`, or `{ split = { … }, by = "source.ip" }`.
pub(super) fn backend(node: &Node<'_>) -> Option<EndingDraft> {
    let target = match node.value {
        DeValue::String(_) => TargetDraft::Name(node.text()?),
        DeValue::Table(table) if is_long_form(table) => {
            let mut draft = SplitDraft { written: node.obscures("split"), ..SplitDraft::default() };
            walk(node, SPLIT_KEYS, &mut draft);
            if !draft.written {
                missing(node, "split", "{ web = 95, canary = 5 }");
            }
            TargetDraft::Split(draft)
        }
        DeValue::Table(_) => {
            TargetDraft::Split(SplitDraft { shares: shares(node), ..SplitDraft::default() })
        }
        _ => return node.wrong_type("the name of a backend, or a table of backends and weights"),
    };
    Some(EndingDraft::Backend(target))
}

/// Backends may be called `split` or `by`: then their value is a number.
fn is_long_form(table: &DeTable<'_>) -> bool {
    let is_no_weight =
        |key: &str| table.get(key).is_some_and(|value| !value.get_ref().is_integer());
    is_no_weight("split") || is_no_weight("by")
}

fn shares(node: &Node<'_>) -> Vec<(Text, u32)> {
    let Some(table) = node.table() else { return Vec::new() };
    if node.too_many(table.len()) {
        return Vec::new();
    }
    let path = node.path();
    let entries = entries(&path, table, node.problems);
    let read: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((entry.name_text(), entry.integer(defaults::SHARE_RANGE)?)))
        .collect();
    if read.len() == entries.len() && read.iter().all(|(_, weight)| *weight == 0) {
        let message = format!("{} sends requests nowhere", quoted(&path));
        node.report(
            Problem::error(node.span, message)
                .help("give a backend a weight of 1 or more: { web = 95, canary = 5 }"),
        );
    }
    read
}

/// `redirect`.
#[derive(Default)]
pub(crate) struct RedirectDraft {
    pub scheme: Option<Scheme>,
    pub host: Option<Text>,
    pub prefix: Option<Text>,
    pub location: Option<Text>,
    pub status: Option<u16>,
    pub keep_query: Option<bool>,
    /// Where `location` stands, and the first of the others.
    location_key: Option<Span>,
    part_key: Option<Text>,
}

impl RedirectDraft {
    fn part(&mut self, node: &Node<'_>) {
        if self.part_key.is_none() {
            self.part_key = Some(node.name_text());
        }
    }
}

pub(crate) const REDIRECT_KEYS: &[Key<RedirectDraft>] = &[
    key("scheme", "\"https\"", |draft, node| {
        draft.part(node);
        draft.scheme = node.word(&[("http", Scheme::Http), ("https", Scheme::Https)]);
    }),
    key("host", "\"www.example.com\"", |draft, node| {
        draft.part(node);
        draft.host = node.text();
    }),
    key("prefix", "\"/v2\"", |draft, node| {
        draft.part(node);
        draft.prefix = node.text();
    }),
    key("location", "\"/new\"", |draft, node| {
        draft.location_key = Some(node.name_span);
        draft.location = node.text();
    }),
    key("status", "302", |draft, node| draft.status = redirect_status(node)),
    key("keep_query", "true", |draft, node| draft.keep_query = node.boolean()),
];

pub(super) fn redirect(node: &Node<'_>) -> Option<EndingDraft> {
    let mut draft = RedirectDraft::default();
    walk(node, REDIRECT_KEYS, &mut draft);
    if let (Some(location), Some(part)) = (draft.location_key, &draft.part_key) {
        let (first, second) = if location.start < part.span.start {
            (location, part.span)
        } else {
            (part.span, location)
        };
        let message = format!("a redirect has either `location` or parts such as `{}`", part.value);
        node.report(
            Problem::error(second, message)
                .note("the other is at", first)
                .help("`location` is the whole of it: write the part into it"),
        );
    }
    if draft.location_key.is_none() && draft.part_key.is_none() {
        if !["scheme", "host", "prefix", "location"].iter().any(|key| node.obscures(key)) {
            let message = format!("{} has no destination", quoted(&node.path()));
            node.report(
                Problem::error(node.name_span, message)
                    .absent()
                    .help("say what changes: scheme = \"https\", host = \"…\", prefix = \"/…\", or a whole location = \"…\""),
            );
        }
        return None;
    }
    Some(EndingDraft::Redirect(draft))
}

/// The statuses that redirect (RFC 9110 §15.4); 300 and 304 do not.
fn redirect_status(node: &Node<'_>) -> Option<u16> {
    const REDIRECTING: [u16; 5] = [301, 302, 303, 307, 308];
    let status = node.integer(0..=u16::MAX)?;
    if REDIRECTING.contains(&status) {
        return Some(status);
    }
    node.report(
        Problem::error(node.span, format!("{status} is not the status of a redirect"))
            .help("take 301 or 308 (for ever), 302 or 307 (for now), or 303 (see there with GET)"),
    );
    None
}

/// `respond`.
#[derive(Default)]
pub(crate) struct RespondDraft {
    pub status: Option<u16>,
    pub content_type: Option<Text>,
    pub headers: Vec<HeaderDraft>,
    pub body: Option<Text>,
    pub file: Option<Text>,
    body_key: Option<Span>,
    file_key: Option<Span>,
}

pub(crate) const RESPOND_KEYS: &[Key<RespondDraft>] = &[
    key("status", "200", |draft, node| {
        draft.status = node.integer(defaults::ANSWER_STATUS_RANGE);
    }),
    key("content_type", "\"text/plain\"", |draft, node| draft.content_type = node.text()),
    key("headers", "{ \"Cache-Control\" = \"no-store\" }", |draft, node| {
        draft.headers = headers(node);
    }),
    key("body", "\"pong\\n\"", |draft, node| {
        draft.body_key = Some(node.name_span);
        draft.body = node.text();
    }),
    key("file", "\"pages/503.html\"", |draft, node| {
        draft.file_key = Some(node.name_span);
        draft.file = node.text();
    }),
];

pub(super) fn respond(node: &Node<'_>) -> Option<EndingDraft> {
    let mut draft = RespondDraft::default();
    walk(node, RESPOND_KEYS, &mut draft);
    if let (Some(body), Some(file)) = (draft.body_key, draft.file_key) {
        let (first, second) = if body.start < file.start { (body, file) } else { (file, body) };
        node.report(
            Problem::error(second, "an answer has either `body` or `file`")
                .note("the other is at", first)
                .help("remove one of them"),
        );
    }
    if let Some(status @ (204 | 205 | 304)) = draft.status
        && let Some(key) = draft.body_key.or(draft.file_key)
    {
        node.report(
            Problem::error(key, format!("an answer with status {status} has no body"))
                .help("remove the body, or take status 200"),
        );
    }
    if let Some(header) = draft.headers.iter().find(|header| header.name.lower() == b"content-type")
    {
        node.report(
            Problem::error(header.name_span, "the type of the body has a key of its own")
                .help("write content_type = \"…\" beside `body`"),
        );
    }
    Some(EndingDraft::Respond(draft))
}

/// A refusal, at once or after a while.
pub(crate) struct RefusalDraft {
    status: u16,
    delay: Duration,
}

pub(crate) const DENY_KEYS: &[Key<RefusalDraft>] = &[key("status", "403", set_status)];

pub(crate) const TARPIT_KEYS: &[Key<RefusalDraft>] = &[
    key("status", "429", set_status),
    key("delay", "\"5s\"", |draft, node| set(&mut draft.delay, node.timeout())),
];

fn set_status(draft: &mut RefusalDraft, node: &Node<'_>) {
    set(&mut draft.status, node.integer(defaults::ANSWER_STATUS_RANGE));
}

pub(super) fn deny(node: &Node<'_>) -> Option<EndingDraft> {
    let draft = refusal(node, DENY_KEYS, defaults::DENY_STATUS)?;
    Some(EndingDraft::Deny { status: draft.status })
}

pub(super) fn tarpit(node: &Node<'_>) -> Option<EndingDraft> {
    let draft = refusal(node, TARPIT_KEYS, defaults::TARPIT_STATUS)?;
    Some(EndingDraft::Tarpit { status: draft.status, delay: draft.delay })
}

fn refusal(
    node: &Node<'_>,
    keys: &'static [Key<RefusalDraft>],
    status: u16,
) -> Option<RefusalDraft> {
    let mut draft = RefusalDraft { status, delay: defaults::TARPIT_DELAY };
    match node.value {
        DeValue::Boolean(_) => return only_true(node).then_some(draft),
        DeValue::Table(_) => walk(node, keys, &mut draft),
        _ => return node.wrong_type("true or a table"),
    }
    Some(draft)
}

pub(super) fn close(node: &Node<'_>) -> Option<EndingDraft> {
    node.boolean()?;
    only_true(node).then_some(EndingDraft::Close)
}

/// An ending that is switched on; one that is switched off is no ending.
fn only_true(node: &Node<'_>) -> bool {
    let is_true = matches!(node.value, DeValue::Boolean(true));
    if !is_true {
        let message = format!("{} = false says nothing", node.name);
        node.report(
            Problem::error(node.span, message)
                .help("a rule without it does not end that way: remove it"),
        );
    }
    is_true
}

//! Edits of a rule: what applies and goes on.
//!
//! Owns their drafts and keys, and the names of header fields; leaves templates to `compile`.
//!
//! Invariant: a name that is in a draft may be set by rules.

use std::time::Duration;

use tidegate_routing::{HEADER_EDITS_MAX, HeaderName, RewritePath, Share, TimeoutEdits};
use tidegate_semantics::header_rules;
use toml::de::DeValue;

use crate::diagnostic::{Problem, Span, quoted};
use crate::file;
use crate::text::Text;
use crate::walk::{Key, Node, entries, key, set, walk};

/// The edits of one rule.
#[derive(Default)]
pub(crate) struct EditsDraft {
    pub set_headers: Vec<HeaderDraft>,
    pub add_headers: Vec<HeaderDraft>,
    pub remove_headers: Vec<(HeaderName, Span)>,
    pub set_method: Option<Box<[u8]>>,
    pub set_path: Option<Text>,
    pub set_path_key: Option<Span>,
    pub rewrite_path: Option<RewritePath>,
    pub rewrite_path_key: Option<Span>,
    pub set_query: Option<Text>,
    pub set_host: Option<Text>,
    pub set_variable: Vec<(Text, Text)>,
    pub log_field: Vec<(Text, Text)>,
    pub set_timeouts: Option<TimeoutEdits>,
    pub set_priority: Option<i16>,
    pub mirror: Option<MirrorDraft>,
}

/// A header field that is set or added.
pub(crate) struct HeaderDraft {
    pub name: HeaderName,
    pub name_span: Span,
    pub value: Text,
}

/// `mirror`.
pub(crate) struct MirrorDraft {
    pub backend: Option<Text>,
    pub share: Share,
}

/// A table of header fields.
pub(super) fn headers(node: &Node<'_>) -> Vec<HeaderDraft> {
    let Some(table) = node.table() else { return Vec::new() };
    let path = node.path();
    let mut read: Vec<HeaderDraft> = Vec::new();
    for entry in entries(&path, table, node.problems) {
        let name = header_name(&entry, entry.name, entry.name_span);
        let (Some(name), Some(value)) = (name, entry.text()) else { continue };
        if let Some(first) = read.iter().find(|first| first.name.lower() == name.lower()) {
            let message = format!("{} is the same header as another one here", quoted(entry.name));
            entry.report(
                Problem::error(entry.name_span, message)
                    .note("first written at", first.name_span)
                    .help("names of headers have no case"),
            );
            continue;
        }
        read.push(HeaderDraft { name, name_span: entry.name_span, value });
    }
    read
}

/// A list of names of header fields.
pub(super) fn header_names(node: &Node<'_>) -> Vec<(HeaderName, Span)> {
    let elements = node.elements().unwrap_or_default();
    elements
        .iter()
        .filter_map(|element| {
            Some((header_name(element, element.string()?, element.span)?, element.span))
        })
        .collect()
}

/// The name of a header field that rules may touch; `node` takes the problem.
pub(crate) fn header_name(node: &Node<'_>, name: &str, span: Span) -> Option<HeaderName> {
    match HeaderName::new(name.as_bytes()) {
        Ok(name) => Some(name),
        Err(error @ header_rules::NameError::Reserved(_)) => {
            let message = format!("the header {} cannot be changed here", quoted(name));
            node.report(Problem::error(span, message).help(error.to_string()));
            None
        }
        Err(error) => {
            let message = format!("{} cannot be the name of a header", quoted(name));
            node.report(Problem::error(span, message).help(error.to_string()));
            None
        }
    }
}

/// A method: a token (RFC 9110 §9.1), in upper case as all registered ones are.
pub(super) fn method(node: &Node<'_>) -> Option<Box<[u8]>> {
    let method = node.string()?;
    let is_method = |byte: u8| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_';
    if !method.is_empty() && method.bytes().all(is_method) && method != "CONNECT" {
        return Some(method.as_bytes().into());
    }
    let problem = Problem::error(node.span, format!("{} cannot be set as method", quoted(method)));
    let upper = method.to_ascii_uppercase();
    node.report(if method == "CONNECT" {
        problem.help("CONNECT asks for a tunnel: only a client can begin one")
    } else if !upper.is_empty() && upper.bytes().all(is_method) {
        problem.help(format!(
            "write \"{upper}\": methods have case, and all known ones are in capitals"
        ))
    } else {
        problem.help("a method is one word in capitals, such as \"GET\"")
    });
    None
}

#[derive(Default)]
pub(crate) struct RewriteDraft {
    pattern: Option<Text>,
    replacement: Option<Text>,
    pattern_written: bool,
    replacement_written: bool,
}

pub(crate) const REWRITE_KEYS: &[Key<RewriteDraft>] = &[
    key("pattern", "\"^/api/(.*)$\"", |draft, node| {
        draft.pattern_written = true;
        draft.pattern = node.text();
    }),
    key("replacement", "\"/$1\"", |draft, node| {
        draft.replacement_written = true;
        draft.replacement = node.text();
    }),
];

pub(super) fn rewrite_path(node: &Node<'_>) -> Option<RewritePath> {
    let mut draft = RewriteDraft {
        pattern_written: node.obscures("pattern"),
        replacement_written: node.obscures("replacement"),
        ..RewriteDraft::default()
    };
    walk(node, REWRITE_KEYS, &mut draft);
    for (written, key, example) in [
        (draft.pattern_written, "pattern", "\"^/api/(.*)$\""),
        (draft.replacement_written, "replacement", "\"/$1\""),
    ] {
        if !written {
            missing(node, key, example);
        }
    }
    let (pattern, replacement) = (draft.pattern?, draft.replacement?);
    match RewritePath::new(&pattern.value, &replacement.value) {
        Ok(rewrite) => Some(rewrite),
        Err(error) => {
            node.report(pattern_problem(&pattern, &error).unwrap_or_else(|| {
                // The pattern is right, so it is a group that the replacement names.
                Problem::error(replacement.span, one_line(&error))
            }));
            None
        }
    }
}

/// A problem of a regular expression, at the place that the compiler's caret shows where it shows one.
fn pattern_problem(pattern: &Text, error: &str) -> Option<Problem> {
    if let Some(rest) = error.strip_prefix("regex parse error:\n") {
        const INDENT: usize = 4;
        let lines: Vec<_> = rest.lines().collect();
        let reason = lines.last().map_or("", |line| line.trim_start_matches("error: "));
        let message = format!("not a regular expression: {reason}");
        let caret = lines.get(1).and_then(|line| line.find('^'));
        let Some(column) = caret.filter(|column| lines.len() == 3 && *column >= INDENT) else {
            return Some(Problem::error(pattern.span, message));
        };
        let start = pattern
            .value
            .char_indices()
            .nth(column - INDENT)
            .map_or(pattern.value.len(), |(at, _)| at);
        let marks = lines[1].matches('^').count();
        let rest = &pattern.value[start..];
        let end = start + rest.char_indices().nth(marks).map_or(rest.len(), |(at, _)| at);
        return Some(Problem::inside(pattern, start..end, message));
    }
    error.contains("size limit").then(|| {
        Problem::error(pattern.span, "the pattern takes too much memory when compiled")
            .help("repeat fewer things fewer times")
    })
}

fn one_line(error: &str) -> String {
    error.lines().collect::<Vec<_>>().join(" ")
}

/// Reports a key that a table must have.
pub(super) fn missing(node: &Node<'_>, key: &str, example: &str) {
    let message = format!("{} has no `{key}`", quoted(&node.path()));
    node.report(
        Problem::error(node.name_span, message)
            .absent()
            .help(format!("for example {key} = {example}")),
    );
}

/// Fields of the log by name.
pub(super) fn log_fields(node: &Node<'_>) -> Vec<(Text, Text)> {
    if let DeValue::Table(table) = node.value {
        let path = node.path();
        for entry in entries(&path, table, node.problems) {
            file::check_name("log field", &entry);
        }
    }
    node.texts()
}

pub(crate) const TIMEOUT_EDIT_KEYS: &[Key<TimeoutEdits>] = &[
    key("connect", "\"5s\"", |edits, node| set_timeout(&mut edits.connect, node)),
    key("server", "\"30s\"", |edits, node| set_timeout(&mut edits.server, node)),
    key("queue", "\"5s\"", |edits, node| set_timeout(&mut edits.queue, node)),
    key("tunnel", "\"1h\"", |edits, node| set_timeout(&mut edits.tunnel, node)),
    key("client", "\"30s\"", |edits, node| set_timeout(&mut edits.client, node)),
];

fn set_timeout(slot: &mut Option<Duration>, node: &Node<'_>) {
    set(slot, node.timeout().map(Some));
}

pub(crate) const MIRROR_KEYS: &[Key<MirrorDraft>] = &[
    key("backend", "\"shadow\"", |draft, node| draft.backend = node.text()),
    key("percent", "10", |draft, node| set(&mut draft.share, percent(node))),
];

/// `mirror = "shadow"`, or a table with a share.
pub(super) fn mirror(node: &Node<'_>) -> Option<MirrorDraft> {
    let mut draft = MirrorDraft { backend: None, share: Share::ALL };
    match node.value {
        DeValue::String(_) => draft.backend = node.text(),
        DeValue::Table(table) => {
            walk(node, MIRROR_KEYS, &mut draft);
            if !table.contains_key("backend") && !node.obscures("backend") {
                missing(node, "backend", "\"shadow\"");
            }
        }
        _ => return node.wrong_type("the name of a backend, or a table with a `backend`"),
    }
    Some(draft)
}

/// A share in percent, fractions allowed.
fn percent(node: &Node<'_>) -> Option<Share> {
    let written = match node.value {
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(float) => Some(float.as_str().replace('_', "")),
        _ => return node.wrong_type("a number of percent"),
    };
    let share = written.as_deref().and_then(millionths);
    if share.is_none() {
        let message = format!("{} is out of range", quoted(&node.path()));
        node.report(
            Problem::error(node.span, message)
                .help("take more than 0 and at most 100, with at most four decimals"),
        );
    }
    share
}

/// `12.5` percent in millionths.
fn millionths(text: &str) -> Option<Share> {
    const DECIMALS: usize = 4;
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > DECIMALS || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u32 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
    let share = whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(decimals)?;
    (1..=Share::ALL.0).contains(&share).then_some(Share(share))
}

impl EditsDraft {
    /// Reports edits of the same thing that contradict each other.
    pub(super) fn check(&self, problems: &crate::walk::Problems) {
        if let (Some(set), Some(rewrite)) = (self.set_path_key, self.rewrite_path_key) {
            let (first, second) =
                if set.start < rewrite.start { (set, rewrite) } else { (rewrite, set) };
            problems.push(
                Problem::error(second, "the rule has both `set_path` and `rewrite_path`")
                    .note("the other is at", first)
                    .help("what `set_path` says need not be rewritten: keep one"),
            );
        }
        let headers_count =
            self.set_headers.len() + self.add_headers.len() + self.remove_headers.len();
        let fields = self.set_headers.iter().chain(&self.add_headers).map(|field| field.name_span);
        let last = fields.chain(self.remove_headers.iter().map(|(_, span)| *span)).last();
        if let Some(span) = last.filter(|_| headers_count > HEADER_EDITS_MAX) {
            let message = format!(
                "the rule edits {headers_count} headers; at most {HEADER_EDITS_MAX} are edited"
            );
            problems.push(Problem::error(span, message));
        }
        for (name, span) in &self.remove_headers {
            let written = self.set_headers.iter().chain(&self.add_headers);
            if let Some(other) =
                written.into_iter().find(|other| other.name.lower() == name.lower())
            {
                let shown = String::from_utf8_lossy(name.written());
                problems.push(
                    Problem::error(
                        *span,
                        format!("the rule both sets and removes {}", quoted(&shown)),
                    )
                    .note("it is set at", other.name_span)
                    .help("`set_headers` replaces what was there: it need not be removed"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_exact() {
        for (text, share) in [
            ("100", 1_000_000),
            ("10", 100_000),
            ("0.5", 5_000),
            ("0.0001", 1),
            ("12.5", 125_000),
            ("99.9999", 999_999),
        ] {
            assert_eq!(millionths(text), Some(Share(share)), "{text}");
        }
        for text in ["0", "0.0", "101", "100.0001", "0.00001", "-1", "1e2", "nan", "inf", ""] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }
}

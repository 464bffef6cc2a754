//! The access log: `[global.log]`, and the `log_` keys of frontends.
//!
//! Owns their lists of keys and what they say about targets, formats and captured headers; leaves what a target or a format is
//! to `tidegate-access-log`.
//!
//! Invariant: a format that was read refers to headers that are captured.

use std::borrow::Cow;

use tidegate_access_log::{
    CAPTURES_MAX, Captures, Facility, Format, FormatError, Framing, Sampling, Severity, Target,
    TargetError,
};
use toml::de::DeValue;

use crate::diagnostic::{Problem, Span, quoted};
use crate::model::{FrontendLog, Global, LogTargets};
use crate::walk::{Key, Node, Problems, key, set, walk};
use crate::{defaults, suggest};

/// `[global.log]` while it is read.
pub(crate) struct TargetsDraft {
    targets: LogTargets,
    to_written: bool,
}

pub(crate) const LOG_KEYS: &[Key<TargetsDraft>] = &[
    key("to", "\"/dev/log\"", |draft, node| {
        draft.to_written = true;
        draft.targets.to = targets(node);
    }),
    key("facility", "\"local0\"", |draft, node| set(&mut draft.targets.facility, facility(node))),
    key("framing", "\"rfc5424\"", |draft, node| {
        draft.targets.framing = word(node, FRAMINGS);
    }),
    key("tag", "\"tidegate\"", |draft, node| {
        set(&mut draft.targets.tag, printable(node, TAG_BYTES_MAX));
    }),
    key("host", "\"lb1\"", |draft, node| {
        draft.targets.host = printable(node, HOST_BYTES_MAX);
    }),
    key("level", "\"info\"", |draft, node| set(&mut draft.targets.level, word(node, LEVELS))),
];

const FRAMINGS: &[(&str, Framing)] =
    &[("none", Framing::Plain), ("rfc3164", Framing::Rfc3164), ("rfc5424", Framing::Rfc5424)];

const LEVELS: &[(&str, Severity)] = &[
    ("info", Severity::Info),
    ("notice", Severity::Notice),
    ("warning", Severity::Warning),
    ("error", Severity::Error),
];

/// The longest tag (RFC 5424 §6).
const TAG_BYTES_MAX: usize = 48;

/// The longest name of a host (RFC 5424 §6).
const HOST_BYTES_MAX: usize = 255;

/// Reads `[global.log]`.
pub(crate) fn read(global: &mut Global, node: &Node<'_>) {
    let targets = LogTargets {
        to: Vec::new(),
        facility: Facility::LOCAL0,
        framing: None,
        tag: defaults::LOG_TAG.to_owned(),
        host: None,
        level: Severity::Info,
    };
    let mut draft = TargetsDraft { targets, to_written: node.obscures("to") };
    walk(node, LOG_KEYS, &mut draft);
    if !draft.to_written {
        let problem = Problem::error(node.name_span, "`global.log` has no `to`").absent();
        node.report(problem.help("say where lines go, for example to = \"/dev/log\""));
    }
    global.log = Some(draft.targets);
}

/// Reports a target that the background takes away. `node` is `[global]`.
pub(crate) fn check_background(global: &Global, node: &Node<'_>) {
    let targets = global.log.as_ref().map_or(&[][..], |log| &log.to);
    if !global.daemon || !targets.contains(&Target::Stdout) {
        return;
    }
    let table = |value: &DeValue<'_>, key: &str| -> Option<Span> {
        value.as_table()?.get_key_value(key).map(|(_, value)| value.span().into())
    };
    let log = node.table().and_then(|global| global.get("log"));
    let span = log.and_then(|log| table(log.get_ref(), "to")).unwrap_or(node.name_span);
    let problem = Problem::error(span, "there is no standard output in the background");
    node.report(problem.help("log to a file or to syslog, or leave `global.daemon` out"));
}

fn targets(node: &Node<'_>) -> Vec<Target> {
    if !node.value.is_array() {
        return match node.value {
            DeValue::String(_) => target(node).into_iter().collect(),
            _ => node.wrong_type("a log target, or a list of them").unwrap_or_default(),
        };
    }
    let Some(elements) = node.elements() else { return Vec::new() };
    let max = defaults::LOG_TARGETS_MAX;
    if elements.is_empty() || elements.len() > max {
        let message = format!("{} has {} targets", quoted(&node.path()), elements.len());
        node.report(Problem::error(node.span, message).help(format!("take 1 to {max}")));
        return Vec::new();
    }
    let mut found: Vec<(Target, Span)> = Vec::new();
    for element in elements {
        let Some(target) = target(&element) else { continue };
        match found.iter().find(|(known, _)| *known == target) {
            Some((_, first)) => element.report(
                Problem::error(
                    element.span,
                    format!("{} is listed twice", quoted(&target.to_string())),
                )
                .note("first listed at", *first)
                .help("every line would be written twice: name each target once"),
            ),
            None => found.push((target, element.span)),
        }
    }
    found.into_iter().map(|(target, _)| target).collect()
}

fn target(node: &Node<'_>) -> Option<Target> {
    let text = node.string()?;
    let error = match Target::parse(text) {
        Ok(target) => return Some(target),
        Err(error) => error,
    };
    let message = format!("{} is not a log target", quoted(text));
    let help = match error {
        TargetError::Unknown => match suggest::nearest(text, ["stdout", "stderr", "/dev/log"]) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "write \"stdout\", \"stderr\", \"/a/path\", \"/dev/log\", \"unix:///a/socket\", \
                     \"udp://host:port\" or \"tcp://host:port\""
                .to_owned(),
        },
        TargetError::RelativePath => {
            "write the whole path, from the first /: it must not depend on where the program was started".to_owned()
        }
        TargetError::NoHost => "write the host between // and the port: \"udp://127.0.0.1:514\"".to_owned(),
        TargetError::NoPort => {
            "end it with a port from 1 to 65535, and put an IPv6 address in brackets: \"udp://[::1]:514\"".to_owned()
        }
    };
    node.report(Problem::error(node.span, message).help(help));
    None
}

fn facility(node: &Node<'_>) -> Option<Facility> {
    let text = node.string()?;
    let facility = Facility::from_name(text);
    if facility.is_none() {
        let message = format!("there is no syslog facility {}", quoted(text));
        let names = Facility::NAMES.iter().map(|(name, _)| *name);
        let help = match suggest::nearest(text, names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "usual are \"local0\" to \"local7\", \"daemon\" and \"user\"".to_owned(),
        };
        node.report(Problem::error(node.span, message).help(help));
    }
    facility
}

/// One of `words`.
fn word<V: Copy>(node: &Node<'_>, words: &[(&str, V)]) -> Option<V> {
    let text = node.string()?;
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Some(*value);
    }
    let names = words.iter().map(|(word, _)| *word);
    let help = match suggest::nearest(text, names.clone()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of \"{}\"", names.collect::<Vec<_>>().join("\", \"")),
    };
    let message = format!("{} cannot be {}", quoted(&node.path()), quoted(text));
    node.report(Problem::error(node.span, message).help(help));
    None
}

/// Text that a syslog header can hold.
fn printable(node: &Node<'_>, bytes_max: usize) -> Option<String> {
    let text = node.string()?;
    let fits = !text.is_empty() && text.len() <= bytes_max;
    if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    let message = format!("{} cannot stand in a syslog message", quoted(text));
    let help = format!("take 1 to {bytes_max} printable ASCII characters without a blank");
    node.report(Problem::error(node.span, message).help(help));
    None
}

/// What a frontend logs, while its file is read.
#[derive(Clone)]
pub(crate) struct LogDraft {
    /// A valid format, and where it stands.
    format: Option<(String, Span)>,
    headers: HeadersDraft,
    sampling: SamplingDraft,
    empty_connections: bool,
}

/// Names of headers to capture.
#[derive(Clone, Default)]
pub(crate) struct HeadersDraft {
    request: Vec<String>,
    response: Vec<String>,
}

/// Which requests are logged.
#[derive(Clone)]
pub(crate) struct SamplingDraft {
    one_in: u32,
    all_errors: bool,
}

impl Default for LogDraft {
    fn default() -> Self {
        Self {
            format: None,
            headers: HeadersDraft::default(),
            sampling: SamplingDraft { one_in: defaults::LOG_ONE_IN, all_errors: true },
            empty_connections: defaults::LOG_EMPTY_CONNECTIONS,
        }
    }
}

pub(crate) const LOG_HEADER_KEYS: &[Key<HeadersDraft>] = &[
    key("request", "[\"Host\", \"User-Agent\"]", |draft, node| {
        set(&mut draft.request, header_names(node));
    }),
    key("response", "[\"Server\"]", |draft, node| set(&mut draft.response, header_names(node))),
];

pub(crate) const SAMPLING_KEYS: &[Key<SamplingDraft>] = &[
    key("one_in", "10", |draft, node| {
        set(&mut draft.one_in, node.integer(defaults::LOG_ONE_IN_RANGE));
    }),
    key("errors", "\"all\"", |draft, node| {
        set(&mut draft.all_errors, word(node, &[("all", true), ("sampled", false)]));
    }),
];

impl LogDraft {
    /// `log_format`.
    pub fn read_format(&mut self, node: &Node<'_>) {
        let Some(text) = node.string() else { return };
        match Format::parse(text, &mut Captures::new()) {
            Ok(_) => self.format = Some((text.to_owned(), node.span)),
            Err(error) => node.report(format_problem(&error, place(node, &error))),
        }
    }

    /// `log_headers`.
    pub fn read_headers(&mut self, node: &Node<'_>) {
        walk(node, LOG_HEADER_KEYS, &mut self.headers);
    }

    /// `log_sampling`.
    pub fn read_sampling(&mut self, node: &Node<'_>) {
        walk(node, SAMPLING_KEYS, &mut self.sampling);
    }

    /// `log_empty_connections`.
    pub fn read_empty_connections(&mut self, node: &Node<'_>) {
        set(&mut self.empty_connections, node.boolean());
    }

    /// What is logged, with what the frontend and `[defaults]` say together.
    pub fn finish(&self, problems: &Problems) -> FrontendLog {
        let mut captures = Captures::new();
        // Neither list is longer than what is captured.
        for name in &self.headers.request {
            captures.add_request(name);
        }
        for name in &self.headers.response {
            captures.add_response(name);
        }
        let format = match &self.format {
            None => Format::HTTP,
            Some((text, span)) => Format::parse(text, &mut captures).unwrap_or_else(|error| {
                problems.push(format_problem(&error, *span));
                Format::HTTP
            }),
        };
        let SamplingDraft { one_in, all_errors } = self.sampling;
        let sampling = match Sampling::every(1, one_in) {
            Ok(sampling) if one_in > 1 => sampling,
            Ok(_) | Err(_) => Sampling::ALL,
        };
        let sampling = if all_errors { sampling.with_all_errors() } else { sampling };
        FrontendLog { format, captures, sampling, empty_connections: self.empty_connections }
    }
}

fn header_names(node: &Node<'_>) -> Option<Vec<String>> {
    let elements = node.elements()?;
    if elements.len() > CAPTURES_MAX {
        let message = format!("{} has {} names", quoted(&node.path()), elements.len());
        node.report(
            Problem::error(node.span, message).help(format!("take at most {CAPTURES_MAX}")),
        );
        return None;
    }
    let is_token = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.len() <= defaults::NAME_BYTES_MAX && name.bytes().all(allowed)
    };
    let name = |element: &Node<'_>| {
        let name = element.string()?;
        if !is_token(name) {
            let problem =
                Problem::error(element.span, format!("{} cannot be a header's name", quoted(name)));
            element.report(problem.help("write the name alone, such as \"User-Agent\""));
        }
        Some(name.to_owned())
    };
    Some(elements.iter().filter_map(name).collect())
}

fn format_problem(error: &FormatError, span: Span) -> Problem {
    let message = FormatError { suggestion: None, ..error.clone() }.to_string();
    let problem = Problem::error(span, format!("wrong log format: {message}"));
    match error.suggestion {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("docs/CONFIG.md lists the formats and fields"),
    }
}

/// Where in the file the wrong part of a format stands; all of it where escapes shift the places.
fn place(node: &Node<'_>, error: &FormatError) -> Span {
    let DeValue::String(Cow::Borrowed(text)) = node.value else { return node.span };
    // One quote or three at each end, and after three perhaps a line end that does not count.
    let start = match (node.span.end - node.span.start).saturating_sub(text.len()) {
        2 => 1,
        around @ 6..=8 => around - 3,
        _ => return node.span,
    };
    let start = node.span.start + start;
    Span { start: start + error.span.start, end: start + error.span.end }
}

//! `balance`: how servers are picked, as a word or a table.
//!
//! Owns the words of algorithms, the keys of the table, and which of them belong together; leaves compiling a hash's key
//! to the rules' compiler.
//!
//! Invariant: a key of the table that its algorithm does not use is an error, not ignored.

use tidegate_balance::{BalanceFactor, HashMethod, Policy};
use tidegate_routing::BalanceKey;
use toml::de::DeValue;

use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::model::HashKey;
use crate::rules::Compiler;
use crate::suggest;
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, walk};

/// A policy, and the text of the key that it hashes.
#[derive(Clone, Debug, Default)]
pub(crate) struct BalanceDraft {
    pub policy: Policy,
    key: Option<(Text, Option<u16>)>,
}

/// The algorithms of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Plain(Policy),
    Random,
    Source,
    Uri,
    Header,
    Cookie,
    Argument,
    Hash,
}

const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("round_robin", Algorithm::Plain(Policy::RoundRobin)),
    ("least_conn", Algorithm::Plain(Policy::LeastConn)),
    ("first", Algorithm::Plain(Policy::First)),
    ("random", Algorithm::Random),
    ("peak_ewma", Algorithm::Plain(Policy::PeakEwma)),
    ("prequal", Algorithm::Plain(Policy::Prequal)),
    ("source", Algorithm::Source),
    ("uri", Algorithm::Uri),
    ("header", Algorithm::Header),
    ("cookie", Algorithm::Cookie),
    ("argument", Algorithm::Argument),
    ("hash", Algorithm::Hash),
];

/// The table while it is read: each value with the place of its key.
#[derive(Default)]
pub(crate) struct TableDraft {
    algorithm: Option<Algorithm>,
    algorithm_written: bool,
    hash: Option<HashMethod>,
    name: Option<Text>,
    key: Option<Text>,
    whole: bool,
    depth: Option<u16>,
    draws: Option<u8>,
    balance_factor: Option<BalanceFactor>,
    written: Vec<(&'static str, Span)>,
}

impl TableDraft {
    fn note(&mut self, key: &'static str, node: &Node<'_>) {
        self.written.push((key, node.name_span));
    }
}

pub(crate) const BALANCE_KEYS: &[Key<TableDraft>] = &[
    key("algorithm", "\"source\"", |draft, node| {
        draft.algorithm_written = true;
        draft.algorithm = node.string().and_then(|word| algorithm(node, word));
    }),
    key("hash", "\"consistent\"", |draft, node| {
        draft.note("hash", node);
        draft.hash = node.word(&[
            ("map", HashMethod::Map),
            ("consistent", HashMethod::Consistent),
            ("maglev", HashMethod::Maglev),
        ]);
    }),
    key("name", "\"X-User\"", |draft, node| {
        draft.note("name", node);
        draft.name = node.text();
    }),
    key("key", "'request.headers[\"x-user\"]'", |draft, node| {
        draft.note("key", node);
        draft.key = node.text();
    }),
    key("whole", "true", |draft, node| {
        draft.note("whole", node);
        draft.whole = node.boolean().unwrap_or(false);
    }),
    key("depth", "2", |draft, node| {
        draft.note("depth", node);
        draft.depth = node.integer(defaults::BALANCE_DEPTH_RANGE);
    }),
    key("draws", "2", |draft, node| {
        draft.note("draws", node);
        draft.draws = node.integer(defaults::BALANCE_DRAWS_RANGE);
    }),
    key("balance_factor", "150", |draft, node| {
        draft.note("balance_factor", node);
        let percent = node.integer(defaults::BALANCE_FACTOR_RANGE);
        draft.balance_factor = percent.and_then(BalanceFactor::new);
    }),
];

/// Reads the word or the table.
pub(crate) fn read(node: &Node<'_>) -> Option<BalanceDraft> {
    let mut draft = TableDraft::default();
    match node.value {
        DeValue::String(word) => draft.algorithm = Some(algorithm(node, word)?),
        DeValue::Table(_) => {
            draft.algorithm_written = node.obscures("algorithm");
            walk(node, BALANCE_KEYS, &mut draft);
            if !draft.algorithm_written {
                let message = format!("{} has no `algorithm`", quoted(&node.path()));
                let problem = Problem::error(node.name_span, message).absent();
                node.report(problem.help("for example algorithm = \"source\""));
            }
        }
        _ => return node.wrong_type("the name of an algorithm, or a table with an `algorithm`"),
    }
    let algorithm = draft.algorithm?;
    refuse_unused(node, &draft, algorithm);
    let key = match algorithm {
        Algorithm::Plain(policy) => return Some(BalanceDraft { policy, key: None }),
        Algorithm::Random => {
            let draws = draft.draws.unwrap_or(defaults::BALANCE_DRAWS);
            return Some(BalanceDraft { policy: Policy::Random { draws }, key: None });
        }
        Algorithm::Source => expression("source.ip", node.span),
        Algorithm::Uri if draft.whole => expression("request.uri", node.span),
        Algorithm::Uri => expression("request.path", node.span),
        Algorithm::Header => header(node, &draft)?,
        Algorithm::Cookie => named(node, "cookie", "cookies", &draft)?,
        Algorithm::Argument => named(node, "argument", "args", &draft)?,
        Algorithm::Hash => match draft.key {
            Some(key) => key,
            None => {
                return missing(
                    node,
                    &draft.written,
                    "hash",
                    "key",
                    "'request.headers[\"x-user\"]'",
                );
            }
        },
    };
    let method = draft.hash.unwrap_or(defaults::HASH_METHOD);
    let policy = Policy::Hash { method, balance_factor: draft.balance_factor };
    Some(BalanceDraft { policy, key: Some((key, draft.depth)) })
}

/// Compiles the key of a hash.
pub(crate) fn finish(
    draft: &BalanceDraft,
    compiler: &mut Compiler<'_>,
    problems: &Problems,
) -> Option<HashKey> {
    let (text, depth) = draft.key.as_ref()?;
    let expression = compiler.key(text)?;
    if expression.as_literal().is_some() {
        let problem = Problem::error(text.span, "the key is the same for every request");
        problems.push(problem.help("name something of the request, such as source.ip"));
    }
    let key = BalanceKey::new(expression, *depth);
    Some(HashKey { expression: text.value.clone(), depth: *depth, key })
}

fn algorithm(node: &Node<'_>, word: &str) -> Option<Algorithm> {
    if let Some((_, algorithm)) = ALGORITHMS.iter().find(|(known, _)| *known == word) {
        return Some(*algorithm);
    }
    let known = ALGORITHMS.iter().map(|(known, _)| *known);
    // As other balancers call them.
    let elsewhere = match word {
        "roundrobin" | "static-rr" | "rr" => Some("round_robin"),
        "leastconn" | "least_request" | "least_connections" => Some("least_conn"),
        "hdr" => Some("header"),
        "url_param" => Some("argument"),
        "ip_hash" => Some("source"),
        "ewma" => Some("peak_ewma"),
        _ => None,
    };
    let help = match elsewhere.or_else(|| suggest::nearest(word, known.clone())) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of \"{}\"", known.collect::<Vec<_>>().join("\", \"")),
    };
    let problem = Problem::error(node.span, format!("there is no algorithm {}", quoted(word)));
    node.report(problem.help(help));
    None
}

/// Reports keys of the table that mean nothing to the algorithm.
fn refuse_unused(node: &Node<'_>, draft: &TableDraft, algorithm: Algorithm) {
    use Algorithm::{Argument, Cookie, Hash, Header, Random, Source, Uri};
    for (key, span) in &draft.written {
        let (fits, owners) = match *key {
            "name" => {
                (matches!(algorithm, Header | Cookie | Argument), "header, cookie and argument")
            }
            "key" => (algorithm == Hash, "hash"),
            "whole" | "depth" => (algorithm == Uri, "uri"),
            "draws" => (algorithm == Random, "random"),
            _ => (
                matches!(algorithm, Source | Uri | Header | Cookie | Argument | Hash),
                "source, uri, header, cookie, argument and hash",
            ),
        };
        if fits {
            continue;
        }
        let word = ALGORITHMS.iter().find(|(_, known)| *known == algorithm);
        let word = word.map_or("", |(word, _)| word);
        let message = format!("{} means nothing to algorithm {}", quoted(key), quoted(word));
        node.report(Problem::error(*span, message).help(format!("remove it; it is for {owners}")));
    }
}

fn expression(text: &str, span: Span) -> Text {
    Text { value: text.to_owned(), span, inside: None }
}

/// The expression of a header by its name.
fn header(node: &Node<'_>, draft: &TableDraft) -> Option<Text> {
    if let Some(name) = &draft.name
        && tidegate_routing::HeaderName::new(name.value.as_bytes()).is_err()
        && !name.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        let message = format!("{} is not the name of a header", quoted(&name.value));
        node.report(Problem::error(name.span, message).help("for example \"X-User\""));
        return None;
    }
    named(node, "header", "headers", draft)
}

/// The expression of something that a request has under a name.
fn named(node: &Node<'_>, what: &'static str, attribute: &str, draft: &TableDraft) -> Option<Text> {
    let Some(name) = &draft.name else {
        return missing(
            node,
            &draft.written,
            what,
            "name",
            if what == "header" { "\"X-User\"" } else { "\"user\"" },
        );
    };
    if name.value.is_empty()
        || name.value.contains(['"', '\\'])
        || name.value.contains(char::is_control)
    {
        let message = format!("{} is not the name of a {what}", quoted(&name.value));
        node.report(Problem::error(name.span, message));
        return None;
    }
    let value = match what {
        "header" => name.value.to_ascii_lowercase(),
        _ => name.value.clone(),
    };
    Some(expression(&format!("request.{attribute}[\"{value}\"]"), name.span))
}

/// Reports what an algorithm cannot do without, unless it stands there and could not be read.
fn missing<T>(
    node: &Node<'_>,
    written: &[(&'static str, Span)],
    algorithm: &str,
    key: &str,
    example: &str,
) -> Option<T> {
    let is_written = written.iter().any(|(written, _)| *written == key);
    let is_table = matches!(node.value, DeValue::Table(_));
    let is_obscured = is_table && node.obscures(key);
    if !is_written && !is_obscured {
        let message = format!("algorithm {} needs a {}", quoted(algorithm), quoted(key));
        let help = format!("for example {{ algorithm = \"{algorithm}\", {key} = {example} }}");
        node.report(Problem::error(node.span, message).absent().help(help));
    }
    None
}

//! What a proxy adds to messages: `forwarded_for`, `request_id`, `via`, `traceparent`.
//!
//! Owns their keys; leaves the fields themselves to `tidegate_semantics`.
//!
//! Invariant: a list that could be read is not empty.

use tidegate_routing::HeaderName;
use tidegate_rules::Network;
use tidegate_semantics::forwarded::Received;
use tidegate_semantics::traceparent::Sampling;
use tidegate_semantics::via::Pseudonym;
use toml::de::DeValue;

use crate::diagnostic::{Problem, quoted};
use crate::model::{ForwardedHeader, Forwarding};
use crate::rules;
use crate::suggest;
use crate::walk::{Key, Node, key, set, walk};

pub(crate) const FORWARDED_KEYS: &[Key<Forwarding>] = &[
    key("headers", "[\"x-forwarded-for\"]", |to, node| {
        set(&mut to.headers, forwarded_headers(node));
    }),
    key("trust", "[\"0.0.0.0/0\", \"::/0\"]", |to, node| set(&mut to.trust, networks(node))),
    key("trusted", "\"append\"", |to, node| set(&mut to.trusted, node.word(&RECEIVED))),
    key("untrusted", "\"replace\"", |to, node| set(&mut to.untrusted, node.word(&RECEIVED))),
];

const RECEIVED: [(&str, Received); 4] = [
    ("append", Received::Append),
    ("keep", Received::Keep),
    ("replace", Received::Replace),
    ("remove", Received::Remove),
];

/// `forwarded_for`: true, false or a table.
pub(crate) fn forwarded_for(node: &Node<'_>) -> Option<Option<Forwarding>> {
    match node.value {
        DeValue::Boolean(told) => Some(told.then(Forwarding::append)),
        DeValue::Table(_) => {
            let mut forwarding = Forwarding::append();
            walk(node, FORWARDED_KEYS, &mut forwarding);
            Some(Some(forwarding))
        }
        _ => node.wrong_type("true, false or a table"),
    }
}

/// The elements of a list that must not be empty; a single string is a list of one.
fn listed<'a>(node: &Node<'a>) -> Option<Vec<Node<'a>>> {
    if let DeValue::String(_) = node.value {
        return Some(vec![Node { ..*node }]);
    }
    let elements = node.elements()?;
    if elements.is_empty() {
        let problem = Problem::error(node.span, format!("{} is empty", quoted(&node.path())));
        node.report(problem.help(format!("for example `{} = {}`", node.name, node.example)));
        return None;
    }
    Some(elements)
}

fn forwarded_headers(node: &Node<'_>) -> Option<Vec<ForwardedHeader>> {
    let mut headers = Vec::new();
    for element in listed(node)? {
        let written = element.string()?;
        let known = ForwardedHeader::ALL.iter();
        let Some(header) = known.copied().find(|known| known.name().eq_ignore_ascii_case(written))
        else {
            let names = ForwardedHeader::ALL.map(ForwardedHeader::name);
            let message = format!("{} does not tell where a request came from", quoted(written));
            let help = match suggest::nearest(written, names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known: \"{}\"", names.join("\", \"")),
            };
            node.report(Problem::error(element.span, message).help(help));
            return None;
        };
        if headers.contains(&header) {
            let message = format!("{} is listed twice", quoted(written));
            node.report(Problem::error(element.span, message).help("name each header once"));
            return None;
        }
        headers.push(header);
    }
    Some(headers)
}

fn networks(node: &Node<'_>) -> Option<Vec<Network>> {
    let elements = listed(node)?;
    let network = |element: &Node<'_>| {
        let written = element.string()?;
        match written.parse() {
            Ok(network) => Some(network),
            Err(reason) => {
                let message = format!("{}: {reason}", quoted(written));
                node.report(
                    Problem::error(element.span, message)
                        .help("for example \"10.0.0.0/8\" or \"::1\""),
                );
                None
            }
        }
    };
    let networks: Vec<_> = elements.iter().filter_map(network).collect();
    (networks.len() == elements.len()).then_some(networks)
}

/// `request_id`: the name of a header field.
pub(crate) fn request_id(node: &Node<'_>) -> Option<HeaderName> {
    rules::header_name(node, node.string()?, node.span)
}

/// `via`: the name of this proxy.
pub(crate) fn via(node: &Node<'_>) -> Option<Pseudonym> {
    let name = node.string()?;
    let pseudonym = Pseudonym::new(name);
    if pseudonym.is_none() {
        let message = format!("{} cannot be a name in `Via`", quoted(name));
        node.report(Problem::error(node.span, message).help(format!(
            "a name is one word of letters, digits, `-`, `_` and `.`, at most {} bytes",
            Pseudonym::BYTES_MAX
        )));
    }
    pseudonym
}

/// Whether traces that begin here are recorded.
pub(crate) struct TraceDraft {
    sampled: bool,
}

pub(crate) const TRACE_KEYS: &[Key<TraceDraft>] =
    &[key("sampled", "false", |draft, node| set(&mut draft.sampled, node.boolean()))];

/// `traceparent`: true, false or a table.
pub(crate) fn traceparent(node: &Node<'_>) -> Option<Option<Sampling>> {
    let mut draft = TraceDraft { sampled: false };
    match node.value {
        DeValue::Boolean(false) => return Some(None),
        DeValue::Boolean(true) => {}
        DeValue::Table(_) => walk(node, TRACE_KEYS, &mut draft),
        _ => return node.wrong_type("true, false or a table"),
    }
    Some(Some(if draft.sampled { Sampling::Recorded } else { Sampling::NotRecorded }))
}

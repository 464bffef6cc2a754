//! The values of a `health_check`: texts that a check sends or expects.
//!
//! Owns what each may be; leaves which go together to the parent module.
//!
//! Invariant: a reader returns `None` only after it has reported why.

use std::net::IpAddr;

use tidegate_health::{Pattern, PatternError, StatusSet, Step, hex};
use tidegate_http1::{is_authority, is_origin_target};

use super::{Elsewhere, STEP_KEYS, StepDraft};
use crate::diagnostic::{Problem, quoted};
use crate::model::ServerAddress;
use crate::walk::{Node, walk};
use crate::{address, defaults, rules};

fn refuse<V>(node: &Node<'_>, message: String, help: &str) -> Option<V> {
    node.report(Problem::error(node.span, message).help(help));
    None
}

pub(super) fn method(node: &Node<'_>) -> Option<Option<String>> {
    let text = node.string()?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) || text == "CONNECT" {
        return refuse(
            node,
            format!("{} is no method of a check", quoted(text)),
            "for example \"GET\", \"HEAD\" or \"OPTIONS\"",
        );
    }
    Some(Some(text.to_owned()))
}

pub(super) fn path(node: &Node<'_>) -> Option<Option<String>> {
    let text = node.string()?;
    if !is_origin_target(text.as_bytes()) {
        return refuse(
            node,
            format!("{} is no path", quoted(text)),
            "begin with a slash and write other bytes than those of URIs as %XX",
        );
    }
    Some(Some(text.to_owned()))
}

pub(super) fn host(node: &Node<'_>) -> Option<Option<String>> {
    let text = node.string()?;
    if !is_authority(text.as_bytes()) {
        return refuse(
            node,
            format!("{} is no host", quoted(text)),
            "write a name or an address, with or without a port",
        );
    }
    Some(Some(text.to_owned()))
}

pub(super) fn headers(node: &Node<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in node.texts() {
        if rules::header_name(node, &name.value, name.span).is_none() {
            continue;
        }
        let own = ["host", "content-length", "connection", "transfer-encoding"];
        if own.contains(&name.value.to_ascii_lowercase().as_str()) {
            let message = format!("{} is written by the check itself", quoted(&name.value));
            let problem = Problem::error(name.span, message);
            node.report(problem.help("the Host is what `host` says"));
        } else if value.value.chars().any(|character| character.is_control()) {
            let message = format!("the value of {} has a control character", quoted(&name.value));
            node.report(Problem::error(value.span, message).help("remove it"));
        } else {
            headers.push((name.value, value.value));
        }
    }
    headers
}

/// A set of statuses.
pub(crate) fn statuses(node: &Node<'_>) -> Option<StatusSet> {
    let parsed = StatusSet::parse(node.string()?);
    parsed.map_err(|error| error.to_string()).map_or_else(
        |message| refuse(node, message, "write statuses and ranges: \"200-399\", \"200,204\""),
        Some,
    )
}

pub(super) fn user(node: &Node<'_>) -> Option<Option<String>> {
    let text = node.string()?;
    let fits = (1..=defaults::CHECK_USER_BYTES_MAX).contains(&text.len());
    if !fits || text.contains('\0') {
        return refuse(
            node,
            format!("{} is no name of a user", quoted(text)),
            "write 1 to 64 bytes",
        );
    }
    Some(Some(text.to_owned()))
}

pub(super) fn elsewhere(node: &Node<'_>) -> Option<Elsewhere> {
    let text = node.string()?;
    if let Ok(host) = text.parse::<IpAddr>() {
        return Some(Elsewhere::Host(host));
    }
    match address::server(text) {
        Ok(ServerAddress::Name { .. }) => {
            let message = format!("{} is a name; a check goes to an address", quoted(text));
            let help =
                "write an IP address, or leave it out: checks follow the address of their server";
            node.report(Problem::error(node.span, message).help(help));
            None
        }
        Ok(address) => Some(Elsewhere::Address(address)),
        Err(error) => {
            node.report(Problem::error(node.span, error.message).help(error.help));
            None
        }
    }
}

/// What is sent or expected may be long, but not longer than an answer that is looked at.
fn bounded<V>(node: &Node<'_>, bytes: usize, value: V) -> Option<V> {
    let max = defaults::CHECK_TEXT_BYTES_MAX;
    if bytes == 0 || bytes > max {
        return refuse(
            node,
            format!("{} has {bytes} bytes", quoted(&node.path())),
            "write 1 to 4096 bytes",
        );
    }
    Some(value)
}

pub(super) fn text_bytes(node: &Node<'_>) -> Option<Option<Vec<u8>>> {
    let text = node.string()?;
    bounded(node, text.len(), Some(text.as_bytes().to_vec()))
}

pub(super) fn text_pattern(node: &Node<'_>) -> Option<Option<Pattern>> {
    let text = node.string()?;
    bounded(node, text.len(), Some(Pattern::text(text)))
}

pub(super) fn hex_bytes(node: &Node<'_>) -> Option<Option<Vec<u8>>> {
    let bytes = match hex(node.string()?) {
        Ok(bytes) => bytes,
        Err(PatternError(message)) => {
            return refuse(node, message, "write pairs of hex digits: \"50494e47 0d0a\"");
        }
    };
    bounded(node, bytes.len(), Some(bytes))
}

pub(super) fn hex_pattern(node: &Node<'_>) -> Option<Option<Pattern>> {
    Some(hex_bytes(node)?.map(Pattern::Bytes))
}

pub(super) fn regex(node: &Node<'_>) -> Option<Option<Pattern>> {
    let text = node.string()?;
    let pattern = match Pattern::regex(text) {
        Ok(pattern) => pattern,
        Err(PatternError(message)) => {
            let message = format!("{} is no regular expression: {message}", quoted(text));
            return refuse(node, message, "back-references and look-around are not supported");
        }
    };
    bounded(node, text.len(), Some(pattern))
}

pub(super) fn steps(node: &Node<'_>) -> Option<Vec<Step>> {
    let elements = node.elements()?;
    let mut steps = Vec::new();
    for element in &elements {
        let mut step = StepDraft::default();
        element.table()?;
        walk(element, STEP_KEYS, &mut step);
        let read = step.steps();
        if read.is_empty() {
            let message = "a step has no `send` and no `expect`";
            let problem = Problem::error(element.span, message).absent();
            element.report(problem.help("for example { send = \"PING\\r\\n\" }"));
        }
        steps.extend(read);
    }
    if steps.len() > defaults::CHECK_STEPS_MAX {
        return refuse(
            node,
            format!("{} has {} steps", quoted(&node.path()), steps.len()),
            "write at most 64",
        );
    }
    Some(steps)
}

//! `conditions`, `rules` and `response_rules` of a frontend, as the file has them.
//!
//! Owns the drafts and the keys of a rule; leaves edits to `edits`, endings to `endings`, and everything that needs the whole
//! file (names of conditions, backends, lists) to `compile`.
//!
//! Invariant: a rule of the file becomes a draft, however wrong, so that what it names counts as used.

mod apply;
mod authenticate;
mod compile;
mod edits;
mod endings;
mod finish;
mod location;

use crate::diagnostic::{Problem, Span, quoted};
use crate::text::Text;
use crate::walk::{Key, Node, entries, key, unsupported, walk};
use crate::written::Written;

pub(crate) use authenticate::{AUTHENTICATE_KEYS, check_user, password, users};
pub(crate) use compile::Compiler;
pub(crate) use edits::{MIRROR_KEYS, REWRITE_KEYS, TIMEOUT_EDIT_KEYS, header_name};
pub(crate) use endings::{DENY_KEYS, REDIRECT_KEYS, RESPOND_KEYS, SPLIT_KEYS, TARPIT_KEYS};

use authenticate::AuthenticateDraft;
use edits::EditsDraft;
use endings::EndingDraft;

/// What a frontend's file says about its rules.
#[derive(Default)]
pub(crate) struct RulesDraft {
    /// Names and expressions in the order of the file.
    pub conditions: Vec<(Text, Text)>,
    pub request: Vec<RuleDraft>,
    pub response: Vec<RuleDraft>,
    /// The three tables in one spelling.
    pub written: Written,
}

/// A rule while its file is read; of a list that answers requests or one that changes responses.
#[derive(Default)]
pub(crate) struct RuleDraft {
    pub span: Span,
    pub name: Option<Text>,
    pub when: Option<Text>,
    pub edits: EditsDraft,
    pub authenticate: Option<AuthenticateDraft>,
    pub set_status: Option<u16>,
    /// Every ending that stands in the rule, with its key; more than one is wrong.
    pub endings: Vec<(Text, Option<EndingDraft>)>,
}

impl RuleDraft {
    fn ending(&mut self, node: &Node<'_>, ending: Option<EndingDraft>) {
        self.endings.push((node.name_text(), ending));
    }
}

pub(crate) const RULE_KEYS: &[Key<RuleDraft>] = &[
    key("name", "\"old addresses\"", |rule, node| rule.name = name(node)),
    key("when", "'request.path == \"/old\"'", |rule, node| rule.when = node.text()),
    SET_HEADERS,
    ADD_HEADERS,
    REMOVE_HEADERS,
    key("set_method", "\"GET\"", |rule, node| {
        rule.edits.set_method = edits::method(node);
    }),
    key("set_path", "\"/v2{request.path}\"", |rule, node| {
        rule.edits.set_path = node.text();
        rule.edits.set_path_key = Some(node.name_span);
    }),
    key("rewrite_path", "{ pattern = \"^/api/(.*)$\", replacement = \"/$1\" }", |rule, node| {
        rule.edits.rewrite_path = edits::rewrite_path(node);
        rule.edits.rewrite_path_key = Some(node.name_span);
    }),
    key("set_query", "\"from={request.host}\"", |rule, node| {
        rule.edits.set_query = node.text();
    }),
    key("set_host", "\"app.internal\"", |rule, node| {
        rule.edits.set_host = node.text();
    }),
    SET_VARIABLE,
    LOG_FIELD,
    key("set_timeouts", "{ server = \"5m\" }", |rule, node| {
        let mut timeouts = rule.edits.set_timeouts.take().unwrap_or_default();
        walk(node, TIMEOUT_EDIT_KEYS, &mut timeouts);
        rule.edits.set_timeouts = Some(timeouts);
    }),
    key("set_priority", "-10", |rule, node| {
        rule.edits.set_priority = node.integer(crate::defaults::PRIORITY_RANGE);
    }),
    key("mirror", "\"shadow\"", |rule, node| {
        rule.edits.mirror = edits::mirror(node);
    }),
    key("authenticate", "{ realm = \"ops\", users = { admin = \"secret\" } }", |rule, node| {
        rule.authenticate = authenticate::read(node);
    }),
    key("backend", "\"app\"", |rule, node| rule.ending(node, endings::backend(node))),
    key("redirect", "{ scheme = \"https\" }", |rule, node| {
        rule.ending(node, endings::redirect(node));
    }),
    key("respond", "{ status = 200, body = \"pong\\n\" }", |rule, node| {
        rule.ending(node, endings::respond(node));
    }),
    key("deny", "{ status = 403 }", |rule, node| rule.ending(node, endings::deny(node))),
    key("tarpit", "{ status = 429, delay = \"2s\" }", |rule, node| {
        rule.ending(node, endings::tarpit(node));
    }),
    key("close", "true", |rule, node| rule.ending(node, endings::close(node))),
    unsupported("limit"),
];

pub(crate) const RESPONSE_RULE_KEYS: &[Key<RuleDraft>] = &[
    key("name", "\"server errors\"", |rule, node| rule.name = name(node)),
    key("when", "'response.code >= 500'", |rule, node| rule.when = node.text()),
    SET_HEADERS,
    ADD_HEADERS,
    REMOVE_HEADERS,
    SET_VARIABLE,
    LOG_FIELD,
    key("set_status", "503", |rule, node| {
        rule.set_status = node.integer(crate::defaults::ANSWER_STATUS_RANGE);
    }),
];

const SET_HEADERS: Key<RuleDraft> =
    key("set_headers", "{ \"X-Client\" = \"{source.ip}\" }", |rule, node| {
        rule.edits.set_headers = edits::headers(node);
    });

const ADD_HEADERS: Key<RuleDraft> =
    key("add_headers", "{ \"Vary\" = \"Cookie\" }", |rule, node| {
        rule.edits.add_headers = edits::headers(node);
    });

const REMOVE_HEADERS: Key<RuleDraft> = key("remove_headers", "[\"X-Debug\"]", |rule, node| {
    rule.edits.remove_headers = edits::header_names(node);
});

const SET_VARIABLE: Key<RuleDraft> =
    key("set_variable", "{ tenant = \"{request.host}\" }", |rule, node| {
        rule.edits.set_variable = node.texts();
    });

const LOG_FIELD: Key<RuleDraft> =
    key("log_field", "{ tenant = \"{request.host}\" }", |rule, node| {
        rule.edits.log_field = edits::log_fields(node);
    });

/// A rule's name, which stands in the log.
fn name(node: &Node<'_>) -> Option<Text> {
    let name = node.text()?;
    let max = crate::defaults::RULE_NAME_BYTES_MAX;
    let problem = if name.value.is_empty() {
        Problem::error(node.span, "a rule has an empty name")
            .help("leave `name` out: the log then tells the rule by its number")
    } else if name.value.len() > max {
        Problem::error(node.span, format!("the rule's name is longer than {max} bytes"))
    } else if name.value.chars().any(char::is_control) {
        Problem::error(node.span, "the rule's name holds a control character")
            .help("names stand in the log: use one line of plain text")
    } else {
        return Some(name);
    };
    node.report(problem);
    None
}

/// Reads `conditions`.
pub(crate) fn conditions(draft: &mut RulesDraft, node: &Node<'_>) {
    draft.written.spell(node);
    draft.conditions = node.texts();
}

/// Reads `rules`.
pub(crate) fn request_rules(draft: &mut RulesDraft, node: &Node<'_>) {
    draft.written.spell(node);
    draft.request = rules(node, RULE_KEYS);
}

/// Reads `response_rules`.
pub(crate) fn response_rules(draft: &mut RulesDraft, node: &Node<'_>) {
    draft.written.spell(node);
    draft.response = rules(node, RESPONSE_RULE_KEYS);
}

fn rules(node: &Node<'_>, keys: &'static [Key<RuleDraft>]) -> Vec<RuleDraft> {
    if node.value.is_table() {
        let message = format!("{} must be a list of rules, not one table", quoted(&node.path()));
        node.report(
            Problem::error(node.span, message)
                .help(format!("write two brackets before each rule: [[{}]]", node.path())),
        );
        return Vec::new();
    }
    let elements = node.elements().unwrap_or_default();
    elements.iter().filter_map(|element| rule(element, keys)).collect()
}

fn rule(element: &Node<'_>, keys: &'static [Key<RuleDraft>]) -> Option<RuleDraft> {
    if !element.value.is_table() {
        return element.wrong_type("a list of tables");
    }
    let mut draft = RuleDraft { span: element.span, ..RuleDraft::default() };
    walk(element, keys, &mut draft);
    check_endings(&draft, element);
    let path = element.path();
    let is_action = |entry: &Node<'_>| entry.name != "name" && entry.name != "when";
    let acts = element
        .table()
        .is_some_and(|table| entries(&path, table, element.problems).iter().any(is_action));
    if !acts {
        element.report(
            Problem::error(element.span, "the rule has no edit and no ending: it does nothing")
                .absent()
                .help("add what it is for, such as deny = { status = 403 }, or remove it"),
        );
    }
    Some(draft)
}

fn check_endings(draft: &RuleDraft, element: &Node<'_>) {
    let Some(((first, _), others)) = draft.endings.split_first() else { return };
    for (other, _) in others {
        let message = format!("the rule has two endings: `{}` and `{}`", first.value, other.value);
        element.report(
            Problem::error(other.span, message).note("the first is at", first.span).help(
                "a rule ends the list in one way: make two rules of it, each with its `when`",
            ),
        );
    }
}

//! Fixed text of templates: what may stand in a header, a path, a query, a host, a location.
//!
//! Owns the checks that can be made at load; what expressions insert is checked when they do. Leaves the grammar to
//! `tidegate_semantics`.
//!
//! Invariant: text that passes can stand where it will be written.

use tidegate_rules::Template;
use tidegate_semantics::{header_rules, redirect};

use crate::diagnostic::{Problem, quoted};
use crate::text::Text;
use crate::walk::Problems;

/// What a text is for.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// As messages call it.
    what: &'static str,
    /// Characters that would end it or begin something else.
    forbidden: &'static [u8],
    /// What it begins with, unless an expression does.
    starts: &'static [&'static str],
    /// Bytes beyond those of a URI may stand in it.
    is_header: bool,
    may_be_empty: bool,
}

pub(super) const HEADER: Kind = Kind {
    what: "a header's value",
    forbidden: b"",
    starts: &[],
    is_header: true,
    may_be_empty: true,
};
pub(super) const PATH: Kind = Kind {
    what: "a path",
    forbidden: b"?#",
    starts: &["/"],
    is_header: false,
    may_be_empty: false,
};
pub(super) const QUERY: Kind =
    Kind { what: "a query", forbidden: b"#", starts: &[], is_header: false, may_be_empty: true };
pub(super) const HOST: Kind = Kind {
    what: "a host",
    forbidden: b"/?#@\\",
    starts: &[],
    is_header: false,
    may_be_empty: false,
};
/// Put before a path, at the same host or another one.
pub(super) const PREFIX: Kind = Kind {
    what: "a prefix",
    forbidden: b"?#",
    starts: &["/", "http://", "https://"],
    is_header: false,
    may_be_empty: false,
};
/// Put before a path, behind a host that is given apart from it.
pub(super) const PATH_PREFIX: Kind = Kind { starts: &["/"], ..PREFIX };
pub(super) const LOCATION: Kind = Kind {
    what: "a location",
    forbidden: b"",
    starts: &["/", "http://", "https://"],
    is_header: false,
    may_be_empty: false,
};

/// Whether the fixed text of `template`, which `text` was compiled to, may be `kind`.
pub(super) fn check(text: &Text, template: &Template, kind: Kind, problems: &Problems) -> bool {
    let problem = match template.as_literal() {
        Some([]) if !kind.may_be_empty => {
            Some(Problem::error(text.span, format!("{} cannot be empty", kind.what)))
        }
        Some(literal) if kind.is_header => header_rules::check_value(literal).err().map(|error| {
            Problem::error(text.span, format!("{} cannot stand in a header", quoted(&text.value)))
                .help(error.to_string())
        }),
        _ => None,
    };
    let problem =
        problem.or_else(|| wrong_start(text, kind)).or_else(|| wrong_byte(text, template, kind));
    let is_right = problem.is_none();
    problem.into_iter().for_each(|problem| problems.push(problem));
    is_right
}

fn wrong_start(text: &Text, kind: Kind) -> Option<Problem> {
    let value = &text.value;
    if kind.what == QUERY.what && value.starts_with('?') {
        let problem = Problem::inside(text, 0..1, "a query is written without its question mark");
        return Some(problem.help(format!("write {}", quoted(&value[1..]))));
    }
    let is_evaluated = value.starts_with('{') && !value.starts_with("{{");
    let is_right = kind.starts.is_empty()
        || is_evaluated
        || kind.starts.iter().any(|start| value.starts_with(start));
    if is_right {
        return None;
    }
    let end = value.char_indices().nth(1).map_or(value.len(), |(at, _)| at);
    let known = kind.starts.iter().map(|start| format!("`{start}`")).collect::<Vec<_>>();
    let message = format!("{} begins with {}", kind.what, known.join(" or "));
    let problem = Problem::inside(text, 0..end, message);
    Some(if value.contains("://") {
        problem.help("leave scheme and host out of it")
    } else {
        problem.help(format!("write \"/{}\"", shown(value)))
    })
}

/// A text inside of an advice.
fn shown(value: &str) -> String {
    quoted(value).trim_matches('`').to_owned()
}

/// The first byte of the fixed text that cannot stand there, shown where the same byte first stands in the file.
fn wrong_byte(text: &Text, template: &Template, kind: Kind) -> Option<Problem> {
    let is_wrong = |byte: u8| {
        kind.forbidden.contains(&byte)
            || if kind.is_header {
                !header_rules::is_value(&[byte])
            } else {
                redirect::check_location(&[byte]).is_err()
            }
    };
    let byte = template.literals().flatten().copied().find(|byte| is_wrong(*byte))?;
    let place = text.value.bytes().position(|known| known == byte)?;
    let (start, character) = text.value.char_indices().take_while(|(at, _)| *at <= place).last()?;
    let message = match character {
        ' ' => format!("a blank cannot stand in {}", kind.what),
        c => format!("`{}` cannot stand in {}", c.escape_default(), kind.what),
    };
    let problem = Problem::inside(text, start..start + character.len_utf8(), message);
    Some(if kind.forbidden.contains(&byte) || kind.is_header {
        problem
    } else {
        let escaped: String =
            character.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
        problem.help(format!("write {escaped}"))
    })
}

//! `error_pages`, and content types by a file's name.
//!
//! Owns the table of extensions; leaves the reading of files to `files`.
//!
//! Invariant: a page has a type that browsers know.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tidegate_routing::{ErrorPage, ErrorPages};

use crate::defaults;
use crate::diagnostic::{Problem, quoted};
use crate::files::Files;
use crate::model::Pages;
use crate::text::Text;
use crate::walk::{Node, Problems, entries};

/// Extensions and what they are.
const TYPES: [(&str, &str); 8] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
    ("json", "application/json"),
    ("xml", "application/xml"),
    ("svg", "image/svg+xml"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
];

/// The type of a file by its extension.
pub(crate) fn content_type(file: &str) -> Option<&'static str> {
    let extension = Path::new(file).extension()?.to_str()?.to_ascii_lowercase();
    TYPES.iter().find(|(known, _)| *known == extension).map(|(_, kind)| *kind)
}

/// The problem of a file whose extension says nothing.
pub(crate) fn unknown_type(file: &Text) -> Problem {
    let message = format!("the name {} does not tell what is in it", quoted(&file.value));
    Problem::error(file.span, message)
}

/// Statuses and their files, while they are read.
pub(crate) type PagesDraft = Vec<(u16, Text)>;

/// Reads a table of statuses and files.
pub(crate) fn read(node: &Node<'_>) -> PagesDraft {
    let Some(table) = node.table() else { return Vec::new() };
    let path = node.path();
    let entries = entries(&path, table, node.problems);
    let mut pages: PagesDraft = Vec::new();
    for entry in &entries {
        let range = defaults::PAGE_STATUS_RANGE;
        let status = entry.name.parse().ok().filter(|status| range.contains(status));
        let Some(status) = status.filter(|_| entry.name.len() == 3) else {
            let message = format!("{} is not the status of an error", quoted(entry.name));
            let help = format!("statuses from {} to {} have pages", range.start(), range.end());
            entry.report(Problem::error(entry.name_span, message).help(help));
            continue;
        };
        pages.extend(entry.text().map(|file| (status, file)));
    }
    pages
}

/// Reads the files of a draft.
pub(crate) fn load(draft: &PagesDraft, files: &Files<'_>, problems: &Problems) -> Pages {
    let mut pages = HashMap::new();
    for (status, file) in draft {
        let Some(kind) = content_type(&file.value) else {
            let problem = unknown_type(file);
            let known: Vec<_> = TYPES.iter().map(|(extension, _)| *extension).collect();
            problems.push(if file.value.ends_with(".http") {
                problem
                    .help("a page is the body alone, without status line and headers: \"503.html\"")
            } else {
                problem.help(format!("name it .{}", known.join(", .")))
            });
            continue;
        };
        if let Some(body) = files.bytes(file, defaults::PAGE_BYTES_MAX) {
            pages.insert(*status, ErrorPage { content_type: kind.as_bytes().into(), body });
        }
    }
    Pages(Arc::new(ErrorPages { pages }))
}

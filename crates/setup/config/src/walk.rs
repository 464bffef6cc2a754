//! The walk over a file's tables: which keys each has, and one call per key.
//!
//! Owns the match of a table's entries against the keys it may have, and the list of problems;
//! leaves the reading of values to `value` and the keys themselves to the section files.
//!
//! Invariant: every entry of the file is either read, reported as unknown, or reported as not
//! supported; none is passed over in silence, and no problem stops the walk.

use std::cell::RefCell;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Problem, Span, quoted};
use crate::{schema, suggest};

/// One key that a table may have. `T` is what the table is read into.
pub(crate) struct Key<T: 'static> {
    pub name: &'static str,
    /// A value as TOML text, for messages and for the test that reads it.
    pub example: &'static str,
    pub reader: Reader<T>,
}

/// What happens to a key's value.
pub(crate) enum Reader<T: 'static> {
    /// It is read into the target.
    Value(fn(&mut T, &Node<'_>)),
    /// It belongs to the format, but this version cannot do what it asks.
    Unsupported,
}

/// A key that is read by `read`; `example` is a value it takes.
pub(crate) const fn key<T>(
    name: &'static str,
    example: &'static str,
    read: fn(&mut T, &Node<'_>),
) -> Key<T> {
    Key { name, example, reader: Reader::Value(read) }
}

/// A key of the format that this version refuses: what it asks for would otherwise silently not
/// happen.
pub(crate) const fn unsupported<T>(name: &'static str) -> Key<T> {
    Key { name, example: "", reader: Reader::Unsupported }
}

/// Stores a value that could be read; one that could not has been reported, and the default stays.
pub(crate) fn set<V>(slot: &mut V, value: Option<V>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// A value of the file with its key and its path.
pub(crate) struct Node<'a> {
    /// Path of the table around it, such as `frontends.web`; empty at the top.
    pub parent: &'a str,
    /// Its key; for an element of an array, the array's key.
    pub name: &'a str,
    /// Where the key stands.
    pub name_span: Span,
    pub value: &'a DeValue<'a>,
    /// Where the value stands; for a table with a header, the header.
    pub span: Span,
    /// A value that would be right, as TOML text; empty if there is no example.
    pub example: &'static str,
    /// Where what is wrong with it goes.
    pub problems: &'a Problems,
}

impl Node<'_> {
    /// Adds to the problems of the file.
    pub fn report(&self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether the value may have an entry `key` although none was read: it is no table, or an
    /// entry's name is near. That has been reported, and the key is not to be reported as missing
    /// besides.
    pub fn obscures(&self, key: &str) -> bool {
        match self.value {
            DeValue::Table(table) => misspells(table, key),
            _ => true,
        }
    }

    /// The path of the value itself.
    pub fn path(&self) -> String {
        if self.parent.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.parent, self.name)
        }
    }
}

/// The problems found so far. Every node refers to them, so that a key's reader is one short
/// closure.
#[derive(Default)]
pub(crate) struct Problems {
    list: RefCell<Vec<Problem>>,
}

impl Problems {
    pub fn push(&self, problem: Problem) {
        self.list.borrow_mut().push(problem);
    }

    pub fn into_list(self) -> Vec<Problem> {
        self.list.into_inner()
    }
}

/// Reads the table `node` into `target`, key by key in the order of the file.
pub(crate) fn walk<T>(node: &Node<'_>, keys: &'static [Key<T>], target: &mut T) {
    let path = node.path();
    if let Some(table) = node.table() {
        walk_table(&path, table, keys, target, node.problems);
    }
}

/// The same for a table that is known to be one; `path` is empty for the whole file.
pub(crate) fn walk_table<T>(
    path: &str,
    table: &DeTable<'_>,
    keys: &'static [Key<T>],
    target: &mut T,
    problems: &Problems,
) {
    for mut entry in entries(path, table, problems) {
        match keys.iter().find(|key| key.name == entry.name) {
            Some(Key { example, reader: Reader::Value(read), .. }) => {
                entry.example = example;
                read(target, &entry);
            }
            Some(Key { reader: Reader::Unsupported, .. }) => entry.report(not_supported(&entry)),
            None => entry.report(unknown_key(&entry, keys)),
        }
    }
}

/// A table's entries in the order of the file.
pub(crate) fn entries<'a>(
    parent: &'a str,
    table: &'a DeTable<'a>,
    problems: &'a Problems,
) -> Vec<Node<'a>> {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(name, value)| Node {
            parent,
            name: name.get_ref(),
            name_span: name.span().into(),
            value: value.get_ref(),
            span: value.span().into(),
            example: "",
            problems,
        })
        .collect();
    entries.sort_by_key(|entry| entry.name_span.start);
    entries
}

/// Whether one of the table's entries looks like `key`, misspelt.
pub(crate) fn misspells(table: &DeTable<'_>, key: &str) -> bool {
    table
        .keys()
        .any(|name| name.get_ref() != key && suggest::nearest(name.get_ref(), [key]).is_some())
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

fn not_supported(entry: &Node<'_>) -> Problem {
    Problem::error(
        entry.name_span,
        format!("{} is not supported by this version", quoted(&entry.path())),
    )
    .help("remove it; it is refused because ignoring it would leave out what it asks for")
}

fn unknown_key<T>(entry: &Node<'_>, keys: &'static [Key<T>]) -> Problem {
    let table = if entry.parent.is_empty() {
        String::new()
    } else {
        format!(" in {}", quoted(entry.parent))
    };
    let problem =
        Problem::error(entry.name_span, format!("unknown key {}{table}", quoted(entry.name)));
    if let Some(near) = suggest::nearest(entry.name, keys.iter().map(|key| key.name)) {
        return problem.help(format!("did you mean `{near}`?"));
    }
    let elsewhere = schema::paths_ending_in(entry.name);
    if !elsewhere.is_empty() {
        return problem.help(format!("`{}` is a key of {}", entry.name, elsewhere.join(", ")));
    }
    let known: Vec<_> = keys
        .iter()
        .filter(|key| matches!(key.reader, Reader::Value(_)))
        .map(|key| key.name)
        .collect();
    problem.help(format!("known here: {}", known.join(", ")))
}

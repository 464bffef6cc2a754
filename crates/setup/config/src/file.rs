//! The whole file: its top-level tables.
//!
//! Owns the list of top-level keys and the names of frontends, backends and servers; leaves each
//! table to its own file.
//!
//! Invariant: `[defaults]` is read before anything that it fills.

use toml::de::DeTable;

use crate::backend::{self, BackendDraft};
use crate::defaults::NAME_BYTES_MAX;
use crate::diagnostic::{Problem, Span, quoted};
use crate::frontend::{self, FrontendDraft};
use crate::global::{ADMIN_KEYS, AdminDraft, GLOBAL_KEYS};
use crate::model::{Global, Resolvers};
use crate::tables::{self, ListDraft, UserListDraft};
use crate::templates::{DEFAULTS_KEYS, Templates};
use crate::walk::{Key, Node, Problems, entries, key, misspells, unsupported, walk, walk_table};
use crate::{account, log, resolvers};

/// The file as far as each of its tables can be judged alone.
#[derive(Default)]
pub(crate) struct FileDraft {
    pub global: Global,
    pub admin: Option<(AdminDraft, Span)>,
    pub frontends: Vec<FrontendDraft>,
    pub backends: Vec<BackendDraft>,
    pub resolvers: Vec<Resolvers>,
    pub lists: Vec<ListDraft>,
    pub user_lists: Vec<UserListDraft>,
    /// There may be frontends that were not read: `frontends` is no table, or is misspelt.
    pub frontends_obscured: bool,
    /// The same of `backends`.
    pub backends_obscured: bool,
    templates: Templates,
}

pub(crate) const FILE_KEYS: &[Key<FileDraft>] = &[
    key("global", "{ cores = \"auto\" }", |file, node| {
        walk(node, GLOBAL_KEYS, &mut file.global);
        log::check_background(&file.global, node);
        account::check(&file.global, node);
    }),
    key("admin", "{ bind = [\"127.0.0.1:8404\"] }", |file, node| {
        let mut draft = AdminDraft { bind_written: node.obscures("bind"), ..AdminDraft::default() };
        walk(node, ADMIN_KEYS, &mut draft);
        file.admin = Some((draft, node.name_span));
    }),
    // Read ahead of the walk, because the others start from it.
    key("defaults", "{ mode = \"http\" }", |_, _| ()),
    key("frontends", "{ web = { bind = [\"127.0.0.1:8080\"] } }", |file, node| {
        let read = |entry: &Node<'_>| {
            check_name("frontend", entry);
            frontend::read(entry, &file.templates)
        };
        file.frontends = named(node, read);
    }),
    key("backends", "{ app = { servers = { app1 = \"10.0.0.1:8080\" } } }", |file, node| {
        let read = |entry: &Node<'_>| {
            check_name("backend", entry);
            backend::read(entry, &file.templates.backend, &file.templates.balance)
        };
        file.backends = named(node, read);
    }),
    key("resolvers", "{ default = { nameservers = [\"10.0.0.2\"] } }", |file, node| {
        let read = |entry: &Node<'_>| {
            check_name("set of resolvers", entry);
            resolvers::read(entry)
        };
        file.resolvers = named(node, read);
    }),
    key("lists", "{ blocked = { values = [\"192.0.2.0/24\"] } }", |file, node| {
        let read = |entry: &Node<'_>| {
            check_name("list", entry);
            tables::list(entry)
        };
        file.lists = named(node, read);
    }),
    key("user_lists", "{ ops = { users = { admin = \"secret\" } } }", |file, node| {
        let read = |entry: &Node<'_>| {
            check_name("user list", entry);
            tables::user_list(entry)
        };
        file.user_lists = named(node, read);
    }),
    unsupported("limits"),
];

/// Reads the whole file; what is wrong with single values and tables goes to `problems`.
pub(crate) fn read(table: &DeTable<'_>, problems: &Problems) -> FileDraft {
    let obscured = |name: &str| {
        table.get(name).is_some_and(|value| !value.get_ref().is_table()) || misspells(table, name)
    };
    let mut file = FileDraft {
        frontends_obscured: obscured("frontends"),
        backends_obscured: obscured("backends"),
        ..FileDraft::default()
    };
    for entry in entries("", table, problems).iter_mut().filter(|entry| entry.name == "defaults") {
        entry.example = "{ mode = \"http\" }";
        walk(entry, DEFAULTS_KEYS, &mut file.templates);
    }
    walk_table("", table, FILE_KEYS, &mut file, problems);
    file
}

/// Reads each entry of a table whose keys are names that the file chooses.
fn named<D>(node: &Node<'_>, read: impl Fn(&Node<'_>) -> D) -> Vec<D> {
    let Some(table) = node.table() else { return Vec::new() };
    if node.too_many(table.len()) {
        return Vec::new();
    }
    entries(node.name, table, node.problems).iter().map(read).collect()
}

/// Names end up in log fields, metric labels and command lines: letters, digits, `_`, `-`, `.` and
/// `:`.
pub(crate) fn check_name(what: &str, entry: &Node<'_>) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let name = entry.name;
    if name.is_empty() {
        let problem = Problem::error(entry.name_span, format!("a {what} has an empty name"));
        entry.report(problem.help("names are made of letters, digits, `_`, `-`, `.` and `:`"));
    } else if let Some(character) = name.chars().find(|c| !allowed(*c)) {
        let message =
            format!("{what} name {} contains {}", quoted(name), quoted(&character.to_string()));
        entry.report(
            Problem::error(entry.name_span, message)
                .help("names are made of letters, digits, `_`, `-`, `.` and `:`"),
        );
    } else if name.len() > NAME_BYTES_MAX {
        let message = format!("{what} name {} is longer than {NAME_BYTES_MAX} bytes", quoted(name));
        entry.report(Problem::error(entry.name_span, message));
    }
}

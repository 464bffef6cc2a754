//! `[lists.NAME]`, `[user_lists.NAME]`, and the maps that `lookup` names.
//!
//! Owns their keys and the reading of their files; leaves what stands in a list or map to `tidegate_rules`.
//!
//! Invariant: a list that the file names has its index, however wrong it is, so that expressions about it are judged
//! rightly.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_passwords::{PasswordHash, Users};
use tidegate_rules::{LineError, Names, ValueList, ValueMap};

use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::files::Files;
use crate::model::{NamedList, NamedMap};
use crate::rules::{check_user, password, users};
use crate::text::Text;
use crate::walk::{Key, Node, Problems, key, walk};
use crate::written::Written;

/// A list while it is read.
#[derive(Default)]
pub(crate) struct ListDraft {
    pub name: String,
    values: Vec<Text>,
    values_key: Option<Span>,
    file: Option<Text>,
    file_key: Option<Span>,
    written: Written,
}

pub(crate) const LIST_KEYS: &[Key<ListDraft>] = &[
    key("values", "[\"192.0.2.0/24\", \"198.51.100.7\"]", |draft, node| {
        draft.values_key = Some(node.name_span);
        let elements = node.elements().unwrap_or_default();
        draft.values = elements.iter().filter_map(Node::text).collect();
    }),
    key("file", "\"tables/blocked.txt\"", |draft, node| {
        draft.file_key = Some(node.name_span);
        draft.file = node.text();
    }),
];

/// Reads `[lists.NAME]`.
pub(crate) fn list(node: &Node<'_>) -> ListDraft {
    let mut draft = ListDraft { name: node.name.to_owned(), ..ListDraft::default() };
    walk(node, LIST_KEYS, &mut draft);
    draft.written.spell(node);
    one_source(node, "values", draft.values_key, draft.file_key);
    draft
}

/// Reports a table with both or none of `own` and `file`.
fn one_source(node: &Node<'_>, own: &str, own_key: Option<Span>, file_key: Option<Span>) {
    match (own_key, file_key) {
        (Some(first), Some(second)) => {
            let (first, second) =
                if first.start < second.start { (first, second) } else { (second, first) };
            let message = format!("{} has both `{own}` and `file`", quoted(&node.path()));
            node.report(
                Problem::error(second, message)
                    .note("the other is at", first)
                    .help("put everything into one of them"),
            );
        }
        (None, None) if !node.obscures(own) && !node.obscures("file") => {
            let message = format!("{} has no `{own}` and no `file`", quoted(&node.path()));
            node.report(Problem::error(node.name_span, message).absent().help("add one of them"));
        }
        _ => {}
    }
}

/// Users while they are read.
#[derive(Default)]
pub(crate) struct UserListDraft {
    name: String,
    name_span: Span,
    users: Vec<(String, PasswordHash)>,
    users_key: Option<Span>,
    file: Option<Text>,
    file_key: Option<Span>,
    written: Written,
}

pub(crate) const USER_LIST_KEYS: &[Key<UserListDraft>] = &[
    key("users", "{ admin = \"secret\" }", |draft, node| {
        draft.users_key = Some(node.name_span);
        draft.users = users(node);
    }),
    key("file", "\"tables/users.txt\"", |draft, node| {
        draft.file_key = Some(node.name_span);
        draft.file = node.text();
    }),
];

/// Reads `[user_lists.NAME]`.
pub(crate) fn user_list(node: &Node<'_>) -> UserListDraft {
    let mut draft = UserListDraft {
        name: node.name.to_owned(),
        name_span: node.name_span,
        ..UserListDraft::default()
    };
    walk(node, USER_LIST_KEYS, &mut draft);
    draft.written.spell(node);
    one_source(node, "users", draft.users_key, draft.file_key);
    draft
}

/// The lists in the order of the file, which is that of their indices.
pub(crate) fn lists(
    drafts: Vec<ListDraft>,
    names: &mut Names,
    files: &Files<'_>,
    problems: &Problems,
) -> Vec<NamedList> {
    let mut lists = Vec::new();
    for draft in drafts {
        names.declare_list(&draft.name);
        let list = match &draft.file {
            Some(file) => of_file(file, files, problems, ValueList::from_text),
            None => of_values(&draft.values, problems),
        };
        lists.push(NamedList {
            name: draft.name.into(),
            list: Arc::new(list.unwrap_or_default()),
            written: draft.written,
        });
    }
    lists
}

fn of_values(values: &[Text], problems: &Problems) -> Option<ValueList> {
    match ValueList::new(values.iter().map(|value| value.value.as_str())) {
        Ok(list) => Some(list),
        Err(errors) => {
            for error in errors {
                let span = values.get(error.line - 1).map(|value| value.span).unwrap_or_default();
                problems.push(Problem::error(span, error.message));
            }
            None
        }
    }
}

fn of_file<T>(
    file: &Text,
    files: &Files<'_>,
    problems: &Problems,
    read: impl FnOnce(&str) -> Result<T, Vec<LineError>>,
) -> Option<T> {
    let text = files.text(file, defaults::TABLE_FILE_BYTES_MAX)?;
    match read(&text) {
        Ok(table) => Some(table),
        Err(errors) => {
            let lines = errors.into_iter().map(|error| error.to_string()).collect();
            report_lines(file, lines, problems);
            None
        }
    }
}

/// Reports the first wrong lines of a file and how many more there are.
fn report_lines(file: &Text, lines: Vec<String>, problems: &Problems) {
    let more = lines.len().saturating_sub(defaults::LINE_PROBLEMS_MAX);
    for line in lines.into_iter().take(defaults::LINE_PROBLEMS_MAX) {
        problems.push(Problem::about(file, format!("{}, {line}", quoted(&file.value))));
    }
    if more > 0 {
        let message = format!("{} has {more} more wrong lines", quoted(&file.value));
        problems.push(Problem::about(file, message));
    }
}

/// The maps, in the order in which expressions named them first; a text is where that was.
pub(crate) fn maps(named: &[Text], files: &Files<'_>, problems: &Problems) -> Vec<NamedMap> {
    let map = |name: &Text| NamedMap {
        name: name.value.as_str().into(),
        map: Arc::new(of_file(name, files, problems, ValueMap::from_text).unwrap_or_default()),
    };
    named.iter().map(map).collect()
}

/// Users by the name of their list, and all of it in one spelling.
pub(crate) fn user_lists(
    drafts: Vec<UserListDraft>,
    files: &Files<'_>,
    problems: &Problems,
) -> (HashMap<String, Arc<Users>>, Written) {
    let (mut lists, mut written) = (HashMap::new(), Written::default());
    for mut draft in drafts {
        if let Some(file) = &draft.file {
            draft.users.extend(users_of_file(file, files, problems));
        }
        let users = draft.users.iter().map(|(name, hash)| (name.as_str(), hash.clone()));
        let users = Users::new(users).unwrap_or_else(|duplicate| {
            let span = draft.file.as_ref().map_or(draft.name_span, |file| file.span);
            problems.push(Problem::error(span, duplicate.to_string()));
            Users::default()
        });
        written.append(&draft.written);
        lists.insert(draft.name, Arc::new(users));
    }
    (lists, written)
}

/// Lines of a name, a colon and a hash, as `htpasswd -B` writes them.
fn users_of_file(
    file: &Text,
    files: &Files<'_>,
    problems: &Problems,
) -> Vec<(String, PasswordHash)> {
    let Some(text) = files.text(file, defaults::USERS_FILE_BYTES_MAX) else { return Vec::new() };
    let (mut users, mut wrong) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = line.split_once(':').ok_or_else(|| "no colon after the user's name".to_owned());
        let read = user.and_then(|(name, hash)| {
            check_user(name)?;
            if !hash.starts_with('$') {
                return Err(format!("the password of {} is not hashed", quoted(name)));
            }
            Ok((name.to_owned(), password(hash)?))
        });
        match read {
            Ok(user) => users.push(user),
            Err(reason) => wrong.push(format!("line {}: {reason}", index + 1)),
        }
    }
    report_lines(file, wrong, problems);
    users
}

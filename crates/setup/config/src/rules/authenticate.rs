//! `authenticate`, and users with their passwords wherever they stand.
//!
//! Owns their keys and the reading of passwords; leaves `[user_lists.NAME]` to `tables`.
//!
//! Invariant: no message holds a password or a hash; `secrets` takes them out of the line that is shown with it.

use tidegate_passwords::PasswordHash;
use tidegate_semantics::header_rules;
use toml::de::DeValue;

use super::edits::missing;
use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::text::Text;
use crate::walk::{Key, Node, entries, key, walk};

/// `authenticate` while its rule is read.
#[derive(Default)]
pub(crate) struct AuthenticateDraft {
    pub realm: Option<Text>,
    pub users: Option<UsersDraft>,
    users_written: bool,
}

/// Who may pass.
pub(crate) enum UsersDraft {
    /// The name of a list.
    List(Text),
    /// These.
    Own(Vec<(String, PasswordHash)>),
}

pub(crate) const AUTHENTICATE_KEYS: &[Key<AuthenticateDraft>] = &[
    key("realm", "\"ops\"", |draft, node| draft.realm = realm(node)),
    key("users", "{ admin = \"secret\" }", |draft, node| {
        draft.users_written = true;
        draft.users = match node.value {
            DeValue::String(_) => node.text().map(UsersDraft::List),
            DeValue::Table(_) => Some(UsersDraft::Own(users(node))),
            _ => node.wrong_type("the name of a user list, or a table of names and passwords"),
        };
    }),
];

pub(super) fn read(node: &Node<'_>) -> Option<AuthenticateDraft> {
    let mut draft =
        AuthenticateDraft { users_written: node.obscures("users"), ..AuthenticateDraft::default() };
    walk(node, AUTHENTICATE_KEYS, &mut draft);
    if !draft.users_written {
        missing(node, "users", "\"ops\", which names [user_lists.ops]");
    }
    Some(draft)
}

/// The realm stands in quotes in a header field.
fn realm(node: &Node<'_>) -> Option<Text> {
    let realm = node.text()?;
    if header_rules::check_value(realm.value.as_bytes()).is_ok() {
        return Some(realm);
    }
    node.report(
        Problem::error(node.span, "the realm cannot stand in a header")
            .help("write one line of text without blanks at its ends"),
    );
    None
}

/// Names with a password each; an empty table lets nobody pass.
pub(crate) fn users(node: &Node<'_>) -> Vec<(String, PasswordHash)> {
    let Some(table) = node.table() else { return Vec::new() };
    if node.too_many(table.len()) {
        return Vec::new();
    }
    let path = node.path();
    let entries = entries(&path, table, node.problems);
    if entries.is_empty() {
        node.report(
            Problem::error(node.span, format!("{} is empty: nobody could pass", quoted(&path)))
                .help("add a user: admin = \"$6$…\", the hash that `mkpasswd -m sha-512` makes"),
        );
    }
    let user = |entry: &Node<'_>| {
        if let Err(reason) = check_user(entry.name) {
            entry.report(Problem::error(entry.name_span, reason));
            return None;
        }
        let text = entry.string()?;
        match password(text) {
            Ok(hash) => Some((entry.name.to_owned(), hash)),
            Err(reason) => {
                entry.report(password_problem(entry.span, entry.name, &reason));
                None
            }
        }
    };
    entries.iter().filter_map(user).collect()
}

/// Whether a client can send the name.
pub(crate) fn check_user(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a user has an empty name".to_owned());
    }
    if name.contains(':') {
        return Err(format!(
            "the user name {} has a colon, which basic authentication cannot send",
            quoted(name)
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the user name {} has a control character", quoted(name)));
    }
    Ok(())
}

/// A hash, which begins with `$`, or a password in the clear.
pub(crate) fn password(text: &str) -> Result<PasswordHash, String> {
    if text.starts_with('$') {
        PasswordHash::parse(text).map_err(|error| error.to_string())
    } else if text.is_empty() {
        Err("an empty password".to_owned())
    } else {
        Ok(PasswordHash::plain(text))
    }
}

fn password_problem(span: Span, user: &str, reason: &str) -> Problem {
    Problem::error(span, format!("the password of {} cannot be used", quoted(user))).help(reason)
}

impl AuthenticateDraft {
    pub(super) fn realm_bytes(&self) -> Box<[u8]> {
        self.realm.as_ref().map_or(defaults::REALM, |realm| &realm.value).as_bytes().into()
    }
}

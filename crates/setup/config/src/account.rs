//! `global.user` and `global.group`: whose rights the process has once it is open for business.
//!
//! Owns finding accounts by name or number; leaves changing to them to the control plane. Invariant: an account that is not
//! known here is reported, so that a start as root cannot fail for a slip of the pen.

use std::fmt;

use nix::unistd::{Gid, Group as SystemGroup, Uid, User as SystemUser};
use toml::de::DeValue;

use crate::diagnostic::{Problem, Span, quoted};
use crate::model::Global;
use crate::suggest;
use crate::walk::Node;

/// The highest number of an account: the one above means "unchanged" to the kernel (setresuid(2)).
const ID_MAX: u32 = u32::MAX - 1;

/// A user as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The name of its account, by which it is in further groups; none: there is no account with this number.
    pub name: Option<String>,
    /// The group of its account.
    pub primary_group: Option<u32>,
}

impl fmt::Display for User {
    /// By name where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.uid.fmt(f),
        }
    }
}

/// A group as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
}

impl fmt::Display for Group {
    /// By name where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => self.gid.fmt(f),
        }
    }
}

/// What was written: a name, or a number as such or in quotes.
enum Written<'a> {
    Name(&'a str),
    Number(u32),
}

fn written<'a>(node: &Node<'a>, expected: &str) -> Option<Written<'a>> {
    match node.value {
        DeValue::String(text)
            if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            match text.parse() {
                Ok(number) if number <= ID_MAX => Some(Written::Number(number)),
                _ => {
                    let message =
                        format!("{} is {text}, which is out of range", quoted(&node.path()));
                    let help = format!("take a number from 0 to {ID_MAX}");
                    node.report(Problem::error(node.span, message).help(help));
                    None
                }
            }
        }
        DeValue::String(text) => Some(Written::Name(text)),
        DeValue::Integer(_) => node.integer(0..=ID_MAX).map(Written::Number),
        _ => node.wrong_type(expected),
    }
}

/// Reads `global.user`.
pub(crate) fn user(node: &Node<'_>) -> Option<User> {
    let account = match written(node, "the name or the number of a user")? {
        // A number needs no account.
        Written::Number(uid) => {
            let found = SystemUser::from_uid(Uid::from_raw(uid)).ok().flatten();
            return Some(found.map_or(User { uid, name: None, primary_group: None }, of_account));
        }
        Written::Name(name) => (name, SystemUser::from_name(name)),
    };
    match account {
        (_, Ok(Some(found))) => Some(of_account(found)),
        (name, Ok(None)) => unknown(node, name, "user", "/etc/passwd"),
        (name, Err(error)) => cannot_look_up(node, name, "user", error),
    }
}

fn of_account(found: SystemUser) -> User {
    User {
        uid: found.uid.as_raw(),
        name: Some(found.name),
        primary_group: Some(found.gid.as_raw()),
    }
}

/// Reads `global.group`.
pub(crate) fn group(node: &Node<'_>) -> Option<Group> {
    let named = match written(node, "the name or the number of a group")? {
        Written::Number(gid) => {
            let found = SystemGroup::from_gid(Gid::from_raw(gid)).ok().flatten();
            return Some(Group { gid, name: found.map(|found| found.name) });
        }
        Written::Name(name) => (name, SystemGroup::from_name(name)),
    };
    match named {
        (_, Ok(Some(found))) => Some(Group { gid: found.gid.as_raw(), name: Some(found.name) }),
        (name, Ok(None)) => unknown(node, name, "group", "/etc/group"),
        (name, Err(error)) => cannot_look_up(node, name, "group", error),
    }
}

/// Accounts may come from elsewhere too; those in the file are where a slip is looked for.
fn unknown<T>(node: &Node<'_>, name: &str, what: &str, file: &str) -> Option<T> {
    let known = std::fs::read_to_string(file).unwrap_or_default();
    let names = known.lines().filter_map(|line| line.split(':').next());
    let names = names.filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']));
    let help = match suggest::nearest(name, names) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if what == "user" => {
            "`getent passwd` lists the users; `useradd --system` makes one".into()
        }
        None => "`getent group` lists the groups; `groupadd --system` makes one".into(),
    };
    let message = format!("this machine has no {what} {}", quoted(name));
    node.report(Problem::error(node.span, message).help(help));
    None
}

fn cannot_look_up<T>(node: &Node<'_>, name: &str, what: &str, error: nix::Error) -> Option<T> {
    let message = format!("cannot look up the {what} {}: {error}", quoted(name));
    node.report(Problem::error(node.span, message).help("the number can be written instead"));
    None
}

/// Checks what the two say together, once the table has been read.
pub(crate) fn check(global: &Global, node: &Node<'_>) {
    let entry = |key: &str| node.value.as_table().and_then(|table| table.get_key_value(key));
    let is_written = |key: &str| entry(key).is_some();
    let place =
        |key: &str| -> Span { entry(key).map_or(node.name_span, |(_, value)| value.span().into()) };
    match (&global.user, &global.group) {
        (Some(User { uid: 0, .. }), _) => {
            let message = "`global.user` is root, so the process keeps every right";
            let help = "name a user of its own, or leave `user` out";
            node.report(Problem::warning(place("user"), message).help(help));
        }
        (Some(User { uid, primary_group: None, .. }), None) => {
            let message = format!("there is no account with the number {uid}, and so no group");
            let help = "say which group with `global.group`";
            node.report(Problem::error(place("user"), message).help(help));
        }
        // A user that is wrong has been reported.
        (None, Some(_)) if !is_written("user") => {
            let message = "`global.group` alone: the process keeps its user";
            let help = "name a user too; a process that is root has every right in any group";
            node.report(Problem::warning(place("group"), message).help(help));
        }
        _ => {}
    }
}

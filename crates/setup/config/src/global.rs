//! `[global]` and `[admin]`: the keys of the process.
//!
//! Owns their lists of keys; leaves the reading of single values to `value`, and addresses to
//! listen on to `frontend`.
//!
//! Invariant: a key that is not read here changes nothing.

use std::sync::Arc;

use tidegate_tls::KeyLog;

use crate::diagnostic::{Problem, Span, quoted};
use crate::frontend::binds;
use crate::model::{Admin, Cores, Global};
use crate::walk::{Key, Node, key, set, unsupported};
use crate::{account, defaults, log, suggest};

pub(crate) const GLOBAL_KEYS: &[Key<Global>] = &[
    key("cores", "\"auto\"", |global, node| set(&mut global.cores, cores(node))),
    key("max_connections", "50_000", |global, node| {
        set(&mut global.max_connections, node.integer(defaults::MAX_CONNECTIONS_RANGE));
    }),
    key("daemon", "false", |global, node| set(&mut global.daemon, node.boolean())),
    key("shutdown_delay", "\"0s\"", |global, node| {
        set(&mut global.shutdown_delay, node.delay());
    }),
    key("shutdown_timeout", "\"30s\"", |global, node| {
        set(&mut global.shutdown_timeout, node.timeout());
    }),
    key("listen_backlog", "4096", |global, node| {
        set(&mut global.listen_backlog, node.integer(defaults::LISTEN_BACKLOG_RANGE));
    }),
    key("user", "\"nobody\"", |global, node| global.user = account::user(node)),
    key("group", "\"nogroup\"", |global, node| global.group = account::group(node)),
    key("log", "{ to = \"/dev/log\" }", log::read),
    key("core_dumps", "false", |global, node| set(&mut global.core_dumps, node.boolean())),
    key("tls_handshakes_max", "1_000", |global, node| {
        set(&mut global.tls_handshakes_max, node.integer(defaults::TLS_HANDSHAKES_MAX_RANGE));
    }),
    key("tls_handshake_share", "50", |global, node| {
        set(&mut global.tls_handshake_share, node.integer(defaults::PERCENT_RANGE));
    }),
    key("tls_key_log", "\"keys.log\"", |global, node| {
        global.tls_key_log = node.string().map(|path| Arc::new(KeyLog::new(path.into())));
    }),
];

/// `[admin]` while it is read: `bind` is told apart from a `bind` that could not be read.
#[derive(Default)]
pub(crate) struct AdminDraft {
    pub admin: Admin,
    pub bind_written: bool,
}

pub(crate) const ADMIN_KEYS: &[Key<AdminDraft>] = &[
    key("bind", "[\"127.0.0.1:8404\"]", |draft, node| {
        draft.bind_written = true;
        draft.admin.bind = binds(node).into_iter().filter_map(|draft| draft.plain(node)).collect();
    }),
    unsupported("users"),
    unsupported("metrics_without_login"),
    unsupported("refresh"),
    unsupported("socket"),
];

fn cores(node: &Node<'_>) -> Option<Cores> {
    if let toml::de::DeValue::String(text) = node.value {
        if text == "auto" {
            return Some(Cores::Auto);
        }
        let problem = Problem::error(node.span, format!("{} names no cores", quoted(text)));
        node.report(match suggest::nearest(text, ["auto"]) {
            Some(_) => problem.help("did you mean \"auto\"?"),
            None => problem
                .help("write \"auto\" for one shard per core, or a list of CPU numbers: [0, 2, 4]"),
        });
        return None;
    }
    if !node.value.is_array() {
        return node.wrong_type("\"auto\" or a list of CPU numbers such as [0, 2, 4]");
    }
    let elements = node.elements()?;
    if elements.is_empty() {
        let message = format!("{} is empty: no core would do any work", quoted(&node.path()));
        node.report(
            Problem::error(node.span, message)
                .help("write \"auto\", or at least one CPU number: [0]"),
        );
        return None;
    }
    let mut listed: Vec<(usize, Span)> = Vec::new();
    for element in elements.iter().map(|element| Node { example: "[0, 2, 4]", ..*element }) {
        let Some(core) = element.integer(0..=defaults::CORE_MAX) else { continue };
        match listed.iter().find(|(known, _)| *known == core) {
            Some((_, first)) => node.report(
                Problem::error(element.span, format!("core {core} is listed twice"))
                    .note("first listed at", *first)
                    .help("a core carries one shard: name each core once"),
            ),
            None => listed.push((core, element.span)),
        }
    }
    (listed.len() == elements.len())
        .then(|| Cores::List(listed.into_iter().map(|(core, _)| core).collect()))
}

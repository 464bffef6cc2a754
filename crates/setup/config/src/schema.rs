//! Every key of the format, as a list.
//!
//! Owns the enumeration of tables; leaves the keys to the section files that read them.
//!
//! Invariant: a table that the walk knows is listed here; the tests hold the reference file and the
//! documentation to it.

use crate::backend::{BACKEND_KEYS, BACKEND_TIMEOUT_KEYS, POOL_KEYS, SERVER_KEYS};
use crate::balance::BALANCE_KEYS;
use crate::compression::{COMPRESSION_KEYS, COMPRESSION_LEVEL_KEYS};
use crate::file::FILE_KEYS;
use crate::frontend::{BIND_KEYS, FRONTEND_KEYS, FRONTEND_TIMEOUT_KEYS, HEADER_LIMIT_KEYS};
use crate::global::{ADMIN_KEYS, GLOBAL_KEYS};
use crate::headers::{FORWARDED_KEYS, TRACE_KEYS};
use crate::health::{CHECK_KEYS, STEP_KEYS};
use crate::http2::{FRONTEND_HTTP2_KEYS, HTTP2_KEYS};
use crate::log::{LOG_HEADER_KEYS, LOG_KEYS, SAMPLING_KEYS};
use crate::passive::PASSIVE_KEYS;
use crate::persistence::PERSISTENCE_KEYS;
use crate::resolvers::RESOLVERS_KEYS;
use crate::retries::{RETRY_BUDGET_KEYS, RETRY_DELAY_KEYS};
use crate::rules::{
    AUTHENTICATE_KEYS, DENY_KEYS, MIRROR_KEYS, REDIRECT_KEYS, RESPOND_KEYS, RESPONSE_RULE_KEYS,
    REWRITE_KEYS, RULE_KEYS, SPLIT_KEYS, TARPIT_KEYS, TIMEOUT_EDIT_KEYS,
};
use crate::tables::{LIST_KEYS, USER_LIST_KEYS};
use crate::templates::{DEFAULT_TIMEOUT_KEYS, DEFAULTS_KEYS};
use crate::tls::{
    ACME_KEYS, BACKEND_TLS_KEYS, BIND_TLS_KEYS, CERTIFICATE_KEYS, EXTERNAL_ACCOUNT_KEYS,
};
use crate::walk::{Key, Reader};

/// One key of the format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The table it is in, such as `backends.NAME.timeouts`; empty for a top-level table.
    pub table: &'static str,
    /// Its name.
    pub name: &'static str,
    /// A value it takes, as TOML text; empty for a key that is not supported.
    pub example: &'static str,
    /// This version reads it. Otherwise it is part of the format, and refused.
    pub supported: bool,
}

impl KeyInfo {
    /// Its full path, with `NAME` where the file chooses a name.
    #[must_use]
    pub fn path(&self) -> String {
        if self.table.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}.{}", self.table, self.name)
        }
    }
}

/// Every key of the format, table by table.
#[must_use]
pub fn keys() -> Vec<KeyInfo> {
    let mut keys = Vec::new();
    table("", FILE_KEYS, &mut keys);
    table("global", GLOBAL_KEYS, &mut keys);
    table("global.log", LOG_KEYS, &mut keys);
    table("admin", ADMIN_KEYS, &mut keys);
    table("admin.bind", BIND_KEYS, &mut keys);
    table("defaults", DEFAULTS_KEYS, &mut keys);
    table("defaults.balance", BALANCE_KEYS, &mut keys);
    table("defaults.forwarded_for", FORWARDED_KEYS, &mut keys);
    table("defaults.traceparent", TRACE_KEYS, &mut keys);
    table("defaults.header_limits", HEADER_LIMIT_KEYS, &mut keys);
    table("defaults.log_headers", LOG_HEADER_KEYS, &mut keys);
    table("defaults.log_sampling", SAMPLING_KEYS, &mut keys);
    table("defaults.pool", POOL_KEYS, &mut keys);
    table("defaults.retry_budget", RETRY_BUDGET_KEYS, &mut keys);
    table("defaults.retry_delay", RETRY_DELAY_KEYS, &mut keys);
    table("defaults.timeouts", DEFAULT_TIMEOUT_KEYS, &mut keys);
    table("frontends.NAME", FRONTEND_KEYS, &mut keys);
    table("frontends.NAME.bind", BIND_KEYS, &mut keys);
    table("frontends.NAME.bind.tls", BIND_TLS_KEYS, &mut keys);
    table("frontends.NAME.bind.tls.acme", ACME_KEYS, &mut keys);
    table("frontends.NAME.bind.tls.acme.external_account", EXTERNAL_ACCOUNT_KEYS, &mut keys);
    table("frontends.NAME.bind.tls.certificates", CERTIFICATE_KEYS, &mut keys);
    table("frontends.NAME.header_limits", HEADER_LIMIT_KEYS, &mut keys);
    table("frontends.NAME.log_headers", LOG_HEADER_KEYS, &mut keys);
    table("frontends.NAME.log_sampling", SAMPLING_KEYS, &mut keys);
    table("frontends.NAME.timeouts", FRONTEND_TIMEOUT_KEYS, &mut keys);
    table("frontends.NAME.forwarded_for", FORWARDED_KEYS, &mut keys);
    table("frontends.NAME.traceparent", TRACE_KEYS, &mut keys);
    table("frontends.NAME.compression", COMPRESSION_KEYS, &mut keys);
    table("frontends.NAME.compression.level", COMPRESSION_LEVEL_KEYS, &mut keys);
    table("frontends.NAME.http2", FRONTEND_HTTP2_KEYS, &mut keys);
    table("frontends.NAME.rules", RULE_KEYS, &mut keys);
    table("frontends.NAME.rules.rewrite_path", REWRITE_KEYS, &mut keys);
    table("frontends.NAME.rules.set_timeouts", TIMEOUT_EDIT_KEYS, &mut keys);
    table("frontends.NAME.rules.mirror", MIRROR_KEYS, &mut keys);
    table("frontends.NAME.rules.authenticate", AUTHENTICATE_KEYS, &mut keys);
    table("frontends.NAME.rules.backend", SPLIT_KEYS, &mut keys);
    table("frontends.NAME.rules.redirect", REDIRECT_KEYS, &mut keys);
    table("frontends.NAME.rules.respond", RESPOND_KEYS, &mut keys);
    table("frontends.NAME.rules.deny", DENY_KEYS, &mut keys);
    table("frontends.NAME.rules.tarpit", TARPIT_KEYS, &mut keys);
    table("frontends.NAME.response_rules", RESPONSE_RULE_KEYS, &mut keys);
    table("lists.NAME", LIST_KEYS, &mut keys);
    table("user_lists.NAME", USER_LIST_KEYS, &mut keys);
    table("resolvers.NAME", RESOLVERS_KEYS, &mut keys);
    table("backends.NAME", BACKEND_KEYS, &mut keys);
    table("backends.NAME.balance", BALANCE_KEYS, &mut keys);
    table("backends.NAME.compression", COMPRESSION_KEYS, &mut keys);
    table("backends.NAME.compression.level", COMPRESSION_LEVEL_KEYS, &mut keys);
    table("backends.NAME.persistence", PERSISTENCE_KEYS, &mut keys);
    table("backends.NAME.health_check", CHECK_KEYS, &mut keys);
    table("backends.NAME.health_check.steps", STEP_KEYS, &mut keys);
    table("backends.NAME.passive_health", PASSIVE_KEYS, &mut keys);
    table("backends.NAME.pool", POOL_KEYS, &mut keys);
    table("backends.NAME.http2", HTTP2_KEYS, &mut keys);
    table("backends.NAME.retry_budget", RETRY_BUDGET_KEYS, &mut keys);
    table("backends.NAME.retry_delay", RETRY_DELAY_KEYS, &mut keys);
    table("backends.NAME.servers.NAME", SERVER_KEYS, &mut keys);
    table("backends.NAME.servers.NAME.health_check", CHECK_KEYS, &mut keys);
    table("backends.NAME.servers.NAME.health_check.steps", STEP_KEYS, &mut keys);
    table("backends.NAME.tls", BACKEND_TLS_KEYS, &mut keys);
    table("backends.NAME.tls.certificate", CERTIFICATE_KEYS, &mut keys);
    table("backends.NAME.timeouts", BACKEND_TIMEOUT_KEYS, &mut keys);
    keys
}

fn table<T>(table: &'static str, of: &[Key<T>], keys: &mut Vec<KeyInfo>) {
    keys.extend(of.iter().map(|key| KeyInfo {
        table,
        name: key.name,
        example: key.example,
        supported: matches!(key.reader, Reader::Value(_)),
    }));
}

/// The tables, in backticks, that have a key `name`.
pub(crate) fn paths_ending_in(name: &str) -> Vec<String> {
    let described = |key: KeyInfo| {
        if key.table.is_empty() {
            "the file's top level".to_owned()
        } else {
            format!("`{}`", key.table)
        }
    };
    keys().into_iter().filter(|key| key.name == name).map(described).collect()
}

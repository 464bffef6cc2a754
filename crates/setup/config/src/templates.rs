//! `[defaults]`: what frontends and backends take when they do not say otherwise.
//!
//! Owns the section's keys and the first state of every frontend and backend; leaves the overriding
//! to their own files.
//!
//! Invariant: a frontend or backend starts as what this section says, wherever the section stands
//! in the file.

use tidegate_balance::Settings as Balance;
use tidegate_http1::Limits;

use crate::backend::POOL_KEYS;
use crate::balance::{self, BalanceDraft};
use crate::defaults;
use crate::frontend::{HEADER_LIMIT_KEYS, mode};
use crate::headers;
use crate::log::LogDraft;
use crate::model::{
    Backend, BackendHttp2, BackendProtocol, BackendTimeouts, Frontend, FrontendHttp2, FrontendLog,
    FrontendRules, FrontendTimeouts, Mode, OnMarkedDown, Pages, PoolSettings, Retries,
};
use crate::retries::{self, RETRY_BUDGET_KEYS};
use crate::walk::{Key, key, set, walk};

/// A frontend and a backend that only lack what cannot have a default: name, addresses, servers.
pub(crate) struct Templates {
    pub frontend: Frontend,
    /// What becomes the frontend's log.
    pub log: LogDraft,
    pub backend: Backend,
    /// What becomes the backend's policy and key.
    pub balance: BalanceDraft,
}

impl Default for Templates {
    fn default() -> Self {
        let frontend = Frontend {
            name: "".into(),
            mode: Mode::default(),
            binds: Vec::new(),
            default_backend: None,
            timeouts: FrontendTimeouts::default(),
            header_limits: Limits::default(),
            max_connections: None,
            forwarded_for: None,
            request_id: None,
            via: None,
            traceparent: None,
            http2: FrontendHttp2::default(),
            compression: None,
            error_pages: Pages::default(),
            rules: FrontendRules::default(),
            log: FrontendLog::default(),
        };
        let backend = Backend {
            name: "".into(),
            balance: Balance::default(),
            protocol: BackendProtocol::default(),
            http2: BackendHttp2::default(),
            tls: None,
            hash_key: None,
            servers: Vec::new(),
            resolvers: 0,
            timeouts: BackendTimeouts::default(),
            retries: Retries::default(),
            reuse_server_connections: defaults::REUSE_SERVER_CONNECTIONS,
            pool: PoolSettings::default(),
            max_queue: None,
            compression: None,
            error_pages: Pages::default(),
            persistence: None,
            stick: None,
            passive_health: None,
            panic_threshold: defaults::PANIC_THRESHOLD,
            on_marked_down: OnMarkedDown::default(),
        };
        Self { frontend, log: LogDraft::default(), backend, balance: BalanceDraft::default() }
    }
}

pub(crate) const DEFAULTS_KEYS: &[Key<Templates>] = &[
    key("mode", "\"http\"", |to, node| set(&mut to.frontend.mode, mode(node))),
    key("forwarded_for", "false", |to, node| {
        set(&mut to.frontend.forwarded_for, headers::forwarded_for(node));
    }),
    key("request_id", "\"X-Request-Id\"", |to, node| {
        set(&mut to.frontend.request_id, headers::request_id(node).map(Some));
    }),
    key("via", "\"tidegate\"", |to, node| {
        set(&mut to.frontend.via, headers::via(node).map(Some));
    }),
    key("traceparent", "false", |to, node| {
        set(&mut to.frontend.traceparent, headers::traceparent(node));
    }),
    key("header_limits", "{ bytes = \"16KiB\" }", |to, node| {
        walk(node, HEADER_LIMIT_KEYS, &mut to.frontend.header_limits);
    }),
    key("balance", "\"round_robin\"", |to, node| set(&mut to.balance, balance::read(node))),
    key("retries", "3", |to, node| {
        set(&mut to.backend.retries.max, node.integer(defaults::RETRIES_RANGE));
    }),
    key("redispatch", "true", |to, node| {
        set(&mut to.backend.retries.redispatch, retries::redispatch(node));
    }),
    key("retry_on", "[\"connect_failure\", 503]", |to, node| {
        set(&mut to.backend.retries.on, retries::retry_on(node));
    }),
    key("retry_non_idempotent", "false", |to, node| {
        set(&mut to.backend.retries.non_idempotent, node.boolean());
    }),
    key("retry_body_max", "\"16KiB\"", |to, node| {
        set(&mut to.backend.retries.body_max, node.size(defaults::RETRY_BODY_MAX_RANGE));
    }),
    key("retry_budget", "{ percent = 20 }", |to, node| {
        walk(node, RETRY_BUDGET_KEYS, &mut to.backend.retries.budget);
    }),
    key("retry_delay", "{ min = \"100ms\" }", |to, node| {
        retries::delay(node, &mut to.backend.retries);
    }),
    key("reuse_server_connections", "true", |to, node| {
        set(&mut to.backend.reuse_server_connections, node.boolean());
    }),
    key("pool", "{ max_idle = 64 }", |to, node| walk(node, POOL_KEYS, &mut to.backend.pool)),
    key("timeouts", "{ connect = \"5s\", client = \"30s\", server = \"30s\" }", |to, node| {
        walk(node, DEFAULT_TIMEOUT_KEYS, to);
    }),
    key("log_format", "\"json\"", |to, node| to.log.read_format(node)),
    key("log_headers", "{ request = [\"Host\"] }", |to, node| to.log.read_headers(node)),
    key("log_sampling", "{ one_in = 10 }", |to, node| to.log.read_sampling(node)),
    key("log_empty_connections", "true", |to, node| to.log.read_empty_connections(node)),
];

pub(crate) const DEFAULT_TIMEOUT_KEYS: &[Key<Templates>] = &[
    key("tls_handshake", "\"10s\"", |to, node| {
        set(&mut to.frontend.timeouts.tls_handshake, node.timeout());
    }),
    key("client", "\"30s\"", |to, node| set(&mut to.frontend.timeouts.client, node.timeout())),
    key("request_head", "\"10s\"", |to, node| {
        set(&mut to.frontend.timeouts.request_head, node.timeout());
    }),
    key("request_body", "\"30s\"", |to, node| {
        set(&mut to.frontend.timeouts.request_body, node.timeout());
    }),
    key("keep_alive", "\"60s\"", |to, node| {
        set(&mut to.frontend.timeouts.keep_alive, node.timeout());
    }),
    key("connect", "\"5s\"", |to, node| set(&mut to.backend.timeouts.connect, node.timeout())),
    key("server", "\"30s\"", |to, node| set(&mut to.backend.timeouts.server, node.timeout())),
    key("queue", "\"5s\"", |to, node| set(&mut to.backend.timeouts.queue, node.timeout())),
    key("tunnel", "\"1h\"", |to, node| set(&mut to.backend.timeouts.tunnel, node.timeout())),
];

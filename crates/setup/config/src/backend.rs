//! `[backends.NAME]`: the keys of a backend and of its servers.
//!
//! Owns their lists of keys; leaves what only the whole file can tell to `check`.
//!
//! Invariant: every backend of the file becomes a draft, however wrong, so that references to it
//! are judged rightly.

use tidegate_balance::{Backups, Weight};
use tidegate_tls::Protocol;
use toml::de::DeValue;

use crate::balance::{self, BalanceDraft};
use crate::diagnostic::{Problem, Span, quoted};
use crate::health::{self, CheckDraft};
use crate::http2::HTTP2_KEYS;
use crate::model::{Backend, BackendProtocol, OnMarkedDown, PoolSettings, Server, ServerAddress};
use crate::names::{self, PlaceDraft};
use crate::pages::{self, PagesDraft};
use crate::persistence::{self, PersistenceDraft};
use crate::retries::RETRY_BUDGET_KEYS;
use crate::text::Text;
use crate::tls::BackendTlsDraft;
use crate::walk::{Key, Node, Problems, entries, key, set, unsupported, walk};
use crate::{compression, defaults, file, passive, retries};

/// A backend while its file is read.
pub(crate) struct BackendDraft {
    pub backend: Backend,
    pub name_span: Span,
    /// `servers` stands in the file, readable or not.
    pub servers_written: bool,
    pub error_pages: PagesDraft,
    pub balance: BalanceDraft,
    pub persistence: Option<PersistenceDraft>,
    pub tls: Option<BackendTlsDraft>,
    /// `tls` could not be read, which has been reported.
    tls_obscured: bool,
    protocol_span: Span,
    /// The resolvers that it names.
    pub resolvers: Option<Text>,
    /// Of all servers.
    health_check: Option<CheckDraft>,
    /// Those of single servers, in their order.
    server_checks: Vec<Option<CheckDraft>>,
}

pub(crate) const BACKEND_KEYS: &[Key<BackendDraft>] = &[
    key("servers", "{ app1 = \"10.0.0.1:8080\" }", |draft, node| {
        draft.servers_written = true;
        (draft.backend.servers, draft.server_checks) = servers(node).into_iter().unzip();
    }),
    key("resolvers", "\"default\"", |draft, node| draft.resolvers = node.text()),
    key("balance", "\"round_robin\"", |draft, node| set(&mut draft.balance, balance::read(node))),
    key("slow_start", "\"10s\"", |draft, node| {
        set(&mut draft.backend.balance.slow_start, node.delay());
    }),
    key("backup_mode", "\"first\"", |draft, node| {
        let modes = [("first", Backups::First), ("all", Backups::All)];
        set(&mut draft.backend.balance.backups, node.word(&modes));
    }),
    key("retries", "3", |draft, node| {
        set(&mut draft.backend.retries.max, node.integer(defaults::RETRIES_RANGE));
    }),
    key("redispatch", "true", |draft, node| {
        set(&mut draft.backend.retries.redispatch, retries::redispatch(node));
    }),
    key("retry_on", "[\"connect_failure\", 503]", |draft, node| {
        set(&mut draft.backend.retries.on, retries::retry_on(node));
    }),
    key("retry_non_idempotent", "false", |draft, node| {
        set(&mut draft.backend.retries.non_idempotent, node.boolean());
    }),
    key("retry_body_max", "\"16KiB\"", |draft, node| {
        set(&mut draft.backend.retries.body_max, node.size(defaults::RETRY_BODY_MAX_RANGE));
    }),
    key("hedge_after", "\"200ms\"", |draft, node| {
        set(&mut draft.backend.retries.hedge_after, node.timeout().map(Some));
    }),
    key("retry_budget", "{ percent = 20 }", |draft, node| {
        walk(node, RETRY_BUDGET_KEYS, &mut draft.backend.retries.budget);
    }),
    key("retry_delay", "{ min = \"100ms\" }", |draft, node| {
        retries::delay(node, &mut draft.backend.retries);
    }),
    key("reuse_server_connections", "true", |draft, node| {
        set(&mut draft.backend.reuse_server_connections, node.boolean());
    }),
    key("pool", "{ max_idle = 64 }", |draft, node| walk(node, POOL_KEYS, &mut draft.backend.pool)),
    key("max_queue", "1000", |draft, node| {
        set(&mut draft.backend.max_queue, node.integer(defaults::MAX_QUEUE_RANGE).map(Some));
    }),
    key("timeouts", "{ connect = \"5s\", server = \"30s\" }", |draft, node| {
        walk(node, BACKEND_TIMEOUT_KEYS, &mut draft.backend);
    }),
    key("compression", "{ codings = [\"gzip\"] }", |draft, node| {
        set(&mut draft.backend.compression, compression::read(node).map(Some));
    }),
    key("error_pages", "{ 503 = \"pages/503.html\" }", |draft, node| {
        draft.error_pages = pages::read(node);
    }),
    key("persistence", "{ cookie = \"SRV\" }", |draft, node| {
        draft.persistence = persistence::read(node);
    }),
    key("health_check", "{ type = \"http\", path = \"/health\" }", |draft, node| {
        draft.health_check = Some(health::read(node));
    }),
    key("passive_health", "{ errors = 5, window = \"10s\" }", |draft, node| {
        set(&mut draft.backend.passive_health, passive::read(node).map(Some));
    }),
    key("panic_threshold", "0", |draft, node| {
        let percent = node.integer(defaults::PANIC_THRESHOLD_RANGE);
        set(&mut draft.backend.panic_threshold, percent);
    }),
    key("on_marked_down", "\"close_sessions\"", |draft, node| {
        let words = [
            ("keep_sessions", OnMarkedDown::KeepSessions),
            ("close_sessions", OnMarkedDown::CloseSessions),
        ];
        set(&mut draft.backend.on_marked_down, node.word(&words));
    }),
    key("protocol", "\"http/1.1\"", |draft, node| {
        let words = [
            ("http/1.1", BackendProtocol::Http1),
            ("h2", BackendProtocol::Http2),
            ("auto", BackendProtocol::Auto),
        ];
        draft.protocol_span = node.span;
        set(&mut draft.backend.protocol, node.word(&words));
    }),
    key("http2", "{ max_streams = 100 }", |draft, node| {
        walk(node, HTTP2_KEYS, &mut draft.backend.http2);
    }),
    unsupported("send_proxy"),
    key("tls", "true", |draft, node| {
        draft.tls_obscured = true;
        draft.tls = BackendTlsDraft::read(node);
        draft.tls_obscured = draft.tls.is_none() && !matches!(node.value, DeValue::Boolean(false));
    }),
];

pub(crate) const BACKEND_TIMEOUT_KEYS: &[Key<Backend>] = &[
    key("connect", "\"5s\"", |backend, node| set(&mut backend.timeouts.connect, node.timeout())),
    key("server", "\"30s\"", |backend, node| set(&mut backend.timeouts.server, node.timeout())),
    key("queue", "\"5s\"", |backend, node| set(&mut backend.timeouts.queue, node.timeout())),
    key("tunnel", "\"1h\"", |backend, node| set(&mut backend.timeouts.tunnel, node.timeout())),
    key("per_try", "\"5s\"", |backend, node| {
        set(&mut backend.retries.per_try, node.timeout().map(Some));
    }),
];

pub(crate) const POOL_KEYS: &[Key<PoolSettings>] = &[
    key("max_idle", "64", |pool, node| {
        set(&mut pool.max_idle, node.integer(defaults::POOL_MAX_IDLE_RANGE));
    }),
    key("idle_timeout", "\"4s\"", |pool, node| set(&mut pool.idle_timeout, node.timeout())),
    key("max_lifetime", "\"10m\"", |pool, node| {
        set(&mut pool.max_lifetime, node.timeout().map(Some));
    }),
    key("max_requests", "1000", |pool, node| {
        set(&mut pool.max_requests, node.integer(defaults::POOL_MAX_REQUESTS_RANGE).map(Some));
    }),
];

/// A server in its long form while it is read.
pub(crate) struct ServerDraft {
    place: PlaceDraft,
    weight: Weight,
    max_connections: Option<u32>,
    max_connections_written: bool,
    max_queue: Option<u32>,
    max_queue_span: Option<Span>,
    backup: bool,
    health_check: Option<CheckDraft>,
}

pub(crate) const SERVER_KEYS: &[Key<ServerDraft>] = &[
    key("address", "\"10.0.0.1:8080\"", |draft, node| {
        draft.place.address_key = Some(node.name_span);
        draft.place.address = names::address(node);
    }),
    key("name", "\"app.internal\"", |draft, node| {
        draft.place.name_key = Some(node.name_span);
        draft.place.name = names::name(node);
    }),
    key("port", "8080", |draft, node| {
        draft.place.port_key = Some(node.name_span);
        draft.place.port = node.integer(1..=u16::MAX);
    }),
    key("slots", "10", |draft, node| {
        draft.place.slots_key = Some(node.name_span);
        draft.place.slots = node.integer(defaults::SLOTS_RANGE);
    }),
    key("weight", "1", |draft, node| {
        set(&mut draft.weight, node.integer(defaults::WEIGHT_RANGE).and_then(Weight::new));
    }),
    key("max_connections", "10", |draft, node| {
        draft.max_connections_written = true;
        draft.max_connections = node.integer(defaults::MAX_CONNECTIONS_RANGE);
    }),
    key("max_queue", "100", |draft, node| {
        draft.max_queue_span = Some(node.name_span);
        draft.max_queue = node.integer(defaults::MAX_QUEUE_RANGE);
    }),
    key("backup", "true", |draft, node| set(&mut draft.backup, node.boolean())),
    key("health_check", "{ port = 8081 }", |draft, node| {
        draft.health_check = Some(health::read(node));
    }),
];

/// Reads one backend on top of `template`.
pub(crate) fn read(node: &Node<'_>, template: &Backend, balance: &BalanceDraft) -> BackendDraft {
    let mut draft = BackendDraft {
        backend: Backend { name: node.name.into(), ..template.clone() },
        name_span: node.name_span,
        servers_written: node.obscures("servers"),
        error_pages: PagesDraft::default(),
        balance: balance.clone(),
        persistence: None,
        tls: None,
        tls_obscured: false,
        protocol_span: Span::default(),
        resolvers: None,
        health_check: None,
        server_checks: Vec::new(),
    };
    walk(node, BACKEND_KEYS, &mut draft);
    draft.finish_checks(node.problems);
    draft.check_tls(node.problems);
    draft
}

impl BackendDraft {
    /// Reports what TLS and the protocol ask of each other.
    fn check_tls(&self, problems: &Problems) {
        if self.backend.protocol == BackendProtocol::Auto
            && self.tls.is_none()
            && !self.tls_obscured
        {
            let message = "the protocol `auto` is agreed on in TLS, and the backend has no `tls`";
            let problem = Problem::error(self.protocol_span, message).absent();
            problems.push(problem.help("write \"http/1.1\" or \"h2\", or add tls = true"));
        }
        let Some(tls) = &self.tls else { return };
        let is_local = |server: &&Server| matches!(server.address, ServerAddress::Unix(_));
        if let Some(server) = self.backend.servers.iter().find(is_local)
            && !tls.server_name_written
        {
            let message =
                format!("the socket of server {} has no name to prove", quoted(&server.name));
            let problem = Problem::error(tls.span, message).absent();
            problems.push(problem.help("add server_name = \"app.example\" to `tls`"));
        }
    }

    /// What servers are offered in ALPN.
    pub fn alpn(&self) -> Vec<Protocol> {
        match self.backend.protocol {
            BackendProtocol::Http1 => vec![Protocol::Http1],
            BackendProtocol::Http2 => vec![Protocol::Http2],
            BackendProtocol::Auto => vec![Protocol::Http2, Protocol::Http1],
        }
    }

    fn finish_checks(&mut self, problems: &Problems) {
        let addresses = self.backend.servers.iter().map(|server| &server.address);
        let own = self.server_checks.iter().map(Option::as_ref);
        let tls = self.tls.is_some();
        if !tls && !self.tls_obscured {
            let drafts = self.health_check.iter().chain(self.server_checks.iter().flatten());
            for span in drafts.filter_map(CheckDraft::asks_for_tls) {
                let message = "the check goes over the backend's TLS, and the backend has no `tls`";
                let problem = Problem::error(span, message).absent();
                problems.push(problem.help("add tls = true to the backend"));
            }
        }
        let drafts = self.health_check.iter().chain(self.server_checks.iter().flatten());
        for span in drafts.filter_map(CheckDraft::asks_for_http2) {
            if self.backend.protocol == BackendProtocol::Http1 {
                let message = "the health service of gRPC is asked by HTTP/2, and the backend speaks HTTP/1.1";
                let problem = Problem::error(span, message);
                problems.push(problem.help("add protocol = \"h2\" to the backend"));
            }
        }
        let speech = (tls, self.backend.protocol);
        let checks = health::finish(self.health_check.as_ref(), own.zip(addresses), speech);
        for (server, check) in self.backend.servers.iter_mut().zip(checks) {
            server.check = check;
        }
    }
}

fn servers(node: &Node<'_>) -> Vec<(Server, Option<CheckDraft>)> {
    let Some(table) = node.table() else { return Vec::new() };
    let path = node.path();
    let entries = entries(&path, table, node.problems);
    if entries.is_empty() {
        let message = format!("{} is empty: nothing could answer", quoted(&path));
        node.report(
            Problem::error(node.span, message)
                .absent()
                .help("add a server, for example app1 = \"10.0.0.1:8080\""),
        );
    }
    if node.too_many(entries.len()) {
        return Vec::new();
    }
    // No server is a number: the table is one template for all of them, named after the backend.
    let of_backend = table.get("slots").is_some_and(|slots| slots.get_ref().is_integer());
    let read: Vec<_> = if of_backend {
        let backend = node.parent.split_once('.').map_or(node.name, |(_, backend)| backend);
        let entry = Node { name: backend, ..*node };
        vec![server(&entry)]
    } else {
        entries.iter().map(server).collect()
    };
    let complete = !read.is_empty() && read.iter().all(Option::is_some);
    let servers: Vec<_> = read.into_iter().flatten().flatten().collect();
    if complete && servers.iter().all(|(server, _)| server.weight == Weight::ZERO) {
        let message = format!(
            "every server of {} has weight 0: none would get a request",
            quoted(node.parent)
        );
        node.report(
            Problem::error(entries[0].name_span, message)
                .help("give one of them a weight of 1 or more"),
        );
    }
    names::check_unique(node, servers.iter().map(|(server, _)| server));
    if node.too_many(servers.len()) {
        return Vec::new();
    }
    servers
}

/// A server, or those that a template stands for; none if it is not to be read.
fn server(entry: &Node<'_>) -> Option<Vec<(Server, Option<CheckDraft>)>> {
    file::check_name("server", entry);
    let entry = &Node { example: "\"10.0.0.1:8080\"", ..*entry };
    let mut draft = ServerDraft {
        place: PlaceDraft::default(),
        weight: Weight::default(),
        max_connections: None,
        max_connections_written: entry.obscures("max_connections"),
        max_queue: None,
        max_queue_span: None,
        backup: false,
        health_check: None,
    };
    match entry.value {
        DeValue::String(_) => draft.place.address = names::address(entry),
        DeValue::Table(_) => {
            walk(entry, SERVER_KEYS, &mut draft);
            if let Some(span) = draft.max_queue_span
                && !draft.max_connections_written
            {
                let message = format!("server {} has no `max_connections`", quoted(entry.name));
                entry.report(
                    Problem::warning(span, message).help(
                        "nothing waits for it unless its agent sets a limit: add max_connections = 10, or remove `max_queue`",
                    ),
                );
            }
        }
        _ => {
            return entry.wrong_type("an address in quotes, or a table with an `address`");
        }
    }
    let place = draft.place.finish(entry)?;
    let servers = place.servers(entry.name).map(|(name, slot)| {
        let server = Server {
            name,
            address: place.address.clone(),
            slot,
            weight: draft.weight,
            max_connections: draft.max_connections,
            max_queue: draft.max_queue,
            backup: draft.backup,
            check: None,
        };
        (server, draft.health_check.clone())
    });
    Some(servers.collect())
}

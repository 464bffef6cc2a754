//! `health_check`: how servers are checked, for a backend and for one of its servers.
//!
//! Owns its keys, which of them go together, and putting a server's own over those of the backend;
//! leaves what a check does to `tidegate_health`.
//!
//! Invariant: a check that is read can be made: it has an address, and nothing in it is left unused.

mod values;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tidegate_health::{
    GrpcCheck, HttpCheck, Initial, Pattern, Preset, Probe, StatusSet, Step, Timing,
};
use toml::de::DeValue;

use crate::defaults;
use crate::diagnostic::{Problem, Span, quoted};
use crate::model::{BackendProtocol, ServerAddress, ServerCheck};
use crate::walk::{Key, Node, key, set, walk};

pub(crate) use self::values::statuses;
use self::values::{
    elsewhere, headers, hex_bytes, hex_pattern, host, method, path, regex, steps, text_bytes,
    text_pattern, user,
};

/// What a check is, by its `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Exchange,
    Agent,
    Preset(Preset),
    Grpc,
}

const KINDS: [(&str, Kind); 9] = [
    ("tcp", Kind::Tcp),
    ("http", Kind::Http),
    ("exchange", Kind::Exchange),
    ("agent", Kind::Agent),
    ("redis", Kind::Preset(Preset::Redis)),
    ("mysql", Kind::Preset(Preset::MySql)),
    ("postgresql", Kind::Preset(Preset::PostgreSql)),
    ("smtp", Kind::Preset(Preset::Smtp)),
    ("grpc", Kind::Grpc),
];

impl Kind {
    fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether a key that says what is asked belongs to it.
    fn takes(self, key: &str) -> bool {
        let http = ["method", "path", "headers", "body", "expect_status", "expect_body"];
        match key {
            "expect_body_regex" => self == Kind::Http,
            "service" => self == Kind::Grpc,
            "host" => matches!(self, Kind::Http | Kind::Grpc),
            "user" => matches!(self, Kind::Preset(preset) if preset.takes_user()),
            "send" | "send_hex" => matches!(self, Kind::Exchange | Kind::Agent),
            "expect" | "expect_hex" | "expect_regex" | "steps" => self == Kind::Exchange,
            key => self == Kind::Http && http.contains(&key),
        }
    }
}

/// Where a check goes that does not go where the requests go.
#[derive(Clone, Debug, PartialEq)]
enum Elsewhere {
    Host(IpAddr),
    Address(ServerAddress),
}

/// A `health_check` as it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct CheckDraft {
    /// Not `false`.
    enabled: bool,
    kind: Option<Kind>,
    grpc_span: Option<Span>,
    /// The keys that say what is asked, in the order of the file.
    asks: Vec<(&'static str, Span)>,
    http: HttpDraft,
    steps: StepDraft,
    list: Option<Vec<Step>>,
    user: Option<String>,
    service: Option<String>,
    interval: Option<Duration>,
    fast_interval: Option<Duration>,
    down_interval: Option<Duration>,
    timeout: Option<Duration>,
    rise: Option<u32>,
    fall: Option<u32>,
    initial: Option<Initial>,
    port: Option<u16>,
    elsewhere: Option<Elsewhere>,
    tls: Option<(bool, Span)>,
}

#[derive(Clone, Debug, Default)]
struct HttpDraft {
    method: Option<String>,
    path: Option<String>,
    host: Option<String>,
    headers: Option<Vec<(String, String)>>,
    body: Option<String>,
    expect_status: Option<StatusSet>,
    expect_body: Option<Pattern>,
}

/// What is sent, what is expected; an element of `steps`, or the short form of two of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepDraft {
    send: Option<Vec<u8>>,
    expect: Option<Pattern>,
}

impl StepDraft {
    fn steps(&self) -> Vec<Step> {
        let send = self.send.clone().map(Step::Send);
        let expect = self.expect.clone().map(|pattern| Step::Expect { pattern, refusal: None });
        send.into_iter().chain(expect).collect()
    }
}

pub(crate) const STEP_KEYS: &[Key<StepDraft>] = &[
    key("send", "\"PING\\r\\n\"", |step, node| set(&mut step.send, text_bytes(node))),
    key("send_hex", "\"50494e47 0d0a\"", |step, node| set(&mut step.send, hex_bytes(node))),
    key("expect", "\"+PONG\"", |step, node| set(&mut step.expect, text_pattern(node))),
    key("expect_hex", "\"2b504f4e47\"", |step, node| set(&mut step.expect, hex_pattern(node))),
    key("expect_regex", "'^\\+PONG'", |step, node| set(&mut step.expect, regex(node))),
];

pub(crate) const CHECK_KEYS: &[Key<CheckDraft>] = &[
    key("type", "\"http\"", |check, node| check.read_kind(node)),
    key("method", "\"GET\"", |check, node| {
        check.asks("method", node);
        set(&mut check.http.method, method(node));
    }),
    key("path", "\"/health\"", |check, node| {
        check.asks("path", node);
        set(&mut check.http.path, path(node));
    }),
    key("host", "\"www.example.com\"", |check, node| {
        check.asks("host", node);
        set(&mut check.http.host, host(node));
    }),
    key("headers", "{ \"X-Probe\" = \"1\" }", |check, node| {
        check.asks("headers", node);
        check.http.headers = Some(headers(node));
    }),
    key("body", "\"ping\"", |check, node| {
        check.asks("body", node);
        check.http.body = node.string().map(str::to_owned);
    }),
    key("expect_status", "\"200-399\"", |check, node| {
        check.asks("expect_status", node);
        set(&mut check.http.expect_status, statuses(node).map(Some));
    }),
    key("expect_body", "\"ok\"", |check, node| {
        check.asks("expect_body", node);
        set(&mut check.http.expect_body, text_pattern(node));
    }),
    key("expect_body_regex", "'^ok$'", |check, node| {
        check.asks("expect_body_regex", node);
        set(&mut check.http.expect_body, regex(node));
    }),
    key("send", "\"PING\\r\\n\"", |check, node| {
        check.asks("send", node);
        set(&mut check.steps.send, text_bytes(node));
    }),
    key("send_hex", "\"50494e47 0d0a\"", |check, node| {
        check.asks("send_hex", node);
        set(&mut check.steps.send, hex_bytes(node));
    }),
    key("expect", "\"+PONG\"", |check, node| {
        check.asks("expect", node);
        set(&mut check.steps.expect, text_pattern(node));
    }),
    key("expect_hex", "\"2b504f4e47\"", |check, node| {
        check.asks("expect_hex", node);
        set(&mut check.steps.expect, hex_pattern(node));
    }),
    key("expect_regex", "'^\\+PONG'", |check, node| {
        check.asks("expect_regex", node);
        set(&mut check.steps.expect, regex(node));
    }),
    key("steps", "[{ expect = \"220 \" }, { send = \"QUIT\\r\\n\" }]", |check, node| {
        check.asks("steps", node);
        check.list = steps(node);
    }),
    key("user", "\"health\"", |check, node| {
        check.asks("user", node);
        set(&mut check.user, user(node));
    }),
    key("service", "\"grpc.example.Orders\"", |check, node| {
        check.asks("service", node);
        check.service = node.string().map(str::to_owned);
    }),
    key("interval", "\"2s\"", |check, node| set(&mut check.interval, node.timeout().map(Some))),
    key("fast_interval", "\"2s\"", |check, node| {
        set(&mut check.fast_interval, node.timeout().map(Some));
    }),
    key("down_interval", "\"2s\"", |check, node| {
        set(&mut check.down_interval, node.timeout().map(Some));
    }),
    key("timeout", "\"2s\"", |check, node| set(&mut check.timeout, node.timeout().map(Some))),
    key("rise", "2", |check, node| {
        set(&mut check.rise, node.integer(defaults::CHECKS_IN_A_ROW_RANGE).map(Some));
    }),
    key("fall", "3", |check, node| {
        set(&mut check.fall, node.integer(defaults::CHECKS_IN_A_ROW_RANGE).map(Some));
    }),
    key("initial", "\"up\"", |check, node| {
        let words = [("up", Initial::Up), ("down", Initial::Down)];
        set(&mut check.initial, node.word(&words).map(Some));
    }),
    key("port", "8081", |check, node| {
        set(&mut check.port, node.integer(1..=u16::MAX).map(Some));
    }),
    key("address", "\"10.0.0.1\"", |check, node| {
        set(&mut check.elsewhere, elsewhere(node).map(Some));
    }),
    key("tls", "false", |check, node| check.tls = node.boolean().map(|tls| (tls, node.span))),
];

/// Reads a `health_check`: a table, the name of a type, or `false`.
pub(crate) fn read(node: &Node<'_>) -> CheckDraft {
    let mut draft = CheckDraft { enabled: true, ..CheckDraft::default() };
    match node.value {
        DeValue::Boolean(enabled) => draft.enabled = *enabled,
        DeValue::String(_) => draft.read_kind(node),
        _ => walk(node, CHECK_KEYS, &mut draft),
    }
    draft.judge(node);
    draft
}

impl CheckDraft {
    fn read_kind(&mut self, node: &Node<'_>) {
        if let Some(kind) = node.word(&KINDS) {
            self.kind = Some(kind);
            self.grpc_span = (kind == Kind::Grpc).then_some(node.span);
        }
    }

    fn asks(&mut self, key: &'static str, node: &Node<'_>) {
        self.asks.push((key, node.name_span));
    }

    /// The kind that is written, or that the keys belong to.
    fn kind(&self) -> Option<Kind> {
        self.kind.or_else(|| {
            let first = self.asks.first()?.0;
            [Kind::Http, Kind::Exchange].into_iter().find(|kind| kind.takes(first))
        })
    }

    /// Reports keys that do not go together.
    fn judge(&self, node: &Node<'_>) {
        let kind = self.kind().unwrap_or(Kind::Tcp);
        for (key, span) in self.asks.iter().filter(|(key, _)| !kind.takes(key)) {
            let path = quoted(&node.path());
            let takers: Vec<_> = KINDS
                .iter()
                .filter(|(_, kind)| kind.takes(key))
                .map(|(name, _)| format!("\"{name}\""))
                .collect();
            let message = format!("a check of type \"{}\" has no `{key}`, in {path}", kind.name());
            let help = format!("`{key}` belongs to type {}", takers.join(", "));
            node.report(Problem::error(*span, message).help(help));
        }
        let pairs = [
            ("send", "send_hex"),
            ("expect", "expect_hex"),
            ("expect", "expect_regex"),
            ("expect_hex", "expect_regex"),
            ("expect_body", "expect_body_regex"),
            ("steps", "send"),
            ("steps", "send_hex"),
            ("steps", "expect"),
            ("steps", "expect_hex"),
            ("steps", "expect_regex"),
        ];
        let written = |key| self.asks.iter().find(|(written, _)| *written == key);
        for (one, other) in pairs {
            if let (Some((_, first)), Some((_, second))) = (written(one), written(other)) {
                let message = format!("`{one}` and `{other}` cannot stand together");
                let problem = Problem::error(*second, message).note("the other one", *first);
                node.report(problem.help("keep one of them"));
            }
        }
        let says_nothing = self.steps.steps().is_empty() && self.list.is_none();
        if kind == Kind::Exchange && says_nothing && self.asks.is_empty() {
            let message = format!("{} has no `send`, `expect` or `steps`", quoted(&node.path()));
            let problem = Problem::error(node.span, message).absent();
            node.report(problem.help("for example send = \"PING\\r\\n\", expect = \"+PONG\""));
        }
    }

    /// What a server says itself goes before what its backend says; another type begins anew but for the times.
    fn over(&self, backend: Option<&CheckDraft>) -> CheckDraft {
        let Some(backend) = backend.filter(|backend| backend.enabled) else { return self.clone() };
        let own_kind = self.kind();
        let same = own_kind.is_none_or(|kind| Some(kind) == backend.kind());
        let asked = if same { backend.clone() } else { CheckDraft::default() };
        let (own, http) = (self.clone(), asked.http);
        let own_steps = self.list.is_some() || !self.steps.steps().is_empty();
        CheckDraft {
            enabled: self.enabled,
            kind: own.kind.or(own_kind).or(backend.kind()),
            grpc_span: own.grpc_span,
            asks: own.asks,
            http: HttpDraft {
                method: own.http.method.or(http.method),
                path: own.http.path.or(http.path),
                host: own.http.host.or(http.host),
                headers: own.http.headers.or(http.headers),
                body: own.http.body.or(http.body),
                expect_status: own.http.expect_status.or(http.expect_status),
                expect_body: own.http.expect_body.or(http.expect_body),
            },
            steps: if own_steps { own.steps } else { asked.steps },
            list: if own_steps { own.list } else { asked.list },
            user: own.user.or(asked.user),
            service: own.service.or(asked.service),
            interval: own.interval.or(backend.interval),
            fast_interval: own.fast_interval.or(backend.fast_interval),
            down_interval: own.down_interval.or(backend.down_interval),
            timeout: own.timeout.or(backend.timeout),
            rise: own.rise.or(backend.rise),
            fall: own.fall.or(backend.fall),
            initial: own.initial.or(backend.initial),
            port: own.port.or(backend.port),
            elsewhere: own.elsewhere.or_else(|| backend.elsewhere.clone()),
            tls: own.tls.or(backend.tls),
        }
    }

    fn probe(&self) -> Probe {
        match self.kind().unwrap_or(Kind::Tcp) {
            Kind::Tcp => Probe::Tcp,
            Kind::Grpc => Probe::Grpc(GrpcCheck {
                service: self.service.clone().unwrap_or_default(),
                host: self.http.host.clone(),
            }),
            Kind::Http => Probe::Http(Box::new(self.http.check())),
            Kind::Exchange => {
                Probe::Exchange(self.list.clone().unwrap_or_else(|| self.steps.steps()))
            }
            Kind::Agent => Probe::Agent(self.steps.send.clone().unwrap_or_default()),
            Kind::Preset(preset) => Probe::Exchange(preset.steps(self.user.as_deref())),
        }
    }

    fn timing(&self) -> Timing {
        let interval = self.interval.unwrap_or(defaults::CHECK_INTERVAL);
        Timing {
            interval,
            fast_interval: self.fast_interval.unwrap_or(interval),
            down_interval: self.down_interval.unwrap_or(interval),
            timeout: self.timeout.unwrap_or(interval.min(defaults::CHECK_TIMEOUT_MAX)),
            rise: self.rise.unwrap_or(defaults::CHECK_RISE),
            fall: self.fall.unwrap_or(defaults::CHECK_FALL),
            initial: self.initial.unwrap_or_default(),
        }
    }

    fn address(&self, server: &ServerAddress) -> ServerAddress {
        let base = match &self.elsewhere {
            Some(Elsewhere::Address(address)) => address.clone(),
            Some(Elsewhere::Host(host)) => {
                let port = match server {
                    ServerAddress::Tcp(socket) => socket.port(),
                    ServerAddress::Unix(_) => self.port.unwrap_or_default(),
                    ServerAddress::Name { port, .. } => port.unwrap_or(defaults::SERVER_PORT),
                };
                ServerAddress::Tcp(SocketAddr::new(*host, port))
            }
            None => server.clone(),
        };
        match (base, self.port) {
            (ServerAddress::Tcp(socket), Some(port)) => {
                ServerAddress::Tcp(SocketAddr::new(socket.ip(), port))
            }
            (ServerAddress::Name { name, .. }, Some(port)) => {
                ServerAddress::Name { name, port: Some(port) }
            }
            (base, _) => base,
        }
    }

    fn check(
        &self,
        probe: Arc<Probe>,
        server: &ServerAddress,
        (tls, protocol): (bool, BackendProtocol),
    ) -> ServerCheck {
        // A port of its own is seldom one with TLS.
        let is_elsewhere = self.port.is_some() || self.elsewhere.is_some();
        let tls = self.tls.map_or(tls && !is_elsewhere, |(asked, _)| asked && tls);
        let protocol = match *probe {
            Probe::Grpc(_) => BackendProtocol::Http2,
            // What is elsewhere is seldom what the requests get.
            _ if is_elsewhere => BackendProtocol::Http1,
            _ => protocol,
        };
        ServerCheck { probe, timing: self.timing(), address: self.address(server), tls, protocol }
    }

    /// Where `type = "grpc"` stands.
    pub fn asks_for_http2(&self) -> Option<Span> {
        self.grpc_span
    }

    /// Where `tls = true` stands.
    pub fn asks_for_tls(&self) -> Option<Span> {
        self.tls.filter(|(asked, _)| *asked).map(|(_, span)| span)
    }
}

impl HttpDraft {
    fn check(&self) -> HttpCheck {
        HttpCheck {
            method: self.method.clone().unwrap_or_else(|| defaults::CHECK_METHOD.to_owned()),
            path: self.path.clone().unwrap_or_else(|| defaults::CHECK_PATH.to_owned()),
            host: self.host.clone(),
            headers: self.headers.clone().unwrap_or_default(),
            body: self.body.clone().unwrap_or_default().into_bytes(),
            expect_status: self.expect_status.unwrap_or(defaults::CHECK_STATUSES),
            expect_body: self.expect_body.clone(),
        }
    }
}

/// The checks of a backend's servers, in their order; `speech`: whether the backend has TLS, and what it speaks.
pub(crate) fn finish<'s>(
    backend: Option<&CheckDraft>,
    servers: impl Iterator<Item = (Option<&'s CheckDraft>, &'s ServerAddress)>,
    speech: (bool, BackendProtocol),
) -> Vec<Option<ServerCheck>> {
    // One probe for all servers that are asked the same.
    let shared =
        backend.filter(|draft| draft.enabled).map(|draft| (draft, Arc::new(draft.probe())));
    let check = |(own, address): (Option<&CheckDraft>, &ServerAddress)| match (own, &shared) {
        (Some(own), _) if own.enabled => {
            let merged = own.over(backend);
            Some(merged.check(Arc::new(merged.probe()), address, speech))
        }
        (None, Some((draft, probe))) => Some(draft.check(probe.clone(), address, speech)),
        _ => None,
    };
    servers.map(check).collect()
}

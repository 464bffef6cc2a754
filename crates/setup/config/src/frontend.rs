//! `[frontends.NAME]`: the keys of a frontend, and the lists of addresses to listen on.
//!
//! Owns their lists of keys; leaves references and conflicts between frontends to `check`.
//!
//! Invariant: every frontend of the file becomes a draft, however wrong, so that what refers to it
//! is judged rightly.

use tidegate_http1::Limits;
use tidegate_tls::Protocol;
use toml::de::DeValue;

use crate::diagnostic::{Problem, Span, quoted};
use crate::http2::FRONTEND_HTTP2_KEYS;
use crate::log::LogDraft;
use crate::model::{Bind, BindAddress, Frontend, FrontendTimeouts, Mode};
use crate::pages::{self, PagesDraft};
use crate::rules::{self, RulesDraft};
use crate::templates::Templates;
use crate::tls::{self, BindTlsDraft};
use crate::walk::{Key, Node, key, set, unsupported, walk};
use crate::{address, compression, defaults, headers};

/// A frontend while its file is read.
pub(crate) struct FrontendDraft {
    pub frontend: Frontend,
    pub name_span: Span,
    /// `bind` stands in the file, readable or not.
    pub bind_written: bool,
    pub default_backend: Reference,
    /// Where `max_connections` stands.
    pub max_connections_span: Span,
    pub log: LogDraft,
    pub error_pages: PagesDraft,
    pub rules: RulesDraft,
    /// TLS of the binds, in their order.
    pub bind_tls: Vec<Option<BindTlsDraft>>,
}

/// A name that stands for something defined elsewhere in the file.
pub(crate) enum Reference {
    /// The key is not in the file.
    Absent,
    /// It is, and its value has been reported.
    Unreadable,
    /// It is.
    Name(String, Span),
}

pub(crate) const FRONTEND_KEYS: &[Key<FrontendDraft>] = &[
    key("bind", "[\"127.0.0.1:8080\"]", |draft, node| {
        draft.bind_written = true;
        (draft.frontend.binds, draft.bind_tls) =
            binds(node).into_iter().filter_map(BindDraft::finish).unzip();
    }),
    key("default_backend", "\"app\"", |draft, node| {
        draft.default_backend = match node.string() {
            Some(name) => Reference::Name(name.to_owned(), node.span),
            None => Reference::Unreadable,
        };
    }),
    key("mode", "\"http\"", |draft, node| set(&mut draft.frontend.mode, mode(node))),
    key("max_connections", "10_000", |draft, node| {
        draft.frontend.max_connections = node.integer(defaults::MAX_CONNECTIONS_RANGE);
        draft.max_connections_span = node.span;
    }),
    key("forwarded_for", "true", |draft, node| {
        set(&mut draft.frontend.forwarded_for, headers::forwarded_for(node));
    }),
    key("request_id", "\"X-Request-Id\"", |draft, node| {
        set(&mut draft.frontend.request_id, headers::request_id(node).map(Some));
    }),
    key("via", "\"tidegate\"", |draft, node| {
        set(&mut draft.frontend.via, headers::via(node).map(Some));
    }),
    key("traceparent", "true", |draft, node| {
        set(&mut draft.frontend.traceparent, headers::traceparent(node));
    }),
    key("compression", "{ codings = [\"gzip\"] }", |draft, node| {
        set(&mut draft.frontend.compression, compression::read(node).map(Some));
    }),
    key("http2", "{ max_lifetime = \"1h\" }", |draft, node| {
        walk(node, FRONTEND_HTTP2_KEYS, &mut draft.frontend.http2);
    }),
    key("error_pages", "{ 503 = \"pages/503.html\" }", |draft, node| {
        draft.error_pages = pages::read(node);
    }),
    key("conditions", "{ is_api = 'request.path.startsWith(\"/api/\")' }", |draft, node| {
        rules::conditions(&mut draft.rules, node);
    }),
    key("rules", "[{ when = 'request.path == \"/admin\"', deny = true }]", |draft, node| {
        rules::request_rules(&mut draft.rules, node);
    }),
    key("response_rules", "[{ remove_headers = [\"Server\"] }]", |draft, node| {
        rules::response_rules(&mut draft.rules, node);
    }),
    key("header_limits", "{ bytes = \"16KiB\", count = 100 }", |draft, node| {
        walk(node, HEADER_LIMIT_KEYS, &mut draft.frontend.header_limits);
    }),
    key("timeouts", "{ client = \"30s\" }", |draft, node| {
        walk(node, FRONTEND_TIMEOUT_KEYS, &mut draft.frontend.timeouts);
    }),
    key("log_format", "\"json\"", |draft, node| draft.log.read_format(node)),
    key("log_headers", "{ request = [\"Host\"] }", |draft, node| draft.log.read_headers(node)),
    key("log_sampling", "{ one_in = 10 }", |draft, node| draft.log.read_sampling(node)),
    key("log_empty_connections", "true", |draft, node| draft.log.read_empty_connections(node)),
    unsupported("connection_limits"),
];

pub(crate) const FRONTEND_TIMEOUT_KEYS: &[Key<FrontendTimeouts>] = &[
    key("tls_handshake", "\"10s\"", |timeouts, node| {
        set(&mut timeouts.tls_handshake, node.timeout());
    }),
    key("client", "\"30s\"", |timeouts, node| set(&mut timeouts.client, node.timeout())),
    key("request_head", "\"10s\"", |timeouts, node| {
        set(&mut timeouts.request_head, node.timeout());
    }),
    key("request_body", "\"30s\"", |timeouts, node| {
        set(&mut timeouts.request_body, node.timeout());
    }),
    key("keep_alive", "\"60s\"", |timeouts, node| set(&mut timeouts.keep_alive, node.timeout())),
];

pub(crate) const HEADER_LIMIT_KEYS: &[Key<Limits>] = &[
    key("bytes", "\"16KiB\"", |limits, node| {
        set(&mut limits.head_bytes_max, node.size(defaults::HEAD_BYTES_RANGE));
    }),
    key("count", "100", |limits, node| {
        set(&mut limits.headers_count_max, node.integer(defaults::HEADERS_COUNT_RANGE));
    }),
    key("target_bytes", "\"8KiB\"", |limits, node| {
        set(&mut limits.target_bytes_max, node.size(defaults::HEAD_BYTES_RANGE));
    }),
];

/// One element of a `bind` list: the address, where it stands, and what is spoken there.
#[derive(Default)]
pub(crate) struct BindDraft {
    address: Option<BindAddress>,
    span: Span,
    written: bool,
    protocols: Option<(Vec<Protocol>, Span)>,
    tls: Option<BindTlsDraft>,
    /// Where `tls` stands.
    tls_span: Option<Span>,
}

pub(crate) const BIND_KEYS: &[Key<BindDraft>] = &[
    key("address", "\"127.0.0.1:8080\"", |draft, node| {
        (draft.address, draft.span, draft.written) = (bind_address(node), node.span, true);
    }),
    unsupported("accept_proxy"),
    key("protocols", "[\"http/1.1\"]", |draft, node| {
        draft.protocols = tls::protocols(node).map(|protocols| (protocols, node.name_span));
    }),
    key("tls", "{ certificates = [\"certs/site.pem\"] }", |draft, node| {
        draft.tls = BindTlsDraft::read(node);
        draft.tls_span = Some(node.name_span);
    }),
];

/// Reads one frontend on top of `[defaults]`.
pub(crate) fn read(node: &Node<'_>, templates: &Templates) -> FrontendDraft {
    let mut draft = FrontendDraft {
        frontend: Frontend { name: node.name.into(), ..templates.frontend.clone() },
        name_span: node.name_span,
        bind_written: node.obscures("bind"),
        default_backend: Reference::Absent,
        max_connections_span: Span::default(),
        error_pages: PagesDraft::default(),
        rules: RulesDraft::default(),
        bind_tls: Vec::new(),
        log: templates.log.clone(),
    };
    walk(node, FRONTEND_KEYS, &mut draft);
    draft.frontend.log = draft.log.finish(node.problems);
    draft
}

/// What a frontend speaks.
pub(crate) fn mode(node: &Node<'_>) -> Option<Mode> {
    let text = node.string()?;
    let problem = match text {
        "http" => return Some(Mode::Http),
        "tcp" => Problem::error(node.span, "mode `tcp` is not supported by this version"),
        _ => Problem::error(node.span, format!("there is no mode {}", quoted(text))),
    };
    node.report(problem.help("write \"http\""));
    None
}

/// A list of addresses to listen on: strings, or tables with an `address`.
pub(crate) fn binds(node: &Node<'_>) -> Vec<BindDraft> {
    if let DeValue::String(text) = node.value {
        let problem = Problem::error(
            node.span,
            format!("{} must be a list of addresses", quoted(&node.path())),
        );
        let shown = quoted(text);
        node.report(
            problem.help(format!("put it in brackets: bind = [\"{}\"]", shown.trim_matches('`'))),
        );
        return Vec::new();
    }
    let Some(elements) = node.elements() else { return Vec::new() };
    if elements.is_empty() {
        let message = format!("{} is empty: nothing would be listened on", quoted(&node.path()));
        node.report(
            Problem::error(node.span, message).help("for example bind = [\"127.0.0.1:8080\"]"),
        );
    }
    elements.iter().filter_map(|element| bind(element)).collect()
}

impl BindDraft {
    /// The bind, and TLS as far as it was read; none: its address was wrong.
    fn finish(self) -> Option<(Bind, Option<BindTlsDraft>)> {
        let alpn = self.tls.as_ref().and_then(BindTlsDraft::alpn);
        let protocols = alpn.or(self.protocols.as_ref()).map(|(protocols, _)| protocols.clone());
        let protocols = protocols.unwrap_or_else(|| match &self.tls {
            Some(_) => defaults::TLS_PROTOCOLS.to_vec(),
            None => defaults::PROTOCOLS.to_vec(),
        });
        let bind = Bind { address: self.address?, span: self.span, protocols, tls: None };
        Some((bind, self.tls))
    }

    /// The bind, which speaks HTTP/1.1 in the clear.
    pub fn plain(self, node: &Node<'_>) -> Option<Bind> {
        let protocols = self.protocols.as_ref().map(|(_, span)| ("protocols", *span));
        let written = protocols.into_iter().chain(self.tls_span.map(|span| ("tls", span)));
        for (key, span) in written {
            let message =
                format!("`{key}` of {} is not supported by this version", quoted(&node.path()));
            node.report(Problem::error(span, message).help("remove it"));
        }
        self.finish().map(|(bind, _)| bind)
    }
}

fn bind(element: &Node<'_>) -> Option<BindDraft> {
    match element.value {
        DeValue::String(_) => {
            let address = bind_address(element);
            Some(BindDraft { address, span: element.span, ..BindDraft::default() })
        }
        DeValue::Table(_) => {
            let mut draft = BindDraft::default();
            walk(element, BIND_KEYS, &mut draft);
            if !draft.written {
                let message = format!("an entry of {} has no `address`", quoted(&element.path()));
                element.report(
                    Problem::error(element.span, message)
                        .absent()
                        .help("for example address = \"127.0.0.1:8080\""),
                );
            }
            if let (Some((_, span)), Some((_, alpn))) =
                (&draft.protocols, draft.tls.as_ref().and_then(BindTlsDraft::alpn))
            {
                let problem = Problem::error(*span, "`protocols` and `tls.alpn` say the same");
                let problem = problem.note("`alpn` stands at", *alpn);
                element.report(problem.help("keep one of them"));
            }
            Some(draft)
        }
        _ => element.wrong_type("a list of addresses in quotes, or of tables with an `address`"),
    }
}

fn bind_address(node: &Node<'_>) -> Option<BindAddress> {
    match address::bind(node.string()?) {
        Ok(address) => Some(address),
        Err(error) => {
            node.report(Problem::error(node.span, error.message).help(error.help));
            None
        }
    }
}

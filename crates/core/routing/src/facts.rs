//! What rules, templates and the log can ask, with the edits that were made so far.
//!
//! Owns the answers: the overlay first, then what was received. Leaves decoding to `derived`.
//! Invariant: an answer is what parsing the edited head anew would give.

use std::net::IpAddr;

use tidegate_rules::{
    Address, Facts, FieldIndex, Flag, Key, Keyed, LimitIndex, ListIndex, MapIndex, Number, Text,
    VariableIndex,
};
use tidegate_semantics::cookies;

use crate::overlay::RequestOverlay;
use crate::response_overlay::ResponseOverlay;
use crate::view::{HeaderSource, RequestView, ResponseView, World};

/// A request with its edits.
#[derive(Debug)]
pub struct RequestFacts<'a, H, W> {
    /// As it was received.
    pub view: &'a RequestView<'a, H, W>,
    /// Its edits.
    pub overlay: &'a RequestOverlay,
}

/// A response with its edits, and its request.
#[derive(Debug)]
pub struct ResponseFacts<'a, H, W, R> {
    /// The request.
    pub request: RequestFacts<'a, H, W>,
    /// The response as it was received.
    pub view: &'a ResponseView<'a, R>,
    /// Its edits.
    pub overlay: &'a ResponseOverlay,
}

impl<H: HeaderSource, W: World> RequestFacts<'_, H, W> {
    #[inline]
    fn path(&self) -> &[u8] {
        self.overlay.current_path(self.view.path)
    }

    #[inline]
    fn query(&self) -> Option<&[u8]> {
        self.overlay.current_query(self.view.query)
    }

    #[inline]
    fn authority(&self) -> &[u8] {
        self.overlay.host().unwrap_or(self.view.authority)
    }

    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        if name == b"host" && !self.authority().is_empty() {
            return Some(self.authority());
        }
        let received = match self.overlay.removes(name) {
            true => None,
            false => self.view.headers.find(name),
        };
        received.or_else(|| {
            let mut added = self.overlay.added();
            added.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    /// All fields with the edits, but for what is special about `host`.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let received = self.view.headers.fields();
        received.filter(|(name, _)| !self.overlay.removes(name)).chain(self.overlay.added())
    }

    fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let is_cookie = |(field, _): &(&[u8], &[u8])| field.eq_ignore_ascii_case(b"cookie");
        let in_line = |(_, value)| cookies::find([value], name);
        let received = match self.overlay.removes(b"cookie") {
            true => None,
            false => self.view.headers.fields().filter(is_cookie).find_map(in_line),
        };
        received.or_else(|| self.overlay.added().filter(is_cookie).find_map(in_line))
    }
}

impl<H: HeaderSource, W: World> Facts for RequestFacts<'_, H, W> {
    #[inline]
    fn text(&self, text: Text) -> &[u8] {
        let tls = self.view.tls.as_ref();
        let client = tls.and_then(|tls| tls.client.as_ref());
        match text {
            Text::Path => self.overlay.derived.path(self.path()),
            Text::Host => self.overlay.derived.host(self.authority()),
            Text::Method => self.overlay.method().unwrap_or(self.view.method),
            Text::Query => self.query().unwrap_or_default(),
            Text::Uri if self.overlay.is_target_edited() => {
                self.overlay.derived.uri(self.path(), self.query())
            }
            Text::Uri => self.view.uri,
            Text::Scheme => self.view.scheme,
            Text::Protocol => self.view.protocol,
            Text::RequestId => self.view.id,
            Text::TlsVersion => tls.map_or(b"", |tls| tls.version),
            Text::Sni => tls.map_or(b"", |tls| tls.sni),
            Text::Alpn => tls.map_or(b"", |tls| tls.alpn),
            Text::TlsCipher => tls.map_or(b"", |tls| tls.cipher),
            Text::ClientSubject => client.map_or(b"", |client| client.subject),
            Text::ClientIssuer => client.map_or(b"", |client| client.issuer),
            Text::ClientSerial => client.map_or(b"", |client| client.serial),
            Text::ClientFingerprint => client.map_or(b"", |client| client.fingerprint),
        }
    }

    fn number(&self, number: Number) -> i64 {
        let port = |address: Option<std::net::SocketAddr>| {
            address.map_or(0, |address| i64::from(address.port()))
        };
        match number {
            Number::RequestSize => match self.view.body_bytes {
                Some(bytes) => i64::try_from(bytes).unwrap_or(i64::MAX),
                None => -1,
            },
            Number::SourcePort => port(self.view.peer),
            Number::DestinationPort => port(self.view.local),
            Number::ResponseCode => 0,
            Number::ServersUp => self.view.world.servers_up(),
            Number::Now => i64::try_from(self.view.unix_ms).unwrap_or(i64::MAX),
        }
    }

    fn flag(&self, flag: Flag) -> bool {
        match flag {
            Flag::Tls => self.view.tls.is_some(),
            Flag::Mtls => self.view.tls.is_some_and(|tls| tls.client.is_some()),
        }
    }

    #[inline]
    fn address(&self, address: Address) -> Option<IpAddr> {
        let socket = match address {
            Address::Source => self.view.peer,
            Address::Destination => self.view.local,
        };
        socket.map(|socket| socket.ip())
    }

    #[inline]
    fn keyed(&self, keyed: Keyed, name: &[u8]) -> Option<&[u8]> {
        match keyed {
            Keyed::RequestHeaders => self.header(name),
            Keyed::Cookies => self.cookie(name),
            Keyed::Arguments => {
                self.overlay.derived.argument(self.query().unwrap_or_default(), name)
            }
            Keyed::ResponseHeaders | Keyed::ResponseCookies => None,
        }
    }

    fn visit_request_headers(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        let mut host = Some(self.authority()).filter(|authority| !authority.is_empty());
        for (name, value) in self.fields() {
            if name.len() == 4 && name.eq_ignore_ascii_case(b"host") {
                visit(name, host.take().unwrap_or(value));
            } else {
                visit(name, value);
            }
        }
        if let Some(host) = host {
            visit(b"Host", host);
        }
    }

    fn variable(&self, variable: VariableIndex) -> &[u8] {
        self.overlay.variable(variable)
    }

    fn in_list(&self, list: ListIndex, key: Key<'_>) -> bool {
        self.view.world.in_list(list, key)
    }

    fn rate(&self, limit: LimitIndex, key: Key<'_>) -> f64 {
        self.view.world.rate(limit, key)
    }

    fn lookup(&self, map: MapIndex, key: &[u8]) -> Option<&[u8]> {
        self.view.world.lookup(map, key)
    }

    fn field_text(&self, field: FieldIndex) -> &[u8] {
        self.overlay.log_field(field)
    }
}

impl<H: HeaderSource, W: World, R: HeaderSource> ResponseFacts<'_, H, W, R> {
    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let received = match self.overlay.removes(name) {
            true => None,
            false => self.view.headers.find(name),
        };
        received.or_else(|| {
            let mut added = self.overlay.added();
            added.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    fn set_cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let received = self.view.headers.fields();
        let received = received.filter(|(field, _)| !self.overlay.removes(field));
        let fields = received.chain(self.overlay.added());
        let lines = fields.filter(|(field, _)| field.eq_ignore_ascii_case(b"set-cookie"));
        cookies::find_set(lines.map(|(_, value)| value), name)
    }
}

impl<H: HeaderSource, W: World, R: HeaderSource> Facts for ResponseFacts<'_, H, W, R> {
    #[inline]
    fn text(&self, text: Text) -> &[u8] {
        self.request.text(text)
    }

    fn number(&self, number: Number) -> i64 {
        match number {
            Number::ResponseCode => i64::from(self.overlay.status().unwrap_or(self.view.status)),
            _ => self.request.number(number),
        }
    }

    fn flag(&self, flag: Flag) -> bool {
        self.request.flag(flag)
    }

    fn address(&self, address: Address) -> Option<IpAddr> {
        self.request.address(address)
    }

    fn keyed(&self, keyed: Keyed, name: &[u8]) -> Option<&[u8]> {
        match keyed {
            Keyed::ResponseHeaders => self.header(name),
            Keyed::ResponseCookies => self.set_cookie(name),
            Keyed::RequestHeaders | Keyed::Cookies | Keyed::Arguments => {
                self.request.keyed(keyed, name)
            }
        }
    }

    fn visit_request_headers(&self, visit: impl FnMut(&[u8], &[u8])) {
        self.request.visit_request_headers(visit);
    }

    fn variable(&self, variable: VariableIndex) -> &[u8] {
        self.request.variable(variable)
    }

    fn in_list(&self, list: ListIndex, key: Key<'_>) -> bool {
        self.request.in_list(list, key)
    }

    fn rate(&self, limit: LimitIndex, key: Key<'_>) -> f64 {
        self.request.rate(limit, key)
    }

    fn lookup(&self, map: MapIndex, key: &[u8]) -> Option<&[u8]> {
        self.request.lookup(map, key)
    }

    fn field_text(&self, field: FieldIndex) -> &[u8] {
        self.request.field_text(field)
    }
}

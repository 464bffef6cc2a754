//! A request and its response as the tests make them up.

#![allow(dead_code, reason = "each test uses a part")]

pub mod random;

use std::net::IpAddr;
use tidegate_rules::{
    Address, Condition, Conditions, Environment, Facts, FieldIndex, FieldType, Flag, Key, Keyed,
    LimitIndex, ListIndex, MapIndex, Names, Number, Phase, Problem, Text, ValueList, ValueMap,
    VariableIndex,
};

/// What a test says about a request; everything else is empty.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: Vec<u8>,
    pub host: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub cookies: Vec<(Vec<u8>, Vec<u8>)>,
    pub arguments: Vec<(Vec<u8>, Vec<u8>)>,
    pub response_headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub variable: Vec<u8>,
    pub source: Option<IpAddr>,
    pub source_port: i64,
    pub code: i64,
    pub size: i64,
    pub tls: bool,
    pub mtls: bool,
    pub sni: Vec<u8>,
    pub rate: f64,
    pub list: ValueList,
    pub map: ValueMap,
}

impl Request {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    fn named(&self, keyed: Keyed) -> &[(Vec<u8>, Vec<u8>)] {
        match keyed {
            Keyed::RequestHeaders => &self.headers,
            Keyed::Cookies => &self.cookies,
            Keyed::Arguments => &self.arguments,
            Keyed::ResponseHeaders | Keyed::ResponseCookies => &self.response_headers,
        }
    }
}

impl Facts for Request {
    fn text(&self, text: Text) -> &[u8] {
        match text {
            Text::Method => &self.method,
            Text::Host => &self.host,
            Text::Path | Text::Uri => &self.path,
            Text::Query => &self.query,
            Text::Scheme => b"http",
            Text::Protocol => b"HTTP/1.1",
            Text::RequestId => b"id-1",
            Text::Sni => &self.sni,
            Text::TlsVersion
            | Text::TlsCipher
            | Text::Alpn
            | Text::ClientSubject
            | Text::ClientIssuer
            | Text::ClientSerial
            | Text::ClientFingerprint => b"",
        }
    }

    fn number(&self, number: Number) -> i64 {
        match number {
            Number::RequestSize => self.size,
            Number::SourcePort => self.source_port,
            Number::DestinationPort => 80,
            Number::ResponseCode => self.code,
            Number::ServersUp => 2,
            Number::Now => 1_712_345_678_123,
        }
    }

    fn flag(&self, flag: Flag) -> bool {
        match flag {
            Flag::Tls => self.tls,
            Flag::Mtls => self.mtls,
        }
    }

    fn address(&self, address: Address) -> Option<IpAddr> {
        match address {
            Address::Source => self.source,
            Address::Destination => None,
        }
    }

    fn keyed(&self, keyed: Keyed, name: &[u8]) -> Option<&[u8]> {
        let is_it = |known: &[u8]| {
            if keyed.is_headers() { known.eq_ignore_ascii_case(name) } else { known == name }
        };
        self.named(keyed).iter().find(|(known, _)| is_it(known)).map(|(_, value)| &**value)
    }

    fn visit_request_headers(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        self.headers.iter().for_each(|(name, value)| visit(name, value));
    }

    fn variable(&self, _variable: VariableIndex) -> &[u8] {
        &self.variable
    }

    fn in_list(&self, _list: ListIndex, key: Key<'_>) -> bool {
        self.list.contains(key)
    }

    fn rate(&self, _limit: LimitIndex, _key: Key<'_>) -> f64 {
        self.rate
    }

    fn lookup(&self, _map: MapIndex, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key)
    }

    fn field_text(&self, _field: FieldIndex) -> &[u8] {
        b"--"
    }

    fn field_number(&self, field: FieldIndex) -> i64 {
        i64::from(field.0) + 40
    }
}

/// The names that the tests' expressions use.
pub fn names() -> Names {
    let mut names = Names::default();
    names.declare_list("blocked");
    names.declare_list("partners");
    names.declare_limit("per_client");
    names.declare_variable("tier").expect("a good name");
    names.declare_field("reason", FieldType::Text);
    names.declare_field("times.total_ms", FieldType::Number);
    names
}

/// The conditions that the tests' expressions use.
pub const CONDITIONS: [(&str, &str); 5] = [
    ("is_api", r#"request.path.startsWith("/api/")"#),
    ("is_error", "response.code >= 500"),
    ("is_internal", r#"inIpRange(source.ip, "10.0.0.0/8") || is_local"#),
    ("is_local", r#"inIpRange(source.ip, "127.0.0.0/8")"#),
    ("is_static", r#"[".jpg", ".png", ".css"].exists(s, request.path.endsWith(s))"#),
];

/// Compiles a condition for a phase.
pub fn compile_for(phase: Phase, text: &str) -> Result<Condition, Vec<Problem>> {
    let mut names = names();
    let (conditions, problems) = Conditions::compile(&mut names, CONDITIONS);
    assert_eq!(problems, []);
    let mut environment = Environment { names: &mut names, conditions: &conditions, phase };
    Condition::compile(text, &mut environment)
}

/// Compiles a condition that must be right.
pub fn compile(text: &str) -> Condition {
    compile_for(Phase::Response, text).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

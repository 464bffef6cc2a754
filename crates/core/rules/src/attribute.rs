//! Owns what an expression can ask about: the attributes, their names, types and phases.
//!
//! Leaves the answers to whoever implements [`Facts`](crate::Facts). Invariant: [`ATTRIBUTES`] names
//! every attribute exactly once, so that documentation and suggestions can be made from it.

/// When an expression is evaluated, which decides what it can ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A connection was accepted: nothing is known of requests. Rules in TCP mode.
    Connection,
    /// A request's head was received.
    Request,
    /// The head of its response was received.
    Response,
    /// The exchange ended and is logged; adds the fields of the log.
    Log,
}

impl Phase {
    /// The rules of this phase, as messages call them.
    pub(crate) const fn rules(self) -> &'static str {
        match self {
            Self::Connection => "TCP rules",
            Self::Request => "request rules",
            Self::Response => "response rules",
            Self::Log => "the log",
        }
    }
}

/// Attributes that are strings of bytes. What is not there is the empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Text {
    /// `request.method`, as received.
    Method,
    /// `request.scheme`: `http` or `https`.
    Scheme,
    /// `request.host`: without port. Given in lower case; literals it is compared with are brought
    /// to lower case when they are compiled.
    Host,
    /// `request.path`: normalised, without query.
    Path,
    /// `request.query`: without the question mark.
    Query,
    /// `request.uri`: the target as received.
    Uri,
    /// `request.protocol`: `HTTP/1.0`, `HTTP/1.1`, `HTTP/2`.
    Protocol,
    /// `request.id`.
    RequestId,
    /// `connection.tls_version`.
    TlsVersion,
    /// `connection.tls_cipher`.
    TlsCipher,
    /// `connection.sni`: given in lower case, compared like [`Host`](Self::Host).
    Sni,
    /// `connection.alpn`.
    Alpn,
    /// `connection.client_subject`.
    ClientSubject,
    /// `connection.client_issuer`.
    ClientIssuer,
    /// `connection.client_serial`.
    ClientSerial,
    /// `connection.client_fingerprint`.
    ClientFingerprint,
}

impl Text {
    /// Whether upper and lower case mean the same in it (RFC 9110 §4.2.3, RFC 6066 §3).
    #[must_use]
    pub const fn is_caseless(self) -> bool {
        matches!(self, Self::Host | Self::Sni)
    }
}

/// Attributes that are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Number {
    /// `request.size`: bytes of the body that the head announces; -1 when it does not say.
    RequestSize,
    /// `source.port`.
    SourcePort,
    /// `destination.port`.
    DestinationPort,
    /// `response.code`.
    ResponseCode,
    /// `backend.servers_up`.
    ServersUp,
    /// `now`: milliseconds since 1970 in UTC.
    Now,
}

/// Attributes that are true or false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// `connection.tls`.
    Tls,
    /// `connection.mtls`: the client showed a certificate that was verified.
    Mtls,
}

/// Attributes that are network addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `source.ip`.
    Source,
    /// `destination.ip`.
    Destination,
}

/// Attributes that are asked by name, as in `request.headers["accept"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Keyed {
    /// `request.headers`; names in lower case.
    RequestHeaders,
    /// `request.cookies`; names as they stand.
    Cookies,
    /// `request.args`; names as they stand.
    Arguments,
    /// `response.headers`; names in lower case.
    ResponseHeaders,
    /// `response.cookies`: those that the response sets; names as they stand.
    ResponseCookies,
}

impl Keyed {
    /// Whether its names are those of header fields: tokens without case.
    #[must_use]
    pub const fn is_headers(self) -> bool {
        matches!(self, Self::RequestHeaders | Self::ResponseHeaders)
    }
}

/// An attribute, by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// A string.
    Text(Text),
    /// An int.
    Number(Number),
    /// A bool.
    Flag(Flag),
    /// An address.
    Address(Address),
    /// Strings by name.
    Keyed(Keyed),
}

/// One attribute as operators know it.
#[derive(Clone, Copy, Debug)]
pub struct AttributeRow {
    /// What stands in an expression.
    pub name: &'static str,
    /// What it is.
    pub attribute: Attribute,
    /// The first phase that has it; later phases have it too.
    pub phase: Phase,
}

const fn row(name: &'static str, attribute: Attribute, phase: Phase) -> AttributeRow {
    AttributeRow { name, attribute, phase }
}

/// Every attribute.
pub const ATTRIBUTES: &[AttributeRow] = &[
    row("request.method", Attribute::Text(Text::Method), Phase::Request),
    row("request.scheme", Attribute::Text(Text::Scheme), Phase::Request),
    row("request.host", Attribute::Text(Text::Host), Phase::Request),
    row("request.path", Attribute::Text(Text::Path), Phase::Request),
    row("request.query", Attribute::Text(Text::Query), Phase::Request),
    row("request.uri", Attribute::Text(Text::Uri), Phase::Request),
    row("request.protocol", Attribute::Text(Text::Protocol), Phase::Request),
    row("request.headers", Attribute::Keyed(Keyed::RequestHeaders), Phase::Request),
    row("request.cookies", Attribute::Keyed(Keyed::Cookies), Phase::Request),
    row("request.args", Attribute::Keyed(Keyed::Arguments), Phase::Request),
    row("request.size", Attribute::Number(Number::RequestSize), Phase::Request),
    row("request.id", Attribute::Text(Text::RequestId), Phase::Request),
    row("source.ip", Attribute::Address(Address::Source), Phase::Connection),
    row("source.port", Attribute::Number(Number::SourcePort), Phase::Connection),
    row("destination.ip", Attribute::Address(Address::Destination), Phase::Connection),
    row("destination.port", Attribute::Number(Number::DestinationPort), Phase::Connection),
    row("connection.tls", Attribute::Flag(Flag::Tls), Phase::Connection),
    row("connection.tls_version", Attribute::Text(Text::TlsVersion), Phase::Connection),
    row("connection.tls_cipher", Attribute::Text(Text::TlsCipher), Phase::Connection),
    row("connection.sni", Attribute::Text(Text::Sni), Phase::Connection),
    row("connection.alpn", Attribute::Text(Text::Alpn), Phase::Connection),
    row("connection.mtls", Attribute::Flag(Flag::Mtls), Phase::Connection),
    row("connection.client_subject", Attribute::Text(Text::ClientSubject), Phase::Connection),
    row("connection.client_issuer", Attribute::Text(Text::ClientIssuer), Phase::Connection),
    row("connection.client_serial", Attribute::Text(Text::ClientSerial), Phase::Connection),
    row(
        "connection.client_fingerprint",
        Attribute::Text(Text::ClientFingerprint),
        Phase::Connection,
    ),
    row("response.code", Attribute::Number(Number::ResponseCode), Phase::Response),
    row("response.headers", Attribute::Keyed(Keyed::ResponseHeaders), Phase::Response),
    row("response.cookies", Attribute::Keyed(Keyed::ResponseCookies), Phase::Response),
    row("backend.servers_up", Attribute::Number(Number::ServersUp), Phase::Connection),
    row("now", Attribute::Number(Number::Now), Phase::Connection),
];

//! What rules run over: a received request, its response, and the world around them.
//!
//! Owns the shape in which the data plane hands these in; it stays the owner of the bytes. Leaves the
//! edits to the overlays and attributes to `facts`. Invariant: nothing here is copied or decoded.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_passwords::VerifiedCache;
use tidegate_rules::{Key, LimitIndex, ListIndex, MapIndex};

/// The header fields of a received message.
pub trait HeaderSource {
    /// Name, in any case, and value, without blanks around it, of each field in order.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The value of the first field of the name, which is in lower case.
    fn find(&self, lower_name: &[u8]) -> Option<&[u8]> {
        let mut fields = self.fields();
        fields.find(|(name, _)| name.eq_ignore_ascii_case(lower_name)).map(|(_, value)| value)
    }
}

/// What is known beyond the request; a shard implements it over its snapshot.
pub trait World {
    /// Whether a list holds the key.
    fn in_list(&self, list: ListIndex, key: Key<'_>) -> bool;

    /// The share of a limit that the key has in use: 1.0 is all of it.
    fn rate(&self, limit: LimitIndex, key: Key<'_>) -> f64;

    /// What a map says about the key.
    fn lookup(&self, map: MapIndex, key: &[u8]) -> Option<&[u8]>;

    /// `backend.servers_up`: of the backend that the rules belong to, or of the frontend's default.
    fn servers_up(&self) -> i64;

    /// Calls `ask` with the memory of right credentials and the time in which it counts.
    fn with_verified<T>(&self, ask: impl FnOnce(&VerifiedCache, Duration) -> T) -> T;
}

/// What TLS says about the client's connection. Strings are empty where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tls<'a> {
    /// `TLSv1.3` and the like.
    pub version: &'a [u8],
    /// The suite's name, `TLS_AES_128_GCM_SHA256` and the like.
    pub cipher: &'a [u8],
    /// The name that the client asked for, in lower case.
    pub sni: &'a [u8],
    /// The protocol that was agreed on.
    pub alpn: &'a [u8],
    /// Who the client is, where it showed a certificate that was verified.
    pub client: Option<TlsClient<'a>>,
}

/// What a client's certificate says.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsClient<'a> {
    /// The subject, as RFC 4514 writes it.
    pub subject: &'a [u8],
    /// The issuer, likewise.
    pub issuer: &'a [u8],
    /// The serial number in hexadecimal digits.
    pub serial: &'a [u8],
    /// SHA-256 over the certificate in hexadecimal digits.
    pub fingerprint: &'a [u8],
}

/// A request as it was received.
#[derive(Debug)]
pub struct RequestView<'a, H, W> {
    /// Its header fields.
    pub headers: &'a H,
    /// What is known beyond it.
    pub world: &'a W,
    /// The method.
    pub method: &'a [u8],
    /// The whole target.
    pub uri: &'a [u8],
    /// The path of the target, without query; `*` and the empty path too.
    pub path: &'a [u8],
    /// The query of the target, without its question mark; none and the empty one are not the same.
    pub query: Option<&'a [u8]>,
    /// `host[:port]` that it is for, from its target or its Host field; empty where neither says.
    pub authority: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a [u8],
    /// `HTTP/1.1` and the like.
    pub protocol: &'a [u8],
    /// Bytes of the body that the head announces; none where it does not say.
    pub body_bytes: Option<u64>,
    /// The client; none where it has no address (a local socket).
    pub peer: Option<SocketAddr>,
    /// Where it connected to.
    pub local: Option<SocketAddr>,
    /// The request's id; empty where there is none.
    pub id: &'a [u8],
    /// Milliseconds since 1970 in UTC.
    pub unix_ms: u64,
    /// What TLS says; none without TLS.
    pub tls: Option<Tls<'a>>,
}

impl<H, W> Clone for RequestView<'_, H, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H, W> Copy for RequestView<'_, H, W> {}

/// The head of a response as it was received.
#[derive(Debug)]
pub struct ResponseView<'a, R> {
    /// Its header fields.
    pub headers: &'a R,
    /// Its status.
    pub status: u16,
}

impl<R> Clone for ResponseView<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for ResponseView<'_, R> {}

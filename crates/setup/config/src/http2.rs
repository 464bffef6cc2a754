//! `http2`: what connections with HTTP/2 may carry, and for how long: those of clients and those to servers.
//!
//! Owns the types and their keys; leaves what they mean to the data plane. Invariant: a connection may carry something.

use std::time::Duration;

use crate::defaults;
use crate::walk::{Key, key, set};

pub(crate) const HTTP2_KEYS: &[Key<BackendHttp2>] = &[
    key("max_streams", "100", |http2, node| {
        set(&mut http2.max_streams, node.integer(defaults::HTTP2_MAX_STREAMS_RANGE));
    }),
    key("ping_after", "\"30s\"", |http2, node| set(&mut http2.ping_after, node.timeout())),
    key("ping_timeout", "\"10s\"", |http2, node| set(&mut http2.ping_timeout, node.timeout())),
];

pub(crate) const FRONTEND_HTTP2_KEYS: &[Key<FrontendHttp2>] =
    &[key("max_lifetime", "\"24h\"", |http2, node| set(&mut http2.max_lifetime, node.timeout()))];

/// For how long clients keep a connection with HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendHttp2 {
    /// From accepting to telling the client to make another connection, 1 ms to 30 days.
    pub max_lifetime: Duration,
}

impl Default for FrontendHttp2 {
    fn default() -> Self {
        Self { max_lifetime: defaults::HTTP2_MAX_LIFETIME }
    }
}

/// What connections with HTTP/2 to servers may carry, and how it is found out that they are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendHttp2 {
    /// Requests at a time on one connection, unless the server allows fewer.
    pub max_streams: u32,
    /// Silence after which the server is asked whether it is there.
    pub ping_after: Duration,
    /// How long it may take to answer.
    pub ping_timeout: Duration,
}

impl Default for BackendHttp2 {
    fn default() -> Self {
        Self {
            max_streams: defaults::HTTP2_MAX_STREAMS,
            ping_after: defaults::HTTP2_PING_AFTER,
            ping_timeout: defaults::HTTP2_PING_TIMEOUT,
        }
    }
}

//! `http2`: what connections with HTTP/2 to servers may carry.
//!
//! Owns the type and its keys; leaves what they mean to the data plane. Invariant: a connection may carry something.

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

//! The version of HTTP that a client speaks, whatever the text says that its requests show as.
//!
//! Owns how it is called in logs, rules and `Via`. Invariant: what the client spoke is told, not what carries it here.

use tidegate_http1::Version;
use tidegate_semantics::via::ReceivedProtocol;

use crate::client::Client;

/// A version as the client spoke it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Spoken {
    /// The version of a request with this text.
    pub(crate) fn of(client: &Client, text: Version) -> Spoken {
        match text {
            _ if client.socket.is_http2() => Spoken::Http2,
            Version::Http10 => Spoken::Http10,
            Version::Http11 => Spoken::Http11,
        }
    }

    /// How it is called in logs and rules.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Spoken::Http10 => "HTTP/1.0",
            Spoken::Http11 => "HTTP/1.1",
            Spoken::Http2 => "HTTP/2.0",
        }
    }

    /// In an entry of `Via`.
    pub(crate) fn received(self) -> ReceivedProtocol {
        match self {
            Spoken::Http10 => ReceivedProtocol::Http10,
            Spoken::Http11 => ReceivedProtocol::Http11,
            Spoken::Http2 => ReceivedProtocol::Http2,
        }
    }
}

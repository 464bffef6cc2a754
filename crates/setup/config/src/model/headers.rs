//! What a proxy adds to messages, and compression: plain values.
//!
//! Owns the types; leaves the making of the header fields to `tidegate_semantics`, whose types say what was configured
//! where they fit, and the reading to the section files.
//!
//! Invariant: no list here is empty where an empty one would do nothing.

use tidegate_rules::Network;
use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::compressible::MediaTypes;
use tidegate_semantics::forwarded::Received;

use crate::defaults;

/// `forwarded_for`: who the request came from, told to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// What is told; never empty, none twice.
    pub headers: Vec<ForwardedHeader>,
    /// Peers that are believed: what they sent is treated as `trusted` says. Never empty.
    pub trust: Vec<Network>,
    /// What becomes of the fields that a peer in `trust` sent.
    pub trusted: Received,
    /// What becomes of those of any other peer.
    pub untrusted: Received,
}

impl Forwarding {
    /// What `forwarded_for = true` says: `X-Forwarded-For` with the client's address at its end, whoever the client is.
    #[must_use]
    pub fn append() -> Self {
        Self {
            headers: vec![ForwardedHeader::For],
            trust: every_address(),
            trusted: Received::Append,
            untrusted: Received::Replace,
        }
    }
}

/// The networks that hold every address.
pub(crate) fn every_address() -> Vec<Network> {
    ["0.0.0.0/0", "::/0"].map(|text| text.parse().expect("a network")).into()
}

/// A field that tells where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: the addresses.
    For,
    /// `X-Forwarded-Proto`: `http` or `https`.
    Proto,
    /// `X-Forwarded-Host`: the `Host` received.
    Host,
    /// `X-Forwarded-Port`: the port that was connected to.
    Port,
    /// `Forwarded` (RFC 7239) with `for`, `host` and `proto`.
    Forwarded,
}

impl ForwardedHeader {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::For, Self::Proto, Self::Host, Self::Port, Self::Forwarded];

    /// Its name in lower case, as the configuration has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::For => "x-forwarded-for",
            Self::Proto => "x-forwarded-proto",
            Self::Host => "x-forwarded-host",
            Self::Port => "x-forwarded-port",
            Self::Forwarded => "forwarded",
        }
    }
}

/// `compression`: which responses are compressed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// What is offered, the preferred first; never empty, none twice.
    pub codings: Vec<Coding>,
    /// Media types that are compressed.
    pub types: MediaTypes,
    /// Shorter bodies are sent as they are, in bytes.
    pub bytes_min: u64,
    /// The level of each coding.
    pub levels: CompressionLevels,
}

/// The level of each coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressionLevels {
    /// 1 to 9.
    pub gzip: u8,
    /// 2 to 6.
    pub brotli: u8,
    /// 1 to 9.
    pub zstd: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            codings: defaults::COMPRESSION_CODINGS.to_vec(),
            types: MediaTypes::parse(defaults::COMPRESSION_TYPES.iter().copied())
                .expect("the default media types are patterns"),
            bytes_min: defaults::COMPRESSION_BYTES_MIN,
            levels: CompressionLevels::default(),
        }
    }
}

impl Default for CompressionLevels {
    fn default() -> Self {
        Self {
            gzip: defaults::GZIP_LEVEL,
            brotli: defaults::BROTLI_LEVEL,
            zstd: defaults::ZSTD_LEVEL,
        }
    }
}

//! Versions, cipher suites, groups and protocols by the names that operators know.
//!
//! Owns the names, the defaults, and the provider made of a choice; leaves the cryptography to aws-lc-rs. Invariant: what has
//! a name here is supported, and nothing that is supported is weak.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// From one version to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub min: Version,
    /// The highest; not below the lowest.
    pub max: Version,
}

impl Default for Versions {
    /// Both: without TLS 1.2 clients of before 2018 are left out, and its suites here are not weak.
    fn default() -> Self {
        Self { min: Version::Tls12, max: Version::Tls13 }
    }
}

impl Versions {
    /// Whether it is among them.
    #[must_use]
    pub fn contains(self, version: Version) -> bool {
        (self.min..=self.max).contains(&version)
    }

    pub(crate) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let all =
            [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
        all.into_iter().filter(|(version, _)| self.contains(*version)).map(|(_, v)| v).collect()
    }
}

/// A protocol that is spoken inside (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `http/1.1`
    Http1,
    /// `h2`
    Http2,
}

impl Protocol {
    /// Its name in ALPN.
    #[must_use]
    pub const fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }

    /// The protocol of that name in ALPN.
    #[must_use]
    pub fn from_alpn(name: &[u8]) -> Option<Self> {
        [Self::Http1, Self::Http2].into_iter().find(|protocol| protocol.alpn().as_bytes() == name)
    }
}

/// A cipher suite: its place in [`CIPHERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cipher(usize);

/// The names of all cipher suites, in the order of preference: as registered with IANA. AES-128 comes first: its handshakes hash with SHA-256,
/// which processors have instructions for, where those of AES-256 take SHA-384, a fifth more of a whole handshake's time.
pub const CIPHERS: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// What OpenSSL calls them, in the order of [`CIPHERS`]; those of TLS 1.3 have one name.
const OPENSSL: [&str; 9] = [
    "",
    "",
    "",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

static SUITES: [SupportedCipherSuite; 9] = [
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

impl Cipher {
    /// The suite that IANA or OpenSSL calls so, in any case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let is_it = |known: &&str| !known.is_empty() && known.eq_ignore_ascii_case(name);
        let place = CIPHERS.iter().position(&is_it);
        place.or_else(|| OPENSSL.iter().position(is_it)).map(Self)
    }

    /// Its name at IANA.
    #[must_use]
    pub fn name(self) -> &'static str {
        CIPHERS.get(self.0).copied().unwrap_or_default()
    }

    /// The version of TLS that it belongs to.
    #[must_use]
    pub fn version(self) -> Version {
        match SUITES.get(self.0) {
            Some(SupportedCipherSuite::Tls12(_)) => Version::Tls12,
            _ => Version::Tls13,
        }
    }
}

/// A group of a key exchange: its place in [`GROUPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group(usize);

/// The names of all groups, as registered with IANA.
pub const GROUPS: [&str; 5] = ["X25519MLKEM768", "x25519", "secp256r1", "secp384r1", "MLKEM768"];

static KX: [&dyn SupportedKxGroup; 5] = [
    aws_lc_rs::kx_group::X25519MLKEM768,
    aws_lc_rs::kx_group::X25519,
    aws_lc_rs::kx_group::SECP256R1,
    aws_lc_rs::kx_group::SECP384R1,
    aws_lc_rs::kx_group::MLKEM768,
];

/// To clients the hybrid group comes first: what is recorded today stays closed to the machines of tomorrow. It is used only
/// where the client offers it.
const SERVER_GROUPS: [usize; 4] = [0, 1, 2, 3];

/// To servers it is left out: it makes the first message a kilobyte longer, for traffic that seldom leaves the operator's
/// network.
const CLIENT_GROUPS: [usize; 3] = [1, 2, 3];

impl Group {
    /// The group of that name, in any case; `P-256`, `P-384` and OpenSSL's `prime256v1` are names too.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let name = match name.to_ascii_lowercase().as_str() {
            "p-256" | "prime256v1" => "secp256r1",
            "p-384" => "secp384r1",
            _ => name,
        };
        GROUPS.iter().position(|known| known.eq_ignore_ascii_case(name)).map(Self)
    }

    /// Its name at IANA.
    #[must_use]
    pub fn name(self) -> &'static str {
        GROUPS.get(self.0).copied().unwrap_or_default()
    }
}

/// Which side of a connection the provider is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// The provider with these suites and groups; an empty list means the defaults.
pub(crate) fn provider(side: Side, ciphers: &[Cipher], groups: &[Group]) -> Arc<CryptoProvider> {
    let of_side: &[usize] = match side {
        Side::Server => &SERVER_GROUPS,
        Side::Client => &CLIENT_GROUPS,
    };
    let cipher_suites = match ciphers {
        [] => SUITES.to_vec(),
        chosen => chosen.iter().filter_map(|cipher| SUITES.get(cipher.0).copied()).collect(),
    };
    let kx_groups = match groups {
        [] => of_side.iter().filter_map(|place| KX.get(*place).copied()).collect(),
        chosen => chosen.iter().filter_map(|group| KX.get(group.0).copied()).collect(),
    };
    Arc::new(CryptoProvider { cipher_suites, kx_groups, ..aws_lc_rs::default_provider() })
}

/// Whether any of the suites belongs to each of the versions.
pub(crate) fn version_without_cipher(versions: Versions, ciphers: &[Cipher]) -> Option<Version> {
    let has = |version| ciphers.iter().any(|cipher| cipher.version() == version);
    let wanted = [Version::Tls12, Version::Tls13].into_iter().filter(|v| versions.contains(*v));
    if ciphers.is_empty() { None } else { wanted.into_iter().find(|version| !has(*version)) }
}

/// What logs call a version.
pub(crate) fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "",
    }
}

/// What IANA calls a suite.
pub(crate) fn suite_name(suite: Option<SupportedCipherSuite>) -> &'static str {
    let place = suite.and_then(|suite| SUITES.iter().position(|known| *known == suite));
    place.map_or("", |place| CIPHERS[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_suites_and_groups() {
        for (name, suite) in CIPHERS.iter().zip(&SUITES) {
            let rustls = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            assert_eq!(*name, rustls);
            assert_eq!(Cipher::named(&name.to_lowercase()).map(Cipher::name), Some(*name));
        }
        for (name, group) in GROUPS.iter().zip(&KX) {
            assert!(format!("{:?}", group.name()).eq_ignore_ascii_case(name), "{name}");
            assert_eq!(Group::named(name).map(Group::name), Some(*name));
        }
        let openssl = Cipher::named("ECDHE-RSA-AES128-GCM-SHA256").expect("a name of OpenSSL");
        assert_eq!(openssl.name(), "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(openssl.version(), Version::Tls12);
        assert_eq!(Cipher::named(""), None);
        assert_eq!(Group::named("P-256"), Group::named("secp256r1"));
    }

    #[test]
    fn a_version_without_a_suite_is_found() {
        let tls13 = [Cipher::named("TLS_AES_128_GCM_SHA256").expect("known")];
        assert_eq!(version_without_cipher(Versions::default(), &tls13), Some(Version::Tls12));
        let only13 = Versions { min: Version::Tls13, max: Version::Tls13 };
        assert_eq!(version_without_cipher(only13, &tls13), None);
        assert_eq!(version_without_cipher(only13, &[]), None);
    }
}

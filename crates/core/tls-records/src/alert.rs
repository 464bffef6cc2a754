//! Alerts: what they are called and what a received one means.
//!
//! Owns the codes and their levels (RFC 8446 §6, RFC 5246 §7.2). Leaves sealing them to the sealer, and ending the connection to
//! the user. Invariant: an alert that this side cannot interpret ends the connection.

use crate::Version;

/// What an alert says: its code of the registry. The level follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// No more data will be sent.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// A message or a record that may not come now.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record whose tag is wrong.
    pub const BAD_RECORD_MAC: Self = Self(20);
    /// A record that is too long.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// A field that may not have this value.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message that cannot be read.
    pub const DECODE_ERROR: Self = Self(50);
    /// A version that is not supported.
    pub const PROTOCOL_VERSION: Self = Self(70);
    /// A fault of the sender of the alert.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// The peer's user broke off; close_notify follows.
    pub const USER_CANCELED: Self = Self(90);
    /// The answer of TLS 1.2 to a renegotiation that is not wanted.
    pub const NO_RENEGOTIATION: Self = Self(100);

    /// The two bytes of the alert: level and code. Those that leave the other direction as it is are warnings (RFC 8446 §6.1,
    /// RFC 5246 §7.2.2), all others are fatal.
    #[must_use]
    pub fn encode(self) -> [u8; 2] {
        match self {
            Self::CLOSE_NOTIFY | Self::USER_CANCELED | Self::NO_RENEGOTIATION => [WARNING, self.0],
            _ => [FATAL, self.0],
        }
    }

    /// Its name in the registry, where it is one that TLS 1.2 or 1.3 defines.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => return None,
        })
    }
}

impl std::fmt::Display for Alert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "alert {}", self.0),
        }
    }
}

const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What a received alert asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The peer sends no more: the end of its data, and the only end that is not a cut. What comes after it is ignored.
    Closed,
    /// A warning. The connection goes on; the opener bounds how often.
    Warning(Alert),
    /// The peer has ended the connection; nothing may be sent on it.
    Fatal(Alert),
}

/// Why an alert cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlertError {
    /// It has not two bytes. More than one alert in a record is refused, as TLS 1.3 does (RFC 8446 §5.1) and no sender of TLS 1.2
    /// needs.
    Length,
    /// Its level is neither warning nor fatal.
    Level,
}

impl AlertError {
    /// The alert to end the connection with.
    #[must_use]
    pub fn alert(self) -> Alert {
        match self {
            Self::Length => Alert::DECODE_ERROR,
            Self::Level => Alert::ILLEGAL_PARAMETER,
        }
    }
}

impl std::fmt::Display for AlertError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Length => "an alert that has not two bytes",
            Self::Level => "an alert of a level that does not exist",
        })
    }
}

impl std::error::Error for AlertError {}

/// Reads the plaintext of a record of alerts.
///
/// # Errors
///
/// It is none.
pub fn read_alert(version: Version, plaintext: &[u8]) -> Result<Notice, AlertError> {
    let &[level, code] = plaintext else { return Err(AlertError::Length) };
    let alert = Alert(code);
    match (version, level, alert) {
        (_, WARNING | FATAL, Alert::CLOSE_NOTIFY) => Ok(Notice::Closed),
        // TLS 1.3 says what is fatal by the code alone (RFC 8446 §6).
        (Version::Tls13, WARNING | FATAL, Alert::USER_CANCELED) => Ok(Notice::Warning(alert)),
        (Version::Tls13, WARNING | FATAL, _) | (Version::Tls12, FATAL, _) => {
            Ok(Notice::Fatal(alert))
        }
        (Version::Tls12, WARNING, _) => Ok(Notice::Warning(alert)),
        _ => Err(AlertError::Level),
    }
}

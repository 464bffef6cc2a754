//! Names as they are asked for.
//!
//! Owns which texts are names; leaves their form on the wire to `message`. Invariant: a name is in lower case, has no dot at its end,
//! and fits into a message.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// RFC 1035 §3.1: 255 bytes on the wire, two of which the text does not have.
const NAME_BYTES_MAX: usize = 253;

/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// A name of the DNS, such as `app.internal` or `_http._tcp.app.internal`. It is always whole: no domain is added to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing, or nothing between two dots.
    EmptyLabel,
    /// Letters, digits, `-` and `_` make up a name.
    Character(char),
    /// A part begins or ends with `-`.
    Hyphen,
    /// A part is longer than 63 bytes.
    LabelTooLong,
    /// It is longer than 253 bytes.
    TooLong,
    /// Its last part is a number: it looks like an address that is not one.
    Number,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyLabel => f.write_str("a part of it is empty"),
            Self::Character(character) => write!(f, "it contains {character:?}"),
            Self::Hyphen => f.write_str("a part of it begins or ends with `-`"),
            Self::LabelTooLong => write!(f, "a part of it is longer than {LABEL_BYTES_MAX} bytes"),
            Self::TooLong => write!(f, "it is longer than {NAME_BYTES_MAX} bytes"),
            Self::Number => f.write_str("its last part is a number"),
        }
    }
}

impl std::error::Error for NameError {}

impl DnsName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names a service (RFC 2782), whose records say where it is: `_http._tcp.app.internal`.
    #[must_use]
    pub fn is_service(&self) -> bool {
        let mut labels = self.0.split('.');
        let marked = |label: Option<&str>| label.is_some_and(|label| label.starts_with('_'));
        marked(labels.next()) && marked(labels.next()) && labels.next().is_some()
    }

    /// Whether it names this machine whatever resolvers say (RFC 6761 §6.3).
    #[must_use]
    pub fn is_localhost(&self) -> bool {
        self.0.rsplit('.').next() == Some("localhost")
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if let Some(character) = text.chars().find(|c| *c != '.' && !allowed(*c)) {
            return Err(NameError::Character(character));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        let mut last = "";
        for label in text.split('.') {
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            if label.len() > LABEL_BYTES_MAX {
                return Err(NameError::LabelTooLong);
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(NameError::Hyphen);
            }
            last = label;
        }
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameError::Number);
        }
        Ok(DnsName(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_and_says_what_is_none() {
        for (text, name) in [
            ("app.internal", Ok("app.internal")),
            ("App.Internal.", Ok("app.internal")),
            ("localhost", Ok("localhost")),
            ("_http._tcp.app", Ok("_http._tcp.app")),
            ("a-b.1a", Ok("a-b.1a")),
            ("1.2.3.4", Err(NameError::Number)),
            ("app.7", Err(NameError::Number)),
            ("", Err(NameError::EmptyLabel)),
            (".", Err(NameError::EmptyLabel)),
            ("a..b", Err(NameError::EmptyLabel)),
            ("a b", Err(NameError::Character(' '))),
            ("-a.b", Err(NameError::Hyphen)),
            ("a-.b", Err(NameError::Hyphen)),
            ("bücher.example", Err(NameError::Character('ü'))),
        ] {
            let read = text.parse::<DnsName>();
            assert_eq!(read.as_ref().map(DnsName::as_str), name.as_ref().copied(), "{text}");
        }
        assert_eq!("a".repeat(64).parse::<DnsName>(), Err(NameError::LabelTooLong));
        let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert!(longest.parse::<DnsName>().is_ok());
        assert_eq!(format!("{longest}b").parse::<DnsName>(), Err(NameError::TooLong));
    }

    #[test]
    fn knows_services_and_this_machine() {
        let name = |text: &str| text.parse::<DnsName>().expect("valid");
        assert!(name("_http._tcp.app.internal").is_service());
        assert!(!name("_http.app.internal").is_service());
        assert!(!name("_http._tcp").is_service());
        assert!(name("localhost").is_localhost() && name("db.localhost").is_localhost());
        assert!(!name("localhost.example").is_localhost());
    }
}

//! The words of syslog: how bad a message is, and which part of the system it is from (RFC 5424 §6.2.1).
//!
//! Owns the names and numbers; leaves the text around a message to `syslog`. Invariant: a value written as a number
//! is one that the RFC defines.

/// How bad a message is; the numbers are those of the RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// 0: the system is unusable.
    Emergency,
    /// 1: somebody must act at once.
    Alert,
    /// 2: critical.
    Critical,
    /// 3: an error.
    Error,
    /// 4: a warning.
    Warning,
    /// 5: normal, but worth attention.
    Notice,
    /// 6: for information.
    Info,
    /// 7: for debugging.
    Debug,
}

impl Severity {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// The number in a syslog message.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The severity with this number; `None` above 7.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// Which part of the system a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Facility(u8);

impl Facility {
    /// `local0`, which most installations of a proxy use.
    pub const LOCAL0: Self = Self(16);

    /// Every name with its number. Where two names have one number the first is the usual one; `auth2` and `cron2`
    /// are HAProxy's.
    pub const NAMES: &'static [(&'static str, u8)] = &[
        ("kern", 0),
        ("user", 1),
        ("mail", 2),
        ("daemon", 3),
        ("auth", 4),
        ("security", 4),
        ("syslog", 5),
        ("lpr", 6),
        ("news", 7),
        ("uucp", 8),
        ("cron", 9),
        ("authpriv", 10),
        ("auth2", 10),
        ("ftp", 11),
        ("ntp", 12),
        ("audit", 13),
        ("alert", 14),
        ("cron2", 15),
        ("clock", 15),
        ("local0", 16),
        ("local1", 17),
        ("local2", 18),
        ("local3", 19),
        ("local4", 20),
        ("local5", 21),
        ("local6", 22),
        ("local7", 23),
    ];

    /// The facility of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let row = Self::NAMES.iter().find(|(known, _)| *known == name);
        row.map(|(_, code)| Self(*code))
    }

    /// The usual name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, code)| *code == self.0).map_or("local0", |(name, _)| name)
    }

    /// The number that opens a message: facility and severity in one (RFC 5424 §6.2.1), at most 191.
    #[must_use]
    pub const fn priority(self, severity: Severity) -> u8 {
        self.0 * 8 + severity.code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_have_the_numbers_of_the_rfc() {
        for (code, severity) in (0..).zip(Severity::ALL) {
            assert_eq!((severity.code(), Severity::from_code(code)), (code, Some(severity)));
        }
        assert_eq!(Severity::from_code(8), None);
    }

    #[test]
    fn every_facility_has_a_name() {
        for code in 0..24 {
            let facility = Facility(code);
            assert_eq!(Facility::from_name(facility.name()), Some(facility));
        }
        assert_eq!(Facility::from_name("local8"), None);
        assert_eq!(Facility::from_name("auth2"), Facility::from_name("authpriv"));
    }

    #[test]
    fn the_priority_is_that_of_the_rfcs_examples() {
        // RFC 5424 §6.5: 34 is auth.crit, 165 is local4.notice.
        let priority =
            |name, severity| Facility::from_name(name).map(|known| known.priority(severity));
        assert_eq!(priority("auth", Severity::Critical), Some(34));
        assert_eq!(priority("local4", Severity::Notice), Some(165));
        assert_eq!(priority("local7", Severity::Debug), Some(191));
    }
}

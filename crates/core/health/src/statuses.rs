//! Sets of HTTP statuses: `200-399`, `200,204,300-399`.
//!
//! Owns their text and the test for membership. Invariant: members lie in 100 to 599.

use std::fmt;

const WORDS: usize = 10;
const STATUS_MIN: u16 = 100;
const STATUS_MAX: u16 = 599;

/// A set of statuses from 100 to 599; one bit each, so that a test costs no more than a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusSet([u64; WORDS]);

/// Why a text is no set of statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusError {
    /// Nothing is in it.
    Empty,
    /// This part is neither a status nor a range of them.
    Malformed(String),
    /// This status is not in 100 to 599.
    OutOfRange(String),
    /// This range ends before it begins.
    Reversed(String),
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no status is named"),
            Self::Malformed(part) => write!(f, "`{part}` is neither a status nor a range"),
            Self::OutOfRange(part) => write!(f, "`{part}` is not from 100 to 599"),
            Self::Reversed(part) => write!(f, "`{part}` ends before it begins"),
        }
    }
}

impl std::error::Error for StatusError {}

impl StatusSet {
    /// The statuses from `first` to `last`, as far as they are from 100 to 599.
    #[must_use]
    pub const fn range(first: u16, last: u16) -> Self {
        let mut set = Self([0; WORDS]);
        let mut status = if first < STATUS_MIN { STATUS_MIN } else { first };
        while status <= last && status <= STATUS_MAX {
            set.0[(status / 64) as usize] |= 1 << (status % 64);
            status += 1;
        }
        set
    }

    /// Reads statuses and ranges separated by commas.
    ///
    /// # Errors
    /// What is wrong with the first part that is none.
    pub fn parse(text: &str) -> Result<Self, StatusError> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (status(first.trim())?, status(last.trim())?),
                None if part.is_empty() => return Err(StatusError::Empty),
                None => (status(part)?, status(part)?),
            };
            if last < first {
                return Err(StatusError::Reversed(part.to_owned()));
            }
            for (word, more) in set.0.iter_mut().zip(Self::range(first, last).0) {
                *word |= more;
            }
        }
        Ok(set)
    }

    /// Whether `status` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(&self, status: u16) -> bool {
        let word = (status / 64) as usize;
        word < WORDS && self.0[word] & (1 << (status % 64)) != 0
    }
}

fn status(text: &str) -> Result<u16, StatusError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(StatusError::Malformed(text.to_owned()));
    }
    let status = text.parse().ok().filter(|status| (STATUS_MIN..=STATUS_MAX).contains(status));
    status.ok_or_else(|| StatusError::OutOfRange(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str) -> Vec<u16> {
        let set = StatusSet::parse(text).expect("valid");
        (0..=u16::MAX).filter(|status| set.contains(*status)).collect()
    }

    #[test]
    fn reads_statuses_and_ranges() {
        assert_eq!(members("200"), [200]);
        assert_eq!(members("200-399"), (200..=399).collect::<Vec<_>>());
        assert_eq!(members("599, 100,204 - 206"), [100, 204, 205, 206, 599]);
        assert_eq!(StatusSet::range(200, 399), StatusSet::parse("200-399").expect("valid"));
        assert_eq!(StatusSet::range(0, u16::MAX), StatusSet::parse("100-599").expect("valid"));
    }

    #[test]
    fn says_what_is_wrong() {
        use StatusError::{Empty, Malformed, OutOfRange, Reversed};
        for (text, error) in [
            ("", Empty),
            ("200,", Empty),
            ("2xx", Malformed("2xx".into())),
            ("-200", Malformed(String::new())),
            ("200-", Malformed(String::new())),
            ("600", OutOfRange("600".into())),
            ("99-200", OutOfRange("99".into())),
            ("99999999999", OutOfRange("99999999999".into())),
            ("300-200", Reversed("300-200".into())),
            ("+200", Malformed("+200".into())),
        ] {
            assert_eq!(StatusSet::parse(text), Err(error), "{text}");
        }
    }
}

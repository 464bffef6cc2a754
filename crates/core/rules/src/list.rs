//! Owns lists of values and networks, as `inList` looks in them.
//!
//! Leaves reading files and swapping lists at run time to others. Invariant: finding out whether
//! something is in a list takes as long in a long list as in a short one, but for a binary search among
//! the networks.

use crate::facts::Key;
use crate::tables::{ByteTable, Network, RangeTable};
use crate::value::parse_address;
use std::fmt;

/// The most entries of a list: a hundred times the longest published block lists that are loaded into
/// balancers. An entry takes about 60 bytes.
pub const LIST_ENTRIES_MAX: usize = 10_000_000;

/// Values and networks.
#[derive(Clone, Debug, Default)]
pub struct ValueList {
    values: ByteTable,
    networks: RangeTable,
    networks_count: usize,
}

/// What is wrong with a line of a list or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for LineError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for LineError {}

impl ValueList {
    /// A list of these entries. What is an address or a block of addresses stands for these addresses,
    /// whatever bits it has beyond its prefix; anything else for itself. Entries are numbered from 1.
    ///
    /// # Errors
    ///
    /// Every entry that looks like a block and is none, and one for too many entries.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<LineError>> {
        Self::of_numbered(entries.into_iter().enumerate().map(|(index, entry)| (index + 1, entry)))
    }

    /// A list of the lines of a text. Empty lines and those that begin with `#` say nothing, blanks
    /// around an entry neither.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), by line.
    pub fn from_text(text: &str) -> Result<Self, Vec<LineError>> {
        Self::of_numbered(content_lines(text))
    }

    fn of_numbered<'a>(
        entries: impl IntoIterator<Item = (usize, &'a str)>,
    ) -> Result<Self, Vec<LineError>> {
        let (mut list, mut networks, mut errors) = (Self::default(), Vec::new(), Vec::new());
        for (line, entry) in entries {
            if list.values.len() + networks.len() >= LIST_ENTRIES_MAX {
                let message = format!("more than {LIST_ENTRIES_MAX} entries");
                errors.push(LineError { line, message });
                break;
            }
            match entry.parse::<Network>() {
                Ok(network) => networks.push((network, 0)),
                Err(message) if is_meant_as_block(entry) => {
                    errors.push(LineError { line, message: format!("{entry:?}: {message}") });
                }
                Err(_) => {
                    list.values.insert(entry.as_bytes(), 0);
                }
            }
        }
        list.networks_count = networks.len();
        list.networks = RangeTable::new(networks);
        if errors.is_empty() { Ok(list) } else { Err(errors) }
    }

    /// Whether the key is in it. A string that is an address is also looked for among the networks.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: Key<'_>) -> bool {
        match key {
            Key::Address(address) => self.networks.contains(address),
            Key::Text(bytes) => {
                self.values.find(bytes).is_some()
                    || (self.networks_count > 0
                        && parse_address(bytes)
                            .is_some_and(|address| self.networks.contains(address)))
            }
        }
    }

    /// How many entries it was made of; a value given twice counts once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() + self.networks_count
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.networks_count == 0
    }
}

/// An address, then a slash: a mistake in what follows must not make it a string that nothing is.
fn is_meant_as_block(entry: &str) -> bool {
    entry.split_once('/').is_some_and(|(address, _)| address.parse::<std::net::IpAddr>().is_ok())
}

/// The lines of a text that say something, without the blanks around them, and their numbers.
pub(crate) fn content_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Key<'_> {
        Key::Address(text.parse().expect("an address"))
    }

    #[test]
    fn values_and_networks_are_found() {
        let text =
            "# blocked\n192.0.2.0/24\n\n  198.51.100.7 \r\nBadBot/1.0\n2001:db8::/32\n10.1.2.3/8\n";
        let list = ValueList::from_text(text).expect("a list");
        assert_eq!(list.len(), 5);
        for inside in ["192.0.2.255", "198.51.100.7", "2001:db8::1", "::ffff:192.0.2.1", "10.9.9.9"]
        {
            assert!(list.contains(address(inside)), "{inside}");
            assert!(list.contains(Key::Text(inside.as_bytes())), "{inside}");
        }
        for outside in ["192.0.3.0", "198.51.100.8", "2001:db9::"] {
            assert!(!list.contains(address(outside)), "{outside}");
            assert!(!list.contains(Key::Text(outside.as_bytes())), "{outside}");
        }
        assert!(list.contains(Key::Text(b"BadBot/1.0")));
        assert!(!list.contains(Key::Text(b"badbot/1.0")));
        assert!(!list.contains(Key::Text(b"# blocked")));
        assert!(!list.contains(Key::Text(b"\xff\xfe")));
    }

    #[test]
    fn blocks_that_are_none_are_told_by_line() {
        let errors = ValueList::from_text("a\n10.0.0.0/33\nx/y\n::/200\n").expect_err("two errors");
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "line 2: \"10.0.0.0/33\": a prefix is a number up to 32",
                "line 4: \"::/200\": a prefix is a number up to 128"
            ]
        );
        let errors = ValueList::new(["10.0.0.0/8", "10.0.0.0/x"]).expect_err("one error");
        assert_eq!(errors[0].line, 2);
        assert!(ValueList::new([]).expect("an empty list").is_empty());
    }
}

//! Owns maps from keys to values, as `lookup` asks them.
//!
//! Leaves reading files to others. Invariant: a key has one value.

use crate::list::{LIST_ENTRIES_MAX, LineError, content_lines};
use crate::tables::ByteTable;
use std::ops::Range;

/// Keys and their values.
#[derive(Clone, Debug, Default)]
pub struct ValueMap {
    /// The key to the place of its value in `values`.
    keys: ByteTable,
    values: Vec<Range<usize>>,
    bytes: Vec<u8>,
}

impl ValueMap {
    /// A map of the lines of a text: a key, blanks, and the value up to the end of the line. Empty
    /// lines and those that begin with `#` say nothing. Keys are compared byte by byte.
    ///
    /// # Errors
    ///
    /// Every line without a value, every key that was given another value before, and one for too
    /// many entries.
    pub fn from_text(text: &str) -> Result<Self, Vec<LineError>> {
        let (mut map, mut errors, mut lines) = (Self::default(), Vec::new(), Vec::new());
        for (line, content) in content_lines(text) {
            let Some((key, value)) = content.split_once([' ', '\t']) else {
                let message = format!("the key {content:?} has no value");
                errors.push(LineError { line, message });
                continue;
            };
            if map.values.len() >= LIST_ENTRIES_MAX {
                let message = format!("more than {LIST_ENTRIES_MAX} entries");
                errors.push(LineError { line, message });
                break;
            }
            let place = u32::try_from(map.values.len()).expect("the limit is below 2^32");
            match map.keys.insert(key.as_bytes(), place) {
                None => {
                    let start = map.bytes.len();
                    map.bytes.extend_from_slice(value.trim().as_bytes());
                    map.values.push(start..map.bytes.len());
                    lines.push(line);
                }
                Some(first) if map.get(key.as_bytes()) != Some(value.trim().as_bytes()) => {
                    let first = lines[first as usize];
                    let message = format!("the key {key:?} has another value in line {first}");
                    errors.push(LineError { line, message });
                }
                Some(_) => {}
            }
        }
        if errors.is_empty() { Ok(map) } else { Err(errors) }
    }

    /// The value of the key.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let place = self.keys.find(key)?;
        self.bytes.get(self.values.get(place as usize)?.clone())
    }

    /// How many keys it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it has no keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys with their values, in the order of the text.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys.keys().zip(self.values.iter().map(|range| &self.bytes[range.clone()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_value_of_their_line() {
        let text =
            "# hosts\na.example  app-a\r\nb.example\tapp b \n\nA.example other\na.example app-a\n";
        let map = ValueMap::from_text(text).expect("a map");
        assert_eq!(map.get(b"a.example"), Some(&b"app-a"[..]));
        assert_eq!(map.get(b"b.example"), Some(&b"app b"[..]));
        assert_eq!(map.get(b"A.example"), Some(&b"other"[..]));
        assert_eq!(map.get(b"c.example"), None);
        assert_eq!(map.entries().count(), 3);
        assert_eq!((map.len(), map.is_empty()), (3, false));
    }

    #[test]
    fn lines_that_say_nothing_are_told_by_number() {
        let errors = ValueMap::from_text("a 1\nb\n# c\na 2\n").expect_err("two errors");
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "line 2: the key \"b\" has no value",
                "line 4: the key \"a\" has another value in line 1"
            ]
        );
    }
}

//! Arguments of a query (application/x-www-form-urlencoded, WHATWG URL §5.1).
//!
//! Owns dividing a query into pairs and decoding them. Leaves to others what an argument means.
//! Invariant: nothing is decoded before it is asked for, and what needs no decoding is never copied.
//!
//! The reading: pairs are divided by `&` (not by `;`), a name ends at the first `=`, a pair without
//! `=` has an empty value, empty pairs are skipped. `+` is a space, a percent escape is its byte, a
//! percent sign that begins none stands for itself. Names are compared decoded, byte by byte. Of
//! several arguments with one name the first counts. Decoded values may hold any byte, line ends
//! and NUL as well: whoever puts them into a header must use
//! [`push_value`](crate::header_rules::push_value).

use crate::grammar::{escaped_byte, split_at_byte};

/// A name or a value of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument<'q> {
    /// The bytes are what was meant.
    Plain(&'q [u8]),
    /// The bytes hold `+` or `%` and are to be decoded.
    Encoded(&'q [u8]),
}

impl<'q> Argument<'q> {
    #[inline]
    fn new(bytes: &'q [u8]) -> Self {
        let is_encoded = bytes.iter().any(|&b| b == b'+' || b == b'%');
        if is_encoded { Self::Encoded(bytes) } else { Self::Plain(bytes) }
    }

    /// The bytes as they stand in the query.
    #[must_use]
    pub fn raw(self) -> &'q [u8] {
        match self {
            Self::Plain(bytes) | Self::Encoded(bytes) => bytes,
        }
    }

    /// What was meant: a part of the query, or decoded into `scratch` in the place of what it holds.
    #[inline]
    #[must_use]
    pub fn decoded<'a>(self, scratch: &'a mut Vec<u8>) -> &'a [u8]
    where
        'q: 'a,
    {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Encoded(bytes) => {
                scratch.clear();
                decode(bytes, scratch);
                scratch
            }
        }
    }

    /// Whether this means `bytes`, without decoding it anywhere.
    fn means(self, bytes: &[u8]) -> bool {
        match self {
            Self::Plain(plain) => plain == bytes,
            Self::Encoded(encoded) => Decoder { rest: encoded }.eq(bytes.iter().copied()),
        }
    }
}

/// Names and values of `query`, which has no `?`, in order.
#[inline]
pub fn iter(query: &[u8]) -> impl Iterator<Item = (Argument<'_>, Argument<'_>)> {
    pairs(query).map(|(name, value)| (Argument::new(name), Argument::new(value)))
}

/// The value of the first argument of `query` called `name`.
#[inline]
#[must_use]
pub fn find<'q>(query: &'q [u8], name: &[u8]) -> Option<Argument<'q>> {
    let mut pairs = pairs(query);
    pairs.find_map(|(found, value)| Argument::new(found).means(name).then(|| Argument::new(value)))
}

/// Whether `query` has an argument called `name`, with or without a value.
#[inline]
#[must_use]
pub fn contains(query: &[u8], name: &[u8]) -> bool {
    find(query, name).is_some()
}

/// Appends what `encoded` means to `out`; it never has more bytes than `encoded`.
pub fn decode(encoded: &[u8], out: &mut Vec<u8>) {
    out.extend(Decoder { rest: encoded });
}

#[inline]
fn pairs(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = query.split(|&b| b == b'&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = split_at_byte(pair, b'=');
        (name, value.unwrap_or_default())
    })
}

/// Gives the bytes meant, one by one.
struct Decoder<'q> {
    rest: &'q [u8],
}

impl Iterator for Decoder<'_> {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let (&first, after) = self.rest.split_first()?;
        self.rest = after;
        match first {
            b'+' => Some(b' '),
            b'%' => {
                let Some(byte) = escaped_byte(after) else { return Some(b'%') };
                self.rest = &after[2..];
                Some(byte)
            }
            _ => Some(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_their_decoded_names() {
        let cases: [(&str, &str, Option<&str>); 20] = [
            ("", "a", None),
            ("a", "a", Some("")),
            ("a=", "a", Some("")),
            ("a=1", "a", Some("1")),
            ("a=1&a=2", "a", Some("1")),
            ("b=1&a=2", "a", Some("2")),
            ("&&a=1&", "a", Some("1")),
            ("aa=1", "a", None),
            ("A=1", "a", None),
            ("a=1=2", "a", Some("1=2")),
            ("a=x+y%20z", "a", Some("x y z")),
            ("a=%2B%26%3D", "a", Some("+&=")),
            ("%61=1", "a", Some("1")),
            ("x+y=1", "x y", Some("1")),
            ("x%2By=1", "x+y", Some("1")),
            ("a=100%", "a", Some("100%")),
            ("a=%zz%4", "a", Some("%zz%4")),
            ("a=%%41", "a", Some("%A")),
            ("a;b=1", "b", None),
            ("=1", "", Some("1")),
        ];
        let mut scratch = b"before".to_vec();
        for (query, name, expected) in cases {
            let found = find(query.as_bytes(), name.as_bytes());
            let found = found.map(|argument| argument.decoded(&mut scratch).to_vec());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{query} {name}");
            assert_eq!(contains(query.as_bytes(), name.as_bytes()), expected.is_some());
        }
    }

    #[test]
    fn plain_values_are_parts_of_the_query() {
        let query = b"a=plain&b=en%63oded";
        let mut scratch = Vec::new();
        let plain = find(query, b"a").expect("it is there");
        assert_eq!(plain, Argument::Plain(b"plain"));
        assert_eq!(plain.decoded(&mut scratch).as_ptr(), query[2..].as_ptr());
        assert_eq!(find(query, b"b"), Some(Argument::Encoded(b"en%63oded")));
        let names: Vec<&[u8]> = iter(query).map(|(name, _)| name.raw()).collect();
        assert_eq!(names, [b"a", b"b"]);
    }
}

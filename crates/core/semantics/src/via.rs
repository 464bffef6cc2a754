//! `Via` (RFC 9110 §7.6.3): the entry of this proxy, and finding its own in what came.
//!
//! Owns spelling and reading of entries. Leaves what to answer in a loop (508 is customary) to the
//! caller. Invariant: a comment is never taken for an entry, whatever it contains.

use crate::grammar::{is_token, trim};

/// The name that this proxy goes by in `Via`: a token of at most [`Pseudonym::BYTES_MAX`] bytes,
/// compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pseudonym(Box<[u8]>);

impl Pseudonym {
    /// The longest pseudonym: each proxy of a chain adds one to every head.
    pub const BYTES_MAX: usize = 64;

    /// Takes `text` if it is a valid pseudonym.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        (is_token(bytes) && bytes.len() <= Self::BYTES_MAX).then(|| Self(bytes.into()))
    }

    /// The pseudonym itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The version of HTTP that a message was received in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedProtocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl ReceivedProtocol {
    /// As an entry has it: the name is left out when it is HTTP.
    const fn text(self) -> &'static [u8] {
        match self {
            Self::Http10 => b"1.0 ",
            Self::Http11 => b"1.1 ",
            Self::Http2 => b"2 ",
            Self::Http3 => b"3 ",
        }
    }
}

/// Appends an entry such as `1.1 tidegate`.
pub fn push_entry(protocol: ReceivedProtocol, pseudonym: &Pseudonym, out: &mut Vec<u8>) {
    out.extend_from_slice(protocol.text());
    out.extend_from_slice(pseudonym.as_bytes());
}

/// How many entries of `values`, the values of the message's `Via` lines, are this proxy's. A
/// request that has as many as the operator allows has come back too often and must not be
/// forwarded again.
#[must_use]
pub fn own_entries_count<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
    pseudonym: &Pseudonym,
) -> usize {
    let entries = values.into_iter().flat_map(entries);
    entries.filter(|entry| received_by(entry).eq_ignore_ascii_case(&pseudonym.0)).count()
}

/// The entries of one value: divided by commas that are not in a comment. A comment that never ends
/// hides what follows it.
fn entries(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut depth = 0_u32;
    let mut is_escaped = false;
    value.split(move |&byte| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match byte {
            b'\\' if depth > 0 => is_escaped = true,
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b',' && depth == 0
    })
}

/// The word after the protocol, which a comment may follow but not come before.
fn received_by(entry: &[u8]) -> &[u8] {
    let ends_word = |byte: &u8| matches!(byte, b' ' | b'\t' | b'(');
    let entry = trim(entry);
    let protocol_bytes = entry.iter().position(ends_word).unwrap_or(entry.len());
    let (protocol, rest) = entry.split_at(protocol_bytes);
    let rest = if protocol.is_empty() { rest } else { trim(rest) };
    &rest[..rest.iter().position(ends_word).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonym() -> Pseudonym {
        Pseudonym::new("tidegate").expect("a token")
    }

    #[test]
    fn pseudonyms_are_short_tokens() {
        for text in ["", "a b", "a:80", "a,b", "(a)", "\u{e9}", &"a".repeat(65)] {
            assert_eq!(Pseudonym::new(text), None, "{text}");
        }
        assert!(Pseudonym::new(&"a".repeat(64)).is_some());
        let mut out = b"1.0 a, ".to_vec();
        push_entry(ReceivedProtocol::Http11, &pseudonym(), &mut out);
        assert_eq!(out, b"1.0 a, 1.1 tidegate");
    }

    #[test]
    fn own_entries_are_counted() {
        let cases: [(&[&str], usize); 15] = [
            (&[], 0),
            (&[""], 0),
            (&["1.1 tidegate"], 1),
            (&["HTTP/1.1 Tidegate"], 1),
            (&["1.1 tidegate (a comment)"], 1),
            (&["1.1 tidegate(tight)"], 1),
            (&["1.0 fred, 1.1 tidegate,2 tidegate", "1.1\ttidegate"], 3),
            (&["1.1 tidegate2, 1.1 my-tidegate"], 0),
            (&["1.1 tidegate:8080"], 0),
            (&["1.1 a (x, 1.1 tidegate)"], 0),
            (&["1.1 a (x \\) , 1.1 tidegate)"], 0),
            (&["1.1 a (x (y), 1.1 tidegate), 1.1 tidegate"], 1),
            (&["1.1 a (never closed, 1.1 tidegate"], 0),
            (&["tidegate", "(c) tidegate", ",,1.1  tidegate,"], 1),
            (&["1.1 (tidegate x) a", "1.1(tidegate )", "(1.1 tidegate )"], 0),
        ];
        for (values, count) in cases {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(own_entries_count(values.clone(), &pseudonym()), count, "{values:?}");
        }
    }
}

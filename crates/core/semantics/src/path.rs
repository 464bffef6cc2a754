//! Request paths as rules see them: one spelling for all spellings of the same path (RFC 3986
//! §6.2.2).
//!
//! Owns the normal form and a fast test for it. Leaves to others what may stand in a request target
//! at all, and that the server gets the path as the client sent it.
//!
//! The normal form of a path that begins with `/`:
//!
//! - a percent escape of an unreserved byte (letters, digits, `-._~`) is that byte;
//! - other escapes stay and have upper-case digits; a `%` that begins no escape becomes `%25`;
//! - `.` and `..` segments are removed, also those spelled with escapes; `..` at the root is the
//!   root;
//! - nothing else changes. `//` stays, because an empty segment is a segment. `%2F` stays, because
//!   it is not a delimiter: `/a%2F..%2Fb` has one segment. `%5C` stays and a backslash is an
//!   ordinary byte, here as in RFC 3986. Path parameters stay: `..;` is an ordinary segment.
//!   A server that takes `%2F`, `%5C`, backslashes or `..;` for delimiters reads other paths than
//!   the rules do; rules in front of such a server should deny paths that contain them.
//!
//! An empty path is `/` (RFC 9110 §4.2.3). A path that begins otherwise (`*`) is its own normal
//! form. Invariant: normalising is idempotent, and [`is_normal`] says exactly whether it would
//! change anything.

use crate::grammar::{escaped_byte, is_unreserved, push_escape, split_at_byte};

/// Splits a request target into path and query at the first `?`. An empty query (`/a?`) is not the
/// same as none.
#[inline]
#[must_use]
pub fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    split_at_byte(target, b'?')
}

/// Whether `path`, without a query, is in normal form, so that it can be used as it is. A path
/// without `%` and without `/.`, which is nearly every one, costs one pass of eight bytes a step.
#[inline]
#[must_use]
pub fn is_normal(path: &[u8]) -> bool {
    let (words, rest) = path.as_chunks::<8>();
    let mut suspects = 0;
    let mut slash_before = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let slashes = places_of(word, b'/');
        // A slash is the high bit of its byte; shifted up, that of the byte after it.
        let after_slashes = slashes << 8 | slash_before >> 56;
        suspects |= places_of(word, b'%') | (after_slashes & places_of(word, b'.'));
        slash_before = slashes;
    }
    let mut before = if slash_before >> 56 == 0 { 0 } else { b'/' };
    let mut rest_is_suspect = false;
    for &byte in rest {
        rest_is_suspect |= byte == b'%' || (before == b'/' && byte == b'.');
        before = byte;
    }
    if suspects == 0 && !rest_is_suspect {
        return !path.is_empty();
    }
    is_normal_exactly(path)
}

/// The high bit of each byte of `word` that equals `byte`.
#[inline]
const fn places_of(word: u64, byte: u8) -> u64 {
    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let difference = word ^ u64::from_le_bytes([byte; 8]);
    // A byte is zero exactly if neither its low bits carry nor its high bit is set.
    !(((difference & LOW_BITS) + LOW_BITS) | difference | LOW_BITS)
}

fn is_normal_exactly(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return true;
    }
    if path.split(|&b| b == b'/').any(|segment| segment == b"." || segment == b"..") {
        return false;
    }
    let escapes = path.iter().enumerate().filter(|&(_, &b)| b == b'%');
    escapes.map(|(position, _)| &path[position + 1..]).all(|rest| {
        let has_small_digits = rest.iter().take(2).any(u8::is_ascii_lowercase);
        escaped_byte(rest).is_some_and(|byte| !is_unreserved(byte)) && !has_small_digits
    })
}

/// Puts the normal form of `path`, without a query, into `out` in the place of what it holds. It
/// has at most three times as many bytes as `path`, and at least one.
pub fn normalise(path: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let rest = match path {
        [b'/', rest @ ..] => rest,
        [] => b"",
        _ => return out.extend_from_slice(path),
    };
    let mut segments = rest.split(|&b| b == b'/').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        out.push(b'/');
        push_normal_segment(segment, out);
        match &out[start + 1..] {
            b"." => out.truncate(start),
            b".." => {
                out.truncate(start);
                let parent = out.iter().rposition(|&b| b == b'/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => continue,
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
}

/// The normal form of `path`: `path` itself when it is normal, else made in `scratch`.
#[inline]
#[must_use]
pub fn normal<'a>(path: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if is_normal(path) {
        return path;
    }
    normalise(path, scratch);
    scratch
}

fn push_normal_segment(segment: &[u8], out: &mut Vec<u8>) {
    let mut rest = segment;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        match escaped_byte(after) {
            Some(byte) if is_unreserved(byte) => out.push(byte),
            Some(byte) => push_escape(byte, out),
            None => {
                push_escape(b'%', out);
                continue;
            }
        }
        rest = &after[2..];
    }
}

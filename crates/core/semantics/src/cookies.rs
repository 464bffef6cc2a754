//! Cookies of a request (RFC 6265 §4.2), read as servers read them.
//!
//! Owns dividing the values of `Cookie` header lines into pairs. Leaves decoding of values to whoever
//! gave them their meaning. Invariant: names and values are parts of the lines, never copies.
//!
//! The reading: pairs are divided by `;` wherever it stands, since a value cannot contain one
//! (§4.1.1), not even in quotes. Blanks around names and values do not count. A name ends at the
//! first `=` and is compared byte by byte. A value in a pair of double quotes is what stands between
//! them. A part without `=` or with an empty name is no cookie. Of several cookies with one name the
//! first counts, which is the one for the most specific path (§5.4).

use crate::grammar::{split_at_byte, trim};

/// The cookies of one header value, in order.
#[inline]
pub fn iter(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|&b| b == b';').filter_map(|pair| {
        let (name, value) = split_at_byte(pair, b'=');
        let name = trim(name);
        (!name.is_empty()).then_some((name, without_quotes(trim(value?))))
    })
}

/// The value of the first cookie called `name` in `values`, the values of the request's `Cookie`
/// lines in order. HTTP/2 divides cookies into several lines (RFC 9113 §8.2.3).
#[inline]
pub fn find<'a>(values: impl IntoIterator<Item = &'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    // Dividing every pair costs three times as much as looking only where one begins.
    let is_possible = !name.is_empty()
        && !name.iter().any(|b| b";=".contains(b))
        && trim(name).len() == name.len();
    if !is_possible {
        return None;
    }
    values.into_iter().find_map(|value| find_in(value, name))
}

/// The value that `Set-Cookie` header lines with these `values` give the cookie called `name`. Of several the last counts, as
/// for user agents (RFC 6265 §5.3); attributes do not count, not even those that end a cookie's life.
#[inline]
pub fn find_set<'a>(values: impl IntoIterator<Item = &'a [u8]>, name: &[u8]) -> Option<&'a [u8]> {
    let of_name = |value: &'a [u8]| {
        let (pair, _) = split_at_byte(value, b';');
        let (own, value) = split_at_byte(pair, b'=');
        let own = trim(own);
        (!own.is_empty() && own == name).then(|| without_quotes(trim(value.unwrap_or_default())))
    };
    values.into_iter().filter_map(of_name).last()
}

/// The value of the first cookie in one line; the name is one that a cookie can have.
#[inline]
fn find_in<'a>(value: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = value;
    loop {
        while let [b' ' | b'\t', behind @ ..] = rest {
            rest = behind;
        }
        if let Some(behind) = rest.strip_prefix(name) {
            let (blanks, value) = split_at_byte(behind, b'=');
            if let Some(value) = value
                && blanks.iter().all(|b| b" \t".contains(b))
            {
                let (value, _) = split_at_byte(value, b';');
                return Some(without_quotes(trim(value)));
            }
        }
        let end = rest.iter().position(|&b| b == b';')?;
        rest = &rest[end + 1..];
    }
}

fn without_quotes(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_divided_into_pairs() {
        let cases: [(&str, &[(&str, &str)]); 14] = [
            ("", &[]),
            ("a=1", &[("a", "1")]),
            ("a=1; b=2", &[("a", "1"), ("b", "2")]),
            ("a=1;b=2;", &[("a", "1"), ("b", "2")]),
            ("  a = 1 \t;\tb=2", &[("a", "1"), ("b", "2")]),
            ("a=\"1 2\"; b=\"\"", &[("a", "1 2"), ("b", "")]),
            ("a=\"; b=\"", &[("a", "\""), ("b", "\"")]),
            ("a=\"1; b=2\"", &[("a", "\"1"), ("b", "2\"")]),
            ("a=b=c==", &[("a", "b=c==")]),
            ("a=", &[("a", "")]),
            ("flag; a=1", &[("a", "1")]),
            ("=x; a=1", &[("a", "1")]),
            ("a=1, b=2", &[("a", "1, b=2")]),
            ("$Version=1; a=1", &[("$Version", "1"), ("a", "1")]),
        ];
        for (line, expected) in cases {
            let expected: Vec<(&[u8], &[u8])> =
                expected.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            assert_eq!(iter(line.as_bytes()).collect::<Vec<_>>(), expected, "{line}");
        }
    }

    #[test]
    fn the_first_of_a_name_counts_over_all_lines() {
        let lines = [&b"b=1; session=x"[..], b"session=y; B=2"];
        assert_eq!(find(lines, b"session"), Some(&b"x"[..]));
        assert_eq!(find(lines, b"B"), Some(&b"2"[..]));
        assert_eq!(find(lines, b"Session"), None);
        assert_eq!(find(lines, b"sess"), None);
        assert_eq!(find(lines, b""), None);
        assert_eq!(find([], b"a"), None);
    }

    #[test]
    fn a_response_sets_what_its_last_line_says() {
        let lines =
            [&b"SID=old; Path=/"[..], b" SID = \"new\" ;HttpOnly", b"other=SID=3", b"SID2=4"];
        assert_eq!(find_set(lines, b"SID"), Some(&b"new"[..]));
        assert_eq!(find_set(lines, b"other"), Some(&b"SID=3"[..]));
        assert_eq!(find_set([&b"SID=; Max-Age=0"[..]], b"SID"), Some(&b""[..]));
        assert_eq!(find_set([&b"SID"[..]], b"SID"), Some(&b""[..]));
        for name in [&b"sid"[..], b"Path", b"", b"HttpOnly"] {
            assert_eq!(find_set(lines, name), None, "{name:?}");
        }
    }
}

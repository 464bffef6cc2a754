//! What is looked for in what a server says: a text, bytes, or a regular expression.
//!
//! Owns matching and the reading of hex; leaves how much has been received to its callers. Invariant:
//! matching takes time in proportion to the bytes (the expressions have no back-references).

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Memory that a compiled expression may take, in bytes: hundreds of times what one for an answer needs.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Something to look for.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// These bytes, anywhere.
    Bytes(Vec<u8>),
    /// A regular expression over bytes; `^` and `$` are the ends of what is searched.
    Regex(Regex),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(pub String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bytes(one), Self::Bytes(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Pattern {
    /// A text to be found as it stands.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// A regular expression.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn regex(source: &str) -> Result<Self, PatternError> {
        let built = RegexBuilder::new(source).unicode(false).size_limit(REGEX_BYTES_MAX).build();
        built.map(Self::Regex).map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            PatternError(last.trim_start_matches("error: ").to_owned())
        })
    }

    /// Where the first match in `bytes` ends.
    #[must_use]
    pub fn find_end(&self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Bytes(wanted) if wanted.is_empty() => Some(0),
            Self::Bytes(wanted) => {
                let at = bytes.windows(wanted.len()).position(|window| window == wanted)?;
                Some(at + wanted.len())
            }
            Self::Regex(regex) => regex.find(bytes).map(|found| found.end()),
        }
    }
}

/// Bytes written as pairs of hex digits, with blanks between them where one likes.
///
/// # Errors
/// A digit that is none, or an odd number of them.
pub fn hex(text: &str) -> Result<Vec<u8>, PatternError> {
    let mut digits = Vec::new();
    for character in text.chars().filter(|character| !character.is_whitespace()) {
        let digit = character.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        digits.push(digit.ok_or_else(|| PatternError(format!("`{character}` is no hex digit")))?);
    }
    if digits.len() % 2 == 1 {
        return Err(PatternError("an odd number of hex digits is no whole number of bytes".into()));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_texts_and_expressions_in_any_bytes() {
        let regex = |source| Pattern::regex(source).expect("valid");
        for (pattern, bytes, end) in [
            (Pattern::text("PONG"), &b"+PONG\r\n"[..], Some(5)),
            (Pattern::text("PONG"), b"+PON", None),
            (Pattern::text(""), b"", Some(0)),
            (regex("^220[ -]"), b"220 mail", Some(4)),
            (regex("^220[ -]"), b"421 no", None),
            (regex(r"(?s)^.{4}\x0a"), b"\xff\xff\x00\x00\x0a5.7", Some(5)),
            (regex(r"(?s)^.{4}\xff"), b"\x00\x00\x00\x00\xff", Some(5)),
        ] {
            assert_eq!(pattern.find_end(bytes), end, "{pattern:?}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_an_expression_in_one_line() {
        let error = Pattern::regex("(").expect_err("not closed");
        assert_eq!(error.0, "unclosed group");
        assert!(Pattern::regex("(?:a{1000}){1000}").is_err(), "too large");
    }

    #[test]
    fn reads_hex() {
        assert_eq!(hex("00 ff0A"), Ok(vec![0, 255, 10]));
        assert_eq!(hex(""), Ok(vec![]));
        assert!(hex("0").is_err() && hex("0g").is_err());
    }

    #[test]
    fn patterns_are_equal_by_their_source() {
        assert_eq!(Pattern::regex("a").expect("valid"), Pattern::regex("a").expect("valid"));
        assert_ne!(Pattern::regex("a").expect("valid"), Pattern::text("a"));
    }
}

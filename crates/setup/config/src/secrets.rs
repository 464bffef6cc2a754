//! Where passwords and their hashes stand in a file, and texts without them.
//!
//! Owns the search, which reads the text itself: a file that cannot be parsed shows its lines too. Leaves what is shown
//! instead to `diagnostic`. Invariant: whatever stands as a value in a table `users` is found, also if it is no valid value;
//! that something else is taken for one as well does no harm.

use std::ops::Range;

use crate::diagnostic::printable;

/// The tables whose values are secrets.
const TABLE: &str = "users";

/// What is shown instead of a secret; its length is one too.
pub(crate) const SHOWN: &str = "***";

/// Shorter ones are not looked for inside of other words: they would be found everywhere.
const WORD_BYTES_MIN: usize = 4;

/// The secrets in `text`, in the order of the file.
pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut search = Search { text, at: 0, found: Vec::new() };
    search.run();
    search.found
}

/// `message` without the quoted pieces that are a part of `secret`, or hold it.
pub(crate) fn hide(message: &str, secret: &str) -> String {
    let whole = printable(secret);
    let inner = whole.trim_matches(['"', '\'']);
    let is_secret = |piece: &str| {
        let piece = piece.trim_end_matches('…');
        let holds = inner.len() >= WORD_BYTES_MIN && piece.contains(inner);
        !piece.trim().is_empty() && (whole.contains(piece) || holds)
    };
    let mut message = message.to_owned();
    for mark in ['`', '"'] {
        let pieces: Vec<&str> = message
            .split(mark)
            .enumerate()
            .map(|(place, piece)| if place % 2 == 1 && is_secret(piece) { SHOWN } else { piece })
            .collect();
        message = pieces.join(&mark.to_string());
    }
    message
}

struct Search<'t> {
    text: &'t str,
    at: usize,
    found: Vec<Range<usize>>,
}

impl Search<'_> {
    fn run(&mut self) {
        let (mut is_line_start, mut is_in_table) = (true, false);
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.at += 1;
                    is_line_start = true;
                    continue;
                }
                b' ' | b'\t' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                b'#' => self.at = self.line_end(),
                b'[' if is_line_start => is_in_table = self.header(),
                _ if is_line_start && is_in_table => self.entry(),
                _ => self.token(),
            }
            is_line_start = false;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &[u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn line_end(&self) -> usize {
        self.rest()
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(self.text.len(), |to| self.at + to)
    }

    fn skip(&mut self, skipped: &[u8]) {
        self.at += self.rest().iter().take_while(|byte| skipped.contains(byte)).count();
    }

    /// Goes over the header of a table; whether its values are secrets. A list of users may have that name itself.
    fn header(&mut self) -> bool {
        let end = self.line_end();
        let line = String::from_utf8_lossy(&self.text.as_bytes()[self.at..end]).into_owned();
        self.at = end;
        let path = line.trim_start_matches('[').split(']').next().unwrap_or_default();
        let segments: Vec<&str> =
            path.split('.').map(|s| s.trim_matches([' ', '\t', '"', '\'', '\r'])).collect();
        segments.last() == Some(&TABLE) && segments != ["user_lists", TABLE]
    }

    /// Goes over a word, a string or a sign that is none, and over the secrets that it begins.
    fn token(&mut self) {
        let start = self.at;
        let is_table = match self.string_end() {
            Some(end) => {
                self.at = end;
                self.text.get(start + 1..end - 1) == Some(TABLE)
            }
            None => {
                let is_word = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
                let bytes = self.rest().iter().take_while(is_word).count();
                self.at += bytes.max(1);
                self.text.as_bytes().get(start..self.at) == Some(TABLE.as_bytes())
            }
        };
        if !is_table {
            return;
        }
        self.skip(b" \t");
        match self.peek() {
            Some(b'.') => self.entry(),
            Some(b'=') => {
                self.at += 1;
                self.skip(b" \t");
                if self.peek() == Some(b'{') {
                    self.at += 1;
                    self.entries();
                }
            }
            _ => {}
        }
    }

    /// The entries of a table in braces.
    fn entries(&mut self) {
        loop {
            self.skip(b" \t\r\n,");
            match self.peek() {
                None | Some(b'}') => return,
                Some(b'#') => self.at = self.line_end(),
                Some(_) => {
                    if !self.key() {
                        return;
                    }
                    self.value(b",}#\r\n");
                }
            }
        }
    }

    /// A key and its value, which has the rest of the line, or of the braces around it.
    fn entry(&mut self) {
        if self.key() {
            self.value(b",}#\r\n");
        }
    }

    /// Goes behind the `=` of this line.
    fn key(&mut self) -> bool {
        while let Some(byte) = self.peek() {
            match (byte, self.string_end()) {
                (b'\n', _) => return false,
                (b'=', _) => {
                    self.at += 1;
                    return true;
                }
                (_, Some(end)) => self.at = end,
                (_, None) => self.at += 1,
            }
        }
        false
    }

    /// Takes a string that one of `followers` follows, or else the rest of the line.
    fn value(&mut self, followers: &[u8]) {
        self.skip(b" \t");
        let start = self.at;
        if let Some(end) = self.string_end() {
            self.at = end;
            self.skip(b" \t");
            if self.peek().is_none_or(|byte| followers.contains(&byte)) {
                self.found.push(start..end);
                return;
            }
        }
        self.at = self.line_end();
        let line = &self.text.as_bytes()[start..self.at];
        let blanks = line.iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        if start < self.at - blanks {
            self.found.push(start..self.at - blanks);
        }
    }

    /// The end of the string that begins here, if one does that ends.
    fn string_end(&self) -> Option<usize> {
        let rest = self.rest();
        let quote = *rest.first().filter(|byte| b"\"'".contains(byte))?;
        if rest.starts_with(&[quote; 3]) {
            let inner = rest.get(3..)?;
            let closing = inner.windows(3).position(|bytes| bytes == [quote; 3])?;
            // Up to two more quotes belong to the string.
            let more =
                inner[closing + 3..].iter().take(2).take_while(|byte| **byte == quote).count();
            return Some(self.at + 3 + closing + 3 + more);
        }
        let mut is_escaped = false;
        for (place, byte) in rest.iter().enumerate().skip(1) {
            match byte {
                b'\n' => return None,
                _ if std::mem::take(&mut is_escaped) => {}
                b'\\' if quote == b'"' => is_escaped = true,
                byte if *byte == quote => return Some(self.at + place + 1),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn every_spelling_of_a_user_is_found() {
        let cases: [(&str, &[&str]); 14] = [
            ("users = { a = \"x\", 'b' = 'y' }\nc = \"z\"", &["\"x\"", "'y'"]),
            (
                "[user_lists.ops.users]\na = \"x\" # why\n\"b c\" = 'y'\n[backends]\nc = \"z\"",
                &["\"x\"", "'y'"],
            ),
            ("[user_lists.users]\nfile = \"f\"\nusers = { a = \"x\" }", &["\"x\""]),
            ("[user_lists.ops]\nusers.a = \"x\"\nfile = \"f\"", &["\"x\""]),
            ("user_lists.ops.users.\"a=b\" = \"x\"", &["\"x\""]),
            ("user_lists = { ops = { \"users\" = { a = \"x\" } } }", &["\"x\""]),
            ("authenticate = { users = { a = \"x\" }, realm = \"r\" }", &["\"x\""]),
            ("authenticate = { users = \"ops\" }\nwhen = 'users = {a = \"x\"}'", &[]),
            ("[a.users]\na = \"\"\"one\ntwo\"\"\"\nb = \"y\"", &["\"\"\"one\ntwo\"\"\"", "\"y\""]),
            // What cannot be read.
            ("users = { a = secret, b = \"y\" }", &["secret, b = \"y\" }"]),
            ("users = { a = \"x\nb = \"y\" }", &["\"x", "\"y\""]),
            ("users = { a = \"se\"cret\" }", &["\"se\"cret\" }"]),
            (
                "[a.users]\na = secret \nb = \"open # sesame\nc = 12",
                &["secret", "\"open # sesame", "12"],
            ),
            ("x = \"\"\"\n[a.users]\na = \"x\"", &["\"x\""]),
        ];
        for (text, expected) in cases {
            assert_eq!(secrets(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_lose_what_they_quote_of_a_secret() {
        for (message, secret, expected) in [
            ("`users.a1` is the integer `1`", "1", "`users.a1` is the integer `***`"),
            ("`open sesame` has no quotes", "open sesame", "`***` has no quotes"),
            ("write \"open\", not `open`", "\"open sesame", "write \"***\", not `***`"),
            ("`a = open sesame` is cut", "\"open sesame\"", "`***` is cut"),
            ("add `,` here", "secret", "add `,` here"),
        ] {
            assert_eq!(hide(message, secret), expected);
        }
    }
}

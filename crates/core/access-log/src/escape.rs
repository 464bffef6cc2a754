//! Bytes from outside made harmless.
//!
//! Owns the two ways of escaping: HAProxy's `#XX` (its documentation, section 8.6) and that of JSON strings
//! (RFC 8259 §7). Leaves quotes and structure to the formats. Invariant: what comes out holds no control character, no
//! line break of any kind and nothing that would end the quoted field; it stops before an escape that does not fit.

use crate::line::Line;

const DIGITS: [u8; 16] = *b"0123456789ABCDEF";

/// Which printable characters are escaped besides `"` and `#`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// None: a request line.
    Request,
    /// `{`, `|` and `}`: a captured value between others.
    Header,
    /// Those and the blank: a value that stands without quotes between blanks.
    Word,
}

impl Line {
    /// Writes at most `bytes_max` bytes of `value` as HAProxy does: what is not printable ASCII, and what the
    /// alphabet says, as `#` and two hexadecimal digits.
    #[inline]
    pub(crate) fn escaped(&mut self, value: &[u8], alphabet: Alphabet, bytes_max: usize) {
        let kept = value.get(..bytes_max).unwrap_or(value);
        if kept.len() < value.len() {
            self.mark_cut();
        }
        if kept.len() <= self.text_room() && is_plain(kept, alphabet) {
            self.put(kept);
        } else {
            self.escaped_slowly(kept, alphabet);
        }
    }

    #[cold]
    fn escaped_slowly(&mut self, value: &[u8], alphabet: Alphabet) {
        for &byte in value {
            let escape = !is_plain_byte(byte, alphabet);
            if self.text_room() < if escape { 3 } else { 1 } {
                self.mark_cut();
                return;
            }
            if escape {
                let [high, low] = hex(byte);
                self.put_array(&[b'#', high, low]);
            } else {
                self.push(byte);
            }
        }
    }

    /// Writes at most `bytes_max` bytes of `value` as the inside of a JSON string. What is not UTF-8 becomes U+FFFD;
    /// characters that some reader takes for the end of a line are escaped, wherever Unicode has them.
    pub(crate) fn json_text(&mut self, value: &[u8], bytes_max: usize) {
        let kept = value.get(..bytes_max).unwrap_or(value);
        if kept.len() < value.len() {
            self.mark_cut();
        }
        if kept.len() <= self.text_room() && is_plain_json(kept) {
            self.put(kept);
            return;
        }
        for chunk in kept.utf8_chunks() {
            let fits = chunk.valid().chars().all(|character| self.json_character(character));
            if !fits || (!chunk.invalid().is_empty() && !self.json_character('\u{FFFD}')) {
                self.mark_cut();
                return;
            }
        }
    }

    /// Writes one character; false if there is no room for it.
    fn json_character(&mut self, character: char) -> bool {
        // The longest escape has six bytes, the longest character four.
        if self.text_room() < 6 {
            return false;
        }
        match character {
            '"' => self.put_array(b"\\\""),
            '\\' => self.put_array(b"\\\\"),
            '\n' => self.put_array(b"\\n"),
            '\r' => self.put_array(b"\\r"),
            '\t' => self.put_array(b"\\t"),
            '\u{2028}' | '\u{2029}' => self.json_code(character),
            _ if character.is_control() => self.json_code(character),
            _ => self.put(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        true
    }

    /// Writes `\u` and four digits: control characters and separators are all below U+10000.
    fn json_code(&mut self, character: char) {
        let [_, _, high, low] = u32::from(character).to_be_bytes();
        self.put_array(b"\\u");
        self.put_array(&hex(high));
        self.put_array(&hex(low));
    }
}

#[inline]
fn hex(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

#[inline]
fn is_plain_byte(byte: u8, alphabet: Alphabet) -> bool {
    let printable = (0x20..0x7F).contains(&byte) && byte != b'"' && byte != b'#';
    printable
        && match alphabet {
            Alphabet::Request => true,
            Alphabet::Header => !matches!(byte, b'{' | b'|' | b'}'),
            Alphabet::Word => !matches!(byte, b' ' | b'{' | b'|' | b'}'),
        }
}

/// Whether surely nothing in `value` is escaped. `~` is taken for one that may be where `}` is, which costs time only.
#[inline]
fn is_plain(value: &[u8], alphabet: Alphabet) -> bool {
    let (first, end) = match alphabet {
        Alphabet::Request => (b' ', 0x7F),
        Alphabet::Header => (b' ', b'{'),
        Alphabet::Word => (b'!', b'{'),
    };
    // `"` and `#` differ in the lowest bit only.
    all_words(value, |word| {
        below(word, first) | from(word, end) | zero((word ^ every(b'"')) & every(0xFE))
    })
}

#[inline]
fn is_plain_json(value: &[u8]) -> bool {
    all_words(value, |word| {
        let marks = zero(word ^ every(b'"')) | zero(word ^ every(b'\\'));
        below(word, b' ') | from(word, 0x7F) | marks
    })
}

/// How many bytes are looked at in one step.
const WORD: usize = 8;

/// The highest bit of each byte of a word, where the tests below leave their answer.
const HIGH: u64 = every(0x80);

/// Whether `find` finds nothing in any eight bytes of `value`. The last word overlaps the one before; a value shorter
/// than a word is filled up with a byte that is plain everywhere.
#[inline]
fn all_words(value: &[u8], find: impl Fn(u64) -> u64) -> bool {
    let found = match value.last_chunk::<WORD>() {
        Some(last) => {
            let (words, _) = value.as_chunks::<WORD>();
            let found = words.iter().fold(0, |found, word| found | find(u64::from_le_bytes(*word)));
            found | find(u64::from_le_bytes(*last))
        }
        None => find(value.iter().fold(every(b'a'), |word, byte| word << 8 | u64::from(*byte))),
    };
    found & HIGH == 0
}

/// A word of eight equal bytes.
const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; WORD])
}

/// Marks a word that holds a byte below `limit`, which is at most 128. A byte above a marked one may be marked
/// wrongly; the question is only whether there is any.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(every(limit)) & !word
}

/// Marks a word that holds a byte of at least `limit`, which is at most 128.
#[inline]
fn from(word: u64, limit: u8) -> u64 {
    word.wrapping_add(every(128 - limit)) | word
}

/// Marks a word that holds a zero.
#[inline]
fn zero(word: u64) -> u64 {
    below(word, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::TEXT_END;

    fn escaped(value: &[u8], alphabet: Alphabet) -> String {
        let mut line = Line::new();
        line.escaped(value, alphabet, 1024);
        String::from_utf8(line.as_bytes().to_vec()).expect("escaped text is ASCII")
    }

    fn json(value: &[u8]) -> String {
        let mut line = Line::new();
        line.json_text(value, 1024);
        String::from_utf8(line.as_bytes().to_vec()).expect("JSON is UTF-8")
    }

    /// What HAProxy 2.6 itself logs for the same value.
    #[test]
    fn values_are_escaped_as_haproxy_escapes_them() {
        let value = b"a b{c|d}\"#\xc3\xa9\tz";
        assert_eq!(escaped(value, Alphabet::Header), "a b#7Bc#7Cd#7D#22#23#C3#A9#09z");
        assert_eq!(escaped(value, Alphabet::Request), "a b{c|d}#22#23#C3#A9#09z");
        assert_eq!(escaped(b"\x7f\x1f ~", Alphabet::Request), "#7F#1F ~");
        assert_eq!(escaped(b"a {b", Alphabet::Word), "a#20#7Bb");
        assert_eq!(escaped(b"a {b", Alphabet::Word), "a#20#7Bb");
    }

    #[test]
    fn a_byte_is_seen_wherever_it_stands() {
        for length in 1..70 {
            for place in 0..length {
                let mut value = vec![b'a'; length];
                value[place] = b'\n';
                assert_eq!(escaped(&value, Alphabet::Header).matches("#0A").count(), 1);
                assert_eq!(json(&value).matches("\\n").count(), 1);
            }
            let plain = vec![b'a'; length];
            assert_eq!(escaped(&plain, Alphabet::Header).as_bytes(), plain);
        }
    }

    #[test]
    fn the_fast_check_agrees_with_the_exact_one() {
        for alphabet in [Alphabet::Request, Alphabet::Header, Alphabet::Word] {
            for byte in 0..=255 {
                for length in [1, 7, 8, 11] {
                    for place in 0..length {
                        let mut value = vec![b'z'; length];
                        value[place] = byte;
                        let exact = is_plain_byte(byte, alphabet);
                        let caution = byte == b'~' && alphabet != Alphabet::Request;
                        assert_eq!(is_plain(&value, alphabet), exact && !caution, "{value:?}");
                        let exact = (0x20..0x7F).contains(&byte) && !b"\"\\".contains(&byte);
                        assert_eq!(is_plain_json(&value), exact, "{value:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn json_keeps_unicode_and_escapes_what_breaks_lines() {
        let cases: [(&[u8], &str); 6] = [
            ("é 😀".as_bytes(), "é 😀"),
            (b"\"\\/", "\\\"\\\\/"),
            (b"\r\n\t\0\x1b\x7f", "\\r\\n\\t\\u0000\\u001B\\u007F"),
            ("\u{85}\u{2028}\u{2029}".as_bytes(), "\\u0085\\u2028\\u2029"),
            (b"a\xff\xe2\x82z", "a\u{FFFD}\u{FFFD}z"),
            (b"", ""),
        ];
        for (value, expected) in cases {
            assert_eq!(json(value), expected);
        }
    }

    #[test]
    fn text_stops_before_an_escape_that_does_not_fit() {
        for filled in TEXT_END - 7..=TEXT_END {
            for write in [
                |line: &mut Line| line.escaped(b"\n\n\n", Alphabet::Request, 1024),
                |line: &mut Line| line.json_text(b"\0\0\0", 1024),
            ] {
                let mut line = Line::new();
                (0..filled).for_each(|_| line.push(b'x'));
                write(&mut line);
                assert!(line.is_cut());
                let rest = &line.as_bytes()[filled..];
                let whole =
                    rest.is_empty() || rest == b"#0A" || rest == b"#0A#0A" || rest == b"\\u0000";
                assert!(whole && line.as_bytes().len() <= TEXT_END, "{rest:?}");
            }
        }
    }
}

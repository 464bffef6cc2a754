//! Strings of the file that have an inside: conditions, templates, patterns.
//!
//! Owns the way from a place in a string's content back to the place in the file, through quotes and escapes; leaves what
//! is wrong in them to those who read them.
//!
//! Invariant: what is mapped lies inside the string, whatever is asked.

use std::ops::Range;

use crate::diagnostic::Span;

/// A string of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub value: String,
    /// Where it stands, quotes included.
    pub span: Span,
    /// Where it is in the string at `span`, if it is not the whole of it.
    pub inside: Option<Range<usize>>,
}

/// The place in `file` of the bytes `inside` of the content of the string at `token`.
pub(crate) fn place(file: &str, token: Span, inside: &Range<usize>) -> Span {
    let Some(raw) = file.get(token.start..token.end) else { return token };
    let Some(string) = RawString::new(raw) else { return token };
    let mut position = string.body.start;
    let mut decoded = 0;
    let (mut start, mut end) = (None, None);
    while position < string.body.end {
        let piece = string.piece(position);
        let decoded_end = decoded + piece.decoded_bytes;
        if start.is_none() && decoded_end > inside.start {
            start = Some(position);
        }
        position += piece.raw_bytes;
        if start.is_some() && decoded_end >= inside.end {
            end = Some(position);
            break;
        }
        decoded = decoded_end;
    }
    let start = start.unwrap_or(string.body.end);
    let end = if inside.is_empty() { start } else { end.unwrap_or(string.body.end).max(start) };
    Span { start: token.start + start, end: token.start + end }
}

/// A string as it is written: `"…"`, `'…'`, or either in three quotes.
struct RawString<'f> {
    raw: &'f str,
    /// What stands between the quotes, without the line end after three of them.
    body: Range<usize>,
    has_escapes: bool,
}

/// The smallest part of a string that is read as a whole.
struct Piece {
    raw_bytes: usize,
    decoded_bytes: usize,
}

impl<'f> RawString<'f> {
    fn new(raw: &'f str) -> Option<Self> {
        let quote = raw.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
        // A string that nobody has ended: where its last byte is, a character may be that is longer.
        if !raw.ends_with(quote) {
            return None;
        }
        let three: String = std::iter::repeat_n(quote, 3).collect();
        let is_long = raw.len() >= 6 && raw.starts_with(&three) && raw.ends_with(&three);
        let quotes = if is_long { 3 } else { 1 };
        let mut body = quotes..raw.len().checked_sub(quotes).filter(|end| *end >= quotes)?;
        if is_long {
            let rest = &raw[body.clone()];
            body.start +=
                if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
        }
        Some(Self { raw, body, has_escapes: quote == '"' })
    }

    fn piece(&self, position: usize) -> Piece {
        let rest = &self.raw[position..self.body.end];
        let mut characters = rest.chars();
        match characters.next() {
            Some('\\') if self.has_escapes => escape(rest, characters.next()),
            Some(character) => {
                Piece { raw_bytes: character.len_utf8(), decoded_bytes: character.len_utf8() }
            }
            None => Piece { raw_bytes: 1, decoded_bytes: 0 },
        }
    }
}

/// The escape that `rest` begins with; `named` is the character after its backslash.
fn escape(rest: &str, named: Option<char>) -> Piece {
    let digits = match named {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        Some(' ' | '\t' | '\r' | '\n') => {
            // The blanks and line ends after a backslash at a line's end are left out.
            let blanks =
                rest[1..].len() - rest[1..].trim_start_matches([' ', '\t', '\r', '\n']).len();
            return Piece { raw_bytes: 1 + blanks, decoded_bytes: 0 };
        }
        named => {
            let raw_bytes = 1 + named.map_or(0, char::len_utf8);
            return Piece { raw_bytes, decoded_bytes: 1 };
        }
    };
    let code = rest.get(2..2 + digits).and_then(|code| u32::from_str_radix(code, 16).ok());
    let decoded_bytes = code.and_then(char::from_u32).map_or(1, char::len_utf8);
    Piece { raw_bytes: rest.len().min(2 + digits), decoded_bytes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use toml::de::{DeTable, DeValue};

    use super::*;

    /// The content of the string in `file`, which is `k = STRING`, and where the string stands.
    fn read(file: &str) -> Option<(String, Span)> {
        let table = DeTable::parse(file).ok()?;
        let value = table.get_ref().get("k")?;
        let DeValue::String(content) = value.get_ref() else { return None };
        Some((content.to_string(), value.span().into()))
    }

    #[track_caller]
    fn check(file: &str, wanted: &str, expected: &str) {
        let (content, token) = read(file).expect("valid");
        let start = content.find(wanted).expect("is in the string");
        let span = place(file, token, &(start..start + wanted.len()));
        assert_eq!(&file[span.start..span.end], expected, "{file}");
    }

    #[test]
    fn places_are_mapped_through_quotes_and_escapes() {
        check("k = 'a == b'", "== b", "== b");
        check(r#"k = "a == \"b\" && c""#, "\"b\"", r#"\"b\""#);
        check(r#"k = "\u00e9\U0001f600 c""#, "\u{1f600}", r"\U0001f600");
        check(r#"k = "\u00e9\U0001f600 c""#, "c", "c");
        check("k = \"\"\"\na &&\n  b\"\"\"", "&&\n  b", "&&\n  b");
        check("k = '''\r\na &&\r\nb'''", "b", "b");
        check("k = \"\"\"a \\\n   && b\"\"\"", "b", "b");
        check("k = \"\"\"a\"b\"\"\"", "\"b", "\"b");
    }

    #[test]
    fn the_end_of_a_string_is_its_closing_quote() {
        for (file, place_of_end) in [("k = 'ab'", 7), ("k = ''", 5), ("k = '''ab'''", 9)] {
            let (content, token) = read(file).expect("valid");
            let end = content.len();
            assert_eq!(
                place(file, token, &(end..end)),
                Span { start: place_of_end, end: place_of_end }
            );
        }
        assert_eq!(place("", Span { start: 3, end: 9 }, &(0..1)), Span { start: 3, end: 9 });
    }

    const PIECES: &[&str] = &[
        "a",
        "é",
        "日",
        "\\n",
        "\\t",
        "\\\\",
        "\\\"",
        "\\u00e9",
        "\\U0001f600",
        "\\x41",
        " ",
        "'",
        "\n",
        "\r\n",
        "\\\n  ",
        "\\ \r\n\n",
        "\\e",
        "#",
        "{",
        "==",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_piece_of_any_string_is_read_as_the_parser_reads_it(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
            quotes in prop::sample::select(&["\"", "'", "\"\"\"", "'''"][..]),
        ) {
            let body = pieces.concat();
            let file = format!("k = {quotes}{body}{quotes}");
            let Some((content, token)) = read(&file) else { return Ok(()) };
            let raw = &file[token.start..token.end];
            let string = RawString::new(raw).expect("a string");
            let (mut position, mut decoded) = (string.body.start, 0);
            while position < string.body.end {
                let piece = string.piece(position);
                position += piece.raw_bytes;
                decoded += piece.decoded_bytes;
                prop_assert!(content.is_char_boundary(decoded), "{:?}", file);
            }
            prop_assert_eq!(decoded, content.len(), "{:?}", file);
            for (start, character) in content.char_indices() {
                let span = place(&file, token, &(start..start + character.len_utf8()));
                let shown = &file[span.start..span.end];
                let is_itself = shown.strip_prefix(character).is_some_and(str::is_empty);
                prop_assert!(is_itself || shown.starts_with('\\') || shown == "\r\n", "{shown:?} for {character:?}");
            }
        }
    }
}

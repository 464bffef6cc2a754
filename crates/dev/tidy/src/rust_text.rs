//! Owns looking at Rust source as text: code without comments and literals, comments without code,
//! tests cut out.
//!
//! Leaves what is looked for to `sources`. It is not a parser: it knows just enough of the lexical
//! rules. Invariant: lines keep their numbers, because whatever is taken out is replaced by spaces.

/// A source text split by what a person and what the compiler reads.
#[derive(Clone, Debug)]
pub struct Split {
    /// The text with comments, strings and characters blanked.
    pub code: String,
    /// The text with everything but comments blanked.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Splits a source text.
#[must_use]
pub fn split(text: &str) -> Split {
    let chars: Vec<char> = text.chars().collect();
    let mut kinds = Vec::with_capacity(chars.len());
    while kinds.len() < chars.len() {
        let rest = &chars[kinds.len()..];
        let previous = kinds.len().checked_sub(1).map(|place| chars[place]);
        let (length, kind) = next_piece(rest, previous);
        kinds.resize(kinds.len() + length, kind);
    }
    let keep = |kind: Kind| {
        let blank = |(char, found): (&char, &Kind)| {
            if *char == '\n' || *found == kind { *char } else { ' ' }
        };
        chars.iter().zip(&kinds).map(blank).collect()
    };
    Split { code: keep(Kind::Code), comments: keep(Kind::Comment) }
}

/// The length and kind of the piece that `rest`, which is not empty, begins with.
fn next_piece(rest: &[char], previous: Option<char>) -> (usize, Kind) {
    let in_word = previous.is_some_and(|char| char.is_alphanumeric() || char == '_');
    match rest {
        ['/', '/', ..] => {
            (rest.iter().position(|char| *char == '\n').unwrap_or(rest.len()), Kind::Comment)
        }
        ['/', '*', ..] => (block_comment_length(rest), Kind::Comment),
        ['"', ..] => (quoted_length(rest), Kind::Literal),
        ['r', '"' | '#', ..] if !in_word => match raw_length(&rest[1..]) {
            Some(length) => (length + 1, Kind::Literal),
            None => (1, Kind::Code),
        },
        ['b' | 'c', 'r', '"' | '#', ..] if !in_word => match raw_length(&rest[2..]) {
            Some(length) => (length + 2, Kind::Literal),
            None => (1, Kind::Code),
        },
        // A character ends with a quote after one character or an escape; a lifetime does not.
        ['\'', '\\', _, after @ ..] => {
            let closing = after.iter().position(|char| *char == '\'');
            (closing.map_or(rest.len(), |closing| closing + 4), Kind::Literal)
        }
        ['\'', _, '\'', ..] => (3, Kind::Literal),
        _ => (1, Kind::Code),
    }
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut place) = (0_usize, 0);
    while place < rest.len() {
        match rest[place..] {
            ['/', '*', ..] => (depth, place) = (depth + 1, place + 2),
            ['*', '/', ..] => {
                (depth, place) = (depth - 1, place + 2);
                if depth == 0 {
                    return place;
                }
            }
            _ => place += 1,
        }
    }
    rest.len()
}

fn quoted_length(rest: &[char]) -> usize {
    let mut place = 1;
    while place < rest.len() {
        match rest[place] {
            '\\' => place += 2,
            '"' => return place + 1,
            _ => place += 1,
        }
    }
    rest.len()
}

/// The length of `"…"` or `#"…"#` (any number of `#`); `None` when it is not a raw string.
fn raw_length(rest: &[char]) -> Option<usize> {
    let hashes = rest.iter().take_while(|char| **char == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let body = hashes + 1;
    let closes = |place: &usize| {
        rest[*place] == '"'
            && rest[place + 1..].iter().take_while(|char| **char == '#').count() >= hashes
    };
    let end = (body..rest.len()).find(closes)?;
    Some(end + 1 + hashes)
}

/// Blanks each item that `#[cfg(test)]` stands before. Takes code as [`split`] gives it.
#[must_use]
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut result = code.to_owned();
    while let Some(start) = result.find(MARK) {
        let end = item_end(&result, start + MARK.len());
        let blanked: String =
            result[start..end].chars().map(|char| if char == '\n' { '\n' } else { ' ' }).collect();
        result.replace_range(start..end, &blanked);
    }
    result
}

/// Where the item that begins after `from` ends: at the brace that closes its first one, or at a
/// semicolon.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_usize;
    for (place, char) in code[from..].char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth <= 1 => return from + place + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return from + place + 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether all of the file is test code: in a directory for tests or benches, or named so.
#[must_use]
pub fn is_test_file(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    let is_test_name = name == "tests.rs" || name.ends_with("_tests.rs");
    is_test_name || parts.any(|part| part == "tests" || part == "examples")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows blanks as `.`, to make them visible in a failure.
    fn code_of(text: &str) -> String {
        split(text).code.replace(' ', ".")
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let cases = [
            ("a // b", "a....."),
            ("a /* b /* c */ d */ e", "a...................e"),
            ("a(\"// b\\\"\", c)", "a(........,.c)"),
            ("r#\"a\" b\"# c", "..........c"),
            ("br\"a\" c", "......c"),
            ("for r in r#type", "for.r.in.r#type"),
            ("'a' '\\'' '\\u{1f}' b", "..................b"),
            ("fn f<'a>(x: &'a str)", "fn.f<'a>(x:.&'a.str)"),
            ("unclosed \"a", "unclosed..."),
        ];
        for (text, expected) in cases {
            assert_eq!(code_of(text), expected, "{text}");
        }
    }

    #[test]
    fn comments_keep_their_place() {
        let split = split("a\n  // b\nc /* d */");
        assert_eq!(split.comments, " \n  // b\n  /* d */");
        assert_eq!(split.code.lines().count(), 3);
    }

    #[test]
    fn items_for_tests_are_cut_out() {
        let code = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { {} }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\nfn e() {}";
        let rest = without_tests(code);
        assert!(!rest.contains("fn b") && !rest.contains("mod d"));
        assert!(rest.contains("fn a") && rest.contains("fn c") && rest.contains("fn e"));
        assert_eq!(rest.lines().count(), code.lines().count());
    }

    #[test]
    fn test_files_are_told_by_place_and_name() {
        for path in
            ["crates/a/tests/b.rs", "a/src/c_tests.rs", "a/src/tests.rs", "a/src/tests/b.rs"]
        {
            assert!(is_test_file(path), "{path}");
        }
        assert!(!is_test_file("crates/dev/testkit/src/origin.rs"));
    }
}

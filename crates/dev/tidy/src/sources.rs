//! Owns the rules for Rust files: a purpose on top, a size that a reader can hold, words that must
//! not appear, and where `unsafe`, clocks, threads and sockets may be named.
//!
//! Leaves function length and everything that needs types to clippy. Invariant: a word in a comment
//! or in a string is never mistaken for code.

use crate::Complaint;
use crate::project::File;
use crate::rust_text::{is_test_file, split, without_tests};

/// The most lines that a file may have: what a reader can hold, and twice the median of the trees
/// we admire.
pub const LINES_MAX: usize = 500;

/// A file that may be longer, and why.
#[derive(Clone, Copy, Debug)]
pub struct SizeException {
    /// The file.
    pub path: &'static str,
    /// The most lines that it may have.
    pub lines_max: usize,
    /// Why it is one file all the same.
    pub reason: &'static str,
}

/// The files that may be longer than [`LINES_MAX`].
pub const SIZE_EXCEPTIONS: &[SizeException] = &[SizeException {
    path: "crates/dev/testkit/src/malformed.rs",
    lines_max: 900,
    reason: "one table of malformed messages, a few lines each",
}];

/// A word that code must not contain, where, and what to do instead.
struct ForbiddenCode {
    word: &'static str,
    instead: &'static str,
    /// Also forbidden in tests.
    in_tests: bool,
    /// The beginnings of paths where it is allowed.
    allowed_in: &'static [&'static str],
}

/// Programs talk to people; libraries do not.
const PROGRAMS: &[&str] = &["crates/bin/", "benches/"];
/// The control plane owns the program's log, the test kit shows what failed.
const SPEAKS_ON_STDERR: &[&str] =
    &["crates/bin/", "benches/", "crates/io/control/", "crates/dev/testkit/"];
const RING: &[&str] = &["crates/io/ring/"];

const fn forbidden(word: &'static str, instead: &'static str) -> ForbiddenCode {
    ForbiddenCode { word, instead, in_tests: true, allowed_in: &[] }
}

const FORBIDDEN_CODE: &[ForbiddenCode] = &[
    ForbiddenCode {
        in_tests: false,
        ..forbidden(".unwrap()", "say why it cannot fail with expect")
    },
    ForbiddenCode {
        allowed_in: RING,
        ..forbidden("unsafe", "only crates/io/ring may hold unsafe code")
    },
    ForbiddenCode {
        in_tests: false,
        allowed_in: PROGRAMS,
        ..forbidden("println!", "a library does not print")
    },
    ForbiddenCode {
        in_tests: false,
        allowed_in: PROGRAMS,
        ..forbidden("print!", "a library does not print")
    },
    ForbiddenCode {
        in_tests: false,
        allowed_in: SPEAKS_ON_STDERR,
        ..forbidden("eprintln!", "a library does not print")
    },
    forbidden("dbg!", "remove it"),
    forbidden("todo!", "write it or leave it out"),
    forbidden("unimplemented!", "write it or leave it out"),
    forbidden("static mut", "own the state"),
];

/// What the pure crates must not name: they get bytes, time and randomness as arguments.
const IMPURE: [&str; 12] = [
    "Instant::now",
    "SystemTime",
    "std::thread",
    "std::fs",
    "std::io::std",
    "std::env",
    "std::process",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "RandomState",
    "async fn",
];

/// Notes to oneself, which belong in an issue.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Checks one Rust file.
#[must_use]
pub fn check(file: &File, exceptions: &[SizeException]) -> Vec<Complaint> {
    let text = split(&file.text);
    let shipped = if is_test_file(&file.path) { String::new() } else { without_tests(&text.code) };
    let mut complaints = Vec::new();
    if !file.text.starts_with("//!") {
        complaints.push(Complaint::at_line(
            &file.path,
            1,
            "the file does not open with //! and its purpose",
        ));
    }
    complaints.extend(check_size(file, exceptions));
    for rule in FORBIDDEN_CODE {
        if !rule.allowed_in.iter().any(|allowed| file.path.starts_with(allowed)) {
            let code = if rule.in_tests { &text.code } else { &shipped };
            let message = format!("`{}`: {}", rule.word, rule.instead);
            complaints.extend(places(&file.path, code, rule.word, &message));
        }
    }
    for note in NOTES {
        let message = format!("{note}: finish it, or say it where work is planned");
        complaints.extend(places(&file.path, &text.comments, note, &message));
    }
    if file.path.starts_with("crates/core/") {
        for word in IMPURE {
            let message = format!("`{word}` in a pure crate: take it as an argument");
            complaints.extend(places(&file.path, &shipped, word, &message));
        }
    }
    complaints
}

fn check_size(file: &File, exceptions: &[SizeException]) -> Option<Complaint> {
    let exception = exceptions.iter().find(|exception| exception.path == file.path);
    let lines_max = exception.map_or(LINES_MAX, |exception| exception.lines_max);
    let lines = file.text.lines().count();
    let message = format!("{lines} lines; {lines_max} is the most: split it by what it owns");
    (lines > lines_max).then(|| Complaint::new(&file.path, message))
}

/// Checks that every exception is needed: its file exists and is longer than others may be.
#[must_use]
pub fn check_exceptions(files: &[File], exceptions: &[SizeException]) -> Vec<Complaint> {
    let is_needed = |exception: &&SizeException| {
        let file = files.iter().find(|file| file.path == exception.path);
        let is_long = file.is_some_and(|file| file.text.lines().count() > LINES_MAX);
        !is_long || exception.reason.is_empty()
    };
    let message = "the size exception is not needed or gives no reason";
    exceptions
        .iter()
        .filter(is_needed)
        .map(|exception| Complaint::new(exception.path, message))
        .collect()
}

/// A complaint for each line that contains `word` with no letter, digit or `_` directly before or
/// after it.
fn places(path: &str, text: &str, word: &str, message: &str) -> Vec<Complaint> {
    let lines = text.lines().enumerate().filter(|(_, line)| contains_word(line, word));
    lines.map(|(number, _)| Complaint::at_line(path, number + 1, message)).collect()
}

pub(crate) fn contains_word(line: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(place, _)| {
        let before = line[..place].chars().next_back();
        let after = line[place + word.len()..].chars().next();
        // A word that itself begins or ends with a sign, such as `.unwrap()`, has its own edge.
        let starts_free = !word.starts_with(is_part) || !before.is_some_and(is_part);
        let ends_free = !word.ends_with(is_part) || !after.is_some_and(is_part);
        starts_free && ends_free
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, body: &str) -> Vec<String> {
        let file = File::new(path, format!("//! Owns a sample.\n{body}\n"));
        check(&file, &[]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_file_passes() {
        let body = "/// Says `unwrap()` and \"dbg!\".\npub fn a() -> &'static str {\n    \"todo!() unsafe\"\n}\n\
                    #[cfg(test)]\nmod tests {\n    fn b() { Some(1).unwrap(); println!(); }\n}";
        assert_eq!(complaints("crates/core/a/src/lib.rs", body), Vec::<String>::new());
    }

    #[test]
    fn each_forbidden_word_is_found_where_it_is_forbidden() {
        let cases = [
            ("crates/io/a/src/lib.rs", "fn a() { b.unwrap() }"),
            ("crates/io/a/src/lib.rs", "fn a() { unsafe { b() } }"),
            ("crates/io/ring/src/lib.rs", "fn a() { dbg!(1); }"),
            ("crates/io/a/tests/b.rs", "fn a() { todo!() }"),
            ("crates/io/a/src/lib.rs", "fn a() { unimplemented!() }"),
            ("crates/io/a/src/lib.rs", "fn a() { println!() }"),
            ("crates/dev/testkit/src/lib.rs", "fn a() { print!() }"),
            ("crates/io/proxy/src/lib.rs", "fn a() { eprintln!() }"),
            ("crates/io/a/src/lib.rs", "static mut A: u8 = 0;"),
            ("crates/io/a/src/lib.rs", concat!("// TO", "DO: more")),
            ("crates/io/a/src/lib.rs", concat!("/* FIX", "ME */")),
        ];
        for (path, body) in cases {
            let complaints = complaints(path, body);
            assert_eq!(complaints.len(), 1, "{path} {body}: {complaints:?}");
            assert!(complaints[0].starts_with(&format!("{path}:2: ")), "{complaints:?}");
        }
    }

    #[test]
    fn words_are_allowed_where_they_belong() {
        let cases = [
            ("crates/io/ring/src/lib.rs", "fn a() { unsafe { b() } }"),
            ("crates/bin/tidegate/src/main.rs", "fn a() { println!() }"),
            ("crates/io/a/tests/b.rs", "fn a() { b.unwrap(); println!() }"),
            ("crates/io/a/src/lib.rs", "fn a() { b.unwrap_or(c); unsafe_code(); }"),
        ];
        for (path, body) in cases {
            assert_eq!(complaints(path, body), Vec::<String>::new(), "{path} {body}");
        }
    }

    #[test]
    fn pure_crates_are_kept_pure() {
        for word in IMPURE {
            let body = format!("fn a() {{ {word} }}");
            assert_eq!(complaints("crates/core/a/src/lib.rs", &body).len(), 1, "{word}");
            assert_eq!(complaints("crates/io/a/src/lib.rs", &body).len(), 0, "{word}");
        }
    }

    #[test]
    fn a_file_must_open_with_its_purpose() {
        let file = File::new("a.rs", "use std::fmt;\n");
        assert_eq!(check(&file, &[]).len(), 1);
    }

    #[test]
    fn long_files_need_an_exception_that_is_needed() {
        let long = File::new("a.rs", "//! a\n".repeat(LINES_MAX + 1));
        assert_eq!(check(&long, &[]).len(), 1);
        let exception = SizeException { path: "a.rs", lines_max: LINES_MAX + 1, reason: "a table" };
        assert_eq!(check(&long, &[exception]), []);
        assert_eq!(check_exceptions(std::slice::from_ref(&long), &[exception]), []);
        assert_eq!(check_exceptions(&[File::new("a.rs", "//! a\n")], &[exception]).len(), 1);
        assert_eq!(check_exceptions(&[], &[exception]).len(), 1);
        assert_eq!(
            check_exceptions(&[long], &[SizeException { reason: "", ..exception }]).len(),
            1
        );
    }
}

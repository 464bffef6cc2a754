//! Whatever the file holds, the answer is a configuration or a report that points into the file.
//!
//! Owns the properties; `proptest` prints the smallest text that fails.

use std::path::Path;

use proptest::prelude::*;
use tidegate_config::{Config, Diagnostic, MASK, Report, Severity, parse_beside};

const VALID: &str = include_str!("../../../../config/reference.toml");

/// Pieces that files are made of, likely to meet each other in surprising ways.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "\\",
    "\u{feff}",
    "\0",
    "\u{1b}[31m",
    "é",
    "日本語",
    "👩‍🚀",
    "e\u{301}",
    "-1",
    "0",
    "1_000",
    "1.5",
    "1e400",
    "nan",
    "true",
    "1979-05-27T07:32:00Z",
    "99999999999999999999999999",
    "frontends",
    "backends",
    "global",
    "defaults",
    "admin",
    "web",
    "app",
    "servers",
    "bind",
    "timeouts",
    "cores",
    "weight",
    "address",
    "balance",
    "default_backend",
    "\"127.0.0.1:80\"",
    "\"*:80\"",
    "\"[::1]:80\"",
    "\"unix:/a\"",
    "\"fd@3\"",
    "\"5s\"",
    "\"5 sec\"",
    "\"16KiB\"",
    "'request.path == \"/\"'",
    "\"{source.ip}\"",
    "\"{\"",
    "rules",
    "users",
    "user_lists",
    "when",
    "backend",
    "redirect",
    "respond",
    "conditions",
    "set_headers",
    "split",
    "[[frontends.web.rules]]\n",
    "when = '",
    "when = \"\"\"",
    "[frontends.web]\n",
    "[[frontends.web.bind]]\n",
    "[backends.app.servers]\n",
    "bind = [",
    "key = ",
];

/// Reads `text` where the files are that the valid file names.
fn parse_there(file_name: &str, text: &str) -> Result<Config, Report> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../config");
    parse_beside(&directory, file_name, text)
}

fn diagnostics(result: &Result<Config, Report>) -> &[Diagnostic] {
    match result {
        Ok(config) => &config.warnings,
        Err(report) => &report.diagnostics,
    }
}

/// What holds of every answer to `text`.
fn check(text: &str) -> Result<(), TestCaseError> {
    let result = parse_there("p.toml", text);
    match &result {
        Ok(config) => {
            prop_assert!(config.warnings.iter().all(|w| w.severity == Severity::Warning));
            prop_assert!(!config.frontends.is_empty());
            prop_assert!(config.frontends.iter().all(|f| !f.binds.is_empty()));
            prop_assert!(config.backends.iter().all(|b| !b.servers.is_empty()));
            let indices = config.frontends.iter().filter_map(|f| f.default_backend);
            prop_assert!(indices.into_iter().all(|index| index.0 < config.backends.len()));
        }
        Err(report) => prop_assert!(report.count(Severity::Error) > 0),
    }
    let mut last_start = 0;
    for diagnostic in diagnostics(&result) {
        check_rendering(diagnostic)?;
        let Some(place) = &diagnostic.place else { continue };
        prop_assert!(place.span.start <= place.span.end && place.span.end <= text.len());
        prop_assert!(
            text.is_char_boundary(place.span.start) && text.is_char_boundary(place.span.end)
        );
        prop_assert!(last_start <= place.span.start, "out of the file's order");
        last_start = place.span.start;
        let line = text.split('\n').nth(place.line - 1).map(|line| line.trim_end_matches('\r'));
        let line = line.unwrap_or_default();
        let is_shown = |(there, shown): (u8, u8)| there == shown || shown == MASK as u8;
        prop_assert_eq!(line.len(), place.line_text.len());
        prop_assert!(line.bytes().zip(place.line_text.bytes()).all(is_shown), "{line:?}");
        prop_assert!(place.column <= place.line_text.chars().count() + 1);
    }
    Ok(())
}

fn check_rendering(diagnostic: &Diagnostic) -> Result<(), TestCaseError> {
    let rendered = diagnostic.to_string();
    prop_assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()), "{rendered:?}");
    let lines: Vec<_> = rendered.lines().collect();
    prop_assert!(lines[0].starts_with("p.toml:"), "{rendered}");
    if diagnostic.place.is_some() {
        prop_assert!(lines[3].contains('^'), "{rendered}");
        prop_assert!(lines.iter().all(|line| line.chars().count() < 400), "{rendered}");
    }
    Ok(())
}

/// A step that damages a text: cut out a range, put a piece in, or swap two lines.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, &'static str),
    SwapLines(prop::sample::Index, prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<prop::sample::Index>(), 0_usize..20)
            .prop_map(|(at, length)| Damage::Cut(at, length)),
        (any::<prop::sample::Index>(), prop::sample::select(PIECES))
            .prop_map(|(at, piece)| Damage::Insert(at, piece)),
        any::<(prop::sample::Index, prop::sample::Index)>()
            .prop_map(|(one, other)| Damage::SwapLines(one, other)),
    ]
}

fn damaged(text: &str, steps: &[Damage]) -> String {
    let mut text = text.to_owned();
    for step in steps {
        let boundary = |at: &prop::sample::Index, text: &str| {
            text.floor_char_boundary(at.index(text.len() + 1))
        };
        match step {
            Damage::Cut(at, length) => {
                let start = boundary(at, &text);
                let end = text.floor_char_boundary((start + length).min(text.len()));
                text.replace_range(start..end, "");
            }
            Damage::Insert(at, piece) => text.insert_str(boundary(at, &text), piece),
            Damage::SwapLines(one, other) => {
                let mut lines: Vec<_> = text.split('\n').collect();
                let count = lines.len();
                lines.swap(one.index(count), other.index(count));
                text = lines.join("\n");
            }
        }
    }
    text
}

/// Where the keys of the valid file end, without those inside comments, and up to where names stand that the file chooses.
fn key_ends() -> Vec<usize> {
    let (with_defaults, _) =
        VALID.split_once("# What follows has no default").expect("has the comment");
    let in_comment =
        |at: usize| VALID[..at].rsplit('\n').next().is_some_and(|line| line.contains('#'));
    with_defaults.match_indices(" = ").map(|(at, _)| at).filter(|at| !in_comment(*at)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_answered(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn random_pieces_are_answered(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn a_damaged_file_is_answered(steps in prop::collection::vec(damage(), 1..6), crlf in any::<bool>()) {
        let valid = if crlf { VALID.replace('\n', "\r\n") } else { VALID.to_owned() };
        check(&damaged(&valid, &steps))?;
    }

    #[test]
    fn a_misspelt_key_is_found_where_it_stands(at in any::<prop::sample::Index>(), crlf in any::<bool>()) {
        let ends = key_ends();
        let key_end = ends[at.index(ends.len())];
        let mut text = VALID.to_owned();
        text.insert(key_end, 'x');
        let line = text[..key_end].matches('\n').count() + 1;
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        let report = parse_there("p.toml", &text).expect_err("an unknown key");
        let found = report.diagnostics.iter().any(|diagnostic| {
            diagnostic.message.starts_with("unknown key")
                && diagnostic.place.as_ref().is_some_and(|place| place.line == line)
                && diagnostic.help.as_ref().is_some_and(|help| help.starts_with("did you mean"))
        });
        prop_assert!(found, "line {line}: {report}");
    }

    #[test]
    fn the_caret_stands_under_the_value_after_any_prefix(
        prefix in "[ -!$-~éß\tÀ日本語\u{301}👍]{0,30}",
        crlf in any::<bool>(),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let prefix = prefix.replace(['"', '\\'], "");
        let text = format!("[global]{end}\"{prefix}\" = 1{end}");
        let report = parse_there("p.toml", &text).expect_err("an unknown key");
        let rendered = report.diagnostics.last().expect("not empty").to_string();
        let lines: Vec<_> = rendered.lines().collect();
        // The key is the whole of the marked text, so the carets end where ` = 1` begins.
        let shown = lines[2].strip_suffix(" = 1");
        prop_assert!(shown.is_some(), "{rendered}");
        let columns = |text: &str| -> usize { text.chars().map(width).sum() };
        prop_assert_eq!(columns(shown.unwrap_or_default()), columns(lines[3]), "{}", rendered);
    }
}

/// Columns of the characters that this test uses.
fn width(character: char) -> usize {
    match character {
        '\u{301}' => 0,
        '日' | '本' | '語' | '👍' => 2,
        _ => 1,
    }
}

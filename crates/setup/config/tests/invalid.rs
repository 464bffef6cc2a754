//! Every file of `config/invalid` is refused with exactly the report beside it.
//!
//! Owns the comparison; the cases are `NAME.toml` with `NAME.expected`. After a change of wording that is meant, run with
//! `UPDATE_EXPECTED=1` and read the difference.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_config::{Config, MASK, Report, Severity, parse_beside};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../config/invalid")
}

fn names(extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory()).expect("config/invalid exists");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| path.file_stem().expect("has a name").to_string_lossy().into_owned())
        .collect()
}

fn check(name: &str) -> (String, Result<Config, Report>) {
    let file_name = format!("{name}.toml");
    let text = fs::read_to_string(directory().join(&file_name)).expect("readable");
    let result = parse_beside(&directory(), &file_name, &text);
    (text, result)
}

#[test]
fn every_invalid_file_gives_its_expected_report() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut different = Vec::new();
    for name in names("toml") {
        let (_, result) = check(&name);
        let report = result.expect_err(&format!("{name}.toml must be refused"));
        assert!(report.count(Severity::Error) > 0, "{name}: a report without an error");
        let rendered = format!("{report}\n");
        let path = directory().join(format!("{name}.expected"));
        if update {
            fs::write(&path, &rendered).expect("writable");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if rendered != expected {
            different.push(format!("{name}: expected\n{expected}\nbut got\n{rendered}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn there_are_enough_cases_and_each_expectation_has_its_file() {
    assert!(names("toml").len() >= 40);
    assert_eq!(names("toml"), names("expected"));
}

#[test]
fn ten_different_problems_are_reported_together_and_in_file_order() {
    let (_, result) = check("ten_problems");
    let report = result.expect_err("ten problems");
    let lines: Vec<_> =
        report.diagnostics.iter().map(|d| d.place.as_ref().expect("has a place").line).collect();
    assert_eq!(lines, [2, 3, 4, 7, 10, 11, 17, 20, 23, 25]);
    let messages: BTreeSet<_> = report.diagnostics.iter().map(|d| &d.message).collect();
    assert_eq!(messages.len(), 10, "{report}");
}

#[test]
fn every_caret_stands_under_what_its_span_says() {
    for name in names("toml") {
        let (text, result) = check(&name);
        for diagnostic in result.expect_err("refused").diagnostics {
            let place = diagnostic.place.as_ref().expect("has a place");
            let line = text.lines().nth(place.line - 1).unwrap_or("").trim_end_matches('\r');
            let is_shown = |(there, shown): (u8, u8)| there == shown || shown == MASK as u8;
            assert_eq!(line.len(), place.line_text.len(), "{name}");
            assert!(line.bytes().zip(place.line_text.bytes()).all(is_shown), "{name}");
            let before: String = line.chars().take(place.column - 1).collect();
            let line_start: usize =
                text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
            assert_eq!(line_start + before.len(), place.span.start, "{name}: {diagnostic}");
        }
    }
}

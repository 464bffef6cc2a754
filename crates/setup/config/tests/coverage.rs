//! Nothing that operators can write about rules and logs is without an end-to-end test.
//!
//! Owns the comparison of attributes, functions, keys of rules and fields of the access log with the texts of the end-to-end
//! tests. Leaves what they hold to these. Invariant: a name counts only where it stands as it would in a configuration.

use std::fs;
use std::path::Path;

use tidegate_config::keys;
use tidegate_rules::{ATTRIBUTES, FUNCTIONS, METHODS};

/// The end-to-end tests and the configuration that they include, without their escapes.
fn tests() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bin/tidegate/tests");
    let mut text = String::new();
    for directory in [directory.clone(), directory.join("support")] {
        for entry in fs::read_dir(directory).expect("the end-to-end tests") {
            let path = entry.expect("readable").path();
            if path.is_file() {
                text += &fs::read_to_string(path).expect("text");
            }
        }
    }
    text.replace("\\n", "\n").replace('\\', "")
}

/// Whether `name` stands in `text` with nothing before or behind it that would make it another one.
fn has_word(text: &str, name: &str) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    text.match_indices(name).any(|(start, _)| {
        let (before, behind) = (start.checked_sub(1), start + name.len());
        !before.and_then(|before| bytes.get(before)).is_some_and(is_part)
            && !bytes.get(behind).is_some_and(is_part)
    })
}

#[track_caller]
fn expect_all<T: AsRef<str>>(
    what: &str,
    names: impl IntoIterator<Item = T>,
    is_tested: impl Fn(&str) -> bool,
) {
    let mut count = 0;
    let mut missing = Vec::new();
    for name in names {
        count += 1;
        if !is_tested(name.as_ref()) {
            missing.push(name.as_ref().to_owned());
        }
    }
    assert!(count > 5, "{count} {what}");
    assert!(missing.is_empty(), "{what} without an end-to-end test: {missing:?}");
}

#[test]
fn every_attribute_and_function_has_an_end_to_end_test() {
    let tests = tests();
    // No connection has TLS in this version, and `rate` is refused.
    let attributes =
        ATTRIBUTES.iter().map(|row| row.name).filter(|name| !name.starts_with("connection."));
    expect_all("attributes", attributes, |name| has_word(&tests, name));
    let functions = FUNCTIONS.iter().filter(|name| **name != "rate").map(|name| format!("{name}("));
    let methods = METHODS.iter().map(|name| format!(".{name}("));
    expect_all("functions", functions.chain(methods), |name| tests.contains(name));
}

#[test]
fn every_edit_and_ending_has_an_end_to_end_test() {
    let tests = tests();
    let tables = ["frontends.NAME.rules", "frontends.NAME.response_rules"];
    let of_rules = keys()
        .into_iter()
        .filter(|key| key.supported && tables.iter().any(|table| key.table.starts_with(table)));
    let is_written = |name: &str| {
        has_word(&tests, &format!("{name} =")) || has_word(&tests, &format!("{name}."))
    };
    expect_all("keys of rules", of_rules.map(|key| key.name), is_written);
}

#[test]
fn every_field_of_the_access_log_has_an_end_to_end_test() {
    let tests = tests();
    let names = tidegate_access_log::FIELDS.iter().map(|field| field.name.trim_end_matches("NAME"));
    expect_all("fields of the log", names, |name| {
        let group = name.ends_with('.').then(|| tests.contains(&format!("(\"{name}")));
        group.unwrap_or_else(|| tests.contains(&format!("(\"{name}\", ")))
    });
}

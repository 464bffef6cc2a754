//! The reference file, the documentation and the examples say what the code does.
//!
//! Owns the comparison of `config/reference.toml`, `docs/CONFIG.md` and `config/examples` with the known keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tidegate_config::{Config, KeyInfo, keys, load, parse, parse_beside};
use tidegate_rules::{ATTRIBUTES, FUNCTIONS, METHODS};
use toml::de::{DeTable, DeValue};

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(project(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Tables whose keys are names that the file chooses.
const NAMED: [&str; 15] = [
    "frontends",
    "backends",
    "resolvers",
    "lists",
    "user_lists",
    "servers",
    "conditions",
    "error_pages",
    "set_headers",
    "add_headers",
    "set_variable",
    "log_field",
    "headers",
    "users",
    "split",
];

/// What a path of the file is in the list of keys: names that the file chooses become `NAME`.
fn generic(path: &[&str]) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for (place, segment) in path.iter().enumerate() {
        let is_name =
            place > 0 && segments[place - 1] != "NAME" && NAMED.contains(&path[place - 1]);
        segments.push(if is_name { "NAME" } else { segment });
    }
    segments.join(".")
}

/// Every key of a table with its value as it is written, deepest included.
fn values<'t>(
    text: &'t str,
    path: &[&str],
    table: &DeTable<'_>,
    found: &mut BTreeMap<String, &'t str>,
) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let path: Vec<&str> = path.iter().copied().chain([&**key.get_ref()]).collect();
        found.entry(generic(&path)).or_insert(&text[value.span()]);
        match value.get_ref() {
            DeValue::Table(inner) => values(text, &path, inner, found),
            DeValue::Array(elements) => {
                for inner in elements.iter().filter_map(|element| element.get_ref().as_table()) {
                    values(text, &path, inner, found);
                }
            }
            _ => {}
        }
    }
}

fn reference_values(text: &str) -> BTreeMap<String, &str> {
    let table = DeTable::parse(text).expect("the reference file is valid TOML");
    let mut found = BTreeMap::new();
    values(text, &[], table.get_ref(), &mut found);
    found.retain(|path, _| !path.ends_with(".NAME"));
    found
}

fn paths(supported: bool) -> BTreeSet<String> {
    keys().iter().filter(|key| key.supported == supported).map(KeyInfo::path).collect()
}

fn accepted(path: &str) -> Config {
    let config = load(&project(path)).unwrap_or_else(|report| panic!("{report}"));
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.is_empty(), "{path}: {}", warnings.join("\n"));
    config
}

#[test]
fn the_reference_file_holds_every_key() {
    let text = read("config/reference.toml");
    let mut expected = paths(true);
    // They read as in `frontends.NAME`; the reference file shows the table form of a key once.
    expected.retain(|path| !path.starts_with("admin.bind."));
    let shown_elsewhere = [
        "defaults.forwarded_for.",
        "defaults.traceparent.",
        "defaults.balance.",
        "defaults.pool.max_lifetime",
        "defaults.pool.max_requests",
        "backends.NAME.servers.NAME.health_check.",
        "backends.NAME.tls.certificate.",
        // Other forms of a key, which cannot stand beside it.
        "backends.NAME.health_check.send_hex",
        "backends.NAME.health_check.expect_hex",
        "backends.NAME.health_check.expect_regex",
        "backends.NAME.health_check.expect_body_regex",
    ];
    let is_shown = |path: &String| !shown_elsewhere.iter().any(|table| path.starts_with(table));
    expected.retain(is_shown);
    let found: BTreeSet<_> = reference_values(&text).into_keys().filter(is_shown).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_reference_file_changes_no_default() {
    let mut reference = accepted("config/reference.toml");
    let plain = r#"
        [global.log]
        to = "/dev/log"
        framing = "rfc3164"
        host = "lb1"
        [admin]
        bind = ["127.0.0.1:8404"]
        [frontends.web]
        bind = ["127.0.0.1:8080"]
        default_backend = "app"
        [backends.app.servers]
        app1 = "127.0.0.1:9001"
    "#;
    let plain = parse("plain.toml", plain).unwrap_or_else(|report| panic!("{report}"));
    // The default is to have no limit of its own, which cannot be written; the global one is the same.
    assert_eq!(reference.frontends[0].max_connections.take(), Some(plain.global.max_connections));
    // Those of the system are in a file.
    assert!(reference.resolvers[0].nameservers.take().is_some());
    // Neither can it be written that nothing is added.
    assert!(reference.frontends[0].request_id.take().is_some());
    assert!(reference.frontends[0].via.take().is_some());
    assert!(reference.global.tls_key_log.take().is_some());
    assert!(reference.global.user.take().is_some() && reference.global.group.take().is_some());
    // The rest has no default and stands under frontends, backends and tables of its own.
    reference.frontends.truncate(1);
    reference.backends.truncate(1);
    reference.tables = plain.tables.clone();
    assert_eq!(reference, plain);
}

/// Another value of the same type as `value`, inside every range.
fn other_value(value: &str) -> String {
    match value {
        "true" => "false".to_owned(),
        "false" => "true".to_owned(),
        "\"ipv4_first\"" => "\"ipv6\"".to_owned(),
        "\"none\"" => "\"fail\"".to_owned(),
        "\"5m\"" => "\"7s\"".to_owned(),
        path if path.starts_with("\"/etc/") => "\"/other\"".to_owned(),
        "\"auto\"" => "[0]".to_owned(),
        "\"http/1.1\"" => "\"h2\"".to_owned(),
        "[]" => "[\"X\"]".to_owned(),
        "\"first\"" => "\"all\"".to_owned(),
        "[\"connect_failure\"]" => "[503]".to_owned(),
        "\"0B\"" => "\"3KiB\"".to_owned(),
        "\"100ms\"" => "\"7ms\"".to_owned(),
        "\"http\"" => "\"json\"".to_owned(),
        "\"local0\"" => "\"local1\"".to_owned(),
        "\"rfc3164\"" => "\"rfc5424\"".to_owned(),
        "\"info\"" => "\"error\"".to_owned(),
        "\"keep_sessions\"" => "\"close_sessions\"".to_owned(),
        "\"all\"" => "\"sampled\"".to_owned(),
        "\"tidegate\"" | "\"lb1\"" => "\"other\"".to_owned(),
        size if size.ends_with("KiB\"") => "\"3KiB\"".to_owned(),
        duration if duration.ends_with("s\"") || duration.ends_with("h\"") => "\"7s\"".to_owned(),
        number => {
            let number: u64 = number.replace('_', "").parse().expect("the last type is a number");
            (number + 1).to_string()
        }
    }
}

/// Keys that have no other value in this version, or no default; from `request_id` on also tables whose keys have none.
const FIXED: [&str; 34] = [
    "resolvers",
    "nameservers",
    "name",
    "port",
    "slots",
    "mode",
    "balance",
    "bind",
    "default_backend",
    "address",
    "servers",
    "to",
    "request_id",
    "via",
    "compression",
    "error_pages",
    "conditions",
    "rules",
    "response_rules",
    "lists",
    "user_lists",
    "max_lifetime",
    "max_requests",
    "max_queue",
    "per_try",
    "hedge_after",
    "persistence",
    "health_check",
    "passive_health",
    "protocols",
    "tls",
    "tls_key_log",
    "user",
    "group",
];

#[test]
fn every_key_with_a_default_changes_something() {
    const PLAIN: &str = r#"
        global.log.to = "/dev/log"
        frontends.web.bind = ["127.0.0.1:8080"]
        frontends.web.default_backend = "app"
        backends.app.servers.app1.address = "127.0.0.1:9001"
    "#;
    let accepted = |text: &str| {
        let config = parse("keys.toml", text).unwrap_or_else(|report| panic!("{report}"));
        Config { warnings: Vec::new(), ..config }
    };
    let plain = accepted(PLAIN);
    let reference = read("config/reference.toml");
    let values = reference_values(&reference);
    let tables: BTreeSet<_> = keys().iter().map(|key| key.table.to_owned()).collect();
    let has_default = |key: &KeyInfo| {
        let table: Vec<_> = key.table.split('.').collect();
        !table.iter().any(|segment| FIXED[12..].contains(segment))
            && !["forwarded_for", "traceparent", "balance"]
                .contains(table.last().expect("never empty"))
    };
    let mut tried = 0;
    let can_change = |key: &&KeyInfo| key.supported && !FIXED.contains(&key.name);
    for key in keys().iter().filter(can_change).filter(|key| has_default(key)) {
        let path = key.path();
        if tables.contains(&path) || ["frontends", "backends"].contains(&&*path) {
            continue;
        }
        let name = if path.starts_with("frontends") { "web" } else { "app" };
        let written = path.replacen("NAME", name, 1).replace("NAME", "app1");
        let text = format!("{PLAIN}{written} = {}", other_value(values[&path]));
        assert_ne!(accepted(&text), plain, "{written} has no effect");
        tried += 1;
    }
    assert!(tried > 30, "only {tried} keys tried");
}

#[test]
fn every_line_of_the_reference_file_is_explained() {
    let text = read("config/reference.toml");
    let mut explained = BTreeSet::new();
    for line in text.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')) {
        let key = line.split(" = ").next().expect("the line has a key");
        if line.contains('#') {
            explained.insert(key);
        }
        assert!(explained.contains(key), "no comment where `{key}` first stands: {line}");
    }
}

#[test]
fn the_examples_are_accepted_without_a_warning() {
    accepted("config/quickstart.toml");
    let mut count = 0;
    for entry in fs::read_dir(project("config/examples")).expect("config/examples exists") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            // Units for systemd lie beside the configurations that they start.
            continue;
        }
        accepted(&format!(
            "config/examples/{}",
            path.file_name().expect("named").to_string_lossy()
        ));
        count += 1;
    }
    assert!(count > 0, "no examples");
}

#[test]
fn the_guide_links_to_every_example_and_the_unit_waits_for_draining() {
    let guide = read("docs/OPERATING.md");
    for entry in fs::read_dir(project("config/examples")).expect("config/examples exists") {
        let name = entry.expect("readable").file_name();
        let link = format!("(../config/examples/{})", name.to_string_lossy());
        assert!(guide.contains(&link), "docs/OPERATING.md does not link to {link}");
    }
    let unit = read("config/examples/tidegate.service");
    let timeout = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let seconds: u64 = timeout.expect("the unit limits the stop").parse().expect("seconds");
    let config = accepted("config/examples/minimal.toml");
    let ending = (config.global.shutdown_delay + config.global.shutdown_timeout).as_secs();
    assert!(seconds > ending, "systemd kills after {seconds} s what may take {ending} s");
}

/// A file with the example of one key.
fn in_its_table(key: &KeyInfo) -> String {
    let table = key.table.replace("NAME", "x");
    let entry = format!("{} = {}", key.name, key.example);
    for list in [".bind", ".rules", ".response_rules", ".steps"] {
        let Some((before, inner)) = table.split_once(list) else { continue };
        // What is inside of an element of the list: `rules.redirect.scheme`.
        let inner: Vec<_> = inner.split('.').filter(|segment| !segment.is_empty()).collect();
        let element = inner.iter().rev().fold(entry, |entry, table| match *table {
            "certificates" => format!("{table} = [{{ {entry} }}]"),
            _ => format!("{table} = {{ {entry} }}"),
        });
        return format!("{before}{list} = [{{ {element} }}]");
    }
    if table.is_empty() { entry } else { format!("{table}.{entry}") }
}

#[test]
fn the_example_of_every_key_is_accepted() {
    for key in keys().into_iter().filter(|key| key.supported) {
        let text = in_its_table(&key);
        let report = match parse_beside(&project("config"), "example.toml", &text) {
            Ok(_) => continue,
            Err(report) => report,
        };
        // One key alone is no complete file; only what is missing besides may be reported.
        for diagnostic in report.diagnostics {
            // `admin.bind` has the table of all binds, and a key may lie in another file than the chain.
            let missing = "has no `|there is no |the rule has no edit|has no destination|of `admin.bind` is not|holds no private key|alone: the process keeps";
            assert!(
                missing.split('|').any(|part| diagnostic.message.contains(part)),
                "{diagnostic}"
            );
        }
    }
}

/// One row of a table of keys in the documentation.
struct Row {
    table: String,
    key: String,
    default: String,
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn documented_rows(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut tables: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            tables = if title == "The file" { vec![""] } else { quoted(title).collect() };
        } else if line.starts_with("## ") {
            tables.clear();
        } else if line.starts_with("| `") {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            for table in &tables {
                assert_eq!(cells.len(), 7, "a key has type, default, limits and meaning: {line}");
                rows.push(Row {
                    table: (*table).to_owned(),
                    key: cells[1].trim_matches('`').to_owned(),
                    default: cells[3].to_owned(),
                });
            }
        }
    }
    rows
}

fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

#[test]
fn the_documentation_has_every_key_and_no_other() {
    let text = read("docs/CONFIG.md");
    let documented: BTreeSet<_> =
        documented_rows(&text).iter().map(|row| joined(&row.table, &row.key)).collect();
    assert_eq!(documented, paths(true));
}

#[test]
fn the_documentation_lists_every_key_that_is_refused() {
    let text = read("docs/CONFIG.md");
    let (_, section) =
        text.split_once("## Keys that this version refuses").expect("has the section");
    let mut documented = BTreeSet::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let tables: Vec<_> =
            if cells[1] == "the file" { vec![""] } else { quoted(cells[1]).collect() };
        for table in tables {
            documented.extend(quoted(cells[2]).map(|key| joined(table, key)));
        }
    }
    assert_eq!(documented, paths(false));
}

#[test]
fn the_documentation_has_every_field_of_the_access_log_with_its_example() {
    let text = read("docs/CONFIG.md");
    let (_, section) = text.split_once("### Log formats and fields").expect("has the section");
    let section = section.split("\n#").next().expect("a section has an end");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = tidegate_access_log::FIELDS
        .iter()
        .map(|field| {
            let cells = [field.example, field.doc].map(|cell| cell.replace('|', "\\|"));
            let [example, doc] = cells;
            format!("| `{}` | `{example}` | {doc} |", field.name)
        })
        .collect();
    assert!(rows == expected, "the table should be:\n{}", expected.join("\n"));
}

#[test]
fn the_documentation_states_the_defaults_of_the_reference_file() {
    let reference = read("config/reference.toml");
    let values = reference_values(&reference);
    let rows = documented_rows(&read("docs/CONFIG.md"));
    let mut compared = 0;
    let is_shown = |row: &&Row| !row.table.starts_with("backends.NAME.servers.NAME.health_check");
    for row in rows.iter().filter(is_shown).filter(|row| row.default.starts_with('`')) {
        let path = joined(&row.table, &row.key);
        assert_eq!(row.default.trim_matches('`'), values[&path], "{path}");
        compared += 1;
    }
    assert!(compared > 20, "only {compared} defaults found in the documentation");
}

#[test]
fn every_piece_of_toml_in_the_documentation_is_accepted() {
    let text = read("docs/CONFIG.md") + &read("docs/OPERATING.md");
    let pieces: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next()).collect();
    assert!(pieces.len() > 5);
    for piece in pieces.into_iter().flatten() {
        if let Err(report) = parse_beside(&project("config"), "docs", piece) {
            for diagnostic in &report.diagnostics {
                let missing = ["has no `", "there is no ", "the rule has no edit"];
                let allowed = missing.iter().any(|part| diagnostic.message.contains(part));
                assert!(allowed, "{diagnostic}");
            }
        }
    }
}

/// What stands in the first and the last cell of a row of a table under `title` in the documentation.
fn names_and_examples(title: &str) -> Vec<(String, String)> {
    let text = read("docs/CONFIG.md");
    let (_, section) = text.split_once(&format!("### {title}\n")).expect("has the section");
    let section = section.split("\n#").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_end_matches([' ', '|']).split(" | ").map(str::trim).collect();
        let name = cells[0].trim_matches(['|', ' ', '`']);
        (name.to_owned(), cells[cells.len() - 1].trim_matches('`').to_owned())
    })
    .collect()
}

#[test]
fn every_attribute_and_function_is_documented_with_an_example_that_is_accepted() {
    let attributes = names_and_examples("Attributes");
    let known = ATTRIBUTES.iter().map(|row| row.name);
    let documented: BTreeSet<_> = attributes.iter().map(|(name, _)| &**name).collect();
    assert_eq!(documented, known.collect());
    let functions = names_and_examples("Functions");
    let methods = METHODS.iter().map(|name| format!(".{name}"));
    let known: BTreeSet<_> = FUNCTIONS
        .iter()
        .filter(|name| **name != "rate")
        .map(ToString::to_string)
        .chain(methods)
        .collect();
    assert_eq!(functions.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), known);
    for (name, example) in attributes.iter().chain(&functions) {
        assert!(example.contains(name.as_str()), "{name}: {example}");
        let text = format!(
            "[frontends.web]\nbind = [\"127.0.0.1:8080\"]\ndefault_backend = \"a\"\n\
             [[frontends.web.response_rules]]\nwhen = '{example}'\nset_status = 500\n\
             [lists.blocked]\nvalues = []\n[backends.a.servers]\na = \"127.0.0.1:9001\"\n"
        );
        if let Err(report) = parse_beside(&project("config"), "docs", &text) {
            panic!("{report}");
        }
    }
}

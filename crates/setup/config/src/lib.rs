//! The configuration file: text to validated types.
//!
//! Owns the file's format, its defaults and its error messages; leaves sockets, certificates and
//! everything that happens at run time to others. It reads the file that it is given and those that
//! this one names, and nothing else.
//!
//! Invariant: [`parse`] and [`load`] either return a [`Config`] that is usable as it stands, or
//! every problem of the file at once, in the order of the file.
//!
//! ```
//! let config = tidegate_config::parse("tidegate.toml", r#"
//!     [frontends.web]
//!     bind = ["127.0.0.1:8080"]
//!     default_backend = "app"
//!
//!     [backends.app.servers]
//!     app1 = "127.0.0.1:9001"
//! "#).expect("a complete file");
//! assert_eq!(config.backends[0].servers.len(), 1);
//! ```

mod account;
mod address;
mod backend;
mod balance;
mod check;
mod compression;
pub mod defaults;
mod diagnostic;
mod file;
mod files;
mod frontend;
mod global;
mod headers;
mod health;
mod http2;
mod log;
mod model;
mod names;
mod pages;
mod passive;
mod persistence;
mod references;
mod resolvers;
mod retries;
mod rules;
mod schema;
mod secrets;
mod source;
mod stick;
mod suggest;
mod syntax;
mod tables;
mod templates;
mod text;
mod tls;
mod units;
mod value;
mod walk;
mod written;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml::de::DeTable;

pub use account::{Group, User};
pub use diagnostic::{Diagnostic, MASK, Place, Report, Severity, Span};
pub use model::*;
pub use schema::{KeyInfo, keys};

use diagnostic::{Basis, Problem};
use source::Source;
use walk::Problems;

/// Reads and checks the file at `path`.
///
/// # Errors
/// Everything that is wrong with it, or that it cannot be read: no such file, more than
/// [`defaults::FILE_BYTES_MAX`] bytes, not UTF-8.
pub fn load(path: &Path) -> Result<Config, Report> {
    let file_name = path.display().to_string();
    let unreadable = |message: String| {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            file: diagnostic::printable(&file_name).into(),
            place: None,
            message,
            note: None,
            help: None,
        };
        Report { diagnostics: vec![diagnostic] }
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(defaults::FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > defaults::FILE_BYTES_MAX) {
        return Err(unreadable(format!("is longer than {} bytes", defaults::FILE_BYTES_MAX)));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&file_name, text),
        Err(error) => {
            // The text up to the first wrong byte is valid and shows where it is.
            let valid = String::from_utf8_lossy(&bytes);
            let at = error.valid_up_to();
            let span = Span { start: at, end: at + char::REPLACEMENT_CHARACTER.len_utf8() };
            let problem =
                Problem::error(span, format!("byte {:#04x} is not valid UTF-8", bytes[at]))
                    .help("save the file in UTF-8");
            Err(Report { diagnostics: vec![problem.locate(&Source::new(&file_name, &valid))] })
        }
    }
}

/// Checks `text`, the content of a file of that name: the name stands in the messages, and files that the text names with
/// relative paths are read beside it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Report> {
    parse_beside(Path::new(file_name).parent().unwrap_or(Path::new("")), file_name, text)
}

/// The same with another directory in which relative paths begin.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_beside(directory: &Path, file_name: &str, text: &str) -> Result<Config, Report> {
    let source = Source::new(file_name, text);
    let (mut config, problems) = examine(&source, text, directory);
    let found = problems.len();
    let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
    let mut diagnostics: Vec<_> = problems
        .into_iter()
        .take(defaults::PROBLEMS_MAX)
        .map(|problem| problem.locate(&source))
        .collect();
    if found > defaults::PROBLEMS_MAX {
        diagnostics.push(Diagnostic {
            severity: if failed { Severity::Error } else { Severity::Warning },
            file: source.file_name().clone(),
            place: None,
            message: format!("{} more problems are not shown", found - defaults::PROBLEMS_MAX),
            note: None,
            help: None,
        });
    }
    if failed {
        return Err(Report { diagnostics });
    }
    config.warnings = diagnostics;
    Ok(config)
}

/// Everything that is wrong with `text`, in its order, and the configuration that is usable if that
/// holds no error.
fn examine(source: &Source<'_>, text: &str, directory: &Path) -> (Config, Vec<Problem>) {
    let (table, syntax_errors) = DeTable::parse_recoverable(text);
    let problems = Problems::default();
    let file = file::read(table.get_ref(), &problems);
    let config = check::finish(file, directory, &problems);
    let mut problems: Vec<_> =
        problems.into_list().into_iter().map(|problem| problem.settle(text)).collect();
    if !syntax_errors.is_empty() {
        let syntax = syntax::examine(&syntax_errors, source, text);
        problems.retain(|problem| {
            problem.basis == Basis::Written && !syntax.spoil(source.line_index(problem.span.start))
        });
        problems.extend(syntax.problems);
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        // What the wrong part was meant to say may be just what the warning misses.
        problems.retain(|problem| {
            problem.severity == Severity::Error || problem.basis == Basis::Written
        });
    }
    problems.sort_by_key(|problem| problem.span.start);
    (config, problems)
}

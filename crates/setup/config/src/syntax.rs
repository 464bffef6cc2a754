//! Errors of the TOML syntax, in our words.
//!
//! Owns the advice for the slips that are made most, and the judgement which errors only follow
//! from an earlier one; leaves the finding of errors to the `toml` crate.
//!
//! Invariant: if the parser found an error, at least one is reported, and none on a line that an
//! earlier one explains.

use std::ops::Range;

use toml::de::Error;

use crate::diagnostic::{Problem, Span, quoted};
use crate::source::Source;

/// Errors of the syntax, and the lines that were not read as they were meant because of them.
pub(crate) struct SyntaxErrors {
    pub problems: Vec<Problem>,
    unread_lines: Vec<Range<usize>>,
}

impl SyntaxErrors {
    /// Whether what was understood of the line at index `line` says nothing about what was meant.
    pub fn spoil(&self, line: usize) -> bool {
        self.unread_lines.iter().any(|lines| lines.contains(&line))
    }
}

/// Sorts out what the parser reported about `text`.
pub(crate) fn examine(errors: &[Error], source: &Source<'_>, text: &str) -> SyntaxErrors {
    let lines: Vec<_> = text.lines().collect();
    let mut found = SyntaxErrors { problems: Vec::new(), unread_lines: Vec::new() };
    // The parser finds some kinds of errors in a first pass and some in a second.
    let mut slips: Vec<_> = errors.iter().map(|error| Slip::new(error, text)).collect();
    slips.sort_by_key(|slip| slip.span.start);
    for slip in slips {
        let line = source.line_index(slip.span.start);
        if found.spoil(line) && !found.problems.is_empty() {
            continue;
        }
        if slip.array_runs_on() {
            // The parser takes the rest of the file for the array's elements.
            found.unread_lines.push(line..lines.len() + 1);
            if found.problems.last().is_none_or(|last| last.message != NO_CLOSING_QUOTE) {
                found.problems.push(slip.problem());
            }
            continue;
        }
        let is_header_line = |line: &&str| line.trim_start().starts_with('[');
        let next_header = || lines.iter().skip(line + 1).position(is_header_line);
        let spoiled = match lines.get(line).filter(|line| is_header_line(line)) {
            // The keys below a header that could not be read were taken for another table's.
            Some(_) => next_header().map_or(lines.len() + 1, |after| line + 1 + after),
            None => line + 1,
        };
        found.unread_lines.push(line..spoiled);
        found.problems.push(slip.problem());
    }
    found
}

const NO_CLOSING_QUOTE: &str = "the string has no closing quote";

/// One error of the parser with the text around it.
struct Slip<'t> {
    message: &'t str,
    span: Span,
    text: &'t str,
}

impl<'t> Slip<'t> {
    fn new(error: &'t Error, text: &'t str) -> Self {
        let span = error.span().map(Span::from).unwrap_or_default();
        let start = text.floor_char_boundary(span.start);
        let end = text.ceil_char_boundary(span.end.max(start));
        Self { message: error.message(), span: Span { start, end }, text }
    }

    /// The bytes that the parser points at.
    fn pointed(&self) -> &'t str {
        &self.text[self.span.start..self.span.end]
    }

    fn line_before(&self) -> &'t str {
        let before = &self.text[..self.span.start];
        &before[before.rfind('\n').map_or(0, |at| at + 1)..]
    }

    fn line_after(&self) -> &'t str {
        self.text[self.span.end..].lines().next().unwrap_or("")
    }

    /// The value as it was written: from the last `=`, `[`, `{` or `,` before the error to the next
    /// `,`, `]`, `}` or `#`.
    fn whole_value(&self) -> (Span, &'t str) {
        let before = self.line_before();
        let back =
            before.rfind(['=', '[', '{', ',']).map_or(before.len(), |at| before.len() - at - 1);
        let after = self.line_after();
        let ahead = after.find([',', ']', '}', '#']).unwrap_or(after.len());
        let whole = &self.text[self.span.start - back..self.span.end + ahead];
        let start = self.span.start - back + (whole.len() - whole.trim_start().len());
        (Span { start, end: start + whole.trim().len() }, whole.trim())
    }

    /// An array whose next element, by the look of it, is the file's next key or header.
    fn array_runs_on(&self) -> bool {
        let rest = self.text[self.span.start..].lines().next().unwrap_or("");
        let is_header = rest.starts_with('[') && self.line_before().trim().is_empty();
        let key = rest.split_once('=').map(|(key, _)| key.trim());
        let is_key = key.is_some_and(|key| !key.is_empty() && key.bytes().all(is_key_byte));
        self.message.starts_with("missing comma between array elements") && (is_header || is_key)
    }

    fn problem(&self) -> Problem {
        let (start, _) = self.message.split_once(", expected").unwrap_or((self.message, ""));
        if self.array_runs_on() {
            return Problem::error(self.span, "the array before this is not closed")
                .help("end it with `]`; nothing from here on could be read");
        }
        match start {
            "string values must be quoted" => self.bare_value(),
            "duplicate key" => {
                Problem::error(self.span, format!("{} is defined twice", quoted(self.pointed())))
                    .help("a table has each key once, and one header: join the two")
            }
            "invalid unquoted key" if self.pointed() == ":" => {
                Problem::error(self.span, "`:` after a key")
                    .help("TOML has `=` between key and value")
            }
            "key with no value" if self.line_before().trim_end().ends_with(':') => {
                Problem::error(self.span, "`:` after a key")
                    .help("TOML has `=` between key and value")
            }
            "key with no value" => Problem::error(self.span, "there is no `=` after the key")
                .help("a line is a [table], or a key = value"),
            "invalid boolean" => self.bare_value(),
            "invalid float" | "invalid integer" | "invalid datetime" => {
                let (span, value) = self.whole_value();
                let problem = Problem::error(span, format!("{} is not a number", quoted(value)));
                problem
                    .help(format!("if it is an address or has a unit, write \"{}\"", shown(value)))
            }
            "unexpected leading zero" => Problem::error(self.span, "a number has no leading zero")
                .help("leave the zeros out"),
            "invalid basic string" | "invalid literal string" if self.line_after().is_empty() => {
                Problem::error(self.span, NO_CLOSING_QUOTE)
                    .help("end it with the quote it began with, on the same line")
            }
            "unclosed table" | "unclosed array table" => {
                Problem::error(self.span, "the table's header is not closed")
                    .help("end it with `]`")
            }
            "unexpected key or value" => Problem::error(self.span, "more text after the value")
                .help("one key = value a line; a comment begins with `#`"),
            "missing escaped value" => Problem::error(self.span, "an unknown escape in a string")
                .help("write `\\\\` for a backslash, or put the string in 'single quotes'"),
            _ => Problem::error(self.span, capitals_off(self.message.trim_end())),
        }
    }

    /// A value that is neither a string nor a number nor a boolean.
    fn bare_value(&self) -> Problem {
        let value = self.pointed().trim_matches(['“', '”', '‘', '’', '„', '`', ' ']);
        if self.line_after().trim_start().starts_with('=') {
            return Problem::error(self.span, "two keys on one line")
                .help("one key = value a line");
        }
        if value.is_empty() {
            return Problem::error(self.span, "there is no value after the `=`")
                .help("write a value, or leave the key out for its default");
        }
        let problem = Problem::error(self.span, format!("{} is not a value", quoted(value)));
        match &*value.to_lowercase() {
            "true" | "yes" | "on" => problem.help("write true"),
            "false" | "no" | "off" => problem.help("write false"),
            _ => problem.help(format!("text needs quotes: \"{}\"", shown(value))),
        }
    }
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.\"' ".contains(&byte)
}

/// `value` as it may stand in an advice.
fn shown(value: &str) -> String {
    quoted(value).trim_matches('`').to_owned()
}

/// The parser's own words, as a sentence of ours begins.
fn capitals_off(message: &str) -> String {
    let mut characters = message.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

//! Problems as people read them: place, line, caret, advice.
//!
//! Owns the rendering; leaves the finding of problems to the other files.
//!
//! Invariant: a diagnostic carries all that its text needs, its span lies inside the file on
//! character boundaries, and nothing of the file reaches a terminal as a control character.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::secrets;
use crate::source::Source;
use crate::text::{self, Text};

/// Widest part of a line that is shown, in columns; a longer line is cut around the caret.
const LINE_COLUMNS_MAX: usize = 120;

/// Stands in a line for each byte of a secret, so that every other byte keeps its place. No file has it where a secret is.
pub const MASK: char = '\u{1}';

/// A tab is shown as this many spaces, so that the caret stands right on every terminal.
const TAB_COLUMNS: usize = 4;

/// A range of bytes in the configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted, but probably says something else than was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One problem, with everything that its text needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named to us.
    pub file: Arc<str>,
    /// Where in the file; `None` when it is about the file itself (it cannot be read).
    pub place: Option<Place>,
    /// What is wrong, in one line.
    pub message: String,
    /// What else belongs to it, such as where the other one of a pair stands.
    pub note: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
}

/// A piece of one line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bytes meant; they may reach over several lines.
    pub span: Span,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// Where `span` begins in that line, in bytes.
    pub line_offset: usize,
    /// The whole first line of `span`, without its line ending. Each byte of a password or of its hash is a [`MASK`].
    pub line_text: String,
}

impl Place {
    /// The part of `line_text` before the span, in it, and after it.
    fn split(&self) -> (&str, &str, &str) {
        let (before, rest) = self.line_text.split_at(self.line_offset);
        let marked = (self.span.end - self.span.start).min(rest.len());
        let (marked, after) = rest.split_at(marked);
        (before, marked, after)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else {
            write!(f, "{}: {}: {}", self.file, self.severity, self.message)?;
            return write_advice(f, "", self);
        };
        writeln!(
            f,
            "{}:{}:{}: {}: {}",
            self.file, place.line, place.column, self.severity, self.message
        )?;
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let (before, marked, after) = place.split();
        let (mut before, mut marked, mut after) = (shown(before), shown(marked), shown(after));
        // One secret is shown once, in the part that is marked.
        if marked.starts_with(secrets::SHOWN) && before.ends_with(secrets::SHOWN) {
            before.truncate(before.len() - secrets::SHOWN.len());
        }
        if marked.ends_with(secrets::SHOWN) && after.starts_with(secrets::SHOWN) {
            after.drain(..secrets::SHOWN.len());
        }
        if let Some((at, _)) = marked.char_indices().nth(LINE_COLUMNS_MAX) {
            marked.truncate(at);
        }
        let (before, after) = shorten(before, &marked, after);
        writeln!(f, "{margin} |")?;
        writeln!(f, "{}", format!("{number} | {before}{marked}{after}").trim_end())?;
        let carets = "^".repeat(columns(&marked).max(1));
        write!(f, "{margin} | {}{carets}", " ".repeat(columns(&before)))?;
        write_advice(f, &margin, self)
    }
}

fn write_advice(f: &mut fmt::Formatter<'_>, margin: &str, diagnostic: &Diagnostic) -> fmt::Result {
    if let Some(note) = &diagnostic.note {
        write!(f, "\n{margin} = note: {note}")?;
    }
    if let Some(help) = &diagnostic.help {
        write!(f, "\n{margin} = help: {help}")?;
    }
    Ok(())
}

/// Cuts a line that is too wide at both ends, keeping what stands next to the mark.
fn shorten(before: String, marked: &str, after: String) -> (String, String) {
    let room = LINE_COLUMNS_MAX.saturating_sub(columns(marked));
    let (before_count, after_count) = (before.chars().count(), after.chars().count());
    if before_count + after_count <= room {
        return (before, after);
    }
    let kept_before = before_count.min((room / 2).max(room.saturating_sub(after_count)));
    let kept_after = after_count.min(room - kept_before);
    let before = match before_count - kept_before {
        0 => before,
        cut => format!("…{}", before.chars().skip(cut).collect::<String>()),
    };
    let after = match after_count - kept_after {
        0 => after,
        _ => format!("{}…", after.chars().take(kept_after).collect::<String>()),
    };
    (before, after)
}

/// Tabs as spaces, and control characters as `�`: a file cannot command the terminal that shows it.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.extend(std::iter::repeat_n(' ', TAB_COLUMNS)),
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    shown
}

/// A part of a line as it is shown: printable, and without the length of a secret.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(MASK) {
        match piece.strip_suffix(MASK) {
            // More of the same secret.
            Some("") if out.ends_with(secrets::SHOWN) => {}
            Some(before) => {
                out.push_str(&printable(before));
                out.push_str(secrets::SHOWN);
            }
            None => out.push_str(&printable(piece)),
        }
    }
    out
}

/// Columns that a terminal gives to `text`.
fn columns(text: &str) -> usize {
    text.chars().map(character_columns).sum()
}

/// Two for East Asian wide characters and emoji, none for combining marks, one for the rest:
/// Unicode Annex 11 in the ranges that occur in practice.
fn character_columns(character: char) -> usize {
    match u32::from(character) {
        0x0300..=0x036f | 0x200b..=0x200f | 0x20d0..=0x20f0 | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Everything that is wrong with one file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Errors (at least one) and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// How many of `severity` there are.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}\n")?;
        }
        let file = self.diagnostics.first().map_or("", |diagnostic| &*diagnostic.file);
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        write!(f, "{file}: {}", counted(errors, "error"))?;
        if warnings > 0 {
            write!(f, ", {}", counted(warnings, "warning"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A problem before its place is worked out; see [`Diagnostic`] for the fields.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub severity: Severity,
    pub span: Span,
    /// The bytes meant inside of the string at `span`.
    pub inside: Option<Range<usize>>,
    pub message: String,
    pub note: Option<Note>,
    pub help: Option<String>,
    pub basis: Basis,
}

/// A remark that points at another place of the file.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub text: String,
    pub span: Span,
}

/// What a problem was concluded from. A file with syntax errors is read as far as it goes: what it
/// says wrongly is still wrong, but what it does not say may stand in the part that could not be
/// read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// From what stands at the span.
    Written,
    /// From what stands nowhere.
    Absent,
}

impl Problem {
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            inside: None,
            message: message.into(),
            note: None,
            help: None,
            basis: Basis::Written,
        }
    }

    pub fn warning(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// About a string.
    pub fn about(text: &Text, message: impl Into<String>) -> Self {
        Self { inside: text.inside.clone(), ..Self::error(text.span, message) }
    }

    /// About the bytes `inside` of what the string says.
    pub fn inside(text: &Text, inside: Range<usize>, message: impl Into<String>) -> Self {
        Self { inside: Some(inside), ..Self::error(text.span, message) }
    }

    /// The same with a span of its own for what is inside of a string.
    pub fn settle(self, file: &str) -> Self {
        let span = match &self.inside {
            Some(inside) => text::place(file, self.span, inside),
            None => self.span,
        };
        Self { span, inside: None, ..self }
    }

    pub fn absent(self) -> Self {
        Self { basis: Basis::Absent, ..self }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// `text` ends where the place of `span` follows: "first bound at".
    pub fn note(self, text: impl Into<String>, span: Span) -> Self {
        Self { note: Some(Note { text: text.into(), span }), ..self }
    }

    /// The same with its place in `source`.
    pub fn locate(self, source: &Source<'_>) -> Diagnostic {
        let note = self.note.map(|note| {
            let place = source.place(note.span);
            format!("{} {}:{}:{}", note.text, source.file_name(), place.line, place.column)
        });
        let place = source.place(self.span);
        // The parser hands over numbers that it could not read with whatever stands in them.
        let mut message = printable(&self.message);
        let mut help = self.help.as_deref().map(printable);
        for secret in source.secrets_at(place.span) {
            message = secrets::hide(&message, secret);
            help = help.map(|help| secrets::hide(&help, secret));
        }
        Diagnostic {
            severity: self.severity,
            file: source.file_name().clone(),
            place: Some(place),
            message,
            note,
            help,
        }
    }
}

/// `text` of the file inside a message: in backticks, without control characters, at most 64
/// characters of it.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 64;
    let mut shown: String = printable(text).chars().take(SHOWN_CHARACTERS_MAX).collect();
    if text.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

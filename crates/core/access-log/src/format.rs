//! The formats of the access log.
//!
//! Owns their names, their choice and the errors of a format's text; leaves each format to its module. Invariant: a
//! format in hand is valid, and writing with it cannot fail: a line that has no room is cut.

use crate::captures::Captures;
use crate::date::DateCache;
use crate::line::Line;
use crate::record::Record;
use crate::template::Template;
use crate::{haproxy, json};
use std::fmt;
use std::ops::Range;

/// The longest template, in bytes: its literal text must leave room for the values in a line of 8 KiB.
pub const FORMAT_BYTES_MAX: usize = 4096;

/// How a record becomes a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
    Json,
    Template(Template),
}

impl Format {
    /// HAProxy's `option httplog`.
    pub const HTTP: Self = Self(Kind::Http);
    /// HAProxy's `option tcplog`.
    pub const TCP: Self = Self(Kind::Tcp);
    /// One JSON object a line.
    pub const JSON: Self = Self(Kind::Json);

    /// The formats that have a name.
    pub const NAMES: [&'static str; 3] = ["http", "tcp", "json"];

    /// A format by its name, or a template. The headers that a template names are added to `captures`.
    ///
    /// # Errors
    ///
    /// When the text is neither, with the place in it.
    pub fn parse(text: &str, captures: &mut Captures) -> Result<Self, FormatError> {
        let everything = 0..text.len();
        match text {
            "http" => return Ok(Self::HTTP),
            "tcp" => return Ok(Self::TCP),
            "json" => return Ok(Self::JSON),
            _ if text.len() > FORMAT_BYTES_MAX => {
                return Err(FormatError::new(everything, FormatErrorKind::TooLong));
            }
            _ => {}
        }
        if let Some((place, control)) = text.char_indices().find(|(_, one)| one.is_control()) {
            let span = place..place + control.len_utf8();
            return Err(FormatError::new(span, FormatErrorKind::ControlCharacter));
        }
        if !text.contains('{') {
            let error = FormatError::new(everything, FormatErrorKind::NoField);
            return Err(error.suggesting(text, Self::NAMES.into_iter()));
        }
        Template::parse(text, captures).map(|template| Self(Kind::Template(template)))
    }

    /// Whether lines are JSON, so that whatever else is written among them should be too.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.0 == Kind::Json
    }

    /// Whether a line shows the address that the client connected to, which costs a system call to know.
    #[must_use]
    pub fn shows_frontend_address(&self) -> bool {
        match &self.0 {
            Kind::Http | Kind::Tcp => false,
            Kind::Json => true,
            Kind::Template(template) => template.shows_frontend_address(),
        }
    }

    /// Replaces what is in `line` by the record's line, without a line break.
    pub fn write(&self, record: &Record<'_>, dates: &mut DateCache, line: &mut Line) {
        line.clear();
        match &self.0 {
            Kind::Http => haproxy::http(record, dates, line),
            Kind::Tcp => haproxy::tcp(record, dates, line),
            Kind::Json => json::json(record, dates, line),
            Kind::Template(template) => template.write(record, dates, line),
        }
    }
}

/// What is wrong with a format's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatErrorKind {
    /// It is not the name of a format, and has no field that would make it a template.
    NoField,
    /// It names a field that does not exist.
    UnknownField,
    /// What follows `request_header.` and the like cannot be a name.
    NotAName,
    /// A `{` without its `}`.
    Unclosed,
    /// A `}` without its `{`.
    Unopened,
    /// It is longer than [`FORMAT_BYTES_MAX`].
    TooLong,
    /// It holds a control character, such as a line break.
    ControlCharacter,
    /// It captures more than [`CAPTURES_MAX`](crate::CAPTURES_MAX) headers.
    TooManyCaptures,
}

/// Why a text is no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    /// What is wrong with them.
    pub kind: FormatErrorKind,
    /// The nearest name that would be right.
    pub suggestion: Option<&'static str>,
}

impl FormatError {
    pub(crate) fn new(span: Range<usize>, kind: FormatErrorKind) -> Self {
        Self { span, kind, suggestion: None }
    }

    pub(crate) fn suggesting(
        mut self,
        written: &str,
        names: impl Iterator<Item = &'static str>,
    ) -> Self {
        let written: String = written.chars().take(64).collect();
        let near = names.map(|name| (strsim::damerau_levenshtein(&written, name), name));
        // A third of the name may be wrong; more is another name.
        let near = near.filter(|(edits, name)| *edits <= name.len().div_ceil(3));
        self.suggestion = near.min_by_key(|(edits, _)| *edits).map(|(_, name)| name);
        self
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FormatErrorKind::NoField => {
                "neither a format's name (http, tcp, json) nor a template with a {field}"
            }
            FormatErrorKind::UnknownField => "no such field of the access log",
            FormatErrorKind::NotAName => "a name must follow the dot",
            FormatErrorKind::Unclosed => "this { has no }; a { that is meant as such is written {{",
            FormatErrorKind::Unopened => "this } has no {; a } that is meant as such is written }}",
            FormatErrorKind::TooLong => "longer than 4096 bytes",
            FormatErrorKind::ControlCharacter => "a line cannot hold a control character",
            FormatErrorKind::TooManyCaptures => "more than 32 headers to capture",
        })?;
        match self.suggestion {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FormatError {}

//! A template: text with `{field}` in it.
//!
//! Owns its grammar and its errors; leaves the fields' values to `value`. Invariant: what a template compiles to
//! refers to fields by what they are and to captured headers by their place, so that no name is looked up for a line,
//! except those of fields that rules add.

use crate::captures::Captures;
use crate::date::DateCache;
use crate::escape::Alphabet;
use crate::fields::{FIELDS, Field};
use crate::format::{FORMAT_BYTES_MAX, FormatError, FormatErrorKind};
use crate::line::Line;
use crate::record::Record;
use crate::value::{Value, bytes};
use std::ops::Range;

/// A template that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(Box<str>),
    Field(Field),
    /// By its place among the captures.
    RequestHeader(usize),
    ResponseHeader(usize),
    Extra(Box<str>),
}

impl Template {
    /// Whether the line shows where the client connected to.
    pub(crate) fn shows_frontend_address(&self) -> bool {
        let shows =
            |piece: &Piece| matches!(piece, Piece::Field(Field::FrontendIp | Field::FrontendPort));
        self.0.iter().any(shows)
    }

    pub(crate) fn parse(text: &str, captures: &mut Captures) -> Result<Self, FormatError> {
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(brace) = rest.find(['{', '}']) {
            let start = text.len() - rest.len() + brace;
            literal.push_str(rest.get(..brace).unwrap_or_default());
            let from_brace = rest.get(brace..).unwrap_or_default();
            if let Some(doubled) = ["{{", "}}"].into_iter().find(|two| from_brace.starts_with(two))
            {
                literal.push_str(doubled.get(..1).unwrap_or_default());
                rest = from_brace.get(2..).unwrap_or_default();
                continue;
            }
            let Some(after) = from_brace.strip_prefix('{') else {
                return Err(FormatError::new(start..start + 1, FormatErrorKind::Unopened));
            };
            let Some(end) = after.find(['{', '}']).filter(|end| after[*end..].starts_with('}'))
            else {
                return Err(FormatError::new(start..start + 1, FormatErrorKind::Unclosed));
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            let (name, behind) = after.split_at(end);
            pieces.push(piece(name, start..start + end + 2, captures)?);
            rest = behind.get(1..).unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Self(pieces))
    }

    pub(crate) fn write(&self, record: &Record<'_>, dates: &mut DateCache, line: &mut Line) {
        for piece in &self.0 {
            let value = match piece {
                Piece::Literal(text) => {
                    if text.len() <= line.text_room() {
                        line.put(text.as_bytes());
                    } else {
                        line.escaped(text.as_bytes(), Alphabet::Request, FORMAT_BYTES_MAX);
                    }
                    continue;
                }
                Piece::Field(field) => Value::of(*field, record),
                Piece::RequestHeader(at) => {
                    bytes(record.request_headers.get(*at).and_then(|header| header.value))
                }
                Piece::ResponseHeader(at) => {
                    bytes(record.response_headers.get(*at).and_then(|header| header.value))
                }
                Piece::Extra(name) => {
                    let extra = record.extras.iter().rfind(|extra| extra.name == &**name);
                    bytes(extra.map(|extra| extra.value))
                }
            };
            line.value(value, dates);
        }
    }
}

/// What `{name}` stands for.
fn piece(name: &str, span: Range<usize>, captures: &mut Captures) -> Result<Piece, FormatError> {
    let error = |kind| FormatError::new(span.clone(), kind);
    if let Some((group, chosen)) = name.split_once('.') {
        let known = FIELDS.iter().find(|row| row.name.strip_suffix(".NAME") == Some(group));
        let Some(row) = known else {
            let groups = FIELDS.iter().filter_map(|row| row.name.strip_suffix(".NAME"));
            return Err(error(FormatErrorKind::UnknownField).suggesting(group, groups));
        };
        if !is_name(chosen) {
            return Err(error(FormatErrorKind::NotAName));
        }
        let place = match row.field {
            Field::RequestHeader => captures.add_request(chosen).map(Piece::RequestHeader),
            Field::ResponseHeader => captures.add_response(chosen).map(Piece::ResponseHeader),
            _ => Some(Piece::Extra(chosen.into())),
        };
        return place.ok_or_else(|| error(FormatErrorKind::TooManyCaptures));
    }
    match FIELDS.iter().find(|row| row.name == name) {
        Some(row) => Ok(Piece::Field(row.field)),
        None => {
            let names = FIELDS.iter().map(|row| row.name);
            Err(error(FormatErrorKind::UnknownField).suggesting(name, names))
        }
    }
}

/// Whether it can name a header (RFC 9110 §5.6.2) or an added field.
fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

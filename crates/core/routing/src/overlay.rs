//! The edits of one request, which lie over the head as it was received.
//!
//! Owns what rules changed, noted and decided to say. Leaves carrying out rules to `run` and writing
//! the edited head to the data plane. Invariant: everything that is handed out for the head is valid
//! there and frames nothing; what was not is dropped and counted.

use tidegate_rules::{FieldIndex, VariableIndex};

use crate::arena::{Arena, Span};
use crate::derived::Derived;
use crate::headers::{Dropped, HeaderEdits};
use crate::settings::{BackendIndex, HeaderName, LogValue, TimeoutEdits};
use crate::target;

/// The most bytes of one variable: they hold names and keys, not documents. What is longer is
/// dropped.
pub const VARIABLE_BYTES_MAX: usize = 4096;

/// The most copies of one request. What goes beyond is dropped.
pub const MIRRORS_MAX: usize = 4;

/// Edits of a request. Reused from one request to the next, so that nothing is allocated once it is
/// warm; [`clear`](Self::clear) comes between.
#[derive(Debug, Default)]
pub struct RequestOverlay {
    pub(crate) arena: Arena,
    headers: HeaderEdits,
    method: Option<Span>,
    path: Option<Span>,
    query: Option<QueryEdit>,
    host: Option<Span>,
    variables: Vec<(VariableIndex, Span)>,
    log_fields: Vec<LogField>,
    timeouts: TimeoutEdits,
    priority: Option<i16>,
    mirrors: Vec<BackendIndex>,
    pub(crate) answer: Answer,
    pub(crate) derived: Derived,
    edits_dropped: u32,
}

#[derive(Clone, Copy, Debug)]
enum QueryEdit {
    Replaced(Span),
    Removed,
}

#[derive(Clone, Copy, Debug)]
struct LogField {
    name: Span,
    field: Option<FieldIndex>,
    value: Span,
}

/// What the list ended with, where it ended with an answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) location: Vec<u8>,
    pub(crate) body: Vec<u8>,
    headers: Vec<(Span, Span)>,
}

/// A target in origin-form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path.
    pub path: &'a [u8],
    /// The query, without its question mark.
    pub query: Option<&'a [u8]>,
}

impl RequestOverlay {
    /// Forgets everything: what follows is another request.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.headers.clear();
        (self.method, self.path, self.query, self.host) = (None, None, None, None);
        self.variables.clear();
        self.log_fields.clear();
        self.timeouts = TimeoutEdits::default();
        self.priority = None;
        self.mirrors.clear();
        self.answer.location.clear();
        self.answer.body.clear();
        self.answer.headers.clear();
        self.derived.clear();
        self.edits_dropped = 0;
    }

    /// Whether the head is as it was received. Variables, fields of the log and the like do not
    /// count.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
            && self.method.is_none()
            && self.path.is_none()
            && self.query.is_none()
            && self.host.is_none()
    }

    /// The method that replaces the received one.
    #[inline]
    #[must_use]
    pub fn method(&self) -> Option<&[u8]> {
        self.method.map(|span| self.arena.bytes(span))
    }

    /// The target that replaces the received one, which had this path and query.
    #[inline]
    #[must_use]
    pub fn path_and_query<'a>(
        &'a self,
        path: &'a [u8],
        query: Option<&'a [u8]>,
    ) -> Option<Target<'a>> {
        if self.path.is_none() && self.query.is_none() {
            return None;
        }
        let path = self.current_path(path);
        let path = if path.is_empty() { b"/" } else { path };
        Some(Target { path, query: self.current_query(query) })
    }

    /// The value of the Host field that replaces the received one.
    #[inline]
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.host.map(|span| self.arena.bytes(span))
    }

    /// Whether received fields of the name, in any case, are to be left out.
    #[inline]
    #[must_use]
    pub fn removes(&self, name: &[u8]) -> bool {
        self.headers.removes(name, &self.arena)
    }

    /// Names and values of the fields that follow the received ones.
    #[inline]
    pub fn added(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.headers.added(&self.arena)
    }

    /// What rules set; empty when none did.
    #[must_use]
    pub fn variable(&self, variable: VariableIndex) -> &[u8] {
        let found = self.variables.iter().find(|(known, _)| *known == variable);
        found.map_or(b"", |(_, span)| self.arena.bytes(*span))
    }

    /// Names and values that rules add to the log line. The values hold any bytes.
    pub fn log_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.log_fields
            .iter()
            .map(|field| (self.arena.bytes(field.name), self.arena.bytes(field.value)))
    }

    /// The value of one field of the log; empty where no rule gave it.
    #[must_use]
    pub fn log_field(&self, field: FieldIndex) -> &[u8] {
        let found = self.log_fields.iter().find(|known| known.field == Some(field));
        found.map_or(b"", |known| self.arena.bytes(known.value))
    }

    /// Timeouts that replace the configured ones.
    #[must_use]
    pub fn timeouts(&self) -> TimeoutEdits {
        self.timeouts
    }

    /// The place in the queue, where a rule gave one.
    #[must_use]
    pub fn priority(&self) -> Option<i16> {
        self.priority
    }

    /// Where copies go, each at most once.
    #[must_use]
    pub fn mirrors(&self) -> &[BackendIndex] {
        &self.mirrors
    }

    /// `Location`, where the verdict is a redirect.
    #[must_use]
    pub fn location(&self) -> &[u8] {
        &self.answer.location
    }

    /// Further fields, where the verdict is an answer of our own.
    pub fn answer_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.answer
            .headers
            .iter()
            .map(|(name, value)| (self.arena.bytes(*name), self.arena.bytes(*value)))
    }

    /// The body, where the verdict is an answer of our own whose body is a template.
    #[must_use]
    pub fn answer_body(&self) -> &[u8] {
        &self.answer.body
    }

    /// How many edits were dropped, because of their bytes or because of a bound.
    #[must_use]
    pub fn edits_dropped(&self) -> u32 {
        self.edits_dropped
    }

    #[inline]
    pub(crate) fn current_path<'a>(&'a self, received: &'a [u8]) -> &'a [u8] {
        self.path.map_or(received, |span| self.arena.bytes(span))
    }

    #[inline]
    pub(crate) fn current_query<'a>(&'a self, received: Option<&'a [u8]>) -> Option<&'a [u8]> {
        match self.query {
            None => received,
            Some(QueryEdit::Replaced(span)) => Some(self.arena.bytes(span)),
            Some(QueryEdit::Removed) => None,
        }
    }

    pub(crate) fn is_target_edited(&self) -> bool {
        self.path.is_some() || self.query.is_some()
    }

    pub(crate) fn count_dropped(&mut self) {
        self.edits_dropped += 1;
    }

    /// Takes note of an edit that may have been dropped; whether it was not.
    pub(crate) fn count(&mut self, outcome: Result<(), Dropped>) -> bool {
        self.edits_dropped += u32::from(outcome.is_err());
        outcome.is_ok()
    }

    pub(crate) fn add_header(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Dropped> {
        self.headers.add(name, value, &mut self.arena)
    }

    pub(crate) fn set_header(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Dropped> {
        self.headers.set(name, value, &mut self.arena)
    }

    pub(crate) fn remove_header(&mut self, name: &HeaderName) -> Result<(), Dropped> {
        self.headers.remove(name, &mut self.arena)
    }

    pub(crate) fn set_method(&mut self, method: &[u8]) -> Result<(), Dropped> {
        self.method = Some(self.arena.push(method).ok_or(Dropped)?);
        Ok(())
    }

    /// Takes any bytes; those that a path cannot have become escapes.
    pub(crate) fn set_path(&mut self, path: &[u8]) -> Result<(), Dropped> {
        self.path = Some(self.arena.write(|out| target::push_path(path, out)).ok_or(Dropped)?);
        self.derived.forget_path();
        Ok(())
    }

    /// Takes any bytes; those that a query cannot have become escapes.
    pub(crate) fn set_query(&mut self, query: &[u8]) -> Result<(), Dropped> {
        self.query = Some(if query.is_empty() {
            QueryEdit::Removed
        } else {
            let span = self.arena.write(|out| target::push_query(query, out));
            QueryEdit::Replaced(span.ok_or(Dropped)?)
        });
        self.derived.forget_query();
        Ok(())
    }

    pub(crate) fn set_host(&mut self, host: &[u8]) -> Result<(), Dropped> {
        if !target::is_authority(host) {
            return Err(Dropped);
        }
        self.host = Some(self.arena.push(host).ok_or(Dropped)?);
        self.derived.forget_host();
        Ok(())
    }

    pub(crate) fn set_variable(
        &mut self,
        variable: VariableIndex,
        value: &[u8],
    ) -> Result<(), Dropped> {
        if value.len() > VARIABLE_BYTES_MAX {
            return Err(Dropped);
        }
        let value = self.arena.push(value).ok_or(Dropped)?;
        match self.variables.iter_mut().find(|(known, _)| *known == variable) {
            Some((_, known)) => *known = value,
            None => self.variables.push((variable, value)),
        }
        Ok(())
    }

    pub(crate) fn set_log_field(&mut self, log: &LogValue, value: &[u8]) -> Result<(), Dropped> {
        let value = self.arena.push(value).ok_or(Dropped)?;
        let name = log.name.as_bytes();
        let known = self.log_fields.iter().position(|known| self.arena.bytes(known.name) == name);
        match known {
            Some(place) => self.log_fields[place].value = value,
            None => {
                let name = self.arena.push(name).ok_or(Dropped)?;
                self.log_fields.push(LogField { name, field: log.field, value });
            }
        }
        Ok(())
    }

    pub(crate) fn set_timeouts(&mut self, edits: TimeoutEdits) {
        self.timeouts = edits.or(self.timeouts);
    }

    pub(crate) fn set_priority(&mut self, priority: i16) {
        self.priority = Some(priority);
    }

    pub(crate) fn mirror(&mut self, backend: BackendIndex) -> Result<(), Dropped> {
        if self.mirrors.contains(&backend) {
            return Ok(());
        }
        if self.mirrors.len() == MIRRORS_MAX {
            return Err(Dropped);
        }
        self.mirrors.push(backend);
        Ok(())
    }

    pub(crate) fn add_answer_header(
        &mut self,
        name: &HeaderName,
        value: &[u8],
    ) -> Result<(), Dropped> {
        let value = self.arena.push(value).ok_or(Dropped)?;
        let name = self.arena.push(name.written()).ok_or(Dropped)?;
        self.answer.headers.push((name, value));
        Ok(())
    }
}

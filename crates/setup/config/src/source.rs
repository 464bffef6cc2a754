//! The text of one configuration file and where its lines are.
//!
//! Owns the arithmetic from byte offsets to lines and columns; leaves the rendering to
//! `diagnostic`.
//!
//! Invariant: [`Source::place`] answers for any span, even one that does not lie in the file: it is
//! moved inside, onto character boundaries.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{MASK, Place, Span, printable};
use crate::secrets;

/// A file's name and text.
pub(crate) struct Source<'a> {
    file_name: Arc<str>,
    text: &'a str,
    line_starts: Vec<usize>,
    secrets: Vec<Range<usize>>,
}

impl<'a> Source<'a> {
    pub fn new(file_name: &str, text: &'a str) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let secrets = secrets::find(text);
        Self { file_name: printable(file_name).into(), text, line_starts, secrets }
    }

    /// The secrets that `span` is about.
    pub fn secrets_at(&self, span: Span) -> impl Iterator<Item = &'a str> {
        let text = self.text;
        let touching = self
            .secrets
            .iter()
            .filter(move |range| range.start <= span.end && span.start <= range.end);
        touching.filter_map(move |range| text.get(range.clone()))
    }

    /// The bytes of a line that begins at `start`, without the secrets in it.
    fn masked(&self, line: &str, start: usize) -> String {
        let is_secret = |at: usize| self.secrets.iter().any(|range| range.contains(&at));
        if self.secrets.iter().all(|range| range.end <= start || start + line.len() <= range.start)
        {
            return line.to_owned();
        }
        let pieces = line.char_indices().map(|(at, character)| match is_secret(start + at) {
            true => MASK.to_string().repeat(character.len_utf8()),
            false => character.to_string(),
        });
        pieces.collect()
    }

    pub fn file_name(&self) -> &Arc<str> {
        &self.file_name
    }

    /// Index of the line that holds byte `offset`, counted from 0.
    pub fn line_index(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) - 1
    }

    /// Line, column and text of `span`.
    pub fn place(&self, span: Span) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.ceil_char_boundary(span.end.max(start));
        let line = self.line_index(start);
        let line_start = self.line_starts[line];
        let line_end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let line_text = self.text[line_start..line_end].trim_end_matches('\r');
        // A syntax error may point between the line's CR and LF: that is the end of the line as
        // shown.
        let start = start.min(line_start + line_text.len());
        let column = self.text[line_start..start].chars().count() + 1;
        Place {
            span: Span { start, end },
            line: line + 1,
            column,
            line_offset: start - line_start,
            line_text: self.masked(line_text, line_start),
        }
    }
}

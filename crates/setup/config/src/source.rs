//! The text of one configuration file and where its lines are.
//!
//! Owns the arithmetic from byte offsets to lines and columns; leaves the rendering to
//! `diagnostic`.
//!
//! Invariant: [`Source::place`] answers for any span, even one that does not lie in the file: it is
//! moved inside, onto character boundaries.

use std::sync::Arc;

use crate::diagnostic::{Place, Span, printable};

/// A file's name and text.
pub(crate) struct Source<'a> {
    file_name: Arc<str>,
    text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(file_name: &str, text: &'a str) -> Self {
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file_name: printable(file_name).into(), text, line_starts }
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
        Place { span: Span { start, end }, line: line + 1, column, line_text: line_text.to_owned() }
    }
}

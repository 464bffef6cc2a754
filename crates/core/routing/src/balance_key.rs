//! What a request is spread by, where servers are chosen by a hash, or known again by, where they are looked up in a table.
//!
//! Owns the way from a request with its edits to its key and the number that stands for it; leaves the number's way to a server to
//! `tidegate-balance`, and tables to `tidegate-stick`. Invariant: the number depends on the key alone: it is the same on every shard, after a restart, on
//! every machine and in every release.

use tidegate_rules::{Facts, Key, Template, Uses};

use crate::choice::spread;
use crate::facts::{RequestFacts, ResponseFacts};
use crate::overlay::RequestOverlay;
use crate::response_overlay::ResponseOverlay;
use crate::run::Workspace;
use crate::view::{HeaderSource, RequestView, ResponseView, World};

/// Makes the key of requests. A shard works from a clone of its own, as from rules.
#[derive(Clone, Debug)]
pub struct BalanceKey {
    expression: Template,
    /// Segments of the path that count, from the first one; none: the whole of the text.
    depth: Option<u16>,
}

impl BalanceKey {
    /// The key that `expression` makes, such as `source.ip`; with a depth, as many segments of the path that it is.
    #[must_use]
    pub fn new(expression: Template, depth: Option<u16>) -> Self {
        Self { expression, depth }
    }

    /// What it asks about a request.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.expression.uses()
    }

    /// The number that stands for the request's key; none: it has no such thing, or it is empty.
    pub fn hash<H: HeaderSource, W: World>(
        &self,
        view: &RequestView<'_, H, W>,
        overlay: &RequestOverlay,
        workspace: &mut Workspace,
    ) -> Option<u64> {
        self.ask(&RequestFacts { view, overlay }, workspace, spread)
    }

    /// Calls `ask` with the request's key; none: it has no such thing, or it is empty.
    pub fn of_request<H: HeaderSource, W: World, T>(
        &self,
        view: &RequestView<'_, H, W>,
        overlay: &RequestOverlay,
        workspace: &mut Workspace,
        ask: impl FnOnce(Key<'_>) -> T,
    ) -> Option<T> {
        self.ask(&RequestFacts { view, overlay }, workspace, ask)
    }

    /// Calls `ask` with the key of a response as it was received; none: it has no such thing, or it is empty.
    pub fn of_response<H: HeaderSource, W: World, R: HeaderSource, T>(
        &self,
        request: &RequestView<'_, H, W>,
        overlay: &RequestOverlay,
        response: &ResponseView<'_, R>,
        workspace: &mut Workspace,
        ask: impl FnOnce(Key<'_>) -> T,
    ) -> Option<T> {
        let request = RequestFacts { view: request, overlay };
        let no_edits = ResponseOverlay::default();
        let facts = ResponseFacts { request, view: response, overlay: &no_edits };
        self.ask(&facts, workspace, ask)
    }

    #[inline]
    fn ask<F: Facts, T>(
        &self,
        facts: &F,
        workspace: &mut Workspace,
        ask: impl FnOnce(Key<'_>) -> T,
    ) -> Option<T> {
        let scratch = &mut workspace.cursor.scratch;
        let answer = self.expression.with_key(facts, scratch, |key| match (key, self.depth) {
            (Key::Text(b""), _) => None,
            (Key::Text(path), Some(depth)) => Some(ask(Key::Text(first_segments(path, depth)))),
            (key, _) => Some(ask(key)),
        });
        answer.flatten()
    }
}

/// The path up to the slash behind this many segments.
fn first_segments(path: &[u8], depth: u16) -> &[u8] {
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match slashes.nth(usize::from(depth)) {
        Some((end, _)) => &path[..end],
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_cut_behind_its_first_segments() {
        for (path, depth, expected) in [
            ("/", 1, "/"),
            ("/a", 1, "/a"),
            ("/a/b/c", 1, "/a"),
            ("/a/b/c", 2, "/a/b"),
            ("/a/b/c", 3, "/a/b/c"),
            ("/a/b/c/", 3, "/a/b/c"),
            ("*", 1, "*"),
            ("", 1, ""),
        ] {
            let cut = first_segments(path.as_bytes(), depth);
            assert_eq!(String::from_utf8_lossy(cut), expected, "{path} {depth}");
        }
    }
}

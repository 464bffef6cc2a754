//! What a request is spread by, where servers are chosen by a hash.
//!
//! Owns the way from a request with its edits to the number that stands for its key; leaves the number's way to a server to
//! `tidegate-balance`. Invariant: the number depends on the key alone: it is the same on every shard, after a restart, on
//! every machine and in every release.

use tidegate_rules::{Key, Template, Uses};

use crate::choice::spread;
use crate::facts::RequestFacts;
use crate::overlay::RequestOverlay;
use crate::run::Workspace;
use crate::view::{HeaderSource, RequestView, World};

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
        let facts = RequestFacts { view, overlay };
        let scratch = &mut workspace.cursor.scratch;
        let number = self.expression.with_key(&facts, scratch, |key| match (key, self.depth) {
            (Key::Text(b""), _) => None,
            (Key::Text(path), Some(depth)) => Some(spread(Key::Text(first_segments(path, depth)))),
            (key, _) => Some(spread(key)),
        });
        number.flatten()
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

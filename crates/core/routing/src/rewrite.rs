//! `rewrite_path`: what a pattern makes of a path.
//!
//! Owns the replacement and its groups. Leaves matching to `regex`. Invariant: a replacement names only
//! groups that its pattern has.

use std::sync::Arc;

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

/// How much memory a compiled pattern may take, in bytes: as for the patterns of conditions.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// `rewrite_path = { pattern, replacement }`. The pattern is matched against the normalised path; what
/// it matches first becomes the replacement, and the rest of the path stays. A path that it does not
/// match stays as it is.
#[derive(Clone, Debug)]
pub struct RewritePath {
    pattern: Regex,
    replacement: Vec<Piece>,
    /// The same for all clones, and for nothing else.
    identity: Arc<()>,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(Box<[u8]>),
    Group(usize),
}

/// Where the groups of patterns matched: working memory, reused so that nothing is allocated once each
/// pattern was used.
#[derive(Debug, Default)]
pub(crate) struct Locations {
    known: Vec<(Arc<()>, CaptureLocations)>,
}

impl RewritePath {
    /// Compiles the two. The pattern is that of `matches`: RE2's syntax, with ASCII classes. In the
    /// replacement `$1`, `${1}`, `$name` and `${name}` are what a group matched, nothing if it did
    /// not, and `$$` is a dollar sign. A name without braces goes as far as letters, digits and `_`
    /// do.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern, or with a group that the replacement names.
    pub fn new(pattern: &str, replacement: &str) -> Result<Self, String> {
        let pattern = RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        let replacement = parse(replacement, &pattern)?;
        Ok(Self { pattern, replacement, identity: Arc::new(()) })
    }

    /// Appends what becomes of the path; whether the pattern matched, without which nothing is
    /// appended.
    pub(crate) fn rewrite(
        &self,
        path: &[u8],
        locations: &mut Locations,
        out: &mut Vec<u8>,
    ) -> bool {
        let groups = locations.of(self);
        let Some(matched) = self.pattern.captures_read(groups, path) else { return false };
        out.extend_from_slice(&path[..matched.start()]);
        for piece in &self.replacement {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Group(group) => {
                    if let Some((start, end)) = groups.get(*group) {
                        out.extend_from_slice(&path[start..end]);
                    }
                }
            }
        }
        out.extend_from_slice(&path[matched.end()..]);
        true
    }
}

impl Locations {
    fn of(&mut self, rewrite: &RewritePath) -> &mut CaptureLocations {
        let is_same = |(identity, _): &(Arc<()>, _)| Arc::ptr_eq(identity, &rewrite.identity);
        let known = self.known.iter().position(is_same);
        let place = known.unwrap_or_else(|| {
            // Those of configurations that are gone are ours alone.
            self.known.retain(|(identity, _)| Arc::strong_count(identity) > 1);
            self.known.push((Arc::clone(&rewrite.identity), rewrite.pattern.capture_locations()));
            self.known.len() - 1
        });
        &mut self.known[place].1
    }
}

fn parse(replacement: &str, pattern: &Regex) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        if let Some(after_dollar) = after.strip_prefix('$') {
            literal.push('$');
            rest = after_dollar;
            continue;
        }
        let (name, after_name) = name(after)?;
        push_literal(&mut pieces, &mut literal);
        pieces.push(Piece::Group(group(name, pattern)?));
        rest = after_name;
    }
    literal.push_str(rest);
    push_literal(&mut pieces, &mut literal);
    Ok(pieces)
}

fn push_literal(pieces: &mut Vec<Piece>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(std::mem::take(literal).into_bytes().into()));
    }
}

/// The name of a group, and what comes after it.
fn name(after_dollar: &str) -> Result<(&str, &str), String> {
    if let Some(braced) = after_dollar.strip_prefix('{') {
        return braced.split_once('}').ok_or_else(|| "`${` is not closed by `}`".to_owned());
    }
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = after_dollar.bytes().take_while(is_name).count();
    if length == 0 {
        return Err("a `$` that stands for itself is written `$$`".to_owned());
    }
    Ok(after_dollar.split_at(length))
}

fn group(name: &str, pattern: &Regex) -> Result<usize, String> {
    let numbered = name.parse().ok().filter(|number| *number < pattern.captures_len());
    let named = || pattern.capture_names().position(|known| known == Some(name));
    numbered.or_else(named).ok_or_else(|| {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && digits < name.len() {
            let (number, rest) = name.split_at(digits);
            return format!(
                "the pattern has no group `{name}`; group {number} followed by `{rest}` is written \
                 `${{{number}}}{rest}`"
            );
        }
        format!("the pattern has no group `{name}`")
    })
}

//! Owns texts with `{expression}` in them.
//!
//! Leaves expressions to `check` and what a written text may hold to its user, but for header fields.
//! Invariant: a checked text that is refused leaves nothing behind.

use crate::check::Checker;
use crate::condition::Uses;
use crate::environment::Environment;
use crate::facts::{Facts, Key};
use crate::problem::Problem;
use crate::syntax;
use crate::value::{AddressValue, Scratch, Shown, TextValue};

/// A text that is partly evaluated: `app-{request.host}`. `{{` and `}}` stand for the braces.
///
/// Like [`Condition`](crate::Condition), each shard works from a clone of its own.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<TextValue>,
    uses: Uses,
    /// Nothing that it writes has a control byte: numbers, addresses, and text that was looked at.
    is_plain: bool,
}

/// A value held a byte that must not stand in a header field (RFC 9110 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlByte(pub u8);

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn compile(text: &str, environment: &mut Environment<'_>) -> Result<Self, Vec<Problem>> {
        let mut checker = Checker::new(environment);
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut position = 0;
        while let Some(brace) = text[position..].find(['{', '}']).map(|found| position + found) {
            literal.push_str(&text[position..brace]);
            let rest = &text[brace..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push_str(&rest[..1]);
                position = brace + 2;
            } else if rest.starts_with('}') {
                checker.report(
                    Problem::new(brace..brace + 1, "this `}` closes nothing")
                        .help("write `}}` for a brace that stands for itself"),
                );
                position = brace + 1;
            } else {
                match syntax::parse_braced(text, brace + 1) {
                    Ok((tree, end)) => {
                        push_literal(&mut pieces, &mut literal);
                        pieces.push(checker.tree_of_text(&tree));
                        position = end;
                    }
                    // Where the expression would end is not known, nor what follows it.
                    Err(problem) => {
                        checker.report(problem);
                        position = text.len();
                    }
                }
            }
        }
        literal.push_str(&text[position..]);
        push_literal(&mut pieces, &mut literal);
        Self::finish(checker, pieces)
    }

    /// Compiles one expression without braces, such as the key of a limit.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn compile_expression(
        text: &str,
        environment: &mut Environment<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut checker = Checker::new(environment);
        let pieces = match syntax::parse(text) {
            Ok(tree) => vec![checker.tree_of_text(&tree)],
            Err(problem) => {
                checker.report(problem);
                Vec::new()
            }
        };
        Self::finish(checker, pieces)
    }

    fn finish(checker: Checker<'_>, pieces: Vec<TextValue>) -> Result<Self, Vec<Problem>> {
        let uses = checker.uses();
        let is_plain = pieces.iter().all(|piece| match piece {
            TextValue::Literal(bytes) => !bytes.iter().any(|byte| is_control(*byte)),
            TextValue::Shown(_) => true,
            _ => false,
        });
        checker.finish(Self { pieces, uses, is_plain })
    }

    /// The whole text, when nothing in it is evaluated.
    #[must_use]
    pub fn as_literal(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [] => Some(b""),
            [TextValue::Literal(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// The parts that are written as they stand.
    pub fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().filter_map(|piece| match piece {
            TextValue::Literal(bytes) => Some(&**bytes),
            _ => None,
        })
    }

    /// What every text that it writes begins with.
    #[must_use]
    pub fn leading_literal(&self) -> &[u8] {
        match self.pieces.first() {
            Some(TextValue::Literal(bytes)) => bytes,
            _ => b"",
        }
    }

    /// What it asks about.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.uses
    }

    /// Appends the text.
    #[inline]
    pub fn write<F: Facts>(&self, facts: &F, scratch: &mut Scratch, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            let start = scratch.bytes.len();
            let found = piece.find(facts, scratch);
            out.extend_from_slice(found.bytes(scratch));
            scratch.bytes.truncate(start);
        }
    }

    /// Appends the text, unless it holds a byte that the value of a header field may not hold: a
    /// control byte other than the tab (RFC 9110 §5.5).
    ///
    /// # Errors
    ///
    /// The first such byte; `out` is as it was.
    pub fn write_field_value<F: Facts>(
        &self,
        facts: &F,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), ControlByte> {
        let start = out.len();
        self.write(facts, scratch, out);
        if self.is_plain {
            return Ok(());
        }
        // Many bytes at a time: there is hardly ever one, so that stopping at it would gain nothing.
        if !out[start..].iter().fold(false, |found, byte| found | is_control(*byte)) {
            return Ok(());
        }
        match out[start..].iter().copied().find(|byte| is_control(*byte)) {
            None => Ok(()),
            Some(byte) => {
                out.truncate(start);
                Err(ControlByte(byte))
            }
        }
    }

    /// Calls `ask` with the value as a key of a table: an address where the whole template is one,
    /// the text otherwise. None where there is no address.
    pub fn with_key<F: Facts, T>(
        &self,
        facts: &F,
        scratch: &mut Scratch,
        ask: impl FnOnce(Key<'_>) -> T,
    ) -> Option<T> {
        if let Some(address) = self.as_address() {
            return Some(ask(Key::Address(address.find(facts, scratch)?)));
        }
        let start = scratch.bytes.len();
        let answer = if let [piece] = self.pieces.as_slice() {
            let found = piece.find(facts, scratch);
            ask(Key::Text(found.bytes(scratch)))
        } else {
            self.pieces.iter().for_each(|piece| piece.append(facts, scratch));
            ask(Key::Text(&scratch.bytes[start..]))
        };
        scratch.bytes.truncate(start);
        Some(answer)
    }

    fn as_address(&self) -> Option<&AddressValue> {
        match self.pieces.as_slice() {
            [TextValue::Shown(shown)] => match &**shown {
                Shown::Address(address) => Some(address),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether some facts could make it write this, as far as the literal parts tell: for checking
    /// that a name made by a template can exist at all.
    #[must_use]
    pub fn could_write(&self, bytes: &[u8]) -> bool {
        let is_literal = |piece: Option<&TextValue>| matches!(piece, Some(TextValue::Literal(_)));
        if let Some(literal) = self.as_literal() {
            return literal == bytes;
        }
        let mut rest = bytes;
        let mut literals: Vec<&[u8]> = self.literals().collect();
        if is_literal(self.pieces.first()) {
            match rest.strip_prefix(literals.remove(0)) {
                Some(stripped) => rest = stripped,
                None => return false,
            }
        }
        if is_literal(self.pieces.last())
            && let Some(last) = literals.pop()
        {
            match rest.strip_suffix(last) {
                Some(stripped) => rest = stripped,
                None => return false,
            }
        }
        // The leftmost place of each leaves most for those behind it.
        literals.into_iter().all(|literal| match memchr::memmem::find(rest, literal) {
            Some(place) => {
                rest = &rest[place + literal.len()..];
                true
            }
            None => false,
        })
    }
}

/// Whether the byte must not stand in the value of a header field.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn push_literal(pieces: &mut Vec<TextValue>, literal: &mut String) {
    if !literal.is_empty() {
        pieces.push(TextValue::Literal(std::mem::take(literal).into_bytes().into()));
    }
}

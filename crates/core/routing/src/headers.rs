//! Edits of header fields, in the order in which rules made them.
//!
//! Owns which received fields are gone and which were added. Leaves the bytes to `arena`. Invariant:
//! what remains of the received fields followed by the added ones is what carrying out the edits one
//! by one on a copy of the head would give.

use crate::arena::{Arena, Span};
use crate::settings::HeaderName;

/// The most edits of header fields for one message: ten times what the longest lists of rules make,
/// little enough that searching them in a row is fast. What goes beyond is dropped.
pub const HEADER_EDITS_MAX: usize = 128;

/// What does not fit is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped;

/// The edits of one message.
#[derive(Debug, Default)]
pub(crate) struct HeaderEdits {
    /// The names of which no received field remains.
    removed: Vec<Span>,
    /// A bit for each of them, so that most names are told apart at once.
    removed_bits: u64,
    added: Vec<Added>,
    /// A bit for each name that was added.
    added_bits: u64,
    edits_count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Added {
    name: Span,
    value: Span,
}

impl HeaderEdits {
    pub(crate) fn clear(&mut self) {
        self.removed.clear();
        self.removed_bits = 0;
        self.added.clear();
        self.added_bits = 0;
        self.edits_count = 0;
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.edits_count == 0
    }

    /// Adds a field behind all others.
    pub(crate) fn add(
        &mut self,
        name: &HeaderName,
        value: &[u8],
        arena: &mut Arena,
    ) -> Result<(), Dropped> {
        self.check_count()?;
        let value = arena.push(value).ok_or(Dropped)?;
        let written = arena.push(name.written()).ok_or(Dropped)?;
        self.push(name, Added { name: written, value });
        self.edits_count += 1;
        Ok(())
    }

    /// Replaces all fields of the name by one; without room for it, none is touched.
    pub(crate) fn set(
        &mut self,
        name: &HeaderName,
        value: &[u8],
        arena: &mut Arena,
    ) -> Result<(), Dropped> {
        self.check_count()?;
        let value = arena.push(value).ok_or(Dropped)?;
        let written = arena.push(name.written()).ok_or(Dropped)?;
        self.remove_as(name, Some(written), arena)?;
        self.push(name, Added { name: written, value });
        Ok(())
    }

    fn push(&mut self, name: &HeaderName, added: Added) {
        self.added.push(added);
        self.added_bits |= bit(name.lower());
    }

    /// Removes all fields of the name.
    pub(crate) fn remove(&mut self, name: &HeaderName, arena: &mut Arena) -> Result<(), Dropped> {
        self.check_count()?;
        self.remove_as(name, None, arena)
    }

    /// The same where the name may be in the arena already.
    fn remove_as(
        &mut self,
        name: &HeaderName,
        known: Option<Span>,
        arena: &mut Arena,
    ) -> Result<(), Dropped> {
        if !self.removes(name.lower(), arena) {
            let span = known.or_else(|| arena.push(name.lower())).ok_or(Dropped)?;
            self.removed.push(span);
            self.removed_bits |= bit(name.lower());
        }
        if self.added_bits & bit(name.lower()) != 0 {
            self.added.retain(|added| !arena.bytes(added.name).eq_ignore_ascii_case(name.lower()));
        }
        self.edits_count += 1;
        Ok(())
    }

    fn check_count(&self) -> Result<(), Dropped> {
        if self.edits_count < HEADER_EDITS_MAX { Ok(()) } else { Err(Dropped) }
    }

    /// Whether received fields of the name, in any case, are gone.
    #[inline]
    pub(crate) fn removes(&self, name: &[u8], arena: &Arena) -> bool {
        self.removed_bits & bit(name) != 0
            && self.removed.iter().any(|span| arena.bytes(*span).eq_ignore_ascii_case(name))
    }

    #[inline]
    pub(crate) fn added<'a>(
        &'a self,
        arena: &'a Arena,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
        self.added.iter().map(|added| (arena.bytes(added.name), arena.bytes(added.value)))
    }
}

/// The same for names that differ in case only.
#[inline]
fn bit(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |byte| u64::from(byte | 0x20));
    1 << ((first.wrapping_add(name.len() as u64)) % 64)
}

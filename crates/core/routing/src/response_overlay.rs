//! The edits of one response, which lie over the head as it was received.
//!
//! Owns what rules changed of the response; what they noted is in the request's overlay. Leaves
//! carrying out rules to `run`. Invariant: as that of the request's overlay.

use crate::arena::Arena;
use crate::headers::{Dropped, HeaderEdits};
use crate::settings::HeaderName;

/// Edits of a response. Reused; [`clear`](Self::clear) comes between two.
#[derive(Debug, Default)]
pub struct ResponseOverlay {
    arena: Arena,
    headers: HeaderEdits,
    status: Option<u16>,
    edits_dropped: u32,
}

impl ResponseOverlay {
    /// Forgets everything: what follows is another response.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.headers.clear();
        self.status = None;
        self.edits_dropped = 0;
    }

    /// Whether the head is as it was received.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.status.is_none()
    }

    /// The status that replaces the received one.
    #[inline]
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
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

    /// How many edits of header fields were dropped, because of their bytes or because of a bound.
    /// Those of variables and of the log are counted in the request's overlay.
    #[must_use]
    pub fn edits_dropped(&self) -> u32 {
        self.edits_dropped
    }

    pub(crate) fn set_status(&mut self, status: u16) {
        self.status = Some(status);
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
}

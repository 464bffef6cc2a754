//! Received heads as rules read them, and their edits as the encoder asks for them.
//!
//! Owns the adapters between `tidegate-http1` and `tidegate-routing`. Invariant: they copy nothing.

use tidegate_http1::{HeaderEdits, RequestHead, ResponseHead};
use tidegate_routing::{HeaderSource, RequestOverlay, ResponseOverlay};
use tidegate_semantics::compressed_head::HeadEdits;

use super::own_fields::OwnFields;
use crate::settings::OwnFieldSettings;

/// A request's head and the bytes that it stands in.
pub(crate) struct ReceivedRequest<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
}

impl HeaderSource for ReceivedRequest<'_> {
    #[inline]
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.headers(self.bytes)
    }

    #[inline]
    fn find(&self, lower_name: &[u8]) -> Option<&[u8]> {
        self.head.header(self.bytes, lower_name)
    }
}

/// A response's head and the bytes that it stands in.
pub(crate) struct ReceivedResponse<'a> {
    pub(crate) head: &'a ResponseHead,
    pub(crate) bytes: &'a [u8],
}

impl HeaderSource for ReceivedResponse<'_> {
    #[inline]
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.headers(self.bytes)
    }

    #[inline]
    fn find(&self, lower_name: &[u8]) -> Option<&[u8]> {
        self.head.header(self.bytes, lower_name)
    }
}

/// The changes of a request's header lines: those of rules, then the proxy's own.
pub(crate) struct RequestFields<'a> {
    pub(crate) overlay: &'a RequestOverlay,
    pub(crate) own: &'a OwnFields,
    pub(crate) settings: &'a OwnFieldSettings,
}

impl HeaderEdits for RequestFields<'_> {
    #[inline]
    fn removes_any(&self) -> bool {
        !self.overlay.is_empty() || self.own.removes_any()
    }

    #[inline]
    fn removes(&self, name: &[u8]) -> bool {
        self.overlay.removes(name) || self.own.removes(self.settings, name)
    }

    #[inline]
    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        for (name, value) in self.overlay.added() {
            if !self.own.removes(self.settings, name) {
                add(name, value);
            }
        }
        self.own.each(self.settings, add);
    }
}

/// The changes of a response's header lines: those of rules, then an entry in `Via`.
pub(crate) struct ResponseFields<'a> {
    pub(crate) overlay: &'a ResponseOverlay,
    /// The entry; empty without.
    pub(crate) via: &'a [u8],
}

impl HeaderEdits for ResponseFields<'_> {
    #[inline]
    fn removes_any(&self) -> bool {
        !self.overlay.is_empty()
    }

    #[inline]
    fn removes(&self, name: &[u8]) -> bool {
        self.overlay.removes(name)
    }

    #[inline]
    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.overlay.added().for_each(|(name, value)| add(name, value));
        if !self.via.is_empty() {
            add(b"Via", self.via);
        }
    }
}

/// The changes of the header lines of a response that may be compressed: those of rules and `Via`, then those that depend on
/// how it is coded.
pub(crate) struct CodedFields<'a> {
    pub(crate) fields: ResponseFields<'a>,
    pub(crate) coding: HeadEdits<'a>,
}

impl HeaderEdits for CodedFields<'_> {
    #[inline]
    fn removes_any(&self) -> bool {
        self.fields.removes_any() || self.coding.removes_any()
    }

    #[inline]
    fn removes(&self, name: &[u8]) -> bool {
        self.fields.removes(name) || self.coding.removes(name)
    }

    #[inline]
    fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        self.fields.each_added(|name, value| {
            if !self.coding.removes(name) {
                add(name, value);
            }
        });
        self.coding.each_added(add);
    }
}

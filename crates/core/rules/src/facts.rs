//! Owns the question side: what evaluation asks about one connection, request or response.
//!
//! Leaves the answers to the data plane, which gives them from the parsed head and the edits over it,
//! as they are asked for. Invariant: evaluation asks nothing that the compiled expression does not
//! name, and keeps no answer over an edit.

use crate::attribute::{Address, Flag, Keyed, Number, Text};
use std::net::IpAddr;

macro_rules! index {
    ($(#[$text:meta])* $name:ident) => {
        $(#[$text])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The place in a table of these.
            #[must_use]
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index! {
    /// A list named in `inList`, in the order of [`Names`](crate::Names).
    ListIndex
}
index! {
    /// A limit named in `rate`, in the order of [`Names`](crate::Names).
    LimitIndex
}
index! {
    /// A map named in `lookup`, in the order of [`Names`](crate::Names).
    MapIndex
}
index! {
    /// A variable that rules set, in the order of [`Names`](crate::Names).
    VariableIndex
}
index! {
    /// A field that only the log has, in the order of [`Names`](crate::Names).
    FieldIndex
}

/// What is looked for in a list or counted by a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A string.
    Text(&'a [u8]),
    /// An address; an IPv4 address that came in IPv6 form is in IPv4 form here.
    Address(IpAddr),
}

/// What is known about one connection, request or response.
///
/// Strings are bytes as they came: nothing here is taken for UTF-8. The methods are called on the
/// request path, possibly several times for one attribute, so they should neither allocate nor decode:
/// what needs decoding is prepared once, for what [`Uses`](crate::Uses) says is asked at all.
pub trait Facts {
    /// A string attribute; empty when there is none.
    fn text(&self, text: Text) -> &[u8];

    /// A number.
    fn number(&self, number: Number) -> i64;

    /// A truth.
    fn flag(&self, flag: Flag) -> bool;

    /// An address; none when the peer has none (a local socket), which is in no range.
    fn address(&self, address: Address) -> Option<IpAddr>;

    /// The value under a name, which is in lower case for header fields; of several values the
    /// first.
    fn keyed(&self, keyed: Keyed, name: &[u8]) -> Option<&[u8]>;

    /// Calls `visit` with the name, in any case, and value of each header field of the request, in
    /// order, edits included.
    fn visit_request_headers(&self, visit: impl FnMut(&[u8], &[u8]));

    /// What a rule set; empty when none did.
    fn variable(&self, variable: VariableIndex) -> &[u8];

    /// Whether a list holds the key.
    fn in_list(&self, list: ListIndex, key: Key<'_>) -> bool;

    /// The share of a limit that the key has in use: 1.0 is all of it.
    fn rate(&self, limit: LimitIndex, key: Key<'_>) -> f64;

    /// What a map says about the key.
    fn lookup(&self, map: MapIndex, key: &[u8]) -> Option<&[u8]>;

    /// A field of the log that is a string. Asked in [`Phase::Log`](crate::Phase::Log) only.
    fn field_text(&self, _field: FieldIndex) -> &[u8] {
        b""
    }

    /// A field of the log that is a number. Asked in [`Phase::Log`](crate::Phase::Log) only.
    fn field_number(&self, _field: FieldIndex) -> i64 {
        -1
    }
}

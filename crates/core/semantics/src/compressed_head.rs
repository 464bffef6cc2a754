//! What one client gets of a response that may be compressed, and what that changes in its head.
//!
//! Owns the decision over request and response, and the edits of `Content-Encoding`, `Vary`, `ETag`
//! and `Accept-Ranges`. Leaves to [`compressible`](crate::compressible) what the response says, to
//! [`accept_encoding`](crate::accept_encoding) what the request says, and to others `Content-Length`
//! and encoding itself.
//!
//! Invariant: whatever depends on `Accept-Encoding` says so in `Vary`, whichever way it is sent (RFC
//! 9110 §12.5.5), and no coded response has the entity tag, or offers the ranges, of the one before
//! coding.

use crate::accept_encoding::{Accepted, Choice, Coding};
use crate::compressible::{Policy, Suited, judge};
use crate::grammar::list;

/// What a request says that matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    accepted: Accepted,
    /// `If-None-Match` has a weak tag.
    validates_weakly: bool,
    /// HEAD: the head that GET would get, without a body.
    head_only: bool,
}

impl Asked {
    /// Reads a request's header lines, as the client sent them; `head_only`: its method is HEAD.
    #[must_use]
    pub fn of<'a>(
        headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        head_only: bool,
    ) -> Self {
        let mut asked = Self { head_only, ..Self::default() };
        for (name, value) in headers {
            match name.len() {
                15 if name.eq_ignore_ascii_case(b"accept-encoding") => asked.accepted.add(value),
                13 if name.eq_ignore_ascii_case(b"if-none-match") => {
                    asked.validates_weakly |= has_weak_tag(value);
                }
                _ => {}
            }
        }
        asked
    }
}

/// Whether a list of entity tags has a weak one. What stands in a tag's quotes is no tag.
fn has_weak_tag(value: &[u8]) -> bool {
    value.split(|&b| b == b'"').step_by(2).any(|between| between.ends_with(b"W/"))
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: no client would get it compressed.
    Nothing,
    /// It is sent as it is, to this client or now, and says that this depends on `Accept-Encoding`.
    Vary,
    /// A 304 to a client that holds a coded response: its tag is the weak one, as that one's, so that
    /// the two are taken for the same (RFC 9111 §4.3.4).
    Validate,
    /// The head is that of a coded response, and there is no body: HEAD.
    Announce(Coding),
    /// Head and body are coded.
    Encode(Coding),
}

impl Change {
    /// Decides, by the response's status and header lines, as names and values. `offered` are the
    /// codings of the configuration, the preferred first.
    ///
    /// A client that refuses everything, the response as it is included, gets it as it is: RFC 9110
    /// §12.5.3 allows that, and an error would help nobody.
    #[must_use]
    pub fn decide<'a>(
        policy: &Policy,
        offered: &[Coding],
        asked: &Asked,
        status: u16,
        headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let Ok(suited) = judge(policy, status, headers) else { return Self::Nothing };
        let Choice::Encode(coding) = asked.accepted.choose(offered) else { return Self::Vary };
        match suited {
            Suited::NotModified if asked.validates_weakly => Self::Validate,
            Suited::Part | Suited::NotModified => Self::Vary,
            Suited::Whole if asked.head_only => Self::Announce(coding),
            Suited::Whole => Self::Encode(coding),
        }
    }

    /// The edits of a head with these lines. `scratch` is the caller's, for what is built here.
    #[must_use]
    pub fn edits<'a, 's>(
        self,
        headers: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        scratch: &'s mut Vec<u8>,
    ) -> HeadEdits<'s> {
        scratch.clear();
        let mut needs_vary = self != Self::Nothing;
        let weakens = matches!(self, Self::Validate | Self::Announce(_) | Self::Encode(_));
        for (name, value) in headers {
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"vary") => {
                    needs_vary &= !names_accept_encoding(value);
                }
                // What is no strong tag stays.
                4 if weakens && value.starts_with(b"\"") && is_etag(name) => {
                    scratch.clear();
                    scratch.extend_from_slice(b"W/");
                    scratch.extend_from_slice(value);
                }
                _ => {}
            }
        }
        let coding = match self {
            Self::Announce(coding) | Self::Encode(coding) => Some(coding),
            Self::Nothing | Self::Vary | Self::Validate => None,
        };
        HeadEdits { coding, needs_vary, weak_etag: scratch }
    }
}

fn is_etag(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"etag")
}

fn names_accept_encoding(vary: &[u8]) -> bool {
    list(vary).any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
}

/// Changes to the lines of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadEdits<'s> {
    coding: Option<Coding>,
    needs_vary: bool,
    /// The tag in the place of a strong one; empty if there is none.
    weak_etag: &'s [u8],
}

impl HeadEdits<'_> {
    /// Whether [`removes`](Self::removes) says so of any name.
    #[inline]
    #[must_use]
    pub fn removes_any(&self) -> bool {
        self.coding.is_some() || !self.weak_etag.is_empty()
    }

    /// Whether lines of this name are left out. Of `Content-Encoding` only `identity` can have been
    /// there, and ranges of the response before coding would be offered by `Accept-Ranges`.
    #[inline]
    #[must_use]
    pub fn removes(&self, name: &[u8]) -> bool {
        match name.len() {
            4 => !self.weak_etag.is_empty() && is_etag(name),
            13 => self.coding.is_some() && name.eq_ignore_ascii_case(b"accept-ranges"),
            16 => self.coding.is_some() && name.eq_ignore_ascii_case(b"content-encoding"),
            _ => false,
        }
    }

    /// Calls `add` with name and value of each line to append.
    #[inline]
    pub fn each_added(&self, mut add: impl FnMut(&[u8], &[u8])) {
        if let Some(coding) = self.coding {
            add(b"Content-Encoding", coding.name().as_bytes());
        }
        if !self.weak_etag.is_empty() {
            add(b"ETag", self.weak_etag);
        }
        if self.needs_vary {
            add(b"Vary", b"Accept-Encoding");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_tags_are_told_from_the_text_of_strong_ones() {
        for (value, is_weak) in [
            ("W/\"a\"", true),
            ("\"a\", W/\"b\"", true),
            ("\"a\",W/\"b\",\"c\"", true),
            ("\"a\"", false),
            ("\"W/\", \"b\"", false),
            ("\"aW/\"", false),
            ("\"a, W/\"", false),
            ("*", false),
            ("", false),
            ("w/\"a\"", false),
        ] {
            assert_eq!(has_weak_tag(value.as_bytes()), is_weak, "{value}");
        }
    }
}

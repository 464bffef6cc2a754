//! A response's token: what the client is given, and what becomes of the server's own cookie.
//!
//! Owns writing and rewriting `Set-Cookie` (RFC 6265 §4.1); leaves writing the head to others. Invariant: a server's other
//! cookies reach the client as they were received.

use crate::persistence::Persistence;
use crate::request::trim;
use crate::settings::{Carrier, Cookie, Mode};
use crate::token::{Token, Unix};

/// What stands between a token and the server's own value.
pub const TOKEN_MARK: u8 = b'~';

/// What the client is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(crate) server: u32,
    /// When the client got its first token.
    pub(crate) first: Unix,
    pub(crate) now: Unix,
    /// The proxy adds a field of its own.
    pub(crate) own: bool,
    /// The client has one for the same server.
    pub(crate) renews: bool,
}

/// What was done with a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseState {
    /// The server set no such cookie, and none was added.
    #[default]
    Absent,
    /// One was inserted.
    Inserted,
    /// The client's was renewed.
    Updated,
    /// The server's was rewritten.
    Rewritten,
    /// The server's was left out.
    Deleted,
}

impl Persistence {
    fn token_of(&self, answer: &Answer) -> Token {
        self.token(answer.server, answer.first, answer.now)
    }

    /// The name of the field that is added to responses.
    #[must_use]
    pub fn field(&self) -> &[u8] {
        match &self.carrier {
            Carrier::Cookie(_) => b"Set-Cookie",
            Carrier::Header(name) => name,
        }
    }

    /// Whether a received field is not passed on as it is: the server's own of the same name.
    #[must_use]
    pub fn is_own(&self, name: &[u8], value: &[u8]) -> bool {
        match &self.carrier {
            Carrier::Header(own) => name.eq_ignore_ascii_case(own),
            Carrier::Cookie(cookie) => {
                name.eq_ignore_ascii_case(b"Set-Cookie") && cookie.own_value(value).is_some()
            }
        }
    }

    /// What was done, where the server's own field came or not.
    #[must_use]
    pub fn state(&self, answer: &Answer, has_own: bool) -> ResponseState {
        let rewrites = match &self.carrier {
            Carrier::Cookie(cookie) => cookie.mode != Mode::Insert,
            Carrier::Header(_) => false,
        };
        match (answer.own, has_own) {
            (true, _) if answer.renews => ResponseState::Updated,
            (true, _) => ResponseState::Inserted,
            (false, true) if rewrites => ResponseState::Rewritten,
            (false, true) => ResponseState::Deleted,
            (false, false) => ResponseState::Absent,
        }
    }

    /// Appends the value of the proxy's own field; `false`: there is none.
    pub fn write(&self, answer: &Answer, out: &mut Vec<u8>) -> bool {
        if !answer.own {
            return false;
        }
        match &self.carrier {
            Carrier::Header(_) => out.extend_from_slice(self.token_of(answer).as_bytes()),
            Carrier::Cookie(cookie) => {
                out.extend_from_slice(&cookie.name);
                out.push(b'=');
                out.extend_from_slice(self.token_of(answer).as_bytes());
                out.extend_from_slice(&cookie.attributes);
            }
        }
        true
    }

    /// Appends what becomes of the server's own field; `false`: it is left out.
    pub fn rewrite(&self, answer: &Answer, value: &[u8], out: &mut Vec<u8>) -> bool {
        let Carrier::Cookie(cookie) = &self.carrier else { return false };
        let Some((before, own, behind)) = cookie.own_value(value) else { return false };
        match cookie.mode {
            Mode::Insert => return false,
            Mode::Prefix => {
                out.extend_from_slice(before);
                out.extend_from_slice(self.token_of(answer).as_bytes());
                out.push(TOKEN_MARK);
                out.extend_from_slice(own);
            }
            Mode::Rewrite => {
                out.extend_from_slice(before);
                out.extend_from_slice(self.token_of(answer).as_bytes());
            }
        }
        out.extend_from_slice(behind);
        true
    }
}

impl Cookie {
    /// What stands before, in and behind the value of a `Set-Cookie` with this name.
    fn own_value<'a>(&self, line: &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let end = line.iter().position(|byte| *byte == b';').unwrap_or(line.len());
        let (pair, behind) = line.split_at(end);
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(equals + 1);
        (trim(&name[..equals]) == self.name).then_some((name, trim(value), behind))
    }
}

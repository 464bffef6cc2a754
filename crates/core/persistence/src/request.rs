//! A request's token: found among its header fields, and taken out before the server sees them.
//!
//! Owns reading and rewriting `Cookie` (RFC 6265 §4.2); leaves writing the head to others. Invariant: other cookies reach
//! the server as they were received, in their order.

use crate::persistence::{Persistence, Pin};
use crate::response::TOKEN_MARK;
use crate::settings::{Carrier, Cookie, Mode};
use crate::token::{self, TOKEN_BYTES, Unix};

impl Persistence {
    /// Finds and judges the token among a request's header fields. Of several the first counts.
    pub fn find<'a>(
        &self,
        fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        now: Unix,
    ) -> Pin {
        let mut fields = fields.into_iter();
        let found = match &self.carrier {
            Carrier::Header(name) => {
                fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            }
            Carrier::Cookie(cookie) => fields
                .filter(|(known, _)| known.eq_ignore_ascii_case(b"Cookie"))
                .flat_map(|(_, value)| pairs(value))
                .find_map(|pair| cookie.value_of(pair)),
        };
        found.map_or_else(Pin::default, |text| self.judge(text, now))
    }

    /// The field that requests are rewritten in, if servers are not to see tokens.
    #[must_use]
    pub fn hidden_in(&self) -> Option<&[u8]> {
        match &self.carrier {
            Carrier::Header(name) => Some(name),
            Carrier::Cookie(cookie) if cookie.indirect || cookie.mode == Mode::Prefix => {
                Some(b"Cookie")
            }
            Carrier::Cookie(_) => None,
        }
    }

    /// Appends to `out` what servers see of the field's values instead; nothing appended: the field is left out.
    pub fn hide<'a>(&self, values: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        let Carrier::Cookie(cookie) = &self.carrier else { return };
        for pair in values.into_iter().flat_map(pairs) {
            let shown = match (cookie.value_of(pair), cookie.mode) {
                (None, _) | (Some(_), Mode::Rewrite) => Some((pair, &b""[..])),
                (Some(_), Mode::Insert) => None,
                (Some(value), Mode::Prefix) => Some(without_prefix(pair, value)),
            };
            let Some((before, behind)) = shown else { continue };
            if !out.is_empty() {
                out.extend_from_slice(b"; ");
            }
            out.extend_from_slice(before);
            out.extend_from_slice(behind);
        }
    }
}

impl Cookie {
    /// The text for a token in a pair of this name.
    fn value_of<'a>(&self, pair: &'a [u8]) -> Option<&'a [u8]> {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (trim(&pair[..equals]), trim(&pair[equals + 1..]));
        if name != self.name {
            return None;
        }
        match self.mode {
            Mode::Insert | Mode::Rewrite => Some(value),
            Mode::Prefix => prefix(value),
        }
    }
}

/// What looks like a token before the mark.
fn prefix(value: &[u8]) -> Option<&[u8]> {
    let (text, rest) = value.split_at_checked(TOKEN_BYTES)?;
    (rest.first() == Some(&TOKEN_MARK) && token::bytes_of(text).is_some()).then_some(text)
}

/// A pair's name and its value behind the prefix `found`.
fn without_prefix<'a>(pair: &'a [u8], found: &[u8]) -> (&'a [u8], &'a [u8]) {
    let start = pair.len()
        - trim_start(&pair[pair.iter().position(|byte| *byte == b'=').map_or(0, |at| at + 1)..])
            .len();
    (&pair[..start], &pair[(start + found.len() + 1).min(pair.len())..])
}

/// The cookies of a line, blanks around them left out.
fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(trim).filter(|pair| !pair.is_empty())
}

fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| b" \t".contains(byte)).count();
    &text[blanks..]
}

pub(crate) fn trim(text: &[u8]) -> &[u8] {
    let text = trim_start(text);
    let blanks = text.iter().rev().take_while(|byte| b" \t".contains(byte)).count();
    &text[..text.len() - blanks]
}

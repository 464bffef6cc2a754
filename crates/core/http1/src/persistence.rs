//! The `Connection` header (RFC 9110 §7.6.1, RFC 9112 §9.3): its options, and the headers it makes
//! hop-by-hop.
//!
//! Owns reading the options and the keep-alive rule. Which headers leave a forwarded head is
//! `encode`'s decision, taken from the kinds that are marked here.

use crate::fault::Fault;
use crate::grammar::{is_token, list, spells};
use crate::header::HeaderTable;
use crate::limits::CONNECTION_OPTIONS_MAX;
use crate::message::Version;

/// The options of all `Connection` lines of one head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// An option that is not one of the above is present, so some header may be hop-by-hop by its
    /// listing.
    pub(crate) lists_headers: bool,
    count: u8,
}

impl ConnectionOptions {
    /// Reads one line. Nearly all of them are a single `close` or `keep-alive`.
    #[inline]
    pub(crate) fn read(&mut self, value: &[u8]) -> Result<(), Fault> {
        if spells(value, b"keep-alive") || spells(value, b"close") {
            return self.read_option(value);
        }
        list(value).try_for_each(|option| self.read_option(option))
    }

    #[inline]
    fn read_option(&mut self, option: &[u8]) -> Result<(), Fault> {
        if usize::from(self.count) == CONNECTION_OPTIONS_MAX {
            return Err(Fault::ConnectionOptionsTooMany);
        }
        self.count += 1;
        match option.len() {
            5 if spells(option, b"close") => self.close = true,
            10 if spells(option, b"keep-alive") => self.keep_alive = true,
            7 if spells(option, b"upgrade") => self.upgrade = true,
            _ => self.read_listed(option)?,
        }
        Ok(())
    }

    /// An option that names a field meant for every recipient would make the next hop see another
    /// message than the sender wrote; RFC 9110 §7.6.1 forbids sending it, and only an attack
    /// does. `Transfer-Encoding` may be listed: it is hop-by-hop anyway.
    fn read_listed(&mut self, option: &[u8]) -> Result<(), Fault> {
        if !is_token(option) {
            return Err(Fault::ConnectionInvalid);
        }
        if spells(option, b"host") || spells(option, b"content-length") {
            return Err(Fault::ConnectionListsEssential);
        }
        self.lists_headers = true;
        Ok(())
    }

    /// Whether the sender lets the connection persist after this message (RFC 9112 §9.3). `close`
    /// wins.
    #[inline]
    pub(crate) fn persists(self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

/// Marks every header that a `Connection` line lists; the work is bounded by
/// [`CONNECTION_OPTIONS_MAX`].
#[cold]
pub(crate) fn mark_listed(table: &mut HeaderTable, buf: &[u8]) {
    for position in 0..table.lines().len() {
        if let Some(value) = table.connection_value(buf, position) {
            for option in list(value) {
                table.mark_listed(buf, option);
            }
        }
    }
}

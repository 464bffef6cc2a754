//! The two ends of an established TLS connection, without its socket.
//!
//! Owns opening what has come, sealing what goes, and how far either goes; leaves the socket to `tls` and the form of records to
//! `tidegate-tls-records`. Invariant: after the peer's close_notify nothing more is opened, and after ours nothing more is sealed.

use std::io;

use tidegate_ring::RecvBuf;
use tidegate_tls_records::{
    Alert, Kind, Message, MessageError, Notice, Opened, RECORD_BYTES_MAX, Version, read_alert,
};

use super::keys::Keys;

/// How far the peer's bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// More may come.
    Open,
    /// The peer has said that it sends no more.
    Closed,
    /// It cannot be read any further.
    Failed(io::ErrorKind),
}

/// What belongs to the connection wherever its socket is.
pub(super) struct Core {
    pub(super) keys: Keys,
    pub(super) version: Version,
    pub(super) end: End,
    /// We have said that we send no more.
    pub(super) has_said_goodbye: bool,
    /// The peer has done something too often that costs more than it brings.
    pub(super) has_flooded: bool,
    /// Bytes of the protocol that were handed over for sending.
    pub(super) handed_over: u64,
}

pub(super) struct State {
    pub(super) core: Box<Core>,
    /// Opened and not yet taken.
    pub(super) received: Option<RecvBuf>,
    /// The start of a record that is not whole.
    pub(super) partial: Vec<u8>,
    /// Sealed and not yet queued.
    pub(super) outgoing: Vec<u8>,
}

/// Where the plaintext of some records lies, side by side, and where the first record begins that is not whole.
struct Plaintext {
    start: usize,
    end: usize,
    rest: usize,
}

impl State {
    pub(super) fn new(core: Box<Core>) -> State {
        State { core, received: None, partial: Vec::new(), outgoing: Vec::new() }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.received.is_none()
            && self.partial.is_empty()
            && self.outgoing.is_empty()
            && self.core.end == End::Open
            && !self.core.has_said_goodbye
    }

    /// Takes what has come.
    pub(super) fn feed(&mut self, mut piece: RecvBuf) {
        debug_assert!(self.received.is_none(), "what was opened before is lost");
        if self.partial.is_empty() {
            let bytes = piece.bytes_mut();
            let opened = self.open(bytes);
            if opened.rest < bytes.len() {
                // Room for the whole of it and what comes with its end.
                self.partial.reserve(RECORD_BYTES_MAX);
                self.partial.extend_from_slice(&bytes[opened.rest..]);
            }
            self.keep(piece, &opened);
            return;
        }
        self.partial.extend_from_slice(&piece);
        drop(piece);
        let mut bytes = std::mem::take(&mut self.partial);
        let opened = self.open(&mut bytes);
        if opened.rest == 0 {
            self.partial = bytes;
            return;
        }
        if opened.rest < bytes.len() {
            self.partial.reserve(RECORD_BYTES_MAX);
            self.partial.extend_from_slice(&bytes[opened.rest..]);
        }
        self.keep(RecvBuf::from_vec(bytes), &opened);
    }

    fn keep(&mut self, mut piece: RecvBuf, opened: &Plaintext) {
        if opened.start < opened.end {
            piece.advance(opened.start);
            piece.truncate(opened.end - opened.start);
            self.received = Some(piece);
        }
    }

    /// Opens the whole records of `bytes`, and moves their plaintexts side by side.
    fn open(&mut self, bytes: &mut [u8]) -> Plaintext {
        let mut opened = Plaintext { start: 0, end: 0, rest: 0 };
        while self.core.end == End::Open {
            let record = match self.core.keys.opener.open(&mut bytes[opened.rest..]) {
                Ok(Opened::Incomplete { .. }) => return opened,
                Ok(Opened::Record { kind, plaintext, taken }) => (kind, plaintext, taken),
                Err(error) => {
                    self.fail(error.alert());
                    break;
                }
            };
            let (kind, plaintext, taken) = record;
            if let Err(error) = self.core.keys.messages.check_order(kind) {
                self.fail(error.alert());
                break;
            }
            let plaintext = opened.rest + plaintext.start..opened.rest + plaintext.end;
            opened.rest += taken;
            match kind {
                Kind::ApplicationData if plaintext.is_empty() => {}
                Kind::ApplicationData if opened.start == opened.end => {
                    (opened.start, opened.end) = (plaintext.start, plaintext.end);
                }
                Kind::ApplicationData => {
                    let length = plaintext.len();
                    bytes.copy_within(plaintext, opened.end);
                    opened.end += length;
                }
                Kind::Handshake => self.hear(&bytes[plaintext]),
                Kind::Alert => self.take_alert(&bytes[plaintext]),
            }
        }
        // Nothing that comes after the end is looked at.
        opened.rest = bytes.len();
        opened
    }

    /// Takes handshake messages that come after the handshake.
    fn hear(&mut self, plaintext: &[u8]) {
        let Core { keys, has_flooded, .. } = &mut *self.core;
        let Keys { opener, messages, source, .. } = keys;
        let mut refuse = |error: MessageError| {
            *has_flooded |= error.is_flood();
            error.alert()
        };
        let (mut wants_update, mut renegotiations) = (false, 0);
        let mut heard = messages.push(plaintext).map_err(&mut refuse);
        while heard.is_ok() {
            match messages.next() {
                Ok(Some(Message::KeyUpdate(update))) => {
                    wants_update |= update == tidegate_tls_records::KeyUpdate::Requested;
                    if source.update_opener(opener).is_err() {
                        heard = Err(Alert::INTERNAL_ERROR);
                    }
                }
                Ok(Some(Message::NewSessionTicket(ticket))) => source.keep_ticket(ticket),
                Ok(Some(Message::Renegotiation)) => renegotiations += 1,
                Ok(None) => break,
                Err(error) => heard = Err(refuse(error)),
            }
        }
        if let Err(alert) = heard {
            return self.fail(alert);
        }
        if wants_update && self.core.keys.update_sealer(&mut self.outgoing).is_err() {
            return self.fail(Alert::INTERNAL_ERROR);
        }
        for _ in 0..renegotiations {
            // RFC 5246 §7.2.2
            if self.core.keys.sealer.alert(Alert::NO_RENEGOTIATION, &mut self.outgoing).is_err() {
                self.core.end = End::Failed(io::ErrorKind::ConnectionAborted);
            }
        }
    }

    fn take_alert(&mut self, plaintext: &[u8]) {
        match read_alert(self.core.version, plaintext) {
            Ok(Notice::Warning(_)) => {}
            Ok(Notice::Closed) => self.core.end = End::Closed,
            Ok(Notice::Fatal(_)) => self.core.end = End::Failed(io::ErrorKind::ConnectionReset),
            Err(error) => self.fail(error.alert()),
        }
    }

    /// Ends the connection: the peer is told why.
    pub(super) fn fail(&mut self, alert: Alert) {
        self.core.end = End::Failed(io::ErrorKind::InvalidData);
        if !self.core.has_said_goodbye {
            self.core.has_said_goodbye = true;
            // Without room for it the peer sees the end alone.
            let _ = self.core.keys.sealer.alert(alert, &mut self.outgoing);
        }
    }

    pub(super) fn seal(&mut self, plaintext: &[u8]) {
        if self.core.has_said_goodbye {
            debug_assert!(self.core.end != End::Open, "bytes after the end");
            return;
        }
        self.core.handed_over += plaintext.len() as u64;
        let tls13 = self.core.version == Version::Tls13;
        let keys = &mut self.core.keys;
        let updated = if keys.sealer.needs_key_update() && tls13 {
            keys.update_sealer(&mut self.outgoing).is_ok()
        } else {
            true
        };
        let sealed = keys.sealer.seal(Kind::ApplicationData, plaintext, &mut self.outgoing);
        if sealed.is_err() || !updated {
            // Nothing more can be sent; the user hears of it from the next receive.
            self.fail(Alert::INTERNAL_ERROR);
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        if !self.core.has_said_goodbye {
            self.core.has_said_goodbye = true;
            let _ = self.core.keys.sealer.alert(Alert::CLOSE_NOTIFY, &mut self.outgoing);
        }
    }
}

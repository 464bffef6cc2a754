//! The handshake messages that come after the handshake.
//!
//! Owns putting them together from records, which of them may come from whom, and how many. Leaves what a ticket says and the keys
//! after a KeyUpdate to the user. Invariants: at most one unfinished message of at most [`MESSAGE_BYTES_MAX`] is held, and nothing
//! between messages.

use crate::{Alert, Kind, PLAINTEXT_BYTES_MAX, Version};
use std::ops::Range;

/// The most bytes that a message has after its header: what a ticket with its extensions can need (RFC 8446 §4.6.1) and no more.
pub const MESSAGE_BYTES_MAX: usize = 0xffff;

/// How many tickets of one connection are taken. A server gives two as a rule; those after these are passed over.
pub const TICKETS_MAX: u8 = 16;

/// How many times the peer may ask for a renegotiation of TLS 1.2, which it does not get.
pub const RENEGOTIATIONS_MAX: u8 = 4;

/// How many times in one connection the peer may change its key, each of which costs a derivation or two and a KeyUpdate in return. Peers
/// that do it at all do it once in 100 GiB and more, as the limits of their ciphers want it.
pub const KEY_UPDATES_MAX: u16 = 1_024;

/// Bytes of a message's header: type and length (RFC 8446 §4).
const HEADER_BYTES: usize = 4;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Which side the other one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It opened the connection.
    Client,
    /// It accepted the connection.
    Server,
}

/// Whether the receiver of a KeyUpdate has to send one as well (RFC 8446 §4.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUpdate {
    /// It has not.
    NotRequested,
    /// It has to, before its next application data.
    Requested,
}

impl KeyUpdate {
    /// The message.
    #[must_use]
    pub fn encode(self) -> [u8; 5] {
        let request = match self {
            Self::NotRequested => 0,
            Self::Requested => 1,
        };
        [KEY_UPDATE, 0, 0, 1, request]
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The peer's next record is sealed with its next key: [`Opener::rekey`](crate::Opener::rekey) before opening it.
    KeyUpdate(KeyUpdate),
    /// A ticket, without the message's header.
    NewSessionTicket(&'a [u8]),
    /// A renegotiation of TLS 1.2 is asked for. Answered with the warning no_renegotiation, or not at all (RFC 5246 §7.2.2).
    Renegotiation,
}

/// Why the messages are refused. The connection has to end with [`alert`](Self::alert).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// A message that this peer may not send after the handshake.
    Unexpected(u8),
    /// One that is longer than [`MESSAGE_BYTES_MAX`].
    TooLong,
    /// A KeyUpdate or HelloRequest of a length that it cannot have.
    Length,
    /// A KeyUpdate that neither asks nor does not ask.
    Value,
    /// A KeyUpdate that is not the end of its record (RFC 8446 §5.1).
    BeforeKeyChange,
    /// Something else between two records of one message (RFC 8446 §5.1).
    Interleaved,
    /// More than [`RENEGOTIATIONS_MAX`].
    TooManyRenegotiations,
    /// More than [`KEY_UPDATES_MAX`].
    TooManyKeyUpdates,
}

impl MessageError {
    /// Whether a limit on how often was passed, by one message that would have been right.
    #[must_use]
    pub fn is_flood(self) -> bool {
        matches!(self, Self::TooManyRenegotiations | Self::TooManyKeyUpdates)
    }

    /// The alert to end the connection with.
    #[must_use]
    pub fn alert(self) -> Alert {
        match self {
            Self::Unexpected(_)
            | Self::BeforeKeyChange
            | Self::Interleaved
            | Self::TooManyRenegotiations
            | Self::TooManyKeyUpdates => Alert::UNEXPECTED_MESSAGE,
            Self::TooLong | Self::Value => Alert::ILLEGAL_PARAMETER,
            Self::Length => Alert::DECODE_ERROR,
        }
    }
}

impl std::fmt::Display for MessageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unexpected(code) => {
                write!(f, "a handshake message of type {code} after the handshake")
            }
            Self::TooLong => f.write_str("a handshake message that is too long"),
            Self::Length => f.write_str("a handshake message of a wrong length"),
            Self::Value => f.write_str("a key update of a wrong value"),
            Self::BeforeKeyChange => f.write_str("a key update with more behind it"),
            Self::Interleaved => f.write_str("another record inside a handshake message"),
            Self::TooManyRenegotiations => f.write_str("too many renegotiations"),
            Self::TooManyKeyUpdates => f.write_str("too many key updates"),
        }
    }
}

impl std::error::Error for MessageError {}

/// Puts the messages of one direction together. For each record: [`check_order`](Self::check_order); for each of messages, besides,
/// [`push`](Self::push), then [`next`](Self::next) until there is none.
#[derive(Debug)]
pub struct Messages {
    version: Version,
    peer: Peer,
    tickets: u8,
    renegotiations: u8,
    key_updates: u16,
    /// Bytes of a message that are still to come, and to be passed over.
    passing: usize,
    /// What was pushed and is not done with starts at `done`.
    bytes: Vec<u8>,
    done: usize,
}

/// What the header of a message says.
enum Step {
    /// Its bytes are wanted.
    Take,
    /// Its bytes are not.
    PassOver,
    /// Its bytes are not, but that it came.
    Report,
}

impl Messages {
    /// Of a connection whose handshake has just ended. Allocates nothing.
    #[must_use]
    pub fn new(version: Version, peer: Peer) -> Self {
        Self {
            version,
            peer,
            tickets: 0,
            renegotiations: 0,
            key_updates: 0,
            passing: 0,
            bytes: Vec::new(),
            done: 0,
        }
    }

    /// Whether a record of this kind may come now: only messages follow the start of a message.
    ///
    /// # Errors
    ///
    /// [`MessageError::Interleaved`].
    #[inline]
    pub fn check_order(&self, kind: Kind) -> Result<(), MessageError> {
        let is_between = self.bytes.is_empty() && self.passing == 0;
        if is_between || kind == Kind::Handshake { Ok(()) } else { Err(MessageError::Interleaved) }
    }

    /// Takes the plaintext of a record of messages.
    ///
    /// # Errors
    ///
    /// More than one message is held: it was not asked for the [`next`](Self::next).
    pub fn push(&mut self, plaintext: &[u8]) -> Result<(), MessageError> {
        let passed = self.passing.min(plaintext.len());
        self.passing -= passed;
        let plaintext = &plaintext[passed..];
        if self.bytes.len() + plaintext.len()
            > HEADER_BYTES + MESSAGE_BYTES_MAX + PLAINTEXT_BYTES_MAX
        {
            return Err(MessageError::TooLong);
        }
        self.bytes.extend_from_slice(plaintext);
        Ok(())
    }

    /// The next message that is whole.
    ///
    /// # Errors
    ///
    /// A message that may not come, found as soon as its header is there.
    #[expect(clippy::should_implement_trait, reason = "it lends, and it can fail")]
    pub fn next(&mut self) -> Result<Option<Message<'_>>, MessageError> {
        while let Some((code, content)) = self.header() {
            match self.step(code, content.len())? {
                Step::PassOver => self.pass_over(&content),
                Step::Report => {
                    self.pass_over(&content);
                    return Ok(Some(Message::Renegotiation));
                }
                Step::Take if content.end > self.bytes.len() => break,
                Step::Take => {
                    self.done = content.end;
                    return self.read(code, content).map(Some);
                }
            }
        }
        self.forget();
        Ok(None)
    }

    /// The type of the message that starts at `done`, and where its content lies or will lie.
    fn header(&self) -> Option<(u8, Range<usize>)> {
        let &[code, a, b, c] = self.bytes.get(self.done..)?.first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let start = self.done + HEADER_BYTES;
        Some((code, start..start + length))
    }

    /// Whether the message may come, and what becomes of it.
    fn step(&mut self, code: u8, length: usize) -> Result<Step, MessageError> {
        let step = match (self.version, self.peer, code) {
            (Version::Tls13, _, KEY_UPDATE) if length == 1 => Step::Take,
            (Version::Tls12, Peer::Server, HELLO_REQUEST) if length == 0 => Step::Report,
            (Version::Tls13, _, KEY_UPDATE) | (Version::Tls12, Peer::Server, HELLO_REQUEST) => {
                return Err(MessageError::Length);
            }
            (Version::Tls13, Peer::Server, NEW_SESSION_TICKET) if self.tickets < TICKETS_MAX => {
                Step::Take
            }
            (Version::Tls13, Peer::Server, NEW_SESSION_TICKET) => Step::PassOver,
            (Version::Tls12, Peer::Client, CLIENT_HELLO) => Step::Report,
            _ => return Err(MessageError::Unexpected(code)),
        };
        if length > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong);
        }
        if matches!(step, Step::Report) {
            self.renegotiations += 1;
            if self.renegotiations > RENEGOTIATIONS_MAX {
                return Err(MessageError::TooManyRenegotiations);
            }
        }
        Ok(step)
    }

    fn read(&mut self, code: u8, content: Range<usize>) -> Result<Message<'_>, MessageError> {
        if code == NEW_SESSION_TICKET {
            self.tickets += 1;
            return Ok(Message::NewSessionTicket(self.bytes.get(content).unwrap_or_default()));
        }
        if content.end != self.bytes.len() {
            return Err(MessageError::BeforeKeyChange);
        }
        self.key_updates += 1;
        if self.key_updates > KEY_UPDATES_MAX {
            return Err(MessageError::TooManyKeyUpdates);
        }
        match self.bytes.get(content.start) {
            Some(0) => Ok(Message::KeyUpdate(KeyUpdate::NotRequested)),
            Some(1) => Ok(Message::KeyUpdate(KeyUpdate::Requested)),
            _ => Err(MessageError::Value),
        }
    }

    fn pass_over(&mut self, content: &Range<usize>) {
        self.done = content.end.min(self.bytes.len());
        self.passing = content.end - self.done;
    }

    /// Frees what is done with: a connection between messages holds nothing.
    fn forget(&mut self) {
        if self.done == self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..self.done);
        }
        self.done = 0;
    }
}

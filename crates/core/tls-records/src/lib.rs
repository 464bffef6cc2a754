//! TLS records to plaintext and back, without I/O, once a handshake has been made.
//!
//! This crate owns the record protocol of TLS 1.2 and 1.3 (RFC 5246 §6, RFC 8446 §5) from the end of the handshake on: opening
//! records in the buffer that they were received in, sealing plaintext into records, alerts, and the handshake messages
//! that come after the handshake. It leaves to others: handshakes, deriving keys, what a ticket says (all of these rustls), when to
//! send what, and sockets. Why records are not left to rustls as well: ADR 0017.
//!
//! Invariants: no nonce is used twice under a key; plaintext is shown only after its tag was right; opening allocates nothing, and
//! sealing nothing but the growth of what it is given; what a peer can make this side hold or do is bounded by a `*_MAX`.
//!
//! ```
//! use tidegate_tls_records::{Cipher, Kind, Opened, Opener, Sealer, Secret, Version};
//!
//! let secret = Secret { cipher: Cipher::Aes128Gcm, key: &[1; 16], iv: &[2; 12] };
//! let (mut sealer, mut opener) = (Sealer::new(Version::Tls13, &secret, 0)?, Opener::new(Version::Tls13, &secret, 0)?);
//! let mut wire = Vec::new();
//! sealer.seal(Kind::ApplicationData, b"hello", &mut wire)?;
//! let Opened::Record { kind, plaintext, taken } = opener.open(&mut wire)? else { panic!("the record is whole") };
//! assert_eq!((kind, &wire[plaintext], taken), (Kind::ApplicationData, &b"hello"[..], wire.len()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod alert;
mod key;
mod messages;
mod opener;
mod sealer;

pub use alert::{Alert, AlertError, Notice, read_alert};
pub use key::{Cipher, KeyError, RECORDS_PER_KEY_MAX, RECORDS_UNTIL_UPDATE_MAX, Secret, Version};
pub use messages::{
    KEY_UPDATES_MAX, KeyUpdate, MESSAGE_BYTES_MAX, Message, MessageError, Messages, Peer,
    RENEGOTIATIONS_MAX, TICKETS_MAX,
};
pub use opener::{Opened, Opener, RECORDS_WITHOUT_DATA_MAX, RecordError};
pub use sealer::{SealError, Sealer, UpdateError};

/// Bytes of a record's header: type, version, length (RFC 8446 §5.1).
pub const HEADER_BYTES: usize = 5;

/// The most bytes of plaintext that one record carries (RFC 8446 §5.1, RFC 5246 §6.2.1).
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 14;

/// The most bytes that one record has on the wire: header, explicit nonce of TLS 1.2 and tag around the most plaintext. A receive
/// buffer of this size holds every record. The RFCs let a length announce more (2^14 + 256, 2^14 + 2048), for ciphers that
/// expand more than the ones here do; such a record could only turn out to carry too much.
pub const RECORD_BYTES_MAX: usize =
    HEADER_BYTES + key::EXPLICIT_NONCE_BYTES + PLAINTEXT_BYTES_MAX + key::TAG_BYTES;

/// What a record carries (RFC 8446 §5.1). A change_cipher_spec is none of these: after the handshake it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An alert, for [`read_alert`].
    Alert,
    /// Handshake messages or a part of one, for [`Messages`].
    Handshake,
    /// Bytes of the application.
    ApplicationData,
}

impl Kind {
    /// The byte that stands for it.
    const fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::ApplicationData),
            _ => None,
        }
    }
}

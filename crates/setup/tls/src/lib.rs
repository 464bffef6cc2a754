//! TLS as far as it moves no bytes: certificates, keys, tickets, authorities, and the settings of both sides.
//!
//! This crate owns what a handshake is decided by: which certificate is shown, which clients and servers are believed, which
//! sessions are resumed; and how all that is read from files and replaced while connections come in. It leaves to others:
//! sockets, deadlines and the record layer (`tidegate-proxy`), when files are looked at again (`tidegate-control`).
//!
//! Invariant: what is in use stays in use until its replacement has been read and checked as a whole; and no key is ever part of
//! a message or of `Debug` output.
//!
//! Start at [`ServerTls`] and [`ClientTls`]; a [`Loader`] makes both.

mod authorities;
mod automatic;
mod certificate;
mod challenges;
mod client;
mod crypto;
mod files;
mod identity;
mod index;
mod key_log;
mod loader;
mod problem;
mod server;
mod session;
mod store;
mod tickets;

pub use rustls;

pub use automatic::{
    Automatic, ChallengeKind, DOMAINS_MAX, ExternalAccount, HMAC_FILE_BYTES_MAX,
    directory_authorities, read_stored,
};
pub use certificate::{Certificate, CertificateSource, KeyKind};
pub use challenges::Challenges;
pub use client::{ClientSettings, ClientTls, Trust, Unverified};
pub use crypto::{CIPHERS, Cipher, GROUPS, Group, Protocol, Version, Versions};
pub use identity::PeerIdentity;
pub use key_log::KeyLog;
pub use loader::Loader;
pub use problem::{At, Fault, Problem};
pub use server::{ClientAuth, ServerSettings, ServerTls};
pub use session::{Hello, Session, is_no_certificate, refine_alert, take_hello};
pub use store::{Change, What};

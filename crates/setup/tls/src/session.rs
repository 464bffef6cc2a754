//! What is known about a connection once its handshake is over, and what is said about one that failed.
//!
//! Owns reading it out of rustls; leaves when to ask to the data plane. Invariant: the name that a client asked for is handed
//! over on the thread that handled its hello, once.

use std::cell::RefCell;

use rustls::{CommonState, Error, HandshakeKind};

use crate::challenges::ACME_ALPN;
use crate::crypto::{Protocol, suite_name, version_name};
use crate::identity::PeerIdentity;
use crate::store::lower_case;

/// What a client's first message asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The server's name in lower case; none: it asked for none.
    pub server_name: Option<Box<str>>,
    /// There is no certificate for it, and the handshake fails.
    pub refused: bool,
}

thread_local! {
    /// rustls gives the name away to the resolver of certificates only, where connections work on the caller's buffers.
    static HELLO: RefCell<Option<Hello>> = const { RefCell::new(None) };
}

pub(crate) fn note_hello(server_name: Option<&str>, refused: bool) {
    let server_name = server_name.map(|name| lower_case(name).into());
    HELLO.with_borrow_mut(|hello| *hello = Some(Hello { server_name, refused }));
}

/// The hello that this thread has handled since the last call. To be asked after each step of a handshake, before a step of
/// another connection.
#[must_use]
pub fn take_hello() -> Option<Hello> {
    HELLO.with_borrow_mut(Option::take)
}

/// Puts the right words into the alert for a hello that was [refused](Hello::refused): rustls says `access_denied`, RFC 6066
/// §3 wants `unrecognized_name`. `records` is what rustls has encoded for the client; whatever else it may be stays as it is.
pub fn refine_alert(records: &mut [u8]) {
    const FATAL_ACCESS_DENIED: [u8; 4] = [0, 2, 2, 49];
    const UNRECOGNIZED_NAME: u8 = 112;
    if let [21, 3, _, rest @ ..] = records
        && *rest == FATAL_ACCESS_DENIED
        && let Some(description) = rest.last_mut()
    {
        *description = UNRECOGNIZED_NAME;
    }
}

/// Whether the peer showed no certificate although it has to.
#[must_use]
pub fn is_no_certificate(error: &Error) -> bool {
    matches!(error, Error::NoCertificatesPresented)
}

/// What a handshake has led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite's name at IANA.
    pub cipher: &'static str,
    /// What is spoken inside; none: the two did not talk about it.
    pub protocol: Option<Protocol>,
    /// An authority looked at our certificate for a challenge, and nothing more is to be said (RFC 8737 §3).
    pub is_challenge: bool,
    /// It goes on with an earlier session.
    pub resumed: bool,
    /// Who the client is, where it has shown a certificate that was verified.
    pub peer: Option<PeerIdentity>,
}

impl Session {
    /// Of a server's or a client's connection whose handshake is over. The peer's certificate is read here, once.
    ///
    /// # Errors
    /// The peer's certificate cannot be read; the reason.
    pub fn of(connection: &CommonState) -> Result<Self, String> {
        let peer = connection.peer_certificates().and_then(<[_]>::first);
        Ok(Self {
            version: version_name(connection.protocol_version()),
            cipher: suite_name(connection.negotiated_cipher_suite()),
            protocol: connection.alpn_protocol().and_then(Protocol::from_alpn),
            is_challenge: connection.alpn_protocol() == Some(ACME_ALPN),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: peer.map(PeerIdentity::of).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_alert_for_a_refused_name_is_changed() {
        let mut alert = [21, 3, 3, 0, 2, 2, 49];
        refine_alert(&mut alert);
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112]);
        for other in [
            &[21, 3, 3, 0, 2, 2, 40][..],
            &[22, 3, 3, 0, 2, 2, 49],
            &[21, 3, 3, 0, 2, 2, 49, 0],
            &[],
        ] {
            let mut records = other.to_vec();
            refine_alert(&mut records);
            assert_eq!(records, other);
        }
    }
}

//! Against rustls, in memory: a real handshake, then our records on one side and rustls' own on the other, for every cipher suite,
//! both versions and both sides.
#![allow(clippy::unwrap_used, reason = "what fails here is the test's own, and fails it")]

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::kernel::KernelConnection;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ExtractedSecrets,
    RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite,
};
use std::io::{Read, Write};
use std::ops::DerefMut;
use std::sync::Arc;
use tidegate_tls_records::{
    Alert, Cipher, KeyUpdate, Kind, Message, Messages, Notice, Opened, Opener, Peer, Sealer,
    Secret, Version, read_alert,
};

fn version_of(suite: SupportedCipherSuite) -> Version {
    if suite.tls13().is_some() { Version::Tls13 } else { Version::Tls12 }
}

fn configurations(suite: SupportedCipherSuite) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let provider = Arc::new(provider);
    let is_rsa = format!("{:?}", suite.suite()).contains("ECDHE_RSA");
    let algorithm = if is_rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 };
    let signing_key = KeyPair::generate_for(algorithm).unwrap();
    let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = parameters.self_signed(&signing_key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[suite.version()])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[suite.version()])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (client.enable_secret_extraction, server.enable_secret_extraction) = (true, true);
    (Arc::new(client), Arc::new(server))
}

/// Makes the handshake of `$ours`, an unbuffered connection, with `$peer`; what the peer has sent besides.
macro_rules! handshake {
    ($ours:expr, $peer:expr) => {{
        let (ours, peer) = (&mut $ours, &mut *$peer);
        let (mut incoming, mut outgoing) = (Vec::new(), Vec::new());
        loop {
            let status = ours.process_tls_records(&mut incoming);
            let (discard, state) = (status.discard, status.state.unwrap());
            let waits = match state {
                ConnectionState::EncodeTlsData(mut encoding) => {
                    let mut buffer = vec![0; 1 << 16];
                    let bytes = match encoding.encode(&mut buffer) {
                        Ok(bytes) => bytes,
                        Err(EncodeError::AlreadyEncoded) => 0,
                        Err(error) => panic!("{error}"),
                    };
                    outgoing.extend_from_slice(&buffer[..bytes]);
                    false
                }
                ConnectionState::TransmitTlsData(sending) => {
                    sending.done();
                    false
                }
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => true,
                state => panic!("{state:?}"),
            };
            incoming.drain(..discard);
            if waits {
                let is_done = !ours.is_handshaking();
                deliver(peer, &outgoing);
                outgoing.clear();
                incoming.extend_from_slice(&sent(peer));
                if is_done {
                    break incoming;
                }
            }
        }
    }};
}

/// Gives the peer what was sent to it; the plaintext that it reads.
fn deliver<Data>(
    peer: &mut impl DerefMut<Target = rustls::ConnectionCommon<Data>>,
    mut wire: &[u8],
) -> Vec<u8>
where
    Data: rustls::SideData,
{
    let (mut plaintext, mut buffer) = (Vec::new(), [0; 4096]);
    while !wire.is_empty() {
        peer.read_tls(&mut wire).unwrap();
        peer.process_new_packets().unwrap();
        while let Ok(bytes @ 1..) = peer.reader().read(&mut buffer) {
            plaintext.extend_from_slice(&buffer[..bytes]);
        }
    }
    plaintext
}

/// Takes what the peer sends.
fn sent<Data>(peer: &mut impl DerefMut<Target = rustls::ConnectionCommon<Data>>) -> Vec<u8> {
    let mut wire = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut wire).unwrap();
    }
    wire
}

fn with_secret<T>(secrets: &ConnectionTrafficSecrets, then: impl FnOnce(&Secret<'_>) -> T) -> T {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Cipher::ChaCha20Poly1305, key, iv)
        }
        _ => panic!("a cipher that is not configured"),
    };
    then(&Secret { cipher, key: key.as_ref(), iv: iv.as_ref() })
}

/// Our side of a connection.
struct Ours<Data> {
    version: Version,
    opener: Opener,
    sealer: Sealer,
    messages: Messages,
    kernel: KernelConnection<Data>,
    received: Vec<u8>,
    tickets: Vec<Vec<u8>>,
    notices: Vec<Notice>,
    /// The peer wants our key changed.
    is_update_due: bool,
}

impl<Data> Ours<Data> {
    fn new(
        suite: SupportedCipherSuite,
        peer: Peer,
        (secrets, kernel): (ExtractedSecrets, KernelConnection<Data>),
    ) -> Self {
        let version = version_of(suite);
        let ((receive_from, receive), (send_from, send)) = (secrets.rx, secrets.tx);
        Self {
            version,
            opener: with_secret(&receive, |secret| Opener::new(version, secret, receive_from))
                .unwrap(),
            sealer: with_secret(&send, |secret| Sealer::new(version, secret, send_from)).unwrap(),
            messages: Messages::new(version, peer),
            kernel,
            received: Vec::new(),
            tickets: Vec::new(),
            notices: Vec::new(),
            is_update_due: false,
        }
    }

    fn receive(&mut self, mut wire: Vec<u8>) {
        while !wire.is_empty() {
            let opened = self.opener.open(&mut wire).unwrap();
            let Opened::Record { kind, plaintext, taken } = opened else {
                panic!("rustls sends whole records")
            };
            self.messages.check_order(kind).unwrap();
            let plaintext = &wire[plaintext];
            match kind {
                Kind::ApplicationData => self.received.extend_from_slice(plaintext),
                Kind::Alert => self.notices.push(read_alert(self.version, plaintext).unwrap()),
                Kind::Handshake => {
                    self.messages.push(plaintext).unwrap();
                    while let Some(message) = self.messages.next().unwrap() {
                        match message {
                            Message::NewSessionTicket(ticket) => self.tickets.push(ticket.to_vec()),
                            Message::KeyUpdate(update) => {
                                let (sequence, next) = self.kernel.update_rx_secret().unwrap();
                                assert_eq!(sequence, 0);
                                with_secret(&next, |secret| self.opener.rekey(secret)).unwrap();
                                self.is_update_due |= update == KeyUpdate::Requested;
                            }
                            Message::Renegotiation => panic!("rustls does not renegotiate"),
                        }
                    }
                }
            }
            wire.drain(..taken);
        }
    }

    fn send(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.sealer.seal(Kind::ApplicationData, plaintext, &mut wire).unwrap();
        wire
    }

    fn update_key(&mut self, update: KeyUpdate) -> Vec<u8> {
        let (mut wire, (_, next)) = (Vec::new(), self.kernel.update_tx_secret().unwrap());
        with_secret(&next, |secret| self.sealer.update_key(update, secret, &mut wire)).unwrap();
        wire
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
}

/// Data both ways, of sizes around those of records.
fn exchange<Data, PeerData: rustls::SideData>(
    ours: &mut Ours<Data>,
    peer: &mut impl DerefMut<Target = rustls::ConnectionCommon<PeerData>>,
) {
    for count in [1, 200, 16_383, 16_384, 16_385, 50_000] {
        let plaintext = bytes(count);
        let read = deliver(peer, &ours.send(&plaintext));
        assert!(read == plaintext, "rustls read something else of {count}");
        peer.writer().write_all(&plaintext).unwrap();
        let wire = sent(peer);
        ours.receive(wire);
        assert!(
            std::mem::take(&mut ours.received) == plaintext,
            "we read something else of {count}"
        );
    }
}

/// Everything after the handshake.
fn talk<Data, PeerData: rustls::SideData>(
    ours: &mut Ours<Data>,
    peer: &mut impl DerefMut<Target = rustls::ConnectionCommon<PeerData>>,
) {
    exchange(ours, peer);
    if ours.version == Version::Tls13 {
        // The peer changes its key and asks for ours; then the other way round, three times.
        peer.refresh_traffic_keys().unwrap();
        let wire = sent(peer);
        ours.receive(wire);
        assert!(ours.is_update_due);
        deliver(peer, &ours.update_key(KeyUpdate::NotRequested));
        exchange(ours, peer);
        for _ in 0..3 {
            deliver(peer, &ours.update_key(KeyUpdate::Requested));
            let wire = sent(peer);
            ours.receive(wire);
            exchange(ours, peer);
        }
    }
    peer.send_close_notify();
    let wire = sent(peer);
    ours.receive(wire);
    assert_eq!(ours.notices, [Notice::Closed]);
    let mut wire = Vec::new();
    ours.sealer.alert(Alert::CLOSE_NOTIFY, &mut wire).unwrap();
    deliver(peer, &wire);
    assert_eq!(peer.reader().read(&mut [0]).unwrap(), 0, "not a clean end");
}

/// How many tickets came, and whether the handshake was resumed.
fn client(
    config: &Arc<ClientConfig>,
    suite: SupportedCipherSuite,
    server: &Arc<ServerConfig>,
) -> (usize, bool) {
    let mut peer = ServerConnection::new(Arc::clone(server)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut handshake = UnbufferedClientConnection::new(Arc::clone(config), name).unwrap();
    let wire = handshake!(handshake, &mut peer);
    let made = handshake.dangerous_into_kernel_connection().unwrap();
    let mut ours = Ours::new(suite, Peer::Server, made);
    ours.receive(wire);
    for ticket in &ours.tickets {
        ours.kernel.handle_new_session_ticket(ticket).unwrap();
    }
    talk(&mut ours, &mut peer);
    assert_eq!(ours.kernel.negotiated_cipher_suite(), suite);
    (ours.tickets.len(), peer.handshake_kind() == Some(rustls::HandshakeKind::Resumed))
}

fn server(client: &Arc<ClientConfig>, suite: SupportedCipherSuite, config: &Arc<ServerConfig>) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut peer = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut handshake = UnbufferedServerConnection::new(Arc::clone(config)).unwrap();
    let wire = handshake!(handshake, &mut peer);
    let made = handshake.dangerous_into_kernel_connection().unwrap();
    let mut ours = Ours::new(suite, Peer::Client, made);
    ours.receive(wire);
    talk(&mut ours, &mut peer);
}

#[test]
fn every_suite_talks_with_rustls_on_both_sides() {
    let suites = aws_lc_rs::ALL_CIPHER_SUITES;
    assert_eq!(suites.len(), 9);
    for suite in suites {
        let (client_config, server_config) = configurations(*suite);
        let (tickets, _) = client(&client_config, *suite, &server_config);
        assert_eq!(tickets > 0, version_of(*suite) == Version::Tls13, "{suite:?}");
        server(&client_config, *suite, &server_config);
    }
}

#[test]
fn a_ticket_that_was_read_here_resumes() {
    let suite = aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .find(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256)
        .unwrap();
    let (client_config, server_config) = configurations(*suite);
    assert_eq!(client(&client_config, *suite, &server_config), (2, false));
    assert!(client(&client_config, *suite, &server_config).1, "it was not resumed");
}

//! The keys of an established TLS connection.
//!
//! Owns turning rustls' secrets into those of the record layer, and following them through key updates; leaves records to
//! `tidegate-tls-records`. Invariant: a secret is read once and not kept; what rustls hands over with it is wiped when it drops.

use tidegate_tls::rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use tidegate_tls::rustls::kernel::KernelConnection;
use tidegate_tls::rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use tidegate_tls::rustls::{ConnectionTrafficSecrets, Error, ExtractedSecrets, ProtocolVersion};
use tidegate_tls_records::{Cipher, KeyUpdate, Messages, Opener, Peer, Sealer, Secret, Version};

/// Where further secrets come from.
enum Source {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

/// Both directions' keys.
pub(crate) struct Keys {
    pub(super) opener: Opener,
    pub(super) sealer: Sealer,
    pub(super) messages: Messages,
    pub(super) source: Next,
}

/// The secrets after the present ones.
pub(super) struct Next(Source);

impl Keys {
    pub(super) fn of_server(connection: UnbufferedServerConnection) -> Result<Keys, String> {
        let (secrets, kernel) =
            connection.dangerous_into_kernel_connection().map_err(|error| error.to_string())?;
        Keys::new(&secrets, Next(Source::Server(kernel)))
    }

    pub(super) fn of_client(connection: UnbufferedClientConnection) -> Result<Keys, String> {
        let (secrets, kernel) =
            connection.dangerous_into_kernel_connection().map_err(|error| error.to_string())?;
        Keys::new(&secrets, Next(Source::Client(kernel)))
    }

    fn new(secrets: &ExtractedSecrets, source: Next) -> Result<Keys, String> {
        let version = source.version();
        let peer = match source.0 {
            Source::Server(_) => Peer::Client,
            Source::Client(_) => Peer::Server,
        };
        let (rx, tx) = (&secrets.rx, &secrets.tx);
        let opener = with_secret(&rx.1, |secret| Opener::new(version, secret, rx.0))?;
        let sealer = with_secret(&tx.1, |secret| Sealer::new(version, secret, tx.0))?;
        Ok(Keys {
            opener: opener.map_err(|error| error.to_string())?,
            sealer: sealer.map_err(|error| error.to_string())?,
            messages: Messages::new(version, peer),
            source,
        })
    }

    /// Seals the peer's further records with the next key, which `out` announces.
    pub(super) fn update_sealer(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let (_, secrets) = self.source.update(Direction::Sending).map_err(|e| e.to_string())?;
        let sealer = &mut self.sealer;
        with_secret(&secrets, |secret| sealer.update_key(KeyUpdate::NotRequested, secret, out))?
            .map_err(|error| error.to_string())
    }
}

pub(super) enum Direction {
    Sending,
    Receiving,
}

impl Next {
    fn version(&self) -> Version {
        let version = match &self.0 {
            Source::Server(kernel) => kernel.protocol_version(),
            Source::Client(kernel) => kernel.protocol_version(),
        };
        if version == ProtocolVersion::TLSv1_3 { Version::Tls13 } else { Version::Tls12 }
    }

    fn update(&mut self, direction: Direction) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match (&mut self.0, direction) {
            (Source::Server(kernel), Direction::Sending) => kernel.update_tx_secret(),
            (Source::Server(kernel), Direction::Receiving) => kernel.update_rx_secret(),
            (Source::Client(kernel), Direction::Sending) => kernel.update_tx_secret(),
            (Source::Client(kernel), Direction::Receiving) => kernel.update_rx_secret(),
        }
    }

    /// The peer's next key.
    pub(super) fn update_opener(&mut self, opener: &mut Opener) -> Result<(), String> {
        let (_, secrets) = self.update(Direction::Receiving).map_err(|error| error.to_string())?;
        with_secret(&secrets, |secret| opener.rekey(secret))?.map_err(|error| error.to_string())
    }

    /// Keeps a server's ticket for a later connection. One that cannot be read is passed over: it is the server's offer.
    pub(super) fn keep_ticket(&mut self, ticket: &[u8]) {
        if let Source::Client(kernel) = &mut self.0 {
            let _ = kernel.handle_new_session_ticket(ticket);
        }
    }
}

fn with_secret<T>(
    secrets: &ConnectionTrafficSecrets,
    take: impl FnOnce(&Secret<'_>) -> T,
) -> Result<T, String> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Cipher::ChaCha20Poly1305, key, iv)
        }
        _ => return Err("a cipher that the record layer does not know".to_owned()),
    };
    Ok(take(&Secret { cipher, key: key.as_ref(), iv: iv.as_ref() }))
}

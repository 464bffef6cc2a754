//! Makes both sides of TLS from their settings.
//!
//! Owns what all of one configuration share: the system's authorities, read at most once, and the key log. Invariant: what it
//! gives back works as it stands.

use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;

use crate::client::{ClientSettings, ClientTls};
use crate::key_log::KeyLog;
use crate::problem::{Fault, Problem};
use crate::server::{ServerSettings, ServerTls};

/// Makes both sides of TLS from their settings.
#[derive(Debug, Default)]
pub struct Loader {
    system: OnceLock<Result<Arc<RootCertStore>, Fault>>,
    pub(crate) key_log: Option<Arc<KeyLog>>,
}

impl Loader {
    /// One for a configuration; what it makes writes its secrets into `key_log`, once that is open.
    #[must_use]
    pub fn new(key_log: Option<Arc<KeyLog>>) -> Self {
        Self { system: OnceLock::new(), key_log }
    }

    /// What a bind works with; reads and checks all files. Warnings are appended to `warnings`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn server(
        &self,
        settings: ServerSettings,
        warnings: &mut Vec<Problem>,
    ) -> Result<ServerTls, Vec<Problem>> {
        ServerTls::load(settings, self, warnings)
    }

    /// What a backend works with; reads and checks all files. Warnings are appended to `warnings`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn client(
        &self,
        settings: ClientSettings,
        warnings: &mut Vec<Problem>,
    ) -> Result<ClientTls, Vec<Problem>> {
        ClientTls::load(settings, self, warnings)
    }

    /// The authorities that the system believes.
    pub(crate) fn system(&self) -> Result<Arc<RootCertStore>, Fault> {
        self.system.get_or_init(read_system).clone()
    }
}

fn read_system() -> Result<Arc<RootCertStore>, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or("none are installed".to_owned(), ToString::to_string);
        return Err(Fault::NoSystemStore(why));
    }
    Ok(Arc::new(roots))
}

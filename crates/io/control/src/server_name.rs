//! The names that servers have to prove with TLS.
//!
//! Owns the choice; leaves verifying to `tidegate-tls`. Invariant: requests and checks of a server ask for the same name.

use tidegate_config::ServerAddress;
use tidegate_tls::ClientTls;
use tidegate_tls::rustls::pki_types::ServerName;

/// The name that a server is asked for and has to prove: that of its backend, or the address by which it was configured.
pub(crate) fn tls_name(tls: &ClientTls, address: &ServerAddress) -> Option<ServerName<'static>> {
    tls.settings().server_name.clone().or(match address {
        ServerAddress::Tcp(socket) => Some(ServerName::IpAddress(socket.ip().into())),
        // The configuration refuses a socket without a name.
        ServerAddress::Unix(_) => None,
        ServerAddress::Name { name, .. } => {
            // Of a service's record it is the domain that has to be proved, not the name that the record leads to, which anybody
            // could have put there (RFC 6125 §6.2.1).
            let name = name.to_string();
            let labels = name.trim_end_matches('.').split('.');
            let domain: Vec<&str> = labels.skip_while(|label| label.starts_with('_')).collect();
            ServerName::try_from(domain.join(".")).ok()
        }
    })
}

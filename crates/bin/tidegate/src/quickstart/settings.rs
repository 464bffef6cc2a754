//! The configuration that quickstart writes and runs.
//!
//! Owns its text, its port and the file's life; leaves its meaning to `tidegate_config`. Invariant:
//! the text is a complete configuration, short enough to be read as the first example.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use super::demo::{self, Server};
use super::display;

/// The port to listen on when the user names none.
const PORT: u16 = 8080;

/// The port to listen on: the one asked for, or else the default, or else 0 when that is taken.
///
/// # Errors
/// Loopback addresses cannot be listened on at all.
pub(super) fn choose_port(asked: Option<u16>) -> io::Result<u16> {
    match asked {
        Some(port) => Ok(port),
        None => free_or_any(PORT),
    }
}

/// `port` when it is free now, or else 0: the kernel chooses.
fn free_or_any(port: u16) -> io::Result<u16> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(0),
        Err(error) => Err(error),
    }
}

/// What to say when the port is not the default one although no other was asked for.
pub(super) fn notice(asked: Option<u16>, chosen: u16) -> Option<String> {
    let taken = asked.is_none() && chosen != PORT;
    taken.then(|| format!("Port {PORT} is taken by another program; here is a free one.\n"))
}

/// The configuration: one frontend on `port`, one backend with these servers.
pub(super) fn configuration(port: u16, servers: &[Server]) -> String {
    let chosen = if port == 0 { "    # port 0: the kernel chooses one" } else { "" };
    let connections = display::grouped(demo::CONNECTIONS_MAX).replace(',', "_");
    let mut text = format!(
        "\
# Clients at once; the next one waits in the listen queue.
[global]
max_connections = {connections}

# Metrics and health of the balancer itself, on a port that the kernel chooses.
[admin]
bind = [\"127.0.0.1:0\"]

# Where clients connect.
[frontends.web]
bind = [\"127.0.0.1:{port}\"]{chosen}
default_backend = \"demo\"

# Who answers them, in turn. For a share of 3 in 5: app1 = {{ address = \"…\", weight = 3 }}
[backends.demo]
balance = \"round_robin\"

[backends.demo.servers]
"
    );
    for server in servers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} = \"{}\"", server.name, server.address);
    }
    text
}

/// A configuration file that lives as long as this.
pub(super) struct ConfigFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What was written to it.
    pub(super) text: String,
}

impl ConfigFile {
    /// Writes `text` to a new file of this process among the temporary files.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn create(text: &str) -> io::Result<ConfigFile> {
        let name = format!("tidegate-quickstart-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
        };
        let mut file = match File::create_new(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Left by a process of the same number that was killed. Never written through: it
                // may be a link that somebody else has put there.
                fs::remove_file(&path).and_then(|()| File::create_new(&path)).map_err(named)?
            }
            other => other.map_err(named)?,
        };
        file.write_all(text.as_bytes()).map_err(named)?;
        Ok(ConfigFile { path, text: text.to_owned() })
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        // The user may have removed it already.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tidegate_config::{BindAddress, ServerAddress};

    use super::*;

    fn servers() -> Vec<Server> {
        ["app1", "app2"].iter().map(|name| Server::start(name, 0).expect("loopback")).collect()
    }

    #[test]
    fn the_configuration_is_complete_without_warnings_and_names_every_server() {
        let servers = servers();
        for port in [0, 8080] {
            let text = configuration(port, &servers);
            let config = tidegate_config::parse("q.toml", &text).expect("a complete file");
            assert_eq!(config.warnings, []);
            let bind = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            assert_eq!(config.frontends[0].binds[0].address, BindAddress::Tcp(bind));
            assert_eq!(&*config.frontends[0].name, super::super::metrics::FRONTEND);
            assert_eq!(&*config.backends[0].name, super::super::metrics::BACKEND);
            let found: Vec<_> = config.backends[0].servers.iter().map(|s| &s.address).collect();
            let started: Vec<_> = servers.iter().map(|s| ServerAddress::Tcp(s.address)).collect();
            assert_eq!(found, started.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_taken_port_is_replaced_and_a_free_one_is_kept() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        assert_eq!(free_or_any(port).expect("loopback"), 0);
        assert_eq!(choose_port(Some(port)).expect("no check"), port);
        drop(taken);
        assert_eq!(free_or_any(port).expect("loopback"), port);
    }

    #[test]
    fn only_a_default_that_is_taken_is_worth_a_notice() {
        assert_eq!(notice(None, PORT), None);
        assert_eq!(notice(Some(0), 0), None);
        assert_eq!(notice(Some(9000), 9000), None);
        assert!(notice(None, 0).expect("a notice").contains("8080"));
    }

    #[test]
    fn the_file_holds_the_text_replaces_a_stale_one_and_goes_with_its_owner() {
        let first = ConfigFile::create("one").expect("writable");
        let second = ConfigFile::create("two").expect("the first is stale");
        assert_eq!(first.path, second.path);
        assert_eq!(fs::read_to_string(&second.path).expect("readable"), "two");
        let path = second.path.clone();
        drop(second);
        assert!(!path.exists());
        drop(first);
    }
}

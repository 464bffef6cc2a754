//! Owns Pebble as a real authority that gives out certificates (ACME), on ports of the system's choice, with a name server of
//! its own.
//!
//! Leaves who asks for certificates to the tests. Invariant: it believes nothing that it has not looked at, all names are
//! 127.0.0.1 to it, and it ends with its owner.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::process::Command;

use crate::certificates::Authority;
use crate::name_server::NameServer;
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::tools::{curl_ok, require_tool};

/// How often ports are looked for that nobody takes before Pebble does.
const TRIES: usize = 20;

/// How an authority is to be.
#[derive(Clone)]
#[must_use]
pub struct PebbleBuilder {
    http_port: u16,
    tls_port: u16,
    validity_seconds: u64,
    external_account: Option<(String, String)>,
    environment: Vec<(String, String)>,
}

impl PebbleBuilder {
    /// Its certificates are valid for so long.
    pub fn valid_for(mut self, seconds: u64) -> Self {
        self.validity_seconds = seconds;
        self
    }

    /// It wants accounts to name another one, by this key (base64url).
    pub fn wants_external_account(mut self, key_id: &str, hmac_key: &str) -> Self {
        self.external_account = Some((key_id.to_owned(), hmac_key.to_owned()));
        self
    }

    /// Sets one of its variables, such as `PEBBLE_WFE_NONCEREJECT`, the percentage of good nonces that it refuses (0 here).
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When Pebble is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Pebble {
        let authority = Authority::new("Authority of an authority");
        let directory = TempDir::new();
        let own = authority.sign(&["localhost"]);
        directory.write("chain.pem", &own.chain);
        directory.write("key.pem", &own.key);
        let names = NameServer::start();
        for _ in 0..TRIES {
            let ports = [free_port(), free_port()];
            if let Some(process) = self.spawn(&directory, &names, ports) {
                return Pebble { builder: self, process, directory, names, authority, ports };
            }
        }
        panic!("Pebble found no ports in {TRIES} tries")
    }

    #[track_caller]
    fn spawn(
        &self,
        directory: &TempDir,
        names: &NameServer,
        [port, management]: [u16; 2],
    ) -> Option<Process> {
        let file = |name: &str| directory.file(name).display().to_string();
        let mut config = format!(
            "{{ \"pebble\": {{ \"listenAddress\": \"127.0.0.1:{port}\",\
             \"managementListenAddress\": \"127.0.0.1:{management}\",\
             \"certificate\": \"{}\", \"privateKey\": \"{}\",\
             \"httpPort\": {}, \"tlsPort\": {}, \"certificateValidityPeriod\": {},\
             \"ocspResponderURL\": \"\", \"externalAccountBindingRequired\": {}",
            file("chain.pem"),
            file("key.pem"),
            self.http_port,
            self.tls_port,
            self.validity_seconds,
            self.external_account.is_some(),
        );
        if let Some((key_id, hmac_key)) = &self.external_account {
            write!(config, ", \"externalAccountMACKeys\": {{ \"{key_id}\": \"{hmac_key}\" }}")
                .expect("a String takes everything");
        }
        config += " } }\n";
        let mut command = Command::new(require_tool("pebble"));
        command.arg("-config").arg(directory.write("pebble.json", config));
        command.arg("-dnsserver").arg(names.address().to_string());
        command.env("PEBBLE_WFE_NONCEREJECT", "0").env("PEBBLE_VA_NOSLEEP", "1");
        command.env("PEBBLE_AUTHZREUSE", "0");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::spawn("pebble", command);
        let line = process.wait_line(|line| {
            line.text.contains("ACME directory available") || line.text.contains("already in use")
        });
        (!line.text.contains("already in use")).then_some(process)
    }
}

/// A running Pebble.
pub struct Pebble {
    builder: PebbleBuilder,
    process: Process,
    directory: TempDir,
    names: NameServer,
    authority: Authority,
    /// Those of the protocol and of its management.
    ports: [u16; 2],
}

impl Pebble {
    /// Begins one that looks at domains at these ports.
    pub fn looking_at(http_port: u16, tls_port: u16) -> PebbleBuilder {
        PebbleBuilder {
            http_port,
            tls_port,
            validity_seconds: 90 * 86_400,
            external_account: None,
            environment: Vec::new(),
        }
    }

    /// Lets a name exist.
    pub fn knows(&self, name: &str) {
        self.names.set_addresses(name, 0, [1]);
    }

    /// The URL of its directory.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.ports[0])
    }

    /// Whom its own server is believed from, in PEM.
    #[must_use]
    pub fn server_authority(&self) -> &str {
        self.authority.pem()
    }

    /// Whom the certificates that it gives out are believed from, in PEM; another one after each start.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    #[track_caller]
    pub fn root(&self) -> String {
        let ca = self.directory.write("server.pem", self.authority.pem()).display().to_string();
        let url = format!("https://localhost:{}/roots/0", self.ports[1]);
        curl_ok(&["--cacert", &ca, &url])
    }

    /// Ends it: nothing listens at its port.
    #[track_caller]
    pub fn stop(&mut self) {
        self.process.signal(crate::Signal::KILL);
        self.process.wait_exit(crate::Deadline::default());
    }

    /// Starts it again at the same ports; it remembers nothing.
    ///
    /// # Panics
    /// When somebody else has taken the ports.
    #[track_caller]
    pub fn start_again(&mut self) {
        let started = self.builder.spawn(&self.directory, &self.names, self.ports);
        self.process = started.expect("its ports are still free");
    }

    /// Lines of its log with this text in them.
    #[must_use]
    pub fn lines_count(&self, text: &str) -> usize {
        self.process.lines().iter().filter(|line| line.text.contains(text)).count()
    }
}

/// A port that is free now, and was given to nobody for a while.
fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    probe.local_addr().expect("a bound socket has an address").port()
}

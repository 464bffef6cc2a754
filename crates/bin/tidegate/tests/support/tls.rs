//! Owns what the tests of TLS share: the program with certificates in its directory, and clients that believe them.
//!
//! Leaves behaviour to the tests. Invariant: each test has an authority of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Command;
use tidegate_testkit::{
    Authority, Builder, Client, Deadline, Exit, LogLine, Process, Tidegate, TlsClient,
    TlsClientBuilder, site, tools,
};

/// The name in the certificate that every test has.
pub const NAME: &str = "a.example";

/// The program that is not started yet, with `ca.pem` and a certificate for [`NAME`], `site.pem`, beside its configuration.
pub struct Ground {
    pub authority: Authority,
    pub builder: Builder,
}

impl Ground {
    pub fn new() -> Self {
        let builder = Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"));
        let ground = Self { authority: Authority::new("Authority of tests"), builder };
        ground.write("ca.pem", ground.authority.pem());
        ground.write("site.pem", ground.authority.sign(&[NAME]).both());
        ground
    }

    /// Writes a file beside the configuration.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        put(self.builder.directory(), name, content)
    }

    /// Starts it in front of these servers. `tls` is keys of the bind's table; `more` is further lines.
    #[track_caller]
    pub fn start<A: Display>(
        self,
        shards: usize,
        servers: impl IntoIterator<Item = A>,
        tls: &str,
        more: &str,
    ) -> World {
        self.start_on(&tls_site(shards, servers, tls, more))
    }

    /// Starts it on this configuration.
    #[track_caller]
    pub fn start_on(self, config: &str) -> World {
        World { authority: self.authority, tidegate: self.builder.start(config) }
    }
}

/// A configuration whose frontend `web` speaks TLS. Without `certificates` among the keys it shows `site.pem`.
pub fn tls_site<A: Display>(
    shards: usize,
    servers: impl IntoIterator<Item = A>,
    tls: &str,
    more: &str,
) -> String {
    let comma = if tls.is_empty() { "" } else { ", " };
    let own = if tls.contains("certificates") {
        String::new()
    } else {
        format!("certificates = [\"site.pem\"]{comma}")
    };
    let plain = site(shards, servers);
    let bind = format!("[{{ address = \"127.0.0.1:0\", tls = {{ {own}{tls} }} }}]");
    plain.replace("frontends.web.bind = [\"127.0.0.1:0\"]", &format!("frontends.web.bind = {bind}"))
        + more
        + "\n"
}

/// Puts a file in its place at once, as whoever renews certificates does.
pub fn put(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let (path, beside) = (directory.join(name), directory.join(format!("{name}.new")));
    std::fs::write(&beside, content).expect("the test's directory takes files");
    std::fs::rename(&beside, &path).expect("both are in one directory");
    path
}

/// The running program.
pub struct World {
    pub authority: Authority,
    pub tidegate: Tidegate,
}

impl World {
    /// A client that asks for [`NAME`].
    pub fn client(&self) -> TlsClientBuilder {
        TlsClient::builder(&self.authority, NAME)
    }

    /// A connection of a client with nothing special.
    #[track_caller]
    pub fn connect(&self) -> Client {
        self.connect_as(&self.client().build())
    }

    #[track_caller]
    pub fn connect_as(&self, tls: &TlsClient) -> Client {
        Client::connect_tls(self.tidegate.address("web"), tls)
    }

    /// Why this client gets no connection, or none that answers.
    #[track_caller]
    pub fn refusal(&self, tls: &TlsClient) -> String {
        let mut client = match Client::try_connect_tls(self.tidegate.address("web"), tls) {
            Err(error) => return error.to_string(),
            Ok(client) => client,
        };
        // In TLS 1.3 the client is done before its certificate is looked at.
        let sent = client.try_send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
        match sent.and_then(|()| client.try_read_response_to("GET")) {
            Err(error) => error.to_string(),
            Ok(response) => panic!("it was answered with {}", response.status),
        }
    }

    /// Waits for the line about a handshake that failed for this reason.
    #[track_caller]
    pub fn wait_failed(&self, reason: &str) -> LogLine {
        self.tidegate.wait_log(|line| {
            line.is_event("tls_handshake_failed") && line.field("reason").as_deref() == Some(reason)
        })
    }

    /// What curl prints for a path, asked for with these arguments.
    #[track_caller]
    pub fn curl(&self, path: &str, arguments: &[&str]) -> String {
        let address = self.tidegate.address("web");
        let ca = self.tidegate.directory().join("ca.pem").display().to_string();
        let resolve = format!("{NAME}:{}:127.0.0.1", address.port());
        let url = format!("https://{NAME}:{}{path}", address.port());
        tools::curl_ok(&[&["--cacert", &ca, "--resolve", &resolve], arguments, &[&url]].concat())
    }

    /// Runs `openssl s_client` with these arguments, and with the output of this script of a shell as its input.
    #[track_caller]
    pub fn s_client(&self, input: &str, arguments: &[&str]) -> Exit {
        let openssl = tools::require_tool("openssl");
        let ca = self.tidegate.directory().join("ca.pem");
        let script = format!(
            "{{ {input}; }} | {} s_client -connect {} -servername {NAME} -CAfile {} {} 2>&1",
            openssl.display(),
            self.tidegate.address("web"),
            ca.display(),
            arguments.join(" "),
        );
        let mut command = Command::new("bash");
        command.arg("-c").arg(script);
        Process::spawn("openssl", command).into_exit(Deadline::default())
    }
}

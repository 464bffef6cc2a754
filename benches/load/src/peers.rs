//! The proxies under test and their configurations: one core each, connections to the
//! origin kept, production-like limits and time-outs, the same for all. Owns the configuration
//! texts; starting is `process`, measuring the runner.
//!
//! Invariant: every setting that could slow a peer down against its maker's advice is absent, and
//! every one its makers recommend for this job is present.

mod rules;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::process::Launch;
use crate::scenario::Setup;

/// Connections a proxy must hold: 6,000 idle ones, their servers' and room, below the usual
/// descriptor limit of 20,000 (HAProxy reckons two descriptors for each).
const CONNECTIONS_MAX: u32 = 9_000;

/// A program under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// The load balancer of this repository, at a path.
    Tidegate(PathBuf),
    /// Debian's HAProxy.
    Haproxy,
    /// Debian's nginx.
    Nginx,
    /// A plain baseline, called as `PATH LISTEN ORIGIN CPU`.
    Spike(PathBuf),
}

impl Proxy {
    /// The name in tables and files.
    pub fn name(&self) -> String {
        match self {
            Self::Tidegate(_) => "tidegate".into(),
            Self::Haproxy => "haproxy".into(),
            Self::Nginx => "nginx".into(),
            Self::Spike(path) => path
                .file_stem()
                .map_or_else(|| "spike".into(), |stem| stem.to_string_lossy().into_owned()),
        }
    }

    /// Writes the configuration into `directory` and says how to start the program.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn launch(
        &self,
        listen: SocketAddr,
        origin: SocketAddr,
        cpus: &[usize],
        setup: Setup,
        directory: &Path,
    ) -> io::Result<Launch> {
        let name = self.name();
        let file = |extension: &str| directory.join(format!("{name}.{extension}"));
        let (program, arguments): (PathBuf, Vec<OsString>) = match self {
            Self::Tidegate(path) => {
                let config = file("toml");
                std::fs::write(&config, tidegate_toml(listen, origin, cpus, setup, directory))?;
                (path.clone(), vec!["run".into(), "-c".into(), config.into()])
            }
            Self::Haproxy => {
                let config = file("cfg");
                std::fs::write(&config, haproxy_cfg(listen, origin, setup, directory))?;
                ("haproxy".into(), vec!["-db".into(), "-q".into(), "-f".into(), config.into()])
            }
            Self::Nginx => {
                let config = file("conf");
                std::fs::write(&config, nginx_conf(listen, origin, setup, directory))?;
                let prefix = directory.into();
                ("nginx".into(), vec!["-p".into(), prefix, "-c".into(), config.into()])
            }
            Self::Spike(path) => {
                let cpu = cpus.first().copied().unwrap_or(0);
                let arguments = [listen.to_string(), origin.to_string(), cpu.to_string()];
                (path.clone(), arguments.map(OsString::from).into())
            }
        };
        Ok(Launch { log: file("log"), name, program, arguments, cpus: cpus.to_vec() })
    }
}

fn tidegate_toml(
    listen: SocketAddr,
    origin: SocketAddr,
    cpus: &[usize],
    setup: Setup,
    directory: &Path,
) -> String {
    let default = match setup {
        Setup::Plain | Setup::Logged => "default_backend = \"app\"\n".to_owned(),
        Setup::Rules => rules::tidegate(origin),
    };
    let log = match setup {
        Setup::Plain | Setup::Rules => String::new(),
        Setup::Logged => {
            let file = directory.join("tidegate-access.log");
            format!("\n[global.log]\nto = \"{}\"\n", file.display())
        }
    };
    format!(
        r#"[global]
cores = {cpus:?}
max_connections = {CONNECTIONS_MAX}

[defaults.timeouts]
connect = "5s"
client = "60s"
server = "60s"

[frontends.web]
bind = ["{listen}"]
{default}
[backends.app.servers]
app1 = "{origin}"
{log}"#
    )
}

/// Where HAProxy's log goes: a syslog daemon has to listen there.
pub fn syslog_socket(directory: &Path) -> PathBuf {
    directory.join("syslog.sock")
}

/// `nbthread 1` with the process pinned from outside; `http-reuse always` shares the connections
/// to the server among all clients, as a proxy in front of one's own servers does.
fn haproxy_cfg(listen: SocketAddr, origin: SocketAddr, setup: Setup, directory: &Path) -> String {
    let (target, logs) = match setup {
        Setup::Plain | Setup::Rules => (String::new(), "no log"),
        Setup::Logged => {
            let socket = syslog_socket(directory);
            (format!("\n    log {} local0", socket.display()), "log global\n    option httplog")
        }
    };
    let (default, others) = match setup {
        Setup::Plain | Setup::Logged => ("    default_backend app\n".to_owned(), String::new()),
        Setup::Rules => {
            (rules::haproxy(), format!("\nbackend other\n    server other1 {origin}\n"))
        }
    };
    format!(
        "global
    nbthread 1
    maxconn {CONNECTIONS_MAX}{target}

defaults
    mode http
    {logs}
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s

frontend web
    bind {listen}
{default}
backend app
    balance roundrobin
    server app1 {origin}
{others}"
    )
}

/// One worker beside the master; `keepalive` large enough that no connection to the server is
/// closed for want of a place. Temporary files of buffered responses stay in the directory.
fn nginx_conf(listen: SocketAddr, origin: SocketAddr, setup: Setup, directory: &Path) -> String {
    let directory = directory.display();
    let access_log = match setup {
        Setup::Plain | Setup::Rules => "off".to_owned(),
        Setup::Logged => format!("{directory}/nginx-access.log combined"),
    };
    format!(
        r#"user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr error;

events {{
    use epoll;
    worker_connections 18000;
    multi_accept on;
    accept_mutex off;
}}

http {{
    access_log {access_log};
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 60s;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/nginx-client;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;

    upstream app {{
        server {origin};
        keepalive 2048;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}

    server {{
        listen {listen} reuseport backlog=4096;
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 5s;
            proxy_read_timeout 60s;
            proxy_send_timeout 60s;
        }}
    }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_name_both_addresses_and_the_cores() {
        let listen: SocketAddr = ([127, 0, 0, 1], 1001).into();
        let origin: SocketAddr = ([127, 0, 0, 1], 2002).into();
        let directory = Path::new("/somewhere");
        let texts = |setup| {
            [
                tidegate_toml(listen, origin, &[0, 1], setup, directory),
                haproxy_cfg(listen, origin, setup, directory),
                nginx_conf(listen, origin, setup, directory),
            ]
        };
        let (logging, texts) = (texts(Setup::Logged), texts(Setup::Plain));
        let logs = ["tidegate-access.log", "syslog.sock local0", "nginx-access.log combined;"];
        for (text, log) in logging.iter().zip(logs) {
            assert!(text.contains(&format!("/somewhere/{log}")), "{text}");
        }
        for text in &texts {
            assert!(text.contains("127.0.0.1:1001") && text.contains("127.0.0.1:2002"), "{text}");
        }
        assert!(texts[0].contains("cores = [0, 1]"));
        assert!(!texts[2].contains("{{") && texts[2].matches('{').count() == 5);
    }

    #[test]
    fn spikes_are_named_after_their_file() {
        assert_eq!(Proxy::Spike("/a/hproxy".into()).name(), "hproxy");
    }
}

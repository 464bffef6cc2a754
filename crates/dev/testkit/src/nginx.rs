//! Owns nginx as a real origin server, on a port of the system's choice.
//!
//! Leaves what it serves to the caller. Invariant: it inherits a socket that listens already, so
//! there is neither a port to race for nor a start-up to wait for.

use crate::deadline::Deadline;
use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::tools::require_tool;
use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A running nginx with one server block.
pub struct Nginx {
    process: Process,
    worker: Pid,
    directory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Starts nginx with `server`: directives for the inside of its one `server` block, such as
    /// `location / { return 200 "hello\n"; }`. Files are served from [`Nginx::write_file`].
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start(server: &str) -> Self {
        let program = require_tool("nginx");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::start_on(&listener, program, "", server)
    }

    /// As [`Nginx::start`], speaking TLS with the certificate and key of these files.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start_tls(server: &str, chain: &Path, key: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::start_on(&listener, require_tool("nginx"), " ssl", &showing(chain, key, server))
    }

    /// As [`Nginx::start`], speaking HTTP/2 in the clear.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start_http2(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::start_on(&listener, require_tool("nginx"), " http2", server)
    }

    /// As [`Nginx::start_tls`], with HTTP/2 as well.
    ///
    /// # Panics
    /// When nginx is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start_tls_http2(server: &str, chain: &Path, key: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Self::start_on(&listener, require_tool("nginx"), " ssl http2", &showing(chain, key, server))
    }

    /// As [`Nginx::start`], at an address where one ran before.
    ///
    /// # Panics
    /// When nginx is not installed, does not start, or the address is in use.
    #[must_use]
    #[track_caller]
    pub fn start_again(address: SocketAddr, server: &str) -> Self {
        let listener = TcpListener::bind(address).expect("nobody took the port");
        Self::start_on(&listener, require_tool("nginx"), "", server)
    }

    #[track_caller]
    fn start_on(listener: &TcpListener, program: PathBuf, tls: &str, server: &str) -> Self {
        let address = listener.local_addr().expect("a bound socket has an address");
        let directory = TempDir::new();
        directory.write("html/index.html", "index\n");
        let config = directory.write("nginx.conf", config(directory.path(), address, tls, server));
        let mut command = Command::new(program);
        // nginx takes the listening sockets named in NGINX from its predecessor in an upgrade; here
        // that is the test.
        command.arg("-c").arg(config).arg("-p").arg(directory.path()).env("NGINX", "3;");
        command.arg("-e").arg("stderr");
        let process = Process::spawn_with_listeners("nginx", command, &[listener]);
        let marker = "start worker process ";
        let line = process.wait_line(|line| line.text.contains(marker));
        let id = line.text.split(marker).nth(1).and_then(|id| id.trim().parse().ok());
        let worker = id.and_then(Pid::from_raw).expect("nginx says the id of its worker");
        Self { process, worker, directory, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops its worker as a debugger would (SIGSTOP): the kernel goes on taking connections that nobody serves.
    ///
    /// # Panics
    /// When the worker is gone.
    pub fn pause(&self) {
        kill_process(self.worker, Signal::STOP).expect("the worker runs");
    }

    /// Ends [`Nginx::pause`].
    ///
    /// # Panics
    /// When the worker is gone.
    pub fn resume(&self) {
        kill_process(self.worker, Signal::CONT).expect("the worker is there");
    }

    /// Writes a file that it serves under `/name`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_file(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.directory.write(&format!("html/{name}"), contents);
    }

    /// The lines of its access log so far, written as `method uri protocol status connection
    /// requests`.
    #[must_use]
    pub fn access_log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.file("access.log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with the master only when that is asked to stop, not when it is killed.
        self.process.signal(Signal::TERM);
        self.process.try_wait_exit(Deadline::after(Duration::from_secs(5)));
    }
}

fn config(directory: &Path, address: SocketAddr, tls: &str, server: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr notice;
# The directory belongs to whoever runs the tests; root's workers would otherwise be nobody and not read it.
user root;
events {{ worker_connections 4096; }}
http {{
    log_format short '$request_method $request_uri $server_protocol $status $connection $connection_requests';
    access_log {directory}/access.log short;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    server {{
        listen {address}{tls};
        root {directory}/html;
        {server}
    }}
}}
"
    )
}

/// The directives of a server that shows this certificate.
fn showing(chain: &Path, key: &Path, server: &str) -> String {
    let (chain, key) = (chain.display(), key.display());
    format!("ssl_certificate {chain};\nssl_certificate_key {key};\n{server}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    #[test]
    fn serves_locations_and_files_and_logs_requests() {
        let nginx = Nginx::start("location /hello { return 200 'hello'; }");
        nginx.write_file("large", vec![b'x'; 100_000]);
        let mut client = Client::connect(nginx.address());
        assert_eq!(client.get("/hello").text(), "hello");
        assert_eq!(client.get("/large").body.len(), 100_000);
        assert_eq!(client.get("/none").status, 404);
        // nginx logs a request when it is done with it, after the last byte was sent: ask again on
        // the same connection.
        client.get("/hello");
        let log = nginx.access_log();
        assert!(log[0].starts_with("GET /hello HTTP/1.1 200"), "{log:?}");
        assert!(log[1].starts_with("GET /large HTTP/1.1 200"), "{log:?}");
    }

    #[test]
    fn several_run_side_by_side_and_stop_with_their_owner() {
        let servers = [Nginx::start(""), Nginx::start("")];
        let addresses = servers.each_ref().map(Nginx::address);
        for address in addresses {
            assert_eq!(Client::connect(address).get("/").text(), "index\n");
        }
        drop(servers);
        for address in addresses {
            assert!(Client::try_connect(address).is_err(), "{address} still listens");
        }
    }
}

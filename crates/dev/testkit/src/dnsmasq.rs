//! Owns dnsmasq as a real name server, on a port of the system's choice.
//!
//! Leaves what it knows to the caller. Invariant: it asks nobody else, and ends with its owner.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;

use rustix::process::Signal;

use crate::process::Process;
use crate::temp_dir::TempDir;
use crate::tools::require_tool;

/// How often a port is looked for that nobody takes before dnsmasq does.
const TRIES: usize = 20;

/// A running dnsmasq.
pub struct Dnsmasq {
    process: Process,
    directory: TempDir,
    address: SocketAddr,
}

impl Dnsmasq {
    /// Starts it with further options, such as `--srv-host=_http._tcp.app.test,one.test,8080,1,10`. Its records have a TTL of a second.
    ///
    /// # Panics
    /// When dnsmasq is not installed or does not start.
    #[must_use]
    #[track_caller]
    pub fn start(options: &[&str]) -> Self {
        let program = require_tool("dnsmasq");
        for _ in 0..TRIES {
            let directory = TempDir::new();
            let hosts = directory.write("hosts", "");
            // dnsmasq cannot be given a socket: the port is free now, and was given to nobody for a while.
            let probe = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
            let address = probe.local_addr().expect("a bound socket has an address");
            let Ok(listener) = TcpListener::bind(address) else { continue };
            drop((probe, listener));
            let mut command = Command::new(&program);
            command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-"]);
            command.args(["--no-resolv", "--no-hosts", "--bind-interfaces", "--user=", "--group="]);
            command.args(["--listen-address=127.0.0.1", "--local-ttl=1", "--local=/test/"]);
            command.args(["--pid-file", "--log-queries"]);
            command.arg(format!("--port={}", address.port()));
            command.arg(format!("--addn-hosts={}", hosts.display())).args(options);
            let process = Process::spawn("dnsmasq", command);
            let line = process
                .wait_line(|line| line.text.contains("read ") || line.text.contains("failed to "));
            if line.text.contains("read ") {
                return Self { process, directory, address };
            }
        }
        panic!("dnsmasq found no port in {TRIES} tries")
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets all names with their addresses, and returns when it knows them.
    ///
    /// # Panics
    /// When it is gone.
    #[track_caller]
    pub fn set<'n>(&self, hosts: impl IntoIterator<Item = (&'n str, &'n str)>) {
        let mut text = String::new();
        for (name, address) in hosts {
            writeln!(text, "{address} {name}").expect("a String takes everything");
        }
        self.directory.write("hosts", text);
        let mark = self.process.lines_count();
        self.process.signal(Signal::HUP);
        self.process.wait_line_after(mark, |line| line.text.contains("read "));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Questions that it has been asked with this text in them, such as `query[A] app.test`.
    #[must_use]
    pub fn queries_count(&self, text: &str) -> usize {
        self.process.lines().iter().filter(|line| line.text.contains(text)).count()
    }
}

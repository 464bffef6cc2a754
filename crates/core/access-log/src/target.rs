//! Where a log goes, as the configuration says it.
//!
//! Owns the text of a target; leaves opening it and looking up names to `tidegate-log`. Invariant: the text of a
//! parsed target parses to the same target.

use crate::syslog::Framing;
use std::fmt;

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, or whatever else is at this path, a Unix socket included.
    File(String),
    /// The syslog socket of this machine, or another datagram socket.
    UnixDatagram(String),
    /// Syslog over UDP (RFC 5426).
    Udp(HostPort),
    /// Syslog over TCP with octet counts (RFC 6587 §3.4.1).
    Tcp(HostPort),
}

/// A name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// It is none of the forms that there are.
    Unknown,
    /// A path that does not begin with `/`, which would depend on where the program was started.
    RelativePath,
    /// No host.
    NoHost,
    /// No port, or not one from 1 to 65,535.
    NoPort,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => {
                "not a log target: stdout, stderr, /a/path, /dev/log, unix:///a/socket, \
                 udp://host:port or tcp://host:port"
            }
            Self::RelativePath => "the path of a log must begin with /",
            Self::NoHost => "the log target has no host: udp://host:port",
            Self::NoPort => "the log target needs a port from 1 to 65535: udp://host:port",
        })
    }
}

impl std::error::Error for TargetError {}

/// The syslog socket of this machine.
const DEV_LOG: &str = "/dev/log";

impl Target {
    /// What a configuration wrote.
    ///
    /// # Errors
    ///
    /// When it names no target.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        match text {
            "stdout" => return Ok(Self::Stdout),
            "stderr" => return Ok(Self::Stderr),
            // Also when it is not there: a syslog daemon that starts later makes it.
            DEV_LOG => return Ok(Self::UnixDatagram(DEV_LOG.to_owned())),
            _ => {}
        }
        match text.split_once("://") {
            Some(("udp", rest)) => HostPort::parse(rest).map(Self::Udp),
            Some(("tcp", rest)) => HostPort::parse(rest).map(Self::Tcp),
            Some(("unix", path)) => absolute(path).map(Self::UnixDatagram),
            Some(("file", path)) => absolute(path).map(Self::File),
            Some(_) => Err(TargetError::Unknown),
            None if text.contains('/') => absolute(text).map(Self::File),
            None => Err(TargetError::Unknown),
        }
    }

    /// How lines are framed when the configuration does not say: syslog's old header for sockets, nothing for files.
    #[must_use]
    pub fn default_framing(&self) -> Framing {
        match self {
            Self::Stdout | Self::Stderr | Self::File(_) => Framing::Plain,
            Self::UnixDatagram(_) | Self::Udp(_) | Self::Tcp(_) => Framing::Rfc3164,
        }
    }

    /// Whether messages leave this machine, so that their header should name it.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Udp(_) | Self::Tcp(_) => true,
            Self::Stdout | Self::Stderr | Self::File(_) | Self::UnixDatagram(_) => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) if path == DEV_LOG => write!(f, "file://{path}"),
            Self::File(path) => f.write_str(path),
            Self::UnixDatagram(path) if path == DEV_LOG => f.write_str(path),
            Self::UnixDatagram(path) => write!(f, "unix://{path}"),
            Self::Udp(to) => write!(f, "udp://{to}"),
            Self::Tcp(to) => write!(f, "tcp://{to}"),
        }
    }
}

impl HostPort {
    fn parse(text: &str) -> Result<Self, TargetError> {
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::NoPort)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(TargetError::NoPort)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) => host,
            // An IPv6 address without brackets, whose port cannot be told from it.
            None if host.contains(':') => return Err(TargetError::NoPort),
            None => host,
        };
        let is_name = |one: char| !one.is_whitespace() && !one.is_control() && !"[]/".contains(one);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(TargetError::NoHost);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn absolute(path: &str) -> Result<String, TargetError> {
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err(TargetError::RelativePath) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_understood_and_written_back() {
        let host = |host: &str, port| HostPort { host: host.to_owned(), port };
        let cases = [
            ("stdout", Target::Stdout),
            ("stderr", Target::Stderr),
            ("/dev/log", Target::UnixDatagram("/dev/log".to_owned())),
            ("file:///dev/log", Target::File("/dev/log".to_owned())),
            ("unix:///run/log.sock", Target::UnixDatagram("/run/log.sock".to_owned())),
            ("/var/log/a.log", Target::File("/var/log/a.log".to_owned())),
            ("udp://127.0.0.1:514", Target::Udp(host("127.0.0.1", 514))),
            ("udp://[::1]:514", Target::Udp(host("::1", 514))),
            ("tcp://logs.example:6514", Target::Tcp(host("logs.example", 6514))),
        ];
        for (text, target) in cases {
            assert_eq!(Target::parse(text), Ok(target.clone()));
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused_with_its_reason() {
        let cases = [
            ("", TargetError::Unknown),
            ("stdot", TargetError::Unknown),
            ("http://a:1", TargetError::Unknown),
            ("logs/a.log", TargetError::RelativePath),
            ("unix://a", TargetError::RelativePath),
            ("udp://a", TargetError::NoPort),
            ("udp://a:0", TargetError::NoPort),
            ("udp://a:70000", TargetError::NoPort),
            ("udp://::1:514", TargetError::NoPort),
            ("tcp://:514", TargetError::NoHost),
            ("tcp://a b:514", TargetError::NoHost),
        ];
        for (text, error) in cases {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }
}

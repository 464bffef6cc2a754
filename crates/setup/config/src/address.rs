//! Addresses as text: what may be listened on and what may be connected to.
//!
//! Owns the forms `host:port`, `[v6]:port`, `*:port`, `unix:/path`, `fd@N` and `_service._tcp.name`; leaves conflicts
//! between addresses to `check`.
//!
//! Invariant: no name is resolved and no socket is touched; an address is what it says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use tidegate_discovery::DnsName;

use crate::defaults::UNIX_PATH_BYTES_MAX;
use crate::diagnostic::quoted;
use crate::model::{BindAddress, ServerAddress};

/// Lowest inherited descriptor: 0, 1 and 2 are the standard streams.
const FD_MIN: i32 = 3;

/// Why a text is no address, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AddressError {
    pub message: String,
    pub help: String,
}

fn refuse<V>(message: impl Into<String>, help: impl Into<String>) -> Result<V, AddressError> {
    Err(AddressError { message: message.into(), help: help.into() })
}

/// Reads an address to listen on.
///
/// # Errors
/// What is wrong with it and what would be right.
pub(crate) fn bind(text: &str) -> Result<BindAddress, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(text, path).map(BindAddress::Unix);
    }
    if let Some(number) = text.strip_prefix("fd@") {
        return match number.parse::<i32>() {
            Ok(fd) if fd >= FD_MIN => Ok(BindAddress::Fd(fd)),
            _ => refuse(
                format!("{} names no inherited socket", quoted(text)),
                format!("write fd@ and a descriptor from {FD_MIN} on, such as \"fd@{FD_MIN}\""),
            ),
        };
    }
    let (host, port) = host_and_port(text, "127.0.0.1:8080")?;
    let address = match host {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "" => {
            return refuse(
                format!("{} has no address", quoted(text)),
                format!(
                    "write \"*:{port}\" for every IPv4 address, \"[::]:{port}\" for every IPv6 address"
                ),
            );
        }
        host => ip(text, host, port)?,
    };
    Ok(BindAddress::Tcp(SocketAddr::new(address, port)))
}

/// Reads a server's address.
///
/// # Errors
/// What is wrong with it and what would be right.
pub(crate) fn server(text: &str) -> Result<ServerAddress, AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(text, path).map(ServerAddress::Unix);
    }
    if text.starts_with("fd@") {
        return refuse(
            format!("{} cannot be connected to", quoted(text)),
            "an inherited socket can only be listened on, in a frontend's `bind`",
        );
    }
    if let Ok(name) = text.parse::<DnsName>()
        && name.is_service()
    {
        return Ok(ServerAddress::Name { name, port: None });
    }
    let (host, port) = host_and_port(text, "10.0.0.1:8080")?;
    if let Ok(name) = host.parse::<DnsName>() {
        if name.is_service() {
            return refuse(
                format!("{} is a service with a port", quoted(text)),
                format!("its records say the port: write \"{name}\""),
            );
        }
        if port == 0 {
            return refuse(
                format!("{} has port 0, which nothing can listen on", quoted(text)),
                format!("write the server's port, such as \"{name}:8080\""),
            );
        }
        return Ok(ServerAddress::Name { name, port: Some(port) });
    }
    let address = match host {
        "*" | "" => None,
        host => Some(ip(text, host, port)?).filter(|address| !address.is_unspecified()),
    };
    let Some(address) = address else {
        return refuse(
            format!("{} does not say where the server is", quoted(text)),
            format!("write the server's own address; for this machine \"127.0.0.1:{port}\""),
        );
    };
    if port == 0 {
        return refuse(
            format!("{} has port 0, which nothing can listen on", quoted(text)),
            format!("write the server's port, such as \"{}\"", SocketAddr::new(address, 8080)),
        );
    }
    Ok(ServerAddress::Tcp(SocketAddr::new(address, port)))
}

/// Splits at the last colon; `example` is an address for the advice.
fn host_and_port<'t>(text: &'t str, example: &str) -> Result<(&'t str, u16), AddressError> {
    let no_port = |help: String| refuse(format!("{} has no port", quoted(text)), help);
    if text.is_empty() {
        return refuse("the address is empty", format!("for example \"{example}\""));
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return refuse(
            format!("{} is a URL, not an address", quoted(text)),
            format!(
                "leave out \"{}://\" and any path: \"{example}\"",
                scheme.replace(char::is_control, "")
            ),
        );
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return no_port(format!(
            "write an IPv6 address in brackets, then the port: \"[{address}]:8080\""
        ));
    }
    if text.starts_with('/') {
        return no_port(format!(
            "for a UNIX socket write \"unix:{}\"",
            quoted(text).trim_matches('`')
        ));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return refuse(
            format!("{} has no address", quoted(text)),
            format!(
                "write address and port: \"{}:{text}\"",
                example.split(':').next().unwrap_or_default()
            ),
        );
    }
    let Some((host, port_text)) = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'))
    else {
        return no_port(format!(
            "write address and port: \"{}:8080\"",
            quoted(text).trim_matches('`')
        ));
    };
    let digits = !port_text.is_empty() && port_text.bytes().all(|byte| byte.is_ascii_digit());
    match port_text.parse::<u16>() {
        Ok(port) if digits => Ok((host, port)),
        _ => refuse(
            format!("{} is not a port, in {}", quoted(port_text), quoted(text)),
            "a port is a number from 0 to 65535",
        ),
    }
}

fn ip(text: &str, host: &str, port: u16) -> Result<IpAddr, AddressError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => match address.to_ipv4_mapped() {
                None => Ok(IpAddr::V6(address)),
                Some(address) => refuse(
                    format!("{} is an IPv4 address written as IPv6", quoted(text)),
                    format!("write \"{address}:{port}\""),
                ),
            },
            Err(_) => refuse(
                format!("{} is not an IPv6 address, in {}", quoted(inner), quoted(text)),
                format!("brackets hold an IPv6 address: \"[::1]:{port}\""),
            ),
        };
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(IpAddr::V4(address));
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return refuse(
            format!("{} is ambiguous: an IPv6 address without brackets", quoted(text)),
            format!("write \"[{address}]:{port}\""),
        );
    }
    if host == "localhost" {
        return refuse(
            "`localhost` is a host name; a frontend listens on addresses".to_owned(),
            format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        );
    }
    if host.chars().any(|c| c.is_ascii_alphabetic()) && !host.contains(':') {
        return refuse(
            format!("{} is a host name; a frontend listens on addresses", quoted(host)),
            format!("write the IP address it stands for, such as \"10.0.0.1:{port}\""),
        );
    }
    refuse(
        format!("{} is not an IP address, in {}", quoted(host), quoted(text)),
        format!("an address looks like \"10.0.0.1:{port}\" or \"[2001:db8::1]:{port}\""),
    )
}

fn unix_path(text: &str, path: &str) -> Result<PathBuf, AddressError> {
    if !path.starts_with('/') {
        return refuse(
            format!("{} has no absolute path", quoted(text)),
            "write the whole path: \"unix:/run/app.sock\"",
        );
    }
    if path.len() > UNIX_PATH_BYTES_MAX || path.contains('\0') {
        return refuse(
            format!("{} cannot be a socket's path", quoted(text)),
            format!("the kernel takes at most {UNIX_PATH_BYTES_MAX} bytes, none of them NUL"),
        );
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_a_bind_address() {
        for (text, socket) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("*:80", "0.0.0.0:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::]:80", "[::]:80"),
            ("127.0.0.1:0", "127.0.0.1:0"),
        ] {
            assert_eq!(bind(text), Ok(BindAddress::Tcp(socket.parse().expect("valid"))), "{text}");
        }
        assert_eq!(bind("unix:/run/a.sock"), Ok(BindAddress::Unix("/run/a.sock".into())));
        assert_eq!(bind("fd@3"), Ok(BindAddress::Fd(3)));
    }

    #[test]
    fn reads_server_addresses() {
        for text in ["10.0.0.1:8080", "[2001:db8::1]:8080"] {
            assert_eq!(server(text), Ok(ServerAddress::Tcp(text.parse().expect("valid"))));
        }
        let named =
            |name: &str, port| Ok(ServerAddress::Name { name: name.parse().expect("valid"), port });
        assert_eq!(server("App.Internal:8080"), named("app.internal", Some(8080)));
        assert_eq!(server("localhost:80"), named("localhost", Some(80)));
        assert_eq!(server("_http._tcp.app.internal"), named("_http._tcp.app.internal", None));
        assert_eq!(server("unix:/run/a.sock"), Ok(ServerAddress::Unix("/run/a.sock".into())));
    }

    #[test]
    fn says_what_is_wrong_with_an_address() {
        for (text, message, help) in [
            ("127.0.0.1", "no port", "\"127.0.0.1:8080\""),
            ("::1", "no port", "\"[::1]:8080\""),
            ("[::1]", "no port", "\"[::1]:8080\""),
            ("8080", "no address", "\"127.0.0.1:8080\""),
            (":8080", "no address", "\"*:8080\""),
            ("1.2.3.4:http", "`http` is not a port", "0 to 65535"),
            ("1.2.3.4:65536", "`65536` is not a port", "0 to 65535"),
            ("1.2.3.4:+80", "`+80` is not a port", "0 to 65535"),
            ("1.2.3.4:", "`` is not a port", "0 to 65535"),
            ("fe80::x:80", "not an IP address", "[2001:db8::1]:80"),
            ("2001:db8::1:8080", "has no port", "[2001:db8::1:8080]:8080"),
            ("2001:db8::1:2:3:4:5:8080", "ambiguous", "[2001:db8:0:1:2:3:4:5]:8080"),
            ("[1.2.3.4]:80", "not an IPv6 address", "[::1]:80"),
            ("[::ffff:1.2.3.4]:80", "written as IPv6", "\"1.2.3.4:80\""),
            ("1.2.3:80", "not an IP address", "10.0.0.1:80"),
            ("256.0.0.1:80", "not an IP address", "10.0.0.1:80"),
            ("localhost:80", "`localhost` is a host name", "127.0.0.1:80"),
            ("app.example:80", "`app.example` is a host name", "the IP address"),
            ("http://1.2.3.4:80/", "is a URL", "leave out \"http://\""),
            ("/run/a.sock", "no port", "unix:/run/a.sock"),
            ("unix:run/a.sock", "no absolute path", "unix:/run/app.sock"),
            ("fd@2", "no inherited socket", "fd@3"),
            ("fd@x", "no inherited socket", "fd@3"),
            ("", "empty", "127.0.0.1:8080"),
            (" 127.0.0.1:80", "not an IP address", "10.0.0.1:80"),
        ] {
            let error = bind(text).expect_err(text);
            assert!(error.message.contains(message), "{text}: {error:?}");
            assert!(error.help.contains(help), "{text}: {error:?}");
        }
    }

    #[test]
    fn refuses_servers_that_cannot_be_connected_to() {
        for text in [
            "*:80",
            "0.0.0.0:80",
            "[::]:80",
            ":80",
            "10.0.0.1:0",
            "fd@3",
            "unix:x",
            "app",
            "app:0",
            "1.2.3:80",
            "-a.b:80",
            "_http._tcp.app:80",
        ] {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_socket_paths_that_the_kernel_would_cut() {
        let longest = format!("unix:/{}", "x".repeat(UNIX_PATH_BYTES_MAX - 1));
        assert!(bind(&longest).is_ok());
        assert!(bind(&format!("{longest}x")).is_err());
        assert!(bind("unix:/a\0b").is_err());
    }
}

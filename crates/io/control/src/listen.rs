//! Listening sockets: made before any shard needs them, one a shard.
//!
//! Owns addresses and sockets; leaves accepting to the data plane. Invariant: either every address of a configuration can
//! be listened on, or nothing is changed.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tidegate_config::{Bind, BindAddress};
use tidegate_proxy::ListenerId;

/// Why an address cannot be listened on.
#[derive(Debug)]
pub(crate) struct ListenError {
    address: String,
    cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.cause)?;
        match self.cause.kind() {
            io::ErrorKind::AddrInUse => f.write_str(" (another process listens there; `ss -ltnp` names it)"),
            io::ErrorKind::PermissionDenied => f.write_str(
                " (ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE)",
            ),
            io::ErrorKind::AddrNotAvailable => f.write_str(" (this machine does not have the address)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ListenError {}

/// A bind of a configuration: what is opened once and kept over reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    address: BindAddress,
    /// Whose bind it is, and which of them, where the kernel chooses the port: each such bind gets one of its own.
    chosen_for: Option<(String, usize)>,
}

impl Place {
    /// Whether all shards accept from one queue: only TCP sockets of our own can be had once a shard.
    pub(crate) fn is_shared(&self) -> bool {
        !matches!(self.address, BindAddress::Tcp(_))
    }

    /// The length of its listen queue, `configured` unless the socket is another's.
    pub(crate) fn backlog(&self, configured: u32) -> Option<u32> {
        (!matches!(self.address, BindAddress::Fd(_))).then_some(configured)
    }

    /// Removes the file of a Unix socket that is not listened on any more. Gone already is as good.
    pub(crate) fn remove_file(&self) {
        if let BindAddress::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The places of `owner`'s binds, in their order.
pub(crate) fn places(owner: &str, binds: &[Bind]) -> Vec<Place> {
    let place = |(number, bind): (usize, &Bind)| {
        let chosen = matches!(bind.address, BindAddress::Tcp(address) if address.port() == 0);
        Place {
            address: bind.address.clone(),
            chosen_for: chosen.then(|| (owner.to_owned(), number)),
        }
    };
    binds.iter().enumerate().map(place).collect()
}

/// A set of sockets for one address.
pub(crate) struct Opened {
    /// One a shard.
    pub(crate) sockets: Vec<OwnedFd>,
    /// The address as it is now, with the port that the kernel chose.
    pub(crate) address: String,
}

/// What was opened for a configuration that may fail yet: closed again, Unix sockets with their files, unless kept.
#[derive(Default)]
pub(crate) struct Fresh(Vec<(Place, Opened)>);

impl Fresh {
    /// Opens one more place.
    pub(crate) fn open(
        &mut self,
        place: Place,
        backlog: u32,
        count: usize,
        patience: Duration,
    ) -> Result<(), ListenError> {
        let opened = open(&place.address, backlog, count, patience)?;
        self.0.push((place, opened));
        Ok(())
    }

    /// The configuration is used.
    pub(crate) fn keep(mut self) -> Vec<(Place, Opened)> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.0.iter().for_each(|(place, _)| place.remove_file());
    }
}

/// Pause before an address that is in use is tried again.
const IN_USE_PAUSE: Duration = Duration::from_millis(20);

/// Opens `address` for `count` shards. An address in use is tried again until `patience` is over.
fn open(
    address: &BindAddress,
    backlog: u32,
    count: usize,
    patience: Duration,
) -> Result<Opened, ListenError> {
    let until = Instant::now() + patience;
    let opened = loop {
        let opened = match address {
            BindAddress::Tcp(socket) => open_tcp(*socket, backlog, count),
            BindAddress::Unix(path) => {
                open_unix(path, backlog).and_then(|socket| copies(socket, count))
            }
            BindAddress::Fd(number) => {
                tidegate_ring::inherited_listener(*number).and_then(|socket| copies(socket, count))
            }
        };
        let in_use = opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if !in_use || Instant::now() >= until {
            break opened;
        }
        pause();
    };
    match opened {
        Ok((sockets, address_now)) => {
            Ok(Opened { sockets, address: address_now.unwrap_or_else(|| address.to_string()) })
        }
        Err(cause) => Err(ListenError { address: address.to_string(), cause }),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the control executor has nothing else to do before the start"
)]
fn pause() {
    std::thread::sleep(IN_USE_PAUSE);
}

type Sockets = (Vec<OwnedFd>, Option<String>);

fn copies(socket: OwnedFd, count: usize) -> io::Result<Sockets> {
    let mut sockets = vec![socket];
    while sockets.len() < count {
        sockets.push(sockets[0].try_clone()?);
    }
    Ok((sockets, None))
}

fn open_tcp(address: std::net::SocketAddr, backlog: u32, count: usize) -> io::Result<Sockets> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let mut at = address;
    if at.port() != 0 {
        // SO_REUSEPORT would let us join another process of the same user unnoticed: ask for the address alone first.
        tcp_socket(at)?.bind(&at.into())?;
    }
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = tcp_socket(at)?;
        socket.set_reuse_port(true)?;
        socket.bind(&at.into())?;
        if let Some(bound) = socket.local_addr()?.as_socket() {
            at = bound;
        }
        socket.listen(backlog)?;
        sockets.push(socket.into());
    }
    Ok((sockets, Some(at.to_string())))
}

fn tcp_socket(address: std::net::SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit it: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn open_unix(path: &Path, backlog: u32) -> io::Result<OwnedFd> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    if let Err(error) = socket.bind(&address) {
        // A file left by a process that is gone refuses connections; one that is served does not.
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let stale = error.kind() == io::ErrorKind::AddrInUse
            && probe
                .connect(&address)
                .is_err_and(|refused| refused.kind() == io::ErrorKind::ConnectionRefused);
        if !stale {
            return Err(error);
        }
        std::fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// The places listened on now.
#[derive(Default)]
pub(crate) struct Addresses {
    open: HashMap<Place, (ListenerId, String)>,
    made: u32,
}

impl Addresses {
    /// The listener of `place`, when it is open, and the address as it is now.
    pub(crate) fn get(&self, place: &Place) -> Option<&(ListenerId, String)> {
        self.open.get(place)
    }

    /// Notes an opened place.
    pub(crate) fn insert(&mut self, place: Place, now: String) -> ListenerId {
        let id = ListenerId(self.made);
        self.made += 1;
        self.open.insert(place, (id, now));
        id
    }

    /// Forgets every place that is not in `kept`; removes the files of Unix sockets.
    pub(crate) fn retain(&mut self, kept: &HashSet<Place>) {
        self.open.retain(|place, _| {
            let keep = kept.contains(place);
            if !keep {
                place.remove_file();
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn tcp(text: &str) -> BindAddress {
        BindAddress::Tcp(text.parse().expect("an address"))
    }

    #[test]
    fn shards_share_the_port_that_the_kernel_chose() {
        let opened = open(&tcp("127.0.0.1:0"), 16, 3, Duration::ZERO).expect("a free port");
        assert_eq!(opened.sockets.len(), 3);
        let port: std::net::SocketAddr = opened.address.parse().expect("an address");
        assert_ne!(port.port(), 0);
    }

    #[test]
    fn an_address_in_use_is_refused_even_by_a_process_that_would_share_it() {
        let first = open(&tcp("127.0.0.1:0"), 16, 1, Duration::ZERO).expect("a free port");
        let error = open(&tcp(&first.address), 16, 1, Duration::ZERO).err().expect("it is in use");
        assert!(error.to_string().contains("another process listens there"), "{error}");
        let other = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = other.local_addr().expect("bound").to_string();
        assert!(open(&tcp(&address), 16, 1, Duration::ZERO).is_err());
    }

    #[test]
    fn an_address_that_is_given_up_in_time_is_taken() {
        let first = open(&tcp("127.0.0.1:0"), 16, 1, Duration::ZERO).expect("a free port");
        let address = first.address.clone();
        let owner = std::thread::spawn(move || {
            pause();
            drop(first);
        });
        open(&tcp(&address), 16, 1, Duration::from_secs(30)).expect("free in a moment");
        owner.join().expect("no panic");
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_living_one_is_not() {
        let path =
            std::env::temp_dir().join(format!("tidegate-listen-{}.sock", std::process::id()));
        let address = BindAddress::Unix(path.clone());
        let first = open(&address, 16, 2, Duration::ZERO).expect("a new file");
        assert!(open(&address, 16, 2, Duration::ZERO).is_err());
        drop(first);
        drop(open(&address, 16, 2, Duration::ZERO).expect("nobody listens any more"));
        std::fs::remove_file(path).expect("it was made");
    }
}

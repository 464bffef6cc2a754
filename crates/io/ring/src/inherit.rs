//! Listening sockets inherited from the process that started us.
//!
//! Owns the one step from a number to a descriptor; leaves using it to `listener`. Invariant: the inherited descriptor
//! itself is never closed, only copies of it.
#![allow(
    unsafe_code,
    reason = "borrows a descriptor by its number; the block says why it is sound"
)]

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::sockopt::socket_acceptconn;

/// A copy of the listening socket that this process inherited as descriptor `number` (socket activation, a supervisor).
///
/// # Errors
/// The descriptor is not open, or is no listening socket.
pub fn inherited_listener(number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the number is not -1. The borrow lasts for the duplication only, which fails if nothing is open there; a
    // descriptor of the process's own that the number could hit by mistake is only duplicated, never closed.
    let inherited = unsafe { BorrowedFd::borrow_raw(number) };
    let copy = fcntl_dupfd_cloexec(inherited, 3)?;
    if !socket_acceptconn(&copy)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a listening socket"));
    }
    // Accepted sockets inherit it; a Unix socket does not know it.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&copy, true);
    // The ring waits, so the socket must be in blocking mode.
    let flags = rustix::fs::fcntl_getfl(&copy)?;
    rustix::fs::fcntl_setfl(&copy, flags - OFlags::NONBLOCK)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_listening_socket_is_copied_and_stays_open() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let copy = inherited_listener(listener.as_raw_fd()).expect("it listens");
        assert!(!rustix::fs::fcntl_getfl(&copy).expect("open").contains(OFlags::NONBLOCK));
        drop(copy);
        TcpStream::connect(listener.local_addr().expect("bound")).expect("still listening");
    }

    #[test]
    fn what_is_no_listening_socket_is_refused() {
        assert!(inherited_listener(-1).is_err());
        assert!(inherited_listener(9_999).is_err());
        let file = std::fs::File::open("/dev/null").expect("every system has it");
        assert!(inherited_listener(file.as_raw_fd()).is_err());
    }
}

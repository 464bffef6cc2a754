//! Where messages go.
//!
//! Owns the common shape of targets and the meaning of their errors; each kind of target is a module. Leaves waiting
//! and trying again to `destination`. Invariant: writing never waits for a reader: a target that cannot take more says
//! so. Only a disk may take its time.

mod datagram;
mod file;
mod standard;
mod stream;

use crate::counters::Cause;
use crate::outbox::{Gone, Outbox};
use datagram::DatagramSink;
use file::FileSink;
use rustix::event::PollFlags;
use rustix::io::Errno;
use standard::StandardSink;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::BorrowedFd;
use std::time::Instant;
use stream::StreamSink;
use tidegate_access_log::Target;

/// How writing went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything is written.
    Done,
    /// The target cannot take more now.
    Full,
    /// The target failed, but the same one may work again later: a full disk.
    Stuck(io::Error),
    /// The target failed and has to be opened anew.
    Broken(io::Error),
}

/// What was written and what was given up, in one call.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
    /// Lines that the target will never take.
    pub(crate) too_long: u64,
    /// Lines in whose place an earlier message's refusal was reported.
    pub(crate) refused: u64,
}

impl Tally {
    fn wrote(&mut self, gone: Gone) {
        self.lines += gone.lines;
        self.bytes += gone.bytes;
    }
}

/// An open target.
#[derive(Debug)]
pub(crate) enum Sink {
    Standard(StandardSink),
    File(FileSink),
    Datagram(DatagramSink),
    Stream(StreamSink),
}

/// A target with its name looked up: what it takes to open it without waiting.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Stdout,
    Stderr,
    Path(String),
    UnixDatagram(String),
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

impl Place {
    /// Looks the target's name up, which may take a while.
    pub(crate) fn find(target: &Target) -> io::Result<Self> {
        let look_up = |host: &str, port: u16| -> io::Result<SocketAddr> {
            let found = (host, port).to_socket_addrs()?.next();
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        };
        Ok(match target {
            Target::Stdout => Self::Stdout,
            Target::Stderr => Self::Stderr,
            Target::File(path) => Self::Path(path.clone()),
            Target::UnixDatagram(path) => Self::UnixDatagram(path.clone()),
            Target::Udp(to) => Self::Udp(look_up(&to.host, to.port)?),
            Target::Tcp(to) => Self::Tcp(look_up(&to.host, to.port)?),
        })
    }

    pub(crate) fn open(&self, now: Instant) -> io::Result<Sink> {
        match self {
            Self::Stdout => StandardSink::open(std::io::stdout()).map(Sink::Standard),
            Self::Stderr => StandardSink::open(std::io::stderr()).map(Sink::Standard),
            Self::Path(path) if file::is_socket(path) => {
                DatagramSink::unix(path).map(Sink::Datagram)
            }
            Self::Path(path) => FileSink::open(path).map(Sink::File),
            Self::UnixDatagram(path) => DatagramSink::unix(path).map(Sink::Datagram),
            Self::Udp(address) => DatagramSink::udp(*address).map(Sink::Datagram),
            Self::Tcp(address) => StreamSink::connect(*address, now).map(Sink::Stream),
        }
    }

    /// Whether a peer may be away for a while without this being a mistake in the configuration.
    pub(crate) fn has_peer(&self) -> bool {
        match self {
            Self::UnixDatagram(_) | Self::Udp(_) | Self::Tcp(_) => true,
            Self::Path(path) => file::is_socket(path),
            Self::Stdout | Self::Stderr => false,
        }
    }

    /// How messages are told apart. Looks at what is at a path, so not for every message.
    pub(crate) fn separation(&self) -> Separation {
        match self {
            Self::UnixDatagram(_) | Self::Udp(_) => Separation::Datagrams,
            Self::Path(path) if file::is_socket(path) => Separation::Datagrams,
            Self::Stdout | Self::Stderr | Self::Path(_) => Separation::LineBreaks,
            Self::Tcp(_) => Separation::OctetCounts,
        }
    }
}

/// How a target tells messages apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separation {
    /// Each is a datagram.
    Datagrams,
    /// Each ends in a line break.
    LineBreaks,
    /// Each begins with its length, if it is a syslog message; otherwise it ends in a line break.
    OctetCounts,
}

impl Sink {
    /// Writes as much of the outbox as the target takes now.
    pub(crate) fn write(
        &mut self,
        outbox: &mut Outbox,
        tally: &mut Tally,
        now: Instant,
    ) -> Outcome {
        match self {
            Self::Standard(sink) => sink.write(outbox, tally),
            Self::File(sink) => sink.write(outbox, tally),
            Self::Datagram(sink) => sink.write(outbox, tally),
            Self::Stream(sink) => sink.write(outbox, tally, now),
        }
    }

    /// What to wait for: to be able to write if something waits, and to hear of a peer that closes.
    pub(crate) fn interest(&self, waits: Waits) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let writes = match waits {
            Waits::ForRoom => PollFlags::OUT,
            Waits::ForNothing => PollFlags::empty(),
        };
        let (descriptor, flags) = match self {
            Self::Standard(sink) => (sink.descriptor(), writes),
            Self::File(sink) => (sink.descriptor(), writes),
            Self::Datagram(sink) => (sink.descriptor(), writes),
            Self::Stream(sink) => (sink.descriptor(), writes | PollFlags::RDHUP),
        };
        (!flags.is_empty()).then_some((descriptor, flags))
    }

    /// When it gives up by itself, if it is waiting for something that nothing may tell.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Stream(sink) => sink.deadline(),
            Self::Standard(_) | Self::File(_) | Self::Datagram(_) => None,
        }
    }

    /// Whether the peer has been reached; without a peer, always.
    pub(crate) fn is_connected(&self) -> bool {
        self.deadline().is_none()
    }
}

/// Whether something waits for a target to have room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    ForRoom,
    ForNothing,
}

/// What an error means for the lines that are lost by it.
pub(crate) fn cause_of(error: &io::Error) -> Cause {
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Cause::NoSpace,
        Some(Errno::IO | Errno::ROFS | Errno::INVAL) => Cause::Failed,
        // Whatever else there is, the target is not there.
        _ => Cause::Unavailable,
    }
}

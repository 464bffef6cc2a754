//! The ring handle: making it, turning it, connecting through it, ending it.
//!
//! Owns the life of the core; leaves its meaning to `core`. Invariant: the memory the kernel may
//! write to is unmapped only after every operation has completed, or never.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::IoUring;
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::buffers::{Buffers, RecvBuf};
use crate::core::{Core, Counters};
use crate::pipe::Pipes;
use crate::send::SendBuf;
use crate::socket::{ParkToken, Socket, SocketKey};
use crate::wakeup::Wakeup;

/// Sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Entries of the submission queue, a power of two; more than this are submitted in several calls.
    pub submissions: u32,
    /// Entries of the completion queue, a power of two; the kernel keeps what does not fit until there is room.
    pub completions: u32,
    /// Most receive buffers of [`crate::BUFFER_BYTES`] each, a power of two up to 32,768. Reaching it makes receives wait.
    pub buffers_max: u16,
    /// Receive buffers made at the start, from 1 to `buffers_max`.
    pub buffers_initial: u16,
    /// Completions handled in one turn, so that timers and commands get theirs.
    pub completions_per_turn_max: usize,
    /// Most pipes in use by splices, two descriptors and at most [`crate::PIPE_BYTES`] each. Reaching it makes bodies go
    /// through buffers.
    pub pipes_max: u32,
}

impl Default for Settings {
    /// 4,096 submissions, 16,384 completions, 64 to 8,192 buffers (256 MiB of address space), 4,096 completions a turn,
    /// 256 pipes: one is held while its receiver takes nothing, so 256 slow readers hold 32 MiB and 512 descriptors.
    fn default() -> Self {
        Settings {
            submissions: 4096,
            completions: 16_384,
            buffers_max: 8192,
            buffers_initial: 64,
            completions_per_turn_max: 4096,
            pipes_max: 256,
        }
    }
}

/// What one turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Completions handled.
    pub completed: usize,
    /// Whether the kernel was entered.
    pub entered: bool,
}

pub(crate) struct Shared {
    pub(crate) core: ManuallyDrop<RefCell<Core>>,
    /// The receive buffers, beside the core so that a buffer may be dropped while the core is borrowed.
    pub(crate) buffers: ManuallyDrop<Rc<Buffers>>,
    pub(crate) wakeup: Wakeup,
    completions_per_turn_max: usize,
    ending: Cell<bool>,
}

/// One data ring, used by one thread. Clones are handles to the same ring.
#[derive(Clone)]
pub struct Ring(pub(crate) Rc<Shared>);

impl Ring {
    /// Makes the ring of this thread.
    ///
    /// # Errors
    /// The kernel refuses the ring or its buffers; run [`crate::probe`] first for an error that explains itself.
    pub fn new(settings: &Settings) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .dontfork()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(settings.completions)
            .build(settings.submissions)?;
        let wakeup = Wakeup::new()?;
        let buffers = Buffers::new(settings.buffers_max, settings.buffers_initial)?;
        let core = Core::new(ring, buffers.clone(), Pipes::new(settings.pipes_max));
        core.register()?;
        Ok(Ring(Rc::new(Shared {
            core: ManuallyDrop::new(RefCell::new(core)),
            buffers: ManuallyDrop::new(buffers),
            wakeup,
            completions_per_turn_max: settings.completions_per_turn_max,
            ending: Cell::new(false),
        })))
    }

    /// Submits what is queued, runs deferred kernel work, and handles completions: wakes their owners.
    ///
    /// The wakers run inside and must not call back into the ring; an executor's waker only queues a task.
    pub fn turn(&self) -> Turn {
        let mut core = self.0.core.borrow_mut();
        core.feed_starved();
        let entered = {
            let mut submission = core.ring.submission();
            submission.sync();
            !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
        };
        if entered {
            core.enter(0);
        }
        let completed = core.reap(self.0.completions_per_turn_max);
        Turn { completed, entered }
    }

    /// As [`Ring::turn`], sleeping first until a completion or a [`Wakeup`] comes, or until `timeout`.
    ///
    /// The thread sleeps in the one system call that also submits what is queued.
    pub fn sleep_and_turn(&self, timeout: Option<Duration>) -> Turn {
        let mut core = self.0.core.borrow_mut();
        core.feed_starved();
        let pending = {
            let mut completion = core.ring.completion();
            completion.sync();
            !completion.is_empty()
        } || core.can_feed();
        if pending {
            drop(core);
            return self.turn();
        }
        core.enter_and_sleep(self.0.wakeup.descriptor(), timeout);
        let completed = core.reap(self.0.completions_per_turn_max);
        if !core.wakeup_armed {
            self.0.wakeup.clear();
        }
        Turn { completed, entered: true }
    }

    /// Takes the token of a parked socket on which something arrived (bytes, the peer's end, an error).
    pub fn next_unparked(&self) -> Option<ParkToken> {
        self.0.core.borrow_mut().next_unparked().map(ParkToken)
    }

    /// How many tokens [`Ring::next_unparked`] has to give.
    pub fn unparked_count(&self) -> usize {
        self.0.core.borrow().unparked_count()
    }

    /// A handle with which other threads end this ring's sleep.
    pub fn wakeup(&self) -> Wakeup {
        self.0.wakeup.clone()
    }

    /// An empty vector to build bytes in; given back to the ring when sent as [`crate::SendBuf::Vec`].
    pub fn take_vec(&self) -> Vec<u8> {
        self.0.core.borrow_mut().recycled.take()
    }

    /// Gives back a vector from [`Ring::take_vec`] that was not sent.
    pub fn put_vec(&self, bytes: Vec<u8>) {
        self.0.core.borrow_mut().recycled.put(bytes);
    }

    /// Gives back what a received piece is made of that was made of a vector; a ring buffer goes back to the kernel.
    pub fn put_received(&self, piece: RecvBuf) {
        if let Some(bytes) = piece.into_copied() {
            self.put_vec(bytes);
        }
    }

    /// Gives back what a piece is made of that was not sent by this ring.
    pub fn put_sent(&self, piece: SendBuf) {
        match piece {
            SendBuf::Vec(bytes) => self.put_vec(bytes),
            SendBuf::Recv(piece) => self.put_received(piece),
            SendBuf::Static(_) | SendBuf::Shared(_) => {}
        }
    }

    /// Takes over a connected socket. It must be in blocking mode: the ring waits, not the caller.
    pub fn adopt(&self, socket: OwnedFd) -> Socket {
        let index = self.0.core.borrow_mut().slots.insert(socket.into_raw_fd());
        Socket::new(self.clone(), index)
    }

    /// Starts connecting to `address`; [`Socket::poll_connected`] tells the outcome. Dropping the socket ends the attempt.
    /// TCP sockets have `TCP_NODELAY` set. A Unix path whose listener has a full queue fails at once with `WouldBlock`.
    ///
    /// # Errors
    /// No descriptor is left, or the address family is not supported.
    pub fn connect(&self, address: &SockAddr) -> io::Result<Socket> {
        let tcp = !address.is_unix();
        let (domain, protocol) = if tcp {
            (Domain::from(i32::from(address.family())), Some(Protocol::TCP))
        } else {
            (Domain::UNIX, None)
        };
        let socket = socket2::Socket::new(domain, Type::STREAM, protocol)?;
        if tcp {
            socket.set_tcp_nodelay(true)?;
        }
        let outcome = if tcp { Ok(()) } else { connect_at_once(&socket, address) };
        let socket = self.adopt(socket.into());
        let mut core = self.0.core.borrow_mut();
        match outcome {
            Ok(()) if tcp => core.start_connect(socket.index(), address.clone()),
            Ok(()) => {}
            Err(error) => {
                core.connect_failed(socket.index(), error.raw_os_error().unwrap_or(libc::EIO));
            }
        }
        drop(core);
        Ok(socket)
    }

    /// A socket for datagrams to and from `address` and nobody else, from a port that the kernel draws. It is connected at once; a
    /// datagram without bytes is received as an end.
    ///
    /// # Errors
    /// No descriptor is left, or `address` is not an IP address or is not reachable from here.
    pub fn connect_datagram(&self, address: &SockAddr) -> io::Result<Socket> {
        let domain = Domain::from(i32::from(address.family()));
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        // Nothing is sent, so that there is nothing to wait for.
        socket.connect(address)?;
        Ok(self.adopt(socket.into()))
    }

    /// Makes a socket fail for its holder as if the peer had reset the connection, after what has been received. Nothing
    /// happens when its holder has dropped it already.
    pub fn abort(&self, key: SocketKey) {
        self.0.core.borrow_mut().abort(key.index, key.generation);
    }

    /// What the ring has done so far.
    pub fn counters(&self) -> Counters {
        self.0.core.borrow().counters
    }

    /// Receive buffers in circulation, and how many of them the kernel may fill now.
    pub fn buffers(&self) -> (u16, u16) {
        (self.0.buffers.made(), self.0.buffers.available())
    }

    /// Whether there are more receive buffers than at the start, memory of such that is not given back yet, or pipes that are
    /// kept open.
    pub fn has_grown(&self) -> bool {
        self.0.buffers.has_grown() || self.0.core.borrow().pipes.count().1 > 0
    }

    /// One step of giving back the receive buffers that a burst needed, once they have not been needed for ten steps, and pipes
    /// that were of no use since the last step. To be taken about once a second while [`Ring::has_grown`]; a step takes less than
    /// a millisecond.
    pub fn trim(&self) {
        self.0.core.borrow_mut().trim();
    }

    /// Whether received bytes should be copied out rather than held: most of the buffers are in use and no more can be made.
    pub fn buffers_scarce(&self) -> bool {
        self.0.buffers.is_scarce()
    }

    /// Pipes in use by splices, and those kept for the next ones.
    pub fn pipes(&self) -> (u32, usize) {
        self.0.core.borrow().pipes.count()
    }

    /// Sockets and listeners in use, and operations in flight: both return to what they were once handles are dropped.
    pub fn in_use(&self) -> (u32, usize) {
        let core = self.0.core.borrow();
        (core.slots.used(), core.in_flight)
    }
}

/// Connects to a Unix path, which either succeeds or fails without waiting. Left to the ring, a listener whose queue is full
/// would block a thread of the kernel's that no cancel reaches.
fn connect_at_once(socket: &socket2::Socket, address: &SockAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    socket.set_nonblocking(false)
}

/// Rounds of waiting for cancelled operations before the ring's memory is left to the process: socket operations end at once
/// when cancelled, so more than a few rounds means that the kernel holds on to something.
const ENDING_ROUNDS_MAX: usize = 1000;

impl Drop for Shared {
    fn drop(&mut self) {
        self.ending.set(true);
        let core = self.core.get_mut();
        for fd in core.slots.open_descriptors().collect::<Vec<_>>() {
            crate::socket::close_now(fd);
        }
        core.cancel_everything();
        for _ in 0..ENDING_ROUNDS_MAX {
            core.enter(0);
            core.reap(usize::MAX);
            if core.in_flight == 0 && core.ring.submission().is_empty() {
                crate::socket::free(&mut self.core, &mut self.buffers);
                return;
            }
            std::thread::yield_now();
        }
        // Something still belongs to the kernel: leaking the core is safe, freeing it would not be.
    }
}

//! The data ring: moves bytes between sockets and shards through one `io_uring` per shard.
//!
//! Owns the ring, the receive buffers, the send buffers in flight, and every socket handed to it;
//! leaves protocols, deadlines and policy to its users. This is the only crate of the project that
//! holds `unsafe`.
//!
//! Invariants:
//! * The kernel never holds a pointer to memory that is not owned by the ring until the operation's
//!   last completion has come, whatever happens to the future that asked for it.
//! * Dropping a [`Socket`], [`Listener`] or a future at any moment leaks nothing: its operations are
//!   cancelled, its slot and buffers return when the last completion has come, its descriptor is closed.
//! * One ring is driven by one thread: [`Ring`] is neither `Send` nor `Sync`.

mod address;
mod buffers;
mod core;
mod inherit;
mod listener;
mod operation;
mod pipe;
mod prefetch;
mod probe;
mod ring;
mod send;
mod slots;
mod socket;
mod splice;
mod wakeup;

pub use crate::address::PeerAddress;
pub use crate::buffers::{BUFFER_BYTES, RecvBuf};
pub use crate::core::Counters;
pub use crate::inherit::inherited_listener;
pub use crate::listener::Listener;
pub use crate::pipe::PIPE_BYTES;
pub use crate::prefetch::prefetch;
pub use crate::probe::{ProbeError, probe};
pub use crate::ring::{Ring, Settings, Turn};
pub use crate::send::{IO_VECTORS_MAX, SendBuf};
pub use crate::slots::RECV_QUEUE_MAX;
pub use crate::socket::{ParkToken, Socket, SocketKey};
pub use crate::splice::{Filled, Splice};
pub use crate::wakeup::Wakeup;

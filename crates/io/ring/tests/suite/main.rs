//! The behaviour of the data ring against real sockets: what arrives, what leaves, what is given
//! back when anything is dropped at any moment.
//!
//! Owns every test that needs a kernel; leaves the packing and list arithmetic to the unit tests
//! beside it. Invariant: each test runs in [`rig::with_ring`], so that each also counts
//! descriptors, buffers, slots and operations afterwards, and one at a time, so that the counts are
//! its own.

mod accept;
mod buffers;
mod cancellation;
mod churn;
mod closing;
mod connect;
mod echo;
mod ending;
mod overflow;
mod parking;
mod peers;
mod receive;
mod rig;
mod send;
mod sleeping;
mod splicing;
mod traffic;
mod trim;

//! One shard: an isolated executor with its ring, tasks, timers and command queue.
//!
//! Owns the loop that gives each of them its turn; leaves what the tasks do to the data plane. Invariant: everything in
//! here belongs to one thread; the only things that cross threads are [`Sender`] and [`tidegate_ring::Wakeup`].

mod alarm;
mod clock;
mod commands;
mod executor;
mod tasks;
mod timers;

pub use alarm::{Alarm, Expired};
pub use clock::Clock;
pub use commands::{Full, Receiver, Sender, queue};
pub use executor::{ExecutorError, Service, Shard, ShardHandle, drive, own_payload, spawn};
pub use tasks::{PanicPayload, TaskId, Tasks};
pub use timers::{TimerId, Timers};

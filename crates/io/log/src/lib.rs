//! Lines of access logs from the shards to where they go: standard output, files, syslog sockets.
//!
//! Owns the ring between a shard and the thread that writes, that thread, and the targets; leaves what a line says to
//! `tidegate-access-log` and which log a frontend has to the configuration. Start at [`Logs::start`].
//!
//! **Invariant:** a shard never waits for a log and makes no system call for a line. What cannot be taken in time is
//! dropped, counted by its cause, and the count is written where the lines would have been: every line that was pushed
//! is counted as written or as dropped. A line arrives whole or not at all; where a target accepted a part, the rest
//! follows before anything else.

mod bell;
mod counters;
mod destination;
mod drain;
mod logs;
mod message;
mod outbox;
mod ring;
mod settings;
mod sink;

pub use counters::{Cause, Counts};
pub use logs::{LOGS_MAX, Log, LogId, Logs};
pub use message::Event;
pub use ring::{Pushed, RING_BYTES_MAX, Writer};
pub use settings::{Notices, Settings};

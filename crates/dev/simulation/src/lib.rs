//! The whole system in simulated time: clients, shards, the control plane and servers that misbehave, made of the real pure
//! packages.
//!
//! Owns the world around them: time, the channels between shards and their delays, connections, what servers do, and what must
//! hold after each step ([`World::step`]). Leaves every decision to `tidegate-balance`, `tidegate-queue`, `tidegate-health` and
//! `tidegate-exchange`; the glue between them follows that of `tidegate-proxy`. Invariant: the same seed gives the same history.

mod chance;
mod control;
mod driver;
mod hedge;
mod load;
mod reuse;
mod server;
mod setup;
mod shard;
mod watch;
mod world;

pub use reuse::{Load, Reuse, Sharing, reuse};
pub use world::{Report, World};

pub use setup::Setup;

//! Choosing a server, without I/O.
//!
//! This crate owns the balancing state of one backend in one shard: which servers may be chosen, with
//! which weight, and whose turn it is. It leaves to others: connections and their limits (the data
//! plane), whether a server is up (`tidegate-health` and the control plane), and when to try again
//! (`tidegate-exchange`).
//!
//! Invariant: a server that is not usable is never chosen, and a pick allocates nothing.
//!
//! ```
//! use std::time::Instant;
//! use tidegate_balance::{Ask, Idle, Policy, Pool, ServerSettings, ShardId, Weight};
//!
//! let weight = |weight| ServerSettings { weight: Weight::new(weight).unwrap(), backup: false };
//! let mut pool = Pool::new(&Policy::RoundRobin, &[weight(5), weight(1), weight(1)], ShardId(0), 1);
//! let ask = Ask { now: Instant::now(), random: 0, key: None, avoid: &[], loads: &Idle };
//! let turns: Vec<u32> = (0..7).map(|_| pool.pick(&ask).unwrap().0).collect();
//! assert_eq!(turns, [0, 1, 0, 0, 0, 2, 0]);
//! ```

mod ask;
mod pool;
mod round_robin;
mod server;

pub use ask::{Ask, Idle, Loads, NoServer};
pub use pool::{Policy, Pool};
pub use server::{Availability, ServerId, ServerSettings, ServerState, ShardId, Weight};

//! Choosing a server, without I/O.
//!
//! This crate owns the balancing state of one backend in one shard: which servers may be chosen, with
//! which weight, and which of them is next. It leaves to others: connections and their limits (the data
//! plane), whether a server is up (`tidegate-health` and the control plane), what a request's key is
//! (`tidegate-routing`), and when to try again (`tidegate-exchange`).
//!
//! Invariant: a server that is not usable is never chosen, and a pick allocates nothing, except the first one after
//! a change of the servers.
//!
//! ```
//! use std::time::Instant;
//! use tidegate_balance::{Ask, Idle, Plan, Policy, Pool, ServerSettings, ShardId, Weight};
//!
//! let server = |weight| ServerSettings { weight: Weight::new(weight).unwrap(), ..ServerSettings::default() };
//! let plan = Plan::new(Policy::RoundRobin.into(), &[server(5), server(1), server(1)]);
//! let mut pool = Pool::new(&plan, ShardId(0), 1);
//! let ask = Ask { now: Instant::now(), random: 0, key: None, avoid: &[], loads: &Idle };
//! let turns: Vec<u32> = (0..7).map(|_| pool.pick(&ask).unwrap().0).collect();
//! assert_eq!(turns, [0, 1, 0, 0, 0, 2, 0]);
//! ```

mod ask;
mod first;
mod hash;
mod latency;
mod least_conn;
mod pool;
mod prequal;
mod random;
mod round_robin;
mod server;
mod settings;
mod slow_start;
mod tournament;

pub use ask::{Ask, Idle, Loads, NoServer};
pub use pool::Pool;
pub use server::{Availability, ServerId, ServerSettings, ServerState, ShardId, Weight, identity};
pub use settings::{Backups, BalanceFactor, HashMethod, Plan, Policy, Settings};

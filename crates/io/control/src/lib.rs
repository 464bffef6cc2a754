//! The control plane: starts the shards, tells them what to do, and answers about the process.
//!
//! Owns configuration at run time, signals, listening sockets, the logs and the admin listener, all on one executor of its
//! own; leaves serving clients to the data plane. Invariant: nothing in here runs on a shard, and a configuration that does
//! not validate changes nothing.

mod access;
mod acme;
mod admin;
mod certificates;
mod discovery;
mod figures;
mod flood;
mod health;
mod installation;
mod link;
mod listen;
mod log;
mod privileges;
mod process;
mod publish;
mod queues;
mod runtime;
mod server_name;
mod shards;
mod signals;

pub use runtime::{Options, Ready, StartError, run};

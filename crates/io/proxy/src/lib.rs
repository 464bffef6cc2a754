//! The data plane of one shard: accepts connections, reads requests, finds a server, relays.
//!
//! Owns connections and what is in flight on them; leaves deciding to the pure crates, and configuration, health and
//! everything that may block to the control plane, which it knows only as the sender of [`Command`]s. Invariant: every
//! wait has a deadline, and a connection's failure or panic touches no other.

mod accept;
mod budget;
mod chores;
mod client;
mod command;
mod compression;
#[cfg(test)]
mod fixtures;
mod flow;
mod http1;
mod http2;
mod journal;
mod parked;
mod probing;
mod rules;
mod settings;
mod site;
mod spoken;
mod stream;
mod tally;
mod tunnel;
mod upstream;
mod worker;

pub use budget::Budget;
pub use command::{
    Command, Event, EventKind, ListenerId, ListenerSpec, Report, ServerChange, ServerStates,
};
pub use compression::Compression;
pub use journal::AccessLog;
pub use probing::{ProbeDialing, ProbeError, ProbeStream};
pub use rules::Verifier;
pub use settings::{
    BackendProtocol, BackendSettings, BindSettings, ClientTimeouts, ForwardedField, Forwarding,
    FrontendSettings, HandshakeLimits, OnMarkedDown, OwnFieldSettings, PoolSettings,
    RepeatSettings, ServerHttp2Settings, ServerSettings, Snapshot, StickSettings, Tables, reasons,
};
pub use upstream::place::{Location, Spot};
pub use upstream::queue::Handed;
pub use worker::{Context, run};

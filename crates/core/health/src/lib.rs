//! Whether servers are well: what checks say, what traffic says, and what follows for balancing.
//!
//! This crate owns the words of a check ([`Conversation`]), the rise and fall of a checked server
//! ([`Checked`]), when which check is due ([`Schedule`]), which server is an outlier in traffic
//! ([`Outlier`]), and how all of these make the standing of each server of a backend ([`Group`]). It
//! leaves to others: sockets, clocks and randomness (the control plane), counting outcomes (the data
//! plane), and choosing a server (`tidegate-balance`).
//!
//! Invariant: no answer of a server makes it panic, and what it keeps of an answer is bounded.

mod active;
mod agent;
mod content;
mod conversation;
mod event;
mod group;
mod grpc;
mod http;
mod outcome;
mod passive;
mod pattern;
mod presets;
mod schedule;
mod settings;
mod statuses;
mod steps;

pub use active::{Change, Checked};
pub use agent::{AgentError, AgentReport, Duty, parse_agent};
pub use conversation::{ANSWER_BYTES_MAX, Conversation, Next};
pub use event::{Event, What};
pub use group::{Group, GroupSettings, MemberSettings, Named, Standby, Standing};
pub use grpc::GrpcCheck;
pub use http::HttpCheck;
pub use outcome::{Failure, Fault, Outcome};
pub use passive::{Outlier, PassiveSettings, Sample, Sign};
pub use pattern::{Pattern, PatternError, hex};
pub use presets::Preset;
pub use schedule::Schedule;
pub use settings::{Initial, Probe, Timing};
pub use statuses::{StatusError, StatusSet};
pub use steps::Step;

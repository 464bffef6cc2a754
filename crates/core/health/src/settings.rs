//! How a server is checked and how often: what the configuration fills.
//!
//! Owns the types; leaves defaults and ranges to the configuration. Invariant: none of its own; the
//! machines that use these values take any of them.

use std::time::Duration;

use crate::grpc::GrpcCheck;
use crate::http::HttpCheck;
use crate::steps::Step;

/// What a check asks a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// To accept a connection.
    Tcp,
    /// For a response.
    Http(Box<HttpCheck>),
    /// For the state of a service, by the health service of gRPC. HTTP/2 has to carry it.
    Grpc(GrpcCheck),
    /// What the steps say, in their order.
    Exchange(Vec<Step>),
    /// How it is, in HAProxy's agent protocol, after sending this.
    Agent(Vec<u8>),
}

/// When a server is checked, and how often it must pass or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From one check to the next while all pass.
    pub interval: Duration,
    /// The same between the first sign of a change and the change.
    pub fast_interval: Duration,
    /// The same while all fail.
    pub down_interval: Duration,
    /// For a whole check, from the connection to the verdict.
    pub timeout: Duration,
    /// Checks in a row that must pass for a server to come up; at least 1.
    pub rise: u32,
    /// Checks in a row that must fail for a server to go down; at least 1.
    pub fall: u32,
    /// What a server counts as before its first check.
    pub initial: Initial,
}

/// What a server counts as before its first check. That check settles it, whatever `rise` and `fall`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// It takes requests at once.
    #[default]
    Up,
    /// It takes none.
    Down,
}

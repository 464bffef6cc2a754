//! Certificates that an authority gives out on request (ACME, RFC 8555).
//!
//! This crate owns the account, orders, renewal and storage, on a thread of its own. It leaves to others: showing certificates
//! and answering challenges (`tidegate-tls`, `tidegate-proxy`), and what the log and the metrics say (`tidegate-control`).
//!
//! Invariant: the data plane waits for nothing here, and what it shows is replaced only by what is better.
//!
//! Start at [`Worker`]; when something is due is decided in `schedule`, by pure functions.

mod account;
mod failure;
mod order;
mod schedule;
mod storage;
#[cfg(test)]
mod tests;
mod transport;
mod worker;

use std::path::PathBuf;
use std::time::SystemTime;

pub use failure::{Failure, Step};
pub use storage::prepare;
pub use worker::{Figures, Worker};

/// What the log is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A certificate is being ordered.
    Ordering {
        /// Its domains.
        domains: Vec<String>,
        /// The authority.
        directory: String,
        /// Why.
        reason: Reason,
    },
    /// It is there, and will be in use in a moment.
    Obtained {
        /// Its domains.
        domains: Vec<String>,
        /// Where it is kept.
        file: PathBuf,
        /// Its end.
        not_after: SystemTime,
        /// When it will be renewed.
        renew_at: SystemTime,
    },
    /// An order has failed.
    Failed {
        /// Its domains.
        domains: Vec<String>,
        /// The authority.
        directory: String,
        /// Why.
        failure: Failure,
        /// How many have in a row.
        failures: u32,
        /// When it is tried again.
        next: SystemTime,
        /// The end of the certificate that is in use meanwhile; none: there is none.
        until: Option<SystemTime>,
    },
    /// Another process is ordering with the same storage.
    Waiting {
        /// The domains.
        domains: Vec<String>,
    },
    /// There is an account now.
    AccountMade {
        /// The authority.
        directory: String,
        /// Its URL there.
        account: String,
        /// Where its key is kept.
        file: PathBuf,
    },
    /// The authority has forgotten the account.
    AccountUnknown {
        /// The authority.
        directory: String,
    },
    /// A kept certificate cannot be used.
    Unusable {
        /// Where it is kept.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why a certificate is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// The kept one is for other names.
    OtherNames,
    /// It is time.
    Renewal,
}

//! What resolving comes to.
//!
//! Owns the words for it: addresses, what is not there, and what went wrong. Invariant: that a name is not there is an answer; that
//! nobody could say is none.

use std::net::IpAddr;

use crate::message::Record;

/// The share of an address that gets the whole weight of its server.
pub const SHARE_WHOLE: u16 = 256;

/// An address that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Lower ones are used first: the priority of a service's record (RFC 2782), 0 for a host.
    pub tier: u16,
    /// The address.
    pub address: IpAddr,
    /// The port that a service's record names.
    pub port: Option<u16>,
    /// Its part of the weight that its server has, from 1 to [`SHARE_WHOLE`]; the greatest of a tier has all of it.
    pub share: u16,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing came in time.
    TimedOut,
    /// The resolver could not be reached.
    Unreachable,
    /// The resolver says that it failed (SERVFAIL).
    ServerFailure,
    /// The resolver does not answer such questions (REFUSED, NOTIMP, FORMERR, ...).
    Refused,
    /// What came could not be read.
    Malformed,
    /// One name stands for another, and that for another, too often.
    AliasesTooLong,
    /// No resolver is known.
    NoResolver,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 7] = [
        Fault::TimedOut,
        Fault::Unreachable,
        Fault::ServerFailure,
        Fault::Refused,
        Fault::Malformed,
        Fault::AliasesTooLong,
        Fault::NoResolver,
    ];

    /// Its word in metrics and log lines.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::ServerFailure => "server_failure",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::AliasesTooLong => "aliases_too_long",
            Self::NoResolver => "no_resolver",
        }
    }

    /// Its place in [`Fault::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        Self::ALL.iter().position(|fault| *fault == self).unwrap_or_default()
    }
}

/// The answer that there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists, without records of the type that was asked for.
    NoRecords,
}

impl Absence {
    /// Its word in metrics and log lines.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoSuchName => "no_such_name",
            Self::NoRecords => "no_records",
        }
    }
}

/// What one question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Records, at least one.
    Records {
        /// What they say.
        records: Vec<Record>,
        /// For how many seconds.
        ttl: u32,
    },
    /// There are none.
    Absent(Absence),
    /// Nobody could say.
    Failed(Fault),
}

/// What all questions about one name came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses, at least one, none twice.
    Found {
        /// The addresses, in an order that does not depend on that of the answer.
        endpoints: Vec<Endpoint>,
        /// For how many seconds.
        ttl: u32,
        /// Some of the questions failed: there may be more addresses.
        fault: Option<Fault>,
    },
    /// There are none.
    Absent(Absence),
    /// Nobody could say.
    Failed(Fault),
}

impl Outcome {
    /// The word of the result in metrics and log lines.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Found { fault: None, .. } => "found",
            Self::Found { fault: Some(fault), .. } | Self::Failed(fault) => fault.label(),
            Self::Absent(absence) => absence.label(),
        }
    }
}

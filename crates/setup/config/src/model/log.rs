//! The access log as the file describes it.
//!
//! Owns the types; leaves opening targets to the control plane and writing to `tidegate-log`. Invariant: as in `model`.

use tidegate_access_log::{Captures, Facility, Format, Framing, Sampling, Severity, Target};

use crate::defaults;

/// `[global.log]`: where lines of the access log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTargets {
    /// Each line goes to every one of them; at least one, none twice.
    pub to: Vec<Target>,
    /// The facility of syslog messages.
    pub facility: Facility,
    /// What stands around a line; `None`: what is usual for the target.
    pub framing: Option<Framing>,
    /// The name of the program in syslog messages.
    pub tag: String,
    /// The name of this host in syslog messages; `None`: that of the machine where messages leave it.
    pub host: Option<String>,
    /// The least severe that is logged.
    pub level: Severity,
}

/// What a frontend logs.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendLog {
    /// How a request becomes a line.
    pub format: Format,
    /// The headers that the line shows.
    pub captures: Captures,
    /// Which requests are logged.
    pub sampling: Sampling,
    /// Whether connections that sent nothing are logged.
    pub empty_connections: bool,
}

impl Default for FrontendLog {
    fn default() -> Self {
        Self {
            format: Format::HTTP,
            captures: Captures::new(),
            sampling: Sampling::ALL.with_all_errors(),
            empty_connections: defaults::LOG_EMPTY_CONNECTIONS,
        }
    }
}

//! What the configuration says about one log.
//!
//! Owns the settings of a target and its frame; leaves formats to the frontends. Invariant: equal settings are one
//! log, so that a reload that does not change them changes nothing.

use tidegate_access_log::{Facility, Framing, Target};

/// How a message about lost lines looks among the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notices {
    /// `tidegate: 12 lines lost (slow)`
    Text,
    /// `{"event":"lines_lost","lines":12,"cause":"slow"}`, for logs of JSON.
    Json,
    /// There is none; [`Event`](crate::Event) tells.
    None,
}

/// One log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where lines go.
    pub target: Target,
    /// What stands around them.
    pub framing: Framing,
    /// The syslog facility.
    pub facility: Facility,
    /// The name of this host in syslog headers; none is right for sockets of this machine.
    pub host: Option<String>,
    /// The name of the program in syslog headers.
    pub tag: String,
    /// The time zone of the dates in syslog headers, in seconds east of UTC.
    pub utc_offset_seconds: i32,
    /// How lost lines are told in the log itself.
    pub notices: Notices,
}

impl Settings {
    /// The usual settings of a target: its own framing, `local0`, the tag `tidegate`, UTC, text.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            framing: target.default_framing(),
            target,
            facility: Facility::LOCAL0,
            host: None,
            tag: "tidegate".to_owned(),
            utc_offset_seconds: 0,
            notices: Notices::Text,
        }
    }
}

//! One line of the access log: what it can say, how it is written, and where it may go.
//!
//! Owns the [`Record`] of a finished request or connection, the formats ([`Format`]), the meaning of the
//! termination state ([`Ending`]), sampling, and the texts around a line that syslog wants. Leaves to others what is
//! measured (the data plane), and moving bytes (`tidegate-log`). Reads no clock and does no I/O; a line is written
//! without allocating.
//!
//! **Invariant:** a record is one line. Whatever bytes a client or a server sent, the text holds no line break, no
//! control character and no way to end a quoted field early, and it is no longer than [`LINE_BYTES_MAX`].

mod address;
mod captures;
mod date;
mod ending;
mod escape;
mod fields;
mod format;
mod haproxy;
mod json;
mod line;
mod record;
mod sampling;
mod severity;
mod syslog;
mod target;
mod template;
mod value;

pub use captures::{CAPTURES_MAX, Capture, Captures};
pub use date::{DateCache, Timestamp};
pub use ending::{Ending, RequestCookie, ResponseCookie};
pub use fields::{FIELDS, FieldInfo};
pub use format::{FORMAT_BYTES_MAX, Format, FormatError, FormatErrorKind};
pub use line::{LINE_BYTES_MAX, Line};
pub use record::{
    Address, Connections, Cookies, Extra, Micros, Protocol, Queues, REQUEST_TARGET_BYTES_MAX,
    Record, Request, Retries, Times, Tls, Traffic, VALUE_BYTES_MAX,
};
pub use sampling::{Sampler, Sampling, SamplingError};
pub use severity::{Facility, Severity};
pub use syslog::{Framing, SYSLOG_HEADER_BYTES_MAX, SyslogHeader, append_octet_count};
pub use target::{HostPort, Target, TargetError};

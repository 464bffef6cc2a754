//! The text that syslog wants around a message.
//!
//! Owns the headers of RFC 3164 and RFC 5424 and the octet counts of RFC 6587; leaves sockets to `tidegate-log`.
//! Invariant: a header is printable ASCII without a line break whatever the names in it were, and at most
//! [`SYSLOG_HEADER_BYTES_MAX`] long.

use crate::date::{DateCache, Timestamp};
use crate::severity::{Facility, Severity};

/// The longest header: priority 5, version 2, date 33, host 256, tag 49, process id 13, and `- - `.
pub const SYSLOG_HEADER_BYTES_MAX: usize = 512;

/// The most of a host's name (RFC 5424 §6).
const HOST_BYTES_MAX: usize = 255;

/// The most of an application's name (RFC 5424 §6); RFC 3164 says 32, which no reader minds.
const TAG_BYTES_MAX: usize = 48;

/// What stands around a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Nothing: the line as it is.
    Plain,
    /// The old syslog header (RFC 3164 §4.1): `<134>Feb  6 12:14:14 host tidegate[123]: `.
    Rfc3164,
    /// The new syslog header (RFC 5424 §6): `<134>1 2009-02-06T12:14:14.655123Z host tidegate 123 - - `.
    Rfc5424,
}

/// Makes the headers of one log.
#[derive(Clone, Debug)]
pub struct SyslogHeader {
    framing: Framing,
    facility: Facility,
    /// What stands between the date and the message, blanks included.
    middle: Vec<u8>,
}

impl SyslogHeader {
    /// Headers with these names. Without a host the old header has none, which is what `/dev/log` expects, and the
    /// new one has `-`. Bytes that a header cannot hold become `_`.
    #[must_use]
    pub fn new(
        framing: Framing,
        facility: Facility,
        host: Option<&str>,
        tag: &str,
        process_id: u32,
    ) -> Self {
        let host = host.filter(|host| !host.is_empty());
        let tag = name(tag, TAG_BYTES_MAX);
        let middle = match (framing, host.map(|host| name(host, HOST_BYTES_MAX))) {
            (Framing::Plain, _) => String::new(),
            (Framing::Rfc3164, None) => format!(" {tag}[{process_id}]: "),
            (Framing::Rfc3164, Some(host)) => format!(" {host} {tag}[{process_id}]: "),
            (Framing::Rfc5424, host) => {
                format!(" {} {tag} {process_id} - - ", host.as_deref().unwrap_or("-"))
            }
        };
        Self { framing, facility, middle: middle.into_bytes() }
    }

    /// Appends the header of a message of this severity at this moment.
    pub fn append(
        &self,
        severity: Severity,
        at: Timestamp,
        dates: &mut DateCache,
        out: &mut Vec<u8>,
    ) {
        if self.framing == Framing::Plain {
            return;
        }
        out.push(b'<');
        append_number(self.facility.priority(severity).into(), out);
        out.push(b'>');
        match self.framing {
            Framing::Rfc3164 => dates.append_rfc3164(at, out),
            Framing::Rfc5424 => {
                out.extend_from_slice(b"1 ");
                dates.append_rfc5424(at, out);
            }
            Framing::Plain => {}
        }
        out.extend_from_slice(&self.middle);
    }
}

/// Appends the octet count that opens a message on a stream (RFC 6587 §3.4.1).
pub fn append_octet_count(message_bytes: usize, out: &mut Vec<u8>) {
    append_number(u64::try_from(message_bytes).unwrap_or(u64::MAX), out);
    out.push(b' ');
}

fn append_number(number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut rest, mut at) = ([0; 20], number, 20);
    while at > 0 {
        at -= 1;
        let [digit, ..] = (rest % 10).to_le_bytes();
        digits[at] = b'0' + digit;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Printable and not blank, not longer than allowed, never empty.
fn name(text: &str, bytes_max: usize) -> String {
    let printable = |one: char| if one.is_ascii_graphic() { one } else { '_' };
    let name: String = text.chars().take(bytes_max).map(printable).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_233_922_454_655_123);

    fn header(framing: Framing, host: Option<&str>, tag: &str) -> String {
        let mut out = Vec::new();
        let header = SyslogHeader::new(framing, Facility::LOCAL0, host, tag, 123);
        header.append(Severity::Info, AT, &mut DateCache::new(0), &mut out);
        String::from_utf8(out).expect("a header is ASCII")
    }

    #[test]
    fn headers_are_those_of_the_rfcs() {
        let cases = [
            (Framing::Plain, Some("h"), ""),
            (Framing::Rfc3164, None, "<134>Feb  6 12:14:14 tidegate[123]: "),
            (Framing::Rfc3164, Some("h"), "<134>Feb  6 12:14:14 h tidegate[123]: "),
            (Framing::Rfc5424, None, "<134>1 2009-02-06T12:14:14.655123Z - tidegate 123 - - "),
            (Framing::Rfc5424, Some("h"), "<134>1 2009-02-06T12:14:14.655123Z h tidegate 123 - - "),
        ];
        for (framing, host, expected) in cases {
            assert_eq!(header(framing, host, "tidegate"), expected);
        }
    }

    #[test]
    fn names_cannot_break_a_header() {
        let header = header(Framing::Rfc5424, Some(&"h\n ".repeat(1000)), "a b\u{e9}");
        assert!(header.len() <= SYSLOG_HEADER_BYTES_MAX);
        assert!(header.bytes().all(|byte| (b' '..0x7F).contains(&byte)));
        assert_eq!(header.split(' ').count(), 8);
        assert!(header.ends_with(" a_b_ 123 - - "));
    }

    #[test]
    fn octets_are_counted_in_decimal() {
        for count in [0, 9, 10, 8192, usize::MAX] {
            let mut out = Vec::new();
            append_octet_count(count, &mut out);
            assert_eq!(out, format!("{count} ").into_bytes());
        }
    }
}

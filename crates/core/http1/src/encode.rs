//! Heads on their way out: what an intermediary has to change, and otherwise the bytes as received.
//!
//! Owns which lines of a received head are passed on (RFC 9110 §7.6.1) and how framing is written;
//! what a caller may ask for is in `edits`. Invariant: what is written
//! re-parses to the framing announced here, and has no hop-by-hop header but the `Connection` (and
//! `Upgrade`) asked for, or that a 426 needs.
//!
//! Runs of lines that are kept are copied as one piece, so a head with nothing to change is a
//! single copy.

use crate::edits::{
    BodyFraming, ConnectionHeader, HeaderEdits, NewStart, RequestEdits, ResponseEdits,
    SimpleResponse, may_be_added,
};
use crate::framing::BodyLength;
use crate::header::{HeaderKind, HeaderLine, HeaderTable};
use crate::message::{Method, Version, reason_phrase};
use crate::request::RequestHead;
use crate::response::ResponseHead;
use crate::target::TargetForm;

/// Room for what is written besides received lines and additions: start line, framing, connection.
const OWN_BYTES_MAX: usize = 160;

/// What is never passed on as received, whatever the edits say.
const HOP_BY_HOP: u16 =
    HeaderKind::Connection as u16 | HeaderKind::HopByHop as u16 | HeaderKind::Listed as u16;

/// Appends the request head as it goes to a server: HTTP/1.1, origin-form, Host first, one framing
/// header at most.
///
/// `buf` is the buffer that `head` was parsed from. An HTTP/1.0 request without Host gets an empty
/// one (RFC 9112 §3.2) unless the edits give one.
pub fn encode_request_head<H: HeaderEdits>(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &RequestHead,
    edits: &RequestEdits<'_, H>,
) {
    out.reserve(head.head_bytes() + OWN_BYTES_MAX);
    let mut dropped = HOP_BY_HOP | HeaderKind::TransferEncoding.bit();
    if edits.connection != ConnectionHeader::Upgrade {
        dropped |= HeaderKind::Upgrade.bit();
    }
    if !(edits.expect_continue && head.expects_continue()) {
        dropped |= HeaderKind::Expect.bit();
    }
    let length = head.table.line_of(HeaderKind::ContentLength);
    let length_is_final = length.is_some_and(|line| is_final_length(buf, line));
    if !length_is_final {
        dropped |= HeaderKind::ContentLength.bit();
    }
    let start = if edits.start.is_none() && host_is_final(buf, head) {
        head.start()
    } else {
        dropped |= HeaderKind::Host.bit();
        write_start(out, buf, head, edits.start.copied().unwrap_or_default());
        head.table.start()
    };
    copy_lines(out, buf, start, &head.table, &Selection { dropped, edits: &edits.headers });
    match (head.body(), length) {
        (BodyLength::Chunked, _) => write_line(out, b"Transfer-Encoding", b"chunked"),
        (BodyLength::Length(_), Some(line)) if !length_is_final => write_length(out, buf, line),
        _ => {}
    }
    write_connection(out, edits.connection, Version::Http11);
    write_added(out, &edits.headers);
    out.extend_from_slice(b"\r\n");
}

/// Appends the response head as it goes to a client: HTTP/1.1, one framing header at most.
///
/// `buf` is the buffer that `head` was parsed from. 1xx and 204 never carry framing headers;
/// responses to HEAD, and 304, keep the length they announce. A 426 keeps its `Upgrade`, which must
/// say what is asked for (RFC 9110 §15.5.22), and `Connection` lists it (§7.8). Returns the status
/// that was written.
pub fn encode_response_head<H: HeaderEdits>(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    edits: &ResponseEdits<H>,
) -> u16 {
    let new_status = edits.status.filter(|&status| may_replace(head.status(), status));
    let status = new_status.unwrap_or(head.status());
    if status == UPGRADE_REQUIRED {
        encode_upgrade_required(out, buf, head, edits, new_status);
        return status;
    }
    let connection = encode_response_fields(out, buf, head, edits, new_status);
    write_connection(out, connection, edits.client_version);
    end_response(out, edits);
    status
}

/// The head up to where `Connection` follows, and what that says. A call of it would cost every
/// response more than the rare one that it is shared with.
#[inline(always)]
fn encode_response_fields<H: HeaderEdits>(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    edits: &ResponseEdits<H>,
    new_status: Option<u16>,
) -> ConnectionHeader {
    out.reserve(head.head_bytes() + OWN_BYTES_MAX);
    let mut dropped = HOP_BY_HOP | HeaderKind::TransferEncoding.bit();
    if edits.connection != ConnectionHeader::Upgrade {
        dropped |= HeaderKind::Upgrade.bit();
    }
    let framing = response_framing(head, edits.body, edits.client_version);
    let length = head.table.line_of(HeaderKind::ContentLength);
    let length_is_final =
        framing == ResponseFraming::Length && length.is_some_and(|line| is_final_length(buf, line));
    if !length_is_final {
        dropped |= HeaderKind::ContentLength.bit();
    }
    let start = if new_status.is_none() && status_line_is_final(buf, head) {
        0
    } else {
        write_status_line(out, buf, head, new_status);
        head.table.start()
    };
    copy_lines(out, buf, start, &head.table, &Selection { dropped, edits: &edits.headers });
    match (framing, length) {
        (ResponseFraming::Chunked, _) => write_line(out, b"Transfer-Encoding", b"chunked"),
        (ResponseFraming::Length, Some(line)) if !length_is_final => write_length(out, buf, line),
        _ => {}
    }
    let ends_by_closing = framing == ResponseFraming::UntilClose;
    match edits.connection {
        ConnectionHeader::KeepAlive if ends_by_closing => ConnectionHeader::Close,
        connection => connection,
    }
}

#[inline]
fn end_response<H: HeaderEdits>(out: &mut Vec<u8>, edits: &ResponseEdits<H>) {
    write_added(out, &edits.headers);
    out.extend_from_slice(b"\r\n");
}

/// 426.
const UPGRADE_REQUIRED: u16 = 426;

/// A response that keeps its `Upgrade`, if it has one, although nothing is switched yet.
#[cold]
fn encode_upgrade_required<H: HeaderEdits>(
    out: &mut Vec<u8>,
    buf: &[u8],
    head: &ResponseHead,
    edits: &ResponseEdits<H>,
    new_status: Option<u16>,
) {
    let connection = encode_response_fields(out, buf, head, edits, new_status);
    if head.table.kinds() & HeaderKind::Upgrade.bit() == 0 {
        write_connection(out, connection, edits.client_version);
        return end_response(out, edits);
    }
    if connection != ConnectionHeader::Upgrade {
        for line in head.table.lines().iter().filter(|line| line.kind == HeaderKind::Upgrade) {
            write_line(out, b"Upgrade", line.value.bytes(buf));
        }
    }
    let options: &[u8] = match (connection, edits.client_version) {
        (ConnectionHeader::KeepAlive, Version::Http10) => b"keep-alive, upgrade",
        (ConnectionHeader::KeepAlive, Version::Http11) | (ConnectionHeader::Upgrade, _) => {
            b"upgrade"
        }
        (ConnectionHeader::Close, _) => b"close, upgrade",
    };
    write_line(out, b"Connection", options);
    end_response(out, edits);
}

/// Appends a complete response of the proxy's own.
pub fn encode_simple_response<H: HeaderEdits>(out: &mut Vec<u8>, response: &SimpleResponse<'_, H>) {
    out.reserve(response.body.len() + OWN_BYTES_MAX);
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(response.status));
    out.push(b' ');
    out.extend_from_slice(reason_phrase(response.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let has_content = !matches!(response.status, 100..200 | 204 | 304);
    if has_content {
        out.extend_from_slice(b"Content-Length: ");
        write_decimal(out, response.body.len() as u64);
        out.extend_from_slice(b"\r\n");
    }
    write_connection(out, response.connection, response.client_version);
    write_added(out, &response.headers);
    out.extend_from_slice(b"\r\n");
    if has_content && response.method != Method::Head {
        out.extend_from_slice(response.body);
    }
}

/// Whether `new` may stand in the place of `received`: both leave it to the framing headers whether
/// there is a body, so that the framing stays right.
#[inline]
fn may_replace(received: u16, new: u16) -> bool {
    let leaves_body_open = |status| matches!(status, 200..=203 | 206..=303 | 305..=599);
    leaves_body_open(received) && leaves_body_open(new)
}

/// The framing that the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResponseFraming {
    /// No framing header, and no body.
    None,
    /// The received `Content-Length`.
    Length,
    Chunked,
    UntilClose,
}

#[inline]
fn response_framing(
    head: &ResponseHead,
    body: BodyFraming,
    client_version: Version,
) -> ResponseFraming {
    if !head.may_declare_length() {
        return ResponseFraming::None;
    }
    let has_body = head.body() != BodyLength::None;
    let framing = match body {
        BodyFraming::UntilClose if has_body => ResponseFraming::UntilClose,
        BodyFraming::Chunked if has_body => ResponseFraming::Chunked,
        BodyFraming::Undeclared if !has_body => ResponseFraming::None,
        BodyFraming::AsReceived
        | BodyFraming::UntilClose
        | BodyFraming::Chunked
        | BodyFraming::Undeclared => match (head.framing.declared(head.body()), has_body) {
            (BodyLength::Chunked, _) => ResponseFraming::Chunked,
            (BodyLength::Length(_), _) => ResponseFraming::Length,
            (_, true) => ResponseFraming::UntilClose,
            (_, false) => ResponseFraming::None,
        },
    };
    match (framing, client_version) {
        (ResponseFraming::Chunked, Version::Http10) if has_body => ResponseFraming::UntilClose,
        (ResponseFraming::Chunked, Version::Http10) => ResponseFraming::None,
        (framing, _) => framing,
    }
}

/// Which lines are left out.
struct Selection<'a, H> {
    /// By kind, as a mask.
    dropped: u16,
    /// By name.
    edits: &'a H,
}

impl<H: HeaderEdits> Selection<'_, H> {
    #[inline]
    fn drops(&self, buf: &[u8], line: &HeaderLine) -> bool {
        if line.kind.bit() & self.dropped != 0 {
            return true;
        }
        line.kind == HeaderKind::EndToEnd && self.edits.removes(line.name.bytes(buf))
    }
}

/// Copies `buf` from `start` to the end of the last header line, without the lines that `selection`
/// drops. Always inlined: as a function of its own it costs a small head 7 % more instructions.
#[inline(always)]
fn copy_lines<H: HeaderEdits>(
    out: &mut Vec<u8>,
    buf: &[u8],
    start: usize,
    table: &HeaderTable,
    selection: &Selection<'_, H>,
) {
    let mut run_start = Some(start);
    if table.kinds() & selection.dropped != 0 || selection.edits.removes_any() {
        for line in table.lines() {
            match (run_start, selection.drops(buf, line)) {
                (Some(from), true) => {
                    out.extend_from_slice(&buf[from..line.name.start()]);
                    run_start = None;
                }
                (None, false) => run_start = Some(line.name.start()),
                (Some(_), false) | (None, true) => {}
            }
        }
    }
    if let Some(from) = run_start {
        out.extend_from_slice(&buf[from..table.end()]);
    }
}

#[inline]
fn write_added<H: HeaderEdits>(out: &mut Vec<u8>, edits: &H) {
    edits.each_added(|name, value| {
        if may_be_added(name) {
            write_line(out, name, value);
        }
    });
}

/// Whether request line and Host can be copied with the lines that follow: origin-form, HTTP/1.1,
/// Host first.
#[inline]
fn host_is_final(buf: &[u8], head: &RequestHead) -> bool {
    let first = head.table.lines().first();
    head.start_is_final()
        && first.is_some_and(|line| line.kind == HeaderKind::Host && line.is_plain(buf))
}

/// Whether a `Content-Length` line can be copied: plain, and without leading zeros.
#[inline]
fn is_final_length(buf: &[u8], line: &HeaderLine) -> bool {
    line.is_plain(buf) && (line.value.len == 1 || line.value.bytes(buf).first() != Some(&b'0'))
}

fn write_length(out: &mut Vec<u8>, buf: &[u8], line: &HeaderLine) {
    let mut digits = line.value.bytes(buf);
    while let [b'0', rest @ ..] = digits
        && !rest.is_empty()
    {
        digits = rest;
    }
    write_line(out, b"Content-Length", digits);
}

fn write_start(out: &mut Vec<u8>, buf: &[u8], head: &RequestHead, new: NewStart<'_>) {
    out.extend_from_slice(new.method.unwrap_or_else(|| head.method_bytes(buf)));
    out.push(b' ');
    if let Some(target) = new.target {
        out.extend_from_slice(target);
    } else if head.target_form() == TargetForm::Authority {
        out.extend_from_slice(head.target(buf));
    } else {
        let path = head.path_and_query(buf);
        if path.first() == Some(&b'?') {
            out.push(b'/');
        }
        out.extend_from_slice(path);
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_line(out, b"Host", new.host.unwrap_or_else(|| head.host(buf)));
}

/// Where a status line's reason phrase begins, after `HTTP/1.1 200 `.
const REASON_START: usize = 13;

#[inline]
fn status_line_is_final(buf: &[u8], head: &ResponseHead) -> bool {
    head.version() == Version::Http11 && buf.get(REASON_START - 1) == Some(&b' ')
}

fn write_status_line(out: &mut Vec<u8>, buf: &[u8], head: &ResponseHead, new_status: Option<u16>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(out, u64::from(new_status.unwrap_or_else(|| head.status())));
    out.push(b' ');
    let line_end = head.table.start() - 2;
    out.extend_from_slice(match new_status {
        Some(status) => reason_phrase(status).as_bytes(),
        None => buf.get(REASON_START..line_end).unwrap_or_default(),
    });
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn write_connection(out: &mut Vec<u8>, connection: ConnectionHeader, peer: Version) {
    match (connection, peer) {
        (ConnectionHeader::KeepAlive, Version::Http11) => {}
        (ConnectionHeader::KeepAlive, Version::Http10) => {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        (ConnectionHeader::Close, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (ConnectionHeader::Upgrade, _) => out.extend_from_slice(b"Connection: upgrade\r\n"),
    }
}

#[inline]
fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).expect("a remainder of 10 fits a byte");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

//! A check by the health service of gRPC (grpc.health.v1): what is asked, and what the answer says.
//!
//! Owns the two messages, each with one field, and the judgement; leaves HTTP/2 to whoever carries the request's text, and the text
//! to `tidegate-http1`. Invariant: no more of an answer is kept than it can need.

use tidegate_http1::{Limits, Method, Parsed, ResponseContext, ResponseHead, parse_response};

use crate::content::Framing;
use crate::conversation::Next;
use crate::outcome::{Failure, Fault, Outcome, excerpt};

/// Bytes of a message: one small number, and fields that this side does not know.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service by its full name; empty: the server as a whole.
    pub service: String,
    /// The `:authority`; none: the address that is checked.
    pub host: Option<String>,
}

impl GrpcCheck {
    /// The request to the server at `authority`, as the text that HTTP/2 carries.
    #[must_use]
    pub fn request(&self, authority: &str) -> Vec<u8> {
        let message = health_check_request(&self.service);
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let host = self.host.as_deref().unwrap_or(authority);
        let head = format!(
            "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: {host}\r\n\
             User-Agent: tidegate-health-check\r\nContent-Type: application/grpc\r\n\
             Content-Length: {}\r\n\r\n",
            PREFIX_BYTES + message.len()
        );
        let mut request = head.into_bytes();
        request.push(0);
        request.extend_from_slice(&length.to_be_bytes());
        request.extend_from_slice(&message);
        request
    }
}

/// `HealthCheckRequest { string service = 1; }`
fn health_check_request(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    // proto3 leaves out what is empty.
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        push_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    message
}

fn push_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The `status` of `HealthCheckResponse { ServingStatus status = 1; }`; none: it is no such message.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let bytes = match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(bytes..)?;
    }
    Some(status)
}

enum Reading {
    /// The head, from these bytes.
    Head(Vec<u8>),
    Body(Framing),
}

/// The response of one check.
pub(crate) struct Response {
    reading: Reading,
    message: Vec<u8>,
    trailers: Vec<u8>,
    /// From the head, where the response has nothing else.
    status: Option<(String, String)>,
}

impl Response {
    pub(crate) fn new() -> Self {
        Self {
            reading: Reading::Head(Vec::new()),
            message: Vec::new(),
            trailers: Vec::new(),
            status: None,
        }
    }

    pub(crate) fn received(&mut self, bytes: &[u8]) -> Next {
        match &mut self.reading {
            Reading::Head(head) => {
                head.extend_from_slice(bytes);
                self.read_head()
            }
            Reading::Body(_) => self.read_body(bytes),
        }
    }

    /// The server has ended.
    pub(crate) fn closed(&self) -> Outcome {
        match &self.reading {
            Reading::Head(bytes) => Failure { fault: Fault::Closed, detail: excerpt(bytes) }.into(),
            Reading::Body(Framing::UntilClose) => self.judge(),
            Reading::Body(_) => Failure::new(Fault::Closed).into(),
        }
    }

    fn read_head(&mut self) -> Next {
        loop {
            let Reading::Head(bytes) = &mut self.reading else { return Next::Receive };
            let mut head = ResponseHead::new();
            let context = ResponseContext { method: Method::Post, upgrade_requested: false };
            let head_bytes = match parse_response(bytes, &Limits::default(), context, &mut head) {
                Ok(Parsed::Complete { head_bytes }) => head_bytes,
                Ok(Parsed::Incomplete) => return Next::Receive,
                Err(error) => {
                    let detail = error.reason().to_owned();
                    return Next::Ended(Failure { fault: Fault::Malformed, detail }.into());
                }
            };
            let rest = bytes.split_off(head_bytes);
            if head.is_interim() {
                self.reading = Reading::Head(rest);
                continue;
            }
            if head.status() != 200 {
                let detail = format!("{} instead of a gRPC status", head.status());
                return Next::Ended(Failure { fault: Fault::Status, detail }.into());
            }
            self.status = status_of(head.headers(bytes));
            self.reading = Reading::Body(Framing::of(head.body()));
            return self.read_body(&rest);
        }
    }

    fn read_body(&mut self, bytes: &[u8]) -> Next {
        let Self { reading: Reading::Body(framing), message, trailers, .. } = self else {
            return Next::Receive;
        };
        match framing.add(bytes, message, |lines| trailers.extend_from_slice(lines)) {
            _ if message.len() > MESSAGE_BYTES_MAX => {
                let detail = "the answer is too long".to_owned();
                Next::Ended(Failure { fault: Fault::Malformed, detail }.into())
            }
            Ok(true) => Next::Ended(self.judge()),
            Ok(false) => Next::Receive,
            Err(failure) => Next::Ended(failure.into()),
        }
    }

    fn judge(&self) -> Outcome {
        let lines = self.trailers.split(|&byte| byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        });
        let Some((code, message)) = status_of(lines).or_else(|| self.status.clone()) else {
            let detail = "no grpc-status".to_owned();
            return Failure { fault: Fault::Malformed, detail }.into();
        };
        if code != "0" {
            let detail = format!("grpc-status {code} {message}").trim_end().to_owned();
            return Failure { fault: Fault::Grpc, detail }.into();
        }
        let status = self.message.get(PREFIX_BYTES..).filter(|_| self.message[0] == 0);
        let detail = match status.and_then(serving_status) {
            Some(1) => return Outcome::Passed,
            Some(0) => "UNKNOWN".to_owned(),
            Some(2) => "NOT_SERVING".to_owned(),
            Some(3) => "SERVICE_UNKNOWN".to_owned(),
            Some(other) => format!("status {other}"),
            None => {
                let detail = excerpt(&self.message);
                return Failure { fault: Fault::Malformed, detail }.into();
            }
        };
        Failure { fault: Fault::Grpc, detail }.into()
    }
}

/// The `grpc-status` and `grpc-message` among fields.
fn status_of<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<(String, String)> {
    let (mut status, mut message) = (None, String::new());
    for (name, value) in fields {
        if name.eq_ignore_ascii_case(b"grpc-status") {
            status = Some(excerpt(value));
        } else if name.eq_ignore_ascii_case(b"grpc-message") {
            message = excerpt(value);
        }
    }
    status.map(|status| (status, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(fault: Fault, detail: &str) -> Outcome {
        Failure { fault, detail: detail.to_owned() }.into()
    }

    #[test]
    fn a_request_names_its_service() {
        let check = GrpcCheck { service: "a.B".to_owned(), host: None };
        let request = check.request("10.0.0.1:50051");
        let text = String::from_utf8_lossy(&request);
        assert!(text.starts_with("POST /grpc.health.v1.Health/Check HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("\r\nHost: 10.0.0.1:50051\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 10\r\n"), "{text}");
        assert!(request.ends_with(b"\r\n\r\n\x00\x00\x00\x00\x05\x0a\x03a.B"), "{text}");
        let whole = GrpcCheck { host: Some("app".to_owned()), ..GrpcCheck::default() };
        let request = whole.request("10.0.0.1:50051");
        assert!(request.ends_with(b"\r\n\r\n\x00\x00\x00\x00\x00"));
        assert!(String::from_utf8_lossy(&request).contains("\r\nHost: app\r\n"));
        let long = GrpcCheck { service: "s".repeat(300), host: None };
        let request = long.request("a");
        let at = request.len() - 300 - 3;
        assert_eq!(request[at..at + 3], [0x0a, 0xac, 0x02]);
    }

    #[test]
    fn messages_are_read_or_refused() {
        for (message, expected) in [
            (&b""[..], Some(0)),
            (b"\x08\x01", Some(1)),
            (b"\x08\x02", Some(2)),
            (b"\x08\x80\x01", Some(128)),
            // Unknown fields of every kind, before and behind.
            (b"\x10\x05\x08\x01\x1a\x02ab\x25\x01\x02\x03\x04\x29\x01\x02\x03\x04\x05\x06\x07\x08", Some(1)),
            (b"\x08\x01\x08\x02", Some(2)),
            (b"\x08", None),
            (b"\x08\x80", None),
            (b"\x1a\x05ab", None),
            (b"\x0b", None),
            (b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", None),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(serving_status(message), expected, "{message:?}");
        }
    }

    #[test]
    fn answers_are_judged_however_they_are_cut() {
        let chunked = |message: &[u8], trailers: &str| {
            let mut text = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            if !message.is_empty() {
                text.extend_from_slice(format!("{:x}\r\n", message.len()).as_bytes());
                text.extend_from_slice(message);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
            text
        };
        let only = |fields: &str| {
            format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n").into_bytes()
        };
        const SERVING: &[u8] = b"\x00\x00\x00\x00\x02\x08\x01";
        const NOT_SERVING: &[u8] = b"\x00\x00\x00\x00\x02\x08\x02";
        for (answer, expected) in [
            (chunked(SERVING, "grpc-status: 0\r\n"), Outcome::Passed),
            (chunked(NOT_SERVING, "grpc-status: 0\r\n"), failed(Fault::Grpc, "NOT_SERVING")),
            (
                chunked(b"\x00\x00\x00\x00\x00", "grpc-status: 0\r\n"),
                failed(Fault::Grpc, "UNKNOWN"),
            ),
            (chunked(SERVING, ""), failed(Fault::Malformed, "no grpc-status")),
            (chunked(SERVING, "grpc-status: 13\r\n"), failed(Fault::Grpc, "grpc-status 13")),
            (
                only("grpc-status: 12\r\ngrpc-message: no Health\r\n"),
                failed(Fault::Grpc, "grpc-status 12 no Health"),
            ),
            (only("grpc-status: 0\r\n"), failed(Fault::Malformed, "")),
            (
                b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(),
                failed(Fault::Status, "503 instead of a gRPC status"),
            ),
            (
                chunked(&[0; 5000], "grpc-status: 0\r\n"),
                failed(Fault::Malformed, "the answer is too long"),
            ),
        ] {
            for step in [1, 7, answer.len()] {
                let mut response = Response::new();
                let ended = answer.chunks(step).find_map(|piece| match response.received(piece) {
                    Next::Ended(outcome) => Some(outcome),
                    _ => None,
                });
                let text = String::from_utf8_lossy(&answer);
                assert_eq!(ended, Some(expected.clone()), "{text} by {step}");
            }
        }
        let mut cut = Response::new();
        assert_eq!(cut.received(b"HTTP/1.1 200 OK\r\n"), Next::Receive);
        assert_eq!(cut.closed(), failed(Fault::Closed, "HTTP/1.1 200 OK\\r\\n"));
    }
}

//! The value of each field of a record.
//!
//! Owns which part of a record a field is, and how a value looks as text; leaves JSON to `json`. Invariant: bytes from
//! outside are `Value::Text` or captured headers, which every format escapes.

use crate::captures::Capture;
use crate::date::{DateCache, Moment, Timestamp};
use crate::ending::Ending;
use crate::escape::Alphabet;
use crate::fields::Field;
use crate::line::Line;
use crate::record::{
    Address, Extra, Micros, Protocol, REQUEST_TARGET_BYTES_MAX, Record, Request, Tls,
    VALUE_BYTES_MAX,
};

/// What a field has in a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// No value; the text that stands for it.
    Absent(&'a str),
    /// A word of this program.
    Word(&'static str),
    /// A name or bytes from outside, and how many are shown.
    Text(&'a [u8], usize),
    Number(u64),
    Flag(bool),
    /// Shown in milliseconds.
    Millis(Micros),
    HaproxyDate(Moment, Timestamp),
    Rfc3339(Moment, Timestamp),
    Ip(Address),
    RequestLine(Request<'a>),
    /// The letters, and how many of them there are.
    Letters([u8; 4], usize),
    Headers(&'a [Capture<'a>]),
    Extras(&'a [Extra<'a>]),
}

const NONE: Value<'static> = Value::Absent("-");

impl<'a> Value<'a> {
    /// The value of a field that takes no name.
    #[allow(clippy::too_many_lines, reason = "one row for each field: a table")]
    pub(crate) fn of(field: Field, record: &Record<'a>) -> Self {
        let times = &record.times;
        match field {
            Field::Protocol => Value::Word(match record.protocol {
                Protocol::Http => "http",
                Protocol::Tcp => "tcp",
            }),
            Field::AcceptedAt => Value::Rfc3339(Moment::Accepted, record.accepted_at),
            Field::AcceptDate => Value::HaproxyDate(Moment::Accepted, record.accepted_at),
            Field::AcceptedAtMicros => Value::Number(record.accepted_at.0),
            Field::StartedAt => Value::Rfc3339(Moment::Started, record.started_at),
            Field::StartDate => Value::HaproxyDate(Moment::Started, record.started_at),
            Field::StartedAtMicros => Value::Number(record.started_at.0),
            Field::ClientIp => Value::Ip(record.client),
            Field::ClientPort => Value::Number(record.client.port().into()),
            Field::FrontendIp => Value::Ip(record.frontend_address),
            Field::FrontendPort => Value::Number(record.frontend_address.port().into()),
            Field::Frontend => name(record.frontend),
            Field::TlsMark => Value::Word(if record.tls.is_some() { "~" } else { "" }),
            Field::Backend => record.backend.map_or(Value::Absent(record.frontend), name),
            Field::Server => record.server.map_or(Value::Absent("<NOSRV>"), name),
            Field::Tls => Value::Flag(record.tls.is_some()),
            Field::TlsVersion => tls(record, |tls| name(tls.version)),
            Field::TlsCipher => tls(record, |tls| name(tls.cipher)),
            Field::Alpn => tls(record, |tls| bytes(tls.alpn)),
            Field::Sni => bytes(record.sni),
            Field::Request => Value::RequestLine(record.request),
            Field::Method => request(record, |method, _, _| Value::Text(method, VALUE_BYTES_MAX)),
            Field::Target => {
                request(record, |_, target, _| Value::Text(target, REQUEST_TARGET_BYTES_MAX))
            }
            Field::Path => request(record, |_, target, _| {
                Value::Text(split_target(target).0, REQUEST_TARGET_BYTES_MAX)
            }),
            Field::Query => request(record, |_, target, _| {
                let query = split_target(target).1;
                query.map_or(NONE, |query| Value::Text(query, REQUEST_TARGET_BYTES_MAX))
            }),
            Field::Version => request(record, |_, _, version| name(version)),
            Field::InvalidRequest => match record.request {
                Request::Invalid(line) => Value::Text(line, REQUEST_TARGET_BYTES_MAX),
                Request::Line { .. } | Request::None => NONE,
            },
            Field::Status => {
                record.status.map_or(Value::Absent("-1"), |status| Value::Number(status.into()))
            }
            Field::RequestHeadMillis => millis(times.request_head),
            Field::QueueMillis => millis(times.queue),
            Field::ConnectMillis => millis(times.connect),
            Field::ResponseHeadMillis => millis(times.response_head),
            Field::TotalMillis => Value::Millis(times.total),
            Field::RequestHeadMicros => micros(times.request_head),
            Field::QueueMicros => micros(times.queue),
            Field::ConnectMicros => micros(times.connect),
            Field::ResponseHeadMicros => micros(times.response_head),
            Field::TotalMicros => Value::Number(times.total.0),
            Field::BytesReceived => Value::Number(record.traffic.received),
            Field::BytesSent => Value::Number(record.traffic.sent),
            Field::Retries => Value::Number(record.retries.count.into()),
            Field::Redispatched => Value::Flag(record.retries.redispatched),
            Field::RedispatchMark => {
                Value::Word(if record.retries.redispatched { "+" } else { "" })
            }
            Field::ProcessConnections => Value::Number(record.connections.process.into()),
            Field::FrontendConnections => Value::Number(record.connections.frontend.into()),
            Field::BackendConnections => Value::Number(record.connections.backend.into()),
            Field::ServerConnections => Value::Number(record.connections.server.into()),
            Field::ServerQueue => Value::Number(record.queues.server.into()),
            Field::BackendQueue => Value::Number(record.queues.backend.into()),
            Field::RequestHeaders => Value::Headers(record.request_headers),
            Field::ResponseHeaders => Value::Headers(record.response_headers),
            Field::RequestCookie => bytes(record.cookies.request),
            Field::ResponseCookie => bytes(record.cookies.response),
            Field::Rule => record.rule.map_or(NONE, name),
            Field::RequestId => bytes(record.request_id),
            Field::GrpcStatus => {
                record.grpc_status.map_or(NONE, |status| Value::Number(status.into()))
            }
            Field::Termination => {
                let letters = if record.protocol == Protocol::Http { 4 } else { 2 };
                Value::Letters(termination(record), letters)
            }
            Field::Reason => Value::Word(record.ending.reason()),
            Field::Stage => Value::Word(record.ending.stage()),
            Field::Detail => record.ending.detail().map_or(NONE, Value::Word),
            Field::Fields => Value::Extras(record.extras),
            Field::RequestHeader | Field::ResponseHeader | Field::Extra => NONE,
        }
    }
}

/// The four letters of the termination state.
#[inline]
pub(crate) fn termination(record: &Record<'_>) -> [u8; 4] {
    let [cause, stage] = Ending::letters(&record.ending);
    let cookies = &record.cookies;
    [cause, stage, cookies.request_state.letter(), cookies.response_state.letter()]
}

/// A value that was captured, or of a field that a rule added.
pub(crate) fn bytes(value: Option<&[u8]>) -> Value<'_> {
    value.map_or(NONE, |value| Value::Text(value, VALUE_BYTES_MAX))
}

fn name(name: &str) -> Value<'_> {
    Value::Text(name.as_bytes(), VALUE_BYTES_MAX)
}

fn tls<'a>(record: &Record<'a>, part: impl FnOnce(Tls<'a>) -> Value<'a>) -> Value<'a> {
    record.tls.map_or(NONE, part)
}

fn request<'a>(
    record: &Record<'a>,
    part: impl FnOnce(&'a [u8], &'a [u8], &'a str) -> Value<'a>,
) -> Value<'a> {
    match record.request {
        Request::Line { method, target, version } => part(method, target, version),
        Request::Invalid(_) | Request::None => NONE,
    }
}

fn split_target(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(mark) => {
            let (path, query) = target.split_at(mark);
            (path, query.get(1..))
        }
        None => (target, None),
    }
}

fn millis(time: Option<Micros>) -> Value<'static> {
    time.map_or(Value::Absent("-1"), Value::Millis)
}

fn micros(time: Option<Micros>) -> Value<'static> {
    time.map_or(Value::Absent("-1"), |time| Value::Number(time.0))
}

impl Line {
    /// Writes a value as a template shows it.
    pub(crate) fn value(&mut self, value: Value<'_>, dates: &mut DateCache) {
        match value {
            Value::Absent(text) => {
                self.escaped(text.as_bytes(), Alphabet::Request, VALUE_BYTES_MAX);
            }
            Value::Word(word) => self.put(word.as_bytes()),
            Value::Text(text, bytes_max) => self.escaped(text, Alphabet::Request, bytes_max),
            Value::Number(number) => self.number(number),
            Value::Flag(flag) => self.put(if flag { b"true" } else { b"false" }),
            Value::Millis(time) => self.number(time.0 / 1000),
            Value::HaproxyDate(moment, at) => dates.haproxy(moment, at, self),
            Value::Rfc3339(moment, at) => dates.rfc3339(moment, at, self),
            Value::Ip(address) => self.ip(&address),
            Value::RequestLine(request) => self.request_line(&request),
            Value::Letters(letters, count) => self.put(letters.get(..count).unwrap_or(&letters)),
            Value::Headers(headers) => self.headers(headers),
            Value::Extras(extras) => self.extras(extras),
        }
    }

    /// The request line as HAProxy shows it.
    #[inline]
    pub(crate) fn request_line(&mut self, request: &Request<'_>) {
        match request {
            Request::Line { method, target, version } => {
                self.escaped(method, Alphabet::Request, VALUE_BYTES_MAX);
                self.push(b' ');
                self.escaped(target, Alphabet::Request, REQUEST_TARGET_BYTES_MAX);
                self.push(b' ');
                self.escaped(version.as_bytes(), Alphabet::Request, VALUE_BYTES_MAX);
            }
            Request::Invalid(_) | Request::None => self.put(b"<BADREQ>"),
        }
    }

    /// Captured headers in braces, as HAProxy shows them (its documentation, section 8.8).
    pub(crate) fn headers(&mut self, headers: &[Capture<'_>]) {
        self.push(b'{');
        for (at, header) in headers.iter().enumerate() {
            if at > 0 {
                self.push(b'|');
            }
            self.escaped(header.value.unwrap_or_default(), Alphabet::Header, VALUE_BYTES_MAX);
        }
        self.push(b'}');
    }

    fn extras(&mut self, extras: &[Extra<'_>]) {
        if extras.is_empty() {
            self.push(b'-');
        }
        for (at, extra) in extras.iter().enumerate() {
            if self.text_room() == 0 {
                return self.mark_cut();
            }
            if at > 0 {
                self.push(b' ');
            }
            self.escaped(extra.name.as_bytes(), Alphabet::Request, VALUE_BYTES_MAX);
            self.push(b'=');
            self.escaped(extra.value, Alphabet::Request, VALUE_BYTES_MAX);
        }
    }
}

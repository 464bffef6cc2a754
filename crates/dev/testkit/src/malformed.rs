//! Malformed requests, each with the status and the reason it must get.
//!
//! Owns the table that the parser's tests and the end-to-end tests share; it knows nothing of
//! either. Invariant: every row breaks exactly one rule, so that the reason proves which rule
//! refused it. Limits are the defaults: 16 KiB and 100 lines of head, 8 KiB of target and of
//! trailers, 256 bytes of a chunk-size line. The tables keep one row a line, whatever its length.

use std::borrow::Cow;

/// Where in the message the fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// In the head: nothing may reach a server.
    Head,
    /// In a chunked body, behind a valid head.
    Body,
}

/// A request that must be refused.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// What is wrong with it; unique in the table.
    pub name: &'static str,
    /// What to send.
    pub bytes: Cow<'static, [u8]>,
    /// Where the fault is.
    pub part: Part,
    /// The status of the answer.
    pub status: u16,
    /// The label of the reason, as logs and metrics show it.
    pub reason: &'static str,
}

/// Every malformed request.
pub fn table() -> Vec<Malformed> {
    let mut table = Vec::new();
    let mut add = |row: &Row, part, bytes: Cow<'static, [u8]>| {
        let &(name, _, status, reason) = row;
        table.push(Malformed { name, bytes, part, status, reason });
    };
    for row in WHOLE_HEADS {
        add(row, Part::Head, Cow::Borrowed(row.1));
    }
    for row in REQUEST_LINES {
        add(row, Part::Head, joined(&[row.1, b"\r\nHost: example.com\r\n\r\n"]));
    }
    for row in TARGETS {
        add(row, Part::Head, joined(&[b"GET ", row.1, b" HTTP/1.1\r\nHost: example.com\r\n\r\n"]));
    }
    for row in CONNECT_TARGETS {
        let line = b" HTTP/1.1\r\nHost: example.com:443\r\n\r\n";
        add(row, Part::Head, joined(&[b"CONNECT ", row.1, line]));
    }
    for row in HOSTS {
        add(row, Part::Head, joined(&[b"GET / HTTP/1.1\r\nHost: ", row.1, b"\r\n\r\n"]));
    }
    for row in HEADER_LINES {
        let start = b"POST / HTTP/1.1\r\nHost: example.com\r\n";
        add(row, Part::Head, joined(&[start, row.1, b"\r\nAccept: */*\r\n\r\n"]));
    }
    for row in CHUNKED_BODIES {
        add(row, Part::Body, joined(&[CHUNKED_HEAD, row.1]));
    }
    table.extend(OVERSIZED.iter().map(Oversized::row));
    table
}

/// Name, varying bytes, status, reason.
type Row = (&'static str, &'static [u8], u16, &'static str);

const CHUNKED_HEAD: &[u8] =
    b"POST / HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n";

fn joined(parts: &[&[u8]]) -> Cow<'static, [u8]> {
    Cow::Owned(parts.concat())
}

/// What is too long to write down: a start, something repeated, an end.
struct Oversized {
    name: &'static str,
    part: Part,
    start: &'static [u8],
    repeated: (&'static [u8], usize),
    end: &'static [u8],
    status: u16,
    reason: &'static str,
}

impl Oversized {
    fn row(&self) -> Malformed {
        let &Self { name, part, start, repeated: (bytes, count), end, status, reason } = self;
        let head = if part == Part::Body { CHUNKED_HEAD } else { b"" };
        let bytes = joined(&[head, start, &bytes.repeat(count), end]);
        Malformed { name, bytes, part, status, reason }
    }
}

const fn oversized(
    name: &'static str,
    part: Part,
    start: &'static [u8],
    repeated: (&'static [u8], usize),
    end: &'static [u8],
    (status, reason): (u16, &'static str),
) -> Oversized {
    Oversized { name, part, start, repeated, end, status, reason }
}

#[rustfmt::skip]
const OVERSIZED: &[Oversized] = &[
    oversized("one header of 17,000 bytes", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", (b"a", 17_000), b"\r\n\r\n", (431, "head_too_large")),
    oversized("90 headers of 200 bytes", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\n", (X_200_BYTES, 90), b"\r\n", (431, "head_too_large")),
    oversized("a header name that never ends", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\n", (b"a", 17_000), b"", (431, "head_too_large")),
    oversized("101 headers", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\n", (b"A: b\r\n", 100), b"\r\n", (431, "too_many_headers")),
    oversized("2,000 headers", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\n", (b"A: b\r\n", 2_000), b"\r\n", (431, "too_many_headers")),
    oversized("a target of 8,193 bytes", Part::Head, b"GET /", (b"a", 8_192), b" HTTP/1.1\r\nHost: a\r\n\r\n", (414, "target_too_long")),
    oversized("a target that never ends", Part::Head, b"GET /", (b"a", 20_000), b"", (414, "target_too_long")),
    oversized("a query of 9,000 bytes", Part::Head, b"GET /?", (b"q", 9_000), b" HTTP/1.1\r\nHost: a\r\n\r\n", (414, "target_too_long")),
    oversized("a method that never ends", Part::Head, b"", (b"A", 20_000), b"", (400, "method_too_long")),
    oversized("a Host of 262 bytes", Part::Head, b"GET / HTTP/1.1\r\nHost: ", (b"a", 262), b"\r\n\r\n", (400, "host_invalid")),
    oversized("17 connection options", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ", (b"a,", 17), b"\r\n\r\n", (400, "connection_options_too_many")),
    oversized("17 connection options on as many lines", Part::Head, b"GET / HTTP/1.1\r\nHost: a\r\n", (b"Connection: x\r\n", 17), b"\r\n", (400, "connection_options_too_many")),
    oversized("a chunk extension of 300 bytes", Part::Body, b"5;", (b"a", 300), b"\r\nhello\r\n0\r\n\r\n", (400, "chunk_line_too_long")),
    oversized("a quoted extension that never ends", Part::Body, b"0;a=\"", (b"a", 1_000), b"", (400, "chunk_line_too_long")),
    oversized("9,000 bytes of trailers", Part::Body, b"0\r\n", (b"X-Checksum: 0123456789\r\n", 375), b"\r\n", (431, "trailers_too_large")),
    oversized("a trailer name that never ends", Part::Body, b"0\r\n", (b"a", 9_000), b"", (431, "trailers_too_large")),
];

/// A header line of 200 bytes.
const X_200_BYTES: &[u8; 200] = &{
    let mut line = [b'a'; 200];
    (line[0], line[1], line[198], line[199]) = (b'X', b':', b'\r', b'\n');
    line
};

/// Heads as they stand.
#[rustfmt::skip]
const WHOLE_HEADS: &[Row] = &[
    ("two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "leading_empty_lines"),
    ("a bare LF first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare_lf"),
    ("an empty line and a bare LF first", b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "leading_empty_lines"),
    ("a bare CR first", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare_cr"),
    ("a space first", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "method_invalid"),
    ("a TLS client hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00", 400, "method_invalid"),
    ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version_unsupported"),
    ("an SSH banner", b"SSH-2.0-OpenSSH_9.9\r\n", 400, "method_invalid"),
    ("a PROXY protocol header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "version_malformed"),
    ("HTTP/0.9", b"GET /\r\n", 400, "version_missing"),
    ("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", 400, "bare_lf"),
    ("a bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bare_lf"),
    ("a bare LF after a header", b"GET / HTTP/1.1\r\nHost: a\nAccept: */*\r\n\r\n", 400, "bare_lf"),
    ("a bare LF after the last header", b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400, "bare_lf"),
    ("a bare LF after an empty value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\nY: b\r\n\r\n", 400, "bare_lf"),
    ("a bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, "bare_lf"),
    ("a bare LF hiding a header in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nContent-Length: 5\r\n\r\n", 400, "bare_lf"),
    ("a bare CR after the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "bare_cr"),
    ("a bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400, "bare_cr"),
    ("a bare CR at the start of a value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\rc\r\n\r\n", 400, "bare_cr"),
    ("two CRs before LF", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n", 400, "bare_cr"),
    ("a bare CR as the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\rX", 400, "bare_cr"),
    ("a bare CR hiding a header in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rTransfer-Encoding: chunked\r\n\r\n", 400, "bare_cr"),
    ("a blank before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "folded_line"),
    ("a line of a blank before the first header", b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n", 400, "folded_line"),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400, "host_missing"),
    ("no Host among other headers", b"GET / HTTP/1.1\r\nAccept: */*\r\nX-Host: a\r\n\r\n", 400, "host_missing"),
    ("no Host with an absolute target", b"GET http://example.com/ HTTP/1.1\r\nAccept: */*\r\n\r\n", 400, "host_missing"),
    ("no Host with CONNECT", b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", 400, "host_missing"),
    ("the same Host twice", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "host_repeated"),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nhost: b\r\n\r\n", 400, "host_repeated"),
    ("two Hosts with HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host_repeated"),
    ("an invalid Host with HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n", 400, "host_invalid"),
    ("an invalid Host with an absolute target", b"GET http://example.com/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "host_invalid"),
    ("an empty Host with an absolute target", b"GET http://example.com/ HTTP/1.1\r\nHost:\r\n\r\n", 400, "host_invalid"),
    ("chunked with HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding_in_http10"),
    ("chunked with HTTP/1.0 keep-alive", b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "transfer_encoding_in_http10"),
    ("an unknown expectation with HTTP/1.0", b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 200-maybe\r\n\r\n", 417, "expectation_unsupported"),
    ("an asterisk with GET and HTTP/1.0", b"GET * HTTP/1.0\r\n\r\n", 400, "target_form_invalid"),
];

/// Request lines, each followed by a valid Host.
#[rustfmt::skip]
const REQUEST_LINES: &[Row] = &[
    ("a method with a control byte", b"G\x01ET / HTTP/1.1", 400, "method_invalid"),
    ("a method with a NUL", b"GET\x00 / HTTP/1.1", 400, "method_invalid"),
    ("a method with a colon", b"GET: / HTTP/1.1", 400, "method_invalid"),
    ("a method with a slash", b"GE/T / HTTP/1.1", 400, "method_invalid"),
    ("a method with parentheses", b"G(E)T / HTTP/1.1", 400, "method_invalid"),
    ("a quoted method", b"\"GET\" / HTTP/1.1", 400, "method_invalid"),
    ("a method with an at sign", b"G@T / HTTP/1.1", 400, "method_invalid"),
    ("a method with non-ASCII", b"G\xc3\x89T / HTTP/1.1", 400, "method_invalid"),
    ("a method followed by a tab", b"GET\t/ HTTP/1.1", 400, "method_invalid"),
    ("a method of 33 bytes", b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1", 400, "method_too_long"),
    ("a method alone", b"GET", 400, "method_invalid"),
    ("two spaces before the target", b"GET  / HTTP/1.1", 400, "request_line_spacing"),
    ("two spaces after the target", b"GET /  HTTP/1.1", 400, "request_line_spacing"),
    ("no target", b"GET HTTP/1.1", 400, "version_missing"),
    ("no target between two spaces", b"GET  HTTP/1.1", 400, "request_line_spacing"),
    ("a tab after the target", b"GET /\tHTTP/1.1", 400, "target_byte_invalid"),
    ("no version", b"GET /", 400, "version_missing"),
    ("no version after a space", b"GET / ", 400, "version_malformed"),
    ("a space in the target", b"GET /a b HTTP/1.1", 400, "version_malformed"),
    ("a space after the version", b"GET / HTTP/1.1 ", 400, "version_malformed"),
    ("a word after the version", b"GET / HTTP/1.1 x", 400, "version_malformed"),
    ("a lower-case version", b"GET / http/1.1", 400, "version_malformed"),
    ("a version of another protocol", b"GET / HTTPS/1.1", 400, "version_malformed"),
    ("an ICAP version", b"GET / ICAP/1.0", 400, "version_malformed"),
    ("a version without a slash", b"GET / HTTP1.1", 400, "version_malformed"),
    ("a version without a minor part", b"GET / HTTP/1", 400, "version_malformed"),
    ("a version without a dot", b"GET / HTTP/11", 400, "version_malformed"),
    ("a version with a comma", b"GET / HTTP/1,1", 400, "version_malformed"),
    ("a version with a long minor part", b"GET / HTTP/1.10", 400, "version_malformed"),
    ("a version with a long major part", b"GET / HTTP/11.1", 400, "version_malformed"),
    ("a version with leading zeros", b"GET / HTTP/01.1", 400, "version_malformed"),
    ("a version with a sign", b"GET / HTTP/+1.1", 400, "version_malformed"),
    ("a version with letters", b"GET / HTTP/x.y", 400, "version_malformed"),
    ("a version with a blank", b"GET / HTTP/ 1.1", 400, "version_malformed"),
    ("a version with a NUL", b"GET / HTTP/1.1\x00", 400, "version_malformed"),
    ("version 0.9", b"GET / HTTP/0.9", 505, "version_unsupported"),
    ("version 1.2", b"GET / HTTP/1.2", 505, "version_unsupported"),
    ("version 1.9", b"GET / HTTP/1.9", 505, "version_unsupported"),
    ("version 2.0", b"GET / HTTP/2.0", 505, "version_unsupported"),
    ("version 3.0", b"GET / HTTP/3.0", 505, "version_unsupported"),
    ("version 9.9", b"GET / HTTP/9.9", 505, "version_unsupported"),
    ("an asterisk with POST", b"POST * HTTP/1.1", 400, "target_form_invalid"),
    ("an authority with OPTIONS", b"OPTIONS example.com:80 HTTP/1.1", 400, "target_form_invalid"),
    ("an asterisk and a path with OPTIONS", b"OPTIONS */a HTTP/1.1", 400, "target_form_invalid"),
];

/// Targets of GET.
#[rustfmt::skip]
const TARGETS: &[Row] = &[
    ("an asterisk with GET", b"*", 400, "target_form_invalid"),
    ("a relative path", b"index.html", 400, "target_form_invalid"),
    ("a relative path upwards", b"../etc/passwd", 400, "target_form_invalid"),
    ("a query alone", b"?q=1", 400, "target_form_invalid"),
    ("an authority with GET", b"example.com:80", 400, "target_form_invalid"),
    ("a host with GET", b"example.com", 400, "target_form_invalid"),
    ("a scheme without slashes", b"http:example.com/", 400, "target_form_invalid"),
    ("a scheme with one slash", b"http:/example.com/", 400, "target_form_invalid"),
    ("a mailto URI", b"mailto:a@example.com", 400, "target_form_invalid"),
    ("an ftp URI", b"ftp://example.com/", 400, "target_scheme_unsupported"),
    ("a file URI", b"file:///etc/passwd", 400, "target_scheme_unsupported"),
    ("a WebSocket URI", b"ws://example.com/", 400, "target_scheme_unsupported"),
    ("an empty scheme", b"://example.com/", 400, "target_scheme_unsupported"),
    ("user information", b"http://user@example.com/", 400, "target_userinfo"),
    ("user information with a password", b"http://user:password@example.com/", 400, "target_userinfo"),
    ("empty user information", b"http://@example.com/", 400, "target_userinfo"),
    ("an absolute target without a host", b"http:///path", 400, "target_authority_invalid"),
    ("an absolute target of a scheme", b"http://", 400, "target_authority_invalid"),
    ("an absolute target with a port alone", b"http://:80/", 400, "target_authority_invalid"),
    ("an absolute target with a port of letters", b"http://example.com:http/", 400, "target_authority_invalid"),
    ("an absolute target with port 65536", b"http://example.com:65536/", 400, "target_authority_invalid"),
    ("an absolute target with two ports", b"http://example.com:80:80/", 400, "target_authority_invalid"),
    ("an absolute target with an open IPv6 address", b"http://[::1/", 400, "target_authority_invalid"),
    ("an absolute target with a malformed IPv6 address", b"http://[:::1]/", 400, "target_authority_invalid"),
    ("an absolute target with a brace in the host", b"https://exa{mple.com/", 400, "target_authority_invalid"),
    ("a fragment", b"/path#fragment", 400, "target_fragment"),
    ("a fragment after a query", b"/path?q#fragment", 400, "target_fragment"),
    ("a fragment in an absolute target", b"http://example.com/#fragment", 400, "target_fragment"),
    ("a fragment alone", b"#fragment", 400, "target_fragment"),
    ("a backslash in the path", b"/a\\b", 400, "target_byte_invalid"),
    ("a backslash first", b"\\a", 400, "target_byte_invalid"),
    ("a backslash in the query", b"/?a\\b", 400, "target_byte_invalid"),
    ("a quote in the path", b"/a\"b", 400, "target_byte_invalid"),
    ("a quote in the query", b"/?a=\"b\"", 400, "target_byte_invalid"),
    ("an angle bracket in the path", b"/<script>", 400, "target_byte_invalid"),
    ("an angle bracket in the query", b"/?<script>", 400, "target_byte_invalid"),
    ("a caret in the path", b"/a^b", 400, "target_byte_invalid"),
    ("a backtick in the path", b"/a`b", 400, "target_byte_invalid"),
    ("a brace in the path", b"/{id}", 400, "target_byte_invalid"),
    ("a bar in the path", b"/a|b", 400, "target_byte_invalid"),
    ("a NUL in the path", b"/a\x00b", 400, "target_byte_invalid"),
    ("a NUL in the query", b"/?a\x00b", 400, "target_byte_invalid"),
    ("a control byte in the path", b"/a\x1fb", 400, "target_byte_invalid"),
    ("a DEL in the path", b"/a\x7fb", 400, "target_byte_invalid"),
    ("UTF-8 in the path", b"/caf\xc3\xa9", 400, "target_byte_invalid"),
    ("UTF-8 in the query", b"/?q=caf\xc3\xa9", 400, "target_byte_invalid"),
    ("Latin-1 in the path", b"/caf\xe9", 400, "target_byte_invalid"),
    ("a percent sign before letters", b"/100%sure", 400, "target_percent_invalid"),
    ("a percent sign last", b"/100%", 400, "target_percent_invalid"),
    ("a percent sign before one digit", b"/a%2", 400, "target_percent_invalid"),
    ("a percent sign before one digit and a query", b"/a%2?b", 400, "target_percent_invalid"),
    ("a percent escape of a Unicode code point", b"/%u002e", 400, "target_percent_invalid"),
];

/// Targets of CONNECT.
#[rustfmt::skip]
const CONNECT_TARGETS: &[Row] = &[
    ("a path with CONNECT", b"/", 400, "target_form_invalid"),
    ("an asterisk with CONNECT", b"*", 400, "target_form_invalid"),
    ("no port with CONNECT", b"example.com", 400, "target_form_invalid"),
    ("an empty port with CONNECT", b"example.com:", 400, "target_form_invalid"),
    ("a port of letters with CONNECT", b"example.com:https", 400, "target_form_invalid"),
    ("an absolute target with CONNECT", b"http://example.com:443/", 400, "target_form_invalid"),
    ("user information with CONNECT", b"user@example.com:443", 400, "target_userinfo"),
    ("no host with CONNECT", b":443", 400, "target_authority_invalid"),
    ("an IPv6 address without brackets with CONNECT", b"::1:443", 400, "target_authority_invalid"),
    ("port 65536 with CONNECT", b"example.com:65536", 400, "target_authority_invalid"),
];

/// Values of Host.
#[rustfmt::skip]
const HOSTS: &[Row] = &[
    ("an empty Host", b"", 400, "host_invalid"),
    ("a blank Host", b"  \t ", 400, "host_invalid"),
    ("a Host with a space", b"a b", 400, "host_invalid"),
    ("two hosts in Host", b"a, b", 400, "host_invalid"),
    ("a Host with a path", b"example.com/admin", 400, "host_invalid"),
    ("a Host with a query", b"example.com?a", 400, "host_invalid"),
    ("a Host with a fragment", b"example.com#a", 400, "host_invalid"),
    ("a Host with user information", b"user@example.com", 400, "host_invalid"),
    ("a Host with a scheme", b"http://example.com", 400, "host_invalid"),
    ("a Host with a backslash", b"example.com\\a", 400, "host_invalid"),
    ("a Host with a quote", b"\"example.com\"", 400, "host_invalid"),
    ("a Host with an angle bracket", b"<example.com>", 400, "host_invalid"),
    ("a Host with a tab", b"example\t.com", 400, "host_invalid"),
    ("a Host with non-ASCII", b"b\xc3\xbccher.example", 400, "host_invalid"),
    ("a Host with a NUL", b"example.com\x00.evil", 400, "header_control_byte"),
    ("a Host of a port", b":80", 400, "host_invalid"),
    ("a Host with a port of letters", b"example.com:http", 400, "host_invalid"),
    ("a Host with a negative port", b"example.com:-1", 400, "host_invalid"),
    ("a Host with port 65536", b"example.com:65536", 400, "host_invalid"),
    ("a Host with an endless port", b"example.com:80808080808080808080808080", 400, "host_invalid"),
    ("a Host with two ports", b"example.com:80:81", 400, "host_invalid"),
    ("a Host of an IPv6 address without brackets", b"2001:db8::1", 400, "host_invalid"),
    ("a Host with an open bracket", b"[2001:db8::1", 400, "host_invalid"),
    ("a Host with a bracket too many", b"[2001:db8::1]]", 400, "host_invalid"),
    ("a Host with a word after the bracket", b"[2001:db8::1]a", 400, "host_invalid"),
    ("a Host with a zone", b"[fe80::1%25eth0]", 400, "host_invalid"),
    ("a Host with an IPv4 address in brackets", b"[192.0.2.1]", 400, "host_invalid"),
    ("a Host with an incomplete percent escape", b"a%2", 400, "host_invalid"),
];

/// Header lines of a POST, between a valid Host and another header.
#[rustfmt::skip]
const HEADER_LINES: &[Row] = &[
    ("a space before the colon", b"X-A : b", 400, "space_before_colon"),
    ("a tab before the colon", b"X-A\t: b", 400, "space_before_colon"),
    ("a space before the colon of Content-Length", b"Content-Length : 5", 400, "space_before_colon"),
    ("a space before the colon of Transfer-Encoding", b"Transfer-Encoding : chunked", 400, "space_before_colon"),
    ("a space in a name", b"X A: b", 400, "space_before_colon"),
    ("an empty name", b": b", 400, "header_name_empty"),
    ("a colon alone", b":", 400, "header_name_empty"),
    ("a colon before Transfer-Encoding", b":Transfer-Encoding: chunked", 400, "header_name_empty"),
    ("a folded value", b"X-A: b\r\n c", 400, "folded_line"),
    ("a value folded with a tab", b"X-A: b\r\n\tc", 400, "folded_line"),
    ("a folded empty value", b"X-A:\r\n b", 400, "folded_line"),
    ("a folded Transfer-Encoding", b"Transfer-Encoding:\r\n chunked", 400, "folded_line"),
    ("a folded line that looks like a header", b"X-A: b\r\n Content-Length: 5", 400, "folded_line"),
    ("a line of blanks", b"X-A: b\r\n \t ", 400, "folded_line"),
    ("a line without a colon", b"X-A", 400, "header_colon_missing"),
    ("a word without a colon after a space", b"X-A b", 400, "space_before_colon"),
    ("a NUL in a name", b"X\x00A: b", 400, "header_name_invalid"),
    ("a control byte in a name", b"X\x01A: b", 400, "header_name_invalid"),
    ("a DEL in a name", b"X\x7fA: b", 400, "header_name_invalid"),
    ("non-ASCII in a name", b"X-\xc3\xa9: b", 400, "header_name_invalid"),
    ("a non-breaking space in a name", b"Content-Length\xa0: 5", 400, "header_name_invalid"),
    ("parentheses in a name", b"X(A): b", 400, "header_name_invalid"),
    ("a slash in a name", b"X/A: b", 400, "header_name_invalid"),
    ("a quote in a name", b"\"X\": b", 400, "header_name_invalid"),
    ("an at sign in a name", b"X@A: b", 400, "header_name_invalid"),
    ("brackets in a name", b"X[A]: b", 400, "header_name_invalid"),
    ("a brace in a name", b"X{A: b", 400, "header_name_invalid"),
    ("an equals sign in a name", b"X=A: b", 400, "header_name_invalid"),
    ("a comma in a name", b"X,A: b", 400, "header_name_invalid"),
    ("a semicolon in a name", b"X;A: b", 400, "header_name_invalid"),
    ("a vertical tab before Transfer-Encoding", b"\x0bTransfer-Encoding: chunked", 400, "header_name_invalid"),
    ("a NUL in a value", b"X-A: b\x00c", 400, "header_control_byte"),
    ("a NUL alone as a value", b"X-A: \x00", 400, "header_control_byte"),
    ("a backspace in a value", b"X-A: b\x08c", 400, "header_control_byte"),
    ("a vertical tab in a value", b"X-A: b\x0bc", 400, "header_control_byte"),
    ("a form feed in a value", b"X-A: b\x0cc", 400, "header_control_byte"),
    ("an escape in a value", b"X-A: \x1b[31mred", 400, "header_control_byte"),
    ("a DEL in a value", b"X-A: b\x7f", 400, "header_control_byte"),
    ("a control byte before chunked", b"Transfer-Encoding: \x0bchunked", 400, "header_control_byte"),
    ("an empty Content-Length", b"Content-Length:", 400, "content_length_invalid"),
    ("a Content-Length with a plus", b"Content-Length: +5", 400, "content_length_invalid"),
    ("a negative Content-Length", b"Content-Length: -5", 400, "content_length_invalid"),
    ("a hexadecimal Content-Length", b"Content-Length: 0x5", 400, "content_length_invalid"),
    ("a fractional Content-Length", b"Content-Length: 5.0", 400, "content_length_invalid"),
    ("a Content-Length with an exponent", b"Content-Length: 5e0", 400, "content_length_invalid"),
    ("a Content-Length with a space", b"Content-Length: 5 5", 400, "content_length_invalid"),
    ("a Content-Length with a word", b"Content-Length: five", 400, "content_length_invalid"),
    ("a Content-Length with an underscore", b"Content-Length: 1_0", 400, "content_length_invalid"),
    ("a quoted Content-Length", b"Content-Length: \"5\"", 400, "content_length_invalid"),
    ("a Content-Length with a semicolon", b"Content-Length: 5;a", 400, "content_length_invalid"),
    ("a Content-Length of other digits", b"Content-Length: \xd9\xa5", 400, "content_length_invalid"),
    ("a Content-Length of 2^64", b"Content-Length: 18446744073709551616", 400, "content_length_overflow"),
    ("a Content-Length that wraps to 5", b"Content-Length: 18446744073709551621", 400, "content_length_overflow"),
    ("a Content-Length of 40 digits", b"Content-Length: 9999999999999999999999999999999999999999", 400, "content_length_overflow"),
    ("a list of two lengths", b"Content-Length: 5, 6", 400, "content_length_list"),
    ("a list of one length twice", b"Content-Length: 5, 5", 400, "content_length_list"),
    ("a length and a comma", b"Content-Length: 5,", 400, "content_length_list"),
    ("two lengths", b"Content-Length: 5\r\nContent-Length: 6", 400, "content_length_repeated"),
    ("one length twice", b"Content-Length: 5\r\nContent-Length: 5", 400, "content_length_repeated"),
    ("one length written in two ways", b"Content-Length: 5\r\ncontent-length: 05", 400, "content_length_repeated"),
    ("length 0 and another", b"Content-Length: 0\r\nContent-Length: 44", 400, "content_length_repeated"),
    ("a length before chunked", b"Content-Length: 5\r\nTransfer-Encoding: chunked", 400, "content_length_with_transfer_encoding"),
    ("a length after chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5", 400, "content_length_with_transfer_encoding"),
    ("length 0 with chunked", b"Content-Length: 0\r\nTransfer-Encoding: chunked", 400, "content_length_with_transfer_encoding"),
    ("an empty Transfer-Encoding", b"Transfer-Encoding:", 400, "transfer_encoding_unsupported"),
    ("identity", b"Transfer-Encoding: identity", 400, "transfer_encoding_unsupported"),
    ("gzip alone", b"Transfer-Encoding: gzip", 400, "transfer_encoding_unsupported"),
    ("gzip before chunked", b"Transfer-Encoding: gzip, chunked", 400, "transfer_encoding_unsupported"),
    ("gzip after chunked", b"Transfer-Encoding: chunked, gzip", 400, "transfer_encoding_unsupported"),
    ("identity after chunked", b"Transfer-Encoding: chunked, identity", 400, "transfer_encoding_unsupported"),
    ("chunked twice in a list", b"Transfer-Encoding: chunked, chunked", 400, "transfer_encoding_unsupported"),
    ("chunked and a comma", b"Transfer-Encoding: chunked,", 400, "transfer_encoding_unsupported"),
    ("a comma and chunked", b"Transfer-Encoding: , chunked", 400, "transfer_encoding_unsupported"),
    ("chunked with a parameter", b"Transfer-Encoding: chunked;q=1", 400, "transfer_encoding_unsupported"),
    ("quoted chunked", b"Transfer-Encoding: \"chunked\"", 400, "transfer_encoding_unsupported"),
    ("something like chunked", b"Transfer-Encoding: xchunked", 400, "transfer_encoding_unsupported"),
    ("chunked cut short", b"Transfer-Encoding: chunke", 400, "transfer_encoding_unsupported"),
    ("chunked with non-ASCII", b"Transfer-Encoding: chunked\xa0", 400, "transfer_encoding_unsupported"),
    ("an unknown coding with a length", b"Content-Length: 5\r\nTransfer-Encoding: x", 400, "transfer_encoding_unsupported"),
    ("chunked on two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400, "transfer_encoding_repeated"),
    ("chunked and identity on two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400, "transfer_encoding_repeated"),
    ("Connection with a blank in an option", b"Connection: keep alive", 400, "connection_invalid"),
    ("Connection with a quoted option", b"Connection: \"close\"", 400, "connection_invalid"),
    ("Connection with a slash", b"Connection: close/now", 400, "connection_invalid"),
    ("Connection with a semicolon", b"Connection: close; now", 400, "connection_invalid"),
    ("Connection with non-ASCII", b"Connection: clos\xc3\xa9", 400, "connection_invalid"),
    ("Connection listing Host", b"Connection: close, Host", 400, "connection_lists_essential"),
    ("Connection listing Content-Length", b"Connection: content-length", 400, "connection_lists_essential"),
    ("an unknown expectation", b"Expect: 200-maybe", 417, "expectation_unsupported"),
    ("an expectation among others", b"Expect: 100-continue, 200-maybe", 417, "expectation_unsupported"),
    ("an empty expectation", b"Expect:", 417, "expectation_unsupported"),
];

/// Bodies behind a valid head that announces chunks.
#[rustfmt::skip]
const CHUNKED_BODIES: &[Row] = &[
    ("no chunk size", b"\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_missing"),
    ("an extension without a chunk size", b";a=b\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_missing"),
    ("a chunk size of letters", b"xyz\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a chunk size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a chunk size with a plus", b"+5\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a negative chunk size", b"-5\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a space before the chunk size", b" 5\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a space after the chunk size", b"5 \r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("two chunk sizes", b"5 5\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a chunk size with a comma", b"5,a\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a chunk size with an underscore", b"1_0\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a chunk size with a NUL", b"5\x00\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a quoted chunk size", b"\"5\"\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_invalid"),
    ("a chunk size of 17 digits", b"10000000000000005\r\nhello\r\n0\r\n\r\n", 400, "chunk_size_overflow"),
    ("a chunk size of 17 zeros", b"00000000000000000\r\n\r\n", 400, "chunk_size_overflow"),
    ("a chunk size of 32 digits", b"ffffffffffffffffffffffffffffffff\r\n", 400, "chunk_size_overflow"),
    ("a bare LF after the chunk size", b"5\nhello\r\n0\r\n\r\n", 400, "chunk_bare_lf"),
    ("a bare LF after the last chunk", b"0\n\r\n", 400, "chunk_bare_lf"),
    ("a bare LF in an extension", b"5;a\nhello\r\n0\r\n\r\n", 400, "chunk_bare_lf"),
    ("a bare LF in a quoted extension", b"5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", 400, "chunk_bare_lf"),
    ("a bare LF after chunk data", b"5\r\nhello\n0\r\n\r\n", 400, "chunk_bare_lf"),
    ("a bare LF as the last line", b"5\r\nhello\r\n0\r\n\n", 400, "chunk_bare_lf"),
    ("a bare LF after a trailer", b"0\r\nX-A: b\n\r\n", 400, "chunk_bare_lf"),
    ("a bare CR after the chunk size", b"5\rhello\r\n0\r\n\r\n", 400, "chunk_bare_cr"),
    ("a bare CR after chunk data", b"5\r\nhello\r0\r\n\r\n", 400, "chunk_bare_cr"),
    ("a bare CR as the last line", b"0\r\n\rX", 400, "chunk_bare_cr"),
    ("a bare CR in a trailer", b"0\r\nX-A: b\rc\r\n\r\n", 400, "chunk_bare_cr"),
    ("chunk data longer than its size", b"5\r\nhello!\r\n0\r\n\r\n", 400, "chunk_data_unterminated"),
    ("chunk data shorter than its size", b"7\r\nhello\r\n0\r\n\r\n", 400, "chunk_data_unterminated"),
    ("chunk data without a line end", b"5\r\nhello0\r\n\r\n", 400, "chunk_data_unterminated"),
    ("an extension without a name", b"5;\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension of blanks", b"5; \t\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension of an equals sign", b"5;=b\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension without a value", b"5;a=\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension with an open quote", b"5;a=\"b\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension with a word after the quote", b"5;a=\"b\"c\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension with a blank last", b"5;a \r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension with a control byte", b"5;a=\x01\r\nhello\r\n0\r\n\r\n", 400, "chunk_extension_invalid"),
    ("an extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n", 400, "chunk_bare_cr"),
    ("an empty trailer name", b"0\r\n: b\r\n\r\n", 400, "trailer_name_empty"),
    ("a trailer without a colon", b"0\r\nX-A\r\n\r\n", 400, "trailer_name_invalid"),
    ("a space before a trailer's colon", b"0\r\nX-A : b\r\n\r\n", 400, "trailer_name_invalid"),
    ("a trailer name with a NUL", b"0\r\nX\x00A: b\r\n\r\n", 400, "trailer_name_invalid"),
    ("a request in the trailers", b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "trailer_name_invalid"),
    ("a folded trailer", b"0\r\nX-A: b\r\n c\r\n\r\n", 400, "trailer_folded"),
    ("a blank before the first trailer", b"0\r\n X-A: b\r\n\r\n", 400, "trailer_folded"),
    ("a control byte in a trailer", b"0\r\nX-A: b\x00\r\n\r\n", 400, "trailer_control_byte"),
    ("Transfer-Encoding as a trailer", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "trailer_forbidden"),
    ("Content-Length as a trailer", b"0\r\nContent-Length: 5\r\n\r\n", 400, "trailer_forbidden"),
    ("Host as a trailer", b"0\r\nX-A: b\r\nHost: a\r\n\r\n", 400, "trailer_forbidden"),
    ("Authorization as a trailer", b"0\r\nauthorization: Basic YTpi\r\n\r\n", 400, "trailer_forbidden"),
    ("Cookie as a trailer", b"0\r\nCOOKIE: a=b\r\n\r\n", 400, "trailer_forbidden"),
    ("Connection as a trailer", b"0\r\nConnection: close\r\n\r\n", 400, "trailer_forbidden"),
    ("Content-Type as a trailer", b"0\r\nContent-Type: text/plain\r\n\r\n", 400, "trailer_forbidden"),
    ("X-Forwarded-For as a trailer", b"0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", 400, "trailer_forbidden"),
    ("Expect as a trailer", b"0\r\nExpect: 100-continue\r\n\r\n", 400, "trailer_forbidden"),
    ("Trailer as a trailer", b"0\r\nTrailer: X\r\n\r\n", 400, "trailer_forbidden"),
];

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn names_are_unique_and_there_are_enough() {
        let table = table();
        let mut names: Vec<_> = table.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table.len());
        assert!(table.len() >= 150, "{} rows", table.len());
    }
}

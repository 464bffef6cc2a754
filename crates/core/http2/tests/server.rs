//! The side of servers: requests from their text, and responses to theirs.

mod support;

use proptest::prelude::*;
use support::Log;
use tidegate_http1::{
    Limits, Method, Parsed, RequestHead, ResponseContext, ResponseHead, parse_response,
};
use tidegate_http2::{
    Answered, Body, Broken, MalformedResponse, RequestDecoder, RequestKind, RequestSink, Target,
    write_interim, write_response,
};

impl RequestSink for Log<'_> {
    fn head<'a>(
        &mut self,
        target: &Target<'a>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let Target { method, authority, path, kind } = *target;
        let ends = if ends { " ends" } else { "" };
        let kind = if kind == RequestKind::WebSocket { " websocket" } else { "" };
        let what = format!("{} {} {}{kind}{ends}", text(method), text(authority), text(path));
        self.say(&what, fields);
    }
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, bool, Option<String>) {
    let mut decoder = RequestDecoder::new(Limits::default());
    let (mut log, mut head) = (String::new(), RequestHead::new());
    let mut in_data = false;
    for piece in pieces {
        let mut sink = Log { said: std::mem::take(&mut log), piece, in_data };
        let fed = decoder.feed(piece, &mut head, &mut sink);
        (log, in_data) = (sink.said, sink.in_data);
        if fed == Err(Broken) {
            return (log + "broken", false, None);
        }
    }
    let mut sink = Log { said: log, piece: b"", in_data };
    let whole = decoder.finish(&mut sink);
    (sink.said, whole, decoder.accept().map(str::to_owned))
}

const REQUESTS: &[(&str, &str, bool)] = &[
    ("GET /a?b HTTP/1.1\r\nHost: a:1\r\nX: 1\r\n\r\n", "GET a:1 /a?b ends x=1|", true),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS a * ends|", true),
    ("GET http://b/c HTTP/1.1\r\nHost: b\r\n\r\n", "GET b /c ends|", true),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nKeep-Alive: 1\r\nTE: gzip\r\nCookie: a=1; b=2;c=3\r\n\r\n",
        "GET a / ends cookie=a=1 cookie=b=2;c=3|",
        true,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdef",
        "POST a / content-length=3|data abc|end",
        true,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST a / ends content-length=0|",
        true,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
        "POST a / content-length=5|data ab",
        false,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        "POST a /|data abc|end",
        true,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n",
        "POST a /|data a|trailers x-t=1|",
        true,
    ),
    (
        "GET /w HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\nab",
        "CONNECT a /w websocket sec-websocket-version=13|data ab|end",
        true,
    ),
    // There is no other upgrade.
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET a / ends|",
        true,
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n", "broken", false),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST a /|broken",
        false,
    ),
];

#[test]
fn requests_become_fields_data_and_trailers_however_they_are_cut() {
    for (text, expected, whole) in REQUESTS {
        for step in [1, 2, 7, text.len()] {
            let (said, is_whole, accept) = decode(text.as_bytes().chunks(step));
            assert_eq!((&*said, is_whole), (*expected, *whole), "{text} by {step}");
            assert_eq!(accept.is_some(), expected.contains("websocket"), "{text}");
        }
    }
}

fn written(
    status: u16,
    kind: RequestKind,
    ends: bool,
    fields: &[(&str, &str)],
) -> Result<(Body, String), MalformedResponse> {
    let mut out = Vec::new();
    let answered = Answered { kind, accept: Some("key"), ends };
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let body = write_response(status, &answered, fields, &mut out)?;
    Ok((body, String::from_utf8_lossy(&out).replace("\r\n", "|")))
}

#[test]
fn responses_become_the_text_of_http1() {
    use RequestKind::{Head, Other, WebSocket};
    let length = ("content-length", "5");
    for (status, kind, ends, fields, body, text) in [
        (200, Other, false, &[length][..], Body::Length(5), "200 OK|content-length: 5||"),
        (200, Other, false, &[], Body::Chunked, "200 OK|transfer-encoding: chunked||"),
        (200, Other, true, &[], Body::None, "200 OK|content-length: 0||"),
        (200, Other, true, &[("content-length", "0")], Body::None, "200 OK|content-length: 0||"),
        (200, Other, false, &[length, length], Body::Length(5), "200 OK|content-length: 5||"),
        (200, Head, true, &[length], Body::None, "200 OK|content-length: 5||"),
        (200, Head, true, &[], Body::None, "200 OK||"),
        (304, Other, true, &[length], Body::None, "304 Not Modified|content-length: 5||"),
        (204, Other, true, &[], Body::None, "204 No Content||"),
        (204, Other, true, &[length], Body::None, "204 No Content||"),
        (404, Other, true, &[("x", "a b")], Body::None, "404 Not Found|x: a b|content-length: 0||"),
        (
            200,
            WebSocket,
            false,
            &[("sec-websocket-protocol", "chat")],
            Body::Tunnel,
            "101 Switching Protocols|sec-websocket-protocol: chat|upgrade: websocket|connection: upgrade|sec-websocket-accept: key||",
        ),
        // Trailers that are announced have no room behind a length.
        (
            200,
            Other,
            false,
            &[length, ("trailer", "x")],
            Body::Chunked,
            "200 OK|trailer: x|transfer-encoding: chunked||",
        ),
        (
            200,
            Head,
            false,
            &[length, ("trailer", "x")],
            Body::None,
            "200 OK|trailer: x|content-length: 5||",
        ),
        (403, WebSocket, true, &[], Body::None, "403 Forbidden|content-length: 0||"),
    ] {
        let (is, said) = written(status, kind, ends, fields).expect("it is valid");
        assert_eq!((is, said.to_lowercase()), (body, format!("HTTP/1.1 {text}").to_lowercase()));
    }
}

#[test]
fn malformed_responses_are_refused_with_their_rule() {
    use MalformedResponse::{
        ConnectionField, ContentLengthInvalid, ContentLengthUnmet, NameInvalid, StatusInvalid,
        ValueInvalid,
    };
    for (status, ends, field, expected) in [
        (101, false, ("x", "1"), StatusInvalid),
        (100, false, ("x", "1"), StatusInvalid),
        (1000, false, ("x", "1"), StatusInvalid),
        (200, false, ("X", "1"), NameInvalid),
        (200, false, ("", "1"), NameInvalid),
        (200, false, ("a b", "1"), NameInvalid),
        (200, false, (":status", "200"), NameInvalid),
        (200, false, ("x", "a\r\nb: c"), ValueInvalid),
        (200, false, ("x", " a"), ValueInvalid),
        (200, false, ("x", "\0"), ValueInvalid),
        (200, false, ("connection", "close"), ConnectionField),
        (200, false, ("transfer-encoding", "chunked"), ConnectionField),
        (200, false, ("upgrade", "h2c"), ConnectionField),
        (200, false, ("keep-alive", "1"), ConnectionField),
        (200, false, ("proxy-connection", "1"), ConnectionField),
        (200, false, ("content-length", "+1"), ContentLengthInvalid),
        (200, false, ("content-length", ""), ContentLengthInvalid),
        (200, false, ("content-length", "99999999999999999999"), ContentLengthInvalid),
        (200, true, ("content-length", "1"), ContentLengthUnmet),
    ] {
        let refused = written(status, RequestKind::Other, ends, &[field]);
        assert_eq!(refused.expect_err("it is malformed"), expected, "{status} {field:?}");
        assert!(expected.reason().starts_with("h2_"));
    }
    let two = [("content-length", "1"), ("content-length", "2")];
    let refused = written(200, RequestKind::Other, false, &two);
    assert_eq!(refused.expect_err("they differ"), ContentLengthInvalid);
}

#[test]
fn interim_responses_have_no_framing() {
    let mut out = Vec::new();
    let fields = [(&b"link"[..], &b"</a>"[..]), (b"content-length", b"3")];
    assert_eq!(write_interim(103, fields.into_iter(), &mut out), Ok(()));
    let text = String::from_utf8_lossy(&out);
    assert!(
        text.starts_with("HTTP/1.1 103 ") && text.ends_with("\r\nlink: </a>\r\n\r\n"),
        "{text}"
    );
    for status in [101, 200, 99] {
        let refused = write_interim(status, std::iter::empty(), &mut Vec::new());
        assert_eq!(refused, Err(MalformedResponse::StatusInvalid), "{status}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_as_that_response(
        status in 200_u16..1000,
        ends in any::<bool>(),
        fields in prop::collection::vec(("[a-z-]{1,8}", "[ -~\\t]{0,12}"), 0..6),
    ) {
        let borrowed: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let Ok((body, _)) = written(status, RequestKind::Other, ends, &borrowed) else { return Ok(()) };
        let mut out = Vec::new();
        let answered = Answered { kind: RequestKind::Other, accept: None, ends };
        let lines = borrowed.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        write_response(status, &answered, lines, &mut out).expect("as before");
        let mut head = ResponseHead::new();
        let context = ResponseContext { method: Method::Get, upgrade_requested: false };
        let parsed = parse_response(&out, &Limits::default(), context, &mut head);
        prop_assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: out.len() }));
        prop_assert_eq!(head.status(), status);
        if body == Body::None {
            prop_assert!(matches!(head.body(), tidegate_http1::BodyLength::None | tidegate_http1::BodyLength::Length(0)));
        }
    }
}

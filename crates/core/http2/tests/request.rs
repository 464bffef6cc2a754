//! Requests as text: what each field set becomes, and that the reader of HTTP/1.1 finds exactly that request in it.

use proptest::prelude::*;
use tidegate_http1::{BodyLength, Limits, Method, Parsed, RequestHead, parse_request};
use tidegate_http2::{Body, Carried, Malformed, Pseudo, RequestKind, write_request};

type Field<'a> = (&'a [u8], &'a [u8]);

const GET: Pseudo<'_> = Pseudo {
    method: b"GET",
    scheme: Some(b"http"),
    authority: Some(b"a.example"),
    path: Some(b"/"),
    protocol: None,
};

const WEBSOCKET: Pseudo<'_> =
    Pseudo { method: b"CONNECT", protocol: Some(b"websocket"), path: Some(b"/chat"), ..GET };

fn write(
    pseudo: &Pseudo<'_>,
    fields: &[Field<'_>],
    ends: bool,
) -> Result<(Carried, String), Malformed> {
    let mut out = Vec::new();
    let carried =
        write_request(pseudo, || fields.iter().copied(), ends, *b"the sample nonce", &mut out)?;
    Ok((carried, String::from_utf8(out).expect("the samples are ASCII")))
}

#[track_caller]
fn check(pseudo: &Pseudo<'_>, fields: &[Field<'_>], ends: bool, body: Body, text: &str) {
    let (carried, written) = write(pseudo, fields, ends).expect("accepted");
    assert_eq!(written.replace("\r\n", "\n"), text);
    assert_eq!(carried.body, body);
    let parsed = parse_request(written.as_bytes(), &Limits::default(), &mut RequestHead::new());
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: written.len() }));
}

#[track_caller]
fn refuses(pseudo: Pseudo<'_>, fields: &[Field<'_>], ends: bool, malformed: Malformed) {
    assert_eq!(write(&pseudo, fields, ends).expect_err("malformed"), malformed);
}

#[test]
fn the_text_has_the_host_first_the_cookies_joined_and_the_framing_of_the_body() {
    check(&GET, &[], true, Body::None, "GET / HTTP/1.1\nhost: a.example\n\n");
    check(
        &Pseudo { method: b"POST", path: Some(b"/x?y=1"), ..GET },
        &[(b"accept", b"*/*"), (b"cookie", b"a=1"), (b"x", b""), (b"cookie", b"b=2")],
        false,
        Body::Chunked,
        "POST /x?y=1 HTTP/1.1\nhost: a.example\naccept: */*\nx: \ncookie: a=1; b=2\ntransfer-encoding: chunked\n\n",
    );
    check(
        &Pseudo { method: b"PUT", ..GET },
        &[(b"content-length", b"7"), (b"te", b"trailers")],
        false,
        Body::Length(7),
        "PUT / HTTP/1.1\nhost: a.example\ncontent-length: 7\nte: trailers\n\n",
    );
    check(
        &GET,
        &[(b"content-length", b"0"), (b"host", b"A.example:80")],
        true,
        Body::None,
        "GET / HTTP/1.1\nhost: a.example\ncontent-length: 0\n\n",
    );
    check(
        &Pseudo { authority: None, ..GET },
        &[(b"x", b"1"), (b"host", b"b.example")],
        true,
        Body::None,
        "GET / HTTP/1.1\nhost: b.example\nx: 1\n\n",
    );
    check(
        &Pseudo { method: b"OPTIONS", path: Some(b"*"), ..GET },
        &[],
        true,
        Body::None,
        "OPTIONS * HTTP/1.1\nhost: a.example\n\n",
    );
}

#[test]
fn a_websocket_is_an_upgrade_with_a_key_and_other_connects_are_there_to_be_refused() {
    check(
        &WEBSOCKET,
        &[(b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"theirs")],
        false,
        Body::Tunnel,
        "GET /chat HTTP/1.1\nhost: a.example\nsec-websocket-version: 13\nconnection: upgrade\nupgrade: websocket\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\n",
    );
    let plain = Pseudo { method: b"CONNECT", authority: Some(b"a:1"), ..Pseudo::default() };
    check(&plain, &[], false, Body::None, "CONNECT a:1 HTTP/1.1\nhost: a:1\n\n");
    let other = Pseudo { protocol: Some(b"connect-udp"), ..WEBSOCKET };
    check(&other, &[], false, Body::None, "CONNECT a.example:443 HTTP/1.1\nhost: a.example\n\n");
    refuses(Pseudo { path: Some(b"/"), ..plain }, &[], false, Malformed::ConnectInvalid);
    refuses(Pseudo { authority: None, ..plain }, &[], false, Malformed::ConnectInvalid);
    refuses(Pseudo { authority: None, ..WEBSOCKET }, &[], false, Malformed::ConnectInvalid);
    refuses(WEBSOCKET, &[], true, Malformed::ConnectInvalid);
    refuses(WEBSOCKET, &[(b"content-length", b"0")], false, Malformed::ConnectInvalid);
    refuses(Pseudo { method: b"GET", ..WEBSOCKET }, &[], false, Malformed::ConnectInvalid);
    refuses(Pseudo { path: None, ..WEBSOCKET }, &[], false, Malformed::PathMissing);
}

#[test]
fn each_rule_refuses_what_breaks_it() {
    let field = |name: &'static [u8], value: &'static [u8], malformed| {
        refuses(GET, &[(name, value)], false, malformed);
    };
    for method in [&b""[..], b"GE T", b"GET\r\n", b"G\0T"] {
        refuses(Pseudo { method, ..GET }, &[], true, Malformed::MethodInvalid);
    }
    for scheme in [None, Some(&b"ftp"[..]), Some(b"http "), Some(b"")] {
        refuses(Pseudo { scheme, ..GET }, &[], true, Malformed::SchemeInvalid);
    }
    for path in [None, Some(&b""[..])] {
        refuses(Pseudo { path, ..GET }, &[], true, Malformed::PathMissing);
    }
    for path in [&b"x"[..], b"http://b/", b"/ HTTP/1.1\r\nx: y", b"/a b", b"/\x7f", b"/\xff", b"**"]
    {
        refuses(Pseudo { path: Some(path), ..GET }, &[], true, Malformed::PathInvalid);
    }
    for authority in [&b""[..], b"a b", b"a\r\nx: y", b"u@a", b"\xff"] {
        let pseudo = Pseudo { authority: Some(authority), ..GET };
        refuses(pseudo, &[], true, Malformed::AuthorityInvalid);
    }
    field(b"host", b"b.example", Malformed::AuthorityMismatch);
    field(b"host", b"a.example:443", Malformed::AuthorityMismatch);
    let twice: [Field<'_>; 2] = [(b"host", b"a.example"), (b"host", b"a.example")];
    refuses(GET, &twice, true, Malformed::HostRepeated);
    for name in [&b""[..], b"Accept", b"a b", b"a:", b":path", b"a\r\nb", b"\xc3\xa4"] {
        field(name, b"x", Malformed::NameInvalid);
    }
    for value in [&b" a"[..], b"a ", b"\ta", b"a\t", b"a\rb", b"a\nb", b"a\0b", b"a\x7fb", b"\x1b"]
    {
        field(b"x", value, Malformed::ValueInvalid);
    }
    for name in
        [&b"connection"[..], b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"]
    {
        field(name, b"x", Malformed::ConnectionField);
    }
    for value in [&b"gzip"[..], b"trailers, gzip", b"trailers;q=1", b""] {
        field(b"te", value, Malformed::TeInvalid);
    }
    for value in [&b""[..], b"+1", b"1,1", b"x", b"18446744073709551616"] {
        field(b"content-length", value, Malformed::ContentLengthInvalid);
    }
    let twice: [Field<'_>; 2] = [(b"content-length", b"1"), (b"content-length", b"1")];
    refuses(GET, &twice, false, Malformed::ContentLengthInvalid);
    refuses(GET, &[(b"content-length", b"1")], true, Malformed::ContentLengthUnmet);
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        proptest::collection::vec(prop::sample::select(b" \t\r\n:,;=/\0aA0-".to_vec()), 0..12),
    ]
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "host",
        "cookie",
        "content-length",
        "transfer-encoding",
        "te",
        "connection",
        "expect",
        "x-a",
        "upgrade",
        "accept",
        "trailer",
        ":path",
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(|name| name.as_bytes().to_vec()),
        1 => bytes(),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let known =
        ["", "1", "0", "chunked", "trailers", "a.example", "a=1; b", "100-continue", "x\ty"];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(|value| value.as_bytes().to_vec()),
        1 => bytes(),
    ]
}

fn choice(known: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::sample::select(known).prop_map(|text| text.as_bytes().to_vec()),
        1 => bytes(),
    ]
}

proptest! {
    /// No smuggling: what is accepted is refused by the reader, or read as one request whose every part is the one given, and
    /// which ends where the text ends.
    #[test]
    fn accepted_fields_are_read_as_exactly_that_request(
        method in choice(&["GET", "POST", "HEAD", "CONNECT", "OPTIONS", "PRI"]),
        scheme in prop::option::weighted(0.9, choice(&["http", "https", "HTTP", "ftp"])),
        authority in prop::option::weighted(0.9, choice(&["a.example", "a.example:80", "[::1]", "u@a"])),
        path in prop::option::weighted(0.9, choice(&["/", "/a?b", "*", "http://b/", "/%zz", "/a#b"])),
        protocol in prop::option::weighted(0.1, choice(&["websocket", "x"])),
        fields in proptest::collection::vec((names(), values()), 0..6),
        ends in any::<bool>(),
    ) {
        let pseudo = Pseudo {
            method: &method,
            scheme: scheme.as_deref(),
            authority: authority.as_deref(),
            path: path.as_deref(),
            protocol: protocol.as_deref(),
        };
        let lines = fields.iter().map(|(name, value)| (&name[..], &value[..]));
        let mut out = Vec::new();
        let Ok(carried) = write_request(&pseudo, || lines.clone(), ends, [7; 16], &mut out) else { return Ok(()) };
        let mut head = RequestHead::new();
        let Ok(parsed) = parse_request(&out, &Limits::default(), &mut head) else { return Ok(()) };
        prop_assert_eq!(parsed, Parsed::Complete { head_bytes: out.len() });
        let websocket = carried.kind == RequestKind::WebSocket;
        let expected = if websocket { &b"GET"[..] } else { &method };
        prop_assert_eq!(head.method_bytes(&out), expected);
        if head.method() != Method::Connect {
            prop_assert_eq!(Some(head.target(&out)), path.as_deref());
            let host = lines.clone().find(|(name, _)| *name == b"host").map(|(_, value)| value);
            prop_assert_eq!(Some(head.host(&out)), authority.as_deref().or(host));
        }
        let body = match head.body() {
            BodyLength::None => Body::None,
            BodyLength::Length(0) if ends => Body::None,
            BodyLength::Length(length) => Body::Length(length),
            BodyLength::Chunked => Body::Chunked,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(if websocket { Body::Tunnel } else { body }, if body == Body::None && websocket { Body::Tunnel } else { carried.body });
        prop_assert_eq!(head.upgrade(), websocket);
        let own = |name: &[u8]| [&b"host"[..], b"cookie"].contains(&name)
            || (websocket && [&b"connection"[..], b"upgrade", b"sec-websocket-key"].contains(&name))
            || (carried.body == Body::Chunked && name == b"transfer-encoding");
        let read: Vec<_> = head.headers(&out).filter(|(name, _)| !own(name)).collect();
        if head.method() != Method::Connect {
            let given: Vec<_> = lines.filter(|(name, _)| !own(name)).collect();
            prop_assert_eq!(read, given);
        }
    }
}

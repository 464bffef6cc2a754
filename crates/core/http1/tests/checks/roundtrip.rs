//! An encoded head re-parses to the same message: same framing, same end-to-end headers, no
//! hop-by-hop header.

use tidegate_http1::{
    BodyFraming, BodyLength, ConnectionHeader, Limits, Method, Parsed, RequestEdits, RequestHead,
    ResponseContext, ResponseEdits, ResponseHead, TargetForm, Version, encode_request_head,
    encode_response_head, parse_request, parse_response,
};

type Headers<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Checks `data`: its first byte chooses the edits, the rest is tried as a request head and as a
/// response head.
pub fn check(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    check_request(bytes, choice);
    check_response(bytes, choice);
}

/// The headers that an intermediary passes on whatever they say, in order.
fn end_to_end<'a>(headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Headers<'a> {
    let headers: Headers<'a> = headers.collect();
    let listed: Vec<&[u8]> = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, value)| value.split(|&b| b == b',').map(<[u8]>::trim_ascii))
        .collect();
    let own: [&[u8]; 10] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"upgrade",
        b"transfer-encoding",
        b"content-length",
        b"host",
        b"expect",
        b"x-added",
    ];
    headers
        .into_iter()
        .filter(|(name, _)| {
            !own.iter().chain(&listed).any(|hidden| hidden.eq_ignore_ascii_case(name))
        })
        .collect()
}

fn has_unasked_hop_by_hop<'a>(mut headers: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    let never: [&[u8]; 3] = [b"keep-alive", b"proxy-connection", b"te"];
    headers.any(|(name, _)| never.iter().any(|never| never.eq_ignore_ascii_case(name)))
}

fn check_request(buf: &[u8], choice: u8) {
    let mut head = RequestHead::new();
    if !matches!(parse_request(buf, &Limits::default(), &mut head), Ok(Parsed::Complete { .. })) {
        return;
    }
    let connection = match choice & 3 {
        0 if head.upgrade() => ConnectionHeader::Upgrade,
        1 => ConnectionHeader::Close,
        _ => ConnectionHeader::KeepAlive,
    };
    let host = if head.host(buf).is_empty() { &b"fallback.example"[..] } else { head.host(buf) };
    let with_host: [(&[u8], &[u8]); 2] = [(b"X-Added", b"1"), (b"Host", host)];
    let adds_host = choice & 4 != 0 || head.host(buf).is_empty();
    let edits = RequestEdits {
        connection,
        add: if adds_host { &with_host } else { &with_host[..1] },
        remove: &[],
        expect_continue: choice & 8 != 0,
    };
    let mut out = Vec::new();
    encode_request_head(&mut out, buf, &head, &edits);
    let roomy = Limits { head_bytes_max: 60_000, headers_count_max: 200, ..Limits::default() };
    let mut again = RequestHead::new();
    let parsed = parse_request(&out, &roomy, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: out.len() }), "{:?}", out.escape_ascii());
    let (first_name, first_value) = again.headers(&out).next().expect("Host is there");
    assert!(first_name.eq_ignore_ascii_case(b"host"), "Host comes first");
    assert_eq!(first_value, host);
    assert_eq!((again.method(), again.body()), (head.method(), head.body()));
    assert_eq!(again.version(), Version::Http11);
    assert_eq!(again.host(&out), host_after(&head, buf, host));
    assert_eq!(without_slash(again.path_and_query(&out)), without_slash(head.path_and_query(buf)));
    assert_ne!(again.target_form(), TargetForm::Absolute);
    assert_eq!(end_to_end(again.headers(&out)), end_to_end(head.headers(buf)));
    assert!(!has_unasked_hop_by_hop(again.headers(&out)));
    assert_eq!(again.headers(&out).last(), Some((&b"X-Added"[..], &b"1"[..])));
    assert_eq!(again.upgrade(), connection == ConnectionHeader::Upgrade);
    assert_eq!(again.keep_alive(), connection != ConnectionHeader::Close);
    assert_eq!(again.expects_continue(), edits.expect_continue && head.expects_continue());
}

fn check_response(buf: &[u8], choice: u8) {
    let context = ResponseContext {
        method: if choice & 1 == 0 { Method::Get } else { Method::Head },
        upgrade_requested: choice & 2 != 0,
    };
    let mut head = ResponseHead::new();
    let parsed = parse_response(buf, &Limits::default(), context, &mut head);
    if !matches!(parsed, Ok(Parsed::Complete { .. })) {
        return;
    }
    let client_version = if choice & 4 == 0 { Version::Http11 } else { Version::Http10 };
    let body = match (head.body(), choice & 8) {
        (BodyLength::UntilClose, 0) => BodyFraming::Chunked,
        (BodyLength::Chunked, 0) => BodyFraming::UntilClose,
        _ => BodyFraming::AsReceived,
    };
    let connection = match (head.status(), choice & 16) {
        (101, _) => ConnectionHeader::Upgrade,
        (_, 0) => ConnectionHeader::Close,
        (_, _) => ConnectionHeader::KeepAlive,
    };
    let edits =
        ResponseEdits { connection, client_version, add: &[(b"X-Added", b"1")], remove: &[], body };
    let mut out = Vec::new();
    encode_response_head(&mut out, buf, &head, &edits);
    let roomy = Limits { head_bytes_max: 60_000, headers_count_max: 200, ..Limits::default() };
    let mut again = ResponseHead::new();
    let parsed = parse_response(&out, &roomy, context, &mut again);
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: out.len() }), "{:?}", out.escape_ascii());
    let expected = match (head.body(), body, client_version) {
        (BodyLength::Chunked | BodyLength::UntilClose, _, Version::Http10) => {
            BodyLength::UntilClose
        }
        (BodyLength::Chunked, BodyFraming::UntilClose, _) => BodyLength::UntilClose,
        (BodyLength::UntilClose, BodyFraming::Chunked, _) => BodyLength::Chunked,
        (received, _, _) => received,
    };
    assert_eq!((again.status(), again.body()), (head.status(), expected));
    assert_eq!(again.version(), Version::Http11);
    assert_eq!(end_to_end(again.headers(&out)), end_to_end(head.headers(buf)));
    assert!(!has_unasked_hop_by_hop(again.headers(&out)));
    let may_upgrade = matches!(head.status(), 101 | 426);
    assert_eq!(
        again.header(&out, b"upgrade").is_some(),
        may_upgrade && head.header(buf, b"upgrade").is_some(),
    );
    assert_eq!(again.headers(&out).last(), Some((&b"X-Added"[..], &b"1"[..])));
    let persists = connection == ConnectionHeader::KeepAlive && expected != BodyLength::UntilClose;
    assert_eq!(again.keep_alive(), persists);
}

/// CONNECT names its authority in the target, whatever its Host says.
fn host_after<'a>(head: &RequestHead, buf: &'a [u8], host: &'a [u8]) -> &'a [u8] {
    if head.target_form() == TargetForm::Authority { head.host(buf) } else { host }
}

fn without_slash(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/?").map_or(path, |_| &path[1..])
}

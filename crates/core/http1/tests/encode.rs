//! What leaves the proxy, byte for byte.

use tidegate_http1::{
    BodyFraming, ConnectionHeader, HeaderEdits, HeaderLists, Limits, Method, NewStart,
    OPEN_CHUNK_BYTES, OPEN_CHUNK_DATA_BYTES_MAX, Parsed, RequestEdits, RequestHead,
    ResponseContext, ResponseEdits, ResponseHead, SimpleResponse, Version, close_chunk,
    encode_chunk_header, encode_request_head, encode_response_head, encode_simple_response,
    is_origin_target, open_chunk, parse_request, parse_response,
};

#[track_caller]
fn check_request<H: HeaderEdits>(received: &str, edits: &RequestEdits<'_, H>, expected: &str) {
    let mut head = RequestHead::new();
    let parsed = parse_request(received.as_bytes(), &Limits::default(), &mut head);
    assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{parsed:?}");
    let mut out = b"before".to_vec();
    encode_request_head(&mut out, received.as_bytes(), &head, edits);
    assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"));
}

#[track_caller]
fn check_response<H: HeaderEdits>(received: &str, edits: &ResponseEdits<H>, expected: &str) {
    let context = ResponseContext { method: Method::Get, upgrade_requested: true };
    check_response_in(context, received, edits, expected);
}

#[track_caller]
fn check_response_in<H: HeaderEdits>(
    context: ResponseContext,
    received: &str,
    edits: &ResponseEdits<H>,
    expected: &str,
) {
    let mut head = ResponseHead::new();
    let parsed = parse_response(received.as_bytes(), &Limits::default(), context, &mut head);
    assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{parsed:?}");
    let mut out = Vec::new();
    encode_response_head(&mut out, received.as_bytes(), &head, edits);
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn a_plain_request_passes_unchanged() {
    let plain = "GET /a?b HTTP/1.1\r\nHost: a\r\nAccept:*/*\r\nContent-Length: 5\r\n\r\n";
    check_request(plain, &RequestEdits::default(), plain);
}

#[test]
fn the_empty_line_before_a_request_is_not_passed_on() {
    check_request(
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &RequestEdits::default(),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    );
}

#[test]
fn host_comes_first_and_plain() {
    check_request(
        "GET / HTTP/1.1\r\nA: 1\r\nHOST:\ta\r\nB: 2\r\n\r\n",
        &RequestEdits::default(),
        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n",
    );
}

#[test]
fn the_authority_of_the_target_becomes_host() {
    for (target, line, host) in
        [("http://b:81/p?q", "/p?q", "b:81"), ("http://b", "/", "b"), ("http://b?q", "/?q", "b")]
    {
        check_request(
            &format!("GET {target} HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n"),
            &RequestEdits::default(),
            &format!("GET {line} HTTP/1.1\r\nHost: {host}\r\nA: 1\r\n\r\n"),
        );
    }
    check_request(
        "CONNECT b:443 HTTP/1.1\r\nHost: a\r\nA: 1\r\n\r\n",
        &RequestEdits::default(),
        "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\nA: 1\r\n\r\n",
    );
    check_request(
        "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n",
        &RequestEdits::default(),
        "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
    );
}

#[test]
fn hop_by_hop_and_listed_headers_stay_here() {
    check_request(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-hop, TE\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nA: 1\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: x\r\nx-hop: 2\r\nTrailer: T\r\nX-Hop-Not: 3\r\n\r\n",
        &RequestEdits::default(),
        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nTrailer: T\r\nX-Hop-Not: 3\r\n\r\n",
    );
}

#[test]
fn framing_headers_are_written_plainly() {
    let edits = RequestEdits::default();
    for (received, written) in [
        ("Content-Length:5", "Content-Length: 5"),
        ("Content-Length: 5 ", "Content-Length: 5"),
        ("Content-Length: 0005", "Content-Length: 5"),
        ("Content-Length: 000", "Content-Length: 0"),
        ("Content-Length: 0", "Content-Length: 0"),
        ("Transfer-Encoding:\tCHUNKED ", "Transfer-Encoding: chunked"),
    ] {
        check_request(
            &format!("POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\n{received}\r\n\r\n"),
            &edits,
            &format!("POST / HTTP/1.1\r\nHost: a\r\nA: 1\r\n{written}\r\n\r\n"),
        );
    }
}

#[test]
fn an_http10_request_leaves_as_http11() {
    let edits = RequestEdits::default();
    check_request(
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\nB: 1\r\n\r\n",
        &edits,
        "GET / HTTP/1.1\r\nHost: a\r\nB: 1\r\n\r\n",
    );
    check_request("GET / HTTP/1.0\r\n\r\n", &edits, "GET / HTTP/1.1\r\nHost: \r\n\r\n");
}

#[test]
fn edits_add_remove_and_replace() {
    let start = NewStart { host: Some(b"internal"), ..NewStart::default() };
    let edits = RequestEdits {
        connection: ConnectionHeader::Close,
        start: Some(&start),
        ..RequestEdits::default()
    }
    .with_headers(HeaderLists {
        add: &[(b"X-Forwarded-For", b"192.0.2.1"), (b"Via", b"1.1 t")],
        remove: &[b"x-forwarded-for", b"content-length", b"host"],
    });
    check_request(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: evil\r\nA: 1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        &edits,
        "POST / HTTP/1.1\r\nHost: internal\r\nA: 1\r\nContent-Length: 5\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1\r\nVia: 1.1 t\r\n\r\n",
    );
    let headers = HeaderLists { remove: &[b"Host"], ..HeaderLists::default() };
    let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    check_request(plain, &RequestEdits::default().with_headers(headers), plain);
}

#[test]
fn edits_replace_method_target_and_host() {
    let received = "POST http://b/p?q HTTP/1.1\r\nHost: a\r\nA: 1\r\nContent-Length: 5\r\n\r\n";
    let unchanged = NewStart::default();
    for (start, line, host) in [
        (NewStart { method: Some(b"PUT"), ..unchanged }, "PUT /p?q", "b"),
        (NewStart { target: Some(b"/x?y=z"), ..unchanged }, "POST /x?y=z", "b"),
        (NewStart { host: Some(b"c:81"), ..unchanged }, "POST /p?q", "c:81"),
    ] {
        check_request(
            received,
            &RequestEdits { start: Some(&start), ..RequestEdits::default() },
            &format!("{line} HTTP/1.1\r\nHost: {host}\r\nA: 1\r\nContent-Length: 5\r\n\r\n"),
        );
    }
}

#[test]
fn edits_do_not_reach_framing_and_connection_headers() {
    const NAMES: [&[u8]; 11] = [
        b"Host",
        b"content-length",
        b"TRANSFER-ENCODING",
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"TE",
        b"Upgrade",
        b"Expect",
        b"Listed",
        b"Hosts",
    ];
    let add: Vec<(&[u8], &[u8])> = NAMES.iter().map(|name| (*name, &b"1"[..])).collect();
    let headers = HeaderLists { add: &add, remove: &NAMES };
    check_request(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: listed\r\nListed: x\r\nHosts: y\r\n\r\n",
        &RequestEdits::default().with_headers(headers),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nListed: 1\r\nHosts: 1\r\n\r\n",
    );
    check_response(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: listed\r\nListed: x\r\n\r\n",
        &ResponseEdits::default().with_headers(headers),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nListed: 1\r\nHosts: 1\r\n\r\n",
    );
}

#[test]
fn a_status_is_replaced_only_where_the_body_stays_what_it_is() {
    for (received, new, written) in [
        ("200 Fine", 404, "404 Not Found"),
        ("500 Internal Server Error", 599, "599 "),
        ("200 Fine", 200, "200 OK"),
        ("200 Fine", 204, "200 Fine"),
        ("200 Fine", 205, "200 Fine"),
        ("200 Fine", 304, "200 Fine"),
        ("304 Not Modified", 200, "304 Not Modified"),
        ("100 Continue", 200, "100 Continue"),
        ("200 Fine", 101, "200 Fine"),
    ] {
        let length = if received.starts_with('1') { "" } else { "Content-Length: 5\r\n" };
        check_response(
            &format!("HTTP/1.1 {received}\r\n{length}\r\n"),
            &ResponseEdits { status: Some(new), ..ResponseEdits::default() },
            &format!("HTTP/1.1 {written}\r\n{length}\r\n"),
        );
    }
}

#[test]
fn targets_that_rules_make_are_in_origin_form() {
    for target in ["/", "/a/b?c=d", "//a", "/%20", "/a?%"] {
        assert!(is_origin_target(target.as_bytes()), "{target}");
    }
    for target in
        ["", "a", "*", "?a", "http://a/", "/a b", "/a#b", "/%2", "/\r\n", "/\u{e9}", "/a\0"]
    {
        assert!(!is_origin_target(target.as_bytes()), "{target:?}");
    }
}

#[test]
fn expect_and_upgrade_pass_only_when_asked() {
    let expecting =
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let edits = RequestEdits { expect_continue: true, ..RequestEdits::default() };
    check_request(expecting, &edits, expecting);
    let without = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    check_request(expecting, &RequestEdits::default(), without);
    check_request(
        "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        &edits,
        without,
    );
    let edits = RequestEdits { connection: ConnectionHeader::Upgrade, ..RequestEdits::default() };
    check_request(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
        &edits,
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    );
}

#[test]
fn a_plain_response_passes_unchanged() {
    let plain = "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    check_response(plain, &ResponseEdits::default(), plain);
}

#[test]
fn a_status_line_is_completed() {
    let edits = ResponseEdits::default();
    let rest = "Content-Length: 0\r\n\r\n";
    for (received, written) in [
        ("HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n"),
        ("HTTP/1.1 200 \r\n", "HTTP/1.1 200 \r\n"),
        ("HTTP/1.0 404 Not Here\r\n", "HTTP/1.1 404 Not Here\r\n"),
        ("HTTP/1.0 404\r\n", "HTTP/1.1 404 \r\n"),
    ] {
        check_response(&format!("{received}{rest}"), &edits, &format!("{written}{rest}"));
    }
}

#[test]
fn a_response_loses_hop_by_hop_headers_and_gets_the_edits() {
    let edits = ResponseEdits { connection: ConnectionHeader::Close, ..ResponseEdits::default() }
        .with_headers(HeaderLists { add: &[(b"Via", b"1.1 t")], remove: &[b"SERVER"] });
    check_response(
        "HTTP/1.1 200 OK\r\nServer: x\r\nConnection: Upgrade, Keep-Alive\r\nUpgrade: h2,h2c\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding:chunked\r\nA: 1\r\n\r\n",
        &edits,
        "HTTP/1.1 200 OK\r\nA: 1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nVia: 1.1 t\r\n\r\n",
    );
}

#[test]
fn body_framing_fits_the_client() {
    let keep = ResponseEdits::default();
    let old = ResponseEdits { client_version: Version::Http10, ..keep };
    let rechunk = ResponseEdits { body: BodyFraming::Chunked, ..keep };
    let until_close = ResponseEdits { body: BodyFraming::UntilClose, ..keep };
    for (lines, edits, written) in [
        ("Content-Length: 5\r\n", old, "Content-Length: 5\r\nConnection: keep-alive\r\n"),
        ("Transfer-Encoding: chunked\r\n", old, "Connection: close\r\n"),
        ("Transfer-Encoding: chunked\r\n", until_close, "Connection: close\r\n"),
        ("Content-Length: 5\r\n", until_close, "Connection: close\r\n"),
        ("Content-Length: 5\r\n", rechunk, "Transfer-Encoding: chunked\r\n"),
        ("", keep, "Connection: close\r\n"),
        ("", rechunk, "Transfer-Encoding: chunked\r\n"),
        ("Content-Length: 05\r\n", keep, "Content-Length: 5\r\n"),
    ] {
        let received = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        check_response(&received, &edits, &format!("HTTP/1.1 200 OK\r\n{written}\r\n"));
    }
}

#[test]
fn responses_without_a_body_announce_only_what_they_may() {
    let keep = ResponseEdits::default();
    let rechunk = ResponseEdits { body: BodyFraming::Chunked, ..keep };
    let old = ResponseEdits { client_version: Version::Http10, ..keep };
    let undeclared = ResponseEdits { body: BodyFraming::Undeclared, ..keep };
    let head = ResponseContext { method: Method::Head, ..ResponseContext::default() };
    for (status, lines, edits, written) in [
        ("200", "Content-Length: 5\r\n", keep, "Content-Length: 5\r\n"),
        ("200", "Transfer-Encoding: chunked\r\n", keep, "Transfer-Encoding: chunked\r\n"),
        ("200", "Transfer-Encoding: chunked\r\n", old, "Connection: keep-alive\r\n"),
        ("200", "", rechunk, ""),
        ("200", "Content-Length: 5\r\n", rechunk, "Content-Length: 5\r\n"),
        ("200", "Content-Length: 5\r\n", undeclared, ""),
        ("200", "Transfer-Encoding: chunked\r\n", undeclared, ""),
        ("304", "Content-Length: 5\r\n", keep, "Content-Length: 5\r\n"),
        ("304", "", keep, ""),
        ("204", "Content-Length: 5\r\n", keep, ""),
        ("204", "Transfer-Encoding: chunked\r\n", keep, ""),
        ("103", "Link: a\r\nContent-Length: 5\r\n", keep, "Link: a\r\n"),
    ] {
        let received = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
        check_response_in(
            head,
            &received,
            &edits,
            &format!("HTTP/1.1 {status} X\r\n{written}\r\n"),
        );
    }
}

#[test]
fn a_switch_of_protocols_keeps_its_upgrade() {
    let edits = ResponseEdits { connection: ConnectionHeader::Upgrade, ..ResponseEdits::default() };
    check_response(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
        &edits,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\n\r\n",
    );
}

#[test]
fn a_426_keeps_the_protocol_that_it_asks_for() {
    let keep = ResponseEdits::default();
    let old = ResponseEdits { client_version: Version::Http10, ..keep };
    let close = ResponseEdits { connection: ConnectionHeader::Close, ..keep };
    for (received, edits, written) in [
        (
            "Connection: Upgrade\r\nUpgrade: a/1\r\n",
            keep,
            "Upgrade: a/1\r\nConnection: upgrade\r\n",
        ),
        (
            "Upgrade: a, b\r\nConnection: x\r\nX: 1\r\nUpgrade: c\r\n",
            keep,
            "Upgrade: a, b\r\nUpgrade: c\r\nConnection: upgrade\r\n",
        ),
        (
            "Connection: close, Upgrade\r\nUpgrade: a\r\n",
            keep,
            "Upgrade: a\r\nConnection: upgrade\r\n",
        ),
        ("Upgrade: a\r\n", close, "Upgrade: a\r\nConnection: close, upgrade\r\n"),
        ("Upgrade: a\r\n", old, "Upgrade: a\r\nConnection: keep-alive, upgrade\r\n"),
        ("Connection: Upgrade\r\n", keep, ""),
        ("Connection: Upgrade\r\n", close, "Connection: close\r\n"),
    ] {
        let length = "Content-Length: 0\r\n";
        check_response(
            &format!("HTTP/1.1 426 Upgrade Required\r\n{length}{received}\r\n"),
            &edits,
            &format!("HTTP/1.1 426 Upgrade Required\r\n{length}{written}\r\n"),
        );
    }
    // Its body ends by closing, and so does the connection whatever was wanted.
    check_response(
        "HTTP/1.1 426 X\r\nUpgrade: a\r\n\r\n",
        &keep,
        "HTTP/1.1 426 X\r\nUpgrade: a\r\nConnection: close, upgrade\r\n\r\n",
    );
    // Any other response would offer what was not asked for.
    check_response(
        "HTTP/1.1 400 X\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
        &keep,
        "HTTP/1.1 400 X\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn the_proxys_own_responses_are_complete() {
    let response = SimpleResponse {
        status: 503,
        body: b"no server\n",
        connection: ConnectionHeader::Close,
        ..SimpleResponse::default()
    }
    .with_headers(HeaderLists { add: &[(b"Content-Type", b"text/plain")], remove: &[] });
    let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\n";

    assert_eq!(encoded_simple(&response), format!("{head}no server\n"));
    assert_eq!(encoded_simple(&SimpleResponse { method: Method::Head, ..response }), head);
    let empty = SimpleResponse { status: 100, ..SimpleResponse::default() };
    assert_eq!(encoded_simple(&empty), "HTTP/1.1 100 Continue\r\n\r\n");
    let old = SimpleResponse {
        status: 799,
        client_version: Version::Http10,
        ..SimpleResponse::default()
    };
    assert_eq!(
        encoded_simple(&old),
        "HTTP/1.1 799 \r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn chunk_headers_are_lower_case_hexadecimal() {
    for (len, expected) in [
        (0, ""),
        (1, "1\r\n"),
        (9, "9\r\n"),
        (10, "a\r\n"),
        (16, "10\r\n"),
        (0xfff, "fff\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut out = Vec::new();
        encode_chunk_header(&mut out, len);
        assert_eq!(out, expected.as_bytes());
    }
}

fn encoded_simple<H: HeaderEdits>(response: &SimpleResponse<'_, H>) -> String {
    let mut out = Vec::new();
    encode_simple_response(&mut out, response);
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn an_open_chunk_is_the_one_whose_size_was_known() {
    for len in [1, 9, 15, 16, 255, 256, 4095, 4096, 16_376, OPEN_CHUNK_DATA_BYTES_MAX] {
        let data: Vec<u8> = (0..len).map(|place| b"0123456789abcdef\r\n"[place % 18]).collect();
        let mut expected = b"before".to_vec();
        encode_chunk_header(&mut expected, len);
        expected.extend_from_slice(&data);
        expected.extend_from_slice(b"\r\n");
        let mut out = b"before".to_vec();
        let opened = open_chunk(&mut out);
        out.extend_from_slice(&data);
        close_chunk(&mut out, opened);
        assert!(out == expected, "{len}");
        assert!(out.len() <= b"before".len() + len + OPEN_CHUNK_BYTES);
    }
    let mut out = b"before".to_vec();
    let opened = open_chunk(&mut out);
    close_chunk(&mut out, opened);
    assert_eq!(out, b"before", "nothing is no chunk");
}

//! Good traffic is accepted and read right: what real clients and servers send, and the odd but
//! legal.

use tidegate_http1::{
    BodyLength, Limits, Method, Parsed, RequestHead, ResponseContext, ResponseHead, TargetForm,
    Version, parse_request, parse_response,
};

fn request(bytes: &[u8]) -> RequestHead {
    let mut head = RequestHead::new();
    let parsed = parse_request(bytes, &Limits::default(), &mut head);
    let ends = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let head_bytes = ends.expect("the head ends");
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes }), "{}", bytes.escape_ascii());
    head
}

fn response(bytes: &[u8], context: ResponseContext) -> ResponseHead {
    let mut head = ResponseHead::new();
    let parsed = parse_response(bytes, &Limits::default(), context, &mut head);
    assert!(matches!(parsed, Ok(Parsed::Complete { .. })), "{parsed:?} {}", bytes.escape_ascii());
    head
}

fn get(target: &str) -> RequestHead {
    request(format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n").as_bytes())
}

fn with_lines(lines: &str) -> RequestHead {
    request(format!("GET / HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n").as_bytes())
}

#[test]
fn accepts_what_curl_sends() {
    let bytes = b"GET /index.html HTTP/1.1\r\nHost: localhost:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";
    let head = request(bytes);
    assert_eq!((head.method(), head.version()), (Method::Get, Version::Http11));
    assert_eq!(head.host(bytes), b"localhost:8080");
    assert_eq!(head.path_and_query(bytes), b"/index.html");
    assert_eq!(head.body(), BodyLength::None);
    assert!(head.keep_alive() && !head.upgrade() && !head.expects_continue());
    assert_eq!(head.header(bytes, b"user-agent"), Some(&b"curl/8.5.0"[..]));
    assert_eq!(head.header(bytes, b"cookie"), None);
}

#[test]
fn accepts_what_curl_uploads() {
    let bytes = b"PUT /upload HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Length: 1048576\r\nExpect: 100-continue\r\n\r\n";
    let head = request(bytes);
    assert_eq!(head.body(), BodyLength::Length(1_048_576));
    assert!(head.expects_continue());
    let bytes = b"POST /upload HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n";
    let head = request(bytes);
    assert_eq!(head.body(), BodyLength::Chunked);
    assert!(head.expects_continue());
}

#[test]
fn accepts_what_browsers_send() {
    let chrome = b"GET /search?q=caf%C3%A9&filter[name]=a|b&j={x} HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"126\", \"Not/A)Brand\";v=\"8\"\r\nsec-ch-ua-mobile: ?0\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: _ga=GA1.1.1; session=\"a b\"; x={\"y\":[1,2]}\r\nIf-None-Match: W/\"0815\"\r\nPriority: u=0, i\r\n\r\n";
    let firefox = b"POST /form HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nUser-Agent: Mozilla/5.0 (Windows NT 10.0; rv:127.0) Gecko/20100101 Firefox/127.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\nOrigin: null\r\nDNT: 1\r\nConnection: keep-alive\r\nTE: trailers\r\n\r\n";
    let head = request(chrome);
    assert!(head.keep_alive());
    assert_eq!(head.headers(chrome).count(), 12);
    let head = request(firefox);
    assert_eq!(head.host(firefox), b"[2001:db8::1]:8443");
    assert_eq!(head.body(), BodyLength::Length(0));
}

#[test]
fn accepts_what_proxies_and_benchmarks_send() {
    for bytes in [
        &b"GET / HTTP/1.0\r\nHost: backend\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.1, 198.51.100.2\r\n\r\n"[..],
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nHost: localhost:80\r\nUser-Agent: ApacheBench/2.3\r\nAccept: */*\r\n\r\n",
        b"OPTIONS / HTTP/1.0\r\n\r\n",
        b"HEAD /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-First: 1\r\nHOST:example.com\t\r\n\r\n",
    ] {
        request(bytes);
    }
}

#[test]
fn accepts_every_legal_method_token() {
    for (token, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("TRACE", Method::Trace),
        ("PATCH", Method::Patch),
        ("OPTIONS", Method::Options),
        ("PROPFIND", Method::Other),
        ("get", Method::Other),
        ("M-SEARCH", Method::Other),
        ("UPDATEREDIRECTREF", Method::Other),
        ("!#$%&'*+-.^_`|~09AZaz", Method::Other),
    ] {
        let head = request(format!("{token} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        assert_eq!(head.method(), method);
    }
    assert!(Method::Put.is_idempotent() && !Method::Put.is_safe());
    assert!(Method::Get.is_idempotent() && Method::Get.is_safe());
    for method in [Method::Post, Method::Patch, Method::Connect, Method::Other] {
        assert!(!method.is_idempotent() && !method.is_safe());
    }
}

#[test]
fn accepts_legal_targets() {
    for target in [
        "/",
        "//",
        "//example.com/path",
        "/a;v=1,2/b=c/@me:x/~user/!$&'()*+",
        "/%2e%2E/%00",
        "/path?",
        "/?a?b/c",
        "/?100%&x=%zz",
        "/?a[]=1&b{c}=^`|",
        "/[slug]/index.js",
        "/a:b/c@d",
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        let head = get(target);
        assert_eq!(head.target_form(), TargetForm::Origin);
        assert_eq!(head.path_and_query(bytes.as_bytes()), target.as_bytes());
        assert_eq!(head.host(bytes.as_bytes()), b"example.com");
    }
}

#[test]
fn the_authority_of_an_absolute_target_wins_over_host() {
    for (target, host, path) in [
        ("http://other.example/a?b", "other.example", "/a?b"),
        ("HTTPS://[::1]:8443/", "[::1]:8443", "/"),
        ("http://other.example:81", "other.example:81", "/"),
        ("http://other.example?q", "other.example", "?q"),
        ("http://other.example:", "other.example:", "/"),
    ] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        let head = get(target);
        assert_eq!(head.target_form(), TargetForm::Absolute);
        assert_eq!(head.target(bytes.as_bytes()), target.as_bytes());
        assert_eq!(head.host(bytes.as_bytes()), host.as_bytes());
        assert_eq!(head.path_and_query(bytes.as_bytes()), path.as_bytes());
    }
    let bytes = b"OPTIONS http://other.example HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(request(bytes).path_and_query(bytes), b"*");
}

#[test]
fn connect_and_server_wide_options_have_their_forms() {
    let bytes = b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request(bytes);
    assert_eq!((head.method(), head.target_form()), (Method::Connect, TargetForm::Authority));
    assert_eq!((head.host(bytes), head.path_and_query(bytes)), (&b"[::1]:443"[..], &b""[..]));
    let bytes = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request(bytes);
    assert_eq!(head.target_form(), TargetForm::Asterisk);
    assert_eq!((head.host(bytes), head.path_and_query(bytes)), (&b"a"[..], &b"*"[..]));
}

#[test]
fn values_lose_their_blanks_and_keep_everything_else() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nBlank: \t \r\nTight:x\r\nWide: \t a \t b \t\r\nObs: caf\xe9\xff\r\nOdd!#$%&'*+-.^_`|~: \"quoted\\\" , \"\r\n\r\n";
    let head = request(bytes);
    let expected: [(&[u8], &[u8]); 7] = [
        (b"Host", b"a"),
        (b"Empty", b""),
        (b"Blank", b""),
        (b"Tight", b"x"),
        (b"Wide", b"a \t b"),
        (b"Obs", b"caf\xe9\xff"),
        (b"Odd!#$%&'*+-.^_`|~", b"\"quoted\\\" , \""),
    ];
    assert!(head.headers(bytes).eq(expected));
}

#[test]
fn request_framing_follows_the_headers() {
    for (lines, body) in [
        ("", BodyLength::None),
        ("Content-Length: 0\r\n", BodyLength::Length(0)),
        ("Content-Length: 007\r\n", BodyLength::Length(7)),
        ("content-length:\t18446744073709551615 \r\n", BodyLength::Length(u64::MAX)),
        ("TRANSFER-ENCODING: Chunked\r\n", BodyLength::Chunked),
    ] {
        assert_eq!(with_lines(lines).body(), body, "{lines}");
    }
}

#[test]
fn persistence_follows_version_and_options() {
    for (version, lines, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: ,close,\r\n", false),
        ("1.1", "Connection:\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(request(bytes.as_bytes()).keep_alive(), keep_alive, "{bytes}");
    }
}

#[test]
fn an_upgrade_is_offered_only_as_the_rfc_allows() {
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (start, lines, upgrade) in [
        ("GET / HTTP/1.1", websocket, true),
        ("GET / HTTP/1.1", "Connection: keep-alive, upgrade\r\nUpgrade: a/1, b\r\n", true),
        ("POST / HTTP/1.1", "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 0\r\n", true),
        ("POST / HTTP/1.1", "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n", false),
        ("GET / HTTP/1.0", websocket, false),
        ("GET / HTTP/1.1", "Upgrade: websocket\r\n", false),
        ("GET / HTTP/1.1", "Connection: upgrade\r\n", false),
        ("GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: ,\r\n", false),
        ("GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", false),
        ("GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: websocket, H2C\r\n", false),
        ("CONNECT a:1 HTTP/1.1", websocket, false),
    ] {
        let bytes = format!("{start}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(request(bytes.as_bytes()).upgrade(), upgrade, "{bytes}");
    }
}

#[test]
fn an_expectation_counts_only_with_content_and_http11() {
    for (version, lines, expects) in [
        ("1.1", "Expect: 100-CONTINUE\r\nContent-Length: 1\r\n", true),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", false),
        ("1.1", "Expect: 100-continue\r\n", false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false),
    ] {
        let bytes = format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(request(bytes.as_bytes()).expects_continue(), expects, "{bytes}");
    }
}

#[test]
fn limits_allow_exactly_what_they_say() {
    let limits = Limits {
        headers_count_max: 2,
        target_bytes_max: 4,
        head_bytes_max: 40,
        ..Limits::default()
    };
    let mut head = RequestHead::new();
    let bytes = b"GET /abc HTTP/1.1\r\nHost: a\r\nAccept: *\r\n\r\n";
    let roomy = Limits { head_bytes_max: bytes.len(), ..limits };
    let parsed = parse_request(bytes, &roomy, &mut head);
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: bytes.len() }));
    let reasons = [
        Limits { headers_count_max: 1, ..roomy },
        Limits { target_bytes_max: 3, ..roomy },
        Limits { head_bytes_max: bytes.len() - 1, ..roomy },
    ]
    .map(|tight| parse_request(bytes, &tight, &mut head).map_err(|error| error.reason()));
    assert_eq!(reasons, [Err("too_many_headers"), Err("target_too_long"), Err("head_too_large")]);
    let reason = parse_request(&bytes[..limits.head_bytes_max], &limits, &mut head);
    assert_eq!(reason.map_err(|error| error.reason()), Err("head_too_large"));
    let unlimited = Limits { head_bytes_max: usize::MAX, headers_count_max: usize::MAX, ..limits };
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(255));
    assert!(matches!(
        parse_request(many.as_bytes(), &unlimited, &mut head),
        Ok(Parsed::Complete { .. })
    ));
    let more = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(256));
    let reason = parse_request(more.as_bytes(), &unlimited, &mut head);
    assert_eq!(reason.map_err(|error| error.reason()), Err("too_many_headers"));
    let endless = vec![b'a'; 70_000];
    let endless = [b"GET / HTTP/1.1\r\nHost: ".to_vec(), endless].concat();
    let reason = parse_request(&endless, &unlimited, &mut head);
    assert_eq!(reason.map_err(|error| error.reason()), Err("head_too_large"));
}

#[test]
fn a_head_is_reused_without_traces_of_the_last_one() {
    let mut head = RequestHead::new();
    let limits = Limits::default();
    let first = b"POST http://b/ HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n";
    let second = b"GET / HTTP/1.1\r\nHost: c\r\n\r\n";
    assert!(parse_request(first, &limits, &mut head).is_ok());
    assert!(parse_request(second, &limits, &mut head).is_ok());
    assert_eq!((head.host(second), head.body()), (&b"c"[..], BodyLength::None));
    assert_eq!(head.headers(second).count(), 1);
}

#[test]
fn accepts_what_servers_send() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 615\r\nLast-Modified: Tue, 04 Jul 2023 00:00:00 GMT\r\nConnection: keep-alive\r\nETag: \"64a\"\r\nAccept-Ranges: bytes\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nServer: Apache/2.4.57 (Debian)\r\nUpgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nKeep-Alive: timeout=5, max=100\r\nTransfer-Encoding: chunked\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6 Python/3.11.2\r\nContent-type: text/html\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 caf\xe9 \t!\r\nX: \xff\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 Request denied\r\nContent-Length: 0\r\n\r\n",
    ] {
        response(bytes, ResponseContext::default());
    }
}

#[test]
fn response_framing_follows_rfc_9112_section_6_3() {
    let get = ResponseContext::default();
    let head = ResponseContext { method: Method::Head, ..get };
    let connect = ResponseContext { method: Method::Connect, ..get };
    let upgrade = ResponseContext { upgrade_requested: true, ..get };
    for (start, lines, context, body, keep_alive) in [
        ("1.1 200 OK", "Content-Length: 5\r\n", get, BodyLength::Length(5), true),
        ("1.1 200 OK", "Content-Length: 5\r\n", head, BodyLength::None, true),
        ("1.1 200 OK", "Transfer-Encoding: chunked\r\n", get, BodyLength::Chunked, true),
        ("1.1 200 OK", "Transfer-Encoding: chunked\r\n", head, BodyLength::None, true),
        ("1.1 200 OK", "", get, BodyLength::UntilClose, false),
        ("1.1 200 OK", "", head, BodyLength::None, true),
        (
            "1.1 200 OK",
            "Connection: close\r\nContent-Length: 5\r\n",
            get,
            BodyLength::Length(5),
            false,
        ),
        ("1.0 200 OK", "Content-Length: 5\r\n", get, BodyLength::Length(5), false),
        (
            "1.0 200 OK",
            "Content-Length: 5\r\nConnection: keep-alive\r\n",
            get,
            BodyLength::Length(5),
            true,
        ),
        ("1.1 204 No Content", "", get, BodyLength::None, true),
        ("1.1 204 No Content", "Content-Length: 0\r\n", get, BodyLength::None, true),
        ("1.1 204 No Content", "Content-Length: 5\r\n", get, BodyLength::None, false),
        ("1.1 204 No Content", "Transfer-Encoding: chunked\r\n", get, BodyLength::None, false),
        ("1.1 304 Not Modified", "Content-Length: 5\r\n", get, BodyLength::None, true),
        ("1.1 304 Not Modified", "", get, BodyLength::None, true),
        ("1.1 205 Reset Content", "Content-Length: 0\r\n", get, BodyLength::Length(0), true),
        ("1.1 200 OK", "", connect, BodyLength::Tunnel, false),
        ("1.1 407 No", "Content-Length: 5\r\n", connect, BodyLength::Length(5), true),
        (
            "1.1 101 Switching Protocols",
            "Connection: upgrade\r\nUpgrade: x\r\n",
            upgrade,
            BodyLength::Tunnel,
            false,
        ),
        ("1.1 100 Continue", "", get, BodyLength::None, true),
    ] {
        let bytes = format!("HTTP/{start}\r\n{lines}\r\n");
        let head = response(bytes.as_bytes(), context);
        assert_eq!((head.body(), head.keep_alive()), (body, keep_alive), "{bytes} {context:?}");
        assert_eq!(head.is_interim(), bytes.contains(" 100 "), "{bytes}");
    }
}

#[test]
fn refuses_bad_response_heads() {
    for (bytes, reason) in [
        (&b"\r\nHTTP/1.1 200 OK\r\n\r\n"[..], "status_line_malformed"),
        (b"ICY 200 OK\r\n\r\n", "status_line_malformed"),
        (b"<html>", "status_line_malformed"),
        (b"HTTP/1.1200 OK\r\n\r\n", "status_line_malformed"),
        (b"HTTP/1.1\t200 OK\r\n\r\n", "status_line_malformed"),
        (b"http/1.1 200 OK\r\n\r\n", "status_line_malformed"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "version_unsupported"),
        (b"HTTP/1.2 200 OK\r\n\r\n", "version_unsupported"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "status_invalid"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "status_invalid"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status_invalid"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "status_invalid"),
        (b"HTTP/1.1 +20 OK\r\n\r\n", "status_invalid"),
        (b"HTTP/1.1 200\tOK\r\n\r\n", "status_invalid"),
        (b"HTTP/1.1 200 O\x00K\r\n\r\n", "reason_invalid"),
        (b"HTTP/1.1 200 OK\x7f\r\n\r\n", "reason_invalid"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switch_not_requested"),
        (b"HTTP/1.1 200 OK\n\n", "bare_lf"),
        (b"HTTP/1.1 200\nX: a\r\n\r\n", "bare_lf"),
        (b"HTTP/1.1 200 OK\r\nX: a\n\r\n", "bare_lf"),
        (b"HTTP/1.1 200 OK\rX: a\r\n\r\n", "bare_cr"),
        (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "bare_cr"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "folded_line"),
        (b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n", "folded_line"),
        (b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", "header_name_empty"),
        (b"HTTP/1.1 200 OK\r\nX@: a\r\n\r\n", "header_name_invalid"),
        (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "space_before_colon"),
        (b"HTTP/1.1 200 OK\r\nX\r\n\r\n", "header_colon_missing"),
        (b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "header_control_byte"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "content_length_invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "content_length_list"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "content_length_overflow",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "content_length_repeated",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "content_length_with_transfer_encoding",
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer_encoding_unsupported"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "transfer_encoding_repeated",
        ),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_in_http10"),
        (b"HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", "connection_invalid"),
        (b"HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n", "connection_lists_essential"),
        (
            b"HTTP/1.1 200 OK\r\nConnection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n\r\n",
            "connection_options_too_many",
        ),
    ] {
        let mut head = ResponseHead::new();
        let mut judge = |end: usize| {
            parse_response(&bytes[..end], &Limits::default(), ResponseContext::default(), &mut head)
                .map_err(|error| error.reason())
        };
        assert_eq!(judge(bytes.len()), Err(reason), "{}", bytes.escape_ascii());
        let first =
            (0..bytes.len()).map(&mut judge).find(|judged| *judged != Ok(Parsed::Incomplete));
        assert!(first.is_none_or(|first| first == Err(reason)), "{}", bytes.escape_ascii());
    }
}

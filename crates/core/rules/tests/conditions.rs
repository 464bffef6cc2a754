//! What conditions say about requests.

mod support;

use support::{Request, compile};
use tidegate_rules::{Attribute, Scratch, Text, ValueList, ValueMap};

fn sample() -> Request {
    let request = Request {
        method: b"GET".to_vec(),
        host: b"www.example.com".to_vec(),
        path: b"/api/v1/users.jpg".to_vec(),
        query: b"a=1&b=2".to_vec(),
        cookies: vec![(b"beta".to_vec(), b"1".to_vec())],
        arguments: vec![(b"a".to_vec(), b"1".to_vec())],
        response_headers: vec![(b"Content-Type".to_vec(), b"text/html".to_vec())],
        variable: b"gold".to_vec(),
        source: Some([10, 1, 2, 3].into()),
        source_port: 5000,
        code: 503,
        size: -1,
        tls: true,
        sni: b"www.example.com".to_vec(),
        rate: 0.9,
        list: ValueList::from_text("10.1.0.0/16\nbad-bot\n").expect("a list"),
        map: ValueMap::from_text("www.example.com app-1\nGET read").expect("a map"),
        ..Request::default()
    };
    request
        .header("User-Agent", "Mozilla/5.0 (Mobile; \u{fc})")
        .header("X-Twice", "first")
        .header("x-twice", "second")
        .header("X-Forwarded-For", "10.1.0.7")
        .header("X-Empty", "")
}

const TABLE: &[(&str, bool)] = &[
    (r#"request.method == "GET""#, true),
    (r#"request.method == "get""#, false),
    (r#"request.method != "POST""#, true),
    (r#"request.method in ["POST", "PUT", "GET"]"#, true),
    (r#"request.method in ["POST", "PUT"]"#, false),
    (r#"request.method in ["A", "B", "C", "D", "E", "GET"]"#, true),
    (r#"!(request.method in ["A", "B", "C", "D", "E", "F"])"#, true),
    (r#"request.method != "A" && request.method != "GET""#, false),
    (r#""GET" == request.method"#, true),
    (r#"request.host == "WWW.Example.com""#, true),
    (r#"request.host.endsWith(".EXAMPLE.com")"#, true),
    (r#"request.host.matches("^WWW[.]")"#, true),
    (r#"request.host.lowerAscii() == "www.example.com""#, true),
    (r#"request.host.upperAscii() == "WWW.EXAMPLE.COM""#, true),
    (r#"request.host.upperAscii() == "www.example.com""#, false),
    (r#"connection.sni == request.host"#, true),
    (r#"request.path.startsWith("/api/")"#, true),
    (r#"request.path.startsWith("")"#, true),
    (r#"request.path.contains("v1")"#, true),
    (r#"request.path.contains("v2") || request.path.contains("users")"#, true),
    (r#"request.path.matches("^/api/v[0-9]+/")"#, true),
    (r#"request.path.matches("^/api$")"#, false),
    (r#"matches(request.path, "users")"#, true),
    (r#"["^/x", "jpg$"].exists(p, request.path.matches(p))"#, true),
    (r#"["^/x", "png$"].exists(p, request.path.matches(p))"#, false),
    (r#"[".jpg", ".png"].exists(s, request.path.endsWith(s))"#, true),
    (r#"[".gif", ".png"].exists(s, request.path.endsWith(s))"#, false),
    (r#"["/api", "users"].all(s, request.path.contains(s))"#, true),
    (r#"["/api", "nope"].all(s, request.path.contains(s))"#, false),
    ("[].exists(s, s)", false),
    ("[].all(s, s)", true),
    (r#"["a", "b"].exists(x, ["b", "c"].exists(y, x == y))"#, true),
    ("is_api && is_static", true),
    ("is_internal && !is_local", true),
    ("is_error ? is_api : is_local", true),
    (r#"request.headers["User-Agent"].lowerAscii().contains("mobile")"#, true),
    (r#"request.headers["user-agent"].contains("mobile")"#, false),
    (r#"request.headers["user-agent"].lowerAscii().contains("mobble")"#, false),
    (r#"request.headers["user-agent"].upperAscii().contains("MOBILE;")"#, true),
    (r#"request.headers["user-agent"].lowerAscii().startsWith("mozilla/")"#, true),
    (r#"request.headers["user-agent"].lowerAscii().startsWith("mozilla/6")"#, false),
    (r#"request.path.upperAscii().endsWith(".JPG")"#, true),
    (r#"request.path.upperAscii().endsWith("X/API/V1/USERS.JPG")"#, false),
    (r#"request.path.lowerAscii() == "/api/v1/users.jpg""#, true),
    (r#"request.path.lowerAscii() in ["/api/v1/users.jpg", "/x"]"#, true),
    (r#"request.headers["user-agent"].contains("ü")"#, true),
    (r#"request.headers["user-agent"].lowerAscii() == "MOBILE""#, false),
    (r#"request.headers["x-twice"] == "first""#, true),
    (r#"request.headers["x-twice"] == "second""#, false),
    (r#"request.headers["x-missing"] == """#, true),
    (r#""x-missing" in request.headers"#, false),
    (r#""X-Empty" in request.headers"#, true),
    (r#""beta" in request.cookies && request.cookies["beta"] == "1""#, true),
    (r#"request.cookies["Beta"] == "1""#, false),
    (r#"request.args["a"] == request.cookies["beta"]"#, true),
    (r#""b" in request.args"#, false),
    (r#"response.headers["content-type"].startsWith("text/")"#, true),
    ("response.code >= 500", true),
    ("response.code > 503 || response.code < 503", false),
    ("response.code in [500, 502, 503]", true),
    ("500 <= response.code && response.code <= 599", true),
    ("response.code == 0x1f7", true),
    ("request.size == -1", true),
    ("request.size < 0", true),
    ("size(request.path) == 17", true),
    ("request.path.size() > request.query.size()", true),
    (r#"size("abc") == 3 && [1, 2].size() == 2"#, true),
    ("source.port == 5000 && destination.port == 80", true),
    ("backend.servers_up < 3", true),
    (r#"source.ip == "10.1.2.3""#, true),
    (r#"source.ip == "::ffff:10.1.2.3""#, true),
    (r#"source.ip != "10.1.2.4""#, true),
    (r#"source.ip in ["10.1.2.4", "10.1.2.3"]"#, true),
    (r#"source.ip == request.headers["x-forwarded-for"]"#, false),
    (r#"destination.ip == "10.1.2.3""#, false),
    ("source.ip == destination.ip", false),
    ("destination.ip == destination.ip", false),
    (r#"inIpRange(source.ip, "10.0.0.0/8")"#, true),
    (r#"inIpRange(source.ip, "::/0")"#, false),
    (r#"inIpRange(destination.ip, "0.0.0.0/0")"#, false),
    (r#"inIpRange(request.headers["x-forwarded-for"], "10.1.0.0/24")"#, true),
    (r#"inIpRange(request.path, "0.0.0.0/0")"#, false),
    (r#"["192.0.2.0/24", "10.1.0.0/16"].exists(r, inIpRange(source.ip, r))"#, true),
    (r#"inList(source.ip, "blocked")"#, true),
    (r#"inList(request.headers["x-forwarded-for"], "blocked")"#, true),
    (r#"inList("bad-bot", "partners")"#, true),
    (r#"inList(request.path, "blocked")"#, false),
    (r#"rate(source.ip, "per_client") > 0.8"#, true),
    (r#"rate(request.host, "per_client") >= 1"#, false),
    (r#"rate(source.ip, "per_client") == 0.9"#, true),
    (r#"lookup("hosts.map", request.host) == "app-1""#, true),
    (r#"lookup("hosts.map", request.method.upperAscii()) == "read""#, true),
    (r#"lookup("hosts.map", request.path) == """#, true),
    (r#"lookup("hosts.map", "www." + "example.com").endsWith("-1")"#, true),
    (r#"vars.tier == "gold""#, true),
    ("connection.tls && !connection.mtls", true),
    ("connection.tls == true", true),
    ("connection.tls != connection.mtls", true),
    ("connection.mtls == (response.code == 503)", false),
    (r#"(connection.tls ? request.method : request.path) == "GET""#, true),
    ("(connection.mtls ? 1 : response.code) == 503", true),
    (r#"request.method < "H" && request.method >= "GET""#, true),
    (r#"request.path.startsWith("/" + "api")"#, true),
    (r#"request.path.contains(request.args["a"])"#, true),
    (r#"request.host + request.query == "www.example.coma=1&b=2""#, true),
    ("true || response.code == 1", true),
    ("false && response.code == 1 || !true", false),
    ("!!connection.tls", true),
    ("1 < 2 && 2.5 > 2 && 1e3 == 1000.0 && -1 < 0", true),
    (r#""a" in ["a"] && !("b" in [])"#, true),
    (r#"'single' == "single" && r"\d" == "\\d" && """a"b""" == "a\"b""#, true),
    (r#""\x41\u0042\103\n" == "ABC\n""#, true),
    ("request.protocol == \"HTTP/1.1\" // a comment", true),
    ("now > 1700000000000", true),
];

#[test]
fn conditions_say_what_the_table_says() {
    let (request, mut scratch) = (sample(), Scratch::default());
    for (text, expected) in TABLE {
        let condition = compile(text);
        assert_eq!(condition.matches(&request, &mut scratch), *expected, "{text}");
        assert_eq!(condition.clone().matches(&request, &mut scratch), *expected, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_compared_all_the_same() {
    let mut request = sample();
    request.path = b"/\xff\xfe/x".to_vec();
    let mut scratch = Scratch::default();
    for text in [
        r#"request.path.endsWith("/x")"#,
        r#"request.path.lowerAscii().contains("/x")"#,
        r#"request.path.matches("^/..?/x$")"#,
        "request.path.size() == 5",
        r#"!inIpRange(request.path, "::/0")"#,
    ] {
        assert!(compile(text).matches(&request, &mut scratch), "{text}");
    }
}

#[test]
fn what_is_asked_is_known() {
    let uses = compile(r#"is_static || request.host == "a""#).uses();
    assert!(uses.asks(Attribute::Text(Text::Path)));
    assert!(uses.asks(Attribute::Text(Text::Host)));
    assert!(!uses.asks(Attribute::Text(Text::Method)));
    assert_eq!(compile("true || connection.tls").as_constant(), Some(true));
    assert_eq!(compile("connection.tls").as_constant(), None);
}

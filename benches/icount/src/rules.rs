//! What is counted of rules: short and long lists, the last rule of which matches.
//!
//! Owns the lists and a parsed request that answers their questions from its bytes, as the data plane
//! does. Invariant: the last rule and no other matches, so that all of a list is gone through.

use std::hint::black_box;
use std::net::IpAddr;
use tidegate_http1::{Limits, RequestHead, parse_request};
use tidegate_rules::{
    Address, Condition, Conditions, Cursor, Environment, Facts, Flag, Key, Keyed, LimitIndex,
    ListIndex, MapIndex, Names, Number, Phase, RuleSet, Text, VariableIndex,
};

/// A browser's request: nine header fields.
const REQUEST: &[u8] = b"GET /static/app/logo.svg?version=20260401 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:138.0) Gecko/20100101 Firefox/138.0\r\n\
    Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    X-Tenant: last\r\n\
    Referer: https://www.example.com/products/index.html\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    \r\n";

/// The request, and where its parts stand.
struct Parsed<'a> {
    head: &'a RequestHead,
    host: &'a [u8],
    path: &'a [u8],
}

impl<'a> Parsed<'a> {
    fn new(head: &'a RequestHead) -> Self {
        let target = head.target(REQUEST);
        let query = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
        Self { head, host: b"www.example.com", path: &target[..query] }
    }

    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let mut headers = self.head.headers(REQUEST);
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Facts for Parsed<'_> {
    fn text(&self, text: Text) -> &[u8] {
        match text {
            Text::Method => self.head.method_bytes(REQUEST),
            Text::Host => self.host,
            Text::Path => self.path,
            _ => b"",
        }
    }

    fn number(&self, _number: Number) -> i64 {
        0
    }

    fn flag(&self, _flag: Flag) -> bool {
        false
    }

    fn address(&self, _address: Address) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, 100, 7]))
    }

    fn keyed(&self, keyed: Keyed, name: &[u8]) -> Option<&[u8]> {
        match keyed {
            Keyed::RequestHeaders => self.header(name),
            Keyed::Cookies => self
                .header(b"cookie")?
                .split(|byte| *byte == b';')
                .find_map(|pair| pair.trim_ascii_start().strip_prefix(name)?.strip_prefix(b"=")),
            _ => None,
        }
    }

    fn visit_request_headers(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        self.head.headers(REQUEST).for_each(|(name, value)| visit(name, value));
    }

    fn variable(&self, _variable: VariableIndex) -> &[u8] {
        b""
    }

    fn in_list(&self, _list: ListIndex, _key: Key<'_>) -> bool {
        false
    }

    fn rate(&self, _limit: LimitIndex, _key: Key<'_>) -> f64 {
        0.0
    }

    fn lookup(&self, _map: MapIndex, _key: &[u8]) -> Option<&[u8]> {
        None
    }
}

/// A list of rules; an empty text is a rule without a condition.
fn rule_set(conditions: &[(&str, &str)], rules: &[String]) -> RuleSet {
    let mut names = Names::default();
    let (conditions, problems) = Conditions::compile(&mut names, conditions.iter().copied());
    assert_eq!(problems, []);
    let mut environment =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
    let mut compile = |text: &String| {
        (!text.is_empty())
            .then(|| Condition::compile(text, &mut environment).expect("the rules are right"))
    };
    RuleSet::new(rules.iter().map(&mut compile).collect())
}

/// Goes through the list for each iteration; `expected` are the rules that match.
fn run(iterations: u64, rules: &RuleSet, expected: &[usize]) {
    let mut head = RequestHead::new();
    parse_request(REQUEST, &Limits::default(), &mut head).expect("the request is valid");
    let facts = Parsed::new(&head);
    let mut cursor = Cursor::default();
    for _ in 0..iterations {
        rules.start(black_box(&facts), &mut cursor);
        for place in expected {
            assert_eq!(rules.next_match(&facts, &mut cursor), Some(*place));
        }
        assert_eq!(rules.next_match(&facts, &mut cursor), None);
    }
}

/// The rules of an ordinary site: none is decided early.
pub fn match_example(iterations: u64) {
    let conditions = [
        ("is_api", r#"request.path.startsWith("/api/")"#),
        (
            "is_static",
            r#"[".jpg", ".png", ".gif", ".css", ".js"].exists(s, request.path.endsWith(s))"#,
        ),
        ("is_mobile", r#"request.headers["user-agent"].lowerAscii().contains("mobile")"#),
        (
            "is_internal",
            r#"inIpRange(source.ip, "10.0.0.0/8") || inIpRange(source.ip, "127.0.0.0/8")"#,
        ),
    ];
    let rules = [
        r#"request.path == "/admin" && !is_internal"#,
        "",
        r#"request.path == "/old""#,
        r#"request.path == "/ping""#,
        "is_api",
        "is_static",
        r#"is_mobile || request.cookies["beta"] == "1""#,
    ];
    run(iterations, &rule_set(&conditions, &rules.map(str::to_owned)), &[1]);
}

/// Half prefixes of the path, a quarter hosts, a quarter values of a header field; the last matches.
pub fn match_last(iterations: u64, count: usize) {
    let rule = |number: usize| match number * 4 / count {
        0 | 1 => format!(r#"request.path.startsWith("/section/{number}/")"#),
        2 => format!(r#"request.host == "site-{number}.example.com""#),
        _ if number == count - 1 => r#"request.headers["x-tenant"] == "last""#.to_owned(),
        _ => format!(r#"request.headers["x-tenant"] == "tenant-{number}""#),
    };
    run(iterations, &rule_set(&[], &(0..count).map(rule).collect::<Vec<_>>()), &[count - 1]);
}

/// As `match_last` with 200 rules, but each header field has a name of its own, and each rule asks for
/// the method as well.
pub fn match_header_names(iterations: u64) {
    let rule = |number: usize| {
        let own = match number {
            0..100 => format!(r#"request.path.startsWith("/section/{number}/")"#),
            100..150 => format!(r#"request.host.endsWith(".site-{number}.example.com")"#),
            199 => r#"request.headers["x-tenant"] == "last""#.to_owned(),
            _ => format!(r#"request.headers["x-header-{number}"] == "on""#),
        };
        format!(r#"request.method == "GET" && {own}"#)
    };
    run(iterations, &rule_set(&[], &(0..200).map(rule).collect::<Vec<_>>()), &[199]);
}

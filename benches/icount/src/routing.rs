//! What is counted of routing: the rules of an ordinary site over a browser's request.
//!
//! Owns the site and the source of header fields that the data plane has too. Invariant: an iteration
//! is what one request costs on a warm shard, from the parsed head to the verdict.

use std::hint::black_box;

use tidegate_http1::{Limits, RequestHead, parse_request};
use tidegate_passwords::VerifiedCache;
use tidegate_routing::{
    BackendChoice, BackendIndex, BackendShare, Edit, Ending, HeaderName, HeaderSource, Outcome,
    Redirect, RedirectTarget, RequestOverlay, RequestRule, RequestView, Respond, RespondBody,
    RewritePath, Rules, Split, Workspace, World, run_request,
};
use tidegate_rules::{
    Condition, Conditions, Environment, Key, LimitIndex, ListIndex, MapIndex, Names, Phase,
    Template,
};
use tidegate_semantics::path::split_query;
use tidegate_semantics::redirect::Query;

/// Header fields of a parsed head.
struct Fields<'a> {
    head: &'a RequestHead,
    bytes: &'a [u8],
}

impl HeaderSource for Fields<'_> {
    #[inline]
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.head.headers(self.bytes)
    }

    #[inline]
    fn find(&self, lower_name: &[u8]) -> Option<&[u8]> {
        self.head.header(self.bytes, lower_name)
    }
}

/// A world in which there is nothing.
struct Nothing;

impl World for Nothing {
    fn in_list(&self, _list: ListIndex, _key: Key<'_>) -> bool {
        false
    }

    fn rate(&self, _limit: LimitIndex, _key: Key<'_>) -> f64 {
        0.0
    }

    fn lookup(&self, _map: MapIndex, _key: &[u8]) -> Option<&[u8]> {
        None
    }

    fn servers_up(&self) -> i64 {
        1
    }

    fn with_verified<T>(&self, _ask: impl FnOnce(&VerifiedCache, std::time::Duration) -> T) -> T {
        unreachable!("no rule asks for credentials")
    }
}

fn rule(edits: Vec<Edit>, ending: Option<Ending>) -> RequestRule {
    RequestRule { name: "rule".into(), edits, authenticate: None, ending }
}

/// The rules of an ordinary site: refusals, edits, answers, and backends by path and client.
fn site() -> Rules<RequestRule> {
    let mut names = Names::default();
    let suffixes = r#"[".jpg", ".png", ".gif", ".css", ".js"].exists(s, request.path.endsWith(s))"#;
    let internal = r#"inIpRange(source.ip, "10.0.0.0/8") || inIpRange(source.ip, "127.0.0.0/8")"#;
    let entries = [
        ("is_api", r#"request.path.startsWith("/api/")"#),
        ("is_static", suffixes),
        ("is_mobile", r#"request.headers["user-agent"].lowerAscii().contains("mobile")"#),
        ("is_internal", internal),
    ];
    let (conditions, problems) = Conditions::compile(&mut names, entries);
    assert_eq!(problems, []);
    let mut environment =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
    let mut template = |text: &str| Template::compile(text, &mut environment).expect("it is right");
    let name = |name: &str| HeaderName::new(name.as_bytes()).expect("a name");
    let edits = vec![
        Edit::SetHeader(name("X-Request-Start"), template("{now}")),
        Edit::SetHeader(name("X-Client"), template("{source.ip}")),
        Edit::RemoveHeader(name("X-Debug")),
    ];
    let target = RedirectTarget::Location(template("/new?from={request.path}"));
    let redirect = Ending::Redirect(Redirect { status: 302, target, query: Query::Drop });
    let body = RespondBody::Bytes(b"pong\n"[..].into());
    let respond =
        Ending::Respond(Respond { status: 200, content_type: None, headers: Vec::new(), body });
    let rewrite = RewritePath::new("^/api/(.*)$", "/$1").expect("it is right");
    let to = |backend| Some(Ending::Backend(BackendChoice::One(BackendIndex(backend))));
    let share = |backend, weight| BackendShare { backend: BackendIndex(backend), weight };
    let split = Split { shares: vec![share(0, 95), share(3, 5)], sum: 100, key: None };
    let canary = Some(Ending::Backend(BackendChoice::Split(split)));
    let deny = Some(Ending::Deny { status: 403 });
    let rules = [
        (r#"request.path == "/admin" && !is_internal"#, rule(Vec::new(), deny)),
        ("true", rule(edits, None)),
        (r#"request.path == "/old""#, rule(Vec::new(), Some(redirect))),
        (r#"request.path == "/ping""#, rule(Vec::new(), Some(respond))),
        ("is_api", rule(vec![Edit::RewritePath(rewrite)], to(1))),
        ("is_static", rule(Vec::new(), to(2))),
        (r#"is_mobile || request.cookies["beta"] == "1""#, rule(Vec::new(), canary)),
    ];
    let compile = |(when, rule): (&str, RequestRule)| {
        (Some(Condition::compile(when, &mut environment).expect("it is right")), rule)
    };
    Rules::new(rules.map(compile).into())
}

/// Requests that the site sends to its last backend but one, for files, after two edits.
pub fn route_file(iterations: u64) {
    run(iterations, "/static/app/logo.png?version=1", &site(), Some(BackendIndex(2)));
}

/// Requests whose path is rewritten.
pub fn route_rewritten(iterations: u64) {
    run(iterations, "/api/v1/customers/4711?version=1", &site(), Some(BackendIndex(1)));
}

/// Requests that no rule decides.
pub fn route_default(iterations: u64) {
    run(iterations, "/products/index.html?version=1", &site(), None);
}

/// A frontend without rules.
pub fn route_without_rules(iterations: u64) {
    run(iterations, "/products/index.html?version=1", &Rules::default(), None);
}

fn run(iterations: u64, target: &str, rules: &Rules<RequestRule>, expected: Option<BackendIndex>) {
    let bytes = format!(
        "GET {target} HTTP/1.1\r\n\
         Host: www.example.com\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:138.0) Gecko/20100101 Firefox/138.0\r\n\
         Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n\
         Accept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate, br, zstd\r\n\
         Connection: keep-alive\r\n\
         Referer: https://www.example.com/products/index.html\r\n\
         Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
         \r\n"
    );
    let bytes = bytes.as_bytes();
    let mut head = RequestHead::new();
    parse_request(bytes, &Limits::default(), &mut head).expect("the request is valid");
    let (mut overlay, mut workspace) = (RequestOverlay::default(), Workspace::default());
    for _ in 0..iterations {
        overlay.clear();
        let fields = Fields { head: black_box(&head), bytes };
        let (path, query) = split_query(head.path_and_query(bytes));
        let view = RequestView {
            headers: &fields,
            world: &Nothing,
            method: head.method_bytes(bytes),
            uri: head.target(bytes),
            path,
            query,
            authority: head.host(bytes),
            scheme: b"http",
            protocol: b"HTTP/1.1",
            body_bytes: Some(0),
            peer: Some(([198, 51, 100, 7], 40_000).into()),
            local: Some(([198, 51, 100, 1], 80).into()),
            id: b"",
            unix_ms: 1_712_345_678_123,
            tls: None,
        };
        let verdict = run_request(rules, &view, &mut overlay, &mut workspace, &mut || 0);
        let backend = match verdict.outcome {
            Outcome::Backend(backend) => Some(backend),
            _ => None,
        };
        assert_eq!(backend, expected);
        black_box(&overlay);
    }
}

//! Going through rules, evaluating conditions and writing templates allocates nothing once the
//! buffers are warm.

mod support;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use support::{Request, compile, names};
use tidegate_rules::{
    Change, Conditions, Cursor, Environment, Facts, Phase, RuleSet, Scratch, Template, ValueList,
    ValueMap,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Everything that evaluation can ask.
const CONDITIONS: [&str; 14] = [
    r#"request.path.startsWith("/a") || request.path.contains("b") || request.path.contains("c")"#,
    r#"[".jpg", ".png"].exists(s, request.path.lowerAscii().endsWith(s))"#,
    r#"request.host in ["a", "b", "c", "d", "e", "f"]"#,
    r#"request.path.matches("^/(a|b)+[0-9]*x")"#,
    r#"request.headers["user-agent"].lowerAscii().contains("mobile")"#,
    r#"request.host + request.path == "x" + request.query"#,
    r#"inIpRange(source.ip, "10.0.0.0/8") || inIpRange(source.ip, "192.0.2.0/24")"#,
    r#"inIpRange(request.headers["x-forwarded-for"], "10.0.0.0/8")"#,
    r#"inList(request.host.lowerAscii(), "blocked") || rate(source.ip, "per_client") > 0.8"#,
    r#"lookup("hosts.map", request.host.upperAscii() + "x") == request.query"#,
    r#"(connection.tls ? request.host : request.path.upperAscii()) == "/A""#,
    r#""x" in request.headers && size(request.path) > response.code"#,
    r#"source.ip == request.headers["x-forwarded-for"] || source.ip == "10.0.0.1""#,
    r#"request.path < request.host"#,
];

const TEMPLATE: &str = "{request.host}-{source.ip}-{now}-{rate(source.ip, \"per_client\")}-{connection.tls}\
    -{lookup(\"hosts.map\", request.path + \"x\")}-{request.path.lowerAscii()}";

/// The rules, each alone, in a list where tables pay.
fn rules() -> RuleSet {
    let mut conditions: Vec<_> = CONDITIONS.iter().map(|text| Some(compile(text))).collect();
    for number in 0..40 {
        let texts = [
            format!(r#"request.path.startsWith("/{number}/")"#),
            format!(r#"request.path.contains("-{number}-")"#),
            format!(r#"request.headers["x-{number}"] == "1""#),
            format!(r#"request.path.lowerAscii().endsWith(".{number}")"#),
        ];
        conditions.extend(texts.iter().map(|text| Some(compile(text))));
    }
    RuleSet::new(conditions)
}

fn go_through(rules: &RuleSet, request: &impl Facts, cursor: &mut Cursor) -> usize {
    let mut matches = 0;
    rules.start(request, cursor);
    while rules.next_match(request, cursor).is_some() {
        matches += 1;
        rules.changed(Change::Path, cursor);
    }
    matches
}

#[test]
fn nothing_is_allocated_when_buffers_are_warm() {
    let request = Request {
        host: b"www.example".to_vec(),
        path: b"/aab12x/Page.JPG".to_vec(),
        source: Some([10, 0, 0, 1].into()),
        rate: 0.5,
        list: ValueList::new(["a", "10.0.0.0/8"]).expect("a list"),
        map: ValueMap::from_text("a b").expect("a map"),
        ..Request::default()
    };
    let request = request.header("User-Agent", "Mobile").header("X-Forwarded-For", "10.0.0.1");
    let (rules, mut cursor, mut out) = (rules(), Cursor::default(), Vec::new());
    let (mut names, conditions) = (names(), Conditions::default());
    let mut environment =
        Environment { names: &mut names, conditions: &conditions, phase: Phase::Request };
    let template = Template::compile(TEMPLATE, &mut environment).expect("it is right");
    let mut scratch = Scratch::default();
    let mut once = || {
        out.clear();
        template.write(&request, &mut scratch, &mut out);
        go_through(&rules, &request, &mut cursor)
    };
    let matches = once();
    assert!(matches >= 6, "{matches}");
    let region = Region::new(ALLOCATOR);
    for _ in 0..100 {
        assert_eq!(once(), matches);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
}

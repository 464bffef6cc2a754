//! Every edit: what it makes of the head, and what later rules see.

mod support;

use std::time::Duration;

use support::{Around, Compiler, Fields, Request, always, header, response_rule, rule, run, shown};
use tidegate_routing::{
    ARENA_BYTES_MAX, BackendIndex, Edit, Ending, HEADER_EDITS_MAX, LogValue, MIRRORS_MAX, Mirror,
    Outcome, RequestFacts, RequestOverlay, ResponseOverlay, ResponseView, RewritePath, Rules,
    Share, TimeoutEdits, VARIABLE_BYTES_MAX, Workspace, run_response,
};
use tidegate_rules::{Facts, FieldType, Keyed, Text};

/// What an overlay makes of a request, as lines of text.
fn edited(request: &Request, overlay: &RequestOverlay) -> Vec<String> {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let target = overlay.path_and_query(&request.path, request.query.as_deref());
    let target = target.map_or(text(&request.uri), |target| match target.query {
        Some(query) => format!("{}?{}", text(target.path), text(query)),
        None => text(target.path),
    });
    let mut lines = vec![format!("{} {target}", text(overlay.method().unwrap_or(&request.method)))];
    for (name, value) in &request.fields.0 {
        if name == b"Host" {
            lines.push(format!("Host: {}", text(overlay.host().unwrap_or(value))));
        } else if !overlay.removes(name) {
            lines.push(format!("{}: {}", text(name), text(value)));
        }
    }
    lines
        .extend(shown(overlay.added()).into_iter().map(|(name, value)| format!("{name}: {value}")));
    lines
}

/// Runs one rule with these edits over a request; the edited head, and how many were dropped.
fn edit(edits: Vec<Edit>, request: &Request) -> (Vec<String>, u32) {
    let mut overlay = RequestOverlay::default();
    run(&always(edits, None), request, &Around::default(), &mut overlay);
    (edited(request, &overlay), overlay.edits_dropped())
}

#[test]
fn header_fields_are_edited_in_order() {
    let mut of = Compiler::default();
    let fields = [("X-A", "1"), ("X-B", "2"), ("x-a", "3"), ("Cookie", "c=1")];
    let request = Request::get("/p?q=v", &fields);
    let host = "Host: a.example";
    let remove = |name| Edit::RemoveHeader(header(name));
    let cases: Vec<(Vec<Edit>, Vec<&str>)> = vec![
        (vec![], vec![host, "X-A: 1", "X-B: 2", "x-a: 3", "Cookie: c=1"]),
        (vec![of.set_header("X-a", "new")], vec![host, "X-B: 2", "Cookie: c=1", "X-a: new"]),
        (
            vec![of.set_header("X-C", "{request.path}|{request.args[\"q\"]}|{source.ip}")],
            vec![host, "X-A: 1", "X-B: 2", "x-a: 3", "Cookie: c=1", "X-C: /p|v|192.0.2.7"],
        ),
        (
            vec![of.add_header("X-A", "4"), of.add_header("X-A", "5")],
            vec![host, "X-A: 1", "X-B: 2", "x-a: 3", "Cookie: c=1", "X-A: 4", "X-A: 5"],
        ),
        (vec![remove("x-A"), remove("cookie")], vec![host, "X-B: 2"]),
        (
            vec![of.add_header("X-A", "4"), remove("X-A"), of.add_header("X-A", "5")],
            vec![host, "X-B: 2", "Cookie: c=1", "X-A: 5"],
        ),
        (
            vec![
                of.set_header("X-B", "{request.headers[\"x-b\"]}+"),
                of.set_header("X-B", "{request.headers[\"x-b\"]}+"),
            ],
            vec![host, "X-A: 1", "x-a: 3", "Cookie: c=1", "X-B: 2++"],
        ),
        (
            vec![of.set_header("X-B", "  {request.headers[\"none\"]}\t")],
            vec![host, "X-A: 1", "x-a: 3", "Cookie: c=1", "X-B: "],
        ),
    ];
    for (edits, expected) in cases {
        let (lines, dropped) = edit(edits, &request);
        assert_eq!(lines[0], "GET /p?q=v");
        assert_eq!(
            (&lines[1..], dropped),
            (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], 0)
        );
    }
}

#[test]
fn values_with_control_bytes_are_dropped_and_counted() {
    let mut of = Compiler::default();
    let request = Request::get("/p?q=a%0d%0aX-Evil:%201&n=%00&t=a%09b", &[("X-A", "1")]);
    let value = |name: &str| format!("{{request.args[\"{name}\"]}}");
    let edits = vec![
        of.set_header("X-A", &value("q")),
        of.add_header("X-B", &value("n")),
        of.set_header("X-C", &value("t")),
    ];
    let (lines, dropped) = edit(edits, &request);
    assert_eq!(lines[1..], ["Host: a.example", "X-A: 1", "X-C: a\\tb"]);
    assert_eq!(dropped, 2);
}

#[test]
fn the_request_line_and_the_host_are_edited() {
    let mut of = Compiler::default();
    let request = Request::get("/a/%2e%2e/api/x%20y?q=1%2F&r", &[]);
    let rewrite = |pattern, replacement| {
        Edit::RewritePath(RewritePath::new(pattern, replacement).expect("right"))
    };
    let as_received = "/a/%2e%2e/api/x%20y?q=1%2F&r";
    let cases: Vec<(Edit, &str, &str, u32)> = vec![
        (Edit::SetMethod(b"POST"[..].into()), "POST /a/%2e%2e/api/x%20y?q=1%2F&r", "a.example", 0),
        (
            Edit::SetPath(of.template("/n{request.path}")),
            "GET /n/api/x%20y?q=1%2F&r",
            "a.example",
            0,
        ),
        (Edit::SetPath(of.template("no-slash")), "GET /no-slash?q=1%2F&r", "a.example", 0),
        (Edit::SetPath(of.template("")), "GET /?q=1%2F&r", "a.example", 0),
        (
            Edit::SetPath(of.template("/a b?c#d%zz%41\r\n\u{e9}\"[x]")),
            "GET /a%20b%3Fc%23d%25zz%41%0D%0A%C3%A9%22[x]?q=1%2F&r",
            "a.example",
            0,
        ),
        (rewrite("^/api/(.*)$", "/$1"), "GET /x%20y?q=1%2F&r", "a.example", 0),
        (rewrite("^/api", ""), "GET /x%20y?q=1%2F&r", "a.example", 0),
        (rewrite("(?<last>x)%20", "<${last}$$>"), "GET /api/%3Cx$%3Ey?q=1%2F&r", "a.example", 0),
        (rewrite("(z)?/x", "-$1-"), "GET /api--%20y?q=1%2F&r", "a.example", 0),
        (rewrite("^/none", "/x"), "", "a.example", 0),
        (
            Edit::SetQuery(of.template("a={request.args[\"q\"]}#?b c")),
            "GET /a/%2e%2e/api/x%20y?a=1/%23?b%20c",
            "a.example",
            0,
        ),
        (Edit::SetQuery(of.template("")), "GET /a/%2e%2e/api/x%20y", "a.example", 0),
        (Edit::SetHost(of.template("B.Example:81")), "", "B.Example:81", 0),
        (Edit::SetHost(of.template("[2001:db8::1]:81")), "", "[2001:db8::1]:81", 0),
        (Edit::SetHost(of.template("{request.headers[\"none\"]}")), "", "a.example", 1),
        (Edit::SetHost(of.template("b/c")), "", "a.example", 1),
        (Edit::SetHost(of.template("b\r\nX: y")), "", "a.example", 1),
        (Edit::SetHost(of.template("u@b")), "", "a.example", 1),
        (Edit::SetHost(of.template("b:port")), "", "a.example", 1),
        (Edit::SetHost(of.template("b:+80")), "", "a.example", 1),
        (Edit::SetHost(of.template("[::1")), "", "a.example", 1),
        (Edit::SetHost(of.template("[]")), "", "a.example", 1),
    ];
    for (one, line, host, expected_dropped) in cases {
        let shown = format!("{one:?}");
        let (lines, dropped) = edit(vec![one], &request);
        let unedited = format!("GET {as_received}");
        assert_eq!(lines[0], if line.is_empty() { &unedited } else { line }, "{shown}");
        assert_eq!(lines[1], format!("Host: {host}"), "{shown}");
        assert_eq!(dropped, expected_dropped, "{shown}");
    }
}

#[test]
fn replacements_that_name_no_group_are_refused() {
    let cases = [
        ("(", "", "regex parse error"),
        ("(a)", "$2", "the pattern has no group `2`"),
        ("(a)", "$1b", "group 1 followed by `b` is written `${1}b`"),
        ("(a)", "${x}", "the pattern has no group `x`"),
        ("(a)", "$", "is written `$$`"),
        ("(a)", "$-", "is written `$$`"),
        ("(a)", "${1", "is not closed by `}`"),
    ];
    for (pattern, replacement, expected) in cases {
        let error = RewritePath::new(pattern, replacement).expect_err("wrong");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn later_rules_see_the_edits() {
    let request = Request::get("/a%2Fb?q=1", &[("X-A", "1"), ("Cookie", "c=1")]);
    let rewrite = Edit::RewritePath(RewritePath::new("^/a", "/%41.").expect("right"));
    let mut of = Compiler::default();
    let mode = of.names.declare_variable("mode").expect("a name");
    let cases: Vec<(Edit, &str)> = vec![
        (of.set_header("X-A", "2"), r#"request.headers["x-a"] == "2""#),
        (of.add_header("X-N", "2"), r#""x-n" in request.headers"#),
        (Edit::RemoveHeader(header("X-A")), r#"!("x-a" in request.headers)"#),
        (
            of.set_header("Cookie", "d=2"),
            r#"request.cookies["d"] == "2" && request.cookies["c"] == """#,
        ),
        (
            of.add_header("Cookie", "d=2"),
            r#"request.cookies["d"] == "2" && request.cookies["c"] == "1""#,
        ),
        (Edit::SetMethod(b"PUT"[..].into()), r#"request.method == "PUT""#),
        (
            Edit::SetPath(of.template("/x/../%7e")),
            r#"request.path == "/~" && request.uri == "/x/../%7e?q=1""#,
        ),
        (rewrite, r#"request.path == "/A.%2Fb""#),
        (
            Edit::SetQuery(of.template("r=a%20b+c")),
            r#"request.args["r"] == "a b c" && !("q" in request.args) && request.uri == "/a%2Fb?r=a%20b+c""#,
        ),
        (Edit::SetQuery(of.template("")), r#"request.query == "" && request.uri == "/a%2Fb""#),
        (
            Edit::SetHost(of.template("B.Example:81")),
            r#"request.host == "b.example" && request.headers["host"] == "B.Example:81""#,
        ),
        (Edit::SetVariable(mode, of.template("m-{request.host}")), r#"vars.mode == "m-a.example""#),
    ];
    for (edit, condition) in cases {
        let shown = format!("{edit:?}");
        let condition = of.condition(condition);
        let matched = rule(Vec::new(), Some(Ending::Close));
        let mut rules = vec![(None, rule(vec![edit], None))];
        // Enough of the same to be looked up in tables, which the edit makes stale.
        for _ in 0..8 {
            rules.push((condition.clone(), matched.clone()));
        }
        let before = Rules::new(rules[1..].to_vec());
        assert!(matches!(support::outcome(&before, &request), Outcome::Default), "{shown}");
        let verdict =
            run(&Rules::new(rules), &request, &Around::default(), &mut RequestOverlay::default());
        assert!(matches!(verdict.outcome, Outcome::Close), "{shown}");
        assert_eq!(verdict.rule, Some(1));
    }
}

#[test]
fn notes_are_kept() {
    let mut of = Compiler::default();
    let variable = of.names.declare_variable("mode").expect("a name");
    let field = of.names.declare_field("tenant", FieldType::Text);
    let log =
        |name: &str, field, value| Edit::LogField(LogValue { name: name.into(), field, value });
    let connect = TimeoutEdits { connect: Some(Duration::from_secs(1)), ..TimeoutEdits::default() };
    let both = TimeoutEdits {
        server: Some(Duration::from_secs(2)),
        connect: Some(Duration::from_secs(3)),
        ..TimeoutEdits::default()
    };
    let edits = vec![
        Edit::SetVariable(variable, of.template("one")),
        Edit::SetVariable(variable, of.template("two")),
        log("tenant", Some(field), of.template("{vars.mode}")),
        log("other", None, of.template("x\r\n")),
        log("tenant", Some(field), of.template("{request.host}")),
        Edit::SetTimeouts(both),
        Edit::SetTimeouts(connect),
        Edit::SetPriority(5),
        Edit::SetPriority(-3),
        Edit::Mirror(Mirror { backend: BackendIndex(4), share: Share::ALL }),
        Edit::Mirror(Mirror { backend: BackendIndex(4), share: Share::ALL }),
        Edit::Mirror(Mirror { backend: BackendIndex(5), share: Share(0) }),
    ];
    let (request, mut overlay) = (Request::get("/", &[]), RequestOverlay::default());
    run(&always(edits, None), &request, &Around::default(), &mut overlay);
    assert!(overlay.is_empty(), "the head is as it was");
    assert_eq!(overlay.variable(variable), b"two");
    assert_eq!(overlay.log_field(field), b"a.example");
    let fields = shown(overlay.log_fields());
    assert_eq!(fields, [("tenant".into(), "a.example".into()), ("other".into(), "x\\r\\n".into())]);
    assert_eq!(overlay.timeouts(), TimeoutEdits { connect: connect.connect, ..both });
    assert_eq!(overlay.priority(), Some(-3));
    assert_eq!(overlay.mirrors(), [BackendIndex(4)]);
    overlay.clear();
    assert_eq!(overlay.variable(variable), b"");
    assert_eq!(overlay.log_field(field), b"");
    assert_eq!(overlay.timeouts(), TimeoutEdits::default());
    assert_eq!((overlay.priority(), overlay.mirrors().len()), (None, 0));
}

#[test]
fn what_goes_beyond_a_bound_is_dropped_and_counted() {
    let mut of = Compiler::default();
    let request = Request::get("/", &[("X-A", "1")]);
    let add = of.add_header("X-A", "2");
    let (lines, dropped) = edit(vec![add; HEADER_EDITS_MAX + 3], &request);
    assert_eq!((lines.len(), dropped), (3 + HEADER_EDITS_MAX, 3));

    // One that does not fit leaves what was there.
    let long = "x".repeat(ARENA_BYTES_MAX / 2);
    let set = of.set_header("X-A", &long);
    let (lines, dropped) = edit(vec![set.clone(), set.clone()], &request);
    assert_eq!((lines[2].len(), lines.len(), dropped), (long.len() + 5, 3, 1));
    let path = Edit::SetPath(of.template(&format!("/{long}")));
    let (lines, dropped) = edit(vec![set, path, Edit::RemoveHeader(header("X-B"))], &request);
    assert_eq!((&*lines[0], dropped), ("GET /", 1));

    let variable = of.names.declare_variable("v").expect("a name");
    let mut overlay = RequestOverlay::default();
    let value = "v".repeat(VARIABLE_BYTES_MAX);
    let edits = vec![
        Edit::SetVariable(variable, of.template(&value)),
        Edit::SetVariable(variable, of.template(&format!("{value}w"))),
    ];
    run(&always(edits, None), &request, &Around::default(), &mut overlay);
    assert_eq!((overlay.variable(variable), overlay.edits_dropped()), (value.as_bytes(), 1));

    let mut overlay = RequestOverlay::default();
    let mirror = |number| Edit::Mirror(Mirror { backend: BackendIndex(number), share: Share::ALL });
    run(
        &always((0..MIRRORS_MAX + 2).map(mirror).collect(), None),
        &request,
        &Around::default(),
        &mut overlay,
    );
    assert_eq!((overlay.mirrors().len(), overlay.edits_dropped()), (MIRRORS_MAX, 2));
}

#[test]
fn attributes_without_edits_are_those_received() {
    let (world, overlay) = (Around::default(), RequestOverlay::default());
    let mut request =
        Request::get("/%61/./b?%61=1&b=%zz&c=2", &[("X-A", "1"), ("Cookie", "c=1; d=2")]);
    request.authority = b"A.Example.:80".to_vec();
    request.uri = b"http://A.Example.:80/%61/./b?%61=1&b=%zz&c=2".to_vec();
    let view = request.view(&world);
    let facts = RequestFacts { view: &view, overlay: &overlay };
    let texts = [
        (Text::Method, "GET"),
        (Text::Scheme, "http"),
        (Text::Host, "a.example"),
        (Text::Path, "/a/b"),
        (Text::Query, "%61=1&b=%zz&c=2"),
        (Text::Uri, "http://A.Example.:80/%61/./b?%61=1&b=%zz&c=2"),
        (Text::Protocol, "HTTP/1.1"),
        (Text::RequestId, "id-1"),
        (Text::TlsVersion, ""),
        (Text::TlsCipher, ""),
        (Text::ClientSubject, ""),
        (Text::ClientFingerprint, ""),
    ];
    for (text, expected) in texts {
        assert_eq!(facts.text(text), expected.as_bytes(), "{text:?}");
    }
    let keyed = [
        (Keyed::RequestHeaders, "x-a", Some("1")),
        (Keyed::RequestHeaders, "x-b", None),
        (Keyed::RequestHeaders, "host", Some("A.Example.:80")),
        (Keyed::Cookies, "d", Some("2")),
        (Keyed::Cookies, "D", None),
        (Keyed::Arguments, "a", Some("1")),
        (Keyed::Arguments, "b", Some("%zz")),
        (Keyed::Arguments, "d", None),
        (Keyed::ResponseHeaders, "x-a", None),
        (Keyed::ResponseCookies, "d", None),
    ];
    for (keyed, name, expected) in keyed {
        assert_eq!(
            facts.keyed(keyed, name.as_bytes()),
            expected.map(str::as_bytes),
            "{keyed:?} {name}"
        );
    }
    // Without a host there is no field for it.
    let mut old = Request::get("/", &[]);
    old.authority.clear();
    old.fields = Fields::default();
    let view = old.view(&world);
    let facts = RequestFacts { view: &view, overlay: &overlay };
    assert_eq!(facts.keyed(Keyed::RequestHeaders, b"host"), None);
    facts.visit_request_headers(|name, _| panic!("there is no {name:?}"));
}

#[test]
fn responses_are_edited_and_noted() {
    let mut of = Compiler::default();
    let variable = of.names.declare_variable("mode").expect("a name");
    let field = of.names.declare_field("tenant", FieldType::Text);
    let set = |name, value| Edit::SetHeader(header(name), value);
    let rules = Rules::new(vec![
        (
            of.response_condition("response.code >= 500"),
            response_rule(vec![set("Cache-Control", of.template("no-store"))], Some(503)),
        ),
        (
            of.response_condition("response.code == 503"),
            response_rule(
                vec![
                    Edit::AddHeader(
                        header("X-Was"),
                        of.response_template("{response.headers[\"server\"]} {request.path}"),
                    ),
                    Edit::RemoveHeader(header("Server")),
                    Edit::SetVariable(variable, of.response_template("{response.code}")),
                    Edit::LogField(LogValue {
                        name: "tenant".into(),
                        field: Some(field),
                        value: of.template("{vars.mode}"),
                    }),
                    set("X-Bad", of.template("{request.args[\"q\"]}")),
                ],
                None,
            ),
        ),
        (
            of.response_condition(
                r#"!("server" in response.headers) && "x-was" in response.headers"#,
            ),
            response_rule(vec![set("X-Last", of.template("yes"))], None),
        ),
    ]);
    let (world, request) = (Around::default(), Request::get("/p?q=%0a", &[]));
    let received = Fields::of(&[("Server", "s"), ("cache-control", "max-age=1"), ("X-Kept", "1")]);
    let (mut overlay, mut edits, mut workspace) =
        (RequestOverlay::default(), ResponseOverlay::default(), Workspace::default());
    let mut run = |status, overlay: &mut _, edits: &mut _| {
        let view = ResponseView { headers: &received, status };
        run_response(&rules, &request.view(&world), overlay, &view, edits, &mut workspace);
    };
    run(200, &mut overlay, &mut edits);
    assert!(edits.is_empty());
    assert_eq!(overlay.variable(variable), b"");
    run(500, &mut overlay, &mut edits);
    assert_eq!(edits.status(), Some(503));
    let added = [("Cache-Control", "no-store"), ("X-Was", "s /p"), ("X-Last", "yes")];
    assert_eq!(
        shown(edits.added()),
        added.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert!(
        edits.removes(b"SERVER") && edits.removes(b"Cache-Control") && !edits.removes(b"X-Kept")
    );
    assert_eq!((edits.edits_dropped(), overlay.edits_dropped()), (1, 0));
    assert_eq!((overlay.variable(variable), overlay.log_field(field)), (&b"503"[..], &b"503"[..]));
    edits.clear();
    assert!(edits.is_empty() && edits.added().next().is_none());
}

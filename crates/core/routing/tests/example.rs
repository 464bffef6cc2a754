//! The rules of an ordinary site, content switching and edits, from the first to the last.

mod support;

use std::net::SocketAddr;

use support::{Around, Compiler, Fields, Request, header, response_rule, rule, shown};
use tidegate_routing::{
    BackendChoice, BackendIndex, BackendShare, Edit, Ending, Outcome, Redirect, RedirectTarget,
    RequestOverlay, RequestRule, Respond, RespondBody, ResponseOverlay, ResponseRule, ResponseView,
    RewritePath, Rules, Split, Workspace, run_request, run_response,
};
use tidegate_semantics::redirect::Query;

const WEB: BackendIndex = BackendIndex(0);
const API: BackendIndex = BackendIndex(1);
const STATIC: BackendIndex = BackendIndex(2);
const CANARY: BackendIndex = BackendIndex(3);

fn site() -> (Rules<RequestRule>, Rules<ResponseRule>) {
    let mut of = Compiler::with_conditions(&[
        ("is_api", r#"request.path.startsWith("/api/")"#),
        (
            "is_static",
            r#"[".jpg", ".png", ".gif", ".css", ".js"].exists(suffix, request.path.endsWith(suffix))"#,
        ),
        ("is_mobile", r#"request.headers["user-agent"].lowerAscii().contains("mobile")"#),
        (
            "is_internal",
            r#"inIpRange(source.ip, "10.0.0.0/8") || inIpRange(source.ip, "127.0.0.0/8")"#,
        ),
    ]);
    let to = |backend| Some(Ending::Backend(BackendChoice::One(backend)));
    let canary = Split {
        shares: vec![
            BackendShare { backend: WEB, weight: 95 },
            BackendShare { backend: CANARY, weight: 5 },
        ],
        sum: 100,
        key: None,
    };
    let redirect = Redirect {
        status: 302,
        target: RedirectTarget::Location(of.template("/new?from={request.path}")),
        query: Query::Drop,
    };
    let pong = Respond {
        status: 200,
        content_type: Some(b"text/plain"[..].into()),
        headers: Vec::new(),
        body: RespondBody::Bytes(b"pong\n"[..].into()),
    };
    let rewrite = RewritePath::new("^/api/(.*)$", "/$1").expect("right");
    let edits = vec![
        of.set_header("X-Request-Start", "{now}"),
        of.set_header("X-Client", "{source.ip}"),
        Edit::RemoveHeader(header("X-Debug")),
    ];
    let requests = Rules::new(vec![
        (
            of.condition(r#"request.path == "/admin" && !is_internal"#),
            rule(vec![], Some(Ending::Deny { status: 403 })),
        ),
        (None, rule(edits, None)),
        (of.condition(r#"request.path == "/old""#), rule(vec![], Some(Ending::Redirect(redirect)))),
        (of.condition(r#"request.path == "/ping""#), rule(vec![], Some(Ending::Respond(pong)))),
        (of.condition("is_api"), rule(vec![Edit::RewritePath(rewrite)], to(API))),
        (of.condition("is_static"), rule(vec![], to(STATIC))),
        (
            of.condition(r#"is_mobile || request.cookies["beta"] == "1""#),
            rule(vec![], Some(Ending::Backend(BackendChoice::Split(canary)))),
        ),
    ]);
    let no_store = Edit::SetHeader(header("Cache-Control"), of.template("no-store"));
    let remove = |name| Edit::RemoveHeader(header(name));
    let responses = Rules::new(vec![
        (of.response_condition("response.code >= 500"), response_rule(vec![no_store], None)),
        (None, response_rule(vec![remove("Server"), remove("X-Powered-By")], None)),
    ]);
    (requests, responses)
}

/// Asserts what the second rule makes of a request, and the rewritten path if there is one.
fn assert_edits(request: &Request, path: Option<&str>, overlay: &RequestOverlay) {
    let peer: SocketAddr = request.peer.parse().expect("an address");
    let client = peer.ip().to_canonical();
    let added = [("X-Request-Start", "1712345678123"), ("X-Client", &client.to_string())];
    assert_eq!(
        shown(overlay.added()),
        added.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert!(overlay.removes(b"x-debug") && overlay.removes(b"X-Client"));
    let target = overlay.path_and_query(&request.path, request.query.as_deref());
    assert_eq!(target.map(|target| target.path), path.map(str::as_bytes));
    assert!(target.is_none_or(|target| target.query == request.query.as_deref()));
}

#[test]
fn requests_go_where_the_rules_say() {
    let (rules, _) = site();
    let mobile = ("User-Agent", "Some MOBILE browser");
    let beta = ("Cookie", "alpha=0; beta=1");
    // Random numbers of which the first is below 95 in a hundred and the second is not.
    let (first, last) = (0, u64::MAX);
    let cases = [
        ("/admin", &[][..], "192.0.2.7:1", first, Some(0), "Deny { status: 403 }", None),
        ("/%61dmin", &[], "192.0.2.7:1", first, Some(0), "Deny { status: 403 }", None),
        ("/x/../admin", &[], "192.0.2.7:1", first, Some(0), "Deny { status: 403 }", None),
        ("/admin", &[], "10.1.2.3:1", first, None, "Default", None),
        ("/admin", &[], "[::ffff:127.0.0.1]:1", first, None, "Default", None),
        ("/old?a=1", &[], "192.0.2.7:1", first, Some(2), "Redirect { status: 302 }", None),
        ("/ping", &[], "192.0.2.7:1", first, Some(3), "Respond", None),
        (
            "/api/v1/x?y=1",
            &[],
            "192.0.2.7:1",
            first,
            Some(4),
            "Backend(BackendIndex(1))",
            Some("/v1/x"),
        ),
        (
            "/api/a.png",
            &[mobile],
            "192.0.2.7:1",
            last,
            Some(4),
            "Backend(BackendIndex(1))",
            Some("/a.png"),
        ),
        ("/a.png", &[mobile], "192.0.2.7:1", last, Some(5), "Backend(BackendIndex(2))", None),
        ("/", &[mobile], "192.0.2.7:1", first, Some(6), "Backend(BackendIndex(0))", None),
        ("/", &[mobile], "192.0.2.7:1", last, Some(6), "Backend(BackendIndex(3))", None),
        ("/", &[beta], "192.0.2.7:1", last, Some(6), "Backend(BackendIndex(3))", None),
        ("/", &[], "192.0.2.7:1", last, None, "Default", None),
    ];
    let (mut overlay, mut workspace, world) =
        (RequestOverlay::default(), Workspace::default(), Around::default());
    for (target, fields, peer, number, rule, expected, path) in cases {
        let debug = [("X-Debug", "1"), ("x-client", "forged")];
        let request = Request { peer, ..Request::get(target, &[&debug, fields].concat()) };
        overlay.clear();
        let verdict =
            run_request(&rules, &request.view(&world), &mut overlay, &mut workspace, &mut || {
                number
            });
        assert_eq!(
            (verdict.rule, format!("{:?}", verdict.outcome)),
            (rule, expected.to_owned()),
            "{target}"
        );
        if rule == Some(0) {
            assert!(overlay.is_empty());
            continue;
        }
        assert_edits(&request, path, &overlay);
        if let Outcome::Redirect { .. } = verdict.outcome {
            assert_eq!(overlay.location(), b"/new?from=/old");
        }
    }
    assert!(
        matches!(&rules.respond(3).expect("an answer").body, RespondBody::Bytes(body) if **body == *b"pong\n")
    );
}

#[test]
fn responses_are_cleaned() {
    let (_, rules) = site();
    let (world, request) = (Around::default(), Request::get("/", &[]));
    let received =
        Fields::of(&[("Server", "s"), ("X-Powered-By", "p"), ("Cache-Control", "public")]);
    for status in [200, 499, 500, 503] {
        let (mut overlay, mut edits) = (RequestOverlay::default(), ResponseOverlay::default());
        let view = ResponseView { headers: &received, status };
        run_response(
            &rules,
            &request.view(&world),
            &mut overlay,
            &view,
            &mut edits,
            &mut Workspace::default(),
        );
        let is_error = status >= 500;
        assert!(edits.removes(b"Server") && edits.removes(b"X-Powered-By"));
        assert_eq!(edits.removes(b"Cache-Control"), is_error);
        let expected = [("Cache-Control".to_owned(), "no-store".to_owned())];
        assert_eq!(shown(edits.added()), expected[..usize::from(is_error)]);
    }
}

//! Nothing is allocated per request once the buffers have grown.
//!
//! Owns one test in a process of its own, so that nothing else allocates while it counts.

mod support;

use std::alloc::System;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::{Around, Compiler, Fields, Request, header, response_rule, rule};
use tidegate_passwords::{PasswordHash, Users};
use tidegate_routing::{
    Authenticate, BackendChoice, BackendIndex, BackendShare, Edit, Ending, LogValue, Mirror,
    NamedBackends, Outcome, Redirect, RedirectTarget, RequestOverlay, RequestRule, RequestView,
    Respond, RespondBody, ResponseOverlay, ResponseRule, ResponseView, RewritePath, Rules, Share,
    Split, TimeoutEdits, Workspace, run_request, run_response,
};
use tidegate_semantics::redirect::Query;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Every edit and every way to decide, one rule for each.
fn rules(of: &mut Compiler) -> Rules<RequestRule> {
    let variable = of.names.declare_variable("mode").expect("a name");
    let users = Users::new([("me", PasswordHash::plain("secret"))]).expect("one user");
    let authenticate = Authenticate { realm: b"r"[..].into(), users: Arc::new(users) };
    let rewrite = RewritePath::new("^/a/(?<rest>.*)$", "/b/$rest").expect("right");
    let log = LogValue { name: "tenant".into(), field: None, value: of.template("{vars.mode}") };
    let edits = vec![
        of.set_header("X-A", "{request.path}{source.ip}{now}"),
        of.add_header("X-A", "{request.args[\"a\"]}"),
        Edit::RemoveHeader(header("X-B")),
        Edit::SetMethod(b"POST"[..].into()),
        Edit::RewritePath(rewrite),
        Edit::SetPath(of.template("{request.path}/%41")),
        Edit::SetQuery(of.template("a=%20{request.query}")),
        Edit::SetHost(of.template("B.{request.host}")),
        Edit::SetVariable(variable, of.template("{request.headers[\"x-a\"]}")),
        Edit::LogField(log),
        Edit::SetTimeouts(TimeoutEdits::default()),
        Edit::SetPriority(1),
        Edit::Mirror(Mirror { backend: BackendIndex(1), share: Share(500_000) }),
    ];
    let shares = vec![BackendShare { backend: BackendIndex(2), weight: 1 }];
    let split = Split { shares, sum: 1, key: Some(of.template("{source.ip}-{request.host}")) };
    let backends = HashMap::from([(b"app-x"[..].into(), BackendIndex(3))]);
    let named =
        NamedBackends { name: of.template("app-{request.host}"), backends: Arc::new(backends) };
    let respond = Respond {
        status: 200,
        content_type: None,
        headers: vec![(header("X-C"), of.template("{request.uri}"))],
        body: RespondBody::Template(of.template("{request.path}\n")),
    };
    let redirect = Redirect {
        status: 302,
        target: RedirectTarget::Location(of.template("/new?from={request.path}")),
        query: Query::Keep,
    };
    let asking = RequestRule { authenticate: Some(authenticate), ..rule(Vec::new(), None) };
    let to = |choice| rule(Vec::new(), Some(Ending::Backend(choice)));
    Rules::new(vec![
        (of.condition(r#""authorization" in request.headers"#), asking),
        (None, rule(edits, None)),
        (of.condition(r#"request.cookies["go"] == "1""#), to(BackendChoice::Split(split))),
        (
            of.condition(r#"request.path.endsWith("A") && vars.mode != "x""#),
            to(BackendChoice::Named(named)),
        ),
        (
            of.condition(r#"request.args["a"] == " respond""#),
            rule(Vec::new(), Some(Ending::Respond(respond))),
        ),
        (None, rule(Vec::new(), Some(Ending::Redirect(redirect)))),
    ])
}

fn response_rules(of: &mut Compiler) -> Rules<ResponseRule> {
    let edits = vec![
        Edit::SetHeader(
            header("Server"),
            of.response_template("{response.headers[\"server\"]}-{response.code}"),
        ),
        Edit::RemoveHeader(header("X-Powered-By")),
    ];
    Rules::new(vec![(
        of.response_condition("response.code >= 200"),
        response_rule(edits, Some(201)),
    )])
}

#[test]
fn nothing_is_allocated_when_buffers_are_warm() {
    let mut of = Compiler::default();
    let (rules, responses, world) = (rules(&mut of), response_rules(&mut of), Around::default());
    let requests = [
        Request::get("/a/%62/x?a=1+2", &[("Cookie", "go=1"), ("X-B", "1")]),
        Request::get("/plain", &[]),
        Request::get("/c?respond", &[]),
        Request::get("/c?d", &[("Authorization", "Basic bWU6c2VjcmV0")]),
    ];
    let views: Vec<RequestView<'_, _, _>> =
        requests.iter().map(|request| request.view(&world)).collect();
    let received = Fields::of(&[("Server", "s")]);
    let (mut overlay, mut edits, mut workspace) =
        (RequestOverlay::default(), ResponseOverlay::default(), Workspace::default());
    let mut outcomes = [0; 4];
    let mut serve = |times: u32| {
        for _ in 0..times {
            for view in &views {
                overlay.clear();
                edits.clear();
                let verdict =
                    run_request(&rules, view, &mut overlay, &mut workspace, &mut || u64::MAX / 3);
                outcomes[match verdict.outcome {
                    Outcome::Backend(_) => 0,
                    Outcome::Respond => 1,
                    Outcome::Redirect { .. } => 2,
                    _ => 3,
                }] += 1;
                let response = ResponseView { headers: &received, status: 200 };
                run_response(&responses, view, &mut overlay, &response, &mut edits, &mut workspace);
                black_box((&overlay, &edits));
            }
        }
    };
    let region = Region::new(ALLOCATOR);
    serve(1);
    assert!(region.change().allocations > 0, "the buffers grow once, and that is seen");
    serve(1);
    let region = Region::new(ALLOCATOR);
    serve(10);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

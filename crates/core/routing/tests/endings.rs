//! Every ending: the verdict, and what is said with it.

mod support;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use support::{Around, Compiler, Request, always, header, outcome, rule, run, shown};
use tidegate_passwords::{PasswordHash, Users};
use tidegate_routing::{
    Authenticate, BackendChoice, BackendIndex, BackendShare, Edit, Ending, LOCATION_BYTES_MAX,
    Mirror, NamedBackends, Outcome, Pending, Redirect, RedirectTarget, RequestOverlay, RequestRule,
    Respond, RespondBody, Rules, Share, Split, Verdict, Workspace, resume, run_request,
};
use tidegate_rules::Template;
use tidegate_semantics::redirect::{Query, Scheme};

/// Numbers that are spread evenly (SplitMix64).
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

#[test]
fn the_first_rule_that_ends_the_list_decides() {
    let mut of = Compiler::default();
    let delay = Duration::from_secs(3);
    let mut ends = |path: &str, ending| {
        let condition = of.condition(&format!("request.path == \"{path}\""));
        (condition, rule(Vec::new(), Some(ending)))
    };
    let mut list = vec![
        ends("/deny", Ending::Deny { status: 403 }),
        ends("/tarpit", Ending::Tarpit { status: 429, delay }),
        ends("/close", Ending::Close),
        ends("/backend", Ending::Backend(BackendChoice::One(BackendIndex(7)))),
        ends("/deny", Ending::Deny { status: 404 }),
    ];
    list.push((None, rule(vec![of.set_header("X-Seen", "1")], None)));
    let rules = Rules::new(list);
    let case = |path: &str| {
        let mut overlay = RequestOverlay::default();
        let verdict = run(&rules, &Request::get(path, &[]), &Around::default(), &mut overlay);
        (verdict.rule, format!("{:?}", verdict.outcome), overlay.is_empty())
    };
    let cases = [
        ("/deny", Some(0), "Deny { status: 403 }"),
        ("/tarpit", Some(1), "Tarpit { status: 429, delay: 3s }"),
        ("/close", Some(2), "Close"),
        ("/backend", Some(3), "Backend(BackendIndex(7))"),
        ("/other", None, "Default"),
    ];
    for (path, rule, expected) in cases {
        assert_eq!(case(path), (rule, expected.to_owned(), rule.is_some()), "{path}");
    }
    let none = Rules::default();
    assert!(none.is_empty());
    assert!(matches!(outcome(&none, &Request::get("/", &[])), Outcome::Default));
}

#[test]
fn edits_apply_before_the_ending_of_their_rule() {
    let mut of = Compiler::default();
    let location = RedirectTarget::Location(of.template("{request.path}?{request.query}"));
    let redirect = Redirect { status: 302, target: location, query: Query::Drop };
    let edits = vec![Edit::SetPath(of.template("/new")), Edit::SetQuery(of.template("x=1"))];
    let rules = always(edits, Some(Ending::Redirect(redirect)));
    let mut overlay = RequestOverlay::default();
    run(&rules, &Request::get("/old?y", &[]), &Around::default(), &mut overlay);
    assert_eq!(overlay.location(), b"/new?x=1");
}

#[test]
fn redirects_lead_where_they_say_and_nowhere_else() {
    let mut of = Compiler::default();
    let mut parts = |scheme, host: &str, prefix: &str| {
        let mut some = |text: &str| (!text.is_empty()).then(|| of.template(text));
        RedirectTarget::Parts { scheme, host: some(host), prefix: some(prefix) }
    };
    let parts_cases = [
        (parts(Some(Scheme::Https), "", ""), "/a?x=1", "https://a.example/a?x=1"),
        (parts(None, "b.example:81", ""), "/a?x=1", "http://b.example:81/a?x=1"),
        (
            parts(None, "{request.args[\"x\"]}", ""),
            "/a?x=b.example",
            "http://b.example/a?x=b.example",
        ),
        (parts(None, "{request.args[\"x\"]}", ""), "/a?x=b%2Fc", "400"),
        (parts(None, "{request.args[\"x\"]}", ""), "/a?x=b%0D%0AX:y", "400"),
        (parts(None, "", "/v2/"), "/a?x=1", "/v2/a?x=1"),
        (parts(None, "", "https://c.example"), "/a?x=1", "https://c.example/a?x=1"),
        (parts(None, "", "//c.example"), "/a", "//c.example/a"),
        (parts(None, "", "{request.args[\"x\"]}"), "/a?x=//evil", "/.//evil/a?x=//evil"),
        (parts(None, "", "/{request.args[\"x\"]}"), "/a?x=/evil", "/.//evil/a?x=/evil"),
        (parts(None, "", ""), "//evil/", "/.//evil/"),
    ];
    let mut location = |text: &str| RedirectTarget::Location(of.template(text));
    let location_cases = [
        (location("/new?from={request.path}"), "/old?x=1", "/new?from=/old&x=1"),
        (location("{request.path}"), "//evil", "/.//evil"),
        (location("//cdn.example{request.path}"), "/a", "//cdn.example/a"),
        (
            location("/n/{request.args[\"x\"]}"),
            "/?x=%0d%0aSet-Cookie:a%22",
            "/n/%0D%0ASet-Cookie:a%22?x=%0d%0aSet-Cookie:a%22",
        ),
    ];
    for (target, request, expected) in parts_cases.into_iter().chain(location_cases) {
        let redirect = Redirect { status: 308, target, query: Query::Keep };
        let rules = always(Vec::new(), Some(Ending::Redirect(redirect)));
        let mut overlay = RequestOverlay::default();
        let verdict = run(&rules, &Request::get(request, &[]), &Around::default(), &mut overlay);
        match verdict.outcome {
            Outcome::Redirect { status: 308 } => {
                assert_eq!(overlay.location().escape_ascii().to_string(), expected);
            }
            Outcome::Deny { status: 400 } => assert_eq!(expected, "400"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let long = of.template(&format!("/{}", "x".repeat(LOCATION_BYTES_MAX)));
    let redirect =
        Redirect { status: 301, target: RedirectTarget::Location(long), query: Query::Drop };
    let rules = always(Vec::new(), Some(Ending::Redirect(redirect)));
    assert!(matches!(outcome(&rules, &Request::get("/", &[])), Outcome::Deny { status: 400 }));
}

#[test]
fn answers_carry_their_fields_and_bodies() {
    let mut of = Compiler::default();
    let respond = |headers, body| Respond { status: 200, content_type: None, headers, body };
    let headers = vec![
        (header("X-Path"), of.template("{request.path}")),
        (header("X-Bad"), of.template("{request.args[\"q\"]}")),
    ];
    let body = RespondBody::Template(of.template("you asked {request.method} {request.path}\n"));
    let rules = always(Vec::new(), Some(Ending::Respond(respond(headers, body))));
    let mut overlay = RequestOverlay::default();
    let verdict = run(&rules, &Request::get("/p?q=%0a", &[]), &Around::default(), &mut overlay);
    assert!(matches!(verdict, Verdict { rule: Some(0), outcome: Outcome::Respond }));
    assert_eq!(rules.respond(0).map(|respond| respond.status), Some(200));
    assert_eq!(shown(overlay.answer_headers()), [("X-Path".to_owned(), "/p".to_owned())]);
    assert_eq!(overlay.answer_body(), b"you asked GET /p\n");
    assert_eq!(overlay.edits_dropped(), 1);
    assert!(overlay.is_empty(), "nothing of it is for a server");
    overlay.clear();
    assert_eq!((overlay.answer_body(), overlay.answer_headers().count()), (&b""[..], 0));
    assert!(always(Vec::new(), Some(Ending::Close)).respond(0).is_none());
}

#[test]
fn backends_are_found_by_the_name_a_template_makes() {
    let mut of = Compiler::default();
    let backends = [("app-a.example", 1), ("app-b.example", 2)];
    let backends: HashMap<_, _> =
        backends.map(|(name, index)| (name.as_bytes().into(), BackendIndex(index))).into();
    let named =
        NamedBackends { name: of.template("app-{request.host}"), backends: Arc::new(backends) };
    let rules = Rules::new(vec![
        (None, rule(Vec::new(), Some(Ending::Backend(BackendChoice::Named(named))))),
        (None, rule(Vec::new(), Some(Ending::Deny { status: 404 }))),
    ]);
    for (host, expected) in [
        ("A.example:80", "Backend(BackendIndex(1))"),
        ("b.example", "Backend(BackendIndex(2))"),
        ("c.example", "Deny { status: 404 }"),
    ] {
        let request = Request { authority: host.as_bytes().to_vec(), ..Request::get("/", &[]) };
        assert_eq!(format!("{:?}", outcome(&rules, &request)), expected, "{host}");
    }
}

fn split(weights: &[u32], key: Option<Template>) -> Rules<RequestRule> {
    let shares = weights.iter().enumerate();
    let shares = shares
        .map(|(index, weight)| BackendShare { backend: BackendIndex(index), weight: *weight });
    let split = Split { shares: shares.collect(), sum: weights.iter().sum(), key };
    always(Vec::new(), Some(Ending::Backend(BackendChoice::Split(split))))
}

fn backend(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Backend(BackendIndex(index)) => index,
        other => panic!("no backend: {other:?}"),
    }
}

/// Asserts that each backend got its share of the picks, to within one in a hundred of them all.
fn assert_shares(weights: &[u32], counts: &[u32]) {
    let (sum, picks) = (weights.iter().sum::<u32>(), counts.iter().sum::<u32>());
    for (weight, count) in weights.iter().zip(counts) {
        let expected = f64::from(picks) * f64::from(*weight) / f64::from(sum);
        let off = (f64::from(*count) - expected).abs() / f64::from(picks);
        assert!(off < 0.01, "{weights:?}: {counts:?}");
        assert!(*weight > 0 || *count == 0, "{weights:?}: {counts:?}");
    }
}

#[test]
fn splits_give_each_backend_its_share() {
    const PICKS: u32 = 100_000;
    let (world, request) = (Around::default(), Request::get("/", &[]));
    let mut random = numbers(1);
    for weights in [&[95, 5][..], &[1, 1, 1], &[0, 3, 0, 1], &[1]] {
        let rules = split(weights, None);
        let (mut overlay, mut workspace) = (RequestOverlay::default(), Workspace::default());
        let mut counts = vec![0; weights.len()];
        for _ in 0..PICKS {
            let verdict = run_request(
                &rules,
                &request.view(&world),
                &mut overlay,
                &mut workspace,
                &mut random,
            );
            counts[backend(verdict.outcome)] += 1;
        }
        assert_shares(weights, &counts);
    }
}

#[test]
fn splits_by_key_give_each_key_its_backend_and_each_backend_its_share() {
    const KEYS: u32 = 100_000;
    let mut of = Compiler::default();
    let world = Around::default();
    let (by_address, by_text) = (
        split(&[95, 5], Some(of.template("{source.ip}"))),
        split(&[50, 30, 20], Some(of.template("{request.cookies[\"id\"]}"))),
    );
    let (mut addresses, mut texts) = (vec![0; 2], vec![0; 3]);
    let (mut overlay, mut workspace) = (RequestOverlay::default(), Workspace::default());
    for number in 0..KEYS {
        let cookie = format!("id=user-{number}");
        let request = Request::get("/", &[("Cookie", &cookie)]);
        let mut view = request.view(&world);
        // Neighbours, as clients of one network are.
        view.peer = Some((Ipv4Addr::from_bits(0x0a00_0000 + number), 1).into());
        let mut pick = |rules| {
            let mut random = || panic!("nothing is random with a key");
            backend(run_request(rules, &view, &mut overlay, &mut workspace, &mut random).outcome)
        };
        let (address, text) = (pick(&by_address), pick(&by_text));
        assert_eq!((pick(&by_address), pick(&by_text)), (address, text), "the same again");
        addresses[address] += 1;
        texts[text] += 1;
    }
    assert_shares(&[95, 5], &addresses);
    assert_shares(&[50, 30, 20], &texts);
    // These stay the same over restarts and releases.
    let known: Vec<usize> = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .into_iter()
        .map(|id| {
            backend(outcome(&by_text, &Request::get("/", &[("Cookie", &format!("id={id}"))])))
        })
        .collect();
    assert_eq!(known, KNOWN_CHOICES);
}

/// Worked out by another implementation of the same arithmetic.
const KNOWN_CHOICES: [usize; 8] = [1, 0, 0, 1, 0, 2, 0, 0];

#[test]
fn mirrors_take_their_share() {
    let mirror = Mirror { backend: BackendIndex(1), share: Share(250_000) };
    let rules = always(vec![Edit::Mirror(mirror)], None);
    let (world, request) = (Around::default(), Request::get("/", &[]));
    let (mut overlay, mut workspace, mut random) =
        (RequestOverlay::default(), Workspace::default(), numbers(2));
    let mut counts = [0; 2];
    for _ in 0..100_000 {
        overlay.clear();
        run_request(&rules, &request.view(&world), &mut overlay, &mut workspace, &mut random);
        counts[overlay.mirrors().len()] += 1;
    }
    assert_shares(&[3, 1], &counts);
}

/// `/private` needs credentials; who has them is marked and goes to a backend.
fn private(of: &mut Compiler) -> Rules<RequestRule> {
    let users = Users::new([("me", PasswordHash::plain("secret"))]).expect("one user");
    let authenticate = Authenticate { realm: b"private"[..].into(), users: Arc::new(users) };
    let marked = RequestRule {
        authenticate: Some(authenticate),
        ..rule(vec![of.add_header("X-Marks", "authenticated")], None)
    };
    let to_backend = Some(Ending::Backend(BackendChoice::One(BackendIndex(3))));
    Rules::new(vec![
        (None, rule(vec![of.add_header("X-Marks", "first")], None)),
        (of.condition(r#"request.path.startsWith("/private")"#), marked),
        (of.condition(r#"request.path == "/private/page""#), rule(Vec::new(), to_backend)),
    ])
}

#[test]
fn credentials_are_asked_for_and_verified_elsewhere() {
    let rules = private(&mut Compiler::default());
    let mut world = Around::default();
    let (mut overlay, mut workspace) = (RequestOverlay::default(), Workspace::default());
    let mut random = || panic!("nothing is random here");
    let request = |value: &str| Request::get("/private/page", &[("authorization", value)]);
    let marks = |overlay: &RequestOverlay| shown(overlay.added()).len();

    let mut ask = |request: &Request, world: &Around, overlay: &mut RequestOverlay| {
        overlay.clear();
        let verdict =
            run_request(&rules, &request.view(world), overlay, &mut workspace, &mut random);
        let credentials = workspace.credentials();
        (verdict, credentials.user.to_vec(), credentials.password.to_vec())
    };
    for refused in ["Bearer x", "Basic", "Basic !!!", "Basic YWI="] {
        let (verdict, ..) = ask(&request(refused), &world, &mut overlay);
        assert!(matches!(verdict, Verdict { rule: Some(1), outcome: Outcome::Unauthorized }));
        assert_eq!(marks(&overlay), 1);
    }
    let (verdict, ..) = ask(&Request::get("/private/page", &[]), &world, &mut overlay);
    assert!(matches!(verdict.outcome, Outcome::Unauthorized));

    // nobody:secret
    let nobody = request("Basic bm9ib2R5OnNlY3JldA==");
    let (verdict, user, _) = ask(&nobody, &world, &mut overlay);
    assert!(matches!(verdict.outcome, Outcome::Verify(Pending { rule: 1, tag: None })));
    assert_eq!(user, b"nobody");

    // me:secret
    let me = request("Basic bWU6c2VjcmV0");
    let (verdict, user, password) = ask(&me, &world, &mut overlay);
    let Outcome::Verify(pending) = verdict.outcome else { panic!("{verdict:?}") };
    let asked = rules.authenticate(pending.rule).expect("it asked");
    assert!(asked.users.verify(&user, &password));
    assert_eq!(marks(&overlay), 1);

    // Other requests use the same working memory before the answer comes.
    ask(&nobody, &world, &mut RequestOverlay::default());
    let mut random = || panic!("nothing is random here");
    let mut go_on = |is_right, overlay: &mut RequestOverlay, world: &Around| {
        let mut workspace = Workspace::default();
        resume(&rules, &pending, is_right, &me.view(world), overlay, &mut workspace, &mut random)
    };
    let verdict = go_on(false, &mut overlay, &world);
    assert!(matches!(verdict, Verdict { rule: Some(1), outcome: Outcome::Unauthorized }));
    assert_eq!(marks(&overlay), 1);
    let verdict = go_on(true, &mut overlay, &world);
    assert!(matches!(
        verdict,
        Verdict { rule: Some(2), outcome: Outcome::Backend(BackendIndex(3)) }
    ));
    assert_eq!(marks(&overlay), 2);

    // Once remembered, they are right at once, until they are forgotten.
    let now = world.now;
    world.verified.borrow_mut().insert(&pending.tag.expect("the user exists"), now);
    let (verdict, ..) = ask(&me, &world, &mut overlay);
    assert!(matches!(verdict, Verdict { rule: Some(2), outcome: Outcome::Backend(_) }));
    world.now += Duration::from_secs(61);
    let (verdict, ..) = ask(&me, &world, &mut overlay);
    assert!(matches!(verdict.outcome, Outcome::Verify(_)));
}

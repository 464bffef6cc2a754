//! Rules of responses, copies of requests, other timeouts, upgrades and reloads.
//!
//! Owns what rules change after a backend is chosen, and over time. Leaves edits of requests to `rules_edits`.

#[path = "support/rules.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{builder, client, config, dropped, origin, start};
use tidegate_testkit::{Client, Connection, Gate, Metrics, Origin, refused_address, script};

#[test]
fn responses_are_edited_by_what_they_and_their_requests_say() {
    let origin = Origin::start(script::answer_with(|_, request| match &*request.target {
        "/missing" => script::response(404, "Nope", &[("X-Up", "a"), ("Server", "x")], "gone"),
        "/empty" => script::response(304, "Not Modified", &[], ""),
        _ => script::response(200, "Fine", &[("X-Up", "a"), ("Set-Cookie", "a=b")], "app"),
    }));
    let rules = r#"
[[frontends.web.rules]]
set_variable = { kind = "{request.args['kind']}" }
[[frontends.web.response_rules]]
when = "response.code == 404"
set_status = 410
set_headers = { "X-Was" = "{response.code}" }
[[frontends.web.response_rules]]
when = 'request.path == "/special" && request.headers["x-ask"] == "yes"'
add_headers = { "X-Kind" = "{vars.kind} {request.method} {request.host}" }
[[frontends.web.response_rules]]
when = 'response.headers["set-cookie"] != ""'
remove_headers = ["Set-Cookie"]
add_headers = { "X-Up" = "b" }
[[frontends.web.response_rules]]
when = 'request.path == "/empty"'
set_status = 200
[[frontends.web.response_rules]]
remove_headers = ["Server"]
"#;
    let tidegate = start(&origin, "", rules);
    let mut client = client(&tidegate);
    let response = client.get("/missing");
    assert_eq!((response.status, &*response.reason, response.text()), (410, "Gone", "gone"));
    assert_eq!(response.headers.value("x-was"), Some("404"));
    assert!(!response.headers.contains("server"));
    client.send("GET /special?kind=k HTTP/1.1\r\nHost: H.test:1\r\nX-Ask: yes\r\n\r\n");
    let response = client.read_response();
    assert_eq!((response.status, &*response.reason), (200, "Fine"));
    assert_eq!(response.headers.value("x-kind"), Some("k GET h.test"));
    assert_eq!(response.headers.all("x-up").collect::<Vec<_>>(), ["a", "b"]);
    assert!(!response.headers.contains("set-cookie"));
    let response = client.get("/special");
    assert!(!response.headers.contains("x-kind"));
    let response = client.get("/empty");
    assert_eq!(response.status, 304, "a status that has no body stays");
    let metrics = tidegate.metrics();
    assert_eq!(dropped(&metrics, "status"), 1);
    let of = |status| metrics.count("tidegate_frontend_requests_total", &[("status", status)]);
    assert_eq!((of("2xx"), of("3xx"), of("4xx")), (2, 1, 1));
}

const MIRROR: &str = "[[frontends.web.rules]]\nmirror = { backend = \"shadow\" }\nset_headers = { \"X-A\" = \"1\" }\n";

#[test]
fn a_copy_reaches_the_other_backend_and_its_answer_nobody() {
    let [app, shadow] = ["app", "shadow"].map(origin);
    // The servers keep their connections: an answer ends where its framing says.
    let text = config("", MIRROR, &[("app", app.address()), ("shadow", shadow.address())])
        + "[backends.shadow.timeouts]\nserver = \"10m\"\n";
    let tidegate = builder().start(&text);
    let mut client = client(&tidegate);
    assert_eq!(client.get("/a?b").text(), "app");
    let copy = shadow.wait_requests(1);
    assert_eq!((&*copy.method, &*copy.target), ("GET", "/a?b"));
    assert_eq!(copy.headers.value("x-a"), Some("1"));
    assert_eq!(copy.headers.value("host"), Some("example.test"));
    client.send("POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234");
    app.wait_received(0, 10);
    client.send("56789GET /d HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "app");
    assert_eq!(client.read_response().text(), "app");
    client.send(
        "POST /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(client.read_response().text(), "app");
    shadow.wait_requests(4);
    let mut bodies: Vec<_> =
        shadow.requests().into_iter().map(|one| (one.target, one.body)).collect();
    bodies.sort();
    let expected = [("/a?b", ""), ("/c", "0123456789"), ("/d", ""), ("/e", "abc")];
    assert_eq!(
        bodies,
        expected.map(|(target, body)| (target.to_owned(), body.as_bytes().to_vec()))
    );
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_requests_mirrored_total", &[]), 4);
    tidegate.wait_metrics("nothing is with a server", |metrics| {
        metrics.count("tidegate_server_requests_in_flight", &[]) == 0
    });
}

#[test]
fn a_backend_that_takes_no_copies_is_not_noticed() {
    let app = origin("app");
    let silent = Origin::start(|mut connection: Connection| {
        connection.read_request()?;
        connection.read_some(1).map(drop)
    });
    let refused = refused_address();
    for shadow in [refused.address(), silent.address()] {
        let text = config("", MIRROR, &[("app", app.address()), ("shadow", shadow)])
            + "[backends.shadow.timeouts]\nserver = \"200ms\"\nconnect = \"200ms\"\n";
        let tidegate = builder().start(&text);
        let mut client = client(&tidegate);
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), "app");
        }
        let large = "x".repeat(70_000);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n{large}"));
        assert_eq!(client.read_response().text(), "app");
        tidegate.wait_metrics("all copies have failed", |metrics| {
            dropped(metrics, "mirror_failed") == 20 && dropped(metrics, "mirror_body_max") == 1
        });
    }
}

#[test]
fn a_share_of_requests_is_copied() {
    let [app, shadow] = ["app", "shadow"].map(origin);
    let rules = "[[frontends.web.rules]]\nmirror = { backend = \"shadow\", percent = 25 }\n";
    let text = config("", rules, &[("app", app.address()), ("shadow", shadow.address())]);
    let tidegate = builder().start(&text);
    let mut client = client(&tidegate);
    for _ in 0..400 {
        assert_eq!(client.get("/").text(), "app");
    }
    let copies = tidegate.metrics().count("tidegate_frontend_requests_mirrored_total", &[]);
    // A quarter of 400: outside of these bounds less than once in 10^5 runs.
    assert!((60..=140).contains(&copies), "{copies} of 400");
}

#[test]
fn copies_that_are_not_answered_are_bounded() {
    /// Copies of a shard that are on their way.
    const MIRRORS_MAX: u64 = 256;
    let app = origin("app");
    let (silent, gate) = (Gate::new(), Gate::new());
    let shadow = Origin::start({
        let (silent, gate) = (silent.clone(), gate.clone());
        move |mut connection: Connection| {
            if connection.read_request()?.is_some() {
                silent.open();
                gate.wait();
                connection.send(script::ok("shadow"))?;
            }
            Ok(())
        }
    });
    let text = config("", MIRROR, &[("app", app.address()), ("shadow", shadow.address())]);
    let tidegate = builder().start(&text);
    let mut client = client(&tidegate);
    for _ in 0..MIRRORS_MAX + 3 {
        assert_eq!(client.get("/").text(), "app");
    }
    let mirrored =
        |metrics: &Metrics| metrics.count("tidegate_frontend_requests_mirrored_total", &[]);
    let metrics = tidegate.metrics();
    assert_eq!((mirrored(&metrics), dropped(&metrics, "mirrors_max")), (MIRRORS_MAX, 3));
    // Answers make room.
    silent.wait();
    gate.open();
    tidegate.wait_metrics("no copy is on its way", |metrics| {
        metrics.count("tidegate_server_requests_in_flight", &[("backend", "shadow")]) == 0
    });
    assert_eq!(client.get("/").text(), "app");
    let metrics = tidegate.metrics();
    assert_eq!((mirrored(&metrics), dropped(&metrics, "mirrors_max")), (MIRRORS_MAX + 1, 3));
    assert_eq!(dropped(&metrics, "mirror_failed"), 0);
}

#[test]
fn rules_give_requests_other_timeouts() {
    let silent = Origin::start(|mut connection: Connection| {
        while connection.read_request()?.is_some() {}
        Ok(())
    });
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/short\"'\nset_timeouts = { server = \"200ms\" }\n";
    let tidegate = start(&silent, "", rules);
    let began = Instant::now();
    assert_eq!(client(&tidegate).get("/short").status, 504);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn upgrades_go_where_rules_send_them_and_end_after_their_timeout() {
    let app = origin("app");
    let sockets = Origin::start(script::upgrade_echo("websocket"));
    let rules = "[[frontends.web.rules]]\nwhen = 'request.headers[\"upgrade\"].lowerAscii() == \"websocket\"'\n\
        set_headers = { \"X-Socket\" = \"1\" }\nset_timeouts = { tunnel = \"300ms\" }\nbackend = \"sockets\"\n\
        [[frontends.web.response_rules]]\nset_headers = { \"X-Switched\" = \"{response.code}\" }\n";
    let backends = [("app", app.address()), ("sockets", sockets.address())];
    let tidegate = builder().start(&config("", rules, &backends));
    let mut client = client(&tidegate);
    client.send(
        "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Key: x\r\n\r\n",
    );
    let head = client.read_head();
    assert_eq!(head.status, 101);
    assert_eq!(head.headers.value("x-switched"), Some("101"));
    assert_eq!(head.headers.value("upgrade"), Some("websocket"));
    client.send("ping");
    assert_eq!(client.read_exactly(4), b"ping");
    let request = sockets.wait_requests(1);
    assert_eq!(request.headers.value("upgrade"), Some("WebSocket"));
    assert_eq!(request.headers.value("x-socket"), Some("1"));
    client.expect_end();
}

#[test]
fn a_reload_changes_the_rules_of_the_next_request_and_not_of_the_one_before() {
    let gate = Gate::new();
    let opened = gate.clone();
    let app = Origin::start(move |mut connection: Connection| {
        while let Some(request) = connection.read_request()? {
            if request.target == "/slow" {
                opened.wait();
            }
            connection.send(script::ok("app"))?;
        }
        Ok(())
    });
    let with = |value: &str| {
        let rules = format!(
            "[[frontends.web.response_rules]]\nset_headers = {{ \"X-Rules\" = \"{value}\" }}\n"
        );
        config("", &rules, &[("app", app.address())])
    };
    let tidegate = builder().start(&with("old"));
    let rules_of =
        |client: &mut Client| client.read_response().headers.value("x-rules").map(str::to_owned);
    let (mut kept, mut slow) = (client(&tidegate), client(&tidegate));
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(rules_of(&mut kept).as_deref(), Some("old"));
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    app.wait_requests(2);
    assert!(tidegate.reload(&with("new")).is_event("reloaded"));
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(rules_of(&mut kept).as_deref(), Some("new"));
    gate.open();
    assert_eq!(rules_of(&mut slow).as_deref(), Some("old"));
    let wrong = with("new").replace("set_headers", "when = \"nonsense\"\nset_headers");
    assert!(tidegate.reload(&wrong).is_event("reload_failed"));
    kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        rules_of(&mut kept).as_deref(),
        Some("new"),
        "a wrong configuration changes nothing"
    );
}

//! Content switching: the example as operators have it, and each way of choosing a backend.
//!
//! Owns which backend a request reaches. Leaves edits to `rules_edits` and answers without a server to `rules_endings`.

#[path = "support/rules.rs"]
mod support;

use std::net::IpAddr;

use support::{builder, client, config, origin};
use tidegate_testkit::{Client, Origin, Tidegate, script};

/// The example with the addresses of these servers in the place of its own.
fn example(web: &Origin, api: &Origin, files: &Origin, canary: &Origin) -> String {
    let mut text = include_str!("support/routing.toml").to_owned();
    for (port, address) in [
        ("8080", "127.0.0.1:0".to_owned()),
        ("9001", web.address().to_string()),
        ("9002", api.address().to_string()),
        ("9003", files.address().to_string()),
        ("9004", canary.address().to_string()),
    ] {
        let written = format!("\"127.0.0.1:{port}\"");
        assert!(text.contains(&written), "{written}");
        text = text.replace(&written, &format!("\"{address}\""));
    }
    text
}

#[track_caller]
fn ask(client: &mut Client, target: &str, lines: &str) -> String {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: example.test\r\n{lines}\r\n"));
    let response = client.read_response();
    assert_eq!(response.status, 200, "{target}");
    response.text().to_owned()
}

#[test]
fn the_example_does_what_its_comments_say() {
    let failing = script::response(
        500,
        "Internal Server Error",
        &[("Server", "x"), ("X-Powered-By", "y"), ("X-Kept", "z")],
        "web",
    );
    let web = Origin::start(script::answer_with(move |_, request| match &*request.target {
        "/fails" => failing.clone(),
        _ => script::ok("web"),
    }));
    let [api, files, canary] = ["api", "static", "canary"].map(origin);
    let tidegate = builder().start(&example(&web, &api, &files, &canary));
    let mut client = client(&tidegate);

    assert_eq!(ask(&mut client, "/", "X-Debug: 1\r\nX-Client: forged\r\n"), "web");
    let request = web.wait_requests(1);
    assert!(!request.headers.contains("x-debug"));
    assert_eq!(request.headers.all("x-client").collect::<Vec<_>>(), ["127.0.0.1"]);
    let start = request.headers.value("x-request-start").expect("it is set");
    assert!(start.len() >= 13 && start.bytes().all(|byte| byte.is_ascii_digit()), "{start}");

    assert_eq!(ask(&mut client, "/admin", ""), "web", "127.0.0.1 is internal");
    let response = client.get("/old");
    assert_eq!(
        (response.status, response.headers.value("location")),
        (302, Some("/new?from=/old"))
    );
    let response = client.get("/ping");
    assert_eq!((response.status, response.text()), (200, "pong\n"));
    assert_eq!(response.headers.value("content-type"), Some("text/plain"));

    assert_eq!(ask(&mut client, "/api/v1/users?a=b", ""), "api");
    assert_eq!(api.wait_requests(1).target, "/v1/users?a=b");
    assert_eq!(ask(&mut client, "/logo.css?x", ""), "static");
    assert_eq!(ask(&mut client, "/x/../%61pi/..;/logo.css", ""), "api", "paths are normalised");

    let response = client.get("/fails");
    assert_eq!((response.status, response.headers.value("cache-control")), (500, Some("no-store")));
    assert!(!response.headers.contains("server") && !response.headers.contains("x-powered-by"));
    assert_eq!(response.headers.value("x-kept"), Some("z"));

    let answers: Vec<String> =
        (0..400).map(|_| ask(&mut client, "/", "Cookie: beta=1\r\n")).collect();
    let to_canary = answers.iter().filter(|answer| *answer == "canary").count();
    // One in twenty of 400: outside of these bounds less than once in 10^5 runs.
    assert!((4..=44).contains(&to_canary), "{to_canary} of 400");
    assert!(answers.iter().all(|answer| answer == "canary" || answer == "web"));
}

#[test]
fn outsiders_do_not_reach_what_is_denied_to_them() {
    let [web, api, files, canary] = ["web", "api", "static", "canary"].map(origin);
    let text = example(&web, &api, &files, &canary)
        .replace("127.0.0.0/8", "127.0.0.2/32")
        .replace("10.0.0.0/8", "192.0.2.0/24");
    let tidegate = builder().start(&text);
    let from = |source: [u8; 4]| {
        let mut client = Client::connect_from(IpAddr::from(source), tidegate.address("web"));
        client.get("/admin").status
    };
    assert_eq!(from([127, 0, 0, 2]), 200);
    assert_eq!(from([127, 0, 0, 3]), 403);
    for path in ["/%61dmin", "/./admin", "/x/../admin"] {
        let mut client = client(&tidegate);
        assert_eq!(client.get(path).status, 403, "{path}");
    }
}

#[test]
fn backends_are_chosen_by_name_and_by_map() {
    let names = ["app", "app-a", "app-b"];
    let [app, a, b] = names.map(origin);
    let builder = builder();
    std::fs::write(builder.directory().join("hosts.map"), "b.test app-b\nc.test nowhere\n")
        .expect("a file");
    let rules = r#"
[[frontends.web.rules]]
when = 'request.path == "/map"'
backend = '{lookup("hosts.map", request.host)}'
[[frontends.web.rules]]
backend = "app-{request.host}"
"#;
    let backends = [("app", app.address()), ("app-a", a.address()), ("app-b", b.address())];
    let tidegate = builder.start(&config("", rules, &backends));
    let mut client = client(&tidegate);
    for (path, host, expected) in [
        ("/", "a", "app-a"),
        ("/", "A:80", "app-a"),
        ("/", "b.", "app-b"),
        ("/", "c", "app"),
        ("/", "a.test", "app"),
        ("/map", "b.test", "app-b"),
        ("/map", "c.test", "app"),
        ("/map", "B.TEST:8080", "app-b"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.read_response().text(), expected, "{path} {host}");
    }
}

#[test]
fn a_split_by_a_key_gives_a_client_the_same_backend_always() {
    let [app, canary] = ["app", "canary"].map(origin);
    let rules = r#"
[[frontends.web.rules]]
backend = { split = { app = 1, canary = 1 }, by = 'request.cookies["user"]' }
"#;
    let backends = [("app", app.address()), ("canary", canary.address())];
    let text = config("", rules, &backends);
    let chosen = |tidegate: &Tidegate| -> Vec<String> {
        let mut client = client(tidegate);
        (0..32).map(|user| ask(&mut client, "/", &format!("Cookie: user={user}\r\n"))).collect()
    };
    let tidegate = builder().start(&text);
    let first = chosen(&tidegate);
    assert!(first.contains(&"app".to_owned()) && first.contains(&"canary".to_owned()));
    assert_eq!(chosen(&tidegate), first);
    assert_eq!(chosen(&builder().start(&text)), first, "also after a restart");
}

#[test]
fn without_a_rule_that_matches_and_without_a_default_the_answer_is_503() {
    let app = origin("app");
    let text = config(
        "",
        "[[frontends.web.rules]]\nwhen = 'request.path == \"/a\"'\nbackend = \"app\"",
        &[("app", app.address())],
    )
    .replace("default_backend = \"app\"", "");
    let tidegate = builder().start(&text);
    assert_eq!(client(&tidegate).get("/a").status, 200);
    assert_eq!(client(&tidegate).get("/b").status, 503);
}

/// Every attribute of a connection without TLS, in a condition that holds for one of the requests.
#[test]
fn each_attribute_decides() {
    let app = origin("app");
    let builder = builder();
    std::fs::write(builder.directory().join("m.map"), "/mapped yes\n").expect("a file");
    let cases = [
        (r#"request.method == "PUT""#, "PUT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.host == "h.test""#, "GET / HTTP/1.1\r\nHost: H.test:81\r\n\r\n"),
        (r#"request.path == "/~p""#, "GET /x/../%7Ep HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.query == "q=1""#, "GET /?q=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.uri == "/%75?r""#, "GET /%75?r HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.protocol == "HTTP/1.0""#, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (r#"request.headers["x-h"] == "1""#, "GET / HTTP/1.1\r\nHost: a\r\nX-H: 1\r\n\r\n"),
        (r#""x-e" in request.headers"#, "GET / HTTP/1.1\r\nHost: a\r\nX-E:\r\n\r\n"),
        (r#"request.cookies["c"] == "1""#, "GET / HTTP/1.1\r\nHost: a\r\nCookie: b=2; c=1\r\n\r\n"),
        (r#"request.args["g"] == "a b""#, "GET /?g=a+b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("request.size == 3", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        (r#"request.path.matches("^/r[0-9]+$")"#, "GET /r12 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"matches(request.query, "^m=[a-f]+$")"#, "GET /?m=abc HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.path.contains("-mid-")"#, "GET /a-mid-b HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.path.endsWith(".end")"#, "GET /x.end HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.query.upperAscii() == "UP""#, "GET /?uP HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"request.query.lowerAscii() == "low""#, "GET /?LoW HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"["/e1", "/e2"].exists(p, request.path == p)"#, "GET /e2 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            r#"["b1", "b2"].all(p, request.path.contains(p))"#,
            "GET /b2b1 HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("size(request.path) == 26", "GET /1234567890123456789012345 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"inList(request.path, "paths")"#, "GET /listed HTTP/1.1\r\nHost: a\r\n\r\n"),
        (r#"lookup("m.map", request.path) == "yes""#, "GET /mapped HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    let mut rules = String::from("[lists.paths]\nvalues = [\"/listed\"]\n");
    for (number, (condition, _)) in cases.iter().enumerate() {
        rules += &format!(
            "[[frontends.web.rules]]\nwhen = '{condition}'\nrespond = {{ status = 200, body = \"{number}\" }}\n"
        );
    }
    // What is the same for every request of this test.
    rules += r#"
[[frontends.web.rules]]
when = 'request.path == "/always" && request.scheme == "http" && source.ip == "127.0.0.1" && inIpRange(source.ip, "127.0.0.0/8") && source.port > 0 && destination.ip == "127.0.0.1" && destination.port > 0 && backend.servers_up == 1 && now > 1700000000000 && request.id.size() == 32'
respond = { status = 200, body = "always" }
"#;
    let lines = "request_id = \"X-Request-Id\"";
    let tidegate = builder.start(&config(lines, &rules, &[("app", app.address())]));
    let mut client = client(&tidegate);
    for (number, (condition, request)) in cases.iter().enumerate() {
        client.send(request);
        assert_eq!(client.read_response().text(), number.to_string(), "{condition}");
    }
    assert_eq!(client.get("/always").text(), "always");
    assert_eq!(client.get("/").text(), "app");
}

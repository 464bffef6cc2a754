//! Answers that rules give without a server, and no answers.
//!
//! Owns what clients get and what becomes of their connections. Leaves where a request goes otherwise to `rules_routing`.

#[path = "support/rules.rs"]
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{answered, builder, client, config, dropped, origin, start};
use tidegate_testkit::{Metrics, Response};

#[test]
fn redirects_say_where_to() {
    let origin = origin("app");
    let rules = r#"
[[frontends.web.rules]]
when = 'request.path.startsWith("/secure")'
redirect = { scheme = "https", status = 301 }
[[frontends.web.rules]]
when = 'request.path.startsWith("/www")'
redirect = { host = "www.example.test", status = 308 }
[[frontends.web.rules]]
when = 'request.path.startsWith("/v1")'
redirect = { prefix = "/old", status = 307, keep_query = false }
[[frontends.web.rules]]
when = 'request.path.startsWith("/to")'
redirect = { location = "{request.args['to']}", status = 303, keep_query = false }
[[frontends.web.rules]]
when = 'request.path == "/fixed"'
redirect = { location = "/new?a=b", keep_query = true }
"#;
    let tidegate = start(&origin, "", rules);
    let mut client = client(&tidegate);
    for (target, status, location) in [
        ("/secure/x?q=1", 301, "https://example.test/secure/x?q=1"),
        ("/www?q", 308, "http://www.example.test/www?q"),
        ("/v1/a?q", 307, "/old/v1/a"),
        ("/to?to=/a%0d%0ab", 303, "/a%0D%0Ab"),
        ("/to?to=//evil.test", 303, "/.//evil.test"),
        ("/fixed?c=d", 301, "/new?a=b&c=d"),
    ] {
        let response = client.get(target);
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.headers.value("location"), Some(location), "{target}");
        assert_eq!(response.body, b"");
    }
    assert_eq!(answered(&tidegate.metrics(), "redirect"), 6);
    assert_eq!(origin.requests_count(), 0);
}

#[test]
fn answers_have_what_the_rule_says() {
    let origin = origin("app");
    let builder = builder();
    std::fs::write(builder.directory().join("page.html"), "<p>busy</p>").expect("a file");
    let rules = r#"
[[frontends.web.rules]]
when = 'request.path == "/file"'
respond = { status = 503, file = "page.html", headers = { "Retry-After" = "30" } }
[[frontends.web.rules]]
when = 'request.path == "/template"'
respond = { status = 200, content_type = "application/json", body = '{{"you":"{source.ip}"}}', headers = { "X-Path" = "{request.path}" } }
[[frontends.web.rules]]
when = 'request.path == "/nothing"'
respond = { status = 204 }
"#;
    let tidegate = builder.start(&config("", rules, &[("app", origin.address())]));
    let mut client = client(&tidegate);
    let response = client.get("/file");
    assert_eq!((response.status, response.text()), (503, "<p>busy</p>"));
    assert_eq!(response.headers.value("retry-after"), Some("30"));
    assert!(
        response.headers.value("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    );
    let response = client.get("/template");
    assert_eq!((response.status, response.text()), (200, "{\"you\":\"127.0.0.1\"}"));
    assert_eq!(response.headers.value("content-type"), Some("application/json"));
    assert_eq!(response.headers.value("x-path"), Some("/template"));
    let response = client.get("/nothing");
    assert_eq!((response.status, response.body.len()), (204, 0));
    client.send("HEAD /template HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.read_response_to("HEAD");
    assert_eq!(response.headers.value("content-length"), Some("19"));
    assert_eq!(client.get("/nothing").status, 204, "nothing followed the head");
    assert_eq!(answered(&tidegate.metrics(), "respond"), 5);
}

#[test]
fn refusals_show_the_page_of_their_status() {
    let origin = origin("app");
    let builder = builder();
    std::fs::write(builder.directory().join("403.html"), "<p>no</p>").expect("a file");
    std::fs::write(builder.directory().join("400.txt"), "bad").expect("a file");
    let rules = r#"
[[frontends.web.rules]]
when = 'request.path == "/no"'
deny = true
[[frontends.web.rules]]
when = 'request.path == "/gone"'
deny = { status = 410 }
"#;
    let lines = "error_pages = { 403 = \"403.html\", 400 = \"400.txt\" }";
    let tidegate = builder.start(&config(lines, rules, &[("app", origin.address())]));
    let mut client = client(&tidegate);
    let response = client.get("/no");
    assert_eq!((response.status, response.text()), (403, "<p>no</p>"));
    let response = client.get("/gone");
    assert_eq!((response.status, response.text()), (410, "410 Gone\n"));
    client.send("GET / HTTP/1.1\r\n\r\n");
    let response = client.read_response();
    assert_eq!(
        (response.status, response.text()),
        (400, "bad"),
        "a parser's refusal has a page too"
    );
    client.expect_eof();
    assert_eq!(answered(&tidegate.metrics(), "deny"), 2);
}

#[test]
fn a_backend_has_pages_of_its_own() {
    let builder = builder();
    std::fs::write(builder.directory().join("503.html"), "<p>frontend</p>").expect("a file");
    std::fs::write(builder.directory().join("503b.html"), "<p>backend</p>").expect("a file");
    let refused = tidegate_testkit::refused_address();
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/other\"'\nbackend = \"other\"\n\
        [backends.other]\nerror_pages = { 503 = \"503b.html\" }\nretries = 0\n";
    let refused = refused.address();
    let text = config("error_pages = { 503 = \"503.html\" }", rules, &[("app", refused)])
        + &format!("[backends.other.servers]\none = \"{refused}\"\n");
    let tidegate = builder.start(&text);
    assert_eq!(client(&tidegate).get("/").text(), "<p>frontend</p>");
    assert_eq!(client(&tidegate).get("/other").text(), "<p>backend</p>");
}

#[test]
fn a_tarpit_makes_wait_and_notices_who_leaves() {
    let origin = origin("app");
    let rules = r#"
[[frontends.web.rules]]
when = 'request.path == "/short"'
tarpit = { delay = "300ms" }
[[frontends.web.rules]]
when = 'request.path == "/long"'
tarpit = { delay = "60s", status = 403 }
"#;
    let tidegate = start(&origin, "", rules);
    let mut waiting = client(&tidegate);
    let began = Instant::now();
    assert_eq!(waiting.get("/short").status, 429);
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(waiting.get("/").text(), "app", "the connection goes on");
    let mut leaving = client(&tidegate);
    leaving.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n");
    tidegate.wait_metrics("the client waits", |metrics| answered(metrics, "tarpit") == 2);
    drop(leaving);
    tidegate.wait_metrics("it is noticed that it left", |metrics| {
        metrics.count("tidegate_frontend_requests_total", &[("status", "other")]) == 1
    });
}

#[test]
fn close_closes_without_a_word() {
    let origin = origin("app");
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/bye\"'\nclose = true\n";
    let tidegate = start(&origin, "", rules);
    let mut client = client(&tidegate);
    assert_eq!(client.get("/").text(), "app");
    client.send("GET /bye HTTP/1.1\r\nHost: a\r\n\r\n");
    client.expect_end();
    assert_eq!(answered(&tidegate.metrics(), "close"), 1);
}

#[test]
fn connections_go_on_where_the_next_request_begins_at_a_known_place() {
    let origin = origin("app");
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/no\"'\ndeny = true\n";
    let tidegate = start(&origin, "", rules);
    let is_persistent = |response: &Response| response.headers.value("connection") != Some("close");
    let mut client = client(&tidegate);
    // A small body is read, whether it is here already or not, and a pipelined request is behind it.
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.read_response();
    assert!(response.status == 403 && is_persistent(&response));
    assert_eq!(client.read_response().text(), "app");
    client.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
    assert_eq!(client.read_response().status, 403);
    client.send("lloGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().text(), "app");
    assert_eq!(origin.requests().last().expect("two came").target, "/2");
    for head in [
        "Content-Length: 1000000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
    ] {
        let mut client = support::client(&tidegate);
        client.send(format!("POST /no HTTP/1.1\r\nHost: a\r\n{head}\r\n"));
        let response = client.read_response();
        assert_eq!((response.status, is_persistent(&response)), (403, false), "{head}");
        client.expect_eof();
    }
    assert_eq!(origin.requests_count(), 2);
}

const AUTHENTICATE: &str = r#"
[[frontends.web.rules]]
when = 'request.path.startsWith("/private")'
authenticate = { realm = "ops", users = "ops" }
remove_headers = ["Authorization"]
[user_lists.ops]
users = { admin = "open sesame", hashed = "$6$rounds=1000$saltsalt$HASH" }
"#;

/// The hash of "secret" above: made by the tool that the documentation names.
fn with_hash() -> String {
    let made = std::process::Command::new("openssl")
        .args(["passwd", "-6", "-salt", "saltsalt", "secret"])
        .output()
        .expect("openssl is installed with the test tools");
    let hash = String::from_utf8(made.stdout).expect("ASCII");
    AUTHENTICATE.replace("$6$rounds=1000$saltsalt$HASH", hash.trim())
}

#[test]
fn passwords_let_pass_who_has_them() {
    let origin = origin("app");
    let tidegate = start(&origin, "", &with_hash());
    let mut client = client(&tidegate);
    let mut ask = |credentials: Option<&str>| {
        let line =
            credentials.map_or(String::new(), |text| format!("Authorization: Basic {text}\r\n"));
        client.send(format!("GET /private HTTP/1.1\r\nHost: a\r\n{line}\r\n"));
        let response = client.read_response();
        (response.status, response.headers.value("www-authenticate").map(str::to_owned))
    };
    let challenge = || Some("Basic realm=\"ops\", charset=\"UTF-8\"".to_owned());
    assert_eq!(ask(None), (401, challenge()));
    assert_eq!(ask(Some("!!!")), (401, challenge()));
    // admin:open sesame, admin:wrong, nobody:open sesame, hashed:secret
    let (right, wrong, unknown, hashed) = (
        "YWRtaW46b3BlbiBzZXNhbWU=",
        "YWRtaW46d3Jvbmc=",
        "bm9ib2R5Om9wZW4gc2VzYW1l",
        "aGFzaGVkOnNlY3JldA==",
    );
    for _ in 0..3 {
        assert_eq!(ask(Some(right)), (200, None));
        assert_eq!(ask(Some(wrong)), (401, challenge()));
        assert_eq!(ask(Some(unknown)), (401, challenge()));
        assert_eq!(ask(Some(hashed)), (200, None));
    }
    assert!(origin.requests().iter().all(|request| !request.headers.contains("authorization")));
    assert_eq!(origin.requests_count(), 6);
    assert_eq!(answered(&tidegate.metrics(), "unauthorized"), 8);
    assert_eq!(dropped(&tidegate.metrics(), "verifications_max"), 0);
}

#[test]
fn passwords_that_wait_delay_nobody_else_and_are_bounded() {
    let origin = origin("app");
    // A hash of 500,000 rounds takes about half a second.
    let slow = with_hash().replace("$6$saltsalt$", "$6$rounds=500000$saltsalt$");
    let tidegate = start(&origin, "", &slow);
    let mut guessing: Vec<_> = (0..80).map(|_| client(&tidegate)).collect();
    for client in &mut guessing {
        client.send(
            "GET /private HTTP/1.1\r\nHost: a\r\nAuthorization: Basic aGFzaGVkOndyb25n\r\n\r\n",
        );
    }
    tidegate.wait_metrics("the queue is full", |metrics| dropped(metrics, "verifications_max") > 0);
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(client(&tidegate).get("/public").text(), "app");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // 64 wait behind each other for half a second each: who is late in the queue waits 10 s and no longer.
    let metrics = tidegate.wait_metrics("one has waited for too long", |metrics| {
        dropped(metrics, "verification_timeout") > 0
    });
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let refused =
        dropped(&metrics, "verifications_max") + dropped(&metrics, "verification_timeout");
    let unavailable = [("reason", "deny")];
    assert_eq!(metrics.count("tidegate_frontend_requests_answered_total", &unavailable), refused);
    let mut statuses: Vec<u16> =
        guessing.iter_mut().map(|client| client.read_response().status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses, [401, 503]);
}

#[test]
fn who_finds_the_tarpit_full_is_answered_at_once() {
    /// The limit of a shard.
    const TARPITS_MAX: usize = 4096;
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let origin = origin("app");
    let rules = "[[frontends.web.rules]]\ntarpit = { delay = \"10m\" }\n";
    let tidegate = start(&origin, "", rules);
    let mut held: Vec<TcpStream> = (0..TARPITS_MAX)
        .map(|_| {
            let mut socket = TcpStream::connect(tidegate.address("web")).expect("it listens");
            socket.write_all(GET).expect("a fresh connection");
            socket
        })
        .collect();
    let held_count = |metrics: &Metrics| answered(metrics, "tarpit");
    let metrics = tidegate.wait_metrics("all wait", |metrics| held_count(metrics) == 4096);
    assert_eq!(dropped(&metrics, "tarpits_max"), 0);
    let mut over = client(&tidegate);
    assert_eq!(over.get("/").status, 429);
    assert_eq!(dropped(&tidegate.metrics(), "tarpits_max"), 1);
    // Who leaves makes room.
    drop(held.pop());
    let left = [("status", "other")];
    tidegate.wait_metrics("one has left", |metrics| {
        metrics.count("tidegate_frontend_requests_total", &left) == 1
    });
    over.send(GET);
    tidegate.wait_metrics("another one waits", |metrics| held_count(metrics) == 4098);
    over.expect_silence(Duration::from_millis(200));
    assert_eq!(dropped(&tidegate.metrics(), "tarpits_max"), 1);
}

//! Edits of requests on their way to a server, and the fields that the proxy adds by itself.
//!
//! Owns what servers see. Leaves which server it is to `rules_routing`. Invariant: whatever rules make of what clients send,
//! servers get one valid request.

#[path = "support/rules.rs"]
mod support;

use std::net::IpAddr;

use support::{builder, client, config, dropped, origin, start};
use tidegate_testkit::{Client, Origin, Request, Tidegate};

/// Sends a request and gives it as the server got it.
#[track_caller]
fn seen(tidegate: &Tidegate, origin: &Origin, request: &str) -> Request {
    let before = origin.requests_count();
    let mut client = client(tidegate);
    client.send(request);
    assert_eq!(client.read_response().status, 200, "{request}");
    origin.wait_requests(before + 1)
}

#[test]
fn each_edit_changes_what_it_names() {
    let origin = origin("app");
    let rules = r#"
[[frontends.web.rules]]
set_headers = { "X-Set" = "{request.method} {request.headers['x-in']}" }
add_headers = { "X-Added" = "2" }
remove_headers = ["X-Removed"]
[[frontends.web.rules]]
when = 'request.path == "/method"'
set_method = "PUT"
[[frontends.web.rules]]
when = 'request.path == "/path"'
set_path = "/new/{request.args['a']}"
[[frontends.web.rules]]
when = 'request.path.startsWith("/rewrite/")'
rewrite_path = { pattern = "^/rewrite/([^/]+)/(.*)$", replacement = "/${2}/$1" }
[[frontends.web.rules]]
when = 'request.path == "/query"'
set_query = "b={request.args['a']}"
[[frontends.web.rules]]
when = 'request.path == "/noquery"'
set_query = ""
[[frontends.web.rules]]
when = 'request.path == "/host"'
set_host = "internal.test:8080"
[[frontends.web.rules]]
set_variable = { kind = "plain" }
[[frontends.web.rules]]
when = 'request.headers["x-in"] == "special"'
set_variable = { kind = "special" }
[[frontends.web.rules]]
when = 'vars.kind == "special"'
set_headers = { "X-Kind" = "{vars.kind}" }
set_priority = 5
"#;
    let tidegate = start(&origin, "", rules);
    let get = |target: &str, lines: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        seen(&tidegate, &origin, &request)
    };
    let request = get(
        "/",
        "X-In: 1\r\nX-Set: old\r\nx-set: older\r\nX-Added: 1\r\nX-Removed: a\r\nx-removed: b\r\n",
    );
    assert_eq!(request.headers.all("x-set").collect::<Vec<_>>(), ["GET 1"]);
    assert_eq!(request.headers.all("x-added").collect::<Vec<_>>(), ["1", "2"]);
    assert!(!request.headers.contains("x-removed") && !request.headers.contains("x-kind"));
    assert_eq!(get("/method", "").method, "PUT");
    assert_eq!(get("/path?a=x%20y", "").target, "/new/x%20y?a=x%20y");
    assert_eq!(get("/rewrite/a/b/c?q", "").target, "/b/c/a?q");
    assert_eq!(get("/query?a=1&c=2", "").target, "/query?b=1");
    assert_eq!(get("/noquery?a=1", "").target, "/noquery");
    let request = get("/host", "");
    assert_eq!(request.headers.all("host").collect::<Vec<_>>(), ["internal.test:8080"]);
    assert_eq!(get("/", "X-In: special\r\n").headers.value("x-kind"), Some("special"));
    assert_eq!(get("/a/../b//c?q=%20", "").target, "/a/../b//c?q=%20", "nothing asked for another");
}

#[test]
fn what_clients_send_cannot_break_out_of_an_edit() {
    let origin = origin("app");
    let rules = r#"
[[frontends.web.rules]]
when = 'request.path == "/path"'
set_path = "{request.args['a']}"
[[frontends.web.rules]]
when = 'request.path == "/query"'
set_query = "{request.args['a']}"
[[frontends.web.rules]]
when = 'request.path == "/host"'
set_host = "{request.args['a']}"
[[frontends.web.rules]]
when = 'request.path == "/header"'
set_headers = { "X-Made" = "{request.args['a']}" }
[[frontends.web.rules]]
when = 'request.path == "/long"'
set_headers = { "X-Made" = "{request.headers['x-a']}{request.headers['x-a']}{request.headers['x-a']}{request.headers['x-a']}{request.headers['x-a']}{request.headers['x-a']}" }
"#;
    let tidegate = start(&origin, "", rules);
    let hostile = [
        "%0d%0aX-Smuggled:%201",
        "%20HTTP/1.1%0d%0aHost:%20evil%0d%0a%0d%0aGET%20/",
        "%00",
        "a%20b",
        "%23fragment",
        "http://evil/",
        "//evil",
        "%5c%5cevil",
        "%3f%3f",
        "%c3%a9",
        "%7f",
        "",
        "%25",
        "%25zz",
        "[::1",
        "a:b:c",
        "user@evil",
        "a,b",
    ];
    for value in hostile {
        for place in ["path", "query", "host", "header"] {
            // The origin fails the test when a request is malformed.
            let request = format!("GET /{place}?a={value} HTTP/1.1\r\nHost: a.test\r\n\r\n");
            let request = seen(&tidegate, &origin, &request);
            assert!(!request.headers.contains("x-smuggled"), "{place} {value}");
            assert_eq!(request.headers.all("host").count(), 1, "{place} {value}");
            assert!(request.target.starts_with('/'), "{place} {value}: {}", request.target);
            if place != "host" {
                assert_eq!(request.headers.value("host"), Some("a.test"), "{place} {value}");
            }
        }
    }
    let metrics = tidegate.metrics();
    assert!(dropped(&metrics, "edit") > 0, "edits that could not be made are counted");
    let long = "x".repeat(12_000);
    let request = format!("GET /long HTTP/1.1\r\nHost: a.test\r\nX-A: {long}\r\n\r\n");
    let request = seen(&tidegate, &origin, &request);
    assert!(!request.headers.contains("x-made"), "six times 12,000 bytes are too many");
}

#[test]
fn a_method_is_not_replaced_where_the_response_would_be_another() {
    let origin = origin("app");
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/head\"'\nset_method = \"HEAD\"\n\
        [[frontends.web.rules]]\nset_method = \"GET\"\n";
    let tidegate = start(&origin, "", rules);
    let mut client = client(&tidegate);
    assert_eq!(client.get("/head").text(), "app");
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response_to("HEAD").status, 200);
    assert_eq!(client.get("/").text(), "app", "the connection goes on");
    let methods: Vec<String> = origin.requests().into_iter().map(|one| one.method).collect();
    // The first rule drops; the second one says what is there already.
    assert_eq!(methods, ["GET", "HEAD", "GET"]);
    assert_eq!(dropped(&tidegate.metrics(), "method"), 1);
}

/// The lines of the fields that tell where a request came from.
fn forwarded(request: &Request, name: &str) -> Vec<String> {
    request.headers.all(name).map(str::to_owned).collect()
}

#[test]
fn the_sender_is_told_and_believed_by_where_it_is() {
    let origin = origin("app");
    let lines = r#"forwarded_for = { headers = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"], trust = ["127.0.0.2/32"], trusted = "append", untrusted = "replace" }"#;
    let tidegate = start(&origin, lines, "");
    let port = tidegate.address("web").port().to_string();
    const SENT: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h.test\r\n\
        X-Forwarded-Port: 443\r\nForwarded: for=192.0.2.7;proto=https\r\n";
    let from = |source: [u8; 4], sent: &str| {
        let mut client = Client::connect_from(IpAddr::from(source), tidegate.address("web"));
        let before = origin.requests_count();
        client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{sent}\r\n"));
        assert_eq!(client.read_response().status, 200);
        origin.wait_requests(before + 1)
    };
    let trusted = from([127, 0, 0, 2], SENT);
    assert_eq!(forwarded(&trusted, "x-forwarded-for"), ["192.0.2.7", "127.0.0.2"]);
    assert_eq!(forwarded(&trusted, "x-forwarded-proto"), ["https"]);
    assert_eq!(forwarded(&trusted, "x-forwarded-host"), ["h.test"]);
    assert_eq!(forwarded(&trusted, "x-forwarded-port"), ["443"]);
    assert_eq!(
        forwarded(&trusted, "forwarded"),
        ["for=192.0.2.7;proto=https, for=127.0.0.2;host=a.test;proto=http"]
    );
    for sent in [SENT, ""] {
        let other = from([127, 0, 0, 3], sent);
        assert_eq!(forwarded(&other, "x-forwarded-for"), ["127.0.0.3"]);
        assert_eq!(forwarded(&other, "x-forwarded-proto"), ["http"]);
        assert_eq!(forwarded(&other, "x-forwarded-host"), ["a.test"]);
        assert_eq!(forwarded(&other, "x-forwarded-port"), [port.as_str()]);
        assert_eq!(forwarded(&other, "forwarded"), ["for=127.0.0.3;host=a.test;proto=http"]);
    }
}

#[test]
fn ids_traces_and_via_are_kept_or_made() {
    let origin = origin("app");
    let lines = "request_id = \"X-Request-Id\"\nvia = \"tide\"\ntraceparent = { sampled = true }";
    let rules = "[[frontends.web.rules]]\nset_headers = { \"X-Seen\" = \"{request.id}\" }\n";
    let tidegate = start(&origin, lines, rules);
    let get = |lines: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        seen(&tidegate, &origin, &request)
    };
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let kept = get(&format!(
        "X-Request-Id: abc-1\r\ntraceparent: {TRACE}\r\ntracestate: a=b\r\nVia: 1.0 other\r\n"
    ));
    assert_eq!(forwarded(&kept, "x-request-id"), ["abc-1"]);
    assert_eq!(kept.headers.value("x-seen"), Some("abc-1"));
    assert_eq!(forwarded(&kept, "via"), ["1.0 other", "1.1 tide"]);
    let [trace] = &forwarded(&kept, "traceparent")[..] else { panic!("one") };
    assert!(trace.starts_with(&TRACE[..36]) && trace.ends_with("-01"), "{trace}");
    assert_ne!(trace[36..52], TRACE[36..52], "the parent is this proxy");
    assert_eq!(kept.headers.value("tracestate"), Some("a=b"));

    let made = get("X-Request-Id: not sane\r\ntraceparent: nonsense\r\ntracestate: a=b\r\n");
    let [id] = &forwarded(&made, "x-request-id")[..] else { panic!("one") };
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(made.headers.value("x-seen"), Some(id.as_str()));
    let [trace] = &forwarded(&made, "traceparent")[..] else { panic!("one") };
    assert!(trace.len() == 55 && trace.ends_with("-03"), "{trace}");
    assert!(!made.headers.contains("tracestate"));
    assert_ne!(get("").headers.value("x-request-id"), Some(id.as_str()));
    let response = client(&tidegate).get("/");
    assert_eq!(response.headers.value("via"), Some("1.1 tide"));
}

#[test]
fn framing_and_connection_fields_cannot_be_named_in_rules() {
    let origin = origin("app");
    for name in ["Content-Length", "Transfer-Encoding", "Connection", "Host", "Upgrade"] {
        let rules = format!("[[frontends.web.rules]]\nset_headers = {{ \"{name}\" = \"1\" }}\n");
        let text = config("", &rules, &[("app", origin.address())]);
        let exit = support::builder().run_to_exit(&text);
        assert!(!exit.status.success(), "{name}");
    }
}

#[test]
fn a_request_that_names_this_proxy_in_via_is_refused_as_a_loop() {
    let origin = origin("app");
    // Rules see nothing of it, so that none can take the entry away.
    let rules = "[[frontends.web.rules]]\nremove_headers = [\"Via\"]\n";
    let tidegate = start(&origin, "via = \"tide\"", rules);
    let refused =
        ["1.1 tide", "HTTP/1.1 TIDE (me)", "1.0 a, 1.1 tide, 1.1 b", "1.1 a\r\nVia: 1.1 tide"];
    for via in refused {
        let mut client = client(&tidegate);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {via}\r\n\r\n"));
        let response = client.read_response();
        assert_eq!((response.status, response.text()), (508, "508 Loop Detected\n"), "{via}");
        client.expect_eof();
    }
    let line = tidegate.wait_log(|line| line.is_event("request_failed"));
    let [reason, status, flags] = ["reason", "status", "flags"].map(|name| line.field(name));
    assert_eq!(reason.as_deref(), Some("loop_detected"));
    assert_eq!((status.as_deref(), flags.as_deref()), (Some("508"), Some("PR")));
    let failed = |reason| {
        let labels = [("frontend", "web"), ("reason", reason)];
        tidegate.metrics().count("tidegate_frontend_requests_failed_total", &labels)
    };
    assert_eq!(failed("loop_detected"), refused.len() as u64);
    assert_eq!(origin.requests_count(), 0);
    for via in ["1.1 tide2", "1.1 tide:80", "1.1 a (1.1 tide)", "tide"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nVia: {via}\r\n\r\n");
        seen(&tidegate, &origin, &request);
    }
    // Who has no name cannot be named.
    let plain = start(&origin, "", "");
    seen(&plain, &origin, "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 tide\r\n\r\n");
}

#[test]
fn a_proxy_that_is_its_own_server_answers_at_once() {
    let origin = origin("app");
    let text = |server| config("via = \"tide\"", "", &[("app", server)]);
    let tidegate = builder().start(&text(origin.address()));
    let itself = tidegate.address("web");
    assert!(tidegate.reload(&text(itself)).is_event("reloaded"));
    let response = client(&tidegate).get("/");
    assert_eq!(response.status, 508);
    assert_eq!(response.headers.value("via"), Some("1.1 tide"));
    let requests = tidegate.metrics().count("tidegate_frontend_requests_total", &[]);
    assert_eq!(requests, 2, "one from the client, one from here");
}

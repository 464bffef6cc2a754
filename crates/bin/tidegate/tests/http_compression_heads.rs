//! Owns which responses are compressed for which client, and what their heads say.
//!
//! Leaves bodies to `http_compression`. Invariant: each test's connection goes on after what it looked at.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/rules.rs"]
mod support;

use support::{builder, client, config, start};
use tidegate_testkit::tools::curl_ok;
use tidegate_testkit::{Client, Framing, Origin, Response, json, script};

const BODY_BYTES: usize = 20_000;

fn body() -> Vec<u8> {
    json(7, BODY_BYTES)
}

/// A response of the media type, with these lines.
fn typed(status: u16, lines: &[(&str, &str)]) -> Vec<u8> {
    let headers = [&[("Content-Type", "application/json")][..], lines].concat();
    script::response(status, "X", &headers, body())
}

/// An origin with a response for each target.
fn origin() -> Origin {
    Origin::start(script::answer_with(|_, request| {
        let etag = ("ETag", "\"a\"");
        let response = match &*request.target {
            "/ranges" => typed(200, &[etag, ("Accept-Ranges", "bytes"), ("Vary", "Origin")]),
            "/weak" => typed(200, &[("ETag", "W/\"a\""), ("Vary", "accept-encoding")]),
            "/identity" => typed(200, &[("Content-Encoding", "identity")]),
            "/error" => typed(500, &[]),
            "/encoded" => typed(200, &[("Content-Encoding", "gzip")]),
            "/no-transform" => typed(200, &[("Cache-Control", "public, no-transform")]),
            "/digest" => typed(200, &[("Repr-Digest", "sha-256=:x:"), etag]),
            "/part" => typed(206, &[("Content-Range", "bytes 0-19999/50000"), etag]),
            "/not-modified" => {
                return b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".to_vec();
            }
            "/no-content" => return b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            "/image" => script::response(200, "OK", &[("Content-Type", "image/png")], body()),
            "/untyped" => script::ok(body()),
            "/small" => script::response(200, "OK", &[("Content-Type", "text/css")], "a{}"),
            _ => typed(200, &[etag]),
        };
        if request.method == "HEAD" {
            let end = response.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
            return response[..end + 4].to_vec();
        }
        response
    }))
}

#[track_caller]
fn ask(client: &mut Client, method: &str, target: &str, lines: &str) -> Response {
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    client.read_response_to(method)
}

/// The last `Content-Encoding`, `Vary`, `ETag` and `Accept-Ranges`.
fn says(response: &Response) -> [Option<&str>; 4] {
    ["content-encoding", "vary", "etag", "accept-ranges"]
        .map(|name| response.headers.all(name).last())
}

const VARY: Option<&str> = Some("Accept-Encoding");

#[test]
fn a_compressed_response_says_so() {
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", "");
    let mut client = client(&tidegate);
    let weak = Some("W/\"a\"");
    for (target, lines, expected) in [
        ("/", "Accept-Encoding: gzip\r\n", [Some("gzip"), VARY, weak, None]),
        ("/", "Accept-Encoding: br\r\n", [Some("br"), VARY, weak, None]),
        ("/", "accept-encoding: gzip, deflate, br, zstd\r\n", [Some("zstd"), VARY, weak, None]),
        ("/", "Accept-Encoding: *\r\n", [Some("zstd"), VARY, weak, None]),
        ("/", "Accept-Encoding: zstd;q=0, *;q=0.5\r\n", [Some("br"), VARY, weak, None]),
        (
            "/",
            "Accept-Encoding: gzip\r\nAccept-Encoding: br;q=0.1\r\n",
            [Some("gzip"), VARY, weak, None],
        ),
        ("/weak", "Accept-Encoding: gzip\r\n", [Some("gzip"), Some("accept-encoding"), weak, None]),
        ("/identity", "Accept-Encoding: gzip\r\n", [Some("gzip"), VARY, None, None]),
        ("/error", "Accept-Encoding: gzip\r\n", [Some("gzip"), VARY, None, None]),
    ] {
        let response = ask(&mut client, "GET", target, lines);
        assert_eq!(says(&response), expected, "{target} {lines}");
        assert_eq!(response.framing, Framing::Chunked, "{target} {lines}");
        assert!(response.body.len() < BODY_BYTES / 2, "{target} {lines}");
        assert_eq!(response.headers.value("content-type"), Some("application/json"));
        assert_eq!(response.headers.all("content-encoding").count(), 1);
    }
    let response = ask(&mut client, "GET", "/ranges", "Accept-Encoding: gzip\r\n");
    assert_eq!(says(&response)[0], Some("gzip"));
    assert_eq!(response.headers.all("vary").collect::<Vec<_>>(), ["Origin", "Accept-Encoding"]);
    assert_eq!(says(&response)[2..], [weak, None]);
    assert_eq!(origin.connections_count(), 1);
}

#[test]
fn who_does_not_accept_it_gets_the_response_and_its_vary() {
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", "");
    let mut client = client(&tidegate);
    for lines in [
        "",
        "Accept-Encoding: identity\r\n",
        "Accept-Encoding:\r\n",
        "Accept-Encoding: deflate\r\n",
        "Accept-Encoding: gzip;q=0\r\n",
        "Accept-Encoding: gzip;q=0, br;q=0, zstd;q=0, *;q=0\r\n",
    ] {
        let response = ask(&mut client, "GET", "/", lines);
        assert_eq!(says(&response), [None, VARY, Some("\"a\""), None], "{lines}");
        assert_eq!(response.framing, Framing::Length(BODY_BYTES as u64));
        assert!(response.body == body(), "{lines}");
    }
    let response = ask(&mut client, "GET", "/ranges", "");
    assert_eq!(says(&response)[2..], [Some("\"a\""), Some("bytes")]);
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_responses_compressed_total", &[]), 0);
}

#[test]
fn what_must_not_be_compressed_is_sent_as_it_is() {
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", "");
    let mut client = client(&tidegate);
    let strong = Some("\"a\"");
    for (target, expected) in [
        ("/encoded", [Some("gzip"), None, None, None]),
        ("/no-transform", [None; 4]),
        ("/digest", [None, None, strong, None]),
        ("/part", [None, VARY, strong, None]),
        ("/image", [None; 4]),
        ("/untyped", [None; 4]),
        ("/small", [None; 4]),
        ("/no-content", [None; 4]),
        ("/not-modified", [None, VARY, strong, None]),
    ] {
        let response = ask(&mut client, "GET", target, "Accept-Encoding: gzip, br, zstd\r\n");
        assert_eq!(says(&response), expected, "{target}");
        let is_whole = response.body == body() || response.body == b"a{}";
        assert!(is_whole || response.framing == Framing::None, "{target}");
    }
    assert_eq!(origin.connections_count(), 1);
}

#[test]
fn validation_finds_the_response_that_the_client_holds() {
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", "");
    let mut client = client(&tidegate);
    let gzip = "Accept-Encoding: gzip\r\n";
    let held = ask(&mut client, "GET", "/", gzip);
    let tag = held.headers.value("etag").expect("a tag").to_owned();
    let lines = format!("{gzip}If-None-Match: {tag}\r\n");
    let response = ask(&mut client, "GET", "/not-modified", &lines);
    assert_eq!((response.status, response.headers.value("etag")), (304, Some(&*tag)));
    assert_eq!(response.headers.value("vary"), VARY);
    let sent = origin.requests().pop().expect("there was one");
    assert_eq!(sent.headers.value("if-none-match"), Some(&*tag));
    let response = ask(&mut client, "GET", "/not-modified", "If-None-Match: \"a\"\r\n");
    assert_eq!(says(&response), [None, VARY, Some("\"a\""), None]);
}

#[test]
fn the_head_alone_is_that_of_the_compressed_response() {
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", "");
    let mut client = client(&tidegate);
    for target in ["/", "/ranges", "/encoded", "/part", "/small", "/image"] {
        for lines in ["", "Accept-Encoding: br\r\n"] {
            let head = ask(&mut client, "HEAD", target, lines);
            let whole = ask(&mut client, "GET", target, lines);
            assert_eq!(says(&head), says(&whole), "{target} {lines}");
            let length = whole.headers.value("content-length");
            assert_eq!(head.headers.value("content-length"), length, "{target} {lines}");
            assert!(!head.headers.contains("connection"), "{target} {lines}");
        }
    }
    assert_eq!(origin.connections_count(), 1);
}

#[test]
fn the_server_sees_what_the_client_accepts() {
    let origin = origin();
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/offload\"'\n\
        remove_headers = [\"Accept-Encoding\"]\n";
    let tidegate = start(&origin, "compression = {}", rules);
    let mut client = client(&tidegate);
    let lines = "Accept-Encoding: gzip;q=0.7, x\r\n";
    for (target, expected) in [("/", Some("gzip;q=0.7, x")), ("/offload", None)] {
        let response = ask(&mut client, "GET", target, lines);
        assert_eq!(response.headers.value("content-encoding"), Some("gzip"), "{target}");
        let sent = origin.requests().pop().expect("there was one");
        assert_eq!(sent.headers.value("accept-encoding"), expected, "{target}");
    }
}

#[test]
fn rules_of_responses_come_before() {
    let origin = origin();
    let rules = r#"
[[frontends.web.response_rules]]
when = 'request.path == "/as-it-is"'
set_headers = { "Cache-Control" = "no-transform" }
[[frontends.web.response_rules]]
when = 'request.path == "/tagged"'
set_headers = { ETag = '"new"', Vary = "Cookie" }
[[frontends.web.response_rules]]
when = 'request.path == "/image"'
set_headers = { Content-Type = "text/plain" }
[[frontends.web.response_rules]]
when = 'request.path == "/encoded"'
remove_headers = ["Content-Encoding"]
[[frontends.web.response_rules]]
when = 'request.path == "/error"'
set_status = 503
"#;
    let tidegate = start(&origin, "compression = {}\nvia = \"tidegate\"", rules);
    let mut client = client(&tidegate);
    let mut get = |target: &str| ask(&mut client, "GET", target, "Accept-Encoding: gzip\r\n");
    let response = get("/as-it-is");
    assert_eq!(says(&response), [None, None, Some("\"a\""), None]);
    assert_eq!(response.headers.value("via"), Some("1.1 tidegate"));
    let response = get("/tagged");
    assert_eq!(response.headers.all("etag").collect::<Vec<_>>(), ["W/\"new\""]);
    assert_eq!(response.headers.all("vary").collect::<Vec<_>>(), ["Cookie", "Accept-Encoding"]);
    assert_eq!(response.headers.value("via"), Some("1.1 tidegate"));
    assert_eq!(says(&get("/image"))[0], Some("gzip"));
    assert_eq!(says(&get("/encoded"))[0], Some("gzip"));
    let response = get("/error");
    assert_eq!((response.status, says(&response)[0]), (503, Some("gzip")));
}

#[test]
fn the_settings_of_a_backend_go_before_those_of_the_frontend() {
    let [app, api, raw] = [origin(), origin(), origin()];
    let rules = "[[frontends.web.rules]]\nwhen = 'request.path == \"/api\"'\nbackend = \"api\"\n\
        [[frontends.web.rules]]\nwhen = 'request.path == \"/image\"'\nbackend = \"images\"\n\
        [backends.api.compression]\ncodings = [\"gzip\"]\n\
        [backends.images.compression]\ntypes = [\"image/*\"]\n";
    let backends = [("app", app.address()), ("api", api.address()), ("images", raw.address())];
    let with_frontend = config("compression = { codings = [\"br\"] }", rules, &backends);
    let tidegate = builder().start(&with_frontend);
    let mut client = client(&tidegate);
    let coding = |client: &mut Client, target: &str| {
        let response = ask(client, "GET", target, "Accept-Encoding: gzip, br\r\n");
        response.headers.value("content-encoding").map(str::to_owned)
    };
    assert_eq!(coding(&mut client, "/").as_deref(), Some("br"));
    assert_eq!(coding(&mut client, "/api").as_deref(), Some("gzip"));
    assert_eq!(coding(&mut client, "/image").as_deref(), Some("br"));
    let metrics = tidegate.metrics();
    let of = |backend| {
        metrics.count("tidegate_backend_responses_compressed_total", &[("backend", backend)])
    };
    assert_eq!([of("app"), of("api"), of("images")], [1, 1, 1]);
    // What a reload changes holds for the next request.
    assert!(tidegate.reload(&config("", rules, &backends)).is_event("reloaded"));
    assert_eq!(coding(&mut client, "/"), None);
    assert_eq!(coding(&mut client, "/api").as_deref(), Some("gzip"));
}

#[test]
fn without_settings_nothing_is_touched() {
    let origin = origin();
    let tidegate = start(&origin, "", "");
    let mut client = client(&tidegate);
    let response = ask(&mut client, "GET", "/ranges", "Accept-Encoding: gzip\r\n");
    assert_eq!(says(&response), [None, Some("Origin"), Some("\"a\""), Some("bytes")]);
}

#[test]
fn answers_of_the_program_itself_are_sent_as_they_are() {
    let text = "x".repeat(5_000);
    let rules = format!(
        "[[frontends.web.rules]]\nwhen = 'request.path == \"/own\"'\n\
         respond = {{ status = 200, content_type = \"text/plain\", body = \"{text}\" }}\n"
    );
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", &rules);
    let mut client = client(&tidegate);
    let response = ask(&mut client, "GET", "/own", "Accept-Encoding: gzip\r\n");
    assert_eq!(response.text(), text);
    assert_eq!(says(&response), [None; 4]);
}

#[test]
fn the_access_log_counts_the_bytes_that_were_sent() {
    let origin = origin();
    let more = "frontends.web.compression = {}\n";
    let logged = access_log::Logged::start(1, [origin.address()], more);
    let mut client = client(&logged.tidegate);
    let response = ask(&mut client, "GET", "/", "Accept-Encoding: gzip\r\n");
    assert_eq!(response.headers.value("content-encoding"), Some("gzip"));
    let line = logged.last(1);
    assert_eq!(line.bytes, client.received().len() as u64);
    assert_eq!((line.status, line.letters()), (200, "--"));
    assert!(line.bytes < BODY_BYTES as u64 / 2);
}

#[test]
fn curl_gets_what_it_asks_for() {
    let origin = origin();
    let tidegate = start(&origin, "compression = {}", "");
    let url = format!("http://{}/", tidegate.address("web"));
    let plain = String::from_utf8(body()).expect("text");
    assert_eq!(curl_ok(&["--compressed", &url]), plain);
    assert_eq!(curl_ok(&[&url]), plain);
    let head = curl_ok(&["--head", "--header", "Accept-Encoding: gzip", &url]);
    assert!(head.to_ascii_lowercase().contains("content-encoding: gzip"), "{head}");
}

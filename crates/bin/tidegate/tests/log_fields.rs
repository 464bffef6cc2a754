//! Owns the fields of the access log by their names, in a template that has all of them.
//!
//! Leaves the formats to `log_requests` and the endings to `log_endings`. Invariant: each field is compared with what was sent,
//! or at least with the form that it must have.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/http.rs"]
mod support;

use access_log::Logged;
use support::client;
use tidegate_testkit::{Origin, refused_address, script};

/// A whole number.
const NUMBER: &str = "0";
/// A time as in RFC 3339, with microseconds.
const TIME: &str = "2026-04-01T12:00:00.123456Z";
/// A time as in HAProxy's log.
const DATE: &str = "01/Apr/2026:12:00:00.123";

/// The fields, and what they are for the request of this test: these words, or others of that form.
const FIELDS: &[(&str, &str)] = &[
    ("protocol", "http"),
    ("accepted_at", TIME),
    ("accept_date", DATE),
    ("accepted_at_us", NUMBER),
    ("started_at", TIME),
    ("start_date", DATE),
    ("started_at_us", NUMBER),
    ("client_ip", "127.0.0.1"),
    ("client_port", NUMBER),
    ("frontend_ip", "127.0.0.1"),
    ("frontend_port", NUMBER),
    ("frontend", "web"),
    ("tls_mark", ""),
    ("backend", "app"),
    ("server", "s2"),
    ("tls", "false"),
    ("tls_version", "-"),
    ("tls_cipher", "-"),
    ("alpn", "-"),
    ("sni", "-"),
    ("request", "GET /a?b=c HTTP/1.1"),
    ("method", "GET"),
    ("target", "/a?b=c"),
    ("path", "/a"),
    ("query", "b=c"),
    ("version", "HTTP/1.1"),
    ("invalid_request", "-"),
    ("status", "200"),
    ("request_head_ms", NUMBER),
    ("queue_ms", NUMBER),
    ("connect_ms", NUMBER),
    ("response_head_ms", NUMBER),
    ("total_ms", NUMBER),
    ("request_head_us", NUMBER),
    ("queue_us", NUMBER),
    ("connect_us", NUMBER),
    ("response_head_us", NUMBER),
    ("total_us", NUMBER),
    ("bytes_received", NUMBER),
    ("bytes_sent", NUMBER),
    ("retries", "1"),
    ("redispatched", "true"),
    ("redispatch_mark", "+"),
    ("process_connections", "1"),
    ("frontend_connections", "1"),
    ("backend_connections", "1"),
    ("server_connections", "1"),
    ("server_queue", "0"),
    ("backend_queue", "0"),
    ("request_headers", "{a}"),
    ("response_headers", "{up}"),
    ("request_cookie", "-"),
    ("response_cookie", "-"),
    ("rule", "chosen"),
    ("request_id", "id1"),
    ("termination", "----"),
    ("reason", "complete"),
    ("stage", "end"),
    ("detail", "-"),
    ("fields", "tenant=blue"),
    ("request_header.Host", "a"),
    ("response_header.X-Up", "up"),
    ("field.tenant", "blue"),
];

/// Stands between fields.
const DIVIDER: &str = " ~ ";

/// The values of all fields.
fn values(line: &str) -> Vec<&str> {
    let values: Vec<&str> = line.split(DIVIDER).collect();
    assert_eq!(values.len(), FIELDS.len(), "{line}");
    values
}

/// With every digit as 0 and every letter as a, so that texts of one form are the same.
fn form(text: &str) -> String {
    let kind = |letter: char| match letter {
        '0'..='9' => '0',
        'a'..='z' | 'A'..='Z' => 'a',
        other => other,
    };
    text.chars().map(kind).collect()
}

#[test]
fn each_field_says_what_its_name_says() {
    let (refused, origin) = (
        refused_address(),
        Origin::start(script::answer(script::response(200, "OK", &[("X-Up", "up")], "hello"))),
    );
    let template: Vec<String> = FIELDS.iter().map(|(name, _)| format!("{{{name}}}")).collect();
    let more = format!(
        "defaults.retries = 1\ndefaults.log_headers = {{ request = [\"Host\"], response = [\"X-Up\"] }}\n\
         frontends.web.log_format = '{}'\nfrontends.web.request_id = \"X-Request-Id\"\n\
         [[frontends.web.rules]]\nname = \"chosen\"\nlog_field = {{ tenant = \"blue\" }}\nbackend = \"app\"\n",
        template.join(DIVIDER)
    );
    let logged = Logged::start(1, [refused.address(), origin.address()], &more);
    let mut agent = client(&logged.tidegate);
    let request = "GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-Request-Id: id1\r\n\r\n";
    agent.send(request).read_response();
    let sent = agent.received().len();
    let lines = logged.raw_lines(1);
    let found = values(&lines[0]);
    for ((name, expected), value) in FIELDS.iter().zip(&found) {
        match *expected {
            NUMBER if *name != "server_queue" && *name != "backend_queue" => {
                assert!(value.parse::<u64>().is_ok(), "{name}: {value}");
            }
            TIME | DATE => assert_eq!(form(value), form(expected), "{name}: {value}"),
            _ => assert_eq!(value, expected, "{name}"),
        }
    }
    let of = |name: &str| {
        let place = FIELDS.iter().position(|(known, _)| *known == name).expect("it is there");
        found[place].parse::<u64>().expect("a number")
    };
    assert_eq!(of("client_port"), u64::from(agent.local_address().port()));
    assert_eq!(of("frontend_port"), u64::from(logged.tidegate.address("web").port()));
    assert_eq!((of("bytes_received"), of("bytes_sent")), (request.len() as u64, sent as u64));
    assert!(of("accepted_at_us") <= of("started_at_us"));
    for (ms, us) in [("queue_ms", "queue_us"), ("total_ms", "total_us")] {
        assert_eq!(of(ms), of(us) / 1000, "{ms}");
    }

    let mut agent = client(&logged.tidegate);
    agent.send("GET /x HTTP/1.1\r\n\r\n").read_response();
    let lines = logged.raw_lines(2);
    for (name, expected) in [
        ("request", "<BADREQ>"),
        ("invalid_request", "GET /x HTTP/1.1"),
        ("method", "-"),
        ("detail", "host_missing"),
        ("status", "400"),
        ("rule", "-"),
        ("request_header.Host", "-"),
    ] {
        let place = FIELDS.iter().position(|(known, _)| *known == name).expect("it is there");
        assert_eq!(values(&lines[1])[place], expected, "{name}");
    }
}

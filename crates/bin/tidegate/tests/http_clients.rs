//! Owns the proof with software that others wrote: curl, wrk, h2load and Python as clients, nginx
//! as the server.
//!
//! Leaves exact bytes to the other tests. Invariant: not one request of a load fails.

#[path = "support/http.rs"]
mod support;

use std::process::Command;
use support::{on_one_and_two_shards, patterned, start, wait_nothing_in_flight};
use tidegate_testkit::tools::{Load, curl, curl_ok, h2load_http1, require_tool, wrk};
use tidegate_testkit::{Deadline, Nginx, Origin, Process, Request, Tidegate, script};

const HELLO: &str = "location = /hello { return 200 'hello'; }\n\
    location = /moved { return 301 /hello; }\n\
    location = /refuse { return 403; }";

fn url(tidegate: &Tidegate, path: &str) -> String {
    format!("http://{}{path}", tidegate.address("web"))
}

#[test]
fn curl_gets_what_nginx_serves() {
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start(HELLO);
        let large = patterned(5_000_000);
        nginx.write_file("large", &large);
        let tidegate = start(shards, [nginx.address()], "");
        let hello = url(&tidegate, "/hello");
        for options in [&["--http1.1"][..], &["--http1.0"], &["--http1.1", "--tcp-nodelay"], &[]] {
            assert_eq!(curl_ok(&[options, &[&hello]].concat()), "hello", "{options:?}");
            let exit = curl(&[options, &[&url(&tidegate, "/large")]].concat());
            assert!(exit.status.success() && exit.stdout == large, "{options:?}: /large");
        }
        let head = curl_ok(&["--head", &url(&tidegate, "/large")]);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Length: 5000000\r\n"), "{head}");
        assert_eq!(curl_ok(&["--location", &url(&tidegate, "/moved")]), "hello");
        assert_eq!(curl_ok(&["--range", "37-41", &url(&tidegate, "/large")]), "01234");
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        for (path, expected) in [("/refuse", "403"), ("/none", "404")] {
            let printed = curl_ok(&[&status[..], &[&url(&tidegate, path)]].concat());
            assert_eq!(printed, expected);
        }
        // One connection for several transfers: the second one reuses it.
        let reused = curl_ok(&[
            "--write-out",
            " %{num_connects} ",
            &hello,
            &hello,
            &url(&tidegate, "/none"),
        ]);
        assert!(reused.starts_with("hello 1 hello 0 "), "{reused}");
    });
}

#[test]
fn curl_sees_a_response_that_changes_by_condition() {
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start(HELLO);
        let tidegate = start(shards, [nginx.address()], "");
        let index = url(&tidegate, "/index.html");
        let head = curl_ok(&["--head", &index]);
        let tag = head.lines().find_map(|line| line.strip_prefix("ETag: ")).expect("an ETag");
        let condition = format!("If-None-Match: {}", tag.trim());
        let print = "%{http_code} %{size_download}";
        let printed = curl_ok(&["--header", &condition, "--write-out", print, &index, &index]);
        assert_eq!(printed, "304 0304 0");
    });
}

/// Says how the request's body came and how large it was.
fn describe(_connection: usize, request: &Request) -> Vec<u8> {
    let sum = request.body.iter().fold(0_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte));
    let expects = request.headers.contains("expect");
    let text =
        format!("{} {:?} {} {sum} {expects}", request.method, request.framing, request.body.len());
    script::ok(text)
}

#[test]
fn curl_uploads_with_a_length_in_chunks_and_with_expect() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_with(describe));
        let tidegate = start(shards, [origin.address()], "");
        let file = tidegate.directory().join("upload");
        let body = patterned(3_000_000);
        std::fs::write(&file, &body).expect("the test's own directory");
        let sum = body.iter().fold(0_u64, |sum, byte| sum * 31 % 1_000_003 + u64::from(*byte));
        let (path, data) = (file.display().to_string(), format!("@{}", file.display()));
        let target = url(&tidegate, "/");
        let length = format!("Length(3000000) 3000000 {sum}");
        for (options, expected) in [
            (&["-T", &path][..], format!("PUT {length} true")),
            (&["-T", &path, "--header", "Expect:"], format!("PUT {length} false")),
            (&["--data-binary", &data], format!("POST {length} true")),
            (&["--data-binary", &data, "--http1.0"], format!("POST {length} false")),
            (
                &["-T", &path, "--header", "Transfer-Encoding: chunked"],
                format!("PUT Chunked 3000000 {sum} true"),
            ),
            (&["--request", "DELETE"], "DELETE None 0 0 false".to_owned()),
        ] {
            // The origin never says 100 Continue: curl stops waiting for it soon.
            let wait = ["--expect100-timeout", "0.05"];
            let printed = curl_ok(&[&wait[..], options, &[&target]].concat());
            assert_eq!(printed, expected, "{options:?}");
        }
    });
}

#[test]
fn python_keeps_a_connection_and_streams() {
    const PROGRAM: &str = "
import http.client, sys
connection = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=20)
sockets = set()
for number in range(50):
    connection.request('GET', '/hello')
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b'hello'), response.status
    sockets.add(id(connection.sock))
assert len(sockets) == 1, sockets
connection.request('POST', '/', body=iter([b'abc', b'de' * 50000, b'f']), encode_chunked=True,
                   headers={'Transfer-Encoding': 'chunked'})
response = connection.getresponse()
assert response.status == 405, response.status
response.read()
connection.request('HEAD', '/hello')
response = connection.getresponse()
assert (response.getheader('Content-Length'), response.read()) == ('5', b'')
connection.request('GET', '/hello')
assert connection.getresponse().read() == b'hello'
print('done')
";
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start(HELLO);
        let tidegate = start(shards, [nginx.address()], "");
        let mut command = Command::new(require_tool("python3"));
        let port = tidegate.address("web").port().to_string();
        command.args(["-c", PROGRAM, &port]);
        let exit = Process::spawn("python3", command).into_exit(Deadline::default());
        assert_eq!(exit.stdout_text(), "done\n", "{}", exit.stderr_text());
    });
}

#[track_caller]
fn expect_flawless(load: &Load, tidegate: &Tidegate) {
    assert!(load.requests_count > 100, "{load:?}");
    assert_eq!((load.failed_statuses_count, load.errors_count), (0, 0), "{load:?}");
    wait_nothing_in_flight(tidegate);
    let metrics = tidegate.metrics();
    let answered = metrics.count("tidegate_frontend_requests_total", &[("status", "2xx")]);
    assert!(answered >= load.requests_count, "{answered} of {load:?}");
    for failed in ["tidegate_frontend_requests_rejected_total", "tidegate_backend_retries_total"] {
        assert_eq!(metrics.count(failed, &[]), 0, "{failed}");
    }
    let lines = tidegate.process().lines();
    let failed = lines.iter().find(|line| line.is_event("request_failed"));
    assert_eq!(failed, None);
}

#[test]
fn wrk_loads_nginx_without_an_error() {
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start(HELLO);
        nginx.write_file("large", patterned(100_000));
        let tidegate = start(shards, [nginx.address()], "");
        let mut load = wrk(&url(&tidegate, "/hello"), 64, 2, &[]);
        let large = wrk(&url(&tidegate, "/large"), 16, 1, &[]);
        load.requests_count += large.requests_count;
        load.errors_count += large.errors_count;
        load.failed_statuses_count += large.failed_statuses_count;
        expect_flawless(&load, &tidegate);
    });
}

#[test]
fn h2load_loads_nginx_without_an_error() {
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start(HELLO);
        let tidegate = start(shards, [nginx.address()], "");
        let load = h2load_http1(&url(&tidegate, "/hello"), 50, 20_000, &[]);
        assert_eq!(load.requests_count, 20_000);
        expect_flawless(&load, &tidegate);
    });
}

#[test]
fn a_connection_per_request_loads_nginx_without_an_error() {
    on_one_and_two_shards(|shards| {
        let nginx = Nginx::start(HELLO);
        let tidegate = start(shards, [nginx.address()], "");
        let load = wrk(&url(&tidegate, "/hello"), 16, 1, &["--header", "Connection: close"]);
        expect_flawless(&load, &tidegate);
    });
}

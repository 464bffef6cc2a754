//! Owns the termination state of requests in the access log: who ended it, and how far it had come.
//!
//! Leaves the rest of the line to `log_requests`. Invariant: each end has the letters of HAProxy, and one line.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/http.rs"]
mod support;

use access_log::{Line, Logged, WRITTEN};
use std::io;
use support::{client, on_one_and_two_shards, patterned, wait_in_flight};
use tidegate_testkit::{
    Client, Connection, Deadline, Origin, Signal, SilentAddress, refused_address, script,
};

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n";

/// Opens a tunnel.
const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

/// One request to `origin`, and how it must be logged.
struct Case {
    name: &'static str,
    origin: fn(Connection) -> io::Result<()>,
    more: &'static str,
    /// Drives the client to the end of its request.
    drive: fn(Client, &Origin),
    letters: &'static str,
    status: i64,
    request: &'static str,
    /// Which of the five times there are.
    times: [bool; 5],
}

const ALL: [bool; 5] = [true; 5];
const NO_ANSWER: [bool; 5] = [true, true, true, false, true];
const NO_REQUEST: [bool; 5] = [false, false, false, false, true];

fn hang(mut connection: Connection) -> io::Result<()> {
    connection.read_request_head()?;
    connection.hang()
}

fn answers(mut connection: Connection, bytes: &str) -> io::Result<Connection> {
    connection.read_request()?;
    connection.send(bytes)?;
    Ok(connection)
}

const PART: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";

fn part_then_hang(connection: Connection) -> io::Result<()> {
    answers(connection, PART)?.hang()
}

fn expect(mut client: Client, request: &str, status: u16) {
    client.send(request);
    assert_eq!(client.read_response().status, status, "{request}");
}

const CASES: &[Case] = &[
    Case {
        name: "the client leaves within its head",
        origin: hang,
        more: "",
        drive: |mut client, _| {
            client.send("GET / HTTP/1.1\r\nHo").half_close();
        },
        letters: "CR",
        status: -1,
        request: "<BADREQ>",
        times: NO_REQUEST,
    },
    Case {
        name: "the client leaves while the server thinks",
        origin: hang,
        more: "",
        drive: |mut client, origin| {
            client.send(GET);
            origin.wait_requests(1);
            client.half_close();
        },
        letters: "CH",
        status: -1,
        request: "GET /a?b=c HTTP/1.1",
        times: NO_ANSWER,
    },
    Case {
        name: "the client leaves within the response",
        origin: part_then_hang,
        more: "",
        drive: |mut client, _| {
            client.send(GET);
            assert_eq!(client.read_head().status, 200);
        },
        letters: "CD",
        status: 200,
        request: "GET /a?b=c HTTP/1.1",
        times: ALL,
    },
    Case {
        name: "the client does not finish its head",
        origin: hang,
        more: "defaults.timeouts.request_head = \"300ms\"",
        drive: |client, _| expect(client, "GET / HTTP/1.1\r\nHo", 408),
        letters: "cR",
        status: 408,
        request: "<BADREQ>",
        times: NO_REQUEST,
    },
    Case {
        name: "the client does not send its body",
        origin: |connection| connection.ignore(),
        more: "defaults.timeouts.request_body = \"300ms\"",
        drive: |client, _| {
            expect(client, "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx", 408);
        },
        letters: "cH",
        status: 408,
        request: "POST /p HTTP/1.1",
        times: NO_ANSWER,
    },
    Case {
        name: "the request is invalid",
        origin: hang,
        more: "",
        drive: |client, _| expect(client, "GET / HTTP/1.1\r\nA: b\r\n\r\n", 400),
        letters: "PR",
        status: 400,
        request: "<BADREQ>",
        times: NO_REQUEST,
    },
    Case {
        name: "a method that is not served",
        origin: hang,
        more: "",
        drive: |client, _| expect(client, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
        letters: "PR",
        status: 501,
        request: "CONNECT a:1 HTTP/1.1",
        times: [true, false, false, false, true],
    },
    Case {
        name: "the server leaves before it answers",
        origin: |mut connection| connection.read_request().map(drop),
        more: "",
        drive: |client, _| expect(client, GET, 502),
        letters: "SH",
        status: 502,
        request: "GET /a?b=c HTTP/1.1",
        times: NO_ANSWER,
    },
    Case {
        name: "the server leaves within its response",
        origin: |connection| answers(connection, PART).map(drop),
        more: "",
        drive: |mut client, _| {
            client.send(GET);
            assert_eq!(client.read_head().status, 200);
            client.read_exactly(5);
            client.expect_end();
        },
        letters: "SD",
        status: 200,
        request: "GET /a?b=c HTTP/1.1",
        times: ALL,
    },
    Case {
        name: "the response is invalid",
        origin: |connection| answers(connection, "HTTP/1.1 20 OK\r\n\r\n")?.hang(),
        more: "",
        drive: |client, _| expect(client, GET, 502),
        letters: "PH",
        status: 502,
        request: "GET /a?b=c HTTP/1.1",
        times: NO_ANSWER,
    },
    Case {
        name: "the response turns invalid",
        origin: |connection| {
            answers(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")?;
            Ok(())
        },
        more: "",
        drive: |mut client, _| {
            client.send(GET);
            assert_eq!(client.read_head().status, 200);
            client.read_exactly(6);
            client.expect_end();
        },
        letters: "SD",
        status: 200,
        request: "GET /a?b=c HTTP/1.1",
        times: ALL,
    },
    Case {
        name: "the server says nothing",
        origin: hang,
        more: "defaults.timeouts.server = \"300ms\"",
        drive: |client, _| expect(client, GET, 504),
        letters: "sH",
        status: 504,
        request: "GET /a?b=c HTTP/1.1",
        times: NO_ANSWER,
    },
    Case {
        name: "the server stops within its response",
        origin: part_then_hang,
        more: "defaults.timeouts.server = \"300ms\"",
        drive: |mut client, _| {
            client.send(GET);
            assert_eq!(client.read_head().status, 200);
            client.read_exactly(5);
            client.expect_end();
        },
        letters: "sD",
        status: 200,
        request: "GET /a?b=c HTTP/1.1",
        times: ALL,
    },
    Case {
        name: "a tunnel falls silent",
        origin: script_echo,
        more: "defaults.timeouts.tunnel = \"300ms\"",
        drive: |mut client, _| {
            client.send(UPGRADE);
            assert_eq!(client.read_head().status, 101);
            client.send("ping");
            assert_eq!(client.read_exactly(4), b"ping");
            client.expect_end();
        },
        letters: "cD",
        status: 101,
        request: "GET /chat HTTP/1.1",
        times: ALL,
    },
];

fn script_echo(connection: Connection) -> io::Result<()> {
    script::upgrade_echo("echo")(connection)
}

#[test]
fn each_end_has_its_termination_state() {
    on_one_and_two_shards(|shards| {
        for case in CASES {
            let origin = Origin::start(case.origin);
            let logged = Logged::start(shards, [origin.address()], case.more);
            (case.drive)(client(&logged.tidegate), &origin);
            let line = logged.last(1);
            let name = case.name;
            assert_eq!((line.letters(), line.status), (case.letters, case.status), "{name}");
            assert_eq!(line.request, case.request, "{name}");
            assert_eq!(line.times.map(|time| time >= 0), case.times, "{name}: {line:?}");
            let reached = case.times[2];
            let server = if reached { "s1" } else { "<NOSRV>" };
            assert_eq!((&*line.server, &*line.retries), (server, "0"), "{name}");
            let written = logged.tidegate.metrics().count(WRITTEN, &[]);
            assert_eq!(written, 1, "{name}: {:?}", logged.raw_lines(1));
        }
    });
}

#[test]
fn a_client_that_takes_nothing_is_logged_with_what_it_took() {
    let origin = Origin::start(|connection| {
        let mut connection =
            answers(connection, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")?;
        let piece = patterned(1 << 16);
        loop {
            connection.send(&piece)?;
        }
    });
    let more = "defaults.timeouts.client = \"300ms\"";
    let logged = Logged::start(1, [origin.address()], more);
    let mut client = Client::connect_with_receive_buffer(logged.tidegate.address("web"), 4096);
    client.send(GET);
    assert_eq!(client.read_head().status, 200);
    let line = logged.last(1);
    assert_eq!((line.letters(), line.status), ("cD", 200));
    assert!(line.bytes > 4096, "{line:?}");
}

#[test]
fn a_server_that_cannot_be_reached_is_told_with_its_retries() {
    let refused = refused_address();
    let silent = SilentAddress::new();
    let quick = "defaults.retries = 2\ndefaults.timeouts.connect = \"100ms\"";
    for (address, letters) in [(refused.address(), "SC"), (silent.address(), "sC")] {
        let logged = Logged::start(1, [address], quick);
        expect(client(&logged.tidegate), GET, 503);
        let line = logged.last(1);
        assert_eq!((line.letters(), line.status, &*line.retries), (letters, 503, "2"));
        assert_eq!(&*line.server, "s1");
        let [head, queue, connect, response, _] = line.times;
        // Two attempts and the delays behind them, half as long at least, came before the last one.
        assert!(head >= 0 && queue >= 149 && connect == -1 && response == -1, "{line:?}");
    }
}

#[test]
fn a_frontend_without_a_backend_is_told() {
    let site = "global.cores = [0]\nadmin.bind = [\"127.0.0.1:0\"]\nfrontends.web.bind = [\"127.0.0.1:0\"]\n";
    let logged = Logged::with_site(site, "");
    expect(client(&logged.tidegate), GET, 503);
    let line = logged.last(1);
    assert_eq!((line.letters(), line.status, &*line.backend), ("PR", 503, "web"));
    assert_eq!(line.server, "<NOSRV>");
}

#[test]
fn what_is_in_flight_when_the_process_ends_is_logged() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(|connection| match connection.index() {
            0 => hang(connection),
            _ => part_then_hang(connection),
        });
        let mut logged = Logged::start(shards, [origin.address()], "");
        let mut waiting = client(&logged.tidegate);
        waiting.send(GET);
        origin.wait_connections(1);
        let mut answered = client(&logged.tidegate);
        answered.send(GET);
        assert_eq!(answered.read_head().status, 200);
        wait_in_flight(&logged.tidegate, 2);
        logged.tidegate.signal(Signal::INT);
        assert!(logged.tidegate.wait_exit(Deadline::default()).success());
        let lines = access_log::read_lines(&logged.path);
        let mut ends: Vec<(String, i64)> = lines
            .iter()
            .map(|line| Line::parse(line))
            .map(|line| (line.termination, line.status))
            .collect();
        ends.sort();
        assert_eq!(ends, [("KD--".to_owned(), 200), ("KH--".to_owned(), -1)]);
    });
}

/// A rule, the request that it ends, and how that must be logged.
const RULES: &[(&str, &str, &str, &str, i64)] = &[
    ("deny = { status = 403 }", "denied", "PR", "denied", 403),
    ("redirect = { scheme = \"https\" }", "redirected", "LR", "redirected", 301),
    ("respond = { status = 200, body = \"pong\" }", "answered", "LR", "responded", 200),
    ("tarpit = { delay = \"200ms\", status = 429 }", "held", "PT", "tarpitted", 429),
    ("close = true", "closed", "PR", "closed_by_rule", -1),
];

#[test]
fn what_rules_end_is_told_with_the_rule() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("hello"));
        for (rule, name, letters, reason, status) in RULES {
            let more = format!(
                "frontends.web.log_format = '{{termination}} {{status}} {{reason}} {{rule}} {{server}} \
                 {{request_head_ms}} {{queue_ms}} {{field.tenant}} {{request_id}} {{target}}'\n\
                 frontends.web.request_id = \"X-Request-Id\"\n\
                 [[frontends.web.rules]]\nlog_field = {{ tenant = \"{{request.host}}\" }}\n\
                 [[frontends.web.rules]]\nname = \"{name}\"\nwhen = 'request.path == \"/x\"'\n{rule}\n"
            );
            let logged = Logged::start(shards, [origin.address()], &more);
            let mut asking = client(&logged.tidegate);
            asking.send("GET /y HTTP/1.1\r\nHost: a\r\nX-Request-Id: id1\r\n\r\n").read_response();
            asking.send("GET /x HTTP/1.1\r\nHost: b\r\nX-Request-Id: id2\r\n\r\n");
            if *status < 0 {
                asking.expect_end();
            } else {
                assert_eq!(i64::from(asking.read_response().status), *status, "{rule}");
            }
            let lines = logged.raw_lines(2);
            let words: Vec<Vec<&str>> =
                lines.iter().map(|line| line.split(' ').collect()).collect();
            assert_eq!(words[0][..5], ["----", "200", "complete", "-", "s1"], "{rule}");
            assert_eq!(words[0][7..], ["a", "id1", "/y"], "{rule}");
            let state = format!("{letters}--");
            assert_eq!(words[1][..5], [&*state, &*status.to_string(), reason, name, "<NOSRV>"]);
            assert_eq!(words[1][7..], ["b", "id2", "/x"], "{rule}");
            let [head, queue] = [5, 6].map(|at: usize| words[1][at].parse::<i64>().expect("ms"));
            match *reason {
                "tarpitted" => assert!(head == -1 && queue >= 199, "{lines:?}"),
                "closed_by_rule" => assert_eq!((head, queue), (-1, -1)),
                _ => assert!(head >= 0 && queue == -1, "{lines:?}"),
            }
        }
    });
}

#[test]
fn a_client_that_does_not_wait_in_a_tarpit_is_told() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "[[frontends.web.rules]]\ntarpit = { delay = \"1m\", status = 429 }\n";
    let logged = Logged::start(1, [origin.address()], more);
    let mut impatient = client(&logged.tidegate);
    impatient.send(GET);
    logged.tidegate.wait_metrics("a tarpit", |metrics| {
        metrics.count("tidegate_frontend_requests_answered_total", &[("reason", "tarpit")]) == 1
    });
    drop(impatient);
    let line = logged.last(1);
    assert_eq!((line.letters(), line.status, line.times[0]), ("CT", -1, -1));
}

#[test]
fn an_invalid_request_has_nothing_of_the_one_before() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "frontends.web.log_format = '{status} {rule} {fields} {request_id}'\n\
                frontends.web.request_id = \"X-Request-Id\"\n\
                [[frontends.web.rules]]\nname = \"marked\"\nlog_field = { a = \"b\" }\n\
                backend = \"app\"\n";
    let logged = Logged::start(1, [origin.address()], more);
    for second in ["GET / HTTP/1.1\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"] {
        let mut agent = client(&logged.tidegate);
        agent.send("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: id1\r\n\r\n").read_response();
        agent.send(second).read_response();
    }
    let lines = logged.raw_lines(4);
    assert_eq!(lines, ["200 marked a=b id1", "400 - - -", "200 marked a=b id1", "501 - - -"]);
}

#[test]
fn a_loop_is_told() {
    let origin = Origin::start(script::answer_ok("hello"));
    let more = "frontends.web.via = \"tide\"\n\
        frontends.web.log_format = '{termination} {status} {reason} {stage} {target}'";
    let logged = Logged::start(1, [origin.address()], more);
    expect(client(&logged.tidegate), "GET /x HTTP/1.1\r\nHost: a\r\nVia: 1.1 tide\r\n\r\n", 508);
    assert_eq!(logged.raw_lines(1), ["PR-- 508 loop_detected request /x"]);
}

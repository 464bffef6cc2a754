//! Owns servers that break the protocol: heads that are not valid, bodies that end too early.
//!
//! Leaves servers that are too slow to `http_timeouts` and repeated requests to `http_retries`.
//! Invariant: nothing invalid reaches a client, and a response that is cut never looks whole.

#[path = "support/http.rs"]
mod support;

use std::collections::BTreeSet;
use support::{client, holds, on_one_and_two_shards, start, wait_nothing_in_flight};
use tidegate_testkit::{Connection, End, Gate, LogLine, Origin, Tidegate, script};

/// What a server sends, and the reason why it is refused.
const BAD_HEADS: &[(&str, &[u8])] = &[
    ("status_line_malformed", b"hello\r\n\r\n"),
    ("status_line_malformed", b"HTTP/1.1\r\n\r\n"),
    ("status_line_malformed", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status_line_malformed", b"ICY 200 OK\r\n\r\n"),
    ("version_unsupported", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("version_unsupported", b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status_invalid", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status_invalid", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    ("status_invalid", b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
    ("reason_invalid", b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n"),
    (
        "switch_not_requested",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    ("bare_lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    ("bare_lf", b"HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n"),
    ("bare_cr", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n"),
    ("folded_line", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
    ("header_name_empty", b"HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 0\r\n\r\n"),
    ("header_name_invalid", b"HTTP/1.1 200 OK\r\nX(: a\r\nContent-Length: 0\r\n\r\n"),
    ("space_before_colon", b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    ("header_colon_missing", b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n"),
    ("header_control_byte", b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n"),
    ("content_length_invalid", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    ("content_length_list", b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0\r\n\r\n"),
    ("content_length_overflow", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    ("content_length_repeated", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n"),
    (
        "content_length_with_transfer_encoding",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("transfer_encoding_unsupported", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    ("transfer_encoding_unsupported", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"),
    (
        "transfer_encoding_repeated",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("transfer_encoding_in_http10", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("connection_invalid", b"HTTP/1.1 200 OK\r\nConnection: a b\r\nContent-Length: 0\r\n\r\n"),
    (
        "connection_options_too_many",
        b"HTTP/1.1 200 OK\r\nConnection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "connection_lists_essential",
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello",
    ),
];

/// [`BAD_HEADS`] and those that are too long to write down.
fn bad_heads() -> Vec<(&'static str, Vec<u8>)> {
    let start = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_vec();
    let large = [&start[..], b"X: ", &[b'a'; 20_000], b"\r\n\r\n"].concat();
    let many = [&start[..], &b"A: b\r\n".repeat(200), b"\r\n"].concat();
    let written = BAD_HEADS.iter().map(|(reason, bytes)| (*reason, bytes.to_vec()));
    written.chain([("head_too_large", large), ("too_many_headers", many)]).collect()
}

/// How many reasons there are to refuse a response's head.
const REASONS_COUNT: usize = 26;

fn failed(reason: &str, detail: Option<&str>) -> impl FnMut(&LogLine) -> bool {
    move |line| {
        line.is_event("request_failed")
            && line.field("reason").as_deref() == Some(reason)
            && line.field("detail").as_deref() == detail
    }
}

#[test]
fn a_head_that_is_not_valid_is_a_bad_gateway_with_its_reason() {
    let rows = bad_heads();
    let reasons: BTreeSet<&str> = rows.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons.len(), REASONS_COUNT);
    on_one_and_two_shards(|shards| {
        let origin = Origin::start({
            let rows = rows.clone();
            move |mut connection: Connection| {
                let Some(request) = connection.read_request()? else { return Ok(()) };
                let row: usize = request.target[1..].parse().expect("the number of a row");
                connection.send(&rows[row].1)?;
                connection.hang()
            }
        });
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        for (row, (reason, bytes)) in rows.iter().enumerate() {
            let mark = tidegate.process().lines_count();
            let response = client.get(&format!("/{row}"));
            assert_eq!(response.status, 502, "{}", bytes.escape_ascii());
            // It was the server's fault: the client's connection persists.
            assert!(!response.headers.contains("connection"), "{:?}", response.headers);
            tidegate.process().wait_line_after(mark, failed("bad_response", Some(reason)));
            origin.wait_end(row);
        }
        assert_eq!(origin.requests_count(), rows.len(), "a bad answer is not asked for again");
        expect_failures(&tidegate, "bad_response", rows.len());
    });
}

#[track_caller]
fn expect_failures(tidegate: &Tidegate, reason: &str, count: usize) {
    let labels = [("backend", "app"), ("reason", reason)];
    let metrics = tidegate.metrics();
    let counted = metrics.count("tidegate_backend_requests_failed_total", &labels);
    assert_eq!(counted, u64::try_from(count).expect("a small number"), "{reason}");
    wait_nothing_in_flight(tidegate);
}

#[test]
fn a_server_that_ends_before_its_head_does_is_a_bad_gateway() {
    on_one_and_two_shards(|shards| {
        let part = "HTTP/1.1 200 OK\r\nContent-Le";
        for (reason, origin) in [
            ("empty_response", Origin::start(script::answer_and_close(""))),
            ("incomplete_response_head", Origin::start(script::answer_and_close(part))),
            ("server_reset", Origin::start(script::answer_and_reset(""))),
        ] {
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            for number in 1..=3 {
                assert_eq!(client.get("/").status, 502, "{reason}");
                assert_eq!(origin.requests_count(), number, "{reason}: not asked for again");
            }
            tidegate.wait_log(failed(reason, None));
            expect_failures(&tidegate, reason, 3);
        }
    });
}

/// How a server leaves in mid body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    InOrder,
    WithReset,
}

impl Leaving {
    fn reason(self) -> &'static str {
        match self {
            Self::InOrder => "truncated_response",
            Self::WithReset => "server_reset",
        }
    }
}

/// An origin that sends a part of a response and leaves once the gate is open: what the client has
/// been given by then cannot be overtaken.
fn cutting(part: &str, leaving: Leaving, relayed: &Gate) -> Origin {
    let (part, relayed) = (part.to_owned(), relayed.clone());
    Origin::start(move |mut connection: Connection| {
        connection.read_request()?;
        connection.send(&part)?;
        relayed.wait();
        match leaving {
            Leaving::InOrder => Ok(()),
            Leaving::WithReset => connection.reset(),
        }
    })
}

#[test]
fn a_response_that_is_cut_is_incomplete_at_the_client() {
    const CUT: [(&str, &str); 3] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "hello"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "9\r\nhello"),
    ];
    on_one_and_two_shards(|shards| {
        for (head, body) in CUT {
            for leaving in [Leaving::InOrder, Leaving::WithReset] {
                let relayed = Gate::new();
                let origin = cutting(&format!("{head}{body}"), leaving, &relayed);
                let tidegate = start(shards, [origin.address()], "");
                let mut client = client(&tidegate);
                client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(client.read_head().status, 200);
                assert_eq!(client.read_exactly(body.len()), body.as_bytes());
                relayed.open();
                client.expect_end();
                tidegate.wait_log(failed(leaving.reason(), None));
                expect_failures(&tidegate, leaving.reason(), 1);
                assert_eq!(origin.requests_count(), 1, "not asked for again");
            }
        }
    });
}

#[test]
fn a_cut_response_that_only_the_end_delimits_is_reset() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nhello";
    on_one_and_two_shards(|shards| {
        for (part, leaving) in [
            (CHUNKED, Leaving::InOrder),
            (CHUNKED, Leaving::WithReset),
            (UNTIL_CLOSE, Leaving::WithReset),
        ] {
            let relayed = Gate::new();
            let origin = cutting(part, leaving, &relayed);
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send("GET / HTTP/1.0\r\n\r\n");
            assert_eq!(client.read_head().status, 200);
            assert_eq!(client.read_exactly(5), b"hello");
            relayed.open();
            // An orderly end would say that this was all.
            assert_eq!(client.expect_end(), End::Reset, "{part:?} {leaving:?}");
            expect_failures(&tidegate, leaving.reason(), 1);
        }
    });
}

#[test]
fn an_until_close_response_that_is_reset_has_no_last_chunk() {
    on_one_and_two_shards(|shards| {
        let relayed = Gate::new();
        let part = "HTTP/1.1 200 OK\r\n\r\nhello";
        let origin = cutting(part, Leaving::WithReset, &relayed);
        let tidegate = start(shards, [origin.address()], "");
        let mut client = client(&tidegate);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_head().headers.value("transfer-encoding"), Some("chunked"));
        assert_eq!(client.read_exactly(10), b"5\r\nhello\r\n");
        relayed.open();
        client.expect_end();
    });
}

/// Chunked framing that no reading allows, and the rule it breaks.
const BROKEN_CHUNKS: [(&str, &str); 4] = [
    ("xyz\r\n", "chunk_size_invalid"),
    ("5\nworld\r\n", "chunk_bare_lf"),
    ("0\r\nContent-Length: 5\r\n\r\n", "trailer_forbidden"),
    ("ffffffffffffffffff\r\n", "chunk_size_overflow"),
];

const CHUNKED_HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

#[test]
fn a_chunked_body_that_breaks_ends_before_the_break() {
    on_one_and_two_shards(|shards| {
        for (broken, detail) in BROKEN_CHUNKS {
            let relayed = Gate::new();
            let wait = relayed.clone();
            let origin = Origin::start(move |mut connection: Connection| {
                connection.read_request()?;
                connection.send(CHUNKED_HEAD)?;
                wait.wait();
                connection.send(broken)?;
                connection.hang()
            });
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.read_head();
            assert_eq!(client.read_exactly(10), b"5\r\nhello\r\n");
            relayed.open();
            client.expect_end();
            assert!(!holds(&client.received(), broken), "{broken:?} reached the client");
            tidegate.wait_log(failed("bad_response", Some(detail)));
            expect_failures(&tidegate, "bad_response", 1);
            origin.wait_end(0);
        }
    });
}

#[test]
fn a_response_that_breaks_before_anything_of_it_was_sent_is_a_502() {
    on_one_and_two_shards(|shards| {
        for (broken, detail) in BROKEN_CHUNKS {
            let origin = Origin::start(move |mut connection: Connection| {
                connection.read_request()?;
                connection.send([CHUNKED_HEAD, broken].concat())?;
                connection.hang()
            });
            let tidegate = start(shards, [origin.address()], "");
            let mut client = client(&tidegate);
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.read_response().status, 502);
            assert!(!holds(&client.received(), "hello"), "part of the response reached the client");
            tidegate.wait_log(failed("bad_response", Some(detail)));
            expect_failures(&tidegate, "bad_response", 1);
            origin.wait_end(0);
        }
    });
}

//! Owns the proof that malformed requests end at the program: each row of the test kit's table,
//! sent over the wire.
//!
//! Leaves the rows to `tidegate_testkit::malformed`. Invariant: of a request with a malformed head
//! no byte reaches a server, and of one with a malformed body never all of it.

#[path = "support/http.rs"]
mod support;

use std::collections::BTreeMap;
use support::{client, on_one_and_two_shards, start, wait_nothing_in_flight};
use tidegate_testkit::malformed::{Malformed, Part, table};
use tidegate_testkit::{Client, Origin, Tidegate, script};

/// How the bytes of a row are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    AtOnce,
    ByteByByte,
}

fn rows(part: Part) -> Vec<Malformed> {
    table().into_iter().filter(|row| row.part == part).collect()
}

/// Sends a row on a connection of its own and checks the answer, the end and the log.
fn check(tidegate: &Tidegate, row: &Malformed, pace: Pace) {
    let mut client = client(tidegate);
    let mark = tidegate.process().lines_count();
    // The program may answer and stop reading before the end.
    let _stopped_early = match pace {
        Pace::AtOnce => client.try_send(&row.bytes),
        Pace::ByteByByte => client.send_bytewise(&row.bytes),
    };
    expect_refusal(&mut client, row, pace);
    let own = client.local_address().to_string();
    let line = tidegate
        .process()
        .wait_line_after(mark, |line| line.field("client").as_deref() == Some(own.as_str()));
    assert!(line.is_event("request_rejected"), "{}: {}", row.name, line.text);
    assert_eq!(line.field("reason").as_deref(), Some("bad_request"), "{}", row.name);
    assert_eq!(line.field("detail").as_deref(), Some(row.reason), "{}", row.name);
    assert_eq!(line.field("status"), Some(row.status.to_string()), "{}", row.name);
}

#[track_caller]
fn expect_refusal(client: &mut Client, row: &Malformed, pace: Pace) {
    let response = client
        .try_read_response_to("GET")
        .unwrap_or_else(|error| panic!("{} ({pace:?}): {error}", row.name));
    assert_eq!(response.status, row.status, "{} ({pace:?})", row.name);
    assert_eq!(response.headers.value("connection"), Some("close"), "{}", row.name);
    client.expect_eof();
}

/// How often each reason was counted.
fn counted(tidegate: &Tidegate) -> BTreeMap<String, u64> {
    let metrics = tidegate.metrics();
    let name = "tidegate_frontend_requests_rejected_total";
    let reason = |sample: &tidegate_testkit::Sample| sample.labels["reason"].clone();
    let reasons: Vec<String> = metrics.matching(name, &[]).map(reason).collect();
    let count = |reason: String| (reason.clone(), metrics.count(name, &[("reason", &reason)]));
    reasons.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
}

fn expected(rows: &[Malformed]) -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    for row in rows {
        *expected.entry(row.reason.to_owned()).or_insert(0) += 1;
    }
    expected
}

fn check_heads(shards: usize, pace: Pace) {
    let rows = rows(Part::Head);
    let origin = Origin::start(script::answer_ok(""));
    let tidegate = start(shards, [origin.address()], "");
    for row in &rows {
        check(&tidegate, row, pace);
    }
    assert_eq!(counted(&tidegate), expected(&rows));
    assert_eq!(origin.connections_count(), 0, "a server heard of a malformed head");
    // The origin was there to be reached all the time.
    assert_eq!(client(&tidegate).get("/").status, 200);
    assert_eq!(origin.connections_count(), 1);
}

#[test]
fn a_malformed_head_is_refused_and_reaches_no_server() {
    on_one_and_two_shards(|shards| check_heads(shards, Pace::AtOnce));
}

#[test]
fn a_malformed_head_that_comes_byte_by_byte_is_refused_for_the_same_reason() {
    on_one_and_two_shards(|shards| check_heads(shards, Pace::ByteByByte));
}

fn check_bodies(shards: usize, pace: Pace) {
    let rows = rows(Part::Body);
    // It fails the test if what it reads is malformed rather than incomplete.
    let origin = Origin::start(script::answer_ok(""));
    let tidegate = start(shards, [origin.address()], "");
    for row in &rows {
        check(&tidegate, row, pace);
    }
    wait_nothing_in_flight(&tidegate);
    origin.wait_idle();
    assert_eq!(origin.requests_count(), 0, "a server got a complete request");
    assert_eq!(counted(&tidegate), expected(&rows));
}

#[test]
fn a_malformed_body_is_refused_and_never_complete_at_a_server() {
    on_one_and_two_shards(|shards| check_bodies(shards, Pace::AtOnce));
}

#[test]
fn a_malformed_body_that_comes_byte_by_byte_is_refused_for_the_same_reason() {
    on_one_and_two_shards(|shards| check_bodies(shards, Pace::ByteByByte));
}

#[test]
fn a_malformed_request_behind_good_ones_is_refused_after_their_answers() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("good"));
        let tidegate = start(shards, [origin.address()], "");
        let rows = rows(Part::Head);
        for row in rows.iter().step_by(7) {
            let before = origin.requests_count();
            let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
            let mut client = client(&tidegate);
            let _stopped_early = client.try_send([good.as_bytes(), &row.bytes].concat());
            assert_eq!(client.read_response().text(), "good", "{}", row.name);
            assert_eq!(client.read_response().text(), "good", "{}", row.name);
            expect_refusal(&mut client, row, Pace::AtOnce);
            assert_eq!(origin.requests_count(), before + 2, "{}", row.name);
        }
    });
}

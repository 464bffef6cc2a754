//! HTTP/2 connections under load while the program changes and ends.
//!
//! Owns that a reload and a drain lose no request of clients that do what RFC 9113 §6.8 says. Leaves single streams to
//! `http2_requests`.

#[path = "support/http2.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use support::{client, start_http2};
use tidegate_testkit::http2::{flag, kind};
use tidegate_testkit::{
    Connection, Deadline, Gate, Http2Client, Origin, Signal, script, site, tools,
};

/// Requests that each connection has under way.
const UNDER_WAY: usize = 8;

/// Asks without end, on one connection, until it is told to go; how many answers came. Each request has a whole answer, or was sent
/// after the server had said which it takes.
fn ask_until_told_to_go(address: SocketAddr, answered: &AtomicUsize) {
    let mut client = Http2Client::connect(address);
    let (mut next, mut last_taken) = (1, None);
    let mut open = BTreeSet::new();
    loop {
        while last_taken.is_none() && open.len() < UNDER_WAY {
            client.get(next, "/");
            open.insert(next);
            next += 2;
        }
        let Some(frame) = client.read_frame() else { break };
        match frame.kind {
            kind::GOAWAY => {
                assert_eq!(frame.number(4), 0, "no error is meant");
                last_taken = Some(frame.number(0));
            }
            // That nothing is lost in between is asked for by a PING, which a client answers.
            kind::PING if frame.flags & flag::ACK == 0 => {
                client.send_frame(kind::PING, flag::ACK, 0, &frame.payload);
            }
            kind::HEADERS | kind::DATA if frame.flags & flag::END_STREAM != 0 => {
                assert!(open.remove(&frame.stream), "one answer for each");
                answered.fetch_add(1, Ordering::Relaxed);
            }
            kind::RST_STREAM => panic!("stream {} was reset: {}", frame.stream, frame.number(0)),
            _ => {}
        }
    }
    let last_taken = last_taken.expect("the end is said");
    let lost: Vec<_> = open.into_iter().filter(|stream| *stream <= last_taken).collect();
    assert!(lost.is_empty(), "{lost:?} of those up to {last_taken} have no answer");
}

#[test]
fn a_drain_under_load_answers_all_that_was_taken() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hi"));
        let mut tidegate = start_http2(shards, [origin.address()], "");
        let address = tidegate.address("web");
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| ask_until_told_to_go(address, &answered));
            }
            tidegate.wait_metrics("there is load", |_| answered.load(Ordering::Relaxed) > 500);
            tidegate.signal(Signal::TERM);
        });
        assert!(tidegate.wait_exit(Deadline::default()).success());
    }
}

#[test]
fn a_connection_that_is_old_is_told_to_go_and_loses_no_request() {
    let origin = Origin::start(script::answer_ok("hi"));
    let more = "frontends.web.http2 = { max_lifetime = \"300ms\" }";
    let tidegate = start_http2(2, [origin.address()], more);
    let address = tidegate.address("web");
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).for_each(|_| ask_until_told_to_go(address, &answered)));
        }
    });
    assert!(answered.load(Ordering::Relaxed) > 100, "there was load");
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_frontend_http2_goaways_total", &[]), 12);
    assert_eq!(metrics.count("tidegate_frontend_http2_streams_reset_total", &[]), 0);
    // One that carries a request is left until that has ended, and an idle one is told in time.
    let mut idle = client(&tidegate);
    assert_eq!(idle.goaway(), Some(0));
}

#[test]
fn a_request_outlives_the_age_of_its_connection() {
    let gate = Gate::new();
    let opened = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        connection.read_request()?;
        opened.wait();
        connection.send(script::ok("late"))
    });
    let more = "frontends.web.http2 = { max_lifetime = \"100ms\" }";
    let tidegate = start_http2(1, [origin.address()], more);
    let mut client = client(&tidegate);
    client.get(1, "/");
    assert_eq!(client.wait_frame(kind::GOAWAY).number(4), 0);
    gate.open();
    assert_eq!(client.answer(1).body, b"late");
}

#[test]
fn reloads_under_load_lose_no_request() {
    let origins = ["one", "two"].map(|name| Origin::start(script::answer_ok(name)));
    let [one, two] = origins.each_ref().map(Origin::address);
    let tidegate = start_http2(2, [one], "");
    let url = format!("http://{}/", tidegate.address("web"));
    let is_over = AtomicBool::new(false);
    let said = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let arguments = ["-n", "30000", "-c", "4", "-m", "16", &url];
            let load = tools::run("h2load", &arguments, Deadline::default());
            is_over.store(true, Ordering::Relaxed);
            load.stdout_text()
        });
        let mut reloads = 0;
        while !is_over.load(Ordering::Relaxed) {
            let server = if reloads % 2 == 0 { two } else { one };
            let config = site(2, [server]).replace(
                "frontends.web.bind = [\"127.0.0.1:0\"]",
                "frontends.web.bind = [{ address = \"127.0.0.1:0\", protocols = [\"h2\"] }]",
            );
            assert!(tidegate.reload(&config).is_event("reloaded"));
            reloads += 1;
        }
        assert!(reloads >= 2, "the load was over before: {reloads}");
        load.join().expect("it does not panic")
    });
    assert!(said.contains("30000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
    assert!(origins.iter().all(|origin| origin.requests_count() > 0), "both have served");
    let mut after = client(&tidegate);
    after.get(1, "/");
    assert_eq!(after.answer(1).status, 200);
}

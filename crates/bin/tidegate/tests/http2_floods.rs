//! Owns what a client may not do too often over HTTP/2: each kind of flood ends its connection, and no other client feels it.
//!
//! Leaves what is wrong once to `http2_conformance`. Invariant: a flood ends with ENHANCE_YOUR_CALM and is counted by its kind, or
//! what it makes the program hold is bounded.

#[path = "support/http2.rs"]
mod support;

use support::{client, start_http2};
use tidegate_testkit::http2::{code, flag, frame, kind, request};
use tidegate_testkit::{Connection, Http2Client, Origin, hpack, script};

/// Sends what `next` gives until the peer has had enough, with another client served meanwhile.
#[track_caller]
fn check(reason: &str, mut next: impl FnMut(u32) -> Vec<u8>) {
    let origin = Origin::start(script::answer_ok("hi"));
    let tidegate = start_http2(1, [origin.address()], "");
    let (mut flooding, mut other) = (client(&tidegate), client(&tidegate));
    other.get(1, "/");
    assert_eq!(other.answer(1).status, 200);
    let mut sent = 0;
    for round in 0..400 {
        let bytes: Vec<u8> = (0..250).flat_map(|number| next(round * 250 + number)).collect();
        sent = round;
        if !flooding.send(&bytes) {
            break;
        }
        let metrics = tidegate.metrics();
        if metrics.count("tidegate_frontend_http2_floods_total", &[("reason", reason)]) == 1 {
            break;
        }
    }
    tidegate.wait_metrics(&format!("a flood of {reason} after {sent} rounds"), |metrics| {
        metrics.count("tidegate_frontend_http2_floods_total", &[("reason", reason)]) == 1
    });
    assert_eq!(flooding.goaway(), Some(code::ENHANCE_YOUR_CALM));
    other.get(3, "/");
    assert_eq!(other.answer(3).body, b"hi");
    tidegate.wait_log(|line| line.is_event("connection_flooded"));
}

fn whole_get(stream: u32) -> Vec<u8> {
    let fields = hpack::block(&request("GET", "/"));
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, &fields)
}

#[test]
fn rapid_resets() {
    check("resets", |number| {
        let stream = 2 * number + 1;
        [whole_get(stream), frame(kind::RST_STREAM, 0, stream, &code::CANCEL.to_be_bytes())]
            .concat()
    });
}

#[test]
fn pings() {
    check("pings", |_| frame(kind::PING, 0, 0, &[0; 8]));
}

#[test]
fn settings() {
    check("settings", |_| frame(kind::SETTINGS, 0, 0, &[]));
}

#[test]
fn priorities() {
    check("priorities", |_| frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
}

#[test]
fn window_updates() {
    check("window_updates", |_| frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
}

#[test]
fn empty_data() {
    check("empty_data", |number| {
        let open = frame(kind::HEADERS, flag::END_HEADERS, 1, &hpack::block(&request("POST", "/")));
        let data = frame(kind::DATA, 0, 1, b"");
        if number == 0 { [open, data].concat() } else { data }
    });
}

#[test]
fn continuations() {
    check("continuations", |number| {
        let fields = hpack::block(&request("GET", "/"));
        let open = frame(kind::HEADERS, flag::END_STREAM, 1, &fields);
        if number == 0 {
            open
        } else {
            frame(kind::CONTINUATION, 0, 1, &hpack::block(&[("x", "y")]))
        }
    });
}

#[test]
fn fields_that_grow_when_they_are_read() {
    // One entry of the table of 4 KiB, and thousands of references to it.
    let mut block = hpack::block(&request("GET", "/"));
    let mut entry = vec![0x40];
    entry.extend(&hpack::block(&[("x", &*"y".repeat(3900))])[1..]);
    block.extend(entry);
    block.extend(vec![0xbe; 10_000]);
    let origin = Origin::start(script::answer_ok("hi"));
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = Http2Client::connect(tidegate.address("web"));
    client.send_frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &block);
    assert_eq!(client.goaway(), Some(code::ENHANCE_YOUR_CALM));
    assert_eq!(origin.received_bytes_total(), 0);
    tidegate.wait_metrics("it is counted", |metrics| {
        metrics.count("tidegate_frontend_http2_floods_total", &[("reason", "library")]) == 1
    });
}

#[test]
fn fields_that_are_a_little_too_large_are_answered() {
    let origin = Origin::start(script::answer_ok("hi"));
    let tidegate = start_http2(1, [origin.address()], "");
    let mut client = client(&tidegate);
    let long = "y".repeat(4000);
    let many = [("a", &*long), ("b", &*long), ("c", &*long), ("d", &*long), ("e", &*long)];
    let block = hpack::block(&[&request("GET", "/")[..], &many].concat());
    client.send_frame(kind::HEADERS, flag::END_STREAM, 1, &block[..16_000]);
    client.send_frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[16_000..]);
    assert_eq!(client.answer(1).status, 431);
    assert_eq!(origin.received_bytes_total(), 0);
}

#[test]
fn streams_that_never_read_hold_little() {
    let body = vec![b'x'; 1 << 20];
    let origin = Origin::start(move |mut connection: Connection| {
        while connection.read_request()?.is_some() {
            connection.send(script::ok(&body))?;
        }
        Ok(())
    });
    let tidegate = start_http2(1, [origin.address()], "");
    let mut greedy = Http2Client::connect_with(tidegate.address("web"), &[(4, 0)]);
    let before = tidegate.metrics().count("process_resident_memory_bytes", &[]);
    for stream in (1..=199).step_by(2) {
        greedy.get(stream, "/");
    }
    // The first MiB is anybody's; each stream after that waits with its first piece.
    tidegate.wait_metrics("all wait for their client", |metrics| {
        metrics.count("tidegate_frontend_http2_streams_open", &[]) == 100
            && metrics.count("tidegate_frontend_http2_queues_full_total", &[]) >= 60
    });
    let after = tidegate.metrics();
    let received = after.count("tidegate_backend_received_bytes_total", &[]);
    assert!(received < 7 << 20, "{} KiB were read of the server", received >> 10);
    let after = after.count("process_resident_memory_bytes", &[]);
    assert!(after - before < 20 << 20, "{} KiB", (after - before) >> 10);
    // One that is read goes on although the others are not.
    greedy.send_frame(kind::WINDOW_UPDATE, 0, 1, &(1_u32 << 20).to_be_bytes());
    greedy.send_frame(kind::WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes());
    assert_eq!(greedy.answer(1).body.len(), 1 << 20);
    let mut other = client(&tidegate);
    other.get(1, "/");
    assert_eq!(other.answer(1).body.len(), 1 << 20);
}

//! What a client of TLS may do too often once its handshake is over.
//!
//! Owns the limits that show at a connection from outside. Leaves those of records and messages to `tidegate-tls-records`.

#[path = "support/tls.rs"]
mod support;

use support::Ground;
use tidegate_testkit::{Origin, script};

/// `KEY_UPDATES_MAX` of `tidegate-tls-records`.
const KEY_UPDATES_MAX: usize = 1_024;

#[test]
fn a_client_changes_its_keys_so_many_times_and_no_more() {
    let origin = Origin::start(script::answer_ok("hi"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    let (mut greedy, mut other) = (world.connect(), world.connect());
    for _ in 0..KEY_UPDATES_MAX {
        assert_eq!(greedy.update_keys().get("/").text(), "hi");
    }
    greedy.update_keys();
    // Whether the bytes still find somebody is up to who is faster.
    let sent = greedy.try_send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let answered = sent.and_then(|()| greedy.try_read_response_to("GET"));
    let error = answered.expect_err("the connection has ended").to_string();
    assert!(error.contains("UnexpectedMessage") || error.contains("reset"), "{error}");
    assert_eq!(origin.requests_count(), KEY_UPDATES_MAX);
    assert_eq!(other.get("/").text(), "hi");
    world.tidegate.wait_metrics("the flood is counted", |metrics| {
        metrics.count("tidegate_frontend_tls_floods_total", &[]) == 1
    });
}

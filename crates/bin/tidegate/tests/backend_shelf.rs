//! Idle server connections that one shard has left and another one takes.
//!
//! Owns servers that are used seldom; leaves the reuse within one shard to `http_keep_alive` and `backend_queues`.

use tidegate_testkit::{Builder, Client, Origin, Tidegate, script, site};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// With so short a time every use is a seldom one. What is too old is looked for once a second.
const SELDOM: &str = "backends.app.pool = { idle_timeout = \"1ms\" }\n";

/// So many requests one after the other, each on a connection of its own and so on any shard.
fn visit(tidegate: &Tidegate, count: usize) {
    for _ in 0..count {
        let response = Client::connect(tidegate.address("web")).get("/");
        assert_eq!((response.status, response.text()), (200, "hello"));
    }
}

#[test]
fn shards_that_use_a_server_seldom_share_its_connections() {
    let origin = Origin::start(script::answer_ok("hello"));
    let tidegate = tidegate().start(&(site(2, [origin.address()]) + SELDOM));
    visit(&tidegate, 200);
    let metrics = tidegate.metrics();
    let count = |name: &str| metrics.count(name, &[]);
    let made = count("tidegate_server_connections_total");
    assert_eq!(made, origin.connections_count() as u64);
    assert_eq!(made + count("tidegate_server_connections_reused_total"), 200);
    assert!(count("tidegate_server_connections_handed_over_total") >= 100);
    assert!(origin.connections_open_most() <= 2, "{}", origin.connections_open_most());
    tidegate.wait_metrics("those that are left get too old", |metrics| {
        let count = |name| metrics.count(name, &[]);
        count("tidegate_server_connections_open") + count("tidegate_server_connections_idle") == 0
    });
}

#[test]
fn a_connection_that_the_server_has_closed_meanwhile_is_not_used() {
    let origin = Origin::start(script::answer_and_close(script::ok("hello")));
    let tidegate = tidegate().start(&(site(2, [origin.address()]) + SELDOM));
    visit(&tidegate, 50);
    assert_eq!(origin.requests_count(), 50);
    let failed = tidegate.metrics().count("tidegate_backend_requests_failed_total", &[]);
    assert_eq!(failed, 0);
}

#[test]
fn a_reload_without_the_server_closes_what_is_left_of_it() {
    let (origin, other) =
        (Origin::start(script::answer_ok("hello")), Origin::start(script::answer_ok("hello")));
    let keep = "backends.app.pool = { idle_timeout = \"1h\" }\n";
    let tidegate = tidegate().start(&(site(2, [origin.address()]) + keep));
    visit(&tidegate, 4);
    assert!(tidegate.reload(&(site(2, [other.address()]) + keep)).is_event("reloaded"));
    visit(&tidegate, 4);
    origin.wait_idle();
    assert_eq!(other.requests_count(), 4);
}

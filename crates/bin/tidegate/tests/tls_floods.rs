//! What a client of TLS may do too often once its handshake is over.
//!
//! Owns the limits that show at a connection from outside. Leaves those of records and messages to `tidegate-tls-records`.

#[path = "support/tls.rs"]
mod support;

use std::process::Command;

use support::{Ground, NAME};
use tidegate_testkit::{Deadline, Origin, Process, script, tools};

/// `RENEGOTIATIONS_MAX` of `tidegate-tls-records`.
const RENEGOTIATIONS_MAX: usize = 4;

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

#[test]
fn a_client_asks_to_renegotiate_so_many_times_and_no_more() {
    let origin = Origin::start(script::answer_ok("hi"));
    let world = Ground::new().start(1, [origin.address()], "", "");
    let mut other = world.connect();
    let floods = || world.tidegate.metrics().count("tidegate_frontend_tls_floods_total", &[]);
    // OpenSSL ends at the first refusal, which is no flood; GnuTLS asks again.
    let exit = world.s_client("sleep 0.5; printf 'R\\n'; sleep 0.5", &["-tls1_2"]);
    assert!(exit.stdout_text().contains("no renegotiation"), "{}", exit.stdout_text());
    assert_eq!(floods(), 0);
    let mut command = Command::new("bash");
    command.arg("-c").arg(format!(
        "{{ sleep 0.5; echo '^renegotiate^'; sleep 1; }} | {} --inline-commands --priority NORMAL:-VERS-TLS1.3 \
         --x509cafile {} --verify-hostname {NAME} --port {} 127.0.0.1 2>&1",
        tools::require_tool("gnutls-cli").display(),
        world.tidegate.directory().join("ca.pem").display(),
        world.tidegate.address("web").port(),
    ));
    let said = Process::spawn("gnutls-cli", command).into_exit(Deadline::default()).stdout_text();
    let refused = said.matches("No renegotiation is allowed").count();
    assert_eq!(refused, RENEGOTIATIONS_MAX, "{said}");
    assert!(said.contains("fatal alert"), "{said}");
    assert_eq!(floods(), 1);
    assert_eq!(other.get("/").text(), "hi");
}

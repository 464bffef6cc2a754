//! Owns the access log's lines of requests that the program holds back or tries again: in a tarpit, while a password is
//! compared, at another server.
//!
//! Leaves other endings to `log_endings`. Invariant: whatever cuts off a wait, there is one line.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/http.rs"]
mod support;

use access_log::{Line, Logged};
use support::{client, on_one_and_two_shards};
use tidegate_testkit::{Client, Deadline, Origin, Signal, refused_address, script};

/// A list with one user whose password takes half a second to compare, and a rule that asks for it.
const SLOW_PASSWORD: &str = "[[frontends.web.rules]]\nwhen = 'request.path == \"/private\"'\n\
    authenticate = { realm = \"ops\", users = { a = \"$6$rounds=1000000$saltsalt$HASH\" } }\n";

/// Asks with a password that is wrong.
const GUESS: &str = "GET /private HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTp3cm9uZw==\r\n\r\n";

fn slow_password() -> String {
    // Any digest does: it is compared with, and nobody gets in.
    SLOW_PASSWORD.replace("HASH", &".".repeat(86))
}

#[test]
fn what_is_held_when_the_process_ends_is_logged() {
    on_one_and_two_shards(|shards| {
        let origin = Origin::start(script::answer_ok("hello"));
        let tarpit = "[[frontends.web.rules]]\nwhen = 'request.path == \"/held\"'\n\
            tarpit = { delay = \"10m\" }\n";
        let more = tarpit.to_owned() + &slow_password();
        let mut logged = Logged::start(shards, [origin.address()], &more);
        let mut held = client(&logged.tidegate);
        held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
        logged.tidegate.wait_metrics("a tarpit", |metrics| {
            metrics.count("tidegate_frontend_requests_answered_total", &[("reason", "tarpit")]) == 1
        });
        // Those behind the first one wait for seconds.
        let mut guessing: Vec<Client> = (0..10).map(|_| client(&logged.tidegate)).collect();
        for client in &mut guessing {
            client.send(GUESS);
        }
        assert_eq!(guessing[0].read_response().status, 401);
        logged.tidegate.signal(Signal::INT);
        assert!(logged.tidegate.wait_exit(Deadline::default()).success());
        let lines = access_log::read_lines(&logged.path);
        let lines: Vec<Line> = lines.iter().map(|line| Line::parse(line)).collect();
        assert_eq!(lines.len(), 11, "one each: {lines:?}");
        let of = |letters: &str| lines.iter().filter(|line| line.letters() == letters).count();
        assert_eq!((of("KT"), of("KR") + of("LR")), (1, 10), "{lines:?}");
        assert!(of("KR") > 0, "{lines:?}");
        for line in lines.iter().filter(|line| line.termination.starts_with('K')) {
            let path = if line.letters() == "KT" { "/held" } else { "/private" };
            assert_eq!(line.request, format!("GET {path} HTTP/1.1"));
            assert_eq!((line.status, &*line.server), (-1, "<NOSRV>"), "{line:?}");
            assert_eq!(line.times[0] == -1, path == "/held", "{line:?}");
        }
    });
}

#[test]
fn a_client_that_leaves_while_its_password_is_compared_is_told() {
    let origin = Origin::start(script::answer_ok("hello"));
    let logged = Logged::start(1, [origin.address()], &slow_password());
    let mut first = client(&logged.tidegate);
    first.send(GUESS);
    let mut leaving: Vec<Client> = (0..4).map(|_| client(&logged.tidegate)).collect();
    for client in &mut leaving {
        client.send(GUESS);
    }
    assert_eq!(first.read_response().status, 401);
    // At most one of them is compared by now.
    drop(leaving);
    let lines = logged.lines(5);
    let left: Vec<_> = lines.iter().filter(|line| line.letters() == "CR").collect();
    assert!(left.len() >= 3, "{lines:?}");
    assert!(left.iter().all(|line| line.status == -1 && line.times[0] >= 0), "{lines:?}");
}

#[test]
fn a_retry_that_helps_is_told() {
    let (refused, origin) = (refused_address(), Origin::start(script::answer_ok("hello")));
    let more = "defaults.retries = 1\ndefaults.timeouts.connect = \"100ms\"";
    let logged = Logged::start(1, [refused.address(), origin.address()], more);
    assert_eq!(client(&logged.tidegate).get("/").status, 200);
    let line = logged.last(1);
    // The plus: another server than the one that was chosen first.
    assert_eq!((line.letters(), line.status, &*line.retries), ("--", 200, "+1"), "{line:?}");
    assert_eq!(&*line.server, "s2");
}

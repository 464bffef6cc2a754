//! `max_connections` of a server under the load of many clients on two shards, counted by the server.
//!
//! Owns that the limit is never exceeded and is used; leaves order, priority and deadlines of those who wait to `backend_queues`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testkit::tools::h2load_http1;
use tidegate_testkit::{Builder, Connection, Origin, Tidegate, script, site};

const LIMIT: usize = 10;

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// How many are at work now, and the most that ever were.
#[derive(Default)]
struct Crew {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crew {
    /// Answers each request; between its head and the answer the request is counted.
    fn serve(&self, mut connection: Connection) -> io::Result<()> {
        while connection.read_request()?.is_some() {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            // The others' requests may come meanwhile.
            std::thread::yield_now();
            // Before the answer: whoever gets it may send the next request, on another connection.
            self.now.fetch_sub(1, Ordering::SeqCst);
            connection.send(script::ok("x"))?;
        }
        connection.finish()
    }
}

/// Two hundred clients ask so often together, and the server counts.
#[track_caller]
fn visited_by_many(requests: u32, more: &str) {
    let crew = Arc::new(Crew::default());
    let origin = Origin::start({
        let crew = crew.clone();
        move |connection| crew.serve(connection)
    });
    let server = format!("{{ address = \"{}\", max_connections = {LIMIT} }}", origin.address());
    let config = site(2, [origin.address()]).replace(&format!("\"{}\"", origin.address()), &server)
        + "defaults.timeouts.queue = \"30s\"\n"
        + more;
    let tidegate = tidegate().start(&config);
    let url = format!("http://{}/", tidegate.address("web"));
    let load = h2load_http1(&url, 200, requests, &[]);
    let outcome = (load.requests_count, load.failed_statuses_count, load.errors_count);
    assert_eq!(outcome, (requests.into(), 0, 0));
    assert_eq!(origin.requests_count(), requests as usize, "each request once");
    assert_eq!(origin.connections_open_most(), LIMIT, "the most connections that were open");
    let most = crew.most.load(Ordering::SeqCst);
    assert!((2..=LIMIT).contains(&most), "{most} requests at once");
    let metrics = tidegate.metrics();
    assert!(metrics.count("tidegate_backend_requests_queued_total", &[]) > u64::from(requests) / 2);
    for family in ["tidegate_backend_requests_queued", "tidegate_server_requests_in_flight"] {
        assert_eq!(metrics.count(family, &[]), 0, "{family}");
    }
}

#[test]
fn two_hundred_clients_on_two_shards_never_open_an_eleventh_connection() {
    visited_by_many(20_000, "");
}

#[test]
fn nor_when_each_request_has_a_connection_of_its_own() {
    visited_by_many(4_000, "backends.app.reuse_server_connections = false\n");
}

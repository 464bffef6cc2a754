//! What traffic says of servers, and what it notices of one that dies.
//!
//! Owns ejections, their growth and cap, and servers that die or stand still under load; leaves checks to `health_checks`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use tidegate_testkit::{
    Builder, Client, Connection, LogLine, Metrics, Nginx, Origin, Tidegate, script, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// A server that answers its name, or 503 while it is ill.
fn origin(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let is_ill = ill.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        while connection.read_request()?.is_some() {
            let status = if is_ill.load(Ordering::SeqCst) { 503 } else { 200 };
            connection.send(script::response(status, "Whatever", &[], name))?;
        }
        connection.finish()
    });
    (origin, ill)
}

fn get(tidegate: &Tidegate) -> (u16, String) {
    let response = Client::connect(tidegate.address("web")).get("/");
    (response.status, response.text().to_owned())
}

/// Sends requests until the log has `event` after `mark`.
#[track_caller]
fn until(tidegate: &Tidegate, mark: usize, event: &str) -> LogLine {
    loop {
        get(tidegate);
        let lines = tidegate.process().lines();
        if let Some(line) = lines[mark..].iter().find(|line| line.is_event(event)) {
            return line.clone();
        }
    }
}

#[test]
fn an_outlier_is_ejected_for_a_growing_time_and_never_more_than_the_cap() {
    let ((one, one_ill), (two, two_ill)) = (origin("one"), origin("two"));
    let config = site(2, [one.address(), two.address()])
        + "backends.app.passive_health = { errors = 5, window = \"10s\", eject_for = \"300ms\", max_ejected_percent = 50 }\n";
    let tidegate = tidegate().start(&config);
    assert_eq!(get(&tidegate).0, 200);
    two_ill.store(true, Ordering::SeqCst);
    let mut mark = 0;
    for (times, time) in [("1", "300ms"), ("2", "600ms")] {
        let line = until(&tidegate, mark, "server_ejected");
        let fields = [("server", "s2"), ("reason", "errors"), ("for", time), ("times", times)];
        for (key, value) in fields {
            assert_eq!(line.field(key).as_deref(), Some(value), "{key} in {}", line.text);
        }
        mark = tidegate.process().lines_count();
        let line =
            tidegate.process().wait_line_after(mark - 1, |line| line.is_event("server_returned"));
        assert_eq!(line.field("server").as_deref(), Some("s2"), "{}", line.text);
    }
    // Both are ill: only one of them is ejected.
    let mark = tidegate.process().lines_count();
    one_ill.store(true, Ordering::SeqCst);
    until(&tidegate, mark, "server_ejected");
    let metrics = loop {
        get(&tidegate);
        let metrics = tidegate.metrics();
        assert!(metrics.count("tidegate_server_ejected", &[]) <= 1);
        if metrics.count("tidegate_backend_ejections_capped_total", &[]) > 0 {
            break metrics;
        }
    };
    assert!(metrics.count("tidegate_server_ejections_total", &[]) >= 3);
}

#[test]
fn a_success_ends_a_run_of_errors() {
    let (one, ill) = origin("one");
    let config = site(1, [one.address()])
        + "backends.app.passive_health = { consecutive_errors = 3, eject_for = \"1h\", max_ejected_percent = 100 }\n";
    let tidegate = tidegate().start(&config);
    for _ in 0..3 {
        for is_ill in [true, true, false] {
            ill.store(is_ill, Ordering::SeqCst);
            assert_eq!(get(&tidegate).0, if is_ill { 503 } else { 200 });
        }
    }
    assert_eq!(tidegate.metrics().count("tidegate_server_ejections_total", &[]), 0);
    ill.store(true, Ordering::SeqCst);
    let line = until(&tidegate, 0, "server_ejected");
    assert_eq!(line.field("reason").as_deref(), Some("consecutive_errors"), "{}", line.text);
    assert_eq!(get(&tidegate), (503, get(&tidegate).1), "the only one");
    assert!(tidegate.process().lines().iter().any(|line| line.is_event("backend_down")));
}

#[test]
fn a_status_that_is_tried_again_is_an_error_only_where_it_is_said_to_be() {
    let answers = |status: &Arc<AtomicU16>| {
        let status = status.clone();
        Origin::start(move |mut connection: Connection| {
            while connection.read_request()?.is_some() {
                connection.send(script::response(status.load(Ordering::SeqCst), "W", &[], "x"))?;
            }
            connection.finish()
        })
    };
    let statuses = [200, 503].map(|status| Arc::new(AtomicU16::new(status)));
    let [one, two] = statuses.each_ref().map(answers);
    let tidegate = tidegate().start(
        &(site(2, [one.address(), two.address()])
            + "backends.app.retry_on = [503]\nbackends.app.retry_budget = { percent = 100 }\n"
            + "backends.app.passive_health = { errors = 3, error_status = \"504\" }\n"),
    );
    for _ in 0..40 {
        assert_eq!(get(&tidegate).0, 200);
    }
    assert!(two.requests_count() >= 10);
    statuses[0].store(504, Ordering::SeqCst);
    let ejected = until(&tidegate, 0, "server_ejected");
    assert_eq!(ejected.field("server").as_deref(), Some("s1"), "the first one, for its 504");
}

#[test]
fn a_server_that_dies_under_load_costs_no_request_that_can_be_repeated() {
    let says = "location / { return 200 'x'; }";
    let (one, two) = (Nginx::start(says), Nginx::start(says));
    let config = site(2, [one.address(), two.address()])
        + "backends.app.health_check = { type = \"http\", interval = \"200ms\", timeout = \"100ms\", rise = 2, fall = 3 }\n"
        + "backends.app.retry_on = [\"connect_failure\", \"empty_response\", \"junk_response\", \"reset\"]\n";
    let tidegate = tidegate().start(&config);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, address) = (stop.clone(), tidegate.address("web"));
            std::thread::spawn(move || {
                let (mut client, mut answered, mut lost) = (Client::connect(address), 0, 0);
                while !stop.load(Ordering::SeqCst) {
                    match client.get("/").status {
                        200 => answered += 1,
                        _ => lost += 1,
                    }
                }
                (answered, lost)
            })
        })
        .collect();
    tidegate.wait_metrics("the load is there", |metrics| {
        metrics.count("tidegate_backend_requests_total", &[("status", "2xx")]) > 1000
    });
    let died = Instant::now();
    drop(two);
    tidegate.wait_log(|line| line.is_event("server_down"));
    let noticed = died.elapsed();
    // What was on its way when the shards were told is counted when it ends; from then on nobody tries it.
    let mut retries = 0;
    for _ in 0..2 {
        let metrics = tidegate.metrics();
        retries = metrics.count("tidegate_backend_retries_total", &[]);
        let before = metrics.count("tidegate_backend_requests_total", &[("status", "2xx")]);
        tidegate.wait_metrics("the load goes on", |metrics| {
            metrics.count("tidegate_backend_requests_total", &[("status", "2xx")]) > before + 1000
        });
    }
    let metrics = tidegate.metrics();
    stop.store(true, Ordering::SeqCst);
    let counts: Vec<(u64, u64)> = clients
        .into_iter()
        .map(|client| client.join().expect("a client that reads answers"))
        .collect();
    println!("noticed after {noticed:?}, {retries} retries");
    // Only a response that had begun cannot be made good.
    let lost = counts.iter().map(|(_, lost)| lost).sum::<u64>();
    let reasons: Vec<_> = tidegate.process().lines();
    let reasons: Vec<_> = reasons
        .iter()
        .filter(|line| line.is_event("request_failed"))
        .filter_map(|line| line.field("reason"))
        .collect();
    assert_eq!(lost, reasons.len() as u64, "{counts:?} {reasons:?}");
    assert!(reasons.iter().all(|reason| reason == "truncated_response"), "{reasons:?}");
    assert_eq!(
        metrics.count("tidegate_backend_retries_total", &[]),
        retries,
        "nobody tries it any more"
    );
}

/// Clients that ask without a pause until told to stop, and say how many answers were 200 and which others there were.
struct Crowd {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(u64, Vec<u16>)>>,
}

impl Crowd {
    /// `request` is told which client asks, and how often it has asked before.
    fn start(
        address: SocketAddr,
        count: usize,
        request: impl Fn(usize, u64) -> String + Send + Sync + 'static,
    ) -> Crowd {
        let (stop, request) = (Arc::new(AtomicBool::new(false)), Arc::new(request));
        let client = |number| {
            let (stop, request) = (stop.clone(), request.clone());
            std::thread::spawn(move || {
                let (mut client, mut served, mut others) = (Client::connect(address), 0, vec![]);
                for asked in (0..).take_while(|_| !stop.load(Ordering::SeqCst)) {
                    let response = client.send(request(number, asked)).read_response();
                    if response.status == 200 {
                        served += 1;
                        continue;
                    }
                    others.push(response.status);
                    client = Client::connect(address);
                }
                (served, others)
            })
        };
        let clients = (0..count).map(client).collect();
        Crowd { stop, clients }
    }

    fn end(self) -> (u64, Vec<u16>) {
        self.stop.store(true, Ordering::SeqCst);
        let ends = self
            .clients
            .into_iter()
            .map(|client| client.join().expect("a client that reads answers"));
        let (served, others): (Vec<u64>, Vec<Vec<u16>>) = ends.unzip();
        (served.iter().sum(), others.concat())
    }
}

#[test]
fn a_server_that_is_paused_under_load_costs_no_request_that_can_be_repeated_and_comes_back() {
    let says = "location / { return 200 'x'; }";
    let servers = [Nginx::start(says), Nginx::start(says)];
    let config = site(2, servers.each_ref().map(Nginx::address))
        + "backends.app.health_check = { type = \"http\", interval = \"100ms\", timeout = \"300ms\", rise = 2, fall = 3 }\n"
        + "backends.app.retry_on = [\"connect_failure\", \"empty_response\", \"junk_response\", \"reset\", \"timeout\"]\n"
        + "backends.app.retry_budget = { percent = 100 }\n"
        + "backends.app.timeouts = { per_try = \"300ms\", server = \"3s\" }\n";
    let tidegate = tidegate().start(&config);
    let address = tidegate.address("web");
    let gets = Crowd::start(address, 8, |_, _| "GET /get HTTP/1.1\r\nHost: a\r\n\r\n".into());
    let posts = Crowd::start(address, 2, |client, asked| {
        format!("POST /post/{client}/{asked} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
    });
    // What became of the attempts at a server: answered, and not.
    let attempts = |metrics: &Metrics, server: &str| {
        let count = |family| metrics.count(family, &[("server", server)]);
        (count("tidegate_server_requests_total"), count("tidegate_server_attempts_failed_total"))
    };
    let wait_served = |server: &str, more: u64| {
        let before = attempts(&tidegate.metrics(), server).0;
        tidegate.wait_metrics("requests are served", |metrics| {
            attempts(metrics, server).0 >= before + more
        })
    };
    wait_served("s2", 500);

    servers[1].pause();
    tidegate.wait_log(|line| line.is_event("server_down"));
    let paused = tidegate.wait_metrics("nothing waits for the paused one", |metrics| {
        metrics.count("tidegate_server_requests_in_flight", &[("server", "s2")]) == 0
    });
    let until_then = attempts(&paused, "s2");
    assert!(until_then.1 > 0, "the pause was felt");
    let later = wait_served("s1", 1000);
    assert_eq!(attempts(&later, "s2"), until_then, "nobody tries it any more");

    servers[1].resume();
    tidegate.wait_log(|line| {
        line.is_event("server_up") && line.field("server").as_deref() == Some("s2")
    });
    wait_served("s2", 500);
    let (answered, lost) = gets.end();
    assert!(lost.is_empty(), "{answered} requests were answered with 200, others with {lost:?}");
    posts.end();
    let mut seen = std::collections::HashMap::<String, u32>::new();
    for line in servers.iter().flat_map(Nginx::access_log).filter(|line| line.starts_with("POST")) {
        *seen.entry(line.split(' ').nth(1).unwrap_or_default().to_owned()).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(!seen.is_empty() && twice.is_empty(), "reached servers more than once: {twice:?}");
}

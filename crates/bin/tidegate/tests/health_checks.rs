//! Servers that are checked: what brings them down and up, and what follows.
//!
//! Owns checks against real servers and scripted ones; leaves what traffic says of servers to `health_traffic`.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tidegate_testkit::{
    Builder, Client, Connection, Deadline, Gate, LogLine, Metrics, Nginx, Origin, Redis, Signal,
    Tidegate, refused_address, script, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// A site whose backend has further keys.
fn checked(addresses: &[String], keys: &str) -> String {
    site(2, addresses) + keys
}

/// Waits for the next `event` about `server` among the lines after `mark`.
#[track_caller]
fn wait_after(tidegate: &Tidegate, mark: usize, event: &str, server: &str) -> LogLine {
    tidegate.process().wait_line_after(mark, |line| {
        line.is_event(event) && line.field("server").is_none_or(|name| name == server)
    })
}

fn mark(tidegate: &Tidegate) -> usize {
    tidegate.process().lines_count()
}

/// The servers that answer a number of requests, each on a connection of its own.
fn answering(tidegate: &Tidegate, count: usize) -> HashSet<String> {
    let get = |_| {
        let response = Client::connect(tidegate.address("web")).get("/");
        format!("{} {}", response.status, response.text())
    };
    (0..count).map(get).collect()
}

/// Waits until exactly these answer: a shard takes what it is told in its next turn.
#[track_caller]
fn wait_answering(tidegate: &Tidegate, expected: &HashSet<String>) {
    let deadline = Deadline::default();
    loop {
        let answered = answering(tidegate, 12);
        if answered == *expected {
            return;
        }
        assert!(deadline.remaining().is_some(), "{answered:?}, not {expected:?}");
    }
}

const FAST: &str = "interval = \"50ms\", timeout = \"200ms\"";

#[test]
fn a_server_that_is_stopped_paused_and_restarted_goes_and_comes() {
    let says = |name: &str| format!("location / {{ return 200 '{name}'; }}");
    let (one, two) = (Nginx::start(&says("one")), Nginx::start(&says("two")));
    let addresses = [one.address().to_string(), two.address().to_string()];
    let check = format!("backends.app.health_check = {{ type = \"http\", {FAST} }}\n");
    let tidegate = tidegate().start(&checked(&addresses, &check));
    let both = HashSet::from(["200 one".to_owned(), "200 two".to_owned()]);
    let first = HashSet::from(["200 one".to_owned()]);
    wait_answering(&tidegate, &both);

    let before = mark(&tidegate);
    let address = two.address();
    drop(two);
    let line = wait_after(&tidegate, before, "server_down", "s2");
    assert_eq!(line.field("reason").as_deref(), Some("refused"), "{}", line.text);
    assert_eq!(line.field("servers_up").as_deref(), Some("1"), "{}", line.text);
    wait_answering(&tidegate, &first);
    let failed = tidegate.metrics().count("tidegate_backend_retries_total", &[]);
    answering(&tidegate, 8);
    assert_eq!(tidegate.metrics().count("tidegate_backend_retries_total", &[]), failed);

    let before = mark(&tidegate);
    let two = Nginx::start_again(address, &says("two"));
    wait_after(&tidegate, before, "server_up", "s2");
    wait_answering(&tidegate, &both);

    let before = mark(&tidegate);
    two.pause();
    let line = wait_after(&tidegate, before, "server_down", "s2");
    assert_eq!(line.field("reason").as_deref(), Some("timeout"), "{}", line.text);
    assert_eq!(tidegate.metrics().count("tidegate_backend_servers_up", &[]), 1);
    assert_eq!(tidegate.metrics().count("tidegate_server_up", &[("server", "s2")]), 0);
    wait_answering(&tidegate, &first);
    let before = mark(&tidegate);
    two.resume();
    wait_after(&tidegate, before, "server_up", "s2");
    wait_answering(&tidegate, &both);
}

#[test]
fn redis_is_asked_what_redis_knows() {
    let redis = Redis::start();
    let address = format!("unix:{}", redis.path().display());
    for keys in [
        format!("{{ type = \"redis\", {FAST} }}"),
        format!("{{ type = \"exchange\", send = \"PING\\r\\n\", expect = \"+PONG\", {FAST} }}"),
    ] {
        let check = format!("backends.app.health_check = {keys}\n");
        let tidegate = tidegate().start(&checked(std::slice::from_ref(&address), &check));
        tidegate.wait_metrics("a check passes", |metrics| {
            metrics.count("tidegate_server_checks_total", &[("result", "passed")]) > 0
        });
        let before = mark(&tidegate);
        redis.signal(Signal::STOP);
        wait_after(&tidegate, before, "server_down", "s1");
        tidegate.wait_metrics("the shards know", |_| {
            Client::connect(tidegate.address("web")).get("/").status == 503
        });
        let before = mark(&tidegate);
        redis.signal(Signal::CONT);
        wait_after(&tidegate, before, "server_up", "s1");
    }
}

#[test]
fn as_many_checks_as_rise_and_fall_say_make_a_change() {
    // `+` passes; each check gets the next of these, and the last one for ever.
    const ANSWERS: &[u8] = b"+---++-++--++----+-+++";
    let (at, gate) = (AtomicUsize::new(0), Arc::new(Gate::new()));
    let (open, host) = (gate.clone(), Arc::new(Mutex::new(HashSet::new())));
    let hosts = host.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let Some(request) = connection.read_request()? else { return connection.finish() };
        let field = |name: &str| request.headers.value(name).unwrap_or_default().to_owned();
        let seen =
            format!("{} {} {} {}", request.method, request.target, field("host"), field("x-probe"));
        hosts.lock().expect("no test panics with it").insert(seen);
        let index = at.fetch_add(1, Ordering::SeqCst);
        if index >= ANSWERS.len() - 1 {
            open.open();
        }
        let passes = ANSWERS[index.min(ANSWERS.len() - 1)] == b'+';
        let body = if passes { "state: fine" } else { "state: bad" };
        connection.send(script::response(299, "OK", &[("Connection", "close")], body))?;
        connection.finish()
    });
    let check = "backends.app.health_check = { path = \"/ready?x=1\", host = \"probe.example\", \
        headers = { X-Probe = \"7\" }, expect_status = \"200,299\", \
        expect_body_regex = \"^state: (fine|good)$\", rise = 3, fall = 4, interval = \"10ms\", timeout = \"5s\" }\n";
    let tidegate = tidegate().start(&checked(&[origin.address().to_string()], check));
    gate.wait();
    tidegate.wait_log(|line| line.is_event("server_up"));
    let lines = tidegate.process().lines();
    let count = |event: &str| lines.iter().filter(|line| line.is_event(event)).count();
    assert_eq!((count("server_down"), count("server_up")), (1, 1));
    let line = tidegate.wait_log(|line| line.is_event("server_down"));
    assert_eq!(line.field("reason").as_deref(), Some("body"), "{}", line.text);
    assert_eq!(line.field("detail").as_deref(), Some("state: bad"), "{}", line.text);
    let seen = host.lock().expect("no test panics with it").clone();
    assert_eq!(seen, HashSet::from(["GET /ready?x=1 probe.example 7".to_owned()]));
    let failed = &[("result", "body")];
    assert_eq!(tidegate.metrics().count("tidegate_server_checks_total", failed), 11);
}

#[test]
fn an_agent_says_how_its_server_is() {
    let word = Arc::new(Mutex::new("up 50%".to_owned()));
    let said = word.clone();
    let agent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = agent.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for connection in agent.incoming() {
            let Ok(mut connection) = connection else { return };
            let line = said.lock().expect("no test panics with it").clone() + "\n";
            let _ = std::io::Write::write_all(&mut connection, line.as_bytes());
        }
    });
    let says = |name: &str| Origin::start(script::answer_ok(name));
    let (one, two) = (says("one"), says("two"));
    let addresses = [one.address().to_string(), two.address().to_string()];
    let mut config = checked(&addresses[1..], "");
    config += &format!(
        "backends.app.servers.a = {{ address = \"{}\", weight = 2, health_check = {{ type = \"agent\", port = {port}, {FAST} }} }}\n",
        addresses[0]
    );
    let tidegate = tidegate().start(&config);
    let say = |line: &str, event: &str| {
        let before = mark(&tidegate);
        line.clone_into(&mut word.lock().expect("no test panics with it"));
        wait_after(&tidegate, before, event, "a")
    };
    let line = say("drain", "server_duty");
    assert_eq!(line.field("duty").as_deref(), Some("drain"), "{}", line.text);
    let second = HashSet::from(["200 two".to_owned()]);
    wait_answering(&tidegate, &second);
    say("ready up 100% maxconn:30", "server_duty");
    wait_answering(&tidegate, &HashSet::from(["200 one".to_owned(), "200 two".to_owned()]));
    tidegate.wait_metrics("maxconn is shown", |metrics| {
        metrics.count("tidegate_server_agent_max_connections", &[("server", "a")]) == 30
    });
    let line = say("down #disk full", "server_down");
    assert_eq!(line.field("detail").as_deref(), Some("disk full"), "{}", line.text);
    wait_answering(&tidegate, &second);
    say("up", "server_up");
    say("maint", "server_duty");
    wait_answering(&tidegate, &second);
}

#[test]
fn with_too_few_healthy_servers_all_are_used() {
    let origin = Origin::start(script::answer_ok("hello"));
    let closed = refused_address();
    // The checks go where nobody listens; the requests are answered.
    let check = format!(
        "backends.app.health_check = {{ port = {}, {FAST} }}\nbackends.app.panic_threshold = 50\n",
        closed.address().port()
    );
    let tidegate = tidegate().start(&checked(&[origin.address().to_string()], &check));
    let line = tidegate.wait_log(|line| line.is_event("backend_panic"));
    wait_answering(&tidegate, &HashSet::from(["200 hello".to_owned()]));
    assert_eq!(line.field("healthy").as_deref(), Some("0"), "{}", line.text);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "hello");
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_backend_panic", &[]), 1);
    assert_eq!(metrics.count("tidegate_backend_servers_up", &[]), 0);
    // Without a threshold there is no server then.
    let config =
        checked(&[origin.address().to_string()], &check.replace("threshold = 50", "threshold = 0"));
    let before = mark(&tidegate);
    tidegate.reload(&config);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").status, 503);
    let lines = tidegate.process().lines();
    let again = lines[before..].iter().any(|line| line.is_event("server_down"));
    assert!(!again, "what is known of a server that stays outlives a reload");
}

#[test]
fn sessions_end_with_their_server_where_that_is_wanted() {
    for (word, closes) in [("close_sessions", true), ("keep_sessions", false)] {
        let gate = Arc::new(Gate::new());
        let (open, well) = (gate.clone(), Arc::new(AtomicBool::new(true)));
        let health = well.clone();
        let origin = Origin::start(move |mut connection: Connection| {
            while let Some(request) = connection.read_request()? {
                if request.target == "/slow" {
                    open.wait();
                } else if !health.load(Ordering::SeqCst) {
                    return connection.ignore();
                }
                connection.send(script::ok("done"))?;
            }
            connection.finish()
        });
        let check = format!(
            "backends.app.health_check = {{ type = \"http\", {FAST} }}\nbackends.app.on_marked_down = \"{word}\"\n"
        );
        let tidegate = tidegate().start(&checked(&[origin.address().to_string()], &check));
        let mut idle = Client::connect(tidegate.address("web"));
        assert_eq!(idle.get("/fast").text(), "done");
        let mut client = Client::connect(tidegate.address("web"));
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        tidegate.wait_metrics("the request is at the server", |metrics| {
            metrics.count("tidegate_server_requests_in_flight", &[]) == 1
        });
        well.store(false, Ordering::SeqCst);
        tidegate.wait_log(|line| line.is_event("server_down"));
        if closes {
            assert!([502, 503].contains(&client.read_response().status));
            gate.open();
        } else {
            gate.open();
            assert_eq!(client.read_response().text(), "done");
        }
        tidegate.wait_metrics("no connection to it is left", |metrics| {
            metrics.count("tidegate_server_connections_open", &[]) == 0
        });
    }
}

#[test]
fn ten_thousand_servers_are_checked_and_requests_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let origin = Origin::start(script::answer_ok("hello"));
    let mut config = checked(&[origin.address().to_string()], "");
    config += "[backends.many]\nhealth_check = { type = \"tcp\", interval = \"2s\", timeout = \"20s\" }\n[backends.many.servers]\n";
    for server in 0..10_000 {
        config += &format!("s{server} = \"{address}\"\n");
    }
    let tidegate = tidegate().start(&config);
    let mut client = Client::connect(tidegate.address("web"));
    let passed = [("result", "passed")];
    let mut asked = 0;
    let metrics = loop {
        assert_eq!(client.get("/").text(), "hello");
        asked += 1;
        if asked % 5_000 == 0 {
            let metrics = tidegate.metrics();
            if metrics.count("tidegate_server_checks_total", &passed) >= 20_000 {
                break metrics;
            }
        }
    };
    let checked = metrics.matching("tidegate_server_checks_total", &passed).count();
    assert_eq!(checked, 10_000, "every one of them");
    assert_eq!(
        metrics.count("tidegate_server_checks_total", &[]),
        metrics.count("tidegate_server_checks_total", &passed)
    );
}

#[test]
fn each_shard_tells_how_long_every_change_took_to_reach_it() {
    let ill = Arc::new(AtomicBool::new(false));
    let is_ill = ill.clone();
    let origin = Origin::start(script::answer_with(move |_, _| {
        let status = if is_ill.load(Ordering::SeqCst) { 503 } else { 200 };
        script::response(status, "Whatever", &[], "x")
    }));
    let check = "backends.app.health_check = { type = \"http\", interval = \"50ms\", timeout = \"20s\", rise = 1, fall = 1 }\n";
    let tidegate = tidegate().start(&checked(&[origin.address().to_string()], check));
    let passed = [("result", "passed")];
    let start = tidegate.wait_metrics("the first checks", |metrics| {
        metrics.count("tidegate_server_checks_total", &passed) > 1
    });
    let family = "tidegate_shard_server_change_delay_seconds";
    let deliveries = |metrics: &Metrics| {
        let of = |shard| metrics.count(&format!("{family}_count"), &[("shard", shard)]);
        ["0", "1"].map(of)
    };
    let before = deliveries(&start);
    for (changes, event) in (1..).zip(["server_down", "server_up", "server_down"]) {
        let since = mark(&tidegate);
        ill.store(event == "server_down", Ordering::SeqCst);
        wait_after(&tidegate, since, event, "s1");
        let expected = before.map(|count| count + changes);
        tidegate.wait_metrics("both have it, once", |metrics| deliveries(metrics) == expected);
    }
    let metrics = tidegate.metrics();
    let longest =
        |shard| metrics.sum("tidegate_shard_server_change_delay_max_seconds", &[("shard", shard)]);
    for shard in ["0", "1"] {
        let sum = metrics.sum(&format!("{family}_sum"), &[("shard", shard)]);
        assert!(longest(shard) > 0.0 && longest(shard) <= sum, "{} of {sum}", longest(shard));
    }
}

//! Limits on the connections of servers, and the requests that wait for them.
//!
//! Owns what happens when every server is full: order over all shards, priority, deadlines, clients that leave. Leaves the limits on
//! clients to `ops_limits`.

#[path = "support/access_log.rs"]
mod access_log;

use access_log::Logged;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tidegate_testkit::{
    Builder, Client, Connection, Deadline, Gate, Origin, Signal, Tidegate, script, site,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// A site whose servers take so many connections each.
fn limited(shards: usize, servers: &[SocketAddr], limit: u32, more: &str) -> String {
    use std::fmt::Write as _;
    let mut text = site(shards, servers);
    for (number, address) in (1..).zip(servers) {
        text = text.replace(
            &format!("backends.app.servers.s{number} = \"{address}\"\n"),
            &format!("backends.app.servers.s{number}.address = \"{address}\"\n"),
        );
        writeln!(text, "backends.app.servers.s{number}.max_connections = {limit}")
            .expect("a String takes everything");
    }
    text + more
}

/// Answers at once, but `/hold` only when the gate is opened.
fn holding(gate: &Arc<Gate>) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    let gate = gate.clone();
    script::answer_with(move |_, request| {
        if request.target == "/hold" {
            gate.wait();
        }
        script::ok(&request.target)
    })
}

fn queued(tidegate: &Tidegate) -> u64 {
    tidegate.metrics().count("tidegate_backend_requests_queued", &[])
}

#[track_caller]
fn wait_queued(tidegate: &Tidegate, count: u64) {
    tidegate.wait_metrics("so many wait", |metrics| {
        metrics.count("tidegate_backend_requests_queued", &[]) == count
    });
}

/// A client that has asked and whose answer is still to come.
fn ask(tidegate: &Tidegate, target: &str) -> Client {
    let mut client = Client::connect(tidegate.address("web"));
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

/// So many clients that wait, one after the other.
fn ask_in_turn(tidegate: &Tidegate, targets: &[String]) -> Vec<Client> {
    let before = queued(tidegate);
    let one = |(count, target): (u64, &String)| {
        let client = ask(tidegate, target);
        wait_queued(tidegate, before + count);
        client
    };
    (1..).zip(targets).map(one).collect()
}

/// Holds every slot of the servers.
fn hold(tidegate: &Tidegate, origin: &Origin, count: usize) -> Vec<Client> {
    let clients: Vec<_> = (0..count).map(|_| ask(tidegate, "/hold")).collect();
    origin.wait_requests(count);
    clients
}

fn targets(origin: &Origin) -> Vec<String> {
    origin.requests().iter().map(|request| request.target.clone()).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("/{number}")).collect()
}

#[test]
fn a_server_never_has_more_connections_than_its_limit() {
    for shards in [1, 2] {
        for more in ["", "backends.app.reuse_server_connections = false\n"] {
            let origin = Origin::start(script::answer_ok("hello"));
            let tidegate = tidegate().start(&limited(shards, &[origin.address()], 3, more));
            let address = tidegate.address("web");
            let visit = move || {
                for _ in 0..10 {
                    let mut client = Client::connect(address);
                    for _ in 0..5 {
                        assert_eq!(client.get("/").text(), "hello");
                    }
                }
            };
            let threads: Vec<_> = (0..16).map(|_| std::thread::spawn(visit)).collect();
            for thread in threads {
                thread.join().expect("every client was answered");
            }
            assert_eq!(origin.requests_count(), 16 * 50);
            let most = origin.connections_open_most();
            assert!((1..=3).contains(&most), "{most} connections, {shards} shards, {more}");
            assert_eq!(queued(&tidegate), 0);
        }
    }
}

#[test]
fn who_has_waited_longest_on_any_shard_is_next() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let tidegate = tidegate().start(&limited(shards, &[origin.address()], 1, ""));
        let mut held = hold(&tidegate, &origin, 1);
        let mut waiting = ask_in_turn(&tidegate, &numbered(16));
        gate.open();
        held[0].read_response();
        for (number, client) in waiting.iter_mut().enumerate() {
            assert_eq!(client.read_response().text(), format!("/{number}"));
        }
        assert_eq!(targets(&origin)[1..], numbered(16));
        assert_eq!(origin.connections_open_most(), 1);
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_backend_requests_queued_total", &[]), 16);
        assert!(metrics.sum("tidegate_backend_queued_seconds_total", &[]) > 0.0);
    }
}

#[test]
fn a_lower_priority_goes_first_whenever_it_came() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let rules = "[[frontends.web.rules]]\n\
             when = 'request.path.startsWith(\"/bulk\")'\n\
             set_priority = 10\n\
             [[frontends.web.rules]]\n\
             when = 'request.path.startsWith(\"/urgent\")'\n\
             set_priority = -10\n";
        let tidegate = tidegate().start(&limited(shards, &[origin.address()], 1, rules));
        let mut held = hold(&tidegate, &origin, 1);
        let asked = ["/bulk1", "/one", "/urgent1", "/bulk2", "/two", "/urgent2"].map(str::to_owned);
        let mut waiting = ask_in_turn(&tidegate, &asked);
        gate.open();
        held[0].read_response();
        waiting.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        let served = ["/hold", "/urgent1", "/urgent2", "/one", "/two", "/bulk1", "/bulk2"];
        assert_eq!(targets(&origin), served);
    }
}

#[test]
fn a_request_that_waits_too_long_is_answered_with_503_and_others_go_on() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let site =
            limited(shards, &[origin.address()], 1, "backends.app.timeouts.queue = \"100ms\"\n");
        let logged = Logged::with_site(&site, "");
        let tidegate = &logged.tidegate;
        let mut held = hold(tidegate, &origin, 1);
        let mut late = ask(tidegate, "/late");
        assert_eq!(late.read_response().status, 503);
        let line = logged.last(1);
        assert_eq!((line.letters(), line.status), ("sQ", 503), "{line:?}");
        assert!(line.times[1] >= 100, "{line:?}");
        let reason = [("reason", "queue_timeout")];
        let failed = tidegate.metrics().count("tidegate_backend_requests_failed_total", &reason);
        assert_eq!((failed, queued(tidegate)), (1, 0));
        gate.open();
        assert_eq!(held[0].read_response().status, 200);
        assert_eq!(late.get("/again").text(), "/again");
        assert_eq!(targets(&origin), ["/hold", "/again"]);
    }
}

#[test]
fn a_full_queue_is_answered_with_503_at_once() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let site = limited(shards, &[origin.address()], 1, "backends.app.max_queue = 2\n");
        let tidegate = tidegate().start(&site);
        let _held = hold(&tidegate, &origin, 1);
        let mut waiting = ask_in_turn(&tidegate, &numbered(2));
        let mut third = ask(&tidegate, "/third");
        assert_eq!(third.read_response().status, 503);
        let reason = [("reason", "servers_full")];
        let failed = tidegate.metrics().count("tidegate_backend_requests_failed_total", &reason);
        assert_eq!(failed, 1);
        gate.open();
        waiting.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        assert_eq!(third.get("/now").text(), "/now");
    }
}

#[test]
fn a_client_that_leaves_gives_its_place_up_at_once() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let site = limited(shards, &[origin.address()], 1, "backends.app.max_queue = 3\n");
        let logged = Logged::with_site(&site, "");
        let tidegate = &logged.tidegate;
        let _held = hold(tidegate, &origin, 1);
        let mut waiting = ask_in_turn(tidegate, &numbered(3));
        drop(waiting.remove(1));
        wait_queued(tidegate, 2);
        let line = logged.last(1);
        assert_eq!((line.letters(), line.queues), ("CQ", [0, 1]), "{line:?}");
        waiting.push(ask(tidegate, "/3"));
        wait_queued(tidegate, 3);
        gate.open();
        waiting.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        assert_eq!(targets(&origin), ["/hold", "/0", "/2", "/3"]);
    }
}

#[test]
fn requests_that_wait_for_a_server_that_dies_go_to_another() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let dying = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = dying.local_addr().expect("bound");
        let other = Origin::start(holding(&gate));
        let tidegate = tidegate().start(&limited(shards, &[address, other.address()], 1, ""));
        let _held = [ask(&tidegate, "/hold"), ask(&tidegate, "/hold")];
        let (held, _) = dying.accept().expect("it gets one of the requests");
        other.wait_requests(1);
        let mut waiting = ask_in_turn(&tidegate, &numbered(6));
        // The request that it has fails; those that wait come to a server that refuses them.
        drop(dying);
        drop(held);
        tidegate.wait_metrics("all wait for the other", |metrics| {
            metrics.count("tidegate_server_requests_queued", &[("server", "s2")]) == 6
        });
        gate.open();
        for client in &mut waiting {
            assert_eq!(client.read_response().status, 200);
        }
        assert_eq!((queued(&tidegate), other.connections_open_most()), (0, 1));
    }
}

#[test]
fn a_reload_moves_the_limit() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let site = |limit| limited(shards, &[origin.address()], limit, "");
        let tidegate = tidegate().start(&site(1));
        let mut held = hold(&tidegate, &origin, 1);
        let holds = vec!["/hold".to_owned(); 4];
        held.extend(ask_in_turn(&tidegate, &holds));
        // Two more are served without anybody leaving.
        assert!(tidegate.reload(&site(3)).is_event("reloaded"));
        origin.wait_requests(3);
        wait_queued(&tidegate, 2);
        assert!(tidegate.reload(&site(1)).is_event("reloaded"));
        gate.open();
        held.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        assert_eq!(origin.connections_open_most(), 3);
        tidegate.wait_metrics("no more connections than the limit", |metrics| {
            metrics.count("tidegate_server_connections_open", &[]) <= 1
        });
    }
}

#[test]
fn a_reload_with_other_servers_keeps_those_who_wait() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let (origin, more) = (Origin::start(holding(&gate)), Origin::start(script::answer_ok("b")));
        let tidegate = tidegate().start(&limited(shards, &[origin.address()], 1, ""));
        let _held = hold(&tidegate, &origin, 1);
        let mut waiting = ask_in_turn(&tidegate, &numbered(3));
        let both = limited(shards, &[origin.address(), more.address()], 1, "");
        assert!(tidegate.reload(&both).is_event("reloaded"));
        // They wait for the server that they know, new ones for both.
        tidegate.wait_metrics("they wait for one server", |metrics| {
            metrics.count("tidegate_server_requests_queued", &[("server", "s1")]) == 3
        });
        assert_eq!(ask(&tidegate, "/new").read_response().text(), "b");
        gate.open();
        waiting.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
    }
}

#[test]
fn who_waits_when_the_program_ends_is_served() {
    for shards in [1, 2] {
        let gate = Arc::new(Gate::new());
        let origin = Origin::start(holding(&gate));
        let mut tidegate = tidegate().start(&limited(shards, &[origin.address()], 1, ""));
        let _held = hold(&tidegate, &origin, 1);
        let mut waiting = ask_in_turn(&tidegate, &numbered(5));
        tidegate.signal(Signal::TERM);
        tidegate.wait_log(|line| line.is_event("draining"));
        gate.open();
        waiting.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        assert!(tidegate.wait_exit(Deadline::default()).success());
    }
}

/// A site with one server, perhaps with a limit, and further settings of its pool.
fn pooled(origin: &Origin, limit: &str, pool: &str) -> String {
    site(1, [origin.address()]).replace("s1 = ", "s1.address = ")
        + limit
        + &format!("backends.app.pool = {pool}\n")
}

const LIMITS: [&str; 2] = ["", "backends.app.servers.s1.max_connections = 1\n"];

#[test]
fn a_server_connection_carries_so_many_requests() {
    for limit in LIMITS {
        for (max_requests, connections) in [(2, 3), (6, 1), (1, 6)] {
            let origin = Origin::start(script::answer_ok("hello"));
            let pool = format!("{{ max_requests = {max_requests} }}");
            let tidegate = tidegate().start(&pooled(&origin, limit, &pool));
            let mut client = Client::connect(tidegate.address("web"));
            (0..6).for_each(|_| assert_eq!(client.get("/").text(), "hello"));
            assert_eq!(origin.connections_count(), connections, "{max_requests} {limit}");
            assert_eq!(origin.connections_open_most(), 1, "{max_requests} {limit}");
        }
    }
}

#[test]
fn a_server_connection_that_is_too_old_is_closed() {
    for limit in LIMITS {
        let origin = Origin::start(script::answer_ok("hello"));
        let pool = "{ max_lifetime = \"1ms\", idle_timeout = \"1h\" }";
        let tidegate = tidegate().start(&pooled(&origin, limit, pool));
        let mut client = Client::connect(tidegate.address("web"));
        assert_eq!(client.get("/").text(), "hello");
        tidegate.wait_metrics("no connection is left", |metrics| {
            metrics.count("tidegate_server_connections_open", &[]) == 0
        });
        assert_eq!(client.get("/").text(), "hello");
        assert_eq!(origin.connections_count(), 2, "{limit}");
    }
}

/// An agent that says whatever it was told last.
fn agent(word: &str) -> (Arc<Mutex<String>>, u16) {
    let word = Arc::new(Mutex::new(word.to_owned()));
    let said = word.clone();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let line = said.lock().expect("no test panics with it").clone() + "\n";
            let _ = io::Write::write_all(&mut connection, line.as_bytes());
        }
    });
    (word, port)
}

/// A check that asks it.
fn asked(port: u16) -> String {
    format!(
        "health_check = {{ type = \"agent\", port = {port}, interval = \"50ms\", timeout = \"500ms\" }}"
    )
}

/// Answers at once, but `/first`, `/second` and `/third` only when their gates are opened.
fn gated(gates: &[Arc<Gate>; 3]) -> Origin {
    let gates = gates.clone();
    Origin::start(script::answer_with(move |_, request| {
        match request.target.as_str() {
            "/first" => gates[0].wait(),
            "/second" => gates[1].wait(),
            "/third" => gates[2].wait(),
            _ => {}
        }
        script::ok(&request.target)
    }))
}

/// Waits until the server's agent has set this limit, and all shards have been told.
fn wait_limit(tidegate: &Tidegate, after: usize, max: &str) {
    tidegate.process().wait_line_after(after, |line| {
        line.is_event("server_limit") && line.field("max_connections").as_deref() == Some(max)
    });
}

/// So many requests that are answered, each on a connection of its own, all at once.
fn visit_at_once(tidegate: &Tidegate, count: usize) {
    let address = tidegate.address("web");
    let visit = move || Client::connect(address).get("/").status;
    let threads: Vec<_> = (0..count).map(|_| std::thread::spawn(visit)).collect();
    for thread in threads {
        assert_eq!(thread.join().expect("answered"), 200);
    }
}

fn an_agent_moves_the_limit(shards: usize, configured: &str) {
    let gates = std::array::from_fn(|_| Arc::new(Gate::new()));
    let origin = gated(&gates);
    let [first, second, third] = gates;
    let (word, port) = agent("up maxconn:2");
    let server = format!("{{ address = \"{}\", {configured}{} }}", origin.address(), asked(port));
    let text = site(shards, [origin.address()])
        .replace(&format!("\"{}\"", origin.address()), &server)
        + "defaults.timeouts.queue = \"30s\"\n";
    let tidegate = tidegate().start(&text);
    let say = |max: &str| {
        let before = tidegate.process().lines_count();
        *word.lock().expect("no test panics with it") = format!("maxconn:{max}");
        wait_limit(&tidegate, before, max);
    };
    wait_limit(&tidegate, 0, "2");
    let mut of_first: Vec<_> = (0..2).map(|_| ask(&tidegate, "/first")).collect();
    origin.wait_requests(2);
    let mut of_second: Vec<_> = (0..3).map(|_| ask(&tidegate, "/second")).collect();
    wait_queued(&tidegate, 3);
    // More than is configured, if anything is: as in HAProxy the agent has the last word.
    say("4");
    origin.wait_requests(4);
    wait_queued(&tidegate, 1);
    say("1");
    assert!(tidegate.reload(&text).is_event("reloaded"));
    first.open();
    of_first.iter_mut().for_each(|client| drop(client.read_response()));
    // Two are left, which is more than one: nobody goes on.
    for _ in 0..5 {
        assert_eq!((queued(&tidegate), origin.requests_count()), (1, 4));
    }
    second.open();
    of_second.iter_mut().for_each(|client| drop(client.read_response()));
    assert_eq!((origin.requests_count(), origin.connections_open_most()), (5, 4));
    let mut of_third: Vec<_> = (0..3).map(|_| ask(&tidegate, "/third")).collect();
    wait_queued(&tidegate, 2);
    origin.wait_requests(6);
    assert_eq!(origin.requests_count(), 6, "one at a time");
    third.open();
    of_third.iter_mut().for_each(|client| drop(client.read_response()));
    say("0");
    visit_at_once(&tidegate, 8);
    assert_eq!((origin.requests_count(), queued(&tidegate)), (16, 0));
}

#[test]
fn an_agent_moves_the_limit_of_its_server_at_once() {
    for shards in [1, 2] {
        for configured in ["", "max_connections = 3, "] {
            an_agent_moves_the_limit(shards, configured);
        }
    }
}

#[test]
fn who_waits_is_not_sent_to_a_server_that_takes_no_requests() {
    for shards in [1, 2] {
        for word in ["maint", "drain"] {
            let gate = Arc::new(Gate::new());
            let (origin, other) =
                (Origin::start(holding(&gate)), Origin::start(script::answer_ok("other")));
            let (_word, port) = agent(word);
            let more = format!(
                "backends.app.servers.s2 = {{ address = \"{}\", max_connections = 1, {} }}\n",
                other.address(),
                asked(port)
            );
            let tidegate = tidegate().start(&limited(shards, &[origin.address()], 1, &more));
            tidegate.wait_log(|line| line.is_event("server_duty"));
            // A shard takes what it is told in its next turn.
            let mut held = hold(&tidegate, &origin, 1);
            let mut waiting = ask_in_turn(&tidegate, &numbered(4));
            gate.open();
            held[0].read_response();
            for (number, client) in waiting.iter_mut().enumerate() {
                assert_eq!(client.read_response().text(), format!("/{number}"), "{word}");
            }
            assert_eq!(other.requests_count(), 0, "{word}");
        }
    }
}

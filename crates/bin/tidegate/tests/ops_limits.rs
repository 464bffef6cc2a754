//! Limits on connections and on descriptors: exact over all shards, and a wait rather than a
//! refusal.
//!
//! Owns what happens when there is no room for another connection. Leaves limits within a request
//! to the tests of HTTP.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tidegate_testkit::{Builder, Client, Gate, Origin, PATIENCE, Tidegate, script, site};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// How long it must stay quiet to show that nobody else is served: a hundred times what a served
/// client takes.
const QUIET: Duration = Duration::from_millis(200);

/// Clients that connect at once, ask once, tell that they were answered, and keep their connection
/// until they are let go.
struct Crowd {
    answered: Receiver<usize>,
    leave: Vec<Gate>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Crowd {
    fn arrive(address: SocketAddr, count: usize) -> Self {
        let (tell, answered) = channel();
        let leave: Vec<Gate> = (0..count).map(|_| Gate::new()).collect();
        let visit = |(number, leave): (usize, &Gate)| {
            let (tell, leave) = (tell.clone(), leave.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                assert_eq!(client.get("/").text(), "hello");
                tell.send(number).expect("the crowd outlives its members");
                leave.wait();
            })
        };
        let threads = leave.iter().enumerate().map(visit).collect();
        Self { answered, leave, threads }
    }

    /// Waits until one more has been answered.
    #[track_caller]
    fn next(&self) -> usize {
        self.answered.recv_timeout(PATIENCE).expect("one more client is answered")
    }

    /// Nobody else is answered.
    #[track_caller]
    fn assert_quiet(&self) {
        let next = self.answered.recv_timeout(QUIET);
        assert_eq!(next, Err(RecvTimeoutError::Timeout), "one more client was answered");
    }

    fn let_go(&self, number: usize) {
        self.leave[number].open();
    }

    fn end(self) {
        self.leave.iter().for_each(Gate::open);
        for thread in self.threads {
            thread.join().expect("every client was answered");
        }
    }
}

fn open_connections(tidegate: &Tidegate, frontend: &str) -> u64 {
    tidegate.metrics().count("tidegate_frontend_connections_open", &[("frontend", frontend)])
}

#[test]
fn ten_are_served_at_once_and_the_next_wait_their_turn() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let config = site(shards, [origin.address()]) + "global.max_connections = 10\n";
        let tidegate = tidegate().start(&config);
        let crowd = Crowd::arrive(tidegate.address("web"), 30);
        let mut inside: Vec<usize> = (0..10).map(|_| crowd.next()).collect();
        crowd.assert_quiet();
        assert_eq!(open_connections(&tidegate, "web"), 10);
        for _ in 0..20 {
            crowd.let_go(inside.remove(0));
            inside.push(crowd.next());
            assert!(open_connections(&tidegate, "web") <= 10);
        }
        crowd.end();
        let metrics = tidegate.wait_metrics("everybody has left", |metrics| {
            metrics.count("tidegate_frontend_connections_open", &[]) == 0
        });
        assert_eq!(metrics.count("tidegate_frontend_connections_total", &[]), 30);
        assert_eq!(metrics.count("tidegate_frontend_connections_refused_total", &[]), 0);
        assert_eq!(metrics.count("tidegate_shard_accept_errors_total", &[]), 0);
    }
}

#[test]
fn a_limit_of_one_serves_a_connection_at_a_time() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let config = site(shards, [origin.address()]) + "global.max_connections = 1\n";
        let tidegate = tidegate().start(&config);
        let crowd = Crowd::arrive(tidegate.address("web"), 20);
        for _ in 0..20 {
            let inside = crowd.next();
            assert_eq!(open_connections(&tidegate, "web"), 1);
            crowd.let_go(inside);
        }
        crowd.end();
    }
}

#[test]
fn a_frontend_at_its_limit_leaves_the_others_alone() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let config = site(shards, [origin.address()])
            + "frontends.web.max_connections = 3\n\
               frontends.other.bind = [\"127.0.0.1:0\"]\n\
               frontends.other.default_backend = \"app\"\n";
        let tidegate = tidegate().start(&config);
        let crowd = Crowd::arrive(tidegate.address("web"), 8);
        let inside: Vec<usize> = (0..3).map(|_| crowd.next()).collect();
        let others = Crowd::arrive(tidegate.address("other"), 20);
        (0..20).for_each(|_| {
            others.next();
        });
        crowd.assert_quiet();
        assert_eq!(
            (open_connections(&tidegate, "web"), open_connections(&tidegate, "other")),
            (3, 20)
        );
        inside.into_iter().for_each(|number| crowd.let_go(number));
        (0..3).for_each(|_| {
            crowd.next();
        });
        crowd.assert_quiet();
        others.end();
        crowd.end();
    }
}

#[test]
fn the_limit_of_the_process_is_shared_by_its_frontends() {
    let origin = Origin::start(script::answer_ok("hello"));
    let config = site(2, [origin.address()])
        + "global.max_connections = 6\n\
           frontends.web.max_connections = 4\n\
           frontends.other.bind = [\"127.0.0.1:0\"]\n\
           frontends.other.default_backend = \"app\"\n";
    let tidegate = tidegate().start(&config);
    let web = Crowd::arrive(tidegate.address("web"), 10);
    let inside: Vec<usize> = (0..4).map(|_| web.next()).collect();
    web.assert_quiet();
    let other = Crowd::arrive(tidegate.address("other"), 10);
    (0..2).for_each(|_| {
        other.next();
    });
    other.assert_quiet();
    // A place that a client of one frontend leaves may go to a client of either.
    web.let_go(inside[0]);
    tidegate.wait_metrics("the place is taken again", |metrics| {
        metrics.count("tidegate_frontend_connections_total", &[]) == 7
    });
    assert_eq!(open_connections(&tidegate, "web") + open_connections(&tidegate, "other"), 6);
    // Both leave from now on, so everybody gets a turn.
    web.leave.iter().chain(&other.leave).for_each(Gate::open);
    web.end();
    other.end();
}

#[test]
fn a_reload_moves_the_limits() {
    for shards in [1, 2] {
        for key in ["global.max_connections", "frontends.web.max_connections"] {
            let origin = Origin::start(script::answer_ok("hello"));
            let config =
                |limit: usize| site(shards, [origin.address()]) + &format!("{key} = {limit}\n");
            let tidegate = tidegate().start(&config(2));
            let crowd = Crowd::arrive(tidegate.address("web"), 12);
            let mut inside: Vec<usize> = (0..2).map(|_| crowd.next()).collect();
            crowd.assert_quiet();
            // Those who wait come in without anybody leaving.
            assert!(tidegate.reload(&config(8)).is_event("reloaded"));
            inside.extend((0..6).map(|_| crowd.next()));
            crowd.assert_quiet();
            // Those inside stay, and nobody comes in until there is room below the new limit.
            assert!(tidegate.reload(&config(3)).is_event("reloaded"));
            inside.drain(..5).for_each(|number| crowd.let_go(number));
            tidegate.wait_metrics("five have left", |metrics| {
                metrics.count("tidegate_frontend_connections_open", &[]) == 3
            });
            crowd.assert_quiet();
            crowd.let_go(inside[0]);
            crowd.next();
            crowd.assert_quiet();
            crowd.end();
        }
    }
}

#[test]
fn a_limit_that_a_reload_brings_holds_from_then_on() {
    for shards in [1, 2] {
        for key in ["global.max_connections", "frontends.web.max_connections"] {
            let origin = Origin::start(script::answer_ok("hello"));
            let tidegate = tidegate().start(&site(shards, [origin.address()]));
            let early = Crowd::arrive(tidegate.address("web"), 2);
            let inside = [early.next(), early.next()];
            let config = site(shards, [origin.address()]) + &format!("{key} = 4\n");
            assert!(tidegate.reload(&config).is_event("reloaded"));
            let crowd = Crowd::arrive(tidegate.address("web"), 10);
            (0..2).for_each(|_| {
                crowd.next();
            });
            crowd.assert_quiet();
            inside.into_iter().for_each(|number| early.let_go(number));
            (0..2).for_each(|_| {
                crowd.next();
            });
            crowd.assert_quiet();
            assert_eq!(open_connections(&tidegate, "web"), 4);
            crowd.end();
            early.end();
        }
    }
}

#[test]
fn a_frontend_that_goes_and_comes_back_still_counts_its_old_connections() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let without = site(shards, [origin.address()]);
        let with = without.clone()
            + "frontends.more.bind = [\"127.0.0.1:0\"]\n\
               frontends.more.default_backend = \"app\"\n\
               frontends.more.max_connections = 2\n";
        let tidegate = tidegate().start(&with);
        let mut old = [(); 2].map(|()| Client::connect(tidegate.address("more")));
        old.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "hello"));
        assert!(tidegate.reload(&without).is_event("reloaded"));
        let mark = tidegate.process().lines_count();
        assert!(tidegate.reload(&with).is_event("reloaded"));
        let listening = tidegate.process().wait_line_after(mark, |line| {
            line.is_event("listening") && line.field("frontend").as_deref() == Some("more")
        });
        let address = listening.field("address").and_then(|address| address.parse().ok());
        let crowd = Crowd::arrive(address.expect("a TCP address"), 3);
        crowd.assert_quiet();
        let [first, second] = old;
        drop(first);
        crowd.next();
        crowd.assert_quiet();
        drop(second);
        crowd.next();
        crowd.assert_quiet();
        crowd.end();
    }
}

/// Connects until `count` are in the listen queues or nobody else gets in: a queue that is full drops who asks.
fn fill_queues(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let (mut inside, mut refused) = (Vec::new(), 0);
    // The kernel chooses among the shards' queues by the client's port.
    while inside.len() < count && refused < 30 {
        match TcpStream::connect_timeout(&address, QUIET / 8) {
            Ok(stream) => inside.push(stream),
            Err(_) => refused += 1,
        }
    }
    inside
}

#[test]
fn a_reload_changes_the_length_of_the_listen_queues() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let config = |backlog: usize| {
            site(shards, [origin.address()])
                + &format!("global.max_connections = 1\nglobal.listen_backlog = {backlog}\n")
        };
        // The kernel takes one more than it was told.
        let room = |backlog: usize| shards * (backlog + 1);
        let tidegate = tidegate().start(&config(1));
        let address = tidegate.address("web");
        let mut inside = Client::connect(address);
        assert_eq!(inside.get("/").text(), "hello");
        let mut waiting = fill_queues(address, room(1) + 1);
        assert_eq!(waiting.len(), room(1), "{shards} shards");
        assert!(tidegate.reload(&config(6)).is_event("reloaded"));
        waiting.extend(fill_queues(address, room(6) - room(1) + 1));
        assert_eq!(waiting.len(), room(6), "{shards} shards");
        assert!(tidegate.reload(&config(3)).is_event("reloaded"));
        drop((inside, waiting));
        tidegate.wait_metrics("those who waited have left", |metrics| {
            metrics.count("tidegate_frontend_connections_total", &[]) == room(6) as u64 + 1
        });
        let mut inside = Client::connect(address);
        assert_eq!(inside.get("/").text(), "hello");
        let waiting = fill_queues(address, room(3) + 1);
        assert_eq!(waiting.len(), room(3), "{shards} shards");
    }
}

#[test]
fn a_client_that_gave_up_waiting_takes_no_place() {
    let origin = Origin::start(script::answer_ok("hello"));
    let config = site(2, [origin.address()]) + "global.max_connections = 2\n";
    let tidegate = tidegate().start(&config);
    let address = tidegate.address("web");
    let crowd = Crowd::arrive(address, 2);
    let inside: Vec<usize> = (0..2).map(|_| crowd.next()).collect();
    for number in 0..20 {
        let waiting = Client::connect(address);
        if number % 2 == 0 { waiting.reset() } else { drop(waiting) }
    }
    inside.into_iter().for_each(|number| crowd.let_go(number));
    let late = Crowd::arrive(address, 6);
    for _ in 0..6 {
        late.let_go(late.next());
    }
    late.end();
    crowd.end();
    tidegate.wait_metrics("no place is lost", |metrics| {
        metrics.count("tidegate_frontend_connections_open", &[]) == 0
    });
    let again = Crowd::arrive(address, 2);
    (0..2).for_each(|_| {
        again.next();
    });
    again.end();
}

#[test]
fn waiting_for_room_costs_nothing() {
    for shards in [1, 2] {
        for key in ["global.max_connections", "frontends.web.max_connections"] {
            let origin = Origin::start(script::answer_ok("hello"));
            let config = site(shards, [origin.address()]) + &format!("{key} = 4\n");
            let tidegate = tidegate().start(&config);
            let crowd = Crowd::arrive(tidegate.address("web"), 40);
            (0..4).for_each(|_| {
                crowd.next();
            });
            crowd.assert_quiet();
            let before = tidegate.process().cpu_time();
            crowd.assert_quiet();
            let used = tidegate.process().cpu_time() - before;
            assert!(used < QUIET / 20, "{used:?} of CPU time in {QUIET:?} at {key}");
            crowd.end();
        }
    }
}

#[test]
fn without_descriptors_left_it_waits_and_goes_on() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        // A connection to a server that fails for lack of a descriptor would be tried again for 3 s.
        let config = site(shards, [origin.address()]) + "backends.app.retries = 0\n";
        let wrapper = ["prlimit", "--nofile=64:64"];
        let tidegate = tidegate().wrapped_in(&wrapper).start(&config);
        tidegate.wait_log(|line| line.is_event("few_descriptors"));
        let fds_before = tidegate.open_fds();
        let address = tidegate.address("web");
        let mut clients: Vec<Client> = (0..200).map(|_| Client::connect(address)).collect();
        let line = tidegate.wait_log(|line| line.is_event("accept_failed"));
        assert_eq!(line.field("frontend").as_deref(), Some("web"), "{}", line.text);
        assert!(
            line.field("detail").is_some_and(|detail| detail.contains("Too many open files")),
            "{}",
            line.text
        );
        // Errors come at the pace of the pauses, not of the connections that wait.
        let failures = |line: &tidegate_testkit::LogLine| line.is_event("accept_failed");
        let before = std::time::Instant::now();
        let mark = tidegate.process().lines_count();
        tidegate.process().wait_line_after(mark, failures);
        tidegate.process().wait_line_after(mark + 1, failures);
        let count =
            tidegate.process().lines().split_off(mark).iter().filter(|line| failures(line)).count();
        let pauses = before.elapsed().as_millis() / 100 + 1;
        assert!(
            count <= usize::try_from(pauses).expect("a short test") * shards + shards,
            "{count} in {pauses} pauses"
        );

        // Those who are inside are answered, if only with what can be done without a descriptor.
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        // As they leave, those who wait take their places: nobody who waits is refused.
        std::thread::scope(|scope| {
            for mut client in clients {
                scope.spawn(move || {
                    let status = client.read_response().status;
                    assert!([200, 503].contains(&status), "{status}");
                });
            }
        });
        let back = || (tidegate.open_fds() <= fds_before + 1).then_some(());
        let closed = Client::connect(address).get("/");
        assert_eq!(closed.text(), "hello", "there is room again");
        drop(origin);
        tidegate.process().wait_until("the descriptors are given back", back);
        let metrics = tidegate.metrics();
        assert!(metrics.count("tidegate_shard_accept_errors_total", &[]) > 0);
        let answered = metrics.count("tidegate_frontend_requests_total", &[]);
        assert_eq!(answered, 201);
        let failed = metrics.count("tidegate_frontend_requests_failed_total", &[]);
        let local = [("reason", "connect_local_resource")];
        assert_eq!(metrics.count("tidegate_frontend_requests_failed_total", &local), failed);
        assert_eq!(metrics.count("tidegate_frontend_requests_total", &[("status", "5xx")]), failed);
    }
}

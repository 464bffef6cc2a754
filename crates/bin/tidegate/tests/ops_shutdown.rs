//! Ending: SIGTERM lets requests finish within a deadline, after a delay where one is configured,
//! SIGINT does not, neither loses one that was answered.
//!
//! Owns the way from a signal to the exit. Leaves what a supervisor sees on the admin port at other
//! times to `ops_admin`.

use std::time::{Duration, Instant};

use tidegate_testkit::{
    Builder, Client, Connection, Deadline, Gate, Nginx, Origin, Signal, Tidegate, script, site,
    tools,
};

/// Far less than any timeout of the configurations here, far more than a busy machine needs.
const QUICKLY: Duration = Duration::from_secs(5);

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

#[track_caller]
fn assert_exits_quickly(tidegate: &mut Tidegate) {
    let status = tidegate.wait_exit(Deadline::after(QUICKLY));
    assert_eq!(status.code(), Some(0), "{status}");
}

/// An origin that answers `/slow` when the gate opens, after its head, and anything else at once.
fn slow_origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |mut connection| {
        while let Some(request) = connection.read_request()? {
            if request.target == "/slow" {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nslow")?;
                gate.wait();
                connection.send(" done")?;
            } else if request.target == "/silent" {
                gate.wait();
                connection.send(script::ok("silent"))?;
            } else {
                connection.send(script::ok("fast"))?;
            }
        }
        Ok(())
    })
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The kernel resets what has come or been begun when a listener closes: 80 to 90 of 1,200 here where listeners are closed at
/// once, one or two where their queue is emptied before.
#[test]
fn connections_made_before_the_end_are_served() {
    let (mut made, mut lost) = (0, 0);
    for round in 0..8 {
        let origin = Origin::start(script::answer_ok("fast"));
        let mut tidegate = tidegate().start(&site(1 + round % 2, [origin.address()]));
        let address = tidegate.address("web");
        let visit = || {
            let mut counts = (0, 0);
            while let Ok(mut client) = Client::try_connect(address) {
                let asked = client.try_send(REQUEST);
                let answer = asked.and_then(|()| client.try_read_response_to("GET"));
                counts.0 += 1;
                counts.1 += usize::from(!answer.is_ok_and(|answer| answer.status == 200));
            }
            counts
        };
        std::thread::scope(|scope| {
            let visitors: Vec<_> = (0..8).map(|_| scope.spawn(visit)).collect();
            origin.wait_requests(50);
            tidegate.signal(Signal::TERM);
            for visitor in visitors {
                let counts = visitor.join().expect("no panic");
                (made, lost) = (made + counts.0, lost + counts.1);
            }
        });
        assert_exits_quickly(&mut tidegate);
    }
    assert_eq!(lost, 0, "of {made}");
}

#[test]
fn requests_in_flight_finish_and_idle_connections_close() {
    for shards in [1, 2] {
        let gate = Gate::new();
        let origin = slow_origin(&gate);
        let mut tidegate = tidegate().start(&site(shards, [origin.address()]));
        let address = tidegate.address("web");
        let connect_and = |request: &str| {
            let mut client = Client::connect(address);
            client.send(request);
            client
        };
        let mut idle: Vec<Client> = (0..10).map(|_| Client::connect(address)).collect();
        for client in idle.iter_mut().take(5) {
            assert_eq!(client.get("/").text(), "fast");
        }
        let mut slow = connect_and("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(slow.read_head().status, 200);
        let mut silent = connect_and("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut half_a_head = connect_and("GET / HTTP/1.1\r\n");
        let mut uploading =
            connect_and("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
        origin.wait_requests(7);
        origin.wait_connections(2);
        tidegate.wait_metrics("every connection is accepted", |metrics| {
            metrics.count("tidegate_frontend_connections_open", &[]) == 14
        });
        assert_eq!(tidegate.admin_get("/readyz").0, 200);

        tidegate.signal(Signal::TERM);
        tidegate.wait_log(|line| line.is_event("draining"));
        idle.iter_mut().for_each(Client::expect_eof);
        tidegate
            .process()
            .wait_until("new connections are refused", || Client::try_connect(address).err());
        assert_eq!(tidegate.admin_get("/readyz").0, 503, "a load balancer in front is told");
        assert_eq!(tidegate.admin_get("/healthz").0, 200, "a supervisor is not");

        half_a_head.send("Host: a\r\n\r\n");
        uploading.send("cd");
        for client in [&mut half_a_head, &mut uploading] {
            let response = client.read_response();
            assert_eq!(
                (response.text(), response.headers.value("connection")),
                ("fast", Some("close"))
            );
            client.expect_eof();
        }
        gate.open();
        assert_eq!(slow.read_exactly(9), b"slow done");
        slow.expect_eof();
        let response = silent.read_response();
        assert_eq!(
            (response.text(), response.headers.value("connection")),
            ("silent", Some("close"))
        );
        silent.expect_eof();
        // Closing waits a moment for the clients to close too.
        drop((idle, half_a_head, uploading, slow, silent));
        assert_exits_quickly(&mut tidegate);
        assert!(tidegate.process().lines().iter().any(|line| line.is_event("ended")));
    }
}

#[test]
fn during_the_delay_everything_is_served_and_the_program_says_that_it_is_not_ready() {
    for shards in [1, 2] {
        let origin = Origin::start(script::answer_ok("hello"));
        let config = site(shards, [origin.address()]) + "global.shutdown_delay = \"1h\"\n";
        let mut tidegate = tidegate().start(&config);
        let address = tidegate.address("web");
        let mut kept = Client::connect(address);
        assert_eq!(kept.get("/").text(), "hello");
        let mut idle = Client::connect(address);
        assert_eq!(tidegate.admin_get("/readyz").0, 200);

        tidegate.signal(Signal::TERM);
        let line = tidegate.wait_log(|line| line.is_event("shutdown_delayed"));
        assert_eq!(line.field("delay").as_deref(), Some("1h"), "{}", line.text);
        let serves = |client: &mut Client| {
            let response = client.get("/");
            assert_eq!(response.text(), "hello");
            assert_eq!(response.headers.value("connection"), None, "nobody is sent away");
        };
        for _ in 0..10 {
            assert_eq!(tidegate.admin_get("/readyz").0, 503, "a load balancer in front is told");
            assert_eq!(tidegate.admin_get("/healthz").0, 200, "a supervisor is not");
            serves(&mut kept);
            serves(&mut Client::connect(address));
        }
        assert!(tidegate.reload(&config).is_event("reloaded"));
        assert_eq!(tidegate.admin_get("/readyz").0, 503, "whatever is reloaded");
        serves(&mut kept);
        serves(&mut idle);

        tidegate.signal(Signal::TERM);
        tidegate.wait_log(|line| line.is_event("draining"));
        kept.expect_eof();
        idle.expect_eof();
        drop((kept, idle));
        assert_exits_quickly(&mut tidegate);
    }
}

#[test]
fn after_the_delay_it_drains_by_itself() {
    for shards in [1, 2] {
        let gate = Gate::new();
        let origin = slow_origin(&gate);
        let config = site(shards, [origin.address()]) + "global.shutdown_delay = \"700ms\"\n";
        let mut tidegate = tidegate().start(&config);
        let before = Instant::now();
        tidegate.signal(Signal::TERM);
        tidegate.wait_log(|line| line.is_event("shutdown_delayed"));
        // In flight from the delay into draining.
        let mut silent = Client::connect(tidegate.address("web"));
        silent.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
        let line = tidegate.wait_log(|line| line.is_event("draining"));
        assert!(before.elapsed() >= Duration::from_millis(700), "{:?}", before.elapsed());
        assert_eq!(line.field("connections").as_deref(), Some("1"), "{}", line.text);
        gate.open();
        assert_eq!(silent.read_response().text(), "silent");
        silent.expect_eof();
        drop(silent);
        assert_exits_quickly(&mut tidegate);
    }
}

#[test]
fn an_interrupt_during_the_delay_ends_it_at_once() {
    let origin = Origin::start(Connection::hang);
    let config = site(2, [origin.address()]) + "global.shutdown_delay = \"1h\"\n";
    let mut tidegate = tidegate().start(&config);
    let mut busy = Client::connect(tidegate.address("web"));
    busy.send(REQUEST);
    origin.wait_connections(1);
    tidegate.signal(Signal::TERM);
    tidegate.wait_log(|line| line.is_event("shutdown_delayed"));
    tidegate.signal(Signal::INT);
    assert_exits_quickly(&mut tidegate);
    busy.expect_end();
    assert!(!tidegate.process().lines().iter().any(|line| line.is_event("draining")));
}

#[test]
fn a_request_that_never_ends_is_cut_at_the_deadline() {
    for shards in [1, 2] {
        let origin = Origin::start(Connection::hang);
        let config = site(shards, [origin.address()]) + "global.shutdown_timeout = \"700ms\"\n";
        let mut tidegate = tidegate().start(&config);
        let mut client = Client::connect(tidegate.address("web"));
        client.send(REQUEST);
        origin.wait_connections(1);
        origin.wait_received(0, REQUEST.len());
        let before = Instant::now();
        tidegate.signal(Signal::TERM);
        assert_exits_quickly(&mut tidegate);
        assert!(before.elapsed() >= Duration::from_millis(700), "{:?}", before.elapsed());
        client.expect_end();
        let line = tidegate.wait_log(|line| line.is_event("drain_timeout"));
        assert_eq!(line.field("connections").as_deref(), Some("1"), "{}", line.text);
    }
}

#[test]
fn an_interrupt_ends_it_at_once() {
    for shards in [1, 2] {
        let origin = Origin::start(Connection::hang);
        let mut tidegate = tidegate().start(&site(shards, [origin.address()]));
        let address = tidegate.address("web");
        let mut busy = Client::connect(address);
        busy.send(REQUEST);
        origin.wait_connections(1);
        let mut idle = Client::connect(address);
        tidegate.signal(Signal::INT);
        assert_exits_quickly(&mut tidegate);
        busy.expect_end();
        idle.expect_end();
    }
}

#[test]
fn a_second_order_to_end_does_not_wait() {
    for second in [Signal::TERM, Signal::INT] {
        let origin = Origin::start(Connection::hang);
        let mut tidegate = tidegate().start(&site(2, [origin.address()]));
        let mut busy = Client::connect(tidegate.address("web"));
        busy.send(REQUEST);
        origin.wait_connections(1);
        tidegate.signal(Signal::TERM);
        tidegate.wait_log(|line| line.is_event("draining"));
        tidegate.signal(second);
        assert_exits_quickly(&mut tidegate);
    }
}

#[test]
fn a_reload_while_draining_is_not_carried_out() {
    let gate = Gate::new();
    let origin = slow_origin(&gate);
    let config = site(2, [origin.address()]);
    let mut tidegate = tidegate().start(&config);
    let address = tidegate.address("web");
    let mut silent = Client::connect(address);
    silent.send("GET /silent HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_requests(1);
    tidegate.signal(Signal::TERM);
    tidegate.wait_log(|line| line.is_event("draining"));
    tidegate.signal(Signal::HUP);
    // The admin port is served by whoever handles signals: its answer comes after the signal's.
    assert_eq!(tidegate.admin_get("/readyz").0, 503);
    gate.open();
    assert_eq!(silent.read_response().text(), "silent");
    assert_exits_quickly(&mut tidegate);
    assert!(!tidegate.process().lines().iter().any(|line| line.is_event("reloaded")));
}

#[test]
fn an_idle_program_ends_at_once_whoever_asks() {
    for shards in [1, 2] {
        for signal in [Signal::TERM, Signal::INT] {
            let mut tidegate = tidegate().start(&site(shards, ["127.0.0.1:1"]));
            tidegate.signal(signal);
            assert_exits_quickly(&mut tidegate);
        }
    }
}

#[test]
fn idle_server_connections_are_closed_in_order_at_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let origin = Origin::start(script::answer_ok("hello"));
        let mut tidegate = tidegate().start(&site(2, [origin.address()]));
        for _ in 0..4 {
            assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "hello");
        }
        let connections = origin.connections_count();
        tidegate.signal(signal);
        assert_exits_quickly(&mut tidegate);
        for index in 0..connections {
            assert_eq!(origin.wait_end(index), tidegate_testkit::End::Eof);
        }
    }
}

#[test]
fn under_load_every_answered_request_is_answered_whole() {
    for shards in [1, 2] {
        let nginx = Nginx::start("location / { return 200 'hello'; }");
        let mut tidegate = tidegate().start(&site(shards, [nginx.address()]));
        let address = tidegate.address("web");
        let ends: Vec<std::io::Error> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(move || {
                        let mut client = Client::connect(address);
                        loop {
                            if let Err(error) = client.try_send(REQUEST) {
                                return error;
                            }
                            match client.try_read_response_to("GET") {
                                Ok(response) => {
                                    assert_eq!((response.status, response.text()), (200, "hello"));
                                }
                                Err(error) => return error,
                            }
                        }
                    })
                })
                .collect();
            tidegate.wait_metrics("a thousand requests", |metrics| {
                metrics.count("tidegate_frontend_requests_total", &[]) > 1000
            });
            tidegate.signal(Signal::TERM);
            clients
                .into_iter()
                .map(|client| client.join().expect("every answer was whole"))
                .collect()
        });
        assert_exits_quickly(&mut tidegate);
        for end in ends {
            // Between two answers: never in the middle of one, which would be bad data.
            assert_ne!(end.kind(), std::io::ErrorKind::InvalidData, "{end}");
            assert_ne!(end.kind(), std::io::ErrorKind::TimedOut, "{end}");
        }
        // What reached a server was answered to the client: the log knows of no failure.
        let failed = |line: &tidegate_testkit::LogLine| line.is_event("request_failed");
        assert!(!tidegate.process().lines().iter().any(failed), "{:?}", tidegate.process().lines());
    }
}

#[test]
fn a_program_that_ends_can_be_followed_by_the_next_without_a_gap() {
    // The socket is the supervisor's: connections wait in its queue while nobody accepts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a bound socket has an address");
    let nginx = Nginx::start("location / { return 200 'hello'; }");
    let config =
        site(2, [nginx.address()]).replace("web.bind = [\"127.0.0.1:0\"]", "web.bind = [\"fd@3\"]");
    let stop = Gate::new();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let url = format!("http://{address}/");
            let mut loads = Vec::new();
            while !stop.is_open() {
                loads.push(tools::h2load_http1(&url, 1, 50, &[]));
            }
            loads
        });
        for _ in 0..5 {
            let copy = listener.try_clone().expect("a descriptor");
            let mut tidegate = tidegate().inherit(copy).start(&config);
            tidegate.wait_metrics("requests", |metrics| {
                metrics.count("tidegate_frontend_requests_total", &[]) > 100
            });
            // Connections in the queue stay there for the next; only idle ones are closed.
            tidegate.signal(Signal::TERM);
            assert_exits_quickly(&mut tidegate);
        }
        let last = tidegate().inherit(listener.try_clone().expect("a descriptor")).start(&config);
        stop.open();
        let loads = load.join().expect("the load generator reports");
        drop(last);
        assert!(loads.len() > 5, "{loads:?}");
        for load in loads {
            assert_eq!(load.failed_statuses_count, 0, "{load:?}");
        }
    });
}

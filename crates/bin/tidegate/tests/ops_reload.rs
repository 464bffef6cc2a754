//! Reloading: what SIGHUP changes, what it keeps, and what it must not touch.
//!
//! Owns the behaviour of one running program over several configurations. Leaves limits that a
//! reload changes to `ops_limits`. The line `event=reloaded` is written when every shard works from
//! the new configuration, so what comes after it in a test is served by the new one.

use std::net::SocketAddr;

use tidegate_testkit::{
    Builder, Client, Deadline, Gate, Nginx, Origin, Signal, Tidegate, script, site, tools,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

fn origin(name: &str) -> Origin {
    Origin::start(script::answer_ok(name))
}

#[track_caller]
fn reload(tidegate: &Tidegate, config: &str) {
    let line = tidegate.reload(config);
    assert!(line.is_event("reloaded"), "{}", line.text);
}

#[test]
fn servers_that_come_and_go_take_effect_at_once() {
    for shards in [1, 2] {
        let [one, two] = ["one", "two"].map(origin);
        let tidegate = tidegate().start(&site(shards, [one.address()]));
        let address = tidegate.address("web");
        let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(address)).collect();
        let mut ask = |expected: &str| {
            for client in clients.iter_mut().chain([&mut Client::connect(address)]) {
                assert_eq!(client.get("/").text(), expected, "{shards} shards");
            }
        };
        ask("one");
        reload(&tidegate, &site(shards, [two.address()]));
        ask("two");
        reload(&tidegate, &site(shards, [one.address()]));
        ask("one");
        // Connections to a server that is gone from the configuration are not kept.
        (0..two.connections_count()).for_each(|index| {
            two.wait_end(index);
        });
    }
}

#[test]
fn frontends_that_come_listen_and_those_that_go_refuse() {
    for shards in [1, 2] {
        let origin = origin("hello");
        let before = site(shards, [origin.address()]);
        let builder = tidegate();
        let path = builder.directory().join("more.sock");
        let more = format!(
            "frontends.more.bind = [\"127.0.0.1:0\", \"unix:{}\"]\nfrontends.more.default_backend = \"app\"\n",
            path.display()
        );
        let tidegate = builder.start(&before);
        let fds = tidegate.open_fds();
        let mut kept = Client::connect(tidegate.address("web"));
        assert_eq!(kept.get("/").text(), "hello");
        for _ in 0..3 {
            let mark = tidegate.process().lines_count();
            reload(&tidegate, &(before.clone() + &more));
            let listening = tidegate.process().wait_line_after(mark, |line| {
                line.is_event("listening") && line.field("frontend").as_deref() == Some("more")
            });
            let address = listening.field("address").expect("a listening line has an address");
            let address: SocketAddr = address.parse().expect("the TCP address comes first");
            let mut on_more = Client::connect(address);
            assert_eq!(on_more.get("/").text(), "hello");
            assert_eq!(Client::connect_unix(&path).get("/").text(), "hello");
            assert_eq!(
                tidegate
                    .metrics()
                    .count("tidegate_frontend_requests_total", &[("frontend", "more")]),
                2
            );

            reload(&tidegate, &before);
            tidegate
                .process()
                .wait_until("the address refuses", || Client::try_connect(address).err());
            assert!(!path.exists(), "the socket's file goes with its bind");
            // A connection accepted before stays, and is answered to the end.
            assert_eq!(on_more.get("/").text(), "hello");
        }
        assert_eq!(kept.get("/").text(), "hello");
        drop(kept);
        let back = || (tidegate.open_fds() <= fds + origin.connections_count()).then_some(());
        tidegate.process().wait_until("the sockets of the frontend are closed", back);
    }
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    for shards in [1, 2] {
        let origin = origin("hello");
        let good = site(shards, [origin.address()]);
        let tidegate = tidegate().start(&good);
        let mut client = Client::connect(tidegate.address("web"));
        assert_eq!(client.get("/").text(), "hello");
        let served =
            || tidegate.metrics().count("tidegate_frontend_requests_total", &[("status", "2xx")]);
        assert_eq!(served(), 1);
        let bad_files = [
            ("this is not TOML", "1"),
            ("", "1"),
            (&*good.replace("\"app\"", "\"ap\""), "1"),
            (&*(good.clone() + "global.cors = 1\nglobal.max_connections = 0\n"), "2"),
        ];
        for (bad, problems) in bad_files {
            let mark = tidegate.process().lines_count();
            let line = tidegate.reload(bad);
            assert!(line.is_event("reload_failed"), "{bad:?}: {}", line.text);
            assert_eq!(line.field("problems").as_deref(), Some(problems), "{bad:?}: {}", line.text);
            let report = tidegate.process().lines().split_off(mark);
            assert!(report.iter().any(|line| line.text.contains("error: ")), "{bad:?}: {report:?}");
        }
        assert_eq!(client.get("/").text(), "hello", "the connection is still served");
        assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "hello");
        assert_eq!(served(), 3, "the counters go on");
        assert_eq!(tidegate.admin_get("/readyz").0, 200);
        let reloads = |result: &str| {
            tidegate.metrics().count("tidegate_config_reloads_total", &[("result", result)])
        };
        let last_ok = || tidegate.metrics().count("tidegate_config_last_reload_ok", &[]);
        assert_eq!((reloads("ok"), reloads("failed"), last_ok()), (0, 4, 0));
        assert_eq!(tidegate.metrics().count("tidegate_config_generation", &[]), 1);
        reload(&tidegate, &good);
        assert_eq!((reloads("ok"), reloads("failed"), last_ok()), (1, 4, 1));
        assert_eq!(tidegate.metrics().count("tidegate_config_generation", &[]), 2);
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_changes_nothing() {
    let origins = ["one", "two"].map(origin);
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let taken = held.local_addr().expect("a bound socket has an address").to_string();
    let builder = tidegate();
    let path = builder.directory().join("new.sock");
    let tidegate = builder.start(&site(2, [origins[0].address()]));
    let fds = tidegate.open_fds();
    let bad = site(2, [origins[1].address()])
        + &format!(
            "frontends.new.bind = [\"unix:{}\", \"127.0.0.1:0\", \"{taken}\"]\n",
            path.display()
        )
        + "frontends.new.default_backend = \"app\"\n";
    let line = tidegate.reload(&bad);
    assert!(line.is_event("reload_failed"), "{}", line.text);
    let reason = line.field("reason").unwrap_or_default();
    assert!(reason.contains(&format!("cannot listen on {taken}: ")), "{reason}");
    let failed = [("result", "failed")];
    assert_eq!(tidegate.metrics().count("tidegate_config_reloads_total", &failed), 1);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "one");
    assert!(!path.exists(), "what was opened before the failure is closed again");
    tidegate.process().wait_until("the new sockets are closed", || {
        (tidegate.open_fds() <= fds + 2).then_some(())
    });
    reload(&tidegate, &bad.replace(&taken, "127.0.0.1:0"));
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "two");
    assert_eq!(Client::connect_unix(&path).get("/").text(), "two");
}

#[test]
fn requests_in_flight_finish_on_what_they_started_with() {
    for shards in [1, 2] {
        let (answer, finish) = (Gate::new(), Gate::new());
        let gates = (answer.clone(), finish.clone());
        let slow = Origin::start(move |mut connection| {
            while connection.read_request()?.is_some() {
                gates.0.wait();
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nold-")?;
                gates.1.wait();
                connection.send("slow")?;
            }
            Ok(())
        });
        let fast = origin("new");
        let tidegate = tidegate().start(&site(shards, [slow.address()]));
        let address = tidegate.address("web");
        let mut before_head = Client::connect(address);
        before_head.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head_begun = Client::connect(address);
        head_begun.send("GET / HTTP/1.1\r\nHo");
        slow.wait_requests(1);
        // A connection gets a task with the first byte of its request; each shard has one more that accepts.
        tidegate.wait_metrics("both requests have begun", |metrics| {
            metrics.count("tidegate_shard_tasks", &[]) == shards as u64 + 2
        });
        reload(&tidegate, &site(shards, [fast.address()]));
        assert_eq!(Client::connect(address).get("/").text(), "new");
        // A request has begun with the first byte of its head.
        head_begun.send("st: a\r\n\r\n");
        slow.wait_requests(2);
        answer.open();
        assert_eq!(before_head.read_head().status, 200);
        reload(
            &tidegate,
            &(site(shards, [fast.address()]) + "frontends.web.forwarded_for = true\n"),
        );
        finish.open();
        assert_eq!(before_head.read_exactly(8), b"old-slow");
        assert_eq!(head_begun.read_response().text(), "old-slow");
        for client in [&mut before_head, &mut head_begun] {
            // The same connections go on with the new configuration.
            assert_eq!(client.get("/").text(), "new");
        }
        assert_eq!(slow.requests_count(), 2);
        slow.wait_end(0);
        slow.wait_end(1);
    }
}

#[test]
fn two_hundred_reloads_under_load_fail_no_request() {
    for shards in [1, 2] {
        let servers = ["one", "two"]
            .map(|name| Nginx::start(&format!("location / {{ return 200 '{name}'; }}")));
        let [one, two] = servers.each_ref().map(Nginx::address);
        let configs = [site(shards, [one]), site(shards, [two, one]), site(shards, [two])];
        let configs = configs.map(|config| {
            // A bind that comes and goes with the servers.
            let more = "frontends.more.bind = [\"127.0.0.1:0\"]\nfrontends.more.default_backend = \"app\"\n";
            if config.contains("s2") { config + more } else { config }
        });
        let tidegate = tidegate().start(&configs[0]);
        let url = format!("http://{}/", tidegate.address("web"));
        let reloading = Gate::new();
        let loads = std::thread::scope(|scope| {
            let load = |arguments: &'static [&'static str]| {
                let (url, reloading) = (&url, &reloading);
                scope.spawn(move || {
                    let mut loads = Vec::new();
                    while !reloading.is_open() {
                        loads.push(tools::wrk(url, 16, 1, arguments));
                    }
                    loads
                })
            };
            let loads = [load(&[]), load(&["--header", "Connection: close"])];
            for round in 0..200 {
                reload(&tidegate, &configs[round % configs.len()]);
            }
            reloading.open();
            loads.map(|load| load.join().expect("the load generator reports"))
        });
        for load in loads.iter().flatten() {
            assert!(load.requests_count > 0, "{loads:?}");
            assert_eq!((load.errors_count, load.failed_statuses_count), (0, 0), "{loads:?}");
        }
        let metrics = tidegate.metrics();
        let failed = metrics.samples().iter().filter(|sample| sample.name.contains("failed_total"));
        for sample in failed.filter(|sample| sample.value > 0.0) {
            // wrk leaves in the middle of requests at the end of its time.
            let reason = sample.labels.get("reason").map(String::as_str);
            assert_eq!(reason, Some("client_gone"), "{sample:?}");
        }
    }
}

#[test]
fn counters_keep_their_values_and_removed_names_vanish() {
    let origin = origin("hello");
    let web = site(2, [origin.address(), origin.address()]);
    let more =
        "frontends.other.bind = [\"127.0.0.1:0\"]\nfrontends.other.default_backend = \"spare\"\n"
            .to_owned()
            + &format!("backends.spare.servers.x = \"{}\"\n", origin.address());
    let tidegate = tidegate().start(&(web.clone() + &more));
    let mut client = Client::connect(tidegate.address("web"));
    (0..10).for_each(|_| {
        client.get("/");
    });
    Client::connect(tidegate.address("other")).get("/");
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_backend_requests_total", &[("backend", "spare")]), 1);
    assert_eq!(metrics.count("tidegate_server_requests_total", &[("backend", "app")]), 10);
    let only_first = site(2, [origin.address()]);
    for config in [&web, &only_first] {
        reload(&tidegate, config);
        let metrics = tidegate.metrics();
        assert_eq!(metrics.count("tidegate_frontend_requests_total", &[("frontend", "web")]), 10);
        let gone = |labels: &[(&str, &str)]| {
            metrics.samples().iter().all(|sample| {
                labels
                    .iter()
                    .any(|(key, value)| sample.labels.get(*key).map(String::as_str) != Some(value))
            })
        };
        assert!(gone(&[("frontend", "other")]) && gone(&[("backend", "spare")]));
        assert_eq!(gone(&[("server", "s2")]), config == &only_first);
        assert_eq!(metrics.count("tidegate_server_requests_total", &[("server", "s1")]), 5);
    }
    client.get("/");
    assert_eq!(
        tidegate.metrics().count("tidegate_frontend_requests_total", &[("frontend", "web")]),
        11
    );
}

#[test]
fn the_admin_listener_moves_with_the_configuration() {
    let origin = origin("hello");
    let config = site(1, [origin.address()]);
    let tidegate = tidegate().start(&config);
    let first = tidegate.admin();
    reload(
        &tidegate,
        &config.replace("admin.bind = [\"127.0.0.1:0\"]\n", "admin.bind = [\"127.0.0.2:0\"]\n"),
    );
    let is_second = |line: &tidegate_testkit::LogLine| {
        line.field("address").is_some_and(|address| address.starts_with("127.0.0.2:"))
    };
    let second = tidegate.wait_log(is_second).field("address").expect("it was just looked at");
    let second: SocketAddr = second.parse().expect("a TCP address");
    assert_eq!(Client::connect(second).get("/healthz").status, 200);
    tidegate.process().wait_until("the old address refuses", || Client::try_connect(first).err());
}

#[test]
fn what_needs_a_restart_is_said() {
    let origin = origin("hello");
    let tidegate = tidegate().start(&site(1, [origin.address()]));
    let warnings = |config: &str| {
        let mark = tidegate.process().lines_count();
        reload(&tidegate, config);
        let lines = tidegate.process().lines().split_off(mark);
        let warnings = lines.into_iter().filter(|line| line.is_event("needs_restart"));
        let fields = |line: tidegate_testkit::LogLine| {
            ["key", "old", "new"].map(|field| line.field(field).unwrap_or_default())
        };
        warnings.map(fields).collect::<Vec<_>>()
    };
    let changed = site(2, [origin.address()]) + "global.daemon = true\n";
    // As often as the file is read and differs from what runs, whatever the file before said.
    for _ in 0..2 {
        assert_eq!(
            warnings(&changed),
            [["global.cores", "[0]", "[0, 1]"], ["global.daemon", "false", "true"]]
        );
    }
    assert_eq!(warnings(&site(1, [origin.address()])), [[""; 3]; 0]);
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "hello");
}

#[test]
fn three_hundred_reloads_leave_memory_and_descriptors_as_they_were() {
    let origin = origin("hello");
    let config = |round: usize| {
        // Every name and every address changes from one to the next.
        let servers = (0..100).map(|server| format!("127.0.0.1:{}", 1 + (server + round) % 60_000));
        site(2, servers)
            .replace("\"app\"", &format!("\"app{round}\""))
            .replace("backends.app.", &format!("backends.app{round}."))
            + &format!(
                "frontends.f{round}.bind = [\"127.0.0.1:0\"]\nfrontends.f{round}.default_backend = \"app{round}\"\n"
            )
    };
    let tidegate = tidegate().start(&config(0));
    let mut kept = Client::connect(tidegate.address("web"));
    tidegate.wait_metrics("it is accepted", |metrics| {
        metrics.count("tidegate_frontend_connections_open", &[]) == 1
    });
    let fds_idle = tidegate.open_fds();
    let mut round = 0;
    let mut reload_times = |count: usize| {
        for _ in 0..count {
            round += 1;
            reload(&tidegate, &config(round));
            if round % 10 == 0 {
                // An address that goes stays for a moment, with its configuration: only so many at a time, however fast this is.
                tidegate.process().wait_until("what went is closed", || {
                    (tidegate.open_fds() <= fds_idle).then_some(())
                });
            }
        }
        let bytes = tidegate.process().resident_bytes();
        (bytes, tidegate.open_fds())
    };
    // What the allocator and the tables need at their largest is reached in the first rounds.
    let (bytes_before, fds_before) = reload_times(60);
    let (bytes_after, fds_after) = reload_times(300);
    let growth = bytes_after.saturating_sub(bytes_before);
    assert!(growth < 2 << 20, "{growth} bytes more after 300 reloads ({bytes_before} before)");
    assert!(fds_after <= fds_before + 2, "{fds_before} descriptors before, {fds_after} after");
    reload(&tidegate, &site(2, [origin.address()]));
    assert_eq!(kept.get("/").text(), "hello");
}

#[test]
fn a_burst_of_signals_ends_in_the_last_file() {
    let [one, two] = ["one", "two"].map(origin);
    let tidegate = tidegate().start(&site(2, [one.address()]));
    tidegate.rewrite_config(&site(2, [two.address()]));
    let mark = tidegate.process().lines_count();
    (0..100).for_each(|_| tidegate.signal(Signal::HUP));
    tidegate.process().wait_line_after(mark, |line| line.is_event("reloaded"));
    assert_eq!(Client::connect(tidegate.address("web")).get("/").text(), "two");
}

#[test]
fn a_burst_of_reloads_does_not_swallow_the_order_to_end() {
    let origin = origin("hello");
    let mut tidegate = tidegate().start(&site(2, [origin.address()]));
    (0..2_000).for_each(|_| tidegate.signal(Signal::HUP));
    tidegate.signal(Signal::TERM);
    assert!(tidegate.wait_exit(Deadline::default()).success());
}

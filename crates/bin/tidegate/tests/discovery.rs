//! Servers whose addresses are names: who is asked, what follows from answers, and what becomes of requests.
//!
//! Owns names against a real name server and a scripted one; leaves what health checks make of addresses to `health_checks`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Builder, Client, Conduct, Data, Deadline, Dnsmasq, Gate, NameServer, Origin, Signal, Tidegate,
    refused_address, script,
};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// The type of a question for IPv4 addresses.
const A: u16 = 1;

/// Servers at 127.0.0.1, 127.0.0.2, ... on one port; each says the last part of its address.
struct Fleet {
    port: u16,
    origins: Vec<Origin>,
}

impl Fleet {
    fn start(count: u8) -> Fleet {
        Fleet::start_with(count, |last, _| script::ok(last.to_string()))
    }

    /// `answer` is given the last part of the address, and the target of the request.
    fn start_with(
        count: u8,
        answer: impl Fn(u8, &str) -> Vec<u8> + Clone + Send + Sync + 'static,
    ) -> Fleet {
        let first = refused_address().address().port();
        let origin = |last: u8| {
            let answer = answer.clone();
            let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), first));
            let script = script::answer_with(move |_, request| answer(last, &request.target));
            Origin::start_at(address, script)
        };
        Fleet { port: first, origins: (1..=count).map(origin).collect() }
    }

    fn requests(&self, last: u8) -> usize {
        self.origins[usize::from(last) - 1].requests_count()
    }
}

/// A site with one backend of these keys, whose resolvers are `servers`.
fn named(resolvers: &[SocketAddr], keys: &str, backend: &str) -> String {
    let resolvers: Vec<_> = resolvers.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "global.cores = [0, 1]\nadmin.bind = [\"127.0.0.1:0\"]\n\
         frontends.web.bind = [\"127.0.0.1:0\"]\nfrontends.web.default_backend = \"app\"\n\
         resolvers.default.nameservers = [{}]\nresolvers.default.timeout = \"200ms\"\n\
         resolvers.default.family = \"ipv4\"\n{keys}\n{backend}\n",
        resolvers.join(", ")
    )
}

fn template(name: &str, port: u16, slots: u32) -> String {
    format!("backends.app.servers.s = {{ name = \"{name}\", port = {port}, slots = {slots} }}")
}

/// Who answers a number of requests, each on a connection of its own, and how often.
fn answering(tidegate: &Tidegate, count: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..count {
        let response = Client::connect(tidegate.address("web")).get("/");
        let answer = match response.status {
            200 => response.text().to_owned(),
            status => status.to_string(),
        };
        *answers.entry(answer).or_default() += 1;
    }
    answers
}

/// Waits until exactly these answer.
#[track_caller]
fn wait_answering(tidegate: &Tidegate, expected: &[&str]) {
    let (deadline, expected) = (Deadline::default(), expected.iter().copied().collect());
    loop {
        let answered = answering(tidegate, 12);
        let answered: BTreeSet<&str> = answered.keys().map(String::as_str).collect();
        if answered == expected {
            return;
        }
        assert!(deadline.remaining().is_some(), "{answered:?}, not {expected:?}");
    }
}

#[test]
fn addresses_change_under_load_without_a_lost_request() {
    let fleet = Fleet::start(4);
    let dns = Dnsmasq::start(&[]);
    dns.set([("app.test", "127.0.0.1"), ("app.test", "127.0.0.2")]);
    let tidegate =
        tidegate().start(&named(&[dns.address()], "", &template("app.test", fleet.port, 4)));
    wait_answering(&tidegate, &["1", "2"]);

    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, answered) = (is_over.clone(), answered.clone());
            let address = tidegate.address("web");
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(client.get("/").status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for (addresses, expected) in [
        (&["127.0.0.2", "127.0.0.3"][..], &["2", "3"][..]),
        (&["127.0.0.4"], &["4"]),
        (&["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"], &["1", "2", "3", "4"]),
        (&["127.0.0.1"], &["1"]),
    ] {
        dns.set(addresses.iter().map(|address| ("app.test", *address)));
        wait_answering(&tidegate, expected);
        // Those that have gone get nothing more, not even on connections that were kept.
        let gone: Vec<u8> =
            (1..=4).filter(|last| !expected.contains(&last.to_string().as_str())).collect();
        let count = || gone.iter().map(|last| fleet.requests(*last)).collect::<Vec<_>>();
        let before = count();
        let mark = answered.load(Ordering::Relaxed);
        tidegate.process().wait_until("more requests", || {
            (answered.load(Ordering::Relaxed) > mark + 200).then_some(())
        });
        assert_eq!(count(), before, "{gone:?} are not in {addresses:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|client| client.join().expect("no request is lost"));
    let metrics = tidegate.metrics();
    assert_eq!(metrics.sum("tidegate_frontend_requests_failed_total", &[]), 0.0);
    assert!(dns.queries_count("query[A] app.test") >= 5);
}

#[test]
fn the_weights_and_priorities_of_a_service_are_those_of_its_servers() {
    let fleet = Fleet::start(3);
    let dns = NameServer::start();
    for last in 1..=3 {
        dns.set_addresses(&format!("s{last}.test"), 60, [last]);
    }
    let record =
        |priority, weight, last| Data::Srv(priority, weight, fleet.port, format!("s{last}.test"));
    let service = "_http._tcp.app.test";
    dns.set(service, 1, [record(10, 30, 1), record(10, 10, 2), record(20, 0, 3)]);
    let backend = format!("backends.app.servers.s = {{ name = \"{service}\", slots = 5 }}");
    let tidegate = tidegate().start(&named(&[dns.address()], "", &backend));
    let answers = answering(&tidegate, 400);
    assert_eq!(answers.keys().collect::<Vec<_>>(), ["1", "2"], "the third one stands by");
    assert!((280..=320).contains(&answers["1"]), "{answers:?}");

    dns.set(service, 1, [record(10, 0, 2), record(10, 0, 1), record(20, 0, 3)]);
    let deadline = Deadline::default();
    while !(180..=220).contains(&answering(&tidegate, 400)["1"]) {
        assert!(deadline.remaining().is_some(), "equal weights are equal shares");
    }
    dns.set(service, 1, [record(20, 0, 3)]);
    wait_answering(&tidegate, &["3"]);
}

#[test]
fn a_service_falls_back_to_the_next_priority_when_no_server_of_the_first_is_well() {
    let fleet = Fleet::start(2);
    let dns = NameServer::start();
    let dead = refused_address();
    dns.set_addresses("s1.test", 60, [1]);
    dns.set_addresses("s2.test", 60, [2]);
    let record = |priority, port, last| Data::Srv(priority, 0, port, format!("s{last}.test"));
    let service = "_http._tcp.app.test";
    let dead_port = dead.address().port();
    dns.set(service, 1, [record(1, dead_port, 1), record(2, fleet.port, 2)]);
    let backend = format!(
        "backends.app.servers.s = {{ name = \"{service}\", slots = 2 }}\n\
         backends.app.health_check = {{ type = \"tcp\", interval = \"50ms\", initial = \"down\" }}"
    );
    let tidegate = tidegate().start(&named(&[dns.address()], "", &backend));
    wait_answering(&tidegate, &["2"]);
    dns.set(service, 1, [record(1, fleet.port, 1), record(2, fleet.port, 2)]);
    wait_answering(&tidegate, &["1"]);
}

#[test]
fn the_last_good_answer_is_held_while_resolvers_fail_and_no_longer_than_configured() {
    let fleet = Fleet::start(2);
    let dns = NameServer::start();
    dns.set_addresses("app.test", 1, [1]);
    let keys = "resolvers.default.hold = \"3s\"\nresolvers.default.hold_absent = \"0s\"";
    let tidegate =
        tidegate().start(&named(&[dns.address()], keys, &template("app.test", fleet.port, 2)));
    wait_answering(&tidegate, &["1"]);
    for conduct in [Conduct::IsSilent, Conduct::Fails(2), Conduct::Fails(5)] {
        dns.behave(conduct);
        let line = tidegate.wait_log(|line| line.is_event("name_failing"));
        assert_eq!(line.field("addresses").as_deref(), Some("1"));
        wait_answering(&tidegate, &["1"]);
        tidegate.wait_metrics("addresses are held", |metrics| {
            metrics.count("tidegate_name_held", &[("name", "app.test")]) == 1
        });
        dns.behave(Conduct::Answers);
        tidegate.wait_metrics("addresses are confirmed", |metrics| {
            metrics.count("tidegate_name_held", &[("name", "app.test")]) == 0
        });
    }
    dns.behave(Conduct::IsSilent);
    tidegate.wait_log(|line| line.is_event("name_given_up"));
    wait_answering(&tidegate, &["503"]);
    let metrics = tidegate.metrics();
    assert_eq!(metrics.count("tidegate_name_addresses", &[]), 0);
    assert!(metrics.count("tidegate_name_resolutions_total", &[("result", "refused")]) > 0);
    dns.set_addresses("app.test", 1, [2]);
    dns.behave(Conduct::Answers);
    wait_answering(&tidegate, &["2"]);
    // That a name is gone is an answer.
    dns.remove("app.test");
    wait_answering(&tidegate, &["503"]);
    let line = tidegate.wait_log(|line| line.is_event("name_absent"));
    assert_eq!(line.field("reason").as_deref(), Some("no_such_name"));
}

#[test]
fn a_second_resolver_takes_over_and_the_first_is_asked_last() {
    let fleet = Fleet::start(2);
    let (first, second) = (NameServer::start(), NameServer::start());
    first.set_addresses("app.test", 1, [1]);
    second.set_addresses("app.test", 1, [2]);
    let resolvers = [first.address(), second.address()];
    let tidegate = tidegate().start(&named(&resolvers, "", &template("app.test", fleet.port, 1)));
    wait_answering(&tidegate, &["1"]);
    assert_eq!(second.asked(), [], "the first one answers");
    first.behave(Conduct::IsSilent);
    wait_answering(&tidegate, &["2"]);
    let count = first.asked().len();
    let asked = second.asked().len();
    tidegate
        .process()
        .wait_until("two more rounds", || (second.asked().len() >= asked + 2).then_some(()));
    assert_eq!(first.asked().len(), count, "it is not waited for each time");
    let address = first.address().to_string();
    let failed = [("resolver", address.as_str()), ("result", "failed")];
    assert!(tidegate.metrics().count("tidegate_resolver_tries_total", &failed) > 0);
}

#[test]
fn a_name_is_not_asked_for_before_its_ttl_ends() {
    let fleet = Fleet::start(2);
    let dns = NameServer::start();
    dns.set_addresses("app.test", 3, [1]);
    let started = Instant::now();
    let tidegate =
        tidegate().start(&named(&[dns.address()], "", &template("app.test", fleet.port, 1)));
    dns.set_addresses("app.test", 60, [2]);
    wait_answering(&tidegate, &["2"]);
    assert!(started.elapsed() >= Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(dns.asked().len(), 2, "once for each TTL");
}

#[test]
fn slots_grow_and_shrink_and_what_stays_keeps_its_connections() {
    let fleet = Fleet::start(3);
    let dns = NameServer::start();
    dns.set_addresses("app.test", 1, [1, 2, 3]);
    let config = |slots| named(&[dns.address()], "", &template("app.test", fleet.port, slots));
    let tidegate = tidegate().start(&config(2));
    wait_answering(&tidegate, &["1", "2"]);
    let line = tidegate.wait_log(|line| line.is_event("addresses_without_slot"));
    assert_eq!(
        (line.field("slots").as_deref(), line.field("surplus").as_deref()),
        (Some("2"), Some("1"))
    );
    assert_eq!(tidegate.metrics().count("tidegate_name_surplus_addresses", &[]), 1);
    let connections = fleet.origins[0].connections_count();
    assert!(tidegate.reload(&config(3)).is_event("reloaded"));
    wait_answering(&tidegate, &["1", "2", "3"]);
    assert!(tidegate.reload(&config(1)).is_event("reloaded"));
    wait_answering(&tidegate, &["1"]);
    assert_eq!(fleet.origins[0].connections_count(), connections, "they were kept over both");
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_is_fetched_over_tcp() {
    let fleet = Fleet::start(1);
    let dns = Dnsmasq::start(&[]);
    let names: Vec<String> = (1..=120).map(|last| format!("127.0.0.{last}")).collect();
    dns.set(names.iter().map(|address| ("app.test", address.as_str())));
    let scripted = NameServer::start();
    scripted.set_addresses("app.test", 60, 1..=120);
    for server in [dns.address(), scripted.address()] {
        let tidegate =
            tidegate().start(&named(&[server], "", &template("app.test", fleet.port, 200)));
        tidegate.wait_metrics("all addresses", |metrics| {
            metrics.count("tidegate_name_addresses", &[]) == 120
        });
    }
    let over_tcp: Vec<bool> = scripted.asked().iter().map(|asked| asked.over_tcp).collect();
    assert_eq!(over_tcp, [false, true]);
}

#[test]
fn forged_answers_are_not_believed_and_aliases_are_followed() {
    let fleet = Fleet::start(1);
    let dns = NameServer::start();
    dns.set("app.test", 60, [Data::Cname("other.test".into())]);
    dns.set_addresses("other.test", 60, [1]);
    dns.behave(Conduct::IsForged);
    let backend = format!("backends.app.servers.one = \"App.Test:{}\"", fleet.port);
    let tidegate = tidegate().start(&named(&[dns.address()], "", &backend));
    wait_answering(&tidegate, &["1"]);
    let asked = dns.asked();
    assert_eq!((asked[0].name.as_str(), asked[0].kind), ("app.test", A));
    let line = tidegate.wait_log(|line| line.is_event("server_address"));
    assert_eq!(line.field("server").as_deref(), Some("one"));
    assert_eq!(line.field("address"), Some(format!("127.0.0.1:{}", fleet.port)));
}

#[test]
fn a_start_goes_on_without_an_answer_unless_it_is_not_to() {
    let fleet = Fleet::start(1);
    let dns = NameServer::start();
    let backend = template("app.test", fleet.port, 1);
    let fails = "resolvers.default.init = \"fail\"";
    let exit = tidegate().run_to_exit(&named(&[dns.address()], fails, &backend));
    assert!(!exit.status.success());
    assert!(
        exit.stderr_text().contains("app.test has no address (no_such_name)"),
        "{}",
        exit.stderr_text()
    );

    dns.behave(Conduct::IsSilent);
    let tidegate = tidegate().start(&named(&[dns.address()], "", &backend));
    wait_answering(&tidegate, &["503"]);
    dns.set_addresses("app.test", 60, [1]);
    dns.behave(Conduct::Answers);
    wait_answering(&tidegate, &["1"]);
}

#[test]
fn the_files_of_the_system_are_honoured() {
    let fleet = Fleet::start(2);
    let builder = tidegate();
    let hosts = builder.directory().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 app.test # not asked for\n").expect("written");
    let conf = builder.directory().join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.1\n").expect("written");
    let config = format!(
        "frontends.web.bind = [\"127.0.0.1:0\"]\nfrontends.web.default_backend = \"app\"\n\
         admin.bind = [\"127.0.0.1:0\"]\n\
         resolvers.system = {{ hosts = \"{}\", resolv_conf = \"{}\", timeout = \"100ms\" }}\n\
         backends.app.resolvers = \"system\"\n\
         backends.app.servers.one = \"app.test:{port}\"\n\
         backends.app.servers.two = \"localhost:{port}\"\n",
        hosts.display(),
        conf.display(),
        port = fleet.port,
    );
    let tidegate = builder.start(&config);
    wait_answering(&tidegate, &["1", "2"]);
}

#[test]
fn a_request_under_way_at_an_address_that_has_gone_is_finished() {
    let gate = Arc::new(Gate::new());
    let held = gate.clone();
    let fleet = Fleet::start_with(2, move |last, target| {
        if target == "/hold" {
            held.wait();
        }
        script::ok(last.to_string())
    });
    let dns = NameServer::start();
    dns.set_addresses("app.test", 1, [1]);
    let tidegate =
        tidegate().start(&named(&[dns.address()], "", &template("app.test", fleet.port, 1)));
    let mut client = Client::connect(tidegate.address("web"));
    client.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    fleet.origins[0].wait_requests(1);
    dns.set_addresses("app.test", 1, [2]);
    wait_answering(&tidegate, &["2"]);
    let before = fleet.origins[0].requests_count();
    gate.open();
    let response = client.read_response();
    assert_eq!((response.status, response.text()), (200, "1"));
    // Its connection is not kept: the same slot is somewhere else now.
    wait_answering(&tidegate, &["2"]);
    assert_eq!(fleet.origins[0].requests_count(), before);
}

#[test]
fn a_resolver_that_stops_is_noticed_and_its_return_too() {
    let fleet = Fleet::start(2);
    let dns = Dnsmasq::start(&[]);
    dns.set([("app.test", "127.0.0.1")]);
    let check =
        "backends.app.health_check = { type = \"http\", interval = \"50ms\", path = \"/\" }";
    let backend = format!("{}\n{check}", template("app.test", fleet.port, 2));
    let tidegate = tidegate().start(&named(&[dns.address()], "", &backend));
    wait_answering(&tidegate, &["1"]);
    dns.signal(Signal::STOP);
    let line = tidegate.wait_log(|line| line.is_event("name_failing"));
    assert_eq!(line.field("reason").as_deref(), Some("timed_out"));
    wait_answering(&tidegate, &["1"]);
    dns.signal(Signal::CONT);
    tidegate.wait_log(|line| line.is_event("name_recovered"));
    // Checks follow the address.
    dns.set([("app.test", "127.0.0.2")]);
    wait_answering(&tidegate, &["2"]);
    let checks = fleet.requests(1);
    let later = fleet.requests(2);
    tidegate
        .process()
        .wait_until("checks of the new address", || (fleet.requests(2) > later + 3).then_some(()));
    assert!(fleet.requests(1) <= checks + 1, "one that was on its way at most");
}

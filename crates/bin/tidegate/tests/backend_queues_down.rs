//! Requests that wait while one of the servers takes none.
//!
//! Owns what a server that is down, or only a backup, means for those who wait; leaves queues themselves to `backend_queues`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_testkit::{Builder, Client, Gate, Origin, Tidegate, script, site};

fn tidegate() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// A server that takes one connection, whose `/hold` waits and whose checks fail while it is not well.
struct Server {
    gate: Arc<Gate>,
    well: Arc<AtomicBool>,
    origin: Origin,
}

impl Server {
    fn start() -> Server {
        let (gate, well) = (Arc::new(Gate::new()), Arc::new(AtomicBool::new(true)));
        let (open, is_well) = (gate.clone(), well.clone());
        let origin = Origin::start(script::answer_with(move |_, request| {
            match &*request.target {
                "/hold" => open.wait(),
                "/health" if !is_well.load(Ordering::SeqCst) => {
                    return script::response(503, "Service Unavailable", &[], "");
                }
                _ => {}
            }
            script::ok(&request.target)
        }));
        Server { gate, well, origin }
    }

    /// Requests that it had, without checks and those that hold it.
    fn served(&self) -> Vec<String> {
        let requests = self.origin.requests();
        let targets = requests.iter().map(|request| request.target.clone());
        targets.filter(|target| target != "/health" && target != "/hold").collect()
    }
}

fn limited(shards: usize, servers: &[&Server], more: &str) -> String {
    use std::fmt::Write as _;
    let addresses: Vec<_> = servers.iter().map(|server| server.origin.address()).collect();
    let mut text = site(shards, &addresses);
    for (number, address) in (1..).zip(&addresses) {
        text = text.replace(
            &format!("backends.app.servers.s{number} = \"{address}\"\n"),
            &format!("backends.app.servers.s{number}.address = \"{address}\"\n"),
        );
        writeln!(text, "backends.app.servers.s{number}.max_connections = 1")
            .expect("a String takes everything");
    }
    text + more
}

const CHECK: &str = "backends.app.health_check = { type = \"http\", path = \"/health\", \
     interval = \"50ms\", timeout = \"10s\", rise = 1, fall = 1 }\n";

fn ask(tidegate: &Tidegate, target: &str) -> Client {
    let mut client = Client::connect(tidegate.address("web"));
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

#[track_caller]
fn wait_queued(tidegate: &Tidegate, count: u64) {
    tidegate.wait_metrics("so many wait", |metrics| {
        metrics.count("tidegate_backend_requests_queued", &[]) == count
    });
}

/// One request at each server, for as long as its gate is shut.
fn hold_both(tidegate: &Tidegate) -> Vec<Client> {
    let held: Vec<_> = (0..2).map(|_| ask(tidegate, "/hold")).collect();
    tidegate.wait_metrics("both servers are held", |metrics| {
        ["s1", "s2"].iter().all(|server| {
            metrics.count("tidegate_server_requests_in_flight", &[("server", server)]) == 1
        })
    });
    held
}

#[test]
fn who_waits_gets_no_slot_of_a_server_that_is_down_and_one_when_it_is_back() {
    for shards in [1, 2] {
        let (first, second) = (Server::start(), Server::start());
        let tidegate = tidegate().start(&limited(shards, &[&first, &second], CHECK));
        let mut held = hold_both(&tidegate);
        let mut waiting: Vec<_> =
            ["/0", "/1", "/2"].iter().map(|target| ask(&tidegate, target)).collect();
        wait_queued(&tidegate, 3);
        second.well.store(false, Ordering::SeqCst);
        tidegate.wait_log(|line| line.is_event("server_down"));
        // What it has is answered, and its slot is nobody's, also for those who come now.
        second.gate.open();
        tidegate.wait_metrics("its request is answered", |metrics| {
            metrics.count("tidegate_server_requests_in_flight", &[("server", "s2")]) == 0
        });
        waiting.push(ask(&tidegate, "/3"));
        wait_queued(&tidegate, 4);
        assert_eq!(second.served(), [""; 0]);
        second.well.store(true, Ordering::SeqCst);
        waiting.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        assert_eq!((first.served().len(), second.served().len()), (0, 4), "it is back");
        first.gate.open();
        held.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
    }
}

#[test]
fn who_waits_gets_no_slot_of_a_backup() {
    for shards in [1, 2] {
        let (first, second) = (Server::start(), Server::start());
        let backup = "backends.app.servers.s2.backup = true\n";
        let tidegate = tidegate().start(&limited(shards, &[&first, &second], backup));
        let mut clients = vec![ask(&tidegate, "/hold")];
        first.origin.wait_requests(1);
        clients.extend(["/0", "/1"].iter().map(|target| ask(&tidegate, target)));
        wait_queued(&tidegate, 2);
        first.gate.open();
        clients.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
        assert_eq!((first.served().len(), second.served().len()), (2, 0));
    }
}

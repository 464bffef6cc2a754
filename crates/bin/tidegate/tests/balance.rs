//! Owns which server a request goes to, by every algorithm: the servers are real, the loads held open, the keys sent by
//! clients.
//!
//! Leaves retries at another server to `http_retries`. Invariant: what holds does so on one shard and on two, whose
//! clients land on either.

#[path = "support/http.rs"]
mod support;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use support::{builder, client, on_one_and_two_shards, start, take_time, wait_in_flight};
use tidegate_testkit::{Client, Connection, Gate, Origin, Tidegate, refused_address, script, site};

/// Servers `s1`, `s2` and so on, which answer with their name.
fn origins(count: usize) -> Vec<Origin> {
    (1..=count).map(|number| Origin::start(script::answer_ok(&format!("s{number}")))).collect()
}

fn start_with(shards: usize, origins: &[Origin], balance: &str) -> Tidegate {
    start(shards, origins.iter().map(Origin::address), &format!("backends.app.balance = {balance}"))
}

/// Who answers, over a connection of its own, which may land on any shard.
fn ask(tidegate: &Tidegate, request: &str) -> String {
    let mut client = client(tidegate);
    client.send(request);
    let response = client.read_response();
    assert_eq!(response.status, 200);
    String::from_utf8(response.body).expect("a name")
}

fn get(target: &str, more: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{more}\r\n")
}

/// How many requests each server had.
fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(Origin::requests_count).collect()
}

/// Answers when the gate opens.
fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |mut connection: Connection| -> io::Result<()> {
        while connection.read_request()?.is_some() {
            gate.wait();
            connection.send(script::ok("held"))?;
        }
        Ok(())
    })
}

#[test]
fn round_robin_is_within_one_percent_over_the_machine() {
    on_one_and_two_shards(|shards| {
        let origins = origins(3);
        let more = "backends.app.servers.s1.weight = 2\nbackends.app.balance = \"round_robin\"";
        let addresses = origins.iter().map(Origin::address);
        let text = site(shards, addresses).replace(
            &format!("backends.app.servers.s1 = \"{}\"", origins[0].address()),
            &format!("backends.app.servers.s1.address = \"{}\"", origins[0].address()),
        );
        let tidegate = builder().start(&format!("{text}{more}\n"));
        // Clients of some requests each, as they come.
        for _ in 0..40 {
            let mut client = client(&tidegate);
            (0..50).for_each(|_| assert_eq!(client.get("/").status, 200));
        }
        for (count, expected) in counts(&origins).into_iter().zip([1000, 500, 500]) {
            assert!(count.abs_diff(expected) <= expected / 100, "{:?}", counts(&origins));
        }
    });
}

/// The figure of the issue: requests that stay, from clients on both shards.
#[test]
fn long_requests_are_spread_by_least_conn_within_two_of_each_other() {
    on_one_and_two_shards(|shards| {
        let gate = Gate::new();
        let origins: Vec<Origin> = (0..5).map(|_| held(&gate)).collect();
        let tidegate = start_with(shards, &origins, "\"least_conn\"");
        let mut clients: Vec<Client> = Vec::new();
        for sent in 1..=60 {
            let mut client = client(&tidegate);
            client.send(get("/", ""));
            clients.push(client);
            wait_in_flight(&tidegate, sent);
        }
        let counts = counts_when(&origins, 60);
        let spread = counts.iter().max().expect("five") - counts.iter().min().expect("five");
        assert!(spread <= 2, "{counts:?}");
        gate.open();
        clients.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
    });
}

/// The servers' counts once they have this many requests together.
fn counts_when(origins: &[Origin], total: usize) -> Vec<usize> {
    let deadline = tidegate_testkit::Deadline::default();
    loop {
        let counts = counts(origins);
        if counts.iter().sum::<usize>() >= total {
            return counts;
        }
        assert!(deadline.remaining().is_some(), "the servers have {counts:?} of {total}");
        std::thread::yield_now();
    }
}

#[test]
fn least_conn_leaves_a_busy_server_alone() {
    on_one_and_two_shards(|shards| {
        let gate = Gate::new();
        let origins = [held(&gate), Origin::start(script::answer_ok("free"))];
        let tidegate = start_with(shards, &origins, "\"least_conn\"");
        // One of two lands on the server that holds it.
        let mut clients = [client(&tidegate), client(&tidegate)];
        clients.iter_mut().for_each(|client| {
            client.send(get("/first", ""));
        });
        counts_when(&origins, 2);
        for _ in 0..30 {
            assert_eq!(ask(&tidegate, &get("/", "")), "free");
        }
        assert_eq!(origins[0].requests_count(), 1);
        gate.open();
        clients.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
    });
}

#[test]
fn first_uses_the_first_server_that_is_up() {
    on_one_and_two_shards(|shards| {
        let origins = origins(3);
        let tidegate = start_with(shards, &origins, "\"first\"");
        (0..20).for_each(|_| assert_eq!(ask(&tidegate, &get("/", "")), "s1"));
    });
}

#[test]
fn random_uses_all_servers() {
    on_one_and_two_shards(|shards| {
        for balance in ["\"random\"", "{ algorithm = \"random\", draws = 1 }"] {
            let origins = origins(3);
            let tidegate = start_with(shards, &origins, balance);
            let mut client = client(&tidegate);
            (0..300).for_each(|_| assert_eq!(client.get("/").status, 200));
            let counts = counts(&origins);
            assert!(counts.iter().all(|count| *count >= 10), "{balance}: {counts:?}");
        }
    });
}

#[test]
fn peak_ewma_and_prequal_leave_a_slow_server_alone() {
    on_one_and_two_shards(|shards| {
        for balance in ["\"peak_ewma\"", "\"prequal\""] {
            let slow = Origin::start(|mut connection: Connection| -> io::Result<()> {
                while connection.read_request()?.is_some() {
                    take_time(Duration::from_millis(60));
                    connection.send(script::ok("slow"))?;
                }
                Ok(())
            });
            let mut all = origins(2);
            all.push(slow);
            let tidegate = start_with(shards, &all, balance);
            for _ in 0..20 {
                let mut client = client(&tidegate);
                (0..15).for_each(|_| assert_eq!(client.get("/").status, 200));
            }
            let counts = counts(&all);
            assert!(counts[2] <= 30, "a tenth, where turns give it a third; {balance}: {counts:?}");
        }
    });
}

/// Servers that refuse at once would look fast.
#[test]
fn a_server_that_refuses_draws_no_requests_by_being_fast() {
    on_one_and_two_shards(|shards| {
        for balance in ["\"peak_ewma\"", "\"prequal\""] {
            let origin = Origin::start(script::answer_ok("up"));
            let dead = refused_address();
            let servers = [origin.address(), dead.address()];
            let tidegate = start(shards, servers, &format!("backends.app.balance = {balance}"));
            for _ in 0..100 {
                assert_eq!(ask(&tidegate, &get("/", "")), "up");
            }
            let failed = tidegate.metrics().count("tidegate_server_attempts_failed_total", &[]);
            assert!(failed <= 30, "{balance}: {failed} attempts at the dead server");
        }
    });
}

/// Makes two requests with the same key.
type Pair = fn(usize) -> [String; 2];

/// Requests by the key that each algorithm sees in them; the second of each pair has the same one.
fn keyed() -> Vec<(&'static str, Pair)> {
    vec![
        ("{ algorithm = \"uri\", hash = \"HASH\" }", |key| {
            [get(&format!("/{key}?a"), ""), get(&format!("/{key}?b=1"), "X-A: 1\r\n")]
        }),
        ("{ algorithm = \"uri\", whole = true, hash = \"HASH\" }", |key| {
            [get(&format!("/?{key}"), ""), get(&format!("/?{key}"), "X-A: 1\r\n")]
        }),
        ("{ algorithm = \"uri\", depth = 2, hash = \"HASH\" }", |key| {
            [get(&format!("/a/{key}/x"), ""), get(&format!("/a/{key}/y/z?q"), "")]
        }),
        ("{ algorithm = \"header\", name = \"X-User\", hash = \"HASH\" }", |key| {
            [get("/a", &format!("X-User: {key}\r\n")), get("/b", &format!("x-user: {key}\r\n"))]
        }),
        ("{ algorithm = \"cookie\", name = \"user\", hash = \"HASH\" }", |key| {
            let cookie = |more| format!("Cookie: {more}user={key}\r\n");
            [get("/a", &cookie("")), get("/b", &cookie("other=1; "))]
        }),
        ("{ algorithm = \"argument\", name = \"user\", hash = \"HASH\" }", |key| {
            [get(&format!("/a?user={key}"), ""), get(&format!("/b?x=1&user={key}"), "")]
        }),
        (
            "{ algorithm = \"hash\", key = 'request.method + request.headers[\"x-b\"]', hash = \"HASH\" }",
            |key| [get("/a", &format!("X-B: {key}\r\n")), get("/b", &format!("X-B: {key}\r\n"))],
        ),
    ]
}

#[test]
fn a_key_leads_to_the_same_server_on_every_shard_and_after_a_restart() {
    const KEYS: usize = 24;
    for hash in ["map", "consistent", "maglev"] {
        for (balance, requests) in keyed() {
            let balance = balance.replace("HASH", hash);
            let mut first: BTreeMap<usize, String> = BTreeMap::new();
            // Each is a new process; on two shards each connection may land on either.
            for shards in [1, 2, 2] {
                let origins = origins(4);
                let tidegate = start_with(shards, &origins, &balance);
                for key in 0..KEYS {
                    for request in requests(key) {
                        let server = ask(&tidegate, &request);
                        let known = first.entry(key).or_insert_with(|| server.clone());
                        assert_eq!(*known, server, "{balance} key {key}, {shards} shards");
                    }
                }
                assert!(counts(&origins).iter().all(|count| *count > 0), "{balance}");
            }
        }
    }
}

#[test]
fn a_client_stays_at_its_server_by_source() {
    on_one_and_two_shards(|shards| {
        for hash in ["map", "consistent", "maglev"] {
            let origins = origins(4);
            let balance = format!("{{ algorithm = \"source\", hash = \"{hash}\" }}");
            let tidegate = start_with(shards, &origins, &balance);
            for host in 1..=12_u8 {
                let address = [127, 0, 3, host];
                let mut seen: Vec<String> = (0..4)
                    .map(|_| {
                        let frontend = tidegate.address("web");
                        let mut client = Client::connect_from(address.into(), frontend);
                        String::from_utf8(client.get("/").body).expect("a name")
                    })
                    .collect();
                seen.dedup();
                assert_eq!(seen.len(), 1, "{hash} {host}");
            }
            let used = counts(&origins).into_iter().filter(|count| *count > 0).count();
            assert!(used > 1, "{hash}: twelve clients are not all at one server");
        }
    });
}

#[test]
fn requests_without_a_key_take_turns() {
    on_one_and_two_shards(|shards| {
        let origins = origins(4);
        let balance = "{ algorithm = \"cookie\", name = \"user\" }";
        let tidegate = start_with(shards, &origins, balance);
        let mut client = client(&tidegate);
        (0..40).for_each(|_| assert_eq!(client.get("/").status, 200));
        assert_eq!(counts(&origins), [10; 4]);
    });
}

#[test]
fn keys_are_those_of_the_request_as_rules_left_it() {
    on_one_and_two_shards(|shards| {
        let origins = origins(4);
        let more = "backends.app.balance = \"uri\"\n\
                    frontends.web.rules = [{ rewrite_path = { pattern = \"^/v[0-9]+/\", replacement = \"/\" } }]";
        let tidegate = start(shards, origins.iter().map(Origin::address), more);
        for key in 0..8 {
            let server = ask(&tidegate, &get(&format!("/v1/{key}"), ""));
            assert_eq!(ask(&tidegate, &get(&format!("/v2/{key}"), "")), server);
            assert_eq!(ask(&tidegate, &get(&format!("/{key}"), "")), server);
        }
    });
}

/// One key for all: without a bound one server had them all.
#[test]
fn bounded_loads_send_a_hot_key_to_more_servers() {
    on_one_and_two_shards(|shards| {
        let gate = Gate::new();
        let origins: Vec<Origin> = (0..4).map(|_| held(&gate)).collect();
        let balance = "{ algorithm = \"header\", name = \"X-User\", hash = \"maglev\", balance_factor = 125 }";
        let tidegate = start_with(shards, &origins, balance);
        let mut clients = Vec::new();
        for sent in 1..=40 {
            let mut client = client(&tidegate);
            client.send(get("/", "X-User: hot\r\n"));
            clients.push(client);
            wait_in_flight(&tidegate, sent);
        }
        let counts = counts_when(&origins, 40);
        assert!(counts.iter().all(|count| *count <= 13), "at most 125 % of 10: {counts:?}");
        gate.open();
        clients.iter_mut().for_each(|client| assert_eq!(client.read_response().status, 200));
    });
}

#[test]
fn backups_get_nothing_while_another_server_is_up() {
    on_one_and_two_shards(|shards| {
        let origins = origins(2);
        let text = site(shards, [origins[0].address()])
            + &format!(
                "backends.app.servers.s2 = {{ address = \"{}\", backup = true }}\n",
                origins[1].address()
            );
        let tidegate = builder().start(&text);
        (0..10).for_each(|_| assert_eq!(ask(&tidegate, &get("/", "")), "s1"));
        // With weight 0 no primary is usable.
        let text = text.replace(
            &format!("s1 = \"{}\"", origins[0].address()),
            &format!("s1 = {{ address = \"{}\", weight = 0 }}", origins[0].address()),
        );
        tidegate.reload(&text);
        (0..10).for_each(|_| assert_eq!(ask(&tidegate, &get("/", "")), "s2"));
    });
}

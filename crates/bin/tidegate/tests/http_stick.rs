//! Owns clients that stay with their server by a table: what they are known by, what servers say that they will be known by, and
//! what becomes of entries when servers go, when the table is full and when the configuration changes.
//!
//! Leaves the table itself to `tidegate-stick`. Invariant: each test tells the servers apart by their answers, and every request
//! comes on a connection of its own, which any shard may take.

#[path = "support/http.rs"]
mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{client, on_one_and_two_shards, start};
use tidegate_testkit::{Origin, Response, Tidegate, refused_address, script, site};

const BY_HEADER: &str = "backends.app.persistence = { stick_on = 'request.headers[\"x-user\"]' }\n";

/// Servers that answer with their names.
fn origins() -> [Origin; 3] {
    ["a", "b", "c"].map(|name| Origin::start(script::answer_ok(name)))
}

fn addresses(origins: &[Origin]) -> Vec<String> {
    origins.iter().map(|origin| origin.address().to_string()).collect()
}

#[track_caller]
fn ask(tidegate: &Tidegate, lines: &str) -> Response {
    let mut client = client(tidegate);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    client.read_response()
}

/// The server that answers a user.
#[track_caller]
fn server_of(tidegate: &Tidegate, user: usize) -> String {
    let response = ask(tidegate, &format!("X-User: u{user}\r\n"));
    assert_eq!(response.status, 200);
    response.text().to_owned()
}

fn count(tidegate: &Tidegate, what: &str) -> u64 {
    tidegate.metrics().count(&format!("tidegate_backend_stick_{what}"), &[("backend", "app")])
}

#[test]
fn a_client_stays_at_the_server_that_it_had_whatever_shard_serves_it() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let tidegate = start(shards, addresses(&origins), BY_HEADER);
        let first: Vec<_> = (0..12).map(|user| server_of(&tidegate, user)).collect();
        for _ in 0..5 {
            for (user, server) in first.iter().enumerate() {
                assert_eq!(server_of(&tidegate, user), *server, "user {user}");
            }
        }
        assert_eq!(HashSet::<&String>::from_iter(&first).len(), 3, "they are spread");
        // Whoever is not known by anything is balanced, and leaves nothing.
        let strangers: HashSet<String> =
            (0..12).map(|_| ask(&tidegate, "").text().to_owned()).collect();
        assert_eq!(strangers.len(), 3);
        assert_eq!(ask(&tidegate, "X-User: \r\n").status, 200);
        let counts = ["hits_total", "misses_total", "stored_total", "evicted_total", "entries"];
        assert_eq!(counts.map(|what| count(&tidegate, what)), [60, 12, 12, 0, 12]);
        assert_eq!(count(&tidegate, "entries_max"), 100_000);
    });
}

#[test]
fn an_address_is_a_key_and_each_backend_has_a_table_of_its_own() {
    on_one_and_two_shards(|shards| {
        let (origins, others) = (origins(), origins());
        let more = format!(
            "backends.app.persistence = {{ stick_on = \"source.ip\" }}\n\
             backends.other.persistence = {{ stick_on = \"source.ip\" }}\n\
             backends.other.servers = {{ x = \"{}\", y = \"{}\" }}\n\
             [[frontends.web.rules]]\nwhen = 'request.headers[\"x-other\"] == \"1\"'\nbackend = \"other\"\n",
            others[1].address(),
            others[2].address(),
        );
        let tidegate = start(shards, addresses(&origins), &more);
        let (one, other) = (ask(&tidegate, ""), ask(&tidegate, "X-Other: 1\r\n"));
        for _ in 0..8 {
            assert_eq!(ask(&tidegate, "").text(), one.text());
            assert_eq!(ask(&tidegate, "X-Other: 1\r\n").text(), other.text());
        }
        assert_eq!(count(&tidegate, "hits_total"), 8);
        let of_other =
            tidegate.metrics().count("tidegate_backend_stick_entries", &[("backend", "other")]);
        assert_eq!(of_other, 1);
    });
}

/// A server that begins a session with whoever has none.
fn with_sessions(name: &'static str) -> Origin {
    let begun = AtomicUsize::new(0);
    Origin::start(script::answer_with(move |_, request| {
        if request.headers.value("Cookie").is_some() {
            return script::response(200, "OK", &[("Set-Cookie", "theme=dark")], name);
        }
        let session = format!("SID=\"{name}{}\"; Path=/", begun.fetch_add(1, Ordering::SeqCst));
        let cookies = [("Set-Cookie", "theme=dark"), ("Set-Cookie", session.as_str())];
        script::response(200, "OK", &cookies, name)
    }))
}

#[test]
fn a_session_is_learned_from_the_response_that_begins_it() {
    on_one_and_two_shards(|shards| {
        let origins = ["a", "b", "c"].map(with_sessions);
        let more = "backends.app.persistence = { stick_on = 'request.cookies[\"SID\"]', learn = 'response.cookies[\"SID\"]' }\n";
        let tidegate = start(shards, addresses(&origins), more);
        let mut sessions = Vec::new();
        for _ in 0..6 {
            let response = ask(&tidegate, "");
            let line = response.headers.all("Set-Cookie").nth(1).expect("a session").to_owned();
            let (pair, _) = line.split_once(';').expect("with a path");
            sessions.push((pair.to_owned(), response.text().to_owned()));
        }
        for _ in 0..4 {
            for (pair, server) in &sessions {
                let response = ask(&tidegate, &format!("Cookie: theme=dark; {pair}\r\n"));
                assert_eq!(response.text(), server, "{pair}");
            }
        }
        assert_eq!(count(&tidegate, "entries"), 6);
        // What no server has said makes no entry: clients cannot fill the table.
        for forged in 0..5 {
            ask(&tidegate, &format!("Cookie: SID=forged{forged}\r\n"));
        }
        assert_eq!((count(&tidegate, "misses_total"), count(&tidegate, "entries")), (5, 6));
    });
}

#[test]
fn a_client_whose_server_is_gone_goes_to_another_and_stays_there() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let text = |first: &str| {
            site(shards, [first.to_owned(), origins[1].address().to_string()]) + BY_HEADER
        };
        let tidegate = support::builder().start(&text(&origins[0].address().to_string()));
        let users = || (0..8).map(|user| server_of(&tidegate, user)).collect::<Vec<_>>();
        let before = users();
        assert!(before.iter().any(|server| server == "a"));
        // The same name at another address: entries stay, and lead to where nobody listens.
        let refused = refused_address();
        assert!(tidegate.reload(&text(&refused.address().to_string())).is_event("reloaded"));
        assert!(users().iter().all(|server| server == "b"));
        assert!(tidegate.reload(&text(&origins[0].address().to_string())).is_event("reloaded"));
        assert!(users().iter().all(|server| server == "b"), "it was learned anew");
        assert_eq!(count(&tidegate, "entries"), 8);
    });
}

#[test]
fn entries_outlive_reloads_by_the_names_of_their_servers() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let text = |names: [&str; 3], size: usize| {
            let mut text = site(shards, [origins[0].address()]);
            text.truncate(text.find("backends.app.servers").expect("the servers"));
            for (name, origin) in names.iter().zip([&origins[0], &origins[1], &origins[2]]) {
                text += &format!("backends.app.servers.{name} = \"{}\"\n", origin.address());
            }
            text + &BY_HEADER.replace(" }", &format!(", max_entries = {size} }}"))
        };
        let tidegate = support::builder().start(&text(["x", "y", "z"], 1000));
        let users = || (0..12).map(|user| server_of(&tidegate, user)).collect::<Vec<_>>();
        let before = users();
        for size in [2000, 500] {
            assert!(tidegate.reload(&text(["x", "y", "z"], size)).is_event("reloaded"));
            assert_eq!(users(), before, "with {size} places");
        }
        // Their servers are known by name: two change places, one is a new one.
        let moved = before.iter().filter(|server| *server != "c").count() as u64;
        assert!(tidegate.reload(&text(["y", "x", "new"], 500)).is_event("reloaded"));
        assert_eq!(count(&tidegate, "entries"), moved);
        for (server, now) in before.iter().zip(users()) {
            match server.as_str() {
                "a" => assert_eq!(now, "b"),
                "b" => assert_eq!(now, "a"),
                _ => {}
            }
        }
        // Without a table nothing is kept.
        assert!(tidegate.reload(&site(shards, addresses(&origins))).is_event("reloaded"));
        assert!(!tidegate.metrics().contains("tidegate_backend_stick_entries"));
    });
}

#[test]
fn a_server_of_weight_zero_keeps_its_clients_and_gets_no_others() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let text = |weight: u8| {
            site(shards, [origins[1].address()])
                + BY_HEADER
                + &format!(
                    "backends.app.servers.old = {{ address = \"{}\", weight = {weight} }}\n",
                    origins[0].address()
                )
        };
        let tidegate = support::builder().start(&text(1));
        let before: Vec<_> = (0..8).map(|user| server_of(&tidegate, user)).collect();
        assert!(before.iter().any(|server| server == "a"));
        assert!(tidegate.reload(&text(0)).is_event("reloaded"));
        for (user, server) in before.iter().enumerate() {
            assert_eq!(server_of(&tidegate, user), *server);
        }
        assert!((8..16).all(|user| server_of(&tidegate, user) == "b"));
    });
}

#[test]
fn a_full_table_forgets_who_was_not_seen_for_longest_and_all_are_forgotten_in_time() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let more = BY_HEADER.replace(" }", ", max_entries = 16, expire = \"1s\" }");
        let tidegate = start(shards, addresses(&origins), &more);
        for user in 0..40 {
            server_of(&tidegate, user);
        }
        let (stored, evicted) =
            (count(&tidegate, "stored_total"), count(&tidegate, "evicted_total"));
        assert_eq!(stored, 40);
        assert!(evicted <= 24 && count(&tidegate, "entries") <= 16, "{evicted} evicted");
        tidegate.wait_metrics("everything is forgotten", |metrics| {
            metrics.count("tidegate_backend_stick_entries", &[]) == 0
        });
        let misses = count(&tidegate, "misses_total");
        server_of(&tidegate, 39);
        assert_eq!(count(&tidegate, "misses_total"), misses + 1);
    });
}

//! Owns clients that stay with their server: cookies that are inserted, prefixed and rewritten, headers, what a client that
//! changes its token gets, and what becomes of it when its server is gone.
//!
//! Leaves the tokens themselves to `tidegate-persistence`. Invariant: each test tells the servers apart by their answers.

#[path = "support/access_log.rs"]
mod access_log;
#[path = "support/http.rs"]
mod support;

use access_log::Logged;
use support::{client, on_one_and_two_shards, start};
use tidegate_testkit::{Origin, Response, Tidegate, refused_address, script, site};

const INSERT: &str = "backends.app.persistence = { cookie = \"SRV\", mode = \"insert\", indirect = true, http_only = true }";

/// Servers that answer with their names.
fn origins() -> [Origin; 3] {
    ["a", "b", "c"].map(|name| Origin::start(script::answer_ok(name)))
}

fn addresses(origins: &[Origin]) -> Vec<String> {
    origins.iter().map(|origin| origin.address().to_string()).collect()
}

/// The answer to a request with these header lines, on a connection of its own, which any shard may take.
#[track_caller]
fn ask(tidegate: &Tidegate, lines: &str) -> Response {
    let mut client = client(tidegate);
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
    client.read_response()
}

/// The one cookie that a response sets.
#[track_caller]
fn set_cookie(response: &Response) -> (String, String) {
    let all: Vec<&str> = response.headers.all("Set-Cookie").collect();
    let [line] = all[..] else { panic!("not one cookie: {all:?}") };
    let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
    (pair.to_owned(), attributes.to_owned())
}

#[track_caller]
fn expect_stays(tidegate: &Tidegate, pair: &str, server: &str) {
    for _ in 0..6 {
        let response = ask(tidegate, &format!("Cookie: {pair}\r\n"));
        assert_eq!(response.text(), server);
        assert!(!response.headers.contains("Set-Cookie"), "it has one");
    }
}

#[test]
fn an_inserted_cookie_keeps_a_client_at_its_server() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let tidegate = start(shards, addresses(&origins), INSERT);
        let mut servers = Vec::new();
        for _ in 0..3 {
            let response = ask(&tidegate, "");
            let (pair, attributes) = set_cookie(&response);
            assert!(pair.starts_with("SRV="), "{pair}");
            assert_eq!(attributes, " Path=/; HttpOnly");
            expect_stays(&tidegate, &pair, response.text());
            servers.push(response.text().to_owned());
        }
        // On one connection too, and servers see the other cookies alone.
        let (pair, _) = set_cookie(&ask(&tidegate, ""));
        let mut client = client(&tidegate);
        for _ in 0..3 {
            client.send(format!(
                "GET /seen HTTP/1.1\r\nHost: a\r\nCookie: x=1; {pair}; y=\"2\"\r\nAccept: */*\r\n\r\n"
            ));
            assert!(!client.read_response().headers.contains("Set-Cookie"));
        }
        let seen: Vec<_> = origins.iter().flat_map(Origin::requests).collect();
        assert!(seen.iter().all(|request| !request.headers.iter().any(|(_, v)| v.contains("SRV"))));
        let whole: Vec<_> = seen.iter().filter(|request| request.target == "/seen").collect();
        assert_eq!(whole.len(), 3);
        for request in whole {
            assert_eq!(request.headers.value("Cookie"), Some("x=1; y=\"2\""));
            assert_eq!(request.headers.value("Accept"), Some("*/*"));
        }
        let alone = seen.iter().filter(|request| request.headers.contains("Cookie")).count();
        assert_eq!(alone, 3, "a line of which nothing is left is not sent");
    });
}

#[test]
fn a_client_stays_over_a_restart_and_a_reload() {
    let origins = origins();
    let first = start(2, addresses(&origins), INSERT);
    let response = ask(&first, "");
    let (pair, server) = (set_cookie(&response).0, response.text().to_owned());
    drop(first);
    let second = start(1, addresses(&origins), INSERT);
    expect_stays(&second, &pair, &server);
    // Another key makes it unknown; behind it the old one is still good.
    let with = |keys: &str| {
        site(1, addresses(&origins))
            + &format!("backends.app.persistence = {{ cookie = \"SRV\", keys = [{keys}] }}\n")
    };
    assert!(second.reload(&with("\"the first of all the keys\"")).is_event("reloaded"));
    let response = ask(&second, &format!("Cookie: {pair}\r\n"));
    let (pair, server) = (set_cookie(&response).0, response.text().to_owned());
    let both = "\"the second of all the keys\", \"the first of all the keys\"";
    assert!(second.reload(&with(both)).is_event("reloaded"));
    expect_stays(&second, &pair, &server);
}

#[test]
fn clients_cannot_choose_their_server() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let tidegate = start(shards, addresses(&origins), INSERT);
        let (pair, _) = set_cookie(&ask(&tidegate, ""));
        for place in ["SRV=".len(), 12, 20, 30, pair.len() - 1] {
            let mut forged = pair.clone().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("text");
            let response = ask(&tidegate, &format!("Cookie: {forged}\r\n"));
            assert!(set_cookie(&response).0 != forged, "it is followed");
        }
        for forged in ["SRV=s1", "SRV=", "SRV", "SRV=a; SRV=b"] {
            set_cookie(&ask(&tidegate, &format!("Cookie: {forged}\r\n")));
        }
    });
}

#[test]
fn a_server_that_is_gone_is_replaced_and_the_client_stays_with_the_next() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let text = |first: &str| {
            site(shards, [first.to_owned(), origins[1].address().to_string()]) + INSERT + "\n"
        };
        let tidegate = support::builder().start(&text(&origins[0].address().to_string()));
        let of_first = (0..8).map(|_| ask(&tidegate, "")).find(|response| response.text() == "a");
        let (pair, _) = set_cookie(&of_first.expect("both get some"));
        let refused = refused_address();
        assert!(tidegate.reload(&text(&refused.address().to_string())).is_event("reloaded"));
        let response = ask(&tidegate, &format!("Cookie: {pair}\r\n"));
        assert_eq!((response.status, response.text()), (200, "b"));
        let (pair, _) = set_cookie(&response);
        expect_stays(&tidegate, &pair, "b");
    });
}

#[test]
fn a_server_of_weight_zero_keeps_its_clients_and_gets_no_others() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let text = |weight: u8| {
            site(shards, [origins[1].address()])
                + INSERT
                + &format!(
                    "\nbackends.app.servers.old = {{ address = \"{}\", weight = {weight} }}\n",
                    origins[0].address()
                )
        };
        let tidegate = support::builder().start(&text(1));
        let of_old = (0..8).map(|_| ask(&tidegate, "")).find(|response| response.text() == "a");
        let (pair, _) = set_cookie(&of_old.expect("both get some"));
        assert!(tidegate.reload(&text(0)).is_event("reloaded"));
        expect_stays(&tidegate, &pair, "a");
        for _ in 0..6 {
            assert_eq!(ask(&tidegate, "").text(), "b");
        }
    });
}

#[test]
fn the_cookie_of_the_server_gets_a_prefix_and_loses_it() {
    on_one_and_two_shards(|shards| {
        let answer = |name: &'static str| {
            let cookies =
                [("Set-Cookie", "theme=dark"), ("Set-Cookie", "SID=abc~1; Path=/shop; HttpOnly")];
            Origin::start(script::answer(script::response(200, "OK", &cookies, name)))
        };
        let origins = [answer("a"), answer("b"), answer("c")];
        let more = "backends.app.persistence = { cookie = \"SID\", mode = \"prefix\" }";
        let tidegate = start(shards, addresses(&origins), more);
        let response = ask(&tidegate, "");
        let lines: Vec<&str> = response.headers.all("Set-Cookie").collect();
        let [other, own] = lines[..] else { panic!("{lines:?}") };
        assert_eq!(other, "theme=dark");
        let own = own.strip_suffix("~abc~1; Path=/shop; HttpOnly").expect("the server's own");
        for _ in 0..6 {
            let line = format!("Cookie: {own}~abc~1; theme=dark\r\n");
            assert_eq!(ask(&tidegate, &line).text(), response.text());
        }
        let seen: Vec<_> = origins.iter().flat_map(Origin::requests).collect();
        let cookies = seen.iter().filter_map(|request| request.headers.value("Cookie"));
        assert!(cookies.eq(["SID=abc~1; theme=dark"; 6]));
    });
}

#[test]
fn the_cookie_of_the_server_is_rewritten() {
    on_one_and_two_shards(|shards| {
        let answer = |name: &'static str| {
            let cookies = [("Set-Cookie", "SRV=any; Secure")];
            Origin::start(script::answer_with(move |_, request| {
                let cookies = if request.target == "/" { &cookies[..] } else { &[] };
                script::response(200, "OK", cookies, name)
            }))
        };
        let origins = [answer("a"), answer("b"), answer("c")];
        let more = "backends.app.persistence = { cookie = \"SRV\", mode = \"rewrite\" }";
        let tidegate = start(shards, addresses(&origins), more);
        assert!(!client(&tidegate).get("/x").headers.contains("Set-Cookie"));
        let response = ask(&tidegate, "");
        let (pair, attributes) = set_cookie(&response);
        assert_eq!((pair.len(), &*attributes), ("SRV=".len() + 44, " Secure"));
        for _ in 0..6 {
            let again = ask(&tidegate, &format!("Cookie: {pair}\r\n"));
            assert_eq!(again.text(), response.text());
        }
    });
}

#[test]
fn a_header_keeps_a_client_at_its_server() {
    on_one_and_two_shards(|shards| {
        let origins = origins();
        let more = "backends.app.persistence = { header = \"X-Server\" }\n\
                    frontends.web.via = \"edge\"";
        let tidegate = start(shards, addresses(&origins), more);
        let response = ask(&tidegate, "");
        let token = response.headers.value("X-Server").expect("it is told").to_owned();
        for _ in 0..6 {
            let again = ask(&tidegate, &format!("X-Server: {token}\r\n"));
            assert_eq!(again.text(), response.text());
            assert!(!again.headers.contains("X-Server"));
            assert!(again.headers.contains("Via"), "the other edits are made as well");
        }
        let seen = origins.iter().flat_map(Origin::requests);
        assert!(seen.into_iter().all(|request| !request.headers.contains("X-Server")));
    });
}

#[test]
fn the_log_tells_what_cookies_were_like() {
    let origins = origins();
    let logged = Logged::start(1, addresses(&origins), INSERT);
    let (pair, _) = set_cookie(&ask(&logged.tidegate, ""));
    ask(&logged.tidegate, &format!("Cookie: {pair}\r\n"));
    ask(&logged.tidegate, "Cookie: SRV=forged\r\n");
    let letters: Vec<String> = logged.lines(3).into_iter().map(|line| line.termination).collect();
    assert_eq!(letters, ["--NI", "--VN", "--II"]);
}

#[test]
fn rules_have_the_last_word_about_cookies() {
    let origins = origins();
    let more = format!(
        "{INSERT}\n[[frontends.web.rules]]\nwhen = 'request.path == \"/own\"'\n\
         set_headers = {{ Cookie = \"mine=1\" }}\n\
         [[frontends.web.response_rules]]\nset_headers = {{ \"X-Rule\" = \"yes\" }}"
    );
    let tidegate = start(1, addresses(&origins), &more);
    let response = ask(&tidegate, "");
    let (pair, _) = set_cookie(&response);
    assert_eq!(response.headers.value("X-Rule"), Some("yes"));
    let mut client = client(&tidegate);
    client.send(format!("GET /own HTTP/1.1\r\nHost: a\r\nCookie: {pair}; x=1\r\n\r\n"));
    assert_eq!(client.read_response().text(), response.text());
    let seen = origins.iter().flat_map(Origin::requests).find(|request| request.target == "/own");
    assert_eq!(seen.expect("it came").headers.value("Cookie"), Some("mine=1"));
}

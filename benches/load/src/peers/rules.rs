//! The rules of the scenario `rules`, as Tidegate and as HAProxy has them. Owns which there are: half ask for the beginning of
//! the path, a quarter for the host, a quarter for a header.
//!
//! Invariant: both have the same rules in the same order, the last one and no other holds, and without it a request has no
//! backend, so that a proxy that does not go through all of them is found out.

use std::fmt::Write;
use std::net::SocketAddr;

/// How many there are.
const COUNT: usize = 200;

/// What one rule asks for.
enum Question {
    PathBegins(String),
    HostIs(String),
    HeaderIs(String),
}

fn question(number: usize) -> Question {
    match number {
        // What the scenario asks for.
        _ if number + 1 == COUNT => Question::PathBegins("/1".to_owned()),
        _ if number.is_multiple_of(4) => Question::HostIs(format!("site-{number}.example.com")),
        _ if number % 4 == 2 => Question::HeaderIs(format!("tenant-{number}")),
        _ => Question::PathBegins(format!("/section/{number}/")),
    }
}

fn backend(number: usize) -> &'static str {
    if number + 1 == COUNT { "app" } else { "other" }
}

/// The rest of the frontend's table, and the backend of the other rules.
pub fn tidegate(origin: SocketAddr) -> String {
    let mut text = String::new();
    for number in 0..COUNT {
        let condition = match question(number) {
            Question::PathBegins(begin) => format!("request.path.startsWith(\"{begin}\")"),
            Question::HostIs(host) => format!("request.host == \"{host}\""),
            Question::HeaderIs(value) => format!("request.headers[\"x-tenant\"] == \"{value}\""),
        };
        let backend = backend(number);
        write!(text, "\n[[frontends.web.rules]]\nwhen = '{condition}'\nbackend = \"{backend}\"\n")
            .expect("writing to a string");
    }
    text + &format!("\n[backends.other.servers]\nother1 = \"{origin}\"\n")
}

/// The lines of the frontend, each with its ACL where it is used.
pub fn haproxy() -> String {
    let mut text = String::new();
    for number in 0..COUNT {
        let acl = match question(number) {
            Question::PathBegins(begin) => format!("path_beg {begin}"),
            Question::HostIs(host) => format!("req.hdr(host) -i {host}"),
            Question::HeaderIs(value) => format!("req.hdr(x-tenant) {value}"),
        };
        writeln!(text, "    use_backend {} if {{ {acl} }}", backend(number))
            .expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_as_many_of_each_kind_and_one_that_holds() {
        let tidegate = tidegate(([127, 0, 0, 1], 1).into());
        let haproxy = haproxy();
        for (ours, theirs, count) in [
            ("startsWith", "path_beg", 100),
            ("request.host", "req.hdr(host)", 50),
            ("x-tenant", "x-tenant", 50),
            ("\"app\"", "use_backend app ", 1),
        ] {
            assert_eq!(tidegate.matches(ours).count(), count, "{ours}");
            assert_eq!(haproxy.matches(theirs).count(), count, "{theirs}");
        }
    }
}

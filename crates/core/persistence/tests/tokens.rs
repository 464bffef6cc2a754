//! Tokens in cookies and headers: what is followed, what the server sees, and what the client is given.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_persistence::{
    Carrier, Cookie, Key, Mode, Persistence, RequestState, ResponseState, Settings, Unix,
};

const NOW: Unix = Unix(1_800_000_000);
const SERVERS: [&str; 3] = ["a", "b", "c"];

fn cookie(mode: Mode) -> Carrier {
    let indirect = mode == Mode::Insert;
    Carrier::Cookie(Cookie {
        name: b"SRV".to_vec(),
        mode,
        indirect,
        attributes: b"; Path=/; HttpOnly".to_vec(),
    })
}

fn settings(carrier: Carrier, secrets: &[&str]) -> Settings {
    let keys = secrets.iter().map(|secret| Key::derived(secret.as_bytes(), b"app")).collect();
    Settings { carrier, keys, max_idle: None, max_life: None }
}

fn persistence(carrier: Carrier) -> Persistence {
    Persistence::new(&settings(carrier, &["secret"]), "app", SERVERS)
}

fn later(seconds: u64) -> Unix {
    Unix(NOW.0 + seconds)
}

/// A line with the token among other cookies.
fn line(token: &[u8]) -> Vec<u8> {
    [b"theme=dark; SRV=", token, b" ; SRVX=1"].concat()
}

fn find(persistence: &Persistence, line: &[u8], now: Unix) -> (Option<u32>, RequestState) {
    let pin = persistence.find([(&b"Accept"[..], &b"SRV=x"[..]), (b"cookie", line)], now);
    (pin.server, pin.state)
}

fn hidden(persistence: &Persistence, lines: &[&[u8]]) -> String {
    let mut out = Vec::new();
    persistence.hide(lines.iter().copied(), &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn a_token_names_its_server_to_whoever_has_the_key_and_the_backend() {
    let ours = persistence(cookie(Mode::Insert));
    for server in 0..3 {
        let token = ours.token(server, NOW, NOW);
        let line = line(token.as_bytes());
        assert_eq!(find(&ours, &line, NOW), (Some(server), RequestState::Valid));
        let invalid = (None, RequestState::Invalid);
        let other_key = settings(cookie(Mode::Insert), &["other"]);
        assert_eq!(find(&Persistence::new(&other_key, "app", SERVERS), &line, NOW), invalid);
        let other_backend = settings(cookie(Mode::Insert), &["secret"]);
        assert_eq!(find(&Persistence::new(&other_backend, "api", SERVERS), &line, NOW), invalid);
        // In another order, and after the server was removed.
        let moved = settings(cookie(Mode::Insert), &["secret"]);
        let moved = Persistence::new(&moved, "app", ["c", "x", "b"]);
        let expected = [None, Some(2), Some(0)][server as usize];
        assert_eq!(find(&moved, &line, NOW).0, expected);
    }
}

#[test]
fn keys_are_rotated_without_losing_clients() {
    let old = persistence(cookie(Mode::Insert));
    let both = settings(cookie(Mode::Insert), &["new", "secret"]);
    let both = Persistence::new(&both, "app", SERVERS);
    let line = line(old.token(1, NOW, NOW).as_bytes());
    assert_eq!(find(&both, &line, NOW), (Some(1), RequestState::Valid));
    let signed = both.token(1, NOW, NOW);
    assert_eq!(find(&old, signed.as_bytes(), NOW), (None, RequestState::Absent));
    assert_eq!(find(&old, &[b"SRV=", &signed.as_bytes()[..]].concat(), NOW).0, None);
}

#[test]
fn every_changed_character_makes_a_token_invalid() {
    let ours = persistence(cookie(Mode::Insert));
    let token = *ours.token(2, NOW, NOW).as_bytes();
    for place in 0..token.len() {
        for other in [b'A', b'z', b'_', b'=', b' ', 0xff] {
            let mut changed = token;
            changed[place] = other;
            if changed != token {
                let line = [b"SRV=", &changed[..]].concat();
                assert_eq!(find(&ours, &line, NOW).0, None, "{place}");
            }
        }
    }
    for wrong in [&b"SRV="[..], b"SRV", b"SRV=b", b"SRV=AAAA"] {
        assert_eq!(find(&ours, wrong, NOW).0, None);
    }
}

#[test]
fn a_token_ends_with_its_time() {
    let limits = Settings {
        max_idle: Some(Duration::from_secs(60)),
        max_life: Some(Duration::from_secs(100)),
        ..settings(cookie(Mode::Insert), &["secret"])
    };
    let ours = Persistence::new(&limits, "app", SERVERS);
    let first = line(ours.token(1, NOW, NOW).as_bytes());
    assert_eq!(find(&ours, &first, later(60)), (Some(1), RequestState::Valid));
    assert_eq!(find(&ours, &first, later(61)), (None, RequestState::Expired));
    assert_eq!(find(&ours, &first, later(101)), (None, RequestState::Old));
    let renewed = line(ours.token(1, NOW, later(90)).as_bytes());
    assert_eq!(find(&ours, &renewed, later(100)), (Some(1), RequestState::Valid));
    assert_eq!(find(&ours, &renewed, later(101)), (None, RequestState::Old));
    // A clock that was set back is no reason to lose a client.
    assert_eq!(find(&ours, &renewed, Unix(0)), (Some(1), RequestState::Valid));
    // Used, it is renewed, and not at every request.
    let pin = ours.find([(&b"Cookie"[..], &first[..])], later(7));
    assert_eq!(ours.state(&ours.answer(&pin, 1, later(7)), false), ResponseState::Absent);
    let pin = ours.find([(&b"Cookie"[..], &first[..])], later(8));
    let answer = ours.answer(&pin, 1, later(8));
    assert_eq!(ours.state(&answer, false), ResponseState::Updated);
    // Its life goes on from the client's first one.
    let mut value = Vec::new();
    assert!(ours.write(&answer, &mut value));
    let value = value.strip_suffix(b"; Path=/; HttpOnly").expect("the attributes");
    assert_eq!(find(&ours, value, later(60)).1, RequestState::Valid);
    assert_eq!(find(&ours, value, later(101)).1, RequestState::Old);
}

#[test]
fn servers_do_not_see_an_inserted_cookie() {
    let ours = persistence(cookie(Mode::Insert));
    assert_eq!(ours.hidden_in(), Some(&b"Cookie"[..]));
    let token = *ours.token(1, NOW, NOW).as_bytes();
    assert_eq!(hidden(&ours, &[&line(&token)]), "theme=dark; SRVX=1");
    assert_eq!(hidden(&ours, &[b"SRV=x"]), "");
    assert_eq!(hidden(&ours, &[b"a=1", b"SRV=2; b=\"3\";;c"]), "a=1; b=\"3\"; c");
}

#[test]
fn a_prefix_comes_and_goes() {
    let ours = persistence(cookie(Mode::Prefix));
    let answer = ours.answer(&ours.find([], NOW), 2, NOW);
    let mut set = Vec::new();
    assert!(!ours.write(&answer, &mut set), "only what the server sets is rewritten");
    assert!(ours.is_own(b"set-cookie", b"SRV=abc; Path=/x"));
    assert!(!ours.is_own(b"Set-Cookie", b"SRVX=abc"));
    assert!(ours.rewrite(&answer, b"SRV=abc; Path=/x", &mut set));
    let set = String::from_utf8(set).expect("text");
    let pair = set.strip_suffix("; Path=/x").expect("the server's attributes");
    assert_eq!(find(&ours, pair.as_bytes(), NOW), (Some(2), RequestState::Valid));
    assert_eq!(hidden(&ours, &[format!("a=1; {pair}; b=2").as_bytes()]), "a=1; SRV=abc; b=2");
    assert_eq!(ours.state(&answer, true), ResponseState::Rewritten);
    // Values from before the proxy added anything are the server's own.
    assert_eq!(hidden(&ours, &[b"SRV=abc~d"]), "SRV=abc~d");
    assert_eq!(find(&ours, b"SRV=abc~d", NOW), (None, RequestState::Absent));
}

#[test]
fn a_rewritten_cookie_is_the_token() {
    let ours = persistence(cookie(Mode::Rewrite));
    assert_eq!(ours.hidden_in(), None);
    let answer = ours.answer(&ours.find([], NOW), 0, NOW);
    let mut set = Vec::new();
    assert!(ours.rewrite(&answer, b"SRV=", &mut set));
    assert_eq!(find(&ours, &set, NOW), (Some(0), RequestState::Valid));
    assert_eq!(ours.state(&answer, false), ResponseState::Absent);
}

#[test]
fn an_inserted_cookie_is_set_once_and_replaces_that_of_the_server() {
    let ours = persistence(cookie(Mode::Insert));
    let none = ours.find([], NOW);
    assert_eq!(ours.state(&ours.answer(&none, 1, NOW), true), ResponseState::Inserted);
    let line = line(ours.token(1, NOW, NOW).as_bytes());
    let pin = ours.find([(&b"Cookie"[..], &line[..])], NOW);
    let (same, other) = (ours.answer(&pin, 1, NOW), ours.answer(&pin, 2, NOW));
    assert_eq!(ours.state(&same, false), ResponseState::Absent);
    assert_eq!(ours.state(&same, true), ResponseState::Deleted);
    assert!(!ours.rewrite(&same, b"SRV=own", &mut Vec::new()));
    assert_eq!(ours.state(&other, false), ResponseState::Inserted, "it was redispatched");
}

#[test]
fn a_header_carries_a_token_as_well() {
    let ours = persistence(Carrier::Header(b"X-Server".to_vec()));
    assert_eq!((ours.field(), ours.hidden_in()), (&b"X-Server"[..], Some(&b"X-Server"[..])));
    let answer = ours.answer(&ours.find([], NOW), 1, NOW);
    let mut value = Vec::new();
    assert!(ours.write(&answer, &mut value));
    let pin = ours.find([(&b"x-server"[..], &value[..])], NOW);
    assert_eq!((pin.server, pin.state), (Some(1), RequestState::Valid));
    assert_eq!(hidden(&ours, &[&value]), "");
    assert!(ours.is_own(b"x-SERVER", b"anything"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_choose_a_server(
        lines in prop::collection::vec("[ -~]{0,90}", 0..4),
        raw in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        for mode in [Mode::Insert, Mode::Prefix, Mode::Rewrite] {
            let ours = persistence(cookie(mode));
            let own = [b"SRV=", &raw[..]].concat();
            let all = lines.iter().map(String::as_bytes).chain([&raw[..], &own]);
            let fields = all.clone().map(|value| (&b"Cookie"[..], value));
            prop_assert_eq!(ours.find(fields, NOW).server, None);
            let mut out = Vec::new();
            ours.hide(all.clone(), &mut out);
            let answer = ours.answer(&ours.find([], NOW), 1, NOW);
            for value in all {
                let is_own = ours.is_own(b"Set-Cookie", value);
                let mut set = Vec::new();
                let kept = ours.rewrite(&answer, value, &mut set);
                prop_assert_eq!(kept, is_own && mode != Mode::Insert);
            }
        }
    }

    #[test]
    fn other_cookies_stay_as_they_are(names in prop::collection::vec("[a-z]{1,8}=[a-z0-9=~]{0,60}", 0..6)) {
        let line = names.join("; ");
        for mode in [Mode::Insert, Mode::Prefix] {
            prop_assert_eq!(hidden(&persistence(cookie(mode)), &[line.as_bytes()]), line.clone());
        }
    }
}

//! Health checks as they are written, and what becomes of them.
//!
//! Owns defaults, what a server's own check takes from its backend's, and the examples of the contract.

use std::time::Duration;

use tidegate_config::{Backend, OnMarkedDown, ServerAddress, ServerCheck, parse};
use tidegate_health::{Initial, Preset, Probe, StatusSet};

/// The backend of a file with this text in it.
fn backend(text: &str) -> Backend {
    let file = format!(
        "[frontends.web]\nbind = [\"127.0.0.1:0\"]\ndefault_backend = \"app\"\n[backends.app]\n{text}"
    );
    let config = parse("test.toml", &file).unwrap_or_else(|report| panic!("{report}"));
    config.backends[0].clone()
}

/// The check of each server of a backend with these keys.
fn checks(keys: &str, servers: &str) -> Vec<Option<ServerCheck>> {
    let backend = backend(&format!("{keys}\n[backends.app.servers]\n{servers}"));
    backend.servers.into_iter().map(|server| server.check).collect()
}

fn only(keys: &str) -> ServerCheck {
    checks(keys, "a = \"10.0.0.1:80\"").remove(0).expect("it is checked")
}

#[test]
fn a_bare_check_is_what_haproxys_is() {
    let check = only("health_check = {}");
    assert_eq!(*check.probe, Probe::Tcp);
    let timing = check.timing;
    let two = Duration::from_secs(2);
    assert_eq!(
        [timing.interval, timing.fast_interval, timing.down_interval, timing.timeout],
        [two; 4]
    );
    assert_eq!((timing.rise, timing.fall, timing.initial), (2, 3, Initial::Up));
    assert_eq!(checks("", "a = \"10.0.0.1:80\""), [None]);
    assert_eq!(only("health_check = { interval = \"1m\" }").timing.timeout, Duration::from_secs(5));
    assert_eq!(only("health_check = \"tcp\""), check);
}

#[test]
fn the_keys_tell_the_type() {
    let Probe::Http(http) = &*only("health_check = { path = \"/x\" }").probe else {
        panic!("http")
    };
    assert_eq!((&*http.method, &*http.path), ("GET", "/x"));
    assert_eq!(http.expect_status, StatusSet::range(200, 399));
    let exchange = only("health_check = { send = \"PING\\r\\n\", expect = \"+PONG\" }");
    assert!(matches!(&*exchange.probe, Probe::Exchange(steps) if steps.len() == 2));
    let redis = only("health_check = \"redis\"");
    assert_eq!(*redis.probe, Probe::Exchange(Preset::Redis.steps(None)));
    let mysql = only("health_check = { type = \"mysql\", user = \"u\" }");
    assert_eq!(*mysql.probe, Probe::Exchange(Preset::MySql.steps(Some("u"))));
}

#[test]
fn a_servers_own_check_goes_before_its_backends() {
    let checks = checks(
        "health_check = { type = \"http\", path = \"/health\", host = \"h\", fall = 5 }",
        "a = \"10.0.0.1:80\"\n\
         b = { address = \"10.0.0.2:80\", health_check = { path = \"/ready\", port = 81 } }\n\
         c = { address = \"10.0.0.3:80\", health_check = { type = \"tcp\", address = \"10.0.0.9\" } }\n\
         d = { address = \"10.0.0.4:80\", health_check = false }\n\
         e = { address = \"unix:/run/e\", health_check = { address = \"10.0.0.9:8080\" } }",
    );
    let address = |text: &str| ServerAddress::Tcp(text.parse().expect("an address"));
    let [Some(a), Some(b), Some(c), None, Some(e)] = &checks[..] else { panic!("{checks:?}") };
    let Probe::Http(ready) = &*b.probe else { panic!("{b:?}") };
    assert_eq!((&*ready.path, ready.host.as_deref(), b.timing.fall), ("/ready", Some("h"), 5));
    assert_eq!((&a.address, &b.address), (&address("10.0.0.1:80"), &address("10.0.0.2:81")));
    assert_eq!((&*c.probe, c.timing.fall, &c.address), (&Probe::Tcp, 5, &address("10.0.0.9:80")));
    assert_eq!(e.address, address("10.0.0.9:8080"));
}

#[test]
fn the_examples_of_the_contract_are_taken() {
    let servers = "\n[backends.app.servers]\na = \"10.0.0.1:80\"";
    let http = only(
        "health_check = { type = \"http\", method = \"GET\", path = \"/health\", expect_status = \"200-399\", \
         interval = \"200ms\", timeout = \"100ms\", rise = 2, fall = 3 }",
    );
    assert_eq!(http.timing.timeout, Duration::from_millis(100));
    let passive = backend(&format!(
        "passive_health = {{ errors = 5, window = \"10s\", eject_for = \"5s\", max_ejected_percent = 50 }}{servers}"
    ));
    let settings = passive.passive_health.expect("it is written");
    assert_eq!((settings.errors, settings.consecutive_errors), (Some(5), None));
    assert_eq!(settings.eject_for, Duration::from_secs(5));
    let bare = backend(&format!("passive_health = {{}}{servers}")).passive_health;
    assert_eq!(bare.and_then(|settings| settings.consecutive_errors), Some(5));
    let close =
        backend(&format!("on_marked_down = \"close_sessions\"\npanic_threshold = 50{servers}"));
    assert_eq!((close.on_marked_down, close.panic_threshold), (OnMarkedDown::CloseSessions, 50));
}

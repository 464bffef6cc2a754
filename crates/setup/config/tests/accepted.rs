//! What accepted files mean, and how files that cannot be read are reported.
//!
//! Owns the meaning of defaults, order, forms and warnings; refused files are in `invalid`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_balance::{Policy, Weight};
use tidegate_config::{
    BackendIndex, BindAddress, Config, Cores, Mode, ServerAddress, defaults, load, parse,
};

fn accept(text: &str) -> Config {
    parse("test.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

const MINIMAL: &str = r#"
[frontends.web]
bind = ["127.0.0.1:8080"]
default_backend = "app"

[backends.app.servers]
app1 = "127.0.0.1:9001"
app2 = "127.0.0.1:9002"
"#;

#[test]
fn a_minimal_file_is_complete() {
    let config = accept(MINIMAL);
    assert_eq!(config.warnings, []);
    assert_eq!(config.admin, None);
    assert_eq!(config.global.cores, Cores::Auto);
    assert_eq!(config.global.max_connections, defaults::MAX_CONNECTIONS);
    let frontend = &config.frontends[0];
    assert_eq!((&*frontend.name, frontend.mode), ("web", Mode::Http));
    assert_eq!(frontend.default_backend, Some(BackendIndex(0)));
    assert_eq!(frontend.header_limits, tidegate_http1::Limits::default());
    let backend = config.backend(BackendIndex(0));
    assert_eq!((&*backend.name, backend.balance.policy), ("app", Policy::RoundRobin));
    let servers: Vec<_> = backend.servers.iter().map(|s| (&*s.name, s.weight)).collect();
    assert_eq!(servers, [("app1", Weight::default()), ("app2", Weight::default())]);
}

#[test]
fn reads_every_key_of_the_process() {
    let config = accept(&format!(
        r#"
        [global]
        cores = [2, 0]
        max_connections = 0x100
        daemon = true
        shutdown_delay = "5s"
        shutdown_timeout = "1m"
        listen_backlog = 1_000
        [admin]
        bind = ["127.0.0.1:0", {{ address = "unix:/run/admin.sock" }}]
        {MINIMAL}"#
    ));
    let global = config.global;
    assert_eq!(global.cores, Cores::List(vec![2, 0]));
    assert_eq!((global.max_connections, global.listen_backlog), (256, 1_000));
    assert!(global.daemon);
    assert_eq!(global.shutdown_delay, Duration::from_secs(5));
    assert_eq!(global.shutdown_timeout, Duration::from_secs(60));
    let binds: Vec<_> = config
        .admin
        .expect("has an admin table")
        .bind
        .iter()
        .map(|b| b.address.to_string())
        .collect();
    assert_eq!(binds, ["127.0.0.1:0", "unix:/run/admin.sock"]);
}

#[test]
fn defaults_fill_what_is_not_said_wherever_they_stand() {
    let defaults = r#"
        [defaults]
        forwarded_for = true
        retries = 7
        timeouts = { client = "11s", connect = "12s" }
        header_limits = { bytes = "4KiB" }
        pool = { max_idle = 5 }
        "#;
    let own = r#"
        [frontends.own]
        bind = ["127.0.0.1:8081"]
        default_backend = "own"
        forwarded_for = false
        timeouts.client = "1s"
        [backends.own]
        retries = 1
        pool.max_idle = 6
        servers.s1 = "127.0.0.1:9001"
        "#;
    let first = accept(&format!("{defaults}{MINIMAL}{own}"));
    let last = accept(&format!("{MINIMAL}{own}{defaults}"));
    assert_eq!(first, last);
    let [filled, own] = &first.frontends[..] else { panic!("two frontends") };
    assert!(filled.forwarded_for.is_some() && own.forwarded_for.is_none());
    assert_eq!(filled.timeouts.client, Duration::from_secs(11));
    assert_eq!(own.timeouts.client, Duration::from_secs(1));
    assert_eq!(own.timeouts.keep_alive, defaults::KEEP_ALIVE_TIMEOUT);
    assert_eq!(
        (filled.header_limits.head_bytes_max, own.header_limits.head_bytes_max),
        (4096, 4096)
    );
    let [filled, own] = &first.backends[..] else { panic!("two backends") };
    assert_eq!((filled.retries.max, own.retries.max), (7, 1));
    assert_eq!((filled.pool.max_idle, own.pool.max_idle), (5, 6));
    assert_eq!(filled.timeouts.connect, Duration::from_secs(12));
    assert_eq!(own.timeouts.connect, Duration::from_secs(12));
}

#[test]
fn the_order_of_the_file_is_kept() {
    let config = accept(
        r#"
        [backends.zebra.servers]
        z9 = "127.0.0.1:1"
        a1 = "127.0.0.1:2"
        m5 = { address = "127.0.0.1:3" }
        [frontends.zoo]
        bind = ["127.0.0.1:82", "127.0.0.1:81"]
        default_backend = "ant"
        [backends.ant.servers]
        s = "127.0.0.1:4"
        [frontends.arc]
        bind = ["127.0.0.1:80"]
        default_backend = "zebra"
        "#,
    );
    let frontends: Vec<_> = config.frontends.iter().map(|f| &*f.name).collect();
    assert_eq!(frontends, ["zoo", "arc"]);
    let backends: Vec<_> = config.backends.iter().map(|b| &*b.name).collect();
    assert_eq!(backends, ["zebra", "ant"]);
    let servers: Vec<_> = config.backends[0].servers.iter().map(|s| &*s.name).collect();
    assert_eq!(servers, ["z9", "a1", "m5"]);
    let targets: Vec<_> = config.frontends.iter().map(|f| f.default_backend).collect();
    assert_eq!(targets, [Some(BackendIndex(1)), Some(BackendIndex(0))]);
}

#[test]
fn binds_have_a_short_and_a_long_form() {
    let short = accept(MINIMAL);
    let long = accept(&MINIMAL.replace(
        "bind = [\"127.0.0.1:8080\"]\ndefault_backend = \"app\"",
        "default_backend = \"app\"\n[[frontends.web.bind]]\naddress = \"127.0.0.1:8080\"",
    ));
    assert_eq!(short, long);
    assert_ne!(short.frontends[0].binds[0].span, long.frontends[0].binds[0].span);
}

#[test]
fn binds_that_cannot_meet_are_accepted() {
    let config = accept(&MINIMAL.replace(
        "\"127.0.0.1:8080\"",
        r#""*:8080", "[::]:8080", "127.0.0.1:8081", "127.0.0.2:8081", "127.0.0.1:0", "127.0.0.1:0", "fd@3", "fd@4""#,
    ));
    assert_eq!(config.frontends[0].binds.len(), 8);
    assert_eq!(config.frontends[0].binds[0].address.to_string(), "0.0.0.0:8080");
    assert_eq!(config.frontends[0].binds[6].address, BindAddress::Fd(3));
}

#[test]
fn servers_may_be_tcp_or_unix_and_weigh_differently() {
    let config = accept(
        r#"
        [frontends.web]
        bind = ["unix:/run/web.sock"]
        default_backend = "app"
        [backends.app.servers]
        a = { address = "[2001:db8::1]:80", weight = 0 }
        b = { address = "unix:/run/b.sock", weight = 256 }
        "#,
    );
    let [a, b] = &config.backends[0].servers[..] else { panic!("two servers") };
    assert_eq!(a.weight, Weight::ZERO);
    assert_eq!(b.weight, Weight::MAX);
    assert_eq!(b.address, ServerAddress::Unix("/run/b.sock".into()));
    assert_eq!(a.address.to_string(), "[2001:db8::1]:80");
}

#[test]
fn warns_of_what_is_probably_not_meant() {
    let config = accept(
        r#"
        [global]
        max_connections = 10
        [frontends.web]
        bind = ["127.0.0.1:8080"]
        max_connections = 11
        [backends.spare.servers]
        s = "127.0.0.1:9001"
        "#,
    );
    let warnings: Vec<_> = config.warnings.iter().map(|w| &*w.message).collect();
    assert_eq!(
        warnings,
        [
            "frontend `web` has no `default_backend`",
            "11 is more than `global.max_connections`, which is 10",
            "backend `spare` is not used",
        ]
    );
    assert!(config.warnings[0].to_string().starts_with("test.toml:4:20: warning: frontend `web`"));
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let keys: String = (0..defaults::PROBLEMS_MAX + 5).map(|n| format!("k{n} = 1\n")).collect();
    let report = parse("test.toml", &format!("{keys}{MINIMAL}")).expect_err("unknown keys");
    assert_eq!(report.diagnostics.len(), defaults::PROBLEMS_MAX + 1);
    assert!(report.to_string().contains("5 more problems are not shown"));
}

#[test]
fn too_many_entries_are_refused() {
    let servers: String =
        (0..=defaults::ENTRIES_MAX).map(|n| format!("s{n} = \"127.0.0.1:1\"\n")).collect();
    let text = MINIMAL.replace("app1 = \"127.0.0.1:9001\"\n", &servers);
    let report = parse("test.toml", &text).expect_err("too many servers");
    assert!(report.to_string().contains("at most 10000 are taken"), "{report}");
}

/// A file of its own for one test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidegate-config-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("writable");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind at worst; the test has its result by now.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_is_read_with_and_without_a_byte_order_mark() {
    let plain = Scratch::new("plain.toml", MINIMAL.as_bytes());
    let marked = Scratch::new("marked.toml", format!("\u{feff}{MINIMAL}").as_bytes());
    let (plain, marked) = (load(&plain.0).expect("valid"), load(&marked.0).expect("valid"));
    assert_eq!(plain, marked);
}

#[test]
fn a_missing_file_is_reported_by_name() {
    let report = load("/nonexistent/tidegate.toml".as_ref()).expect_err("no such file");
    let text = report.to_string();
    assert!(
        text.starts_with("/nonexistent/tidegate.toml: error: cannot be read: No such file"),
        "{text}"
    );
    assert!(text.ends_with("/nonexistent/tidegate.toml: 1 error"), "{text}");
}

#[test]
fn a_file_name_cannot_command_the_terminal() {
    let escape = "/nonexistent/\u{1b}[31m.toml";
    let report = load(escape.as_ref()).expect_err("no such file");
    assert!(!report.to_string().contains('\u{1b}'));
    let report = parse(escape, "").expect_err("empty");
    assert!(!report.to_string().contains('\u{1b}'));
}

#[test]
fn a_number_that_cannot_be_read_is_shown_without_control_characters() {
    let report =
        parse("test.toml", "[global]\nmax_connections = 5\u{0}0\n").expect_err("no number");
    assert!(report.to_string().chars().all(|c| c == '\n' || !c.is_control()));
}

#[test]
fn a_directory_is_no_file() {
    assert!(load(&std::env::temp_dir()).is_err());
}

#[test]
fn a_file_that_is_not_utf8_is_refused_with_the_place() {
    let file = Scratch::new("latin1.toml", b"[global]\n# caf\xe9\n");
    let report = load(&file.0).expect_err("not UTF-8");
    let diagnostic = &report.diagnostics[0];
    assert_eq!(diagnostic.message, "byte 0xe9 is not valid UTF-8");
    let place = diagnostic.place.as_ref().expect("has a place");
    assert_eq!((place.line, place.column), (2, 6));
}

#[test]
fn a_file_without_end_is_refused() {
    let report = load("/dev/zero".as_ref()).expect_err("endless");
    assert!(report.to_string().contains("is longer than 16777216 bytes"), "{report}");
}

//! Scrapes read back by a strict parser, and the documentation held to the table of families.

mod acme;
mod discovery;
mod health;
mod parser;

use self::parser::{Families, Labels, parse};
use super::families::{Family, Kind};
use super::{Exposition, ProcessInfo, families};
use crate::admin::scribe::{Material, Scribe};
use crate::certificates::{CertificateEnd, CertificateFigures};
use crate::discovery::figures::DiscoveryFigures;
use crate::figures::{Figures, Reloads, ShardFigures, StickFigures};
use crate::health::figures::HealthFigures;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, SystemTime};
use tidegate_log::{Cause, Counts as LogCounts};
use tidegate_telemetry::{CounterSet, EntityName, Reasons, Registry};

const REASONS: Reasons = Reasons {
    rejections: &["bad_chunk", "no_host"],
    failures: &["connect_refused", "timeout"],
    answers: &["deny"],
    rule_drops: &["edit"],
    codings: &["gzip"],
    handshakes: &["timeout"],
    floods: &["pings"],
    http2_errors: &["protocol_error"],
    http2_stream_errors: &["refused_stream"],
    server_endings: &["idle"],
    grpc: &["ok"],
};

fn process() -> ProcessInfo {
    ProcessInfo {
        version: "1.2.3",
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
        cpu_time: Duration::from_millis(12_340),
        resident_bytes: Some(4_096),
        fds_open: Some(7),
        fds_max: Some(1_024),
        scrapes_refused: 3,
    }
}

fn figures() -> Figures {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let reloads = Reloads::none(at(1)).and_taken(at(2)).and_taken(at(3)).and_failed(at(4));
    let shard = |generation, commands_held| ShardFigures { generation, commands_held };
    let shards = vec![shard(3, 0), shard(2, 7)];
    Figures {
        generation: 3,
        reloads,
        suppressed: vec![("request_failed", 5), ("panic", 0)],
        shards,
        health: health::sample(),
        orders: acme::sample(),
        certificates: CertificateFigures {
            loaded: 2,
            replaced: 5,
            failures: 1,
            ends: vec![CertificateEnd {
                file: "/etc/site.pem".to_owned(),
                name: "site.example".to_owned(),
                not_after: at(9),
            }],
        },
        sticks: vec![StickFigures { backend: "app".into(), entries: 12, entries_max: 16 }],
        discovery: discovery::sample(),
        access_log: Some(access_log()),
    }
}

fn access_log() -> LogCounts {
    let dropped = CounterSet::new(Cause::LABELS);
    dropped.increment(1);
    LogCounts { lines: 11, bytes: 2_200, reconnects: 1, dropped: dropped.snapshot() }
}

/// Two shards, two frontends, one backend with two servers, every cell of shard 1 in use.
fn registry() -> Registry {
    let mut registry = Registry::new(2, REASONS);
    registry.frontend("api");
    registry.server("app", "b");
    registry.shards().shard(1).accepted.add(9);
    let web = registry.frontend("web").clone();
    for (shard, stats) in (0..2).map(|shard| (shard, web.shard(shard))) {
        stats.connections_total.add(3 + shard as u64);
        stats.connections_open.increment();
        stats.requests.record(200);
        stats.bytes_in.add(100);
        stats.request_duration.record(Duration::from_millis(2));
    }
    web.shard(1).requests.record(503);
    web.shard(1).rejected.increment(1);
    web.shard(1).request_duration.record(Duration::from_secs(90));
    let app = registry.backend("app").clone();
    app.shard(0).retries.increment();
    app.shard(1).failures.increment(1);
    app.shard(1).grpc.increment(0);
    let server = registry.server("app", "a").clone();
    server.shard(0).requests.record(200);
    server.shard(1).requests.record(204);
    server.shard(1).failures.increment(0);
    server.shard(1).http2_ended.increment(0);
    registry
}

fn scrape(registry: &Registry) -> Families {
    let text = Exposition::new().render(registry, &process(), &figures());
    parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The value of the one sample with these labels, if there is one.
fn value(families: &Families, sample: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let matches = |found: &Labels| {
        found.iter().map(|(label, value)| (&**label, &**value)).eq(labels.iter().copied())
    };
    let mut all = families.values().flat_map(|family| &family.samples);
    all.find(|(name, found, _)| name == sample && matches(found)).map(|sample| sample.2)
}

#[test]
fn a_scrape_is_valid_and_has_every_family_with_its_type_help_and_labels() {
    let scrape = scrape(&registry());
    let names: BTreeSet<&str> = scrape.keys().map(String::as_str).collect();
    assert_eq!(names, families::all().map(|family| family.name).collect());
    for family in families::all() {
        let parsed = &scrape[family.name];
        assert_eq!((&*parsed.help, &*parsed.kind), (family.help, family.kind.label()));
        assert!(!parsed.samples.is_empty(), "{} has no samples", family.name);
        for (name, labels, _) in &parsed.samples {
            let labels = labels.iter().map(|(label, _)| &**label);
            let expected = family.labels.iter().copied();
            assert!(labels.filter(|label| *label != "le").eq(expected), "labels of {name}");
        }
    }
}

#[test]
fn series_show_the_counts_of_their_shard_or_the_sum() {
    let scrape = scrape(&registry());
    let shards = "tidegate_frontend_connections_total";
    assert_eq!(value(&scrape, shards, &[("frontend", "web"), ("shard", "0")]), Some(3.0));
    assert_eq!(value(&scrape, shards, &[("frontend", "web"), ("shard", "1")]), Some(4.0));
    assert_eq!(value(&scrape, shards, &[("frontend", "api"), ("shard", "1")]), Some(0.0));
    for (name, labels, expected) in [
        ("tidegate_frontend_received_bytes_total", &[("frontend", "web")][..], 200.0),
        (
            "tidegate_frontend_requests_rejected_total",
            &[("frontend", "web"), ("reason", "no_host")],
            1.0,
        ),
        (
            "tidegate_frontend_requests_rejected_total",
            &[("frontend", "web"), ("reason", "bad_chunk")],
            0.0,
        ),
        (
            "tidegate_frontend_requests_total",
            &[("frontend", "web"), ("shard", "1"), ("status", "5xx")],
            1.0,
        ),
        (
            "tidegate_frontend_request_duration_seconds_bucket",
            &[("frontend", "web"), ("le", "0.0025")],
            2.0,
        ),
        (
            "tidegate_frontend_request_duration_seconds_bucket",
            &[("frontend", "web"), ("le", "60")],
            2.0,
        ),
        ("tidegate_frontend_request_duration_seconds_sum", &[("frontend", "web")], 90.004),
        ("tidegate_backend_retries_total", &[("backend", "app")], 1.0),
        (
            "tidegate_server_requests_total",
            &[("backend", "app"), ("server", "a"), ("status", "2xx")],
            2.0,
        ),
        ("tidegate_shard_connections_accepted_total", &[("shard", "1")], 9.0),
        ("tidegate_config_generation", &[], 3.0),
        ("tidegate_config_reloads_total", &[("result", "ok")], 2.0),
        ("tidegate_config_reloads_total", &[("result", "failed")], 1.0),
        ("tidegate_config_last_reload_ok", &[], 0.0),
        ("tidegate_config_last_reload_time_seconds", &[], 4.0),
        ("tidegate_config_shard_generation", &[("shard", "1")], 2.0),
        ("tidegate_config_shard_commands_held_total", &[("shard", "1")], 7.0),
        ("tidegate_log_lines_suppressed_total", &[("event", "request_failed")], 5.0),
        ("tidegate_admin_scrapes_refused_total", &[], 3.0),
        ("tidegate_access_log_lines_written_total", &[], 11.0),
        ("tidegate_access_log_lines_dropped_total", &[("cause", "slow")], 1.0),
        ("tidegate_build_info", &[("version", "1.2.3")], 1.0),
        ("process_start_time_seconds", &[], 1_700_000_000.25),
        ("process_cpu_seconds_total", &[], 12.34),
        ("process_resident_memory_bytes", &[], 4_096.0),
    ] {
        assert_eq!(value(&scrape, name, labels), Some(expected), "{name} {labels:?}");
    }
}

#[test]
fn a_server_has_a_reason_only_once_it_has_occurred() {
    let scrape = scrape(&registry());
    let samples = &scrape["tidegate_server_attempts_failed_total"].samples;
    assert_eq!(samples.len(), 1, "{samples:?}");
    assert_eq!(samples[0].1[2], ("reason".to_owned(), "connect_refused".to_owned()));
}

#[test]
fn what_a_reload_removes_is_gone_from_the_next_scrape_and_the_rest_goes_on() {
    let mut registry = registry();
    let mut exposition = Exposition::new();
    let before = exposition.render(&registry, &process(), &figures());
    assert!(before.contains("frontend=\"api\"") && before.contains("server=\"b\""));

    let removed = [EntityName::Frontend("api"), EntityName::Server { backend: "app", server: "b" }];
    registry.retain(|name| !removed.contains(&name));
    registry.frontend("web").shard(0).connections_total.increment();
    let after = exposition.render(&registry, &process(), &figures());
    assert!(!after.contains("api") && !after.contains("server=\"b\""));
    let after = parse(&after).expect("a valid scrape");
    let web = [("frontend", "web"), ("shard", "0")];
    assert_eq!(value(&after, "tidegate_frontend_connections_total", &web), Some(4.0));
}

#[test]
fn a_registry_without_names_is_a_valid_scrape() {
    let figures = Figures {
        health: HealthFigures::default(),
        orders: tidegate_acme::Figures::default(),
        certificates: CertificateFigures::default(),
        sticks: Vec::new(),
        discovery: DiscoveryFigures::default(),
        ..figures()
    };
    let text = Exposition::new().render(&Registry::new(1, REASONS), &process(), &figures);
    let scrape = parse(&text).expect("a valid scrape");
    assert!(scrape.keys().all(|name| name.starts_with("process_")
        || name.starts_with("tidegate_shard_")
        || name.starts_with("tidegate_config_")
        || name.starts_with("tidegate_health_")
        || name.starts_with("tidegate_admin_")
        || name.starts_with("tidegate_log_")
        || name.starts_with("tidegate_tls_")
        || name.starts_with("tidegate_acme_")
        || name == "tidegate_name_lookups_delayed_total"
        || name.starts_with("tidegate_access_log_")
        || name == "tidegate_build_info"));
}

#[test]
fn every_name_comes_back_as_it_went_in() {
    let mut registry = Registry::new(1, REASONS);
    let mut names = vec![String::new()];
    for shorter in 0..85 {
        names.extend(['\\', '"', '\n', 'n'].map(|last| format!("{}{last}", names[shorter])));
    }
    names.extend(["ü{x=\"1\"}".to_owned(), "a\n\n# TYPE b counter".to_owned()]);
    for name in &names {
        registry.frontend(name);
    }
    let scrape = scrape(&registry);
    let expected: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for family in
        ["tidegate_frontend_sent_bytes_total", "tidegate_frontend_request_duration_seconds"]
    {
        let samples = &scrape[family].samples;
        let found: BTreeSet<&str> = samples.iter().map(|(_, labels, _)| &*labels[0].1).collect();
        assert_eq!(found, expected, "{family}");
    }
}

#[test]
fn figures_that_cannot_be_read_are_left_out() {
    let unknown = ProcessInfo { resident_bytes: None, fds_open: None, fds_max: None, ..process() };
    let text = Exposition::new().render(&Registry::new(1, REASONS), &unknown, &figures());
    let names: Vec<_> = parse(&text).expect("a valid scrape").into_keys().collect();
    assert!(names.contains(&"process_cpu_seconds_total".to_owned()));
    assert!(
        !names.iter().any(|name| name.ends_with("_fds") || name.contains("memory")),
        "{names:?}"
    );
}

#[test]
fn the_figures_of_this_process_are_plausible() {
    let files: Vec<_> = (0..64).map(|_| std::fs::File::open("/proc/self/exe")).collect();
    let info = ProcessInfo::read("1.2.3", SystemTime::UNIX_EPOCH);
    assert!(files.iter().all(Result::is_ok));
    assert!(info.fds_open.is_some_and(|open| (64..100_000).contains(&open)), "{info:?}");
    assert!(info.fds_max.is_none_or(|max| max >= info.fds_open.unwrap_or(0)), "{info:?}");
    assert!(
        info.resident_bytes.is_some_and(|bytes| (100 << 10..1 << 40).contains(&bytes)),
        "{info:?}"
    );
    assert!(info.cpu_time > Duration::ZERO, "{info:?}");
}

#[test]
fn a_scrape_can_be_rendered_on_another_thread() {
    let (registry, mut exposition) = (registry(), Exposition::new());
    let here = exposition.render(&registry, &process(), &figures());
    let there =
        std::thread::spawn(move || exposition.render(&registry, &process(), &figures())).join();
    assert_eq!(there.expect("rendering does not panic"), here);
}

/// Wakes the test's thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn the_scribe_writes_each_scrape_that_was_asked_for_and_wakes_who_asked() {
    let scribe = Scribe::start(2).expect("a thread");
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let ask = |registry| {
        let material = Material { registry, process: process(), figures: figures() };
        scribe.ask(material, waker.clone()).expect("there is room")
    };
    let asked = [ask(registry()), ask(Registry::new(1, REASONS))];
    let written = asked.map(|pending| {
        loop {
            match pending.poll() {
                Poll::Ready(text) => break text.expect("written"),
                Poll::Pending => std::thread::park_timeout(Duration::from_secs(30)),
            }
        }
    });
    let [here, empty] = [registry(), Registry::new(1, REASONS)]
        .map(|registry| Exposition::new().render(&registry, &process(), &figures()));
    assert!(here.len() > empty.len());
    assert_eq!(written, [here, empty]);
}

#[test]
fn a_scrape_that_finds_no_room_is_refused_and_counted() {
    let scribe = Scribe::start(1).expect("a thread");
    let ask = || {
        let material = Material { registry: registry(), process: process(), figures: figures() };
        scribe.ask(material, Waker::noop().clone())
    };
    // Asking takes less than writing.
    while ask().is_some() {
        assert_eq!(scribe.refused(), 0);
    }
    assert_eq!(scribe.refused(), 1);
}

#[test]
fn the_documentation_lists_every_metric_as_it_is() {
    let document = include_str!("../../../../../../docs/METRICS.md");
    let documented: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with("| `tidegate_") || line.starts_with("| `process_"))
        .collect();
    let expected: Vec<String> = families::all().map(row).collect();
    assert!(documented == expected, "the tables should be:\n{}", expected.join("\n"));
}

fn row(family: &Family) -> String {
    let Family { name, kind, labels, help } = family;
    let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
    format!("| `{name}` | {} | {} | {labels} | {help} |", kind.label(), unit(name))
}

fn unit(name: &str) -> &'static str {
    let stem = name.strip_suffix("_total").unwrap_or(name);
    if stem.ends_with("_seconds") {
        "seconds"
    } else if stem.ends_with("_bytes") {
        "bytes"
    } else {
        "count"
    }
}

#[test]
fn names_end_in_total_when_and_only_when_they_are_counters() {
    for family in families::all() {
        let is_counter = matches!(family.kind, Kind::Counter | Kind::FractionalCounter);
        assert_eq!(family.name.ends_with("_total"), is_counter, "{}", family.name);
    }
}

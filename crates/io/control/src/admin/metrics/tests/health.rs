//! The health of servers in a scrape.
//!
//! Owns a sample of it; leaves the rest of a scrape to the tests around.

use std::time::Duration;

use super::{registry, scrape, value};
use crate::health::Counts;
use crate::health::figures::{BackendFigures, HealthFigures, ServerFigures};

/// One backend with one server.
pub(super) fn sample() -> HealthFigures {
    let mut counts = Counts::default();
    (counts.results[0], counts.results[2], counts.ejections) = (9, 3, 2);
    counts.last_duration = Some(Duration::from_millis(250));
    let server = ServerFigures {
        name: "a".into(),
        up: true,
        ejected: false,
        agent_max_connections: Some(30),
        counts,
    };
    let backend = BackendFigures {
        name: "app".into(),
        servers_up: 1,
        panics: true,
        ejections_capped: 4,
        servers: vec![server],
    };
    HealthFigures { backends: vec![backend], checks_in_flight: 5, checks_delayed: 6 }
}

#[test]
fn the_health_of_servers_is_shown_with_the_results_that_there_were() {
    let scrape = scrape(&registry());
    for (name, labels, expected) in [
        ("tidegate_health_checks_in_flight", &[][..], 5.0),
        ("tidegate_health_checks_delayed_total", &[], 6.0),
        ("tidegate_backend_servers_up", &[("backend", "app")], 1.0),
        ("tidegate_backend_panic", &[("backend", "app")], 1.0),
        ("tidegate_backend_ejections_capped_total", &[("backend", "app")], 4.0),
        ("tidegate_server_up", &[("backend", "app"), ("server", "a")], 1.0),
        ("tidegate_server_ejected", &[("backend", "app"), ("server", "a")], 0.0),
        ("tidegate_server_ejections_total", &[("backend", "app"), ("server", "a")], 2.0),
        (
            "tidegate_server_checks_total",
            &[("backend", "app"), ("server", "a"), ("result", "passed")],
            9.0,
        ),
        (
            "tidegate_server_checks_total",
            &[("backend", "app"), ("server", "a"), ("result", "refused")],
            3.0,
        ),
        ("tidegate_server_check_duration_seconds", &[("backend", "app"), ("server", "a")], 0.25),
        ("tidegate_server_agent_max_connections", &[("backend", "app"), ("server", "a")], 30.0),
    ] {
        assert_eq!(value(&scrape, name, labels), Some(expected), "{name} {labels:?}");
    }
    assert_eq!(scrape["tidegate_server_checks_total"].samples.len(), 2);
}

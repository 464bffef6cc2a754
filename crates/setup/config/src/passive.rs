//! `passive_health`: which servers are outliers in traffic.
//!
//! Owns its keys; leaves what they mean to `tidegate_health`.
//!
//! Invariant: at least one sign is looked for.

use tidegate_health::PassiveSettings;

use crate::walk::{Key, Node, key, set, walk};
use crate::{defaults, health};

pub(crate) const PASSIVE_KEYS: &[Key<PassiveSettings>] = &[
    key("errors", "5", |to, node| {
        set(&mut to.errors, node.integer(defaults::PASSIVE_ERRORS_RANGE).map(Some));
    }),
    key("consecutive_errors", "5", |to, node| {
        set(&mut to.consecutive_errors, node.integer(defaults::PASSIVE_ERRORS_RANGE).map(Some));
    }),
    key("error_percent", "50", |to, node| {
        set(&mut to.error_percent, node.integer(defaults::PERCENT_RANGE).map(Some));
    }),
    key("latency", "\"1s\"", |to, node| set(&mut to.latency, node.timeout().map(Some))),
    key("min_requests", "20", |to, node| {
        set(&mut to.requests_min, node.integer(defaults::PASSIVE_ERRORS_RANGE));
    }),
    key("window", "\"10s\"", |to, node| set(&mut to.window, node.timeout())),
    key("eject_for", "\"30s\"", |to, node| set(&mut to.eject_for, node.timeout())),
    key("max_eject_for", "\"5m\"", |to, node| set(&mut to.eject_for_max, node.timeout())),
    key("max_ejected_percent", "50", |to, node| {
        set(&mut to.max_ejected_percent, node.integer(defaults::PERCENT_RANGE));
    }),
    key("error_status", "\"502-504\"", |to, node| set(&mut to.statuses, health::statuses(node))),
];

/// Reads a `passive_health` table.
pub(crate) fn read(node: &Node<'_>) -> Option<PassiveSettings> {
    node.table()?;
    let mut settings = PassiveSettings {
        errors: None,
        consecutive_errors: None,
        error_percent: None,
        latency: None,
        requests_min: defaults::PASSIVE_REQUESTS_MIN,
        window: defaults::PASSIVE_WINDOW,
        eject_for: defaults::PASSIVE_EJECT_FOR,
        eject_for_max: defaults::PASSIVE_EJECT_FOR_MAX,
        max_ejected_percent: defaults::PASSIVE_EJECTED_PERCENT_MAX,
        statuses: defaults::PASSIVE_STATUSES,
    };
    walk(node, PASSIVE_KEYS, &mut settings);
    let looks_for = [
        settings.errors.is_some(),
        settings.consecutive_errors.is_some(),
        settings.error_percent.is_some(),
        settings.latency.is_some(),
    ];
    if !looks_for.contains(&true) {
        settings.consecutive_errors = Some(defaults::PASSIVE_CONSECUTIVE_ERRORS);
    }
    Some(settings)
}

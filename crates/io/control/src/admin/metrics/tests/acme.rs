//! Certificates that are ordered in a scrape.
//!
//! Owns a sample of them; leaves the rest of a scrape to the tests around.

use std::time::{Duration, SystemTime};

use tidegate_acme::Figures;

use super::{registry, scrape, value};

/// One that is renewed in the year 2033.
pub(super) fn sample() -> Figures {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    Figures { orders: 3, failures: 2, next: vec![("site.example".to_owned(), at)] }
}

#[test]
fn orders_failures_and_the_next_attempt_are_shown() {
    let scrape = scrape(&registry());
    assert_eq!(value(&scrape, "tidegate_acme_orders_total", &[]), Some(3.0));
    assert_eq!(value(&scrape, "tidegate_acme_failures_total", &[]), Some(2.0));
    let name = [("name", "site.example")];
    assert_eq!(value(&scrape, "tidegate_acme_next_attempt_seconds", &name), Some(2e9));
}

//! Names in a scrape.
//!
//! Owns a sample of them; leaves the rest of a scrape to the tests around.

use super::{registry, scrape, value};
use crate::discovery::figures::{DiscoveryFigures, NameFigures, ResolverFigures, TemplateFigures};

/// One name with a slot too few.
pub(super) fn sample() -> DiscoveryFigures {
    DiscoveryFigures {
        names: vec![NameFigures {
            resolvers: "default".into(),
            name: "app.internal".into(),
            addresses: 3,
            held: true,
            results: vec![("found", 7), ("timed_out", 2)],
        }],
        resolvers: vec![ResolverFigures {
            resolvers: "default".into(),
            address: ([10, 0, 0, 2], 53).into(),
            answered: 7,
            failed: 4,
        }],
        templates: vec![TemplateFigures {
            backend: "app".into(),
            name: "app.internal".into(),
            surplus: 1,
        }],
        lookups_delayed: 5,
    }
}

#[test]
fn names_are_shown_with_the_results_that_there_were() {
    let scrape = scrape(&registry());
    let name = [("resolvers", "default"), ("name", "app.internal")];
    let resolver = [("resolvers", "default"), ("resolver", "10.0.0.2:53")];
    let and = |labels: &[(&'static str, &'static str)], result: &'static str| {
        [labels, &[("result", result)]].concat()
    };
    for (family, labels, expected) in [
        ("tidegate_name_addresses", name.to_vec(), 3.0),
        ("tidegate_name_held", name.to_vec(), 1.0),
        ("tidegate_name_resolutions_total", and(&name, "found"), 7.0),
        ("tidegate_name_resolutions_total", and(&name, "timed_out"), 2.0),
        ("tidegate_resolver_tries_total", and(&resolver, "answered"), 7.0),
        ("tidegate_resolver_tries_total", and(&resolver, "failed"), 4.0),
        (
            "tidegate_name_surplus_addresses",
            vec![("backend", "app"), ("name", "app.internal")],
            1.0,
        ),
        ("tidegate_name_lookups_delayed_total", vec![], 5.0),
    ] {
        assert_eq!(value(&scrape, family, &labels), Some(expected), "{family} {labels:?}");
    }
}

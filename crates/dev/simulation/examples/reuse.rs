//! Prints the reuse of idle connections by eight shards beside that of one shared pool, as a table for `docs/PERFORMANCE.md`.
//!
//! Owns the loads; leaves the simulation to the package.

use std::time::Duration;

use tidegate_simulation::{Load, Sharing, reuse};

fn main() {
    println!(
        "| servers | requests/s | each takes | one pool | alone | of it | with a shelf | of it | handed over | \
         idle: one pool | alone | shelf |"
    );
    println!("{}|", "| --- ".repeat(12));
    for (servers, service) in [(1, 2), (5, 20), (100, 20), (100, 200)] {
        for per_server in [0.5, 2.0, 10.0, 50.0] {
            let rate = per_server * f64::from(servers);
            let load = Load {
                shards: 8,
                servers: usize::try_from(servers).expect("a count"),
                rate,
                service: Duration::from_millis(service),
                idle_timeout: Duration::from_secs(4),
                requests: 40_000.max(usize::try_from(servers).expect("a count") * 300),
            };
            let of = |sharing| reuse(&load, sharing, 1);
            let (one, none, shelf) = (of(Sharing::One), of(Sharing::None), of(Sharing::Shelf));
            let percent = |share: f64| format!("{:.1} %", share * 100.0);
            println!(
                "| {servers} | {rate} | {service} ms | {} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} |",
                percent(one.reused),
                percent(none.reused),
                percent(none.reused / one.reused),
                percent(shelf.reused),
                percent(shelf.reused / one.reused),
                percent(shelf.handed_over),
                one.idle,
                none.idle,
                shelf.idle,
            );
        }
    }
}

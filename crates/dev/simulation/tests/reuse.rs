//! Eight shards find an idle connection nearly as often as one pool for all of them would.

use std::time::Duration;

use tidegate_simulation::{Load, Sharing, reuse};

fn load(servers: usize, rate: f64, service: u64) -> Load {
    Load {
        shards: 8,
        servers,
        rate,
        service: Duration::from_millis(service),
        idle_timeout: Duration::from_secs(4),
        requests: 20_000,
    }
}

#[test]
fn eight_shards_reuse_at_least_95_percent_of_what_one_pool_would() {
    let mut least_alone = 1.0_f64;
    for (servers, service) in [(1, 2), (5, 20), (20, 200)] {
        for per_server in [0.5, 2.0, 10.0, 50.0] {
            let load = load(servers, per_server * servers as f64, service);
            let of = |sharing| reuse(&load, sharing, 7).reused;
            let (one, shelf) = (of(Sharing::One), of(Sharing::Shelf));
            assert!(shelf >= 0.95 * one, "{load:?}: {shelf:.3}, one pool {one:.3}");
            least_alone = least_alone.min(of(Sharing::None) / one);
        }
    }
    assert!(least_alone < 0.4, "without a shelf it would not be so: {least_alone:.3}");
}

#[test]
fn servers_that_are_used_often_hand_nothing_over() {
    let load = load(1, 800.0, 20);
    assert!(reuse(&load, Sharing::Shelf, 7).handed_over < 0.001);
}

//! What weighted round robin promises for any weights: exact shares, smooth turns, nothing for a server
//! that is not usable.

mod common;

use common::{avoiding, pick, set_availability, set_weight};
use proptest::prelude::*;
use tidegate_balance::{
    Availability, Backups, NoServer, Plan, Policy, Pool, ServerId, ServerSettings, Settings,
    ShardId, Weight,
};

fn primary(weight: u16) -> ServerSettings {
    let weight = Weight::new(weight).expect("a valid weight");
    ServerSettings { weight, ..ServerSettings::default() }
}

fn backup(weight: u16) -> ServerSettings {
    ServerSettings { backup: true, ..primary(weight) }
}

fn pool(servers: &[ServerSettings]) -> Pool {
    of_shard(servers, 0, 1)
}

/// One shard of several, with all backups in use at once.
fn of_shard(servers: &[ServerSettings], shard: u16, shards_count: u16) -> Pool {
    let settings = Settings { backups: Backups::All, ..Policy::RoundRobin.into() };
    Pool::new(&Plan::new(settings, servers), ShardId(shard), shards_count)
}

fn picks(pool: &mut Pool, count: usize) -> Vec<u32> {
    (0..count).map(|_| pick(pool).expect("a usable server").0).collect()
}

fn primaries(weights: &[u16]) -> Vec<ServerSettings> {
    weights.iter().map(|&weight| primary(weight)).collect()
}

fn index(server: u32) -> usize {
    usize::try_from(server).expect("an index")
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Weights divided by their greatest common divisor.
fn reduced(weights: &[u16]) -> Vec<usize> {
    let divisor = weights.iter().fold(0, |divisor, &weight| gcd(divisor, usize::from(weight)));
    weights.iter().map(|&weight| usize::from(weight) / divisor.max(1)).collect()
}

fn counts(turns: &[u32], servers: usize) -> Vec<usize> {
    let mut counts = vec![0; servers];
    for &server in turns {
        counts[index(server)] += 1;
    }
    counts
}

/// Few distinct weights, as people write them, and many.
fn weights() -> impl Strategy<Value = Vec<u16>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(vec![1, 2, 5, 10, 100]), 1..12),
        prop::collection::vec(0..=8_u16, 1..20),
        prop::collection::vec(0..=256_u16, 1..6),
    ]
    .prop_filter("a server has weight", |weights| weights.iter().any(|&weight| weight > 0))
}

#[test]
fn equal_servers_take_turns() {
    assert_eq!(picks(&mut pool(&primaries(&[7, 7, 7])), 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn a_heavy_server_is_interleaved_with_light_ones() {
    assert_eq!(picks(&mut pool(&primaries(&[1, 1, 5])), 7), [2, 0, 2, 2, 2, 1, 2]);
    assert_eq!(picks(&mut pool(&primaries(&[3, 1])), 8), [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn weights_have_a_greatest_value() {
    assert_eq!(Weight::new(256), Some(Weight::MAX));
    assert_eq!(Weight::new(257), None);
    assert_eq!(Weight::default().value(), 1);
}

#[test]
fn no_server_says_why() {
    assert_eq!(pick(&mut pool(&[])), Err(NoServer::Empty));
    let mut one = pool(&primaries(&[1]));
    set_availability(&mut one, ServerId(0), Availability::Down);
    assert_eq!(pick(&mut one), Err(NoServer::AllDown));
    assert_eq!((one.usable_count(), one.len()), (0, 1));
    set_availability(&mut one, ServerId(0), Availability::Draining);
    assert_eq!(avoiding(&mut one, &[ServerId(0)]), Err(NoServer::AllDown));
    set_availability(&mut one, ServerId(0), Availability::Up);
    assert_eq!(pick(&mut one), Ok(ServerId(0)));
    assert_eq!(pick(&mut pool(&primaries(&[0, 0]))), Err(NoServer::AllDown));
}

#[test]
fn news_of_an_unknown_server_changes_nothing() {
    let mut pool = pool(&primaries(&[1, 1]));
    set_availability(&mut pool, ServerId(2), Availability::Down);
    set_weight(&mut pool, ServerId(u32::MAX), Weight::MAX);
    assert_eq!(pool.usable_count(), 2);
    assert_eq!(picks(&mut pool, 4), [0, 1, 0, 1]);
}

#[test]
fn backups_serve_only_while_no_primary_is_usable() {
    let mut pool = pool(&[primary(1), backup(2), primary(1), backup(1)]);
    assert_eq!((picks(&mut pool, 4), pool.usable_count()), (vec![0, 2, 0, 2], 2));
    set_availability(&mut pool, ServerId(0), Availability::Down);
    assert_eq!((picks(&mut pool, 2), pool.usable_count()), (vec![2, 2], 1));
    assert_eq!(
        avoiding(&mut pool, &[ServerId(2)]),
        Ok(ServerId(2)),
        "not avoided in favour of a backup"
    );
    set_weight(&mut pool, ServerId(2), Weight::ZERO);
    assert_eq!(pool.usable_count(), 2);
    assert_eq!(counts(&picks(&mut pool, 300), 4), [0, 200, 0, 100]);
    set_weight(&mut pool, ServerId(2), Weight::MAX);
    assert_eq!(picks(&mut pool, 3), [2, 2, 2]);
}

#[test]
fn the_turn_is_kept_when_another_server_flaps() {
    let mut pool = pool(&primaries(&[1; 5]));
    for round in 0..20 {
        let expected = round % 4;
        set_availability(&mut pool, ServerId(4), Availability::Down);
        assert_eq!(pick(&mut pool), Ok(ServerId(expected)));
        set_availability(&mut pool, ServerId(4), Availability::Up);
    }
}

#[test]
fn a_flapping_server_starves_nobody() {
    let mut pool = pool(&primaries(&[2, 2, 1, 2]));
    let mut turns = Vec::new();
    for _ in 0..250 {
        set_availability(&mut pool, ServerId(3), Availability::Down);
        turns.extend(picks(&mut pool, 1));
        set_availability(&mut pool, ServerId(3), Availability::Up);
        turns.extend(picks(&mut pool, 1));
    }
    let counts = counts(&turns, 4);
    let enough = |server: usize, weight: usize| 2 * counts[server] >= 500 * weight / 7;
    assert!(enough(0, 2) && enough(1, 2) && enough(2, 1), "half a share at least: {counts:?}");
}

#[test]
fn shards_spread_when_the_backups_take_over_and_when_they_are_done() {
    let mut servers = [primary(1); 8];
    servers[4..].fill(backup(1));
    let mut shards: Vec<Pool> = (0..4).map(|shard| of_shard(&servers, shard, 4)).collect();
    let mut first_picks = |availability, in_between: usize| -> Vec<u32> {
        let first_pick = |pool: &mut Pool| {
            for server in 0..4 {
                set_availability(pool, ServerId(server), availability);
            }
            picks(pool, in_between)[0]
        };
        shards.iter_mut().map(first_pick).collect()
    };
    assert_eq!(first_picks(Availability::Up, 3), [0, 1, 2, 3]);
    assert_eq!(first_picks(Availability::Down, 2), [4, 5, 6, 7]);
    assert_eq!(first_picks(Availability::Up, 1), [0, 1, 2, 3]);
}

#[test]
fn shards_start_at_different_times_of_the_period() {
    let weights = [1, 3];
    let first_picks: Vec<u32> = (0..4)
        .map(|shard| {
            let mut pool = of_shard(&primaries(&weights), shard, 4);
            picks(&mut pool, 1)[0]
        })
        .collect();
    assert_eq!(counts(&first_picks, 2), [1, 3]);
}

#[test]
fn avoiding_one_of_two_for_ever_does_not_flood_it_afterwards() {
    let mut pool = pool(&primaries(&[1, 2]));
    for _ in 0..100_000 {
        assert_eq!(avoiding(&mut pool, &[ServerId(0)]), Ok(ServerId(1)));
    }
    let after = picks(&mut pool, 30);
    let zeros = counts(&after, 2)[0];
    assert!((10..=11).contains(&zeros), "ten turns and at most one that was kept: {after:?}");
}

#[test]
fn an_avoided_server_keeps_one_turn_at_most() {
    let mut pool = pool(&primaries(&[100, 99, 98]));
    for _ in 0..90 {
        assert_ne!(avoiding(&mut pool, &[ServerId(0)]), Ok(ServerId(0)));
    }
    let zeros = counts(&picks(&mut pool, 9), 3)[0];
    assert!((3..=4).contains(&zeros), "{zeros} of 9");
}

#[test]
fn a_common_divisor_shortens_the_period() {
    let mut pool = pool(&primaries(&[162, 142]));
    let period = (162 + 142) / 2;
    let first = picks(&mut pool, period);
    assert_eq!(counts(&first, 2), [81, 71]);
    assert_eq!(picks(&mut pool, period), first);
}

#[test]
fn the_largest_backend_is_exact() {
    let mut servers = primaries(&vec![256; Pool::SERVERS_MAX]);
    servers[0] = primary(255);
    let mut pool = pool(&servers);
    let period = 256 * Pool::SERVERS_MAX - 1;
    let counts = counts(&picks(&mut pool, period), servers.len());
    assert_eq!(counts[0], 255);
    assert!(counts[1..].iter().all(|&count| count == 256));
}

proptest! {
    #[test]
    fn any_window_as_long_as_the_weights_is_exact(
        weights in weights(), shard in 0..7_u16, before in 0..50_usize,
    ) {
        let mut pool = of_shard(&primaries(&weights), shard, 7);
        picks(&mut pool, before);
        let shares = reduced(&weights);
        let period: usize = shares.iter().sum();
        let turns = picks(&mut pool, 3 * period);
        let mut window = counts(&turns[..period], weights.len());
        prop_assert_eq!(&window, &shares);
        for (left, entered) in turns.iter().zip(&turns[period..]) {
            window[index(*left)] -= 1;
            window[index(*entered)] += 1;
            prop_assert_eq!(&window, &shares);
        }
    }

    #[test]
    fn no_window_is_further_off_a_share_than_promised(weights in weights()) {
        let mut pool = pool(&primaries(&weights));
        let shares = reduced(&weights);
        let period: usize = shares.iter().sum();
        let turns = picks(&mut pool, 2 * period.min(600));
        let mut distinct: Vec<usize> = shares.iter().copied().filter(|&share| share > 0).collect();
        distinct.sort_unstable();
        distinct.dedup();
        for (server, &share) in shares.iter().enumerate() {
            let alike = shares.iter().filter(|&&other| other == share).count() as f64;
            let ideal = share as f64 / period as f64;
            let class_off = 1.0 + alike * ideal * (distinct.len() as f64 - 2.0);
            let within_class = if alike > 1.0 { 1.0 } else { 0.0 };
            let off_max = class_off / alike + within_class + 1e-6;
            let mut excess = 0.0_f64;
            let (mut least, mut most) = (0.0_f64, 0.0_f64);
            for &turn in &turns {
                excess += if index(turn) == server { 1.0 - ideal } else { -ideal };
                least = least.min(excess);
                most = most.max(excess);
                prop_assert!(excess - least <= off_max, "too often: {} of {weights:?}", server);
                prop_assert!(most - excess <= off_max, "too seldom: {} of {weights:?}", server);
            }
        }
    }

    #[test]
    fn weight_zero_gets_nothing_and_avoided_servers_nothing_while_others_are_usable(
        weights in weights(),
        avoids in prop::collection::vec(prop::option::of(0..20_u32), 1..400),
    ) {
        let mut pool = pool(&primaries(&weights));
        for avoid in avoids.into_iter().map(|avoid| avoid.map(ServerId)) {
            let server = avoiding(&mut pool, avoid.as_slice()).expect("one has weight");
            prop_assert!(weights[index(server.0)] > 0);
            prop_assert!(avoid != Some(server) || pool.usable_count() == 1);
        }
        let shares = reduced(&weights);
        let period: usize = shares.iter().sum();
        // A server alone in its class has kept one turn at most.
        picks(&mut pool, weights.len());
        prop_assert_eq!(counts(&picks(&mut pool, period), weights.len()), shares);
    }

    #[test]
    fn the_same_shard_makes_the_same_choices(weights in weights(), shard in 0..5_u16) {
        let new = || of_shard(&primaries(&weights), shard, 5);
        prop_assert_eq!(picks(&mut new(), 300), picks(&mut new(), 300));
    }

    #[test]
    fn shards_in_step_are_even_over_equal_servers(
        servers in 1..40_usize, shards in 1..70_u16, each in 1..100_usize,
    ) {
        let mut total = vec![0; servers];
        for shard in 0..shards {
            let equal = primaries(&vec![1; servers]);
            let mut pool = of_shard(&equal, shard, shards);
            for server in picks(&mut pool, each) {
                total[index(server)] += 1;
            }
        }
        let spread = total.iter().max().expect("a server") - total.iter().min().expect("a server");
        prop_assert!(spread <= 1, "{total:?}");
    }
}

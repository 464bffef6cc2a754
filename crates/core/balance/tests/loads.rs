//! What the algorithms that look at loads promise: even loads over shards, no full server, the known one first.

mod common;

use std::time::{Duration, Instant};

use common::{Counts, Random, pool, servers, set_availability, set_weight, shards};
use proptest::prelude::*;
use tidegate_balance::{
    Ask, Availability, Backups, NoServer, Policy, Pool, ServerId, ServerSettings, ServerState,
    Settings, Weight,
};

const RANDOM: Policy = Policy::Random { draws: 2 };
const ALL: [Policy; 6] = [
    Policy::RoundRobin,
    Policy::LeastConn,
    Policy::First,
    RANDOM,
    Policy::PeakEwma,
    Policy::Prequal,
];

#[test]
fn least_conn_goes_round_among_equals_and_prefers_who_has_less() {
    let (mut pool, loads) = (pool(Policy::LeastConn, &servers(&[1; 4])), Counts::new(4));
    let picks: Vec<u32> = (0..8).map(|_| loads.send(&mut pool, 0, None).expect("up").0).collect();
    assert_eq!(picks, [0, 1, 2, 3, 0, 1, 2, 3]);
    loads.remove(ServerId(2));
    pool.ended(ServerId(2), &loads);
    assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(2)), "an end that was told");
    loads.remove(ServerId(1));
    let found = (0..4).map(|_| loads.send(&mut pool, 0, None).expect("up").0);
    assert!(found.collect::<Vec<_>>().contains(&1), "an end on another shard is noticed");
}

#[test]
fn least_conn_goes_round_while_requests_come_one_by_one() {
    let (mut pool, loads) = (pool(Policy::LeastConn, &servers(&[1, 2, 1])), Counts::new(3));
    let mut counts = [0; 3];
    for _ in 0..400 {
        let server = loads.send(&mut pool, 0, None).expect("up");
        counts[server.0 as usize] += 1;
        loads.remove(server);
        pool.ended(server, &loads);
    }
    assert_eq!(counts, [100, 200, 100], "idle servers take turns by weight");
}

#[test]
fn a_server_that_was_busy_has_one_turn_to_make_good_at_most() {
    let (mut pool, loads) = (pool(Policy::LeastConn, &servers(&[1, 1])), Counts::new(2));
    loads.add(ServerId(0));
    for _ in 0..1_000 {
        let server = loads.send(&mut pool, 0, None).expect("up");
        assert_eq!(server, ServerId(1));
        loads.remove(server);
        pool.ended(server, &loads);
    }
    loads.remove(ServerId(0));
    pool.ended(ServerId(0), &loads);
    let mut zeros = 0;
    for _ in 0..100 {
        let server = loads.send(&mut pool, 0, None).expect("up");
        zeros += u32::from(server == ServerId(0));
        loads.remove(server);
        pool.ended(server, &loads);
    }
    assert!((50..=52).contains(&zeros), "{zeros} of 100");
}

/// Two shards that tell each other nothing, long requests: what the issue promises.
#[test]
fn least_conn_over_shards_keeps_the_loads_within_two_of_each_other() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let count = [2, 3, 5, 10, 50, 100][random.below(6)];
        let shards_count = [2_u16, 2, 2, 4][random.below(4)];
        let servers = servers(&vec![1; count]);
        let mut shards = shards(Policy::LeastConn, &servers, shards_count);
        let loads = Counts::new(count);
        for _ in 0..20 * count {
            // Clients choose shards as they like, also for a while the same one.
            let shard = random.below(shards.len());
            for _ in 0..=random.below(4) {
                loads.send(&mut shards[shard], 0, None).expect("up");
                let most = if shards_count == 2 { 2 } else { 3 };
                assert!(loads.spread() <= most, "seed {seed}: {:?}", loads.counts.borrow());
            }
        }
    }
}

/// With ends as they come, a new one in place of each.
#[test]
fn least_conn_over_shards_stays_even_while_requests_end_and_begin() {
    for seed in 0..10 {
        let mut random = Random(seed);
        let servers = servers(&[1; 10]);
        let mut shards = shards(Policy::LeastConn, &servers, 2);
        let loads = Counts::new(10);
        let mut open: Vec<(usize, ServerId)> = Vec::new();
        for _ in 0..200 {
            let shard = random.below(2);
            open.push((shard, loads.send(&mut shards[shard], 0, None).expect("up")));
        }
        let mut spreads = 0;
        for _ in 0..10_000 {
            let (shard, server) = open.swap_remove(random.below(open.len()));
            loads.remove(server);
            shards[shard].ended(server, &loads);
            let shard = random.below(2);
            open.push((shard, loads.send(&mut shards[shard], 0, None).expect("up")));
            spreads += loads.spread();
        }
        assert!(
            spreads <= 2 * 10_000,
            "seed {seed}: a mean spread of {}",
            f64::from(spreads) / 1e4
        );
    }
}

#[test]
fn random_sees_the_loads_of_all_shards() {
    let servers = servers(&[1; 10]);
    let (mut shards, loads) = (shards(RANDOM, &servers, 4), Counts::new(10));
    let mut random = Random(1);
    for turn in 0..10_000 {
        loads.send(&mut shards[turn % 4], random.next(), None).expect("up");
    }
    // Two choices keep the excess at the logarithm of the logarithm; blind draws would be 100 apart and more.
    assert!(loads.spread() <= 10, "{:?}", loads.counts.borrow());
}

#[test]
fn loads_are_shared_by_weight() {
    for policy in [Policy::LeastConn, RANDOM, Policy::RoundRobin] {
        let (mut pool, loads) = (pool(policy, &servers(&[1, 2, 5])), Counts::new(3));
        let mut random = Random(3);
        for _ in 0..8_000 {
            loads.send(&mut pool, random.next(), None).expect("up");
        }
        for (count, weight) in loads.counts.borrow().iter().zip([1, 2, 5]) {
            let expected = 1_000 * weight;
            assert!(count.abs_diff(expected) <= 20 * weight, "{policy:?}: {count} of {expected}");
        }
    }
}

#[test]
fn first_fills_one_server_after_the_other() {
    let (mut pool, loads) = (pool(Policy::First, &servers(&[1; 100])), Counts::limited(100, 2));
    for request in 0..200 {
        assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(request / 2)));
    }
    assert_eq!(loads.send(&mut pool, 0, None), Err(NoServer::AllFull));
    loads.remove(ServerId(70));
    assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(70)), "an end that nobody told");
    loads.remove(ServerId(90));
    pool.ended(ServerId(90), &loads);
    loads.remove(ServerId(3));
    pool.ended(ServerId(3), &loads);
    assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(3)));
    assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(90)));
}

#[test]
fn first_comes_back_to_a_server_that_another_shard_has_freed() {
    let (mut pool, loads) = (pool(Policy::First, &servers(&[1; 20])), Counts::limited(20, 1));
    for _ in 0..10 {
        loads.send(&mut pool, 0, None).expect("up");
    }
    loads.remove(ServerId(0));
    let mut picks = (0..15).map(|_| {
        let server = loads.send(&mut pool, 0, None).expect("room is left");
        loads.remove(server);
        server
    });
    assert!(picks.any(|server| server == ServerId(0)));
}

/// Requests of 10 ms, but 100 ms at server 0, one after the other at each place.
fn served(policy: Policy, requests: usize) -> Vec<u32> {
    let (mut pool, loads) = (pool(policy, &servers(&[1; 5])), Counts::new(5));
    let (mut random, mut now) = (Random(5), Instant::now());
    let mut ends: Vec<(Instant, ServerId, Duration)> = Vec::new();
    let mut counts = vec![0; 5];
    for _ in 0..requests {
        now += Duration::from_millis(1);
        while let Some(at) = ends.iter().position(|(end, ..)| *end <= now) {
            let (_, server, latency) = ends.swap_remove(at);
            loads.remove(server);
            pool.observe(server, latency, now);
            pool.ended(server, &loads);
        }
        let ask = Ask { now, random: random.next(), key: None, avoid: &[], loads: &loads };
        let server = pool.pick(&ask).expect("up");
        loads.add(server);
        counts[server.0 as usize] += 1;
        let latency = Duration::from_millis(if server.0 == 0 { 100 } else { 10 });
        ends.push((now + latency, server, latency));
    }
    counts
}

#[test]
fn who_knows_latencies_leaves_the_slow_server_alone() {
    for policy in [Policy::PeakEwma, Policy::Prequal] {
        let counts = served(policy, 20_000);
        assert!(counts[0] < 100, "{policy:?}: {counts:?}");
        assert!(counts[1..].iter().all(|&count| count > 3_000), "{policy:?}: {counts:?}");
    }
    assert_eq!(served(Policy::RoundRobin, 20_000)[0], 4_000);
}

/// Each of five servers in turn is slow; then it is another machine.
#[test]
fn a_server_whose_latency_is_forgotten_gets_requests_as_one_that_was_never_heard_of() {
    for policy in [Policy::PeakEwma, Policy::Prequal] {
        for slow in 0..5 {
            let (mut pool, loads) = (pool(policy, &servers(&[1; 5])), Counts::new(5));
            let (mut random, now) = (Random(7), Instant::now());
            pool.observe(ServerId(slow), Duration::from_millis(5_000), now);
            for server in (0..5).cycle().take(3_000).filter(|server| *server != slow) {
                let latency = Duration::from_millis(10 + u64::from(server));
                pool.observe(ServerId(server), latency, now);
            }
            let mut picks = |pool: &mut Pool| {
                let mut count = 0;
                for _ in 0..1_000 {
                    let random = random.next();
                    let ask = Ask { now, random, key: None, avoid: &[], loads: &loads };
                    count += u32::from(pool.pick(&ask) == Ok(ServerId(slow)));
                }
                count
            };
            assert!(picks(&mut pool) < 50, "{policy:?}: it is slow");
            pool.forget(ServerId(slow));
            let after = picks(&mut pool);
            // Some of the others are better than the mean that it is taken for.
            let least = if policy == Policy::PeakEwma { 300 } else { 10 };
            assert!(after > least, "{policy:?}, server {slow}: {after}");
        }
    }
}

#[test]
fn weights_change_while_it_runs_and_zero_takes_a_server_out() {
    for policy in ALL {
        let (mut pool, loads) = (pool(policy, &servers(&[1, 1, 1])), Counts::new(3));
        let mut random = Random(9);
        set_weight(&mut pool, ServerId(1), Weight::ZERO);
        for _ in 0..100 {
            assert_ne!(loads.send(&mut pool, random.next(), None), Ok(ServerId(1)), "{policy:?}");
        }
        set_availability(&mut pool, ServerId(0), Availability::Down);
        set_availability(&mut pool, ServerId(2), Availability::Draining);
        assert_eq!(loads.send(&mut pool, 0, None), Err(NoServer::AllDown));
        assert!(pool.takes_pinned(ServerId(2)) && !pool.takes_new(ServerId(2)));
        assert!(pool.takes_pinned(ServerId(1)) && !pool.takes_pinned(ServerId(0)));
        set_weight(&mut pool, ServerId(1), Weight::MAX);
        assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(1)), "{policy:?}");
    }
}

#[test]
fn the_first_backup_takes_over_or_all_of_them() {
    for (backups, expected) in [(Backups::First, vec![1]), (Backups::All, vec![1, 3])] {
        let mut servers = servers(&[1; 4]);
        (servers[1].backup, servers[3].backup) = (true, true);
        let mut pool = pool(Settings { backups, ..Settings::default() }, &servers);
        set_availability(&mut pool, ServerId(0), Availability::Down);
        assert_eq!(common::pick(&mut pool), Ok(ServerId(2)));
        set_availability(&mut pool, ServerId(2), Availability::Down);
        assert_eq!(pool.usable_count(), expected.len());
        let picks: Vec<u32> =
            (0..4).map(|_| common::pick(&mut pool).expect("a backup").0).collect();
        assert!(picks.iter().all(|server| expected.contains(server)), "{picks:?}");
        assert!(expected.iter().all(|server| picks.contains(server)), "{picks:?}");
        set_availability(&mut pool, ServerId(1), Availability::Down);
        assert_eq!(common::pick(&mut pool), Ok(ServerId(3)), "the next backup");
    }
}

#[test]
fn a_server_that_came_up_gets_its_share_step_by_step() {
    let servers = servers(&[1; 2]);
    let settings = Settings {
        slow_start: Duration::from_secs(16),
        policy: Policy::RoundRobin,
        backups: Backups::First,
    };
    let (mut pool, loads) = (pool(settings, &servers), Counts::new(2));
    let up = Instant::now();
    let state =
        |availability, since| ServerState { availability, weight: Weight::default(), since };
    pool.set_state(ServerId(1), state(Availability::Down, None));
    pool.set_state(ServerId(1), state(Availability::Up, Some(up)));
    let mut share_at = |seconds: f64| {
        let now = up + Duration::from_secs_f64(seconds);
        let ask = Ask { now, random: 0, key: None, avoid: &[], loads: &loads };
        let picks = (0..3_200).filter(|_| pool.pick(&ask) == Ok(ServerId(1)));
        f64::from(u32::try_from(picks.count()).expect("few")) / 3_200.0
    };
    for step in 0..16_i32 {
        let part = f64::from(step + 1) / 16.0;
        let expected = part / (1.0 + part);
        let share = share_at(f64::from(step) + 0.6);
        assert!((share - expected).abs() < 0.01, "step {step}: {share} instead of {expected}");
    }
    assert_eq!((share_at(16.6), share_at(1e6)), (0.5, 0.5));
}

/// Also in the picks that look at all servers first.
#[test]
fn the_least_loaded_for_its_weight_is_passed_over_while_it_is_full() {
    let (mut pool, loads) = (pool(Policy::LeastConn, &servers(&[20, 1])), Counts::limited(2, 2));
    loads.add(ServerId(1));
    // After as many picks as there are servers all are looked at.
    for expected in [0, 0, 1] {
        assert_eq!(loads.send(&mut pool, 0, None), Ok(ServerId(expected)));
    }
}

proptest! {
    #[test]
    fn full_and_avoided_servers_are_passed_over_while_there_are_others(
        weights in prop::collection::vec(1..20_u16, 1..40),
        full in prop::collection::vec(any::<bool>(), 40),
        avoid in prop::collection::vec(0..40_u32, 0..4),
        seed in any::<u64>(),
    ) {
        let (servers, mut random): (Vec<ServerSettings>, _) = (servers(&weights), Random(seed));
        let loads = Counts::limited(weights.len(), 1);
        for (server, _) in full.iter().enumerate().take(weights.len()).filter(|(_, full)| **full) {
            loads.add(ServerId(u32::try_from(server).expect("few")));
        }
        let avoid: Vec<ServerId> = avoid.into_iter().map(ServerId).collect();
        let is_full = |server: usize| full[server];
        let avoids = |server: usize| avoid.iter().any(|avoided| avoided.0 as usize == server);
        for policy in ALL {
            let mut pool = pool(policy, &servers);
            for _ in 0..20 {
                let random = random.next();
                let ask = Ask { now: Instant::now(), random, key: None, avoid: &avoid, loads: &loads };
                match pool.pick(&ask) {
                    Ok(server) => {
                        let server = server.0 as usize;
                        prop_assert!(!is_full(server), "{:?}", policy);
                        let others = (0..weights.len()).any(|other| !is_full(other) && !avoids(other));
                        prop_assert!(!avoids(server) || !others, "{:?}", policy);
                    }
                    Err(none) => {
                        prop_assert_eq!(none, NoServer::AllFull);
                        prop_assert!((0..weights.len()).all(is_full), "{:?}", policy);
                    }
                }
            }
        }
    }
}

//! One slow server of five: what those who know latencies make of it, beside those who do not.

mod common;
#[path = "common/queueing.rs"]
#[allow(dead_code, reason = "the plots use the rest")]
mod queueing;

use common::Random;
use queueing::{Outcome, Scenario, run};
use tidegate_balance::Policy;

fn outcome(policy: Policy, servers: usize, has_slow: bool, rate: f64, seed: u64) -> Outcome {
    let scenario = Scenario { policy, has_slow, shards_count: 2, rate, requests: 60_000, seed };
    run(&scenario, &common::servers(&vec![1; servers]))
}

#[test]
fn p99_stays_near_that_of_the_fast_ones_alone_with_peak_ewma_and_prequal() {
    for rate in [400.0, 1_000.0, 3_000.0] {
        for seed in [1, 2, 3] {
            for policy in [Policy::PeakEwma, Policy::Prequal] {
                let p99 = outcome(policy, 5, true, rate, seed).quantile(990);
                let alone = outcome(policy, 4, false, rate, seed).quantile(990);
                assert!(
                    p99.as_secs_f64() <= 1.3 * alone.as_secs_f64(),
                    "{policy:?} at {rate}/s, seed {seed}: {p99:?}, alone {alone:?}"
                );
            }
        }
    }
    // The scenario is one in which it matters.
    let blind = outcome(Policy::RoundRobin, 5, true, 1_000.0, 1).quantile(990);
    let alone = outcome(Policy::RoundRobin, 4, false, 1_000.0, 1).quantile(990);
    assert!(blind > 3 * alone, "{blind:?}, alone {alone:?}");
}

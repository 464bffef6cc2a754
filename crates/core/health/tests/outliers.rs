//! Who is an outlier in traffic, over several shards and over time.

use std::time::{Duration, Instant};

use tidegate_health::{Outlier, PassiveSettings, Sample, Sign, StatusSet};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> PassiveSettings {
    PassiveSettings {
        errors: None,
        consecutive_errors: None,
        error_percent: None,
        latency: None,
        requests_min: 10,
        window: 10 * SECOND,
        eject_for: 5 * SECOND,
        eject_for_max: 12 * SECOND,
        max_ejected_percent: 50,
        statuses: StatusSet::range(502, 504),
    }
}

/// Shards that count, and an outlier that is looked at.
struct Rig {
    settings: PassiveSettings,
    shards: Vec<Sample>,
    outlier: Outlier,
    now: Instant,
}

impl Rig {
    fn new(settings: PassiveSettings, shards: usize) -> Rig {
        let shards = vec![Sample::default(); shards];
        let mut rig = Rig { settings, shards, outlier: Outlier::default(), now: Instant::now() };
        assert_eq!(rig.look(), None);
        rig
    }

    /// `+` and `-`: a success or an error on this shard.
    fn traffic(&mut self, shard: usize, outcomes: &str) {
        for outcome in outcomes.chars() {
            let sample = &mut self.shards[shard];
            if outcome == '+' {
                sample.successes += 1;
                sample.errors_in_a_row = 0;
                sample.latency_micros += 1_000;
            } else {
                sample.errors += 1;
                sample.errors_in_a_row += 1;
            }
        }
    }

    fn look(&mut self) -> Option<Sign> {
        self.outlier.look(self.shards.iter().copied(), &self.settings, self.now)
    }
}

#[test]
fn errors_of_all_shards_within_the_window_add_up() {
    let mut rig = Rig::new(PassiveSettings { errors: Some(5), ..settings() }, 2);
    rig.traffic(0, "--+");
    rig.traffic(1, "+--");
    assert_eq!(rig.look(), None);
    rig.now += 8 * SECOND;
    rig.traffic(1, "-");
    assert_eq!(rig.look(), Some(Sign::Errors(5)));
    assert_eq!(rig.look(), None, "the window is empty then");
    rig.traffic(0, "----");
    assert_eq!(rig.look(), None);
    rig.now += 11 * SECOND;
    rig.traffic(0, "-");
    assert_eq!(rig.look(), None, "the four are too old");
    rig.now += 1000 * SECOND;
    rig.traffic(0, "----");
    assert_eq!(rig.look(), None);
}

#[test]
fn a_success_on_any_shard_ends_a_run_of_errors() {
    let mut rig = Rig::new(PassiveSettings { consecutive_errors: Some(4), ..settings() }, 2);
    rig.traffic(0, "--");
    assert_eq!(rig.look(), None);
    rig.traffic(1, "-");
    assert_eq!(rig.look(), None);
    rig.traffic(1, "+");
    assert_eq!(rig.look(), None);
    rig.traffic(0, "--");
    rig.traffic(1, "-");
    assert_eq!(rig.look(), None);
    rig.traffic(0, "-");
    assert_eq!(rig.look(), Some(Sign::ConsecutiveErrors(4)));
    // Between two looks nobody knows the order over shards: only what is sure counts.
    rig.traffic(0, "---------");
    rig.traffic(1, "+");
    assert_eq!(rig.look(), None);
    rig.traffic(0, "+----");
    assert_eq!(rig.look(), Some(Sign::ConsecutiveErrors(4)));
    rig.traffic(0, "+----");
    rig.traffic(1, "+---");
    assert_eq!(rig.look(), None, "three of them came last for sure");
}

#[test]
fn a_share_of_errors_and_a_mean_latency_need_enough_requests() {
    let mut rig = Rig::new(PassiveSettings { error_percent: Some(50), ..settings() }, 1);
    rig.traffic(0, "---+++--+");
    assert_eq!(rig.look(), None, "nine requests say nothing");
    rig.traffic(0, "+");
    assert_eq!(rig.look(), Some(Sign::ErrorPercent(50)));

    let slow = PassiveSettings { latency: Some(Duration::from_millis(50)), ..settings() };
    let mut rig = Rig::new(slow, 2);
    rig.traffic(0, "++++++++++");
    assert_eq!(rig.look(), None);
    rig.shards[1].successes += 10;
    rig.shards[1].latency_micros += 1_090_000;
    assert_eq!(rig.look(), Some(Sign::Latency(Duration::from_millis(55))));
}

#[test]
fn what_was_counted_before_is_not_held_against_the_server() {
    let settings = PassiveSettings { errors: Some(1), ..settings() };
    let mut outlier = Outlier::default();
    let before = Sample { errors: 1000, ..Sample::default() };
    let now = Instant::now();
    assert_eq!(outlier.look([before, before].into_iter(), &settings, now), None);
    let more = Sample { errors: 1001, ..Sample::default() };
    assert_eq!(outlier.look([before, more].into_iter(), &settings, now), Some(Sign::Errors(1)));
}

#[test]
fn ejections_grow_up_to_their_limit_and_good_conduct_is_rewarded() {
    let mut rig = Rig::new(PassiveSettings { errors: Some(1), ..settings() }, 1);
    let eject = |rig: &mut Rig, good: Duration| {
        rig.now += good;
        let time = rig.outlier.eject(&rig.settings, rig.now);
        assert!(!rig.outlier.returns(rig.now + time - Duration::from_millis(1)));
        rig.now += time;
        assert!(rig.outlier.returns(rig.now) && !rig.outlier.returns(rig.now));
        time.as_secs()
    };
    assert_eq!(eject(&mut rig, SECOND), 5);
    assert_eq!(eject(&mut rig, SECOND), 10);
    assert_eq!(eject(&mut rig, SECOND), 12);
    assert_eq!(eject(&mut rig, 11 * SECOND), 10, "two taken off, one added");
    assert_eq!(eject(&mut rig, 100 * SECOND), 5);
}

#[test]
fn while_ejected_nothing_is_held_against_it() {
    let mut rig = Rig::new(PassiveSettings { errors: Some(2), ..settings() }, 1);
    rig.outlier.eject(&rig.settings, rig.now);
    rig.traffic(0, "----");
    assert_eq!(rig.look(), None);
    rig.now += 5 * SECOND;
    assert!(rig.outlier.returns(rig.now));
    rig.traffic(0, "-");
    assert_eq!(rig.look(), None);
}

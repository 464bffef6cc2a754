//! What a history begins with.
//!
//! Owns the drawn settings; leaves what happens to the world. Invariant: everything is small enough for a history to reach the
//! limits often: few slots, short queues, times of milliseconds.

use std::time::{Duration, Instant};

use tidegate_balance::{
    BalanceFactor, HashMethod, Plan, Policy as Algorithm, ServerSettings, Settings, Weight,
    identity,
};
use tidegate_exchange::{BudgetSettings, Policy, Redispatch, RetryBudget, RetryCause, RetryOn};
use tidegate_health::{GroupSettings, Initial, MemberSettings, PassiveSettings, StatusSet, Timing};
use tidegate_testkit::Rng;

use crate::chance::{Chance, Micros};

/// The settings of one backend, its servers and its load.
#[derive(Debug)]
pub struct Setup {
    pub(crate) start: Instant,
    pub(crate) shards_count: usize,
    pub(crate) plan: Plan,
    pub(crate) servers: Vec<ServerSetup>,
    pub(crate) group: GroupSettings,
    pub(crate) timing: Timing,
    pub(crate) policy: Policy,
    pub(crate) budget: BudgetSettings,
    /// One account a shard.
    pub(crate) budgets: Vec<RetryBudget>,
    pub(crate) has_keys: bool,
    pub(crate) waiting_max: u32,
    /// Between two requests.
    pub(crate) gap: Micros,
    /// Of a well server for one request.
    pub(crate) service: Micros,
    /// When the last request comes.
    pub(crate) until: Micros,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerSetup {
    pub(crate) settings: ServerSettings,
    pub(crate) limit: Option<u32>,
    pub(crate) has_agent: bool,
}

impl Setup {
    /// Draws one.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let start = Instant::now();
        let shards_count = rng.below(8) + 1;
        let servers = draw_servers(rng);
        let algorithm = draw_algorithm(rng);
        let slow_start = if rng.one_in(3) { rng.millis(10, 200) } else { Duration::ZERO };
        let settings = Settings { slow_start, ..algorithm.into() };
        let known: Vec<_> = servers.iter().map(|server| server.settings).collect();
        let budget = BudgetSettings {
            percent: *rng.choose(&[5, 20, 100]),
            per_second_min: *rng.choose(&[0, 1, 4]),
        };
        let service = rng.between(500, 8_000);
        Self {
            start,
            shards_count,
            plan: Plan::new(settings, &known),
            group: GroupSettings {
                panic_threshold: *rng.choose(&[0, 0, 30, 50]),
                passive: Some(draw_passive(rng)),
            },
            timing: draw_timing(rng),
            policy: draw_policy(rng),
            budget,
            budgets: (0..shards_count).map(|_| RetryBudget::new(budget, start)).collect(),
            has_keys: matches!(algorithm, Algorithm::Hash { .. }),
            waiting_max: *rng.choose(&[3, 30, 1000]),
            gap: service / rng.between(1, 3 * servers.len() as u64).max(1) + 20,
            service,
            until: 500_000,
            servers,
        }
    }

    pub(crate) fn members(&self) -> Vec<MemberSettings> {
        let member = |server: &ServerSetup| MemberSettings {
            weight: server.settings.weight,
            backup: server.settings.backup,
            timing: Some(self.timing),
            has_agent: server.has_agent,
            named: None,
        };
        self.servers.iter().map(member).collect()
    }
}

/// What tells histories apart.
impl std::fmt::Display for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shards_count, servers, policy, group, .. } = self;
        write!(f, "{shards_count} shards, {servers:?}, {policy:?}, {group:?}")
    }
}

fn draw_servers(rng: &mut Rng) -> Vec<ServerSetup> {
    let (count, all_limited) = (rng.below(6) + 1, rng.one_in(2));
    (0..count)
        .map(|index| ServerSetup {
            settings: ServerSettings {
                weight: Weight::new(*rng.choose(&[1, 1, 2, 5])).expect("in range"),
                backup: index > 0 && rng.one_in(6),
                identity: identity(&format!("s{index}")),
            },
            limit: (all_limited || rng.one_in(2)).then(|| *rng.choose(&[1, 2, 3, 8])),
            has_agent: rng.one_in(4),
        })
        .collect()
}

fn draw_algorithm(rng: &mut Rng) -> Algorithm {
    let method = *rng.choose(&[HashMethod::Map, HashMethod::Consistent, HashMethod::Maglev]);
    let balance_factor = rng.one_in(2).then(|| BalanceFactor::new(125)).flatten();
    *rng.choose(&[
        Algorithm::RoundRobin,
        Algorithm::LeastConn,
        Algorithm::First,
        Algorithm::Random { draws: 2 },
        Algorithm::Hash { method, balance_factor },
        Algorithm::PeakEwma,
        Algorithm::Prequal,
    ])
}

fn draw_passive(rng: &mut Rng) -> PassiveSettings {
    PassiveSettings {
        errors: rng.one_in(3).then_some(20),
        consecutive_errors: rng.one_in(2).then_some(3),
        error_percent: rng.one_in(2).then_some(40),
        latency: rng.one_in(4).then(|| rng.millis(20, 60)),
        requests_min: 10,
        window: rng.millis(50, 300),
        eject_for: rng.millis(20, 100),
        eject_for_max: Duration::from_millis(300),
        max_ejected_percent: *rng.choose(&[10, 34, 50, 100]),
        statuses: StatusSet::range(500, 599),
    }
}

fn draw_timing(rng: &mut Rng) -> Timing {
    Timing {
        interval: rng.millis(20, 60),
        fast_interval: rng.millis(5, 20),
        down_interval: rng.millis(10, 40),
        timeout: rng.millis(5, 20),
        rise: 1 + u32::from(rng.one_in(2)),
        fall: 1 + u32::from(rng.one_in(2)),
        initial: *rng.choose(&[Initial::Up, Initial::Down]),
    }
}

fn draw_policy(rng: &mut Rng) -> Policy {
    let mut retry_on = *rng.choose(&[RetryOn::NONE, RetryOn::default(), RetryOn::default()]);
    for (_, cause) in RetryCause::WORDS {
        if rng.one_in(2) {
            retry_on = retry_on.with(cause);
        }
    }
    if rng.one_in(2) {
        retry_on = retry_on.with_status(503).expect("a status of an error");
    }
    Policy {
        retries_max: *rng.choose(&[0, 1, 2, 3]),
        redispatch: *rng.choose(&[
            Redispatch::Never,
            Redispatch::LastRetry,
            Redispatch::EveryRetry,
            Redispatch::EveryRetry,
        ]),
        retry_on,
        delay_min: rng.millis(1, 10),
        delay_max: rng.millis(5, 40),
        try_timeout: rng.one_in(3).then(|| rng.millis(5, 60)),
        hedge_after: rng.one_in(3).then(|| rng.millis(3, 30)),
        connect_timeout: rng.millis(10, 60),
        server_timeout: rng.millis(40, 200),
        queue_timeout: rng.millis(20, 400),
    }
}

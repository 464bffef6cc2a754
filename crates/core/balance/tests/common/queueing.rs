//! A machine of several shards in front of servers that work and queue, in simulated time.
//!
//! Owns arrivals, service and what each server had; leaves the choice to pools. Invariant: the same seed gives the same
//! history.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use tidegate_balance::{Ask, Loads, Plan, Policy, Pool, ServerId, ServerSettings, ShardId};

use super::Random;

/// What is simulated.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub policy: Policy,
    /// Server 0 takes ten times as long.
    pub has_slow: bool,
    pub shards_count: u16,
    /// Requests per second, over all shards.
    pub rate: f64,
    pub requests: usize,
    pub seed: u64,
}

/// What came of it.
pub struct Outcome {
    /// From arrival to answer, ascending, without the first tenth of the requests.
    pub latencies: Vec<Duration>,
    /// Requests that each server had.
    pub counts: Vec<u32>,
    /// The greatest difference between two servers' requests in flight, after each arrival; ascending.
    pub spreads: Vec<u32>,
}

impl Outcome {
    /// The latency that so many of a thousand did not exceed.
    pub fn quantile(&self, of_thousand: usize) -> Duration {
        self.latencies[(self.latencies.len() - 1) * of_thousand / 1000]
    }
}

/// Requests that one server works on at once; the others wait there.
const WORKERS: u32 = 32;

#[derive(Default)]
struct Server {
    working: u32,
    /// Arrival and shard of those that wait.
    waiting: VecDeque<(u64, u16)>,
}

struct InFlight(RefCell<Vec<u32>>);

impl Loads for InFlight {
    fn in_flight(&self, server: ServerId) -> u32 {
        self.0.borrow()[server.0 as usize]
    }

    fn total(&self) -> u32 {
        self.0.borrow().iter().sum()
    }

    fn is_full(&self, _: ServerId) -> bool {
        false
    }
}

impl Random {
    /// Exponentially distributed, in microseconds.
    fn exponential(&mut self, mean_micros: f64) -> u64 {
        Duration::from_secs_f64(-(1.0 - self.fraction()).ln() * mean_micros / 1e6)
            .as_micros()
            .try_into()
            .expect("a short time")
    }

    /// 5 ms and about as much again, or ten times that.
    fn service(&mut self, is_slow: bool) -> u64 {
        (5_000 + self.exponential(5_000.0)) * if is_slow { 10 } else { 1 }
    }
}

/// Runs it to the end. Time is in microseconds from its start.
pub fn run(scenario: &Scenario, settings: &[ServerSettings]) -> Outcome {
    let plan = Plan::new(scenario.policy.into(), settings);
    let mut pools: Vec<Pool> = (0..scenario.shards_count)
        .map(|shard| Pool::new(&plan, ShardId(shard), scenario.shards_count))
        .collect();
    let count = settings.len();
    let start = Instant::now();
    let at = |micros: u64| start + Duration::from_micros(micros);
    let in_flight = InFlight(RefCell::new(vec![0; count]));
    let mut servers: Vec<Server> = (0..count).map(|_| Server::default()).collect();
    let mut chance = Random(scenario.seed);
    // Ends by time: server, arrival, shard.
    let mut ends: BinaryHeap<Reverse<(u64, u32, u64, u16)>> = BinaryHeap::new();
    let (mut latencies, mut spreads, mut counts) = (Vec::new(), Vec::new(), vec![0; count]);
    let mut now = 0;
    for request in 0..scenario.requests {
        now += chance.exponential(1e6 / scenario.rate);
        while let Some(Reverse((end, server, arrival, shard))) = ends.peek().copied()
            && end <= now
        {
            ends.pop();
            let latency = Duration::from_micros(end - arrival);
            if request > scenario.requests / 10 {
                latencies.push(latency);
            }
            in_flight.0.borrow_mut()[server as usize] -= 1;
            let pool = &mut pools[usize::from(shard)];
            pool.observe(ServerId(server), latency, at(end));
            pool.ended(ServerId(server), &in_flight);
            let state = &mut servers[server as usize];
            state.working -= 1;
            if let Some((arrival, shard)) = state.waiting.pop_front() {
                state.working += 1;
                let service = chance.service(scenario.has_slow && server == 0);
                ends.push(Reverse((end + service, server, arrival, shard)));
            }
        }
        let shard = u16::try_from(chance.next() % u64::from(scenario.shards_count)).expect("few");
        let random = chance.next();
        let ask =
            Ask { now: at(now), random, key: Some(chance.next()), avoid: &[], loads: &in_flight };
        let server = pools[usize::from(shard)].pick(&ask).expect("all are up").0;
        counts[server as usize] += 1;
        in_flight.0.borrow_mut()[server as usize] += 1;
        let state = &mut servers[server as usize];
        if state.working < WORKERS {
            state.working += 1;
            let service = chance.service(scenario.has_slow && server == 0);
            ends.push(Reverse((now + service, server, now, shard)));
        } else {
            state.waiting.push_back((now, shard));
        }
        let loads = in_flight.0.borrow();
        spreads.push(loads.iter().max().expect("some") - loads.iter().min().expect("some"));
    }
    latencies.sort_unstable();
    spreads.sort_unstable();
    Outcome { latencies, counts, spreads }
}

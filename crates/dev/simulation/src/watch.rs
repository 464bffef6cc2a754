//! What must hold, whatever happens.
//!
//! Owns the account that the simulation keeps for itself, and the checks after each step and at the end; leaves the packages' own
//! assertions to them. Invariant: nothing here reads what a package says of itself where the world can count.

use std::collections::VecDeque;

use tidegate_exchange::{Action, Policy};
use tidegate_health::What;

use crate::chance::Micros;
use crate::control::COMMAND_DELAY_MAX;
use crate::driver::{Request, Wait, server_id};
use crate::load::Body;
use crate::setup::Setup;
use crate::shard::{Queue, RequestId};
use crate::world::{PARCEL_DELAY_MAX, WAKE_DELAY_MAX, World};

/// How long a slot may be free, or idle on another shard, while somebody waits for it: until a change of the limit or of a
/// server's standing is known everywhere, and then twice the way of a parcel, there and back, which a shard may take in parts.
const DELIVERY_MAX: Micros = COMMAND_DELAY_MAX + 8 * PARCEL_DELAY_MAX + WAKE_DELAY_MAX;

/// The time over which a budget promises something.
const BUDGET_WINDOW: Micros = 10_000_000;

/// What happened in a history, for tests that want to know whether it was worth it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Requests that came.
    pub requests: u64,
    /// Those that were answered by a server.
    pub finished: u64,
    /// Those that failed and whose client was told.
    pub failed: u64,
    /// Those whose client left.
    pub left: u64,
    /// Waits in a queue.
    pub queued: u64,
    /// Waits that ended with a slot.
    pub granted: u64,
    /// Further tries of all kinds.
    pub retries: u64,
    /// Those that draw on a budget, with second tries.
    pub repeats: u64,
    /// Second tries beside the first.
    pub hedges: u64,
    /// Those that were taken over.
    pub hedges_won: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Servers that checks found to be down.
    pub downs: u64,
    /// Servers that were ejected.
    pub ejections: u64,
    /// Times that all were used because too few were well.
    pub panics: u64,
}

pub(crate) struct Watch {
    pub(crate) report: Report,
    ended: u64,
    /// By shard: when requests came and when they were repeated.
    arrivals: Vec<VecDeque<Micros>>,
    repeats: Vec<VecDeque<Micros>>,
    budget_percent: usize,
    budget_least: usize,
    /// By server: the limit as the world has set it.
    limits: Vec<u32>,
    /// By server: the most slots that may be taken now, those beyond a lowered limit included.
    bounds: Vec<u32>,
    /// By server: since when a slot is there that somebody waits for.
    stuck: Vec<Option<Micros>>,
    ejected_max: usize,
    /// Who was served, and when it had begun to wait: to be held against those who still wait.
    served: Vec<Wait>,
}

impl Watch {
    pub(crate) fn new(setup: &Setup) -> Watch {
        let count = setup.servers.len();
        let percent = setup.group.passive.map_or(0, |passive| passive.max_ejected_percent);
        let share = count * usize::from(percent) / 100;
        let least = setup.budget.per_second_min as usize * 10;
        let limits: Vec<u32> = setup.servers.iter().map(|it| it.limit.unwrap_or(0)).collect();
        Watch {
            report: Report::default(),
            ended: 0,
            arrivals: vec![VecDeque::new(); setup.shards_count],
            repeats: vec![VecDeque::new(); setup.shards_count],
            budget_percent: setup.budget.percent.into(),
            budget_least: least,
            bounds: limits.clone(),
            limits,
            stuck: vec![None; count],
            ejected_max: if count > 1 { share.max(1) } else { share },
            served: Vec::new(),
        }
    }

    pub(crate) fn note_arrival(&mut self, shard: usize, now: Micros) -> RequestId {
        self.report.requests += 1;
        self.arrivals[shard].push_back(now);
        self.report.requests
    }

    pub(crate) fn note_event(&mut self, what: &What) {
        match what {
            What::Down(_) => self.report.downs += 1,
            What::Ejected { .. } => self.report.ejections += 1,
            What::PanicBegan { .. } => self.report.panics += 1,
            _ => {}
        }
    }

    pub(crate) fn note_granted(&mut self, wait: Wait) {
        self.report.granted += 1;
        self.served.push(wait);
    }

    pub(crate) fn note_limit(&mut self, server: usize, max: u32) {
        self.limits[server] = max;
    }

    /// A request is sent once more although a server may have acted on it.
    pub(crate) fn note_repeat(&mut self, shard: usize, now: Micros) {
        self.report.repeats += 1;
        let (arrivals, repeats) = (&mut self.arrivals[shard], &mut self.repeats[shard]);
        repeats.push_back(now);
        let is_older = |at: Option<&Micros>, age| at.is_some_and(|at| at + age < now);
        while is_older(repeats.front(), BUDGET_WINDOW) {
            repeats.pop_front();
        }
        while is_older(arrivals.front(), 2 * BUDGET_WINDOW) {
            arrivals.pop_front();
        }
        let most = arrivals.len() * self.budget_percent / 100 + self.budget_least;
        assert!(repeats.len() <= most, "{} repeats where {most} may be", repeats.len());
    }

    pub(crate) fn check_sends(&self, request: &Request<'_>, policy: &Policy) {
        let is_repeatable = request.repeatable && request.body != Body::Lost;
        // One for a connection that was dead, and one beside the first.
        let most = if is_repeatable { u32::from(policy.retries_max) + 3 } else { 1 };
        assert!(request.sends <= most, "request {} is sent {} times", request.id, request.sends);
    }

    pub(crate) fn note_end(&mut self, request: &Request<'_>, action: Action) {
        self.ended += 1;
        match action {
            Action::Finish { .. } => {
                assert!(request.sends > 0, "an answer without a request");
                self.report.finished += 1;
            }
            Action::Abort(_) => self.report.left += 1,
            _ => self.report.failed += 1,
        }
    }
}

impl World<'_> {
    /// What must hold after each step.
    pub(crate) fn check(&mut self) {
        assert_eq!(
            self.watch.report.requests,
            self.watch.ended + self.requests.len() as u64,
            "a request got lost"
        );
        let ejected = self.control.group.ejected_count();
        assert!(ejected <= self.watch.ejected_max, "{ejected} servers are ejected");
        self.check_in_flight();
        self.check_order();
        for server in 0..self.setup.servers.len() {
            self.check_limit(server);
            self.check_stuck(server);
        }
    }

    fn check_in_flight(&self) {
        let mut counts = vec![0_u32; self.setup.servers.len()];
        for request in self.requests.values() {
            request.slot.into_iter().for_each(|server| counts[server] += 1);
            request.hedge.iter().for_each(|hedge| counts[hedge.server()] += 1);
        }
        for (server, count) in counts.into_iter().enumerate() {
            let counted = self.shared.requests_at(server);
            assert_eq!(counted, count, "requests in flight at server {server}");
        }
    }

    fn check_limit(&mut self, server: usize) {
        let Some(limit) = &self.shared.limits[server] else { return };
        let (taken, open) = (limit.taken(), self.shared.truths[server].open());
        assert!(open <= taken, "server {server} has {open} connections and {taken} slots");
        // What is beyond a lowered limit stays until it is given back, and comes not again.
        let max = self.watch.limits[server];
        let bound = &mut self.watch.bounds[server];
        let most = (*bound).max(max);
        assert!(open <= most, "server {server}: {open} of {most} connections are open");
        assert!(taken <= most, "server {server}: {taken} of {most} slots are taken");
        *bound = max.max(taken);
        let idle: usize = self.shards.iter().map(|shard| shard.idle_count(server)).sum();
        let used = self.shared.requests_at(server) as usize;
        assert!(idle + used <= taken as usize, "server {server}: more are used than taken");
    }

    /// Nobody who has waited for longer than news take still waits where somebody behind was served.
    fn check_order(&mut self) {
        for served in std::mem::take(&mut self.watch.served) {
            for request in self.requests.values() {
                let Some(wait) =
                    request.wait.filter(|wait| wait.queue == served.queue && !wait.is_called)
                else {
                    continue;
                };
                let is_before = wait.key < served.key && wait.since + DELIVERY_MAX < self.now;
                assert!(!is_before, "request {} was passed over", request.id);
            }
        }
    }

    /// Whether somebody waits for this server in one of the queues, and every shard knows that it may be given.
    fn is_wanted(&self, server: usize) -> bool {
        let own = self.shards[0].queue(Queue::Server(server)).1.waiting() > 0;
        let takes =
            |shard: &crate::shard::Shard| shard.pool.borrow().spreads_over(server_id(server));
        own || self.shared.line.waiting() > 0 && self.shards.iter().all(takes)
    }

    fn check_stuck(&mut self, server: usize) {
        let Some(limit) = &self.shared.limits[server] else { return };
        let is_idle = self.shards.iter().any(|shard| shard.idle_count(server) > 0);
        let is_stuck = (limit.has_room() || is_idle) && self.is_wanted(server);
        let since = &mut self.watch.stuck[server];
        *since = if is_stuck { Some(since.unwrap_or(self.now)) } else { None };
        let waited = self.now - since.unwrap_or(self.now);
        assert!(waited <= DELIVERY_MAX, "a slot of server {server} is free and waited for");
    }

    /// What must hold when everything is over.
    pub(crate) fn check_end(&self) {
        self.check_in_flight();
        assert_eq!(self.shared.line.waiting(), 0);
        for server in 0..self.setup.servers.len() {
            assert_eq!(self.shared.requests_at(server), 0);
            let idle: usize = self.shards.iter().map(|shard| shard.idle_count(server)).sum();
            assert_eq!(self.shared.truths[server].open() as usize, idle, "connections are lost");
            if let Some(limit) = &self.shared.limits[server] {
                assert_eq!(limit.taken() as usize, idle, "slots of server {server} are lost");
                assert_eq!(limit.own().waiting(), 0);
            }
        }
    }
}

//! The control plane: checks, what traffic says, and the standings that follow.
//!
//! Owns when checks are made and looks are taken; leaves judging to `tidegate-health`. Invariant: a shard hears of changes in their
//! order, and late.

use tidegate_health::{Group, Outcome, Schedule};

use crate::chance::{Chance, Micros};
use crate::driver::number;
use crate::setup::Setup;
use crate::world::{Event, World};

/// Between two looks at traffic.
const LOOK_INTERVAL: Micros = 10_000;

/// How late a shard may hear of a change.
pub(crate) const COMMAND_DELAY_MAX: Micros = 5_000;

pub(crate) struct Control {
    pub(crate) group: Group,
    schedule: Schedule,
    /// When each server's check in flight began.
    begun: Vec<Option<Micros>>,
    /// When each shard hears of the last change.
    told: Vec<Micros>,
}

impl Control {
    pub(crate) fn new(setup: &Setup, seed: u64) -> Control {
        Control {
            group: Group::new(setup.group, &setup.members()),
            schedule: Schedule::new(seed),
            begun: vec![None; setup.servers.len()],
            told: vec![0; setup.shards_count],
        }
    }
}

impl World<'_> {
    pub(crate) fn start_control(&mut self) {
        let (count, interval) = (self.setup.servers.len(), self.setup.timing.interval);
        for server in 0..count {
            let delay = self.control.schedule.first_delay(server, count, interval);
            let at = self.instant() + delay;
            self.control.schedule.plan(number(server), at);
        }
        self.plan(0, Event::Look);
        self.settle();
        self.plan_check();
    }

    fn plan_check(&mut self) {
        if let Some(at) = self.control.schedule.next_due() {
            let at = at.saturating_duration_since(self.setup.start).as_micros();
            let at = Micros::try_from(at).expect("a short history") + 1;
            self.plan(at.max(self.now), Event::ChecksDue);
        }
    }

    /// Begins the checks that are due.
    pub(crate) fn begin_checks(&mut self) {
        while let Some((server, _)) = self.control.schedule.take(self.instant()) {
            let server = server as usize;
            let begun = self.control.begun[server].replace(self.now);
            assert_eq!(begun, None, "one check of a server in flight");
            let has_agent = self.setup.servers[server].has_agent;
            let (after, outcome) =
                self.shared.truths[server].answer_check(has_agent, &mut self.rng);
            self.plan(self.now + after, Event::Checked(server, outcome));
        }
        self.plan_check();
    }

    pub(crate) fn checked(&mut self, server: usize, outcome: &Outcome) {
        let begun = self.control.begun[server].take().expect("a check that was made");
        let interval = self.control.group.checked(server, outcome);
        let interval = interval.unwrap_or(self.setup.timing.interval);
        let begun = self.setup.start + std::time::Duration::from_micros(begun);
        let next = (begun + self.control.schedule.jittered(interval)).max(self.instant());
        self.control.schedule.plan(number(server), next);
        self.plan_check();
        self.settle();
    }

    /// Looks at what the shards have counted.
    pub(crate) fn look_at_traffic(&mut self) {
        for server in 0..self.setup.servers.len() {
            let samples: Vec<_> =
                self.shards.iter().map(|shard| shard.samples[server].get()).collect();
            let now = self.instant();
            self.control.group.observed(server, samples.into_iter(), now);
        }
        self.settle();
        self.plan(self.now + LOOK_INTERVAL, Event::Look);
    }

    fn settle(&mut self) {
        if !self.control.group.is_unsettled(self.instant()) {
            return;
        }
        let mut changes = Vec::new();
        let now = self.instant();
        self.control.group.settle(now, |server, standing| changes.push((server, standing)));
        for event in self.control.group.take_events() {
            self.watch.note_event(&event.what);
        }
        for (server, standing) in changes {
            for shard in 0..self.shards.len() {
                let at = self.told_at(shard);
                self.plan(at, Event::Standing { shard, server, standing });
            }
        }
    }

    /// Changes the limit of a server; the shards hear of it later.
    pub(crate) fn change_limit(&mut self) {
        let server = self.rng.below(self.setup.servers.len());
        if let Some(limit) = &self.shared.limits[server] {
            let max = *self.rng.choose(&[1, 2, 3, 8]);
            limit.set_max(max);
            self.watch.note_limit(server, max);
            for shard in 0..self.shards.len() {
                let at = self.told_at(shard);
                self.plan(at, Event::LimitChanged { shard, server });
            }
        }
    }

    fn told_at(&mut self, shard: usize) -> Micros {
        let at = self.now + self.rng.between(1, COMMAND_DELAY_MAX);
        self.control.told[shard] = self.control.told[shard].max(at);
        self.control.told[shard]
    }
}

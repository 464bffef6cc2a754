//! Requests as clients send them, and what is counted of their tries.
//!
//! Owns the kinds of requests; leaves their way to `driver`. Invariant: each request is given to the world once.

use tidegate_exchange::{Action, Avoided, Exchange};

use crate::chance::{Chance, Micros};
use crate::driver::Request;
use crate::world::{Event, World};

/// A request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    /// All of it is there for another try.
    Kept,
    /// It is gone once it was sent.
    Lost,
}

impl World<'_> {
    /// A request comes, and the next one is planned.
    pub(crate) fn arrive(&mut self) {
        let next = self.now + 1 + self.rng.exponential(self.setup.gap);
        if next < self.setup.until {
            self.plan(next, Event::Arrival);
        }
        let shard = self.rng.below(self.shards.len());
        let repeatable = !self.rng.one_in(3);
        let seed = self.rng.next_u64();
        let request = tidegate_exchange::Request { repeatable, seed };
        let budget = Some(&self.setup.budgets[shard]);
        let exchange = Exchange::new(&self.setup.policy, budget, request, self.instant());
        let id = self.watch.note_arrival(shard, self.now);
        let is_pinned = self.rng.one_in(10);
        let request = Request {
            id,
            shard,
            exchange,
            repeatable,
            body: *self.rng.choose(&[Body::None, Body::None, Body::Kept, Body::Lost]),
            pin: is_pinned.then(|| self.rng.below(self.setup.servers.len())),
            key: self.setup.has_keys.then(|| self.rng.next_u64()),
            priority: *self.rng.choose(&[-1, 0, 0, 0, 0, 0, 1]),
            avoid: Avoided::NONE,
            fresh_only: false,
            attempt: 0,
            slot: None,
            connection: None,
            hedge: None,
            wait: None,
            sends: 0,
            picked_at: self.now,
            armed: None,
        };
        if self.rng.one_in(12) {
            let patience = self.rng.exponential(8 * self.setup.service);
            self.plan(self.now + patience, Event::ClientLeaves(id));
        }
        self.perform(request, Action::FIRST);
    }

    pub(crate) fn note_error(&self, shard: usize, server: usize) {
        let cell = &self.shards[shard].samples[server];
        let mut sample = cell.get();
        sample.errors += 1;
        sample.errors_in_a_row += 1;
        cell.set(sample);
    }

    pub(crate) fn note_success(&self, shard: usize, server: usize, latency: Micros) {
        let cell = &self.shards[shard].samples[server];
        let mut sample = cell.get();
        sample.successes += 1;
        sample.errors_in_a_row = 0;
        sample.latency_micros += latency;
        cell.set(sample);
    }
}

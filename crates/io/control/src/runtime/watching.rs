//! Watching the servers: making checks, looking at traffic, telling the shards.
//!
//! Owns the timers' business; leaves who is due and who is well to `health`. Invariant: what changed in a turn is sent to every
//! shard at the end of that turn.

use std::sync::Arc;
use std::time::Instant;

use tidegate_proxy::Command;

use super::Runtime;
use crate::flood::Topic;
use crate::health::{self, LOOK_INTERVAL, probe};
use crate::log::Line;

/// Checks begun in one turn: as many again follow a tick later, and the admin address and the shards' words get their turn.
const PROBES_PER_TURN_MAX: usize = 64;

impl Runtime {
    /// Begins the checks that are due, and sets the timer for the next.
    pub(super) fn check_servers(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let now = self.shard.clock.now();
        for _ in 0..PROBES_PER_TURN_MAX {
            let due = self.publisher.borrow_mut().health.take_due(now);
            let Some(due) = due else { break };
            let runtime = this.clone();
            self.shard.tasks.spawn(async move {
                let outcome = probe::run(&runtime.shard, &due.job).await;
                let health = &mut runtime.publisher.borrow_mut().health;
                health.checked(due.key, &outcome, Instant::now());
            });
        }
    }

    /// Looks at what the shards have counted, and looks again a little later.
    pub(super) fn look_at_traffic(&self) {
        let now = self.shard.clock.now();
        let health = &mut self.publisher.borrow_mut().health;
        health.look(now);
        if health.looks_at_traffic() {
            self.shard.timers.borrow_mut().set(self.traffic_look, now + LOOK_INTERVAL);
        }
    }

    /// Tells the log and the shards what has changed, and sets the timer for what is next.
    pub(super) fn tell_states(&self) {
        let now = self.shard.clock.now();
        let (mut left_out, mut lines) = (None, Vec::new());
        let states = {
            let mut publisher = self.publisher.borrow_mut();
            publisher.settle(now, |backend, event| {
                let mut flood = self.flood.borrow_mut();
                if flood.admits(Topic::Servers, now) {
                    lines.push(health::tell(backend, event));
                } else {
                    left_out = flood.summary_at();
                }
            })
        };
        if let Some(at) = left_out {
            self.shard.timers.borrow_mut().set(self.flood_summary, at);
        }
        if let Some(states) = states {
            let states = Arc::new(states);
            for link in self.links.borrow_mut().iter_mut() {
                link.send(Command::ServerStates(states.clone()), now);
            }
        }
        // Who reads that a server is down finds that the shards have been told.
        lines.into_iter().for_each(Line::write);
        let health = &mut self.publisher.borrow_mut().health;
        let next = [health.next_due(), health.next_return()].into_iter().flatten().min();
        if let Some(next) = next {
            self.shard.timers.borrow_mut().set(self.health_due, next);
        }
    }
}

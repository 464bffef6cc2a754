//! Ending: from the first signal to the last thread.
//!
//! Owns the steps (leaving, draining, ending) and their order; leaves telling signals apart to `signals`, and when a shard
//! has ended to the runtime's loop. Invariant: a step is never taken back, and each has a deadline or ends at once.

use std::collections::HashSet;
use std::time::Duration;

use tidegate_proxy::Command;
use tidegate_shard::ShardHandle;

use super::{Phase, Runtime, StartError};
use crate::log::{Level, Line};

/// How long the end of the process waits for the targets of access logs to take what is left: as long as a syslog daemon that
/// restarts is away.
const ACCESS_LOG_PATIENCE: Duration = Duration::from_secs(2);

impl Runtime {
    /// One more order to end in time: each goes a step further than the one before.
    pub(super) fn end_in_time(&self) {
        let delay = self.config.borrow().global.shutdown_delay;
        match self.phase.get() {
            Phase::Serving if !delay.is_zero() => self.leave_after(delay),
            Phase::Starting | Phase::Serving | Phase::Leaving => self.drain(),
            Phase::Draining | Phase::Ending => self.stop(),
        }
    }

    /// Serves on, as one that is not ready, until those who look at that have had the time to send clients elsewhere.
    fn leave_after(&self, delay: Duration) {
        self.phase.set(Phase::Leaving);
        Line::new(Level::Info, "shutdown_delayed")
            .with("connections", self.publisher.borrow().connections_open())
            .with("delay", humantime::format_duration(delay))
            .write();
        let at = self.shard.clock.now() + delay;
        self.shard.timers.borrow_mut().set(self.delay_end, at);
    }

    pub(super) fn delay_over(&self) {
        // A second order may have been faster.
        if self.phase.get() == Phase::Leaving {
            self.drain();
        }
    }

    /// Has the shards finish what is in flight and end.
    pub(super) fn drain(&self) {
        self.phase.set(Phase::Draining);
        self.orders.borrow().stop();
        let limit = self.config.borrow().global.shutdown_timeout;
        Line::new(Level::Info, "draining")
            .with("connections", self.publisher.borrow().connections_open())
            .with("timeout", humantime::format_duration(limit))
            .write();
        self.send_order(|| Command::Drain);
        let at = self.shard.clock.now() + limit;
        self.shard.timers.borrow_mut().set(self.drain_deadline, at);
    }

    pub(super) fn drain_over(&self) {
        Line::new(Level::Warn, "drain_timeout")
            .with("connections", self.publisher.borrow().connections_open())
            .write();
        self.stop();
    }

    /// Orders the shards to end; the turn in which the last of them has been handed the order is the executor's last.
    pub(super) fn stop(&self) {
        if self.phase.replace(Phase::Ending) != Phase::Ending {
            self.send_order(|| Command::Stop);
        }
    }

    fn send_order(&self, order: impl Fn() -> Command) {
        let now = self.shard.clock.now();
        self.links.borrow_mut().iter_mut().for_each(|link| link.send(order(), now));
        self.check_lag();
    }

    /// Waits for the shards' threads and cleans up.
    pub(super) fn end(&self) -> Result<(), StartError> {
        for (index, link) in self.links.borrow_mut().iter_mut().enumerate() {
            if let Some(Err(error)) = link.thread.take().map(ShardHandle::join) {
                self.failed.set(true);
                Line::new(Level::Error, "shard_died")
                    .with("shard", index)
                    .with("reason", error)
                    .write();
            }
        }
        // No shard is left that could push a line.
        if let Some(logs) = self.logs.take() {
            logs.stop(ACCESS_LOG_PATIENCE);
        }
        self.sum_up_flood();
        self.addresses.borrow_mut().retain(&HashSet::new());
        self.forget_admin_but(&[]);
        self.shard.tasks.clear();
        *self.server.borrow_mut() = None;
        if let Some(error) = self.start_error.take() {
            return Err(error);
        }
        if self.failed.get() {
            return Err(StartError("a shard ended by itself".into()));
        }
        Line::new(Level::Info, "ended").write();
        Ok(())
    }
}

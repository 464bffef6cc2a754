//! Making a failure good: whether, where and when a request is tried again.
//!
//! Owns the count of retries, the servers that are avoided, and the delays; leaves what a failure permits to the failure
//! table and what is wished to the policy. Invariant: a request of which a server may have seen something is tried again only
//! if it can be repeated, is at hand from its start, and nothing of a response has reached the client.

use std::time::{Duration, Instant};

use super::{Exchange, State, due};
use crate::failure::{FailureKind, Retry};
use crate::policy::{Policy, Redispatch};
use crate::protocol::Action;

impl Exchange<'_> {
    /// Tries again if the failure's kind allows it and retries are left, or gives up.
    #[cold]
    pub(super) fn fail(&mut self, now: Instant, kind: FailureKind) -> Action {
        let listed = self.policy.retry_on.has(kind);
        match kind.retry() {
            Retry::Connect if listed && self.retries_left > 0 => self.retry(now, kind),
            Retry::FreshConnection if self.reused && self.repeatable && self.is_at_hand() => {
                self.reconnect(now, kind)
            }
            Retry::FreshConnection | Retry::Repeat
                if listed && self.may_repeat() && self.draws(now) =>
            {
                self.retry(now, kind)
            }
            Retry::Never | Retry::Connect | Retry::FreshConnection | Retry::Repeat => {
                self.give_up(kind)
            }
        }
    }

    /// All of the request is there for another connection, and nothing of a response has come.
    fn is_at_hand(&self) -> bool {
        !self.touched && !self.response_begun
    }

    /// Whether the request may be sent once more although a server may have acted on it.
    pub(super) fn may_repeat(&self) -> bool {
        self.repeatable && !self.touched && !self.relayed && self.retries_left > 0
    }

    /// Takes one repeat from the budget.
    pub(super) fn draws(&mut self, now: Instant) -> bool {
        let Some(budget) = self.budget else { return false };
        let granted = budget.withdraw(now);
        self.over_budget |= !granted;
        granted
    }

    /// The request is sent: its try and a second one beside it have their times from here.
    #[cold]
    pub(super) fn begin_try(&mut self, now: Instant) {
        self.try_due = self.policy.try_timeout.map(|timeout| due(now, timeout));
        let hedge_after = self.policy.hedge_after.filter(|_| self.retries == 0);
        self.hedge_due = hedge_after.map(|delay| due(now, delay));
        self.early = self.try_due.is_some() || self.hedge_due.is_some();
    }

    /// The time of one try is over: another one follows if it can; otherwise this one goes on until the server's own time is
    /// over. Before that it may be time for a second one beside it.
    #[cold]
    pub(super) fn try_expired(&mut self, now: Instant) -> Action {
        let has_passed = |due: Option<Instant>| due.is_some_and(|due| now >= due);
        if has_passed(self.server_due) {
            return self.fail(now, FailureKind::ServerTimeout);
        }
        if has_passed(self.try_due) {
            self.try_due = None;
            if self.may_repeat() && self.draws(now) {
                return self.retry(now, FailureKind::ServerTimeout);
            }
        }
        let is_time_for_hedge = has_passed(self.hedge_due);
        self.hedge_due = self.hedge_due.filter(|_| !is_time_for_hedge);
        self.early = self.try_due.is_some() || self.hedge_due.is_some();
        self.deadline = self.server_due;
        self.clip_to_try();
        if is_time_for_hedge && self.repeatable && self.is_at_hand() && self.draws(now) {
            let mut avoid = self.failed;
            if let Some(server) = self.server {
                avoid.add(server);
            }
            return Action::Hedge { avoid };
        }
        Action::Wait
    }

    /// The second try takes the place of the first, with all of the server's time before it.
    pub(super) fn adopt(&mut self, now: Instant, server: u32) -> Action {
        self.server = Some(server);
        self.reused = false;
        self.early = false;
        let _wait = self.wait_for_server(now);
        Action::Adopt { server }
    }

    /// Another try, at another server if the policy says so.
    #[cold]
    pub(super) fn retry(&mut self, now: Instant, kind: FailureKind) -> Action {
        self.retries_left -= 1;
        self.count_retry(kind);
        self.start_over();
        let elsewhere = match self.policy.redispatch {
            Redispatch::Never => false,
            Redispatch::LastRetry => self.retries_left == 0,
            Redispatch::EveryRetry => true,
        };
        if !elsewhere {
            return self.back_off(now);
        }
        if let Some(failed) = self.server.take() {
            self.failed.add(failed);
        }
        self.state = State::Picking;
        self.deadline = Some(due(now, self.policy.queue_timeout));
        Action::Pick { avoid: self.failed, fresh_only: self.fresh_only }
    }

    /// The reused connection is dead and the request may be sent again. The server is not to blame, so
    /// it stays picked; the pool is not trusted again, so this happens at most once. It takes nothing
    /// from the retries or the budget: this is the first connection attempted.
    pub(super) fn reconnect(&mut self, now: Instant, kind: FailureKind) -> Action {
        let Some(server) = self.server else { return Action::Wait };
        self.count_retry(kind);
        self.fresh_only = true;
        self.start_over();
        self.connect(now, server)
    }

    /// Nothing of the last try counts for the next one.
    fn start_over(&mut self) {
        self.early = false;
        self.reused = false;
        self.request_sent = false;
        self.response_begun = false;
    }

    fn count_retry(&mut self, kind: FailureKind) {
        self.retries = self.retries.saturating_add(1);
        self.retried = Some(kind);
    }

    /// Waits before the same server is tried again: each time about twice as long, and never as long as another request
    /// does, so that requests that failed together do not come back together.
    pub(super) fn back_off(&mut self, now: Instant) -> Action {
        let Policy { delay_min, delay_max, .. } = *self.policy;
        let doubled = delay_min.saturating_mul(1 << self.delays.min(16));
        let half = doubled.min(delay_max).min(Policy::TIMEOUT_MAX) / 2;
        self.delays = self.delays.saturating_add(1);
        self.state = State::Backoff;
        self.deadline = Some(now + half + self.share_of(half));
        Action::Delay
    }

    /// A part of `whole` by chance.
    fn share_of(&mut self, whole: Duration) -> Duration {
        // SplitMix64 (Steele, Lea and Flood 2014).
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let percent = (mixed ^ (mixed >> 31)) % 101;
        whole * u32::try_from(percent).unwrap_or(0) / 100
    }
}

//! The thread that writes.
//!
//! Owns its loop: requests, then the rings, then the targets, then sleep. Leaves what a target does to `destination`.
//! Invariant: it never waits for one target while another could be served, and at most [`BATCH_PATIENCE`] pass between
//! a line's push and its turn unless a disk makes the thread wait.

use crate::bell::{Bell, wait};
use crate::counters::{Cause, Counters};
use crate::destination::{Destination, Now};
use crate::logs::{Ids, LOGS_MAX};
use crate::message::Message;
use crate::ring::Reader;
use rustix::event::{PollFd, PollFlags};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

/// How long lines may gather before they are taken: long enough that a busy shard's thousand lines cost one write and
/// no waking.
const BATCH_PATIENCE: Duration = Duration::from_millis(50);

/// How long a log that is not used any more may hold what its target does not take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Somebody who waits until everything is written.
struct Waiter {
    deadline: Instant,
    done: SyncSender<bool>,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

/// The thread's state.
pub(crate) struct Drain {
    bell: Arc<Bell>,
    readers: Vec<Reader>,
    /// By reader and log, how many lost lines were counted already.
    overflow_seen: Vec<[u64; LOGS_MAX]>,
    destinations: [Option<Box<Destination>>; LOGS_MAX],
    inbox: Receiver<Message>,
    waiters: Vec<Waiter>,
    ids: Arc<Ids>,
    totals: Arc<Counters>,
}

impl Drain {
    pub(crate) fn new(
        bell: Arc<Bell>,
        readers: Vec<Reader>,
        inbox: Receiver<Message>,
        ids: Arc<Ids>,
        totals: Arc<Counters>,
    ) -> Self {
        Self {
            bell,
            overflow_seen: vec![[0; LOGS_MAX]; readers.len()],
            readers,
            destinations: [const { None }; LOGS_MAX],
            inbox,
            waiters: Vec::new(),
            ids,
            totals,
        }
    }

    /// Runs until it is told to stop.
    pub(crate) fn run(mut self) {
        loop {
            self.bell.wake_up();
            let now = Now::read();
            self.destinations.iter_mut().flatten().for_each(|one| one.begin());
            self.receive(now);
            let was_busy = self.collect(now);
            self.destinations.iter_mut().flatten().for_each(|one| one.flush(now));
            let given_up = self.close(now);
            if self.answer(now, given_up) == Then::End {
                return;
            }
            self.sleep(was_busy);
        }
    }

    fn receive(&mut self, now: Now) {
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Open { log, destination, done } => {
                    if let Some(place) = self.destinations.get_mut(log) {
                        *place = Some(destination);
                    }
                    drop(done);
                }
                Message::Close { log } => {
                    if let Some(Some(destination)) = self.destinations.get_mut(log) {
                        destination.close_at(now.instant + CLOSE_PATIENCE);
                    }
                }
                Message::Reopen => {
                    // What was pushed before belongs into the old file.
                    self.collect(now);
                    self.destinations.iter_mut().flatten().for_each(|one| one.reopen(now));
                }
                Message::Flush { deadline, done } => {
                    self.waiters.push(Waiter { deadline, done, then: Then::GoOn });
                }
                Message::Stop { deadline, done } => {
                    let open = self.destinations.iter_mut().flatten();
                    open.for_each(|one| one.close_at(deadline));
                    self.waiters.push(Waiter { deadline, done, then: Then::End });
                }
            }
        }
    }

    /// Takes all lines from the rings; whether there were any.
    fn collect(&mut self, now: Now) -> bool {
        let mut was_busy = false;
        for (reader, seen) in self.readers.iter_mut().zip(&mut self.overflow_seen) {
            was_busy |= reader.read(|log, severity, line| match self.destinations.get_mut(log) {
                Some(Some(destination)) => destination.take(severity, line, now),
                // Pushed after its log was closed.
                Some(None) | None => self.totals.dropped(Cause::Closed, 1),
            });
            for (log, destination) in self.destinations.iter_mut().enumerate() {
                let (Some(destination), Some(seen)) = (destination, seen.get_mut(log)) else {
                    continue;
                };
                let lines = reader.overflow().of(log).saturating_sub(*seen);
                if lines > 0 {
                    *seen += lines;
                    destination.overflowed(lines);
                }
            }
        }
        was_busy
    }

    /// Ends logs that are closed and done; how many lines were given up for it.
    fn close(&mut self, now: Now) -> u64 {
        let mut given_up = 0;
        for (log, place) in self.destinations.iter_mut().enumerate() {
            if let Some(mut over) = place.take_if(|destination| destination.is_over(now)) {
                given_up += over.finish();
                self.ids.free(log);
            }
        }
        given_up
    }

    /// Answers whoever waits for what is written now, or has waited long enough.
    fn answer(&mut self, now: Now, given_up: u64) -> Then {
        let all_written =
            given_up == 0 && self.destinations.iter().flatten().all(|one| one.is_idle());
        let mut then = Then::GoOn;
        self.waiters.retain(|waiter| {
            if !all_written && now.instant < waiter.deadline {
                return true;
            }
            if waiter.then == Then::End {
                then = Then::End;
            }
            // Nobody may be waiting any more.
            let _ = waiter.done.try_send(all_written);
            false
        });
        then
    }

    fn sleep(&self, was_busy: bool) {
        let deadlines = self.destinations.iter().flatten().filter_map(|one| one.deadline());
        let deadline = deadlines.chain(self.waiters.iter().map(|waiter| waiter.deadline)).min();
        let until = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = if was_busy {
            Some(until.unwrap_or(BATCH_PATIENCE).min(BATCH_PATIENCE))
        } else {
            self.bell.fall_asleep();
            if self.readers.iter().any(|reader| !reader.is_empty()) {
                return;
            }
            until
        };
        let mut descriptors = vec![PollFd::new(&*self.bell, PollFlags::IN)];
        let interests = self.destinations.iter().flatten().filter_map(|one| one.interest());
        descriptors.extend(interests.map(|(one, flags)| PollFd::from_borrowed_fd(one, flags)));
        wait(&mut descriptors, timeout);
    }
}

//! What a shard tells the control executor.
//!
//! Owns what becomes of it when the queue is full; leaves its meaning to the control plane. Invariant: a line of the log may be dropped,
//! and is counted then; everything else is told, in order.

use std::time::{Duration, Instant};

use tidegate_shard::Full;

use super::Worker;
use crate::command::{Event, Report};

/// How long a shard that ends waits for room to say so.
const LAST_REPORT_PATIENCE: Duration = Duration::from_secs(1);

impl Worker {
    pub(crate) fn report_event(&self, event: Event) {
        self.report(Report::Event(event));
    }

    /// Log lines may be dropped when the control executor does not keep up; everything else waits for room.
    pub(super) fn report(&self, report: Report) {
        let mut unsent = self.unsent.borrow_mut();
        let is_line = matches!(report, Report::Event(_));
        if !unsent.is_empty() && !is_line {
            unsent.push_back(report);
            return;
        }
        match self.reports.borrow_mut().send(report) {
            Ok(()) => {}
            Err(Full(_)) if is_line => self.stats.log_lines_dropped.increment(),
            Err(Full(report)) => unsent.push_back(report),
        }
    }

    /// At the end of the shard: waits a little for the control executor to make room.
    pub(super) fn report_last(&self) {
        let until = Instant::now() + LAST_REPORT_PATIENCE;
        while !self.unsent.borrow().is_empty() && Instant::now() < until {
            self.report_unsent();
            std::thread::yield_now();
        }
    }

    pub(super) fn report_unsent(&self) {
        let mut unsent = self.unsent.borrow_mut();
        while let Some(report) = unsent.pop_front() {
            if let Err(Full(report)) = self.reports.borrow_mut().send(report) {
                unsent.push_front(report);
                return;
            }
        }
    }
}

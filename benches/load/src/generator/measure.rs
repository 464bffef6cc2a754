//! A measured run: warm-up, window, drain. Owns the phases and what is read at their edges; the
//! traffic itself is the generator's.
//!
//! Invariant: operations, CPU time and duration are taken at the same two moments, and latencies
//! belong to requests meant to leave between them.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use super::{ERRORS_MAX, Generator, SWEEP};
use crate::clock::nanos;
use crate::harness::Harness;
use crate::pacer::Load;
use crate::protocol::{Protocol, Session};
use crate::recorder::{Errors, Failure};

/// How long an open loop waits for the last answers of its window before it gives them up.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Lengths of a run.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Load that is not measured.
    pub warmup: Duration,
    /// Load that is.
    pub duration: Duration,
}

/// Is told when the window opens and closes, to sample what belongs to it (CPU time).
pub trait Observer {
    /// The warm-up is over.
    fn window_opens(&mut self);
    /// The window is over; load goes on until this returns.
    fn window_closes(&mut self);
}

/// What a run measured.
#[derive(Debug)]
pub struct Outcome {
    /// Latencies in nanoseconds.
    pub histogram: Histogram<u64>,
    /// Correct responses inside the window.
    pub operations: u64,
    /// Body bytes of these.
    pub body_bytes: u64,
    /// Length of the window.
    pub elapsed: Duration,
    /// Errors of the whole run, warm-up included.
    pub errors: Errors,
    /// CPU time of this thread (generator, and origin when it shares the loop) in the window.
    pub harness_cpu: Duration,
}

/// The counters at one edge of the window.
#[derive(Debug, Clone, Copy)]
struct Edge {
    at_ns: u64,
    completed: u64,
    body_bytes: u64,
    cpu_ns: u64,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Warmup { until_ns: u64 },
    Window { opened: Edge, until_ns: u64 },
    Drain { opened: Edge, closed: Edge, until_ns: u64 },
}

impl<P: Protocol> Generator<P> {
    /// Runs `load` through warm-up and window on the connected generator.
    ///
    /// # Errors
    /// When the loop fails or errors pile up beyond any measurement.
    pub fn measure(
        &mut self,
        harness: &mut Harness,
        load: Load,
        window: Window,
        observer: &mut impl Observer,
    ) -> io::Result<Outcome> {
        let start_ns = self.clock.now_ns();
        self.load = load;
        self.pacer.offer(load, start_ns);
        let mut stage = Stage::Warmup { until_ns: start_ns + nanos(window.warmup) };
        let mut sweep_ns = start_ns;
        loop {
            let now_ns = self.clock.now_ns();
            if now_ns >= sweep_ns {
                sweep_ns = now_ns + nanos(SWEEP);
                self.sweep(now_ns);
                self.open_more(&harness.poller);
                self.give_up_at_errors()?;
            }
            stage = self.advance(stage, now_ns, window.duration, observer);
            if let Stage::Drain { opened, closed, until_ns } = stage
                && (self.is_drained() || now_ns >= until_ns)
            {
                self.give_up_at_errors()?;
                return Ok(self.outcome(opened, closed, now_ns));
            }
            self.dispatch(&harness.poller, self.clock.now_ns());
            let stage_ns = match stage {
                Stage::Warmup { until_ns }
                | Stage::Window { until_ns, .. }
                | Stage::Drain { until_ns, .. } => until_ns,
            };
            let wake_ns = stage_ns.min(sweep_ns).min(self.pacer.wake_at().unwrap_or(u64::MAX));
            let wait = wake_ns.saturating_sub(self.clock.now_ns());
            self.turn(harness, Duration::from_nanos(wait))?;
        }
    }

    fn give_up_at_errors(&self) -> io::Result<()> {
        let errors = self.recorder.errors();
        if errors.total() < ERRORS_MAX {
            return Ok(());
        }
        Err(io::Error::other(format!("too many errors: {errors:?}")))
    }

    fn advance(
        &mut self,
        stage: Stage,
        now_ns: u64,
        duration: Duration,
        observer: &mut impl Observer,
    ) -> Stage {
        match stage {
            Stage::Warmup { until_ns } if now_ns >= until_ns => {
                observer.window_opens();
                let opened = self.edge();
                let until_ns = opened.at_ns + nanos(duration);
                self.recorder.open_window(opened.at_ns, until_ns);
                Stage::Window { opened, until_ns }
            }
            Stage::Window { opened, until_ns } if now_ns >= until_ns => {
                observer.window_closes();
                let closed = self.edge();
                let until_ns = now_ns + nanos(DRAIN_MAX);
                Stage::Drain { opened, closed, until_ns }
            }
            _ => stage,
        }
    }

    fn edge(&self) -> Edge {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu_ns = u64::try_from(cpu.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(cpu.tv_nsec).unwrap_or(0);
        Edge {
            at_ns: self.clock.now_ns(),
            completed: self.recorder.completed(),
            body_bytes: self.recorder.body_bytes(),
            cpu_ns,
        }
    }

    /// Whether every request meant to leave in the window has been answered or has failed.
    fn is_drained(&self) -> bool {
        match self.load {
            Load::Saturate | Load::OnceEach => true,
            Load::Rate(_) => {
                let overdue =
                    self.pacer.next_intended().is_some_and(|at| self.recorder.in_window(at));
                self.in_window == 0 && !overdue
            }
        }
    }

    fn outcome(&mut self, opened: Edge, closed: Edge, now_ns: u64) -> Outcome {
        if matches!(self.load, Load::Rate(_)) {
            self.give_up(now_ns);
        }
        self.pacer.pause();
        Outcome {
            histogram: self.recorder.histogram().clone(),
            operations: closed.completed - opened.completed,
            body_bytes: closed.body_bytes - opened.body_bytes,
            elapsed: Duration::from_nanos(closed.at_ns - opened.at_ns),
            errors: self.recorder.errors(),
            harness_cpu: Duration::from_nanos(closed.cpu_ns - opened.cpu_ns),
        }
    }

    /// Charges the time waited so far to the requests of the window that have no answer yet.
    fn give_up(&mut self, now_ns: u64) {
        for slot in &mut self.slots {
            slot.session.abandon(Failure::Timeout, &mut self.done);
            slot.close();
        }
        for exchange in self.done.drain(..) {
            if self.recorder.in_window(exchange.intended_ns) {
                self.recorder.unfinished(exchange.intended_ns, now_ns);
            }
        }
        while self.pacer.next_intended().is_some_and(|at| self.recorder.in_window(at)) {
            let intended_ns = self.pacer.take_request(now_ns);
            self.recorder.unfinished(intended_ns, now_ns);
        }
    }
}

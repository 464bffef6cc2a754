//! Servers and the connections to them.
//!
//! Owns how a server behaves and how many connections it has, by its own count. Invariant: a connection counts from its first
//! packet to its drop.

use std::cell::Cell;
use std::rc::Rc;

use tidegate_exchange::{ConnectFailure, Input};
use tidegate_health::{AgentReport, Duty, Failure, Fault, Outcome};
use tidegate_testkit::Rng;

use crate::chance::{Chance, Micros};

/// How a server behaves at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Well,
    /// Ten times as slow.
    Slow,
    /// It is not there: everything open was reset, everything new is refused.
    Dead,
    /// It takes connections and requests and says nothing.
    Hanging,
    /// Not even connections are answered.
    Silent,
    /// Half of its answers are broken in some way.
    Failing,
}

impl Mode {
    pub(crate) const ALL: [Self; 6] =
        [Self::Well, Self::Slow, Self::Dead, Self::Hanging, Self::Silent, Self::Failing];
}

/// A server as it is, which nobody here knows but by its answers.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) mode: Cell<Mode>,
    open: Cell<u32>,
    /// Raised with each death: connections of a life before are dead.
    life: Cell<u32>,
}

impl Truth {
    pub(crate) fn new() -> Rc<Truth> {
        Rc::new(Truth { mode: Cell::new(Mode::Well), open: Cell::new(0), life: Cell::new(0) })
    }

    /// Connections that it has.
    pub(crate) fn open(&self) -> u32 {
        self.open.get()
    }

    pub(crate) fn become_(&self, mode: Mode) {
        self.mode.set(mode);
        if mode == Mode::Dead {
            self.life.set(self.life.get() + 1);
        }
    }

    /// What comes of a try to connect, and when; nothing: it is never heard of.
    pub(crate) fn answer_connect(&self, rng: &mut Rng) -> Option<(Micros, Input)> {
        let after = rng.between(50, 300);
        match self.mode.get() {
            Mode::Silent => None,
            Mode::Dead => Some((after, Input::ConnectFailed(ConnectFailure::Refused))),
            Mode::Failing if rng.one_in(4) => {
                Some((after, Input::ConnectFailed(ConnectFailure::Reset)))
            }
            _ => Some((after, Input::Connected)),
        }
    }

    /// What comes of a request that it gets now.
    pub(crate) fn answer_request(&self, service: Micros, rng: &mut Rng) -> Vec<(Micros, Input)> {
        let factor = if self.mode.get() == Mode::Slow { 10 } else { 1 };
        let mut at = factor * (service / 2 + rng.exponential(service / 2));
        let is_failing = self.mode.get() == Mode::Failing && rng.one_in(2);
        let status = if is_failing && rng.one_in(2) { 503 } else { 200 };
        let mut script = Vec::new();
        if rng.one_in(20) {
            script.push((at / 2, Input::ResponseHead { status: 103, interim: true }));
        }
        script.push((at, Input::ResponseHead { status, interim: false }));
        while rng.one_in(4) {
            at += rng.exponential(service / 4);
            script.push((at, Input::ResponseProgress));
        }
        script.push((at + rng.between(1, 200), Input::ResponseDone));
        match self.mode.get() {
            Mode::Dead => vec![(50, Input::ServerReset)],
            Mode::Hanging | Mode::Silent => Vec::new(),
            Mode::Failing if is_failing && status == 200 => {
                let kept = rng.below(script.len());
                let (broken_at, _) = script[kept];
                script.truncate(kept);
                let ends =
                    [Input::ServerClosed, Input::ServerReset, Input::BadResponse("status_line")];
                script.push((broken_at, *rng.choose(&ends)));
                script
            }
            _ => script,
        }
    }

    /// What a check says, and how long that takes.
    pub(crate) fn answer_check(&self, has_agent: bool, rng: &mut Rng) -> (Micros, Outcome) {
        let failed = |fault| Outcome::Failed(Failure::new(fault));
        let after = rng.between(100, 1_000);
        match self.mode.get() {
            Mode::Dead => (after, failed(Fault::Refused)),
            Mode::Hanging | Mode::Silent => (20_000, failed(Fault::TimedOut)),
            Mode::Failing if rng.one_in(2) => (after, failed(Fault::Reset)),
            _ if rng.one_in(200) => (after, Outcome::Skipped),
            _ if has_agent => (after, Outcome::Said(draw_report(rng))),
            _ => (after, Outcome::Passed),
        }
    }
}

fn draw_report(rng: &mut Rng) -> AgentReport {
    AgentReport {
        up: Some(!rng.one_in(10)),
        duty: rng.one_in(3).then(|| {
            *rng.choose(&[Duty::Ready, Duty::Ready, Duty::Ready, Duty::Drain, Duty::Maintenance])
        }),
        weight_percent: rng.one_in(3).then(|| *rng.choose(&[0, 25, 75, 100, 100])),
        ..AgentReport::default()
    }
}

/// A connection, being made or there.
#[derive(Debug)]
pub(crate) struct Connection {
    truth: Rc<Truth>,
    life: u32,
}

impl Connection {
    pub(crate) fn open(truth: &Rc<Truth>) -> Connection {
        truth.open.set(truth.open.get() + 1);
        Connection { truth: truth.clone(), life: truth.life.get() }
    }

    /// The server has died since it was made.
    pub(crate) fn is_dead(&self) -> bool {
        self.life != self.truth.life.get()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.truth.open.set(self.truth.open.get() - 1);
    }
}

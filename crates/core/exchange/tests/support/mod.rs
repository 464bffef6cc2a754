//! An exchange with its virtual clock, and its actions in words.
//!
//! Leaves what is expected to the tests. Invariant: time moves only when a test says so.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::{Duration, Instant};

use tidegate_exchange::{
    Action, BudgetSettings, ConnectFailure, Exchange, Input, Policy, Request, RetryBudget, Upload,
};

pub const REFUSED: Input = Input::ConnectFailed(ConnectFailure::Refused);
pub const OK: Input = Input::ResponseHead { status: 200, interim: false };
/// Of a body that is not kept.
pub const PROGRESS: Input = Input::RequestProgress { kept: false };
pub const CONTINUE: Input = Input::ResponseHead { status: 100, interim: true };

pub fn picked(server: u32) -> Input {
    Input::Picked { server, reused: false }
}

pub fn reused(server: u32) -> Input {
    Input::Picked { server, reused: true }
}

/// An exchange and its virtual clock.
pub struct Trace {
    pub exchange: Exchange<'static>,
    pub now: Instant,
}

impl Trace {
    pub fn new(policy: &Policy, repeatable: bool) -> Self {
        Self::with_budget(policy, BudgetSettings::default(), repeatable)
    }

    /// What is borrowed is left to the end of the tests.
    pub fn with_budget(policy: &Policy, budget: BudgetSettings, repeatable: bool) -> Self {
        let now = Instant::now();
        let policy = Box::leak(Box::new(*policy));
        let budget = Box::leak(Box::new(RetryBudget::new(budget, now)));
        let request = Request { repeatable, seed: 7 };
        Self { exchange: Exchange::new(policy, Some(budget), request, now), now }
    }

    /// A repeatable request with the default policy.
    pub fn default() -> Self {
        Self::new(&Policy::default(), true)
    }

    pub fn after(mut self, inputs: &[Input]) -> Self {
        for &input in inputs {
            let _action = self.handle(input);
        }
        self
    }

    pub fn handle(&mut self, input: Input) -> Action {
        self.exchange.handle(self.now, input)
    }

    /// The action in a word.
    pub fn word(&mut self, input: Input) -> String {
        word(self.handle(input))
    }

    /// Lets the deadline pass.
    pub fn expire(&mut self) -> String {
        self.now = self.exchange.deadline().expect("a deadline");
        self.word(Input::Deadline)
    }

    pub fn left(&self) -> Option<Duration> {
        self.exchange.deadline().map(|deadline| deadline - self.now)
    }
}

pub fn word(action: Action) -> String {
    match action {
        Action::Pick { avoid, fresh_only } => {
            let servers = avoid.as_slice().iter().map(|server| format!("!{server}"));
            let servers: String = servers.collect();
            format!("{}{servers}", if fresh_only { "fresh" } else { "pick" })
        }
        Action::Delay => "delay".into(),
        Action::Hedge { avoid } => format!("hedge!{:?}", avoid.as_slice()),
        Action::Adopt { server } => format!("adopt:{server}"),
        Action::Connect { server } => format!("connect:{server}"),
        Action::Send { server } => format!("send:{server}"),
        Action::Wait => ".".into(),
        Action::Relay { upload: Upload::Complete } => "relay".into(),
        Action::Relay { upload: Upload::Continue } => "relay+".into(),
        Action::Relay { upload: Upload::Stop } => "relay-".into(),
        Action::Respond(failure) => failure.status().expect("an answer can be given").to_string(),
        Action::Cut(failure) => format!("cut:{}", failure.flags()),
        Action::Abort(failure) => format!("abort:{}", failure.flags()),
        Action::Finish { reuse: true } => "finish".into(),
        Action::Finish { reuse: false } => "close".into(),
    }
}

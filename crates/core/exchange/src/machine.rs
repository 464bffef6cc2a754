//! The state machine of one exchange.
//!
//! Owns the transitions and the deadline; whether and how a failure is made good is in `retries`. What
//! follows from a failure's kind is the failure table's; carrying out actions is the driver's.
//! Invariant: see [`Exchange::check_invariants`], which runs after every input in builds with debug
//! assertions.

mod retries;

use std::time::{Duration, Instant};

use crate::avoided::Avoided;
use crate::budget::RetryBudget;
use crate::failure::{ConnectFailure, Failure, FailureKind, NoServerCause, Stage};
use crate::policy::{Policy, Request};
use crate::protocol::{Action, Input, Upload};

/// Where the exchange stands. In every state but the first and the last a server's slot is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A server is being picked.
    Picking,
    /// The delay before the same server is tried again.
    Backoff,
    /// A connection is being established.
    Connecting,
    /// The request is being sent and no final response head has come.
    Sending,
    /// The request is sent and no final response head has come.
    Awaiting,
    /// The final response is being relayed.
    Relaying,
    /// A terminal action was returned.
    Over,
}

/// One request on its way to a response.
#[derive(Clone, Debug)]
pub struct Exchange<'p> {
    policy: &'p Policy,
    budget: Option<&'p RetryBudget>,
    /// When the current wait fails; `None` while only the client is waited for, and at the end.
    deadline: Option<Instant>,
    /// When the try in hand is given up for another one, if there can be one.
    try_due: Option<Instant>,
    /// When a second try is made beside the one in hand, if it can be.
    hedge_due: Option<Instant>,
    /// When the server fails, where the deadline is one of those.
    server_due: Option<Instant>,
    /// The server whose slot is held.
    server: Option<u32>,
    /// The servers whose tries failed, if others were asked for.
    failed: Avoided,
    /// Where chance begins for this request.
    seed: u64,
    state: State,
    retries_left: u8,
    retries: u8,
    /// Delays so far.
    delays: u8,
    /// What the attempt failed by that was made good last.
    retried: Option<FailureKind>,
    interims: u8,
    repeatable: bool,
    /// The connection in hand came from the pool.
    reused: bool,
    /// A pooled connection turned out to be dead: the pool is not asked again.
    fresh_only: bool,
    /// Some of the request's body is not there for another connection.
    touched: bool,
    request_sent: bool,
    response_begun: bool,
    /// Something of a response has reached the client.
    relayed: bool,
    switched: bool,
    over_budget: bool,
    /// The deadline may be that of the try or of a hedge.
    early: bool,
}

impl<'p> Exchange<'p> {
    /// Most interim responses relayed for one request. A server that works for long says so with a
    /// `102` every 20 s, for which this lasts 85 minutes; one that sends nothing else would otherwise
    /// keep the exchange alive for ever.
    pub const INTERIMS_MAX: u8 = u8::MAX;

    /// A new exchange, which asks for [`Action::FIRST`]. It draws what it repeats from `budget`; without one, which is
    /// enough for a policy that repeats nothing, it repeats nothing.
    #[inline]
    #[must_use]
    pub fn new(
        policy: &'p Policy,
        budget: Option<&'p RetryBudget>,
        request: Request,
        now: Instant,
    ) -> Self {
        if let Some(budget) = budget {
            budget.deposit(now);
        }
        Self {
            policy,
            budget,
            deadline: Some(due(now, policy.queue_timeout)),
            try_due: None,
            hedge_due: None,
            server_due: None,
            server: None,
            failed: Avoided::NONE,
            seed: request.seed,
            state: State::Picking,
            retries_left: policy.retries_max,
            retries: 0,
            delays: 0,
            retried: None,
            interims: 0,
            repeatable: request.repeatable,
            reused: false,
            fresh_only: false,
            touched: false,
            request_sent: false,
            response_begun: false,
            relayed: false,
            switched: false,
            over_budget: false,
            early: false,
        }
    }

    /// Takes what happened and says what to do. Total: an input that has no meaning in the current
    /// state, a completion that came too late for one, changes nothing and returns [`Action::Wait`].
    pub fn handle(&mut self, now: Instant, input: Input) -> Action {
        let action = match (self.state, input) {
            (State::Over, _) => Action::Wait,
            (_, Input::ClientGone) => self.give_up(FailureKind::ClientGone),
            (_, Input::ClientTimeout) => self.give_up(FailureKind::ClientTimeout),
            (_, Input::ClientBad { status, detail }) => {
                self.give_up(FailureKind::BadRequest { status, detail })
            }
            (_, Input::Deadline) => self.deadline_passed(now),
            (State::Picking, _) => self.on_picking(now, input),
            (State::Connecting, _) => self.on_connecting(now, input),
            (State::Sending | State::Awaiting, _) => self.on_exchanging(now, input),
            (State::Relaying, _) => self.on_relaying(now, input),
            (State::Backoff, _) => Action::Wait,
        };
        if cfg!(debug_assertions) {
            self.check_invariants();
            debug_assert_eq!(action.is_terminal(), self.is_over() && action != Action::Wait);
        }
        action
    }

    /// When [`Input::Deadline`] is due. It moves with each input, so ask again after each.
    #[inline]
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How often the request was tried again: connection attempts after the first, repeats, and the one
    /// after a dead reused connection.
    #[inline]
    #[must_use]
    pub const fn retries(&self) -> u8 {
        self.retries
    }

    /// What the last attempt failed by that was not the request's last. Asked right after an action that tries again, it is
    /// why.
    #[inline]
    #[must_use]
    pub const fn retried(&self) -> Option<FailureKind> {
        self.retried
    }

    /// Whether the request was not tried again because the budget was spent.
    #[inline]
    #[must_use]
    pub const fn is_over_budget(&self) -> bool {
        self.over_budget
    }

    /// The server whose slot is held.
    #[inline]
    #[must_use]
    pub const fn server(&self) -> Option<u32> {
        self.server
    }

    /// Whether a terminal action was returned.
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Checks what must hold between any two inputs.
    ///
    /// # Panics
    /// If it does not: that is a defect of this file, whatever the inputs were.
    pub fn check_invariants(&self) {
        let idle = matches!(self.state, State::Picking | State::Over);
        assert_eq!(self.server.is_none(), idle, "a slot is held exactly while a server is in use");
        match self.state {
            State::Picking | State::Backoff | State::Connecting => {
                assert!(self.deadline.is_some(), "a pick, a delay or a connection has a deadline");
                assert!(!self.touched && !self.request_sent, "the request is there from its start");
                assert!(!self.response_begun && !self.relayed, "no retry after a response");
                assert!(!self.early, "a try begins with the request");
            }
            State::Sending => assert!(!self.request_sent),
            State::Awaiting => {
                assert!(self.request_sent);
                assert!(self.deadline.is_some(), "a server that owes a response has a deadline");
            }
            State::Relaying => assert!(self.response_begun && self.relayed),
            State::Over => assert!(self.deadline.is_none(), "nothing is waited for at the end"),
        }
        assert_eq!(self.retries > 0, self.retried.is_some(), "a retry has a reason");
        assert!(!(self.reused && self.fresh_only), "the pool is not used after a dead connection");
        assert!(usize::from(self.retries) <= usize::from(self.policy.retries_max) + 1);
        assert!(!self.relayed || self.response_begun);
    }

    fn on_picking(&mut self, now: Instant, input: Input) -> Action {
        match input {
            Input::Picked { server, reused } => {
                self.server = Some(server);
                self.reused = reused && !self.fresh_only;
                if reused {
                    return self.send(now, server);
                }
                if self.failed.contains(server) {
                    return self.back_off(now);
                }
                self.connect(now, server)
            }
            Input::NoServer(cause) => self.give_up(FailureKind::NoServer(cause)),
            _ => Action::Wait,
        }
    }

    fn on_connecting(&mut self, now: Instant, input: Input) -> Action {
        match (input, self.server) {
            (Input::Connected, Some(server)) => self.send(now, server),
            (Input::ConnectFailed(failure), _) => self.fail(now, FailureKind::Connect(failure)),
            _ => Action::Wait,
        }
    }

    fn on_exchanging(&mut self, now: Instant, input: Input) -> Action {
        match input {
            Input::RequestSent => {
                self.state = State::Awaiting;
                self.request_sent = true;
                if self.budget.is_some() {
                    self.begin_try(now);
                }
                self.wait_for_server(now)
            }
            Input::RequestProgress { kept } => {
                self.touched |= !kept;
                self.wait_for_server(now)
            }
            Input::WaitingOnClient => {
                if self.state == State::Sending {
                    self.deadline = None;
                }
                Action::Wait
            }
            Input::GrpcStatus(status) => self.on_grpc_status(now, status),
            Input::ResponseHead { status, interim } => self.on_head(now, status, interim),
            Input::HedgeWon { server } if self.state == State::Awaiting && !self.response_begun => {
                self.adopt(now, server)
            }
            Input::ResponseBytes | Input::ResponseProgress => {
                self.response_begun = true;
                self.wait_for_server(now)
            }
            Input::ServerClosed if self.response_begun => {
                self.fail(now, FailureKind::IncompleteHead)
            }
            Input::ServerClosed => self.fail(now, FailureKind::EmptyResponse),
            Input::ServerReset => self.fail(now, FailureKind::ServerReset),
            Input::BadResponse(detail) => self.fail(now, FailureKind::BadResponse { detail }),
            Input::PoolLost if self.reused && !self.touched && !self.response_begun => {
                self.reconnect(now, FailureKind::ServerReset)
            }
            Input::PoolLost => self.fail(now, FailureKind::ServerReset),
            Input::StreamUnseen if !self.touched && !self.response_begun && !self.fresh_only => {
                self.reconnect(now, FailureKind::StreamRefused)
            }
            Input::StreamRefused | Input::StreamUnseen if !self.touched && !self.response_begun => {
                self.fail(now, FailureKind::StreamRefused)
            }
            Input::StreamRefused | Input::StreamUnseen => self.give_up(FailureKind::StreamRefused),
            Input::StreamReset => {
                // The connection had not died while it was idle.
                self.reused = false;
                self.fail(now, FailureKind::ServerReset)
            }
            _ => Action::Wait,
        }
    }

    fn on_relaying(&mut self, now: Instant, input: Input) -> Action {
        match input {
            Input::ResponseProgress | Input::ResponseBytes | Input::RequestProgress { .. } => {
                self.wait_for_server(now)
            }
            Input::ResponseDone => {
                let reuse = self.request_sent && !self.switched;
                self.end();
                Action::Finish { reuse }
            }
            Input::RequestSent => {
                self.request_sent = true;
                self.wait_for_server(now)
            }
            Input::WaitingOnClient => {
                self.deadline = None;
                Action::Wait
            }
            Input::ServerClosed => self.fail(now, FailureKind::TruncatedResponse),
            Input::ServerReset
            | Input::PoolLost
            | Input::StreamReset
            | Input::StreamRefused
            | Input::StreamUnseen => self.fail(now, FailureKind::ServerReset),
            Input::BadResponse(detail) => self.fail(now, FailureKind::BadResponse { detail }),
            _ => Action::Wait,
        }
    }

    /// A response head before the request was sent whole is legal (RFC 9112 §9.5): it is relayed, and
    /// its status says whether the server still reads.
    fn on_head(&mut self, now: Instant, status: u16, interim: bool) -> Action {
        if !interim
            && self.budget.is_some()
            && self.policy.retry_on.has_status(status)
            && self.may_repeat()
            && self.draws(now)
        {
            return self.retry(now, FailureKind::Status(status));
        }
        self.response_begun = true;
        self.relayed = true;
        self.deadline = Some(due(now, self.policy.server_timeout));
        if interim {
            self.clip_to_try();
            if self.interims == Self::INTERIMS_MAX {
                return self.fail(now, FailureKind::BadResponse { detail: "interims_max" });
            }
            self.interims += 1;
        } else {
            self.early = false;
            self.state = State::Relaying;
            self.switched = status == 101;
        }
        let upload = match status {
            _ if self.request_sent => Upload::Complete,
            100..=299 => Upload::Continue,
            _ => Upload::Stop,
        };
        Action::Relay { upload }
    }

    fn on_grpc_status(&mut self, now: Instant, status: u8) -> Action {
        let kind = FailureKind::GrpcStatus(status);
        let listed = self.budget.is_some() && self.policy.retry_on.has(kind);
        if listed && self.may_repeat() && self.draws(now) {
            return self.retry(now, kind);
        }
        Action::Wait
    }

    fn deadline_passed(&mut self, now: Instant) -> Action {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Action::Wait;
        }
        match (self.state, self.server) {
            (State::Picking, _) => self.fail(now, FailureKind::QueueTimeout),
            (State::Backoff, Some(server)) => self.connect(now, server),
            (State::Connecting, _) => {
                self.fail(now, FailureKind::Connect(ConnectFailure::TimedOut))
            }
            (State::Awaiting, _) if self.early => self.try_expired(now),
            (State::Sending | State::Awaiting | State::Relaying, _) => {
                self.fail(now, FailureKind::ServerTimeout)
            }
            (State::Backoff | State::Over, _) => Action::Wait,
        }
    }

    fn connect(&mut self, now: Instant, server: u32) -> Action {
        self.state = State::Connecting;
        self.deadline = Some(due(now, self.policy.connect_timeout));
        Action::Connect { server }
    }

    #[inline]
    fn send(&mut self, now: Instant, server: u32) -> Action {
        self.state = State::Sending;
        self.deadline = Some(due(now, self.policy.server_timeout));
        Action::Send { server }
    }

    #[inline]
    fn wait_for_server(&mut self, now: Instant) -> Action {
        self.deadline = Some(due(now, self.policy.server_timeout));
        self.clip_to_try();
        Action::Wait
    }

    /// The deadline is that of the try, where it comes first.
    #[inline]
    fn clip_to_try(&mut self) {
        if self.early {
            self.server_due = self.deadline;
            self.deadline =
                [self.deadline, self.try_due, self.hedge_due].into_iter().flatten().min();
        }
    }

    #[cold]
    fn give_up(&mut self, kind: FailureKind) -> Action {
        let failure = Failure { kind, stage: self.stage(kind), server: self.server };
        let relaying = self.state == State::Relaying;
        self.end();
        match kind {
            FailureKind::ClientGone => Action::Abort(failure),
            _ if relaying => Action::Cut(failure),
            _ => Action::Respond(failure),
        }
    }

    /// The stage the log names. HAProxy logs the lack of a server as a failed connection.
    fn stage(&self, kind: FailureKind) -> Stage {
        match (self.state, kind) {
            (_, FailureKind::NoServer(NoServerCause::AllDown | NoServerCause::Empty)) => {
                Stage::Connect
            }
            (State::Picking, _) => Stage::Queue,
            (State::Backoff | State::Connecting, _) => Stage::Connect,
            (State::Sending | State::Awaiting, _) => Stage::Head,
            (State::Relaying | State::Over, _) => Stage::Data,
        }
    }

    #[inline]
    fn end(&mut self) {
        self.state = State::Over;
        self.deadline = None;
        self.early = false;
        self.server = None;
    }
}

#[inline]
fn due(now: Instant, timeout: Duration) -> Instant {
    now + timeout.min(Policy::TIMEOUT_MAX)
}

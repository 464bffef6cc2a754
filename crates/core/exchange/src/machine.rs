//! The state machine of one exchange.
//!
//! Owns the transitions, the deadline and the budget of retries. What follows from a failure's kind is
//! the failure table's; carrying out actions is the driver's. Invariant: see
//! [`Exchange::check_invariants`], which runs after every input in builds with debug assertions.

use std::time::{Duration, Instant};

use crate::failure::{ConnectFailure, Failure, FailureKind, NoServerCause, Retry, Stage};
use crate::policy::{Policy, Redispatch, Request};
use crate::protocol::{Action, Input, Upload};

/// Where the exchange stands. In every state but the first and the last a server's slot is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A server is being picked.
    Picking,
    /// The turn-around delay before the same server is tried again.
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
pub struct Exchange {
    /// When the current wait fails; `None` while only the client is waited for, and at the end.
    deadline: Option<Instant>,
    connect_timeout: Duration,
    server_timeout: Duration,
    queue_timeout: Duration,
    /// The server whose slot is held.
    server: Option<u32>,
    /// The server whose connection attempt failed last, if another one was asked for.
    failed: Option<u32>,
    state: State,
    redispatch: Redispatch,
    retries_left: u8,
    retries: u8,
    /// What the attempt failed by that was made good last.
    retried: Option<FailureKind>,
    interims: u8,
    repeatable: bool,
    /// The connection in hand came from the pool.
    reused: bool,
    /// A pooled connection turned out to be dead: the pool is not asked again.
    fresh_only: bool,
    /// Bytes of the request were accepted for sending on the connection in hand.
    touched: bool,
    request_sent: bool,
    response_begun: bool,
    switched: bool,
}

impl Exchange {
    /// Most interim responses relayed for one request. A server that works for long says so with a
    /// `102` every 20 s, for which this lasts 85 minutes; one that sends nothing else would otherwise
    /// keep the exchange alive for ever.
    pub const INTERIMS_MAX: u8 = u8::MAX;

    /// A new exchange, which asks for [`Action::FIRST`].
    #[inline]
    #[must_use]
    pub fn new(policy: &Policy, request: Request, now: Instant) -> Self {
        Self {
            deadline: Some(due(now, policy.queue_timeout)),
            connect_timeout: policy.connect_timeout,
            server_timeout: policy.server_timeout,
            queue_timeout: policy.queue_timeout,
            server: None,
            failed: None,
            state: State::Picking,
            redispatch: policy.redispatch,
            retries_left: policy.retries_max,
            retries: 0,
            retried: None,
            interims: 0,
            repeatable: request.repeatable,
            reused: false,
            fresh_only: false,
            touched: false,
            request_sent: false,
            response_begun: false,
            switched: false,
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

    /// How often the request was tried again: connection attempts after the first, and the one repeat
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
                assert!(!self.touched && !self.request_sent, "nothing of the request has left");
                assert!(!self.response_begun && self.interims == 0, "no retry after a response");
            }
            State::Sending => assert!(!self.request_sent),
            State::Awaiting => {
                assert!(self.request_sent);
                assert!(self.deadline.is_some(), "a server that owes a response has a deadline");
            }
            State::Relaying => assert!(self.response_begun),
            State::Over => assert!(self.deadline.is_none(), "nothing is waited for at the end"),
        }
        assert_eq!(self.retries > 0, self.retried.is_some(), "a retry has a reason");
        assert!(!(self.reused && self.fresh_only), "the pool is not used after a dead connection");
    }

    fn on_picking(&mut self, now: Instant, input: Input) -> Action {
        match input {
            Input::Picked { server, reused } => {
                self.server = Some(server);
                self.reused = reused && !self.fresh_only;
                if reused {
                    return self.send(now, server);
                }
                if self.failed == Some(server) {
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
                self.touched = true;
                self.request_sent = true;
                self.wait_for_server(now)
            }
            Input::RequestProgress => {
                self.touched = true;
                self.wait_for_server(now)
            }
            Input::WaitingOnClient => {
                if self.state == State::Sending {
                    self.deadline = None;
                }
                Action::Wait
            }
            Input::ResponseHead { status, interim } => self.on_head(now, status, interim),
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
            _ => Action::Wait,
        }
    }

    fn on_relaying(&mut self, now: Instant, input: Input) -> Action {
        match input {
            Input::ResponseProgress | Input::ResponseBytes | Input::RequestProgress => {
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
            Input::ServerReset | Input::PoolLost => self.fail(now, FailureKind::ServerReset),
            Input::BadResponse(detail) => self.fail(now, FailureKind::BadResponse { detail }),
            _ => Action::Wait,
        }
    }

    /// A response head before the request was sent whole is legal (RFC 9112 §9.5): it is relayed, and
    /// its status says whether the server still reads.
    fn on_head(&mut self, now: Instant, status: u16, interim: bool) -> Action {
        self.response_begun = true;
        self.deadline = Some(due(now, self.server_timeout));
        if interim {
            if self.interims == Self::INTERIMS_MAX {
                return self.fail(now, FailureKind::BadResponse { detail: "interims_max" });
            }
            self.interims += 1;
        } else {
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
            (State::Sending | State::Awaiting | State::Relaying, _) => {
                self.fail(now, FailureKind::ServerTimeout)
            }
            (State::Backoff | State::Over, _) => Action::Wait,
        }
    }

    /// Tries again if the failure's kind allows it and the budget is not spent, or gives up.
    #[cold]
    fn fail(&mut self, now: Instant, kind: FailureKind) -> Action {
        match kind.retry() {
            Retry::Connect if self.retries_left > 0 => self.retry_connect(now, kind),
            Retry::FreshConnection if self.reused && self.repeatable && !self.response_begun => {
                self.reconnect(now, kind)
            }
            Retry::Never | Retry::Connect | Retry::FreshConnection => self.give_up(kind),
        }
    }

    fn retry_connect(&mut self, now: Instant, kind: FailureKind) -> Action {
        self.retries_left -= 1;
        self.count_retry(kind);
        let elsewhere = match self.redispatch {
            Redispatch::Never => false,
            Redispatch::LastRetry => self.retries_left == 0,
            Redispatch::EveryRetry => true,
        };
        if !elsewhere {
            return self.back_off(now);
        }
        self.failed = self.server.take();
        self.state = State::Picking;
        self.deadline = Some(due(now, self.queue_timeout));
        Action::Pick { avoid: self.failed, fresh_only: self.fresh_only }
    }

    /// The reused connection is dead and the request may be sent again. The server is not to blame, so
    /// it stays picked; the pool is not trusted again, so this happens at most once. It takes nothing
    /// from the budget: this is the first connection attempted.
    fn reconnect(&mut self, now: Instant, kind: FailureKind) -> Action {
        let Some(server) = self.server else { return Action::Wait };
        self.count_retry(kind);
        self.fresh_only = true;
        self.reused = false;
        self.touched = false;
        self.request_sent = false;
        self.connect(now, server)
    }

    fn count_retry(&mut self, kind: FailureKind) {
        self.retries = self.retries.saturating_add(1);
        self.retried = Some(kind);
    }

    fn back_off(&mut self, now: Instant) -> Action {
        self.state = State::Backoff;
        self.deadline = Some(due(now, self.connect_timeout.min(Policy::RETRY_DELAY_MAX)));
        Action::Wait
    }

    fn connect(&mut self, now: Instant, server: u32) -> Action {
        self.state = State::Connecting;
        self.deadline = Some(due(now, self.connect_timeout));
        Action::Connect { server }
    }

    #[inline]
    fn send(&mut self, now: Instant, server: u32) -> Action {
        self.state = State::Sending;
        self.deadline = Some(due(now, self.server_timeout));
        Action::Send { server }
    }

    #[inline]
    fn wait_for_server(&mut self, now: Instant) -> Action {
        self.deadline = Some(due(now, self.server_timeout));
        Action::Wait
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
        self.server = None;
    }
}

#[inline]
fn due(now: Instant, timeout: Duration) -> Instant {
    now + timeout.min(Policy::TIMEOUT_MAX)
}

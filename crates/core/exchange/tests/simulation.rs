//! Scripted servers that refuse, hang, close, break and dawdle, clients that leave at any moment, and
//! a driver that carries out the actions in virtual time; requests that can be repeated, with bodies
//! that are kept or not, and policies that repeat much or little. After each step the simulation checks what
//! it knows and the machine does not: which slots are held, which connections carried bytes of the
//! request, how often a connection was attempted. Seeded; a failure names its seed.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tidegate_exchange::{
    Action, Avoided, BudgetSettings, ConnectFailure, Exchange, Failure, FailureKind, Input,
    NoServerCause, Policy, Redispatch, Request, RetryBudget, RetryCause, RetryOn, Stage,
};
use tidegate_testkit::Rng;

/// More steps than any scenario takes: a run that reaches it does not end.
const STEPS_MAX: usize = 200;

/// Draws a scenario.
struct Random(Rng);

impl Random {
    fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *self.0.choose(from)
    }
}

struct Simulation<'p> {
    random: Random,
    policy: &'p Policy,
    repeatable: bool,
    exchange: Exchange<'p>,
    now: Instant,
    servers_count: u32,
    /// What the server in use is going to do; when it is empty, nothing more happens.
    script: VecDeque<Input>,
    slot: Option<u32>,
    attempts: usize,
    /// Connections on which a server may have seen bytes of the request.
    touched: usize,
    connection_touched: bool,
    connection_reused: bool,
    /// Bytes of a response came on this connection.
    response_seen: bool,
    /// Something of a response was passed on.
    relayed: bool,
    final_head_seen: bool,
    /// Some of the body is not there for another connection.
    body_lost: bool,
    paused: bool,
    stale_repeats: usize,
    hedged: bool,
}

fn draw_policy(random: &mut Random) -> Policy {
    let milliseconds = |random: &mut Random| Duration::from_millis(1 + random.next() % 5_000);
    let mut retry_on = random.pick(&[RetryOn::NONE, RetryOn::default()]);
    for (_, cause) in RetryCause::WORDS {
        if random.one_in(3) {
            retry_on = retry_on.with(cause);
        }
    }
    for status in [404, 503] {
        if random.one_in(3) {
            retry_on = retry_on.with_status(status).expect("a status of an error");
        }
    }
    Policy {
        retries_max: random.pick(&[0, 1, 2, 3, 8]),
        redispatch: random.pick(&[
            Redispatch::Never,
            Redispatch::LastRetry,
            Redispatch::EveryRetry,
        ]),
        retry_on,
        delay_min: milliseconds(random),
        delay_max: milliseconds(random),
        try_timeout: random.one_in(2).then(|| milliseconds(random)),
        hedge_after: random.one_in(2).then(|| milliseconds(random)),
        connect_timeout: milliseconds(random),
        server_timeout: milliseconds(random),
        queue_timeout: milliseconds(random),
    }
}

impl<'p> Simulation<'p> {
    fn new(mut random: Random, policy: &'p Policy, budget: &'p RetryBudget, now: Instant) -> Self {
        let repeatable = random.one_in(2);
        let request = Request { repeatable, seed: random.next() };
        Self {
            servers_count: random.pick(&[1, 1, 2, 3]),
            random,
            policy,
            repeatable,
            exchange: Exchange::new(policy, Some(budget), request, now),
            now,
            script: VecDeque::new(),
            slot: None,
            attempts: 0,
            touched: 0,
            connection_touched: false,
            connection_reused: false,
            response_seen: false,
            relayed: false,
            final_head_seen: false,
            body_lost: false,
            paused: false,
            stale_repeats: 0,
            hedged: false,
        }
    }

    /// Runs to the terminal action and returns it with the number of retries.
    fn run(mut self) -> (Action, u8) {
        let mut action = Action::FIRST;
        for _ in 0..STEPS_MAX {
            self.carry_out(action);
            let input = self.next_input(action);
            self.note(input);
            action = self.exchange.handle(self.now, input);
            self.check_step(input, action);
            if action.is_terminal() {
                self.check_end(input, action);
                return (action, self.exchange.retries());
            }
        }
        panic!("the exchange does not end");
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Pick { .. } => {
                self.slot = None;
                self.response_seen = false;
                self.script.clear();
            }
            Action::Delay => {
                assert!(self.slot.is_some(), "the server that failed is tried again");
                self.script.clear();
                self.connection_reused = false;
                self.response_seen = false;
            }
            Action::Connect { server } => {
                assert_eq!(self.slot, Some(server), "connects with the slot held");
                self.attempts += 1;
                self.connection_touched = false;
                self.connection_reused = false;
                self.response_seen = false;
                self.script = self.connect_script();
            }
            Action::Send { server } => {
                assert_eq!(self.slot, Some(server), "sends with the slot held");
                self.script = self.response_script();
            }
            Action::Hedge { avoid } => {
                assert!(self.slot.is_some_and(|slot| avoid.contains(slot)));
                assert!(self.repeatable && !self.body_lost && !self.response_seen);
                assert!(!std::mem::replace(&mut self.hedged, true), "one hedge");
                self.touched += 1;
                // The first one says nothing: it may be slower, or not come at all.
                if self.random.one_in(2) {
                    let server = self.servers_count;
                    self.script.push_front(Input::HedgeWon { server });
                }
            }
            Action::Adopt { server } => {
                assert_eq!(self.slot, Some(server), "adopts with the slot held");
                self.connection_reused = false;
                self.script = self.response_script();
                self.script.retain(|input| {
                    !matches!(input, Input::RequestSent | Input::RequestProgress { .. })
                });
            }
            Action::Wait | Action::Relay { .. } => {}
            Action::Respond(_) | Action::Cut(_) | Action::Abort(_) | Action::Finish { .. } => {
                unreachable!("the run has ended")
            }
        }
    }

    fn next_input(&mut self, action: Action) -> Input {
        if self.random.one_in(60) {
            return self.random.pick(&[
                Input::ClientGone,
                Input::ClientTimeout,
                Input::ClientBad { status: 400, detail: "chunk_size" },
            ]);
        }
        if let Action::Pick { avoid, fresh_only } = action {
            return self.pick_input(avoid, fresh_only);
        }
        if let Some(input) = self.script.pop_front() {
            self.pass_time();
            return input;
        }
        match self.exchange.deadline() {
            // Now and then the timer is early, which must not matter.
            Some(deadline) if self.random.one_in(4) && deadline > self.now => Input::Deadline,
            Some(deadline) => {
                self.now = deadline;
                Input::Deadline
            }
            None => Input::ClientTimeout,
        }
    }

    /// Some time passes, less than the deadline, if any, allows.
    fn pass_time(&mut self) {
        let left = self.exchange.deadline().map_or(Duration::ZERO, |deadline| deadline - self.now);
        self.now += left * u32::try_from(self.random.below(100)).expect("below 100") / 100;
    }

    fn pick_input(&mut self, avoid: Avoided, fresh_only: bool) -> Input {
        if self.random.one_in(12) {
            let causes = [NoServerCause::AllDown, NoServerCause::Empty, NoServerCause::PoolFull];
            return Input::NoServer(self.random.pick(&causes));
        }
        if self.random.one_in(20) {
            self.now = self.exchange.deadline().expect("a pick has a deadline");
            return Input::Deadline;
        }
        self.pass_time();
        let mut server = self.random.pick(&[0, 1, 2]) % self.servers_count;
        if let Some(other) = (0..self.servers_count).find(|other| !avoid.contains(*other))
            && avoid.contains(server)
        {
            server = other;
        }
        Input::Picked { server, reused: !fresh_only && self.random.one_in(2) }
    }

    fn connect_script(&mut self) -> VecDeque<Input> {
        use ConnectFailure::{LocalResource, Refused, Reset, Tls, Unreachable};
        match self.random.below(8) {
            0 => VecDeque::new(),
            1 | 2 => {
                let failures = [Refused, Refused, Unreachable, Reset, LocalResource, Tls];
                VecDeque::from([Input::ConnectFailed(self.random.pick(&failures))])
            }
            _ => VecDeque::from([Input::Connected]),
        }
    }

    /// The course of a request and its response on one connection, up to where it may break.
    fn response_script(&mut self) -> VecDeque<Input> {
        let mut script = Vec::new();
        for _ in 0..self.random.below(3) {
            let kept = self.random.one_in(2);
            script.push(Input::RequestProgress { kept });
            if self.random.one_in(2) {
                script.extend([Input::WaitingOnClient, Input::RequestProgress { kept }]);
            }
        }
        let early = self.random.one_in(6);
        if !early {
            script.push(Input::RequestSent);
        }
        if self.random.one_in(5) {
            script.push(Input::ResponseHead { status: 103, interim: true });
        }
        if self.random.one_in(3) {
            script.push(Input::ResponseBytes);
        }
        let status = self.random.pick(&[200, 204, 404, 503]);
        script.push(Input::ResponseHead { status, interim: false });
        for _ in 0..self.random.below(3) {
            script.push(Input::ResponseProgress);
            if self.random.one_in(3) {
                script.extend([Input::WaitingOnClient, Input::ResponseProgress]);
            }
        }
        if early && self.random.one_in(2) {
            script.push(Input::RequestSent);
        }
        script.push(Input::ResponseDone);
        self.break_off(script)
    }

    fn break_off(&mut self, mut script: Vec<Input>) -> VecDeque<Input> {
        if self.connection_reused && self.random.one_in(4) {
            return VecDeque::from([Input::PoolLost]);
        }
        if self.random.one_in(2) {
            let at = self.random.below(script.len());
            script.truncate(at);
            match self.random.below(4) {
                0 => script.push(Input::ServerClosed),
                1 => script.push(Input::ServerReset),
                2 => script.push(Input::BadResponse("status_line")),
                // It hangs.
                _ => {}
            }
        }
        script.into()
    }

    /// Keeps the simulation's own account of what happens.
    fn note(&mut self, input: Input) {
        match input {
            Input::Picked { server, reused } => {
                assert_eq!(self.slot.replace(server), None, "one slot at a time");
                self.connection_reused = reused;
                self.connection_touched = false;
            }
            Input::RequestProgress { .. } | Input::RequestSent => {
                self.body_lost |= input == Input::RequestProgress { kept: false };
                self.touched += usize::from(!self.connection_touched);
                self.connection_touched = true;
                self.paused = false;
            }
            Input::HedgeWon { server } if !self.response_seen => self.slot = Some(server),
            Input::WaitingOnClient => self.paused = true,
            Input::ResponseBytes | Input::ResponseProgress => {
                self.response_seen = true;
                self.paused = false;
            }
            Input::ResponseHead { .. } => {
                self.response_seen = true;
                self.paused = false;
            }
            _ => {}
        }
    }

    fn check_step(&mut self, input: Input, action: Action) {
        if self.connection_reused && matches!(action, Action::Connect { .. }) {
            self.stale_repeats += 1;
        }
        if matches!(action, Action::Relay { .. }) {
            self.relayed = true;
            self.final_head_seen |= matches!(input, Input::ResponseHead { interim: false, .. });
        }
        let tries_max = usize::from(self.policy.retries_max) + 1;
        let touched_max = if self.repeatable { tries_max + 2 } else { 1 };
        assert!(self.touched <= touched_max, "the request may have been acted on too often");
        assert!(self.attempts <= tries_max, "too many attempts");
        assert!(self.stale_repeats <= 1, "a dead connection is replaced once");
        assert!(usize::from(self.exchange.retries()) < tries_max + self.stale_repeats);
        if action.is_terminal() {
            return;
        }
        match action {
            Action::Pick { .. } => assert_eq!(self.exchange.server(), None, "the slot is let go"),
            _ => assert_eq!(self.exchange.server(), self.slot, "the slot is the machine's"),
        }
        if matches!(action, Action::Pick { .. } | Action::Connect { .. } | Action::Delay) {
            assert!(!self.relayed, "nothing is tried again after a response, {input:?}");
            assert!(!self.body_lost, "nothing is tried again from its middle, {input:?}");
        }
        let expects_deadline = !self.paused || !matches!(action, Action::Wait);
        assert!(self.exchange.deadline().is_some() || !expects_deadline, "a wait without end");
    }

    fn check_end(&mut self, input: Input, action: Action) {
        assert_eq!(self.exchange.server(), None, "the slot is let go");
        assert_eq!(self.exchange.deadline(), None);
        match action {
            Action::Finish { .. } => assert_eq!(input, Input::ResponseDone),
            Action::Abort(failure) => {
                assert_eq!((input, failure.status()), (Input::ClientGone, None));
            }
            Action::Cut(failure) => {
                assert!(self.final_head_seen, "a response had begun");
                assert_eq!(failure.status(), None);
                assert_eq!(failure.server, self.slot);
            }
            Action::Respond(failure) => {
                assert!(!self.final_head_seen, "no response had begun");
                assert_eq!(failure.server, self.slot);
                assert_eq!(failure.status(), Some(self.expected_status(input, failure)));
                self.check_retries_were_used(input, failure);
            }
            _ => unreachable!("not terminal"),
        }
        for late in [Input::Connected, Input::ResponseDone, Input::ClientGone, Input::Deadline] {
            assert_eq!(self.exchange.handle(self.now, late), Action::Wait, "over is over");
        }
    }

    /// The status as the documentation states it, by what happened last.
    fn expected_status(&self, input: Input, failure: Failure) -> u16 {
        match input {
            Input::ClientTimeout => 408,
            Input::ClientBad { status, .. } => status,
            Input::NoServer(_) | Input::ConnectFailed(_) => 503,
            Input::Deadline if failure.stage == Stage::Head => 504,
            Input::Deadline => 503,
            Input::ServerClosed | Input::ServerReset | Input::BadResponse(_) | Input::PoolLost => {
                502
            }
            other => panic!("{other:?} ends nothing"),
        }
    }

    fn check_retries_were_used(&self, input: Input, failure: Failure) {
        let used = usize::from(self.exchange.retries()) - self.stale_repeats;
        let all_used = used == usize::from(self.policy.retries_max);
        let listed = self.policy.retry_on.has(failure.kind);
        if matches!(failure.kind, FailureKind::Connect(_)) && listed {
            assert!(all_used, "gave up early");
        }
        let can_repeat = self.repeatable && !self.relayed && !self.body_lost;
        if failure.stage == Stage::Head && listed && can_repeat {
            assert!(all_used || self.exchange.is_over_budget(), "gave up early");
        }
        let lost = matches!(input, Input::ServerClosed | Input::ServerReset);
        if lost && self.connection_reused && !self.response_seen {
            assert!(!can_repeat, "a stale connection was not replaced");
        }
        assert!(
            input != Input::PoolLost
                || self.connection_touched
                || !self.connection_reused
                || self.body_lost,
            "proof that nothing was sent was not used"
        );
    }
}

fn simulate(seed: u64) -> (Action, u8) {
    let (mut random, now) = (Random(Rng::new(seed)), Instant::now());
    let policy = draw_policy(&mut random);
    let per_second_min = random.pick(&[0, 0, 10]);
    let budget = RetryBudget::new(BudgetSettings { percent: 100, per_second_min }, now);
    Simulation::new(random, &policy, &budget, now).run()
}

#[test]
fn every_run_ends_as_documented_and_lets_its_slot_go() {
    let (mut reasons, mut finished, mut saved) = (BTreeSet::new(), 0, 0);
    for seed in 0..100_000 {
        let outcome = std::panic::catch_unwind(|| simulate(seed));
        match outcome.unwrap_or_else(|_| panic!("seed {seed}")) {
            (Action::Respond(failure) | Action::Cut(failure) | Action::Abort(failure), _) => {
                reasons.insert(failure.reason());
            }
            (_, retries) => {
                finished += 1;
                saved += usize::from(retries > 0);
            }
        }
    }
    assert!(finished > 15_000, "only {finished} exchanges were completed");
    assert!(saved > 5_000, "only {saved} of them by another try");
    let unseen: Vec<_> = Failure::REASONS.iter().filter(|&it| !reasons.contains(it)).collect();
    // Two come before there is an exchange, two others fail only tries; of HTTP/2 alone are the rest.
    let expected = [
        "request_head_timeout",
        "loop_detected",
        "response_status",
        "connect_protocol",
        "stream_refused",
        "grpc_status",
    ];
    assert!(unseen.iter().copied().eq(&expected), "{unseen:?}");
}

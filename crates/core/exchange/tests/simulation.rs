//! Scripted servers that refuse, hang, close, break and dawdle, clients that leave at any moment, and
//! a driver that carries out the actions in virtual time. After each step the simulation checks what
//! it knows and the machine does not: which slots are held, which connections carried bytes of the
//! request, how often a connection was attempted. Seeded; a failure names its seed.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tidegate_exchange::{
    Action, ConnectFailure, Exchange, Failure, FailureKind, Input, NoServerCause, Policy,
    Redispatch, Request, Stage,
};

/// More steps than any scenario takes: a run that reaches it does not end.
const STEPS_MAX: usize = 200;

/// SplitMix64, enough to draw a scenario.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

struct Simulation {
    random: Random,
    policy: Policy,
    repeatable: bool,
    exchange: Exchange,
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
    response_seen: bool,
    final_head_seen: bool,
    paused: bool,
    stale_repeats: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let milliseconds = |random: &mut Random| Duration::from_millis(1 + random.next() % 5_000);
        let policy = Policy {
            retries_max: random.pick(&[0, 1, 2, 3, 8]),
            redispatch: random.pick(&[
                Redispatch::Never,
                Redispatch::LastRetry,
                Redispatch::EveryRetry,
            ]),
            connect_timeout: milliseconds(&mut random),
            server_timeout: milliseconds(&mut random),
            queue_timeout: milliseconds(&mut random),
        };
        let repeatable = random.one_in(2);
        let now = Instant::now();
        Self {
            servers_count: random.pick(&[1, 1, 2, 3]),
            random,
            policy,
            repeatable,
            exchange: Exchange::new(&policy, Request { repeatable }, now),
            now,
            script: VecDeque::new(),
            slot: None,
            attempts: 0,
            touched: 0,
            connection_touched: false,
            connection_reused: false,
            response_seen: false,
            final_head_seen: false,
            paused: false,
            stale_repeats: 0,
        }
    }

    /// Runs to the terminal action and returns it.
    fn run(mut self) -> Action {
        let mut action = Action::FIRST;
        for _ in 0..STEPS_MAX {
            self.carry_out(action);
            let input = self.next_input(action);
            self.note(input);
            action = self.exchange.handle(self.now, input);
            self.check_step(input, action);
            if action.is_terminal() {
                self.check_end(input, action);
                return action;
            }
        }
        panic!("the exchange does not end");
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Pick { .. } => {
                self.slot = None;
                self.script.clear();
            }
            Action::Connect { server } => {
                assert_eq!(self.slot, Some(server), "connects with the slot held");
                self.attempts += 1;
                self.connection_touched = false;
                self.connection_reused = false;
                self.script = self.connect_script();
            }
            Action::Send { server } => {
                assert_eq!(self.slot, Some(server), "sends with the slot held");
                self.script = self.response_script();
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

    fn pick_input(&mut self, avoid: Option<u32>, fresh_only: bool) -> Input {
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
        if avoid == Some(server) {
            server = (server + 1) % self.servers_count;
        }
        Input::Picked { server, reused: !fresh_only && self.random.one_in(2) }
    }

    fn connect_script(&mut self) -> VecDeque<Input> {
        use ConnectFailure::{LocalResource, Refused, Reset, Unreachable};
        match self.random.below(8) {
            0 => VecDeque::new(),
            1 | 2 => {
                let failures = [Refused, Refused, Unreachable, Reset, LocalResource];
                VecDeque::from([Input::ConnectFailed(self.random.pick(&failures))])
            }
            _ => VecDeque::from([Input::Connected]),
        }
    }

    /// The course of a request and its response on one connection, up to where it may break.
    fn response_script(&mut self) -> VecDeque<Input> {
        let mut script = Vec::new();
        for _ in 0..self.random.below(3) {
            script.push(Input::RequestProgress);
            if self.random.one_in(2) {
                script.extend([Input::WaitingOnClient, Input::RequestProgress]);
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
            Input::RequestProgress | Input::RequestSent => {
                self.touched += usize::from(!self.connection_touched);
                self.connection_touched = true;
                self.paused = false;
            }
            Input::WaitingOnClient => self.paused = true,
            Input::ResponseBytes | Input::ResponseProgress => {
                self.response_seen = true;
                self.paused = false;
            }
            Input::ResponseHead { interim, .. } => {
                self.response_seen = true;
                self.final_head_seen |= !interim;
                self.paused = false;
            }
            _ => {}
        }
    }

    fn check_step(&mut self, input: Input, action: Action) {
        if self.connection_reused && matches!(action, Action::Connect { .. }) {
            self.stale_repeats += 1;
        }
        let touched_max = if self.repeatable { 2 } else { 1 };
        assert!(self.touched <= touched_max, "the request may have been acted on too often");
        assert!(self.attempts <= usize::from(self.policy.retries_max) + 1, "too many attempts");
        assert!(self.stale_repeats <= 1, "a dead connection is replaced once");
        let retries = self.attempts.saturating_sub(1) + self.stale_repeats;
        assert!(usize::from(self.exchange.retries()) <= retries + 1, "retries are counted");
        if action.is_terminal() {
            return;
        }
        match action {
            Action::Pick { .. } => assert_eq!(self.exchange.server(), None, "the slot is let go"),
            _ => assert_eq!(self.exchange.server(), self.slot, "the slot is the machine's"),
        }
        if matches!(action, Action::Pick { .. } | Action::Connect { .. }) {
            assert!(!self.response_seen, "nothing is tried again after a response, {input:?}");
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
        if matches!(failure.kind, FailureKind::Connect(_)) {
            assert_eq!(self.attempts, usize::from(self.policy.retries_max) + 1, "gave up early");
        }
        let lost = matches!(input, Input::ServerClosed | Input::ServerReset);
        if lost && self.connection_reused {
            assert!(!self.repeatable || self.response_seen, "a stale connection was not replaced");
        }
        assert!(
            input != Input::PoolLost || self.connection_touched || !self.connection_reused,
            "proof that nothing was sent was not used"
        );
    }
}

#[test]
fn every_run_ends_as_documented_and_lets_its_slot_go() {
    let mut reasons = BTreeSet::new();
    let mut finished = 0;
    for seed in 0..100_000 {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        match outcome.unwrap_or_else(|_| panic!("seed {seed}")) {
            Action::Respond(failure) | Action::Cut(failure) | Action::Abort(failure) => {
                reasons.insert(failure.reason());
            }
            _ => finished += 1,
        }
    }
    assert!(finished > 15_000, "only {finished} exchanges were completed");
    let unseen: Vec<_> = Failure::REASONS.iter().filter(|&it| !reasons.contains(it)).collect();
    let before = [&"request_head_timeout", &"loop_detected"];
    assert_eq!(unseen, before, "which come before there is an exchange");
}

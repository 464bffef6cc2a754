//! Requests on their way: what `tidegate-proxy` does around an exchange, without sockets.
//!
//! Owns carrying out actions and turning what happens into inputs; leaves which action to `tidegate-exchange`. Invariant: a request
//! holds its slot from its pick until it lets go, and whatever ends it gives back its place in a queue and its second try.

use tidegate_balance::{Ask, NoServer, ServerId};
use tidegate_exchange::{Action, Avoided, Exchange, FailureKind, Input, NoServerCause};
use tidegate_queue::{Key, Outcome, WaiterId};

use crate::chance::{Chance, Micros};
use crate::hedge::Hedge;
use crate::load::Body;
use crate::server::Connection;
use crate::shard::{Grant, Queue, RequestId, ShardLoads};
use crate::world::{Event, World};

/// What a failure counts as, at least, as in `tidegate-proxy`.
const FAILED_LATENCY: Micros = 1_000_000;

/// One request.
pub(crate) struct Request<'p> {
    pub(crate) id: RequestId,
    pub(crate) shard: usize,
    pub(crate) exchange: Exchange<'p>,
    pub(crate) repeatable: bool,
    pub(crate) body: Body,
    pub(crate) pin: Option<usize>,
    pub(crate) key: Option<u64>,
    pub(crate) priority: i16,
    /// What the last pick was asked with.
    pub(crate) avoid: Avoided,
    pub(crate) fresh_only: bool,
    /// Which try it is: what comes of an earlier one comes too late.
    pub(crate) attempt: u64,
    pub(crate) slot: Option<usize>,
    pub(crate) connection: Option<Connection>,
    pub(crate) hedge: Option<Hedge>,
    pub(crate) wait: Option<Wait>,
    /// How often a server may have seen it.
    pub(crate) sends: u32,
    pub(crate) picked_at: Micros,
    pub(crate) armed: Option<Micros>,
}

/// A place in a queue.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub(crate) queue: Queue,
    pub(crate) id: WaiterId,
    pub(crate) key: Key,
    pub(crate) since: Micros,
    /// It has been woken, and has not looked yet.
    pub(crate) is_called: bool,
}

enum Picked {
    Ready(Input),
    Full(Option<Queue>),
}

impl<'p> World<'p> {
    /// Something happened to a request.
    pub(crate) fn advance(&mut self, mut request: Request<'p>, input: Input) {
        let action = self.handle(&mut request, input);
        self.perform(request, action);
    }

    fn handle(&mut self, request: &mut Request<'p>, input: Input) -> Action {
        let (server, retries) = (request.slot, request.exchange.retries());
        let action = request.exchange.handle(self.instant(), input);
        // A dead connection that is replaced is no repeat.
        let is_retried =
            request.exchange.retries() > retries && !matches!(action, Action::Connect { .. });
        self.watch.report.retries += u64::from(is_retried);
        let reached_server = !matches!(request.exchange.retried(), Some(FailureKind::Connect(_)));
        if is_retried && reached_server || matches!(action, Action::Hedge { .. }) {
            self.watch.note_repeat(request.shard, self.now);
        }
        let ends_try = matches!(action, Action::Pick { .. } | Action::Delay);
        if input == Input::Deadline && (ends_try || action.is_terminal()) {
            server.into_iter().for_each(|server| self.note_error(request.shard, server));
        }
        action
    }

    /// Carries out actions until something has to be waited for.
    pub(crate) fn perform(&mut self, mut request: Request<'p>, mut action: Action) {
        loop {
            let next = match action {
                Action::Pick { avoid, fresh_only } => {
                    self.let_go(&mut request);
                    (request.avoid, request.fresh_only) = (avoid, fresh_only);
                    self.look_for_server(&mut request)
                }
                Action::Connect { server } => {
                    self.connect(&mut request, server as usize);
                    None
                }
                Action::Send { .. } => Some(self.send(&mut request)),
                Action::Delay => {
                    self.drop_hedge(&mut request);
                    drop(request.connection.take());
                    request.attempt = self.next_attempt();
                    None
                }
                Action::Hedge { avoid } => {
                    self.start_hedge(&mut request, &avoid);
                    None
                }
                Action::Adopt { server } => {
                    self.adopt(&mut request, server as usize);
                    None
                }
                Action::Wait | Action::Relay { .. } => None,
                terminal => return self.end(request, terminal),
            };
            let Some(input) = next else { break };
            action = self.handle(&mut request, input);
        }
        self.arm(&mut request);
        self.requests.insert(request.id, request);
    }

    /// Has the request hear of its deadline.
    fn arm(&mut self, request: &mut Request<'p>) {
        let Some(deadline) = request.exchange.deadline() else { return };
        let at = deadline.saturating_duration_since(self.setup.start).as_nanos().div_ceil(1000);
        let at = Micros::try_from(at).expect("a short history");
        if request.armed != Some(at) {
            request.armed = Some(at);
            self.plan(at.max(self.now), Event::Deadline(request.id));
        }
    }

    fn look_for_server(&mut self, request: &mut Request<'p>) -> Option<Input> {
        match self.pick(request) {
            Picked::Ready(input) => Some(input),
            Picked::Full(queue) => self.enter(request, queue),
        }
    }

    fn pick(&mut self, request: &mut Request<'p>) -> Picked {
        let shard = &self.shards[request.shard];
        if let Some(pin) = request.pin.filter(|pin| !request.avoids(*pin))
            && shard.pool.borrow().takes_pinned(server_id(pin))
        {
            return self.take_slot(request, pin, true);
        }
        let picked = self.choose(request.shard, request.key, &request.avoid);
        let server = match picked {
            Ok(ServerId(server)) => server as usize,
            Err(NoServer::AllFull) => return Picked::Full(self.queue_of(request)),
            Err(none) => return Picked::Ready(Input::NoServer(cause(none))),
        };
        if request.avoids(server)
            && let Some(other) = self.other_to_wait_for(request)
        {
            return Picked::Full(Some(other));
        }
        self.take_slot(request, server, request.key.is_some())
    }

    pub(crate) fn choose(
        &mut self,
        shard: usize,
        key: Option<u64>,
        avoid: &Avoided,
    ) -> Result<ServerId, NoServer> {
        let (now, random) = (self.instant(), self.rng.next_u64());
        let shard = &self.shards[shard];
        let avoid: Vec<ServerId> = avoid.as_slice().iter().copied().map(ServerId).collect();
        let loads = ShardLoads(shard);
        let ask = Ask { now, random, key, avoid: &avoid, loads: &loads };
        let picked = shard.pool.borrow_mut().pick(&ask);
        if let Ok(server) = picked {
            assert!(shard.pool.borrow().takes_new(server), "a server that takes nothing is picked");
        }
        picked
    }

    fn take_slot(&mut self, request: &mut Request<'p>, server: usize, bound: bool) -> Picked {
        match self.shards[request.shard].acquire(server) {
            Some(grant) => Picked::Ready(self.use_grant(request, grant)),
            None if bound => Picked::Full(Some(Queue::Server(server))),
            None => Picked::Full(self.queue_of(request)),
        }
    }

    fn queue_of(&self, request: &Request<'p>) -> Option<Queue> {
        let other = if request.avoid.is_empty() { None } else { self.other_to_wait_for(request) };
        let has_limits = self.shared.limits.iter().any(Option::is_some);
        other.or_else(|| has_limits.then_some(Queue::Backend))
    }

    fn other_to_wait_for(&self, request: &Request<'p>) -> Option<Queue> {
        let shard = &self.shards[request.shard];
        let pool = shard.pool.borrow();
        let usable = |server: &usize| {
            !request.avoids(*server)
                && pool.takes_new(server_id(*server))
                && self.shared.limits[*server].is_some()
        };
        let waiting = |server: &usize| shard.queue(Queue::Server(*server)).1.waiting();
        shard.servers().filter(usable).min_by_key(waiting).map(Queue::Server)
    }

    fn enter(&mut self, request: &mut Request<'p>, queue: Option<Queue>) -> Option<Input> {
        let full = Some(Input::NoServer(NoServerCause::PoolFull));
        let Some(queue) = queue else { return full };
        let shard = &self.shards[request.shard];
        let (waiting, line) = shard.queue(queue);
        if line.enter().is_err() {
            return full;
        }
        let key = self.shared.line.key(request.priority);
        let id = waiting.borrow_mut().insert(key, request.id);
        line.publish(shard.index, waiting.borrow().first());
        match queue {
            Queue::Backend => shard.servers().for_each(|server| shard.muster(server)),
            Queue::Server(server) => shard.muster(server),
        }
        request.wait = Some(Wait { queue, id, key, since: self.now, is_called: false });
        self.watch.report.queued += 1;
        None
    }

    /// The slot is the request's now.
    fn use_grant(&mut self, request: &mut Request<'p>, grant: Grant) -> Input {
        let Grant { server, connection } = grant;
        self.hold(request.shard, server);
        let connection = connection.filter(|_| !request.fresh_only);
        let reused = connection.is_some();
        assert_eq!(request.slot.replace(server), None, "one slot at a time");
        request.connection = connection;
        request.picked_at = self.now;
        Input::Picked { server: number(server), reused }
    }

    /// A waiter looks at what became of it; `false` if it goes on waiting.
    pub(crate) fn wake(&mut self, mut request: Request<'p>) -> bool {
        let shard = &self.shards[request.shard];
        let outcome = request.wait.and_then(|wait| shard.look(wait.queue, wait.id));
        let Some(outcome) = outcome else {
            self.requests.insert(request.id, request);
            return false;
        };
        request.wait = None;
        let input = match outcome {
            Outcome::Granted(grant) => Some(self.use_grant(&mut request, grant)),
            Outcome::Roused => self.look_for_server(&mut request),
        };
        match input {
            Some(input) => self.advance(request, input),
            None => self.perform(request, Action::Wait),
        }
        true
    }

    pub(crate) fn open(&mut self, server: usize) -> Connection {
        self.watch.report.connections += 1;
        Connection::open(&self.shared.truths[server])
    }

    pub(crate) fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    fn connect(&mut self, request: &mut Request<'p>, server: usize) {
        assert_eq!(request.slot, Some(server), "connects with the slot held");
        drop(request.connection.take());
        request.attempt = self.next_attempt();
        request.connection = Some(self.open(server));
        let answer = self.shared.truths[server].answer_connect(&mut self.rng);
        self.plan_answers(request.id, request.attempt, answer);
    }

    fn send(&mut self, request: &mut Request<'p>) -> Input {
        let next = self.next_attempt();
        let (Some(server), Some(connection)) = (request.slot, &request.connection) else {
            panic!("sends without a slot or a connection");
        };
        request.attempt = next;
        let script = if connection.is_dead() {
            let ends = [Input::PoolLost, Input::ServerReset, Input::ServerClosed];
            vec![(self.rng.between(1, 100), *self.rng.choose(&ends))]
        } else {
            self.shared.truths[server].answer_request(self.setup.service, &mut self.rng)
        };
        let is_lost = script.first().is_some_and(|(_, input)| *input == Input::PoolLost);
        self.plan_answers(request.id, request.attempt, script);
        if !is_lost {
            request.sends += 1;
            self.watch.check_sends(request, &self.setup.policy);
        }
        if request.body != Body::None {
            let kept = request.body == Body::Kept;
            let action = request.exchange.handle(self.instant(), Input::RequestProgress { kept });
            assert_eq!(action, Action::Wait, "progress changes nothing");
        }
        Input::RequestSent
    }

    pub(crate) fn plan_answers(
        &mut self,
        request: RequestId,
        attempt: u64,
        answers: impl IntoIterator<Item = (Micros, Input)>,
    ) {
        for (after, input) in answers {
            self.plan(self.now + after, Event::Answer { request, attempt, input });
        }
    }

    /// A server says something.
    pub(crate) fn answer(&mut self, mut request: Request<'p>, attempt: u64, input: Input) {
        if request.attempt == attempt && request.slot.is_some() {
            return self.first_answers(request, input);
        }
        if request.hedge.as_ref().is_none_or(|hedge| hedge.attempt() != attempt) {
            self.requests.insert(request.id, request);
            return;
        }
        let shard = request.shard;
        match input {
            Input::Connected => {
                self.send_hedge(&mut request);
                self.requests.insert(request.id, request);
            }
            Input::ConnectFailed(_)
            | Input::ServerClosed
            | Input::ServerReset
            | Input::BadResponse(_) => {
                let server = request.hedge.as_ref().map(Hedge::server);
                server.into_iter().for_each(|server| self.note_error(shard, server));
                self.drop_hedge(&mut request);
                self.requests.insert(request.id, request);
            }
            _ => {
                let server = request.hedge.as_ref().map_or(0, Hedge::server);
                let won = Input::HedgeWon { server: number(server) };
                let action = self.handle(&mut request, won);
                assert!(matches!(action, Action::Adopt { .. }), "the second try is taken over");
                self.adopt(&mut request, server);
                self.first_answers(request, input);
            }
        }
    }

    fn first_answers(&mut self, mut request: Request<'p>, input: Input) {
        let (shard, server) = (request.shard, request.slot.expect("answers come to who is there"));
        match input {
            Input::ResponseHead { status, interim } => {
                // Once something has come nobody else is waited for.
                self.drop_hedge(&mut request);
                if !interim && status >= 500 {
                    self.note_error(shard, server);
                } else if !interim {
                    self.note_success(shard, server, self.now - request.picked_at);
                }
            }
            Input::ServerClosed | Input::ServerReset if request.hedge.is_some() => {
                self.note_error(shard, server);
                if let Some(hedge) = request.hedge.as_ref().filter(|hedge| hedge.is_sent) {
                    let won = Input::HedgeWon { server: number(hedge.server()) };
                    return self.advance(request, won);
                }
                self.drop_hedge(&mut request);
            }
            Input::ConnectFailed(_)
            | Input::ServerClosed
            | Input::ServerReset
            | Input::BadResponse(_) => {
                self.note_error(shard, server);
                self.drop_hedge(&mut request);
            }
            _ => {}
        }
        self.advance(request, input);
    }

    pub(crate) fn hold(&self, shard: usize, server: usize) {
        let count = &self.shared.in_flight[shard][server];
        count.set(count.get() + 1);
    }

    pub(crate) fn give_back(&self, shard: usize, server: usize, connection: Option<Connection>) {
        drop(connection);
        let count = &self.shared.in_flight[shard][server];
        count.set(count.get() - 1);
        self.shards[shard].pass_on(server, None);
    }

    /// Gives back all that the request holds.
    pub(crate) fn let_go(&mut self, request: &mut Request<'p>) {
        self.drop_hedge(request);
        if let Some(server) = request.slot.take() {
            self.give_back(request.shard, server, request.connection.take());
        }
    }

    fn end(&mut self, mut request: Request<'p>, action: Action) {
        self.watch.note_end(&request, action);
        let shard = request.shard;
        if let Some(Wait { queue, id, .. }) = request.wait.take() {
            self.shards[shard].leave(queue, id);
        }
        self.drop_hedge(&mut request);
        let Some(server) = request.slot else { return };
        let is_kept = matches!(action, Action::Finish { reuse: true })
            && !self.shards[shard].is_down(server)
            && !self.rng.one_in(12);
        match request.connection.take() {
            Some(connection) if is_kept && !connection.is_dead() => {
                let count = &self.shared.in_flight[shard][server];
                count.set(count.get() - 1);
                self.shards[shard].keep(server, connection);
            }
            connection => self.give_back(shard, server, connection),
        }
        let took = self.now - request.picked_at;
        let is_good = matches!(action, Action::Finish { .. });
        let latency = if is_good { took } else { took.max(FAILED_LATENCY) };
        let now = self.instant();
        let shard = &self.shards[shard];
        let latency = std::time::Duration::from_micros(latency);
        shard.pool.borrow_mut().observe(server_id(server), latency, now);
        shard.pool.borrow_mut().ended(server_id(server), &ShardLoads(shard));
    }
}

impl Request<'_> {
    fn avoids(&self, server: usize) -> bool {
        self.avoid.contains(number(server))
    }
}

fn cause(none: NoServer) -> NoServerCause {
    match none {
        NoServer::Empty => NoServerCause::Empty,
        NoServer::AllDown => NoServerCause::AllDown,
        NoServer::AllFull => NoServerCause::PoolFull,
    }
}

pub(crate) fn number(server: usize) -> u32 {
    u32::try_from(server).expect("few servers")
}

pub(crate) fn server_id(server: usize) -> ServerId {
    ServerId(number(server))
}

//! The shard's data plane as a whole: dispatches what arrives, applies commands, reports.
//!
//! Owns listeners, parked connections and the pool of connection tasks; leaves what a connection does to `http1`.
//! Invariant: a client connection is in exactly one place: parked, in a task, or gone.

mod ending;
mod reports;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tidegate_compression::{Pool as Encoders, PoolLimits};
use tidegate_exchange::FailureKind;
use tidegate_log::Writer;
use tidegate_ring::{Listener, ParkToken};
use tidegate_shard::{Receiver, Sender, Service, Shard, TaskId, drive, own_payload};
use tidegate_telemetry::ShardStats;

use crate::accept::{Acceptor, accept_connections};
use crate::budget::{Budget, Waiter};
use crate::chores::Chores;
use crate::client::Client;
use crate::command::{Command, Event, EventKind, ListenerId, ListenerSpec, Report};
use crate::http2::Protocols;
use crate::journal::Journal;
use crate::parked::{Parked, ParkedTable};
use crate::settings::Snapshot;
use crate::site::{Entrance, Site};
use crate::stream::Turnstile;
use crate::upstream::queue::Office;
use crate::{http1, http2};

/// Connection tasks kept for reuse when idle; one holds a few KiB.
const TASKS_KEPT_MAX: usize = 4096;

/// What a shard starts from.
pub struct Context {
    /// Which shard it is.
    pub index: u16,
    /// Its first snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Its listening sockets.
    pub listeners: Vec<ListenerSpec>,
    /// What the control plane sends.
    pub commands: Receiver<Command>,
    /// What the control plane is told.
    pub reports: Sender<Report>,
    /// Its end of the access logs.
    pub log: Writer,
}

/// The tasks that serve connections: each takes a job, serves it until it is idle or gone, and takes the next.
#[derive(Default)]
struct Jobs {
    slots: Vec<Job>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Job {
    task: Option<TaskId>,
    client: Option<Box<Client>>,
}

/// One shard's data plane.
pub(crate) struct Worker {
    pub(crate) shard: Rc<Shard>,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) scratch: http1::Scratch,
    pub(crate) journal: Journal,
    index: u16,
    pub(crate) office: Rc<Office>,
    pub(crate) site: RefCell<Rc<Site>>,
    entrances: RefCell<Vec<Rc<Entrance>>>,
    acceptors: RefCell<HashMap<ListenerId, (TaskId, Rc<Acceptor>)>>,
    pub(crate) parked: RefCell<ParkedTable>,
    jobs: RefCell<Jobs>,
    reports: RefCell<Sender<Report>>,
    /// Reports that found the queue full. At most a few per command.
    unsent: RefCell<VecDeque<Report>>,
    waiting_for_room: RefCell<Vec<(TaskId, [Arc<Waiter>; 2])>>,
    pub(crate) chores: Chores,
    pub(crate) turnstile: Turnstile,
    pub(crate) clients_open: Cell<u32>,
    /// The listeners are being closed; when they are, draining begins.
    ending: Cell<bool>,
    pub(crate) draining: Cell<bool>,
    /// Accepting tasks that have not ended.
    acceptors_open: Cell<u32>,
    /// What compresses responses.
    pub(crate) encoders: Encoders,
    /// Clients that rules make wait.
    pub(crate) tarpits: Cell<u32>,
    /// Copies of requests on their way.
    pub(crate) mirrors: Cell<u32>,
    /// Who speaks HTTP/2.
    pub(crate) http2: http2::Connections,
    this: std::rc::Weak<Worker>,
}

/// Runs the data plane of one shard until it is told to stop or has drained.
pub async fn run(shard: Rc<Shard>, context: Context) {
    let Context { index, snapshot, listeners, commands, reports, log } = context;
    let worker = Worker::new(&shard, index, &snapshot, reports, log);
    worker.listen(listeners);
    worker.report(Report::Applied(snapshot.generation));
    drop(snapshot);
    drive(&shard, &*worker, commands).await;
    worker.report_last();
    worker.acceptors.borrow_mut().clear();
    shard.tasks.clear();
    worker.site.borrow().servers().for_each(|server| worker.close_idle(server));
    worker.parked.borrow_mut().places.clear();
}

impl Service for Worker {
    type Command = Command;

    fn unparked(&self, ParkToken(index): ParkToken) {
        let parked = self.parked.borrow_mut().take(index);
        match parked {
            Parked::Client(client) => self.dispatch(client),
            Parked::Server(server) => {
                if let Some(held) = self.remove_idle(&server, ParkToken(index)) {
                    self.look_at_idle(&server, held);
                }
            }
            Parked::Vacant => debug_assert!(false, "a token of nothing"),
        }
    }

    fn fired(&self, value: u32) {
        if self.do_chore(value) {
            return;
        }
        let mut parked = self.parked.borrow_mut();
        let place = &parked.places[value as usize];
        let Parked::Client(client) = &place.parked else { return };
        if client.socket.has_arrived() {
            // Its next request is here and waits for its turn.
            return;
        }
        if client.is_still_taking()
            && let Some(timer) = place.timer
        {
            let patience = client.entrance.frontend().timeouts.client;
            self.shard.timers.borrow_mut().set(timer, self.shard.clock.now() + patience);
            return;
        }
        // An idle client's time is over: dropping it closes the connection.
        let client = parked.take(value);
        drop(parked);
        if let Parked::Client(client) = &client {
            match self.draining.get() {
                true => self.log_unused(client),
                false => self.log_empty(client, FailureKind::RequestHeadTimeout),
            }
        }
        drop(client);
        self.client_closed();
    }

    fn command(&self, command: Command) {
        self.stats.commands_handled.increment();
        match command {
            Command::Apply(snapshot, listeners) => self.apply(snapshot, listeners),
            Command::ServerStates(states) => self.set_states(&states),
            Command::Drain => self.end(),
            Command::Stop => self.shard.stop(),
        }
    }

    fn panicked(&self, task: TaskId, payload: tidegate_shard::PanicPayload) {
        self.stats.panics_contained.increment();
        let said = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        let mut event = Event::new(EventKind::Panicked, "panic");
        event.detail = said.unwrap_or_default();
        self.report_event(event);
        let mut jobs = self.jobs.borrow_mut();
        if let Some(at) = jobs.slots.iter().position(|job| job.task == Some(task)) {
            jobs.slots[at] = Job::default();
            jobs.free.push(at);
            drop(jobs);
            self.client_closed();
        }
    }

    fn turned(&self, idle: bool) {
        self.turnstile.turned(self.shard.clock.now(), idle, |task| self.shard.tasks.wake(task));
        self.waiting_for_room.borrow_mut().retain(|(task, waiters)| {
            let called = waiters.iter().any(|waiter| waiter.was_called());
            if called {
                self.shard.tasks.wake(*task);
            }
            !called
        });
        if self.office.has_rung() {
            self.take_parcels();
        }
        if !self.unsent.borrow().is_empty() {
            self.report_unsent();
        }
        if idle || self.shard.turns.get().is_multiple_of(64) {
            self.publish();
        }
    }
}

impl Worker {
    /// A data plane with nothing open.
    pub(crate) fn new(
        shard: &Rc<Shard>,
        index: u16,
        snapshot: &Arc<Snapshot>,
        reports: Sender<Report>,
        log: Writer,
    ) -> Rc<Worker> {
        let office = Office::new(&snapshot.hub, index, shard);
        let site = Rc::new(Site::new(snapshot.clone(), index, &office, None));
        Rc::new_cyclic(|this| Worker {
            shard: shard.clone(),
            stats: snapshot.shards.shard(usize::from(index)).clone(),
            scratch: http1::Scratch::default(),
            journal: Journal::new(log),
            index,
            office,
            site: RefCell::new(site),
            entrances: RefCell::default(),
            acceptors: RefCell::default(),
            parked: RefCell::default(),
            jobs: RefCell::default(),
            reports: RefCell::new(reports),
            unsent: RefCell::default(),
            waiting_for_room: RefCell::default(),
            chores: Chores::default(),
            turnstile: Turnstile::new(snapshot.handshakes, shard.clock.now()),
            clients_open: Cell::new(0),
            ending: Cell::new(false),
            draining: Cell::new(false),
            acceptors_open: Cell::new(0),
            encoders: Encoders::new(PoolLimits::default()),
            tarpits: Cell::new(0),
            mirrors: Cell::new(0),
            http2: http2::Connections::default(),
            this: this.clone(),
        })
    }

    /// The budget of the whole process.
    pub(crate) fn connections(&self) -> Arc<Budget> {
        self.site.borrow().snapshot.connections.clone()
    }

    /// Client connections of the whole process.
    pub(crate) fn connections_open(&self) -> u32 {
        self.site.borrow().snapshot.connections.open()
    }

    /// As [`Snapshot::accept_burst_max`].
    pub(crate) fn accept_burst_max(&self) -> u32 {
        self.site.borrow().snapshot.accept_burst_max
    }

    /// Whether connections are to be closed after their request.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// An accepting task waits for room: it is polled again when one of its waiters was called.
    pub(crate) fn wait_for_room(&self, waiters: [Arc<Waiter>; 2]) {
        if let Some(task) = self.shard.tasks.current() {
            let mut waiting = self.waiting_for_room.borrow_mut();
            waiting.retain(|(known, _)| *known != task);
            waiting.push((task, waiters));
        }
    }

    fn listen(&self, specs: Vec<ListenerSpec>) {
        let mut before = std::mem::take(&mut *self.acceptors.borrow_mut());
        for spec in specs {
            let entrance = self.entrance(&spec);
            let known = before.remove(&spec.id);
            let (task, acceptor) = match (known, spec.socket, self.this.upgrade()) {
                (Some((task, acceptor)), ..) => {
                    *acceptor.entrance.borrow_mut() = entrance;
                    // Its limit may be another one now.
                    self.shard.tasks.wake(task);
                    (task, acceptor)
                }
                (None, Some(socket), Some(worker)) => {
                    let listener = Listener::new(&self.shard.ring, socket);
                    let acceptor = Rc::new(Acceptor::new(listener, spec.shared, entrance));
                    self.acceptors_open.set(self.acceptors_open.get() + 1);
                    let task = accept_connections(worker, acceptor.clone());
                    (self.shard.tasks.spawn(task), acceptor)
                }
                _ => continue,
            };
            acceptor.set_backlog(spec.backlog);
            let site = self.site.borrow();
            acceptor.protocols.set(Protocols::at(&site.snapshot, spec.frontend, spec.bind));
            self.acceptors.borrow_mut().insert(spec.id, (task, acceptor));
        }
        for (task, acceptor) in before.into_values() {
            acceptor.stopping.set(true);
            self.shard.tasks.wake(task);
        }
    }

    /// Where connections of this address come in, by the current snapshot.
    fn entrance(&self, spec: &ListenerSpec) -> Rc<Entrance> {
        let site = self.site.borrow().clone();
        let current = site.frontends[spec.frontend].clone();
        let settings = &site.snapshot.frontends[spec.frontend];
        let bind = settings.binds.get(spec.bind).cloned().unwrap_or_default();
        let mut entrances = self.entrances.borrow_mut();
        let is_it =
            |known: &&Rc<Entrance>| known.listener == spec.id && known.is_named(&current.name);
        if let Some(known) = entrances.iter().find(is_it) {
            known.set_bind(bind);
            return known.clone();
        }
        let connections = settings.connections.clone();
        let entrance = Rc::new(Entrance::new(spec.id, current, bind, connections));
        entrances.push(entrance.clone());
        entrance
    }

    fn apply(&self, snapshot: Arc<Snapshot>, listeners: Vec<ListenerSpec>) {
        let before = self.site.borrow().clone();
        let site = Rc::new(Site::new(snapshot, self.index, &self.office, Some(&before)));
        *self.site.borrow_mut() = site.clone();
        self.turnstile.set_limits(site.snapshot.handshakes);
        for frontend in &site.frontends {
            let entrances = self.entrances.borrow();
            let known = entrances.iter().filter(|known| known.is_named(&frontend.name));
            known.for_each(|known| known.update(frontend.clone()));
        }
        let names = |entrance: &Rc<Entrance>| {
            site.frontends.iter().any(|known| entrance.is_named(&known.name))
        };
        self.entrances.borrow_mut().retain(names);
        for server in before.servers() {
            if !site.servers().any(|kept| Rc::ptr_eq(kept, server)) {
                server.retired.set(true);
                self.close_idle(server);
            }
        }
        self.follow_names(&site);
        self.follow_queues(&before, &site);
        if !self.ending.get() {
            self.listen(listeners);
        }
        self.report(Report::Applied(site.snapshot.generation));
        self.report(Report::Retired(before.snapshot.clone()));
    }

    /// A new connection: waits for its first request.
    pub(crate) fn welcome(&self, client: Box<Client>) {
        self.clients_open.set(self.clients_open.get() + 1);
        let limit = client.first_patience();
        self.park(client, self.shard.clock.now() + limit);
    }

    /// Waits for a client's next request without holding a task or a buffer.
    fn park(&self, client: Box<Client>, deadline: Instant) {
        let mut parked = self.parked.borrow_mut();
        let index = parked.insert(Parked::Vacant);
        if !client.socket.park(ParkToken(index)) {
            parked.free.push(index);
            drop(parked);
            self.dispatch(client);
            return;
        }
        let place = &mut parked.places[index as usize];
        place.parked = Parked::Client(client);
        let mut timers = self.shard.timers.borrow_mut();
        let timer = *place.timer.get_or_insert_with(|| timers.insert(own_payload(index)));
        timers.set(timer, deadline);
    }

    /// Gives a connection on which something arrived to a task.
    pub(crate) fn dispatch(&self, client: Box<Client>) {
        let mut jobs = self.jobs.borrow_mut();
        let at = jobs.free.pop().unwrap_or_else(|| {
            jobs.slots.push(Job::default());
            jobs.slots.len() - 1
        });
        let job = &mut jobs.slots[at];
        job.client = Some(client);
        if let Some(task) = job.task {
            self.shard.tasks.wake(task);
        } else if let Some(worker) = self.this.upgrade() {
            job.task = Some(self.shard.tasks.spawn(serve_connections(worker, at)));
        }
    }

    fn publish(&self) {
        let counters = self.shard.ring.counters();
        self.stats.loop_turns.publish(self.shard.turns.get());
        self.stats.ring_submissions.publish(counters.submitted);
        self.stats.ring_completions.publish(counters.completed);
        self.stats.ring_enters.publish(counters.enters);
        self.stats.buffers_exhausted.publish(counters.buffers_exhausted);
        self.stats.spliced_bytes.publish(counters.spliced_bytes);
        self.stats.pipes_exhausted.publish(counters.pipes_exhausted);
        self.stats.buffers_total.set(u64::from(self.shard.ring.buffers().0));
        self.stats.tasks.set(self.shard.tasks.len() as u64);
        self.stats.tls_handshakes.set(u64::from(self.turnstile.under_way()));
        self.start_trimming();
    }
}

/// A connection task: serves one client after the other.
async fn serve_connections(worker: Rc<Worker>, job: usize) {
    let Some(task) = worker.shard.tasks.current() else { return };
    let server = http1::Server::new(&worker, task);
    loop {
        let next = worker.jobs.borrow_mut().slots[job].client.take();
        let Some(client) = next else {
            crate::parked::idle_once().await;
            continue;
        };
        match server.serve(client).await {
            Some((client, deadline)) => worker.park(client, deadline),
            None => worker.client_closed(),
        }
        let mut jobs = worker.jobs.borrow_mut();
        if jobs.free.len() >= TASKS_KEPT_MAX {
            jobs.slots[job] = Job::default();
            jobs.free.insert(0, job);
            return;
        }
        jobs.free.push(job);
    }
}

//! One shard's replica of a snapshot: the same entities with what this shard alone knows of them.
//!
//! Owns balancing state and idle server connections; leaves connections in use to their tasks. Invariant: a server with
//! the same backend, name and address (or name of an address) is the same object over reloads, so that its idle connections stay.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_balance::{Availability, Pool, ServerId, ServerState, ShardId};
use tidegate_exchange::{Policy, RetryBudget};
use tidegate_health::{Standing, StatusSet};
use tidegate_http1::Limits;
use tidegate_idle::{IdleList, Pace, Shelf};
use tidegate_persistence::Persistence;
use tidegate_routing::{
    BackendIndex, BalanceKey, ErrorPage, ErrorPages, RequestRule, ResponseRule, Rules,
};
use tidegate_telemetry::{BackendStats, FrontendStats, ServerStats};
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::{Challenges, ClientTls, ServerTls};

use crate::budget::Budget;
use crate::command::ListenerId;
use crate::compression::Compression;
use crate::http2::servers::{TrunkSettings, Trunks};
use crate::journal::FrontendLog;
use crate::rules::{Needs, Verifier};
use crate::settings::{
    BackendProtocol, BackendSettings, BindSettings, ClientTimeouts, FrontendSettings, OnMarkedDown,
    OwnFieldSettings, PoolSettings, RepeatSettings, ServerSettings, Snapshot, StickSettings,
    Tables,
};
use crate::tally::Tally;
use crate::upstream::in_use::InUse;
use crate::upstream::place::Place;
use crate::upstream::queue::{BackendQueue, Handed, Limited, Office};
use crate::upstream::reuse::Resting;

/// A snapshot as this shard uses it.
pub(crate) struct Site {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) frontends: Vec<Rc<Frontend>>,
    pub(crate) backends: Rc<[Rc<Backend>]>,
}

pub(crate) struct Frontend {
    pub(crate) name: Arc<str>,
    pub(crate) backend: Option<Rc<Backend>>,
    pub(crate) timeouts: ClientTimeouts,
    pub(crate) limits: Limits,
    /// A clone of this shard's own: regular expressions keep working memory.
    pub(crate) rules: Rules<RequestRule>,
    pub(crate) response_rules: Rules<ResponseRule>,
    pub(crate) needs: Needs,
    pub(crate) error_pages: Arc<ErrorPages>,
    pub(crate) own_fields: OwnFieldSettings,
    compression: Option<Arc<Compression>>,
    pub(crate) tables: Arc<Tables>,
    pub(crate) verifier: Option<Arc<Verifier>>,
    pub(crate) challenges: Arc<Challenges>,
    /// Those that rules choose from.
    backends: Rc<[Rc<Backend>]>,
    pub(crate) log: Option<FrontendLog>,
    pub(crate) stats: Arc<FrontendStats>,
}

pub(crate) struct Backend {
    pub(crate) name: Arc<str>,
    pub(crate) balance: RefCell<Pool>,
    /// A clone of this shard's own, as of rules.
    pub(crate) balance_key: Option<BalanceKey>,
    pub(crate) servers: Vec<Rc<Server>>,
    pub(crate) exchange: Policy,
    pub(crate) persistence: Option<Arc<Persistence>>,
    /// A clone of this shard's own, as of rules; the table in it is everybody's.
    pub(crate) stick: Option<StickSettings>,
    pub(crate) repeats: RepeatSettings,
    /// None: nothing is repeated.
    pub(crate) retry_budget: Option<RetryBudget>,
    pub(crate) tunnel_timeout: Duration,
    pub(crate) reuse: bool,
    pub(crate) error_pages: Arc<ErrorPages>,
    compression: Option<Arc<Compression>>,
    pub(crate) pool: PoolSettings,
    /// Who waits for its servers, if any of them has a limit.
    pub(crate) queue: Option<Rc<BackendQueue>>,
    /// Whether each server is well and gets requests, and how many are.
    healthy: Vec<Cell<bool>>,
    servers_up: Cell<usize>,
    /// Statuses that count against a server; none: outcomes are not counted for its health.
    error_statuses: Option<StatusSet>,
    pub(crate) stats: Arc<BackendStats>,
    everywhere: Tally<BackendStats>,
}

pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    /// What its connections begin with, and the name that it has to prove; none: they are in the clear.
    pub(crate) tls: Option<(Arc<ClientTls>, ServerName<'static>)>,
    pub(crate) protocol: BackendProtocol,
    /// Its connections with HTTP/2.
    pub(crate) trunks: Trunks,
    pub(crate) stats: Arc<ServerStats>,
    everywhere: Tally<ServerStats>,
    pub(crate) idle: IdleList<Resting>,
    /// How often this shard uses it.
    pub(crate) pace: Pace,
    /// Idle connections that any shard may take: none with one shard, and none of a server with a limit.
    pub(crate) shelf: Option<Arc<Shelf<Handed>>>,
    /// Small responses in a row, up to [`SMALL_RESPONSES_MIN`].
    small_responses: Cell<u8>,
    /// Whether it gets no requests: no connection to it is kept.
    pub(crate) down: Cell<bool>,
    /// Whether its connections end when it goes down.
    pub(crate) closes_sessions: Cell<bool>,
    pub(crate) in_use: InUse,
    /// Whether the server is still configured: connections to one that is not are closed after their request.
    pub(crate) retired: Cell<bool>,
    /// What it has if its connections are limited.
    pub(crate) limited: Option<Limited>,
}

/// Small responses in a row after which a server's connections receive as bytes come. Until then, and again after a large one,
/// they receive one buffer at a time: a server that sends much would fill the shared buffers on behalf of slow clients before
/// the first head was looked at. Receiving as bytes come saves 3 % of a small request.
pub(crate) const SMALL_RESPONSES_MIN: u8 = 16;

impl Server {
    /// Requests at the server, those of other shards as of a moment ago.
    pub(crate) fn in_flight(&self, now: Instant) -> u32 {
        self.everywhere.total(now, |stats| &stats.in_flight)
    }

    /// The same for a choice between servers, which a moment would make uneven.
    #[inline]
    pub(crate) fn load(&self, now: Instant) -> u32 {
        self.everywhere.total_for_choice(now, |stats| &stats.in_flight)
    }

    /// Whether it is spoken to so. Other settings make another server of it: its connections believe what these say.
    fn has_tls(&self, tls: Option<&Arc<ClientTls>>, name: Option<&ServerName<'static>>) -> bool {
        match (&self.tls, tls.zip(name)) {
            (None, None) => true,
            (Some((known, known_name)), Some((tls, name))) => {
                Arc::ptr_eq(known, tls) && known_name == name
            }
            _ => false,
        }
    }

    /// Takes the settings of its backend.
    fn follow(&self, settings: &BackendSettings) {
        let mut trunks = TrunkSettings {
            http2: settings.http2,
            pool: settings.pool,
            connect_timeout: settings.exchange.connect_timeout,
        };
        if !settings.reuse {
            (trunks.http2.streams_max, trunks.pool.max_requests) = (1, Some(1));
        }
        self.trunks.follow(trunks);
        self.closes_sessions.set(settings.on_marked_down == OnMarkedDown::CloseSessions);
        if let Some(limited) = &self.limited {
            limited.idle_max.set(settings.pool.idle_max);
        }
    }

    fn count_error(&self) {
        self.stats.errors.increment();
        self.stats.errors_in_a_row.increment();
    }

    /// Takes note of a response.
    pub(crate) fn note_response(&self, large: bool) {
        let small = if large { 0 } else { self.small_responses.get().saturating_add(1) };
        self.small_responses.set(small.min(SMALL_RESPONSES_MIN));
    }

    /// Whether connections to it should receive one buffer at a time.
    pub(crate) fn receives_on_demand(&self) -> bool {
        // What may go to another shard must have nothing in flight.
        let may_go = self.limited.is_some() || (self.shelf.is_some() && self.pace.is_seldom());
        may_go || self.small_responses.get() < SMALL_RESPONSES_MIN
    }
}

impl Site {
    /// This shard's replica of `snapshot`, taking over servers that `before` has already.
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        shard: u16,
        office: &Rc<Office>,
        before: Option<&Site>,
    ) -> Site {
        let backends: Rc<[_]> = snapshot
            .backends
            .iter()
            .map(|settings| {
                Rc::new(Backend::new(settings, shard, snapshot.shards_count, office, before))
            })
            .collect();
        let frontends = snapshot
            .frontends
            .iter()
            .map(|settings| Rc::new(Frontend::new(settings, &snapshot, shard, &backends)))
            .collect();
        let site = Site { snapshot, frontends, backends };
        office.note(site.servers());
        site
    }

    pub(crate) fn servers(&self) -> impl Iterator<Item = &Rc<Server>> {
        self.backends.iter().flat_map(|backend| &backend.servers)
    }

    fn backend(&self, name: &str) -> Option<&Rc<Backend>> {
        self.backends.iter().find(|known| *known.name == *name)
    }
}

impl Frontend {
    fn new(
        settings: &FrontendSettings,
        snapshot: &Snapshot,
        shard: u16,
        backends: &Rc<[Rc<Backend>]>,
    ) -> Frontend {
        Frontend {
            name: settings.name.clone(),
            backend: settings.default_backend.and_then(|index| backends.get(index).cloned()),
            timeouts: settings.timeouts,
            limits: settings.limits,
            rules: settings.rules.clone(),
            response_rules: settings.response_rules.clone(),
            needs: Needs::of(settings, &snapshot.backends),
            error_pages: settings.error_pages.clone(),
            own_fields: settings.own_fields.clone(),
            compression: settings.compression.clone(),
            tables: snapshot.tables.clone(),
            verifier: snapshot.verifier.clone(),
            challenges: snapshot.challenges.clone(),
            backends: backends.clone(),
            log: settings.log.as_ref().map(FrontendLog::new),
            stats: settings.stats.shard(usize::from(shard)).clone(),
        }
    }

    /// What is answered instead of our own short text, by the backend's word or this frontend's.
    pub(crate) fn error_page<'a>(
        &'a self,
        backend: Option<&'a Backend>,
        status: u16,
    ) -> Option<&'a ErrorPage> {
        let of_backend = backend.and_then(|backend| backend.error_pages.pages.get(&status));
        of_backend.or_else(|| self.error_pages.pages.get(&status))
    }

    /// Which responses of `backend` are compressed, by its word or this frontend's.
    #[inline]
    pub(crate) fn compression<'a>(&'a self, backend: &'a Backend) -> Option<&'a Compression> {
        backend.compression.as_deref().or(self.compression.as_deref())
    }

    /// A backend that a rule names.
    pub(crate) fn backend_at(&self, index: BackendIndex) -> Option<Rc<Backend>> {
        self.backends.get(index.0).cloned()
    }
}

impl Backend {
    /// The server as it was before a reload, unless it has become another one.
    fn server(
        &self,
        settings: &ServerSettings,
        tls: Option<&Arc<ClientTls>>,
        protocol: BackendProtocol,
    ) -> Option<&Rc<Server>> {
        self.servers.iter().find(|known| {
            let limit = known.limited.as_ref().map(|limited| Arc::as_ptr(&limited.limit));
            known.name == settings.name
                && known.place.is(&settings.address)
                && known.has_tls(tls, settings.tls_name.as_ref())
                && known.protocol == protocol
                && limit == settings.limit.as_ref().map(Arc::as_ptr)
        })
    }

    /// Servers that get requests.
    pub(crate) fn servers_up(&self) -> usize {
        self.servers_up.get()
    }

    /// Takes note of what a server is now.
    pub(crate) fn set_standing(&self, index: usize, standing: &Standing) {
        let (Some(server), Some(healthy)) = (self.servers.get(index), self.healthy.get(index))
        else {
            return;
        };
        let was_healthy = healthy.replace(standing.healthy);
        let up = self.servers_up.get() + usize::from(standing.healthy) - usize::from(was_healthy);
        self.servers_up.set(up);
        server.down.set(standing.availability == Availability::Down);
        if let Ok(index) = u32::try_from(index) {
            let pool = &mut *self.balance.borrow_mut();
            let Standing { availability, weight, since, .. } = *standing;
            pool.set_state(ServerId(index), ServerState { availability, weight, since });
        }
    }

    /// Whether a request without ties may go to the server.
    pub(crate) fn takes_new(&self, index: usize) -> bool {
        let id = u32::try_from(index).map(ServerId);
        id.is_ok_and(|id| self.balance.borrow().takes_new(id))
    }

    /// Tells the servers with a limit whether requests are spread over them; those for which that is new.
    pub(crate) fn note_spread(&self) -> Vec<Rc<Server>> {
        let balance = self.balance.borrow();
        let servers = (0..).map(ServerId).zip(&self.servers);
        let is_new = |(id, server): &(ServerId, &Rc<Server>)| {
            let limited = server.limited.as_ref();
            limited.is_some_and(|limited| limited.set_spread_over(balance.spreads_over(*id)))
        };
        servers.filter(is_new).map(|(_, server)| server.clone()).collect()
    }

    /// A server has answered with this status, so long after it was asked.
    #[inline]
    pub(crate) fn note_answer(&self, server: &Server, status: u16, latency: Duration) {
        let Some(errors) = &self.error_statuses else { return };
        if errors.contains(status) {
            server.count_error();
            return;
        }
        server.stats.successes.increment();
        server.stats.errors_in_a_row.set(0);
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        server.stats.latency_micros.add(micros);
    }

    /// An attempt has failed by the server's fault.
    pub(crate) fn note_error(&self, server: &Server) {
        if self.error_statuses.is_some() {
            server.count_error();
        }
    }

    /// Requests that the backend handles, those of other shards as of a moment ago.
    pub(crate) fn in_flight(&self, now: Instant) -> u32 {
        self.everywhere.total(now, |stats| &stats.in_flight)
    }

    /// The same for a choice between servers.
    #[inline]
    pub(crate) fn load(&self, now: Instant) -> u32 {
        self.everywhere.total_for_choice(now, |stats| &stats.in_flight)
    }

    fn new(
        settings: &BackendSettings,
        shard: u16,
        shards_count: u16,
        office: &Rc<Office>,
        before: Option<&Site>,
    ) -> Backend {
        let before = before.and_then(|site| site.backend(&settings.name));
        let queue = queue(settings, office, before);
        let servers: Vec<Rc<Server>> = settings
            .servers
            .iter()
            .map(|server| {
                let (tls, protocol) = (settings.tls.as_ref(), settings.protocol);
                let known = before.and_then(|backend| backend.server(server, tls, protocol));
                if let Some(known) = known {
                    if let (Some(limited), Some(queue)) = (&known.limited, &queue) {
                        limited.set_backend(queue);
                    }
                    return known.clone();
                }
                let limits = server.limit.as_ref().zip(queue.as_ref());
                Rc::new(Server {
                    name: server.name.clone(),
                    place: Place::new(&server.address),
                    tls: settings.tls.clone().zip(server.tls_name.clone()),
                    protocol,
                    trunks: Trunks::default(),
                    stats: server.stats.shard(usize::from(shard)).clone(),
                    everywhere: Tally::new(&server.stats, shard, shards_count),
                    idle: IdleList::default(),
                    pace: Pace::default(),
                    shelf: (shards_count > 1 && server.limit.is_none())
                        .then(|| server.shelf.clone()),
                    small_responses: Cell::new(0),
                    down: Cell::new(false),
                    closes_sessions: Cell::new(false),
                    in_use: InUse::default(),
                    retired: Cell::new(false),
                    limited: limits.map(|(limit, queue)| Limited::new(limit, queue)),
                })
            })
            .collect();
        servers.iter().for_each(|server| server.follow(settings));
        let backend = Backend {
            name: settings.name.clone(),
            balance: RefCell::new(Pool::new(&settings.balance, ShardId(shard), shards_count)),
            balance_key: settings.balance_key.clone(),
            servers,
            exchange: settings.exchange,
            persistence: settings.persistence.clone(),
            stick: settings.stick.clone(),
            repeats: settings.repeats,
            retry_budget: settings.exchange.repeats().then(|| {
                let budget = settings.repeats.budget.of_shard(shards_count);
                RetryBudget::new(budget, Instant::now())
            }),
            tunnel_timeout: settings.tunnel_timeout,
            reuse: settings.reuse,
            error_pages: settings.error_pages.clone(),
            compression: settings.compression.clone(),
            pool: settings.pool,
            queue,
            healthy: settings.servers.iter().map(|_| Cell::new(false)).collect(),
            servers_up: Cell::new(0),
            error_statuses: settings.error_statuses,
            stats: settings.stats.shard(usize::from(shard)).clone(),
            everywhere: Tally::new(&settings.stats, shard, shards_count),
        };
        for (index, server) in settings.servers.iter().enumerate() {
            backend.set_standing(index, &server.standing);
        }
        backend.note_spread();
        backend
    }
}

/// The queue of a backend: the one before a reload if it is for the same servers.
fn queue(
    settings: &BackendSettings,
    office: &Rc<Office>,
    before: Option<&Rc<Backend>>,
) -> Option<Rc<BackendQueue>> {
    let line = settings.line.as_ref()?;
    let known = before.and_then(|backend| backend.queue.as_ref());
    match known.filter(|queue| Arc::ptr_eq(&queue.line, line)) {
        Some(queue) => Some(queue.clone()),
        None => Some(BackendQueue::new(line, office)),
    }
}

/// Where connections of one frontend name come in by one address: follows the configuration while the connections stay.
pub(crate) struct Entrance {
    pub(crate) listener: ListenerId,
    current: RefCell<Rc<Frontend>>,
    /// What is spoken with those who come from now on.
    bind: RefCell<BindSettings>,
    pub(crate) connections: Arc<Budget>,
}

impl Entrance {
    pub(crate) fn new(
        listener: ListenerId,
        frontend: Rc<Frontend>,
        bind: BindSettings,
        connections: Arc<Budget>,
    ) -> Entrance {
        let (current, bind) = (RefCell::new(frontend), RefCell::new(bind));
        Entrance { listener, current, bind, connections }
    }

    /// What TLS a connection that has just come in begins with, if with any.
    pub(crate) fn tls(&self) -> Option<Arc<ServerTls>> {
        self.bind.borrow().tls.clone()
    }

    pub(crate) fn has_tls(&self) -> bool {
        self.bind.borrow().tls.is_some()
    }

    pub(crate) fn set_bind(&self, bind: BindSettings) {
        *self.bind.borrow_mut() = bind;
    }

    /// What the next request is served by.
    #[inline]
    pub(crate) fn frontend(&self) -> Rc<Frontend> {
        self.current.borrow().clone()
    }

    pub(crate) fn update(&self, frontend: Rc<Frontend>) {
        *self.current.borrow_mut() = frontend;
    }

    pub(crate) fn is_named(&self, name: &str) -> bool {
        *self.current.borrow().name == *name
    }
}

//! The control executor: from start to end of the process.
//!
//! Owns the order of starting, reloading, draining and ending; leaves the parts to
//! their modules. Invariant: a configuration of which anything cannot be had changes nothing; a
//! shard that does not take one is reported, and gets the newest when it goes on.

mod ending;
mod naming;
mod reload;
mod tls;
mod watching;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tidegate_config::{Config, Frontend, Global};
use tidegate_log::Writer;
use tidegate_proxy::{Event, Report};
use tidegate_ring::{Listener, ParkToken, Settings};
use tidegate_shard::{
    PanicPayload, Service, Shard, TaskId, TimerId, drive, own_payload, queue, spawn,
};

use crate::access::AccessLogs;
use crate::acme::Orders;
use crate::admin::metrics::ProcessInfo;
use crate::admin::scribe::Material;
use crate::admin::{Admin, Status};
use crate::certificates::Certificates;
use crate::discovery::ask::Ids;
use crate::figures::{Figures, Reloads, ShardFigures};
use crate::flood::Flood;
use crate::link::{LAG_PATIENCE, ShardLink};
use crate::listen::{Addresses, Place, places};
use crate::log::{self, Level, Line, topic_name, write_event};
use crate::publish::Publisher;
use crate::signals::{self, Request};
use crate::{privileges, process};

/// How to run.
pub struct Options {
    /// Where the configuration is read again on SIGHUP.
    pub config_path: PathBuf,
    /// Called once, when every shard serves.
    pub on_ready: Option<OnReady>,
}

/// What is called when every shard serves.
pub type OnReady = Box<dyn FnOnce(&Ready) + Send>;

/// What is being served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Frontend and address of each listener, with the ports that the kernel chose.
    pub listeners: Vec<(String, String)>,
    /// Addresses of the admin listener.
    pub admin: Vec<String>,
}

/// Why the process could not start, or had to end.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(cause: impl fmt::Display) -> StartError {
        StartError(cause.to_string())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Signals waiting to be acted on: at most one asks for a reload, and the third to end ends at once.
const SIGNALS_QUEUED_MAX: usize = 16;

/// How long a start waits for an address that is in use: the kernel closes the sockets of a process that was killed a
/// moment after its end, when it has taken its rings apart, and a supervisor starts the next one at once.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// The value of the timer that ends draining.
const DRAIN_DEADLINE: u32 = 0;

/// The value of the timer that ends the delay before draining.
const DELAY_END: u32 = 1;

/// The value of the timer that sums up what a flood left out of the log.
const FLOOD_SUMMARY: u32 = 2;

/// The value of the timer that looks after shards that are behind.
const LAG_CHECK: u32 = 3;

/// The value of the timer of the next check, or of the next end of an ejection.
const HEALTH_DUE: u32 = 4;

/// The value of the timer of the next look at what the shards have counted.
const TRAFFIC_LOOK: u32 = 5;

/// The value of the timer of the next look at the files of certificates.
const CERTIFICATE_LOOK: u32 = 6;
/// The value of the timer of the next question about a name, or of giving up its addresses.
const NAMES_DUE: u32 = 8;

/// The value of the timer that ends the wait for the first answers about names.
const FIRST_ANSWERS: u32 = 7;

/// Runs the load balancer until SIGTERM or SIGINT has been carried out.
///
/// # Errors
/// It cannot start (io_uring, an address, a CPU), or a shard ended by itself.
pub fn run(options: Options, config: Config) -> Result<(), StartError> {
    privileges::gain_no_more(&config.global);
    tidegate_ring::probe().map_err(StartError::new)?;
    log::start().map_err(StartError::new)?;
    let (sender, outcome) = std::sync::mpsc::channel();
    let executor = spawn("control", None, move || async move {
        let _ = sender.send(control(options, config).await);
    });
    let joined = executor.map_err(StartError::new)?.join().map_err(StartError);
    log::flush(LOG_PATIENCE);
    joined?;
    outcome.recv().map_err(|_| StartError("the control executor ended without a word".into()))?
}

/// How long the end of the process, and who waits for its start, wait for a log that is not read.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// The control executor's ring serves the admin port, the checks of servers, and its own sleep.
fn settings() -> Settings {
    Settings {
        submissions: 256,
        completions: 1024,
        buffers_max: 256,
        buffers_initial: 4,
        ..Settings::default()
    }
}

async fn control(options: Options, config: Config) -> Result<(), StartError> {
    let shard = Shard::new(&settings()).map_err(StartError::new)?;
    let (mut sender, requests) = queue(SIGNALS_QUEUED_MAX);
    sender.wakes(shard.ring.wakeup());
    let _listening = signals::listen(sender).map_err(StartError::new)?;
    let runtime = Runtime::start(&shard, options, &config)?;
    drive(&shard, &*runtime, requests).await;
    runtime.end()
}

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    /// Serving, and saying that it is not ready.
    Leaving,
    Draining,
    Ending,
}

struct AdminListener {
    place: Place,
    now: String,
    listener: Rc<Listener>,
    stopping: Rc<Cell<bool>>,
    task: TaskId,
}

struct Runtime {
    shard: Rc<Shard>,
    options: RefCell<Options>,
    config: RefCell<Config>,
    /// What the process was started with.
    started: Global,
    publisher: RefCell<Publisher>,
    addresses: RefCell<Addresses>,
    links: RefCell<Vec<ShardLink>>,
    /// Until the end.
    logs: RefCell<Option<AccessLogs>>,
    admin: RefCell<Vec<AdminListener>>,
    server: RefCell<Option<Rc<Admin<Runtime>>>>,
    /// What the log says is being listened on.
    announced: RefCell<Ready>,
    phase: Cell<Phase>,
    flood: RefCell<Flood>,
    drain_deadline: TimerId,
    delay_end: TimerId,
    flood_summary: TimerId,
    lag_check: TimerId,
    health_due: TimerId,
    traffic_look: TimerId,
    certificate_look: TimerId,
    certificates: RefCell<Certificates>,
    orders: RefCell<Orders>,
    names_due: TimerId,
    first_answers: TimerId,
    ids: Ids,
    /// The CPUs of the shards and the shards' ends of the logs, until they start.
    to_start: RefCell<Option<(Vec<usize>, Vec<Writer>)>>,
    /// Why there was no start.
    start_error: RefCell<Option<StartError>>,
    this: std::rc::Weak<Runtime>,
    generation: Cell<u64>,
    reloads: Cell<Reloads>,
    failed: Cell<bool>,
}

impl Runtime {
    fn start(
        shard: &Rc<Shard>,
        options: Options,
        config: &Config,
    ) -> Result<Rc<Runtime>, StartError> {
        let cpus = process::shard_cpus(&config.global.cores);
        let shards_count = u16::try_from(cpus.len())
            .map_err(|_| StartError("more CPUs than shards are possible".into()))?;
        let files = process::raise_limits();
        let wanted = u64::from(config.global.max_connections) * 2;
        if let Some(files) = files.filter(|files| *files < wanted) {
            Line::new(Level::Warn, "few_descriptors")
                .with("limit", files)
                .with("max_connections", config.global.max_connections)
                .with("help", "a client and its server take two: raise LimitNOFILE= (ulimit -n) or lower max_connections")
                .write();
        }
        let (logs, writers) = AccessLogs::start(cpus.len()).map_err(StartError::new)?;
        let timer = |value| shard.timers.borrow_mut().insert(own_payload(value));
        let runtime = Rc::new_cyclic(|this| Runtime {
            shard: shard.clone(),
            options: RefCell::new(options),
            config: RefCell::new(config.clone()),
            started: config.global.clone(),
            publisher: RefCell::new(Publisher::new(shards_count)),
            addresses: RefCell::default(),
            links: RefCell::default(),
            logs: RefCell::new(Some(logs)),
            admin: RefCell::default(),
            server: RefCell::default(),
            announced: RefCell::default(),
            phase: Cell::new(Phase::Starting),
            flood: RefCell::default(),
            drain_deadline: timer(DRAIN_DEADLINE),
            delay_end: timer(DELAY_END),
            flood_summary: timer(FLOOD_SUMMARY),
            lag_check: timer(LAG_CHECK),
            health_due: timer(HEALTH_DUE),
            traffic_look: timer(TRAFFIC_LOOK),
            certificate_look: timer(CERTIFICATE_LOOK),
            certificates: RefCell::default(),
            orders: RefCell::default(),
            names_due: timer(NAMES_DUE),
            first_answers: timer(FIRST_ANSWERS),
            ids: Ids::default(),
            to_start: RefCell::new(Some((cpus, writers))),
            start_error: RefCell::default(),
            this: this.clone(),
            generation: Cell::new(0),
            reloads: Cell::new(Reloads::none(SystemTime::now())),
            failed: Cell::new(false),
        });
        *runtime.server.borrow_mut() =
            Some(Admin::new(shard.clone(), runtime.clone()).map_err(StartError::new)?);
        runtime.start_or_resolve()?;
        Ok(runtime)
    }

    /// Tells the log of shards that have been without the newest configuration for long, and looks again while a shard has
    /// not taken everything.
    fn check_lag(&self) {
        let now = self.shard.clock.now();
        let newest = self.generation.get();
        let mut links = self.links.borrow_mut();
        for (index, link) in links.iter_mut().enumerate() {
            if link.begins_to_lag(now) {
                Line::new(Level::Warn, "shard_lagging")
                    .with("shard", index)
                    .with("generation", link.applied())
                    .with("newest", newest)
                    .write();
            }
        }
        if links.iter().any(ShardLink::is_behind) {
            self.shard.timers.borrow_mut().set(self.lag_check, now + LAG_PATIENCE);
        }
    }

    fn read_reports(&self) {
        for (index, link) in self.links.borrow_mut().iter_mut().enumerate() {
            while let Some(report) = link.reports.receive() {
                match report {
                    Report::Applied(generation) => {
                        if link.note_applied(generation) {
                            Line::new(Level::Info, "shard_caught_up")
                                .with("shard", index)
                                .with("generation", generation)
                                .write();
                        }
                    }
                    // Freed here, where it was made.
                    Report::Retired(snapshot) => drop(snapshot),
                    Report::Event(event) => self.tell(index, &event),
                    Report::Drained => link.ended = true,
                }
            }
            // Taking a command made room for the next.
            link.deliver();
            if link.reports.is_finished() && !link.ended && self.phase.get() != Phase::Ending {
                link.ended = true;
                self.failed.set(true);
                Line::new(Level::Error, "shard_died").with("shard", index).write();
            }
        }
        if self.failed.get() && !matches!(self.phase.get(), Phase::Draining | Phase::Ending) {
            self.drain();
        }
        let links = self.links.borrow();
        let has_stopped = |link: &ShardLink| {
            link.ended || (self.phase.get() == Phase::Ending && link.has_handed_over())
        };
        if links.iter().all(has_stopped) {
            self.shard.stop();
        }
    }

    /// Tells the log what happened on a shard, unless it is one event of a flood.
    fn tell(&self, shard: usize, event: &Event) {
        let mut flood = self.flood.borrow_mut();
        if flood.admits(event.kind, self.shard.clock.now()) {
            write_event(shard, event);
        } else if let Some(at) = flood.summary_at() {
            self.shard.timers.borrow_mut().set(self.flood_summary, at);
        }
    }

    /// Tells the log how much it was not told.
    fn sum_up_flood(&self) {
        for (kind, count) in self.flood.borrow_mut().sum_up() {
            Line::new(Level::Warn, "log_lines_suppressed")
                .with("of", topic_name(kind))
                .with("count", count)
                .write();
        }
    }

    /// Says so once every shard serves the newest configuration.
    fn note_applied(&self, before: u64) {
        let generation = self.generation.get();
        let applied = self.lowest_applied();
        if applied == before || applied < generation {
            return;
        }
        let ready = self.announce();
        if self.phase.get() != Phase::Starting {
            Line::new(Level::Info, "reloaded").with("generation", generation).write();
            return;
        }
        self.phase.set(Phase::Serving);
        Line::new(Level::Info, "ready")
            .with("shards", self.links.borrow().len())
            .with("pid", std::process::id())
            .write();
        let on_ready = self.options.borrow_mut().on_ready.take();
        if let Some(on_ready) = on_ready {
            // Whoever is told may look for the lines above, and for the pid in them.
            log::flush(LOG_PATIENCE);
            on_ready(&ready);
        }
        self.check_reading();
    }

    /// Tells the log what is listened on, as far as it does not know.
    fn announce(&self) -> Ready {
        let ready = self.ready();
        let before = self.announced.replace(ready.clone());
        for listener in
            ready.listeners.iter().filter(|listener| !before.listeners.contains(listener))
        {
            let (frontend, address) = listener;
            Line::new(Level::Info, "listening")
                .with("frontend", frontend)
                .with("address", address)
                .write();
        }
        for address in ready.admin.iter().filter(|address| !before.admin.contains(address)) {
            Line::new(Level::Info, "listening")
                .with("admin", true)
                .with("address", address)
                .write();
        }
        ready
    }

    fn lowest_applied(&self) -> u64 {
        self.links.borrow().iter().map(|link| link.applied()).min().unwrap_or(0)
    }

    fn ready(&self) -> Ready {
        let (config, addresses) = (self.config.borrow(), self.addresses.borrow());
        let of = |frontend: &Frontend| {
            let now = |place: &Place| {
                addresses.get(place).map(|(_, now)| now.clone()).unwrap_or_default()
            };
            let places = places(&frontend.name, &frontend.binds);
            places.iter().map(|place| (frontend.name.to_string(), now(place))).collect::<Vec<_>>()
        };
        Ready {
            listeners: config.frontends.iter().flat_map(of).collect(),
            admin: self.admin.borrow().iter().map(|admin| admin.now.clone()).collect(),
        }
    }
}

impl Status for Runtime {
    fn is_ready(&self) -> bool {
        self.phase.get() == Phase::Serving && self.lowest_applied() == self.generation.get()
    }

    fn material(&self, process: ProcessInfo) -> Material {
        let suppressed = self.flood.borrow().totals();
        let figures = Figures {
            generation: self.generation.get(),
            reloads: self.reloads.get(),
            suppressed: suppressed.map(|(kind, count)| (topic_name(kind), count)).into(),
            shards: self.links.borrow().iter().map(ShardFigures::of).collect(),
            health: self.publisher.borrow().health.figures(),
            certificates: self.certificates.borrow().figures(),
            orders: self.orders.borrow().figures(),
            sticks: self.publisher.borrow().stick_figures(self.shard.clock.now()),
            discovery: self.publisher.borrow().discovery.figures(),
            access_log: self.logs.borrow().as_ref().map(AccessLogs::totals),
        };
        Material { registry: self.publisher.borrow().registry.clone(), process, figures }
    }
}

impl Service for Runtime {
    type Command = Request;

    fn unparked(&self, _: ParkToken) {}

    fn fired(&self, timer: u32) {
        match timer {
            FLOOD_SUMMARY => self.sum_up_flood(),
            LAG_CHECK => self.check_lag(),
            HEALTH_DUE => self.check_servers(),
            TRAFFIC_LOOK => self.look_at_traffic(),
            CERTIFICATE_LOOK => self.look_at_certificates(),
            NAMES_DUE => self.resolve_names(),
            FIRST_ANSWERS => {
                self.awaits_answers(true);
            }
            DELAY_END => self.delay_over(),
            _ => {
                debug_assert_eq!(timer, DRAIN_DEADLINE, "every timer has its value");
                self.drain_over();
            }
        }
    }

    fn command(&self, request: Request) {
        match request {
            Request::Reload(asked) => {
                drop(asked);
                self.reload();
            }
            Request::Drain => self.end_in_time(),
            Request::Stop => self.stop(),
        }
    }

    fn panicked(&self, _: TaskId, _: PanicPayload) {
        Line::new(Level::Error, "panic").with("admin", true).write();
    }

    fn turned(&self, _: bool) {
        self.tell_names();
        if self.awaits_answers(false) {
            return;
        }
        let before = self.lowest_applied();
        self.read_reports();
        self.note_applied(before);
        self.tell_states();
    }
}

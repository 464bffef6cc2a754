//! Who is well: the servers of all backends, their checks, and what the shards have seen of them.
//!
//! Owns the groups, the schedule and the count of checks in flight; leaves judging to `tidegate_health`, one check to
//! `probe`, and timers and tasks to the runtime. Invariant: at most one check of a server is in flight, and what is known of a
//! server outlives a configuration that leaves its name, address and check as they were.

pub(crate) mod figures;
pub(crate) mod probe;
mod tell;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockAddr;
use tidegate_config::{Backend, Config, Server, ServerAddress, ServerCheck};
use tidegate_health::{
    Fault, Group, GroupSettings, MemberSettings, Named, Outcome, Probe, Sample, Schedule, Standby,
    Standing,
};
use tidegate_proxy::{ServerChange, ServerStates, Spot};
use tidegate_telemetry::{PerShard, Registry, ServerStats};

use self::probe::{CheckTls, Job};
pub(crate) use self::tell::tell;
use crate::discovery::Discovery;
use crate::server_name::tls_name;

/// Checks in flight at once: each takes a descriptor and a few KiB. Ten thousand servers that are checked every two seconds
/// have as many in flight only when every second one does not answer; those that find no place wait for one and are counted.
pub(crate) const PROBES_IN_FLIGHT_MAX: usize = 4096;

/// Between two looks at what the shards have counted: an outlier is found within this and one more turn.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What checks can come to: passed, skipped, or one of the faults.
pub(crate) const RESULTS: usize = Fault::ALL.len() + 2;

/// A check that is due.
pub(crate) struct Due {
    pub(crate) key: u32,
    pub(crate) job: Job,
}

/// The health of all servers.
pub(crate) struct Health {
    backends: Vec<WatchedBackend>,
    schedule: Schedule,
    /// The server of each key of the schedule; none: free, or to be free once its check in flight has ended.
    places: Vec<Option<(usize, usize)>>,
    free: Vec<u32>,
    in_flight: usize,
    /// Checks that had to wait for a place among those in flight.
    delayed_total: u64,
    generation: u64,
    /// Servers that are at another address than the shards were last told.
    moved: BTreeSet<(usize, usize)>,
}

pub(crate) struct WatchedBackend {
    pub(crate) name: Arc<str>,
    settings: GroupSettings,
    pub(crate) group: Group,
    pub(crate) servers: Vec<WatchedServer>,
}

pub(crate) struct WatchedServer {
    pub(crate) name: Arc<str>,
    address: ServerAddress,
    /// Where its name is, if it has one and that is known.
    spot: Option<Spot>,
    stats: PerShard<ServerStats>,
    check: Option<Check>,
    pub(crate) counts: Counts,
}

#[derive(Clone)]
struct Check {
    key: u32,
    settings: ServerCheck,
    tls: CheckTls,
    /// None: the server is nowhere.
    job: Option<Job>,
    begun: Instant,
    is_in_flight: bool,
    /// The server has moved since the check in flight was begun: what it comes to is about another address.
    is_stale: bool,
}

/// What is counted of a server's checks and ejections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// In the order of [`result_label`].
    pub(crate) results: [u64; RESULTS],
    pub(crate) last_duration: Option<Duration>,
    pub(crate) ejections: u64,
}

/// The word of a result in metrics.
pub(crate) fn result_label(index: usize) -> &'static str {
    match index {
        0 => "passed",
        1 => "skipped",
        fault => Fault::ALL.get(fault - 2).map_or("", |fault| fault.label()),
    }
}

fn result_index(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Passed | Outcome::Said(_) => 0,
        Outcome::Skipped => 1,
        Outcome::Failed(failure) => 2 + failure.fault.index(),
    }
}

impl Health {
    pub(crate) fn new(seed: u64) -> Health {
        Health {
            backends: Vec::new(),
            schedule: Schedule::new(seed),
            places: Vec::new(),
            free: Vec::new(),
            in_flight: 0,
            delayed_total: 0,
            generation: 0,
            moved: BTreeSet::new(),
        }
    }

    /// Watches the servers of `config` from now on, whose snapshot has this generation.
    pub(crate) fn apply(
        &mut self,
        config: &Config,
        discovery: &Discovery,
        registry: &mut Registry,
        generation: u64,
        now: Instant,
    ) {
        self.generation = generation;
        let before = std::mem::take(&mut self.backends);
        // The snapshot says where they are.
        self.moved.clear();
        self.places.fill(None);
        let mut fresh = Vec::new();
        for backend in &config.backends {
            let known = before.iter().find(|known| known.name == backend.name);
            let watched = self.watch(backend, known, discovery, registry, &mut fresh, now);
            self.backends.push(watched);
        }
        for gone in before.iter().flat_map(|backend| &backend.servers) {
            let Some(check) = &gone.check else { continue };
            if self.places[check.key as usize].is_none() && self.schedule.cancel(check.key) {
                self.free.push(check.key);
            }
        }
        let count = fresh.len();
        for (index, (key, interval)) in fresh.into_iter().enumerate() {
            let at = now + self.schedule.first_delay(index, count, interval);
            self.schedule.plan(key, at);
        }
        for backend in &mut self.backends {
            backend.group.settle(now, |_, _| ());
        }
    }

    fn watch(
        &mut self,
        backend: &Backend,
        known: Option<&WatchedBackend>,
        discovery: &Discovery,
        registry: &mut Registry,
        fresh: &mut Vec<(u32, Duration)>,
        now: Instant,
    ) -> WatchedBackend {
        let settings = GroupSettings {
            panic_threshold: backend.panic_threshold,
            passive: backend.passive_health,
        };
        let mut group = Group::new(settings, &members(backend));
        if let Some(known) = known {
            group.adopt_alarms(&known.group);
        }
        let mut servers = Vec::new();
        for (index, server) in backend.servers.iter().enumerate() {
            let place = (self.backends.len(), index);
            let (spot, standby) = discovery.place(place.0, index).unzip();
            let before = known.and_then(|known| {
                let same = |other: &WatchedServer| {
                    other.name == server.name
                        && other.address == server.address
                        && other.spot == spot
                };
                let there = known.servers.iter().position(same)?;
                Some((known, there))
            });
            let mut counts = Counts::default();
            if let Some((known, there)) = before {
                counts = known.servers[there].counts;
                if known.settings.passive == settings.passive {
                    group.adopt_traffic(index, &known.group, there);
                }
            }
            group.set_address(index, standby, false);
            let same_check = before.and_then(|(known, there)| {
                let check = known.servers[there].check.as_ref()?;
                (server.check.as_ref() == Some(&check.settings)).then_some((known, there, check))
            });
            let check = match (&server.check, same_check) {
                (None, _) => None,
                (Some(_), Some((known, there, check))) => {
                    group.adopt_checks(index, &known.group, there);
                    self.places[check.key as usize] = Some(place);
                    let mut adopted = check.clone();
                    adopted.tls = tls(backend, server, &check.settings);
                    if let Some(job) = &mut adopted.job {
                        job.tls = adopted.tls.clone();
                    }
                    Some(adopted)
                }
                (Some(settings), None) => {
                    let key = self.key(place);
                    let tls = tls(backend, server, settings);
                    let check = Check::new(key, settings, (spot, tls), now);
                    fresh.extend(check.job.as_ref().map(|_| (key, settings.timing.interval)));
                    Some(check)
                }
            };
            servers.push(WatchedServer {
                name: server.name.clone(),
                address: server.address.clone(),
                spot,
                stats: registry.server(&backend.name, &server.name).clone(),
                check,
                counts,
            });
        }
        WatchedBackend { name: backend.name.clone(), settings, group, servers }
    }

    /// Takes where a server with a name is now; none: nowhere. It is checked there next, whatever was known of it elsewhere.
    pub(crate) fn set_place(
        &mut self,
        (backend, server): (usize, usize),
        place: Option<(Spot, Standby)>,
        now: Instant,
    ) {
        let Some(watched) = self.backends.get_mut(backend) else { return };
        let Some(known) = watched.servers.get_mut(server) else { return };
        let (spot, standby) = place.unzip();
        let has_moved = spot.is_some() && known.spot != spot;
        watched.group.set_address(server, standby, has_moved);
        if known.spot == spot {
            return;
        }
        known.spot = spot;
        self.moved.insert((backend, server));
        let Some(check) = &mut known.check else { return };
        check.job = job(&check.settings, spot, check.tls.clone());
        if check.is_in_flight {
            check.is_stale = true;
            return;
        }
        self.schedule.cancel(check.key);
        if check.job.is_some() {
            self.schedule.plan(check.key, now);
        }
    }

    fn key(&mut self, place: (usize, usize)) -> u32 {
        if let Some(key) = self.free.pop() {
            self.places[key as usize] = Some(place);
            return key;
        }
        self.places.push(Some(place));
        u32::try_from(self.places.len() - 1).expect("the configuration bounds the servers")
    }

    /// What a server is, as last settled; indices are those of the configuration.
    pub(crate) fn standing(&self, backend: usize, server: usize) -> Option<Standing> {
        self.backends.get(backend)?.group.standing(server)
    }

    /// A backend by its index in the configuration.
    pub(crate) fn backend_name(&self, backend: usize) -> Option<&Arc<str>> {
        Some(&self.backends.get(backend)?.name)
    }

    /// When [`Health::take_due`] has something to give.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        (self.in_flight < PROBES_IN_FLIGHT_MAX).then(|| self.schedule.next_due()).flatten()
    }

    /// When the next ejection is over.
    pub(crate) fn next_return(&self) -> Option<Instant> {
        self.backends.iter().filter_map(|backend| backend.group.next_return()).min()
    }

    /// Whether traffic is looked at.
    pub(crate) fn looks_at_traffic(&self) -> bool {
        self.backends.iter().any(|backend| backend.settings.passive.is_some())
    }

    /// A check that is due; [`Health::checked`] must be told what it came to.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Due> {
        if self.in_flight >= PROBES_IN_FLIGHT_MAX {
            return None;
        }
        let (key, due) = self.schedule.take(now)?;
        let (backend, server) = self.places.get(key as usize).copied().flatten()?;
        let check = self.backends.get_mut(backend)?.servers.get_mut(server)?.check.as_mut()?;
        let job = check.job.clone()?;
        check.begun = now;
        check.is_in_flight = true;
        // The timers' own grain is a millisecond.
        if now.saturating_duration_since(due) > LOOK_INTERVAL {
            self.delayed_total += 1;
        }
        self.in_flight += 1;
        Some(Due { key, job })
    }

    /// Takes note of what a check came to.
    pub(crate) fn checked(&mut self, key: u32, outcome: &Outcome, now: Instant) {
        self.in_flight -= 1;
        let place = self.places.get(key as usize).copied().flatten();
        let Some((at, server)) = place else {
            // Its server went while it was on its way.
            self.free.push(key);
            return;
        };
        let Some(backend) = self.backends.get_mut(at) else { return };
        let Some(watched) = backend.servers.get_mut(server) else { return };
        let Some(check) = &mut watched.check else { return };
        check.is_in_flight = false;
        if std::mem::take(&mut check.is_stale) {
            if check.job.is_some() {
                self.schedule.plan(key, now);
            }
            return;
        }
        watched.counts.results[result_index(outcome)] += 1;
        watched.counts.last_duration = Some(now.saturating_duration_since(check.begun));
        let begun = check.begun;
        let interval =
            backend.group.checked(server, outcome).unwrap_or(check.settings.timing.interval);
        let next = (begun + self.schedule.jittered(interval)).max(now);
        self.schedule.plan(key, next);
    }

    /// Looks at what the shards have counted in traffic.
    pub(crate) fn look(&mut self, now: Instant) {
        for backend in self.backends.iter_mut().filter(|backend| backend.settings.passive.is_some())
        {
            for (index, server) in backend.servers.iter().enumerate() {
                let sample = |stats: &ServerStats| Sample {
                    errors: stats.errors.value(),
                    successes: stats.successes.value(),
                    errors_in_a_row: stats.errors_in_a_row.value(),
                    latency_micros: stats.latency_micros.value(),
                };
                backend.group.observed(index, server.stats.iter().map(sample), now);
            }
        }
    }

    /// Brings all standings up to date and says which changed; `told` is called with every event and its backend.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        mut told: impl FnMut(&WatchedBackend, &tidegate_health::Event),
    ) -> Option<ServerStates> {
        let mut changes = Vec::new();
        for (at, backend) in self.backends.iter_mut().enumerate() {
            if !backend.group.is_unsettled(now) {
                continue;
            }
            let WatchedBackend { group, servers, .. } = backend;
            group.settle(now, |server, standing| {
                let spot = servers.get(server).and_then(|server| server.spot);
                changes.push(ServerChange { backend: at, server, standing, spot });
                self.moved.remove(&(at, server));
            });
            for event in backend.group.take_events() {
                if let (tidegate_health::What::Ejected { .. }, Some(server)) =
                    (&event.what, event.server)
                {
                    backend.servers[server].counts.ejections += 1;
                }
                told(backend, &event);
            }
        }
        for (at, server) in std::mem::take(&mut self.moved) {
            let Some(backend) = self.backends.get(at) else { continue };
            let Some(standing) = backend.group.standing(server) else { continue };
            let spot = backend.servers.get(server).and_then(|server| server.spot);
            changes.push(ServerChange { backend: at, server, standing, spot });
        }
        let generation = self.generation;
        (!changes.is_empty()).then_some(ServerStates { generation, decided: now, changes })
    }
}

/// How a check speaks TLS: as requests do.
fn tls(backend: &Backend, server: &Server, check: &ServerCheck) -> CheckTls {
    let tls = backend.tls.as_ref().filter(|_| check.tls)?;
    Some((tls.clone(), tls_name(tls, &server.address)?))
}

impl Check {
    fn new(
        key: u32,
        settings: &ServerCheck,
        (spot, tls): (Option<Spot>, CheckTls),
        now: Instant,
    ) -> Check {
        Check {
            key,
            settings: settings.clone(),
            job: job(settings, spot, tls.clone()),
            tls,
            begun: now,
            is_in_flight: false,
            is_stale: false,
        }
    }
}

fn members(backend: &Backend) -> Vec<MemberSettings> {
    let (mut names, mut template) = (0, None);
    let member = |server: &Server| MemberSettings {
        weight: server.weight,
        backup: server.backup,
        timing: server.check.as_ref().map(|check| check.timing),
        has_agent: server
            .check
            .as_ref()
            .is_some_and(|check| matches!(*check.probe, Probe::Agent(_))),
        named: server.slot.as_ref().map(|slot| {
            if template.as_ref() != Some(&slot.template) {
                names += 1;
                template = Some(slot.template.clone());
            }
            let has_shares = matches!(server.address, ServerAddress::Name { port: None, .. });
            Named { group: names, has_shares }
        }),
    };
    backend.servers.iter().map(member).collect()
}

/// The check of a server that is there; none: it is nowhere.
fn job(check: &ServerCheck, spot: Option<Spot>, tls: CheckTls) -> Option<Job> {
    let (address, authority) = match &check.address {
        ServerAddress::Tcp(socket) => (SockAddr::from(*socket), socket.to_string()),
        ServerAddress::Unix(path) => (
            SockAddr::unix(path).expect("the configuration holds the length of socket paths"),
            "localhost".to_owned(),
        ),
        ServerAddress::Name { name, port } => {
            let mut socket = spot?.socket;
            socket.set_port(port.unwrap_or(socket.port()));
            let named = || format!("{name}:{}", socket.port());
            let authority = if name.is_service() { socket.to_string() } else { named() };
            (SockAddr::from(socket), authority)
        }
    };
    Some(Job {
        probe: check.probe.clone(),
        address,
        tls,
        protocol: check.protocol,
        authority: authority.into(),
        timeout: check.timing.timeout,
    })
}

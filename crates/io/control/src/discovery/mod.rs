//! Where the servers are whose addresses are names.
//!
//! Owns the names of a configuration, whom they are asked of, and the slots that their addresses get; leaves what follows from answers
//! to `tidegate_discovery`, one question to `ask`, files to `system`, and timers and tasks to the runtime. Invariant: what is
//! known of a name outlives a configuration that names it again with the same resolvers, and so does the slot of each address.

pub(crate) mod ask;
pub(crate) mod figures;
mod system;
mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tidegate_config::{Backend, Config, Init, Resolvers, ServerAddress};
use tidegate_discovery::{
    DnsName, Event, Finding, Hosts, Lookup, Nameservers, Outcome, Place, Question, Round,
    SHARE_WHOLE, Settings, Slots, Watch,
};
use tidegate_health::Standby;
use tidegate_proxy::Spot;

use self::system::System;
pub(crate) use self::tell::{Told, tell};

/// Questions on their way at once: each takes a descriptor and a few KiB. Those beyond wait for a place, and are counted.
pub(crate) const LOOKUPS_IN_FLIGHT_MAX: usize = 256;

/// A name and whom it is asked of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameKey {
    pub(crate) resolvers: Arc<str>,
    pub(crate) name: DnsName,
}

/// The names of all backends.
#[derive(Default)]
pub(crate) struct Discovery {
    sets: BTreeMap<Arc<str>, Set>,
    names: BTreeMap<NameKey, Name>,
    templates: Vec<Template>,
    /// The slots by backend and server: template and slot.
    servers: BTreeMap<(usize, usize), (usize, usize)>,
    /// Questions that wait for a place.
    waiting: VecDeque<Job>,
    in_flight: usize,
    delayed_total: u64,
    rounds: u64,
    epoch: u32,
    told: Vec<Told>,
    /// Something is due at another time than before.
    is_unscheduled: bool,
}

/// A set of resolvers.
struct Set {
    settings: Resolvers,
    addresses: Vec<SocketAddr>,
    nameservers: Nameservers,
    hosts: Hosts,
    system: System,
    /// By resolver: tries that were answered, and those that were not.
    tries: BTreeMap<SocketAddr, [u64; 2]>,
}

struct Name {
    watch: Watch,
    /// The round on its way with its number.
    round: Option<(u64, Round)>,
    /// Rounds by the word of their result.
    results: BTreeMap<&'static str, u64>,
}

/// Servers of one backend that share the addresses of one name.
struct Template {
    key: NameKey,
    backend: Arc<str>,
    name: Arc<str>,
    address: ServerAddress,
    /// Backend and first server.
    first: (usize, usize),
    servers: Vec<Arc<str>>,
    slots: Slots,
    epochs: Vec<u32>,
}

/// A question to be asked.
pub(crate) struct Job {
    key: NameKey,
    round: u64,
    question: Question,
}

/// A question that has its place among those on their way.
pub(crate) struct Begun {
    job: Job,
    pub(crate) lookup: Lookup,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) settings: Settings,
}

impl Discovery {
    /// Watches the names of `config` from now on.
    pub(crate) fn apply(&mut self, config: &Config, now: Instant) {
        self.is_unscheduled = true;
        let used = |backend: &Backend| backend.servers.iter().any(|server| server.slot.is_some());
        let before = std::mem::take(&mut self.sets);
        for backend in config.backends.iter().filter(|backend| used(backend)) {
            let Some(wanted) = config.resolvers.get(backend.resolvers) else { continue };
            if self.sets.contains_key(&wanted.name) {
                continue;
            }
            let known = before.get(&wanted.name);
            let set = Set::new(wanted, known, now);
            self.sets.insert(wanted.name.clone(), set);
        }
        let before = std::mem::take(&mut self.templates);
        self.servers.clear();
        for (at, backend) in config.backends.iter().enumerate() {
            let Some(resolvers) = config.resolvers.get(backend.resolvers) else { continue };
            self.add_templates(at, backend, &resolvers.name, &before);
        }
        let mut names = std::mem::take(&mut self.names);
        for template in &self.templates {
            let Some(set) = self.sets.get(&template.key.resolvers) else { continue };
            let settings = set.settings.settings;
            let (key, known) = names
                .remove_entry(&template.key)
                .unwrap_or_else(|| (template.key.clone(), Name::new(settings, now)));
            self.names.entry(key).or_insert(known).watch.set_settings(settings, now);
        }
        self.waiting.retain(|job| self.names.contains_key(&job.key));
        for at in 0..self.templates.len() {
            self.assign(at);
        }
    }

    fn add_templates(
        &mut self,
        at: usize,
        backend: &Backend,
        resolvers: &Arc<str>,
        before: &[Template],
    ) {
        for (index, server) in backend.servers.iter().enumerate() {
            let (Some(slot), ServerAddress::Name { name, port }) = (&server.slot, &server.address)
            else {
                continue;
            };
            if slot.index == 0 {
                self.templates.push(Template {
                    key: NameKey { resolvers: resolvers.clone(), name: name.clone() },
                    backend: backend.name.clone(),
                    name: slot.template.clone(),
                    address: server.address.clone(),
                    first: (at, index),
                    servers: Vec::new(),
                    slots: Slots::new(0, *port),
                    epochs: Vec::new(),
                });
            }
            let template = self.templates.len() - 1;
            self.templates[template].servers.push(server.name.clone());
            self.servers.insert((at, index), (template, slot.index));
        }
        for template in self.templates.iter_mut().filter(|template| template.first.0 == at) {
            template.take_slots(before);
        }
    }

    /// Where a server is; none: its address is no name, or its name is nowhere.
    pub(crate) fn place(&self, backend: usize, server: usize) -> Option<(Spot, Standby)> {
        let (template, slot) = *self.servers.get(&(backend, server))?;
        self.templates.get(template)?.place(slot)
    }

    /// Whether there are names.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether every name has been answered, or found to be without an answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.names.values().all(|name| name.watch.is_settled())
    }

    /// A name without an address whose resolvers are set to have no start without, and why it has none.
    pub(crate) fn prevents_start(&self) -> Option<(&DnsName, &'static str)> {
        let fails = |key: &NameKey| {
            self.sets.get(&key.resolvers).is_some_and(|set| set.settings.init == Init::Fail)
        };
        let without = |name: &Name| name.watch.endpoints().is_empty();
        let (key, name) = self.names.iter().find(|(key, name)| without(name) && fails(key))?;
        Some((&key.name, name.watch.trouble().unwrap_or("timed_out")))
    }

    /// When [`Discovery::begin_due`] has something to do, if that may be another time than at the last call.
    pub(crate) fn next_to_set(&mut self) -> Option<Instant> {
        if !std::mem::take(&mut self.is_unscheduled) {
            return None;
        }
        self.names.values().filter_map(|name| name.watch.next_due()).min()
    }

    /// Begins the rounds that are due, and gives up what has been held long enough. Servers that have moved or lost their address
    /// are to be taken from [`Discovery::place`].
    pub(crate) fn begin_due(&mut self, now: Instant) -> Vec<(usize, usize)> {
        self.is_unscheduled = true;
        let due: Vec<NameKey> = self
            .names
            .iter()
            .filter(|(_, name)| name.watch.next_due().is_some_and(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        let mut moved = Vec::new();
        for key in due {
            let Some(name) = self.names.get_mut(&key) else { continue };
            if let Some(event) = name.watch.gives_up(now) {
                moved.extend(self.changed(&key, &[event]));
            }
            moved.extend(self.begin(&key, now));
        }
        moved
    }

    fn begin(&mut self, key: &NameKey, now: Instant) -> Vec<(usize, usize)> {
        let (Some(name), Some(set)) = (self.names.get_mut(key), self.sets.get_mut(&key.resolvers))
        else {
            return Vec::new();
        };
        if !name.watch.begins(now) {
            return Vec::new();
        }
        set.refresh(now);
        if let Some(outcome) = set.known(&key.name) {
            return self.conclude(key, outcome, now);
        }
        self.rounds += 1;
        let (round, questions) = Round::new(&key.name, set.settings.settings.family);
        name.round = Some((self.rounds, round));
        self.ask(key, self.rounds, questions);
        Vec::new()
    }

    fn ask(&mut self, key: &NameKey, round: u64, questions: Vec<Question>) {
        let job = |question| Job { key: key.clone(), round, question };
        self.waiting.extend(questions.into_iter().map(job));
        let places = LOOKUPS_IN_FLIGHT_MAX.saturating_sub(self.in_flight);
        self.delayed_total += self.waiting.len().saturating_sub(places) as u64;
    }

    /// The next question that has a place among those on their way; [`Discovery::found`] must be told what it came to.
    pub(crate) fn take_question(&mut self, now: Instant) -> Option<Begun> {
        if self.in_flight >= LOOKUPS_IN_FLIGHT_MAX {
            return None;
        }
        loop {
            let job = self.waiting.pop_front()?;
            // The configuration may have gone that asked it.
            let Some(set) = self.sets.get(&job.key.resolvers) else { continue };
            let settings = set.settings.settings;
            let order = set.nameservers.order(now);
            self.in_flight += 1;
            return Some(Begun {
                lookup: Lookup::new(job.question.clone(), order, settings.tries),
                addresses: set.addresses.clone(),
                settings,
                job,
            });
        }
    }

    /// Takes note of whether a resolver answered.
    pub(crate) fn note_try(
        &mut self,
        begun: &Begun,
        address: SocketAddr,
        answered: bool,
        now: Instant,
    ) {
        let Some(set) = self.sets.get_mut(&begun.job.key.resolvers) else { return };
        let Some(at) = set.addresses.iter().position(|known| *known == address) else { return };
        set.nameservers.note(at, answered, now);
        set.tries.entry(address).or_default()[usize::from(!answered)] += 1;
    }

    /// Takes what a question came to; the servers that have moved by it.
    pub(crate) fn found(
        &mut self,
        begun: &Begun,
        finding: Finding,
        now: Instant,
    ) -> Vec<(usize, usize)> {
        self.in_flight -= 1;
        self.is_unscheduled = true;
        let Job { key, round, question } = &begun.job;
        let Some(name) = self.names.get_mut(key) else { return Vec::new() };
        let Some((_, known)) = name.round.as_mut().filter(|(number, _)| number == round) else {
            return Vec::new();
        };
        let more = known.found(question, finding);
        if !known.is_over() {
            self.ask(key, *round, more);
            return Vec::new();
        }
        let outcome = known.outcome();
        name.round = None;
        self.conclude(key, outcome, now)
    }

    fn conclude(&mut self, key: &NameKey, outcome: Outcome, now: Instant) -> Vec<(usize, usize)> {
        let Some(name) = self.names.get_mut(key) else { return Vec::new() };
        *name.results.entry(outcome.label()).or_default() += 1;
        let events = name.watch.concluded(outcome, now);
        self.changed(key, &events)
    }

    /// Tells what has happened to a name, and gives its addresses their slots.
    fn changed(&mut self, key: &NameKey, events: &[Event]) -> Vec<(usize, usize)> {
        let Some(name) = self.names.get(key) else { return Vec::new() };
        let count = name.watch.endpoints().len();
        let told = |event: &Event| Told::Name { key: key.clone(), event: *event, count };
        self.told.extend(events.iter().map(told));
        if !events.iter().any(|event| matches!(event, Event::Changed | Event::GivenUp)) && count > 0
        {
            return Vec::new();
        }
        let of_name = |at: &usize| self.templates[*at].key == *key;
        let templates: Vec<usize> = (0..self.templates.len()).filter(of_name).collect();
        templates.into_iter().flat_map(|at| self.assign(at)).collect()
    }

    /// Gives the addresses of a template's name their slots; the servers that are not where they were.
    fn assign(&mut self, at: usize) -> Vec<(usize, usize)> {
        let template = &mut self.templates[at];
        let Some(name) = self.names.get(&template.key) else { return Vec::new() };
        let sockets = |slots: &Slots, slot| slots.place(slot).map(|place: Place| place.socket);
        let (before, surplus) = (template.slots.clone(), template.slots.surplus());
        let changed = template.slots.assign(name.watch.endpoints());
        for slot in &changed {
            let (old, new) = (sockets(&before, *slot), sockets(&template.slots, *slot));
            if old == new {
                continue;
            }
            if new.is_some() {
                self.epoch = self.epoch.wrapping_add(1).max(1);
                template.epochs[*slot] = self.epoch;
            }
            self.told.push(Told::Server {
                backend: template.backend.clone(),
                server: template.servers[*slot].clone(),
                name: template.key.name.clone(),
                socket: new,
            });
        }
        if template.slots.surplus() != surplus && template.slots.surplus() > 0 {
            self.told.push(Told::Surplus {
                backend: template.backend.clone(),
                name: template.key.name.clone(),
                slots: template.slots.len(),
                surplus: template.slots.surplus(),
            });
        }
        let (backend, first) = template.first;
        changed.into_iter().map(|slot| (backend, first + slot)).collect()
    }

    /// What is to be said in the log.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }
}

impl Name {
    fn new(settings: Settings, now: Instant) -> Name {
        Name { watch: Watch::new(settings, now), round: None, results: BTreeMap::new() }
    }
}

impl Template {
    /// Makes the slots, with what stood in those of the same template before.
    fn take_slots(&mut self, before: &[Template]) {
        let ServerAddress::Name { port, .. } = self.address else { return };
        self.slots = Slots::new(self.servers.len(), port);
        self.epochs = vec![0; self.servers.len()];
        let same = |other: &&Template| {
            other.backend == self.backend
                && other.name == self.name
                && other.address == self.address
                && other.servers.first() == self.servers.first()
        };
        if let Some(known) = before.iter().find(same) {
            self.slots.adopt(&known.slots);
            for (epoch, known) in self.epochs.iter_mut().zip(&known.epochs) {
                *epoch = *known;
            }
        }
    }

    fn place(&self, slot: usize) -> Option<(Spot, Standby)> {
        let Place { socket, tier, share } = self.slots.place(slot)?;
        let epoch = *self.epochs.get(slot)?;
        Some((Spot { socket, epoch }, Standby { tier, share }))
    }
}

impl Set {
    fn new(settings: &Resolvers, known: Option<&Set>, now: Instant) -> Set {
        let mut set = Set {
            settings: settings.clone(),
            addresses: Vec::new(),
            nameservers: Nameservers::default(),
            hosts: Hosts::default(),
            system: System::default(),
            tries: known.map(|known| known.tries.clone()).unwrap_or_default(),
        };
        set.refresh(now);
        if let Some(known) = known.filter(|known| known.addresses == set.addresses) {
            set.nameservers = known.nameservers.clone();
        }
        set
    }

    /// Reads files that have changed.
    fn refresh(&mut self, now: Instant) {
        let Set { settings, system, .. } = self;
        if let Some(hosts) = system.hosts(settings.hosts.as_deref(), now) {
            self.hosts = hosts;
        }
        let addresses = match &settings.nameservers {
            Some(addresses) => Some(addresses.clone()),
            None => system.nameservers(&settings.resolv_conf, now),
        };
        if let Some(addresses) = addresses.filter(|addresses| *addresses != self.addresses) {
            self.nameservers = Nameservers::new(addresses.len());
            self.tries.retain(|known, _| addresses.contains(known));
            self.addresses = addresses;
        }
    }

    /// What the system's file of names says, which goes before what resolvers say.
    fn known(&self, name: &DnsName) -> Option<Outcome> {
        if name.is_service() {
            return None;
        }
        let addresses = self.hosts.find(name)?;
        let family = self.settings.settings.family;
        Some(Round::of_addresses(name, family, &addresses))
    }
}

/// The share of an address that is the whole is the same in both packages that have one.
const _: () = assert!(SHARE_WHOLE == 256);

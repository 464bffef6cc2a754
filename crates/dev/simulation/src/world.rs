//! The world: time, what is about to happen, and everything that it happens to.
//!
//! Owns the order of events and the delays of the channels between shards; leaves what follows to the other modules. Invariant:
//! one event at a time, in the order of their times, and after each one everything that must hold is checked.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidegate_exchange::Input;
use tidegate_health::{Outcome, Standing};
use tidegate_testkit::Rng;

use crate::chance::{Chance, Micros};
use crate::control::Control;
use crate::driver::Request;
use crate::server::Mode;
use crate::setup::Setup;
use crate::shard::{Call, RequestId, Shard, Shared};
use crate::watch::Watch;

pub use crate::watch::Report;

/// How late a shard may look into its inbox.
pub(crate) const PARCEL_DELAY_MAX: Micros = 1_000;

/// How late a task may run that was woken.
pub(crate) const WAKE_DELAY_MAX: Micros = 60;

/// Everything is over by then, or never.
const END_MAX: Micros = 20_000_000;

pub(crate) enum Event {
    Arrival,
    Answer {
        request: RequestId,
        attempt: u64,
        input: Input,
    },
    Deadline(RequestId),
    ClientLeaves(RequestId),
    Woken(RequestId),
    /// A shard looks into its inbox.
    Delivery(usize),
    Standing {
        shard: usize,
        server: usize,
        standing: Standing,
    },
    LimitChanged {
        shard: usize,
        server: usize,
    },
    ChecksDue,
    Checked(usize, Outcome),
    Look,
    /// A server begins to behave otherwise.
    Fault,
    /// A limit is changed.
    Change,
    /// A server closes an idle connection.
    IdleLost,
    /// All servers are well from now on.
    Recovery,
}

impl Event {
    /// Whether it has to happen before the history may end.
    fn is_owed(&self) -> bool {
        matches!(
            self,
            Event::Arrival
                | Event::Delivery(_)
                | Event::Woken(_)
                | Event::Standing { .. }
                | Event::LimitChanged { .. }
                | Event::Recovery
        )
    }
}

/// One history.
pub struct World<'p> {
    pub(crate) setup: &'p Setup,
    pub(crate) rng: Rng,
    pub(crate) now: Micros,
    pub(crate) shared: Rc<Shared>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) control: Control,
    pub(crate) requests: BTreeMap<RequestId, Request<'p>>,
    pub(crate) watch: Watch,
    pub(crate) attempts: u64,
    events: BTreeMap<(Micros, u64), Event>,
    planned: u64,
    owed: usize,
}

impl<'p> World<'p> {
    /// A history that begins.
    #[must_use]
    pub fn new(setup: &'p Setup, mut rng: Rng) -> Self {
        let shared = Shared::new(setup);
        let shards = (0..setup.shards_count).map(|index| Shard::new(setup, &shared, index));
        let shards = shards.collect();
        let control = Control::new(setup, rng.next_u64());
        let watch = Watch::new(setup);
        let mut world = Self {
            setup,
            rng,
            now: 0,
            shared,
            shards,
            control,
            requests: BTreeMap::new(),
            watch,
            attempts: 0,
            events: BTreeMap::new(),
            planned: 0,
            owed: 0,
        };
        world.start_control();
        world.plan(1, Event::Arrival);
        world.plan(setup.until, Event::Recovery);
        for event in [Event::Fault, Event::Change, Event::IdleLost] {
            world.plan(1, event);
        }
        world
    }

    pub(crate) fn instant(&self) -> Instant {
        self.setup.start + Duration::from_micros(self.now)
    }

    pub(crate) fn plan(&mut self, at: Micros, event: Event) {
        self.owed += usize::from(event.is_owed());
        self.planned += 1;
        // Two events at the same time happen in any order.
        let order = self.rng.next_u64() >> 32 << 32 | self.planned & 0xffff_ffff;
        let before = self.events.insert((at, order), event);
        assert!(before.is_none(), "each event has its place");
    }

    /// The next thing happens; `false` when everything is over.
    ///
    /// # Panics
    /// When something does not hold that must.
    pub fn step(&mut self) -> bool {
        if self.owed == 0 && self.requests.is_empty() {
            self.check_end();
            return false;
        }
        let ((at, _), event) = self.events.pop_first().expect("looks are planned for ever");
        assert!(at < END_MAX, "{} requests do not end", self.requests.len());
        self.owed -= usize::from(event.is_owed());
        self.now = at;
        self.happen(event);
        self.follow_up();
        self.check();
        true
    }

    /// Runs to the end; what happened.
    ///
    /// # Panics
    /// When something does not hold that must.
    #[must_use]
    pub fn run(mut self) -> Report {
        while self.step() {}
        self.watch.report
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::Answer { request, attempt, input } => {
                if let Some(request) = self.requests.remove(&request) {
                    self.answer(request, attempt, input);
                }
            }
            Event::Deadline(id) => self.deadline(id),
            Event::ClientLeaves(id) => {
                if let Some(request) = self.requests.remove(&id) {
                    self.advance(request, Input::ClientGone);
                }
            }
            Event::Woken(id) => {
                if let Some(request) = self.requests.remove(&id) {
                    self.wake(request);
                }
            }
            Event::Delivery(shard) => {
                let count_max = self.rng.below(20) + 1;
                if self.shards[shard].receive(count_max) {
                    self.plan_delivery(shard);
                }
            }
            Event::Standing { shard, server, standing } => {
                self.shards[shard].set_standing(server, &standing);
            }
            Event::LimitChanged { shard, server } => self.shards[shard].muster(server),
            Event::ChecksDue => self.begin_checks(),
            Event::Checked(server, outcome) => self.checked(server, &outcome),
            Event::Look => self.look_at_traffic(),
            Event::Fault => self.change_behaviour(),
            Event::Change => {
                self.change_limit();
                self.plan_again(60_000, Event::Change);
            }
            Event::IdleLost => {
                let shard = self.rng.below(self.shards.len());
                self.shards[shard].lose_idle(self.rng.below(self.setup.servers.len()));
                self.plan_again(10_000, Event::IdleLost);
            }
            Event::Recovery => {
                self.shared.truths.iter().for_each(|truth| truth.become_(Mode::Well));
            }
        }
    }

    fn deadline(&mut self, id: RequestId) {
        let Some(mut request) = self.requests.remove(&id) else { return };
        request.armed = None;
        if request.wait.is_some() {
            // Whoever was served meanwhile does not look at the time.
            if self.wake(request) {
                return;
            }
            let Some(waiting) = self.requests.remove(&id) else { return };
            request = waiting;
        }
        self.advance(request, Input::Deadline);
    }

    fn plan_again(&mut self, mean: Micros, event: Event) {
        let at = self.now + 1 + self.rng.exponential(mean);
        if at < self.setup.until {
            self.plan(at, event);
        }
    }

    fn plan_delivery(&mut self, shard: usize) {
        let at = self.now + self.rng.between(1, PARCEL_DELAY_MAX);
        self.plan(at, Event::Delivery(shard));
    }

    /// What shards are told by others, and tasks that have to run.
    fn follow_up(&mut self) {
        for shard in 0..self.shards.len() {
            if self.shards[shard].rung.swap(false, Ordering::Relaxed) {
                self.plan_delivery(shard);
            }
            let woken = std::mem::take(&mut *self.shards[shard].woken.borrow_mut());
            for (request, call) in woken {
                self.note_call(request, call);
                let at = self.now + self.rng.between(0, WAKE_DELAY_MAX);
                self.plan(at, Event::Woken(request));
            }
        }
    }

    fn note_call(&mut self, request: RequestId, call: Call) {
        // One that has just come is woken before it is back among the others.
        let Some(request) = self.requests.get_mut(&request) else { return };
        if let Some(wait) = &mut request.wait {
            wait.is_called = true;
            if call == Call::Granted {
                self.watch.note_granted(*wait);
            }
        }
    }

    fn change_behaviour(&mut self) {
        let server = self.rng.below(self.setup.servers.len());
        let mode = if self.rng.one_in(2) { Mode::Well } else { *self.rng.choose(&Mode::ALL) };
        self.shared.truths[server].become_(mode);
        if mode == Mode::Dead {
            let hit = self.requests.values().filter_map(|request| {
                let is_first = request.slot == Some(server) && request.connection.is_some();
                let hedged = request.hedge.as_ref().filter(|hedge| hedge.server() == server);
                let attempt = is_first.then_some(request.attempt);
                attempt.or(hedged.map(|hedge| hedge.attempt())).map(|attempt| (request.id, attempt))
            });
            for (request, attempt) in hit.collect::<Vec<_>>() {
                let at = self.now + self.rng.between(1, 100);
                self.plan(at, Event::Answer { request, attempt, input: Input::ServerReset });
            }
        }
        self.plan_again(40_000, Event::Fault);
    }
}

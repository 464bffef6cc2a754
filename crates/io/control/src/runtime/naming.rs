//! Resolving the names of servers: asking, telling, and waiting for the first answers.
//!
//! Owns the timer's business and the beginning of the shards; leaves who is asked what to `discovery`. Invariant: the shards start
//! once every name has been answered or found to be without an answer, or when the wait is over.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Phase, Runtime, StartError};
use crate::discovery::{self, ask};
use crate::flood::Topic;
use crate::log::{Level, Line};
use crate::shards::{self, Go};
use crate::{privileges, process};

/// How long a start waits for the first answers: two tries of two resolvers that do not answer, at the default timeout.
const FIRST_ANSWERS_PATIENCE: Duration = Duration::from_secs(4);

impl Runtime {
    /// Begins what is due, and gives up addresses that have been held long enough.
    pub(super) fn resolve_names(&self) {
        let now = self.shard.clock.now();
        let moved = self.publisher.borrow_mut().discovery.begin_due(now);
        self.place_servers(&moved, now);
        self.ask_resolvers();
    }

    fn ask_resolvers(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let now = self.shard.clock.now();
        loop {
            let begun = self.publisher.borrow_mut().discovery.take_question(now);
            let Some(mut begun) = begun else { return };
            let runtime: Rc<Runtime> = this.clone();
            self.shard.tasks.spawn(async move {
                let note = |begun: &discovery::Begun, address, answered| {
                    let now = runtime.shard.clock.now();
                    let discovery = &mut runtime.publisher.borrow_mut().discovery;
                    discovery.note_try(begun, address, answered, now);
                };
                let finding = ask::run(&runtime.shard, &runtime.ids, &mut begun, note).await;
                let now = runtime.shard.clock.now();
                let moved = runtime.publisher.borrow_mut().discovery.found(&begun, finding, now);
                runtime.place_servers(&moved, now);
                runtime.ask_resolvers();
            });
        }
    }

    fn place_servers(&self, moved: &[(usize, usize)], now: Instant) {
        let mut publisher = self.publisher.borrow_mut();
        for (backend, server) in moved {
            let place = publisher.discovery.place(*backend, *server);
            publisher.health.set_place((*backend, *server), place, now);
        }
    }

    /// Tells the log what has happened to names, and sets the timer for what is next.
    pub(super) fn tell_names(&self) {
        let now = self.shard.clock.now();
        let told = self.publisher.borrow_mut().discovery.take_told();
        for told in &told {
            let mut flood = self.flood.borrow_mut();
            if flood.admits(Topic::Names, now) {
                discovery::tell(told).write();
            } else if let Some(at) = flood.summary_at() {
                self.shard.timers.borrow_mut().set(self.flood_summary, at);
            }
        }
        if let Some(next) = self.publisher.borrow_mut().discovery.next_to_set() {
            self.shard.timers.borrow_mut().set(self.names_due, next);
        }
    }

    /// Starts the shards, at once where there are no names; otherwise asks for these first.
    pub(super) fn start_or_resolve(&self) -> Result<(), StartError> {
        let now = self.shard.clock.now();
        {
            let discovery = &mut self.publisher.borrow_mut().discovery;
            discovery.apply(&self.config.borrow(), now);
        }
        if self.publisher.borrow().discovery.is_empty() {
            return self.start_shards();
        }
        self.shard.timers.borrow_mut().set(self.first_answers, now + FIRST_ANSWERS_PATIENCE);
        self.resolve_names();
        Ok(())
    }

    /// Whether the shards are still to be started, which happens here once the first answers are there or `waited` for long enough.
    pub(super) fn awaits_answers(&self, waited: bool) -> bool {
        if self.phase.get() != Phase::Starting || !self.links.borrow().is_empty() {
            return false;
        }
        if !waited && !self.publisher.borrow().discovery.is_settled() {
            return true;
        }
        if let Err(error) = self.start_resolved() {
            *self.start_error.borrow_mut() = Some(error);
            self.phase.set(Phase::Ending);
            self.shard.stop();
        }
        false
    }

    fn start_resolved(&self) -> Result<(), StartError> {
        if let Some((name, reason)) = self.publisher.borrow().discovery.prevents_start() {
            let message = format!(
                "{name} has no address ({reason}), and its resolvers have `init = \"fail\"`"
            );
            return Err(StartError::new(message));
        }
        self.start_shards()
    }

    fn start_shards(&self) -> Result<(), StartError> {
        let Some((cpus, writers)) = self.to_start.borrow_mut().take() else { return Ok(()) };
        let config = self.config.borrow().clone();
        let (snapshot, listeners) = self.prepare(&config, cpus.len()).map_err(StartError::new)?;
        let own = listeners.into_iter().zip(writers);
        let mut waiting = Vec::new();
        for ((index, cpu), (listeners, writer)) in cpus.into_iter().enumerate().zip(own) {
            let (snapshot, wakeup) = (snapshot.clone(), self.shard.ring.wakeup());
            let (link, go) = shards::start(index, cpu, snapshot, listeners, wakeup, writer)?;
            self.links.borrow_mut().push(link);
            waiting.push(go);
        }
        // All threads, rings, sockets and files are there; no client has been let in.
        privileges::change(&config.global).map_err(StartError::new)?;
        process::allow_core_dumps(config.global.core_dumps);
        waiting.into_iter().for_each(Go::go);
        self.look_at_traffic();
        Ok(())
    }

    /// Says that nothing has been started yet that a reload could change.
    pub(super) fn refuse_reload(&self) {
        Line::new(Level::Warn, "reload_failed")
            .with("reason", "the start waits for the addresses of names")
            .write();
    }
}

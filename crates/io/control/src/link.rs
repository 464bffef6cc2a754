//! One shard as the control plane sees it: its thread, its queues, and what it has not taken yet.
//!
//! Owns the commands that found the queue full; leaves what they mean to the data plane. Invariant: a shard that takes
//! commands late ends up with the newest configuration, every socket that was opened for it and the newest state of each
//! server, and the order to end is never lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_proxy::{
    Command, ListenerId, ListenerSpec, Report, ServerChange, ServerStates, Snapshot,
};
use tidegate_shard::{Full, Receiver, Sender, ShardHandle};

/// How long a shard may take to work from a new configuration before the log says so: it turns many times in a millisecond.
pub(crate) const LAG_PATIENCE: Duration = Duration::from_secs(1);

/// The control plane's end of a shard.
pub(crate) struct ShardLink {
    commands: Sender<Command>,
    pub(crate) reports: Receiver<Report>,
    pub(crate) thread: Option<ShardHandle>,
    pub(crate) ended: bool,
    held: Held,
    held_total: u64,
    applied: u64,
    newest: u64,
    behind_since: Option<Instant>,
    is_lagging: bool,
}

/// Commands that found the queue full. At most one configuration, because a newer one replaces it and brings the states of its
/// servers with it; and of each server the newest state.
#[derive(Default)]
struct Held {
    configuration: Option<(Arc<Snapshot>, Vec<ListenerSpec>)>,
    states: BTreeMap<(usize, usize), ServerChange>,
    states_generation: u64,
    /// When the first of `states` was decided.
    states_decided: Option<Instant>,
    ending: Option<Command>,
}

impl Held {
    /// Adds what comes after everything held.
    fn add(&mut self, command: Command) {
        match command {
            Command::Apply(snapshot, mut listeners) => {
                // The replaced snapshot is freed here, where it was made.
                if let Some((_, replaced)) = self.configuration.take() {
                    hand_on_sockets(replaced, &mut listeners);
                }
                self.configuration = Some((snapshot, listeners));
                self.states.clear();
                self.states_decided = None;
            }
            Command::ServerStates(states) => {
                self.states_generation = states.generation;
                let decided =
                    self.states_decided.map_or(states.decided, |at| at.min(states.decided));
                self.states_decided = Some(decided);
                let changes = states.changes.iter();
                self.states
                    .extend(changes.map(|change| ((change.backend, change.server), *change)));
            }
            Command::Drain => {
                self.ending.get_or_insert(Command::Drain);
            }
            Command::Stop => *self = Held { ending: Some(Command::Stop), ..Held::default() },
        }
    }

    fn take(&mut self) -> Option<Command> {
        let configuration = self.configuration.take();
        configuration
            .map(|(snapshot, listeners)| Command::Apply(snapshot, listeners))
            .or_else(|| self.take_states())
            .or_else(|| self.ending.take())
    }

    fn take_states(&mut self) -> Option<Command> {
        if self.states.is_empty() {
            return None;
        }
        let decided = self.states_decided.take()?;
        let changes = std::mem::take(&mut self.states).into_values().collect();
        let states = ServerStates { generation: self.states_generation, decided, changes };
        Some(Command::ServerStates(Arc::new(states)))
    }

    /// Puts back what [`Held::take`] gave.
    fn put_back(&mut self, command: Command) {
        match command {
            Command::Apply(snapshot, listeners) => self.configuration = Some((snapshot, listeners)),
            states @ Command::ServerStates(_) => self.add(states),
            ending @ (Command::Drain | Command::Stop) => self.ending = Some(ending),
        }
    }

    fn is_empty(&self) -> bool {
        self.configuration.is_none() && self.states.is_empty() && self.ending.is_none()
    }
}

/// The shard has not got the sockets of a configuration that it never saw: those that the next one wants are handed on,
/// the others are closed.
fn hand_on_sockets(replaced: Vec<ListenerSpec>, listeners: &mut [ListenerSpec]) {
    let mut sockets: HashMap<ListenerId, _> =
        replaced.into_iter().filter_map(|spec| Some((spec.id, spec.socket?))).collect();
    for spec in listeners.iter_mut().filter(|spec| spec.socket.is_none()) {
        spec.socket = sockets.remove(&spec.id);
    }
}

impl ShardLink {
    /// The link to a shard that has got nothing yet but what it was started with.
    pub(crate) fn new(
        commands: Sender<Command>,
        reports: Receiver<Report>,
        thread: Option<ShardHandle>,
    ) -> ShardLink {
        ShardLink {
            commands,
            reports,
            thread,
            ended: false,
            held: Held::default(),
            held_total: 0,
            applied: 0,
            newest: 0,
            behind_since: None,
            is_lagging: false,
        }
    }

    /// Sends `command`, or holds it until [`ShardLink::deliver`] finds room.
    pub(crate) fn send(&mut self, command: Command, now: Instant) {
        if let Command::Apply(snapshot, _) = &command {
            self.newest = snapshot.generation;
            self.behind_since.get_or_insert(now);
        }
        self.held.add(command);
        self.deliver();
        if !self.held.is_empty() {
            self.held_total += 1;
        }
    }

    /// Sends what is held as far as there is room. A shard that is gone needs nothing more.
    pub(crate) fn deliver(&mut self) {
        if self.commands.is_closed() {
            self.held = Held::default();
        }
        while let Some(command) = self.held.take() {
            if let Err(Full(command)) = self.commands.send(command) {
                self.held.put_back(command);
                return;
            }
        }
    }

    /// Whether the shard has been handed everything that was sent.
    pub(crate) fn has_handed_over(&self) -> bool {
        self.held.is_empty()
    }

    /// Commands that found the queue full so far.
    pub(crate) fn held_total(&self) -> u64 {
        self.held_total
    }

    /// The configuration that the shard works from; 0 before its first word.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// Takes note that the shard works from a configuration, and says whether it has caught up with the newest after having
    /// [lagged](ShardLink::begins_to_lag).
    pub(crate) fn note_applied(&mut self, generation: u64) -> bool {
        self.applied = generation;
        if generation < self.newest {
            return false;
        }
        self.behind_since = None;
        std::mem::take(&mut self.is_lagging)
    }

    /// Whether the shard has been without the newest configuration for [`LAG_PATIENCE`]; once, until it has caught up.
    pub(crate) fn begins_to_lag(&mut self, now: Instant) -> bool {
        let is_late = self.behind_since.is_some_and(|since| now >= since + LAG_PATIENCE);
        !self.ended && is_late && !std::mem::replace(&mut self.is_lagging, true)
    }

    /// Whether the shard has still to take something, or to say that it has.
    pub(crate) fn is_behind(&self) -> bool {
        !self.ended && (self.behind_since.is_some() || !self.held.is_empty())
    }
}

#[cfg(test)]
mod tests;

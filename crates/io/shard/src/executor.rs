//! The shard's loop inside a glommio executor: ring, clock, timers, commands, tasks, sleep.
//!
//! Owns the order of a turn; leaves meaning to the [`Service`]. Invariant: within a turn every source of work has a bound,
//! so none starves the others.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Instant;

use glommio::{LocalExecutorBuilder, Placement};
use tidegate_ring::{ParkToken, Ring, Settings};

use crate::clock::Clock;
use crate::commands::Receiver;
use crate::tasks::{PanicPayload, TaskId, Tasks};
use crate::timers::Timers;

/// Tasks polled in one turn, so that completions and timers get theirs.
const POLLS_PER_TURN_MAX: usize = 4096;

/// Parked sockets given back in one turn, those that have waited longest first; the others wait for the next. What a burst
/// brings is begun in portions, so that what a request touches, in the kernel and here, is still in the cache when its answer
/// comes: with 2,000 connections a sixth less CPU time per request than with 256 a turn. Of fewer than 8 the system calls cost
/// more than that with 64 connections.
const UNPARKED_PER_TURN_MAX: usize = 8;

/// Commands handled in one turn.
const COMMANDS_PER_TURN_MAX: usize = 64;

/// Memory glommio registers for direct I/O, which a shard does not do (its default is 10 MiB, three times over).
const EXECUTOR_IO_MEMORY_BYTES: usize = 64 << 10;

/// Entries of the executor's own rings, which carry nothing but the shard's sleep.
const EXECUTOR_RING_DEPTH: usize = 16;

/// The parts of a shard that its tasks use.
pub struct Shard {
    /// The data ring.
    pub ring: Ring,
    /// Time as of this turn.
    pub clock: Clock,
    /// Deadlines.
    pub timers: RefCell<Timers>,
    /// The connections' tasks.
    pub tasks: Tasks,
    /// Turns taken.
    pub turns: Cell<u64>,
    stopping: Cell<bool>,
}

impl Shard {
    /// Makes a shard on this thread.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn new(settings: &Settings) -> std::io::Result<Rc<Shard>> {
        let ring = Ring::new(settings)?;
        let clock = Clock::default();
        Ok(Rc::new(Shard {
            timers: RefCell::new(Timers::new(clock.now())),
            tasks: Tasks::new(ring.wakeup()),
            turns: Cell::new(0),
            stopping: Cell::new(false),
            ring,
            clock,
        }))
    }

    /// Ends [`drive`] after the current turn.
    pub fn stop(&self) {
        self.stopping.set(true);
    }
}

/// What a shard does with the events of its loop.
pub trait Service {
    /// What the control core sends.
    type Command;

    /// Something arrived on a parked socket.
    fn unparked(&self, token: ParkToken);

    /// A timer made with [`own_payload`] fired.
    fn fired(&self, value: u32);

    /// A command came.
    fn command(&self, command: Self::Command);

    /// A task panicked and is gone.
    fn panicked(&self, task: TaskId, payload: PanicPayload);

    /// The end of each turn, before sleeping if `idle`.
    fn turned(&self, idle: bool);
}

/// Runs the shard until [`Shard::stop`].
pub async fn drive<S: Service>(shard: &Shard, service: &S, mut commands: Receiver<S::Command>) {
    let mut idle = false;
    while !shard.stopping.get() {
        if idle {
            let next = shard.timers.borrow().next();
            shard.ring.sleep_and_turn(next.map(|at| at.saturating_duration_since(Instant::now())));
        } else {
            shard.ring.turn();
        }
        glommio::yield_if_needed().await;
        let now = shard.clock.update();
        begin(shard, service);
        fire_due(shard, service, now);
        let mut handled = 0;
        while handled < COMMANDS_PER_TURN_MAX
            && let Some(command) = commands.receive()
        {
            service.command(command);
            handled += 1;
        }
        shard.tasks.run(POLLS_PER_TURN_MAX, |task, payload| service.panicked(task, payload));
        shard.turns.set(shard.turns.get() + 1);
        idle = shard.ring.unparked_count() == 0
            && !shard.tasks.has_ready()
            && handled < COMMANDS_PER_TURN_MAX;
        service.turned(idle);
        idle &= !shard.tasks.has_ready();
    }
}

/// Begins requests that wait in parked sockets.
fn begin<S: Service>(shard: &Shard, service: &S) {
    for _ in 0..UNPARKED_PER_TURN_MAX {
        let Some(token) = shard.ring.next_unparked() else { return };
        service.unparked(token);
    }
}

/// Calls for the timers whose deadline has passed.
fn fire_due<S: Service>(shard: &Shard, service: &S, now: Instant) {
    if shard.timers.borrow().next().is_none_or(|at| at > now) {
        return;
    }
    let mut fired = Vec::new();
    shard.timers.borrow_mut().advance(now, |payload| fired.push(payload));
    fired.into_iter().for_each(|payload| fire(shard, service, payload));
}

/// Timer payloads: bit 0 tells a task's alarm from the service's own timers.
pub(crate) fn task_payload(task: TaskId) -> u32 {
    task.0 << 1
}

/// The payload of a timer that [`Service::fired`] is to be called for with `value`, below 2^31.
pub fn own_payload(value: u32) -> u32 {
    debug_assert!(value < 1 << 31, "one bit tells the service's timers from the tasks'");
    value << 1 | 1
}

fn fire<S: Service>(shard: &Shard, service: &S, payload: u32) {
    if payload & 1 == 0 {
        shard.tasks.wake(TaskId(payload >> 1));
    } else {
        service.fired(payload >> 1);
    }
}

/// Why an executor could not be started.
#[derive(Debug)]
pub struct ExecutorError {
    /// The thread's name.
    pub name: String,
    cause: String,
}

impl fmt::Display for ExecutorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the executor of {} could not be started: {}", self.name, self.cause)
    }
}

impl std::error::Error for ExecutorError {}

/// A running executor thread.
pub struct ShardHandle(glommio::ExecutorJoinHandle<()>);

impl ShardHandle {
    /// Waits for the thread's end.
    ///
    /// # Errors
    /// What the thread panicked with.
    pub fn join(self) -> Result<(), String> {
        self.0.join().map_err(|error| error.to_string())
    }
}

/// Starts an executor thread named `name`, pinned to `cpu` if one is given, and runs `make`'s future on it.
///
/// # Errors
/// The CPU does not exist, or the kernel refuses the thread or glommio's rings.
pub fn spawn<F, T>(name: &str, cpu: Option<usize>, make: F) -> Result<ShardHandle, ExecutorError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()> + 'static,
{
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .io_memory(EXECUTOR_IO_MEMORY_BYTES)
        .ring_depth(EXECUTOR_RING_DEPTH)
        .spawn(make)
        .map(ShardHandle)
        .map_err(|error| ExecutorError { name: name.to_owned(), cause: error.to_string() })
}

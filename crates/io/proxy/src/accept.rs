//! Accepting on one listener within the limits on connections.
//!
//! Owns the listener and the choice between accepting many at a time and one by one; leaves counting to the budgets.
//! Invariant: near a limit a connection is accepted only after its place was taken, so the limit holds over all shards and
//! the next connection waits in the listen queue.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_ring::{Listener, Socket};
use tidegate_shard::Alarm;

use crate::budget::{Budget, Waiter};
use crate::client::Client;
use crate::command::{Event, EventKind};
use crate::http2::Protocols;
use crate::site::Entrance;
use crate::stream::{Stream, Tls};
use crate::worker::Worker;

/// Pause after a failed accept: the causes (no descriptor, no memory) do not pass in less.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// How long a place is held for a connection that was seen waiting in the listen queue.
const PLACE_HELD_MAX: Duration = Duration::from_millis(5);

/// How long the kernel may take to end an accept.
const STOPPED_MAX: Duration = Duration::from_millis(100);

/// How long a listener that lets no connection begin any more waits for those that have begun: the round trip of most clients.
const HANDSHAKE_PATIENCE: Duration = Duration::from_millis(50);

/// Connections that are taken from a listen queue before it is closed: the longest that the kernel makes by default.
const QUEUED_TAKEN_MAX: usize = 4096;

/// What the worker keeps of an accepting task.
pub(crate) struct Acceptor {
    listener: Listener,
    /// The length that this shard gave the listen queue.
    backlog: Cell<Option<u32>>,
    pub(crate) stopping: Cell<bool>,
    /// Other shards accept from the same queue.
    pub(crate) shared: bool,
    pub(crate) entrance: RefCell<Rc<Entrance>>,
    /// What its clients may speak.
    pub(crate) protocols: Cell<Protocols>,
}

impl Acceptor {
    /// Accepts from `listener` for `entrance`.
    pub(crate) fn new(listener: Listener, shared: bool, entrance: Rc<Entrance>) -> Acceptor {
        Acceptor {
            listener,
            backlog: Cell::new(None),
            stopping: Cell::new(false),
            shared,
            entrance: RefCell::new(entrance),
            protocols: Cell::default(),
        }
    }

    /// Gives the listen queue the length that the configuration says now.
    pub(crate) fn set_backlog(&self, backlog: Option<u32>) {
        if let Some(connections) = backlog
            && self.backlog.replace(backlog) != backlog
        {
            // No socket that listens is refused it.
            let _ = self.listener.set_backlog(connections);
        }
    }

    /// Counts a connection that has been accepted, whatever the limits.
    fn take_places(&self, worker: &Worker) {
        worker.connections().take();
        self.entrance.borrow().connections.take();
    }
}

enum Next {
    Accepted(io::Result<Socket>),
    /// There is not enough room any more to accept many at a time.
    Narrow,
    Stopped,
}

/// Counts an accepting task; the worker has not drained before it has ended.
struct Accepting(Rc<Worker>);

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.acceptor_ended();
    }
}

/// Accepts until told to stop, and then what has been accepted, waits in the listen queue or is on its way there: closing the
/// listener would reset it, with the request that may have come along.
pub(crate) async fn accept_connections(worker: Rc<Worker>, acceptor: Rc<Acceptor>) {
    let Some(task) = worker.shard.tasks.current() else { return };
    let _counted = Accepting(worker.clone());
    let alarm = Alarm::new(&worker.shard, task);
    loop {
        let next = if has_plenty_of_room(&worker, &acceptor) {
            accept_from_many(&worker, &acceptor).await
        } else {
            accept_one(&worker, &acceptor, &alarm).await
        };
        match next {
            Next::Accepted(Ok(socket)) => welcome(&worker, &acceptor, socket),
            Next::Accepted(Err(error)) => {
                worker.stats.accept_errors.increment();
                let mut event = Event::new(EventKind::AcceptFailed, "accept_failed");
                event.frontend = Some(acceptor.entrance.borrow().frontend().name.clone());
                event.detail = error.to_string();
                worker.report_event(event);
                let _ = alarm.within(alarm.now() + FAILURE_PAUSE, |_| stopped(&acceptor)).await;
            }
            Next::Narrow => {}
            Next::Stopped => {
                let rest = |context: &mut Context<'_>| poll_rest(&worker, &acceptor, context);
                let _ = alarm.within(alarm.now() + STOPPED_MAX, rest).await;
                if !acceptor.shared && acceptor.listener.refuse_new().is_ok() {
                    let until = alarm.now() + HANDSHAKE_PATIENCE;
                    let _ = alarm.within(until, |_| Poll::<()>::Pending).await;
                }
                return take_queued(&worker, &acceptor);
            }
        }
    }
}

/// A connection whose place has been taken.
fn welcome(worker: &Worker, acceptor: &Acceptor, socket: Socket) {
    worker.stats.accepted.increment();
    let entrance = acceptor.entrance.borrow().clone();
    let (process, now) = (worker.connections(), worker.shard.clock.now());
    let stream = match entrance.has_tls() {
        true => Stream::Tls(Box::new(Tls::new(socket))),
        false => socket.into(),
    };
    let protocols = acceptor.protocols.get();
    worker.welcome(Box::new(Client::new(stream, entrance, process, now, protocols)));
}

/// Ready when nothing is being accepted any more. What was accepted until then is served, whatever the limit.
fn poll_rest(worker: &Worker, acceptor: &Acceptor, context: &mut Context<'_>) -> Poll<()> {
    let listener = &acceptor.listener;
    listener.stop();
    while let Poll::Ready(accepted) = listener.poll_accept(context) {
        let Ok(socket) = accepted else { continue };
        acceptor.take_places(worker);
        welcome(worker, acceptor, socket);
    }
    if listener.is_accepting() { Poll::Pending } else { Poll::Ready(()) }
}

/// Serves what waits in the listen queue as far as the limits have room. A queue that is shared is left to whoever has it too.
fn take_queued(worker: &Worker, acceptor: &Acceptor) {
    if acceptor.shared {
        return;
    }
    let process = worker.connections();
    let frontend = acceptor.entrance.borrow().connections.clone();
    for socket in acceptor.listener.close(QUEUED_TAKEN_MAX) {
        if try_take_both(&process, &frontend) {
            welcome(worker, acceptor, socket);
        }
    }
}

fn stopped(acceptor: &Acceptor) -> Poll<()> {
    if acceptor.stopping.get() { Poll::Ready(()) } else { Poll::Pending }
}

/// Whether the limits hold even if everything in all listen queues is accepted at once.
fn has_plenty_of_room(worker: &Worker, acceptor: &Acceptor) -> bool {
    let room = worker.connections().room().min(acceptor.entrance.borrow().connections.room());
    room > worker.accept_burst_max()
}

/// The next connection of a multishot accept, which goes on while there is plenty of room.
async fn accept_from_many(worker: &Worker, acceptor: &Acceptor) -> Next {
    let listener = &acceptor.listener;
    let next = poll_fn(|context| {
        if acceptor.stopping.get() {
            return Poll::Ready(Next::Stopped);
        }
        let next = listener.poll_accept(context).map(Next::Accepted);
        if next.is_pending() && !has_plenty_of_room(worker, acceptor) {
            // A reload has brought a limit.
            listener.stop();
            return Poll::Ready(Next::Narrow);
        }
        if next.is_pending() {
            // Also when one that was told to stop has just ended. On a shared queue a multishot accept would take every
            // connection; one at a time, the shard that has waited longest is woken.
            if acceptor.shared {
                listener.accept_one();
            } else {
                listener.accept_many();
            }
        }
        next
    })
    .await;
    if matches!(next, Next::Accepted(Ok(_))) {
        acceptor.take_places(worker);
        if !has_plenty_of_room(worker, acceptor) {
            listener.stop();
        }
    }
    next
}

/// Waits for a connection in the listen queue, then for its place, then accepts it.
async fn accept_one(worker: &Worker, acceptor: &Acceptor, alarm: &Alarm) -> Next {
    let listener = &acceptor.listener;
    // What a multishot accept took before it was stopped comes first; it has been accepted, whatever the limit.
    let mut waiting = false;
    let readiness = poll_fn(|context| {
        if acceptor.stopping.get() {
            return Poll::Ready(Next::Stopped);
        }
        if !waiting {
            match listener.poll_accept(context) {
                Poll::Ready(accepted) => return Poll::Ready(Next::Accepted(accepted)),
                Poll::Pending if listener.is_accepting() => return Poll::Pending,
                Poll::Pending => waiting = true,
            }
        }
        listener
            .poll_waiting(context)
            .map(|ready| Next::Accepted(ready.and(Err(io::ErrorKind::WouldBlock.into()))))
    })
    .await;
    match readiness {
        Next::Accepted(Ok(socket)) => {
            acceptor.take_places(worker);
            return Next::Accepted(Ok(socket));
        }
        Next::Accepted(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
        other => return other,
    }
    let mut waiting = None;
    let Ok(taken) = poll_fn(|_| take_place(worker, acceptor, &mut waiting)).await else {
        return Next::Stopped;
    };
    listener.accept_one();
    let accepted = alarm.within(alarm.now() + PLACE_HELD_MAX, |context| {
        if acceptor.stopping.get() {
            return Poll::Ready(Next::Stopped);
        }
        listener.poll_accept(context).map(Next::Accepted)
    });
    let accepted = accepted.await.unwrap_or_else(|_expired| {
        // Another shard has taken the connection from the queue they share. One that comes before this one has stopped is
        // accepted all the same, and counted then.
        listener.stop();
        Next::Narrow
    });
    if matches!(accepted, Next::Accepted(Ok(_))) {
        let frontend = acceptor.entrance.borrow().connections.clone();
        if !Arc::ptr_eq(&taken, &frontend) {
            // A reload has given the listener to another frontend meanwhile.
            taken.give_back();
            frontend.take();
        }
    } else {
        worker.connections().give_back();
        taken.give_back();
    }
    accepted
}

/// The acceptor was told to stop.
struct Stopped;

/// An acceptor's wait for a place in two budgets.
struct Waiting {
    frontend: Arc<Budget>,
    waiters: [Arc<Waiter>; 2],
}

/// A place in the process's and in the frontend's budget, which is returned; the worker polls again when there may be room.
fn take_place(
    worker: &Worker,
    acceptor: &Acceptor,
    waiting: &mut Option<Waiting>,
) -> Poll<Result<Arc<Budget>, Stopped>> {
    if acceptor.stopping.get() {
        return Poll::Ready(Err(Stopped));
    }
    let (process, frontend) =
        (worker.connections(), acceptor.entrance.borrow().connections.clone());
    if try_take_both(&process, &frontend) {
        return Poll::Ready(Ok(frontend));
    }
    let waiting = match waiting {
        Some(waiting) if Arc::ptr_eq(&waiting.frontend, &frontend) => waiting,
        slot => {
            let waiters = [(); 2].map(|()| Waiter::new(worker.shard.ring.wakeup()));
            slot.insert(Waiting { frontend: frontend.clone(), waiters })
        }
    };
    let [for_process, for_frontend] = &waiting.waiters;
    process.wait(for_process);
    frontend.wait(for_frontend);
    // Room may have come before the waiters asked.
    if try_take_both(&process, &frontend) {
        return Poll::Ready(Ok(frontend));
    }
    worker.wait_for_room(waiting.waiters.clone());
    Poll::Pending
}

/// A full budget is not taken from before the other one: giving back would call those who wait, and two acceptors would call
/// each other for ever.
fn try_take_both(process: &Budget, frontend: &Budget) -> bool {
    if process.room() == 0 || frontend.room() == 0 || !process.try_take() {
        return false;
    }
    let both = frontend.try_take();
    if !both {
        process.give_back();
    }
    both
}

//! Accepting on one listener within the limits on connections.
//!
//! Owns the listener and the choice between accepting many at a time and one by one; leaves counting to the budgets.
//! Invariant: near a limit a connection is accepted only after its place was taken, so the limit holds over all shards and
//! the next connection waits in the listen queue.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tidegate_ring::{Listener, Socket};
use tidegate_shard::Alarm;

use crate::client::Client;
use crate::command::{Event, EventKind};
use crate::site::Entrance;
use crate::worker::Worker;

/// Room below which connections are accepted one by one. A multishot accept takes everything that waits in the listen
/// queue (4,096 by default, `net.core.somaxconn`) of each shard and listener before it can be stopped.
const MANY_ROOM_MIN: u32 = 16_384;

/// Pause after a failed accept: the causes (no descriptor, no memory) do not pass in less.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// What the worker keeps of an accepting task.
pub(crate) struct Acceptor {
    pub(crate) stopping: Cell<bool>,
    pub(crate) entrance: std::cell::RefCell<Rc<Entrance>>,
}

enum Next {
    Accepted(io::Result<Socket>),
    Stopped,
}

/// Accepts until told to stop.
pub(crate) async fn accept_connections(
    worker: Rc<Worker>,
    listener: Listener,
    acceptor: Rc<Acceptor>,
) {
    let Some(task) = worker.shard.tasks.current() else { return };
    let alarm = Alarm::new(&worker.shard, task);
    loop {
        let many = room(&worker, &acceptor) >= MANY_ROOM_MIN;
        let next = if many {
            accept_from_many(&worker, &listener, &acceptor).await
        } else {
            accept_one(&worker, &listener, &acceptor).await
        };
        match next {
            Next::Accepted(Ok(socket)) => {
                worker.stats.accepted.increment();
                let entrance = acceptor.entrance.borrow().clone();
                worker.welcome(Box::new(Client::new(socket, entrance, worker.connections())));
            }
            Next::Accepted(Err(error)) => {
                worker.stats.accept_errors.increment();
                let mut event = Event::new(EventKind::AcceptFailed, "accept_failed");
                event.frontend = Some(acceptor.entrance.borrow().frontend().name.clone());
                event.detail = error.to_string();
                worker.report_event(event);
                let _ = alarm.within(alarm.now() + FAILURE_PAUSE, |_| stopped(&acceptor)).await;
            }
            Next::Stopped => return,
        }
    }
}

fn stopped(acceptor: &Acceptor) -> Poll<()> {
    if acceptor.stopping.get() { Poll::Ready(()) } else { Poll::Pending }
}

fn room(worker: &Worker, acceptor: &Acceptor) -> u32 {
    worker.connections().room().min(acceptor.entrance.borrow().connections.room())
}

/// The next connection of a multishot accept, which goes on while there is plenty of room.
async fn accept_from_many(worker: &Worker, listener: &Listener, acceptor: &Acceptor) -> Next {
    listener.accept_many();
    let next = poll_fn(|context| {
        if acceptor.stopping.get() {
            return Poll::Ready(Next::Stopped);
        }
        listener.poll_accept(context).map(Next::Accepted)
    })
    .await;
    if matches!(next, Next::Accepted(Ok(_))) {
        worker.connections().take();
        acceptor.entrance.borrow().connections.take();
        if room(worker, acceptor) < MANY_ROOM_MIN {
            listener.stop();
        }
    }
    next
}

/// Waits for a connection in the listen queue, then for its place, then accepts it.
async fn accept_one(worker: &Worker, listener: &Listener, acceptor: &Acceptor) -> Next {
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
            worker.connections().take();
            acceptor.entrance.borrow().connections.take();
            return Next::Accepted(Ok(socket));
        }
        Next::Accepted(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
        other => return other,
    }
    if poll_fn(|_| take_place(worker, acceptor)).await.is_err() {
        return Next::Stopped;
    }
    listener.accept_one();
    let accepted = poll_fn(|context| {
        if acceptor.stopping.get() {
            return Poll::Ready(Next::Stopped);
        }
        listener.poll_accept(context).map(Next::Accepted)
    })
    .await;
    if !matches!(accepted, Next::Accepted(Ok(_))) {
        worker.connections().give_back();
        acceptor.entrance.borrow().connections.give_back();
    }
    accepted
}

/// The acceptor was told to stop.
struct Stopped;

/// A place in the process's and in the frontend's budget; the worker polls again when there may be room.
fn take_place(worker: &Worker, acceptor: &Acceptor) -> Poll<Result<(), Stopped>> {
    if acceptor.stopping.get() {
        return Poll::Ready(Err(Stopped));
    }
    let (process, frontend) =
        (worker.connections(), acceptor.entrance.borrow().connections.clone());
    let mut registered = false;
    loop {
        if process.try_take() {
            if frontend.try_take() {
                return Poll::Ready(Ok(()));
            }
            process.give_back();
        }
        if registered {
            worker.wait_for_room();
            return Poll::Pending;
        }
        // Ask to be woken, then look once more: room may have come in between.
        process.wait(worker.shard.ring.wakeup());
        frontend.wait(worker.shard.ring.wakeup());
        registered = true;
    }
}

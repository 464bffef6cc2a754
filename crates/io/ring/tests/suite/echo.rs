//! Many connections echoing at once while each switches between the ways to wait.
//!
//! Owns the stress of correct use; leaves dropping things in the middle to `churn`. Invariant: each
//! client gets back exactly what it sent, in order.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::task::{Poll, Waker};
use std::thread;

use tidegate_ring::{ParkToken, RecvBuf, SendBuf, Settings, Socket};
use tidegate_testkit::{Deadline, Rng, seed};

use crate::peers::{PATIENCE, Pattern, Peer, Transport, connection};
use crate::rig::{Rig, Task, small, with_ring};

const CONNECTIONS: u32 = 64;

/// Where a token brings its news.
#[derive(Default)]
struct Inbox {
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Inbox {
    fn tell(&self) {
        assert!(!self.told.replace(true), "told twice");
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the token, or for `turns` polls, whichever comes first; whether it was the token.
    async fn wait(&self, turns: Option<usize>) -> bool {
        let mut left = turns;
        poll_fn(|context| {
            if self.told.take() {
                return Poll::Ready(true);
            }
            match &mut left {
                Some(0) => return Poll::Ready(false),
                Some(left) => {
                    *left -= 1;
                    context.waker().wake_by_ref();
                }
                None => *self.waker.borrow_mut() = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

/// Receives in a way chosen at random: at once, on demand, or after parking and being told, or after
/// parking and losing patience.
async fn receive(socket: &Socket, token: u32, inbox: &Inbox, rng: &mut Rng) -> Option<RecvBuf> {
    match rng.below(6) {
        0 => socket.set_recv_on_demand(true),
        1 => socket.set_recv_on_demand(false),
        way @ 2..=4 => {
            let impatient = Some(rng.below(5)).filter(|_| way == 2);
            if socket.park(ParkToken(token)) && !inbox.wait(impatient).await {
                socket.unpark();
            }
        }
        _ => {}
    }
    socket.recv().await.expect("the stream ends in order")
}

async fn echo(socket: Socket, token: u32, inbox: &Inbox, mut rng: Rng) {
    while let Some(bytes) = receive(&socket, token, inbox, &mut rng).await {
        // A received buffer is passed on at once: kept while waiting for the next, a few of them on
        // each connection would be all there are.
        let passed_on = rng.below(2) == 0;
        let piece = if passed_on { SendBuf::Recv(bytes) } else { SendBuf::Vec(bytes.to_vec()) };
        socket.queue(piece);
        if passed_on || rng.below(3) > 0 {
            socket.flush();
            socket.flushed(rng.below(100_000)).await.expect("the client reads");
        }
    }
    socket.flush();
    socket.flushed(0).await.expect("the client reads");
    socket.shutdown_write();
}

/// One client's progress through its stream.
struct Client {
    peer: Peer,
    total: u64,
    written: u64,
    read: u64,
    over: bool,
}

impl Client {
    /// Writes and reads what can be without waiting; whether anything could.
    fn step(&mut self, pattern: &Pattern, rng: &mut Rng, buffer: &mut [u8]) -> bool {
        let mut moved = false;
        if self.written < self.total {
            let left = usize::try_from(self.total - self.written).unwrap_or(usize::MAX);
            let bytes = pattern.at(self.written, left.min(1 + rng.below(50_000)));
            if let Some(count) = unless_blocked((&self.peer.0).write(bytes)) {
                self.written += count as u64;
                moved = true;
                if self.written == self.total {
                    self.peer.shutdown_write();
                }
            }
        }
        let wanted = 1 + rng.below(buffer.len());
        if let Some(count) = unless_blocked((&self.peer.0).read(&mut buffer[..wanted])) {
            pattern.check(self.read, &buffer[..count]);
            self.read += count as u64;
            self.over = count == 0;
            moved = true;
        }
        moved
    }
}

fn unless_blocked(result: std::io::Result<usize>) -> Option<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        other => Some(other.expect("the ring's end is open")),
    }
}

/// Drives all clients to their ends on one thread.
fn run_clients(mut clients: Vec<Client>, pattern: &Pattern, mut rng: Rng) {
    let mut buffer = vec![0; 50_000];
    let mut deadline = Deadline::after(PATIENCE);
    while !clients.is_empty() {
        let mut moved = false;
        for client in &mut clients {
            moved |= client.step(pattern, &mut rng, &mut buffer);
        }
        clients.retain(|client| {
            assert!(!client.over || client.read == client.total, "cut at {}", client.read);
            !client.over
        });
        if moved {
            deadline = Deadline::after(PATIENCE);
        }
        assert!(deadline.remaining().is_some(), "{} clients wait in vain", clients.len());
        thread::yield_now();
    }
}

fn echo_to_all(settings: &Settings) {
    let seed = seed();
    let mut rng = seed.rng();
    with_ring(settings, |rig| {
        let pattern = Pattern::new(rng.next_u64());
        let inboxes: Vec<Inbox> = (0..CONNECTIONS).map(|_| Inbox::default()).collect();
        let mut clients = Vec::new();
        let mut tasks = Vec::new();
        for (token, inbox) in (0..).zip(&inboxes) {
            let transport = *rng.choose(&[Transport::Unix, Transport::Tcp]);
            let (socket, peer) = connection(&rig.ring, transport);
            peer.0.set_nonblocking(true).expect("the socket is open");
            let total = rng.below(1_000_000) as u64 + 1;
            clients.push(Client { peer, total, written: 0, read: 0, over: false });
            tasks.push(Task::new(echo(socket, token, inbox, Rng::new(rng.next_u64()))));
        }
        let client_rng = Rng::new(rng.next_u64());
        thread::scope(|scope| {
            let running = scope.spawn(|| run_clients(clients, &pattern, client_rng));
            serve(rig, tasks, &inboxes);
            rig.until("the clients", || running.is_finished());
        });
    });
}

/// Turns the ring, gives out its tokens and runs the tasks to their ends.
fn serve(rig: &Rig, mut tasks: Vec<Task<'_, ()>>, inboxes: &[Inbox]) {
    rig.until("the echoes", || {
        while let Some(ParkToken(token)) = rig.ring.next_unparked() {
            inboxes[usize::try_from(token).expect("small")].tell();
        }
        tasks.retain_mut(|task| task.poll_if_woken().is_pending());
        tasks.is_empty()
    });
}

#[test]
fn sixty_four_clients_get_back_what_they_sent() {
    echo_to_all(&small());
}

#[test]
fn sixty_four_clients_get_back_what_they_sent_through_few_buffers() {
    echo_to_all(&Settings { buffers_max: 16, buffers_initial: 2, ..small() });
}

#[test]
fn sixty_four_clients_get_back_what_they_sent_through_tiny_queues() {
    echo_to_all(&Settings {
        submissions: 2,
        completions: 4,
        completions_per_turn_max: 3,
        ..small()
    });
}

//! Passwords, compared on a thread of their own.
//!
//! Owns the thread and its queue; leaves remembering what was right to each shard. A comparison takes milliseconds to a
//! second on purpose, and anyone can ask for one, so there is one thread, and at most [`QUEUED_MAX`] wait for it: an attack
//! by guessing takes one core at most. Invariant: a shard neither waits nor blocks here, and passwords are wiped when they
//! have been compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_passwords::Users;
use tidegate_routing::Pending;

/// Comparisons that wait. At 100 ms each, what is asked last is answered within the patience of those who ask.
const QUEUED_MAX: usize = 64;

/// How long a request waits for its comparison.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const WAITING: u8 = 0;
const WRONG: u8 = 1;
const RIGHT: u8 = 2;
const ABANDONED: u8 = 3;

/// Compares passwords for all shards.
pub struct Verifier {
    jobs: SyncSender<Job>,
}

/// What is to be compared, and where the rules go on then.
pub(crate) struct Question {
    pub(crate) pending: Pending,
    pub(crate) users: Arc<Users>,
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

struct Job {
    question: Question,
    outcome: Arc<AtomicU8>,
    waker: Waker,
}

/// A comparison that was asked for.
pub(crate) struct Verification(Arc<AtomicU8>);

/// Why a comparison is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many wait.
    Full,
    /// The thread is gone.
    Gone,
}

impl Verifier {
    /// Starts the thread, which ends with the last handle to this.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub fn start() -> std::io::Result<Verifier> {
        let (jobs, waiting) = sync_channel(QUEUED_MAX);
        std::thread::Builder::new().name("verifier".into()).spawn(move || work(&waiting))?;
        Ok(Verifier { jobs })
    }

    /// Asks for a comparison; `context`'s task is woken when it is made.
    pub(crate) fn ask(
        &self,
        question: Question,
        context: &Context<'_>,
    ) -> Result<Verification, Refusal> {
        let outcome = Arc::new(AtomicU8::new(WAITING));
        let job = Job { question, outcome: outcome.clone(), waker: context.waker().clone() };
        match self.jobs.try_send(job) {
            Ok(()) => Ok(Verification(outcome)),
            Err(TrySendError::Full(_)) => Err(Refusal::Full),
            Err(TrySendError::Disconnected(_)) => Err(Refusal::Gone),
        }
    }
}

impl Verification {
    /// Whether the password was right.
    pub(crate) fn poll(&self) -> Poll<bool> {
        match self.0.load(Ordering::Acquire) {
            WAITING => Poll::Pending,
            outcome => Poll::Ready(outcome == RIGHT),
        }
    }
}

impl Drop for Verification {
    /// Nobody wants to know any more: the comparison need not be made.
    fn drop(&mut self) {
        let _ = self.0.compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.password.fill(0);
    }
}

fn work(waiting: &Receiver<Job>) {
    while let Ok(job) = waiting.recv() {
        if job.outcome.load(Ordering::Acquire) == ABANDONED {
            continue;
        }
        let is_right = job.question.users.verify(&job.question.user, &job.question.password);
        job.outcome.store(if is_right { RIGHT } else { WRONG }, Ordering::Release);
        job.waker.wake_by_ref();
    }
}

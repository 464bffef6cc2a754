//! The control plane's end: opening logs, closing them, and ending the thread.
//!
//! Owns the identities of logs; leaves everything that waits for a target to the writing thread. Invariant: an id is
//! given to another log only after every line with it has been taken from the rings.

use crate::bell::Bell;
use crate::counters::{Counters, Counts};
use crate::destination::{Destination, Listener};
use crate::drain::Drain;
use crate::message::{Event, Message};
use crate::ring::{Writer, ring};
use crate::settings::Settings;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most logs at a time: a few targets, twice during a reload. Each may hold an outbox of 1 MiB.
pub const LOGS_MAX: usize = 32;

/// How long the writing thread may take to answer: it does between two writes, and a disk may be slow.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How much longer than it was given the end may take when the thread is waiting for a disk.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// Names a log on the request path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(u8);

impl LogId {
    pub(crate) fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < LOGS_MAX).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    pub(crate) fn code(self) -> u8 {
        self.0
    }
}

/// Which ids are in use.
#[derive(Debug, Default)]
pub(crate) struct Ids(Mutex<[bool; LOGS_MAX]>);

impl Ids {
    fn take(&self) -> Option<LogId> {
        let mut used = lock(&self.0);
        let free = used.iter().position(|used| !*used)?;
        used[free] = true;
        LogId::new(free)
    }

    pub(crate) fn free(&self, index: usize) {
        if let Some(used) = lock(&self.0).get_mut(index) {
            *used = false;
        }
    }
}

/// An open log. It is closed when its last clone is dropped and what was pushed before is written; whatever can push
/// lines with its [`LogId`] must therefore hold a clone.
#[derive(Clone, Debug)]
pub struct Log(Arc<Open>);

#[derive(Debug)]
struct Open {
    id: LogId,
    name: String,
    counters: Arc<Counters>,
    inbox: Sender<Message>,
    bell: Arc<Bell>,
}

impl Drop for Open {
    fn drop(&mut self) {
        // Without a thread there is nothing to close.
        let _ = self.inbox.send(Message::Close { log: self.id.index() });
        self.bell.ring();
    }
}

impl Log {
    /// What to push lines with.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.0.id
    }

    /// The target, as the configuration writes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What was written and lost since it was opened.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counters.counts()
    }
}

/// All logs of the process, and the thread that writes them.
pub struct Logs {
    inbox: Sender<Message>,
    bell: Arc<Bell>,
    ids: Arc<Ids>,
    totals: Arc<Counters>,
    listener: Listener,
    /// For settings that are opened again while they are open.
    open: Mutex<Vec<(Settings, Weak<Open>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Logs {
    /// Starts the writing thread; one writer for each shard. `listener` is called on that thread and must not wait.
    ///
    /// # Errors
    ///
    /// When there is no descriptor or no thread to be had.
    pub fn start(
        shards_count: usize,
        listener: impl Fn(Event<'_>) + Send + Sync + 'static,
    ) -> io::Result<(Self, Vec<Writer>)> {
        let bell = Arc::new(Bell::new()?);
        let (writers, readers): (Vec<_>, Vec<_>) = (0..shards_count).map(|_| ring(&bell)).unzip();
        let (inbox, messages) = channel();
        let ids = Arc::<Ids>::default();
        let totals = Arc::new(Counters::new());
        let drain =
            Drain::new(Arc::clone(&bell), readers, messages, Arc::clone(&ids), Arc::clone(&totals));
        let builder = std::thread::Builder::new().name("access-log".to_owned());
        let thread = Some(builder.spawn(move || drain.run())?);
        let (listener, open): (Listener, _) = (Arc::new(listener), Mutex::new(Vec::new()));
        Ok((Self { inbox, bell, ids, totals, listener, open, thread }, writers))
    }

    /// Opens a log, or gives another clone of the one with equal settings. Looks names up and opens files on the
    /// calling thread, with its privileges; a socket's peer that is away is no error, and is tried again.
    ///
    /// # Errors
    ///
    /// When a name is unknown, a file cannot be opened, there are [`LOGS_MAX`] logs, or the thread does not answer.
    pub fn open(&self, settings: &Settings) -> io::Result<Log> {
        let mut open = lock(&self.open);
        open.retain(|(_, log)| log.strong_count() > 0);
        let known = open.iter().find(|(known, _)| known == settings);
        if let Some(log) = known.and_then(|(_, log)| log.upgrade()) {
            return Ok(Log(log));
        }
        let counters = Arc::new(Counters::new());
        let destination = Box::new(Destination::open(
            settings,
            Arc::clone(&counters),
            Arc::clone(&self.totals),
            Arc::clone(&self.listener),
        )?);
        let id = self.ids.take().ok_or_else(|| io::Error::other("too many logs are open"))?;
        let (done, answer) = sync_channel(0);
        self.send(Message::Open { log: id.index(), destination, done })?;
        // The answer is that the other end is dropped.
        if answer.recv_timeout(ANSWER_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let log = Arc::new(Open {
            id,
            name: settings.target.to_string(),
            counters,
            inbox: self.inbox.clone(),
            bell: Arc::clone(&self.bell),
        });
        open.push((settings.clone(), Arc::downgrade(&log)));
        Ok(Log(log))
    }

    /// Opens all files anew under their names, after they were rotated; what was pushed before goes to the old ones.
    pub fn reopen(&self) {
        // Without a thread there is no file.
        let _ = self.send(Message::Reopen);
    }

    /// Waits until everything that was pushed is written, no longer than `patience`, or 5 s more when a disk
    /// makes the thread wait; whether it is.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        self.ask(patience, ANSWER_PATIENCE, |deadline, done| Message::Flush { deadline, done })
    }

    /// Writes what was pushed, gives the rest up after `patience`, and ends the thread; whether everything was
    /// written. When a disk makes the thread wait, 1 s more is waited and the thread is left behind. The shards have stopped: what they push from now on is lost uncounted.
    pub fn stop(mut self, patience: Duration) -> bool {
        let written =
            self.ask(patience, STOP_SLACK, |deadline, done| Message::Stop { deadline, done });
        // A thread that did not answer waits for a disk; the process ends without it.
        if let Some(thread) = self.thread.take()
            && (written || thread.is_finished())
        {
            // It has no result, and a panic has been reported.
            let _ = thread.join();
        }
        written
    }

    /// What was written and lost in all logs since the start, also in those that are closed.
    #[must_use]
    pub fn totals(&self) -> Counts {
        self.totals.counts()
    }

    /// Asks for everything to be written. The thread answers at the deadline; `slack` is for its way there.
    fn ask(
        &self,
        patience: Duration,
        slack: Duration,
        message: impl FnOnce(Instant, SyncSender<bool>) -> Message,
    ) -> bool {
        let (done, answer) = sync_channel(1);
        let sent = self.send(message(Instant::now() + patience, done));
        sent.is_ok() && answer.recv_timeout(patience + slack) == Ok(true)
    }

    fn send(&self, message: Message) -> io::Result<()> {
        let sent = self.inbox.send(message);
        self.bell.ring();
        sent.map_err(|_| io::Error::other("the thread that writes logs has ended"))
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let (done, _) = sync_channel(1);
            // Whoever wanted what is left to be written has called `stop`.
            let _ = self.send(Message::Stop { deadline: Instant::now(), done });
        }
    }
}

/// A panic while a list was changed leaves it usable: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

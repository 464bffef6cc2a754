//! The thread that has certificates ordered and renewed.
//!
//! Owns which one is due and what became of it; leaves the dialogue to `order` and the times to `schedule`. Invariant: one order
//! is under way at a time, in all processes that share a storage; and a certificate that is good is left alone.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tidegate_tls::{Automatic, Certificate, Challenges, Fault, read_stored};

use crate::failure::{Failure, Step};
use crate::order::{Dialogue, Stopped};
use crate::storage::{self, Lock};
use crate::transport::{Exchange, Https, Transport};
use crate::{Event, Reason, schedule};

/// Longest sleep: the clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(600);

/// While another process has the storage, it is looked at so often.
const LOCKED_PAUSE: Duration = Duration::from_secs(5);

/// After the start, and after a new certificate, the authority is asked when to renew within so long, and not at once.
const FIRST_ASK: Duration = Duration::from_secs(3600);

/// Until it is asked again after it did not answer, or does not say so at all.
const NO_ANSWER: Duration = Duration::from_secs(6 * 3600);

/// How an authority is spoken to.
pub(crate) type Connect = dyn Fn(&Automatic) -> Result<Arc<dyn Exchange>, String> + Send + Sync;

/// What the log is told through.
pub(crate) type Tell = dyn Fn(Event) + Send + Sync;

/// What a scrape says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Orders that were begun.
    pub orders: u64,
    /// Those that led to no certificate.
    pub failures: u64,
    /// When each certificate is ordered next, by its first domain.
    pub next: Vec<(String, SystemTime)>,
}

/// What is wanted.
#[derive(Default)]
struct Wanted {
    settings: Vec<Arc<Automatic>>,
    stopping: bool,
}

struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    figures: Mutex<Figures>,
    challenges: Arc<Challenges>,
    tell: Box<Tell>,
    connect: Box<Connect>,
}

/// The thread that has certificates ordered and renewed; its drop ends it.
pub struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it with nothing to do. `tell` is called on its thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(challenges: Arc<Challenges>, tell: Box<Tell>) -> io::Result<Self> {
        let https = |settings: &Automatic| -> Result<Arc<dyn Exchange>, String> {
            Ok(Arc::new(Https::new(settings)?))
        };
        Self::with(challenges, tell, Box::new(https))
    }

    pub(crate) fn with(
        challenges: Arc<Challenges>,
        tell: Box<Tell>,
        connect: Box<Connect>,
    ) -> io::Result<Self> {
        let (wanted, figures) = (Mutex::default(), Mutex::default());
        let changed = Condvar::new();
        let shared = Arc::new(Shared { wanted, changed, figures, challenges, tell, connect });
        let its = shared.clone();
        let thread = std::thread::Builder::new().name("acme".into()).spawn(move || run(&its))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on these are ordered and renewed. What was wanted before and is no longer is given up, in the middle of an
    /// order too; what is wanted still goes on.
    pub fn follow(&self, settings: Vec<Arc<Automatic>>) {
        let mut distinct: Vec<Arc<Automatic>> = Vec::new();
        for one in settings {
            // Several binds may show the same.
            let file = one.certificate_file();
            if !distinct.iter().any(|known| known.certificate_file() == file) {
                distinct.push(one);
            }
        }
        self.shared.wanted().settings = distinct;
        self.shared.changed.notify_all();
    }

    /// Gives everything up; a request that is under way is not waited for.
    pub fn stop(&self) {
        self.shared.wanted().stopping = true;
        self.shared.changed.notify_all();
    }

    /// What a scrape says.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.figures().clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
        // What it does may take as long as a request; it holds nothing that the end of the process would not give back.
        drop(self.thread.take());
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for so long while `goes_on`; whether it does.
    fn wait(&self, pause: Duration, goes_on: impl Fn(&Wanted) -> bool) -> bool {
        let until = Instant::now() + pause;
        let mut wanted = self.wanted();
        while goes_on(&wanted) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(wanted, left);
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

/// One certificate.
struct Job {
    settings: Arc<Automatic>,
    /// Failures in a row.
    failures: u32,
    /// When it is ordered next, or looked at whether that is needed.
    due: SystemTime,
    /// When the authority is asked when to renew.
    ask_at: SystemTime,
    /// What it said, and of which certificate.
    window: Option<(String, (SystemTime, SystemTime))>,
    is_waiting: bool,
}

impl Job {
    fn new(settings: Arc<Automatic>, now: SystemTime) -> Self {
        let ask_at = now + FIRST_ASK.mul_f64(chance());
        Self { settings, failures: 0, due: now, ask_at, window: None, is_waiting: false }
    }

    /// When a certificate is renewed.
    fn renew_at(&self, certificate: &Certificate) -> SystemTime {
        let chance = own_chance(certificate);
        let end = certificate.not_after();
        match &self.window {
            Some((of, window)) if of == certificate.fingerprint() => {
                schedule::renew_within(*window, end, chance)
            }
            _ => schedule::renew_at(certificate.not_before(), end, chance),
        }
    }
}

fn run(shared: &Shared) {
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        let wanted = {
            let wanted = shared.wanted();
            if wanted.stopping {
                return;
            }
            wanted.settings.clone()
        };
        let now = SystemTime::now();
        jobs.retain(|job| wanted.contains(&job.settings));
        for settings in &wanted {
            if !jobs.iter().any(|job| job.settings == *settings) {
                jobs.push(Job::new(settings.clone(), now));
            }
        }
        for job in &mut jobs {
            let settings = job.settings.clone();
            if shared.wait(Duration::ZERO, |wanted| wanted.goes_on_with(&settings)) {
                let attended = catch_unwind(AssertUnwindSafe(|| shared.attend(job)));
                if attended.is_err() {
                    shared.challenges.clear();
                    let detail = "a fault of this program, which has said more on standard error";
                    shared.failed(job, Failure::new(Step::Order, detail));
                }
            }
        }
        let next = |job: &Job| (job.settings.domains[0].clone(), job.due);
        shared.figures().next = jobs.iter().map(next).collect();
        let now = SystemTime::now();
        let first = jobs.iter().map(|job| job.due.min(job.ask_at)).min();
        let pause = first.map_or(SLEEP_MAX, |at| at.duration_since(now).unwrap_or_default());
        let same = |now: &Wanted| !now.stopping && now.settings == wanted;
        shared.wait(pause.min(SLEEP_MAX), same);
    }
}

impl Wanted {
    fn goes_on_with(&self, settings: &Arc<Automatic>) -> bool {
        !self.stopping && self.settings.contains(settings)
    }
}

impl Shared {
    /// Does what is due for a certificate.
    fn attend(&self, job: &mut Job) {
        let now = SystemTime::now();
        if job.due > now && job.ask_at > now {
            return;
        }
        if job.ask_at <= now {
            self.ask(job, now);
        }
        if job.due > now && job.window.is_none() {
            return;
        }
        if self.rest_if_good(job, now).is_ok() {
            return;
        }
        // Not even for a renewal that the authority asks for is a failure tried again before its time.
        if job.due > now && job.failures > 0 {
            return;
        }
        match self.order(job) {
            Ok(Some(certificate)) => {
                job.failures = 0;
                job.is_waiting = false;
                job.due = job.renew_at(&certificate);
                job.ask_at = SystemTime::now() + FIRST_ASK.mul_f64(chance());
                (self.tell)(Event::Obtained {
                    domains: job.settings.domains.clone(),
                    file: job.settings.certificate_file(),
                    not_after: certificate.not_after(),
                    renew_at: job.due,
                });
            }
            Ok(None) => {}
            Err(Stopped::Abandoned) => {}
            Err(Stopped::Failed(failure)) => self.failed(job, failure),
        }
    }

    /// Whether the kept certificate is good for now: then it is looked at again when it is to be renewed.
    fn rest_if_good(&self, job: &mut Job, now: SystemTime) -> Result<(), Reason> {
        let file = job.settings.certificate_file();
        let kept = match read_stored(&file) {
            Ok(kept) => kept,
            Err(fault) => {
                let is_there = !matches!(fault, Fault::Unreadable(_)) || file.exists();
                if is_there && job.failures == 0 {
                    (self.tell)(Event::Unusable { file, reason: fault.to_string() });
                }
                return Err(Reason::Missing);
            }
        };
        if !job.settings.is_covered_by(&kept) {
            return Err(Reason::OtherNames);
        }
        let renew_at = job.renew_at(&kept);
        if renew_at <= now {
            return Err(Reason::Renewal);
        }
        job.due = renew_at;
        job.failures = 0;
        job.is_waiting = false;
        Ok(())
    }

    /// Orders it; none: another process is at it, or has done it meanwhile.
    fn order(&self, job: &mut Job) -> Result<Option<Certificate>, Stopped> {
        let settings = job.settings.clone();
        storage::prepare(&settings).map_err(|why| Failure::new(Step::Storage, why))?;
        let lock = Lock::take(&settings).map_err(|error| Failure::new(Step::Storage, error))?;
        let Some(_lock) = lock else {
            if !std::mem::replace(&mut job.is_waiting, true) {
                (self.tell)(Event::Waiting { domains: settings.domains.clone() });
            }
            job.due = SystemTime::now() + LOCKED_PAUSE;
            return Ok(None);
        };
        let Err(reason) = self.rest_if_good(job, SystemTime::now()) else { return Ok(None) };
        let before = read_stored(&settings.certificate_file()).ok();
        (self.tell)(Event::Ordering {
            domains: settings.domains.clone(),
            directory: settings.directory.clone(),
            reason,
        });
        self.figures().orders += 1;
        let pause = |pause| self.wait(pause, |wanted| wanted.goes_on_with(&settings));
        let dialogue = self.dialogue(&settings, &pause)?;
        dialogue.order(before.as_ref()).map(Some)
    }

    fn dialogue<'a>(
        &'a self,
        settings: &'a Automatic,
        pause: &'a dyn Fn(Duration) -> bool,
    ) -> Result<Dialogue<'a>, Failure> {
        let exchange = (self.connect)(settings);
        let exchange = exchange.map_err(|why| Failure::new(Step::Account, why))?;
        let transport = Transport::new(exchange);
        let challenges = &self.challenges;
        Ok(Dialogue { settings, transport, challenges, pause, tell: &*self.tell })
    }

    /// Asks the authority when a certificate is to be renewed. That it does not say is no failure.
    fn ask(&self, job: &mut Job, now: SystemTime) {
        job.ask_at = now + NO_ANSWER;
        let Ok(kept) = read_stored(&job.settings.certificate_file()) else { return };
        let settings = job.settings.clone();
        let Ok(dialogue) = self.dialogue(&settings, &|_| false) else { return };
        let Ok(Some((info, after))) = dialogue.renewal(&kept) else { return };
        let window = info.suggested_window;
        job.window =
            Some((kept.fingerprint().to_owned(), (window.start.into(), window.end.into())));
        job.ask_at = now + schedule::ask_again(after);
    }

    fn failed(&self, job: &mut Job, failure: Failure) {
        self.figures().failures += 1;
        job.failures = job.failures.saturating_add(1);
        let now = SystemTime::now();
        let first = job.settings.retry_delay;
        job.due = schedule::try_again_at(now, job.failures, first, failure.asked, chance());
        let kept = read_stored(&job.settings.certificate_file()).ok();
        let until = kept.map(|kept| kept.not_after()).filter(|end| *end > now);
        (self.tell)(Event::Failed {
            domains: job.settings.domains.clone(),
            directory: job.settings.directory.clone(),
            failure,
            failures: job.failures,
            next: job.due,
            until,
        });
    }
}

/// A number in 0..1.
fn chance() -> f64 {
    fraction(u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0))
}

/// The same one for a certificate whenever it is asked for, so that its renewal has one moment.
fn own_chance(certificate: &Certificate) -> f64 {
    let digits = certificate.fingerprint().get(..8).unwrap_or_default();
    fraction(u32::from_str_radix(digits, 16).unwrap_or(0))
}

fn fraction(number: u32) -> f64 {
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

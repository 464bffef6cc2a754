//! One log on the writing thread: its target, what waits for it, and what it lost.
//!
//! Owns framing, trying again, and telling of lost lines; leaves writing to `sink` and the rings to `drain`.
//! Invariant: every line taken is counted once, as written or as dropped with the cause that holds at that time.

use crate::counters::{Cause, Counters};
use crate::message::Event;
use crate::outbox::{Kind, Outbox};
use crate::settings::{Notices, Settings};
use crate::sink::{Outcome, Place, Separation, Sink, Tally, Waits, cause_of};
use rustix::event::PollFlags;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tidegate_access_log::{
    DateCache, Framing, Severity, SyslogHeader, Timestamp, append_octet_count,
};

/// Between two attempts at a target that failed: at first, and at most. The outbox lasts for about the first.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// Between two messages about lost lines, so that they do not become the log.
const NOTICE_INTERVAL: Duration = Duration::from_secs(1);

/// Who hears of events.
pub(crate) type Listener = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// The time of one pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    wall: Timestamp,
}

impl Now {
    pub(crate) fn read() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        Self { instant: Instant::now(), wall: Timestamp(micros) }
    }
}

/// One log.
pub(crate) struct Destination {
    name: String,
    place: Place,
    separation: Separation,
    framing: Framing,
    header: SyslogHeader,
    dates: DateCache,
    notices: Notices,
    sink: Option<Sink>,
    outbox: Outbox,
    /// Reused for the header of each message.
    head: Vec<u8>,
    /// Why lines that find no room are lost, while it is not just that the target is slow.
    trouble: Option<Cause>,
    /// Whether the target was full in this pass: asking again for each line would be a system call for each.
    full: bool,
    retry_at: Option<Instant>,
    retry_after: Duration,
    lost: [u64; Cause::ALL.len()],
    noticed_at: Option<Instant>,
    closes_at: Option<Instant>,
    counters: Arc<Counters>,
    totals: Arc<Counters>,
    listener: Listener,
}

impl Destination {
    /// Opens the target. A peer that is away is tried again; anything else that fails is an error.
    pub(crate) fn open(
        settings: &Settings,
        counters: Arc<Counters>,
        totals: Arc<Counters>,
        listener: Listener,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let place = Place::find(&settings.target)?;
        let Settings { framing, facility, .. } = *settings;
        let host = settings.host.as_deref();
        let mut destination = Self {
            name: settings.target.to_string(),
            separation: place.separation(),
            framing,
            header: SyslogHeader::new(framing, facility, host, &settings.tag, std::process::id()),
            dates: DateCache::new(settings.utc_offset_seconds),
            notices: settings.notices,
            sink: None,
            outbox: Outbox::default(),
            head: Vec::new(),
            trouble: None,
            full: false,
            retry_at: None,
            retry_after: RETRY_AFTER,
            lost: [0; Cause::ALL.len()],
            noticed_at: None,
            closes_at: None,
            counters,
            totals,
            listener,
            place,
        };
        match destination.place.open(now) {
            Ok(sink) => destination.sink = Some(sink),
            Err(error) if destination.place.has_peer() => destination.failed(&error, now),
            Err(error) => return Err(error),
        }
        Ok(destination)
    }

    /// A line of the log.
    pub(crate) fn take(&mut self, severity: Severity, line: &[u8], now: Now) {
        if self.enqueue(Kind::Line, severity, line, now) {
            return;
        }
        self.write(now);
        if !self.enqueue(Kind::Line, severity, line, now) {
            let is_there = self.sink.as_ref().is_some_and(Sink::is_connected);
            let cause = if is_there { Cause::Slow } else { Cause::Unavailable };
            self.lose(self.trouble.unwrap_or(cause), 1);
        }
    }

    /// Lines that a shard could not hand over.
    pub(crate) fn overflowed(&mut self, lines: u64) {
        self.lose(Cause::RingFull, lines);
    }

    /// A new pass: the target may have room again.
    pub(crate) fn begin(&mut self) {
        self.full = false;
    }

    /// Writes what the target takes, and what there is to say about lost lines.
    pub(crate) fn flush(&mut self, now: Now) {
        if self.write(now) && self.tell_lost(now) {
            self.write(now);
        }
    }

    /// The file under the target's name may be another now.
    pub(crate) fn reopen(&mut self, now: Now) {
        if !matches!(self.sink, Some(Sink::File(_)) | None) {
            return;
        }
        self.retry_at = None;
        self.write(now);
        match self.place.open(now.instant) {
            Ok(sink) => {
                self.outbox.rewind();
                self.sink = Some(sink);
                self.full = false;
            }
            // The old file is better than none.
            Err(error) if self.sink.is_some() => {
                let cause = cause_of(&error);
                (self.listener)(Event::Failed { log: &self.name, cause, error: &error });
            }
            Err(error) => self.failed(&error, now.instant),
        }
    }

    /// No more lines come; what waits is given up at this time.
    pub(crate) fn close_at(&mut self, deadline: Instant) {
        self.closes_at = Some(deadline);
        self.noticed_at = None;
    }

    /// Whether it was closed and nothing is left to do, or no time to do it.
    pub(crate) fn is_over(&self, now: Now) -> bool {
        self.closes_at.is_some_and(|deadline| self.is_idle() || now.instant >= deadline)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Gives up what is left; how many lines that is.
    pub(crate) fn finish(&mut self) -> u64 {
        let given_up = self.outbox.clear();
        self.lose(Cause::Closed, given_up);
        for cause in Cause::ALL {
            let lines = std::mem::take(&mut self.lost[cause.index()]);
            if lines > 0 {
                (self.listener)(Event::Lost { log: &self.name, lines, cause });
            }
        }
        given_up
    }

    /// What to wait for.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let connecting = self.sink.as_ref().is_some_and(|sink| !sink.is_connected());
        let waits = (!self.outbox.is_empty() || connecting) && self.retry_at.is_none();
        let waits = if waits { Waits::ForRoom } else { Waits::ForNothing };
        self.sink.as_ref().and_then(|sink| sink.interest(waits))
    }

    /// When there is something to do even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let has_lost = self.lost.iter().any(|lines| *lines > 0);
        let retry = self.retry_at.filter(|_| has_lost || !self.outbox.is_empty());
        // While something waits for the target, the target is what tells.
        let is_quiet = self.outbox.is_empty() && self.retry_at.is_none();
        let notice = self.noticed_at.filter(|_| has_lost && is_quiet);
        let notice = notice.map(|at| at + NOTICE_INTERVAL);
        let connect = self.sink.as_ref().and_then(Sink::deadline);
        [retry, notice, connect, self.closes_at].into_iter().flatten().min()
    }

    fn enqueue(&mut self, kind: Kind, severity: Severity, line: &[u8], now: Now) -> bool {
        self.head.clear();
        self.header.append(severity, now.wall, &mut self.dates, &mut self.head);
        match (self.separation, self.framing) {
            (Separation::Datagrams, _) => self.outbox.push(kind, &[&self.head, line]),
            (Separation::LineBreaks, _) | (Separation::OctetCounts, Framing::Plain) => {
                self.outbox.push(kind, &[&self.head, line, b"\n"])
            }
            (Separation::OctetCounts, Framing::Rfc3164 | Framing::Rfc5424) => {
                let header_bytes = self.head.len();
                append_octet_count(header_bytes + line.len(), &mut self.head);
                let (header, count) = self.head.split_at(header_bytes);
                self.outbox.push(kind, &[count, header, line])
            }
        }
    }

    /// Writes; whether the target is in order and took something.
    fn write(&mut self, now: Now) -> bool {
        if self.full || self.retry_at.is_some_and(|at| now.instant < at) {
            return false;
        }
        let is_new = self.sink.is_none();
        if is_new && !self.open_again(now.instant) {
            return false;
        }
        let Some(sink) = &mut self.sink else { return false };
        let was_connected = sink.is_connected() && !is_new;
        let mut tally = Tally::default();
        let outcome = sink.write(&mut self.outbox, &mut tally, now.instant);
        let is_connected = sink.is_connected();
        self.counters.wrote(tally.lines, tally.bytes);
        self.totals.wrote(tally.lines, tally.bytes);
        self.lose(Cause::TooLong, tally.too_long);
        self.lose(Cause::Unavailable, tally.refused);
        match outcome {
            Outcome::Done => self.works(was_connected),
            Outcome::Full => {
                self.full = true;
                if is_connected {
                    self.works(was_connected);
                }
                is_connected && tally.lines > 0
            }
            Outcome::Stuck(error) => {
                self.failed(&error, now.instant);
                false
            }
            Outcome::Broken(error) => {
                self.sink = None;
                self.outbox.rewind();
                self.failed(&error, now.instant);
                false
            }
        }
    }

    fn open_again(&mut self, now: Instant) -> bool {
        match self.place.open(now) {
            Ok(sink) => {
                self.sink = Some(sink);
                self.separation = self.place.separation();
                self.retry_at = None;
                true
            }
            Err(error) => {
                self.failed(&error, now);
                false
            }
        }
    }

    /// The target takes lines; always true, for its callers.
    fn works(&mut self, was_connected: bool) -> bool {
        self.retry_at = None;
        self.retry_after = RETRY_AFTER;
        if self.trouble.take().is_some() {
            if !was_connected {
                self.counters.reconnected();
                self.totals.reconnected();
            }
            (self.listener)(Event::Restored { log: &self.name });
        }
        true
    }

    fn failed(&mut self, error: &io::Error, now: Instant) {
        let cause = cause_of(error);
        if self.trouble != Some(cause) {
            (self.listener)(Event::Failed { log: &self.name, cause, error });
        }
        self.trouble = Some(cause);
        self.full = true;
        self.retry_at = Some(now + self.retry_after);
        self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_MAX);
    }

    fn lose(&mut self, cause: Cause, lines: u64) {
        self.counters.dropped(cause, lines);
        self.totals.dropped(cause, lines);
        if let Some(lost) = self.lost.get_mut(cause.index()) {
            *lost += lines;
        }
    }

    /// Tells of lost lines, now that the target works; whether something is to be written for that.
    fn tell_lost(&mut self, now: Now) -> bool {
        let is_due = self.noticed_at.is_none_or(|at| now.instant >= at + NOTICE_INTERVAL);
        if !is_due || self.lost.iter().all(|lines| *lines == 0) {
            return false;
        }
        self.noticed_at = Some(now.instant);
        for cause in Cause::ALL {
            let lines = self.lost[cause.index()];
            if lines == 0 {
                continue;
            }
            let label = cause.label();
            let text = match self.notices {
                Notices::Text => format!("tidegate: {lines} lines lost ({label})"),
                Notices::Json => {
                    format!("{{\"event\":\"lines_lost\",\"lines\":{lines},\"cause\":\"{label}\"}}")
                }
                Notices::None => String::new(),
            };
            let is_told = text.is_empty()
                || self.enqueue(Kind::Notice, Severity::Warning, text.as_bytes(), now);
            // Without room it is told the next time.
            if is_told {
                self.lost[cause.index()] = 0;
                (self.listener)(Event::Lost { log: &self.name, lines, cause });
            }
        }
        !self.outbox.is_empty()
    }
}

//! How many lines the log takes of one kind of event: a flood of bad requests is not to become a flood of lines.
//!
//! Owns the limit and the count of what was left out; leaves writing to `log`, and waking up for the summary to the
//! runtime. Invariant: every event is either admitted or in exactly one summary.

use std::time::{Duration, Instant};

use tidegate_proxy::EventKind;

/// What lines are limited by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// Events of one kind that shards tell.
    Shards(EventKind),
    /// What happens to servers.
    Servers,
    /// What happens to names, and to the servers that are where they are.
    Names,
}

impl From<EventKind> for Topic {
    fn from(kind: EventKind) -> Topic {
        Topic::Shards(kind)
    }
}

/// Lines a second of one kind, once [`LINES_AT_ONCE_MAX`] have been written: more than anyone reads, and 2 GB a day at the
/// 250 B of a line, which a disk and a collector of logs can take.
const LINES_PER_SECOND_MAX: u32 = 100;

/// Lines of one kind at once, after as long a silence as they would take at [`LINES_PER_SECOND_MAX`] (10 s): a fault of
/// some seconds is in the log request by request.
const LINES_AT_ONCE_MAX: u32 = 1_000;

/// Between the first event that is left out and the line that says how many were.
const SUMMARY_PAUSE: Duration = Duration::from_secs(1);

/// Every kind of event, in the order of [`place`].
const KINDS: [Topic; 11] = [
    Topic::Shards(EventKind::RequestRejected),
    Topic::Shards(EventKind::RequestFailed),
    Topic::Shards(EventKind::AcceptFailed),
    Topic::Shards(EventKind::Panicked),
    Topic::Shards(EventKind::ConnectionFlooded),
    Topic::Servers,
    Topic::Shards(EventKind::HandshakeFailed),
    Topic::Names,
    Topic::Shards(EventKind::ServerConnectionEnded),
    Topic::Shards(EventKind::ConnectionMalformed),
    Topic::Shards(EventKind::StreamMalformed),
];

fn place(topic: Topic) -> usize {
    match topic {
        Topic::Shards(EventKind::RequestRejected) => 0,
        Topic::Shards(EventKind::RequestFailed) => 1,
        Topic::Shards(EventKind::AcceptFailed) => 2,
        Topic::Shards(EventKind::Panicked) => 3,
        Topic::Shards(EventKind::ConnectionFlooded) => 4,
        Topic::Servers => 5,
        Topic::Shards(EventKind::HandshakeFailed) => 6,
        Topic::Names => 7,
        Topic::Shards(EventKind::ServerConnectionEnded) => 8,
        Topic::Shards(EventKind::ConnectionMalformed) => 9,
        Topic::Shards(EventKind::StreamMalformed) => 10,
    }
}

/// The limit of each kind of event.
#[derive(Default)]
pub(crate) struct Flood {
    buckets: [Bucket; KINDS.len()],
    summary_at: Option<Instant>,
}

/// A token bucket, kept as the time at which it will be full.
#[derive(Clone, Copy, Default)]
struct Bucket {
    full_at: Option<Instant>,
    /// Since the last summary.
    left_out: u64,
    left_out_total: u64,
}

impl Flood {
    /// Whether an event of `kind` at `now` is to be written; one that is not is counted.
    pub(crate) fn admits(&mut self, topic: impl Into<Topic>, now: Instant) -> bool {
        let bucket = &mut self.buckets[place(topic.into())];
        let admitted = bucket.takes(now);
        if !admitted {
            bucket.left_out += 1;
            bucket.left_out_total += 1;
            self.summary_at.get_or_insert(now + SUMMARY_PAUSE);
        }
        admitted
    }

    /// When there is something to sum up, if there is.
    pub(crate) fn summary_at(&self) -> Option<Instant> {
        self.summary_at
    }

    /// How many of each kind were left out since the last summary, for those that had some.
    pub(crate) fn sum_up(&mut self) -> Vec<(Topic, u64)> {
        self.summary_at = None;
        let left_out = |bucket: &mut Bucket| std::mem::take(&mut bucket.left_out);
        let counts = KINDS.into_iter().zip(self.buckets.iter_mut().map(left_out));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// How many of each kind have been left out so far.
    pub(crate) fn totals(&self) -> [(Topic, u64); KINDS.len()] {
        KINDS.map(|kind| (kind, self.buckets[place(kind)].left_out_total))
    }
}

impl Bucket {
    fn takes(&mut self, now: Instant) -> bool {
        let line = Duration::from_secs(1) / LINES_PER_SECOND_MAX;
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + line;
        let has_room = full_at <= now + line * LINES_AT_ONCE_MAX;
        if has_room {
            self.full_at = Some(full_at);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(non_upper_case_globals, reason = "as the variants are called")]
    const Panicked: Topic = Topic::Shards(EventKind::Panicked);
    #[allow(non_upper_case_globals, reason = "as the variants are called")]
    const RequestFailed: Topic = Topic::Shards(EventKind::RequestFailed);
    #[allow(non_upper_case_globals, reason = "as the variants are called")]
    const RequestRejected: Topic = Topic::Shards(EventKind::RequestRejected);

    /// How many of `count` events at once are written.
    fn admitted(flood: &mut Flood, kind: Topic, now: Instant, count: u32) -> u32 {
        (0..count).map(|_| u32::from(flood.admits(kind, now))).sum()
    }

    #[test]
    fn a_burst_is_written_and_a_flood_at_the_rate() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        assert_eq!(admitted(&mut flood, RequestFailed, start, 5_000), LINES_AT_ONCE_MAX);
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert_eq!(admitted(&mut flood, RequestFailed, now, 5_000), LINES_PER_SECOND_MAX);
        }
        // Evenly over the second.
        let now = start + Duration::from_millis(59_000 + 10);
        assert_eq!(admitted(&mut flood, RequestFailed, now, 5_000), 1);
    }

    #[test]
    fn a_pace_below_the_rate_is_never_limited() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        let pause = Duration::from_secs(1) / LINES_PER_SECOND_MAX;
        assert!((0..50_000).all(|event| flood.admits(RequestFailed, start + pause * event)));
        assert_eq!((flood.summary_at(), flood.sum_up()), (None, vec![]));
    }

    #[test]
    fn silence_gives_the_burst_back_and_no_more() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        admitted(&mut flood, RequestFailed, start, 5_000);
        let later = start + Duration::from_secs(86_400);
        assert_eq!(admitted(&mut flood, RequestFailed, later, 5_000), LINES_AT_ONCE_MAX);
    }

    #[test]
    fn one_kind_does_not_take_the_lines_of_another() {
        let (mut flood, now) = (Flood::default(), Instant::now());
        admitted(&mut flood, RequestRejected, now, 5_000);
        for kind in KINDS.into_iter().filter(|kind| *kind != RequestRejected) {
            assert!(flood.admits(kind, now), "{kind:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_summed_up_a_second_later_and_once() {
        let (mut flood, start) = (Flood::default(), Instant::now());
        admitted(&mut flood, Panicked, start, LINES_AT_ONCE_MAX + 7);
        let at = start + Duration::from_millis(5);
        admitted(&mut flood, RequestFailed, at, LINES_AT_ONCE_MAX + 3);
        assert_eq!(flood.summary_at(), Some(start + SUMMARY_PAUSE));
        assert_eq!(flood.sum_up(), [(RequestFailed, 3), (Panicked, 7)]);
        assert_eq!((flood.summary_at(), flood.sum_up()), (None, vec![]));
        admitted(&mut flood, Panicked, at, 2);
        assert_eq!(flood.summary_at(), Some(at + SUMMARY_PAUSE));
        assert_eq!(flood.sum_up(), [(Panicked, 2)]);
        let totals = [0, 3, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(flood.totals(), std::array::from_fn(|at| (KINDS[at], totals[at])));
    }

    #[test]
    fn every_kind_has_its_place() {
        assert_eq!(KINDS.map(place), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}

//! What was written and what was lost.
//!
//! Owns the causes and the counts of one log; leaves showing them to the control plane. Invariant: the writing thread
//! is the only writer of all counters here.

use tidegate_telemetry::{Counter, CounterSet, ReasonCounts};

/// Why a line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The shard's ring was full: the writing thread did not keep up, or waited for the disk.
    RingFull,
    /// The target takes lines more slowly than they come.
    Slow,
    /// The target is not there: no socket, refused, no such directory.
    Unavailable,
    /// No space is left for the file, or it may not grow.
    NoSpace,
    /// The target does not take a message of this length.
    TooLong,
    /// Writing failed otherwise.
    Failed,
    /// The log was closed, or the program ended, before the line could be written.
    Closed,
}

impl Cause {
    /// The labels of all causes, in the order of their indices.
    pub const LABELS: &'static [&'static str] =
        &["ring_full", "slow", "unavailable", "no_space", "too_long", "failed", "closed"];

    pub(crate) const ALL: [Self; 7] = [
        Self::RingFull,
        Self::Slow,
        Self::Unavailable,
        Self::NoSpace,
        Self::TooLong,
        Self::Failed,
        Self::Closed,
    ];

    /// The word for metrics and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        Self::LABELS.get(self.index()).copied().unwrap_or("failed")
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The counters of one log, or of all together.
#[derive(Debug)]
pub(crate) struct Counters {
    lines: Counter,
    bytes: Counter,
    reconnects: Counter,
    dropped: CounterSet,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            lines: Counter::new(),
            bytes: Counter::new(),
            reconnects: Counter::new(),
            dropped: CounterSet::new(Cause::LABELS),
        }
    }

    pub(crate) fn wrote(&self, lines: u64, bytes: u64) {
        self.lines.add(lines);
        self.bytes.add(bytes);
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.increment();
    }

    pub(crate) fn dropped(&self, cause: Cause, lines: u64) {
        for _ in 0..lines {
            self.dropped.increment(cause.index());
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            lines: self.lines.value(),
            bytes: self.bytes.value(),
            reconnects: self.reconnects.value(),
            dropped: self.dropped.snapshot(),
        }
    }
}

/// Counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Lines that the target took.
    pub lines: u64,
    /// Bytes that it took, headers and the messages about lost lines included.
    pub bytes: u64,
    /// Times that it was opened anew after it had failed.
    pub reconnects: u64,
    /// Lines lost, by cause.
    pub dropped: ReasonCounts,
}

impl Counts {
    /// Lines lost by one cause.
    #[must_use]
    pub fn dropped_by(&self, cause: Cause) -> u64 {
        let mut counts = self.dropped.iter();
        counts.nth(cause.index()).map_or(0, |(_, count)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_label_and_its_counter() {
        let counters = Counters::new();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!((cause.index(), cause.label()), (index, Cause::LABELS[index]));
            counters.dropped(cause, index as u64 + 1);
        }
        let counts = counters.counts();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(counts.dropped_by(cause), index as u64 + 1);
        }
        assert_eq!(counts.dropped.total(), 28);
    }
}

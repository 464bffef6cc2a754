//! Counters by reason: a fixed list of labels, one counter each.
//!
//! Owns the counting and the pairing with labels. Leaves the meaning of a reason to the crate that
//! names it: the index of a reason is the position of its label in the list given at construction.
//!
//! **Invariant:** the counters fill cache lines of their own, so two shards' sets never share one.

use crate::Counter;
use std::ops::AddAssign;

/// Most reasons in one [`CounterSet`]: each is a time series per frontend, backend or server, so a
/// longer list would make a scrape grow faster than it informs. The malformed-request table, the
/// longest list, has about 70.
pub const REASONS_MAX: usize = 96;

/// 16 counters of 8 bytes fill the 128 bytes that adjacent-line prefetch treats as one.
const COUNTERS_PER_LINE: usize = 16;

#[derive(Debug)]
#[repr(align(128))]
struct Line([Counter; COUNTERS_PER_LINE]);

/// One counter per reason: one writer, any number of readers.
#[derive(Debug)]
pub struct CounterSet {
    labels: &'static [&'static str],
    lines: Box<[Line]>,
}

impl CounterSet {
    /// A set with one counter at zero for each label.
    ///
    /// # Panics
    ///
    /// When there are more than [`REASONS_MAX`] labels or one appears twice: the list is a constant
    /// of the program, and two equal labels would be one time series reported twice.
    #[must_use]
    pub fn new(labels: &'static [&'static str]) -> Self {
        assert!(labels.len() <= REASONS_MAX, "at most {REASONS_MAX} reasons, not {}", labels.len());
        for (position, label) in labels.iter().enumerate() {
            assert!(!labels[..position].contains(label), "the reason {label} is listed twice");
        }
        let lines = labels.len().div_ceil(COUNTERS_PER_LINE);
        Self {
            labels,
            lines: (0..lines)
                .map(|_| Line([const { Counter::new() }; COUNTERS_PER_LINE]))
                .collect(),
        }
    }

    /// Counts one for the reason at `index` of the labels. Only the owning shard may call it.
    ///
    /// An index beyond the labels is a mistake of the caller: it counts nothing, and panics in a
    /// debug build.
    #[inline]
    pub fn increment(&self, index: usize) {
        debug_assert!(index < self.labels.len(), "reason {index} of {}", self.labels.len());
        if let Some(line) = self.lines.get(index / COUNTERS_PER_LINE) {
            line.0[index % COUNTERS_PER_LINE].increment();
        }
    }

    /// The labels, in the order of the indexes.
    #[must_use]
    pub fn labels(&self) -> &'static [&'static str] {
        self.labels
    }

    /// The counts now, from any thread.
    #[must_use]
    pub fn snapshot(&self) -> ReasonCounts {
        let counters = self.lines.iter().flat_map(|line| &line.0);
        ReasonCounts {
            labels: self.labels,
            counts: counters.take(self.labels.len()).map(Counter::value).collect(),
        }
    }
}

/// The values of a [`CounterSet`], or their sum over shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCounts {
    labels: &'static [&'static str],
    counts: Box<[u64]>,
}

impl ReasonCounts {
    /// Each label with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.labels.iter().copied().zip(self.counts.iter().copied())
    }

    /// The count over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

impl AddAssign<&Self> for ReasonCounts {
    fn add_assign(&mut self, other: &Self) {
        debug_assert_eq!(self.labels, other.labels, "only sets of the same reasons add up");
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.wrapping_add(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: [&str; 18] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"];

    #[test]
    fn counts_each_reason_on_its_own() {
        let set = CounterSet::new(&LABELS);
        for (index, _) in LABELS.iter().enumerate() {
            for _ in 0..=index {
                set.increment(index);
            }
        }
        let expected: Vec<_> = LABELS.into_iter().zip(1..).collect();
        assert_eq!(set.snapshot().iter().collect::<Vec<_>>(), expected);
        assert_eq!(set.snapshot().total(), 18 * 19 / 2);
    }

    #[test]
    fn sums_add_reason_by_reason() {
        let (one, two) = (CounterSet::new(&["x", "y"]), CounterSet::new(&["x", "y"]));
        one.increment(0);
        two.increment(0);
        two.increment(1);
        let mut sum = one.snapshot();
        sum += &two.snapshot();
        assert_eq!(sum.iter().collect::<Vec<_>>(), [("x", 2), ("y", 1)]);
    }

    #[test]
    fn an_empty_list_has_no_counts() {
        assert_eq!(CounterSet::new(&[]).snapshot().iter().count(), 0);
    }

    #[test]
    #[should_panic(expected = "listed twice")]
    fn rejects_a_label_listed_twice() {
        let _ = CounterSet::new(&["x", "y", "x"]);
    }

    #[test]
    #[should_panic(expected = "at most 96 reasons")]
    fn rejects_more_labels_than_the_limit() {
        let _ = CounterSet::new(&[""; REASONS_MAX + 1]);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "reason 2 of 2")]
    fn reports_an_index_beyond_the_labels_in_debug_builds() {
        CounterSet::new(&["x", "y"]).increment(2);
    }

    #[test]
    fn the_counters_begin_and_end_on_lines_of_their_own() {
        assert_eq!((align_of::<Line>(), size_of::<Line>()), (128, 128));
    }
}

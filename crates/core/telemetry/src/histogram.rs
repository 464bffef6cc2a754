//! A histogram of durations in fixed memory: 16 buckets an octave, and exact counts at the
//! published boundaries.
//!
//! Owns the layout of the buckets, recording and the arithmetic of snapshots. Leaves taking the
//! time to the caller.
//!
//! A value of `n` significant bits falls into one of 16 equal buckets of its octave, found with
//! `leading_zeros`. No such layout has edges at 1 ms or 250 ms, where operators set their
//! objectives, so the bucket around each of [`BOUNDARIES_MICROS`] is split in two there; no octave
//! has more than one boundary, so a 17th slot holds the split.
//!
//! **Invariant:** the buckets are ordered and each value has exactly one; a bucket's width is at
//! most 1/16 of its smallest value; every boundary is the largest value of some bucket.

use crate::Counter;
use std::ops::AddAssign;
use std::time::Duration;

/// Where a cumulative count is exact, in µs, inclusive: 100 µs to 60 s, for the `le` buckets of a
/// scrape.
pub const BOUNDARIES_MICROS: [u32; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Largest value told apart, in µs: 71.6 minutes, 2^32 − 1. Longer ones are counted in the last
/// bucket, whose place in a percentile is the exact maximum; the sum and the maximum take them as
/// they are.
pub const VALUE_MICROS_MAX: u32 = u32::MAX;

/// Octaves are cut into 2^4 buckets: the relative error is at most 1/16.
const PRECISION_BITS: u32 = 4;
/// 16 buckets and the one that a boundary adds.
const SLOTS_PER_OCTAVE: usize = (1 << PRECISION_BITS) + 1;
/// Values below 2^5 have buckets of 1 µs (shift 0); each further octave doubles the width, up to
/// 2^27 µs.
const SHIFTS: usize = (u32::BITS - PRECISION_BITS) as usize;
/// The 32 unit buckets (with their 33rd slot), then 17 slots for each of the 27 octaves above:
/// 3,936 bytes.
const BUCKETS: usize = SHIFTS * SLOTS_PER_OCTAVE + (1 << PRECISION_BITS);
/// For each shift the boundary that falls into it, or the largest value, which nothing exceeds.
const SPLITS: [u32; SHIFTS] = splits();

const fn shift_of(value: u32) -> u32 {
    (u32::BITS - 1 - PRECISION_BITS) - (value | ((2 << PRECISION_BITS) - 1)).leading_zeros()
}

const fn splits() -> [u32; SHIFTS] {
    let mut splits = [VALUE_MICROS_MAX; SHIFTS];
    let mut position = 0;
    while position < BOUNDARIES_MICROS.len() {
        let boundary = BOUNDARIES_MICROS[position];
        let split = &mut splits[shift_of(boundary) as usize];
        assert!(*split == VALUE_MICROS_MAX, "an octave has room for one boundary");
        assert!(position == 0 || BOUNDARIES_MICROS[position - 1] < boundary, "boundaries ascend");
        *split = boundary;
        position += 1;
    }
    splits
}

#[inline]
fn bucket_of(micros: u64) -> usize {
    let value = u32::try_from(micros).unwrap_or(VALUE_MICROS_MAX);
    let shift = shift_of(value);
    let octave = shift as usize;
    octave * SLOTS_PER_OCTAVE + (value >> shift) as usize + usize::from(value > SPLITS[octave])
}

/// The largest value that falls into `bucket`, in µs. A slot that no value reaches repeats the one
/// below it.
fn bucket_upper_bound(bucket: usize) -> u32 {
    let octave = bucket.saturating_sub(1 << PRECISION_BITS) / SLOTS_PER_OCTAVE;
    let slot = (bucket - octave * SLOTS_PER_OCTAVE) as u64;
    let split = u64::from(SPLITS[octave]);
    let upper = match slot.cmp(&(split >> octave)) {
        std::cmp::Ordering::Less => ((slot + 1) << octave) - 1,
        std::cmp::Ordering::Equal => split,
        std::cmp::Ordering::Greater => (slot << octave) - 1,
    };
    // An octave without a boundary has its 17th slot empty, past the top of the octave.
    let top = (32_u64 << octave) - 1;
    u32::try_from(upper.min(top)).expect("the top of the highest octave is 2^32 - 1")
}

/// Durations in µs, counted in buckets of at most 1/16 relative width: one writer, any number of
/// readers.
///
/// 3,952 bytes, whatever is recorded.
#[derive(Debug)]
pub struct Histogram {
    sum: Counter,
    max: Counter,
    buckets: [Counter; BUCKETS],
}

impl Histogram {
    /// An empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sum: Counter::new(),
            max: Counter::new(),
            buckets: [const { Counter::new() }; BUCKETS],
        }
    }

    /// Counts a duration given in µs. Only the owning shard may call it.
    #[inline]
    pub fn record_micros(&self, micros: u64) {
        self.buckets[bucket_of(micros)].increment();
        self.sum.add(micros);
        if micros > self.max.value() {
            self.max.publish(micros);
        }
    }

    /// Counts a duration, rounded up to a whole µs so that what is counted under a boundary was
    /// under it. Only the owning shard may call it.
    #[inline]
    pub fn record(&self, duration: Duration) {
        let micros = u64::from(duration.subsec_nanos().div_ceil(1_000));
        self.record_micros(duration.as_secs().saturating_mul(1_000_000).saturating_add(micros));
    }

    /// The counts now, from any thread. Values recorded meanwhile may be in the buckets and not yet
    /// in the sum.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: self.buckets.iter().map(Counter::value).collect(),
            sum: self.sum.value(),
            max: self.max.value(),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// The values of a [`Histogram`], or their sum over shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    buckets: Box<[u64]>,
    sum: u64,
    max: u64,
}

impl HistogramSnapshot {
    /// A snapshot of nothing, to add others to.
    #[must_use]
    pub fn empty() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), sum: 0, max: 0 }
    }

    /// How many values were recorded: always the sum of the buckets, so it agrees with the
    /// cumulative counts.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// The exact sum of the values (to the µs each was rounded to).
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum)
    }

    /// The exact largest value, zero when there is none.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// The value that `percent` (0 to 100) of the values do not exceed, by nearest rank; `None`
    /// when there is none.
    ///
    /// At least the exact percentile and at most 1/16 above it, for values up to
    /// [`VALUE_MICROS_MAX`]; never above the maximum.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank is at most the count; the cast saturates and the clamp puts it in range"
        )]
        let rank = ((percent / 100.0 * count as f64).ceil() as u64).clamp(1, count);
        let mut seen = 0_u64;
        let bucket = self.buckets.iter().position(|in_bucket| {
            seen = seen.wrapping_add(*in_bucket);
            seen >= rank
        })?;
        if bucket == BUCKETS - 1 || bucket == bucket_of(self.max) {
            return Some(self.max());
        }
        Some(Duration::from_micros(u64::from(bucket_upper_bound(bucket))))
    }

    /// How many values are at most each of [`BOUNDARIES_MICROS`], exactly.
    #[must_use]
    pub fn cumulative(&self) -> [u64; BOUNDARIES_MICROS.len()] {
        let (mut seen, mut next) = (0_u64, 0);
        BOUNDARIES_MICROS.map(|boundary| {
            let end = bucket_of(u64::from(boundary)) + 1;
            seen = self.buckets[next..end].iter().fold(seen, |sum, count| sum.wrapping_add(*count));
            next = end;
            seen
        })
    }
}

impl AddAssign<&Self> for HistogramSnapshot {
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count = count.wrapping_add(*more);
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values over the whole range: as many around 10 µs as around 10 minutes, and the neighbours
    /// of every boundary.
    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => (0_u32..32, any::<u32>()).prop_map(|(bits, noise)| u64::from(noise >> bits)),
            1 => (proptest::sample::select(&BOUNDARIES_MICROS[..]), 0_u64..3)
                .prop_map(|(boundary, offset)| u64::from(boundary) + offset - 1),
        ]
    }

    fn recorded(values: &[u64]) -> HistogramSnapshot {
        let histogram = Histogram::new();
        values.iter().for_each(|micros| histogram.record_micros(*micros));
        histogram.snapshot()
    }

    proptest! {
        #[test]
        fn percentile_is_at_most_a_sixteenth_above_the_exact_one(
            mut values in proptest::collection::vec(value(), 1..200),
            percent in 0.0_f64..=100.0,
        ) {
            let snapshot = recorded(&values);
            values.sort_unstable();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank in 0..=200")]
            let rank = ((percent / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = Duration::from_micros(values[rank - 1]);
            let reported = snapshot.percentile(percent).expect("there are values");
            prop_assert!(reported >= exact, "{reported:?} is below {exact:?}");
            prop_assert!(reported <= exact + exact / 16, "{reported:?} is too far above {exact:?}");
            prop_assert!(reported <= snapshot.max());
        }

        #[test]
        fn cumulative_counts_are_exact_and_never_fall(values in proptest::collection::vec(value(), 0..200)) {
            let snapshot = recorded(&values);
            let cumulative = snapshot.cumulative();
            for (boundary, count) in BOUNDARIES_MICROS.into_iter().zip(cumulative) {
                let exact = values.iter().filter(|micros| **micros <= u64::from(boundary)).count() as u64;
                prop_assert_eq!(count, exact, "at {} µs", boundary);
            }
            prop_assert!(cumulative.is_sorted());
            prop_assert!(cumulative[BOUNDARIES_MICROS.len() - 1] <= snapshot.count());
        }

        #[test]
        fn adding_snapshots_is_recording_both(
            one in proptest::collection::vec(value(), 0..100),
            two in proptest::collection::vec(value(), 0..100),
        ) {
            let mut sum = recorded(&one);
            sum += &recorded(&two);
            prop_assert_eq!(sum, recorded(&[one, two].concat()));
        }

        #[test]
        fn count_sum_and_max_are_exact(values in proptest::collection::vec(any::<u32>(), 0..100)) {
            let values: Vec<u64> = values.into_iter().map(|micros| u64::from(micros) << 4).collect();
            let snapshot = recorded(&values);
            prop_assert_eq!(snapshot.count(), values.len() as u64);
            prop_assert_eq!(snapshot.sum(), Duration::from_micros(values.iter().sum()));
            prop_assert_eq!(snapshot.max(), Duration::from_micros(values.iter().copied().max().unwrap_or(0)));
        }

        #[test]
        fn larger_values_never_fall_into_a_lower_bucket(value in any::<u32>()) {
            prop_assert!(bucket_of(u64::from(value)) <= bucket_of(u64::from(value) + 1));
            prop_assert!(bucket_upper_bound(bucket_of(u64::from(value))) >= value);
        }
    }

    #[test]
    fn every_bucket_is_as_narrow_as_promised_and_ends_where_the_next_begins() {
        let mut lowest = 0_u64;
        for bucket in 0..BUCKETS {
            let upper = u64::from(bucket_upper_bound(bucket));
            if upper < lowest {
                assert_eq!(upper + 1, lowest, "an unused slot {bucket} repeats the one below");
                continue;
            }
            assert_eq!(bucket_of(lowest), bucket);
            assert_eq!(bucket_of(upper), bucket);
            assert!((upper - lowest) * 16 <= lowest, "bucket {bucket}: {lowest}..={upper}");
            lowest = upper + 1;
        }
        assert_eq!(lowest, u64::from(VALUE_MICROS_MAX) + 1);
    }

    #[test]
    fn values_beyond_the_range_keep_their_sum_and_maximum() {
        let day = Duration::from_secs(86_400);
        let histogram = Histogram::new();
        histogram.record(day);
        histogram.record(Duration::from_micros(3));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.max(), day);
        assert_eq!(snapshot.sum(), day + Duration::from_micros(3));
        assert_eq!(snapshot.percentile(99.0), Some(day));
        assert_eq!(snapshot.percentile(50.0), Some(Duration::from_micros(3)));
        assert_eq!(snapshot.cumulative()[BOUNDARIES_MICROS.len() - 1], 1);
    }

    #[test]
    fn durations_round_up_to_a_whole_microsecond() {
        for (duration, micros) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_nanos(1_000), 1),
            (Duration::from_nanos(100_001), 101),
            (Duration::new(2, 999_999_001), 3_000_000),
            (Duration::MAX, u64::MAX),
        ] {
            let histogram = Histogram::new();
            histogram.record(duration);
            assert_eq!(histogram.snapshot().max(), Duration::from_micros(micros), "{duration:?}");
        }
    }

    #[test]
    fn an_empty_histogram_has_no_percentile() {
        let snapshot = Histogram::new().snapshot();
        assert_eq!(snapshot, HistogramSnapshot::empty());
        assert_eq!(snapshot.percentile(50.0), None);
        assert_eq!(snapshot.cumulative(), [0; BOUNDARIES_MICROS.len()]);
    }

    #[test]
    fn memory_is_what_the_documentation_says() {
        assert_eq!(size_of::<Histogram>(), 3_952);
    }
}

//! The ring between one shard and the writing thread.
//!
//! Owns the framing of lines in it and the count of those that did not fit; leaves what happens to lines to `drain`.
//! Invariant: one thread pushes and one reads; a line is in the ring whole or not at all, and both sides only move
//! bytes: no lock, no allocation, and no system call but the one that wakes a sleeping thread.

use crate::bell::Bell;
use crate::logs::{LOGS_MAX, LogId};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use tidegate_access_log::{LINE_BYTES_MAX, Severity};
use tidegate_telemetry::Counter;

/// The ring of one shard, in bytes. A busy shard answers 80,000 requests a second with lines of 250 bytes: 1 MB in the
/// 50 ms that the writing thread may wait. It is woken when half of it is full.
pub const RING_BYTES_MAX: usize = 1 << 20;

/// Before each line: its length in two bytes, its log, its severity.
const HEADER_BYTES: usize = 4;

const _: () = assert!(LINE_BYTES_MAX <= u16::MAX as usize && LOGS_MAX <= u8::MAX as usize);

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the ring.
    Queued,
    /// The ring was full; it is counted.
    Dropped,
}

/// Lines that did not fit into one shard's ring, by log: written by the shard, read by the writing thread.
#[derive(Debug)]
pub(crate) struct Overflow([Counter; LOGS_MAX]);

impl Overflow {
    pub(crate) fn of(&self, log: usize) -> u64 {
        self.0.get(log).map_or(0, Counter::value)
    }
}

/// The shard's end.
#[derive(Debug)]
pub struct Writer {
    producer: Producer<u8>,
    bell: Arc<Bell>,
    overflow: Arc<Overflow>,
    /// Bytes to push before looking how full the ring is.
    until_look: usize,
}

/// The writing thread's end.
#[derive(Debug)]
pub(crate) struct Reader {
    consumer: Consumer<u8>,
    overflow: Arc<Overflow>,
    /// For a line that goes around the end of the ring.
    joined: Vec<u8>,
}

/// Both ends of a ring.
pub(crate) fn ring(bell: &Arc<Bell>) -> (Writer, Reader) {
    let (producer, consumer) = RingBuffer::new(RING_BYTES_MAX);
    let overflow = Arc::new(Overflow([const { Counter::new() }; LOGS_MAX]));
    let writer = Writer {
        producer,
        bell: Arc::clone(bell),
        overflow: Arc::clone(&overflow),
        until_look: RING_BYTES_MAX / 2,
    };
    (
        writer,
        Reader { consumer, overflow, joined: Vec::with_capacity(HEADER_BYTES + LINE_BYTES_MAX) },
    )
}

impl Writer {
    /// Hands a line over, without a line break at its end. A line longer than [`LINE_BYTES_MAX`] is cut there.
    #[inline]
    pub fn push_line(&mut self, log: LogId, severity: Severity, line: &[u8]) -> Pushed {
        let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        let needed = HEADER_BYTES + line.len();
        let has_room = self.producer.cached_slots() >= needed || self.producer.slots() >= needed;
        if !has_room || self.push(log, severity, line).is_err() {
            return self.overflowed(log);
        }
        self.bell.pushed();
        match self.until_look.checked_sub(needed) {
            Some(rest) => self.until_look = rest,
            None => self.look(),
        }
        Pushed::Queued
    }

    #[inline]
    fn push(
        &mut self,
        log: LogId,
        severity: Severity,
        line: &[u8],
    ) -> Result<(), rtrb::chunks::ChunkError> {
        let [low, high, ..] = line.len().to_le_bytes();
        self.producer.push_entire_slice(&[low, high, log.code(), severity.code()])?;
        self.producer.push_entire_slice(line)
    }

    #[cold]
    fn overflowed(&mut self, log: LogId) -> Pushed {
        if let Some(counter) = self.overflow.0.get(log.index()) {
            counter.increment();
        }
        self.bell.ring();
        Pushed::Dropped
    }

    /// Wakes the thread if the ring is half full; otherwise looks again when it could be.
    #[cold]
    fn look(&mut self) {
        let until_half = self.producer.slots().checked_sub(RING_BYTES_MAX / 2);
        if until_half.is_none() {
            self.bell.ring();
        }
        // Not for every line while the thread is on its way.
        self.until_look = until_half.unwrap_or(0).max(RING_BYTES_MAX / 16);
    }
}

impl Reader {
    /// Takes everything that is in the ring; whether there was anything.
    pub(crate) fn read(&mut self, mut take: impl FnMut(usize, Severity, &[u8])) -> bool {
        let available = self.consumer.slots();
        let Ok(chunk) = self.consumer.read_chunk(available) else { return false };
        let (first, second) = chunk.as_slices();
        let mut at = 0;
        while at < available {
            let header = (0..HEADER_BYTES).map(|byte| byte_at(first, second, at + byte));
            let mut header = header.flatten();
            let (Some(low), Some(high), Some(log), Some(severity)) =
                (header.next(), header.next(), header.next(), header.next())
            else {
                break;
            };
            let start = at + HEADER_BYTES;
            let end = start + usize::from(u16::from_le_bytes([low, high]));
            if end > available {
                // Its second half is on its way.
                break;
            }
            let line = span(first, second, start, end, &mut self.joined);
            take(log.into(), Severity::from_code(severity).unwrap_or(Severity::Info), line);
            at = end;
        }
        chunk.commit(at);
        at > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }

    pub(crate) fn overflow(&self) -> &Overflow {
        &self.overflow
    }
}

fn byte_at(first: &[u8], second: &[u8], at: usize) -> Option<u8> {
    let byte = first.get(at).or_else(|| second.get(at.checked_sub(first.len())?));
    byte.copied()
}

/// The bytes from `start` to `end` of two slices that follow each other.
fn span<'a>(
    first: &'a [u8],
    second: &'a [u8],
    start: usize,
    end: usize,
    joined: &'a mut Vec<u8>,
) -> &'a [u8] {
    let split = first.len();
    if end <= split {
        return first.get(start..end).unwrap_or_default();
    }
    if let (Some(start), Some(end)) = (start.checked_sub(split), end.checked_sub(split)) {
        return second.get(start..end).unwrap_or_default();
    }
    joined.clear();
    joined.extend_from_slice(first.get(start..).unwrap_or_default());
    joined.extend_from_slice(second.get(..end - split).unwrap_or_default());
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_testkit::seed;

    fn pair() -> (Writer, Reader) {
        ring(&Arc::new(Bell::new().expect("a descriptor is free")))
    }

    #[test]
    fn lines_come_out_as_they_went_in_around_the_end_too() {
        let seed = seed();
        let mut rng = seed.rng();
        let (mut writer, mut reader) = pair();
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        let mut moved = 0;
        while moved < RING_BYTES_MAX * 5 {
            for _ in 0..rng.below(200) {
                let most = *rng.choose(&[300, 300, 300, 300, LINE_BYTES_MAX + 1]);
                let length = rng.below(most);
                let (line, log) = (rng.bytes(length), rng.below(LOGS_MAX));
                let severity = *rng.choose(&Severity::ALL);
                let pushed =
                    writer.push_line(LogId::new(log).expect("it is in range"), severity, &line);
                assert_eq!(pushed, Pushed::Queued);
                moved += length;
                sent.push((log, severity, line));
            }
            reader.read(|log, severity, line| received.push((log, severity, line.to_vec())));
            assert!(reader.is_empty());
            assert_eq!(sent, received);
            (sent, received) = (Vec::new(), Vec::new());
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_nothing_is_torn() {
        let (mut writer, mut reader) = pair();
        let log = LogId::new(3).expect("it is in range");
        let line = [b'x'; 1000];
        let mut queued = 0_usize;
        while writer.push_line(log, Severity::Info, &line) == Pushed::Queued {
            queued += 1;
        }
        assert_eq!(queued, RING_BYTES_MAX / 1004);
        assert_eq!(writer.push_line(log, Severity::Info, &line), Pushed::Dropped);
        assert_eq!((reader.overflow().of(3), reader.overflow().of(2)), (2, 0));
        let mut read = 0;
        assert!(reader.read(|_, _, found| {
            assert_eq!(found, line);
            read += 1;
        }));
        assert_eq!(read, queued);
        assert!(!reader.read(|_, _, _| panic!("the ring is empty")));
        assert_eq!(writer.push_line(log, Severity::Info, &line), Pushed::Queued);
    }

    #[test]
    fn a_line_beyond_the_limit_is_cut() {
        let (mut writer, mut reader) = pair();
        let log = LogId::new(0).expect("it is in range");
        writer.push_line(log, Severity::Info, &[b'x'; LINE_BYTES_MAX + 5]);
        reader.read(|_, _, line| assert_eq!(line.len(), LINE_BYTES_MAX));
    }
}

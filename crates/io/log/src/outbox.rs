//! Messages that wait for their target.
//!
//! Owns their bytes and how much of the first is written; leaves writing to `sink`. Invariant: messages leave in the
//! order in which they came, whole, and what is counted as gone is what was told to be.

use std::collections::VecDeque;

/// The most bytes that wait for one target: as many as a shard's ring holds, so that one pass over the rings finds
/// room, and a target that is away for a moment loses nothing.
pub(crate) const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// What a message is for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A line of the log.
    Line,
    /// A message about lost lines, which is no line itself.
    Notice,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    bytes: usize,
    kind: Kind,
}

/// What has gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

/// The messages of one target.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// Where the first message begins.
    start: usize,
    messages: VecDeque<Message>,
    /// How much of the first message is written.
    written: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message; false if there is no room for it.
    pub(crate) fn push(&mut self, kind: Kind, parts: &[&[u8]]) -> bool {
        let bytes = parts.iter().map(|part| part.len()).sum();
        if self.bytes.len() - self.start + bytes > OUTBOX_BYTES_MAX {
            return false;
        }
        if self.bytes.len() + bytes > OUTBOX_BYTES_MAX {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.messages.push_back(Message { bytes, kind });
        true
    }

    /// All bytes that are to be written, for targets that take a stream.
    pub(crate) fn pending(&self) -> &[u8] {
        self.bytes.get(self.start + self.written..).unwrap_or_default()
    }

    /// As [`Outbox::pending`], but whole messages of together at most `bytes_max`; of a longer one its beginning.
    pub(crate) fn pending_whole(&self, bytes_max: usize) -> &[u8] {
        let pending = self.pending();
        let mut end = 0;
        for (at, message) in self.messages.iter().enumerate() {
            let rest = message.bytes - if at == 0 { self.written } else { 0 };
            if end + rest > bytes_max {
                break;
            }
            end += rest;
        }
        if end == 0 {
            end = bytes_max.min(pending.len());
        }
        pending.get(..end).unwrap_or(pending)
    }

    /// The messages, for targets that take them one by one.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.get(self.start..).unwrap_or_default();
        self.messages.iter().map_while(move |message| {
            let (first, behind) = rest.split_at_checked(message.bytes)?;
            rest = behind;
            Some(first)
        })
    }

    /// So many bytes of [`Outbox::pending`] are written.
    pub(crate) fn wrote(&mut self, bytes: usize) -> Gone {
        let mut gone = Gone { lines: 0, bytes: bytes as u64 };
        self.written += bytes;
        while let Some(message) = self.messages.front()
            && self.written >= message.bytes
        {
            self.written -= message.bytes;
            gone.lines += u64::from(message.kind == Kind::Line);
            self.forget_first();
        }
        gone
    }

    /// The first message is gone, whatever was written of it.
    pub(crate) fn pop(&mut self) -> Gone {
        let Some(message) = self.messages.front() else { return Gone::default() };
        let gone =
            Gone { lines: u64::from(message.kind == Kind::Line), bytes: message.bytes as u64 };
        self.written = 0;
        self.forget_first();
        gone
    }

    /// The first message has to be written from its beginning: there is a new target.
    pub(crate) fn rewind(&mut self) {
        self.written = 0;
    }

    /// Gives up everything; how many lines there were.
    pub(crate) fn clear(&mut self) -> u64 {
        let lines = self.messages.iter().filter(|message| message.kind == Kind::Line).count();
        *self = Self::default();
        lines as u64
    }

    fn forget_first(&mut self) {
        self.start += self.messages.pop_front().map_or(0, |message| message.bytes);
        if self.messages.is_empty() {
            self.bytes.clear();
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_testkit::seed;

    #[test]
    fn messages_leave_in_order_and_are_counted_once() {
        let seed = seed();
        let mut rng = seed.rng();
        let mut outbox = Outbox::default();
        let (mut expected, mut found) = (Vec::new(), Vec::new());
        let (mut lines, mut gone) = (0, 0);
        for _ in 0..20_000 {
            let length = 1 + rng.below(500);
            let message = rng.bytes(length);
            let kind = if rng.below(8) == 0 { Kind::Notice } else { Kind::Line };
            if outbox.push(kind, &[&message[..1], &message[1..]]) {
                expected.extend_from_slice(&message);
                lines += u64::from(kind == Kind::Line);
            }
            if rng.below(3) == 0 {
                let taken = rng.below(outbox.pending().len() + 1).min(1500);
                found.extend_from_slice(&outbox.pending()[..taken]);
                gone += outbox.wrote(taken).lines;
            }
            assert!(outbox.bytes.len() <= OUTBOX_BYTES_MAX);
        }
        found.extend_from_slice(outbox.pending());
        gone += outbox.wrote(outbox.pending().len()).lines;
        assert!(outbox.is_empty() && found == expected);
        assert_eq!(gone, lines);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut outbox = Outbox::default();
        let message = [0; 1000];
        let mut count = 0;
        while outbox.push(Kind::Line, &[&message]) {
            count += 1;
        }
        assert_eq!(count, OUTBOX_BYTES_MAX / 1000);
        assert_eq!(outbox.wrote(999), Gone { lines: 0, bytes: 999 });
        assert!(!outbox.push(Kind::Line, &[&message]));
        assert_eq!(outbox.wrote(1), Gone { lines: 1, bytes: 1 });
        assert!(outbox.push(Kind::Line, &[&message]));
    }

    #[test]
    fn whole_messages_are_taken_where_they_fit() {
        let mut outbox = Outbox::default();
        for message in ["aaaa", "bb", "cccccccccccc"] {
            assert!(outbox.push(Kind::Line, &[message.as_bytes()]));
        }
        assert_eq!(outbox.pending_whole(7), b"aaaabb");
        outbox.wrote(1);
        assert_eq!(outbox.pending_whole(4), b"aaa");
        outbox.rewind();
        assert_eq!(outbox.messages().collect::<Vec<_>>(), [&b"aaaa"[..], b"bb", b"cccccccccccc"]);
        assert_eq!(outbox.pop(), Gone { lines: 1, bytes: 4 });
        outbox.wrote(2);
        assert_eq!(outbox.pending_whole(7), b"ccccccc");
        assert_eq!(outbox.pending_whole(4096), b"cccccccccccc");
    }
}

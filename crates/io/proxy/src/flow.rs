//! Large amounts on their way from one socket to another without passing through this process (ADR 0011).
//!
//! Owns the order of taking and giving, and how much of it is done at a time; leaves framing, deadlines and counting to its
//! users. Invariant: nothing is taken while something is held, so a slow receiver stops its sender.

use std::task::{Context, Poll};

use tidegate_ring::{Filled, Socket, Splice};

use crate::stream::Stream;

/// What is left of a body from here on is worth a flow; a shorter rest costs as much or less when it is received and sent, and
/// fits into two of the shared buffers.
pub(crate) const BYTES_MIN: u64 = 64 * 1024;

/// Bytes moved before the shard's other tasks get their turn: two pipes full, some tens of microseconds.
const TURN_BYTES_MAX: usize = 256 * 1024;

/// What a flow did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes came from the source.
    Received(usize),
    /// So many bytes went to the sink.
    Sent(usize),
    /// The source ended before the amount was full; all that came from it has gone.
    End,
    /// The whole amount has gone.
    Done,
    /// The rest has to be received and sent; all that came so far has gone.
    Unable,
    /// The connection was reset or failed.
    SourceFailed,
    /// As above.
    SinkFailed,
}

/// What a pending flow waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Source,
    Sink,
    /// Its next turn.
    Turn,
}

/// So many bytes from one socket to another.
pub(crate) struct Flow<'a> {
    splice: Splice<'a>,
    sink: &'a Socket,
    /// Bytes not yet taken from the source.
    left: u64,
    /// Bytes taken in this turn.
    taken: usize,
    waits_for: Wait,
}

impl<'a> Flow<'a> {
    /// Lets `bytes` flow (`u64::MAX`: until the source ends). None when it cannot begin now: a piece has to be received first.
    pub(crate) fn begin(source: &'a Stream, sink: &'a Stream, bytes: u64) -> Option<Flow<'a>> {
        let (source, sink) = (source.plain()?, sink.plain()?);
        let splice = Splice::begin(source, sink)?;
        Some(Flow { splice, sink, left: bytes, taken: 0, waits_for: Wait::Turn })
    }

    /// What it waits for after it was pending.
    pub(crate) fn waits_for(&self) -> Wait {
        self.waits_for
    }

    /// Whether all that came from the source has gone.
    pub(crate) fn is_empty(&self) -> bool {
        self.splice.held() == 0
    }

    /// The next thing that it does. Once it has ended or failed, it is not to be asked again.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Step> {
        // What was queued for the sink before leaves first; meanwhile no pipe is held.
        if self.splice.held() > 0 || self.sink.queued_bytes() > 0 {
            match self.splice.poll_drain(context) {
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(bytes)) => return Poll::Ready(Step::Sent(bytes)),
                Poll::Ready(Err(_)) => return Poll::Ready(Step::SinkFailed),
                Poll::Pending => return self.pending(Wait::Sink),
            }
        }
        if self.left == 0 {
            return Poll::Ready(Step::Done);
        }
        if self.taken >= TURN_BYTES_MAX {
            context.waker().wake_by_ref();
            return self.pending(Wait::Turn);
        }
        let bytes_max = usize::try_from(self.left).unwrap_or(usize::MAX);
        match self.splice.poll_fill(context, bytes_max) {
            Poll::Ready(Ok(Filled::Bytes(bytes))) => {
                let bytes = bytes.get();
                self.left = self.left.saturating_sub(bytes as u64);
                self.taken += bytes;
                Poll::Ready(Step::Received(bytes))
            }
            Poll::Ready(Ok(Filled::End)) => Poll::Ready(Step::End),
            Poll::Ready(Ok(Filled::Unable)) => Poll::Ready(Step::Unable),
            Poll::Ready(Err(_)) => Poll::Ready(Step::SourceFailed),
            Poll::Pending => self.pending(Wait::Source),
        }
    }

    fn pending(&mut self, waits_for: Wait) -> Poll<Step> {
        self.taken = 0;
        self.waits_for = waits_for;
        Poll::Pending
    }
}

//! Bytes both ways between two sockets, each direction ending on its own.
//!
//! Owns the copying and the half-closes; leaves counting to its user. Invariant: each direction holds at most one
//! received piece and a bounded send queue, and ends with a half-close of its receiver.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tidegate_ring::{RecvBuf, Ring, SendBuf};
use tidegate_shard::Alarm;

use crate::flow::{self, Flow, Step};
use crate::stream::Stream;

/// Pieces up to this size are copied, so that a stalled side holds as much memory as bytes and no shared buffers.
const COPY_BYTES_MAX: usize = 2048;

/// Bytes queued towards one side that stop reading from the other.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// A flow whose source gives less than this at a time ends: so little costs less when it is received.
const FLOWING_BYTES_MIN: usize = 4096;

/// The two sides, and what had been received from each before the tunnel began.
pub(crate) struct Sides<'a> {
    pub(crate) client: &'a Stream,
    pub(crate) server: &'a Stream,
    pub(crate) from_client: Option<RecvBuf>,
    pub(crate) from_server: Option<RecvBuf>,
}

/// Bytes that were passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from_client: u64,
    pub(crate) from_server: u64,
    /// Whether it ended because nothing moved for too long.
    pub(crate) expired: bool,
}

/// Passes bytes on until both directions have ended, one side breaks, or nothing moves for `silence_max`.
pub(crate) async fn run(
    ring: &Ring,
    alarm: &Alarm,
    sides: Sides<'_>,
    silence_max: Duration,
) -> Moved {
    let (up, down) = (Cell::new(0), Cell::new(0));
    let expired = {
        let mut upwards = pin!(pass(ring, sides.client, sides.server, sides.from_client, &up));
        let mut downwards = pin!(pass(ring, sides.server, sides.client, sides.from_server, &down));
        let (mut up_ended, mut down_ended) = (false, false);
        let mut seen = (u64::MAX, u64::MAX);
        let mut deadline = alarm.now() + silence_max;
        poll_fn(|context| {
            for (direction, ended) in [
                (upwards.as_mut() as std::pin::Pin<&mut dyn Future<Output = bool>>, &mut up_ended),
                (downwards.as_mut(), &mut down_ended),
            ] {
                if !*ended {
                    match direction.poll(context) {
                        Poll::Ready(true) => *ended = true,
                        Poll::Ready(false) => return Poll::Ready(false),
                        Poll::Pending => {}
                    }
                }
            }
            if up_ended && down_ended {
                return Poll::Ready(false);
            }
            let progress = (sides.server.sent_bytes(), sides.client.sent_bytes());
            if progress != seen {
                seen = progress;
                deadline = alarm.now() + silence_max;
            }
            alarm.poll(deadline).map(|_| true)
        })
        .await
    };
    Moved { from_client: up.get(), from_server: down.get(), expired }
}

/// One direction, to its end: `true` after the half-close was passed on, `false` when a side broke.
async fn pass(
    ring: &Ring,
    from: &Stream,
    to: &Stream,
    first: Option<RecvBuf>,
    moved: &Cell<u64>,
) -> bool {
    // What moves in a tunnel, and how much, nobody knows.
    from.set_recv_on_demand(true);
    let mut piece = first;
    // Received since a flow was last tried or ended.
    let mut received = 0;
    loop {
        if let Some(bytes) = piece.take() {
            moved.set(moved.get() + bytes.len() as u64);
            received += bytes.len() as u64;
            if bytes.len() <= COPY_BYTES_MAX || ring.buffers_scarce() {
                let mut copy = ring.take_vec();
                copy.extend_from_slice(&bytes);
                to.queue(SendBuf::Vec(copy));
            } else {
                to.queue(SendBuf::Recv(bytes));
            }
            to.flush();
        }
        if received >= flow::BYTES_MIN
            && let Some(flow) = Flow::begin(from, to, u64::MAX)
        {
            match let_flow(flow, moved).await {
                Flowed::Little => received = 0,
                Flowed::End => return end(to).await,
                Flowed::Broken => return false,
            }
        }
        if poll_fn(|context| to.poll_flushed(context, QUEUED_BYTES_MAX)).await.is_err() {
            return false;
        }
        match from.recv().await {
            Ok(Some(bytes)) => piece = Some(bytes),
            Ok(None) => return end(to).await,
            Err(_) => return false,
        }
    }
}

/// Passes the end of one direction on.
async fn end(to: &Stream) -> bool {
    to.finish();
    if poll_fn(|context| to.poll_flushed(context, 0)).await.is_err() {
        return false;
    }
    to.shutdown_write();
    true
}

/// How a flow left a direction; whatever came from its source has gone.
enum Flowed {
    /// The source gave little, or what it gives has to be received.
    Little,
    End,
    Broken,
}

/// One direction while much moves in it.
async fn let_flow(mut flow: Flow<'_>, moved: &Cell<u64>) -> Flowed {
    let mut least = usize::MAX;
    loop {
        match poll_fn(|context| flow.poll(context)).await {
            Step::Received(bytes) => {
                moved.set(moved.get() + bytes as u64);
                least = bytes;
            }
            Step::Sent(_) if least < FLOWING_BYTES_MIN && flow.is_empty() => return Flowed::Little,
            Step::Sent(_) => {}
            Step::Unable => return Flowed::Little,
            Step::End | Step::Done => return Flowed::End,
            Step::SourceFailed | Step::SinkFailed => return Flowed::Broken,
        }
    }
}

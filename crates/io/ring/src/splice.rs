//! Moving bytes from one socket into another without bringing them into this process (ADR 0011).
//!
//! Owns one direction between two sockets while it lasts; leaves amounts, deadlines and fairness to its user. Invariant: no
//! byte overtakes another: bytes are taken only where no receive is in flight and given only behind an empty send queue; and
//! a pipe is held only while it holds bytes or moves them.

use std::io;
use std::num::NonZeroUsize;
use std::task::{Context, Poll};

use rustix::io::Errno;

use crate::core::{Core, descriptor};
use crate::pipe::{PIPE_BYTES, Pipe};
use crate::slots::Flags;
use crate::socket::{Socket, error_of, register};

/// What came of [`Splice::poll_fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// So many bytes wait to be given to the sink.
    Bytes(NonZeroUsize),
    /// The source has ended.
    End,
    /// What comes next must be received: there is no pipe, or the kernel does not splice it (urgent data).
    Unable,
}

/// A direction from one socket to another. While it lives, the source must not be received from and nothing be queued on the
/// sink, which debug assertions hold; the opposite direction is free. Dropped at any time: bytes that it holds are lost.
pub struct Splice<'a> {
    source: &'a Socket,
    sink: &'a Socket,
    pipe: Option<Pipe>,
    /// The last fill took all there was.
    is_exhausted: bool,
    /// The last thing the source did was to say that it has something.
    is_announced: bool,
}

impl<'a> Splice<'a> {
    /// Claims both sockets. None while `source` has received bytes to be taken or a receive in flight (see
    /// [`Socket::set_recv_on_demand`]), has ended or failed, and when either is in use by a splice of the same direction.
    pub fn begin(source: &'a Socket, sink: &'a Socket) -> Option<Splice<'a>> {
        let to = sink.index();
        if !source.with(|core, from| core.begin_splice(from, to)) {
            return None;
        }
        let (is_exhausted, is_announced) = (false, false);
        // Made only now: its drop gives up the claim.
        Some(Splice { source, sink, pipe: None, is_exhausted, is_announced })
    }

    /// Bytes taken from the source and not yet given to the sink, at most [`PIPE_BYTES`].
    pub fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// Takes at most `bytes_max` bytes, and [`PIPE_BYTES`], from the source. What is held must have been given to the sink.
    ///
    /// # Errors
    /// The source's connection was reset or failed.
    pub fn poll_fill(
        &mut self,
        context: &Context<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<Filled>> {
        assert_eq!(self.held(), 0, "a pipe is emptied before it is filled again");
        self.source.with(|core, index| {
            let slot = core.slots.get_mut(index);
            if slot.recv_errno != 0 {
                return Poll::Ready(error_of(slot.recv_errno).map(|()| Filled::End));
            }
            if slot.flags.has(Flags::EOF) {
                return Poll::Ready(Ok(Filled::End));
            }
            if slot.splicing.awaits_incoming {
                register(&mut slot.recv_waker, context);
                return Poll::Pending;
            }
            if !self.is_exhausted
                && let Some(filled) = self.fill(core, index, bytes_max.min(PIPE_BYTES))
            {
                return Poll::Ready(filled);
            }
            (self.is_exhausted, self.is_announced) = (false, true);
            self.give_back(core);
            register(&mut core.slots.get_mut(index).recv_waker, context);
            core.await_incoming(index);
            Poll::Pending
        })
    }

    /// What there is now, or `None` when there is nothing.
    fn fill(
        &mut self,
        core: &mut Core,
        index: u32,
        bytes_max: usize,
    ) -> Option<io::Result<Filled>> {
        let Some(pipe) = self.pipe.take().or_else(|| core.pipes.take()) else {
            core.counters.pipes_exhausted += 1;
            return Some(Ok(Filled::Unable));
        };
        let pipe = self.pipe.insert(pipe);
        let slot = core.slots.get_mut(index);
        let errno = match pipe.fill(descriptor(slot), bytes_max) {
            Ok(bytes) => {
                core.counters.spliced_bytes += bytes as u64;
                self.is_exhausted = bytes < bytes_max;
                self.is_announced = false;
                return Some(Ok(NonZeroUsize::new(bytes).map_or_else(
                    || {
                        slot.flags.set(Flags::EOF);
                        Filled::End
                    },
                    Filled::Bytes,
                )));
            }
            Err(Errno::AGAIN) if !self.is_announced => return None,
            // There is something, and it cannot be had in this way.
            Err(Errno::AGAIN | Errno::INVAL | Errno::NOMEM) => return Some(Ok(Filled::Unable)),
            Err(errno) => errno.raw_os_error(),
        };
        slot.recv_errno = errno;
        Some(Err(io::Error::from_raw_os_error(errno)))
    }

    /// Gives bytes that are held to the sink, once what was queued there has left; how many. They count as sent.
    ///
    /// # Errors
    /// The sink's connection was reset or failed.
    pub fn poll_drain(&mut self, context: &Context<'_>) -> Poll<io::Result<usize>> {
        self.sink.with(|core, index| {
            core.flush(index);
            let slot = core.slots.get_mut(index);
            if slot.send_errno != 0 {
                return Poll::Ready(error_of(slot.send_errno).map(|()| 0));
            }
            let is_queued = slot.transmit.as_ref().is_some_and(|transmit| !transmit.is_empty());
            if is_queued || slot.splicing.awaits_outgoing {
                register(&mut slot.send_waker, context);
                return Poll::Pending;
            }
            let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) else {
                return Poll::Ready(Ok(0));
            };
            match pipe.drain(descriptor(slot)) {
                Ok(bytes) => {
                    slot.sent_bytes += bytes as u64;
                    Poll::Ready(Ok(bytes))
                }
                Err(Errno::AGAIN) => {
                    register(&mut slot.send_waker, context);
                    core.await_outgoing(index);
                    Poll::Pending
                }
                Err(errno) => {
                    core.send_failed(index, errno.raw_os_error());
                    Poll::Ready(Err(errno.into()))
                }
            }
        })
    }

    fn give_back(&mut self, core: &mut Core) {
        if let Some(pipe) = self.pipe.take() {
            core.pipes.put(pipe);
        }
    }
}

impl Drop for Splice<'_> {
    fn drop(&mut self) {
        let to = self.sink.index();
        self.source.with(|core, from| {
            core.end_splice(from, to);
            self.give_back(core);
        });
    }
}

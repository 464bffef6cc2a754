//! Passing a body on: from received buffers to the other side's send queue.
//!
//! Owns finding the body's end and the framing towards the receiver; leaves waiting to its users. Invariant: a byte is
//! passed on only if the framing says that it belongs to the body, and received buffers are passed on, not copied, unless
//! they are small, cut, or scarce.

use tidegate_http1::{
    BodyLength, CHUNK_END, ChunkedDecoder, ChunkedError, LAST_CHUNK, Limits, Piece,
    encode_chunk_header,
};
use tidegate_ring::{RecvBuf, Ring, SendBuf};

use crate::flow;
use crate::stream::Stream;

/// Pieces up to this size are copied behind a head: one send of contiguous bytes costs less than a gathered one, and the
/// received buffer is free again at once.
const COPY_BYTES_MAX: usize = 2048;

/// One side's send queue, with small bytes gathered before it.
pub(super) struct Sink<'a> {
    socket: &'a Stream,
    ring: &'a Ring,
    tail: Vec<u8>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(socket: &'a Stream, ring: &'a Ring) -> Sink<'a> {
        Sink { socket, ring, tail: Vec::new() }
    }

    pub(super) fn socket(&self) -> &'a Stream {
        self.socket
    }

    /// The place for bytes built here, sent after everything pushed so far.
    pub(super) fn tail(&mut self) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = self.ring.take_vec();
        }
        &mut self.tail
    }

    /// Queues a received piece.
    pub(super) fn push(&mut self, piece: RecvBuf) {
        if piece.len() <= COPY_BYTES_MAX || self.ring.buffers_scarce() {
            self.tail().extend_from_slice(&piece);
        } else {
            self.queue_tail();
            self.socket.queue(SendBuf::Recv(piece));
        }
    }

    /// Queues what was built here, without sending yet.
    pub(super) fn queue_tail(&mut self) {
        if !self.tail.is_empty() {
            self.socket.queue(SendBuf::Vec(std::mem::take(&mut self.tail)));
        }
    }

    pub(super) fn flush(&mut self) {
        self.queue_tail();
        self.socket.flush();
    }

    /// As [`Sink::flush`], for the last bytes before the connection's end.
    pub(super) fn flush_last(&mut self) {
        self.queue_tail();
        self.socket.flush_last();
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        if self.tail.capacity() > 0 {
            self.ring.put_vec(std::mem::take(&mut self.tail));
        }
    }
}

/// How a body's end is found.
enum Framing {
    /// This many bytes are left.
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

/// How the receiver is told of the body's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// As the sender tells us.
    AsReceived,
    /// By closing: only the content is passed on.
    Content,
    /// In chunks made here.
    Chunks,
}

/// A body on its way.
pub(super) struct Body {
    framing: Framing,
    output: Output,
    finished: bool,
}

impl Body {
    pub(super) fn new(length: BodyLength, output: Output, limits: &Limits) -> Body {
        let framing = match length {
            BodyLength::None | BodyLength::Tunnel => Framing::Length(0),
            BodyLength::Length(bytes) => Framing::Length(bytes),
            BodyLength::Chunked => Framing::Chunked(ChunkedDecoder::new(limits)),
            BodyLength::UntilClose => Framing::UntilClose,
        };
        let finished = matches!(framing, Framing::Length(0));
        Body { framing, output, finished }
    }

    /// Whether the whole body has been passed on.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the rest is large, or may be for all that its framing says. It is then received piece by piece on demand,
    /// so that a fast sender cannot fill the shared buffers on behalf of one slow receiver.
    pub(super) fn may_be_large(&self) -> bool {
        match self.framing {
            Framing::Length(left) => left >= flow::BYTES_MIN,
            Framing::Chunked(_) | Framing::UntilClose => !self.finished,
        }
    }

    /// How much of the rest may go from socket to socket: all of it when it is large and passed on as it comes, `u64::MAX` when
    /// it ends with the connection.
    pub(super) fn flowing_bytes(&self) -> Option<u64> {
        let bytes = match self.framing {
            _ if self.output != Output::AsReceived || self.finished => return None,
            Framing::Length(left) => left,
            Framing::UntilClose => u64::MAX,
            Framing::Chunked(_) => return None,
        };
        (bytes >= flow::BYTES_MIN).then_some(bytes)
    }

    /// So many of the bytes that may flow have gone to the receiver.
    pub(super) fn passed(&mut self, bytes: usize) {
        if let Framing::Length(left) = &mut self.framing {
            debug_assert!(bytes as u64 <= *left, "more than the body flowed");
            *left = left.saturating_sub(bytes as u64);
            self.finished = *left == 0;
        }
    }

    /// Whether the sender's close is the body's end; queues what tells the receiver.
    pub(super) fn ends_with_connection(&mut self, sink: &mut Sink<'_>) -> bool {
        if !matches!(self.framing, Framing::UntilClose) {
            return false;
        }
        if self.output == Output::Chunks {
            sink.tail().extend_from_slice(LAST_CHUNK);
        }
        self.finished = true;
        true
    }

    /// Gives what of `bytes` belongs to the body to `take`; how many bytes that were, framing included.
    ///
    /// # Errors
    /// The chunked framing is broken, or `take` says so.
    pub(super) fn unframe<E: From<ChunkedError>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        match &mut self.framing {
            Framing::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                self.finished = *left == 0;
                take(Part::Content(&bytes[..taken])).map(|()| taken)
            }
            Framing::UntilClose => take(Part::Content(bytes)).map(|()| bytes.len()),
            Framing::Chunked(decoder) => {
                let mut rest = bytes;
                while !self.finished && !rest.is_empty() {
                    let count = match decoder.next(rest)? {
                        Piece::Data(count) => {
                            take(Part::Content(&rest[..count]))?;
                            count
                        }
                        Piece::Trailer(count) => {
                            take(Part::Trailer(&rest[..count]))?;
                            count
                        }
                        Piece::Framing(count) | Piece::Skip(count) => count,
                        Piece::End(count) => {
                            self.finished = true;
                            count
                        }
                        Piece::NeedMore => break,
                    };
                    rest = &rest[count..];
                }
                Ok(bytes.len() - rest.len())
            }
        }
    }

    /// Queues what of `piece` belongs to the body; what lies beyond its end comes back.
    ///
    /// # Errors
    /// The chunked framing is broken. Nothing of the broken part has been queued.
    pub(super) fn forward(
        &mut self,
        piece: RecvBuf,
        sink: &mut Sink<'_>,
    ) -> Result<Option<RecvBuf>, ChunkedError> {
        match &mut self.framing {
            Framing::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                *left -= taken as u64;
                self.finished = *left == 0;
                Ok(pass_front(piece, taken, sink))
            }
            Framing::UntilClose => {
                let chunks = self.output == Output::Chunks;
                if chunks {
                    encode_chunk_header(sink.tail(), piece.len());
                }
                sink.push(piece);
                if chunks {
                    sink.tail().extend_from_slice(CHUNK_END);
                }
                Ok(None)
            }
            Framing::Chunked(decoder) => {
                let (run, finished) = forward_chunks(decoder, self.output, &piece, sink)?;
                self.finished = finished;
                match run {
                    Run::Whole => sink.push(piece),
                    Run::Copied(taken) => return Ok(rest_of(piece, taken)),
                }
                Ok(None)
            }
        }
    }
}

/// A part of a body without its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Content(&'a [u8]),
    /// Bytes of trailer lines, behind all content.
    Trailer(&'a [u8]),
}

fn rest_of(mut piece: RecvBuf, taken: usize) -> Option<RecvBuf> {
    piece.advance(taken);
    (!piece.is_empty()).then_some(piece)
}

/// Queues the first `taken` bytes: the piece itself when that is all of it.
fn pass_front(piece: RecvBuf, taken: usize, sink: &mut Sink<'_>) -> Option<RecvBuf> {
    if taken == piece.len() {
        sink.push(piece);
        return None;
    }
    sink.tail().extend_from_slice(&piece[..taken]);
    rest_of(piece, taken)
}

/// What became of a piece of a chunked body.
enum Run {
    /// All of it is to be passed on as it is.
    Whole,
    /// What is to be passed on has been copied; so many bytes were read.
    Copied(usize),
}

/// Reads all of `piece` that belongs to the message. Bytes that are all to be passed on are not copied.
fn forward_chunks(
    decoder: &mut ChunkedDecoder,
    output: Output,
    piece: &[u8],
    sink: &mut Sink<'_>,
) -> Result<(Run, bool), ChunkedError> {
    let (mut read, mut run_start, mut copied) = (0, 0, false);
    let mut finished = false;
    while !finished && read < piece.len() {
        let (bytes, keep) = match decoder.next(&piece[read..])? {
            Piece::Data(bytes) => (bytes, true),
            Piece::Framing(bytes) | Piece::Trailer(bytes) => (bytes, output == Output::AsReceived),
            Piece::Skip(bytes) => (bytes, false),
            Piece::End(bytes) => {
                finished = true;
                (bytes, output == Output::AsReceived)
            }
            Piece::NeedMore => break,
        };
        if !keep {
            copied = true;
            sink.tail().extend_from_slice(&piece[run_start..read]);
            run_start = read + bytes;
        }
        read += bytes;
    }
    if !copied && read == piece.len() {
        return Ok((Run::Whole, finished));
    }
    sink.tail().extend_from_slice(&piece[run_start..read]);
    Ok((Run::Copied(read), finished))
}

//! A response's body on its way through an encoder.
//!
//! Owns what an encoder is given, and the framing of what comes out; leaves the server's framing to `body`, and which
//! responses are coded to `response_head`. Invariant: the end is written only once the whole body has been read and coded, so
//! that a body that was cut short is seen to be; at most one vector of [`VECTOR_BYTES_MAX`] is being filled.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use tidegate_compression::{EncodeError, Encoder, Progress};
use tidegate_exchange::{Action, Input};
use tidegate_http1::{
    BodyLength, CHUNK_END, ChunkedError, LAST_CHUNK, Limits, OPEN_CHUNK_BYTES,
    OPEN_CHUNK_DATA_BYTES_MAX, Version, close_chunk, open_chunk,
};
use tidegate_ring::RecvBuf;
use tidegate_telemetry::{BackendStats, FrontendStats};

use super::body::{Body, Output, Part, Sink};
use super::response::{Head, QUEUED_BYTES_MAX, Relay, unsent};

/// The vectors that coded bytes are gathered in: the largest that the ring keeps for reuse.
const VECTOR_BYTES_MAX: usize = 16 * 1024;

/// Room in a vector for which it is worth calling the encoder again. Below it the vector is full.
const ROOM_BYTES_MIN: usize = 1024;

const _: () = assert!(ROOM_BYTES_MIN >= OPEN_CHUNK_BYTES + tidegate_compression::PRODUCED_MIN);
const _: () = assert!(VECTOR_BYTES_MAX <= OPEN_CHUNK_DATA_BYTES_MAX);

/// How long a server may be silent before the client gets all that came: events arrive while they are news, and a server that
/// sends without pausing does not have its body cut into pieces that compress less. A receive takes a turn of the shard's loop,
/// so that silence cannot be told from work at once.
const SILENCE: Duration = Duration::from_millis(2);

/// Why a body cannot be coded further.
enum Fault {
    /// The server's framing is broken.
    Framing(ChunkedError),
    /// The encoder gets no memory.
    Encoder,
}

impl Fault {
    fn reason(&self) -> &'static str {
        match self {
            Fault::Framing(error) => error.reason(),
            Fault::Encoder => "encoder_failed",
        }
    }
}

impl From<ChunkedError> for Fault {
    fn from(error: ChunkedError) -> Fault {
        Fault::Framing(error)
    }
}

impl From<EncodeError> for Fault {
    fn from(_: EncodeError) -> Fault {
        Fault::Encoder
    }
}

/// A coded body being written.
struct Coder<'a> {
    encoder: Encoder,
    /// In chunks, or until the connection closes.
    chunks: bool,
    frontend: &'a FrontendStats,
    backend: &'a BackendStats,
    /// Something has come in since the last flush.
    holds_back: bool,
    /// The coded content is complete.
    ended: bool,
    /// Some of the response has been handed over for sending.
    queued: bool,
}

impl Coder<'_> {
    /// Takes a part of the body.
    fn take(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        match part {
            Part::Content(bytes) => self.encode(bytes, sink),
            Part::Trailer(line) => {
                self.finish(sink)?;
                if self.chunks {
                    sink.tail().extend_from_slice(line);
                }
                Ok(())
            }
        }
    }

    fn encode(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        self.frontend.compression_in.add(bytes.len() as u64);
        self.backend.compression_in.add(bytes.len() as u64);
        self.holds_back = true;
        let mut rest = bytes;
        while !rest.is_empty() {
            let progress = self
                .step(sink, |encoder, out, produced_max| encoder.encode(rest, out, produced_max))?;
            rest = &rest[progress.consumed..];
        }
        Ok(())
    }

    /// Brings out all that was taken.
    fn flush(&mut self, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        while !self.step(sink, Encoder::flush)?.is_done {}
        self.holds_back = false;
        Ok(())
    }

    /// Ends the coded content.
    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        if self.ended {
            return Ok(());
        }
        while !self.step(sink, Encoder::finish)?.is_done {}
        self.holds_back = false;
        self.ended = true;
        if self.chunks {
            let size_line = &LAST_CHUNK[..LAST_CHUNK.len() - CHUNK_END.len()];
            sink.tail().extend_from_slice(size_line);
        }
        Ok(())
    }

    /// Ends the body: nothing follows, or the trailers were it.
    fn end(&mut self, sink: &mut Sink<'_>) -> Result<(), EncodeError> {
        self.finish(sink)?;
        if self.chunks {
            sink.tail().extend_from_slice(CHUNK_END);
        }
        Ok(())
    }

    /// Calls the encoder once, with the room that the vector being filled has.
    fn step(
        &mut self,
        sink: &mut Sink<'_>,
        run: impl FnOnce(&mut Encoder, &mut Vec<u8>, usize) -> Result<Progress, EncodeError>,
    ) -> Result<Progress, EncodeError> {
        if VECTOR_BYTES_MAX.saturating_sub(sink.tail().len()) < ROOM_BYTES_MIN {
            sink.queue_tail();
            self.queued = true;
        }
        let tail = sink.tail();
        // Exactly: a vector that grows beyond is not reused.
        tail.reserve_exact(VECTOR_BYTES_MAX - tail.len());
        let start = tail.len();
        let progress = if self.chunks {
            let produced_max = VECTOR_BYTES_MAX - start - OPEN_CHUNK_BYTES;
            let opened = open_chunk(tail);
            let progress = run(&mut self.encoder, tail, produced_max);
            if progress.is_err() {
                tail.truncate(start);
            } else {
                close_chunk(tail, opened);
            }
            progress
        } else {
            run(&mut self.encoder, tail, VECTOR_BYTES_MAX - start)
        }?;
        self.frontend.compression_out.add(progress.produced as u64);
        self.backend.compression_out.add(progress.produced as u64);
        Ok(progress)
    }
}

/// What came of waiting for the server.
enum Arrived {
    Piece(RecvBuf),
    /// The server has closed.
    End,
    /// It pauses while something is held back.
    Pause,
}

impl Relay<'_, '_> {
    /// Relays the body through the encoder.
    pub(super) async fn relay_coded(
        &self,
        head: Head,
        encoder: Encoder,
        piece: Option<RecvBuf>,
        sink: &mut Sink<'_>,
    ) -> Result<Action, Action> {
        let mut coder = Coder {
            encoder,
            chunks: self.incoming.version != Version::Http10,
            frontend: &self.driver.frontend.stats,
            backend: &self.driver.backend.stats,
            holds_back: true,
            ended: false,
            queued: false,
        };
        let passed = self.pass_coded(head.body, &mut coder, piece, sink).await;
        if let Err(Action::Cut(_)) = passed {
            // What the client has of it tells that there was more.
            sink.flush();
        }
        let surplus = passed?;
        Ok(self.finish_body(&head, surplus.is_some(), sink))
    }

    /// Reads the whole body; what was received beyond its end.
    async fn pass_coded(
        &self,
        length: BodyLength,
        coder: &mut Coder<'_>,
        piece: Option<RecvBuf>,
        sink: &mut Sink<'_>,
    ) -> Result<Option<RecvBuf>, Action> {
        let mut body = Body::new(length, Output::Content, &Limits::default());
        let mut surplus = None;
        if let Some(piece) = piece {
            let passed = self.code(&mut body, coder, piece, sink);
            surplus = passed
                .map_err(|action| if coder.queued { action } else { unsent(action, sink) })?;
        }
        self.note_size(&body);
        while !body.is_finished() {
            if coder.queued {
                self.driver.client.socket.flush();
            }
            if self.driver.client.socket.queued_bytes() > QUEUED_BYTES_MAX {
                self.make_room(sink).await?;
            }
            match self.receive_or_pause(coder.holds_back).await? {
                Arrived::Piece(piece) => {
                    self.driver.tell(Input::ResponseProgress);
                    surplus = self.code(&mut body, coder, piece, sink)?;
                }
                Arrived::Pause => {
                    coder.flush(sink).map_err(|error| self.broken(&error.into()))?;
                    coder.queued = true;
                    sink.flush();
                }
                Arrived::End if body.ends_with_connection(sink) => {}
                Arrived::End => return Err(self.server_failed(Input::ServerClosed)),
            }
        }
        coder.end(sink).map_err(|error| self.broken(&error.into()))?;
        Ok(surplus)
    }

    /// Passes one piece through the encoder; what lies beyond the body's end comes back.
    fn code(
        &self,
        body: &mut Body,
        coder: &mut Coder<'_>,
        mut piece: RecvBuf,
        sink: &mut Sink<'_>,
    ) -> Result<Option<RecvBuf>, Action> {
        let taken = body
            .unframe(&piece, |part| coder.take(part, sink).map_err(Fault::from))
            .map_err(|fault: Fault| self.broken(&fault))?;
        piece.advance(taken);
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// Nothing but the end of the connection tells a client that a body which has begun is broken.
    fn broken(&self, fault: &Fault) -> Action {
        self.server_failed(Input::BadResponse(fault.reason()))
    }

    async fn receive_or_pause(&self, holds_back: bool) -> Result<Arrived, Action> {
        let silent_at = holds_back.then(|| self.driver.alarm.now() + SILENCE);
        let received = poll_fn(|context| {
            if let Poll::Ready(received) = self.poll_server(context) {
                return Poll::Ready(received.map(Some));
            }
            match silent_at {
                Some(silent_at) => self.driver.alarm.poll(silent_at).map(|_| Ok(None)),
                None => Poll::Pending,
            }
        })
        .await?;
        let Some(received): Option<io::Result<_>> = received else { return Ok(Arrived::Pause) };
        Ok(self.received(received)?.map_or(Arrived::End, Arrived::Piece))
    }
}

//! One stream of a client: its request as the text of an HTTP/1.1 message, and a response's text back into frames.
//!
//! Owns the two translations and their queues; leaves the meaning of the fields to `tidegate-http2`, windows and frames to the
//! library. Invariant: the client's window opens only as its data is taken, and what is queued for it is bounded by whoever
//! waits for [`Http2Stream::poll_flushed`].

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tidegate_http1::Limits;
use tidegate_http2::{
    Body, Broken, Carried, ResponseDecoder, ResponseSink, push_chunk, push_trailers,
};
use tidegate_ring::{PeerAddress, RecvBuf, SendBuf};

use super::piece::{Piece, Queued};
use super::shared::Shared;
use crate::stream::Facts;

/// Bytes of a request's body that are handed over at once.
const TAKEN_BYTES_MAX: usize = 32 * 1024;

/// A client's stream as the protocols see it.
pub(crate) struct Http2Stream {
    shared: Rc<Shared>,
    input: RefCell<Input>,
    output: RefCell<Output>,
    queued: Rc<Queued>,
    /// Bytes of text that were handed over.
    handed_over: Cell<u64>,
}

/// The request's side.
struct Input {
    /// The head, until it is taken.
    head: Option<Vec<u8>>,
    body: Body,
    receive: RecvStream,
    has_ended: bool,
}

/// The response's side.
struct Output {
    decoder: ResponseDecoder,
    respond: SendResponse<Piece>,
    send: Option<SendStream<Piece>>,
    /// Data that may turn out to be the last.
    held: Option<Piece>,
    /// The client, or the library for it, has ended the stream.
    is_gone: bool,
    /// The text was no response, or the request's rest was malformed.
    reason: Option<Reason>,
}

impl Http2Stream {
    /// A stream whose request has this head.
    pub(super) fn new(
        shared: &Rc<Shared>,
        head: Vec<u8>,
        carried: Carried,
        receive: RecvStream,
        respond: SendResponse<Piece>,
    ) -> Rc<Http2Stream> {
        shared.open_stream();
        let limits = Limits {
            head_bytes_max: usize::MAX,
            headers_count_max: usize::MAX,
            ..Limits::default()
        };
        Rc::new(Http2Stream {
            shared: shared.clone(),
            input: RefCell::new(Input {
                head: Some(head),
                body: carried.body,
                receive,
                has_ended: carried.body == Body::None,
            }),
            output: RefCell::new(Output {
                decoder: ResponseDecoder::new(carried.kind, limits),
                respond,
                send: None,
                held: None,
                is_gone: false,
                reason: None,
            }),
            queued: shared.new_queue(),
            handed_over: Cell::new(0),
        })
    }

    /// What its connection's TLS handshake has said, if there was one.
    pub(crate) fn tls_facts(&self) -> Option<&Facts> {
        self.shared.tls.as_deref()
    }

    /// The address of the client.
    pub(crate) fn peer_address(&self) -> PeerAddress {
        self.shared.peer
    }

    /// The address that it connected to.
    pub(crate) fn local_address(&self) -> PeerAddress {
        self.shared.local
    }

    /// The next piece of the request's text, or `None` when all of it has been taken.
    ///
    /// # Errors
    /// The stream was reset, or its rest is malformed.
    pub(crate) fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        let received = self.input.borrow_mut().poll(context);
        received.map_err(|reason| {
            if let Some(reason) = reason {
                self.output.borrow_mut().reason = Some(reason);
            }
            io::ErrorKind::ConnectionReset.into()
        })
    }

    /// Ready once the client has ended the stream, or what was to be sent cannot be.
    pub(crate) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        self.output.borrow_mut().poll_gone(context)
    }

    /// Takes a piece of the response's text.
    pub(crate) fn queue(&self, piece: SendBuf) {
        let output = &mut *self.output.borrow_mut();
        if output.reason.is_some() || output.is_gone {
            return;
        }
        self.handed_over.set(self.handed_over.get() + piece.as_bytes().len() as u64);
        let whole = Rc::new(piece);
        let Output { decoder, respond, send, held, is_gone, reason } = output;
        let mut frames = Frames {
            whole: Some(&whole),
            queued: &self.queued,
            respond,
            send,
            held,
            failed: false,
        };
        let fed = decoder.feed(whole.as_bytes(), &mut self.shared.head.borrow_mut(), &mut frames);
        frames.release();
        *is_gone |= frames.failed;
        if fed == Err(Broken) {
            *reason = Some(Reason::INTERNAL_ERROR);
        }
    }

    /// The response's text has ended.
    pub(crate) fn finish(&self) {
        let output = &mut *self.output.borrow_mut();
        let Output { decoder, respond, send, held, is_gone, .. } = output;
        let mut frames =
            Frames { whole: None, queued: &self.queued, respond, send, held, failed: false };
        decoder.finish(&mut frames);
        *is_gone |= frames.failed;
    }

    /// Ready when at most `queued_max` bytes of data wait for the client's window or the connection.
    ///
    /// # Errors
    /// The client has ended the stream.
    pub(crate) fn poll_flushed(
        &self,
        context: &mut Context<'_>,
        queued_max: usize,
    ) -> Poll<io::Result<()>> {
        if self.poll_gone(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        // What others have queued falls too: whoever waits looks again when its own does.
        if self.queued.bytes() <= self.shared.queue_share(queued_max) {
            return Poll::Ready(Ok(()));
        }
        self.queued.wait(context);
        Poll::Pending
    }

    /// Whether more may be queued than is: the stream's own measure is `queued_max`, and the connection has one too, which is
    /// counted when it is reached.
    pub(crate) fn has_room(&self, queued_max: usize) -> bool {
        let queued = self.queued.bytes();
        let has_room = queued <= self.shared.queue_share(queued_max);
        if !has_room && queued <= queued_max {
            self.shared.entrance.frontend().stats.http2_queues_full.increment();
        }
        has_room
    }

    /// Bytes of data that have been written to the connection.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.queued.written()
    }

    /// Bytes of text that were handed over.
    pub(crate) fn handed_over_bytes(&self) -> u64 {
        self.handed_over.get()
    }

    /// Bytes of data that have not been written to the connection.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.bytes()
    }

    /// Ends the stream now, as one that failed.
    pub(crate) fn end_now(&self) {
        let output = &mut *self.output.borrow_mut();
        output.reason = Some(Reason::INTERNAL_ERROR);
        output.respond.send_reset(Reason::INTERNAL_ERROR);
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let output = self.output.get_mut();
        let answered = output.decoder.is_done() && output.reason.is_none();
        if !answered {
            let reason = output.reason.unwrap_or(match output.decoder.has_begun() {
                _ if std::thread::panicking() => Reason::INTERNAL_ERROR,
                true => Reason::INTERNAL_ERROR,
                false if self.input.get_mut().head.is_some() => Reason::REFUSED_STREAM,
                false => Reason::CANCEL,
            });
            output.respond.send_reset(reason);
        }
        self.shared.close_stream(answered && !output.is_gone);
    }
}

impl Input {
    /// As [`Http2Stream::poll_recv`]; an error has the reason for which the stream is to be reset, if it is not already.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<RecvBuf>, Option<Reason>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Ok(Some(RecvBuf::from_vec(head))));
        }
        let mut out = Vec::new();
        while !self.has_ended && out.len() < TAKEN_BYTES_MAX {
            match self.receive.poll_data(context) {
                Poll::Ready(Some(Ok(data))) => {
                    if self.body == Body::Chunked && !data.is_empty() {
                        push_chunk(&data, &mut out);
                    } else {
                        out.extend_from_slice(&data);
                    }
                    // Never more than has come: the library cannot refuse it.
                    let _ = self.receive.flow_control().release_capacity(data.len());
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(None)),
                Poll::Ready(None) => match self.receive.poll_trailers(context) {
                    Poll::Ready(Ok(trailers)) => {
                        self.has_ended = true;
                        if self.body == Body::Chunked {
                            let trailers = trailers.unwrap_or_default();
                            push_trailers(fields(&trailers), &mut out)
                                .map_err(|_| Some(Reason::PROTOCOL_ERROR))?;
                        }
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(None)),
                    Poll::Pending => break,
                },
                Poll::Pending => break,
            }
        }
        match out.is_empty() {
            false => Poll::Ready(Ok(Some(RecvBuf::from_vec(out)))),
            true if self.has_ended => Poll::Ready(Ok(None)),
            true => Poll::Pending,
        }
    }
}

impl Output {
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_gone || self.reason.is_some() {
            return Poll::Ready(());
        }
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(context),
            None if self.decoder.is_done() => return Poll::Pending,
            None => self.respond.poll_reset(context),
        };
        self.is_gone |= reset.is_ready();
        reset.map(|_| ())
    }
}

/// The lines of a header map.
pub(super) fn fields(map: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// Where the decoder sends a response: to the library.
struct Frames<'a> {
    /// The piece that is being decoded.
    whole: Option<&'a Rc<SendBuf>>,
    queued: &'a Rc<Queued>,
    respond: &'a mut SendResponse<Piece>,
    send: &'a mut Option<SendStream<Piece>>,
    held: &'a mut Option<Piece>,
    /// The library took something not: the client has ended the stream.
    failed: bool,
}

impl Frames<'_> {
    fn note<T, E>(&mut self, sent: &Result<T, E>) {
        self.failed |= sent.is_err();
    }

    fn send_data(&mut self, piece: Piece, ends: bool) {
        let sent = self.send.as_mut().map_or(Ok(()), |send| send.send_data(piece, ends));
        self.note(&sent);
    }

    /// Sends what was held back.
    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.send_data(held, false);
        }
    }
}

/// A head of fields that came as text; a name or value that the library has no room for is left out.
fn head<'a>(status: u16, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    collect(lines, response.headers_mut());
    response
}

fn collect<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>, map: &mut HeaderMap) {
    for (name, value) in lines {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            // 256 lines at most, of the 24,576 that it takes.
            let _ = map.try_append(name, value);
        }
    }
}

impl ResponseSink for Frames<'_> {
    fn interim<'a>(&mut self, status: u16, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let sent = self.respond.send_informational(head(status, lines));
        self.note(&sent);
    }

    fn head<'a>(
        &mut self,
        status: u16,
        lines: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        match self.respond.send_response(head(status, lines), ends) {
            Ok(send) => *self.send = Some(send),
            Err(_) => self.failed = true,
        }
    }

    fn data(&mut self, part: Range<usize>) {
        self.release();
        *self.held = self.whole.map(|whole| Piece::new(whole, part, self.queued));
    }

    fn trailers<'a>(&mut self, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.release();
        let mut map = HeaderMap::new();
        collect(lines, &mut map);
        let sent = self.send.as_mut().map_or(Ok(()), |send| send.send_trailers(map));
        self.note(&sent);
    }

    fn end(&mut self) {
        let last = self.held.take().unwrap_or_else(|| Piece::empty(self.queued));
        self.send_data(last, true);
    }
}

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
use h2::{Reason, RecvStream};
use http::{Response, StatusCode};
use tidegate_http1::Limits;
use tidegate_http2::{Broken, Carried, ContentSink, ResponseDecoder, ResponseSink};
use tidegate_ring::{PeerAddress, RecvBuf, SendBuf};

use super::outgoing::{Content, Outgoing, collect};
use super::piece::{Piece, Queued};
use super::receiving::{Cut, Receiving};
use super::shared::Shared;
use crate::stream::Facts;

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
    content: Receiving,
}

/// The response's side.
struct Output {
    decoder: ResponseDecoder,
    respond: SendResponse<Piece>,
    content: Outgoing,
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
                content: Receiving::new(carried.body, receive),
            }),
            output: RefCell::new(Output {
                decoder: ResponseDecoder::new(carried.kind, limits),
                respond,
                content: Outgoing::default(),
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
        let mut whole = Rc::new(piece);
        let Output { decoder, respond, content, is_gone, reason } = output;
        let content = Content::new(Some(&whole), &self.queued, content);
        let mut frames = Frames { respond, content };
        let fed = decoder.feed(whole.as_bytes(), &mut self.shared.head.borrow_mut(), &mut frames);
        frames.content.release();
        *is_gone |= frames.content.failed;
        self.queued.release(&mut whole);
        if fed == Err(Broken) {
            *reason = Some(Reason::INTERNAL_ERROR);
        }
    }

    /// The response's text has ended.
    pub(crate) fn finish(&self) {
        let output = &mut *self.output.borrow_mut();
        let Output { decoder, respond, content, is_gone, .. } = output;
        let content = Content::new(None, &self.queued, content);
        let mut frames = Frames { respond, content };
        decoder.finish(&mut frames);
        *is_gone |= frames.content.failed;
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
        self.queued.poll_at_most(self.shared.queue_share(queued_max), context).map(Ok)
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
        self.shared.resets.reset(&mut output.respond, Reason::INTERNAL_ERROR);
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
            self.shared.resets.reset(&mut output.respond, reason);
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
        let received = self.content.poll(context, Vec::new());
        received.map(|received| match received {
            Ok(text) => Ok(text.map(RecvBuf::from_vec)),
            Err(Cut::Error(_)) => Err(None),
            Err(Cut::Malformed) => Err(Some(Reason::PROTOCOL_ERROR)),
        })
    }
}

impl Output {
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.is_gone || self.reason.is_some() {
            return Poll::Ready(());
        }
        let reset = match &mut self.content.send {
            Some(send) => send.poll_reset(context),
            None if self.decoder.is_done() => return Poll::Pending,
            None => self.respond.poll_reset(context),
        };
        self.is_gone |= reset.is_ready();
        reset.map(|_| ())
    }
}

/// Where the decoder sends a response: to the library.
struct Frames<'a> {
    respond: &'a mut SendResponse<Piece>,
    content: Content<'a>,
}

fn head<'a>(status: u16, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    collect(lines, response.headers_mut());
    response
}

impl ResponseSink for Frames<'_> {
    fn interim<'a>(&mut self, status: u16, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let sent = self.respond.send_informational(head(status, lines));
        self.content.note(&sent);
    }

    fn head<'a>(
        &mut self,
        status: u16,
        lines: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        match self.respond.send_response(head(status, lines), ends) {
            Ok(send) => self.content.outgoing.send = Some(send),
            Err(_) => self.content.failed = true,
        }
    }
}

impl ContentSink for Frames<'_> {
    fn data(&mut self, part: Range<usize>) {
        self.content.data(part);
    }

    fn trailers<'a>(&mut self, lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.content.trailers(lines);
    }

    fn end(&mut self) {
        self.content.end();
    }
}

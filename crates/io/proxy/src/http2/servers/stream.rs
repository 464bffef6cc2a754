//! One request to a server on a connection that it shares: its HTTP/1.1 text as frames, and the response's frames as text.
//!
//! Owns the two translations and their queues, and what it means that a stream fails; leaves the meaning of the fields to
//! `tidegate-http2`, windows and frames to the library. Invariant: the server's window opens only as its data is taken.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Method, Request, header};
use tidegate_http1::{Limits, RequestHead};
use tidegate_http2::{
    Answered, ContentSink, MalformedResponse, RequestDecoder, RequestKind, RequestSink, Target,
    write_interim, write_response,
};
use tidegate_ring::{RecvBuf, Ring, SendBuf};

use super::trunk::Trunk;
use crate::http2::outgoing::{Content, Outgoing, collect, fields};
use crate::http2::piece::{Piece, Queued};
use crate::http2::receiving::{Cut, Receiving, grpc_status};

/// What a stream that failed says of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server has done nothing with it and says so (RFC 9113 §8.7).
    Refused,
    /// The connection was told to take no more before the server had seen it (RFC 9113 §6.8).
    Goaway,
    /// The server has ended the stream.
    Reset,
    /// The connection is gone.
    Lost,
    /// It cannot be a request, or the response is none: the rule.
    Malformed(&'static str),
}

/// A request's stream as the protocols see it.
pub(crate) struct TrunkStream {
    /// The connection that it has a place on; none: it is all that its connection carries.
    trunk: Option<Rc<Trunk>>,
    /// Room for the request's head.
    head: Rc<RefCell<RequestHead>>,
    is_secure: bool,
    output: RefCell<Output>,
    input: RefCell<Input>,
    queued: Rc<Queued>,
    fault: Cell<Option<Fault>>,
    /// Bytes of text that were handed over.
    handed_over: Cell<u64>,
    /// The final head has come.
    is_answered: Cell<bool>,
    grpc: Cell<Option<Grpc>>,
}

/// What a response says of its gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grpc {
    /// As in [`GRPC_STATUSES`](tidegate_http2::GRPC_STATUSES).
    pub(crate) status: u8,
    /// It says nothing else.
    pub(crate) is_alone: bool,
}

/// The request's side.
struct Output {
    decoder: RequestDecoder,
    send: SendRequest<Piece>,
    content: Outgoing,
    response: Option<ResponseFuture>,
    is_gone: bool,
}

/// The response's side.
enum Input {
    /// Its head has not come.
    Head,
    Content(Receiving),
    Done,
}

impl TrunkStream {
    /// `is_secure`: the connection has TLS.
    pub(crate) fn new(
        trunk: Option<&Rc<Trunk>>,
        head: &Rc<RefCell<RequestHead>>,
        ring: &Ring,
        is_secure: bool,
        send: SendRequest<Piece>,
    ) -> Rc<TrunkStream> {
        let limits = Limits {
            head_bytes_max: usize::MAX,
            headers_count_max: usize::MAX,
            target_bytes_max: usize::MAX,
            ..Limits::default()
        };
        Rc::new(TrunkStream {
            trunk: trunk.cloned(),
            head: head.clone(),
            is_secure,
            output: RefCell::new(Output {
                decoder: RequestDecoder::new(limits),
                send,
                content: Outgoing::default(),
                response: None,
                is_gone: false,
            }),
            input: RefCell::new(Input::Head),
            queued: Queued::of(&Rc::default(), ring),
            fault: Cell::new(None),
            handed_over: Cell::new(0),
            is_answered: Cell::new(false),
            grpc: Cell::new(None),
        })
    }

    /// Which of the server's addresses it goes to.
    pub(crate) fn epoch(&self) -> u32 {
        self.trunk.as_ref().map_or(0, |trunk| trunk.epoch)
    }

    /// Why it failed, once it has.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// What the response has said of its gRPC call so far.
    pub(crate) fn grpc(&self) -> Option<Grpc> {
        self.grpc.get()
    }

    /// Takes a piece of the request's text.
    pub(crate) fn queue(&self, piece: SendBuf) {
        let output = &mut *self.output.borrow_mut();
        self.handed_over.set(self.handed_over.get() + piece.as_bytes().len() as u64);
        if self.fault.get().is_some() || output.is_gone {
            return;
        }
        let mut whole = Rc::new(piece);
        let Output { decoder, send, content, response, is_gone } = output;
        let content = Content::new(Some(&whole), &self.queued, content);
        let is_secure = self.is_secure;
        let mut frames = Frames { is_secure, send, response, content, fault: None };
        let fed = decoder.feed(whole.as_bytes(), &mut self.head.borrow_mut(), &mut frames);
        frames.content.release();
        let unreadable = fed.is_err().then_some(Fault::Malformed("h2_request_unsendable"));
        *is_gone |= frames.content.failed;
        self.fault.set(frames.fault.or(unreadable));
        self.queued.release(&mut whole);
    }

    /// The request's text has ended.
    pub(crate) fn finish(&self) {
        let output = &mut *self.output.borrow_mut();
        let Output { decoder, send, content, response, is_gone } = output;
        let content = Content::new(None, &self.queued, content);
        let is_secure = self.is_secure;
        let mut frames = Frames { is_secure, send, response, content, fault: None };
        decoder.finish(&mut frames);
        *is_gone |= frames.content.failed;
    }

    /// The next piece of the response's text, or `None` when all of it has been taken.
    ///
    /// # Errors
    /// The stream has failed; [`TrunkStream::fault`] says by what.
    pub(crate) fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        let polled = match self.fault.get() {
            Some(fault) => Poll::Ready(Err(fault)),
            None => self.poll_text(context),
        };
        polled.map(|text| match text {
            Ok(text) => Ok(text.map(RecvBuf::from_vec)),
            Err(fault) => {
                self.fault.set(Some(fault));
                Err(io::ErrorKind::ConnectionReset.into())
            }
        })
    }

    fn poll_text(&self, context: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Fault>> {
        let mut out = Vec::new();
        let input = &mut *self.input.borrow_mut();
        if matches!(input, Input::Head) {
            match ready!(self.poll_head(context, &mut out)) {
                Ok(Some(content)) => *input = Input::Content(content),
                Ok(None) => return Poll::Ready(Ok(Some(out))),
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        let Input::Content(content) = input else { return Poll::Ready(Ok(None)) };
        let text = ready!(content.poll(context, out));
        if let Some(status) = content.grpc_status() {
            self.grpc.set(Some(Grpc { status, is_alone: false }));
        }
        Poll::Ready(match text {
            Ok(None) => {
                *input = Input::Done;
                Ok(None)
            }
            Ok(text) => Ok(text),
            Err(Cut::Error(error)) => Err(fault_of(&error, true)),
            Err(Cut::Malformed) => Err(Fault::Malformed("h2_trailers_invalid")),
        })
    }

    /// The text of the next head: of the final one with what follows it.
    fn poll_head(
        &self,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<Option<Receiving>, Fault>> {
        let output = &mut *self.output.borrow_mut();
        let Some(response) = &mut output.response else { return Poll::Pending };
        let malformed = |error: MalformedResponse| Fault::Malformed(error.reason());
        match ready!(response.poll_informational(context)) {
            Some(Ok(interim)) => {
                let lines = fields(interim.headers());
                let written = write_interim(interim.status().as_u16(), lines, out);
                return Poll::Ready(written.map(|()| None).map_err(malformed));
            }
            Some(Err(error)) => return Poll::Ready(Err(fault_of(&error, false))),
            None => {}
        }
        let (head, receive) = match ready!(std::pin::Pin::new(response).poll(context)) {
            Ok(response) => response.into_parts(),
            Err(error) => return Poll::Ready(Err(fault_of(&error, false))),
        };
        self.is_answered.set(true);
        if let Some(status) = grpc_status(&head.headers) {
            self.grpc.set(Some(Grpc { status, is_alone: receive.is_end_stream() }));
        }
        let (kind, accept) = (output.decoder.kind(), output.decoder.accept());
        let answered = Answered { kind, accept, ends: receive.is_end_stream() };
        let body = write_response(head.status.as_u16(), &answered, fields(&head.headers), out);
        Poll::Ready(match body {
            Ok(body) => Ok(Some(Receiving::new(body, receive))),
            Err(error) => Err(malformed(error)),
        })
    }

    /// Ready once the server has ended the stream, or what was to be sent cannot be.
    pub(crate) fn poll_gone(&self, context: &mut Context<'_>) -> Poll<()> {
        let output = &mut *self.output.borrow_mut();
        if output.is_gone || self.fault.get().is_some() {
            return Poll::Ready(());
        }
        let Some(send) = &mut output.content.send else { return Poll::Pending };
        let reset = send.poll_reset(context);
        output.is_gone |= reset.is_ready();
        reset.map(|_| ())
    }

    /// Ready when at most `queued_max` bytes of content wait for the server's window or the connection.
    ///
    /// # Errors
    /// The server has ended the stream.
    pub(crate) fn poll_flushed(
        &self,
        context: &mut Context<'_>,
        queued_max: usize,
    ) -> Poll<io::Result<()>> {
        if self.poll_gone(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.queued.poll_at_most(queued_max, context).map(Ok)
    }

    /// Bytes of text that were handed over and have left, or cannot be said not to have.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.handed_over.get().saturating_sub(self.queued.bytes() as u64)
    }

    /// Bytes of text that were handed over.
    pub(crate) fn handed_over_bytes(&self) -> u64 {
        self.handed_over.get()
    }

    /// Bytes of content that have not been written to the connection.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued.bytes()
    }

    /// Ends the stream now.
    pub(crate) fn end_now(&self) {
        let output = &mut *self.output.borrow_mut();
        output.is_gone = true;
        if let Some(send) = &mut output.content.send {
            send.send_reset(Reason::CANCEL);
        }
    }
}

impl Drop for TrunkStream {
    fn drop(&mut self) {
        let output = self.output.get_mut();
        let is_whole = output.decoder.is_done() && matches!(self.input.get_mut(), Input::Done);
        let reason = match self.fault.get() {
            Some(Fault::Malformed(_)) => Reason::PROTOCOL_ERROR,
            _ => Reason::CANCEL,
        };
        if let Some(send) = output.content.send.as_mut().filter(|_| !is_whole) {
            send.send_reset(reason);
        }
        if let Some(trunk) = &self.trunk {
            trunk.close_stream(self.is_answered.get());
        }
    }
}

/// What an error of the library means for the request. `begun`: its response has.
fn fault_of(error: &h2::Error, begun: bool) -> Fault {
    let by_server = error.is_remote();
    match error.reason() {
        // RFC 9113 §6.8: streams above the last one that GOAWAY names.
        Some(_) if error.is_go_away() && by_server && !begun => Fault::Goaway,
        Some(_) if error.is_go_away() && by_server => Fault::Lost,
        Some(Reason::REFUSED_STREAM) if by_server && !begun => Fault::Refused,
        Some(Reason::HTTP_1_1_REQUIRED) if by_server => Fault::Malformed("h2_http_1_1_required"),
        Some(_) if by_server => Fault::Reset,
        Some(_) if error.is_reset() => Fault::Malformed("h2_response_malformed"),
        Some(_) => Fault::Malformed("h2_protocol_error"),
        None => Fault::Lost,
    }
}

/// Where the decoder sends a request: to the library.
struct Frames<'a> {
    is_secure: bool,
    send: &'a mut SendRequest<Piece>,
    response: &'a mut Option<ResponseFuture>,
    content: Content<'a>,
    fault: Option<Fault>,
}

impl RequestSink for Frames<'_> {
    fn head<'a>(
        &mut self,
        target: &Target<'a>,
        lines: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        let tunnels = target.kind == RequestKind::WebSocket;
        if tunnels && !self.send.is_extended_connect_protocol_enabled() {
            self.fault = Some(Fault::Malformed("h2_no_extended_connect"));
            return;
        }
        let Some(mut request) = request(target, self.is_secure) else {
            self.fault = Some(Fault::Malformed("h2_request_unsendable"));
            return;
        };
        collect(lines, request.headers_mut());
        if !tunnels {
            // This side takes trailers; servers of gRPC insist on hearing it.
            request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        }
        match self.send.send_request(request, ends) {
            Ok((response, send)) => {
                *self.response = Some(response);
                self.content.outgoing.send = Some(send);
            }
            // The connection has been told to take no more, or is gone: nothing has been sent.
            Err(_) => self.fault = Some(Fault::Goaway),
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

/// A request without fields, if it can be one.
fn request(target: &Target<'_>, is_secure: bool) -> Option<Request<()>> {
    let uri = Uri::builder()
        .scheme(if is_secure { Scheme::HTTPS } else { Scheme::HTTP })
        .authority(Authority::try_from(target.authority).ok()?)
        .path_and_query(PathAndQuery::try_from(target.path).ok()?)
        .build()
        .ok()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(target.method).ok()?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    if target.kind == RequestKind::WebSocket {
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    }
    Some(request)
}

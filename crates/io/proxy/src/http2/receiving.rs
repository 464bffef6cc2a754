//! Content from the library as text, on either side.
//!
//! Owns the framing of the text; leaves heads to the streams. Invariant: the peer's window opens only as its data is taken.

use std::task::{Context, Poll};

use h2::RecvStream;
use http::HeaderMap;
use tidegate_http2::{Body, push_chunk, push_trailers, read_grpc_status};

use super::outgoing::fields;

/// Bytes of content that are handed over at once.
const TAKEN_BYTES_MAX: usize = 32 * 1024;

/// One stream's content.
pub(super) struct Receiving {
    body: Body,
    receive: RecvStream,
    has_ended: bool,
    grpc_status: Option<u8>,
}

/// Why there is no more of it.
pub(super) enum Cut {
    /// The stream, or the connection, has ended.
    Error(h2::Error),
    /// The rest is malformed.
    Malformed,
}

impl Receiving {
    pub(super) fn new(body: Body, receive: RecvStream) -> Receiving {
        Receiving { body, receive, has_ended: body == Body::None, grpc_status: None }
    }

    /// What its trailers have said of a gRPC call.
    pub(super) fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
    }

    /// The next text, or `None` when all of it has been taken. What `out` holds already is given with it.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut out: Vec<u8>,
    ) -> Poll<Result<Option<Vec<u8>>, Cut>> {
        while !self.has_ended && out.len() < TAKEN_BYTES_MAX {
            let taken = match self.poll_part(context, &mut out) {
                Poll::Ready(taken) => taken,
                Poll::Pending => break,
            };
            match taken {
                Ok(()) => {}
                // What came before the cut is handed over first: it will be asked again.
                Err(Cut::Error(_)) if !out.is_empty() => break,
                Err(cut) => return Poll::Ready(Err(cut)),
            }
        }
        match out.is_empty() {
            false => Poll::Ready(Ok(Some(out))),
            true if self.has_ended => Poll::Ready(Ok(None)),
            true => Poll::Pending,
        }
    }

    fn poll_part(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), Cut>> {
        let data = match self.receive.poll_data(context) {
            Poll::Ready(Some(data)) => data.map_err(Cut::Error),
            Poll::Ready(None) => return self.poll_end(context, out),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(data.map(|data| {
            if self.body == Body::Chunked && !data.is_empty() {
                push_chunk(&data, out);
            } else {
                out.extend_from_slice(&data);
            }
            // Never more than has come: the library cannot refuse it.
            let _ = self.receive.flow_control().release_capacity(data.len());
        }))
    }

    fn poll_end(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<(), Cut>> {
        self.receive.poll_trailers(context).map(|trailers| {
            let trailers = trailers.map_err(Cut::Error)?;
            self.has_ended = true;
            self.grpc_status = trailers.as_ref().and_then(grpc_status);
            if self.body == Body::Chunked {
                let trailers = trailers.unwrap_or_default();
                push_trailers(fields(&trailers), out).map_err(|_| Cut::Malformed)?;
            }
            Ok(())
        })
    }
}

/// The gRPC status among fields.
pub(super) fn grpc_status(fields: &HeaderMap) -> Option<u8> {
    fields.get("grpc-status").map(|value| read_grpc_status(value.as_bytes()))
}

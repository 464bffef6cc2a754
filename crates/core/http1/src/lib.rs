//! HTTP/1.x for both sides of a proxy: bytes to heads, heads to bytes, and chunked framing.
//!
//! This crate owns what RFC 9112 calls a message: where a head ends, whether it is valid, how long
//! its body is, whether the connection persists, and what an intermediary has to change before it
//! passes the head on. It leaves to others reading and writing sockets, time, routing, and what to
//! answer when a message is refused.
//!
//! Invariant: no byte sequence makes it panic, and what it accepts has exactly one reading. A
//! message that two recipients could frame differently is an error, never a guess.
//!
//! A parsed head holds ranges into the buffer it was parsed from and borrows nothing, so it can
//! live in a connection's state next to that buffer. Every accessor that returns bytes takes the
//! same buffer again.

mod chunked;
mod edits;
mod encode;
mod error;
mod fault;
mod framing;
mod grammar;
mod header;
mod limits;
mod message;
mod persistence;
mod request;
mod response;
mod scan;
mod target;
mod trailer;

pub use chunked::{
    CHUNK_END, ChunkedDecoder, LAST_CHUNK, OPEN_CHUNK_BYTES, OPEN_CHUNK_DATA_BYTES_MAX, OpenChunk,
    Piece, close_chunk, encode_chunk_header, open_chunk,
};
pub use edits::{
    BodyFraming, ConnectionHeader, HeaderEdits, HeaderLists, NewStart, RequestEdits, ResponseEdits,
    SimpleResponse, Unchanged,
};
pub use encode::{encode_request_head, encode_response_head, encode_simple_response};
pub use error::{ChunkedError, RequestError, ResponseError};
pub use framing::BodyLength;
pub use limits::{
    CONNECTION_OPTIONS_MAX, HEAD_BYTES_CAPACITY, HEADERS_CAPACITY, HOST_BYTES_MAX, Limits,
    METHOD_BYTES_MAX,
};
pub use message::{Method, Parsed, Version, reason_phrase};
pub use request::{RequestHead, continue_request, parse_request};
pub use response::{ResponseContext, ResponseHead, continue_response, parse_response};
pub use scan::{RequestScan, ResponseScan};
pub use target::{TargetForm, is_authority, is_origin_target};

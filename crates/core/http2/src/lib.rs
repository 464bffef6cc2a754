//! HTTP/2 as a carrier of HTTP/1.1 messages (RFC 9113 §8): one becomes the other and back, and what frames may cost.
//!
//! Owns both directions of both sides: fields to text and text to fields, data and trailers, for the requests of clients and the
//! responses of servers; and the budgets of frames that cost more than they bring. Leaves to others framing, header compression and
//! flow control, which are a library's, sockets and time, and the reading of the text, which is `tidegate-http1`'s.
//!
//! Invariant: a request that is accepted here is read by `tidegate-http1` as exactly that request or refused there; there is no
//! third outcome. No byte sequence makes anything here panic.

mod content;
mod error;
mod grammar;
mod grpc;
mod meter;
mod preface;
mod request;
mod resets;
mod response;
mod server_request;
mod server_response;
mod trailers;
mod websocket;

pub use content::{Broken, ContentSink};
pub use error::Malformed;
pub use grpc::{GRPC_STATUSES, grpc_status_for, is_grpc, read_grpc_status};
pub use meter::{
    CONTINUATIONS_MAX, EMPTY_DATA_MAX, Flood, HEADER_BLOCK_BYTES_MAX, Heard, Meter, PINGS_MAX,
    PRIORITIES_MAX, RESETS_MAX, Rate, SERVER_HEADERS_MAX, SERVER_RESETS_MAX, SETTINGS_MAX,
    STREAMS_UNANSWERED_MAX, WINDOW_UPDATES_MAX,
};
pub use preface::{PREFACE, Preface, judge_preface};
pub use request::{Body, Carried, END_OF_HEAD, Pseudo, RequestKind, write_request};
pub use resets::ResetReader;
pub use response::{ResponseDecoder, ResponseSink};
pub use server_request::{RequestDecoder, RequestSink, Target};
pub use server_response::{Answered, MalformedResponse, write_interim, write_response};
pub use trailers::{push_chunk, push_trailers};

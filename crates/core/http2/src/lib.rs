//! HTTP/2 as a carrier of HTTP/1.1 messages (RFC 9113 §8): one becomes the other and back, and what frames may cost.
//!
//! Owns the judgement of a request's fields, the text that stands for it, the decoding of the response's text into fields, data
//! and trailers, and the budgets of frames that cost more than they bring. Leaves to others framing, header compression and
//! flow control, which are a library's, sockets and time, and the reading of the text, which is `tidegate-http1`'s.
//!
//! Invariant: a request that is accepted here is read by `tidegate-http1` as exactly that request or refused there; there is no
//! third outcome. No byte sequence makes anything here panic.

mod error;
mod grammar;
mod meter;
mod preface;
mod request;
mod response;
mod trailers;

pub use error::Malformed;
pub use meter::{
    CONTINUATIONS_MAX, EMPTY_DATA_MAX, Flood, HEADER_BLOCK_BYTES_MAX, Meter, PINGS_MAX,
    PRIORITIES_MAX, RESETS_MAX, Rate, SETTINGS_MAX, STREAMS_UNANSWERED_MAX, WINDOW_UPDATES_MAX,
};
pub use preface::{PREFACE, Preface, judge_preface};
pub use request::{Body, Carried, END_OF_HEAD, Pseudo, RequestKind, write_request};
pub use response::{Broken, ResponseDecoder, ResponseSink};
pub use trailers::{push_chunk, push_trailers};

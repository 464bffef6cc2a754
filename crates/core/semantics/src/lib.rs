//! HTTP semantics that do not depend on the version of HTTP: what paths, hosts, cookies, arguments,
//! codings, dates and the headers of an intermediary mean.
//!
//! This crate owns readings and spellings: bytes of a head to values, values to bytes of a head. It
//! leaves to others where a head begins and ends, when any of this applies, and all policy that a
//! configuration decides, which comes in as an argument.
//!
//! Invariant: no byte sequence makes it panic, and what it writes can stand in a head of any
//! version: no control bytes get from an input into a line. Functions called per request allocate
//! nothing once the buffers they are given have grown: they return parts of their input or append
//! to a `Vec` of the caller.

pub mod accept_encoding;
pub mod arguments;
pub mod basic_auth;
pub mod compressed_head;
pub mod compressible;
pub mod cookies;
pub mod date;
pub mod forwarded;
mod grammar;
pub mod header_rules;
pub mod host;
pub mod path;
pub mod redirect;
pub mod request_id;
pub mod traceparent;
pub mod via;

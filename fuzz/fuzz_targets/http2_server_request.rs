//! Fuzzes requests to servers from text; what must hold is in the `http2` crate's tests, which run it over
//! the corpus as well.

#![no_main]

#[path = "../../crates/core/http2/tests/checks/server_request.rs"]
mod server_request;
#[path = "../../crates/core/http2/tests/checks/sent.rs"]
mod sent;

libfuzzer_sys::fuzz_target!(|data: &[u8]| server_request::check(data));

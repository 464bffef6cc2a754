//! Fuzzes the encoders of response bodies; what must hold is in the `compression` crate's tests,
//! which run it over the corpus as well.

#![no_main]

#[path = "../../crates/core/compression/tests/checks/stream.rs"]
mod stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| stream::check(data));

//! Fuzzes the negotiation of content codings; what must hold is in the `semantics` crate's tests, which run it over the corpus
//! as well.

#![no_main]

#[path = "../../crates/core/semantics/tests/checks/accept_encoding.rs"]
mod accept_encoding;

libfuzzer_sys::fuzz_target!(|data: &[u8]| accept_encoding::check(data));

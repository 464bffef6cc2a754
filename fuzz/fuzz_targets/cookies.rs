//! Fuzzes cookies; what must hold is in the `semantics` crate's tests, which run it over the corpus
//! as well.

#![no_main]

#[path = "../../crates/core/semantics/tests/checks/cookies.rs"]
mod cookies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cookies::check(data));

//! Fuzzes conditions and templates; what must hold is in the `rules` crate's tests, which run it over
//! the corpus as well.

#![no_main]

#[path = "../../crates/core/rules/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));

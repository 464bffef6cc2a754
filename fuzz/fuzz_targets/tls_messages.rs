//! Fuzzes the handshake messages after the handshake; what must hold is in the `tls-records` crate's
//! tests, which run it over the corpus as well.

#![no_main]

#[path = "../../crates/core/tls-records/tests/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::handshake_messages::check(data));

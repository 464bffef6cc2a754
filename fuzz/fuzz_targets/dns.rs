//! Fuzzes answers of resolvers; what must hold is in the `discovery` crate's tests, which run it over
//! the corpus as well.

#![no_main]

#[path = "../../crates/core/discovery/tests/checks/dns.rs"]
mod dns;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns::check(data));

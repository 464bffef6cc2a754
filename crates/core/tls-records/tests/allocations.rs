//! Opening allocates nothing, and sealing nothing once its output has grown.
#![allow(clippy::unwrap_used, reason = "what fails here is the test's own, and fails it")]

mod checks;

use checks::forge::{DATA, SUITES, Suite};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use tidegate_tls_records::{Kind, Opened};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Opens and seals a few large records; how many times it allocated meanwhile.
fn allocations_of(suite: Suite) -> usize {
    let (mut opener, mut sealer) = (suite.opener(0), suite.sealer(0));
    let plaintext = vec![b'x'; 40_000];
    let mut records: Vec<_> =
        (0..8).map(|number| suite.plain(number, DATA, &plaintext[..9000])).collect();
    let mut out = Vec::with_capacity(sealer.sealed_bytes(plaintext.len()));
    let region = Region::new(ALLOCATOR);
    for record in &mut records {
        assert!(matches!(opener.open(record), Ok(Opened::Record { .. })));
        out.clear();
        sealer.seal(Kind::ApplicationData, &plaintext, &mut out).unwrap();
        out.clear();
        let parts: [&[u8]; 2] = [b"head", &plaintext[4..]];
        sealer.seal_parts(Kind::ApplicationData, &parts, &mut out).unwrap();
    }
    let change = region.change();
    change.allocations + change.reallocations
}

#[test]
fn records_of_a_warm_connection_allocate_nothing() {
    // The first one is not judged: the test's own runner may still be starting beside it.
    allocations_of(SUITES[0]);
    for suite in SUITES {
        assert_eq!(allocations_of(suite), 0, "{suite:?}");
    }
}

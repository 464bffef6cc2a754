//! Opening allocates nothing, and sealing nothing once its output has grown.

mod checks;

use checks::forge::{DATA, SUITES};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use tidegate_tls_records::{Kind, Opened};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn records_of_a_warm_connection_allocate_nothing() {
    for suite in SUITES {
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
            sealer
                .seal_parts(Kind::ApplicationData, &[b"head", &plaintext[4..]], &mut out)
                .unwrap();
        }
        assert_eq!(region.change().allocations + region.change().reallocations, 0, "{suite:?}");
    }
}

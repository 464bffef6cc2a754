//! A line is written without allocating, whatever it holds.
//!
//! Owns the only test of its process, so that nothing else allocates meanwhile.

mod samples;

use samples::{example, line};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use tidegate_access_log::{Captures, DateCache, Format, Line, Record, Request};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ROUNDS: usize = 10;

#[test]
fn a_line_costs_no_allocation() {
    let text = "{client_ip} {request} {field.tenant} {request_headers} {accepted_at} {request_header.Host}";
    let template = Format::parse(text, &mut Captures::new()).expect("the template is right");
    let long = b"/\n\xff".repeat(4000);
    let hostile = Request::Line { method: b"GET", target: &long, version: "HTTP/1.1" };
    let (mut dates, mut buffer) = (DateCache::new(0), Line::new());
    for format in [Format::HTTP, Format::TCP, Format::JSON, template] {
        assert!(!line(&format, &example()).is_empty());
        let least = (0..ROUNDS).map(|_| {
            let region = Region::new(ALLOCATOR);
            for request in [example().request, hostile] {
                format.write(&Record { request, ..example() }, &mut dates, &mut buffer);
            }
            region.change().allocations
        });
        assert_eq!(least.min(), Some(0), "{format:?}");
    }
}

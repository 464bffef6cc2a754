//! What is called per request allocates nothing once its buffers have grown.
//!
//! Owns one test in a process of its own, so that nothing else allocates while it counts.

use std::alloc::System;
use std::hint::black_box;
use std::net::IpAddr;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::compressed_head::{Asked, Change};
use tidegate_semantics::compressible::{MediaTypes, Policy};
use tidegate_semantics::forwarded::{Element, Node, Received, forwarded, single, x_forwarded_for};
use tidegate_semantics::redirect::{Destination, Query, Redirected, Scheme, push_location};
use tidegate_semantics::traceparent::{Sampling, Traceparent};
use tidegate_semantics::via::{Pseudonym, ReceivedProtocol, own_entries_count, push_entry};
use tidegate_semantics::{
    arguments, basic_auth, cookies, date, header_rules, host, path, request_id,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a configuration makes once.
struct Configured {
    policy: Policy,
    pseudonym: Pseudonym,
}

fn read_a_request(scratch: &mut Vec<u8>) {
    black_box(path::normal(b"/a/%2e%2e/%41/./b%2f", scratch));
    black_box(host::normal(b"Example.COM.:8080", scratch));
    black_box(cookies::find([&b"a=1; b=\"2\""[..], b"c=3"], b"c"));
    black_box(arguments::find(b"a=1&%62=x+y%20z", b"b").map(|found| found.decoded(scratch).len()));
    black_box(Traceparent::parse([
        &b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"[..],
    ]));
    black_box(request_id::is_sane(b"0193b4a2-7c1e-7d3f-9a55-0f6b7e2c1d4e"));
    black_box(basic_auth::parse(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", scratch).is_ok());
}

fn write_heads(configured: &Configured, out: &mut Vec<u8>) {
    out.clear();
    let peer: IpAddr = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    black_box(x_forwarded_for(Received::Append, [&b"10.0.0.1, b"[..]], peer, out));
    black_box(single(Received::Replace, [&b"http"[..]], b"https", out));
    let element = Element {
        client: Some(Node::Socket((peer, 80).into())),
        by: Some(Node::Unknown),
        host: Some(b"example.com:80"),
        proto: Some("https"),
    };
    black_box(forwarded(Received::Append, [&b"for=\"a\""[..]], &element, out));
    push_entry(ReceivedProtocol::Http11, &configured.pseudonym, out);
    black_box(own_entries_count([&b"1.1 a (b), 2 c"[..]], &configured.pseudonym));
    request_id::push_new([7; 16], out);
    Traceparent::new([7; 16], [8; 8], Sampling::Recorded).with_parent([9; 8]).push(out);
    let request = Redirected {
        scheme: Scheme::Http,
        authority: b"example.com:80",
        path: b"//evil",
        query: Some(b"x=1"),
    };
    let destination = Destination::Parts { scheme: None, host: None, prefix: b"" };
    black_box(push_location(&destination, &request, Query::Keep, out)).expect("a location");
    header_rules::push_value(b"a\r\nb", out);
    basic_auth::push_challenge(b"realm", out);
    let asked = Asked::of([(&b"Accept-Encoding"[..], &b"gzip;q=0.5, br"[..])], false);
    let headers = [(&b"Content-Type"[..], &b"text/html"[..]), (b"ETag", b"\"a\"")];
    let offered = [Coding::Gzip, Coding::Brotli];
    let change = Change::decide(&configured.policy, &offered, &asked, 200, headers);
    assert_eq!(change, Change::Encode(Coding::Brotli));
    let mut weak_etag = std::mem::take(out);
    change.edits(headers, &mut weak_etag).each_added(|name, value| {
        black_box((name, value));
    });
    *out = weak_etag;
    out.extend_from_slice(&date::imf_fixdate(784_111_777));
    out.extend_from_slice(&date::rfc3339_micros(784_111_777_000_000));
    out.extend_from_slice(&date::haproxy_log(784_111_777_000, date::Offset::UTC));
}

#[test]
fn nothing_is_allocated_per_request() {
    let configured = Configured {
        policy: Policy {
            types: MediaTypes::parse(["text/*"]).expect("valid"),
            bytes_min: 1,
            bytes_max: None,
        },
        pseudonym: Pseudonym::new("tidegate").expect("a token"),
    };
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    let region = Region::new(ALLOCATOR);
    read_a_request(&mut scratch);
    write_heads(&configured, &mut out);
    assert!(region.change().allocations > 0, "the buffers grow once, and that is seen");
    let region = Region::new(ALLOCATOR);
    for _ in 0..10 {
        read_a_request(&mut scratch);
        write_heads(&configured, &mut out);
    }
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0));
}

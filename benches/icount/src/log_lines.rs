//! What is counted of the access log: one line in each format.
//!
//! Owns the record; leaves counting to `callgrind`. Invariant: lines fall into the same second mostly, as they do
//! under load, and everything that a browser's request has is there.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use tidegate_access_log::{
    Capture, Captures, Connections, DateCache, Format, Line, Micros, Protocol, Record, Request,
    Times, Timestamp, Tls, Traffic,
};

const REQUEST_HEADERS: &[Capture<'_>] = &[
    Capture { name: "Host", value: Some(b"www.example.com") },
    Capture {
        name: "User-Agent",
        value: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:138.0) Gecko/20100101 Firefox/138.0"),
    },
];

fn record() -> Record<'static> {
    let client = SocketAddr::new(IpAddr::from([203, 0, 113, 77]), 51_234);
    let frontend = SocketAddr::new(IpAddr::from([198, 51, 100, 1]), 443);
    let at = Timestamp(1_775_044_800_123_456);
    Record {
        backend: Some("application"),
        server: Some("server-07"),
        tls: Some(Tls {
            version: "TLSv1.3",
            cipher: "TLS13_AES_128_GCM_SHA256",
            alpn: Some(b"http/1.1"),
        }),
        request: Request::Line {
            method: b"GET",
            target: b"/assets/images/logo.svg?version=20260401",
            version: "HTTP/1.1",
        },
        status: Some(200),
        times: Times {
            request_head: Some(Micros(15)),
            queue: Some(Micros(0)),
            connect: Some(Micros(0)),
            response_head: Some(Micros(12_345)),
            total: Micros(13_000),
        },
        traffic: Traffic { received: 431, sent: 27_501 },
        connections: Connections { process: 2100, frontend: 2050, backend: 310, server: 31 },
        request_id: Some(b"01JQRS8Z4M7K2V9X"),
        ..Record::new(Protocol::Http, at, client.into(), frontend.into(), "website")
    }
}

fn write(iterations: u64, format: &Format, record: &Record<'_>) {
    let (mut dates, mut line, mut record) = (DateCache::new(0), Line::new(), *record);
    for _ in 0..iterations {
        // A millisecond later each: one line in a thousand begins a second.
        record.started_at.0 += 1000;
        format.write(black_box(&record), &mut dates, &mut line);
        black_box(line.as_bytes());
    }
}

pub fn http(iterations: u64) {
    write(iterations, &Format::HTTP, &record());
}

pub fn http_with_headers(iterations: u64) {
    write(iterations, &Format::HTTP, &Record { request_headers: REQUEST_HEADERS, ..record() });
}

pub fn json(iterations: u64) {
    write(iterations, &Format::JSON, &Record { request_headers: REQUEST_HEADERS, ..record() });
}

pub fn template(iterations: u64) {
    let text = "{client_ip} - - [{start_date}] \"{request}\" {status} {bytes_sent} \"{request_header.User-Agent}\" {total_us}";
    let mut captures = Captures::new();
    captures.add_request("Host").expect("there is room for a header");
    let format = Format::parse(text, &mut captures).expect("the template is right");
    write(iterations, &format, &Record { request_headers: REQUEST_HEADERS, ..record() });
}

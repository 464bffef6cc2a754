//! Records that the tests share.
//!
//! Owns the example of the configuration reference; leaves what is expected of it to the tests. Invariant: every part
//! of it has a value of its own, so that a field that shows another's is found.

use std::net::{IpAddr, SocketAddr};
use tidegate_access_log::{
    Address, Capture, Connections, Cookies, DateCache, Ending, Extra, Format, Line, Micros,
    Protocol, Queues, Record, Request, RequestCookie, ResponseCookie, Retries, Times, Timestamp,
    Tls, Traffic,
};

const REQUEST_HEADERS: &[Capture<'_>] = &[
    Capture { name: "Host", value: Some(b"www.example.com") },
    Capture { name: "User-Agent", value: Some(b"curl/8") },
];
const RESPONSE_HEADERS: &[Capture<'_>] = &[Capture { name: "Server", value: Some(b"nginx") }];
const EXTRAS: &[Extra<'_>] =
    &[Extra { name: "tenant", value: b"blue" }, Extra { name: "plan", value: b"a b" }];

/// The example of the configuration reference.
pub fn example() -> Record<'static> {
    let client = Address::Ip(SocketAddr::new(IpAddr::from([203, 0, 113, 7]), 51_234));
    let frontend =
        Address::Ip(SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), 443));
    let accepted_at = Timestamp(1_775_044_800_123_456);
    Record {
        started_at: Timestamp(1_775_044_807_000_001),
        backend: Some("app"),
        server: Some("app1"),
        tls: Some(Tls {
            version: "TLSv1.3",
            cipher: "TLS13_AES_128_GCM_SHA256",
            alpn: Some(b"http/1.1"),
        }),
        sni: Some(b"www.example.com"),
        request: Request::Line { method: b"GET", target: b"/items/7?x=1", version: "HTTP/1.1" },
        status: Some(200),
        times: Times {
            request_head: Some(Micros(1200)),
            queue: Some(Micros(0)),
            connect: Some(Micros(2050)),
            response_head: Some(Micros(30_999)),
            total: Micros(34_567),
        },
        traffic: Traffic { received: 431, sent: 2750 },
        retries: Retries { count: 1, redispatched: true },
        connections: Connections { process: 5, frontend: 4, backend: 3, server: 2 },
        queues: Queues { server: 0, backend: 6 },
        request_headers: REQUEST_HEADERS,
        response_headers: RESPONSE_HEADERS,
        cookies: Cookies {
            request: None,
            response: None,
            request_state: RequestCookie::Valid,
            response_state: ResponseCookie::None,
        },
        rule: Some("static_files"),
        request_id: Some(b"01J2-77"),
        ending: Ending::Complete,
        extras: EXTRAS,
        ..Record::new(Protocol::Http, accepted_at, client, frontend, "web")
    }
}

/// The record's line, in UTC.
pub fn line(format: &Format, record: &Record<'_>) -> String {
    let mut line = Line::new();
    format.write(record, &mut DateCache::new(0), &mut line);
    String::from_utf8(line.as_bytes().to_vec()).expect("lines are UTF-8")
}

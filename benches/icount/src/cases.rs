//! What is counted: each pure part of the request path on its own, and a whole exchange in memory.
//!
//! Owns the messages and the loops; leaves counting to `callgrind`. Invariant: an iteration is what
//! a warm connection does, with state reused as the data plane reuses it, and no result is thrown
//! away unseen by the compiler.

use crate::{log_lines, routing, rules};
use std::hint::black_box;
use std::time::Instant;
use tidegate_balance::{
    Ask, Idle, Plan, Policy as BalancePolicy, Pool, ServerId, ServerSettings, ShardId, Weight,
};
use tidegate_compression::{Coding, GzipLevel, Level, Levels, Pool as EncoderPool, PoolLimits};
use tidegate_exchange::{Action, Exchange, Input, Policy, Request, Upload};
use tidegate_http1::{
    ChunkedDecoder, Limits, Method, Parsed, Piece, RequestEdits, RequestHead, RequestScan,
    ResponseContext, ResponseEdits, ResponseHead, continue_request, encode_request_head,
    encode_response_head, parse_request, parse_response,
};
use tidegate_testkit::json;

/// One thing to count.
pub struct Case {
    /// Its name in the baseline.
    pub name: &'static str,
    /// Iterations of the shorter run: enough that what happens now and then is averaged.
    pub iterations: u64,
    /// Runs that many iterations.
    pub run: fn(u64),
}

/// Everything that is counted.
pub const ALL: &[Case] = &[
    Case { name: "parse_request", iterations: 2000, run: parse_request_heads },
    Case { name: "parse_response", iterations: 2000, run: parse_response_heads },
    Case { name: "request_byte_by_byte", iterations: 200, run: parse_request_bytes },
    Case { name: "decode_chunked", iterations: 2000, run: decode_chunked_bodies },
    Case { name: "encode_request", iterations: 2000, run: encode_request_heads },
    Case { name: "encode_response", iterations: 2000, run: encode_response_heads },
    Case { name: "log_http", iterations: 5000, run: log_lines::http },
    Case { name: "log_http_headers", iterations: 5000, run: log_lines::http_with_headers },
    Case { name: "log_json", iterations: 5000, run: log_lines::json },
    Case { name: "log_template", iterations: 5000, run: log_lines::template },
    Case { name: "exchange", iterations: 20_000, run: run_exchanges },
    Case { name: "whole_exchange", iterations: 2000, run: run_whole_exchanges },
    Case { name: "rules_of_example", iterations: 5000, run: rules::match_example },
    Case {
        name: "rules_20",
        iterations: 5000,
        run: |iterations| rules::match_last(iterations, 20),
    },
    Case {
        name: "rules_200",
        iterations: 5000,
        run: |iterations| rules::match_last(iterations, 200),
    },
    Case {
        name: "rules_2000",
        iterations: 5000,
        run: |iterations| rules::match_last(iterations, 2000),
    },
    Case { name: "rules_header_names_200", iterations: 5000, run: rules::match_header_names },
    Case { name: "route_file", iterations: 5000, run: routing::route_file },
    Case { name: "route_rewritten", iterations: 5000, run: routing::route_rewritten },
    Case { name: "route_default", iterations: 5000, run: routing::route_default },
    Case { name: "route_without_rules", iterations: 5000, run: routing::route_without_rules },
    Case { name: "gzip_1_json_64k", iterations: BODIES, run: |n| compress(n, gzip(1)) },
    Case { name: "gzip_4_json_64k", iterations: BODIES, run: |n| compress(n, gzip(4)) },
    Case { name: "gzip_6_json_64k", iterations: BODIES, run: |n| compress(n, gzip(6)) },
    Case {
        name: "brotli_json_64k",
        iterations: BODIES,
        run: |n| compress(n, level(Coding::Brotli)),
    },
    Case { name: "zstd_json_64k", iterations: BODIES, run: |n| compress(n, level(Coding::Zstd)) },
];

/// A browser's request for a page's image: eight header fields.
const REQUEST: &[u8] = b"GET /assets/images/logo.svg?version=20260401 HTTP/1.1\r\n\
    Host: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:138.0) Gecko/20100101 Firefox/138.0\r\n\
    Accept: image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5\r\n\
    Accept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Referer: https://www.example.com/products/index.html\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    \r\n";

/// A file server's answer to it: eight header fields.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: nginx\r\n\
    Date: Wed, 01 Apr 2026 12:00:00 GMT\r\n\
    Content-Type: image/svg+xml\r\n\
    Content-Length: 100\r\n\
    Last-Modified: Tue, 31 Mar 2026 08:30:00 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"65f2c1a4-64\"\r\n\
    Accept-Ranges: bytes\r\n\
    \r\n";

/// How many bytes of the body's data are in each of the [`CHUNKS`] chunks.
const CHUNK_BYTES: usize = 1024;
const CHUNKS: usize = 8;

const CONTEXT: ResponseContext = ResponseContext { method: Method::Get, upgrade_requested: false };

fn request_head(limits: &Limits, head: &mut RequestHead) {
    let parsed = parse_request(black_box(REQUEST), limits, head);
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: REQUEST.len() }));
}

fn response_head(limits: &Limits, head: &mut ResponseHead) {
    let parsed = parse_response(black_box(RESPONSE), limits, CONTEXT, head);
    assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: RESPONSE.len() }));
}

fn parse_request_heads(iterations: u64) {
    let (limits, mut head) = (Limits::default(), RequestHead::new());
    for _ in 0..iterations {
        request_head(&limits, &mut head);
        black_box(&head);
    }
}

fn parse_response_heads(iterations: u64) {
    let (limits, mut head) = (Limits::default(), ResponseHead::new());
    for _ in 0..iterations {
        response_head(&limits, &mut head);
        black_box(&head);
    }
}

/// A head that comes in as many pieces as it has bytes.
fn parse_request_bytes(iterations: u64) {
    let (limits, mut head) = (Limits::default(), RequestHead::new());
    for _ in 0..iterations {
        let bytes = black_box(REQUEST);
        let mut scan = RequestScan::new();
        let mut parsed = parse_request(&bytes[..1], &limits, &mut head);
        for end in 2..=bytes.len() {
            assert_eq!(parsed, Ok(Parsed::Incomplete));
            parsed = continue_request(&bytes[..end], &limits, &mut head, &mut scan);
        }
        assert_eq!(parsed, Ok(Parsed::Complete { head_bytes: REQUEST.len() }));
        black_box(&head);
    }
}

fn decode_chunked_bodies(iterations: u64) {
    let chunk = [format!("{CHUNK_BYTES:x}\r\n").as_bytes(), &[b'x'; CHUNK_BYTES], b"\r\n"].concat();
    let body = [chunk.repeat(CHUNKS).as_slice(), b"0\r\n\r\n"].concat();
    let limits = Limits::default();
    for _ in 0..iterations {
        let mut decoder = ChunkedDecoder::new(&limits);
        let (mut rest, mut data_bytes) = (black_box(body.as_slice()), 0);
        loop {
            let count = match decoder.next(rest).expect("the body is valid") {
                Piece::Data(count) => {
                    data_bytes += count;
                    count
                }
                Piece::Framing(count) | Piece::Skip(count) | Piece::Trailer(count) => count,
                Piece::End(_) => break,
                Piece::NeedMore => unreachable!("the body is whole"),
            };
            rest = &rest[count..];
        }
        assert_eq!(data_bytes, CHUNKS * CHUNK_BYTES);
    }
}

fn encode_request_heads(iterations: u64) {
    let (limits, mut head, mut out) = (Limits::default(), RequestHead::new(), Vec::new());
    request_head(&limits, &mut head);
    for _ in 0..iterations {
        out.clear();
        encode_request_head(&mut out, black_box(REQUEST), &head, &RequestEdits::default());
        black_box(&out);
    }
}

fn encode_response_heads(iterations: u64) {
    let (limits, mut head, mut out) = (Limits::default(), ResponseHead::new(), Vec::new());
    response_head(&limits, &mut head);
    for _ in 0..iterations {
        out.clear();
        encode_response_head(&mut out, black_box(RESPONSE), &head, &ResponseEdits::default());
        black_box(&out);
    }
}

/// Servers of three weights, so that no short cut for equal weights is measured.
fn pool(servers_count: u16) -> Pool {
    let settings = |index: u16| {
        let weight = Weight::new(index % 3 + 1).expect("a small weight is valid");
        ServerSettings { weight, ..ServerSettings::default() }
    };
    let servers: Vec<ServerSettings> = (0..servers_count).map(settings).collect();
    Pool::new(&Plan::new(BalancePolicy::RoundRobin.into(), &servers), ShardId(0), 1)
}

/// The decisions of a request that a warm connection answers.
fn run_exchange(policy: &Policy, now: Instant, server: u32) -> Action {
    let request = Request { repeatable: true, seed: 7 };
    let mut exchange = Exchange::new(policy, None, request, now);
    assert_eq!(
        exchange.handle(now, Input::Picked { server, reused: true }),
        Action::Send { server }
    );
    assert_eq!(exchange.handle(now, Input::RequestSent), Action::Wait);
    black_box(exchange.deadline());
    let head = Input::ResponseHead { status: 200, interim: false };
    assert_eq!(exchange.handle(now, head), Action::Relay { upload: Upload::Complete });
    exchange.handle(now, Input::ResponseDone)
}

fn run_exchanges(iterations: u64) {
    let (policy, now) = (Policy::default(), Instant::now());
    for _ in 0..iterations {
        assert_eq!(
            run_exchange(black_box(&policy), now, black_box(7)),
            Action::Finish { reuse: true }
        );
    }
}

/// Everything pure that one request costs: parse, pick, decide, encode, parse the response, encode
/// it.
fn run_whole_exchanges(iterations: u64) {
    let (limits, policy, now) = (Limits::default(), Policy::default(), Instant::now());
    let (mut request, mut response) = (RequestHead::new(), ResponseHead::new());
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut pool = pool(10);
    for _ in 0..iterations {
        request_head(&limits, &mut request);
        let ask = Ask { now, random: 0, key: None, avoid: &[], loads: &Idle };
        let ServerId(server) = pool.pick(&ask).expect("every server is up");
        to_server.clear();
        encode_request_head(&mut to_server, REQUEST, &request, &RequestEdits::default());
        response_head(&limits, &mut response);
        to_client.clear();
        encode_response_head(&mut to_client, RESPONSE, &response, &ResponseEdits::default());
        black_box((&to_server, &to_client));
        assert_eq!(run_exchange(&policy, now, server), Action::Finish { reuse: true });
    }
}

fn gzip(level: u8) -> Level {
    Level::Gzip(GzipLevel::new(level).expect("gzip has this level"))
}

fn level(coding: Coding) -> Level {
    Levels::default().of(coding)
}

/// How many different bodies are compressed in turn, so that none is learned by heart.
const BODIES: u64 = 8;
const BODY_BYTES: usize = 64 * 1024;
/// A receive buffer's worth, and the room for what becomes of it.
const PIECE_BYTES: usize = 16 * 1024;

/// Compresses bodies with warm encoders, in pieces as they are received.
fn compress(iterations: u64, level: Level) {
    let bodies: Vec<Vec<u8>> = (0..BODIES).map(|seed| json(seed, BODY_BYTES)).collect();
    let (pool, mut out) = (EncoderPool::new(PoolLimits::default()), Vec::with_capacity(BODY_BYTES));
    for body in bodies.iter().cycle().zip(0..iterations).map(|(body, _)| body) {
        out.clear();
        let mut encoder = pool.start(level).expect("the pool has room for one");
        for mut piece in body.chunks(PIECE_BYTES) {
            while !piece.is_empty() {
                let progress = encoder.encode(piece, &mut out, PIECE_BYTES);
                piece = &piece[progress.expect("there is memory").consumed..];
            }
        }
        while !encoder.finish(&mut out, PIECE_BYTES).expect("there is memory").is_done {}
        black_box(&out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_runs_and_has_a_name_of_its_own() {
        for case in ALL {
            (case.run)(3);
            assert_eq!(
                ALL.iter().filter(|other| other.name == case.name).count(),
                1,
                "{}",
                case.name
            );
        }
    }
}

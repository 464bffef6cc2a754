//! Properties over generated messages: heads made of good and bad parts, chunked bodies, and plain
//! noise.

mod checks;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_http1::{CHUNK_END, LAST_CHUNK, Limits, encode_chunk_header};

/// Lines that a request or response head may be made of; most are good.
const LINES: [&str; 30] = [
    "Host: example.com\r\n",
    "Host: example.com\r\n",
    "host:[::1]:80\r\n",
    "Content-Length: 5\r\n",
    "Content-Length:05 \r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding: Chunked\t\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: upgrade, X-A\r\n",
    "Connection: x-b,,TE\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Proxy-Connection: close\r\n",
    "TE: trailers\r\n",
    "Trailer: X-Sum\r\n",
    "Expect: 100-continue\r\n",
    "X-A: 1\r\n",
    "X-A: 2\r\n",
    "x-b:\r\n",
    "X-B: \t \r\n",
    "Accept: */*\r\n",
    "Cookie: a=\"b\"; c=\u{e9}\r\n",
    "Set-Cookie: a=b\r\n",
    "X-Added: 0\r\n",
    "X-Bad : 1\r\n",
    " folded\r\n",
    "X-Lf: 1\n",
    "X-Cr: 1\r2\r\n",
];

const REQUEST_LINES: [&str; 12] = [
    "GET / HTTP/1.1\r\n",
    "GET /a/b?c=d HTTP/1.1\r\n",
    "POST /p HTTP/1.1\r\n",
    "HEAD / HTTP/1.0\r\n",
    "GET http://other.example/x HTTP/1.1\r\n",
    "GET http://other.example?q HTTP/1.0\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "OPTIONS http://other.example HTTP/1.1\r\n",
    "CONNECT other.example:443 HTTP/1.1\r\n",
    "\r\nPURGE /x HTTP/1.1\r\n",
    "GET /a b HTTP/1.1\r\n",
    "GET / HTTP/2.0\r\n",
];

const STATUS_LINES: [&str; 12] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 404 \r\n",
    "HTTP/1.1 426 Upgrade Required\r\n",
    "HTTP/1.1 100 Continue\r\n",
    "HTTP/1.1 103 Early Hints\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 20 OK\r\n",
    "HTTP/1.1 200 OK\n",
];

fn head(start_lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    (select(start_lines), vec(select(&LINES[..]), 0..7), select(&["\r\n", "\n", ""][..]))
        .prop_map(|(start, lines, end)| [start, &lines.concat(), end].concat().into_bytes())
}

/// A valid head, cut and overwritten in up to three places.
fn damaged(head: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (head, vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)).prop_map(
        |(mut bytes, damage)| {
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes
        },
    )
}

fn chunks() -> impl Strategy<Value = Vec<(Vec<u8>, &'static str)>> {
    let extensions = &["", ";a", " ;a=b", ";a=\"b\\\"\";c"][..];
    vec((vec(any::<u8>(), 1..300), select(extensions)), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn request_heads_are_judged_the_same_whole_and_in_pieces(bytes in damaged(head(&REQUEST_LINES))) {
        checks::request::check(&bytes);
    }

    #[test]
    fn response_heads_are_judged_the_same_whole_and_in_pieces(bytes in damaged(head(&STATUS_LINES))) {
        checks::response::check(&bytes);
    }

    #[test]
    fn encoded_heads_mean_the_same(
        choice in any::<u8>(),
        request in head(&REQUEST_LINES),
        response in head(&STATUS_LINES),
    ) {
        checks::roundtrip::check(&[&[choice][..], &request].concat());
        checks::roundtrip::check(&[&[choice][..], &response].concat());
    }

    #[test]
    fn noise_never_panics(bytes in vec(any::<u8>(), 0..200)) {
        checks::request::check(&bytes);
        checks::response::check(&bytes);
        checks::chunked::check(&bytes);
        checks::roundtrip::check(&bytes);
    }

    #[test]
    fn noise_in_chunked_framing_never_panics(
        step in any::<u8>(),
        parts in vec(select(&["0", "1", "a", "5\r\n", "\r\n", "\r", "\n", ";", "=", "\"", " ", "x: y\r\n", "Host:", "\\"][..]), 0..24),
    ) {
        checks::chunked::check(&[&[step][..], parts.concat().as_bytes()].concat());
    }

    #[test]
    fn chunked_bodies_decode_to_their_content(chunks in chunks(), step in 1_usize..400) {
        let mut body = Vec::new();
        let mut content = Vec::new();
        let mut extension_bytes = 0;
        for (data, extension) in &chunks {
            let mut header = Vec::new();
            encode_chunk_header(&mut header, data.len());
            let size_bytes = header.len() - CHUNK_END.len();
            body.extend_from_slice(&header[..size_bytes]);
            body.extend_from_slice(extension.as_bytes());
            body.extend_from_slice(CHUNK_END);
            body.extend_from_slice(data);
            body.extend_from_slice(CHUNK_END);
            content.extend_from_slice(data);
            extension_bytes += extension.len();
        }
        body.extend_from_slice(LAST_CHUNK);
        let message_bytes = body.len();
        body.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let relayed = checks::chunked::relay(&body, step, &Limits::default());
        let relayed = relayed.expect("the body is valid");
        prop_assert_eq!(relayed.content, content);
        prop_assert_eq!(relayed.skipped_bytes, extension_bytes);
        prop_assert_eq!(relayed.message_bytes, Some(message_bytes));
    }
}

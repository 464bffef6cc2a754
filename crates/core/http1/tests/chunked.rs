//! Chunked bodies: what each byte is, and where the message ends.

#[path = "checks/chunked.rs"]
mod checks;

use checks::{Relayed, check, relay};
use tidegate_http1::{ChunkedDecoder, ChunkedError, Limits, Piece};

fn pieces(body: &[u8]) -> Vec<Piece> {
    check(&[&[3][..], body].concat());
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    let mut rest = body;
    let mut pieces = Vec::new();
    loop {
        let piece = decoder.next(rest).expect("the body is valid");
        pieces.push(piece);
        match piece {
            Piece::Framing(n) | Piece::Data(n) | Piece::Skip(n) | Piece::Trailer(n) => {
                rest = &rest[n..];
            }
            Piece::End(_) | Piece::NeedMore => return pieces,
        }
    }
}

#[test]
fn contiguous_framing_is_one_piece() {
    assert_eq!(
        pieces(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET"),
        [
            Piece::Framing(3),
            Piece::Data(5),
            Piece::Framing(5),
            Piece::Data(6),
            Piece::Framing(5),
            Piece::End(2),
        ]
    );
}

#[test]
fn extensions_are_skipped_and_trailers_pass() {
    assert_eq!(
        pieces(b"5 ;a; b = \"c\\\";\" ;d\r\nhello\r\n0;x\r\nA: b\r\nc:\r\n\r\n"),
        [
            Piece::Framing(1),
            Piece::Skip(18),
            Piece::Framing(2),
            Piece::Data(5),
            Piece::Framing(3),
            Piece::Skip(2),
            Piece::Framing(2),
            Piece::Trailer(10),
            Piece::End(2),
        ]
    );
}

#[test]
fn data_goes_on_over_buffers() {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    assert_eq!(decoder.next(b""), Ok(Piece::NeedMore));
    assert_eq!(decoder.next(b"ffff"), Ok(Piece::Framing(4)));
    assert_eq!(decoder.next(b"\r\nabc"), Ok(Piece::Framing(2)));
    assert_eq!(decoder.next(b"abc"), Ok(Piece::Data(3)));
    assert_eq!(decoder.next(b""), Ok(Piece::NeedMore));
    assert_eq!(decoder.next(&[b'x'; 70_000]), Ok(Piece::Data(0xfffc)));
    assert_eq!(decoder.next(b"\r"), Ok(Piece::Framing(1)));
    assert_eq!(decoder.next(b"\n0\r\n\r"), Ok(Piece::Framing(4)));
    assert_eq!(decoder.next(b"\r"), Ok(Piece::Framing(1)));
    assert_eq!(decoder.next(b"\nGET"), Ok(Piece::End(1)));
    assert_eq!(decoder.next(b"GET"), Ok(Piece::End(0)));
}

#[test]
fn accepts_the_largest_size_and_leading_zeros() {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    assert_eq!(decoder.next(b"FFFFffffFFFFffff\r\n"), Ok(Piece::Framing(18)));
    assert_eq!(decoder.next(b"abc"), Ok(Piece::Data(3)));
    let relayed =
        relay(b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", 7, &Limits::default());
    let forwarded = b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n".to_vec();
    let message_bytes = Some(forwarded.len());
    let expected =
        Relayed { content: b"abc".to_vec(), forwarded, message_bytes, ..Relayed::default() };
    assert_eq!(relayed, Ok(expected));
}

#[test]
fn trailers_of_real_use_pass() {
    for line in [
        "grpc-status: 0",
        "grpc-message:",
        "Server-Timing: db;dur=53",
        "ETag: \"a\"",
        "Content-Digest: sha-256=:x:",
        "Content-MD5: x",
        "x-amz-checksum-crc32c: x",
        "x-forwarded-for-a-name-longer-than-any-forbidden-one: 1",
        "Obs: caf\u{e9}\t\"",
    ] {
        let body = format!("0\r\n{line}\r\n\r\n");
        let relayed = relay(body.as_bytes(), 3, &Limits::default()).expect(line);
        assert_eq!(relayed.trailers, format!("{line}\r\n").as_bytes());
    }
}

#[test]
fn content_fields_are_forbidden_trailers_except_the_digests() {
    for name in
        ["Content-Type", "content-encoding", "CONTENT-RANGE", "Content-Security-Policy-X-Long"]
    {
        let body = format!("0\r\n{name}: x\r\n\r\n");
        assert_eq!(
            relay(body.as_bytes(), 1, &Limits::default()),
            Err(ChunkedError::TrailerForbidden)
        );
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let limits = Limits { chunk_line_bytes_max: 8, trailer_bytes_max: 6, ..Limits::default() };
    assert!(relay(b"1;abcd\r\nx\r\n0\r\nA: b\r\n\r\n", 1, &limits).is_ok());
    assert_eq!(relay(b"1;abcde\r\nx\r\n0\r\n\r\n", 1, &limits), Err(ChunkedError::LineTooLong));
    assert_eq!(relay(b"0\r\nA: bc\r\n\r\n", 1, &limits), Err(ChunkedError::TrailersTooLarge));
    assert_eq!(relay(b"0\r\nA:\r\nB:\r\n\r\n", 1, &limits), Err(ChunkedError::TrailersTooLarge));
    let many: Vec<u8> = b"1\r\nx\r\n".repeat(1_000);
    assert!(relay(&many, 64, &limits).is_ok(), "the limit is per line, not per body");
}

//! Every row of the table of malformed requests gets its status and its reason, however its bytes
//! arrive.

use std::collections::BTreeSet;

use tidegate_http1::{
    BodyLength, ChunkedDecoder, ChunkedError, Limits, Parsed, Piece, RequestError, RequestHead,
    RequestScan, continue_request, parse_request,
};
use tidegate_testkit::malformed::{Malformed, Part, table};

/// Feeds `bytes` up to `step` at a time, as a connection would, and reports what refused them.
fn refusal(bytes: &[u8], step: usize) -> Option<(Part, u16, &'static str)> {
    let limits = Limits::default();
    let mut head = RequestHead::new();
    let (mut received, mut scan) = (0, RequestScan::new());
    let head_bytes = loop {
        let is_first = received == 0;
        received = (received + step).min(bytes.len());
        let parsed = if is_first {
            parse_request(&bytes[..received], &limits, &mut head)
        } else {
            continue_request(&bytes[..received], &limits, &mut head, &mut scan)
        };
        match parsed {
            Ok(Parsed::Complete { head_bytes }) => break head_bytes,
            Ok(Parsed::Incomplete) if received < bytes.len() => {}
            Ok(Parsed::Incomplete) => return None,
            Err(error) => return Some((Part::Head, error.status(), error.reason())),
        }
    };
    if head.body() != BodyLength::Chunked {
        return None;
    }
    match refused_body(&bytes[head_bytes..], step) {
        Ok(()) => None,
        Err(error) => Some((Part::Body, error.status(), error.reason())),
    }
}

fn refused_body(body: &[u8], step: usize) -> Result<(), ChunkedError> {
    let mut decoder = ChunkedDecoder::new(&Limits::default());
    for mut bytes in body.chunks(step) {
        loop {
            match decoder.next(bytes)? {
                Piece::NeedMore => break,
                Piece::End(_) => return Ok(()),
                Piece::Framing(n) | Piece::Data(n) | Piece::Skip(n) | Piece::Trailer(n) => {
                    bytes = &bytes[n..];
                }
            }
        }
    }
    Ok(())
}

fn check(row: &Malformed, step: usize) {
    assert_eq!(
        refusal(&row.bytes, step),
        Some((row.part, row.status, row.reason)),
        "{}, {step} bytes at a time",
        row.name
    );
}

#[test]
fn refuses_every_malformed_request_that_arrives_whole() {
    for row in table() {
        check(&row, row.bytes.len());
    }
}

#[test]
fn refuses_every_malformed_request_that_arrives_in_pieces() {
    for row in table() {
        // Parsing starts over with every byte; for the oversized rows, larger pieces show the same
        // in less time.
        check(&row, if row.bytes.len() < 4096 { 1 } else { 61 });
    }
}

#[test]
fn the_table_reaches_every_reason() {
    let reached: BTreeSet<_> = table().iter().map(|row| row.reason).collect();
    let request = RequestError::ALL.iter().map(|error| error.reason());
    let chunked = ChunkedError::ALL.iter().map(|error| error.reason());
    let all: BTreeSet<_> = request.chain(chunked).collect();
    assert_eq!(reached, all);
}

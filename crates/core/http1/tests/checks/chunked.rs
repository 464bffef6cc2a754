//! A chunked body decodes the same however it is split, and what is forwarded of it is the same
//! body without extensions.

use tidegate_http1::{ChunkedDecoder, ChunkedError, Limits, Piece};

/// What a relay would have done with a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Content alone.
    pub content: Vec<u8>,
    /// Trailer lines alone.
    pub trailers: Vec<u8>,
    /// Everything that is passed on.
    pub forwarded: Vec<u8>,
    /// Extension bytes dropped.
    pub skipped_bytes: usize,
    /// Bytes of the message, once it is complete.
    pub message_bytes: Option<usize>,
}

/// Decodes `body`, given in pieces of at most `step` bytes.
pub fn relay(body: &[u8], step: usize, limits: &Limits) -> Result<Relayed, ChunkedError> {
    let mut decoder = ChunkedDecoder::new(limits);
    let mut relayed = Relayed::default();
    let mut position = 0;
    for received in body.chunks(step.max(1)) {
        let mut rest = received;
        loop {
            let piece = decoder.next(rest)?;
            let taken = match piece {
                Piece::Framing(n) | Piece::Data(n) | Piece::Skip(n) | Piece::Trailer(n) => n,
                Piece::End(n) => n,
                Piece::NeedMore => break,
            };
            let (bytes, after) = rest.split_at(taken);
            rest = after;
            position += taken;
            match piece {
                Piece::Data(_) => relayed.content.extend_from_slice(bytes),
                Piece::Trailer(_) => relayed.trailers.extend_from_slice(bytes),
                Piece::Skip(_) => relayed.skipped_bytes += taken,
                Piece::Framing(_) | Piece::End(_) | Piece::NeedMore => {}
            }
            if !matches!(piece, Piece::Skip(_)) {
                relayed.forwarded.extend_from_slice(bytes);
            }
            if matches!(piece, Piece::End(_)) {
                assert_eq!(decoder.next(rest), Ok(Piece::End(0)), "the end is final");
                relayed.message_bytes = Some(position);
                return Ok(relayed);
            }
            assert!(taken > 0, "progress");
        }
        assert!(rest.is_empty(), "every byte is classified at once");
    }
    Ok(relayed)
}

/// Checks `data`: its first byte chooses how the rest, a chunked body, is split.
pub fn check(data: &[u8]) {
    let limits = Limits { chunk_line_bytes_max: 64, trailer_bytes_max: 128, ..Limits::default() };
    let Some((&step, body)) = data.split_first() else { return };
    let whole = relay(body, body.len(), &limits);
    assert_eq!(relay(body, usize::from(step), &limits), whole, "in pieces of {step}");
    assert_eq!(relay(body, 1, &limits), whole, "byte by byte");
    let Ok(whole) = whole else { return };
    let again = relay(&whole.forwarded, whole.forwarded.len(), &limits);
    let again = again.expect("what is forwarded is valid");
    assert_eq!(again.skipped_bytes, 0, "no extension is forwarded");
    assert_eq!(again.content, whole.content);
    assert_eq!(again.trailers, whole.trailers);
    assert_eq!(again.message_bytes.is_some(), whole.message_bytes.is_some());
    if let Some(message_bytes) = whole.message_bytes {
        assert_eq!(message_bytes, whole.forwarded.len() + whole.skipped_bytes);
        assert_eq!(again.message_bytes, Some(whole.forwarded.len()));
    }
}

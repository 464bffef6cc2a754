//! What a decoder of `tidegate-http2` sends, written down, and its text fed in pieces: what both directions' checks share.

use std::ops::Range;
use tidegate_http2::{Broken, ContentSink};

/// What was sent, and content that belongs together joined.
#[derive(Default)]
pub struct Sent<'a> {
    pub said: Vec<u8>,
    piece: &'a [u8],
}

impl Sent<'_> {
    pub fn say<'a>(&mut self, what: &str, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.said.extend_from_slice(what.as_bytes());
        for (name, value) in fields {
            assert!(!name.is_empty() && !name.contains(&b'\n') && !value.contains(&b'\n'));
            self.said.extend_from_slice(&[name, b"=", value, b"\n"].concat());
        }
    }
}

impl ContentSink for Sent<'_> {
    fn data(&mut self, part: Range<usize>) {
        assert!(!part.is_empty());
        self.said.extend_from_slice(&self.piece[part]);
    }

    fn trailers<'a>(&mut self, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.say("\ntrailers\n", fields);
    }

    fn end(&mut self) {
        self.said.extend_from_slice(b"\nend\n");
    }
}

/// What is said of `text` in pieces of `step` bytes, unless it is broken, and whether it was whole. `feed` and `finish` are the decoder's.
pub fn decode<D>(
    decoder: &mut D,
    text: &[u8],
    step: usize,
    mut feed: impl FnMut(&mut D, &[u8], &mut Sent<'_>) -> Result<(), Broken>,
    finish: impl FnOnce(&mut D, &mut Sent<'_>) -> bool,
) -> (Option<Vec<u8>>, bool) {
    let mut said = Vec::new();
    for piece in text.chunks(step.max(1)) {
        let mut sent = Sent { said, piece };
        let fed = feed(decoder, piece, &mut sent);
        said = sent.said;
        if fed.is_err() {
            return (None, false);
        }
    }
    let mut sent = Sent { said, piece: b"" };
    let whole = finish(decoder, &mut sent);
    (Some(sent.said), whole)
}

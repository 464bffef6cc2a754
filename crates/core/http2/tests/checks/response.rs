//! A response decodes the same however its text is split.

use std::ops::Range;
use tidegate_http1::{Limits, ResponseHead};
use tidegate_http2::{ContentSink, RequestKind, ResponseDecoder, ResponseSink};

/// What was sent, and content that belongs together joined.
#[derive(Default)]
struct Sent<'a> {
    said: Vec<u8>,
    piece: &'a [u8],
}

impl Sent<'_> {
    fn say<'a>(&mut self, what: &str, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.said.extend_from_slice(what.as_bytes());
        for (name, value) in fields {
            assert!(!name.is_empty() && !name.contains(&b'\n') && !value.contains(&b'\n'));
            self.said.extend_from_slice(&[name, b"=", value, b"\n"].concat());
        }
    }
}

impl ResponseSink for Sent<'_> {
    fn interim<'a>(&mut self, status: u16, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        assert!((100..200).contains(&status) && status != 101);
        self.say(&format!("{status}\n"), fields);
    }

    fn head<'a>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        assert!((200..1000).contains(&status));
        self.say(&format!("{status} {ends}\n"), fields);
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

fn decode(kind: RequestKind, text: &[u8], step: usize) -> (Option<Vec<u8>>, bool) {
    let mut decoder = ResponseDecoder::new(kind, Limits::default());
    let (mut said, mut head) = (Vec::new(), ResponseHead::new());
    for piece in text.chunks(step.max(1)) {
        let mut sent = Sent { said, piece };
        let fed = decoder.feed(piece, &mut head, &mut sent);
        said = sent.said;
        if fed.is_err() {
            return (None, false);
        }
    }
    let mut sent = Sent { said, piece: b"" };
    let whole = decoder.finish(&mut sent);
    (Some(sent.said), whole)
}

/// Checks `data`: its first byte chooses the request and how the rest, a response's text, is split.
pub fn check(data: &[u8]) {
    let Some((&first, text)) = data.split_first() else { return };
    let kinds = [RequestKind::Other, RequestKind::Head, RequestKind::WebSocket];
    let kind = kinds[usize::from(first) % 3];
    let whole = decode(kind, text, text.len());
    assert_eq!(decode(kind, text, usize::from(first)), whole, "in pieces of {first}");
    assert_eq!(decode(kind, text, 1), whole, "byte by byte");
}

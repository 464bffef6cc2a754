//! A request to a server decodes the same however its text is split.

use std::ops::Range;
use tidegate_http1::{Limits, RequestHead};
use tidegate_http2::{ContentSink, RequestDecoder, RequestKind, RequestSink, Target};

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

impl RequestSink for Sent<'_> {
    fn head<'a>(
        &mut self,
        target: &Target<'a>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        // What HTTP/2 cannot carry (RFC 9113 §8.2.2, §8.3.1).
        let refused: [&[u8]; 5] =
            [b"host", b"connection", b"transfer-encoding", b"upgrade", b"keep-alive"];
        let fields: Vec<_> = fields.collect();
        for (name, _) in &fields {
            assert!(!refused.iter().any(|refused| name.eq_ignore_ascii_case(refused)));
            assert!(!name.starts_with(b":"));
        }
        assert!(!target.method.is_empty() && !target.path.is_empty());
        let tunnels = target.kind == RequestKind::WebSocket;
        assert!(!tunnels || (target.method == b"CONNECT" && !ends));
        let parts = [target.method, target.authority, target.path];
        parts.iter().for_each(|part| assert!(!part.contains(&b'\n')));
        self.said.extend_from_slice(&parts.join(&b' '));
        self.say(&format!("\n{ends}\n"), fields.into_iter());
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

fn decode(text: &[u8], step: usize) -> (Option<Vec<u8>>, bool) {
    let mut decoder = RequestDecoder::new(Limits::default());
    let (mut said, mut head) = (Vec::new(), RequestHead::new());
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

/// Checks `data`: its first byte chooses how the rest, a request's text, is split.
pub fn check(data: &[u8]) {
    let Some((&first, text)) = data.split_first() else { return };
    let whole = decode(text, text.len());
    assert_eq!(decode(text, usize::from(first)), whole, "in pieces of {first}");
    assert_eq!(decode(text, 1), whole, "byte by byte");
}

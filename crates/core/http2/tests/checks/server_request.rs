//! A request to a server decodes the same however its text is split.

use tidegate_http1::{Limits, RequestHead};
use tidegate_http2::{RequestDecoder, RequestKind, RequestSink, Target};

use super::sent::{self, Sent};

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

fn decode(text: &[u8], step: usize) -> (Option<Vec<u8>>, bool) {
    let mut head = RequestHead::new();
    sent::decode(
        &mut RequestDecoder::new(Limits::default()),
        text,
        step,
        |decoder, piece, sent| decoder.feed(piece, &mut head, sent),
        |decoder, sent| decoder.finish(sent),
    )
}

/// Checks `data`: its first byte chooses how the rest, a request's text, is split.
pub fn check(data: &[u8]) {
    let Some((&first, text)) = data.split_first() else { return };
    let whole = decode(text, text.len());
    assert_eq!(decode(text, usize::from(first)), whole, "in pieces of {first}");
    assert_eq!(decode(text, 1), whole, "byte by byte");
}

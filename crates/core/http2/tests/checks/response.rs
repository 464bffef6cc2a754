//! A response decodes the same however its text is split.

use tidegate_http1::{Limits, ResponseHead};
use tidegate_http2::{RequestKind, ResponseDecoder, ResponseSink};

use super::sent::{self, Sent};

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

fn decode(kind: RequestKind, text: &[u8], step: usize) -> (Option<Vec<u8>>, bool) {
    let mut head = ResponseHead::new();
    sent::decode(
        &mut ResponseDecoder::new(kind, Limits::default()),
        text,
        step,
        |decoder, piece, sent| decoder.feed(piece, &mut head, sent),
        |decoder, sent| decoder.finish(sent),
    )
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

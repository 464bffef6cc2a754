//! Responses from their text: fields, data and trailers, in whatever pieces the text comes.

mod support;

use proptest::prelude::*;
use support::Log;
use tidegate_http1::{Limits, ResponseHead};
use tidegate_http2::{Broken, RequestKind, ResponseDecoder, ResponseSink};

impl ResponseSink for Log<'_> {
    fn interim<'a>(&mut self, status: u16, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        self.say(&format!("interim {status}"), fields);
    }

    fn head<'a>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        ends: bool,
    ) {
        self.say(&format!("{status}{}", if ends { " ends" } else { "" }), fields);
    }
}

fn decode<'a>(kind: RequestKind, pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, bool) {
    let mut decoder = ResponseDecoder::new(kind, Limits::default());
    let (mut log, mut head) = (String::new(), ResponseHead::new());
    let mut in_data = false;
    for piece in pieces {
        let mut sink = Log { said: std::mem::take(&mut log), piece, in_data };
        let fed = decoder.feed(piece, &mut head, &mut sink);
        (log, in_data) = (sink.said, sink.in_data);
        if fed == Err(Broken) {
            return (log + "broken", false);
        }
    }
    let mut sink = Log { said: log, piece: b"", in_data };
    let whole = decoder.finish(&mut sink);
    (sink.said, whole)
}

const SAMPLES: &[(RequestKind, &str, &str, bool)] = &[
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nContent-Length: 2\nX: y\n\nhi",
        "200 content-length=2 x=y|data hi|end",
        true,
    ),
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi and more",
        "200 content-length=2|data hi|end",
        true,
    ),
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "200 ends content-length=0|",
        true,
    ),
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nContent-Length: 3\n\nhi",
        "200 content-length=3|data hi",
        false,
    ),
    (RequestKind::Other, "HTTP/1.1 204 No Content\n\n", "204 ends|", true),
    (
        RequestKind::Other,
        "HTTP/1.1 304 Not Modified\nContent-Length: 9\n\n",
        "304 ends content-length=9|",
        true,
    ),
    (
        RequestKind::Head,
        "HTTP/1.1 200 OK\nContent-Length: 9\n\n",
        "200 ends content-length=9|",
        true,
    ),
    (
        RequestKind::Head,
        "HTTP/1.1 400 Bad\nContent-Length: 3\n\nbad",
        "400 ends content-length=3|",
        true,
    ),
    (RequestKind::Other, "HTTP/1.1 200 OK\n\nuntil the end", "200|data until the end|end", true),
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close, x-hop\nX-Hop: 1\nKeep-Alive: 5\n\n2;x=y\nhi\n3\n,ho\n0\n\n",
        "200|data hi,ho|end",
        true,
    ),
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\na\n0\nGrpc-Status: 0\nX:  y \n\n",
        "200|data a|trailers grpc-status=0 x=y|",
        true,
    ),
    (RequestKind::Other, "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n0\n\n", "200||end", true),
    (
        RequestKind::Other,
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n",
        "200|data hi",
        false,
    ),
    (
        RequestKind::Other,
        "HTTP/1.1 103 Early\nLink: x\n\nHTTP/1.1 100 Continue\n\nHTTP/1.1 404 No\nContent-Length: 1\n\n!",
        "interim 103 link=x|interim 100|404 content-length=1|data !|end",
        true,
    ),
    (
        RequestKind::WebSocket,
        "HTTP/1.1 101 Switching\nUpgrade: websocket\nConnection: upgrade\nSec-WebSocket-Accept: x\nSec-WebSocket-Protocol: chat\n\nab",
        "200 sec-websocket-protocol=chat|data ab|end",
        true,
    ),
    (
        RequestKind::WebSocket,
        "HTTP/1.1 200 OK\nContent-Length: 1\n\nx",
        "502 content-length=1|data x|end",
        true,
    ),
    (
        RequestKind::WebSocket,
        "HTTP/1.1 403 No\nContent-Length: 0\n\n",
        "403 ends content-length=0|",
        true,
    ),
    (RequestKind::Other, "HTTP/1.1 200 OK\nContent-Le", "", false),
    (RequestKind::Other, "", "", false),
];

fn text(sample: &str) -> Vec<u8> {
    sample.replace('\n', "\r\n").into_bytes()
}

#[test]
fn each_response_becomes_what_http2_sends() {
    for (kind, sample, said, whole) in SAMPLES {
        let text = text(sample);
        assert_eq!(decode(*kind, [&text[..]]), ((*said).to_owned(), *whole), "{sample}");
    }
}

#[test]
fn every_single_byte_cut_gives_the_same() {
    for (kind, sample, said, whole) in SAMPLES {
        let text = text(sample);
        assert_eq!(decode(*kind, text.chunks(1)), ((*said).to_owned(), *whole), "{sample}");
    }
}

#[test]
fn text_that_is_no_response_is_broken() {
    for sample in [
        "HTTP/1.1 101 Switching\nUpgrade: x\nConnection: upgrade\n\n",
        "GET / HTTP/1.1\n\n",
        "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nx\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\n",
    ] {
        let (said, whole) = decode(RequestKind::Other, [&text(sample)[..]]);
        assert!(said.ends_with("broken") && !whole, "{sample}: {said}");
    }
}

proptest! {
    #[test]
    fn any_cut_gives_the_same(
        sample in 0..SAMPLES.len(),
        cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let (kind, sample, ..) = SAMPLES[sample];
        let text = text(sample);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]);
        prop_assert_eq!(decode(kind, pieces), decode(kind, [&text[..]]));
    }
}

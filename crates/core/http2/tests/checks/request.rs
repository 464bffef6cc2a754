//! Fields that are accepted are read by the reader of HTTP/1.1 as one request, whose parts are those given and which ends where
//! the text ends; or it refuses them.

use tidegate_http1::{BodyLength, Limits, Method, Parsed, RequestHead, parse_request};
use tidegate_http2::{Body, Pseudo, RequestKind, write_request};

/// Checks `data`: lines of a name, a tab and a value; the names of pseudo-header fields begin with a colon.
pub fn check(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let ends = first & 1 != 0;
    let lines = data.split(|&byte| byte == 0xff).map(|line| {
        let tab = line.iter().position(|&byte| byte == b'\t').unwrap_or(line.len());
        (&line[..tab], line.get(tab + 1..).unwrap_or_default())
    });
    let pseudo =
        |wanted: &[u8]| lines.clone().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let pseudo = Pseudo {
        method: pseudo(b":method").unwrap_or(b"GET"),
        scheme: pseudo(b":scheme"),
        authority: pseudo(b":authority"),
        path: pseudo(b":path"),
        protocol: pseudo(b":protocol"),
    };
    let fields = || lines.clone().filter(|(name, _)| !name.starts_with(b":"));
    let mut out = Vec::new();
    let Ok(carried) = write_request(&pseudo, fields, ends, [first; 16], &mut out) else { return };
    let mut head = RequestHead::new();
    let Ok(parsed) = parse_request(&out, &Limits::default(), &mut head) else { return };
    assert_eq!(parsed, Parsed::Complete { head_bytes: out.len() }, "one request and nothing else");
    assert_eq!(head.upgrade(), carried.kind == RequestKind::WebSocket);
    match (carried.body, head.body()) {
        (Body::None | Body::Tunnel, BodyLength::None) => {}
        (Body::None, BodyLength::Length(0)) if ends => {}
        (Body::Length(said), BodyLength::Length(read)) => assert_eq!(said, read),
        (Body::Chunked, BodyLength::Chunked) => {}
        other => panic!("{other:?}"),
    }
    if head.method() == Method::Connect {
        return;
    }
    assert_eq!(Some(head.target(&out)), pseudo.path);
    let count = |name: &[u8]| head.headers(&out).filter(|(known, _)| *known == name).count();
    for (name, _) in fields().filter(|(name, _)| ![&b"cookie"[..], b"host"].contains(name)) {
        let given = fields().filter(|(known, _)| *known == name).count();
        if name != b"sec-websocket-key" {
            assert_eq!(count(name), given);
        }
    }
}

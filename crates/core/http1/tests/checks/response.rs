//! A response head is judged the same however it arrives, and its framing follows RFC 9112 §6.3.

use tidegate_http1::{
    BodyLength, Limits, Method, Parsed, ResponseContext, ResponseHead, ResponseScan,
    continue_response, parse_response,
};

/// Checks `data` as what a server sent.
pub fn check(data: &[u8]) {
    for method in [Method::Get, Method::Head, Method::Connect] {
        for upgrade_requested in [false, true] {
            check_in(data, ResponseContext { method, upgrade_requested });
        }
    }
}

fn check_in(data: &[u8], context: ResponseContext) {
    let limits = Limits { head_bytes_max: 1_024, headers_count_max: 8, ..Limits::default() };
    let mut head = ResponseHead::new();
    let whole = parse_response(data, &limits, context, &mut head);
    let mut prefix_head = ResponseHead::new();
    let mut scan = ResponseScan::new();
    let first = (0..=data.len().min(limits.head_bytes_max))
        .map(|end| {
            let (bytes, head) = (&data[..end], &mut prefix_head);
            let judged = parse_response(bytes, &limits, context, head);
            let continued = continue_response(bytes, &limits, context, head, &mut scan);
            assert_eq!(continued, judged, "the first {end} bytes, in one piece and one by one");
            judged
        })
        .find(|judged| *judged != Ok(Parsed::Incomplete))
        .unwrap_or(Ok(Parsed::Incomplete));
    assert_eq!(first, whole, "byte by byte, then whole");
    let Ok(Parsed::Complete { head_bytes }) = whole else { return };
    let bytes = &data[..head_bytes];
    assert!(bytes.ends_with(b"\r\n\r\n"));
    let is_bare = |pair: &[u8]| (pair[0] == b'\r') != (pair[1] == b'\n');
    assert!(!bytes.windows(2).any(is_bare), "CR and LF only in pairs");
    assert!((100..1000).contains(&head.status()));
    match head.body() {
        BodyLength::None => {
            let bodiless = matches!(head.status(), 100..200 | 204 | 304);
            assert!(bodiless || context.method == Method::Head);
        }
        BodyLength::Tunnel => assert!(
            (head.status() == 101 && context.upgrade_requested)
                || (head.status() / 100 == 2 && context.method == Method::Connect)
        ),
        BodyLength::Length(_) => assert!(head.header(data, b"content-length").is_some()),
        BodyLength::Chunked => assert!(head.header(data, b"transfer-encoding").is_some()),
        BodyLength::UntilClose => {
            assert!(head.header(data, b"content-length").is_none() && !head.keep_alive());
        }
    }
}

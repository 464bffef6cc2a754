//! A request head is judged the same however it arrives, and an accepted one keeps the grammar.

use tidegate_http1::{
    BodyLength, Limits, Parsed, RequestHead, RequestScan, Version, continue_request, parse_request,
};

/// Checks `data` as what a client sent.
pub fn check(data: &[u8]) {
    let limits = Limits {
        head_bytes_max: 2_048,
        headers_count_max: 8,
        target_bytes_max: 256,
        ..Limits::default()
    };
    let mut head = RequestHead::new();
    let whole = parse_request(data, &limits, &mut head);
    let mut prefix_head = RequestHead::new();
    let mut scan = RequestScan::new();
    let first = (0..=data.len().min(limits.head_bytes_max))
        .map(|end| {
            let judged = parse_request(&data[..end], &limits, &mut prefix_head);
            let continued = continue_request(&data[..end], &limits, &mut prefix_head, &mut scan);
            assert_eq!(continued, judged, "the first {end} bytes, in one piece and one by one");
            judged
        })
        .find(|judged| *judged != Ok(Parsed::Incomplete))
        .unwrap_or(Ok(Parsed::Incomplete));
    assert_eq!(first, whole, "byte by byte, then whole");
    if let Ok(Parsed::Complete { head_bytes }) = whole {
        check_accepted(&data[..head_bytes], data, &head);
    }
}

fn check_accepted(bytes: &[u8], buf: &[u8], head: &RequestHead) {
    assert_eq!(head.head_bytes(), bytes.len());
    assert!(bytes.ends_with(b"\r\n\r\n"));
    let mut lines = bytes.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r"));
    assert_eq!(lines.next_back(), Some(None), "nothing follows the last LF");
    let mut lines: Vec<&[u8]> = lines.map(|line| line.expect("every LF follows a CR")).collect();
    assert_eq!(lines.pop(), Some(&b""[..]));
    if lines.first().is_some_and(|line| line.is_empty()) {
        lines.remove(0);
    }
    for line in &lines {
        assert!(line.iter().all(|&b| b == b'\t' || (b >= 0x20 && b != 0x7f)), "{line:?}");
    }
    let request_line = [head.method_bytes(buf), head.target(buf)].join(&b' ');
    assert!(lines[0].starts_with(&request_line));
    let mut lengths = 0;
    let mut codings = 0;
    let mut hosts = 0;
    for ((name, value), line) in head.headers(buf).zip(&lines[1..]) {
        assert!(line.starts_with(name) && line[name.len()] == b':', "{line:?}");
        assert_eq!(line[name.len() + 1..].trim_ascii(), value.trim_ascii());
        assert_eq!(value.trim_ascii(), value);
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
        hosts += usize::from(name.eq_ignore_ascii_case(b"host"));
    }
    assert_eq!(head.headers(buf).count(), lines.len() - 1);
    assert!(lengths + codings <= 1 && hosts <= 1);
    assert!(hosts == 1 || head.version() == Version::Http10);
    match head.body() {
        BodyLength::None => assert_eq!(lengths + codings, 0),
        BodyLength::Length(_) => assert_eq!(lengths, 1),
        BodyLength::Chunked => assert_eq!(codings, 1),
        BodyLength::UntilClose | BodyLength::Tunnel => panic!("a request framed by close"),
    }
}

//! What the HTTP/1.1 client accepts and reports, with every response cut at every place.

use super::*;

fn session(expected: Option<u64>) -> Http1Session {
    Http1::get("/x", "h", Persistence::KeepAlive, expected).session()
}

/// Feeds `response` in pieces cut at `cuts`, then the end of the stream when `ended`.
fn exchange(expected: Option<u64>, response: &[u8], cuts: &[usize], ended: bool) -> Vec<Exchange> {
    let mut session = session(expected);
    let (mut out, mut done) = (Vec::new(), Vec::new());
    session.begin(7, &mut out);
    let mut from = 0;
    for &cut in cuts.iter().chain([&response.len()]) {
        if session.receive(&response[from..cut], &mut out, &mut done).is_err() {
            session.abandon(Failure::Malformed, &mut done);
            return done;
        }
        from = cut;
    }
    if ended {
        session.end_of_stream(&mut done);
    }
    done
}

fn check(expected: Option<u64>, response: &str, outcome: Result<u64, Failure>, reusable: bool) {
    let wanted = vec![Exchange { intended_ns: 7, outcome, reusable }];
    let bytes = response.as_bytes();
    for first in 0..=bytes.len() {
        for second in [first, bytes.len().min(first + 1), bytes.len().min(first + 7)] {
            let got = exchange(expected, bytes, &[first, second], true);
            assert_eq!(got, wanted, "cut at {first} and {second}: {response:?}");
        }
    }
}

#[test]
fn fixed_length_response() {
    check(Some(5), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Ok(5), true);
    check(None, "HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length:5\r\n\r\nhello", Ok(5), true);
    check(Some(0), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(0), true);
}

#[test]
fn chunked_response() {
    let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";
    check(Some(13), text, Ok(13), true);
}

#[test]
fn response_that_ends_with_the_connection() {
    check(Some(5), "HTTP/1.1 200 OK\r\n\r\nhello", Ok(5), false);
    check(Some(2), "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Ok(2), false);
    check(
        Some(2),
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        Ok(2),
        false,
    );
}

#[test]
fn interim_responses_are_skipped() {
    let text = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    check(Some(1), text, Ok(1), true);
}

#[test]
fn another_status_is_an_error_and_its_body_is_skipped() {
    let text = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
    check(Some(100), text, Err(Failure::Status), true);
    check(Some(100), "HTTP/1.1 204 No Content\r\n\r\n", Err(Failure::Status), true);
}

#[test]
fn another_length_is_an_error() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy";
    check(Some(5), text, Err(Failure::Length), true);
}

#[test]
fn early_end_is_short_and_silence_is_a_reset() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell";
    check(Some(5), text, Err(Failure::Short), false);
    check(Some(5), "HTTP/1.1 20", Err(Failure::Short), false);
    check(Some(5), "", Err(Failure::Reset), false);
}

#[test]
fn nonsense_is_malformed() {
    let cases = [
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ];
    for text in cases {
        let got = exchange(None, text.as_bytes(), &[], false);
        assert_eq!(got.len(), 1, "{text:?}");
        assert_eq!(got[0].outcome, Err(Failure::Malformed), "{text:?}");
    }
}

#[test]
fn bytes_nobody_asked_for_are_malformed() {
    let mut session = session(None);
    let (mut out, mut done) = (Vec::new(), Vec::new());
    session.begin(1, &mut out);
    let result =
        session.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nX", &mut out, &mut done);
    assert_eq!(result, Err(Failure::Malformed));
    assert_eq!(done.len(), 1, "the response before the junk still counts");
}

#[test]
fn endless_head_is_refused() {
    let mut session = session(None);
    let (mut out, mut done) = (Vec::new(), Vec::new());
    session.begin(1, &mut out);
    let mut fed = 0;
    let piece = [b'a'; 1024];
    while session.receive(&piece, &mut out, &mut done).is_ok() {
        fed += piece.len();
        assert!(fed <= 2 * HEAD_BYTES_MAX, "no bound on the head");
    }
    assert!(done.is_empty());
}

#[test]
fn session_carries_one_request_after_another() {
    let mut session = session(Some(2));
    let (mut out, mut done) = (Vec::new(), Vec::new());
    for round in 0..3 {
        assert!(session.has_room());
        session.begin(round, &mut out);
        assert!(!session.has_room());
        session
            .receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &mut out, &mut done)
            .expect("a correct response");
    }
    let times: Vec<u64> = done.iter().map(|exchange| exchange.intended_ns).collect();
    assert_eq!(times, [0, 1, 2]);
    assert_eq!(out.iter().filter(|&&byte| byte == b'G').count(), 3);
}

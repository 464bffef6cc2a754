//! Owns the tests of the strict reader: what it must take, and what it must refuse.

use super::*;
use socket2::Socket;
use std::io::Write;
use std::os::unix::net::UnixStream;

/// A stream that delivers `bytes` and then ends.
fn stream_of(bytes: &[u8]) -> Stream {
    let (mut writer, reader) = UnixStream::pair().expect("a socket pair");
    writer.write_all(bytes).expect("the socket's buffer takes a small message");
    Stream::new(Socket::from(reader))
}

fn response(method: &str, bytes: &str) -> io::Result<Response> {
    read_response(&mut stream_of(bytes.as_bytes()), Deadline::default(), method)
}

#[test]
fn reads_each_framing() {
    let cases = [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", Framing::Length(3), "abc"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n",
            Framing::Chunked,
            "abc",
        ),
        ("GET", "HTTP/1.0 200 OK\r\n\r\nabc", Framing::UntilClose, "abc"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Framing::None, ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", Framing::None, ""),
        ("CONNECT", "HTTP/1.1 200 OK\r\n\r\ntunnel", Framing::None, ""),
    ];
    for (method, bytes, framing, body) in cases {
        let response = response(method, bytes).unwrap_or_else(|error| panic!("{bytes:?}: {error}"));
        assert_eq!((response.framing, response.text()), (framing, body), "{bytes:?}");
    }
}

#[test]
fn collects_interim_responses_and_trailers() {
    let bytes = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
                 HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n0\r\nDigest: x\r\n\r\n";
    let response = response("GET", bytes).expect("a valid exchange");
    assert_eq!(response.interim, [100, 103]);
    assert_eq!(response.reason, "");
    assert_eq!(response.trailers.value("digest"), Some("x"));
}

#[test]
fn refuses_what_rfc_9112_refuses() {
    let cases = [
        "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
    ];
    for bytes in cases {
        let error = response("GET", bytes).expect_err(bytes);
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}: {error}");
    }
}

#[test]
fn a_message_cut_short_is_an_unexpected_end() {
    let whole = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
    for length in 0..whole.len() {
        let error = response("GET", &whole[..length]).expect_err("the message is not whole");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "cut at {length}: {error}");
    }
    response("GET", whole).expect("the whole message");
}

#[test]
fn reads_requests_until_the_connection_ends() {
    let mut stream = stream_of(
        b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.0\r\n\r\n",
    );
    let deadline = Deadline::default();
    let first = read_request(&mut stream, deadline).expect("valid").expect("there is one");
    assert_eq!(
        (first.method.as_str(), first.target.as_str(), first.body.as_slice()),
        ("POST", "/a?b", &b"hi"[..])
    );
    assert!(first.raw_head.ends_with(b"2\r\n\r\n"));
    let second = read_request(&mut stream, deadline).expect("valid").expect("there is one");
    assert_eq!((second.framing, second.version.as_str()), (Framing::None, "HTTP/1.0"));
    assert!(read_request(&mut stream, deadline).expect("an orderly end").is_none());
    assert_eq!(stream.recording().look(|received| received.bytes.len()), 70);
}

#[test]
#[should_panic(expected = "is repeated")]
fn asking_for_one_value_of_a_repeated_field_fails_the_test() {
    let response = response("GET", "HTTP/1.1 204 \r\nVia: a\r\nvia: b\r\n\r\n").expect("valid");
    assert_eq!(response.headers.all("VIA").collect::<Vec<_>>(), ["a", "b"]);
    let _ = response.headers.value("via");
}

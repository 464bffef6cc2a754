//! Which responses may be compressed.

use tidegate_semantics::compressible::{
    MediaTypes, MediaTypesError, Obstacle, Policy, Suited, judge,
};

fn types(patterns: &[&str]) -> MediaTypes {
    MediaTypes::parse(patterns.iter().copied()).expect("valid patterns")
}

fn policy() -> Policy {
    Policy {
        types: types(&["text/*", "application/json", "application/*+xml"]),
        bytes_min: 256,
        bytes_max: Some(1_000_000),
    }
}

fn judged(status: u16, headers: &[(&str, &str)]) -> Result<Suited, Obstacle> {
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    judge(&policy(), status, headers)
}

#[test]
fn media_types_fit_their_patterns() {
    let cases: [(&str, &[&str], &[&str]); 4] = [
        (
            "text/*",
            &["text/html", "TEXT/Plain; charset=utf-8", "text/css ;a", " text/x", "text/"],
            &["", "text", "textual/x", "application/text", "x-text/html"],
        ),
        (
            "application/JSON",
            &["application/json", "Application/Json;charset=utf-8"],
            &["application/jsonp", "application/json5", "application/jso", "json", "*/*"],
        ),
        (
            "application/*+json",
            &["application/ld+json", "application/problem+JSON; a=b", "application/+json"],
            &["application/json", "image/ld+json", "application/ld+jsonx", "application/", "+json"],
        ),
        ("*/*", &["image/png", "x"], &["", " ; charset=utf-8"]),
    ];
    for (pattern, fitting, others) in cases {
        let types = types(&[pattern]);
        for content_type in fitting {
            assert!(types.contain(content_type.as_bytes()), "{pattern} {content_type}");
        }
        for content_type in others {
            assert!(!types.contain(content_type.as_bytes()), "{pattern} {content_type}");
        }
    }
}

#[test]
fn malformed_patterns_are_refused_with_their_place() {
    for pattern in [
        "",
        "text",
        "text/",
        "/html",
        "*",
        "*/html",
        "te*t/html",
        "text/h*",
        "text/*json",
        "text/*+",
        "text/*+j*",
        "text/html; charset=utf-8",
        "text/html, text/css",
        "a/b/c",
    ] {
        let parsed = MediaTypes::parse(["text/*", pattern]);
        assert_eq!(parsed, Err(MediaTypesError::Malformed(1)), "{pattern}");
    }
    let many = ["a/b"; MediaTypes::PATTERNS_MAX + 1];
    assert_eq!(MediaTypes::parse(many), Err(MediaTypesError::TooMany));
    assert!(MediaTypes::parse(many.into_iter().skip(1)).is_ok());
}

#[test]
fn ordinary_responses_are_compressible() {
    let text = ("Content-Type", "text/html");
    let cases: [&[(&str, &str)]; 8] = [
        &[text],
        &[text, ("Content-Length", "256")],
        &[text, ("content-length", "1000000")],
        &[("content-type", "application/atom+xml; charset=utf-8")],
        &[text, ("Content-Encoding", "identity")],
        &[text, ("Cache-Control", "public, max-age=60"), ("Cache-Control", "no-transformer")],
        &[text, ("Accept-Ranges", "bytes"), ("ETag", "\"a\"")],
        &[text, ("Transfer-Encoding", "chunked")],
    ];
    for headers in cases {
        assert_eq!(judged(200, headers), Ok(Suited::Whole), "{headers:?}");
    }
    for status in [200, 201, 301, 403, 404, 500, 599] {
        assert_eq!(judged(status, &[text]), Ok(Suited::Whole), "{status}");
    }
}

#[test]
fn each_obstacle_is_found() {
    let text = ("Content-Type", "text/html");
    let cases: [(&[(&str, &str)], Obstacle); 19] = [
        (&[text, ("Content-Range", "bytes 0-1/2")], Obstacle::Part),
        (&[text, ("Content-Encoding", "gzip")], Obstacle::Encoded),
        (&[text, ("CONTENT-ENCODING", "identity, br")], Obstacle::Encoded),
        (&[text, ("Content-Encoding", "x"), ("Content-Encoding", "identity")], Obstacle::Encoded),
        (&[text, ("Cache-Control", "no-transform")], Obstacle::NoTransform),
        (&[text, ("Cache-Control", "private,No-Transform , x")], Obstacle::NoTransform),
        (&[text, ("Cache-Control", "no-transform"), ("Cache-Control", "x")], Obstacle::NoTransform),
        (&[text, ("Cache-Control", "no-transform=1")], Obstacle::NoTransform),
        (&[text, ("Content-Digest", "sha-256=:x:")], Obstacle::Digest),
        (&[text, ("Repr-Digest", "sha-256=:x:")], Obstacle::Digest),
        (&[text, ("Digest", "sha-256=x")], Obstacle::Digest),
        (&[text, ("Content-MD5", "x")], Obstacle::Digest),
        (&[text, ("Trailer", "X, content-digest")], Obstacle::Digest),
        (&[], Obstacle::Type),
        (&[("Content-Type", "image/png")], Obstacle::Type),
        (&[text, ("Content-Length", "255")], Obstacle::TooSmall),
        (&[text, ("Content-Length", "0")], Obstacle::TooSmall),
        (&[text, ("Content-Length", "1000001")], Obstacle::TooLarge),
        (
            &[text, ("Content-Length", "1"), ("Cache-Control", "no-transform")],
            Obstacle::NoTransform,
        ),
    ];
    for (headers, obstacle) in cases {
        assert_eq!(judged(200, headers), Err(obstacle), "{headers:?}");
    }
    for status in [100, 101, 103, 199, 204, 205] {
        assert_eq!(judged(status, &[text]), Err(Obstacle::Status), "{status}");
    }
}

#[test]
fn an_empty_body_is_never_worth_it() {
    let policy = Policy { bytes_min: 0, ..policy() };
    let judged = |length: &'static [u8]| {
        let headers = [(&b"Content-Type"[..], &b"text/css"[..]), (b"Content-Length", length)];
        judge(&policy, 200, headers)
    };
    assert_eq!(judged(b"0"), Err(Obstacle::TooSmall));
    assert_eq!(judged(b"1"), Ok(Suited::Whole));
}

#[test]
fn parts_and_304_are_judged_by_what_they_are_about() {
    let text = ("Content-Type", "text/html");
    let range = ("Content-Range", "bytes 0-1/2");
    type Case<'a> = (u16, &'a [(&'a str, &'a str)], Result<Suited, Obstacle>);
    let cases: [Case<'_>; 10] = [
        (206, &[text, range], Ok(Suited::Part)),
        (206, &[text, range, ("Content-Length", "2")], Ok(Suited::Part)),
        (206, &[range], Err(Obstacle::Type)),
        (206, &[("Content-Type", "multipart/byteranges; boundary=a")], Err(Obstacle::Type)),
        (206, &[text, range, ("Content-Encoding", "gzip")], Err(Obstacle::Encoded)),
        (304, &[], Ok(Suited::NotModified)),
        (304, &[text, ("Content-Length", "5000000")], Ok(Suited::NotModified)),
        (304, &[("Content-Type", "image/png")], Err(Obstacle::Type)),
        (304, &[("Content-Encoding", "br")], Err(Obstacle::Encoded)),
        (304, &[("Cache-Control", "no-transform")], Err(Obstacle::NoTransform)),
    ];
    for (status, headers, expected) in cases {
        assert_eq!(judged(status, headers), expected, "{status} {headers:?}");
    }
}

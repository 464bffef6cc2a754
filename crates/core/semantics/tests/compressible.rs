//! Which responses may be compressed, and what their heads say then.

use tidegate_semantics::compressible::{
    MediaTypes, MediaTypesError, Obstacle, Policy, Requested, judge, needs_vary, push_vary,
    push_weak_etag,
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

fn judged(requested: Requested, status: u16, headers: &[(&str, &str)]) -> Result<(), Obstacle> {
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    judge(&policy(), requested, status, headers)
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
        assert_eq!(judged(Requested::Body, 200, headers), Ok(()), "{headers:?}");
    }
    for status in [200, 201, 301, 403, 404, 500, 599] {
        assert_eq!(judged(Requested::Body, status, &[text]), Ok(()), "{status}");
    }
}

#[test]
fn each_obstacle_is_found() {
    let text = ("Content-Type", "text/html");
    let cases: [(&[(&str, &str)], Obstacle); 17] = [
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
        (&[], Obstacle::Type),
        (&[("Content-Type", "image/png")], Obstacle::Type),
        (&[text, ("Content-Length", "255")], Obstacle::TooSmall),
        (&[text, ("Content-Length", "0")], Obstacle::TooSmall),
        (&[text, ("Content-Length", "1000001")], Obstacle::TooLarge),
    ];
    for (headers, obstacle) in cases {
        assert_eq!(judged(Requested::Body, 200, headers), Err(obstacle), "{headers:?}");
    }
    assert_eq!(judged(Requested::Head, 200, &[text]), Err(Obstacle::NoBody));
    for status in [100, 101, 103, 199, 204, 205, 206, 304] {
        assert_eq!(judged(Requested::Body, status, &[text]), Err(Obstacle::Status), "{status}");
    }
}

#[test]
fn tags_become_weak() {
    for (etag, weak) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\""), ("a", "a"), ("", "")] {
        let mut out = b"ETag: ".to_vec();
        push_weak_etag(etag.as_bytes(), &mut out);
        assert_eq!(out, format!("ETag: {weak}").into_bytes());
    }
}

#[test]
fn vary_names_accept_encoding_once() {
    let cases: [(&[&str], bool, &str); 9] = [
        (&[], true, "Accept-Encoding"),
        (&[""], true, "Accept-Encoding"),
        (&["Origin"], true, "Origin, Accept-Encoding"),
        (&["Origin, Cookie", "X"], true, "Origin, Cookie, X, Accept-Encoding"),
        (&["accept-encoding"], false, "accept-encoding"),
        (&["Origin,ACCEPT-ENCODING"], false, "Origin, ACCEPT-ENCODING"),
        (&["Origin", "Accept-Encoding"], false, "Origin, Accept-Encoding"),
        (&["*"], false, "*"),
        (&["Accept-Encoding-X"], true, "Accept-Encoding-X, Accept-Encoding"),
    ];
    for (values, needed, merged) in cases {
        let values = || values.iter().map(|value| value.as_bytes());
        assert_eq!(needs_vary(values()), needed, "{merged}");
        let mut out = Vec::new();
        push_vary(values(), &mut out);
        assert_eq!(out, merged.as_bytes());
    }
}

//! What a client gets of a response that may be compressed: the decision as a table, the edits of the
//! head, and what holds of all of them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_semantics::accept_encoding::Coding;
use tidegate_semantics::compressed_head::{Asked, Change};
use tidegate_semantics::compressible::{MediaTypes, Policy};

type Lines<'a> = &'a [(&'a str, &'a str)];

const OFFERED: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];
const TEXT: (&str, &str) = ("Content-Type", "text/html");
const PNG: (&str, &str) = ("Content-Type", "image/png");

fn policy() -> Policy {
    let types = MediaTypes::parse(["text/*"]).expect("valid patterns");
    Policy { types, bytes_min: 100, bytes_max: None }
}

fn bytes<'a>(lines: Lines<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone {
    lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

fn decide(method: &str, request: Lines<'_>, status: u16, response: Lines<'_>) -> Change {
    let asked = Asked::of(bytes(request), method == "HEAD");
    Change::decide(&policy(), &OFFERED, &asked, status, bytes(response))
}

/// The lines that the edits leave of a head, and those that they add.
fn edited(change: Change, response: Lines<'_>) -> Vec<(String, String)> {
    let mut scratch = b"of the last one".to_vec();
    let edits = change.edits(bytes(response), &mut scratch);
    let removes = |name: &str| edits.removes(name.as_bytes());
    assert!(edits.removes_any() || !response.iter().any(|(name, _)| removes(name)));
    let mut lines: Vec<(String, String)> = response
        .iter()
        .filter(|(name, _)| !removes(name))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    edits.each_added(|name, value| lines.push((text(name), text(value))));
    lines
}

#[test]
fn each_client_gets_what_it_accepts() {
    let gzip = ("Accept-Encoding", "gzip");
    let refused = ("accept-encoding", "gzip;q=0, *;q=0");
    let weak = ("If-None-Match", "W/\"a\"");
    let strong = ("If-None-Match", "\"a\"");
    let encode = Change::Encode(Coding::Gzip);
    let cases: [(&str, Lines<'_>, u16, Lines<'_>, Change); 20] = [
        ("GET", &[gzip], 200, &[TEXT], encode),
        ("POST", &[gzip], 404, &[TEXT, ("Content-Length", "100")], encode),
        ("GET", &[("ACCEPT-ENCODING", "*")], 200, &[TEXT], Change::Encode(Coding::Zstd)),
        ("GET", &[gzip, ("Accept-Encoding", "br")], 200, &[TEXT], Change::Encode(Coding::Brotli)),
        ("GET", &[gzip], 200, &[PNG], Change::Nothing),
        ("GET", &[gzip], 200, &[TEXT, ("Content-Length", "99")], Change::Nothing),
        ("GET", &[gzip], 200, &[TEXT, ("Content-Encoding", "br")], Change::Nothing),
        ("GET", &[gzip], 204, &[], Change::Nothing),
        ("GET", &[], 200, &[TEXT], Change::Vary),
        ("GET", &[refused], 200, &[TEXT], Change::Vary),
        ("GET", &[("Accept-Encoding", "identity")], 200, &[TEXT], Change::Vary),
        ("GET", &[], 200, &[PNG], Change::Nothing),
        ("HEAD", &[gzip], 200, &[TEXT], Change::Announce(Coding::Gzip)),
        ("HEAD", &[], 200, &[TEXT], Change::Vary),
        ("GET", &[gzip, ("Range", "bytes=0-1")], 206, &[TEXT], Change::Vary),
        ("GET", &[gzip, weak], 304, &[], Change::Validate),
        ("HEAD", &[gzip, weak], 304, &[], Change::Validate),
        ("GET", &[gzip, strong], 304, &[], Change::Vary),
        ("GET", &[weak], 304, &[], Change::Vary),
        ("GET", &[gzip, weak], 304, &[PNG], Change::Nothing),
    ];
    for (method, request, status, response, expected) in cases {
        let change = decide(method, request, status, response);
        assert_eq!(change, expected, "{method} {request:?}: {status} {response:?}");
    }
}

#[test]
fn heads_say_how_they_are_coded() {
    let encode = Change::Encode(Coding::Brotli);
    let vary = ("Vary", "Accept-Encoding");
    let coded = ("Content-Encoding", "br");
    let weak = ("ETag", "W/\"a\"");
    let cases: [(Change, Lines<'_>, Lines<'_>); 16] = [
        (Change::Nothing, &[("ETag", "\"a\"")], &[("ETag", "\"a\"")]),
        (Change::Vary, &[("ETag", "\"a\"")], &[("ETag", "\"a\""), vary]),
        (Change::Vary, &[("Accept-Ranges", "bytes")], &[("Accept-Ranges", "bytes"), vary]),
        (Change::Validate, &[("etag", "\"a\"")], &[weak, vary]),
        (encode, &[], &[coded, vary]),
        (Change::Announce(Coding::Brotli), &[], &[coded, vary]),
        (encode, &[("ETAG", "\"a\"")], &[coded, weak, vary]),
        (encode, &[("ETag", "W/\"a\"")], &[("ETag", "W/\"a\""), coded, vary]),
        (encode, &[("ETag", "a")], &[("ETag", "a"), coded, vary]),
        (encode, &[("accept-ranges", "bytes")], &[coded, vary]),
        (encode, &[("Content-Encoding", "identity")], &[coded, vary]),
        (encode, &[("Vary", "Origin")], &[("Vary", "Origin"), coded, vary]),
        (encode, &[("Vary", "*")], &[("Vary", "*"), coded]),
        (encode, &[("vary", "A,accept-ENCODING")], &[("vary", "A,accept-ENCODING"), coded]),
        (encode, &[("Vary", "A"), vary], &[("Vary", "A"), vary, coded]),
        (encode, &[("Vary", "Accept-Encoding-X")], &[("Vary", "Accept-Encoding-X"), coded, vary]),
    ];
    for (change, response, expected) in cases {
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(edited(change, response), expected, "{change:?} {response:?}");
    }
}

const NAMES: &[&str] = &[
    "Content-Type",
    "Content-Length",
    "Content-Encoding",
    "Content-Range",
    "Cache-Control",
    "Vary",
    "ETag",
    "Accept-Ranges",
    "Trailer",
    "Content-Digest",
    "X-Other",
];
const VALUES: &[&str] = &[
    "text/html",
    "image/png",
    "5000",
    "7",
    "gzip",
    "identity",
    "bytes 0-1/2",
    "no-transform",
    "Accept-Encoding",
    "*",
    "Origin",
    "\"a\"",
    "W/\"a\"",
    "bytes",
    "Content-Digest",
    "",
];
const ACCEPTED: &[&str] =
    &["", "gzip", "br;q=0.5, zstd", "*", "*;q=0", "identity", "gzip;q=0, br", "nonsense;;"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever is answered differently is told of it, and only what may be coded is.
    #[test]
    fn what_depends_on_the_request_says_so(
        lines in vec((select(NAMES), select(VALUES)), 0..6),
        status in select(&[101_u16, 200, 203, 204, 205, 206, 301, 304, 404, 500][..]),
        accepted in vec(select(ACCEPTED), 2),
        method in select(&["GET", "HEAD"][..]),
        tag in select(&["\"a\"", "W/\"a\""][..]),
    ) {
        let lines = [&[("Content-Type", "text/css")][..], &lines].concat();
        let changes: Vec<Change> = accepted
            .iter()
            .map(|accepted| {
                let request = [("Accept-Encoding", *accepted), ("If-None-Match", tag)];
                decide(method, &request, status, &lines)
            })
            .collect();
        let says = |change: Change| {
            let lines = edited(change, &lines);
            let named = |name: &str| {
                let of_name = lines.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
                of_name.map(|(_, value)| value.clone()).collect::<Vec<_>>()
            };
            (named("vary"), named("content-encoding"), named("etag"), named("accept-ranges"))
        };
        let is_untouched = |change: &Change| *change == Change::Nothing;
        prop_assert_eq!(is_untouched(&changes[0]), is_untouched(&changes[1]));
        for change in changes {
            let (vary, codings, etags, ranges) = says(change);
            if !is_untouched(&change) {
                let values: Vec<&str> = vary.iter().flat_map(|line| line.split(',')).collect();
                prop_assert!(values.iter().any(|name| ["Accept-Encoding", "*"].contains(name)));
            }
            if let Change::Encode(coding) | Change::Announce(coding) = change {
                prop_assert_eq!(codings, [coding.name()]);
                prop_assert!(ranges.is_empty() && !etags.iter().any(|tag| tag.starts_with('"')));
                prop_assert!(!matches!(status, 101 | 204 | 205 | 206 | 304));
                prop_assert!(!lines.contains(&("Cache-Control", "no-transform")));
                prop_assert_eq!(method == "HEAD", matches!(change, Change::Announce(_)));
            }
        }
    }
}

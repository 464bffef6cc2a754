//! What the normal form of a path is, case by case.

use tidegate_semantics::path::{is_normal, normal, normalise, split_query};

const CASES: [(&str, &str); 48] = [
    ("", "/"),
    ("/", "/"),
    ("*", "*"),
    ("/a", "/a"),
    ("/a/", "/a/"),
    ("/a/b.c/d", "/a/b.c/d"),
    ("/.well-known/acme", "/.well-known/acme"),
    ("/...", "/..."),
    ("/..a/b..", "/..a/b.."),
    ("/.", "/"),
    ("/./", "/"),
    ("/..", "/"),
    ("/../", "/"),
    ("/../../a", "/a"),
    ("/a/.", "/a/"),
    ("/a/./b", "/a/b"),
    ("/a/..", "/"),
    ("/a/../", "/"),
    ("/a/b/..", "/a/"),
    ("/a/b/../c", "/a/c"),
    ("/a/b/../../../c", "/c"),
    ("/a/b/c/./../../g", "/a/g"),
    // Empty segments are segments.
    ("//", "//"),
    ("//a//b", "//a//b"),
    ("/a//../b", "/a/b"),
    ("/a//", "/a//"),
    ("/.//a", "//a"),
    // Unreserved bytes are decoded, dots included.
    ("/%61%62%63", "/abc"),
    ("/%41%5A%30%39%2D%2E%5F%7E", "/AZ09-._~"),
    ("/a/%2e/b", "/a/b"),
    ("/a/%2e%2E/b", "/b"),
    ("/a/.%2e/b", "/b"),
    ("/a/%2e%2e", "/"),
    // Everything else stays encoded, in upper case.
    ("/a%2fb", "/a%2Fb"),
    ("/a%2F..%2Fb", "/a%2F..%2Fb"),
    ("/a/..%2fb", "/a/..%2Fb"),
    ("/%5c..%5C", "/%5C..%5C"),
    ("/%20%c3%a9", "/%20%C3%A9"),
    ("/%00%0d%0A", "/%00%0D%0A"),
    ("/a%3Fb%23c", "/a%3Fb%23c"),
    // A percent sign that begins no escape stands for itself, and is decoded once only.
    ("/100%", "/100%25"),
    ("/%zz%4", "/%25zz%254"),
    ("/%%341", "/%2541"),
    ("/%2541", "/%2541"),
    ("/%252e%252e/a", "/%252e%252e/a"),
    // Neither backslashes nor parameters divide.
    ("/a\\..\\b", "/a\\..\\b"),
    ("/a/..;/b", "/a/..;/b"),
    ("/a;x=1/../b", "/b"),
];

#[test]
fn paths_are_normalised() {
    let mut out = Vec::new();
    for (path, expected) in CASES {
        normalise(path.as_bytes(), &mut out);
        assert_eq!(out, expected.as_bytes(), "{path}: {}", String::from_utf8_lossy(&out));
        assert_eq!(is_normal(path.as_bytes()), path == expected, "{path}");
    }
}

/// The fast test takes eight bytes at a time: what it looks for must be found at every place.
#[test]
fn the_fast_test_finds_suspects_at_every_place() {
    for length in 1..40 {
        let plain: Vec<u8> = [b"/".to_vec(), vec![b'a'; length]].concat();
        assert!(is_normal(&plain));
        for place in 1..=length {
            let mut escape = plain.clone();
            escape[place] = b'%';
            assert!(!is_normal(&escape), "{length} {place}");
            let mut dot = plain.clone();
            dot[place] = b'.';
            assert_eq!(is_normal(&dot), length > 1 || place > 1, "{length} {place}");
            if place < length {
                let mut segment = plain.clone();
                segment[place] = b'/';
                segment[place + 1] = b'.';
                assert_eq!(is_normal(&segment), place + 1 < length, "{length} {place}");
                if let Some(after) = segment.get_mut(place + 2) {
                    *after = b'/';
                    assert!(!is_normal(&segment), "{length} {place}");
                }
            }
        }
    }
}

#[test]
fn normal_paths_are_not_copied() {
    let mut scratch = Vec::new();
    let path = b"/static/app.v2.js";
    assert_eq!(normal(path, &mut scratch).as_ptr(), path.as_ptr());
    assert!(scratch.is_empty());
    assert_eq!(normal(b"/a/%2e./b", &mut scratch), b"/b");
}

#[test]
fn targets_are_split_at_the_first_question_mark() {
    let cases: [(&str, &str, Option<&str>); 5] = [
        ("/a", "/a", None),
        ("/a?", "/a", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("?b", "", Some("b")),
        ("", "", None),
    ];
    for (target, path, query) in cases {
        let expected = (path.as_bytes(), query.map(str::as_bytes));
        assert_eq!(split_query(target.as_bytes()), expected, "{target}");
    }
}

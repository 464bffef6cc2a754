//! Where redirects lead, case by case.

use tidegate_semantics::redirect::{
    Destination, LocationError, Query, RedirectError, Redirected, Scheme, check_location,
    push_location,
};

const REQUEST: Redirected<'static> = Redirected {
    scheme: Scheme::Http,
    authority: b"example.com:8080",
    path: b"/a/b",
    query: Some(b"x=1"),
};

fn parts<'a>(scheme: Option<Scheme>, host: Option<&'a str>, prefix: &'a str) -> Destination<'a> {
    Destination::Parts { scheme, host: host.map(str::as_bytes), prefix: prefix.as_bytes() }
}

/// A location that is the operator's own up to the first of `|`, which is left out.
fn location(text: &'static str) -> (Vec<u8>, usize) {
    let fixed_bytes = text.find('|').unwrap_or(text.len());
    (text.replace('|', "").into_bytes(), fixed_bytes)
}

fn spelled(destination: &Destination<'_>, request: &Redirected<'_>, query: Query) -> String {
    let mut out = Vec::new();
    push_location(destination, request, query, &mut out).expect("a location");
    String::from_utf8(out).expect("a location is ASCII")
}

#[test]
fn parts_replace_those_of_the_request() {
    let https = Some(Scheme::Https);
    let cases = [
        (parts(https, None, ""), "https://example.com/a/b?x=1"),
        (parts(Some(Scheme::Http), None, ""), "http://example.com:8080/a/b?x=1"),
        (parts(None, Some("www.example.com"), ""), "http://www.example.com/a/b?x=1"),
        (parts(https, Some("www.example.com:8443"), ""), "https://www.example.com:8443/a/b?x=1"),
        (parts(https, Some("[::1]:443"), "/v2"), "https://[::1]:443/v2/a/b?x=1"),
        (parts(None, None, "/v2"), "/v2/a/b?x=1"),
        (parts(None, None, "/v2/"), "/v2/a/b?x=1"),
        (parts(None, None, "/"), "/a/b?x=1"),
        (parts(None, None, "https://other.example"), "https://other.example/a/b?x=1"),
        (parts(None, None, "https://other.example/"), "https://other.example/a/b?x=1"),
        (parts(None, None, "//cdn.example"), "//cdn.example/a/b?x=1"),
    ];
    for (destination, expected) in cases {
        assert_eq!(spelled(&destination, &REQUEST, Query::Keep), expected);
        let without_query = expected.trim_end_matches("?x=1");
        assert_eq!(spelled(&destination, &REQUEST, Query::Drop), without_query);
    }
}

#[test]
fn ports_stay_with_their_scheme_and_defaults_are_dropped() {
    let cases = [
        (Scheme::Http, "a", Scheme::Https, "https://a/"),
        (Scheme::Http, "a:80", Scheme::Https, "https://a/"),
        (Scheme::Http, "a:443", Scheme::Https, "https://a/"),
        (Scheme::Http, "a:8080", Scheme::Http, "http://a:8080/"),
        (Scheme::Http, "a:80", Scheme::Http, "http://a/"),
        (Scheme::Http, "a:443", Scheme::Http, "http://a:443/"),
        (Scheme::Http, "a:", Scheme::Http, "http://a/"),
        (Scheme::Https, "a:443", Scheme::Https, "https://a/"),
        (Scheme::Https, "a:8443", Scheme::Http, "http://a/"),
        (Scheme::Http, "[::1]:80", Scheme::Https, "https://[::1]/"),
        (Scheme::Http, "[::1]", Scheme::Https, "https://[::1]/"),
        (Scheme::Http, "A.example.:80", Scheme::Https, "https://A.example./"),
    ];
    for (scheme, authority, to, expected) in cases {
        let authority = authority.as_bytes();
        let request = Redirected { scheme, authority, path: b"/", query: None };
        assert_eq!(spelled(&parts(Some(to), None, ""), &request, Query::Keep), expected);
    }
}

#[test]
fn locations_take_the_query_before_their_fragment() {
    let cases = [
        ("/new", "/new?x=1"),
        ("/new?", "/new?&x=1"),
        ("/new?y=2", "/new?y=2&x=1"),
        ("/new#part", "/new?x=1#part"),
        ("/new?y=2#part?", "/new?y=2&x=1#part?"),
        ("https://other.example", "https://other.example?x=1"),
        ("//cdn.example/a", "//cdn.example/a?x=1"),
        ("/new?from=|/old path", "/new?from=/old%20path&x=1"),
        ("/new/|\r\nSet-Cookie: a=b", "/new/%0D%0ASet-Cookie:%20a=b?x=1"),
        ("/|\\evil.example", "/%5Cevil.example?x=1"),
        ("/|/evil.example", "/.//evil.example?x=1"),
        ("|//evil.example", "/.//evil.example?x=1"),
        ("//|evil.example", "//evil.example?x=1"),
        ("|caf\u{e9}%20", "caf%C3%A9%20?x=1"),
    ];
    for (text, expected) in cases {
        let (text, fixed_bytes) = location(text);
        let destination = Destination::Location { text: &text, fixed_bytes };
        assert_eq!(spelled(&destination, &REQUEST, Query::Keep), expected);
    }
}

#[test]
fn a_path_of_a_request_never_becomes_a_host() {
    for (path, prefix, expected) in [
        ("//evil.example/x", "", "/.//evil.example/x"),
        ("//evil.example/x", "/", "/.//evil.example/x"),
        ("//evil.example/x", "/v2", "/v2//evil.example/x"),
        ("/\\evil.example", "", "/%5Cevil.example"),
        ("/evil.example", "//", "/.//evil.example"),
        ("*", "", "/*"),
        ("", "", "/"),
    ] {
        let request = Redirected { path: path.as_bytes(), query: None, ..REQUEST };
        assert_eq!(spelled(&parts(None, None, prefix), &request, Query::Keep), expected);
    }
    let request = Redirected { path: b"//x", query: None, ..REQUEST };
    let to_https = parts(Some(Scheme::Https), None, "");
    assert_eq!(spelled(&to_https, &request, Query::Keep), "https://example.com//x");
}

#[test]
fn a_host_that_is_missing_or_would_end_early_is_refused() {
    let to_https = parts(Some(Scheme::Https), None, "");
    let refused = |authority: &[u8]| {
        let request = Redirected { authority, ..REQUEST };
        let mut out = b"kept".to_vec();
        let error = push_location(&to_https, &request, Query::Keep, &mut out).err();
        assert_eq!(out == b"kept", error.is_some());
        error
    };
    assert_eq!(refused(b""), Some(RedirectError::NoHost));
    for authority in ["a/b", "a?b", "a#b", "user@a", "a\\b", "a b", "a\r\nb", "a\0"] {
        assert_eq!(refused(authority.as_bytes()), Some(RedirectError::Host), "{authority:?}");
    }
    assert_eq!(refused(b"a"), None);
}

#[test]
fn configured_locations_are_checked() {
    for text in ["/a", "https://a.example/b?c=d#e", "/%20", "//cdn.example", "[::1]"] {
        assert_eq!(check_location(text.as_bytes()), Ok(()), "{text}");
    }
    let cases: [(&str, LocationError, &str); 5] = [
        ("", LocationError::Empty, "a location cannot be empty"),
        (
            "/a b",
            LocationError::Byte(b' ', 2),
            "` ` (byte 3) cannot stand in a location; write %20",
        ),
        (
            "/a\nb",
            LocationError::Byte(b'\n', 2),
            "`\\n` (byte 3) cannot stand in a location; write %0A",
        ),
        (
            "/\u{e9}",
            LocationError::Byte(0xc3, 1),
            "`\\xc3` (byte 2) cannot stand in a location; write %C3",
        ),
        (
            "\\a",
            LocationError::Byte(b'\\', 0),
            "`\\\\` (byte 1) cannot stand in a location; write %5C",
        ),
    ];
    for (text, error, shown) in cases {
        assert_eq!(check_location(text.as_bytes()), Err(error), "{text}");
        assert_eq!(error.to_string(), shown);
    }
}

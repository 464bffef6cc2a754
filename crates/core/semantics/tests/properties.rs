//! Properties over generated inputs: strings of pieces that matter to each module, and plain noise.

mod checks;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_semantics::redirect::{Destination, Query, Redirected, Scheme, push_location};
use tidegate_semantics::{basic_auth, cookies, forwarded, header_rules, host, request_id, via};

/// A string of up to 20 of these pieces, or noise.
fn made_of(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(select(pieces), 0..20).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => vec(any::<u8>(), 0..40),
    ]
}

const PATH: &[&str] = &[
    "/",
    "/",
    "/",
    ".",
    "..",
    "/./",
    "/../",
    "a",
    "bcd",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%5c",
    "%41",
    "%7e",
    "%",
    "%%",
    "%2",
    "%zz",
    "\\",
    ";",
    "\u{e9}",
    "?",
    "long-segment-without-anything",
];
const COOKIES: &[&str] =
    &["a", "b", "session", "=", "=", "=", ";", "; ", ";", "\"", " ", "\t", ",", "\n", "1", "\0"];
const ARGUMENTS: &[&str] = &[
    "a", "b", "other", "=", "=", "&", "&", "+", "%20", "%41", "%61", "%", "%%", "%4", "%00", ";",
    "1",
];
const ACCEPT_ENCODING: &[&str] = &[
    "gzip", "br", "zstd", "x-gzip", "identity", "*", "deflate", ",", ",", ",", ", ", ";q=", ";q=",
    "; q=", "0", "1", "0.5", "0.001", "1.000", ".", "5", " ", "\t", ";", "q", "x",
];
const AUTHORITY: &[&str] =
    &["example.com", "A", "Z", ":", ":80", ".", "[::1]", "[", "]", "@", "%41", "127.0.0.1"];
const VALUES: &[&str] =
    &["for=a", "\"", "\\", ",", ", ", ";", "host=b", " ", "1.1 a", "1.1 me", "(", ")", "\t"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths_have_one_normal_form(path in made_of(PATH)) {
        checks::path::check(&path);
    }

    #[test]
    fn cookies_are_divided_consistently(lines in made_of(COOKIES)) {
        checks::cookies::check(&lines);
    }

    #[test]
    fn arguments_are_decoded_consistently(query in made_of(ARGUMENTS)) {
        checks::arguments::check(&query);
    }

    #[test]
    fn codings_are_negotiated_consistently(value in made_of(ACCEPT_ENCODING)) {
        checks::accept_encoding::check(&value);
    }

    /// The reading of a host is a fixed point, in lower case, and a part of the authority but for
    /// case.
    #[test]
    fn hosts_are_read_once_for_all(authority in made_of(AUTHORITY)) {
        let mut scratch = Vec::new();
        let once = host::normal(&authority, &mut scratch).to_vec();
        prop_assert!(once.eq_ignore_ascii_case(host::host_without_port(&authority)));
        prop_assert!(authority.to_ascii_lowercase().starts_with(&once));
        prop_assert!(host::is_lowercase(&once));
        if !once.starts_with(b"[") || once.ends_with(b"]") {
            prop_assert_eq!(host::normal(&once, &mut scratch), &once[..]);
        }
        let mut upper = Vec::new();
        let shouted = authority.to_ascii_uppercase();
        prop_assert_eq!(host::normal(&shouted, &mut upper), &once[..]);
    }

    /// Whatever the request holds, a location has no byte that ends it or a line, and one that
    /// should stay on the request's host does.
    #[test]
    fn locations_are_safe(
        path in made_of(PATH),
        query in proptest::option::of(made_of(ARGUMENTS)),
        authority in made_of(AUTHORITY),
        prefix in select(&["", "/", "/v2", "/v2/"][..]),
        https in any::<bool>(),
        keep in any::<bool>(),
    ) {
        let request = Redirected {
            scheme: Scheme::Http,
            authority: &authority,
            path: &path,
            query: query.as_deref(),
        };
        let scheme = https.then_some(Scheme::Https);
        let kept = if keep { Query::Keep } else { Query::Drop };
        let destinations = [
            Destination::Parts { scheme, host: None, prefix: prefix.as_bytes() },
            Destination::Location { text: &path, fixed_bytes: 0 },
        ];
        for destination in destinations {
            let mut out = b"kept".to_vec();
            let result = push_location(&destination, &request, kept, &mut out);
            let location = out.strip_prefix(b"kept").expect("what was there stays");
            if result.is_err() {
                prop_assert!(location.is_empty());
                continue;
            }
            prop_assert!(location.iter().all(u8::is_ascii_graphic));
            prop_assert!(!location.iter().any(|b| b"\\\"<>".contains(b)));
            prop_assert!(!location.starts_with(b"//"));
            let in_parts = matches!(destination, Destination::Parts { .. });
            let start: &[u8] = if https { b"https://" } else { b"/" };
            prop_assert!(!in_parts || location.starts_with(start));
        }
    }

    /// What is put into lines is free of control bytes, and what a peer sent is not in them when it
    /// is replaced.
    #[test]
    fn forwarding_values_are_lines(
        values in vec(made_of(VALUES), 0..4),
        address in any::<std::net::IpAddr>(),
        received in select(&[
            forwarded::Received::Append,
            forwarded::Received::Keep,
            forwarded::Received::Replace,
            forwarded::Received::Remove,
        ][..]),
    ) {
        let values = || values.iter().map(Vec::as_slice);
        let mut own = Vec::new();
        forwarded::x_forwarded_for(forwarded::Received::Replace, [], address, &mut own);
        let text = String::from_utf8(own.clone()).expect("an address is ASCII");
        prop_assert_eq!(text.parse::<std::net::IpAddr>(), Ok(address.to_canonical()));
        let mut out = Vec::new();
        let edit = forwarded::x_forwarded_for(received, values(), address, &mut out);
        prop_assert_eq!(edit == forwarded::Edit::Set, !out.is_empty());
        prop_assert!(edit != forwarded::Edit::Set || out.ends_with(&own));
        prop_assert!(received != forwarded::Received::Replace || out == own);
        let element = forwarded::Element {
            client: Some(forwarded::Node::Address(address)),
            ..forwarded::Element::default()
        };
        let (mut own, mut out) = (Vec::new(), Vec::new());
        forwarded::forwarded(forwarded::Received::Replace, [], &element, &mut own);
        let edit = forwarded::forwarded(received, values(), &element, &mut out);
        prop_assert!(edit != forwarded::Edit::Set || out.ends_with(&own));
        prop_assert!(received != forwarded::Received::Replace || out == own);
    }

    /// The readers that have no reference take anything.
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in made_of(VALUES), noise in vec(any::<u8>(), 0..80)) {
        for bytes in [&bytes, &noise] {
            let name = via::Pseudonym::new("me").expect("a token");
            let entries = via::own_entries_count([&bytes[..]], &name);
            prop_assert!(entries <= bytes.len());
            let mut scratch = Vec::new();
            let basic = [b"Basic ", &bytes[..]].concat();
            if let Ok(credentials) = basic_auth::parse(&basic, &mut scratch) {
                prop_assert!(!credentials.user.contains(&b':'));
            }
            let mut value = Vec::new();
            header_rules::push_value(bytes, &mut value);
            prop_assert!(header_rules::is_value(&value) && value.len() == bytes.len());
            prop_assert_eq!(header_rules::is_value(bytes), value == **bytes);
            prop_assert!(!request_id::is_sane(bytes) || value == **bytes);
            prop_assert!(cookies::find([&bytes[..]], b"").is_none());
        }
    }
}

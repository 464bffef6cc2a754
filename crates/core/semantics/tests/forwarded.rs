//! What servers are told about the client, and what becomes of what it said itself.

use std::net::{IpAddr, SocketAddr};

use tidegate_semantics::forwarded::{
    Edit, Element, Node, Obfuscated, Received, forwarded, single, x_forwarded_for,
};

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn bytes<'a>(values: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> + Clone {
    values.iter().map(|value| value.as_bytes())
}

#[test]
fn addresses_are_appended_kept_replaced_or_removed() {
    let peer = "192.0.2.1";
    let cases: [(Received, &[&str], &str, Edit, &str); 13] = [
        (Received::Append, &[], peer, Edit::Set, "192.0.2.1"),
        (Received::Append, &["10.0.0.1"], peer, Edit::Set, "10.0.0.1, 192.0.2.1"),
        (Received::Append, &["a,b", "", " c "], peer, Edit::Set, "a, b, c, 192.0.2.1"),
        (Received::Append, &[""], peer, Edit::Set, "192.0.2.1"),
        (Received::Append, &[], "2001:db8::1", Edit::Set, "2001:db8::1"),
        (Received::Append, &[], "::ffff:192.0.2.1", Edit::Set, "192.0.2.1"),
        (Received::Keep, &["10.0.0.1", "b"], peer, Edit::Leave, ""),
        (Received::Keep, &[], peer, Edit::Set, "192.0.2.1"),
        (Received::Keep, &[" , "], peer, Edit::Set, "192.0.2.1"),
        (Received::Replace, &["10.0.0.1"], peer, Edit::Set, "192.0.2.1"),
        (Received::Replace, &[], peer, Edit::Set, "192.0.2.1"),
        (Received::Remove, &["10.0.0.1"], peer, Edit::Remove, ""),
        (Received::Remove, &[], peer, Edit::Remove, ""),
    ];
    for (received, values, peer, edit, expected) in cases {
        let mut out = Vec::new();
        let made = x_forwarded_for(received, bytes(values), address(peer), &mut out);
        assert_eq!((made, &*out), (edit, expected.as_bytes()), "{received:?} {values:?}");
    }
}

#[test]
fn single_values_are_those_nearest_to_a_trusted_client() {
    let cases: [(Received, &[&str], &str, Edit, &str); 12] = [
        (Received::Append, &[], "https", Edit::Set, "https"),
        (Received::Append, &["http"], "https", Edit::Leave, ""),
        (Received::Append, &[""], "https", Edit::Set, "https"),
        (Received::Append, &["http", "https"], "https", Edit::Set, "https"),
        (Received::Keep, &["http"], "https", Edit::Leave, ""),
        (Received::Keep, &[], "https", Edit::Set, "https"),
        (Received::Replace, &["http"], "https", Edit::Set, "https"),
        (Received::Replace, &["evil"], "", Edit::Remove, ""),
        (Received::Keep, &["good"], "", Edit::Leave, ""),
        (Received::Keep, &[], "", Edit::Remove, ""),
        (Received::Replace, &[], "a\r\nb", Edit::Remove, ""),
        (Received::Remove, &["http"], "https", Edit::Remove, ""),
    ];
    for (received, values, own, edit, expected) in cases {
        let mut out = Vec::new();
        let made = single(received, bytes(values), own.as_bytes(), &mut out);
        assert_eq!((made, &*out), (edit, expected.as_bytes()), "{received:?} {values:?} {own:?}");
    }
}

fn spelled(element: &Element<'_>) -> String {
    let mut out = Vec::new();
    assert_eq!(forwarded(Received::Replace, [], element, &mut out), Edit::Set);
    String::from_utf8(out).expect("the elements here are ASCII")
}

#[test]
fn elements_are_quoted_as_rfc_7239_says() {
    let socket = |text: &str| Node::Socket(text.parse::<SocketAddr>().expect("a socket address"));
    let gate = Obfuscated::new("_gate-1.x").expect("a name");
    let none = Element::default();
    let client = |node| Element { client: Some(node), ..none };
    let host = |host| Element { host: Some(host), ..none };
    let cases = [
        (client(Node::Address(address("192.0.2.43"))), "for=192.0.2.43"),
        (client(Node::Address(address("2001:db8:cafe::17"))), "for=\"[2001:db8:cafe::17]\""),
        (client(Node::Address(address("::ffff:192.0.2.43"))), "for=192.0.2.43"),
        (client(socket("192.0.2.43:47011")), "for=\"192.0.2.43:47011\""),
        (client(socket("[2001:db8:cafe::17]:4711")), "for=\"[2001:db8:cafe::17]:4711\""),
        (client(socket("[::ffff:192.0.2.43]:80")), "for=\"192.0.2.43:80\""),
        (client(Node::Obfuscated(&gate)), "for=_gate-1.x"),
        (client(Node::Unknown), "for=unknown"),
        (host(b"example.com"), "host=example.com"),
        (host(b"example.com:8080"), "host=\"example.com:8080\""),
        (host(b"[::1]"), "host=\"[::1]\""),
        (host(b"a\"b\\c;d"), "host=\"a\\\"b\\\\c;d\""),
        (host(b""), "host=\"\""),
        (host(b"a\r\nb"), "for=unknown"),
        (none, "for=unknown"),
        (
            Element {
                client: Some(Node::Address(address("192.0.2.60"))),
                by: Some(Node::Address(address("203.0.113.43"))),
                host: Some(b"example.com"),
                proto: Some("https"),
            },
            "by=203.0.113.43;for=192.0.2.60;host=example.com;proto=https",
        ),
    ];
    for (element, expected) in cases {
        assert_eq!(spelled(&element), expected);
    }
}

#[test]
fn elements_are_appended_to_what_can_be_appended_to() {
    let element = Element { client: Some(Node::Unknown), ..Element::default() };
    let cases: [(Received, &[&str], Edit, &str); 11] = [
        (Received::Append, &[], Edit::Set, "for=unknown"),
        (Received::Append, &["for=a"], Edit::Set, "for=a, for=unknown"),
        (
            Received::Append,
            &["for=a, for=b", "", " for=\"[::1]\" "],
            Edit::Set,
            "for=a, for=b, for=\"[::1]\", for=unknown",
        ),
        (Received::Append, &["for=\"a\\\"\""], Edit::Set, "for=\"a\\\"\", for=unknown"),
        (Received::Append, &["for=\"a"], Edit::Set, "for=unknown"),
        (Received::Append, &["for=\"a\\\""], Edit::Set, "for=unknown"),
        (Received::Append, &["for=\"a", "b\""], Edit::Set, "for=unknown"),
        (Received::Keep, &["for=a"], Edit::Leave, ""),
        (Received::Keep, &[" "], Edit::Set, "for=unknown"),
        (Received::Replace, &["for=a"], Edit::Set, "for=unknown"),
        (Received::Remove, &["for=a"], Edit::Remove, ""),
    ];
    for (received, values, edit, expected) in cases {
        let mut out = Vec::new();
        let made = forwarded(received, bytes(values), &element, &mut out);
        assert_eq!((made, &*out), (edit, expected.as_bytes()), "{received:?} {values:?}");
    }
}

#[test]
fn obfuscated_names_begin_with_an_underscore() {
    for name in
        ["", "_", "gate", "_a b", "_a:1", "_\u{e9}", "_a\"", &format!("_{}", "a".repeat(65))]
    {
        assert_eq!(Obfuscated::new(name), None, "{name}");
    }
    assert!(Obfuscated::new(&format!("_{}", "a".repeat(64))).is_some());
}

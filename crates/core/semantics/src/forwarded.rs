//! What a proxy tells the server about the client: `X-Forwarded-For`, `-Proto`, `-Host`, and
//! `Forwarded` (RFC 7239).
//!
//! Owns spelling the values and what becomes of those that came. Leaves to the caller whether the
//! peer is to be trusted, and writing the lines: each function says what to do with the lines
//! received, and appends the value of the new one to `out`. Invariant: from a peer whose values are
//! replaced or removed, no byte of them is passed on.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::grammar::{is_token, is_value_byte, list, trim};

/// What becomes of the values that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// They are believed and lengthened: lists get the peer's address at their end; of single values
    /// (`X-Forwarded-Proto`, `-Host`) the one received stays, as it is nearer to the client.
    Append,
    /// They are passed on unchanged; without any, this proxy sets its own.
    Keep,
    /// They are dropped, and this proxy sets its own. The choice for peers that are not trusted.
    Replace,
    /// They are dropped, and nothing is set.
    Remove,
}

/// What to do with the lines of one header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Pass on what came, if anything did.
    Leave,
    /// Drop what came.
    Remove,
    /// Drop what came and set one line with the value that was appended to `out`.
    Set,
}

/// Makes the value of `X-Forwarded-For`, a list of the addresses that a request has come from.
pub fn x_forwarded_for<'a>(
    received: Received,
    values: impl IntoIterator<Item = &'a [u8]>,
    peer: IpAddr,
    out: &mut Vec<u8>,
) -> Edit {
    let mut elements = values.into_iter().flat_map(list).peekable();
    match received {
        Received::Remove => return Edit::Remove,
        Received::Keep if elements.peek().is_some() => return Edit::Leave,
        Received::Keep | Received::Replace => {}
        Received::Append => {
            for element in elements {
                out.extend_from_slice(element);
                out.extend_from_slice(b", ");
            }
        }
    }
    push_address(peer, out);
    Edit::Set
}

/// Makes a header of a single value, `X-Forwarded-Proto` (`own` is `http` or `https`),
/// `X-Forwarded-Host` (the `Host` received) or `X-Forwarded-Port`. Several values received are
/// believed only if they are on one line. Without a value of its own it sets nothing.
pub fn single<'a>(
    received: Received,
    values: impl IntoIterator<Item = &'a [u8]>,
    own: &[u8],
    out: &mut Vec<u8>,
) -> Edit {
    let mut values = values.into_iter();
    let is_sent = values.next().is_some_and(|value| !trim(value).is_empty());
    let is_single = values.next().is_none();
    match received {
        Received::Remove => Edit::Remove,
        Received::Append | Received::Keep if is_sent && is_single => Edit::Leave,
        _ if own.is_empty() || !own.iter().all(|&b| is_value_byte(b)) => Edit::Remove,
        _ => {
            out.extend_from_slice(own);
            Edit::Set
        }
    }
}

/// A name that says nothing (RFC 7239 §6.3): `_` and at most [`Obfuscated::BYTES_MAX`] letters,
/// digits, `.`, `_` or `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obfuscated(Box<[u8]>);

impl Obfuscated {
    /// The longest name: each proxy of a chain adds one to every head.
    pub const BYTES_MAX: usize = 64;

    /// Takes `text`, which begins with `_`, if it is a valid name.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let name = text.strip_prefix('_')?.as_bytes();
        let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let fits = (1..=Self::BYTES_MAX).contains(&name.len());
        (fits && name.iter().all(is_valid)).then(|| Self(text.as_bytes().into()))
    }
}

/// An end of a connection (RFC 7239 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// Its address.
    Address(IpAddr),
    /// Its address and port.
    Socket(SocketAddr),
    /// A name that says nothing.
    Obfuscated(&'a Obfuscated),
    /// `unknown`: not even this proxy can tell.
    Unknown,
}

/// The element of `Forwarded` that this proxy adds: the parameters that are to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Element<'a> {
    /// `for`: the client's end.
    pub client: Option<Node<'a>>,
    /// `by`: this proxy's end.
    pub by: Option<Node<'a>>,
    /// `host`: the `Host` received. Left out if it holds a byte that cannot be quoted.
    pub host: Option<&'a [u8]>,
    /// `proto`: `http` or `https`.
    pub proto: Option<&'a str>,
}

/// Makes the value of `Forwarded`, a list of elements. Values received whose quotes do not close
/// would swallow what is appended: they are dropped.
pub fn forwarded<'a>(
    received: Received,
    values: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    element: &Element<'_>,
    out: &mut Vec<u8>,
) -> Edit {
    let values = values.into_iter().map(trim).filter(|value| !value.is_empty());
    match received {
        Received::Remove => return Edit::Remove,
        Received::Keep if values.clone().next().is_some() => return Edit::Leave,
        Received::Append if values.clone().all(closes_quotes) => {
            for value in values {
                out.extend_from_slice(value);
                out.extend_from_slice(b", ");
            }
        }
        Received::Keep | Received::Replace | Received::Append => {}
    }
    push_element(element, out);
    Edit::Set
}

/// Appends `element`; one without parameters is `for=unknown`, since an element cannot be empty.
fn push_element(element: &Element<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let name = |name: &str, out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
    };
    if let Some(by) = element.by {
        name("by", out);
        push_node(by, out);
    }
    if let Some(client) = element.client {
        name("for", out);
        push_node(client, out);
    }
    if let Some(host) = element.host
        && host.iter().all(|&b| is_value_byte(b))
    {
        name("host", out);
        push_token_or_quoted(host, out);
    }
    if let Some(proto) = element.proto {
        name("proto", out);
        push_token_or_quoted(proto.as_bytes(), out);
    }
    if out.len() == start {
        name("for", out);
        push_node(Node::Unknown, out);
    }
}

/// IPv6 addresses stand in brackets and, as ports, in quotes (RFC 7239 §6).
fn push_node(node: Node<'_>, out: &mut Vec<u8>) {
    let (address, port) = match node {
        Node::Unknown => return out.extend_from_slice(b"unknown"),
        Node::Obfuscated(Obfuscated(name)) => return out.extend_from_slice(name),
        Node::Address(address) => (address.to_canonical(), None),
        Node::Socket(socket) => (socket.ip().to_canonical(), Some(socket.port())),
    };
    if address.is_ipv4() && port.is_none() {
        return push_address(address, out);
    }
    out.push(b'"');
    if address.is_ipv6() {
        out.push(b'[');
    }
    push_address(address, out);
    if address.is_ipv6() {
        out.push(b']');
    }
    if let Some(port) = port {
        write!(out, ":{port}").expect("a Vec takes everything");
    }
    out.push(b'"');
}

/// Appends an address without brackets; an IPv4 address mapped into IPv6 as IPv4.
fn push_address(address: IpAddr, out: &mut Vec<u8>) {
    write!(out, "{}", address.to_canonical()).expect("a Vec takes everything");
}

/// Appends a token as it is, anything else as a quoted-string (RFC 9110 §5.6.4).
fn push_token_or_quoted(value: &[u8], out: &mut Vec<u8>) {
    if is_token(value) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Whether every quoted-string of `value` ends.
fn closes_quotes(value: &[u8]) -> bool {
    let mut bytes = value.iter();
    let mut in_quotes = false;
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\\' if in_quotes => drop(bytes.next()),
            _ => {}
        }
    }
    !in_quotes
}

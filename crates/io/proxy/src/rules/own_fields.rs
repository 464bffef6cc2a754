//! The header fields that the proxy itself writes into a request: where it came from, its id, its trace, `Via`.
//!
//! Owns when each is made and what becomes of the received lines; leaves spelling to `tidegate-semantics`. Rules come first:
//! their edits are what "received" means here, and an id that a rule sets stays. Invariant: what a peer that is not trusted
//! says about where it is gets no further than the configuration lets it.

use std::net::IpAddr;
use std::ops::Range;

use tidegate_http1::RequestHead;
use tidegate_routing::RequestOverlay;
use tidegate_rules::Key;
use tidegate_semantics::forwarded::{self, Edit, Element, Node, Received};
use tidegate_semantics::traceparent::Traceparent;
use tidegate_semantics::via;

use super::random::Random;
use crate::settings::{ForwardedField, Forwarding, OwnFieldSettings};
use crate::spoken::Spoken;

/// The scheme of a request.
pub(crate) fn scheme(has_tls: bool) -> &'static str {
    if has_tls { "https" } else { "http" }
}

/// Which field it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    For,
    Proto,
    Host,
    Port,
    Forwarded,
    RequestId,
    Via,
    Traceparent,
    Tracestate,
}

impl Name {
    fn bytes(self, settings: &OwnFieldSettings) -> &[u8] {
        match self {
            Name::For => b"X-Forwarded-For",
            Name::Proto => b"X-Forwarded-Proto",
            Name::Host => b"X-Forwarded-Host",
            Name::Port => b"X-Forwarded-Port",
            Name::Forwarded => b"Forwarded",
            Name::RequestId => settings.request_id.as_ref().map_or(b"", |name| name.written()),
            Name::Via => b"Via",
            Name::Traceparent => b"traceparent",
            Name::Tracestate => b"tracestate",
        }
    }

    fn of(field: ForwardedField) -> Name {
        match field {
            ForwardedField::For => Name::For,
            ForwardedField::Proto => Name::Proto,
            ForwardedField::Host => Name::Host,
            ForwardedField::Port => Name::Port,
            ForwardedField::Forwarded => Name::Forwarded,
        }
    }
}

/// One field.
struct Own {
    name: Name,
    /// Whether the lines that were received go.
    drops: bool,
    /// Where its value stands, if it has one.
    value: Option<Range<usize>>,
}

/// The fields of one request, reused.
#[derive(Default)]
pub(crate) struct OwnFields {
    fields: Vec<Own>,
    bytes: Vec<u8>,
}

/// Who sent a request, and what it said.
pub(crate) struct Sender<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) overlay: &'a RequestOverlay,
    /// Its address; none where it has none (a local socket).
    pub(crate) peer: Option<IpAddr>,
    pub(crate) local_port: Option<u16>,
    pub(crate) has_tls: bool,
    /// The version that it speaks.
    pub(crate) spoken: Spoken,
    /// The request's id, if it was made here.
    pub(crate) id_made: Option<&'a [u8]>,
}

impl Sender<'_> {
    /// The values of the lines of a name that rules leave.
    fn values(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
        let is_it = move |known: &[u8]| known.eq_ignore_ascii_case(name);
        let received = self.head.headers(self.bytes);
        let kept = received.filter(move |(known, _)| is_it(known) && !self.overlay.removes(known));
        let added = self.overlay.added().filter(move |(known, _)| is_it(known));
        kept.chain(added).map(|(_, value)| value)
    }

    /// Whether rules have decided about a name.
    fn is_edited(&self, name: &[u8]) -> bool {
        self.overlay.removes(name)
            || self.overlay.added().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

impl OwnFields {
    /// Makes the fields of a request that goes to a server.
    #[inline]
    pub(crate) fn make(
        &mut self,
        settings: &OwnFieldSettings,
        sender: &Sender<'_>,
        random: &mut Random,
    ) {
        self.fields.clear();
        self.bytes.clear();
        if let Some(forwarding) = &settings.forwarding {
            self.forward(forwarding, sender);
        }
        if let (Some(name), Some(id)) = (&settings.request_id, sender.id_made)
            && !sender.is_edited(name.lower())
        {
            self.set(Name::RequestId, Edit::Set, |out| out.extend_from_slice(id));
        }
        if let Some(pseudonym) = &settings.via {
            let start = self.bytes.len();
            via::push_entry(sender.spoken.received(), pseudonym, &mut self.bytes);
            self.push(Name::Via, false, Some(start));
        }
        if let Some(sampling) = settings.traceparent {
            let received = Traceparent::parse(sender.values(b"traceparent"));
            let parent = random.bytes();
            let traceparent = match received {
                Some(received) => received.with_parent(parent),
                None => Traceparent::new(random.bytes(), parent, sampling),
            };
            self.set(Name::Traceparent, Edit::Set, |out| traceparent.push(out));
            if received.is_none() {
                self.push(Name::Tracestate, true, None);
            }
        }
    }

    fn forward(&mut self, forwarding: &Forwarding, sender: &Sender<'_>) {
        let is_trusted =
            sender.peer.is_none_or(|peer| forwarding.trust.contains(Key::Address(peer)));
        let received = if is_trusted { forwarding.trusted } else { forwarding.untrusted };
        for field in &forwarding.fields {
            self.forward_one(*field, received, sender);
        }
    }

    fn forward_one(&mut self, field: ForwardedField, received: Received, sender: &Sender<'_>) {
        let name = Name::of(field);
        let host = sender.head.host(sender.bytes);
        let start = self.bytes.len();
        let edit = match (field, sender.peer) {
            // Another line is the same as a longer list (RFC 9110 §5.3), and the received ones need not be found.
            (ForwardedField::For, Some(peer)) if received == Received::Append => {
                forwarded::x_forwarded_for(Received::Replace, [], peer, &mut self.bytes);
                return self.push(name, false, Some(start));
            }
            (ForwardedField::For, Some(peer)) => {
                let values = sender.values(b"x-forwarded-for");
                forwarded::x_forwarded_for(received, values, peer, &mut self.bytes)
            }
            (ForwardedField::For, None) => return,
            (ForwardedField::Proto, _) => {
                let values = sender.values(b"x-forwarded-proto");
                forwarded::single(
                    received,
                    values,
                    scheme(sender.has_tls).as_bytes(),
                    &mut self.bytes,
                )
            }
            (ForwardedField::Host, _) => {
                let values = sender.values(b"x-forwarded-host");
                forwarded::single(received, values, host, &mut self.bytes)
            }
            (ForwardedField::Port, _) => {
                let mut text = [0; 5];
                let port = sender.local_port.map_or(&[][..], |port| decimal(port, &mut text));
                let values = sender.values(b"x-forwarded-port");
                forwarded::single(received, values, port, &mut self.bytes)
            }
            (ForwardedField::Forwarded, peer) => {
                let client = peer.map_or(Node::Unknown, Node::Address);
                let element = Element {
                    client: Some(client),
                    by: None,
                    host: Some(host).filter(|host| !host.is_empty()),
                    proto: Some(scheme(sender.has_tls)),
                };
                let values = sender.values(b"forwarded");
                forwarded::forwarded(received, values, &element, &mut self.bytes)
            }
        };
        self.note(name, edit, start);
    }

    fn set(&mut self, name: Name, edit: Edit, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.note(name, edit, start);
    }

    fn note(&mut self, name: Name, edit: Edit, start: usize) {
        match edit {
            Edit::Leave => {}
            Edit::Remove => self.push(name, true, None),
            Edit::Set => self.push(name, true, Some(start)),
        }
    }

    fn push(&mut self, name: Name, drops: bool, start: Option<usize>) {
        let end = self.bytes.len();
        self.fields.push(Own { name, drops, value: start.map(|start| start..end) });
    }

    /// Whether a request has been here already: it names this proxy in `Via`. None may, because whoever leads requests
    /// through two proxies can give them two names, and each further round doubles what a loop costs.
    #[inline]
    pub(crate) fn is_loop(settings: &OwnFieldSettings, head: &RequestHead, bytes: &[u8]) -> bool {
        let Some(pseudonym) = &settings.via else { return false };
        let is_via = |name: &[u8]| name.eq_ignore_ascii_case(b"via");
        let values = head.headers(bytes).filter(|(name, _)| is_via(name)).map(|(_, value)| value);
        via::own_entries_count(values, pseudonym) > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    pub(crate) fn removes_any(&self) -> bool {
        self.fields.iter().any(|field| field.drops)
    }

    pub(crate) fn removes(&self, settings: &OwnFieldSettings, name: &[u8]) -> bool {
        self.fields
            .iter()
            .any(|field| field.drops && field.name.bytes(settings).eq_ignore_ascii_case(name))
    }

    pub(crate) fn each(&self, settings: &OwnFieldSettings, mut add: impl FnMut(&[u8], &[u8])) {
        for field in &self.fields {
            if let Some(value) = field.value.clone() {
                add(field.name.bytes(settings), self.bytes.get(value).unwrap_or_default());
            }
        }
    }
}

fn decimal(mut number: u16, text: &mut [u8; 5]) -> &[u8] {
    let mut start = text.len();
    while start > 0 {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_decimal() {
        for port in [0, 7, 80, 443, 8080, 65_535] {
            assert_eq!(decimal(port, &mut [0; 5]), port.to_string().as_bytes());
        }
    }
}
